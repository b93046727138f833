package groups

import (
	"context"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Stage makes operations of one author as Issue does, as part of a batch of the caller's. It holds the group until the
// batch ends, by Commit or Abandon, so nothing else may be asked of the group in between; who holds a context's lock too
// takes that one first. The operations are published when the batch is committed.
func (s *Service) Stage(ctx context.Context, b *store.Batch, id domain.GroupID, key domain.PrivateKey, bodies ...wire.GroupOp) ([]domain.Hash, error) {
	return s.stage(ctx, b, id, func(t *taking) ([]domain.Hash, error) { return t.make(key, bodies) })
}

// StageJoin makes a join by invitation, as Stage does. With early, what the invitation needs may be unknown here as yet:
// the operation names no parents then, and counts once that has come.
func (s *Service) StageJoin(ctx context.Context, b *store.Batch, id domain.GroupID, key domain.PrivateKey, body wire.GroupOp,
	early bool) (op domain.Hash, err error) {
	_, err = s.stage(ctx, b, id, func(t *taking) ([]domain.Hash, error) {
		made, err := s.makeJoin(t.g, key, body, early)
		if err == nil {
			op, err = made.op.ID, t.addOwn(made)
		}
		return nil, err
	})
	return op, err
}

func (s *Service) stage(ctx context.Context, b *store.Batch, id domain.GroupID,
	fill func(*taking) ([]domain.Hash, error)) ([]domain.Hash, error) {
	g, err := s.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	t := s.begin(g)
	t.batch.Abandon()
	t.batch = b
	var now *governance.State
	ops, err := fill(t)
	if err == nil {
		now, err = t.stage(ctx)
	}
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		g.forget()
		s.release(ctx, g)
		return nil, err
	}
	b.AfterCommit(func(err error) {
		defer s.release(ctx, g)
		if err != nil {
			g.forget()
			return
		}
		g.state = now
		s.meets(g)
		t.tell()
		t.publish()
	})
	return ops, nil
}

// makeJoin makes a join by invitation.
func (s *Service) makeJoin(g *group, key domain.PrivateKey, body wire.GroupOp, early bool) (held, error) {
	unsigned, err := g.next(key.Public(), body)
	if err != nil {
		return held{}, err
	}
	code, err := s.try(g, unsigned)
	switch {
	case err != nil:
		return held{}, err
	case code == governance.Applied:
	case early && (code == governance.RefusedContextNotInGroup || code == governance.RefusedInviterLacks):
		unsigned.Parents = nil
	default:
		return held{}, refused(g.id, code, body)
	}
	return g.sign(key, unsigned)
}
