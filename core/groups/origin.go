package groups

import (
	"context"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Origin is where a group begins.
type Origin struct {
	Genesis wire.GroupGenesis
	// Provisional: nobody signed the genesis. It was made from an invitation, and the real one replaces it.
	Provisional bool
	// Conflict is another genesis of the same group, by which others may go; nil for none. Until the user chooses, no
	// join is made here.
	Conflict *wire.GroupGenesis
}

// conflict is a second genesis. A settled one is kept, so that it does not come up again.
type conflict struct {
	other   wire.GroupGenesis
	settled bool
}

// Origin of a group.
func (s *Service) Origin(ctx context.Context, id domain.GroupID) (o Origin, err error) {
	err = s.with(ctx, id, func(g *group) error {
		o = Origin{Genesis: g.genesis, Provisional: g.provisional}
		if g.conflict != nil && !g.conflict.settled {
			other := g.conflict.other
			o.Conflict = &other
		}
		return nil
	})
	return o, err
}

// Genesis of a group.
func (s *Service) Genesis(ctx context.Context, id domain.GroupID) (wire.GroupGenesis, error) {
	o, err := s.Origin(ctx, id)
	return o.Genesis, err
}

// Found creates a group from its genesis, which the caller trusts: its own, one that its id proves, or one that a member
// who invites vouches for. The same genesis again is fine. It replaces a provisional one, and all verdicts are computed
// anew. Otherwise the first stays: another one is remembered as a conflict and the error, of kind AlreadyExists, begins
// with GENESIS_CONFLICT.
func (s *Service) Found(ctx context.Context, genesis wire.GroupGenesis) error {
	if err := genesis.Verify(); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	s.settle(ctx)
	g := s.enter(genesis.Group)
	defer s.release(ctx, g)
	_, stored, err := s.readGenesis(ctx, genesis.Group, genesisScope)
	if err == nil && !stored {
		_, stored, err = s.readGenesis(ctx, genesis.Group, provisionalScope)
	}
	if err == nil && !stored {
		return s.found(ctx, g, genesis)
	}
	if err != nil {
		return err
	}
	if err := s.ensure(ctx, g); err != nil {
		return err
	}
	same, err := sameGenesis(g.genesis, genesis)
	switch {
	case err != nil:
		return err
	case g.provisional:
		return s.rebase(ctx, g, genesis, func(b *store.Batch) error {
			store.Generic.Delete(b, store.GenericKey{Scope: provisionalScope, Fragment: g.id})
			g.provisional = false
			return nil
		})
	case same:
		return nil
	}
	return s.disagree(ctx, g, genesis)
}

// found stores a group that is new, while it is locked.
func (s *Service) found(ctx context.Context, g *group, genesis wire.GroupGenesis) error {
	b := s.opts.DB.Batch()
	defer b.Abandon()
	err := putGenesis(b, genesis, genesisScope)
	if err == nil {
		err = b.Commit(context.WithoutCancel(ctx))
	}
	if err != nil {
		s.drop(g)
		return err
	}
	return s.ensure(ctx, g)
}

// plant adds a group that is new to a batch. Once that is committed, the others are told of it.
func (s *Service) plant(ctx context.Context, b *store.Batch, genesis wire.GroupGenesis, scope [16]byte) error {
	if err := putGenesis(b, genesis, scope); err != nil {
		return err
	}
	b.AfterCommit(func(err error) {
		if err != nil {
			return
		}
		if err := s.read(context.WithoutCancel(ctx), genesis.Group); err != nil {
			s.opts.Logger.Warn("a new group cannot be read yet", "group", genesis.Group, "err", err)
		}
	})
	return b.Err()
}

// sameGenesis compares what was signed. A second signature over the same is no conflict.
func sameGenesis(a, b wire.GroupGenesis) (bool, error) {
	one, err := a.Hash()
	if err != nil {
		return false, err
	}
	other, err := b.Hash()
	return one == other, err
}

// disagree remembers another genesis.
func (s *Service) disagree(ctx context.Context, g *group, other wire.GroupGenesis) error {
	if g.conflict != nil && g.conflict.settled {
		if same, err := sameGenesis(g.conflict.other, other); err != nil || same {
			return err
		}
	}
	if g.conflict == nil || g.conflict.settled {
		c := &conflict{other: other}
		b := s.opts.DB.Batch()
		defer b.Abandon()
		if err := putConflict(b, c); err != nil {
			return err
		}
		if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		g.conflict = c
		s.opts.Logger.Warn("a group has two geneses: joins stop until one is chosen", "group", g.id)
	}
	return errkind.AlreadyExists.Errorf("GENESIS_CONFLICT: group '%s' already exists with another genesis; GET /admin-api/groups/%s/genesis "+
		"shows both, and POST chooses one", g.id.Debug(), g.id)
}

// Candidate is a genesis by which a group may go, and what the operations that are here make of the group by it.
type Candidate struct {
	ID      domain.Hash // wire.GroupGenesis.Hash
	Genesis wire.GroupGenesis
	// Kept: the group goes by it. Provisional: nobody signed it.
	Kept, Provisional bool
	Members           int
	Counting          int // operations that count, of Operations
	Operations        int
}

// Candidates are the geneses of a group: the one that is kept, then the one that contradicts it, if one came. Chosen tells
// that none is open, so that joins go on.
func (s *Service) Candidates(ctx context.Context, id domain.GroupID) (candidates []Candidate, chosen bool, err error) {
	err = s.with(ctx, id, func(g *group) error {
		kept, err := candidate(g.genesis, g.engine)
		if err != nil {
			return err
		}
		kept.Kept, kept.Provisional = true, g.provisional
		candidates, chosen = []Candidate{kept}, g.conflict == nil || g.conflict.settled
		if g.conflict == nil {
			return nil
		}
		engine := governance.NewEngine(beginning(g.conflict.other), g.inherited)
		for _, e := range g.engine.Log(0, g.engine.Len()) {
			if err := engine.Restore(e.Op); err != nil {
				return err
			}
		}
		engine.Settle()
		other, err := candidate(g.conflict.other, engine)
		candidates = append(candidates, other)
		return err
	})
	return candidates, chosen, err
}

func candidate(genesis wire.GroupGenesis, by *governance.Engine) (c Candidate, err error) {
	c = Candidate{Genesis: genesis, Members: len(by.State().Members), Operations: by.Len()}
	for _, e := range by.Log(0, by.Len()) {
		if e.Verdict.Code == governance.Applied {
			c.Counting++
		}
	}
	c.ID, err = genesis.Hash()
	return c, err
}

// Choose ends a conflict: by keeping the genesis that was first here, or by taking the other, which computes everything
// anew. It may be chosen again. Kinds: Precondition when there is one genesis only, NotFound for one that is none of
// Candidates.
func (s *Service) Choose(ctx context.Context, id domain.GroupID, genesis domain.Hash) error {
	return s.with(ctx, id, func(g *group) error {
		if g.conflict == nil {
			return errkind.Precondition.Errorf("group '%s' has one genesis only", id.Debug())
		}
		to, left := g.genesis, g.conflict.other
		kept, err := to.Hash()
		if err != nil {
			return err
		}
		if genesis != kept {
			to, left = left, to
		}
		switch hash, err := to.Hash(); {
		case err != nil:
			return err
		case hash != genesis:
			return errkind.NotFound.Errorf("group '%s' has no genesis %s", id.Debug(), genesis)
		case genesis == kept && g.conflict.settled:
			return nil
		}
		err = s.rebase(ctx, g, to, func(b *store.Batch) error {
			g.conflict = &conflict{other: left, settled: true}
			return putConflict(b, g.conflict)
		})
		if err == nil {
			s.opts.Logger.Info("the genesis of a group was chosen", "group", id, "genesis", genesis, "creator", to.Creator)
		}
		return err
	})
}

// unsure is the error of a join to a group with two geneses.
func (g *group) unsure() error {
	if g.conflict == nil || g.conflict.settled {
		return nil
	}
	return errkind.Precondition.Errorf("GENESIS_CONFLICT: group '%s' has two geneses; choose one via POST /admin-api/groups/%s/genesis first",
		g.id.Debug(), g.id)
}

// rebase gives a group another genesis, in one commit with what more adds.
func (s *Service) rebase(ctx context.Context, g *group, genesis wire.GroupGenesis, more func(*store.Batch) error) error {
	t := s.begin(g)
	defer t.batch.Abandon()
	t.moved, t.meta = true, true
	g.genesis, g.bare = genesis, nil
	if err := more(t.batch); err != nil {
		g.forget()
		return err
	}
	if err := putRecord(t.batch, genesis, genesisScope); err != nil {
		g.forget()
		return err
	}
	t.changes = g.engine.Rebase(beginning(genesis), g.inherited)
	if err := t.commit(ctx); err != nil {
		return err
	}
	s.kin.stale.Store(true)
	return nil
}

func putConflict(b *store.Batch, c *conflict) error {
	raw, err := wire.Encode(c.other)
	if err != nil {
		return err
	}
	settled := byte(0)
	if c.settled {
		settled = 1
	}
	store.Generic.Put(b, store.GenericKey{Scope: conflictScope, Fragment: c.other.Group}, append([]byte{settled}, raw...))
	return b.Err()
}

func (s *Service) readConflict(ctx context.Context, id domain.GroupID) (*conflict, error) {
	raw, found, err := store.Generic.Get(ctx, s.opts.DB, store.GenericKey{Scope: conflictScope, Fragment: id})
	if err != nil || !found {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, errkind.Corrupt.Errorf("second genesis of group %s is empty", id)
	}
	other, err := wire.Decode[wire.GroupGenesis](raw[1:])
	if err != nil {
		return nil, errkind.Corrupt.Errorf("second genesis of group %s: %w", id, err)
	}
	return &conflict{other: other, settled: raw[0] == 1}, nil
}

// FoundProvisional adds a group that nobody's genesis came for to a batch of the caller's, with first operations of an
// identity, as Begin does: its founder is who invites. A group that is here stays as it is, and no operation is made.
func (s *Service) FoundProvisional(ctx context.Context, b *store.Batch, genesis wire.GroupGenesis, key domain.PrivateKey,
	bodies ...wire.GroupOp) error {
	if genesis.Kind != wire.GenesisVouched || genesis.CreatorSignature != (domain.Signature{}) || genesis.IDSignature != nil {
		return errkind.Invalid.Errorf("a provisional genesis is one that nobody signed")
	}
	if _, err := s.Origin(ctx, genesis.Group); !notFound(err) {
		return err
	}
	return s.sprout(ctx, b, genesis, provisionalScope, key, bodies)
}
