package pluginhost

import (
	"context"
	"fmt"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Spec is a plugin to start.
type Spec struct {
	Block *config.Plugin
	// DataDir is the plugin's own folder, absolute; it is made if absent.
	DataDir string
	// OnState is called after each change of state, in order; it may be nil and must not block.
	OnState func(Status)
}

// SpecOf is the plugin of a block with the folder that the configuration gives it.
func SpecOf(c *config.Config, p *config.Plugin) Spec { return Spec{Block: p, DataDir: c.DataDir(p)} }

// Handle is a plugin that is kept running; it stays valid over restarts and may be used concurrently. Typed access is by
// Storage, Runtime and the like.
type Handle[P base.Plugin] struct {
	s *supervisor
}

// Start checks a plugin's files against plugins.lock, starts its process and configures it: handshake, info, schema,
// configure. Any failure of this first start is an error that names plugin, step and fix; later ends of the process lead
// to restarts. wire is the kind's, such as storage.Wire.
func Start[P base.Plugin](ctx context.Context, h *Host, wire base.Wire[P], spec Spec) (*Handle[P], error) {
	p := spec.Block
	label := base.Label(wire.Kind, p.Name)
	if p.Kind != wire.Kind {
		return nil, errkind.Invalid.Errorf("start %s: the block is %s", label, p.Title())
	}
	l := newLauncher(h, p, func() map[int]goplugin.PluginSet { return wire.HostPlugins(p.Name) }, spec.DataDir)
	s := newSupervisor(l, spec.OnState)
	if err := h.add(s); err != nil {
		s.end()
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		h.remove(s)
		return nil, err
	}
	return &Handle[P]{s: s}, nil
}

// Status is the plugin's state now.
func (h *Handle[P]) Status() Status { return h.s.status() }

// Done is closed when the plugin has stopped for good: it was closed, or given up after too many restarts in a row.
func (h *Handle[P]) Done() <-chan struct{} { return h.s.stopped }

// Kill ends the running process at once, for one that does not answer in time; the next generation starts. The reason is
// logged.
func (h *Handle[P]) Kill(reason string) { h.s.kill(reason) }

// Close asks the plugin to close, waits for it as long as its close_timeout and ctx's deadline allow, and ends the
// process. The error says whether it closed in good order; the process is gone in any case.
func (h *Handle[P]) Close(ctx context.Context) error { return h.s.close(ctx) }

// Health asks the running process.
func (h *Handle[P]) Health(ctx context.Context) error {
	_, err := Call(ctx, h, "Health", Repeatable, func(ctx context.Context, p P) (struct{}, error) {
		return struct{}{}, p.Health(ctx)
	})
	return err
}

// Info is what the latest process said of itself.
func (h *Handle[P]) Info() base.Info { return h.s.status().Info }

// Mode says how a call is treated.
type Mode uint8

const (
	// Once: a call whose process ends fails with kind Unavailable, retryable.
	Once Mode = 0
	// Repeatable: such a call is repeated once on the next generation. It must be idempotent.
	Repeatable Mode = 1
	// Streaming calls take their place among max_in_flight streams, not among the other calls: a callback of a stream may
	// make calls of its own.
	Streaming Mode = 2
)

// Call runs f on the process that serves. While there is none it waits, as long as ctx and call_wait allow. An answer
// that comes after the host gave the process up is dropped. method is the name in the metrics.
func Call[P base.Plugin, R any](ctx context.Context, h *Handle[P], method string, mode Mode, f func(context.Context, P) (R, error)) (_ R, err error) {
	r, _, err := call(ctx, h, method, mode, nil, f)
	return r, err
}

// call is Call with the generation that answered. again, if not nil, is asked whether a repeatable call may be repeated.
func call[P base.Plugin, R any](ctx context.Context, h *Handle[P], method string, mode Mode, again func() bool,
	f func(context.Context, P) (R, error)) (r R, g *generation, err error) {
	s := h.s
	end := s.begin(method)
	defer func() { end(err) }()
	places := s.calls
	if mode&Streaming != 0 {
		places = s.streams
	}
	if err := s.place(ctx, places); err != nil {
		return r, nil, err
	}
	defer func() { <-places }()

	var none R
	after := uint64(0)
	for try := 0; ; try++ {
		if g, err = s.acquire(ctx, after); err != nil {
			return none, nil, err
		}
		if r, err = f(ctx, g.plugin.(P)); !g.lost(err) {
			return r, g, err
		}
		if ctx.Err() != nil && err != nil {
			return none, nil, err
		}
		err = s.interrupted(method, g, err)
		if mode&Repeatable == 0 || try > 0 || again != nil && !again() {
			return none, nil, err
		}
		after = g.number
	}
}

// interrupted is the error of a call whose process ended.
func (s *supervisor) interrupted(method string, g *generation, err error) error {
	if err == nil {
		err = fmt.Errorf("its answer came after it was given up")
	}
	return errkind.Retryable(errkind.Unavailable.Errorf("%s stopped during %s (generation %d): %w", s.label, method, g.number, err))
}
