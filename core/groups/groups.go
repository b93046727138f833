// Package groups keeps the groups of a node: their logs of operations, the engines that say what these mean
// (core/governance), and the rows that the rest of the node reads (core/store). What a set of operations changes, log,
// heads, nonces and rows, is one batch.
//
// It moves no messages: what peers send comes in by [Service.Receive], what to send goes out by Options.Publish.
package groups

import (
	"context"
	"log/slog"
	"sync"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
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

	mu     sync.Mutex
	groups map[domain.GroupID]*group
}

// New makes a Service. Groups are read when they are first asked for.
func New(opts Options) *Service {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{opts: opts, groups: make(map[domain.GroupID]*group)}
}

// group is one group in memory.
type group struct {
	id domain.GroupID

	mu      sync.Mutex
	loaded  bool
	genesis wire.GroupGenesis
	engine  *governance.Engine
	dag     *dag.DAG[held]
	numbers map[domain.Hash]uint64 // sequence of the log, by id
	nonces  map[domain.PublicKey]uint64
	state   *governance.State // as the rows have it
}

// held is an operation that was received.
type held struct {
	op  governance.Op
	raw []byte
}

// with runs fn on a group, which it reads first if need be. After an error that leaves memory and storage apart, fn
// calls forget.
func (s *Service) with(ctx context.Context, id domain.GroupID, fn func(*group) error) error {
	s.mu.Lock()
	g := s.groups[id]
	if g == nil {
		g = &group{id: id}
		s.groups[id] = g
	}
	s.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.loaded {
		if err := s.load(ctx, g); err != nil {
			s.drop(g)
			return err
		}
	}
	return fn(g)
}

// drop lets a group go that could not be read, or a call with made-up ids would fill the memory.
func (s *Service) drop(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[g.id] == g {
		delete(s.groups, g.id)
	}
}

func (g *group) forget() { g.loaded = false }

// Found creates a group from its genesis, which must be verified: at its creator, or where a member invites to it. A group
// that exists with the same genesis is fine; another genesis is a conflict.
func (s *Service) Found(ctx context.Context, genesis wire.GroupGenesis) error {
	if err := genesis.Verify(); err != nil {
		return err
	}
	known, found, err := s.readGenesis(ctx, genesis.Group)
	if err != nil {
		return err
	}
	if found {
		return sameGenesis(known, genesis)
	}
	b := s.opts.DB.Batch()
	defer b.Abandon()
	if err := putGenesis(b, genesis); err != nil {
		return err
	}
	return b.Commit(context.WithoutCancel(ctx))
}

func sameGenesis(a, b wire.GroupGenesis) error {
	one, err := wire.Encode(a)
	if err != nil {
		return err
	}
	other, err := wire.Encode(b)
	if err != nil {
		return err
	}
	if string(one) != string(other) {
		return errkind.AlreadyExists.Errorf("group '%s' already exists with another genesis", a.Group.Debug())
	}
	return nil
}

// Genesis of a group.
func (s *Service) Genesis(ctx context.Context, id domain.GroupID) (genesis wire.GroupGenesis, err error) {
	err = s.with(ctx, id, func(g *group) error {
		genesis = g.genesis
		return nil
	})
	return genesis, err
}

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

// Log lists operations with their verdicts in the order in which they were taken here, from a position on.
func (s *Service) Log(ctx context.Context, id domain.GroupID, from, limit int) (log []governance.Entry, total int, err error) {
	err = s.with(ctx, id, func(g *group) error {
		log, total = g.engine.Log(from, limit), g.engine.Len()
		return nil
	})
	return log, total, err
}
