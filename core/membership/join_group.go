package membership

import (
	"context"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// GroupInvitation lets whoever holds it join a group. What stands beside the signed part is a help, not signed by the
// inviter.
type GroupInvitation struct {
	wire.SignedGroupInvitation
	Alias   *string
	Genesis *wire.InvitedGenesis
}

// GroupInvite asks for an invitation to a group.
type GroupInvite struct {
	Group   domain.GroupID
	Inviter domain.PrivateKey
	Valid   time.Duration // 0 = MaxValidity
	OneUse  bool          // for one identity
}

// InviteToGroup makes an invitation to a group, signed by an identity that may invite.
func (m *Manager) InviteToGroup(context.Context, GroupInvite) (*GroupInvitation, error) {
	return nil, errkind.Unsupported.Errorf("this version makes no invitations to groups")
}

// JoinedGroup is what came of joining a group.
type JoinedGroup struct {
	Group    domain.GroupID
	Member   domain.PublicKey
	Contexts []domain.ContextID // entered so far
}

// JoinGroup makes an identity of this node a member of a group that others have.
func (m *Manager) JoinGroup(context.Context, GroupInvitation, domain.PrivateKey) (JoinedGroup, error) {
	return JoinedGroup{}, errkind.Unsupported.Errorf("this version joins no groups")
}

// JoinGroupContext makes an identity of this node, a member of a group, a member of one of its contexts.
func (m *Manager) JoinGroupContext(context.Context, domain.GroupID, domain.ContextID, domain.PrivateKey) error {
	return errkind.Unsupported.Errorf("this version joins no contexts of groups")
}
