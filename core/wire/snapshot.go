package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// SnapshotBoundaryResponse says which state a snapshot has.
type SnapshotBoundaryResponse struct {
	Timestamp uint64 // ns since the Unix epoch
	RootHash  domain.Hash
	DagHeads  []domain.Hash
}

func (SnapshotBoundaryResponse) messageTag() uint8 { return tagSnapshotBoundaryResponse }

// EncodeBorsh writes the payload.
func (r SnapshotBoundaryResponse) EncodeBorsh(e *borsh.Encoder) {
	e.U64(r.Timestamp)
	e.Raw(r.RootHash[:])
	putHashes(e, r.DagHeads)
}

// DecodeBorsh reads the payload.
func (r *SnapshotBoundaryResponse) DecodeBorsh(d *borsh.Decoder) {
	r.Timestamp = d.U64("boundary_timestamp")
	r.RootHash = d.Array32("boundary_root_hash")
	r.DagHeads = readHashes(d, "dag_heads")
}

// SnapshotPage is a page of a snapshot (sync-wire.md §4.8).
type SnapshotPage struct {
	Payload         []byte // compressed records; empty when there are none
	UncompressedLen uint32 // of the payload, as claimed
	Cursor          []byte // where to go on; nil: not the last page of a burst, or the end
	PageCount       uint64 // pages of the burst
	SentCount       uint64 // place in the burst, from 1
}

func (SnapshotPage) messageTag() uint8 { return tagSnapshotPage }

// EncodeBorsh writes the payload.
func (p SnapshotPage) EncodeBorsh(e *borsh.Encoder) {
	e.Bytes(p.Payload)
	e.U32(p.UncompressedLen)
	e.OptBytes(p.Cursor)
	e.U64(p.PageCount)
	e.U64(p.SentCount)
}

// DecodeBorsh reads the payload.
func (p *SnapshotPage) DecodeBorsh(d *borsh.Decoder) {
	p.Payload = d.Bytes("payload")
	p.UncompressedLen = d.U32("uncompressed_len")
	p.Cursor = d.OptBytes("cursor")
	p.PageCount = d.U64("page_count")
	p.SentCount = d.U64("sent_count")
}

// SnapshotCursor says after which state key a snapshot goes on.
type SnapshotCursor struct{ LastKey [32]byte }

// EncodeBorsh writes the cursor.
func (c SnapshotCursor) EncodeBorsh(e *borsh.Encoder) { e.Raw(c.LastKey[:]) }

// DecodeBorsh reads the cursor.
func (c *SnapshotCursor) DecodeBorsh(d *borsh.Decoder) { c.LastKey = d.Array32("last_key") }

// SnapshotErrorKind is why there is no snapshot. Its number is the wire tag.
type SnapshotErrorKind uint8

// Kinds of snapshot error, with the fields of [SnapshotError] they use.
const (
	SnapshotRequired SnapshotErrorKind = iota
	InvalidBoundary
	ResumeCursorInvalid
	SnapshotOnInitializedNode
	RootHashMismatch    // Expected, Computed
	TransferInterrupted // PagesReceived
	DecompressionFailed
	EntityCountMismatch // ExpectedCount, ActualCount
	MissingPages        // Missing

	snapshotErrorKinds
)

// SnapshotError answers a request for a snapshot, or for a delta that only a snapshot could give.
type SnapshotError struct {
	Kind          SnapshotErrorKind
	Expected      domain.Hash
	Computed      domain.Hash
	PagesReceived uint64
	ExpectedCount uint64
	ActualCount   uint64
	Missing       []uint64
}

func (SnapshotError) messageTag() uint8 { return tagSnapshotError }

// EncodeBorsh writes the payload.
func (s SnapshotError) EncodeBorsh(e *borsh.Encoder) {
	if s.Kind >= snapshotErrorKinds {
		e.Fail(fmt.Errorf("encode snapshot error: unknown kind %d", s.Kind))
		return
	}
	e.U8(uint8(s.Kind))
	switch s.Kind {
	case RootHashMismatch:
		e.Raw(s.Expected[:])
		e.Raw(s.Computed[:])
	case TransferInterrupted:
		e.U64(s.PagesReceived)
	case EntityCountMismatch:
		e.U64(s.ExpectedCount)
		e.U64(s.ActualCount)
	case MissingPages:
		borsh.PutSlice(e, s.Missing, (*borsh.Encoder).U64)
	}
}

// DecodeBorsh reads the payload.
func (s *SnapshotError) DecodeBorsh(d *borsh.Decoder) {
	*s = SnapshotError{Kind: SnapshotErrorKind(d.Tag("error", uint8(snapshotErrorKinds)))}
	switch s.Kind {
	case RootHashMismatch:
		s.Expected = d.Array32("expected")
		s.Computed = d.Array32("computed")
	case TransferInterrupted:
		s.PagesReceived = d.U64("pages_received")
	case EntityCountMismatch:
		s.ExpectedCount = d.U64("expected")
		s.ActualCount = d.U64("actual")
	case MissingPages:
		s.Missing = borsh.Slice(d, "missing", 8, func(d *borsh.Decoder) uint64 { return d.U64("page") })
	}
}
