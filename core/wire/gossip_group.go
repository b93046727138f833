package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// MaxGroupOp is the largest encoded governance op that is sent and accepted.
const MaxGroupOp = 64 << 10

// SignedGroupOpV1 is a governance op alone, on the group's topic. The reference reads it and does not send it.
type SignedGroupOpV1 struct{ Payload []byte }

func (SignedGroupOpV1) broadcastTag() uint8 { return tagSignedGroupOpV1 }

// EncodeBorsh writes the message.
func (s SignedGroupOpV1) EncodeBorsh(e *borsh.Encoder) { e.Bytes(s.Payload) }

// DecodeBorsh reads the message.
func (s *SignedGroupOpV1) DecodeBorsh(d *borsh.Decoder) { s.Payload = d.Bytes("payload") }

// GroupGovernanceDelta is a governance op with its place in the group's history, on the group's topic. Only what the
// payload says is signed.
type GroupGovernanceDelta struct {
	Group   domain.GroupID
	Delta   domain.Hash // the op's content hash
	Parents []domain.Hash
	Payload []byte // the encoded op
}

func (GroupGovernanceDelta) broadcastTag() uint8 { return tagGroupGovernanceDelta }

// EncodeBorsh writes the message.
func (g GroupGovernanceDelta) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(g.Group[:])
	e.Raw(g.Delta[:])
	putHashes(e, g.Parents)
	e.Bytes(g.Payload)
}

// DecodeBorsh reads the message.
func (g *GroupGovernanceDelta) DecodeBorsh(d *borsh.Decoder) {
	g.Group = d.Array32("group_id")
	g.Delta = d.Array32("delta_id")
	g.Parents = readHashes(d, "parent_ids")
	g.Payload = d.Bytes("payload")
}

// GroupStateHeartbeat says where a node's copy of a group's governance is, on the group's topic. The reference always
// sends 0 as MemberCount.
type GroupStateHeartbeat struct {
	Group       domain.GroupID
	DagHeads    []domain.Hash
	MemberCount uint32
}

func (GroupStateHeartbeat) broadcastTag() uint8 { return tagGroupStateHeartbeat }

// EncodeBorsh writes the message.
func (g GroupStateHeartbeat) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(g.Group[:])
	putHashes(e, g.DagHeads)
	e.U32(g.MemberCount)
}

// DecodeBorsh reads the message.
func (g *GroupStateHeartbeat) DecodeBorsh(d *borsh.Decoder) {
	g.Group = d.Array32("group_id")
	g.DagHeads = readHashes(d, "dag_heads")
	g.MemberCount = d.U32("member_count")
}

// GroupMutationKind is what changed in a group. Its number is the wire tag.
type GroupMutationKind uint8

// Kinds of change (sync-wire.md §1.5), with the fields of [GroupMutation] they use.
const (
	MembersAdded GroupMutationKind = iota
	MembersRemoved
	Upgraded
	Deleted
	ContextDetached
	SettingsUpdated
	MemberRoleUpdated
	VisibilityUpdated
	ContextAttached
	ContextAliasSet        // Context, Alias
	MemberCapabilitySet    // Member, Capabilities
	DefaultCapabilitiesSet // Capabilities
	ContextVisibilitySet   // Context, Mode, Creator
	DefaultVisibilitySet   // Mode
	ContextAllowlistSet    // Context, Members: the whole list
	MemberAliasSet         // Member, Alias
	GroupAliasSet          // Alias
	ContextRegistered      // Context
	TeeAdmissionPolicySet

	groupMutationKinds
)

// GroupMutation tells the members of a group, on its topic, that it changed. It is not signed: the ops of the governance
// history are what counts.
type GroupMutation struct {
	Group        domain.GroupID
	Kind         GroupMutationKind
	Context      domain.ContextID
	Member       domain.PublicKey
	Creator      domain.PublicKey
	Members      []domain.PublicKey
	Alias        string
	Capabilities domain.GroupCapabilities
	Mode         domain.VisibilityMode // as sent; check it with Valid
}

func (GroupMutation) broadcastTag() uint8 { return tagGroupMutation }

// EncodeBorsh writes the message.
func (g GroupMutation) EncodeBorsh(e *borsh.Encoder) {
	if g.Kind >= groupMutationKinds {
		e.Fail(fmt.Errorf("encode group mutation: unknown kind %d", g.Kind))
		return
	}
	e.Raw(g.Group[:])
	e.U8(uint8(g.Kind))
	switch g.Kind {
	case ContextAliasSet:
		e.Raw(g.Context[:])
		e.String(g.Alias)
	case MemberCapabilitySet:
		e.Raw(g.Member[:])
		e.U32(uint32(g.Capabilities))
	case DefaultCapabilitiesSet:
		e.U32(uint32(g.Capabilities))
	case ContextVisibilitySet:
		e.Raw(g.Context[:])
		e.U8(uint8(g.Mode))
		e.Raw(g.Creator[:])
	case DefaultVisibilitySet:
		e.U8(uint8(g.Mode))
	case ContextAllowlistSet:
		e.Raw(g.Context[:])
		borsh.PutSlice(e, g.Members, borsh.PutArray32[domain.PublicKey])
	case MemberAliasSet:
		e.Raw(g.Member[:])
		e.String(g.Alias)
	case GroupAliasSet:
		e.String(g.Alias)
	case ContextRegistered:
		e.Raw(g.Context[:])
	}
}

// DecodeBorsh reads the message.
func (g *GroupMutation) DecodeBorsh(d *borsh.Decoder) {
	*g = GroupMutation{Group: d.Array32("group_id")}
	switch g.Kind = GroupMutationKind(d.Tag("mutation_kind", uint8(groupMutationKinds))); g.Kind {
	case ContextAliasSet:
		g.Context = d.Array32("context_id")
		g.Alias = d.String("alias")
	case MemberCapabilitySet:
		g.Member = d.Array32("member")
		g.Capabilities = domain.GroupCapabilities(d.U32("capabilities"))
	case DefaultCapabilitiesSet:
		g.Capabilities = domain.GroupCapabilities(d.U32("capabilities"))
	case ContextVisibilitySet:
		g.Context = d.Array32("context_id")
		g.Mode = domain.VisibilityMode(d.U8("mode"))
		g.Creator = d.Array32("creator")
	case DefaultVisibilitySet:
		g.Mode = domain.VisibilityMode(d.U8("mode"))
	case ContextAllowlistSet:
		g.Context = d.Array32("context_id")
		g.Members = borsh.Array32s[domain.PublicKey](d, "members")
	case MemberAliasSet:
		g.Member = d.Array32("member")
		g.Alias = d.String("alias")
	case GroupAliasSet:
		g.Alias = d.String("alias")
	case ContextRegistered:
		g.Context = d.Array32("context_id")
	}
}
