package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// SyncKind is a way to bring two copies of a context together. Its number is the wire tag.
type SyncKind uint8

// Ways to synchronise, with the fields of [SyncChoice] they use (sync-wire.md §4.5).
const (
	SyncNone     SyncKind = iota
	SyncDelta             // Deltas
	SyncHash              // Root, Subtrees
	SyncSnapshot          // Compressed, Verified
	SyncBloom             // FilterSize, FalsePositives
	SyncSubtree           // Subtrees
	SyncLevels            // MaxDepth

	syncKinds
)

func putSyncKind(e *borsh.Encoder, k SyncKind) {
	if k >= syncKinds {
		e.Fail(fmt.Errorf("encode sync protocol: unknown kind %d", k))
		return
	}
	e.U8(uint8(k))
}

func readSyncKind(d *borsh.Decoder) SyncKind { return SyncKind(d.Tag("protocol", uint8(syncKinds))) }

// SyncHandshake describes a copy of a context. The reference makes it from a DagHeadsResponse and never sends it.
type SyncHandshake struct {
	Version  uint32 // 1
	RootHash domain.Hash
	Entities uint64
	MaxDepth uint32
	DagHeads []domain.Hash
	HasState bool
	Supports []SyncKind
}

// EncodeBorsh writes the handshake.
func (h SyncHandshake) EncodeBorsh(e *borsh.Encoder) {
	e.U32(h.Version)
	e.Raw(h.RootHash[:])
	e.U64(h.Entities)
	e.U32(h.MaxDepth)
	putHashes(e, h.DagHeads)
	e.Bool(h.HasState)
	borsh.PutSlice(e, h.Supports, putSyncKind)
}

// DecodeBorsh reads the handshake.
func (h *SyncHandshake) DecodeBorsh(d *borsh.Decoder) {
	h.Version = d.U32("version")
	h.RootHash = d.Array32("root_hash")
	h.Entities = d.U64("entity_count")
	h.MaxDepth = d.U32("max_depth")
	h.DagHeads = readHashes(d, "dag_heads")
	h.HasState = d.Bool("has_state")
	h.Supports = borsh.Slice(d, "supported_protocols", 1, readSyncKind)
}

// SyncChoice is a way to synchronise with what it needs.
type SyncChoice struct {
	Kind           SyncKind
	Deltas         []domain.Hash
	Root           domain.Hash
	Subtrees       []domain.Hash
	Compressed     bool
	Verified       bool
	FilterSize     uint64
	FalsePositives float64
	MaxDepth       uint32
}

// EncodeBorsh writes the choice.
func (c SyncChoice) EncodeBorsh(e *borsh.Encoder) {
	putSyncKind(e, c.Kind)
	switch c.Kind {
	case SyncDelta:
		putHashes(e, c.Deltas)
	case SyncHash:
		e.Raw(c.Root[:])
		putHashes(e, c.Subtrees)
	case SyncSnapshot:
		e.Bool(c.Compressed)
		e.Bool(c.Verified)
	case SyncBloom:
		e.U64(c.FilterSize)
		e.F64(c.FalsePositives)
	case SyncSubtree:
		putHashes(e, c.Subtrees)
	case SyncLevels:
		e.U32(c.MaxDepth)
	}
}

// DecodeBorsh reads the choice.
func (c *SyncChoice) DecodeBorsh(d *borsh.Decoder) {
	*c = SyncChoice{Kind: readSyncKind(d)}
	switch c.Kind {
	case SyncDelta:
		c.Deltas = readHashes(d, "missing_delta_ids")
	case SyncHash:
		c.Root = d.Array32("root_hash")
		c.Subtrees = readHashes(d, "divergent_subtrees")
	case SyncSnapshot:
		c.Compressed = d.Bool("compressed")
		c.Verified = d.Bool("verified")
	case SyncBloom:
		c.FilterSize = d.U64("filter_size")
		c.FalsePositives = d.F64("false_positive_rate")
	case SyncSubtree:
		c.Subtrees = readHashes(d, "subtree_roots")
	case SyncLevels:
		c.MaxDepth = d.U32("max_depth")
	}
}

// SyncHandshakeResponse answers a SyncHandshake.
type SyncHandshakeResponse struct {
	Choice       SyncChoice
	RootHash     domain.Hash
	Entities     uint64
	Compression  bool
	MaxBatchSize uint64
	Supports     []SyncKind
}

// EncodeBorsh writes the answer.
func (r SyncHandshakeResponse) EncodeBorsh(e *borsh.Encoder) {
	r.Choice.EncodeBorsh(e)
	e.Raw(r.RootHash[:])
	e.U64(r.Entities)
	e.Bool(r.Compression)
	e.U64(r.MaxBatchSize)
	borsh.PutSlice(e, r.Supports, putSyncKind)
}

// DecodeBorsh reads the answer.
func (r *SyncHandshakeResponse) DecodeBorsh(d *borsh.Decoder) {
	r.Choice.DecodeBorsh(d)
	r.RootHash = d.Array32("root_hash")
	r.Entities = d.U64("entity_count")
	r.Compression = d.Bool("supports_compression")
	r.MaxBatchSize = d.U64("max_batch_size")
	r.Supports = borsh.Slice(d, "supported_protocols", 1, readSyncKind)
}
