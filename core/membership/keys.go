package membership

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// adminKey is the key of an admin of a group that is this node's; nil if there is none.
func (m *Manager) adminKey(ctx context.Context, id domain.GroupID) (*domain.PrivateKey, error) {
	keys, err := m.ownKeys(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		role, member, err := m.opts.Groups.Role(ctx, id, key.Public())
		if err != nil {
			return nil, err
		}
		if member && role == domain.RoleAdmin {
			return &key, nil
		}
	}
	return nil, nil
}

// ownKeys are the keys that this node has for a group: registered ones, those in members' rows, and the node's own.
func (m *Manager) ownKeys(ctx context.Context, id domain.GroupID) (keys []domain.PrivateKey, err error) {
	err = store.GroupSigningKey.Scan(ctx, m.opts.DB, wire.RowGroupSigningKey.Prefix(id),
		func(k store.GroupMemberKey, seed wire.ID32) error {
			if key := domain.PrivateKey(seed); key.Public() == k.Member { // the reference stores others too
				keys = append(keys, key)
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	err = store.GroupMember.Scan(ctx, m.opts.DB, wire.RowGroupMember.Prefix(id),
		func(k store.GroupMemberKey, row wire.GroupMember) error {
			if row.PrivateKey != nil && row.PrivateKey.Public() == k.Member {
				keys = append(keys, *row.PrivateKey)
			}
			return nil
		})
	if m.opts.NodeKey != nil {
		keys = append(keys, *m.opts.NodeKey)
	}
	return keys, err
}
