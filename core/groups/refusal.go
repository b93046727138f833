package groups

import (
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// refused is the error of an operation that would be refused, in the reference's words, some of which depend on what
// the operation does (governance.md §2.4).
func refused(id domain.GroupID, code governance.Code, body wire.GroupOp) error {
	switch code {
	case governance.RefusedNoCapability:
		if _, ok := body.(wire.OpContextRegistered); ok {
			return errkind.PermissionDenied.Errorf("only group admin or members with CAN_CREATE_CONTEXT can register a context")
		}
		if does, bit := gated(body); bit != 0 {
			return errkind.PermissionDenied.Errorf("requester lacks permission to %s in group '%s' (not an admin and capability bit "+
				"0x%x is not set)", does, id.Debug(), uint32(bit))
		}
	case governance.RefusedCreatorClaim:
		return errkind.PermissionDenied.Errorf("only a direct group admin or context creator can set context visibility (inherited " +
			"parent admin authority does not apply)")
	case governance.RefusedNotDirectOrCreator:
		return errkind.PermissionDenied.Errorf("only a direct group admin or context creator can manage allowlists (inherited " +
			"parent admin authority does not apply)")
	case governance.RefusedNotAdminOrCreator:
		return errkind.PermissionDenied.Errorf("only admin or context creator can set context alias")
	case governance.RefusedNotAdminOrSelf:
		return errkind.PermissionDenied.Errorf("only group admin or the member can set member alias")
	case governance.RefusedNoVisibility:
		return errkind.Precondition.Errorf("context visibility not found for context in group")
	case governance.RefusedContextNotInGroup:
		return errkind.Precondition.Errorf("context is not registered in this group")
	case governance.RefusedInviterLacks:
		return errkind.PermissionDenied.Errorf("inviter lacks permission (not admin and missing CAN_INVITE_MEMBERS)")
	case governance.RefusedAdminTarget:
		if _, ok := body.(wire.OpMemberRemoved); ok {
			return errkind.PermissionDenied.Errorf("only admins can remove other admins")
		}
	case governance.RefusedLastAdmin:
		if _, ok := body.(wire.OpMemberRemoved); !ok {
			return errkind.Precondition.Errorf("cannot demote the last admin of the group")
		}
	}
	return refusal(id, code)
}

// gated says what an operation does that a capability is enough for.
func gated(body wire.GroupOp) (does string, bit domain.GroupCapabilities) {
	switch body.(type) {
	case wire.OpMemberAdded:
		return "add member", domain.CanManageMembers
	case wire.OpMemberRemoved:
		return "remove member", domain.CanManageMembers
	case wire.OpTargetApplicationSet:
		return "set target application", domain.CanManageApplication
	case wire.OpGroupMigrationSet:
		return "set group migration", domain.CanManageApplication
	case wire.OpContextCapabilityGranted:
		return "grant context capability", domain.CanManageMembers
	case wire.OpContextCapabilityRevoked:
		return "revoke context capability", domain.CanManageMembers
	}
	return "", 0
}
