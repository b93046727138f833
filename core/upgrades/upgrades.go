// Package upgrades gives the contexts of groups another application (governance.md §6.10, docs/design/upgrades.md): when
// an admin of this node asks for it, and when one of another node did.
//
// Who begins an upgrade takes one context first, the canary, together with the operations that tell the group: if it fails,
// nothing happened. The others follow in the background, and are taken up again after a crash.
package upgrades

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Groups is what the upgrades need of groups; *groups.Service is one.
type Groups interface {
	State(ctx context.Context, id domain.GroupID) (*governance.State, error)
	Role(ctx context.Context, id domain.GroupID, who domain.PublicKey) (domain.MemberRole, bool, error)
	Stage(ctx context.Context, b *store.Batch, id domain.GroupID, key domain.PrivateKey, bodies ...wire.GroupOp) ([]domain.Hash, error)
}

// Contexts is what the upgrades need of contexts; *contexts.Client is one.
type Contexts interface {
	Get(ctx context.Context, id domain.ContextID) (contexts.Info, error)
	Upgrade(ctx context.Context, req contexts.UpgradeRequest) error
}

// Options of a Service. What is zero gets the default named with it.
type Options struct {
	DB       *store.DB
	Groups   Groups
	Contexts Contexts
	Identity *identity.Service
	// Provide brings the module of an application here from those that have a context; nil = only what is installed is
	// here.
	Provide func(ctx context.Context, id domain.ContextID, app domain.ApplicationID, bytecode domain.BlobID) error
	// Retries are the pauses before contexts that failed are tried again (5 s, 10 s, 20 s).
	Retries []time.Duration
	// Grace (3 s) is how long a node that did not begin an upgrade waits for the migration of one that did.
	Grace time.Duration
	// Look (30 s) is how often groups that could not be followed are looked at again.
	Look   time.Duration
	Now    func() time.Time
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Retries == nil {
		o.Retries = []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second}
	}
	if o.Grace <= 0 {
		o.Grace = 3 * time.Second
	}
	if o.Look <= 0 {
		o.Look = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Service runs the upgrades. Its methods are safe for concurrent use, and before Serve.
type Service struct {
	opts  Options
	wake  chan struct{}
	tasks actor.Tasks

	mu     sync.Mutex
	busy   map[domain.GroupID]bool      // an upgrade runs, or begins
	behind map[domain.GroupID]time.Time // groups to look at, and since when
}

// New makes a Service.
func New(opts Options) *Service {
	return &Service{
		opts: opts.withDefaults(), wake: make(chan struct{}, 1), busy: map[domain.GroupID]bool{}, behind: map[domain.GroupID]time.Time{},
	}
}

// Serve takes up what was begun and follows other nodes' upgrades until ctx ends. It returns when all its work is over.
func (s *Service) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.tasks.Begin(ctx)
	defer s.tasks.End()
	defer cancel()
	if err := s.recover(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(min(s.opts.Look, s.opts.Grace) / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-tick.C:
		}
		s.followAll(ctx)
	}
}

// recover takes up what an earlier life left: upgrades that this node began, and groups it has not followed.
func (s *Service) recover(ctx context.Context) error {
	begun := map[domain.GroupID]wire.GroupUpgrade{}
	err := store.GroupUpgrade.Scan(ctx, s.opts.DB, nil, func(id domain.GroupID, row wire.GroupUpgrade) error {
		if !row.Status.Completed {
			begun[id] = row
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, row := range begun {
		if s.enter(id) {
			s.propagate(id, row)
		}
	}
	return store.GroupMeta.ScanKeys(ctx, s.opts.DB, nil, func(id domain.GroupID) error {
		s.Changed(id)
		return nil
	})
}

// Changed says that a group is not what it was. It does not wait.
func (s *Service) Changed(id domain.GroupID) {
	s.mu.Lock()
	if _, known := s.behind[id]; !known {
		s.behind[id] = s.opts.Now()
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Migrated says that a peer migrated the state of a context. It does not wait.
func (s *Service) Migrated(id domain.ContextID) {
	s.tasks.Go(func(ctx context.Context) {
		group, found, err := store.ContextGroup.Get(ctx, s.opts.DB, id)
		switch {
		case err != nil && ctx.Err() == nil:
			s.opts.Logger.Error("a context was migrated, and its group is not found", "context", id, "err", err)
		case err == nil && found:
			s.Changed(domain.GroupID(group))
		}
	})
}

// enter reserves a group for one upgrade.
func (s *Service) enter(id domain.GroupID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[id] {
		return false
	}
	s.busy[id] = true
	return true
}

func (s *Service) leave(id domain.GroupID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, id)
}

// here are the contexts of a group that this node has, in the order of their ids.
func (s *Service) here(ctx context.Context, id domain.GroupID) (ids []domain.ContextID, err error) {
	err = store.GroupContext.ScanKeys(ctx, s.opts.DB, wire.RowGroupContext.Prefix(id), func(k store.GroupContextKey) error {
		bound, found, err := store.ContextGroup.Get(ctx, s.opts.DB, k.Context)
		if err != nil || !found || domain.GroupID(bound) != id {
			return err
		}
		has, err := store.ContextMeta.Has(ctx, s.opts.DB, k.Context)
		if has {
			ids = append(ids, k.Context)
		}
		return err
	})
	return ids, err
}
