package inspect

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Report is what Verify found.
type Report struct {
	Context domain.ContextID `json:"context"`
	// Root is the root hash that the context claims, Computed what follows from the bytes of all entities.
	Root     domain.Hash `json:"root_hash"`
	Computed domain.Hash `json:"computed_root_hash"`
	// Entities is how many were looked at, Rows how many rows they have.
	Entities int       `json:"entities"`
	Rows     int       `json:"rows"`
	Findings []Finding `json:"findings"`
}

// Finding is one thing that does not fit.
type Finding struct {
	ID crdt.ID `json:"id"`
	// Name is where the entity is, if that is known.
	Name string `json:"name,omitempty"`
	What string `json:"what"`
}

func (f Finding) String() string {
	if f.Name == "" {
		return f.ID.String() + ": " + f.What
	}
	return fmt.Sprintf("%s (%s): %s", f.ID, f.Name, f.What)
}

// Verify computes every hash of the tree anew and compares rows that repeat each other (crdt-storage.md §4,
// convergence.md §2.1). Hashes do not cover metadata, nor anything under [Tree.Detached].
func (s *State) Verify() *Report {
	v := &verifier{s: s, ns: s.nodes(), full: map[crdt.ID]domain.Hash{}, lists: map[crdt.ID]map[crdt.ID]struct{}{}, names: map[crdt.ID]string{}}
	v.report = &Report{Context: s.Context, Root: s.Root, Rows: len(s.Rows), Entities: len(v.ns.order), Findings: []Finding{}}
	s.Tree().each(func(e *Entity) { v.names[e.ID] = e.Name })
	for _, n := range v.ns.order {
		v.entity(n)
	}
	v.root()
	return v.report
}

// each visits all entities.
func (t *Tree) each(visit func(*Entity)) {
	var walk func(list []*Entity)
	walk = func(list []*Entity) {
		for _, e := range list {
			visit(e)
			walk(e.Children)
		}
	}
	if t.Root != nil {
		walk([]*Entity{t.Root})
	}
	walk(t.Detached)
	walk(t.Tombstones)
}

type verifier struct {
	s      *State
	ns     *nodes
	full   map[crdt.ID]domain.Hash // computed
	lists  map[crdt.ID]map[crdt.ID]struct{}
	names  map[crdt.ID]string
	report *Report
}

func (v *verifier) find(n *node, format string, args ...any) {
	v.report.Findings = append(v.report.Findings, Finding{n.id, v.names[n.id], fmt.Sprintf(format, args...)})
}

// shallow reports whether the full hash of an entity covers its children: at the root, directly under it, and under
// nothing (docs/design/state-engine.md).
func (v *verifier) shallow(n *node) bool {
	return n.id == v.ns.root || n.index.ParentID == nil || *n.index.ParentID == v.ns.root
}

func (v *verifier) entity(n *node) {
	if n.indexErr != nil {
		v.find(n, "its index row cannot be read: %v", n.indexErr)
	}
	if n.shadowErr != nil {
		v.find(n, "its shadow row cannot be read: %v", n.shadowErr)
	}
	if n.index == nil {
		if n.indexErr == nil {
			v.find(n, "it has bytes and no index row")
		}
		return
	}
	v.list(n)
	if n.tombstone() {
		if n.data != nil {
			v.find(n, "it is deleted and has bytes")
		}
		return
	}
	own := n.index.OwnHash
	switch {
	case n.data != nil:
		if computed := crdt.OwnHash(n.data); computed != own {
			v.find(n, "own hash %s, its bytes have %s", own, computed)
		}
	case !own.IsZero():
		v.find(n, "own hash %s, it has no bytes", own)
	}
	// The stored parts must give the stored hash; whether the parts are right is said at each of them.
	children := n.index.Children
	if !v.shallow(n) {
		children = nil
	}
	if computed := crdt.FullHash(own, children); computed != n.index.FullHash && !(own.IsZero() && n.index.FullHash.IsZero()) {
		v.find(n, "full hash %s, own hash and list of children give %s", n.index.FullHash, computed)
	}
	v.place(n)
	v.authority(n)
	v.registers(n)
}

// list checks the list of children against the children.
func (v *verifier) list(n *node) {
	seen := map[crdt.ID]struct{}{}
	for i := range n.index.Children {
		c := &n.index.Children[i]
		if i > 0 && n.index.Children[i-1].Compare(*c) >= 0 {
			v.find(n, "child %s is not in the order of creation", c.ID)
		}
		if _, ok := seen[c.ID]; ok {
			continue // of another register
		}
		seen[c.ID] = struct{}{}
		child := v.ns.byID[c.ID]
		switch {
		case child == nil || child.index == nil:
			v.find(n, "child %s has no index row", c.ID)
		case child.tombstone():
			v.find(n, "child %s is deleted", c.ID)
		case child.index.ParentID == nil || *child.index.ParentID != n.id:
			v.find(n, "child %s names another parent", c.ID)
		case child.index.FullHash != c.MerkleHash:
			v.find(n, "hash %s for child %s, the child has %s", c.MerkleHash, c.ID, child.index.FullHash)
		}
	}
}

// place checks that the parent lists a live entity.
func (v *verifier) place(n *node) {
	if n.index.ParentID == nil {
		return
	}
	parent := v.ns.byID[*n.index.ParentID]
	if parent == nil || parent.index == nil {
		return // collected: the entity is in nobody's list
	}
	if _, ok := v.listed(parent)[n.id]; !ok {
		v.find(n, "its parent %s does not list it", parent.id)
	}
}

// listed is the set of children that an entity lists.
func (v *verifier) listed(n *node) map[crdt.ID]struct{} {
	set := v.lists[n.id]
	if set == nil {
		set = make(map[crdt.ID]struct{}, len(n.index.Children))
		for i := range n.index.Children {
			set[n.index.Children[i].ID] = struct{}{}
		}
		v.lists[n.id] = set
	}
	return set
}

// authority checks that user and frozen entities have the ids that belong to their owner and content.
func (v *verifier) authority(n *node) {
	if n.data == nil || n.index.ParentID == nil {
		return
	}
	switch t := n.index.Metadata.Storage; t.Kind {
	case crdt.User:
		if n.id != crdt.EntryID(*n.index.ParentID, t.Owner[:]) || !bytes.HasPrefix(n.data, t.Owner[:]) {
			v.find(n, "it belongs to user %s, its id and bytes do not", t.Owner)
		}
	case crdt.Frozen:
		if len(n.data) < 64 {
			v.find(n, "it is frozen, and too short to have content")
			return
		}
		hash := sha256.Sum256(n.data[32 : len(n.data)-32])
		if !bytes.HasPrefix(n.data, hash[:]) || n.id != crdt.EntryID(*n.index.ParentID, hash[:]) {
			v.find(n, "it is frozen, its content has hash %x and not the one that it names", hash)
		}
	}
}

// registers checks the shadow row against the records in the parent's list.
func (v *verifier) registers(n *node) {
	if n.shadow == nil || len(n.shadow.Registers) < 2 || n.index.ParentID == nil {
		return
	}
	parent := v.ns.byID[*n.index.ParentID]
	if parent == nil || parent.index == nil {
		return
	}
	first := true
	for _, c := range parent.index.Children {
		if c.ID != n.id {
			continue
		}
		i := slices.IndexFunc(n.shadow.Registers, func(r engine.Register) bool { return r.Metadata.CreatedAt == c.Metadata.CreatedAt })
		switch {
		case i < 0:
			v.find(n, "its parent has a record of %d, which its shadow row has not", c.Metadata.CreatedAt)
		case !first && n.shadow.Registers[i].Leaf != c.MerkleHash:
			v.find(n, "its parent has hash %s for the value of %d, its shadow row %s", c.MerkleHash, c.Metadata.CreatedAt,
				n.shadow.Registers[i].Leaf)
		}
		first = false
	}
}

// root computes the root hash from the bytes of all entities.
func (v *verifier) root() {
	n := v.ns.byID[v.ns.root]
	if n != nil {
		v.report.Computed = v.compute(n, 0)
	}
	if v.report.Computed != v.s.Root {
		id := v.ns.root
		v.report.Findings = append(v.report.Findings, Finding{id, "root", fmt.Sprintf(
			"the context has root hash %s, the bytes of its entities give %s", v.s.Root, v.report.Computed)})
	}
}

func (v *verifier) compute(n *node, depth int) domain.Hash {
	if full, ok := v.full[n.id]; ok {
		return full
	}
	own := domain.Hash{}
	if n.data != nil {
		own = crdt.OwnHash(n.data)
	}
	var children []crdt.ChildInfo
	if n.index != nil && depth < 2 && v.shallow(n) {
		children = slices.Clone(n.index.Children)
		seen := map[crdt.ID]struct{}{}
		for i := range children {
			child := v.ns.byID[children[i].ID]
			if _, ok := seen[children[i].ID]; ok || child == nil {
				continue
			}
			seen[children[i].ID] = struct{}{}
			children[i].MerkleHash = v.compute(child, depth+1)
		}
	}
	v.full[n.id] = crdt.FullHash(own, children)
	return v.full[n.id]
}
