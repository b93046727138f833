package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"

	"github.com/zclconf/go-cty/cty"

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

// RepairStorage runs the storage plugin's own repair on its data: `BINARY repair FOLDER`. What it prints says what was
// kept and what was lost.
func RepairStorage(ctx context.Context, cfg *config.Config, p *config.Plugin, stdout, stderr io.Writer) error {
	if err := pluginhost.Verify(cfg); err != nil {
		return err
	}
	dir, err := storageFolder(ctx, cfg, p)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, p.Path, "repair", dir) //nolint:gosec // pinned by plugins.lock
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("repair %s with %s: %w", dir, p.Path, err)
	}
	return nil
}

// storageFolder is where the plugin keeps its data: the setting path of its config block if it has one, relative to its
// data folder, which is the default.
func storageFolder(ctx context.Context, cfg *config.Config, p *config.Plugin) (string, error) {
	dir := cfg.DataDir(p)
	_, schema, err := pluginhost.Describe(ctx, cfg, p, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	value, diags, err := p.Decode(schema)
	if err := errors.Join(diags.Err(), err); err != nil {
		return "", err
	}
	if !value.Type().HasAttribute("path") {
		return dir, nil
	}
	path := value.GetAttr("path")
	if path.IsNull() || path.Type() != cty.String || path.AsString() == "" {
		return dir, nil
	}
	if filepath.IsAbs(path.AsString()) {
		return path.AsString(), nil
	}
	return filepath.Join(dir, path.AsString()), nil
}
