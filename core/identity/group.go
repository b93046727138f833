package identity

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// NewNode makes the service of a node that has an identity of its own in groups.
func NewNode(db *store.DB, group domain.PrivateKey) *Service {
	s := New(db)
	s.node = &group
	return s
}

// Node is the private key of the node's own identity in groups; nil for none.
func (s *Service) Node() *domain.PrivateKey { return s.node }

// GroupKey is the private key of an identity that this node may sign with in a group: the node's own, one that was
// registered, one that came with the membership, or one that the node acts with in a context of the group. Kind
// Precondition, with the reference's text, when it has none.
func (s *Service) GroupKey(ctx context.Context, group domain.GroupID, who domain.PublicKey) (domain.PrivateKey, error) {
	key, found, err := s.findGroupKey(ctx, group, who)
	switch {
	case err != nil:
		return domain.PrivateKey{}, err
	case !found:
		return domain.PrivateKey{}, errkind.Precondition.Errorf("node does not hold a signing key for requester in group '%s'; "+
			"register one via POST /admin-api/groups/%s/signing-key", group.Debug(), group)
	case key.Public() != who:
		return domain.PrivateKey{}, errkind.Corrupt.Errorf("the key stored for %s in group %s belongs to %s", who, group, key.Public())
	}
	return key, nil
}

// HasGroupKey tells whether GroupKey has one.
func (s *Service) HasGroupKey(ctx context.Context, group domain.GroupID, who domain.PublicKey) (bool, error) {
	_, found, err := s.findGroupKey(ctx, group, who)
	return found, err
}

func (s *Service) findGroupKey(ctx context.Context, group domain.GroupID, who domain.PublicKey) (key domain.PrivateKey, found bool, err error) {
	if s.node != nil && s.node.Public() == who {
		return *s.node, true, nil
	}
	at := store.GroupMemberKey{Group: group, Member: who}
	registered, found, err := store.GroupSigningKey.Get(ctx, s.db, at)
	if err != nil || found {
		return domain.PrivateKey(registered), found, err
	}
	row, found, err := store.GroupMember.Get(ctx, s.db, at)
	if err != nil {
		return domain.PrivateKey{}, false, err
	}
	if found && row.PrivateKey != nil {
		return *row.PrivateKey, true, nil
	}
	found = false
	err = store.GroupContext.ScanKeys(ctx, s.db, wire.RowGroupContext.Prefix(group), func(k store.GroupContextKey) error {
		row, _, err := store.ContextIdentity.Get(ctx, s.db, store.IdentityKey{Context: k.Context, Identity: who})
		if err != nil || row.PrivateKey == nil {
			return err
		}
		key, found = *row.PrivateKey, true
		return store.Stop
	})
	return key, found, err
}
