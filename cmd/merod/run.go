package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/calimero-go/core/core/node"
)

type runCommand struct {
	AuthMode string `help:"Check that the node was initialised for this mode: proxy or embedded." enum:",proxy,embedded" default:""`
}

func (r *runCommand) Run(ctx context.Context, c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	switch embedded := cfg.Server.Auth != "none"; {
	case r.AuthMode == "embedded" && !embedded:
		return errors.New("the node has no auth plugin: run merod init --auth-mode embedded, or set server.auth in " + cfg.Path)
	case r.AuthMode == "proxy" && embedded:
		return fmt.Errorf("the node is configured with the auth plugin %q: set server.auth = \"none\" in %s to let everybody in",
			cfg.Server.Auth, cfg.Path)
	}
	n, err := node.New(cfg, node.Options{Version: version, Log: os.Stdout})
	if err != nil {
		return err
	}
	return n.Run(ctx)
}
