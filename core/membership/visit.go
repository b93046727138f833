package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// visitor is an identity of this node that may enter contexts of a group.
type visitor struct {
	group domain.GroupID
	key   domain.PrivateKey
	state *governance.State
	admin bool // here, or in a group above
}

func (m *Manager) visitor(ctx context.Context, id domain.GroupID, key domain.PrivateKey) (visitor, error) {
	state, err := m.opts.Groups.State(ctx, id)
	if errors.Is(err, errkind.NotFound) || err == nil && state.Deleted {
		return visitor{}, errkind.NotFound.Errorf("group not found")
	}
	if err != nil {
		return visitor{}, err
	}
	role, member, err := m.opts.Groups.Role(ctx, id, key.Public())
	if err != nil {
		return visitor{}, err
	}
	if !member {
		return visitor{}, errkind.PermissionDenied.Errorf("identity is not a member of the group")
	}
	return visitor{group: id, key: key, state: state, admin: role == domain.RoleAdmin}, nil
}

// may is the error of entering a context that the visitor may not enter: an open one needs the capability, or that the
// visitor joins the group just now, one that is restricted has a list.
func (v visitor) may(c domain.ContextID, joining bool) error {
	if !v.state.Contexts[c] {
		return errkind.Precondition.Errorf("context '%s' does not belong to group '%s'", c, v.group.Debug())
	}
	name := fmt.Sprintf("ContextId(Hash(%q))", c)
	row, known := v.state.Visibility[c]
	member := v.key.Public()
	switch {
	case !known:
		if !v.admin {
			return errkind.PermissionDenied.Errorf("context visibility not found for '%s'; only admins may join", name)
		}
	case row.Mode == domain.VisibilityRestricted:
		if !v.state.Allowlists[governance.ContextMember{Context: c, Member: member}] {
			return errkind.PermissionDenied.Errorf("identity is not on the allowlist for restricted context '%s' (admins must be "+
				"explicitly allowlisted too)", name)
		}
	default:
		if !v.admin && !joining && !v.state.Capabilities[member].Has(domain.CanJoinOpenContexts) {
			return errkind.PermissionDenied.Errorf("identity lacks permission to join open context '%s' (not an admin and "+
				"CAN_JOIN_OPEN_CONTEXTS is not set)", name)
		}
	}
	return nil
}

// enterContext makes the visitor's identity one of the context, as one batch. State and application come from peers.
func (m *Manager) enterContext(ctx context.Context, v visitor, c domain.ContextID) error {
	row, found, err := m.opts.Identity.Get(ctx, c, v.key.Public())
	if err != nil {
		return err
	}
	if found && row.PrivateKey != nil {
		return nil
	}
	app := v.state.Target
	info, err := m.opts.Contexts.Get(ctx, c)
	switch {
	case err == nil:
		app = info.Application
	case !errors.Is(err, errkind.NotFound):
		return err
	}
	owner, bound, err := m.Owner(ctx, c)
	if err != nil {
		return err
	}
	if bound && owner != v.group {
		return errkind.Precondition.Errorf("context %s belongs to group '%s' on this node", c, owner.Debug())
	}
	err = m.opts.Contexts.Enter(ctx, contexts.EnterRequest{
		Context: c, Application: app, Member: v.key,
		Stage: func(_ context.Context, b *store.Batch) error {
			store.ContextGroup.Put(b, c, wire.ID32(v.group))
			return b.Err()
		},
	})
	if err != nil {
		return err
	}
	m.opts.Entered(c)
	return nil
}

// maxTree is how many groups, a group and those below it, are looked at for contexts to enter.
const maxTree = 16

// enterAll enters the contexts of a group, and of groups below in which the identity has a place, as far as they are here
// and may be entered by who joins. It returns those in which the identity is.
func (m *Manager) enterAll(ctx context.Context, id domain.GroupID, key domain.PrivateKey) (entered []domain.ContextID, err error) {
	seen := map[domain.GroupID]bool{id: true}
	queue := []domain.GroupID{id}
	for i := 0; i < len(queue) && i < maxTree; i++ {
		v, err := m.visitor(ctx, queue[i], key)
		if errors.Is(err, errkind.PermissionDenied) || errors.Is(err, errkind.NotFound) {
			continue // no member yet, or the group is not here
		}
		if err != nil {
			return entered, err
		}
		for child := range v.state.Subgroups {
			if !seen[child] {
				seen[child] = true
				queue = append(queue, child)
			}
		}
		genesis, err := m.opts.Groups.Genesis(ctx, v.group)
		if err != nil {
			return entered, err
		}
		if !genesis.AutoJoin {
			continue
		}
		for c := range v.state.Contexts {
			if v.may(c, true) != nil {
				continue
			}
			if err := m.enterContext(ctx, v, c); err != nil {
				return entered, fmt.Errorf("enter context %s: %w", c, err)
			}
			entered = append(entered, c)
		}
	}
	slices.SortFunc(entered, domain.ContextID.Compare)
	return entered, nil
}

// joiningScope has rows of ours, by group: the identity of this node that joins, until it has found its place.
var joiningScope = [16]byte([]byte("group-joining-v1"))

func joiningKey(id domain.GroupID) store.GenericKey {
	return store.GenericKey{Scope: joiningScope, Fragment: id}
}

func (m *Manager) putJoining(b *store.Batch, id domain.GroupID, who domain.PublicKey) {
	store.Generic.Put(b, joiningKey(id), who[:])
}

// joining is who joins a group just now; nil for nobody.
func (m *Manager) joining(ctx context.Context, id domain.GroupID) (*domain.PublicKey, error) {
	raw, found, err := store.Generic.Get(ctx, m.opts.DB, joiningKey(id))
	if err != nil || !found {
		return nil, err
	}
	if len(raw) != 32 {
		return nil, errkind.Corrupt.Errorf("the join of group %s: %d bytes", id, len(raw))
	}
	return (*domain.PublicKey)(raw), nil
}

// join notes that an identity joins.
func (g *group) join(key domain.PrivateKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.joiner = &key
}

// resume takes up a join that an earlier life of the process began.
func (g *group) resume(ctx context.Context) error {
	who, err := g.m.joining(ctx, g.id)
	if err != nil || who == nil {
		return err
	}
	seed, found, err := store.GroupSigningKey.Get(ctx, g.m.opts.DB, store.GroupMemberKey{Group: g.id, Member: *who})
	if err == nil && found {
		g.join(domain.PrivateKey(seed))
	}
	return err
}

// settle enters what the identity that joins may enter by now. With done, it has found its place: a peer knows it, and
// nothing is missing here.
func (g *group) settle(ctx context.Context, done bool) {
	g.mu.Lock()
	key := g.joiner
	g.mu.Unlock()
	if key == nil {
		return
	}
	_, member, err := g.m.opts.Groups.Role(ctx, g.id, key.Public())
	if err == nil && member {
		_, err = g.m.enterAll(ctx, g.id, *key)
	}
	if err == nil && member && done {
		b := g.m.opts.DB.Batch()
		defer b.Abandon()
		store.Generic.Delete(b, joiningKey(g.id))
		if err = b.Commit(context.WithoutCancel(ctx)); err == nil {
			g.mu.Lock()
			g.joiner = nil
			g.mu.Unlock()
		}
	}
	if err != nil {
		g.m.warn(ctx, "contexts of a group are not entered yet", g.id, err)
	}
}
