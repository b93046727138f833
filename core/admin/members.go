package admin

import (
	"context"
	"errors"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxAtOnce bounds the members of one request, which are one batch.
const MaxAtOnce = 1000

// Member is a member of a group.
type Member struct {
	Identity domain.PublicKey
	Role     domain.MemberRole
	Alias    *string
}

// AddMembers adds members, or sets the roles of those that are; all or none. Aliases are not looked at.
func (s *Service) AddMembers(ctx context.Context, id domain.GroupID, members []Member, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	bodies := make([]wire.GroupOp, len(members))
	for i, m := range members {
		bodies[i] = wire.OpMemberAdded{Member: m.Identity, Role: m.Role}
	}
	return a.change(ctx, bodies)
}

// RemoveMembers removes members; all or none. What they held in the group's contexts goes with them.
func (s *Service) RemoveMembers(ctx context.Context, id domain.GroupID, members []domain.PublicKey, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	members = slices.Clone(members)
	slices.SortFunc(members, domain.PublicKey.Compare)
	members = slices.Compact(members)
	if a.isAllAdmins(members) {
		return errkind.Precondition.Errorf("cannot remove all admins from group '%s': at least one admin must remain", id.Debug())
	}
	if i := slices.Index(members, a.who); i >= 0 { // the last to go: afterwards it has no say
		members = append(slices.Delete(members, i, i+1), a.who)
	}
	bodies := make([]wire.GroupOp, len(members))
	for i, who := range members {
		bodies[i] = wire.OpMemberRemoved{Member: who}
	}
	if err := a.change(ctx, bodies); err != nil {
		return err
	}
	for _, who := range members {
		a.cutOff(ctx, who)
	}
	return nil
}

// cutOff removes who was an admin from the groups below too, where it has no row: so that nothing it does there, without
// knowing of its removal, counts. Where the requester may not, the authority that is gone has to do.
func (a *acting) cutOff(ctx context.Context, who domain.PublicKey) {
	if !a.state.EverAdmins[who] {
		return
	}
	below, err := a.s.opts.Groups.Cuts(ctx, a.id, who)
	for _, child := range below {
		cut := acting{s: a.s, id: child, who: a.who}
		err = errors.Join(err, cut.issue(ctx, wire.OpMemberRemoved{Member: who}))
	}
	if err != nil {
		a.s.opts.Logger.Warn("a removed admin is not cut off from all groups below", "group", a.id, "member", who, "err", err)
	}
}

// isAllAdmins tells whether no admin with a row of its own would be left without these.
func (a *acting) isAllAdmins(members []domain.PublicKey) bool {
	left := a.admins()
	if left == 0 {
		return false
	}
	for _, who := range members {
		if role, found := a.state.Members[who]; found && role == domain.RoleAdmin {
			left--
		}
	}
	return left == 0
}

func (a *acting) change(ctx context.Context, bodies []wire.GroupOp) error {
	if len(bodies) > MaxAtOnce {
		return errkind.TooLarge.Errorf("%d members at once, limit %d", len(bodies), MaxAtOnce)
	}
	return a.issue(ctx, bodies...)
}

// SetRole sets the role of a member. One that it has already is no error.
func (s *Service) SetRole(ctx context.Context, id domain.GroupID, who domain.PublicKey, role domain.MemberRole, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	if err := a.member(ctx, who); err != nil {
		return err
	}
	now, direct := a.state.Members[who]
	switch {
	case direct && now == role:
		return nil
	case direct && now == domain.RoleAdmin && a.admins() == 1:
		return errkind.Precondition.Errorf("cannot demote the last admin of group '%s'", id.Debug())
	}
	return a.issue(ctx, wire.OpMemberRoleSet{Member: who, Role: role})
}

// admins counts those with a row of their own.
func (a *acting) admins() (n int) {
	for _, role := range a.state.Members {
		if role == domain.RoleAdmin {
			n++
		}
	}
	return n
}

// SetCapabilities replaces the capabilities of a member.
func (s *Service) SetCapabilities(ctx context.Context, id domain.GroupID, who domain.PublicKey, caps domain.GroupCapabilities,
	requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	if caps&governance.CloseInvitation != 0 {
		return errkind.Invalid.Errorf("capability bit 0x%x stands for a closed invitation and is no member's", uint32(governance.CloseInvitation))
	}
	if err := a.member(ctx, who); err != nil {
		return err
	}
	return a.issue(ctx, wire.OpMemberCapabilitySet{Member: who, Capabilities: caps})
}

// Capabilities of a member; none for anybody else.
func (s *Service) Capabilities(ctx context.Context, id domain.GroupID, who domain.PublicKey) (domain.GroupCapabilities, error) {
	state, err := s.group(ctx, id)
	if err != nil {
		return 0, err
	}
	return state.Capabilities[who], nil
}

// SetMemberAlias names a member: itself, or an admin does.
func (s *Service) SetMemberAlias(ctx context.Context, id domain.GroupID, who domain.PublicKey, alias string, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	if a.who != who {
		role, found, err := s.opts.Groups.Role(ctx, id, a.who)
		if err != nil {
			return err
		}
		if !found || role != domain.RoleAdmin {
			return errkind.PermissionDenied.Errorf("members may only set their own alias")
		}
	}
	return a.issue(ctx, wire.OpMemberAliasSet{Member: who, Alias: alias})
}

// Members lists members in the order of their keys, and who of them this node is.
func (s *Service) Members(ctx context.Context, id domain.GroupID, offset, limit uint64) (members []Member, self domain.PublicKey, err error) {
	a, err := s.reading(ctx, id)
	if err != nil {
		return nil, domain.PublicKey{}, err
	}
	for _, who := range page(sorted(a.state.Members, domain.PublicKey.Compare), offset, limit) {
		members = append(members, Member{Identity: who, Role: a.state.Members[who], Alias: named(a.state.MemberAlias, who)})
	}
	return members, a.who, nil
}

func named[K comparable](aliases map[K]string, of K) *string {
	if alias, found := aliases[of]; found {
		return &alias
	}
	return nil
}
