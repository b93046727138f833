package admin

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Summary is a group in a list.
type Summary struct {
	Group     domain.GroupID
	AppKey    domain.Hash
	Target    domain.ApplicationID
	Policy    domain.UpgradePolicy
	CreatedAt uint64 // Unix seconds
	Alias     *string
}

// List lists the groups that the node's identity is in, by membership of its own or inherited, in the order of their ids.
func (s *Service) List(ctx context.Context, offset, limit uint64) ([]Summary, error) {
	list := []Summary{}
	node := s.opts.Identity.Node()
	if node == nil {
		return list, nil
	}
	who := node.Public()
	err := store.GroupMeta.Scan(ctx, s.opts.DB, nil, func(id domain.GroupID, row wire.GroupMeta) error {
		_, member, err := s.opts.Groups.Role(ctx, id, who)
		if err != nil || !member {
			return err
		}
		if offset > 0 {
			offset--
			return nil
		}
		if uint64(len(list)) >= limit {
			return store.Stop
		}
		alias, named, err := store.GroupAlias.Get(ctx, s.opts.DB, id)
		list = append(list, Summary{
			Group: id, AppKey: row.AppKey, Target: row.TargetApplicationID, Policy: row.UpgradePolicy, CreatedAt: row.CreatedAt,
			Alias: optional(string(alias), named),
		})
		return err
	})
	return list, err
}

func optional[V any](v V, there bool) *V {
	if !there {
		return nil
	}
	return &v
}

// Info is a group.
type Info struct {
	Group             domain.GroupID
	AppKey            domain.Hash
	Target            domain.ApplicationID
	Policy            domain.UpgradePolicy
	Members, Contexts uint64 // members with a row of their own
	Upgrade           *wire.GroupUpgrade
	Defaults          domain.GroupCapabilities
	DefaultVisibility domain.VisibilityMode
	Alias             *string
	// Parent, Subgroups and TeePolicies are ours.
	Parent    *domain.GroupID
	Subgroups []domain.GroupID
	Tee       bool // a policy for attested nodes is set
}

// Info describes a group to its members.
func (s *Service) Info(ctx context.Context, id domain.GroupID) (Info, error) {
	a, err := s.reading(ctx, id)
	if err != nil {
		return Info{}, err
	}
	upgrade, upgrading, err := store.GroupUpgrade.Get(ctx, s.opts.DB, id)
	if err != nil {
		return Info{}, err
	}
	parent, linked, err := store.GroupParent.Get(ctx, s.opts.DB, id)
	if err != nil {
		return Info{}, err
	}
	info := Info{
		Group: id, AppKey: a.state.AppKey, Target: a.state.Target, Policy: a.state.Policy, Members: uint64(len(a.state.Members)),
		Contexts: uint64(len(a.state.Contexts)), Upgrade: optional(upgrade, upgrading), Defaults: a.state.Defaults,
		Alias: a.state.Alias, Parent: optional(domain.GroupID(parent), linked),
		Subgroups: sorted(a.state.Subgroups, domain.GroupID.Compare), Tee: len(a.state.TeePolicies) > 0,
	}
	if a.state.DefaultVisibility != nil {
		info.DefaultVisibility = *a.state.DefaultVisibility
	}
	return info, nil
}

// Sync describes a group as it is here, member or not. Peers' operations come by themselves.
func (s *Service) Sync(ctx context.Context, id domain.GroupID) (Info, error) {
	here, err := store.GroupMeta.Has(ctx, s.opts.DB, id)
	if err != nil {
		return Info{}, err
	}
	if !here {
		return Info{}, errkind.NotFound.Errorf("group not found locally; wait for P2P replication")
	}
	state, err := s.group(ctx, id)
	if err != nil {
		return Info{}, err
	}
	return Info{
		Group: id, AppKey: state.AppKey, Target: state.Target, Members: uint64(len(state.Members)), Contexts: uint64(len(state.Contexts)),
	}, nil
}
