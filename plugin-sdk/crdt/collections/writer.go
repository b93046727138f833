package collections

import (
	"fmt"
	"io"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Rows is the state that a call sees.
type Rows interface {
	// Get returns a row; the Writer does not change value, which must stay as it is.
	Get(key crdt.StateKey) (value []byte, found bool, err error)
	// Put writes a row; the Writer does not change value afterwards.
	Put(key crdt.StateKey, value []byte) error
	Remove(key crdt.StateKey) error
}

// Config is what a Writer works with. All fields are required.
type Config struct {
	Context  domain.ContextID
	Executor domain.PublicKey
	Rows     Rows
	// Now is the time in ns since 1970, never less than before, and greater than any in the rows.
	Now func() uint64
	// Timestamp reads the logical clock.
	Timestamp func() (crdt.Timestamp, error)
	// Random is the source of ids.
	Random io.Reader
	// MaxActions bounds the memory of the recorded actions, in bytes.
	MaxActions int
}

// Error is a failure that the guest is told, in the reference's words where it has any.
type Error string

func (e Error) Error() string { return string(e) }

// Writer changes the collections of one context.
type Writer struct {
	Config
	entities map[crdt.ID]*entity
	changed  []*entity // index rows to be written, first change first
	actions  []crdt.Action
	size     int // of the actions
}

// New makes a Writer.
func New(cfg Config) *Writer {
	return &Writer{Config: cfg, entities: map[crdt.ID]*entity{}}
}

// Flush writes the index rows that changed. Entry rows are written at once; index rows wait, because every change of a
// collection changes the same ones.
func (w *Writer) Flush() error {
	for len(w.changed) > 0 {
		e := w.changed[0]
		if err := w.putIndex(e); err != nil {
			return err
		}
		e.changed, w.changed = false, w.changed[1:]
	}
	w.changed = nil
	return nil
}

// Forget drops what is known of the rows, since somebody else may have changed them. Flush comes first.
func (w *Writer) Forget() { clear(w.entities) }

// Take returns the actions recorded since the last Take, oldest first.
func (w *Writer) Take() []crdt.Action {
	out := w.actions
	w.actions, w.size = nil, 0
	return out
}

// record keeps an action of the call.
func (w *Writer) record(a crdt.Action) error {
	const fixed, ancestor = 384, 256 // no less than what Action and ChildInfo take
	size := fixed + len(a.Data) + nameBytes(&a.Metadata)
	for i := range a.Ancestors {
		size += ancestor + nameBytes(&a.Ancestors[i].Metadata)
	}
	if size > w.MaxActions-w.size {
		return errkind.TooLarge.Errorf("the call's actions take more than %d bytes", w.MaxActions)
	}
	w.size += size
	w.actions = append(w.actions, a)
	return nil
}

func nameBytes(m *crdt.Metadata) int {
	n := 0
	if m.Crdt != nil {
		n += len(m.Crdt.Inner) + len(m.Crdt.Value)
	}
	if m.FieldName != nil {
		n += len(*m.FieldName)
	}
	return n
}

func (w *Writer) root() crdt.ID { return crdt.TreeRoot(w.Context) }

// fresh is the metadata of an entity made now.
func (w *Writer) fresh(storage crdt.StorageType) crdt.Metadata {
	now := w.Now()
	return crdt.Metadata{CreatedAt: now, UpdatedAt: now, Storage: storage}
}

// waitsForSignature returns the storage type of an action: the executor's own user storage has the place where the node
// puts the signature.
func (w *Writer) waitsForSignature(t crdt.StorageType, nonce uint64) crdt.StorageType {
	if t.Kind == crdt.User && t.Owner == w.Executor {
		t.Signature = &crdt.SignatureData{Nonce: nonce}
	}
	return t
}

func errNotFound(id crdt.ID) error      { return Error("Record not found with ID: " + id.String()) }
func errIndexNotFound(id crdt.ID) error { return Error("Index not found for ID: " + id.String()) }
func errOrphan(id crdt.ID) error        { return Error("Cannot create orphan with ID: " + id.String()) }
func errUnexpectedID(id crdt.ID) error  { return Error("Unexpected ID: " + id.String()) }
func errDecode(err error) error         { return Error("Deserialization error: " + err.Error()) }
func errInvalid(text string) error      { return Error("Invalid data: " + text) }

func errStale(id crdt.ID, stored, now uint64) error {
	return Error(fmt.Sprintf("Entity %s was changed at %d, which is ahead of the clock (%d)", id, stored, now))
}
