package admin

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// CreateRequest asks for a group.
type CreateRequest struct {
	// Group is its id; nil = the hash of its genesis, which then proves who created it.
	Group       *domain.GroupID
	AppKey      *domain.Hash // nil = random
	Application domain.ApplicationID
	Policy      domain.UpgradePolicy
	Alias       *string
	// Parent makes the new group a subgroup of it.
	Parent *domain.GroupID
}

// Create makes a group whose admin is the node's identity. As a subgroup it needs an admin of the parent, in which it is
// listed by the same batch.
func (s *Service) Create(ctx context.Context, r CreateRequest) (domain.GroupID, error) {
	node := s.opts.Identity.Node()
	if node == nil {
		return domain.GroupID{}, errkind.Precondition.Errorf("admin_identity not provided and node has no configured group identity")
	}
	genesis, err := s.genesis(ctx, *node, r)
	if err != nil {
		return domain.GroupID{}, err
	}
	b := s.opts.DB.Batch()
	defer b.Abandon()
	if err := s.opts.Groups.Begin(ctx, b, genesis, *node); err != nil {
		return domain.GroupID{}, err
	}
	if r.Parent != nil {
		_, err := s.opts.Groups.Stage(ctx, b, *r.Parent, *node, wire.OpSubgroupCreated{Child: genesis.Group})
		if err != nil {
			return domain.GroupID{}, err
		}
	}
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		return domain.GroupID{}, err
	}
	if err := s.opts.Peers.Follow(ctx, genesis.Group); err != nil {
		// It exists: a restart at the latest enters its topic.
		s.opts.Logger.Error("a group was created and its topic is not entered", "group", genesis.Group, "err", err)
	}
	return genesis.Group, nil
}

// genesis is the signed beginning of the group that a request asks for.
func (s *Service) genesis(ctx context.Context, node domain.PrivateKey, r CreateRequest) (wire.GroupGenesis, error) {
	if r.Parent != nil {
		if _, err := s.opts.Groups.State(ctx, *r.Parent); err != nil {
			return wire.GroupGenesis{}, errkind.Of(err).Errorf("parent %w", err)
		}
	}
	installed, err := store.Application.Has(ctx, s.opts.DB, r.Application)
	if err != nil {
		return wire.GroupGenesis{}, err
	}
	if !installed {
		return wire.GroupGenesis{}, errkind.NotFound.Errorf("application '%s' not found", r.Application)
	}
	g := wire.GroupGenesis{
		Creator: node.Public(), Target: r.Application, Policy: r.Policy, CreatedAt: uint64(time.Now().Unix()), //nolint:gosec // after 1970
		AutoJoin: true, Parent: r.Parent, Alias: r.Alias,
	}
	_, _ = rand.Read(g.Salt[:])   // never fails
	_, _ = rand.Read(g.AppKey[:]) // as above
	if r.AppKey != nil {
		g.AppKey = *r.AppKey
	}
	if r.Group != nil {
		g.Kind, g.Group = wire.GenesisVouched, *r.Group
	}
	return g.Sign(node, nil)
}

// Delete deletes a group without contexts, for everybody and for ever.
func (s *Service) Delete(ctx context.Context, id domain.GroupID, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	if n := len(a.state.Contexts); n > 0 {
		return errkind.Precondition.Errorf("cannot delete group '%s': still has %d associated context(s)", id.Debug(), n)
	}
	return a.issue(ctx, wire.OpGroupDelete{})
}

// SetPolicy sets how contexts follow a new application of the group.
func (s *Service) SetPolicy(ctx context.Context, id domain.GroupID, policy domain.UpgradePolicy, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	return a.issue(ctx, wire.OpUpgradePolicySet{Policy: policy})
}

// SetAlias names the group.
func (s *Service) SetAlias(ctx context.Context, id domain.GroupID, alias string, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	return a.issue(ctx, wire.OpGroupAliasSet{Alias: alias})
}

// SetDefaultCapabilities sets what new members are given.
func (s *Service) SetDefaultCapabilities(ctx context.Context, id domain.GroupID, caps domain.GroupCapabilities, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	return a.issue(ctx, wire.OpDefaultCapabilitiesSet{Capabilities: caps})
}

// SetDefaultVisibility sets the visibility of new contexts.
func (s *Service) SetDefaultVisibility(ctx context.Context, id domain.GroupID, mode domain.VisibilityMode, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	return a.issue(ctx, wire.OpDefaultVisibilitySet{Mode: mode})
}

// Geneses are the beginnings that this node has heard a group to have: one, or two that contradict each other. With two, and
// until the user of this node has chosen one, chosen is false and nobody joins here.
func (s *Service) Geneses(ctx context.Context, id domain.GroupID) (candidates []groups.Candidate, chosen bool, err error) {
	return s.opts.Groups.Candidates(ctx, id)
}

// ChooseGenesis has the group on this node go by one of its geneses. It is no operation: nobody else hears of it.
func (s *Service) ChooseGenesis(ctx context.Context, id domain.GroupID, genesis domain.Hash) error {
	return s.opts.Groups.Choose(ctx, id, genesis)
}

// RemoveSubgroup takes a subgroup out of the group: admins of the group have no authority in it any more.
func (s *Service) RemoveSubgroup(ctx context.Context, id, child domain.GroupID, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	return a.issue(ctx, wire.OpSubgroupRemoved{Child: child})
}
