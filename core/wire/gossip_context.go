package wire

import (
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// StateDelta is a delta of a context, on the context's topic. Nothing in it is signed but by the transport.
type StateDelta struct {
	Context  domain.ContextID
	Author   domain.PublicKey
	Delta    domain.Hash
	Parents  []domain.Hash
	HLC      crdt.Timestamp
	RootHash domain.Hash // the author's, after the delta
	Artifact []byte      // crdt.EncodeArtifact, sealed with the author's sender key and Nonce
	Nonce    Nonce
	Events   []byte // EncodeEvents; nil is none
	// GovernanceEpoch has the heads of the owning group's governance when the delta was made.
	GovernanceEpoch []domain.Hash
}

func (StateDelta) broadcastTag() uint8 { return tagStateDelta }

// EncodeBorsh writes the message.
func (s StateDelta) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(s.Context[:])
	e.Raw(s.Author[:])
	e.Raw(s.Delta[:])
	putHashes(e, s.Parents)
	s.HLC.EncodeBorsh(e)
	e.Raw(s.RootHash[:])
	e.Bytes(s.Artifact)
	e.Raw(s.Nonce[:])
	e.OptBytes(s.Events)
	putHashes(e, s.GovernanceEpoch)
}

// DecodeBorsh reads the message.
func (s *StateDelta) DecodeBorsh(d *borsh.Decoder) {
	s.Context = d.Array32("context_id")
	s.Author = d.Array32("author_id")
	s.Delta = d.Array32("delta_id")
	s.Parents = readHashes(d, "parent_ids")
	s.HLC.DecodeBorsh(d)
	s.RootHash = d.Array32("root_hash")
	s.Artifact = d.Bytes("artifact")
	s.Nonce = readNonce(d, "nonce")
	s.Events = d.OptBytes("events")
	s.GovernanceEpoch = readHashes(d, "governance_epoch")
}

// HashHeartbeat says where a node's copy of a context is, on the context's topic.
type HashHeartbeat struct {
	Context  domain.ContextID
	RootHash domain.Hash
	DagHeads []domain.Hash
}

func (HashHeartbeat) broadcastTag() uint8 { return tagHashHeartbeat }

// EncodeBorsh writes the message.
func (h HashHeartbeat) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(h.Context[:])
	e.Raw(h.RootHash[:])
	putHashes(e, h.DagHeads)
}

// DecodeBorsh reads the message.
func (h *HashHeartbeat) DecodeBorsh(d *borsh.Decoder) {
	h.Context = d.Array32("context_id")
	h.RootHash = d.Array32("root_hash")
	h.DagHeads = readHashes(d, "dag_heads")
}
