package admin

import (
	"context"
	"time"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxValidity is how long an invitation may be valid, and is if nothing else is asked for.
const MaxValidity = membership.MaxValidity

// InviteRequest asks for an invitation to a group.
type InviteRequest struct {
	Group     domain.GroupID
	Requester *domain.PublicKey // the inviter
	Valid     time.Duration     // 0 = MaxValidity
	// OneUse: only one identity may join with it.
	OneUse bool
}

// Invite makes an invitation to a group, which an admin or a holder of CAN_INVITE_MEMBERS may. Whoever has it may join.
func (s *Service) Invite(ctx context.Context, r InviteRequest) (*membership.GroupInvitation, error) {
	if r.Valid == 0 {
		r.Valid = MaxValidity
	}
	if r.Valid < 0 || r.Valid > MaxValidity {
		return nil, errkind.Invalid.Errorf("an invitation is valid for at most %d seconds", int64(MaxValidity.Seconds()))
	}
	a, err := s.act(ctx, r.Group, r.Requester)
	if err != nil {
		return nil, err
	}
	if err := a.mayInvite(ctx); err != nil {
		return nil, err
	}
	key, err := s.opts.Identity.GroupKey(ctx, r.Group, a.who)
	if err != nil {
		return nil, err
	}
	return s.opts.Peers.InviteToGroup(ctx, membership.GroupInvite{Group: r.Group, Inviter: key, Valid: r.Valid, OneUse: r.OneUse})
}

func (a *acting) mayInvite(ctx context.Context) error {
	role, found, err := a.s.opts.Groups.Role(ctx, a.id, a.who)
	if err != nil {
		return err
	}
	if found && (role == domain.RoleAdmin || a.state.Capabilities[a.who].Has(domain.CanInviteMembers)) {
		return nil
	}
	return errkind.PermissionDenied.Errorf("requester lacks permission to create group invitation in group '%s' (not an admin and "+
		"capability bit 0x%x is not set)", a.id.Debug(), uint32(domain.CanInviteMembers))
}

// CloseInvitation ends an invitation, whose signature need not be at hand: who has not joined with it no longer can. A
// closed one is closed without another operation.
func (s *Service) CloseInvitation(ctx context.Context, inv wire.GroupInvitation, requester *domain.PublicKey) error {
	a, err := s.act(ctx, inv.Target, requester)
	if err != nil {
		return err
	}
	hash := inv.Hash()
	if a.state.Closed[hash] {
		return nil
	}
	return a.issue(ctx, wire.OpMemberCapabilitySet{Member: domain.PublicKey(hash), Capabilities: governance.CloseInvitation})
}

// Join makes the node's identity a member of a group by an invitation. The group may be new to the node.
func (s *Service) Join(ctx context.Context, inv membership.GroupInvitation) (membership.JoinedGroup, error) {
	node := s.opts.Identity.Node()
	if node == nil {
		return membership.JoinedGroup{}, errkind.Precondition.Errorf("joiner_identity not provided and node has no configured group identity")
	}
	return s.opts.Peers.JoinGroup(ctx, inv, *node)
}
