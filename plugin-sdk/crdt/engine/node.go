package engine

import (
	"bytes"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// row is an index row whose list of children stays encoded.
type row struct {
	raw        []byte // nil: there is no row
	listAt     int    // where the records begin; without a list, where its count would
	listEnd    int
	hasList    bool
	count      int
	parent     *crdt.ID
	full, own  domain.Hash
	meta       crdt.Metadata
	deleted    *uint64
	wantedRecs map[crdt.ID][]span
}

// span is a part of a row.
type span struct{ from, to int }

func (r *row) list() []byte { return r.raw[r.listAt:r.listEnd] }

// parseRow reads the row of id and notes where the records of wanted ids are.
func parseRow(id crdt.ID, raw []byte, wanted *idSet[struct{}]) (*row, error) {
	r := &row{raw: raw}
	fail := func(err error) (*row, error) {
		return nil, errkind.Corrupt.Errorf("index row of entity %s: %w; restore the context's state from a peer or a backup",
			id, err)
	}
	d := borsh.NewDecoder(raw)
	stored := crdt.ID(d.Array32("id"))
	r.parent = borsh.OptArray32[crdt.ID](d, "parent_id")
	if r.hasList = d.Some("children"); r.hasList {
		r.count = d.Len("children", minRecord)
	}
	if err := d.Err(); err != nil {
		return fail(err)
	}
	if stored != id {
		return fail(errkind.Corrupt.Errorf("it belongs to entity %s", stored))
	}
	at := d.Offset()
	r.listAt = at
	for range r.count {
		n, ok := recordLen(raw[at:])
		if !ok {
			return fail(errkind.Corrupt.Errorf("malformed record at offset %d", at))
		}
		if _, ok := wanted.get(raw[at : at+32]); ok {
			if r.wantedRecs == nil {
				r.wantedRecs = map[crdt.ID][]span{}
			}
			child := crdt.ID(raw[at : at+32])
			r.wantedRecs[child] = append(r.wantedRecs[child], span{at, at + n})
		}
		at += n
	}
	r.listEnd = at
	d = borsh.NewDecoder(raw[at:])
	r.full, r.own = d.Array32("full_hash"), d.Array32("own_hash")
	r.meta.DecodeBorsh(d)
	r.deleted = borsh.Option(d, "deleted_at", (*borsh.Decoder).U64)
	if err := d.Finish(); err != nil {
		return fail(err)
	}
	return r, nil
}

// records decodes the records of a wanted id.
func (r *row) records(id crdt.ID) ([]crdt.ChildInfo, error) {
	spans := r.wantedRecs[id]
	out := make([]crdt.ChildInfo, len(spans))
	for i, s := range spans {
		if err := borsh.Unmarshal(r.raw[s.from:s.to], &out[i]); err != nil {
			return nil, errkind.Corrupt.Errorf("child record of entity %s: %w", id, err)
		}
	}
	return out, nil
}

// node is one entity in the working set of a delta.
type node struct {
	id     crdt.ID
	old    *row   // as in the view
	shadow []byte // the shadow row in the view; loaded for entities that actions name

	// state is nil until an action needs it.
	state *state
	// placeholder: known from chains of ancestors only. A node that is absent in the view becomes one by being named.
	placeholder bool
	created     uint64 // of a placeholder

	parent   *crdt.ID
	hadEntry bool   // there is an entry row in the view
	data     []byte // of the winner, when it is new
	dirty    bool   // more than the list of children may have changed

	changes idSet[*listChange]
	own     domain.Hash
	full    domain.Hash
	rebuilt rebuilt
}

// exists reports whether the entity has an index row, or will have one.
func (n *node) exists() bool {
	return n.old.raw != nil || n.placeholder || n.state != nil && n.state.known
}

func (n *node) wasLive() bool {
	return n.old.raw != nil && n.old.deleted == nil && !n.old.own.IsZero()
}

// wasRewritten: the reference keeps the mark of the deletion on an entity that was written again.
func (n *node) wasRewritten() bool {
	return n.old.deleted != nil && !n.old.own.IsZero() && *n.old.deleted < n.old.meta.UpdatedAt
}

// change returns what happens to the records of a child.
func (n *node) change(child crdt.ID) *listChange {
	c := n.changes.byID[child]
	if c == nil {
		c = &listChange{}
		n.changes.put(child, c)
	}
	return c
}

// index encodes the row for a node with the given metadata, and the edits that lead to it.
func (n *node) index(parent *crdt.ID, meta crdt.Metadata, deleted *uint64) (Row, error) {
	head := borsh.NewEncoder(make([]byte, 0, 70))
	head.Raw(n.id[:])
	borsh.PutOption(head, parent, borsh.PutArray32[crdt.ID])
	head.Bool(n.rebuilt.count > 0)
	if n.rebuilt.count > 0 {
		head.Len(n.rebuilt.count)
	}
	tail := borsh.NewEncoder(make([]byte, 0, 128))
	tail.Raw(n.full[:])
	tail.Raw(n.own[:])
	meta.EncodeBorsh(tail)
	borsh.PutOption(tail, deleted, (*borsh.Encoder).U64)
	first, err := head.Finish()
	if err != nil {
		return Row{}, err
	}
	last, err := tail.Finish()
	if err != nil {
		return Row{}, err
	}
	out := Row{Key: crdt.IndexKey(n.id)}
	list, old := n.old.list(), n.old.raw
	edits := make([]Edit, 0, len(n.rebuilt.edits)+2)
	edits = appendEdit(edits, old, Edit{Del: n.old.listAt, Ins: first})
	for _, e := range n.rebuilt.edits {
		e.Off += n.old.listAt
		edits = append(edits, e)
	}
	edits = appendEdit(edits, old, Edit{Off: n.old.listEnd, Del: len(old) - n.old.listEnd, Ins: last})
	out.Value = Edited(old, edits)
	if len(list) > 0 {
		out.Edits = edits
	}
	return out, nil
}

// appendEdit leaves out what does not change anything.
func appendEdit(edits []Edit, old []byte, e Edit) []Edit {
	if bytes.Equal(old[e.Off:e.Off+e.Del], e.Ins) {
		return edits
	}
	return append(edits, e)
}

// withCreated returns the metadata with another time of creation and without signature.
func withCreated(m crdt.Metadata, created uint64) crdt.Metadata {
	m.CreatedAt, m.Storage.Signature = created, nil
	return m
}

// indexID returns the id that an index row belongs to, or false when the value is none of that key.
func indexID(key crdt.StateKey, value []byte) (crdt.ID, bool) {
	if len(value) < 32+1+1+32+32+minMetadata+1 {
		return crdt.ID{}, false
	}
	id := crdt.ID(value[:32])
	return id, crdt.IndexKey(id) == key
}

// entryID returns the id that the bytes of an entity end with, or false when the value is none of that key.
func entryID(key crdt.StateKey, value []byte) (crdt.ID, bool) {
	if len(value) < 32 {
		return crdt.ID{}, false
	}
	id := crdt.ID(value[len(value)-32:])
	return id, crdt.EntryKey(id) == key
}

// RowTime returns the latest time in a state row, or false when it is no index row of its key. A context's clock must
// not run behind any of them (after a snapshot: the greatest over all rows).
func RowTime(key crdt.StateKey, value []byte) (uint64, bool) {
	id, ok := indexID(key, value)
	if !ok {
		return 0, false
	}
	r, err := parseRow(id, value, &idSet[struct{}]{})
	if err != nil {
		return 0, false
	}
	if r.deleted != nil {
		return max(r.meta.UpdatedAt, *r.deleted), true
	}
	return r.meta.UpdatedAt, true
}

// Revive returns the index row without the mark of its deletion, if a guest's write of it says that the entity was
// written again afterwards; otherwise false. The SDK never clears the mark and then does not find what it wrote
// (crdt-storage.md §5.9); whoever runs the guest stores this row instead of the guest's.
func Revive(key crdt.StateKey, value []byte) ([]byte, bool) {
	const mark = 1 + 8 // an option and a time, at the very end
	if len(value) < mark || value[len(value)-mark] != 1 {
		return nil, false
	}
	id, ok := indexID(key, value)
	if !ok {
		return nil, false
	}
	r, err := parseRow(id, value, &idSet[struct{}]{})
	if err != nil || r.deleted == nil || r.meta.UpdatedAt <= *r.deleted {
		return nil, false
	}
	return append(bytes.Clone(value[:len(value)-mark]), 0), true
}

// LatestTime returns the greatest time that the actions claim, 0 without any. A delta waits while it is more than
// [crdt.MaxClockDrift] ahead of the node's clock; once applied, the context's clock does not run behind it.
func LatestTime(actions []crdt.Action) uint64 {
	var t uint64
	for i := range actions {
		t = max(t, actions[i].Time())
	}
	return t
}
