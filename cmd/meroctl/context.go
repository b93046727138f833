package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type contextCommand struct {
	Create   contextCreate   `cmd:"" help:"Create a context of an application."`
	List     contextList     `cmd:"" aliases:"ls" help:"List the contexts."`
	Get      contextGet      `cmd:"" help:"Show a context."`
	Delete   contextDelete   `cmd:"" aliases:"del" help:"Delete a context and its state from this node."`
	Use      contextUse      `cmd:"" help:"Use a context when no other is named (the alias default)."`
	Identity identityCommand `cmd:"" help:"Identities of a context."`
}

// defaultAlias names the context, and the identity, that are used when none is named.
const defaultAlias = "default"

type contextCreate struct {
	ApplicationID  string `short:"a" required:"" help:"Application."`
	Params         string `short:"p" help:"Arguments of init, as JSON."`
	Seed           string `short:"s" help:"Seed of the context's id, base58."`
	IdentitySecret string `help:"Private key of the creator, hex."`
	Name           string `help:"Alias of the context on this node."`
}

func (cc *contextCreate) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	app, err := domain.ParseApplicationID(cc.ApplicationID)
	if err != nil {
		return fmt.Errorf("application id %q: %w", cc.ApplicationID, err)
	}
	if cc.Params != "" && !json.Valid([]byte(cc.Params)) {
		return fmt.Errorf("--params is no JSON: %s", cc.Params)
	}
	req := schema.CreateContextRequest{ApplicationID: app, InitializationParams: []byte(cc.Params),
		IdentitySecret: given(cc.IdentitySecret)}
	if cc.Seed != "" {
		seed, err := domain.ParseHash(cc.Seed)
		if err != nil {
			return fmt.Errorf("seed %q: %w", cc.Seed, err)
		}
		req.ContextSeed = &seed
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/contexts", req)
	if err != nil {
		return err
	}
	if cc.Name != "" {
		created, err := payloadOf[schema.CreatedContext](answer)
		if err != nil {
			return err
		}
		if err := n.alias(ctx, cc.Name, created.ContextID); err != nil {
			return err
		}
	}
	return show(c, answer, []string{"CONTEXT", "IDENTITY"}, func(r schema.CreatedContext) [][]string {
		return [][]string{{r.ContextID.String(), r.MemberPublicKey.String()}}
	})
}

// alias names a context, taking the name from another one.
func (n *client) alias(ctx context.Context, name string, id domain.ContextID) error {
	alias, err := domain.ParseAlias(name)
	if err != nil {
		return err
	}
	if _, err := n.ask(ctx, http.MethodPost, "/admin-api/alias/delete/context/"+url.PathEscape(name), struct{}{}); err != nil {
		return err
	}
	_, err = n.ask(ctx, http.MethodPost, "/admin-api/alias/create/context",
		schema.CreateContextAliasRequest{Alias: alias, ContextID: id})
	return err
}

// context resolves an id or alias. With neither, the alias default, or the only context there is.
func (n *client) context(ctx context.Context, name string) (domain.ContextID, error) {
	if id, err := domain.ParseContextID(name); err == nil {
		return id, nil
	}
	wanted := name
	if name == "" {
		wanted = defaultAlias
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/alias/lookup/context/"+url.PathEscape(wanted), struct{}{})
	if err != nil {
		return domain.ContextID{}, err
	}
	found, err := payloadOf[schema.AliasTarget](answer)
	if err != nil {
		return domain.ContextID{}, err
	}
	if found.Value != nil {
		return domain.ParseContextID(*found.Value)
	}
	if name != "" {
		return domain.ContextID{}, fmt.Errorf("%q is neither a context id nor an alias of a context", name)
	}
	answer, err = n.get(ctx, "/admin-api/contexts")
	if err != nil {
		return domain.ContextID{}, err
	}
	all, err := payloadOf[schema.Contexts](answer)
	if err != nil {
		return domain.ContextID{}, err
	}
	if len(all.Contexts) != 1 {
		return domain.ContextID{}, fmt.Errorf("the node has %d contexts: name one with --context, or choose one with meroctl "+
			"context use", len(all.Contexts))
	}
	return all.Contexts[0].ID, nil
}

// identity resolves a key or alias in a context. With neither, the alias default, or the first identity that is the
// node's own.
func (n *client) identity(ctx context.Context, id domain.ContextID, name string) (domain.PublicKey, error) {
	if pk, err := domain.ParsePublicKey(name); err == nil {
		return pk, nil
	}
	wanted := name
	if name == "" {
		wanted = defaultAlias
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/alias/lookup/identity/"+id.String()+"/"+url.PathEscape(wanted), struct{}{})
	if err != nil {
		return domain.PublicKey{}, err
	}
	found, err := payloadOf[schema.AliasTarget](answer)
	if err != nil {
		return domain.PublicKey{}, err
	}
	if found.Value != nil {
		return domain.ParsePublicKey(*found.Value)
	}
	if name != "" {
		return domain.PublicKey{}, fmt.Errorf("%q is neither a public key nor an alias of an identity", name)
	}
	answer, err = n.get(ctx, "/admin-api/contexts/"+id.String()+"/identities-owned")
	if err != nil {
		return domain.PublicKey{}, err
	}
	own, err := payloadOf[schema.Identities](answer)
	if err != nil {
		return domain.PublicKey{}, err
	}
	if len(own.Identities) == 0 {
		return domain.PublicKey{}, fmt.Errorf("the node has no identity in context %s", id)
	}
	return own.Identities[0], nil
}

var contextHead = []string{"CONTEXT", "APPLICATION", "ROOT HASH"}

func contextRow(x schema.Context) []string {
	return []string{x.ID.String(), x.ApplicationID.String(), x.RootHash.String()}
}

type contextList struct{}

func (contextList) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/contexts")
	if err != nil {
		return err
	}
	return show(c, answer, contextHead, func(l schema.Contexts) (rows [][]string) {
		for _, x := range l.Contexts {
			rows = append(rows, contextRow(x))
		}
		return rows
	})
}

type contextGet struct {
	Context string `arg:"" optional:"" help:"Id or alias."`
}

func (g *contextGet) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	id, err := n.context(ctx, g.Context)
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/contexts/"+id.String())
	if err != nil {
		return err
	}
	return show(c, answer, contextHead, func(x schema.Context) [][]string { return [][]string{contextRow(x)} })
}

type contextDelete struct {
	Context   string `arg:"" help:"Id or alias."`
	Requester string `help:"Admin of the context's group; default: the node's own identity in the context."`
}

func (d *contextDelete) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	id, err := n.context(ctx, d.Context)
	if err != nil {
		return err
	}
	requester, err := n.identity(ctx, id, d.Requester)
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodDelete, "/admin-api/contexts/"+id.String(),
		schema.DeleteContextRequest{Requester: &requester})
	if err != nil {
		return err
	}
	return show(c, answer, []string{"CONTEXT", "DELETED"}, func(r schema.Deleted) [][]string {
		return [][]string{{id.String(), yes(r.IsDeleted)}}
	})
}

type contextUse struct {
	Context string `arg:"" help:"Id or alias."`
}

func (u *contextUse) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	id, err := n.context(ctx, u.Context)
	if err != nil {
		return err
	}
	if err := n.alias(ctx, defaultAlias, id); err != nil {
		return err
	}
	return c.say("using context %s", id)
}

type identityCommand struct {
	List     identityList     `cmd:"" aliases:"ls" help:"List the identities of a context."`
	Generate identityGenerate `cmd:"" aliases:"new" help:"Draw a new identity of the node."`
}

type identityList struct {
	Context string `short:"c" help:"Id or alias."`
	Owned   bool   `help:"Only the node's own."`
}

func (l *identityList) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	id, err := n.context(ctx, l.Context)
	if err != nil {
		return err
	}
	path := "/admin-api/contexts/" + id.String() + "/identities"
	if l.Owned {
		path += "-owned"
	}
	answer, err := n.get(ctx, path)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"IDENTITY"}, func(i schema.Identities) (rows [][]string) {
		for _, pk := range i.Identities {
			rows = append(rows, []string{pk.String()})
		}
		return rows
	})
}

type identityGenerate struct{}

func (identityGenerate) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/identity/context", struct{}{})
	if err != nil {
		return err
	}
	type identity struct {
		PublicKey domain.PublicKey `json:"publicKey"`
	}
	return show(c, answer, []string{"IDENTITY"}, func(i identity) [][]string { return [][]string{{i.PublicKey.String()}} })
}
