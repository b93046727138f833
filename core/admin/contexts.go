package admin

import (
	"context"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxAllowlist bounds an allowlist, which one operation replaces.
const MaxAllowlist = 2000

// Context is a context of a group.
type Context struct {
	ID    domain.ContextID
	Alias *string
}

// Contexts lists the contexts of a group in the order of their ids.
func (s *Service) Contexts(ctx context.Context, id domain.GroupID, offset, limit uint64) ([]Context, error) {
	a, err := s.reading(ctx, id)
	if err != nil {
		return nil, err
	}
	list := []Context{}
	for _, c := range page(sorted(a.state.Contexts, domain.ContextID.Compare), offset, limit) {
		list = append(list, Context{ID: c, Alias: named(a.state.ContextAlias, c)})
	}
	return list, nil
}

// Detach takes a context out of the group. Its state stays where it is.
func (s *Service) Detach(ctx context.Context, id domain.GroupID, c domain.ContextID, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	if !a.state.Contexts[c] {
		return errkind.NotFound.Errorf("context '%s' does not belong to group '%s'", c, id.Debug())
	}
	return a.issue(ctx, wire.OpContextDetached{Context: c})
}

// visibility of a context; kind NotFound, with the reference's text, when it was never set.
func (a *acting) visibility(c domain.ContextID) (wire.GroupContextVisibility, error) {
	v, found := a.state.Visibility[c]
	if !found {
		return v, errkind.NotFound.Errorf("context visibility not found for context in group")
	}
	return v, nil
}

// may refuses those who are neither a direct admin nor the creator of the context.
func (a *acting) may(creator domain.PublicKey, what string) error {
	role, found := a.state.Members[a.who]
	if a.who == creator || found && role == domain.RoleAdmin {
		return nil
	}
	return errkind.PermissionDenied.Errorf("only admin or context creator can %s", what)
}

// SetVisibility sets who may join a context. The creator stays who it is.
func (s *Service) SetVisibility(ctx context.Context, id domain.GroupID, c domain.ContextID, mode domain.VisibilityMode,
	requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	creator := a.who
	if v, known := a.state.Visibility[c]; known {
		creator = v.Creator
	}
	return a.issue(ctx, wire.OpContextVisibilitySet{Context: c, Mode: mode, Creator: creator})
}

// Visibility says who may join a context, and who created it.
func (s *Service) Visibility(ctx context.Context, id domain.GroupID, c domain.ContextID) (wire.GroupContextVisibility, error) {
	a, err := s.reading(ctx, id)
	if err != nil {
		return wire.GroupContextVisibility{}, err
	}
	v, found := a.state.Visibility[c]
	switch {
	case !found:
		return v, errkind.NotFound.Errorf("context visibility not found")
	case !v.Mode.Valid():
		return v, errkind.Corrupt.Errorf("invalid visibility mode value: %d", v.Mode)
	}
	return v, nil
}

// ChangeAllowlist takes identities off the list of those who may join a restricted context, and adds others; who is in
// both is on it afterwards.
func (s *Service) ChangeAllowlist(ctx context.Context, id domain.GroupID, c domain.ContextID, add, remove []domain.PublicKey,
	requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	v, err := a.visibility(c)
	if err != nil {
		return err
	}
	if err := a.may(v.Creator, "manage allowlist"); err != nil {
		return err
	}
	list := slices.DeleteFunc(allowlist(a.state, c), func(who domain.PublicKey) bool { return slices.Contains(remove, who) })
	for _, who := range add {
		if !slices.Contains(list, who) {
			list = append(list, who)
		}
	}
	if len(list) > MaxAllowlist {
		return errkind.TooLarge.Errorf("an allowlist of %d identities, limit %d", len(list), MaxAllowlist)
	}
	return a.issue(ctx, wire.OpContextAllowlistReplaced{Context: c, Members: list})
}

func allowlist(state *governance.State, c domain.ContextID) []domain.PublicKey {
	list := []domain.PublicKey{}
	for in := range state.Allowlists {
		if in.Context == c {
			list = append(list, in.Member)
		}
	}
	slices.SortFunc(list, domain.PublicKey.Compare)
	return list
}

// Allowlist lists who may join a restricted context, in the order of the keys.
func (s *Service) Allowlist(ctx context.Context, id domain.GroupID, c domain.ContextID) ([]domain.PublicKey, error) {
	a, err := s.reading(ctx, id)
	if err != nil {
		return nil, err
	}
	return allowlist(a.state, c), nil
}

// SetContextAlias names a context in its group.
func (s *Service) SetContextAlias(ctx context.Context, id domain.GroupID, c domain.ContextID, alias string, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	return a.issue(ctx, wire.OpContextAliasSet{Context: c, Alias: alias})
}

// Grant is a set of capabilities that a member has in a context.
type Grant struct {
	Member     domain.PublicKey
	Capability domain.ContextCapability
}

// GrantInContext gives members capabilities in a context, with signer's authority in its group; all or none.
func (s *Service) GrantInContext(ctx context.Context, c domain.ContextID, grants []Grant, signer domain.PublicKey) error {
	return s.inContext(ctx, c, grants, signer, func(g Grant) wire.GroupOp {
		return wire.OpContextCapabilityGranted{Context: c, Member: g.Member, Capability: g.Capability}
	})
}

// RevokeInContext takes capabilities in a context away; all or none.
func (s *Service) RevokeInContext(ctx context.Context, c domain.ContextID, grants []Grant, signer domain.PublicKey) error {
	return s.inContext(ctx, c, grants, signer, func(g Grant) wire.GroupOp {
		return wire.OpContextCapabilityRevoked{Context: c, Member: g.Member, Capability: g.Capability}
	})
}

func (s *Service) inContext(ctx context.Context, c domain.ContextID, grants []Grant, signer domain.PublicKey, body func(Grant) wire.GroupOp) error {
	id, err := s.GroupOf(ctx, c)
	if err != nil {
		return err
	}
	if id == nil {
		return errkind.NotFound.Errorf("context '%s' is not registered in any group", c)
	}
	a, err := s.act(ctx, *id, &signer)
	if err != nil {
		return err
	}
	bodies := make([]wire.GroupOp, len(grants))
	for i, g := range grants {
		bodies[i] = body(g)
	}
	return a.change(ctx, bodies)
}

// GroupOf is the group that a context belongs to on this node; nil for none.
func (s *Service) GroupOf(ctx context.Context, c domain.ContextID) (*domain.GroupID, error) {
	row, found, err := store.ContextGroup.Get(ctx, s.opts.DB, c)
	if err != nil || !found {
		return nil, err
	}
	id := domain.GroupID(row)
	return &id, nil
}

// JoinContext makes the node's identity a member of a context of a group that it is in, as far as the context's
// visibility lets it. State and application come afterwards, from peers.
func (s *Service) JoinContext(ctx context.Context, id domain.GroupID, c domain.ContextID) (domain.PublicKey, error) {
	node := s.opts.Identity.Node()
	if node == nil {
		return domain.PublicKey{}, errkind.Precondition.Errorf("joiner_identity not provided and node has no configured group identity")
	}
	return node.Public(), s.opts.Peers.JoinGroupContext(ctx, id, c, *node)
}
