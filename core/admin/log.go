package admin

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// MaxLog bounds the operations of one page of a log.
const MaxLog = 1000

// Log lists the operations that this node has of a group in the order in which it took them, refused and void ones too,
// at most MaxLog from an offset on, and how many there are. Each has its author, its parents, its verdict and what caused
// that. Those that wait for their parents follow the last one and are not counted. A deleted group, and one that the node
// is no longer in, has its log.
func (s *Service) Log(ctx context.Context, id domain.GroupID, offset, limit uint64) (entries []governance.Entry, total uint64, err error) {
	const most = 1 << 40
	from, size := int(min(offset, most)), int(min(limit, MaxLog)) //nolint:gosec // bounded
	entries, n, err := s.opts.Groups.Log(ctx, id, from, size)
	if err != nil {
		return nil, 0, err
	}
	if from+len(entries) == n && len(entries) < size {
		waiting, err := s.opts.Groups.Waiting(ctx, id, size-len(entries))
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, waiting...)
	}
	return entries, uint64(n), nil //nolint:gosec // a length
}

// Describe says in words what an operation does. Lists are counted, and texts of others quoted.
func Describe(op wire.GroupOp) string {
	switch o := op.(type) {
	case wire.OpNoop:
		return "nothing: it builds on the operations before it"
	case wire.OpMemberAdded:
		return fmt.Sprintf("add %s as %s", o.Member, o.Role)
	case wire.OpMemberRemoved:
		return fmt.Sprintf("remove %s", o.Member)
	case wire.OpMemberRoleSet:
		return fmt.Sprintf("make %s %s", o.Member, o.Role)
	case wire.OpMemberCapabilitySet:
		if o.Capabilities == governance.CloseInvitation {
			return fmt.Sprintf("close the invitation %s", o.Member)
		}
		return fmt.Sprintf("set the capabilities of %s to %s", o.Member, capabilities(o.Capabilities))
	case wire.OpDefaultCapabilitiesSet:
		return "set the capabilities of new members to " + capabilities(o.Capabilities)
	case wire.OpMemberAliasSet:
		return fmt.Sprintf("name %s %q", o.Member, o.Alias)
	case wire.OpUpgradePolicySet:
		return "set the upgrade policy to " + policy(o.Policy)
	case wire.OpTargetApplicationSet:
		return fmt.Sprintf("set the application to %s", o.Target)
	case wire.OpGroupMigrationSet:
		if o.Migration == nil {
			return "migrate with no method"
		}
		return fmt.Sprintf("migrate with the method %q", o.Migration)
	case wire.OpDefaultVisibilitySet:
		return fmt.Sprintf("make new contexts %s", o.Mode)
	case wire.OpGroupAliasSet:
		return fmt.Sprintf("name the group %q", o.Alias)
	case wire.OpGroupDelete:
		return "delete the group"
	case wire.OpSubgroupCreated:
		return fmt.Sprintf("make %s a subgroup", o.Child)
	case wire.OpSubgroupRemoved:
		return fmt.Sprintf("make %s no subgroup any more", o.Child)
	}
	return describeMore(op)
}

func describeMore(op wire.GroupOp) string {
	switch o := op.(type) {
	case wire.OpContextRegistered:
		return fmt.Sprintf("register context %s", o.Context)
	case wire.OpContextDetached:
		return fmt.Sprintf("detach context %s", o.Context)
	case wire.OpContextVisibilitySet:
		return fmt.Sprintf("make context %s %s, created by %s", o.Context, o.Mode, o.Creator)
	case wire.OpContextAllowlistReplaced:
		return fmt.Sprintf("let %d identities join context %s", len(o.Members), o.Context)
	case wire.OpContextAliasSet:
		return fmt.Sprintf("name context %s %q", o.Context, o.Alias)
	case wire.OpContextCapabilityGranted:
		return fmt.Sprintf("grant %s %s in context %s", o.Member, inContext(o.Capability), o.Context)
	case wire.OpContextCapabilityRevoked:
		return fmt.Sprintf("revoke %s of %s in context %s", inContext(o.Capability), o.Member, o.Context)
	case wire.OpJoinWithInvitationClaim:
		i := o.Invitation.Invitation
		return fmt.Sprintf("join with the invitation %s of %s", i.Hash(), i.Inviter)
	case wire.OpMemberJoinedViaContextInvitation:
		return fmt.Sprintf("join with an invitation of %s to context %s", o.Inviter, o.Context)
	case wire.OpTeeAdmissionPolicySet:
		return "set the policy for attested nodes"
	case wire.OpMemberJoinedViaTeeAttestation:
		return fmt.Sprintf("admit the attested node %s as %s", o.Member, o.Role)
	}
	return op.Kind().String()
}

// capabilities names bits of members; unknown ones are printed as a number.
func capabilities(c domain.GroupCapabilities) string {
	return bits(uint32(c), "CAN_CREATE_CONTEXT", "CAN_INVITE_MEMBERS", "CAN_JOIN_OPEN_CONTEXTS", "MANAGE_MEMBERS", "MANAGE_APPLICATION")
}

// inContext names bits of members in a context.
func inContext(c domain.ContextCapability) string {
	return bits(uint32(c), "ManageApplication", "ManageMembers", "Proxy")
}

func bits(set uint32, names ...string) string {
	return cmp.Or(strings.Join(domain.BitNames(set, names...), " "), "none")
}

func policy(p domain.UpgradePolicy) string {
	switch p.Mode {
	case domain.UpgradeAutomatic:
		return "Automatic"
	case domain.UpgradeLazyOnAccess:
		return "LazyOnAccess"
	case domain.UpgradeCoordinated:
		if p.Deadline != nil {
			return fmt.Sprintf("Coordinated within %d s", p.Deadline.Secs)
		}
		return "Coordinated"
	}
	return fmt.Sprintf("%d", p.Mode)
}
