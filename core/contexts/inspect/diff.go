package inspect

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Kinds of difference.
const (
	Added    = "added"    // only in the second state
	Removed  = "removed"  // only in the first
	Changed  = "changed"  // other bytes
	Hash     = "hash"     // equal bytes and children, other hashes: another list of children
	Metadata = "metadata" // other times, parent, owner or registers, which no hash covers
	Raw      = "raw"      // a row under a key of the application's own
)

// Diff is how two states differ.
type Diff struct {
	Contexts [2]domain.ContextID `json:"contexts"`
	Roots    [2]domain.Hash      `json:"root_hashes"`
	// Differences in the order of the names.
	Differences []Difference `json:"differences"`
}

// Difference is one entity or row that differs.
type Difference struct {
	Kind string  `json:"kind"`
	ID   crdt.ID `json:"id"` // of a raw row its key
	Name string  `json:"name,omitempty"`
	// First and Second are the values; bytes when they cannot be decoded.
	First  any `json:"first,omitempty"`
	Second any `json:"second,omitempty"`
}

// Equal reports whether nothing that a hash covers differs.
func (d *Diff) Equal() bool {
	return !slices.ContainsFunc(d.Differences, func(x Difference) bool { return x.Kind != Metadata && x.Kind != Raw })
}

// Compare tells how b differs from a. The two may be states of two contexts of one application: their tree roots count as
// the same entity.
func Compare(a, b *State) *Diff {
	d := &Diff{Contexts: [2]domain.ContextID{a.Context, b.Context}, Roots: [2]domain.Hash{a.Root, b.Root}, Differences: []Difference{}}
	sides := [2]side{newSide(a), newSide(b)}
	differ := map[crdt.ID]bool{}
	for _, id := range bothIDs(sides) {
		if x := compare(id, sides[0].nodes[id], sides[1].nodes[id], sides); x != nil {
			differ[id] = x.Kind != Metadata
			d.Differences = append(d.Differences, *x)
		}
	}
	for _, id := range bothIDs(sides) {
		if x := compareHashes(id, sides, differ); x != nil {
			d.Differences = append(d.Differences, *x)
		}
	}
	d.Differences = append(d.Differences, compareRaw(sides)...)
	slices.SortStableFunc(d.Differences, func(x, y Difference) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), x.ID.Compare(y.ID), cmp.Compare(x.Kind, y.Kind))
	})
	return d
}

// side is one of the states. Its tree root has the id zero.
type side struct {
	s     *State
	nodes map[crdt.ID]*node
	shown map[crdt.ID]*Entity
	raw   []crdt.StateKey
}

func newSide(s *State) side {
	out := side{s: s, nodes: map[crdt.ID]*node{}, shown: map[crdt.ID]*Entity{}}
	ns := s.nodes()
	out.raw = ns.raw
	for id, n := range ns.byID {
		out.nodes[out.common(id)] = n
	}
	s.Tree().each(func(e *Entity) { out.shown[out.common(e.ID)] = e })
	return out
}

func (s *side) common(id crdt.ID) crdt.ID {
	if id == crdt.TreeRoot(s.s.Context) {
		return crdt.ID{}
	}
	return id
}

func bothIDs(sides [2]side) []crdt.ID {
	var ids []crdt.ID
	for id := range sides[0].nodes {
		ids = append(ids, id)
	}
	for id := range sides[1].nodes {
		if sides[0].nodes[id] == nil {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, crdt.ID.Compare)
	return ids
}

// bytesOf are the bytes of a live entity, nil for one that is not there.
func (s *side) bytesOf(n *node) []byte {
	switch {
	case n == nil || n.tombstone() || n.data == nil:
		return nil
	case n.id == crdt.TreeRoot(s.s.Context) && bytes.Equal(n.data, n.id[:]):
		return []byte{} // every context has its own id there
	}
	return n.data
}

func (s *side) value(id crdt.ID) any {
	e := s.shown[id]
	switch {
	case e == nil:
		return nil
	case e.Value != nil:
		return e.Value
	case e.Undecoded != nil:
		return e.Undecoded
	}
	return e.Kind
}

func (s *side) name(id crdt.ID) string {
	if e := s.shown[id]; e != nil {
		return e.Name
	}
	return ""
}

func compare(id crdt.ID, a, b *node, sides [2]side) *Difference {
	first, second := sides[0].bytesOf(a), sides[1].bytesOf(b)
	out := &Difference{ID: id, Name: cmp.Or(sides[0].name(id), sides[1].name(id))}
	switch {
	case first == nil && second == nil:
		return compareMetadata(out, a, b)
	case first == nil:
		out.Kind, out.Second, out.Name = Added, sides[1].value(id), sides[1].name(id)
	case second == nil:
		out.Kind, out.First = Removed, sides[0].value(id)
	case !bytes.Equal(first, second):
		out.Kind, out.First, out.Second = Changed, sides[0].value(id), sides[1].value(id)
	default:
		return compareMetadata(out, a, b)
	}
	return out
}

func compareMetadata(out *Difference, a, b *node) *Difference {
	first, second := metadata(a), metadata(b)
	if first == second {
		return nil
	}
	out.Kind, out.First, out.Second = Metadata, first, second
	return out
}

// metadata is what is known of an entity besides bytes and children, as text.
func metadata(n *node) string {
	if n == nil || n.index == nil {
		return "no index row"
	}
	m := n.index.Metadata
	out := fmt.Sprintf("created %d, updated %d", m.CreatedAt, m.UpdatedAt)
	if n.index.DeletedAt != nil {
		out += fmt.Sprintf(", deleted %d", *n.index.DeletedAt)
	}
	if m.Storage.Kind == crdt.User {
		out += ", of user " + m.Storage.Owner.String()
	} else if m.Storage.Kind == crdt.Frozen {
		out += ", frozen"
	}
	if n.shadow != nil {
		out += fmt.Sprintf(", %d registers", len(n.shadow.Registers))
		if n.shadow.Deletion != nil {
			out += fmt.Sprintf(" after a deletion at %d", n.shadow.Deletion.UpdatedAt)
		}
	}
	return out
}

// compareHashes finds entities whose full hash differs though nothing below them does.
func compareHashes(id crdt.ID, sides [2]side, differ map[crdt.ID]bool) *Difference {
	a, b := sides[0].nodes[id], sides[1].nodes[id]
	if differ[id] || sides[0].bytesOf(a) == nil || sides[1].bytesOf(b) == nil || a.index == nil || b.index == nil ||
		a.index.FullHash == b.index.FullHash {
		return nil
	}
	if id == (crdt.ID{}) && sides[0].s.Context != sides[1].s.Context {
		return nil // its own bytes differ
	}
	for i, n := range []*node{a, b} {
		for _, c := range n.index.Children {
			child := sides[1-i].nodes[c.ID]
			if differ[c.ID] || child == nil || child.index == nil || sides[i].nodes[c.ID] == nil ||
				sides[i].nodes[c.ID].index == nil || child.index.FullHash != sides[i].nodes[c.ID].index.FullHash {
				return nil
			}
		}
	}
	return &Difference{
		Kind: Hash, ID: id, Name: sides[0].name(id),
		First:  fmt.Sprintf("%s, %d records of children", a.index.FullHash, len(a.index.Children)),
		Second: fmt.Sprintf("%s, %d records of children", b.index.FullHash, len(b.index.Children)),
	}
}

func compareRaw(sides [2]side) []Difference {
	var out []Difference
	for i := range sides {
		for _, key := range sides[i].raw {
			other, there := sides[1-i].s.Rows[key]
			value := sides[i].s.Rows[key]
			if there && (i == 1 || bytes.Equal(value, other)) {
				continue
			}
			x := Difference{Kind: Raw, ID: crdt.ID(key)}
			pair := [2]any{}
			pair[i] = printable(value)
			if there {
				pair[1-i] = printable(other)
			}
			x.First, x.Second = pair[0], pair[1]
			out = append(out, x)
		}
	}
	return out
}
