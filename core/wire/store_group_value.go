package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// GroupMeta is the value of [RowGroupMeta].
type GroupMeta struct {
	AppKey              [32]byte
	TargetApplicationID domain.ApplicationID
	UpgradePolicy       domain.UpgradePolicy
	CreatedAt           uint64 // Unix seconds
	AdminIdentity       domain.PublicKey
	Migration           []byte // nil is none
	AutoJoin            bool
}

// EncodeBorsh writes the value.
func (g GroupMeta) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(g.AppKey[:])
	e.Raw(g.TargetApplicationID[:])
	PutUpgradePolicy(e, g.UpgradePolicy)
	e.U64(g.CreatedAt)
	e.Raw(g.AdminIdentity[:])
	e.OptBytes(g.Migration)
	e.Bool(g.AutoJoin)
}

// DecodeBorsh reads the value.
func (g *GroupMeta) DecodeBorsh(d *borsh.Decoder) {
	g.AppKey = d.Array32("app_key")
	g.TargetApplicationID = d.Array32("target_application_id")
	g.UpgradePolicy = ReadUpgradePolicy(d, "upgrade_policy")
	g.CreatedAt = d.U64("created_at")
	g.AdminIdentity = d.Array32("admin_identity")
	g.Migration = d.OptBytes("migration")
	g.AutoJoin = d.Bool("auto_join")
}

// PutUpgradePolicy writes a policy: its tag, and for Coordinated the optional deadline.
func PutUpgradePolicy(e *borsh.Encoder, p domain.UpgradePolicy) {
	if err := p.Validate(); err != nil {
		e.Fail(fmt.Errorf("encode upgrade policy: %w", err))
		return
	}
	e.U8(uint8(p.Mode))
	if p.Mode == domain.UpgradeCoordinated {
		borsh.PutOption(e, p.Deadline, func(e *borsh.Encoder, d domain.Duration) {
			e.U64(d.Secs)
			e.U32(d.Nanos)
		})
	}
}

// ReadUpgradePolicy reads a policy.
func ReadUpgradePolicy(d *borsh.Decoder, field string) domain.UpgradePolicy {
	p := domain.UpgradePolicy{Mode: domain.UpgradeMode(d.U8(field))}
	if p.Mode == domain.UpgradeCoordinated {
		p.Deadline = borsh.Option(d, field, func(d *borsh.Decoder, field string) domain.Duration {
			return domain.Duration{Secs: d.U64(field), Nanos: d.U32(field)}
		})
	}
	if err := p.Validate(); err != nil {
		d.Fail(field, err)
		return domain.UpgradePolicy{}
	}
	return p
}

// PutMemberRole writes a role.
func PutMemberRole(e *borsh.Encoder, role domain.MemberRole) {
	if !role.Valid() {
		e.Fail(fmt.Errorf("encode member role: unknown role %d", role))
		return
	}
	e.U8(uint8(role))
}

// ReadMemberRole reads a role.
func ReadMemberRole(d *borsh.Decoder, field string) domain.MemberRole {
	return domain.MemberRole(d.Tag(field, uint8(domain.RoleReadOnly)+1))
}

// GroupMember is the value of [RowGroupMember]. The keys are there for the node's own memberships.
type GroupMember struct {
	Role       domain.MemberRole
	PrivateKey *domain.PrivateKey
	SenderKey  *domain.PrivateKey
}

// EncodeBorsh writes the value.
func (g GroupMember) EncodeBorsh(e *borsh.Encoder) {
	PutMemberRole(e, g.Role)
	borsh.PutOption(e, g.PrivateKey, borsh.PutArray32[domain.PrivateKey])
	borsh.PutOption(e, g.SenderKey, borsh.PutArray32[domain.PrivateKey])
}

// DecodeBorsh reads the value.
func (g *GroupMember) DecodeBorsh(d *borsh.Decoder) {
	g.Role = ReadMemberRole(d, "role")
	g.PrivateKey = borsh.OptArray32[domain.PrivateKey](d, "private_key")
	g.SenderKey = borsh.OptArray32[domain.PrivateKey](d, "sender_key")
}

// GroupContextVisibility is the value of [RowGroupContextVisibility]. The mode is kept as stored; check it with Valid.
type GroupContextVisibility struct {
	Mode    domain.VisibilityMode
	Creator domain.PublicKey
}

// EncodeBorsh writes the value.
func (g GroupContextVisibility) EncodeBorsh(e *borsh.Encoder) {
	e.U8(uint8(g.Mode))
	e.Raw(g.Creator[:])
}

// DecodeBorsh reads the value.
func (g *GroupContextVisibility) DecodeBorsh(d *borsh.Decoder) {
	g.Mode = domain.VisibilityMode(d.U8("mode"))
	g.Creator = d.Array32("creator")
}

// GroupOpHead is the value of [RowGroupOpHead].
type GroupOpHead struct {
	Sequence uint64 // of the newest op in the log
	DagHeads []domain.Hash
}

// EncodeBorsh writes the value.
func (g GroupOpHead) EncodeBorsh(e *borsh.Encoder) {
	e.U64(g.Sequence)
	borsh.PutSlice(e, g.DagHeads, borsh.PutArray32[domain.Hash])
}

// DecodeBorsh reads the value.
func (g *GroupOpHead) DecodeBorsh(d *borsh.Decoder) {
	g.Sequence = d.U64("sequence")
	g.DagHeads = borsh.Array32s[domain.Hash](d, "dag_heads")
}

// GroupUpgrade is the value of [RowGroupUpgrade].
type GroupUpgrade struct {
	FromVersion string
	ToVersion   string
	Migration   []byte // nil is none
	InitiatedAt uint64 // Unix seconds
	InitiatedBy domain.PublicKey
	Status      GroupUpgradeStatus
}

// GroupUpgradeStatus is how far an upgrade is. Total, Finished and Failed count contexts and belong to an upgrade in
// progress; CompletedAt belongs to a completed one.
type GroupUpgradeStatus struct {
	Completed   bool
	Total       uint32
	Finished    uint32
	Failed      uint32
	CompletedAt *uint64 // Unix seconds
}

const groupUpgradeStatuses = 2 // in progress, completed

// EncodeBorsh writes the value.
func (g GroupUpgrade) EncodeBorsh(e *borsh.Encoder) {
	e.String(g.FromVersion)
	e.String(g.ToVersion)
	e.OptBytes(g.Migration)
	e.U64(g.InitiatedAt)
	e.Raw(g.InitiatedBy[:])
	e.Bool(g.Status.Completed) // the tag
	if g.Status.Completed {
		borsh.PutOption(e, g.Status.CompletedAt, (*borsh.Encoder).U64)
		return
	}
	e.U32(g.Status.Total)
	e.U32(g.Status.Finished)
	e.U32(g.Status.Failed)
}

// DecodeBorsh reads the value.
func (g *GroupUpgrade) DecodeBorsh(d *borsh.Decoder) {
	*g = GroupUpgrade{
		FromVersion: d.String("from_version"), ToVersion: d.String("to_version"), Migration: d.OptBytes("migration"),
		InitiatedAt: d.U64("initiated_at"), InitiatedBy: d.Array32("initiated_by"),
	}
	g.Status.Completed = d.Tag("status", groupUpgradeStatuses) == 1
	if g.Status.Completed {
		g.Status.CompletedAt = borsh.Option(d, "completed_at", (*borsh.Decoder).U64)
		return
	}
	g.Status.Total = d.U32("total")
	g.Status.Finished = d.U32("completed")
	g.Status.Failed = d.U32("failed")
}
