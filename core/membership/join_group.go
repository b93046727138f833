package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// GroupInvitation lets whoever holds it join a group. What stands beside the signed part is a help, not signed.
type GroupInvitation struct {
	wire.SignedGroupInvitation
	Alias *string
	// What the reference does not have: the genesis of the group, and its application, with the bytecode and where it was
	// installed from.
	Genesis     *wire.InvitedGenesis
	Application *domain.ApplicationID
	Blob        *domain.BlobID
	Source      *string
}

func (inv GroupInvitation) card() card {
	i := inv.Invitation
	c := card{group: i.Target, inviter: i.Inviter, invitation: i.Hash(), genesis: inv.Genesis}
	if inv.Application != nil {
		c.application = *inv.Application
	}
	return c
}

// GroupInvite asks for an invitation to a group.
type GroupInvite struct {
	Group   domain.GroupID
	Inviter domain.PrivateKey
	Valid   time.Duration // 0 = MaxValidity
	OneUse  bool          // for one identity
}

// InviteToGroup makes an invitation to a group, signed by an identity that may invite.
func (m *Manager) InviteToGroup(ctx context.Context, r GroupInvite) (*GroupInvitation, error) {
	if r.Valid < 0 || r.Valid > MaxValidity {
		return nil, errkind.Invalid.Errorf("an invitation is valid for at most %d seconds", int64(MaxValidity.Seconds()))
	}
	if r.Valid == 0 {
		r.Valid = MaxValidity
	}
	state, err := m.opts.Groups.State(ctx, r.Group)
	if errors.Is(err, errkind.NotFound) || err == nil && state.Deleted {
		return nil, errkind.NotFound.Errorf("group not found")
	}
	if err != nil {
		return nil, err
	}
	if err := m.mayInvite(ctx, r.Group, r.Inviter.Public()); err != nil {
		return nil, err
	}
	signed := wire.GroupInvitation{
		Inviter: r.Inviter.Public(), Target: r.Group, Expiration: uint64(m.opts.Now().Add(r.Valid).Unix()), //nolint:gosec // after 1970
	}
	if _, err := rand.Read(signed.Salt[:]); err != nil {
		return nil, fmt.Errorf("draw a salt: %w", err)
	}
	if r.OneUse {
		copy(signed.Salt[:], wire.OneUseSalt)
	}
	inv := &GroupInvitation{Alias: state.Alias, Application: &state.Target}
	inv.Invitation = signed
	if inv.InviterSignature, err = signed.Sign(r.Inviter); err != nil {
		return nil, err
	}
	app, found, err := store.Application.Get(ctx, m.opts.DB, state.Target)
	if err != nil {
		return nil, err
	}
	if found {
		inv.Blob, inv.Source = &app.Bytecode, &app.Source
	}
	inv.Genesis, err = m.vouchFor(ctx, r.Group, signed.Hash(), r.Inviter)
	return inv, err
}

// JoinedGroup is what came of joining a group.
type JoinedGroup struct {
	Group    domain.GroupID
	Member   domain.PublicKey
	Contexts []domain.ContextID // entered so far
}

// JoinGroup makes an identity of this node a member of a group that others have, and enters its contexts that are open, or
// that list the member. Nobody needs to be reachable: the claim is made, the rest follows when peers are there, also after
// a restart. The invitation counts only within its time.
func (m *Manager) JoinGroup(ctx context.Context, inv GroupInvitation, joiner domain.PrivateKey) (JoinedGroup, error) {
	id, member := inv.Invitation.Target, joiner.Public()
	joined := JoinedGroup{Group: id, Member: member}
	if err := inv.Verify(); err != nil {
		return joined, err
	}
	if !m.opts.Now().Before(expiry(inv.Invitation.Expiration)) {
		return joined, errkind.Precondition.Errorf("the invitation to group '%s' has expired at %s", id.Debug(),
			expiry(inv.Invitation.Expiration).UTC().Format(time.RFC3339))
	}
	if err := checkSource(inv.Source); err != nil {
		return joined, err
	}
	fresh, err := m.found(ctx, inv.card())
	if err != nil {
		return joined, err
	}
	if err = m.Follow(ctx, id); err == nil {
		i := inv.Invitation
		var shown *wire.GroupPass
		if shown, err = pass(i.Inviter, i.Target, i.Expiration, i.Salt, inv.InviterSignature); err == nil {
			met := m.traffic(id).meet(ctx, joiner, shown)
			err = m.claim(ctx, inv, joiner, fresh && !met)
		}
	}
	if err != nil {
		if fresh {
			err = errors.Join(err, m.unfound(ctx, id))
		}
		return joined, err
	}
	joined.Contexts, err = m.enterAll(ctx, id, joiner)
	return joined, err
}

// claim commits a join by an invitation to a group as one batch: the operation, the key, and that contexts are to be
// entered. One that was made before is not made again.
func (m *Manager) claim(ctx context.Context, inv GroupInvitation, joiner domain.PrivateKey, early bool) error {
	id := inv.Invitation.Target
	if _, found, err := m.opts.Groups.Role(ctx, id, joiner.Public()); err != nil || found {
		if err == nil {
			err = errkind.AlreadyExists.Errorf("identity is already a member of this group")
		}
		return err
	}
	joining, err := m.joining(ctx, id)
	if err != nil || joining != nil && *joining == joiner.Public() {
		return err
	}
	body, err := inv.Claim(joiner)
	if err != nil {
		return err
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	store.GroupSigningKey.Put(b, store.GroupMemberKey{Group: id, Member: joiner.Public()}, wire.ID32(joiner))
	m.putJoining(b, id, joiner.Public())
	if inv.Application != nil {
		if err := m.stageApplication(ctx, b, *inv.Application, inv.Blob, inv.Source, "calimero://group/"+id.String()); err != nil {
			return err
		}
	}
	if _, err := m.opts.Groups.StageJoin(ctx, b, id, joiner, body, early); err != nil {
		return err
	}
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	m.traffic(id).join(joiner)
	return nil
}

// JoinGroupContext enters a context of a group with an identity of this node that is a member (governance.md §6.5). Entering
// again changes nothing.
func (m *Manager) JoinGroupContext(ctx context.Context, id domain.GroupID, c domain.ContextID, joiner domain.PrivateKey) error {
	v, err := m.visitor(ctx, id, joiner)
	if err != nil {
		return err
	}
	if err := v.may(c, false); err != nil {
		return err
	}
	return m.enterContext(ctx, v, c)
}
