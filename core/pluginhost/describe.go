package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Describe starts a pinned plugin in a folder of its own, beside a node that may be running, just to ask who it is and
// which settings it takes. The plugin is not configured and does not see its data. log may be nil.
func Describe(ctx context.Context, c *config.Config, p *config.Plugin, log *slog.Logger) (_ base.Info, _ base.Schema, err error) {
	var none base.Info
	sets, err := hostSets(p)
	if err != nil {
		return none, base.Schema{}, err
	}
	dir, err := os.MkdirTemp("", "merod-describe-")
	if err != nil {
		return none, base.Schema{}, fmt.Errorf("make a folder to run %s in: %w", p.Title(), err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o := FromConfig(c)
	o.RunDir, o.Logger = filepath.Join(dir, "run"), log
	h, err := Open(ctx, o)
	if err != nil {
		return none, base.Schema{}, err
	}
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	l := newLauncher(h, p, sets, filepath.Join(dir, "data"))
	g, err := l.greet(ctx, 1)
	if err != nil {
		return none, base.Schema{}, err
	}
	defer g.destroy()
	schema, err := l.schema(ctx, g)
	return g.info, schema, err
}

// hostSets knows the kinds of this build.
func hostSets(p *config.Plugin) (func() map[int]goplugin.PluginSet, error) {
	switch p.Kind {
	case storage.Kind:
		return func() map[int]goplugin.PluginSet { return storage.Wire.HostPlugins(p.Name) }, nil
	case runtime.Kind:
		return func() map[int]goplugin.PluginSet { return runtime.Wire.HostPlugins(p.Name) }, nil
	case auth.Kind:
		return func() map[int]goplugin.PluginSet { return auth.Wire.HostPlugins(p.Name) }, nil
	}
	return nil, errkind.Unsupported.Errorf("%s: this node knows no plugins of kind %q", p.Title(), p.Kind)
}
