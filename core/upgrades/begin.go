package upgrades

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Upgrade begins an upgrade in the name of a member, nil = the node's identity, who must be an admin or hold
// MANAGE_APPLICATION. migrate is the method of the new application that makes its state of the old one's. The answer is
// how far it is: with the policy LazyOnAccess it is completed, for each context follows at its next call.
func (s *Service) Upgrade(ctx context.Context, id domain.GroupID, target domain.ApplicationID, migrate *string,
	requester *domain.PublicKey) (status wire.GroupUpgradeStatus, err error) {
	key, state, err := s.allowed(ctx, id, requester)
	if err != nil {
		return status, err
	}
	if !s.enter(id) {
		return status, errkind.Precondition.Errorf("an upgrade is already in progress for this group")
	}
	going := false
	defer func() {
		if !going {
			s.leave(id)
		}
	}()
	row, ops, err := s.plan(ctx, id, state, target, migrate)
	if err != nil {
		return status, err
	}
	row.InitiatedBy = key.Public()
	ids, err := s.here(ctx, id)
	if err != nil {
		return status, err
	}
	lazy := state.Policy.Mode == domain.UpgradeLazyOnAccess && target != state.Target
	if lazy || len(ids) == 0 {
		row.Status = wire.GroupUpgradeStatus{Completed: true}
		return row.Status, s.tell(ctx, id, key, row, ops)
	}
	row.Status = wire.GroupUpgradeStatus{Total: uint32(len(ids)), Finished: 1} //nolint:gosec // contexts
	if len(ids) == 1 {
		row.Status = s.completed()
	}
	if err := s.canary(ctx, id, ids[0], key, row, target, migrate, ops); err != nil {
		return status, err
	}
	if !row.Status.Completed {
		going = s.propagate(id, row)
	}
	return row.Status, nil
}

// allowed is the key of who may upgrade a group.
func (s *Service) allowed(ctx context.Context, id domain.GroupID, requester *domain.PublicKey) (key domain.PrivateKey,
	state *governance.State, err error) {
	state, err = s.opts.Groups.State(ctx, id)
	if errors.Is(err, errkind.NotFound) || err == nil && state.Deleted {
		return key, nil, errkind.NotFound.Errorf("group not found")
	}
	if err != nil {
		return key, nil, err
	}
	node := s.opts.Identity.Node()
	if requester == nil {
		if node == nil {
			return key, nil, errkind.Precondition.Errorf("requester not provided and node has no configured group identity")
		}
		who := node.Public()
		requester = &who
	}
	role, member, err := s.opts.Groups.Role(ctx, id, *requester)
	if err != nil {
		return key, nil, err
	}
	if !member || role != domain.RoleAdmin && !state.Capabilities[*requester].Has(domain.CanManageApplication) {
		return key, nil, errkind.PermissionDenied.Errorf("requester is not an admin of group '%s'", id.Debug())
	}
	key, err = s.opts.Identity.GroupKey(ctx, id, *requester)
	return key, state, err
}

// plan is the row and the operations of an upgrade.
func (s *Service) plan(ctx context.Context, id domain.GroupID, state *governance.State, target domain.ApplicationID, migrate *string) (
	row wire.GroupUpgrade, ops []wire.GroupOp, err error) {
	before, found, err := store.GroupUpgrade.Get(ctx, s.opts.DB, id)
	switch {
	case err != nil:
		return row, nil, err
	case found && !before.Status.Completed && before.Status.Failed == 0:
		return row, nil, errkind.Precondition.Errorf("an upgrade is already in progress for this group")
	case state.Target == target && migrate == nil:
		return row, nil, errkind.Precondition.Errorf("group is already targeting this application and no migration was requested")
	case len(state.Contexts) == 0:
		return row, nil, errkind.Precondition.Errorf("group has no contexts to upgrade")
	}
	app, found, err := store.Application.Get(ctx, s.opts.DB, target)
	if err != nil {
		return row, nil, err
	}
	if !found {
		return row, nil, errkind.NotFound.Errorf("target application not found")
	}
	row = wire.GroupUpgrade{FromVersion: "unknown", ToVersion: app.Version, InitiatedAt: uint64(s.opts.Now().Unix())} //nolint:gosec // after 1970
	old, found, err := store.Application.Get(ctx, s.opts.DB, state.Target)
	if err != nil {
		return row, nil, err
	}
	if found {
		row.FromVersion = old.Version
	}
	if migrate != nil {
		row.Migration = []byte(*migrate)
	}
	return row, contexts.TargetOps(state.Migration, target, app.Bytecode, migrate), nil
}

func (s *Service) completed() wire.GroupUpgradeStatus {
	at := uint64(s.opts.Now().Unix()) //nolint:gosec // after 1970
	return wire.GroupUpgradeStatus{Completed: true, CompletedAt: &at}
}

// tell makes the operations without a context.
func (s *Service) tell(ctx context.Context, id domain.GroupID, key domain.PrivateKey, row wire.GroupUpgrade, ops []wire.GroupOp) error {
	b := s.opts.DB.Batch()
	defer b.Abandon()
	store.GroupUpgrade.Put(b, id, row)
	if _, err := s.opts.Groups.Stage(ctx, b, id, key, ops...); err != nil {
		return err
	}
	return b.Commit(context.WithoutCancel(ctx))
}

// canary upgrades the first context. Operations and row are of the same batch: a group whose canary fails is what it was.
func (s *Service) canary(ctx context.Context, id domain.GroupID, first domain.ContextID, key domain.PrivateKey, row wire.GroupUpgrade,
	target domain.ApplicationID, migrate *string, ops []wire.GroupOp) error {
	err := s.opts.Contexts.Upgrade(ctx, contexts.UpgradeRequest{
		Context: first, Application: target, Migrate: migrate,
		Also: func(ctx context.Context, b *store.Batch) error {
			store.GroupUpgrade.Put(b, id, row)
			_, err := s.opts.Groups.Stage(ctx, b, id, key, ops...)
			return err
		},
	})
	if err != nil {
		return errkind.Of(err).Errorf("canary upgrade failed on context %s: %w", first, err)
	}
	return nil
}

// Status is the last upgrade of a group that this node began; nil for none.
func (s *Service) Status(ctx context.Context, id domain.GroupID) (*wire.GroupUpgrade, error) {
	row, found, err := store.GroupUpgrade.Get(ctx, s.opts.DB, id)
	if err != nil || !found {
		return nil, err
	}
	return &row, nil
}

// Retry tries the contexts of an upgrade again that failed.
func (s *Service) Retry(ctx context.Context, id domain.GroupID, requester *domain.PublicKey) (status wire.GroupUpgradeStatus, err error) {
	if _, _, err := s.allowed(ctx, id, requester); err != nil {
		return status, err
	}
	row, err := s.Status(ctx, id)
	switch {
	case err != nil:
		return status, err
	case row == nil:
		return status, errkind.NotFound.Errorf("no upgrade found for this group")
	case row.Status.Completed:
		return status, errkind.Precondition.Errorf("upgrade is already completed")
	}
	if !s.enter(id) {
		return status, errkind.Precondition.Errorf("a propagator is already running for this group; wait for it to finish")
	}
	if row.Status.Failed == 0 {
		s.leave(id)
		return status, errkind.Precondition.Errorf("upgrade is in progress with no failures — nothing to retry")
	}
	ids, err := s.here(ctx, id)
	if err == nil {
		row.Status = wire.GroupUpgradeStatus{Total: uint32(len(ids))} //nolint:gosec // contexts
		err = s.note(ctx, id, *row)
	}
	if err != nil || !s.propagate(id, *row) {
		s.leave(id)
	}
	return row.Status, err
}
