// Package groups keeps the groups of a node: their logs of operations, the engines that say what these mean
// (core/governance), and the rows that the rest of the node reads (core/store). What a set of operations changes, log,
// heads, nonces and rows, is one batch.
//
// Groups may be below others: what their ancestors are is part of what they are. All groups of the node are read at the
// first call.
//
// It moves no messages: what peers send comes in by [Service.Receive], what to send goes out by Options.Publish.
package groups

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Limits of operations that wait for their parents, for each group.
const (
	maxPending      = 4096
	maxPendingBytes = 16 << 20
)

// Options of a Service.
type Options struct {
	DB *store.DB
	// Publish is called after the commit of each operation made here, in the order of commits in its group; nil = none.
	// It must not block, nor call the Service.
	Publish func(Published)
	// Changed is called after a commit that changed verdicts, with them; nil = none. As Publish.
	Changed func(domain.GroupID, []governance.Change)
	// Late is called after a commit with a claim that came too late and that counts; nil = none. As Publish.
	Late func(Late)
	// Now is the clock for invitations; nil = time.Now.
	Now func() time.Time
	// Logger; nil = none.
	Logger *slog.Logger
}

// Published is an operation for the peers.
type Published struct {
	Group   domain.GroupID
	ID      domain.Hash
	Parents []domain.Hash
	Raw     []byte // the encoded SignedGroupOp
}

// Service keeps the groups. All methods are safe for concurrent use; calls on one group wait for each other.
type Service struct {
	opts Options

	starting sync.Mutex
	started  bool

	mu     sync.Mutex
	groups map[domain.GroupID]*group
	kin    kin
}

// New makes a Service. Groups are read at the first call.
func New(opts Options) *Service {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Service{
		opts: opts, groups: make(map[domain.GroupID]*group),
		kin: kin{groups: make(map[domain.GroupID]*relative), parents: make(map[domain.GroupID]domain.GroupID)},
	}
}

// group is one group in memory.
type group struct {
	id domain.GroupID

	mu          sync.Mutex
	loaded      bool
	genesis     wire.GroupGenesis
	provisional bool
	conflict    *conflict
	engine      *governance.Engine
	bare        *governance.Engine // with nothing inherited; nil until asked for
	dag         *dag.DAG[held]
	nonces      map[domain.PublicKey]uint64
	late        map[domain.Hash]Late // claims that came late and that nobody vouched for
	state       *governance.State    // as the rows have it; not changed any more
	inherited   governance.Inherited // also as the rows have it
	parent      *domain.GroupID
}

// held is an operation that was received.
type held struct {
	op  governance.Op
	raw []byte
}

// with runs fn on a group, which it reads first if need be. After an error that leaves memory and storage apart, fn
// calls forget.
func (s *Service) with(ctx context.Context, id domain.GroupID, fn func(*group) error) error {
	g, err := s.lock(ctx, id)
	if err != nil {
		return err
	}
	defer s.release(ctx, g)
	return fn(g)
}

// lock is a group, read if need be, that is the caller's until release.
func (s *Service) lock(ctx context.Context, id domain.GroupID) (*group, error) {
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	s.settle(ctx)
	if err := s.kin.behind(id); err != nil {
		return nil, fmt.Errorf("bring group %s up to date with its ancestors: %w", id, err)
	}
	g := s.enter(id)
	if err := s.ensure(ctx, g); err != nil {
		s.release(ctx, g)
		return nil, err
	}
	return g, nil
}

// ensure reads a group that the caller has locked, if need be. One that cannot be read is let go, or calls with made-up
// ids would fill the memory.
func (s *Service) ensure(ctx context.Context, g *group) error {
	if g.loaded {
		return nil
	}
	if err := s.load(ctx, g); err != nil {
		s.drop(g)
		return err
	}
	s.meets(g)
	return nil
}

// enter locks the place of a group, which may be empty.
func (s *Service) enter(id domain.GroupID) *group {
	for {
		s.mu.Lock()
		g := s.groups[id]
		if g == nil {
			g = &group{id: id}
			s.groups[id] = g
		}
		s.mu.Unlock()
		g.mu.Lock()
		if s.current(g) {
			return g
		}
		g.mu.Unlock() // it was let go meanwhile
	}
}

// current reports whether a group is the one that others get.
func (s *Service) current(g *group) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[g.id] == g
}

// release lets go of a group. What changed in it may change those below.
func (s *Service) release(ctx context.Context, g *group) {
	g.mu.Unlock()
	s.settle(ctx)
}

// drop lets a group go.
func (s *Service) drop(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[g.id] == g {
		delete(s.groups, g.id)
	}
}

func (g *group) forget() { g.loaded = false }

// State is what a group is now.
func (s *Service) State(ctx context.Context, id domain.GroupID) (state *governance.State, err error) {
	err = s.with(ctx, id, func(g *group) error {
		state = g.engine.State()
		return nil
	})
	return state, err
}

// Heads are the operations that the next one made here names as its parents, in ascending order.
func (s *Service) Heads(ctx context.Context, id domain.GroupID) (heads []domain.Hash, err error) {
	err = s.with(ctx, id, func(g *group) error {
		heads = g.engine.Heads()
		return nil
	})
	return heads, err
}

// Tips are what this node has of a group, refused operations too, in few ids.
func (s *Service) Tips(ctx context.Context, id domain.GroupID) (tips []domain.Hash, err error) {
	err = s.with(ctx, id, func(g *group) error {
		tips = g.engine.Tips()
		return nil
	})
	return tips, err
}

// Missing are the operations that others wait for and that are to be asked for, in ascending order.
func (s *Service) Missing(ctx context.Context, id domain.GroupID) (missing []domain.Hash, err error) {
	err = s.with(ctx, id, func(g *group) error {
		missing = g.dag.Missing()
		return nil
	})
	return missing, err
}

// After lists the encoded operations, at most limit, that somebody with these tips or heads does not have, each after
// its parents.
func (s *Service) After(ctx context.Context, id domain.GroupID, have []domain.Hash, limit int) (raw [][]byte, err error) {
	err = s.with(ctx, id, func(g *group) error {
		raw, err = s.raw(ctx, g, g.engine.After(have, limit))
		return err
	})
	return raw, err
}

// Ops returns encoded operations by their ids; unknown ones are left out.
func (s *Service) Ops(ctx context.Context, id domain.GroupID, ids []domain.Hash) (raw [][]byte, err error) {
	err = s.with(ctx, id, func(g *group) error {
		raw, err = s.raw(ctx, g, ids)
		return err
	})
	return raw, err
}
