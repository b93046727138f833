package groups

import (
	"context"
	"errors"
	"math"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// maxHeads is how many heads an operation names: the reference keeps no more.
const maxHeads = 64

// Issue makes an operation with the key of its author, and publishes it. It is an error, and nothing happens, when the
// author has not the right now. The state hash stays zero: a reference peer that sees another group would refuse for
// ever what names one.
func (s *Service) Issue(ctx context.Context, id domain.GroupID, key domain.PrivateKey, body wire.GroupOp) (op domain.Hash, err error) {
	err = s.with(ctx, id, func(g *group) error {
		ops, err := s.issue(ctx, g, key, body)
		if err == nil {
			op = ops[0]
		}
		return err
	})
	return op, err
}

// issue makes operations of one author in one commit.
func (s *Service) issue(ctx context.Context, g *group, key domain.PrivateKey, bodies ...wire.GroupOp) ([]domain.Hash, error) {
	t := s.begin(g)
	defer t.batch.Abandon()
	ops, err := t.make(key, bodies)
	if err != nil {
		if t.moved {
			g.forget()
		}
		return nil, err
	}
	if err := t.commit(ctx); err != nil {
		return nil, err
	}
	t.publish()
	return ops, nil
}

// Begin adds a new group to a batch of the caller's: its genesis, which must be signed, and first operations of an
// identity. They are published when the batch is committed. Until then nothing else may be done with the group.
func (s *Service) Begin(ctx context.Context, b *store.Batch, genesis wire.GroupGenesis, key domain.PrivateKey,
	bodies ...wire.GroupOp) error {
	if err := genesis.Verify(); err != nil {
		return err
	}
	if _, err := s.Origin(ctx, genesis.Group); err == nil {
		return errkind.AlreadyExists.Errorf("group '%s' already exists", genesis.Group.Debug())
	} else if !notFound(err) {
		return err
	}
	return s.sprout(ctx, b, genesis, genesisScope, key, bodies)
}

// sprout adds a new group with first operations to a batch.
func (s *Service) sprout(ctx context.Context, b *store.Batch, genesis wire.GroupGenesis, scope [16]byte, key domain.PrivateKey,
	bodies []wire.GroupOp) error {
	if err := s.plant(ctx, b, genesis, scope); err != nil {
		return err
	}
	g := &group{id: genesis.Group}
	g.begin(genesis, nil)
	t := s.begin(g)
	t.batch.Abandon()
	t.batch = b
	if _, err := t.make(key, bodies); err != nil {
		return err
	}
	if _, err := t.stage(ctx); err != nil {
		return err
	}
	b.AfterCommit(func(err error) {
		if err == nil {
			t.tell()
			t.publish()
		}
	})
	return nil
}

// Forget adds the removal of a group from this node to a batch of the caller's. Nobody else learns of it. As Stage, it holds
// the group until the batch ends, so that nothing is added to what goes.
func (s *Service) Forget(ctx context.Context, b *store.Batch, id domain.GroupID) error {
	ctx = context.WithoutCancel(ctx)
	g, err := s.lock(ctx, id)
	switch {
	case errors.Is(err, errkind.NotFound): // without a genesis there are rows only
	case err != nil:
		return err
	default:
		if err := s.deleteOwn(ctx, b, g); err != nil {
			s.release(ctx, g)
			return err
		}
		b.AfterCommit(func(err error) {
			defer s.release(ctx, g)
			g.forget()
			if err == nil {
				s.drop(g)
				s.leaves(id)
			}
		})
	}
	deleteRows(b, id)
	store.GroupOpLog.DeletePrefix(b, wire.GroupOpLogPrefix(id))
	store.GroupOpHead.Delete(b, id)
	store.GroupLocalNonce.DeletePrefix(b, wire.RowGroupLocalNonce.Prefix(id))
	store.GroupParent.Delete(b, id)
	for _, scope := range [][16]byte{genesisScope, provisionalScope, conflictScope, inheritedScope} {
		store.Generic.Delete(b, store.GenericKey{Scope: scope, Fragment: id})
	}
	return b.Err()
}

// deleteOwn removes the rows of a group whose keys do not begin with its id.
func (s *Service) deleteOwn(ctx context.Context, b *store.Batch, g *group) error {
	deleteContextRows(b, g.id, g.state)
	for claim := range g.late {
		store.Generic.Delete(b, lateKey(claim))
	}
	return s.scanPending(ctx, g.id, func(op governance.Op, _ []byte) error {
		store.Generic.Delete(b, store.GenericKey{Scope: pendingScope, Fragment: op.ID})
		return nil
	})
}

// make makes and takes operations of one author, one after the other.
func (t *taking) make(key domain.PrivateKey, bodies []wire.GroupOp) (ops []domain.Hash, err error) {
	for _, body := range bodies {
		made, err := t.s.make(t.g, key, body)
		if err == nil {
			err = t.addOwn(made)
		}
		if err != nil {
			return nil, err
		}
		ops = append(ops, made.op.ID)
	}
	return ops, nil
}

// make makes an operation, unless its author has not the right.
func (s *Service) make(g *group, key domain.PrivateKey, body wire.GroupOp) (held, error) {
	unsigned, err := g.next(key.Public(), body)
	if err != nil {
		return held{}, err
	}
	code, err := s.try(g, unsigned)
	if err == nil && code != governance.Applied {
		err = refused(g.id, code, body)
	}
	if err != nil {
		return held{}, err
	}
	return g.sign(key, unsigned)
}

func (g *group) sign(key domain.PrivateKey, unsigned wire.SignableGroupOp) (held, error) {
	_, raw, err := unsigned.SignRaw(key)
	if err != nil {
		return held{}, err
	}
	op, err := readOp(g.id, raw) // as everybody will read it
	return held{op, raw}, err
}

// addOwn takes an operation made here.
func (t *taking) addOwn(h held) error {
	t.made[h.op.ID] = true
	if err := t.add(h, ""); err != nil {
		return err
	}
	t.settle()
	return t.failed[h.op.ID]
}

// publish hands what was taken to the peers' side, after the commit.
func (t *taking) publish() {
	if t.s.opts.Publish == nil {
		return
	}
	for _, h := range t.taken {
		t.s.opts.Publish(Published{Group: t.g.id, ID: h.op.ID, Parents: h.op.Parents, Raw: h.raw})
	}
}

// next gives an operation its place: after the heads, with a nonce above all that were seen of its author.
func (g *group) next(author domain.PublicKey, body wire.GroupOp) (wire.SignableGroupOp, error) {
	if g.nonces[author] == math.MaxUint64 {
		return wire.SignableGroupOp{}, errkind.Exhausted.Errorf("group governance nonce overflow")
	}
	heads := g.engine.Heads()
	return wire.SignableGroupOp{
		Version: wire.GroupOpVersion, Group: g.id, Parents: heads[:min(len(heads), maxHeads)], Signer: author,
		Nonce: g.nonces[author] + 1, Op: body,
	}, nil
}

// try judges an operation before it is signed. An error is of a join that must not be made, whatever the group.
func (s *Service) try(g *group, unsigned wire.SignableGroupOp) (governance.Code, error) {
	op, err := governance.ReadOp(g.id, wire.SignedGroupOp{SignableGroupOp: unsigned})
	if err != nil {
		return "", err
	}
	if op.Claim != nil {
		if err := errors.Join(g.unsure(), s.ended(&op)); err != nil {
			return "", err
		}
	}
	return g.engine.Try(op), nil
}

// refusal is the error of an operation that would be refused, in the reference's words where it has them.
func refusal(id domain.GroupID, code governance.Code) error {
	switch code {
	case governance.RefusedNotAdmin, governance.VoidInheritedLost:
		return errkind.PermissionDenied.Errorf("requester is not an admin of group '%s'", id.Debug())
	case governance.RefusedLastAdmin:
		return errkind.Precondition.Errorf("cannot remove the last admin of the group")
	case governance.RefusedDeleteWithContexts:
		return errkind.Precondition.Errorf("cannot delete group: one or more contexts are still registered")
	case governance.RefusedBadMode, governance.RefusedInvitationGroup, governance.RefusedInvitationPayload,
		governance.RefusedInvitationSignature, governance.RefusedTooManyParents:
		return errkind.Invalid.Errorf("%s", code.Reason())
	case governance.RefusedInviterLacks:
		return errkind.PermissionDenied.Errorf("inviter lacks permission (not admin and missing CAN_INVITE_MEMBERS)")
	case governance.RefusedAlreadyMember:
		return errkind.AlreadyExists.Errorf("identity is already a member of this group")
	case governance.RefusedInvitationClosed, governance.RefusedInvitationUsed, governance.RefusedGroupDeleted,
		governance.RefusedContextNotInGroup, governance.RefusedNoVisibility, governance.RefusedNotASubgroup,
		governance.RefusedTeeNoPolicy, governance.RefusedTeePolicy:
		return errkind.Precondition.Errorf("%s", code.Reason())
	}
	return errkind.PermissionDenied.Errorf("%s", code.Reason())
}
