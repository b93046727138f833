package node

import (
	"context"
	"errors"
	"log/slog"
	gosync "sync"
	"time"

	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/transfer"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// provisioner gets the modules of applications that contexts were joined for.
type provisioner struct {
	contexts *contexts.Client
	apps     *apps.Service
	blobs    *transfer.Service
	// provided is told of a context whose application is here.
	provided func(domain.ContextID)
	log      *slog.Logger
	wake     chan struct{}

	mu     gosync.Mutex
	wanted map[domain.ContextID]struct{}
}

func newProvisioner(c *contexts.Client, a *apps.Service, b *transfer.Service, provided func(domain.ContextID), log *slog.Logger) *provisioner {
	return &provisioner{
		contexts: c, apps: a, blobs: b, provided: provided, log: log, wake: make(chan struct{}, 1),
		wanted: map[domain.ContextID]struct{}{},
	}
}

// want asks for the application of a context.
func (p *provisioner) want(id domain.ContextID) {
	p.mu.Lock()
	p.wanted[id] = struct{}{}
	p.mu.Unlock()
	p.retry()
}

// retry tries again what is wanted, such as with a new peer.
func (p *provisioner) retry() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Pauses between tries, the first and the longest.
const firstPause, lastPause = 250 * time.Millisecond, 30 * time.Second

// Serve gets what is wanted, now and again until it is here.
func (p *provisioner) Serve(ctx context.Context) error {
	if err := p.findWanted(ctx); err != nil {
		return err
	}
	for pause := firstPause; ; {
		if p.all(ctx) {
			pause = firstPause
		} else {
			pause = min(2*pause, lastPause)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-p.wake:
			pause = firstPause
			timer.Stop()
		case <-timer.C:
		}
	}
}

// findWanted looks for contexts whose application did not come before the last stop.
func (p *provisioner) findWanted(ctx context.Context) error {
	all, err := p.contexts.List(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range all {
		p.wanted[c.ID] = struct{}{}
	}
	return nil
}

// all tries each context; true when nothing is wanted any more.
func (p *provisioner) all(ctx context.Context) bool {
	p.mu.Lock()
	ids := make([]domain.ContextID, 0, len(p.wanted))
	for id := range p.wanted {
		ids = append(ids, id)
	}
	p.mu.Unlock()
	done := true
	for _, id := range ids {
		err := p.provide(ctx, id)
		if err != nil && !errors.Is(err, errkind.Invalid) && !errors.Is(err, errkind.Unsupported) {
			if ctx.Err() == nil {
				p.log.Debug("the application of a context has not come", "context", id, "err", err)
			}
			done = false
			continue
		}
		if err != nil {
			p.log.Error("the application of a context cannot run here", "context", id, "err", err)
		} else {
			p.provided(id)
		}
		p.mu.Lock()
		delete(p.wanted, id)
		p.mu.Unlock()
	}
	return done
}

// provide gets the application of one context.
func (p *provisioner) provide(ctx context.Context, id domain.ContextID) error {
	info, err := p.contexts.Get(ctx, id)
	if errors.Is(err, errkind.NotFound) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	app, found, err := p.apps.Get(ctx, info.Application)
	if err != nil || !found {
		return err // the user uninstalled it
	}
	if app.Size > 0 {
		return nil
	}
	if err := p.blobs.Fetch(ctx, id, app.Bytecode); err != nil {
		return err
	}
	return p.apps.Complete(ctx, info.Application)
}

// provideNext gets the application that a context's group wants it to run, and that it does not run yet.
func (p *provisioner) provideNext(ctx context.Context, id domain.ContextID, next domain.ApplicationID, bytecode domain.BlobID) error {
	if err := p.apps.Expect(ctx, next, bytecode, "calimero://context/"+id.String()); err != nil {
		return err
	}
	app, found, err := p.apps.Get(ctx, next)
	if err != nil || !found || app.Size > 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, provideTime)
	defer cancel()
	if err := p.blobs.Fetch(ctx, id, app.Bytecode); err != nil {
		return err
	}
	return p.apps.Complete(ctx, next)
}

// provideTime bounds one try to get the application of an upgrade.
const provideTime = time.Minute
