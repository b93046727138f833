package pluginhost

import (
	"context"
	"errors"
	"io"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Runtime is the runtime behind a handle. Engine, Inspect and Forget are repeated once when the process ends under them;
// an execution is not: its lane returns kind Unavailable, retryable.
func Runtime(h *Handle[runtime.Plugin]) runtime.Runtime { return engine{h} }

type engine struct{ h *Handle[runtime.Plugin] }

var _ runtime.Runtime = engine{}

func (e engine) Engine(ctx context.Context) (runtime.Engine, error) {
	return Call(ctx, e.h, "Engine", Repeatable, func(ctx context.Context, p runtime.Plugin) (runtime.Engine, error) {
		return p.Engine(ctx)
	})
}

func (e engine) Inspect(ctx context.Context, module domain.Hash) (runtime.ModuleInfo, error) {
	return Call(ctx, e.h, "Inspect", Repeatable, func(ctx context.Context, p runtime.Plugin) (runtime.ModuleInfo, error) {
		return p.Inspect(ctx, module)
	})
}

func (e engine) Prepare(ctx context.Context, module domain.Hash, maxSize uint64, wasm io.Reader) (runtime.ModuleInfo, error) {
	return Call(ctx, e.h, "Prepare", Once, func(ctx context.Context, p runtime.Plugin) (runtime.ModuleInfo, error) {
		return p.Prepare(ctx, module, maxSize, wasm)
	})
}

func (e engine) Forget(ctx context.Context, modules []domain.Hash, contexts []domain.ContextID) error {
	_, err := Call(ctx, e.h, "Forget", Repeatable, func(ctx context.Context, p runtime.Plugin) (struct{}, error) {
		return struct{}{}, p.Forget(ctx, modules, contexts)
	})
	return err
}

// OpenLane opens a lane of the process that serves.
func (e engine) OpenLane(ctx context.Context) (runtime.Lane, error) {
	l := &lane{h: e.h, life: ctx}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// lane is a lane of one generation; one whose process ended while it was idle moves to the next before it executes.
type lane struct {
	h    *Handle[runtime.Plugin]
	life context.Context

	g      *generation
	lane   runtime.Lane
	cancel context.CancelFunc
}

// open opens the lane for the life of l.life; ctx bounds only the opening.
func (l *lane) open(ctx context.Context) error {
	life, cancel := context.WithCancel(l.life)
	opened, g, err := call(ctx, l.h, "OpenLane", Repeatable, nil, func(ctx context.Context, p runtime.Plugin) (runtime.Lane, error) {
		stop := context.AfterFunc(ctx, cancel)
		defer stop()
		return p.OpenLane(life)
	})
	if err != nil {
		cancel()
		return err
	}
	l.g, l.lane, l.cancel = g, opened, cancel
	return nil
}

func (l *lane) Execute(ctx context.Context, x *runtime.Execute, host runtime.Host) (r *runtime.Result, err error) {
	s := l.h.s
	end := s.begin("Execute")
	defer func() { end(err) }()
	if err := s.place(ctx, s.calls); err != nil {
		return nil, err
	}
	defer func() { <-s.calls }()
	for try := 0; ; try++ {
		if l.lane == nil || l.g.over() {
			_ = l.Close() // its process is gone
			if err := l.open(ctx); err != nil {
				return nil, err
			}
		}
		r, err = l.lane.Execute(ctx, x, host)
		if !l.g.lost(err) {
			return r, err
		}
		if !errors.Is(err, runtime.ErrNotStarted) || try > 0 {
			return nil, s.interrupted("Execute", l.g, err)
		}
	}
}

func (l *lane) Close() error {
	if l.lane == nil {
		return nil
	}
	err := l.lane.Close()
	l.cancel()
	l.lane = nil
	return err
}
