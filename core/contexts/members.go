package contexts

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// groupOf is the group that owns a context; nil for none.
func (m *manager) groupOf(ctx context.Context, id domain.ContextID) (*domain.GroupID, error) {
	g, found, err := store.ContextGroup.Get(ctx, m.opts.DB, id)
	if err != nil || !found {
		return nil, err
	}
	return (*domain.GroupID)(&g), nil
}

func mayWrite(p groups.Place) bool { return p.Member && p.Role != domain.RoleReadOnly }

// readOnly tells whether a member may not change a context: by its role, or since the context is not for it. Who has joined,
// and is known to no group yet, may. The answer is kept in e until groups change.
func (m *manager) readOnly(ctx context.Context, e *entry, member domain.PublicKey) (bool, error) {
	generation := m.groups.Load()
	if e.rolesOf != generation || e.readOnly == nil {
		e.rolesOf, e.readOnly = generation, make(map[domain.PublicKey]bool)
	}
	if ro, ok := e.readOnly[member]; ok {
		return ro, nil
	}
	group, err := m.groupOf(ctx, e.id)
	if err != nil {
		return false, err
	}
	ro := false
	if group != nil {
		place, err := m.opts.Groups.Place(ctx, *group, e.id, member)
		if err != nil {
			return false, err
		}
		ro = place.Known && !mayWrite(place)
	}
	e.readOnly[member] = ro
	return ro, nil
}

// writerOf is the identity a cross-context call runs as: the first member of the target whose keys are here and who may
// write.
func (m *manager) writerOf(ctx context.Context, id domain.ContextID) (domain.PublicKey, error) {
	group, err := m.groupOf(ctx, id)
	if err != nil {
		return domain.PublicKey{}, err
	}
	var writer *domain.PublicKey
	owned := false
	err = store.ContextIdentity.Scan(ctx, m.opts.DB, id[:], func(k store.IdentityKey, row wire.ContextIdentity) error {
		if row.PrivateKey == nil || row.SenderKey == nil {
			return nil
		}
		owned = true
		if group != nil {
			place, err := m.opts.Groups.Place(ctx, *group, id, k.Identity)
			if err != nil || !mayWrite(place) {
				return err
			}
		}
		writer = &k.Identity
		return store.Stop
	})
	switch {
	case err != nil:
		return domain.PublicKey{}, err
	case writer != nil:
		return *writer, nil
	case owned:
		return domain.PublicKey{}, errkind.PermissionDenied.Errorf("no identity of this node may write in context %s", id)
	}
	return domain.PublicKey{}, errkind.PermissionDenied.Errorf("this node has no identity in context %s", id)
}

// identities lists the members of a context.
func (m *manager) identities(ctx context.Context, id domain.ContextID, owned bool) ([]domain.PublicKey, error) {
	if _, err := m.load(ctx, id); err != nil {
		return nil, err
	}
	return m.opts.Identity.List(ctx, id, owned)
}

// Info describes a context.
type Info struct {
	ID          domain.ContextID
	Application domain.ApplicationID
	RootHash    domain.Hash
	DagHeads    []domain.Hash
	// GuestMerge: the application merges the state itself, so that its convergence is up to it.
	GuestMerge bool
	// UpgradeError is why the context does not run the application of its group, as of the last call that tried; "" = nothing
	// is known to keep it from that.
	UpgradeError string
}

func (m *manager) info(ctx context.Context, id domain.ContextID, meta wire.ContextMeta) (Info, error) {
	local, _, err := store.ContextLocal.Get(ctx, m.opts.DB, id)
	return Info{
		ID: id, Application: meta.ApplicationID, RootHash: meta.RootHash, DagHeads: meta.DagHeads, GuestMerge: local.GuestMerge,
		UpgradeError: m.stuckOn(id),
	}, err
}

func (m *manager) get(ctx context.Context, id domain.ContextID) (Info, error) {
	meta, err := m.load(ctx, id)
	if err != nil {
		return Info{ID: id}, err
	}
	return m.info(ctx, id, meta)
}

// list describes all contexts, or those of one application.
func (m *manager) list(ctx context.Context, app *domain.ApplicationID) ([]Info, error) {
	all := []Info{}
	err := store.ContextMeta.Scan(ctx, m.opts.DB, nil, func(id domain.ContextID, meta wire.ContextMeta) error {
		if app == nil || meta.ApplicationID == *app {
			x, err := m.info(ctx, id, meta)
			if err != nil {
				return err
			}
			all = append(all, x)
		}
		return nil
	})
	return all, err
}

// delete removes a context and all its rows, private state and deltas too.
func (m *manager) delete(ctx context.Context, id domain.ContextID, requester *domain.PublicKey) (bool, error) {
	here, err := store.ContextMeta.Has(ctx, m.opts.DB, id)
	if err != nil || !here {
		return false, err
	}
	e := m.entry(id)
	if err := e.acquire(ctx); err != nil {
		return false, err
	}
	defer e.release()
	if here, err = store.ContextMeta.Has(ctx, m.opts.DB, id); err != nil || !here {
		return false, err
	}
	group, err := m.groupOf(ctx, id)
	if err != nil {
		return false, err
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	if group != nil {
		if err := m.detach(ctx, b, *group, id, requester); err != nil {
			return false, err
		}
	}
	store.ContextMeta.Delete(b, id)
	store.ContextConfig.Delete(b, id)
	store.ContextLocal.Delete(b, id)
	m.opts.Identity.DeleteAll(b, id)
	store.Delta.DeletePrefix(b, id[:])
	store.DeltaAuthor.DeletePrefix(b, wire.DeltaAuthorPrefix(id))
	store.PendingDelta.DeletePrefix(b, id[:])
	store.HandlersDue.DeletePrefix(b, id[:])
	b.DeleteAllRows(id, runtime.ScopeState)
	b.DeleteAllRows(id, runtime.ScopePrivate)
	err = b.Commit(context.WithoutCancel(ctx))
	e.forget()
	m.groups.Add(1)
	if err != nil {
		return false, err
	}
	m.opts.Executor.Forget(context.WithoutCancel(ctx), id)
	return true, nil
}

// detach takes a context that is deleted out of its group, for which it needs an admin. The group that was made for the
// context alone goes from this node with it, and peers keep theirs; of another group they hear.
func (m *manager) detach(ctx context.Context, b *store.Batch, group domain.GroupID, id domain.ContextID, requester *domain.PublicKey) error {
	store.ContextGroup.Delete(b, id)
	state, err := m.opts.Groups.State(ctx, group)
	if errors.Is(err, errkind.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !state.Contexts[id] {
		return nil // it was detached, or the group deleted
	}
	if err := m.mayDelete(ctx, group, requester); err != nil {
		return err
	}
	if group == domain.GroupID(id) && len(state.Contexts) == 1 {
		return m.opts.Groups.Forget(ctx, b, group)
	}
	key, err := m.opts.Identity.GroupKey(ctx, group, *requester)
	if err != nil {
		return err
	}
	_, err = m.opts.Groups.Stage(ctx, b, group, key, wire.OpContextDetached{Context: id})
	return err
}

func (m *manager) mayDelete(ctx context.Context, group domain.GroupID, requester *domain.PublicKey) error {
	if requester == nil {
		return errkind.Invalid.Errorf("requester required to delete a group context")
	}
	role, found, err := m.opts.Groups.Role(ctx, group, *requester)
	if err != nil {
		return err
	}
	if !found || role != domain.RoleAdmin {
		return errkind.PermissionDenied.Errorf("%s is not an admin of group '%s'", requester, group.Debug())
	}
	return nil
}
