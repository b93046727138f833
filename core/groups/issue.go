package groups

import (
	"context"
	"math"

	"github.com/calimero-go/core/core/governance"
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
		unsigned, err := g.next(key.Public(), body)
		if err != nil {
			return err
		}
		if code := g.try(unsigned); code != governance.Applied {
			return refusal(id, code)
		}
		signed, err := unsigned.Sign(key)
		if err != nil {
			return err
		}
		raw, err := wire.Encode(signed)
		if err != nil {
			return err
		}
		made, err := readOp(id, raw) // as everybody will read it
		if err != nil {
			return err
		}
		t := s.begin(g)
		defer t.batch.Abandon()
		if err := t.add(held{made, raw}, ""); err != nil {
			return err
		}
		if err := t.failed[made.ID]; err != nil {
			g.forget()
			return err
		}
		if err := t.commit(ctx); err != nil {
			return err
		}
		op = made.ID
		if s.opts.Publish != nil {
			s.opts.Publish(Published{Group: id, ID: made.ID, Parents: made.Parents, Raw: raw})
		}
		return nil
	})
	return op, err
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

// try judges an operation before it is signed.
func (g *group) try(unsigned wire.SignableGroupOp) governance.Code {
	op, err := governance.ReadOp(g.id, wire.SignedGroupOp{SignableGroupOp: unsigned})
	if err != nil {
		return governance.Applied // cannot be encoded, as signing will say
	}
	return g.engine.Try(op)
}

// refusal is the error of an operation that would be refused, in the reference's words where it has them.
func refusal(id domain.GroupID, code governance.Code) error {
	switch code {
	case governance.RefusedNotAdmin:
		return errkind.PermissionDenied.Errorf("requester is not an admin of group '%s'", id.Debug())
	case governance.RefusedLastAdmin:
		return errkind.Precondition.Errorf("cannot remove the last admin of the group")
	case governance.RefusedDeleteWithContexts:
		return errkind.Precondition.Errorf("cannot delete group: one or more contexts are still registered")
	case governance.RefusedBadMode, governance.RefusedInvitationGroup, governance.RefusedInvitationPayload,
		governance.RefusedInvitationSignature, governance.RefusedTooManyParents:
		return errkind.Invalid.Errorf("%s", code.Reason())
	case governance.RefusedAlreadyMember:
		return errkind.AlreadyExists.Errorf("identity is already a member of this group")
	case governance.RefusedInvitationClosed, governance.RefusedInvitationUsed, governance.RefusedGroupDeleted,
		governance.RefusedContextNotInGroup, governance.RefusedNoVisibility, governance.RefusedNotASubgroup,
		governance.RefusedTeeNoPolicy, governance.RefusedTeePolicy:
		return errkind.Precondition.Errorf("%s", code.Reason())
	}
	return errkind.PermissionDenied.Errorf("%s", code.Reason())
}
