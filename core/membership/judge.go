package membership

import (
	"context"
	"time"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// lateAfter is how long after its invitation's time a claim may come: it takes its way through the network, and clocks
// differ.
const lateAfter = 10 * time.Minute

// effect is what an operation does.
type effect struct {
	admits []admission
	late   bool // it may admit later
}

type admission struct {
	op      domain.Hash // the claim
	member  domain.PublicKey
	context domain.ContextID
	stored  bool // the rows are in the batch already
}

// judge says what an operation does. An error of kind Invalid is for ever, one of kind PermissionDenied as far as is
// known now.
func (g *group) judge(ctx context.Context, r *record) (effect, error) {
	if r.op.Group != g.id {
		return effect{}, errkind.Invalid.Errorf("the operation is of group %s", r.op.Group)
	}
	role, member := g.members[r.op.Signer]
	claim, ok := r.op.Op.(wire.OpMemberJoinedViaContextInvitation)
	if !ok {
		if !member {
			return effect{}, errkind.PermissionDenied.Errorf("%s is not a member of the group", r.op.Signer)
		}
		if role != domain.RoleAdmin {
			return effect{}, nil
		}
		return effect{admits: g.vouched(r)}, nil
	}
	inv, err := claim.Invitation()
	if err != nil {
		return effect{}, err
	}
	if err := inv.Verify(claim.InviterSignature); err != nil {
		return effect{}, err
	}
	if member {
		return effect{}, nil
	}
	if err := g.mayInvite(ctx, inv.Inviter); err != nil {
		return effect{}, err
	}
	registered, err := store.GroupContext.Has(ctx, g.m.opts.DB, store.GroupContextKey{Group: g.id, Context: inv.Target})
	if err != nil {
		return effect{}, err
	}
	if !registered {
		return effect{}, errkind.PermissionDenied.Errorf("context %s is not known to be in the group", inv.Target)
	}
	if g.m.opts.Now().After(expiry(inv).Add(lateAfter)) {
		return effect{late: true}, nil
	}
	return effect{admits: []admission{{op: r.id, member: r.op.Signer, context: inv.Target}}}, nil
}

// expiry is when an invitation ends.
func expiry(inv wire.ContextInvitation) time.Time {
	const last = 1 << 40 // seconds, beyond what time.Time compares well
	return time.Unix(int64(min(inv.Expiration, last)), 0)
}

// mayInvite asks whether an identity may invite to contexts of the group.
func (g *group) mayInvite(ctx context.Context, inviter domain.PublicKey) error {
	role, member := g.members[inviter]
	if member && role == domain.RoleAdmin {
		return nil
	}
	if member {
		caps, _, err := store.GroupMemberCapability.Get(ctx, g.m.opts.DB, store.GroupMemberKey{Group: g.id, Member: inviter})
		if err != nil {
			return err
		}
		if domain.GroupCapabilities(caps).Has(domain.CanInviteMembers) {
			return nil
		}
	}
	return errkind.PermissionDenied.Errorf("inviter lacks permission (not admin and missing CAN_INVITE_MEMBERS)")
}

// vouched are the late claims in the past of an admin's operation: the admin knew them in time, or takes them all the
// same.
func (g *group) vouched(r *record) []admission {
	if len(g.late) == 0 {
		return nil
	}
	var admits []admission
	seen := map[domain.Hash]struct{}{}
	for stack := append([]domain.Hash(nil), r.op.Parents...); len(stack) > 0; {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if _, again := seen[id]; again || g.graph.Status(id) != dag.Applied {
			continue
		}
		seen[id] = struct{}{}
		if l := g.late[id]; l != nil {
			claim, _ := l.op.Op.(wire.OpMemberJoinedViaContextInvitation)
			admits = append(admits, admission{op: id, member: l.op.Signer, context: claim.Context})
		}
		stack = append(stack, g.graph.Parents(id)...)
	}
	return admits
}
