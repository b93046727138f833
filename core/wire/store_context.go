package wire

import (
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// ContextMeta is the row of a context in Meta.
type ContextMeta struct {
	ApplicationID domain.ApplicationID
	RootHash      domain.Hash // zero before init
	DagHeads      []domain.Hash
}

// EncodeBorsh writes the row.
func (m ContextMeta) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(m.ApplicationID[:])
	e.Raw(m.RootHash[:])
	borsh.PutSlice(e, m.DagHeads, borsh.PutArray32[domain.Hash])
}

// DecodeBorsh reads the row.
func (m *ContextMeta) DecodeBorsh(d *borsh.Decoder) {
	m.ApplicationID = d.Array32("application_id")
	m.RootHash = d.Array32("root_hash")
	m.DagHeads = borsh.Array32s[domain.Hash](d, "dag_heads")
}

// ContextConfig is the row of a context in Config. Both revisions are always 0 in the reference release.
type ContextConfig struct {
	ApplicationRevision uint64
	MembersRevision     uint64
}

// EncodeBorsh writes the row.
func (c ContextConfig) EncodeBorsh(e *borsh.Encoder) {
	e.U64(c.ApplicationRevision)
	e.U64(c.MembersRevision)
}

// DecodeBorsh reads the row.
func (c *ContextConfig) DecodeBorsh(d *borsh.Decoder) {
	c.ApplicationRevision = d.U64("application_revision")
	c.MembersRevision = d.U64("members_revision")
}

// ContextIdentity is the row of an identity. PrivateKey is nil for somebody else's identity, SenderKey until it is known.
type ContextIdentity struct {
	PrivateKey *domain.PrivateKey
	SenderKey  *domain.PrivateKey
}

// EncodeBorsh writes the row.
func (c ContextIdentity) EncodeBorsh(e *borsh.Encoder) {
	borsh.PutOption(e, c.PrivateKey, borsh.PutArray32[domain.PrivateKey])
	borsh.PutOption(e, c.SenderKey, borsh.PutArray32[domain.PrivateKey])
}

// DecodeBorsh reads the row.
func (c *ContextIdentity) DecodeBorsh(d *borsh.Decoder) {
	c.PrivateKey = borsh.OptArray32[domain.PrivateKey](d, "private_key")
	c.SenderKey = borsh.OptArray32[domain.PrivateKey](d, "sender_key")
}

// ContextDagDelta is the row of a delta (crdt-storage.md §7.4).
type ContextDagDelta struct {
	DeltaID          domain.Hash
	Parents          []domain.Hash
	Actions          []byte // crdt.EncodeActions
	HLC              crdt.Timestamp
	Applied          bool
	ExpectedRootHash domain.Hash
	// Events are those of the author's call (EncodeEvents), nil for none: in an applied delta those that its author signed,
	// for nodes that catch up.
	Events []byte
}

// EncodeBorsh writes the row.
func (c ContextDagDelta) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(c.DeltaID[:])
	borsh.PutSlice(e, c.Parents, borsh.PutArray32[domain.Hash])
	e.Bytes(c.Actions)
	c.HLC.EncodeBorsh(e)
	e.Bool(c.Applied)
	e.Raw(c.ExpectedRootHash[:])
	e.OptBytes(c.Events)
}

// DecodeBorsh reads the row. The actions stay encoded.
func (c *ContextDagDelta) DecodeBorsh(d *borsh.Decoder) {
	c.DeltaID = d.Array32("delta_id")
	c.Parents = borsh.Array32s[domain.Hash](d, "parents")
	c.Actions = d.Bytes("actions")
	c.HLC.DecodeBorsh(d)
	c.Applied = d.Bool("applied")
	c.ExpectedRootHash = d.Array32("expected_root_hash")
	c.Events = d.OptBytes("events")
}
