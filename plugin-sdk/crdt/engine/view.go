package engine

import (
	"crypto/sha256"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// View is the state before.
type View interface {
	// Get returns the values of the keys, in their order; nil where there is no row, an empty slice for an empty value.
	// The engine reads them until the call it was given the view for ends, and does not change them.
	Get(keys []crdt.StateKey) ([][]byte, error)
}

// get reads rows and makes sure that the view keeps its promise.
func get(view View, keys []crdt.StateKey) ([][]byte, error) {
	values, err := view.Get(keys)
	if err == nil && len(values) != len(keys) {
		err = fmt.Errorf("read %d rows: the view returned %d", len(keys), len(values))
	}
	return values, err
}

// Rows is a view of rows in memory.
type Rows map[crdt.StateKey][]byte

// Get returns the rows; it never fails.
func (r Rows) Get(keys []crdt.StateKey) ([][]byte, error) {
	out := make([][]byte, len(keys))
	for i, key := range keys {
		if value, ok := r[key]; ok {
			out[i] = present(value)
		}
	}
	return out, nil
}

// Put applies changed rows.
func (r Rows) Put(rows []Row) {
	for _, row := range rows {
		if row.Absent {
			delete(r, row.Key)
		} else {
			r[row.Key] = row.Value
		}
	}
}

// Over shows a view with rows written over it.
func Over(below View, rows []Row) View {
	o := overlay{below: below, rows: make(map[crdt.StateKey]*Row, len(rows))}
	for i := range rows {
		o.rows[rows[i].Key] = &rows[i]
	}
	return o
}

// present makes an empty value differ from an absent row.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// Row is a row after a change.
type Row struct {
	Key crdt.StateKey
	// Absent: the row is removed.
	Absent bool
	Value  []byte
	// Edits lead from the row's value before to Value; none when there was no row or it pays no more than Value. They
	// ascend and do not overlap.
	Edits []Edit
	// Digest, in the writes of a call, stands for the value.
	Digest *Digest
}

// Digest stands for the value of an index or entry row.
type Digest struct {
	Entity crdt.ID
	Sum    [32]byte // SHA-256 of the value
}

// DigestOf returns the digest of a row that has the form of an index or entry row, which is all that [Author] needs to
// know of one that a guest wrote; false for any other row.
func DigestOf(key crdt.StateKey, value []byte) (Digest, bool) {
	id, ok := ownerOf(key, value)
	if !ok {
		return Digest{}, false
	}
	return Digest{Entity: id, Sum: sha256.Sum256(value)}, true
}

// belongs reports whether the key is one of the entity's.
func (d *Digest) belongs(key crdt.StateKey) bool {
	return key == crdt.IndexKey(d.Entity) || key == crdt.EntryKey(d.Entity)
}

// Edit replaces Del bytes at offset Off of the old value by Ins.
type Edit struct {
	Off, Del int
	Ins      []byte
}

// Fits reports whether the edits ascend, do not overlap and lie within old.
func Fits(old []byte, edits []Edit) bool {
	end := 0
	for _, e := range edits {
		if e.Off < end || e.Del < 0 || e.Del > len(old)-e.Off {
			return false
		}
		end = e.Off + e.Del
	}
	return true
}

// Edited returns old with the edits made, in new memory. They must fit ([Fits]).
func Edited(old []byte, edits []Edit) []byte {
	size := len(old)
	for _, e := range edits {
		size += len(e.Ins) - e.Del
	}
	out := make([]byte, 0, size)
	at := 0
	for _, e := range edits {
		out = append(append(out, old[at:e.Off]...), e.Ins...)
		at = e.Off + e.Del
	}
	return append(out, old[at:]...)
}

// Change is what actions make of a state.
type Change struct {
	// Rows differ from the view's, ordered by key.
	Rows []Row
	// Root is the context's root hash afterwards: zero while there is no tree root.
	Root domain.Hash
	// Verdicts say what became of each action, in the actions' order.
	Verdicts []Verdict
}

// Dropped returns the verdicts on the actions that were refused.
func (c *Change) Dropped() []Verdict {
	var out []Verdict
	for _, v := range c.Verdicts {
		if v.Outcome == Refused {
			out = append(out, v)
		}
	}
	return out
}
