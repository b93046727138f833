package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/calimero-go/core/core/api/schema"
)

type callCommand struct {
	Method     string   `arg:"" help:"Method of the application."`
	Context    string   `short:"c" help:"Id or alias; default: the one in use, or the only one."`
	Args       string   `help:"Arguments, as JSON." default:"{}"`
	As         string   `name:"as" help:"Identity: public key or alias; default: the node's own."`
	ID         string   `name:"id" help:"Id of the request." default:"meroctl"`
	Substitute []string `help:"Aliases of identities to put in place of {alias} in the arguments."`
}

func (cc *callCommand) Run(ctx context.Context, c *cli) error {
	if !json.Valid([]byte(cc.Args)) {
		return fmt.Errorf("--args is no JSON: %s", cc.Args)
	}
	n, id, err := c.inContext(ctx, cc.Context)
	if err != nil {
		return err
	}
	as, err := n.identity(ctx, id, cc.As)
	if err != nil {
		return err
	}
	params := map[string]any{"contextId": id, "method": cc.Method, "argsJson": json.RawMessage(cc.Args), "executorPublicKey": as}
	if len(cc.Substitute) > 0 {
		params["substitute"] = cc.Substitute
	}
	answer, err := n.ask(ctx, http.MethodPost, "/jsonrpc",
		map[string]any{"jsonrpc": "2.0", "id": cc.ID, "method": "execute", "params": params})
	if err != nil {
		return err
	}
	return c.printCall(answer)
}

// printCall prints the output, or returns the error, of a JSON-RPC answer.
func (c *cli) printCall(answer json.RawMessage) error {
	var r struct {
		Result struct {
			Output json.RawMessage `json:"output"`
		} `json:"result"`
		Error *struct {
			Type string          `json:"type"`
			Data json.RawMessage `json:"data"`
		} `json:"error"`
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	if c.Output == "json" {
		if err := c.json(answer); err != nil {
			return err
		}
	}
	if r.Error != nil {
		text := string(r.Error.Data)
		var plain string
		if json.Unmarshal(r.Error.Data, &plain) == nil {
			text = plain
		}
		if text == "" {
			return &answerError{status: http.StatusOK, text: r.Error.Type}
		}
		return &answerError{status: http.StatusOK, text: r.Error.Type + ": " + text}
	}
	if c.Output == "json" {
		return nil
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, r.Result.Output, "", "  "); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	_, err := fmt.Fprintln(c.out, pretty.String())
	return err
}

type peersCommand struct{}

func (peersCommand) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/peers")
	if err != nil {
		return err
	}
	return showBare(c, answer, []string{"PEERS"}, func(p schema.PeersCount) [][]string {
		return [][]string{{strconv.FormatUint(p.Count, 10)}}
	})
}
