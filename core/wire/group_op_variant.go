package wire

import (
	"errors"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// GroupOp is one of the Op* types: what a [SignedGroupOp] does (governance.md §2.4). Lists and texts of a decoded one
// are bounded by the size of the whole alone.
type GroupOp interface {
	borsh.Marshaler // the fields, without the tag
	// Kind is the tag.
	Kind() GroupOpKind
}

// GroupOpKind is the tag of a group operation.
type GroupOpKind uint8

// The operations, in the order of their tags.
const (
	KindNoop GroupOpKind = iota
	KindMemberAdded
	KindMemberRemoved
	KindMemberRoleSet
	KindMemberCapabilitySet
	KindDefaultCapabilitiesSet
	KindUpgradePolicySet
	KindTargetApplicationSet
	KindContextRegistered
	KindContextDetached
	KindDefaultVisibilitySet
	KindContextVisibilitySet
	KindContextAllowlistReplaced
	KindContextAliasSet
	KindMemberAliasSet
	KindGroupAliasSet
	KindGroupDelete
	KindGroupMigrationSet
	KindJoinWithInvitationClaim
	KindContextCapabilityGranted
	KindContextCapabilityRevoked
	KindSubgroupCreated
	KindSubgroupRemoved
	KindMemberJoinedViaContextInvitation
	KindTeeAdmissionPolicySet
	KindMemberJoinedViaTeeAttestation
)

// groupOpKinds has the names, by tag, and how the fields are read.
var groupOpKinds = [...]struct {
	name string
	read func(*borsh.Decoder) GroupOp
}{
	{"Noop", readOp[OpNoop]},
	{"MemberAdded", readOp[OpMemberAdded]},
	{"MemberRemoved", readOp[OpMemberRemoved]},
	{"MemberRoleSet", readOp[OpMemberRoleSet]},
	{"MemberCapabilitySet", readOp[OpMemberCapabilitySet]},
	{"DefaultCapabilitiesSet", readOp[OpDefaultCapabilitiesSet]},
	{"UpgradePolicySet", readOp[OpUpgradePolicySet]},
	{"TargetApplicationSet", readOp[OpTargetApplicationSet]},
	{"ContextRegistered", readOp[OpContextRegistered]},
	{"ContextDetached", readOp[OpContextDetached]},
	{"DefaultVisibilitySet", readOp[OpDefaultVisibilitySet]},
	{"ContextVisibilitySet", readOp[OpContextVisibilitySet]},
	{"ContextAllowlistReplaced", readOp[OpContextAllowlistReplaced]},
	{"ContextAliasSet", readOp[OpContextAliasSet]},
	{"MemberAliasSet", readOp[OpMemberAliasSet]},
	{"GroupAliasSet", readOp[OpGroupAliasSet]},
	{"GroupDelete", readOp[OpGroupDelete]},
	{"GroupMigrationSet", readOp[OpGroupMigrationSet]},
	{"JoinWithInvitationClaim", readOp[OpJoinWithInvitationClaim]},
	{"ContextCapabilityGranted", readOp[OpContextCapabilityGranted]},
	{"ContextCapabilityRevoked", readOp[OpContextCapabilityRevoked]},
	{"SubgroupCreated", readOp[OpSubgroupCreated]},
	{"SubgroupRemoved", readOp[OpSubgroupRemoved]},
	{"MemberJoinedViaContextInvitation", readOp[OpMemberJoinedViaContextInvitation]},
	{"TeeAdmissionPolicySet", readOp[OpTeeAdmissionPolicySet]},
	{"MemberJoinedViaTeeAttestation", readOp[OpMemberJoinedViaTeeAttestation]},
}

// String returns the reference's name of the operation.
func (k GroupOpKind) String() string {
	if int(k) < len(groupOpKinds) {
		return groupOpKinds[k].name
	}
	return fmt.Sprintf("GroupOpKind(%d)", uint8(k))
}

// PutGroupOp writes an operation with its tag.
func PutGroupOp(e *borsh.Encoder, op GroupOp) {
	if op == nil {
		e.Fail(errors.New("encode group operation: none given"))
		return
	}
	e.U8(uint8(op.Kind()))
	op.EncodeBorsh(e)
}

// ReadGroupOp reads an operation with its tag; nil after an error.
func ReadGroupOp(d *borsh.Decoder, field string) GroupOp {
	kind := d.Tag(field, uint8(len(groupOpKinds)))
	if d.Err() != nil || !d.Enter(groupOpKinds[kind].name) {
		return nil
	}
	defer d.Leave()
	op := groupOpKinds[kind].read(d)
	if d.Err() != nil {
		return nil
	}
	return op
}

func readOp[T GroupOp, P interface {
	*T
	borsh.Unmarshaler
}](d *borsh.Decoder) GroupOp {
	var op T
	P(&op).DecodeBorsh(d)
	return op
}

// Operations without fields.
type (
	// OpNoop changes nothing; it merges heads.
	OpNoop struct{}
	// OpGroupDelete deletes the group.
	OpGroupDelete struct{}
)

// Operations on members.
type (
	// OpMemberAdded adds a member, or sets its role.
	OpMemberAdded struct {
		Member domain.PublicKey
		Role   domain.MemberRole
	}
	// OpMemberRemoved removes a member.
	OpMemberRemoved struct{ Member domain.PublicKey }
	// OpMemberRoleSet sets a member's role, or adds it.
	OpMemberRoleSet OpMemberAdded
	// OpMemberCapabilitySet replaces a member's capabilities.
	OpMemberCapabilitySet struct {
		Member       domain.PublicKey
		Capabilities domain.GroupCapabilities
	}
	// OpDefaultCapabilitiesSet sets what new members are given.
	OpDefaultCapabilitiesSet struct{ Capabilities domain.GroupCapabilities }
	// OpMemberAliasSet names a member.
	OpMemberAliasSet struct {
		Member domain.PublicKey
		Alias  string
	}
)

// Operations on the group's own settings.
type (
	// OpUpgradePolicySet sets how contexts follow a new application.
	OpUpgradePolicySet struct{ Policy domain.UpgradePolicy }
	// OpTargetApplicationSet sets the application of the group's contexts.
	OpTargetApplicationSet struct {
		AppKey domain.Hash
		Target domain.ApplicationID
	}
	// OpGroupMigrationSet names the method that migrates a context's state; nil is none.
	OpGroupMigrationSet struct{ Migration []byte }
	// OpDefaultVisibilitySet sets the visibility of new contexts. The mode may be any number.
	OpDefaultVisibilitySet struct{ Mode domain.VisibilityMode }
	// OpGroupAliasSet names the group.
	OpGroupAliasSet struct{ Alias string }
	// OpSubgroupCreated makes a group a child of this one.
	OpSubgroupCreated struct{ Child domain.GroupID }
	// OpSubgroupRemoved undoes that.
	OpSubgroupRemoved OpSubgroupCreated
)

// Operations on contexts.
type (
	// OpContextRegistered makes a context one of the group's.
	OpContextRegistered struct{ Context domain.ContextID }
	// OpContextDetached undoes that.
	OpContextDetached OpContextRegistered
	// OpContextVisibilitySet sets who may join a context, and who created it. The mode may be any number.
	OpContextVisibilitySet struct {
		Context domain.ContextID
		Mode    domain.VisibilityMode
		Creator domain.PublicKey
	}
	// OpContextAllowlistReplaced sets who may join a restricted context.
	OpContextAllowlistReplaced struct {
		Context domain.ContextID
		Members []domain.PublicKey
	}
	// OpContextAliasSet names a context.
	OpContextAliasSet struct {
		Context domain.ContextID
		Alias   string
	}
	// OpContextCapabilityGranted gives a member capabilities in a context: any set of bits.
	OpContextCapabilityGranted struct {
		Context    domain.ContextID
		Member     domain.PublicKey
		Capability domain.ContextCapability
	}
	// OpContextCapabilityRevoked takes them away.
	OpContextCapabilityRevoked OpContextCapabilityGranted
)

// Operations by which members come in themselves, and the policy for some of them.
type (
	// OpJoinWithInvitationClaim joins the signer by an invitation to the group.
	OpJoinWithInvitationClaim struct {
		Invitation SignedGroupInvitation
		// InviteeSignature is the signer's over the [GroupInvitationReveal], in hex.
		InviteeSignature string
	}
	// OpMemberJoinedViaContextInvitation joins the signer by an invitation to a context.
	OpMemberJoinedViaContextInvitation struct {
		Context domain.ContextID
		Inviter domain.PublicKey
		// Payload is the encoded [ContextInvitation] and InviterSignature the signature of its hash in hex, as sent:
		// any bytes, any text.
		Payload          []byte
		InviterSignature string
	}
	// OpTeeAdmissionPolicySet says which attested nodes may join. An empty list allows any value.
	OpTeeAdmissionPolicySet struct {
		MRTD, RTMR0, RTMR1, RTMR2, RTMR3, TCBStatuses []string
		AcceptMock                                    bool
	}
	// OpMemberJoinedViaTeeAttestation adds an attested node, on the word of the signer who checked its quote.
	OpMemberJoinedViaTeeAttestation struct {
		Member                                      domain.PublicKey
		QuoteHash                                   domain.Hash
		MRTD, RTMR0, RTMR1, RTMR2, RTMR3, TCBStatus string
		Role                                        domain.MemberRole
	}
)

// Kind returns the tag.
func (OpNoop) Kind() GroupOpKind { return KindNoop }

// EncodeBorsh writes nothing.
func (OpNoop) EncodeBorsh(*borsh.Encoder) {}

// DecodeBorsh reads nothing.
func (*OpNoop) DecodeBorsh(*borsh.Decoder) {}

// Kind returns the tag.
func (OpGroupDelete) Kind() GroupOpKind { return KindGroupDelete }

// EncodeBorsh writes nothing.
func (OpGroupDelete) EncodeBorsh(*borsh.Encoder) {}

// DecodeBorsh reads nothing.
func (*OpGroupDelete) DecodeBorsh(*borsh.Decoder) {}

// Kind returns the tag.
func (OpMemberAdded) Kind() GroupOpKind { return KindMemberAdded }

// EncodeBorsh writes the fields.
func (o OpMemberAdded) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Member[:])
	PutMemberRole(e, o.Role)
}

// DecodeBorsh reads the fields.
func (o *OpMemberAdded) DecodeBorsh(d *borsh.Decoder) {
	o.Member = d.Array32("member")
	o.Role = ReadMemberRole(d, "role")
}

// Kind returns the tag.
func (OpMemberRemoved) Kind() GroupOpKind { return KindMemberRemoved }

// EncodeBorsh writes the fields.
func (o OpMemberRemoved) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Member[:])
}

// DecodeBorsh reads the fields.
func (o *OpMemberRemoved) DecodeBorsh(d *borsh.Decoder) {
	o.Member = d.Array32("member")
}

// Kind returns the tag.
func (OpMemberRoleSet) Kind() GroupOpKind { return KindMemberRoleSet }

// EncodeBorsh writes the fields.
func (o OpMemberRoleSet) EncodeBorsh(e *borsh.Encoder) { OpMemberAdded(o).EncodeBorsh(e) }

// DecodeBorsh reads the fields.
func (o *OpMemberRoleSet) DecodeBorsh(d *borsh.Decoder) { (*OpMemberAdded)(o).DecodeBorsh(d) }

// Kind returns the tag.
func (OpMemberCapabilitySet) Kind() GroupOpKind { return KindMemberCapabilitySet }

// EncodeBorsh writes the fields.
func (o OpMemberCapabilitySet) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Member[:])
	e.U32(uint32(o.Capabilities))
}

// DecodeBorsh reads the fields.
func (o *OpMemberCapabilitySet) DecodeBorsh(d *borsh.Decoder) {
	o.Member = d.Array32("member")
	o.Capabilities = domain.GroupCapabilities(d.U32("capabilities"))
}

// Kind returns the tag.
func (OpDefaultCapabilitiesSet) Kind() GroupOpKind { return KindDefaultCapabilitiesSet }

// EncodeBorsh writes the fields.
func (o OpDefaultCapabilitiesSet) EncodeBorsh(e *borsh.Encoder) {
	e.U32(uint32(o.Capabilities))
}

// DecodeBorsh reads the fields.
func (o *OpDefaultCapabilitiesSet) DecodeBorsh(d *borsh.Decoder) {
	o.Capabilities = domain.GroupCapabilities(d.U32("capabilities"))
}

// Kind returns the tag.
func (OpMemberAliasSet) Kind() GroupOpKind { return KindMemberAliasSet }

// EncodeBorsh writes the fields.
func (o OpMemberAliasSet) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Member[:])
	e.String(o.Alias)
}

// DecodeBorsh reads the fields.
func (o *OpMemberAliasSet) DecodeBorsh(d *borsh.Decoder) {
	o.Member = d.Array32("member")
	o.Alias = d.String("alias")
}

// Kind returns the tag.
func (OpUpgradePolicySet) Kind() GroupOpKind { return KindUpgradePolicySet }

// EncodeBorsh writes the fields.
func (o OpUpgradePolicySet) EncodeBorsh(e *borsh.Encoder) {
	PutUpgradePolicy(e, o.Policy)
}

// DecodeBorsh reads the fields.
func (o *OpUpgradePolicySet) DecodeBorsh(d *borsh.Decoder) {
	o.Policy = ReadUpgradePolicy(d, "policy")
}

// Kind returns the tag.
func (OpTargetApplicationSet) Kind() GroupOpKind { return KindTargetApplicationSet }

// EncodeBorsh writes the fields.
func (o OpTargetApplicationSet) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.AppKey[:])
	e.Raw(o.Target[:])
}

// DecodeBorsh reads the fields.
func (o *OpTargetApplicationSet) DecodeBorsh(d *borsh.Decoder) {
	o.AppKey = d.Array32("app_key")
	o.Target = d.Array32("target_application_id")
}

// Kind returns the tag.
func (OpGroupMigrationSet) Kind() GroupOpKind { return KindGroupMigrationSet }

// EncodeBorsh writes the fields.
func (o OpGroupMigrationSet) EncodeBorsh(e *borsh.Encoder) {
	e.OptBytes(o.Migration)
}

// DecodeBorsh reads the fields.
func (o *OpGroupMigrationSet) DecodeBorsh(d *borsh.Decoder) {
	o.Migration = d.OptBytes("migration")
}

// Kind returns the tag.
func (OpDefaultVisibilitySet) Kind() GroupOpKind { return KindDefaultVisibilitySet }

// EncodeBorsh writes the fields.
func (o OpDefaultVisibilitySet) EncodeBorsh(e *borsh.Encoder) {
	e.U8(uint8(o.Mode))
}

// DecodeBorsh reads the fields.
func (o *OpDefaultVisibilitySet) DecodeBorsh(d *borsh.Decoder) {
	o.Mode = domain.VisibilityMode(d.U8("mode"))
}

// Kind returns the tag.
func (OpGroupAliasSet) Kind() GroupOpKind { return KindGroupAliasSet }

// EncodeBorsh writes the fields.
func (o OpGroupAliasSet) EncodeBorsh(e *borsh.Encoder) {
	e.String(o.Alias)
}

// DecodeBorsh reads the fields.
func (o *OpGroupAliasSet) DecodeBorsh(d *borsh.Decoder) {
	o.Alias = d.String("alias")
}

// Kind returns the tag.
func (OpSubgroupCreated) Kind() GroupOpKind { return KindSubgroupCreated }

// EncodeBorsh writes the fields.
func (o OpSubgroupCreated) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Child[:])
}

// DecodeBorsh reads the fields.
func (o *OpSubgroupCreated) DecodeBorsh(d *borsh.Decoder) {
	o.Child = d.Array32("child_group_id")
}

// Kind returns the tag.
func (OpSubgroupRemoved) Kind() GroupOpKind { return KindSubgroupRemoved }

// EncodeBorsh writes the fields.
func (o OpSubgroupRemoved) EncodeBorsh(e *borsh.Encoder) { OpSubgroupCreated(o).EncodeBorsh(e) }

// DecodeBorsh reads the fields.
func (o *OpSubgroupRemoved) DecodeBorsh(d *borsh.Decoder) { (*OpSubgroupCreated)(o).DecodeBorsh(d) }

// Kind returns the tag.
func (OpContextRegistered) Kind() GroupOpKind { return KindContextRegistered }

// EncodeBorsh writes the fields.
func (o OpContextRegistered) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Context[:])
}

// DecodeBorsh reads the fields.
func (o *OpContextRegistered) DecodeBorsh(d *borsh.Decoder) {
	o.Context = d.Array32("context_id")
}

// Kind returns the tag.
func (OpContextDetached) Kind() GroupOpKind { return KindContextDetached }

// EncodeBorsh writes the fields.
func (o OpContextDetached) EncodeBorsh(e *borsh.Encoder) { OpContextRegistered(o).EncodeBorsh(e) }

// DecodeBorsh reads the fields.
func (o *OpContextDetached) DecodeBorsh(d *borsh.Decoder) { (*OpContextRegistered)(o).DecodeBorsh(d) }

// Kind returns the tag.
func (OpContextVisibilitySet) Kind() GroupOpKind { return KindContextVisibilitySet }

// EncodeBorsh writes the fields.
func (o OpContextVisibilitySet) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Context[:])
	e.U8(uint8(o.Mode))
	e.Raw(o.Creator[:])
}

// DecodeBorsh reads the fields.
func (o *OpContextVisibilitySet) DecodeBorsh(d *borsh.Decoder) {
	o.Context = d.Array32("context_id")
	o.Mode = domain.VisibilityMode(d.U8("mode"))
	o.Creator = d.Array32("creator")
}

// Kind returns the tag.
func (OpContextAllowlistReplaced) Kind() GroupOpKind { return KindContextAllowlistReplaced }

// EncodeBorsh writes the fields.
func (o OpContextAllowlistReplaced) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Context[:])
	borsh.PutSlice(e, o.Members, borsh.PutArray32[domain.PublicKey])
}

// DecodeBorsh reads the fields.
func (o *OpContextAllowlistReplaced) DecodeBorsh(d *borsh.Decoder) {
	o.Context = d.Array32("context_id")
	o.Members = borsh.Array32s[domain.PublicKey](d, "members")
}

// Kind returns the tag.
func (OpContextAliasSet) Kind() GroupOpKind { return KindContextAliasSet }

// EncodeBorsh writes the fields.
func (o OpContextAliasSet) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Context[:])
	e.String(o.Alias)
}

// DecodeBorsh reads the fields.
func (o *OpContextAliasSet) DecodeBorsh(d *borsh.Decoder) {
	o.Context = d.Array32("context_id")
	o.Alias = d.String("alias")
}

// Kind returns the tag.
func (OpContextCapabilityGranted) Kind() GroupOpKind { return KindContextCapabilityGranted }

// EncodeBorsh writes the fields.
func (o OpContextCapabilityGranted) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Context[:])
	e.Raw(o.Member[:])
	e.U8(uint8(o.Capability))
}

// DecodeBorsh reads the fields.
func (o *OpContextCapabilityGranted) DecodeBorsh(d *borsh.Decoder) {
	o.Context = d.Array32("context_id")
	o.Member = d.Array32("member")
	o.Capability = domain.ContextCapability(d.U8("capability"))
}

// Kind returns the tag.
func (OpContextCapabilityRevoked) Kind() GroupOpKind { return KindContextCapabilityRevoked }

// EncodeBorsh writes the fields.
func (o OpContextCapabilityRevoked) EncodeBorsh(e *borsh.Encoder) {
	OpContextCapabilityGranted(o).EncodeBorsh(e)
}

// DecodeBorsh reads the fields.
func (o *OpContextCapabilityRevoked) DecodeBorsh(d *borsh.Decoder) {
	(*OpContextCapabilityGranted)(o).DecodeBorsh(d)
}

// Kind returns the tag.
func (OpJoinWithInvitationClaim) Kind() GroupOpKind { return KindJoinWithInvitationClaim }

// EncodeBorsh writes the fields.
func (o OpJoinWithInvitationClaim) EncodeBorsh(e *borsh.Encoder) {
	o.Invitation.EncodeBorsh(e)
	e.String(o.InviteeSignature)
}

// DecodeBorsh reads the fields.
func (o *OpJoinWithInvitationClaim) DecodeBorsh(d *borsh.Decoder) {
	if d.Enter("signed_invitation") {
		o.Invitation.DecodeBorsh(d)
		d.Leave()
	}
	o.InviteeSignature = d.String("invitee_signature_hex")
}

// Kind returns the tag.
func (OpMemberJoinedViaContextInvitation) Kind() GroupOpKind {
	return KindMemberJoinedViaContextInvitation
}

// EncodeBorsh writes the fields.
func (o OpMemberJoinedViaContextInvitation) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Context[:])
	e.Raw(o.Inviter[:])
	e.Bytes(o.Payload)
	e.String(o.InviterSignature)
}

// DecodeBorsh reads the fields.
func (o *OpMemberJoinedViaContextInvitation) DecodeBorsh(d *borsh.Decoder) {
	o.Context = d.Array32("context_id")
	o.Inviter = d.Array32("inviter_id")
	o.Payload = d.Bytes("invitation_payload")
	o.InviterSignature = d.String("inviter_signature")
}

// Kind returns the tag.
func (OpTeeAdmissionPolicySet) Kind() GroupOpKind { return KindTeeAdmissionPolicySet }

// EncodeBorsh writes the fields.
func (o OpTeeAdmissionPolicySet) EncodeBorsh(e *borsh.Encoder) {
	for _, allowed := range [][]string{o.MRTD, o.RTMR0, o.RTMR1, o.RTMR2, o.RTMR3, o.TCBStatuses} {
		borsh.PutSlice(e, allowed, (*borsh.Encoder).String)
	}
	e.Bool(o.AcceptMock)
}

// DecodeBorsh reads the fields.
func (o *OpTeeAdmissionPolicySet) DecodeBorsh(d *borsh.Decoder) {
	o.MRTD = readStrings(d, "allowed_mrtd")
	o.RTMR0 = readStrings(d, "allowed_rtmr0")
	o.RTMR1 = readStrings(d, "allowed_rtmr1")
	o.RTMR2 = readStrings(d, "allowed_rtmr2")
	o.RTMR3 = readStrings(d, "allowed_rtmr3")
	o.TCBStatuses = readStrings(d, "allowed_tcb_statuses")
	o.AcceptMock = d.Bool("accept_mock")
}

// Kind returns the tag.
func (OpMemberJoinedViaTeeAttestation) Kind() GroupOpKind { return KindMemberJoinedViaTeeAttestation }

// EncodeBorsh writes the fields.
func (o OpMemberJoinedViaTeeAttestation) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(o.Member[:])
	e.Raw(o.QuoteHash[:])
	for _, measured := range []string{o.MRTD, o.RTMR0, o.RTMR1, o.RTMR2, o.RTMR3, o.TCBStatus} {
		e.String(measured)
	}
	PutMemberRole(e, o.Role)
}

// DecodeBorsh reads the fields.
func (o *OpMemberJoinedViaTeeAttestation) DecodeBorsh(d *borsh.Decoder) {
	o.Member = d.Array32("member")
	o.QuoteHash = d.Array32("quote_hash")
	o.MRTD = d.String("mrtd")
	o.RTMR0 = d.String("rtmr0")
	o.RTMR1 = d.String("rtmr1")
	o.RTMR2 = d.String("rtmr2")
	o.RTMR3 = d.String("rtmr3")
	o.TCBStatus = d.String("tcb_status")
	o.Role = ReadMemberRole(d, "role")
}

func readStrings(d *borsh.Decoder, field string) []string {
	return borsh.Slice(d, field, 4, func(d *borsh.Decoder) string { return d.String("") })
}
