package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxValidity is how long an invitation may be valid.
const MaxValidity = 365 * 24 * time.Hour

// Invitation lets whoever holds it join a context. What stands beside the signed part is a help, not signed.
type Invitation struct {
	wire.ContextInvitation
	Signature   string // the inviter's, in hex
	Application *domain.ApplicationID
	Blob        *domain.BlobID // the application's bytecode
	Source      *string        // where the application was installed from
	Group       *domain.GroupID
}

// InviteToContext makes an invitation to a context, signed by inviter, an identity of this node that may invite. It is nil when
// the context is not here.
func (m *Manager) InviteToContext(ctx context.Context, id domain.ContextID, inviter domain.PublicKey, valid time.Duration) (*Invitation, error) {
	if valid < 0 || valid > MaxValidity {
		return nil, errkind.Invalid.Errorf("an invitation is valid for at most %d seconds", int64(MaxValidity.Seconds()))
	}
	info, err := m.opts.Contexts.Get(ctx, id)
	if errors.Is(err, errkind.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	row, found, err := m.opts.Identity.Get(ctx, id, inviter)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, errkind.NotFound.Errorf("Inviter identity %s not found for context %s", inviter, id)
	case row.PrivateKey == nil:
		return nil, errkind.PermissionDenied.Errorf("inviter %[1]s has no private key for context %[2]s: the identity '%[1]s' "+
			"is not managed by this node", inviter, id)
	}
	owner, found, err := m.Owner(ctx, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errkind.Unsupported.Errorf("context %s belongs to no group: nobody can join it", id)
	}
	g, err := m.load(ctx, owner)
	if err != nil {
		return nil, err
	}
	g.mu.RLock()
	err = g.mayInvite(ctx, inviter)
	g.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	inv := Invitation{Group: &owner, Application: &info.Application}
	inv.Inviter, inv.Target = inviter, id
	inv.Expiration = uint64(m.opts.Now().Add(valid).Unix()) //nolint:gosec // after 1970
	if _, err := rand.Read(inv.Salt[:]); err != nil {
		return nil, fmt.Errorf("draw a salt: %w", err)
	}
	if inv.Signature, err = inv.Sign(*row.PrivateKey); err != nil {
		return nil, err
	}
	app, found, err := store.Application.Get(ctx, m.opts.DB, info.Application)
	if err != nil {
		return nil, err
	}
	if found {
		inv.Blob, inv.Source = &app.Bytecode, &app.Source
	}
	return &inv, nil
}

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
	if !m.opts.Now().Before(expiry(inv.ContextInvitation)) {
		return errkind.Precondition.Errorf("the invitation to context %s has expired at %s", inv.Target,
			expiry(inv.ContextInvitation).UTC().Format(time.RFC3339))
	}
	key, err := m.opts.Identity.Pooled(ctx, member)
	if err != nil {
		return err
	}
	if err := m.completed(ctx, &inv); err != nil {
		return err
	}
	g, fresh, err := m.groupFor(ctx, *inv.Group)
	if err != nil {
		return err
	}
	g.mu.Lock()
	r, err := g.join(ctx, inv, key, fresh)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.groups[g.id] = g
	m.mu.Unlock()
	if err := m.Follow(ctx, g.id); err != nil {
		return err
	}
	m.tasks.Go(func(ctx context.Context) { g.publish(ctx, r) })
	return nil
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
	if inv.Source != nil && len(*inv.Source) > maxSource {
		return errkind.TooLarge.Errorf("the source of the application takes %d bytes, the limit is %d", len(*inv.Source), maxSource)
	}
	return nil
}

// maxSource is the longest URL of an application.
const maxSource = 8 << 10

// groupFor is the group to join; fresh when it is not here yet.
func (m *Manager) groupFor(ctx context.Context, id domain.GroupID) (g *group, fresh bool, err error) {
	g, err = m.load(ctx, id)
	if errors.Is(err, errkind.NotFound) {
		return m.newGroup(id), true, nil
	}
	return g, false, err
}

// join commits the rows of a join, its operation among them, as one batch. The caller holds the lock.
func (g *group) join(ctx context.Context, inv Invitation, key domain.PrivateKey, fresh bool) (*record, error) {
	if fresh {
		g.members[inv.Inviter] = domain.RoleAdmin
	} else if err := g.mayInvite(ctx, inv.Inviter); err != nil {
		return nil, err
	}
	payload, err := wire.Encode(inv.ContextInvitation)
	if err != nil {
		return nil, err
	}
	r, err := g.next(wire.OpMemberJoinedViaContextInvitation{
		Context: inv.Target, Inviter: inv.Inviter, Payload: payload, InviterSignature: inv.Signature,
	}, key)
	if err != nil {
		return nil, err
	}
	e := effect{}
	if _, already := g.members[key.Public()]; !already {
		e.admits = []admission{{op: r.id, member: key.Public(), context: inv.Target, stored: true}}
	}
	err = g.m.opts.Contexts.Enter(ctx, contexts.EnterRequest{
		Context: inv.Target, Application: *inv.Application, Member: key,
		Stage: func(ctx context.Context, b *store.Batch) error {
			if err := g.stageJoin(ctx, b, inv, key, fresh); err != nil {
				return err
			}
			return g.stage(ctx, b, r, e)
		},
	})
	if err != nil {
		return nil, err
	}
	g.own = r.id
	return r, g.committed(r, e)
}

// stageJoin adds the rows of a join that are not the context's (governance.md §6.6): group, members, application.
func (g *group) stageJoin(ctx context.Context, b *store.Batch, inv Invitation, key domain.PrivateKey, fresh bool) error {
	if fresh {
		store.GroupMeta.Put(b, g.id, wire.GroupMeta{
			TargetApplicationID: *inv.Application, UpgradePolicy: domain.UpgradePolicy{Mode: domain.UpgradeAutomatic},
			CreatedAt: uint64(g.m.opts.Now().Unix()), AdminIdentity: inv.Inviter, AutoJoin: true, //nolint:gosec // after 1970
		})
		store.GroupMember.Put(b, store.GroupMemberKey{Group: g.id, Member: inv.Inviter}, wire.GroupMember{Role: domain.RoleAdmin})
	}
	sender, err := domain.NewPrivateKey()
	if err != nil {
		return err
	}
	role, already := g.members[key.Public()]
	if !already {
		role = domain.RoleMember
	}
	store.GroupMember.Put(b, store.GroupMemberKey{Group: g.id, Member: key.Public()},
		wire.GroupMember{Role: role, PrivateKey: &key, SenderKey: &sender})
	store.GroupContext.Put(b, store.GroupContextKey{Group: g.id, Context: inv.Target}, store.Unit{})
	store.ContextGroup.Put(b, inv.Target, wire.ID32(g.id))
	if _, known, err := g.m.opts.Identity.Get(ctx, inv.Target, inv.Inviter); err != nil {
		return err
	} else if !known {
		g.m.opts.Identity.PutMember(b, inv.Target, inv.Inviter, nil)
	}
	return g.stageApplication(ctx, b, inv)
}

// stageApplication adds a record for an application that is not installed: its module comes from peers.
func (g *group) stageApplication(ctx context.Context, b *store.Batch, inv Invitation) error {
	if inv.Blob == nil || inv.Blob.IsZero() {
		return nil
	}
	known, err := store.Application.Has(ctx, g.m.opts.DB, *inv.Application)
	if err != nil || known {
		return err
	}
	source := "calimero://context/" + inv.Target.String()
	if inv.Source != nil && *inv.Source != "" {
		source = *inv.Source
	}
	store.Application.Put(b, *inv.Application, wire.ApplicationRecord{
		Bytecode: *inv.Blob, Source: source, Package: wire.UnknownPackage, Version: wire.UnknownVersion,
	})
	return b.Err()
}

// grew is called after operations of others came in: peers are told, and a claim that this node's admin let in is
// vouched for, so that it counts whenever somebody else hears of it.
func (g *group) grew(ctx context.Context) {
	if r, err := g.vouch(ctx); err != nil && ctx.Err() == nil {
		g.m.log.Warn("claims are not vouched for", "group", g.id, "err", err)
	} else if r != nil {
		g.publish(ctx, r)
	}
	g.soon()
}

// vouch issues an operation without effect, which has all before it in its past, if claims are among the heads and an
// admin's key is here.
func (g *group) vouch(ctx context.Context) (*record, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	claims := false
	for _, h := range g.graph.Heads() {
		sequence, here := g.log[h]
		if !here {
			continue
		}
		raw, found, err := store.GroupOpLog.Get(ctx, g.m.opts.DB, store.GroupOpKey{Group: g.id, Sequence: sequence})
		if err != nil {
			return nil, err
		}
		op, err := wire.DecodeSignedGroupOp(raw)
		if !found || err != nil {
			return nil, errkind.Corrupt.Errorf("operation %s cannot be read: %w", h, err)
		}
		_, late := g.late[h]
		claims = claims || isClaim(&op) && !late
	}
	if !claims {
		return nil, nil
	}
	key, err := g.adminKey(ctx)
	if key == nil || err != nil {
		return nil, err
	}
	r, err := g.next(wire.OpNoop{}, *key)
	if err != nil {
		return nil, err
	}
	return r, g.add(ctx, r)
}

// adminKey is the key of an admin that is this node's; nil if there is none.
func (g *group) adminKey(ctx context.Context) (*domain.PrivateKey, error) {
	var key *domain.PrivateKey
	err := store.GroupMember.Scan(ctx, g.m.opts.DB, wire.RowGroupMember.Prefix(g.id),
		func(_ store.GroupMemberKey, row wire.GroupMember) error {
			if row.Role == domain.RoleAdmin && row.PrivateKey != nil {
				key = row.PrivateKey
				return store.Stop
			}
			return nil
		})
	return key, err
}
