package membership

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Owner is the group that a context belongs to; false when it belongs to none.
func (m *Manager) Owner(ctx context.Context, id domain.ContextID) (domain.GroupID, bool, error) {
	m.mu.Lock()
	owner, known := m.owners[id]
	m.mu.Unlock()
	if known {
		return owner, true, nil
	}
	row, found, err := store.ContextGroup.Get(ctx, m.opts.DB, id)
	if err != nil || !found {
		return domain.GroupID{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owners[id] = domain.GroupID(row)
	return domain.GroupID(row), true, nil
}

// Place is what an identity is to a context. In a context without a group, whoever is known to be in the context is a member.
func (m *Manager) Place(ctx context.Context, id domain.ContextID, member domain.PublicKey) (groups.Place, error) {
	owner, found, err := m.Owner(ctx, id)
	if err != nil {
		return groups.Place{}, err
	}
	if !found {
		_, found, err := m.opts.Identity.Get(ctx, id, member)
		return groups.Place{Role: domain.RoleMember, Member: found, Known: found}, err
	}
	place, err := m.opts.Groups.Place(ctx, owner, id, member)
	if errors.Is(err, errkind.NotFound) {
		err = nil
	}
	return place, err
}

// Contexts are those of a group that were asked for in this life of the process.
func (m *Manager) Contexts(group domain.GroupID) []domain.ContextID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []domain.ContextID
	for id, owner := range m.owners {
		if owner == group {
			ids = append(ids, id)
		}
	}
	return ids
}
