package engine

import (
	"bytes"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// The tree has three levels: the root, what hangs directly under it, and the entries of that. A full hash covers the
// children of the first two levels, and of entities that hang under nothing; whatever else claims to be a parent has the
// hash of its own bytes. So no claim about parents, however wrong, makes hashes depend on themselves, and a change ends
// at the root after two steps.

// shallow reports whether the full hash of the entity covers its children.
func (j *join) shallow(n *node) bool { return n.parent == nil || *n.parent == j.root }

// finish computes lists and hashes from the leaves up, each once, and returns the rows that differ.
func (j *join) finish() ([]Row, domain.Hash, error) {
	root := j.nodes[j.root]
	var deep, shallow []*node
	for _, n := range j.order {
		if n.dirty {
			if err := j.settle(n); err != nil {
				return nil, domain.Hash{}, err
			}
		} else {
			n.own = n.old.own
		}
		switch {
		case n == root:
		case j.shallow(n):
			shallow = append(shallow, n)
		default:
			deep = append(deep, n)
		}
	}
	for _, n := range deep {
		if n.dirty {
			n.full = crdt.FullHash(n.own, nil)
			j.link(n)
		} else {
			n.full = n.old.full
		}
	}
	for _, n := range shallow {
		if err := j.rehash(n); err != nil {
			return nil, domain.Hash{}, err
		}
		switch {
		case n.dirty:
			j.link(n)
		case n.full != n.old.full && n.parent != nil && root.exists():
			c := root.change(n.id)
			c.rehash, c.hash = true, n.full
		}
	}
	if err := j.rehash(root); err != nil {
		return nil, domain.Hash{}, err
	}
	var rows []Row
	for _, n := range j.order {
		own, err := j.rows(n)
		if err != nil {
			return nil, domain.Hash{}, err
		}
		rows = append(rows, own...)
	}
	slices.SortFunc(rows, compareRows)
	return rows, root.full, nil
}

// settle decides bytes and place of a changed entity and takes it out of a list that it leaves.
func (j *join) settle(n *node) error {
	switch s := n.state; {
	case s != nil && s.live():
		if n.data == nil && n.own.IsZero() {
			return errkind.Corrupt.Errorf("entity %s is live and has no bytes; restore the context's state from a peer or "+
				"a backup", n.id)
		}
	case s != nil && s.known:
		n.parent, n.own = nil, domain.Hash{}
	}
	if old := n.old.parent; old != nil && (n.parent == nil || *n.parent != *old) {
		if parent := j.nodes[*old]; parent != nil && parent.old.raw != nil {
			parent.change(n.id)
		}
	}
	return nil
}

// link puts the records of a changed entity into its parent's list.
func (j *join) link(n *node) {
	if n.parent == nil {
		return
	}
	parent := j.nodes[*n.parent]
	if parent == nil || !parent.exists() {
		return // its row was collected: the entity is in nobody's list until the parent is written or named again
	}
	c := parent.change(n.id)
	if n.placeholder {
		c.records = []crdt.ChildInfo{{
			ID: n.id, MerkleHash: n.full, Metadata: crdt.Metadata{CreatedAt: n.created, UpdatedAt: n.created},
		}}
		return
	}
	if n.state == nil || !n.state.live() {
		return
	}
	for i := range n.state.recs {
		r := &n.state.recs[i]
		record := crdt.ChildInfo{ID: n.id, MerkleHash: r.leaf, Metadata: r.meta}
		if i == 0 {
			record.MerkleHash = n.full
		}
		c.records = append(c.records, record)
	}
}

// rehash makes the list and the full hash of an entity that covers its children.
func (j *join) rehash(n *node) error {
	n.full = n.old.full
	if !n.dirty && len(n.changes.byID) == 0 {
		return nil
	}
	if err := n.rebuild(); err != nil {
		return err
	}
	switch {
	case n.state != nil && n.state.known && !n.state.live(), n.old.deleted != nil && !n.dirty && !n.wasRewritten():
		n.full = n.old.full // hashes of a tombstone cover nothing
		if n.dirty {
			n.full = domain.Hash{}
		}
	default:
		n.full = n.rebuilt.hash
	}
	return nil
}

// rebuild makes the list, once.
func (n *node) rebuild() (err error) {
	n.rebuilt, err = rebuild(n.old.list(), n.own, &n.changes)
	return err
}

// rows returns the rows of an entity that differ from the view's.
func (j *join) rows(n *node) ([]Row, error) {
	if !n.dirty && len(n.changes.byID) == 0 {
		return nil, nil
	}
	if n != j.nodes[j.root] && !j.shallow(n) {
		if err := n.rebuild(); err != nil {
			return nil, err
		}
	}
	var rows []Row
	meta, deleted := n.old.meta, n.old.deleted
	if n.dirty {
		s := n.state
		if s == nil {
			s = &state{}
		}
		switch {
		case s.live():
			w := s.winner()
			meta, deleted = withCreated(w.meta, s.recs[0].meta.CreatedAt), nil
			if n.data != nil && (!n.hadEntry || n.own != n.old.own) {
				rows = append(rows, Row{Key: crdt.EntryKey(n.id), Value: n.data})
			}
		case s.known:
			meta, deleted = s.del.meta, &s.del.meta.UpdatedAt
			if n.hadEntry {
				rows = append(rows, Row{Key: crdt.EntryKey(n.id), Absent: true})
			}
		case n.placeholder:
			meta, deleted = crdt.Metadata{CreatedAt: n.created, UpdatedAt: n.created}, nil
		}
		if n.state != nil {
			shadow, err := s.shadow()
			if err != nil {
				return nil, err
			}
			if !bytes.Equal(shadow, n.shadow) {
				rows = append(rows, Row{Key: crdt.SyncStateKey(n.id), Absent: shadow == nil, Value: shadow})
			}
		}
		if !s.known && !n.placeholder {
			return rows, nil // claims only
		}
	}
	index, err := n.index(n.parent, meta, deleted)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(index.Value, n.old.raw) {
		rows = append(rows, index)
	}
	return rows, nil
}

// decodeShadow reads the shadow row of an entity.
func decodeShadow(n *node) (Shadow, error) {
	var s Shadow
	if n.shadow == nil {
		return s, nil
	}
	if err := borsh.Unmarshal(n.shadow, &s); err != nil {
		return s, errkind.Corrupt.Errorf("shadow row of entity %s: %w; restore the context's state from a peer or a backup",
			n.id, err)
	}
	return s, nil
}
