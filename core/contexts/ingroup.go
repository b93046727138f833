package contexts

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// group is the state of a group that exists; kind NotFound, with the reference's text, for others.
func (m *manager) group(ctx context.Context, id domain.GroupID) (*governance.State, error) {
	state, err := m.opts.Groups.State(ctx, id)
	if errors.Is(err, errkind.NotFound) || err == nil && state.Deleted {
		return nil, errkind.NotFound.Errorf("group not found")
	}
	return state, err
}

// mayCreate refuses those who may not create a context in a group, before a guest runs. It answers the application of
// the group's contexts.
func (m *manager) mayCreate(ctx context.Context, id domain.GroupID, who domain.PublicKey) (domain.ApplicationID, error) {
	state, err := m.group(ctx, id)
	if err != nil {
		return domain.ApplicationID{}, err
	}
	role, member, err := m.opts.Groups.Role(ctx, id, who)
	switch {
	case err != nil:
		return domain.ApplicationID{}, err
	case !member:
		return domain.ApplicationID{}, errkind.PermissionDenied.Errorf("identity is not a member of group '%s'", id.Debug())
	case role != domain.RoleAdmin && !state.Capabilities[who].Has(domain.CanCreateContext):
		return domain.ApplicationID{}, errkind.PermissionDenied.Errorf("identity lacks permission to create a context in group '%s' "+
			"(not an admin and CAN_CREATE_CONTEXT is not set)", id.Debug())
	}
	return state.Target, nil
}

// register makes a new context one of a group's, with the visibility that the group gives new ones.
func (m *manager) register(ctx context.Context, b *store.Batch, id domain.ContextID, member domain.PrivateKey, req CreateRequest) error {
	state, err := m.group(ctx, *req.Group)
	if err != nil {
		return err
	}
	mode := domain.VisibilityOpen
	if state.DefaultVisibility != nil {
		mode = *state.DefaultVisibility
	}
	ops, err := registration(id, mode, member.Public(), req.Alias)
	if err != nil {
		return err
	}
	if state.Migration != nil { // its state is of the new application from the beginning
		done := migration{Application: req.Application, Method: string(state.Migration)}
		store.GroupContextLastMigration.Put(b, store.GroupContextKey{Group: *req.Group, Context: id}, done.mark())
	}
	store.ContextGroup.Put(b, id, wire.ID32(*req.Group))
	if err := m.opts.Identity.PutOwn(b, id, member); err != nil {
		return err
	}
	_, err = m.opts.Groups.Stage(ctx, b, *req.Group, member, ops...)
	return err
}

// registration are the first operations about a context.
func registration(id domain.ContextID, mode domain.VisibilityMode, creator domain.PublicKey, alias *string) ([]wire.GroupOp, error) {
	ops := []wire.GroupOp{
		wire.OpContextRegistered{Context: id},
		wire.OpContextVisibilitySet{Context: id, Mode: mode, Creator: creator},
	}
	if alias == nil {
		return ops, nil
	}
	name, err := domain.ParseAlias(*alias)
	if err != nil {
		return nil, errkind.Invalid.Errorf("alias %q: %w", *alias, err)
	}
	return append(ops, wire.OpContextAliasSet{Context: id, Alias: string(name)}), nil
}
