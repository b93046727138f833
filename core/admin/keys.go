package admin

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// RegisterKey keeps a private key of a member, so that this node may sign in its name. Kind PermissionDenied, with the
// reference's text, for a key whose identity has no row in the group.
func (s *Service) RegisterKey(ctx context.Context, id domain.GroupID, key domain.PrivateKey) (domain.PublicKey, error) {
	state, err := s.group(ctx, id)
	if err != nil {
		return domain.PublicKey{}, err
	}
	who := key.Public()
	if _, member := state.Members[who]; !member {
		return domain.PublicKey{}, errkind.PermissionDenied.Errorf("Identity derived from signing key is not a member of this group")
	}
	b := s.opts.DB.Batch()
	defer b.Abandon()
	store.GroupSigningKey.Put(b, store.GroupMemberKey{Group: id, Member: who}, wire.ID32(key))
	return who, b.Commit(ctx)
}

// Self is the identity that this node acts as in a group: its own, or else the first member whose key it holds. False
// when it is no member.
func (s *Service) Self(ctx context.Context, id domain.GroupID) (who domain.PublicKey, found bool, err error) {
	if node := s.opts.Identity.Node(); node != nil {
		who = node.Public()
		if _, found, err = s.opts.Groups.Role(ctx, id, who); err != nil || found {
			return who, found, err
		}
	}
	state, err := s.group(ctx, id)
	if err != nil {
		return domain.PublicKey{}, false, err
	}
	for _, member := range sorted(state.Members, domain.PublicKey.Compare) {
		if found, err = s.opts.Identity.HasGroupKey(ctx, id, member); err != nil || found {
			return member, found, err
		}
	}
	return domain.PublicKey{}, false, nil
}

// reading is the group for one of its members on this node; others are told nothing.
func (s *Service) reading(ctx context.Context, id domain.GroupID) (*acting, error) {
	state, err := s.group(ctx, id)
	if err != nil {
		return nil, err
	}
	who, found, err := s.Self(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case !found && s.opts.Identity.Node() == nil:
		return nil, errkind.Precondition.Errorf("node has no group identity configured")
	case !found:
		return nil, errkind.PermissionDenied.Errorf("node is not a member of group '%s'", id.Debug())
	}
	return &acting{s: s, id: id, who: who, state: state}, nil
}
