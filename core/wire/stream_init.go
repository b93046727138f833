package wire

import (
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// InitPayload is what an [Init] opens (sync-wire.md §2.3). The types are [BlobShareInit], [KeyShareInit], [DeltaRequest],
// [DagHeadsRequest], [SnapshotBoundaryRequest], [SnapshotStreamRequest], [TreeNodeRequest], [LevelWiseRequest],
// [EntityPush] and [GroupDeltaRequest]. A context named in a payload may differ from the one of the Init: a receiver
// checks both.
type InitPayload interface {
	borsh.Marshaler
	initTag() uint8
}

// Tags of InitPayload.
const (
	tagBlobShareInit uint8 = iota
	tagKeyShareInit
	tagDeltaRequest
	tagDagHeadsRequest
	tagSnapshotBoundaryRequest
	tagSnapshotStreamRequest
	tagTreeNodeRequest
	tagLevelWiseRequest
	tagEntityPush
	tagGroupDeltaRequest

	initPayloads
)

func readInitPayload(d *borsh.Decoder) InitPayload {
	switch d.Tag("payload", initPayloads) {
	case tagBlobShareInit:
		return decoded[BlobShareInit](d)
	case tagKeyShareInit:
		return KeyShareInit{}
	case tagDeltaRequest:
		return decoded[DeltaRequest](d)
	case tagDagHeadsRequest:
		return decoded[DagHeadsRequest](d)
	case tagSnapshotBoundaryRequest:
		return decoded[SnapshotBoundaryRequest](d)
	case tagSnapshotStreamRequest:
		return decoded[SnapshotStreamRequest](d)
	case tagTreeNodeRequest:
		return decoded[TreeNodeRequest](d)
	case tagLevelWiseRequest:
		return decoded[LevelWiseRequest](d)
	case tagEntityPush:
		return decoded[EntityPush](d)
	default:
		return decoded[GroupDeltaRequest](d)
	}
}

// BlobShareInit asks for a blob; the acceptor answers with the same, then sealed chunks.
type BlobShareInit struct{ Blob domain.BlobID }

func (BlobShareInit) initTag() uint8 { return tagBlobShareInit }

// EncodeBorsh writes the payload.
func (b BlobShareInit) EncodeBorsh(e *borsh.Encoder) { e.Raw(b.Blob[:]) }

// DecodeBorsh reads the payload.
func (b *BlobShareInit) DecodeBorsh(d *borsh.Decoder) { b.Blob = d.Array32("blob_id") }

// KeyShareInit asks to prove identities and exchange sender keys; the acceptor answers with the same.
type KeyShareInit struct{}

func (KeyShareInit) initTag() uint8 { return tagKeyShareInit }

// EncodeBorsh writes nothing.
func (KeyShareInit) EncodeBorsh(*borsh.Encoder) {}

// DeltaRequest asks for one delta: DeltaResponse or DeltaNotFound.
type DeltaRequest struct {
	Context domain.ContextID
	Delta   domain.Hash
}

func (DeltaRequest) initTag() uint8 { return tagDeltaRequest }

// EncodeBorsh writes the payload.
func (r DeltaRequest) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(r.Context[:])
	e.Raw(r.Delta[:])
}

// DecodeBorsh reads the payload.
func (r *DeltaRequest) DecodeBorsh(d *borsh.Decoder) {
	r.Context = d.Array32("context_id")
	r.Delta = d.Array32("delta_id")
}

// DagHeadsRequest asks where the other's copy of a context is: DagHeadsResponse.
type DagHeadsRequest struct{ Context domain.ContextID }

func (DagHeadsRequest) initTag() uint8 { return tagDagHeadsRequest }

// EncodeBorsh writes the payload.
func (r DagHeadsRequest) EncodeBorsh(e *borsh.Encoder) { e.Raw(r.Context[:]) }

// DecodeBorsh reads the payload.
func (r *DagHeadsRequest) DecodeBorsh(d *borsh.Decoder) { r.Context = d.Array32("context_id") }

// SnapshotBoundaryRequest asks which state a snapshot would have: SnapshotBoundaryResponse or SnapshotError. The
// reference sends no Cutoff and ignores it.
type SnapshotBoundaryRequest struct {
	Context domain.ContextID
	Cutoff  *uint64
}

func (SnapshotBoundaryRequest) initTag() uint8 { return tagSnapshotBoundaryRequest }

// EncodeBorsh writes the payload.
func (r SnapshotBoundaryRequest) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(r.Context[:])
	borsh.PutOption(e, r.Cutoff, (*borsh.Encoder).U64)
}

// DecodeBorsh reads the payload.
func (r *SnapshotBoundaryRequest) DecodeBorsh(d *borsh.Decoder) {
	r.Context = d.Array32("context_id")
	r.Cutoff = borsh.Option(d, "requested_cutoff_timestamp", (*borsh.Decoder).U64)
}

// SnapshotStreamRequest asks for pages of a snapshot: SnapshotPages or a SnapshotError.
type SnapshotStreamRequest struct {
	Context   domain.ContextID
	Boundary  domain.Hash
	PageLimit uint16
	ByteLimit uint32
	Cursor    []byte // nil: from the beginning
}

func (SnapshotStreamRequest) initTag() uint8 { return tagSnapshotStreamRequest }

// EncodeBorsh writes the payload.
func (r SnapshotStreamRequest) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(r.Context[:])
	e.Raw(r.Boundary[:])
	e.U16(r.PageLimit)
	e.U32(r.ByteLimit)
	e.OptBytes(r.Cursor)
}

// DecodeBorsh reads the payload.
func (r *SnapshotStreamRequest) DecodeBorsh(d *borsh.Decoder) {
	r.Context = d.Array32("context_id")
	r.Boundary = d.Array32("boundary_root_hash")
	r.PageLimit = d.U16("page_limit")
	r.ByteLimit = d.U32("byte_limit")
	r.Cursor = d.OptBytes("resume_cursor")
}

// TreeNodeRequest asks for a node of the state tree: TreeNodeResponse.
type TreeNodeRequest struct {
	Context  domain.ContextID
	Node     [32]byte
	MaxDepth *uint8
}

func (TreeNodeRequest) initTag() uint8 { return tagTreeNodeRequest }

// EncodeBorsh writes the payload.
func (r TreeNodeRequest) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(r.Context[:])
	e.Raw(r.Node[:])
	borsh.PutOption(e, r.MaxDepth, (*borsh.Encoder).U8)
}

// DecodeBorsh reads the payload.
func (r *TreeNodeRequest) DecodeBorsh(d *borsh.Decoder) {
	r.Context = d.Array32("context_id")
	r.Node = d.Array32("node_id")
	r.MaxDepth = borsh.Option(d, "max_depth", (*borsh.Decoder).U8)
}

// LevelWiseRequest asks for a level of the state tree: LevelWiseResponse.
type LevelWiseRequest struct {
	Context domain.ContextID
	Level   uint32
	Parents []domain.Hash // whose children are meant; nil differs from empty
}

func (LevelWiseRequest) initTag() uint8 { return tagLevelWiseRequest }

// EncodeBorsh writes the payload.
func (r LevelWiseRequest) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(r.Context[:])
	e.U32(r.Level)
	e.Bool(r.Parents != nil)
	if r.Parents != nil {
		putHashes(e, r.Parents)
	}
}

// DecodeBorsh reads the payload.
func (r *LevelWiseRequest) DecodeBorsh(d *borsh.Decoder) {
	*r = LevelWiseRequest{Context: d.Array32("context_id"), Level: d.U32("level")}
	if d.Some("parent_ids") {
		r.Parents = readHashes(d, "parent_ids")
	}
}

// EntityPush gives leaves of the state tree: EntityPushAck.
type EntityPush struct {
	Context  domain.ContextID
	Entities []TreeLeaf
}

func (EntityPush) initTag() uint8 { return tagEntityPush }

// EncodeBorsh writes the payload.
func (p EntityPush) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(p.Context[:])
	borsh.PutSlice(e, p.Entities, put[TreeLeaf])
}

// DecodeBorsh reads the payload.
func (p *EntityPush) DecodeBorsh(d *borsh.Decoder) {
	p.Context = d.Array32("context_id")
	p.Entities = borsh.Slice(d, "entities", minTreeLeaf, decoded[TreeLeaf])
}

// GroupDeltaRequest asks for one governance op: GroupDeltaResponse or GroupDeltaNotFound. Context and party of its Init
// are zero.
type GroupDeltaRequest struct {
	Group domain.GroupID
	Delta domain.Hash
}

func (GroupDeltaRequest) initTag() uint8 { return tagGroupDeltaRequest }

// EncodeBorsh writes the payload.
func (r GroupDeltaRequest) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(r.Group[:])
	e.Raw(r.Delta[:])
}

// DecodeBorsh reads the payload.
func (r *GroupDeltaRequest) DecodeBorsh(d *borsh.Decoder) {
	r.Group = d.Array32("group_id")
	r.Delta = d.Array32("delta_id")
}
