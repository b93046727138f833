package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Columns beside the reference's, which it does not know. Their keys begin with the context that they belong to.
const (
	ColumnContextLocal Column = "ContextLocal" // ContextKey → ContextLocal
	ColumnPendingDelta Column = "PendingDelta" // DeltaKey → PendingDelta
	ColumnHandlersDue  Column = "HandlersDue"  // DeltaKey → HandlersDue
	ColumnStatePatch   Column = "StatePatch"   // StatePatchKey → StatePatch
)

// LocalColumns returns the columns that the reference does not have.
func LocalColumns() []Column {
	return []Column{ColumnContextLocal, ColumnPendingDelta, ColumnHandlersDue, ColumnStatePatch}
}

// StatePatchKey is the key of a patch of a state row. Patches are made in order of their numbers.
func StatePatchKey(context domain.ContextID, key crdt.StateKey, number uint32) []byte {
	return binary.BigEndian.AppendUint32(StateKey(context, key), number)
}

// ParseStatePatchKey reads a StatePatchKey.
func ParseStatePatchKey(in []byte) (context domain.ContextID, key crdt.StateKey, number uint32, err error) {
	const numberLen = 4
	if len(in) < numberLen {
		return context, key, 0, fmt.Errorf("%w of a patch: %d bytes", ErrKey, len(in))
	}
	at := len(in) - numberLen
	context, key, err = ParseStateKey(in[:at])
	return context, key, binary.BigEndian.Uint32(in[at:]), err
}

// StatePatch is a change of a large state row.
type StatePatch struct {
	// Row is the CRC-32C of the value in State that the first patch of the row was made for.
	Row   uint32
	Edits []engine.Edit // as from the value before
}

// minEdit is the smallest encoding of an edit.
const minEdit = 4 + 4 + 4

// EncodeBorsh writes the row.
func (p StatePatch) EncodeBorsh(e *borsh.Encoder) {
	e.U32(p.Row)
	borsh.PutSlice(e, p.Edits, func(e *borsh.Encoder, x engine.Edit) {
		e.U32(uint32(x.Off))
		e.U32(uint32(x.Del))
		e.Bytes(x.Ins)
	})
}

// DecodeBorsh reads the row. Whether the edits fit is for who has the value.
func (p *StatePatch) DecodeBorsh(d *borsh.Decoder) {
	p.Row = d.U32("row")
	p.Edits = borsh.Slice(d, "edits", minEdit, func(d *borsh.Decoder) engine.Edit {
		return engine.Edit{Off: int(d.U32("off")), Del: int(d.U32("del")), Ins: d.Bytes("ins")}
	})
}

// ContextLocal is what a node keeps of a context for itself.
type ContextLocal struct {
	// Seen is the latest time, in ns since 1970, that the context's state carries or that a guest was told: the clock of
	// its next execution does not run behind it.
	Seen uint64
	// Shadows: there may be shadow rows (docs/design/state-engine.md) among the context's rows.
	Shadows bool
	// GuestMerge: the application merges the state itself.
	GuestMerge bool
}

// EncodeBorsh writes the row.
func (c ContextLocal) EncodeBorsh(e *borsh.Encoder) {
	e.U64(c.Seen)
	e.Bool(c.Shadows)
	e.Bool(c.GuestMerge)
}

// DecodeBorsh reads the row.
func (c *ContextLocal) DecodeBorsh(d *borsh.Decoder) {
	c.Seen = d.U64("seen")
	c.Shadows = d.Bool("shadows")
	c.GuestMerge = d.Bool("guest_merge")
}

// PendingDelta is a delta that was received and cannot be applied yet.
type PendingDelta struct {
	Delta  ContextDagDelta // Applied is false; Events are the delta's
	Author DeltaAuthor
	// Received orders the deltas of a context by arrival.
	Received uint64
}

// EncodeBorsh writes the row.
func (p PendingDelta) EncodeBorsh(e *borsh.Encoder) {
	p.Delta.EncodeBorsh(e)
	p.Author.EncodeBorsh(e)
	e.U64(p.Received)
}

// DecodeBorsh reads the row.
func (p *PendingDelta) DecodeBorsh(d *borsh.Decoder) {
	p.Delta.DecodeBorsh(d)
	p.Author.DecodeBorsh(d)
	p.Received = d.U64("received")
}

// HandlersDue are event handlers of an applied delta that have not run. The row goes with the commit of the last one.
type HandlersDue struct {
	// Life is the incarnation of the context manager that wrote the row, Order that of deltas in a context.
	Life, Order uint64
	// Executor is whom the handlers run as; zero: an identity of this node.
	Executor domain.PublicKey
	// Depth of the call that emitted the events in its chain of calls.
	Depth uint32
	// Next is the first event whose handler has not run.
	Next   uint32
	Events []byte // EncodeEvents
}

// EncodeBorsh writes the row.
func (h HandlersDue) EncodeBorsh(e *borsh.Encoder) {
	e.U64(h.Life)
	e.U64(h.Order)
	e.Raw(h.Executor[:])
	e.U32(h.Depth)
	e.U32(h.Next)
	e.Bytes(h.Events)
}

// DecodeBorsh reads the row.
func (h *HandlersDue) DecodeBorsh(d *borsh.Decoder) {
	h.Life = d.U64("life")
	h.Order = d.U64("order")
	h.Executor = d.Array32("executor")
	h.Depth = d.U32("depth")
	h.Next = d.U32("next")
	h.Events = d.Bytes("events")
}
