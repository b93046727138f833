package inspect

import (
	"bytes"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
)

// node is what the rows have of one entity.
type node struct {
	id    crdt.ID
	index *crdt.EntityIndex // nil: there is no index row, or it cannot be read
	// indexErr says why it cannot be read, shadowErr the same of the shadow row.
	indexErr, shadowErr error
	data                []byte // of the entry row; nil: there is none
	shadow              *engine.Shadow
	visited             bool
}

// tombstone reports whether the entity is deleted. Rows of the reference may have the mark on a live one.
func (n *node) tombstone() bool {
	return n.index != nil && n.index.DeletedAt != nil &&
		(n.data == nil || *n.index.DeletedAt >= n.index.Metadata.UpdatedAt)
}

// nodes sorts the rows by the entities they belong to; the others are the guest's own.
type nodes struct {
	root  crdt.ID
	byID  map[crdt.ID]*node
	order []*node // by id
	raw   []crdt.StateKey
}

func (s *State) nodes() *nodes {
	ns := &nodes{root: crdt.TreeRoot(s.Context), byID: map[crdt.ID]*node{}}
	taken := map[crdt.StateKey]struct{}{}
	add := func(id crdt.ID) *node {
		n := ns.byID[id]
		if n == nil {
			n = &node{id: id}
			ns.byID[id] = n
			ns.order = append(ns.order, n)
		}
		return n
	}
	// An index row begins with its id, an entry of the SDK ends with it; that of the root may be anything.
	add(ns.root)
	for key, value := range s.Rows {
		if len(value) < 32 {
			continue
		}
		if id := crdt.ID(value[:32]); crdt.IndexKey(id) == key {
			n := add(id)
			n.index = new(crdt.EntityIndex)
			if n.indexErr = borsh.Unmarshal(value, n.index); n.indexErr != nil {
				n.index = nil
			}
			taken[key] = struct{}{}
		}
		if id := crdt.ID(value[len(value)-32:]); crdt.EntryKey(id) == key {
			add(id)
		}
	}
	for id, n := range ns.byID {
		if value, ok := s.Rows[crdt.EntryKey(id)]; ok {
			n.data = append([]byte{}, value...)
			taken[crdt.EntryKey(id)] = struct{}{}
		}
		if value, ok := s.Rows[crdt.SyncStateKey(id)]; ok {
			n.shadow = new(engine.Shadow)
			if n.shadowErr = borsh.Unmarshal(value, n.shadow); n.shadowErr != nil {
				n.shadow = nil
			}
			taken[crdt.SyncStateKey(id)] = struct{}{}
		}
	}
	for _, key := range s.keys() {
		if _, ok := taken[key]; !ok {
			ns.raw = append(ns.raw, key)
		}
	}
	slices.SortFunc(ns.order, func(a, b *node) int { return bytes.Compare(a.id[:], b.id[:]) })
	if root := ns.byID[ns.root]; root.index == nil && root.indexErr == nil && root.data == nil {
		delete(ns.byID, ns.root) // nothing was ever written
		ns.order = slices.DeleteFunc(ns.order, func(n *node) bool { return n.id == ns.root })
	}
	return ns
}
