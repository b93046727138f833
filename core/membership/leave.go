package membership

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// changed looks, once for many changes, at what this node has to leave.
func (g *group) changed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leaving {
		return
	}
	g.leaving = g.m.tasks.Go(func(ctx context.Context) {
		g.mu.Lock()
		g.leaving = false
		g.mu.Unlock()
		if err := g.leave(ctx); err != nil {
			g.m.warn(ctx, "contexts of a group are not left yet", g.id, err)
		}
	})
}

// leave tells of contexts of the group in which this node has no identity any more.
func (g *group) leave(ctx context.Context) error {
	state, err := g.m.opts.Groups.State(ctx, g.id)
	if errors.Is(err, errkind.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for c := range state.Contexts {
		here, err := store.ContextMeta.Has(ctx, g.m.opts.DB, c)
		if err != nil {
			return err
		}
		owner, bound, err := g.m.Owner(ctx, c)
		if err != nil {
			return err
		}
		if !here || !bound || owner != g.id {
			continue
		}
		own, err := g.m.opts.Identity.List(ctx, c, true)
		if err != nil {
			return err
		}
		if len(own) == 0 {
			g.m.opts.Left(c)
		}
	}
	return nil
}
