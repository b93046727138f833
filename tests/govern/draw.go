package govern

import (
	"strconv"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// draw makes the body of an operation of one of the people.
func (h *history) draw(r *realm, author person) wire.GroupOp {
	who := pick(h, h.people).public
	context := domain.ContextID{0x33, byte(h.rng.IntN(2))}
	child := pick(h, h.groups).genesis.Group
	if h.chance(20) {
		child = domain.GroupID{0x55, byte(h.rng.IntN(2))}
	}
	text := strconv.Itoa(h.rng.IntN(9))
	role := pick(h, []domain.MemberRole{domain.RoleAdmin, domain.RoleAdmin, domain.RoleMember, domain.RoleReadOnly})
	mode := domain.VisibilityMode(h.rng.IntN(3))
	granted := wire.OpContextCapabilityGranted{Context: context, Member: who, Capability: domain.ContextCapability(h.rng.IntN(8))}
	caps := domain.GroupCapabilities(h.rng.IntN(32))
	creator := who
	if h.chance(60) {
		creator = author.public
	}
	bodies := []wire.GroupOp{
		wire.OpNoop{},
		wire.OpMemberAdded{Member: who, Role: role}, wire.OpMemberAdded{Member: who, Role: role},
		wire.OpMemberAdded{Member: who, Role: role}, wire.OpMemberAdded{Member: who, Role: domain.RoleAdmin},
		wire.OpMemberRemoved{Member: who}, wire.OpMemberRemoved{Member: who},
		wire.OpMemberRoleSet{Member: who, Role: role}, wire.OpMemberRoleSet{Member: who, Role: role},
		wire.OpMemberCapabilitySet{Member: who, Capabilities: caps}, wire.OpMemberCapabilitySet{Member: who, Capabilities: caps},
		wire.OpDefaultCapabilitiesSet{Capabilities: caps},
		wire.OpUpgradePolicySet{Policy: domain.UpgradePolicy{Mode: domain.UpgradeMode(h.rng.IntN(3))}},
		wire.OpTargetApplicationSet{AppKey: domain.Hash{byte(h.rng.IntN(4))}, Target: domain.ApplicationID{byte(h.rng.IntN(4))}},
		wire.OpGroupMigrationSet{Migration: []byte(text)},
		wire.OpContextRegistered{Context: context}, wire.OpContextRegistered{Context: context},
		wire.OpContextDetached{Context: context},
		wire.OpDefaultVisibilitySet{Mode: mode},
		wire.OpContextVisibilitySet{Context: context, Mode: mode, Creator: creator},
		wire.OpContextAllowlistReplaced{Context: context, Members: []domain.PublicKey{who, pick(h, h.people).public}},
		wire.OpContextAliasSet{Context: context, Alias: text},
		wire.OpMemberAliasSet{Member: who, Alias: text},
		wire.OpGroupAliasSet{Alias: text},
		granted, wire.OpContextCapabilityRevoked(granted),
		wire.OpSubgroupCreated{Child: child}, wire.OpSubgroupCreated{Child: child}, wire.OpSubgroupCreated{Child: child},
		wire.OpSubgroupRemoved{Child: child},
		wire.OpTeeAdmissionPolicySet{MRTD: []string{text, "1", "2"}, TCBStatuses: []string{}},
		wire.OpMemberJoinedViaTeeAttestation{Member: who, MRTD: text, Role: role},
	}
	switch k := h.rng.IntN(len(bodies) + 5); { // the others have signatures, which cost
	case k < len(bodies):
		return bodies[k]
	case k == len(bodies):
		return wire.OpGroupDelete{}
	case k == len(bodies)+1:
		return h.closing(r)
	case k == len(bodies)+2:
		return h.contextClaim()
	default:
		return h.claim(r, author)
	}
}

// invitation is one of a few: two of each of the people, one of them for one use.
func (h *history) invitation(r *realm) (wire.GroupInvitation, person) {
	inviter := pick(h, h.people)
	i := wire.GroupInvitation{Inviter: inviter.public, Target: r.genesis.Group, Expiration: 4000000000}
	if h.chance(50) {
		copy(i.Salt[:], wire.OneUseSalt)
	}
	return i, inviter
}

func (h *history) claim(r *realm, author person) wire.GroupOp {
	i, inviter := h.invitation(r)
	signature, err := i.Sign(inviter.key)
	h.check(err, "invite")
	claim, err := wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}.Claim(author.key)
	h.check(err, "claim")
	return claim
}

func (h *history) contextClaim() wire.GroupOp {
	inviter := pick(h, h.people)
	i := wire.ContextInvitation{Inviter: inviter.public, Target: domain.ContextID{0x33}, Expiration: 4000000000}
	payload, err := wire.Encode(i)
	h.check(err, "invite")
	signature, err := i.Sign(inviter.key)
	h.check(err, "invite")
	return wire.OpMemberJoinedViaContextInvitation{
		Context: i.Target, Inviter: i.Inviter, Payload: payload, InviterSignature: signature,
	}
}

func (h *history) closing(r *realm) wire.GroupOp {
	i, _ := h.invitation(r)
	return wire.OpMemberCapabilitySet{Member: domain.PublicKey(i.Hash()), Capabilities: governance.CloseInvitation}
}
