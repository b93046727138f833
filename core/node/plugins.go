package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/plugin-sdk/base"
)

// Described is what a plugin says of itself.
type Described struct {
	Plugin *config.Plugin
	Info   base.Info
	Schema base.Schema
}

// DescribePlugins starts each plugin just to ask who it is; none of them touches its data.
func DescribePlugins(ctx context.Context, cfg *config.Config) ([]Described, error) {
	var all []Described
	var errs []error
	for _, p := range cfg.Plugins {
		info, schema, err := pluginhost.Describe(ctx, cfg, p, slog.New(slog.DiscardHandler))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, Described{Plugin: p, Info: info, Schema: schema})
	}
	return all, errors.Join(errs...)
}

// RepairStorage runs the storage plugin's own repair on its data folder: `BINARY repair DIR`. What it prints says what
// was kept and what was lost.
func RepairStorage(ctx context.Context, cfg *config.Config, p *config.Plugin, stdout, stderr io.Writer) error {
	if err := pluginhost.Verify(cfg); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, p.Path, "repair", cfg.DataDir(p)) //nolint:gosec // pinned by plugins.lock
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("repair with %s: %w", p.Path, err)
	}
	return nil
}
