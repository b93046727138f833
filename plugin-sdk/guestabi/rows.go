package guestabi

import (
	"bytes"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// rows are what an execution knows of the two stores: rows read and the overlay
// of rows written.
type rows struct {
	known map[runtime.Key]*row
	order []runtime.Key // rows written, first write first
	read  []runtime.Key // rows read from the view, first read first
	bytes int           // of the overlay
}

type row struct {
	value   []byte
	found   bool
	written bool
}

// maxOverlay bounds the overlay in bytes: it travels with the result.
const maxOverlay = runtime.MaxSpills

func (r *rows) writes(detail runtime.WriteDetail) []runtime.Row {
	out := make([]runtime.Row, 0, len(r.order))
	for _, k := range r.order {
		e := r.known[k]
		w := runtime.Row{Key: k, Absent: !e.found, Value: e.value}
		if k.Scope == runtime.ScopeState && detail == runtime.WritesNone {
			continue
		}
		if k.Scope == runtime.ScopeState && detail == runtime.WritesHashes && e.found {
			if d, ok := engine.DigestOf(k.K, e.value); ok {
				w.Value, w.Digest = nil, &d
			}
		}
		out = append(out, w)
	}
	return out
}

// get returns the row as this execution sees it.
func (x *Execution) get(k runtime.Key) (*row, error) {
	x.result.Usage.Reads++
	if e := x.rows.known[k]; e != nil {
		return e, nil
	}
	if err := x.stopped(); err != nil {
		return nil, err
	}
	value, found, err := x.View.Row(k)
	if err != nil {
		return nil, err
	}
	e := &row{value: value, found: found}
	x.rows.known[k] = e
	if len(x.rows.read) < runtime.MaxReadKeys {
		x.rows.read = append(x.rows.read, k)
	}
	return e, nil
}

// written is the row to put a value into that does not depend on what is there.
func (x *Execution) written(k runtime.Key) *row {
	e := x.rows.known[k]
	if e == nil {
		e = &row{}
		x.rows.known[k] = e
	}
	return e
}

// put writes a row; found false removes it. value must not change afterwards.
func (x *Execution) put(k runtime.Key, e *row, value []byte, found bool) error {
	size := x.rows.bytes + len(value)
	if e.written {
		size -= len(e.value)
	} else if len(x.rows.order) >= runtime.MaxWrites {
		return tooLarge("more than %d rows written", runtime.MaxWrites)
	}
	if size > maxOverlay {
		return tooLarge("rows written are larger than %d bytes together", maxOverlay)
	}
	if !e.written {
		e.written = true
		x.rows.order = append(x.rows.order, k)
	}
	e.value, e.found, x.rows.bytes = value, found, size
	return nil
}

// key reads a key descriptor. ok is false for a key no row can have.
func (x *Execution) key(m memory, scope runtime.Scope, b buffer) (k runtime.Key, ok bool, err error) {
	s, err := m.slice(b)
	if err != nil {
		return k, false, err
	}
	padded, ok := crdt.GuestKey(s)
	return runtime.Key{Scope: scope, K: padded}, ok, nil
}

func (x *Execution) keyBuffer(m memory, ptr uint64) (buffer, error) {
	b, err := m.buffer(ptr)
	if err == nil && b.len > x.limits.MaxStorageKeySize {
		err = ErrKeyLength
	}
	return b, err
}

func (x *Execution) attached(s runtime.Scope) bool { return s == runtime.ScopeState || x.Private }

func (x *Execution) readRow(m memory, scope runtime.Scope, a []uint64) (uint64, error) {
	if err := x.settle(); err != nil {
		return 0, err
	}
	b, err := x.keyBuffer(m, a[0])
	if err != nil {
		return 0, err
	}
	k, ok, err := x.key(m, scope, b)
	if err != nil || !ok || !x.attached(scope) {
		return 0, err
	}
	e, err := x.get(k)
	if err != nil || !e.found {
		return 0, err
	}
	return 1, x.setRegister(a[1], e.value)
}

func (x *Execution) removeRow(m memory, scope runtime.Scope, a []uint64) (uint64, error) {
	if err := x.settle(); err != nil {
		return 0, err
	}
	b, err := x.keyBuffer(m, a[0])
	if err != nil {
		return 0, err
	}
	k, ok, err := x.key(m, scope, b)
	if err != nil || !ok || !x.attached(scope) {
		return 0, err
	}
	e, err := x.get(k)
	if err != nil || !e.found {
		return 0, err
	}
	old := e.value
	if err := x.put(k, e, nil, false); err != nil {
		return 0, err
	}
	return 1, x.setRegister(a[1], old)
}

// pair reads the descriptors of a write in the order the reference checks them.
func (x *Execution) pair(m memory, scope runtime.Scope, a []uint64) (k runtime.Key, ok bool, value []byte, err error) {
	kb, err := m.buffer(a[0])
	if err != nil {
		return k, false, nil, err
	}
	vb, err := m.buffer(a[1])
	if err != nil {
		return k, false, nil, err
	}
	if kb.len > x.limits.MaxStorageKeySize {
		return k, false, nil, ErrKeyLength
	}
	if vb.len > x.limits.MaxStorageValueSize {
		return k, false, nil, ErrValueLength
	}
	if k, ok, err = x.key(m, scope, kb); err != nil {
		return k, false, nil, err
	}
	value, err = m.slice(vb)
	return k, ok, value, err
}

func (x *Execution) storageRead(m memory, a []uint64) (uint64, error) {
	return x.readRow(m, runtime.ScopeState, a)
}

func (x *Execution) storageRemove(m memory, a []uint64) (uint64, error) {
	return x.removeRow(m, runtime.ScopeState, a)
}

func (x *Execution) storageWrite(m memory, a []uint64) (uint64, error) {
	if err := x.settle(); err != nil {
		return 0, err
	}
	k, ok, value, err := x.pair(m, runtime.ScopeState, a)
	if err != nil || !ok {
		return 0, err
	}
	e, err := x.get(k)
	if err != nil {
		return 0, err
	}
	old, had := e.value, e.found
	stored, revived := engine.Revive(k.K, value)
	if !revived {
		stored = clone(value)
	}
	if err := x.put(k, e, stored, true); err != nil || !had {
		return 0, err
	}
	return 1, x.setRegister(a[2], old)
}

func (x *Execution) privateRead(m memory, a []uint64) (uint64, error) {
	return x.readRow(m, runtime.ScopePrivate, a)
}

func (x *Execution) privateRemove(m memory, a []uint64) (uint64, error) {
	return x.removeRow(m, runtime.ScopePrivate, a)
}

func (x *Execution) privateWrite(m memory, a []uint64) (uint64, error) {
	k, ok, value, err := x.pair(m, runtime.ScopePrivate, a)
	if err != nil || !x.Private {
		return 0, err
	}
	if !ok {
		return 1, nil // dropped, and said to be written, as in the reference
	}
	return 1, x.put(k, x.written(k), bytes.Clone(value), true)
}
