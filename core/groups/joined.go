package groups

import (
	"context"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// putJoined makes those known in a context that is here who have joined it by invitation: their rows have no keys yet. Who
// joins from here has a row with keys in the batch already.
func (t *taking) putJoined(ctx context.Context, now *governance.State) error {
	for _, c := range t.changes {
		if c.New.Code != governance.Applied || t.made[c.ID] {
			continue
		}
		op, err := t.op(ctx, c.ID)
		if err != nil {
			return err
		}
		join, ok := op.Body.(wire.OpMemberJoinedViaContextInvitation)
		if _, member := now.Members[op.Author]; !ok || !member {
			continue
		}
		key := store.IdentityKey{Context: join.Context, Identity: op.Author}
		if known, err := store.ContextIdentity.Has(ctx, t.s.opts.DB, key); err != nil || known {
			if err != nil {
				return err
			}
			continue
		}
		owner, found, err := store.ContextGroup.Get(ctx, t.s.opts.DB, join.Context)
		if err != nil {
			return err
		}
		if found && domain.GroupID(owner) == t.g.id {
			store.ContextIdentity.Put(t.batch, key, wire.ContextIdentity{})
		}
	}
	return nil
}

// op is an operation of the log, or of what is on its way there.
func (t *taking) op(ctx context.Context, id domain.Hash) (governance.Op, error) {
	for _, h := range t.taken {
		if h.op.ID == id {
			return h.op, nil
		}
	}
	raws, err := t.s.raw(ctx, t.g, []domain.Hash{id})
	if err != nil {
		return governance.Op{}, err
	}
	if len(raws) == 0 {
		return governance.Op{}, errkind.Internal.Errorf("operation %s of group %s is not in the log", id, t.g.id)
	}
	return readOp(t.g.id, raws[0])
}
