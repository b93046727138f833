package membership

import (
	"context"
	"errors"
	"time"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// JoinContext makes a pooled identity of this node a member of a context that others have: it becomes the holder of what the
// context needs here, and tells the group. State and application come afterwards, from peers. Joining again changes
// nothing. The invitation counts only within its time.
func (m *Manager) JoinContext(ctx context.Context, inv Invitation, member domain.PublicKey) error {
	if err := inv.Verify(inv.Signature); err != nil {
		return err
	}
	if row, found, err := m.opts.Identity.Get(ctx, inv.Target, member); err != nil {
		return err
	} else if found && row.PrivateKey != nil {
		return nil
	}
	if !m.opts.Now().Before(expiry(inv.Expiration)) {
		return errkind.Precondition.Errorf("the invitation to context %s has expired at %s", inv.Target,
			expiry(inv.Expiration).UTC().Format(time.RFC3339))
	}
	key, err := m.opts.Identity.Pooled(ctx, member)
	if err != nil {
		return err
	}
	if err := m.completed(ctx, &inv); err != nil {
		return err
	}
	fresh, err := m.found(ctx, inv.card())
	if err != nil {
		return err
	}
	if err = m.Follow(ctx, *inv.Group); err == nil {
		var shown *wire.GroupPass
		if shown, err = pass(inv.Inviter, inv.Target, inv.Expiration, inv.Salt, inv.Signature); err == nil {
			met := m.traffic(*inv.Group).meet(ctx, key, shown)
			err = m.enter(ctx, inv, key, !met)
		}
	}
	if err != nil && fresh {
		err = errors.Join(err, m.unfound(ctx, *inv.Group))
	}
	return err
}

// completed fills in what the invitation does not say and this node knows, and refuses what contradicts that.
func (m *Manager) completed(ctx context.Context, inv *Invitation) error {
	info, err := m.opts.Contexts.Get(ctx, inv.Target)
	switch {
	case err == nil:
		inv.Application = &info.Application
	case !errors.Is(err, errkind.NotFound):
		return err
	}
	owner, found, err := m.Owner(ctx, inv.Target)
	if err != nil {
		return err
	}
	if found {
		inv.Group = &owner
	}
	for name, missing := range map[string]bool{"group": inv.Group == nil, "application": inv.Application == nil} {
		if missing {
			return errkind.Invalid.Errorf("the invitation does not name the %s of context %s, which is not known here", name, inv.Target)
		}
	}
	return checkSource(inv.Source)
}

// maxSource is the longest URL of an application.
const maxSource = 8 << 10

// card is what an invitation says of its group.
type card struct {
	group       domain.GroupID
	inviter     domain.PublicKey
	invitation  domain.Hash
	application domain.ApplicationID // zero: not said
	genesis     *wire.InvitedGenesis
}

func (inv Invitation) card() card {
	return card{
		group: *inv.Group, inviter: inv.Inviter, invitation: inv.Hash(), application: *inv.Application, genesis: inv.Genesis,
	}
}

// found begins a group that is not here with the genesis that the invitation has, or, for want of one, with what the
// invitation says. It tells whether the group is new here.
func (m *Manager) found(ctx context.Context, c card) (fresh bool, err error) {
	_, err = m.opts.Groups.Genesis(ctx, c.group)
	if fresh = errors.Is(err, errkind.NotFound); err != nil && !fresh {
		return false, err
	}
	if c.genesis != nil {
		if err := c.genesis.Verify(c.group, c.invitation, c.inviter); err != nil {
			return false, err
		}
		return fresh, m.opts.Groups.Found(ctx, c.genesis.Genesis)
	}
	if !fresh {
		return false, nil
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	err = m.opts.Groups.FoundProvisional(ctx, b, wire.GroupGenesis{
		Kind: wire.GenesisVouched, Group: c.group, Creator: c.inviter, Target: c.application,
		Policy: domain.UpgradePolicy{Mode: domain.UpgradeAutomatic}, CreatedAt: uint64(m.opts.Now().Unix()), AutoJoin: true, //nolint:gosec // after 1970
	}, domain.PrivateKey{})
	if err != nil {
		return true, err
	}
	return true, b.Commit(context.WithoutCancel(ctx))
}

// unfound forgets a group that was begun for a join that failed.
func (m *Manager) unfound(ctx context.Context, group domain.GroupID) error {
	ctx = context.WithoutCancel(ctx)
	b := m.opts.DB.Batch()
	defer b.Abandon()
	if err := m.opts.Groups.Forget(ctx, b, group); err != nil {
		return err
	}
	if err := b.Commit(ctx); err != nil {
		return err
	}
	return m.Unfollow(ctx, group)
}

// enter commits the rows of a join, its operation among them, as one batch.
func (m *Manager) enter(ctx context.Context, inv Invitation, key domain.PrivateKey, early bool) error {
	payload, err := wire.Encode(inv.ContextInvitation)
	if err != nil {
		return err
	}
	claim := wire.OpMemberJoinedViaContextInvitation{
		Context: inv.Target, Inviter: inv.Inviter, Payload: payload, InviterSignature: inv.Signature,
	}
	state, err := m.opts.Groups.State(ctx, *inv.Group)
	if err != nil {
		return err
	}
	early = early && len(state.Contexts) == 0 // its operations are still to come
	return m.opts.Contexts.Enter(ctx, contexts.EnterRequest{
		Context: inv.Target, Application: *inv.Application, Member: key,
		Stage: func(ctx context.Context, b *store.Batch) error {
			if err := m.stageJoin(ctx, b, inv, key); err != nil {
				return err
			}
			_, err := m.opts.Groups.StageJoin(ctx, b, *inv.Group, key, claim, early)
			return err
		},
	})
}

// stageJoin adds the rows of a join that do not follow from operations: what is this node's own, and the application.
func (m *Manager) stageJoin(ctx context.Context, b *store.Batch, inv Invitation, key domain.PrivateKey) error {
	store.GroupSigningKey.Put(b, store.GroupMemberKey{Group: *inv.Group, Member: key.Public()}, wire.ID32(key))
	store.ContextGroup.Put(b, inv.Target, wire.ID32(*inv.Group))
	if _, known, err := m.opts.Identity.Get(ctx, inv.Target, inv.Inviter); err != nil {
		return err
	} else if !known {
		m.opts.Identity.PutMember(b, inv.Target, inv.Inviter, nil)
	}
	return m.stageApplication(ctx, b, *inv.Application, inv.Blob, inv.Source, "calimero://context/"+inv.Target.String())
}

// stageApplication adds a record for an application that is not installed: its module comes from peers.
func (m *Manager) stageApplication(ctx context.Context, b *store.Batch, id domain.ApplicationID, blob *domain.BlobID,
	source *string, otherwise string) error {
	if blob == nil || blob.IsZero() {
		return nil
	}
	known, err := store.Application.Has(ctx, m.opts.DB, id)
	if err != nil || known {
		return err
	}
	from := otherwise
	if source != nil && *source != "" {
		from = *source
	}
	store.Application.Put(b, id, wire.ApplicationRecord{
		Bytecode: *blob, Source: from, Package: wire.UnknownPackage, Version: wire.UnknownVersion,
	})
	return b.Err()
}

func checkSource(source *string) error {
	if source != nil && len(*source) > maxSource {
		return errkind.TooLarge.Errorf("the source of the application takes %d bytes, the limit is %d", len(*source), maxSource)
	}
	return nil
}
