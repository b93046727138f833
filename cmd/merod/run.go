package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/calimero-go/core/core/config"
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
	switch embedded := cfg.Server.Auth != config.NoAuth; {
	case r.AuthMode == "embedded" && !embedded:
		return errors.New("the node lets everybody in: to use an auth plugin, add its block to " + cfg.Path +
			", run merod plugin pin, and then merod config \"server.auth_mode='embedded'\"")
	case r.AuthMode == "proxy" && embedded:
		return fmt.Errorf("the node uses the auth plugin %q: to let everybody in, run merod config \"server.auth_mode='proxy'\"",
			cfg.Server.Auth)
	}
	n, err := node.New(cfg, node.Options{Version: version, Log: os.Stdout})
	if err != nil {
		return err
	}
	return n.Run(ctx)
}
