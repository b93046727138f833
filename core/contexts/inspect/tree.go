package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Tree is a state as entities.
type Tree struct {
	Context     domain.ContextID     `json:"context"`
	Application domain.ApplicationID `json:"application"`
	RootHash    domain.Hash          `json:"root_hash"`
	Heads       []domain.Hash        `json:"heads"`
	// Root is the tree root; nil in a context without a state.
	Root *Entity `json:"root"`
	// Detached are entities that the root's tree does not reach: no hash of the context covers them.
	Detached []*Entity `json:"detached"`
	// Tombstones are deleted entities.
	Tombstones []*Entity `json:"tombstones"`
	// Raw are rows under keys of the application's own; they are on this node alone.
	Raw []RawRow `json:"raw"`
}

// RawRow is a row that belongs to no entity.
type RawRow struct {
	Key   crdt.ID `json:"key"`
	Value any     `json:"value"`
}

// Entity is one entity with what is below it.
type Entity struct {
	ID crdt.ID `json:"id"`
	// Name is where the entity is, as in `items["a"]`; empty when nobody tells.
	Name string `json:"name"`
	// Kind is root, state, entry, object (of an app in JavaScript), or the kind of collection.
	Kind string `json:"kind"`
	// Type is that of the value, or of a collection's entries, as far as it is known.
	Type string `json:"type,omitempty"`
	// Value is the decoded value; Undecoded has the bytes when there is none.
	Value     any   `json:"value,omitempty"`
	Undecoded Bytes `json:"undecoded,omitempty"`

	OwnHash  domain.Hash `json:"own_hash"`
	FullHash domain.Hash `json:"full_hash"`
	Created  uint64      `json:"created_at"` // ns since 1970
	Updated  uint64      `json:"updated_at"`
	Deleted  *uint64     `json:"deleted_at,omitempty"`
	// Storage is public, user or frozen; Owner is a user.
	Storage string            `json:"storage"`
	Owner   *domain.PublicKey `json:"owner,omitempty"`
	// Registers is how many values were written to the entity with different times of creation, if more than one.
	Registers int `json:"registers,omitempty"`
	// Problem says what is wrong with the rows.
	Problem string `json:"problem,omitempty"`

	Children []*Entity `json:"children,omitempty"`
}

// reader makes entities out of nodes.
type reader struct {
	s  *State
	ns *nodes
	// types of collections that a value elsewhere names, and their names.
	types map[crdt.ID][]*typ
	names map[crdt.ID]string
	js    bool
}

// Tree makes the state readable.
func (s *State) Tree() *Tree {
	r := &reader{s: s, ns: s.nodes(), types: map[crdt.ID][]*typ{}, names: map[crdt.ID]string{}}
	root := r.ns.byID[r.ns.root]
	r.js = root != nil && root.data != nil && !bytes.Equal(root.data, r.ns.root[:])
	r.learn(root)
	// What an entry names may stand before it: look again while something new was learned.
	for {
		known := len(r.types)
		out := r.build(root)
		if len(r.types) == known {
			return out
		}
		for _, n := range r.ns.order {
			n.visited = false
		}
	}
}

func (r *reader) build(root *node) *Tree {
	s := r.s
	out := &Tree{
		Context: s.Context, Application: s.Application, RootHash: s.Root, Heads: s.Heads,
		Detached: []*Entity{}, Tombstones: []*Entity{}, Raw: []RawRow{},
	}
	if out.Heads == nil {
		out.Heads = []domain.Hash{}
	}
	if root != nil {
		out.Root = r.entity(root, nil, 0)
	}
	for _, n := range r.ns.order {
		switch {
		case n.visited:
		case n.tombstone():
			n.visited = true
			out.Tombstones = append(out.Tombstones, r.describe(n, nil))
		case n.index != nil && n.index.ParentID != nil && r.ns.byID[*n.index.ParentID] != nil && !r.ns.byID[*n.index.ParentID].visited:
			// below a detached one
		default:
			out.Detached = append(out.Detached, r.entity(n, nil, 0))
		}
	}
	for _, n := range r.ns.order { // circles
		if !n.visited {
			out.Detached = append(out.Detached, r.entity(n, nil, 0))
		}
	}
	for _, key := range r.ns.raw {
		out.Raw = append(out.Raw, RawRow{crdt.ID(key), printable(s.Rows[key])})
	}
	return out
}

// learn collects what the state value and the objects say of collections, before the tree is walked.
func (r *reader) learn(root *node) {
	if root == nil || root.index == nil {
		return
	}
	for i := range root.index.Children {
		n := r.ns.byID[root.index.Children[i].ID]
		if n == nil {
			continue
		}
		if n.index != nil && n.index.Metadata.FieldName != nil {
			r.names[n.id] = fieldName(*n.index.Metadata.FieldName)
		}
		if n.id == crdt.StateEntryID && n.data != nil {
			if v, _, err := r.s.Schema.stateOf(n.data[:max(0, len(n.data)-32)]); err == nil {
				r.follow("", v)
			}
		}
		if r.js {
			if object, entries, ok := r.object(n); ok {
				r.names[entries] = "object " + short(object)
			}
		}
	}
}

// follow notes the collections that a value names.
func (r *reader) follow(name string, v any) {
	switch v := v.(type) {
	case Ref:
		r.refer(name, v)
	case Record:
		for _, f := range v {
			r.follow(strings.TrimPrefix(name+"."+f.Name, "."), f.Value)
		}
	case []any:
		for i, e := range v {
			r.follow(fmt.Sprintf("%s[%d]", name, i), e)
		}
	case Pairs:
		for _, p := range v {
			r.follow(fmt.Sprintf("%s[%s]", name, text(p[0])), p[1])
		}
	case Register:
		r.follow(name, v.Value)
	}
}

func (r *reader) refer(name string, v Ref) {
	note := func(id crdt.ID, name string) {
		if !slices.Contains(r.types[id], v.typ) && len(r.types[id]) < maxTypes {
			r.types[id] = append(r.types[id], v.typ)
		}
		if r.names[id] == "" {
			r.names[id] = name
		}
	}
	note(v.ID, name)
	for _, id := range v.More {
		note(id, name+" (down)")
	}
}

// maxTypes bounds the types that values give one collection.
const maxTypes = 8

// fieldName takes what the SDK adds from the name of a top-level collection.
func fieldName(name string) string {
	for _, p := range [][2]string{{"__counter_internal_", "_positive"}, {"__counter_internal_", "_negative"}, {"__user_storage_", ""}, {"__frozen_storage_", ""}} {
		if inner, ok := strings.CutPrefix(name, p[0]); ok && strings.HasSuffix(inner, p[1]) {
			inner = strings.TrimSuffix(inner, p[1])
			if p[1] == "_negative" {
				inner += " (down)"
			}
			return inner
		}
	}
	return name
}

// maxDepth bounds how deep a tree is shown; the SDK's have three levels.
const maxDepth = 32

// entity describes a node and what is below it.
func (r *reader) entity(n *node, in *collection, depth int) *Entity {
	n.visited = true
	e := r.describe(n, in)
	if n.index == nil || len(n.index.Children) == 0 {
		return e
	}
	if depth == maxDepth {
		e.Problem = joined(e.Problem, fmt.Sprintf("more than %d entities lie above each other", maxDepth))
		return e
	}
	var c *collection
	if n.id != r.ns.root {
		c = r.collection(n, e.Name)
	}
	seen := map[crdt.ID]struct{}{}
	for i := range n.index.Children {
		id := n.index.Children[i].ID
		if _, ok := seen[id]; ok {
			continue
		}
		seen[id] = struct{}{}
		switch child := r.ns.byID[id]; {
		case child == nil:
			e.Children = append(e.Children, &Entity{ID: id, Kind: "unknown", Problem: "listed by its parent, and there is no row of it"})
		case child.visited:
			e.Children = append(e.Children, &Entity{ID: id, Kind: "unknown", Problem: "listed more than once in the tree"})
		default:
			if c != nil {
				c.index = len(e.Children)
			}
			e.Children = append(e.Children, r.entity(child, c, depth+1))
		}
	}
	if e.Kind == textKindName && c != nil {
		e.Value = c.chars.String()
	}
	return e
}

const textKindName = "text"

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// describe makes the entity of a node without children.
func (r *reader) describe(n *node, in *collection) *Entity {
	e := &Entity{ID: n.id, Name: r.names[n.id], Kind: "unknown", Storage: "public"}
	if n.index != nil {
		m := n.index.Metadata
		e.OwnHash, e.FullHash, e.Created, e.Updated, e.Deleted = n.index.OwnHash, n.index.FullHash, m.CreatedAt, m.UpdatedAt, n.index.DeletedAt
		switch m.Storage.Kind {
		case crdt.User:
			e.Storage, e.Owner = "user", &m.Storage.Owner
		case crdt.Frozen:
			e.Storage = "frozen"
		}
	}
	if n.shadow != nil && len(n.shadow.Registers) > 1 {
		e.Registers = len(n.shadow.Registers)
	}
	switch {
	case n.indexErr != nil:
		e.Problem = "index row: " + n.indexErr.Error()
	case n.index == nil:
		e.Problem = "there is no index row"
	}
	if n.shadowErr != nil {
		e.Problem = joined(e.Problem, "shadow row: "+n.shadowErr.Error())
	}
	switch {
	case n.id == r.ns.root:
		e.Kind, e.Name = "root", "root"
		if r.js {
			e.Type, e.Value = "document", printable(n.data)
		}
	case n.tombstone():
		e.Kind = "tombstone"
	case n.data == nil:
		e.Kind = "placeholder"
	case n.id == crdt.StateEntryID:
		r.describeState(n, e)
	case bytes.Equal(n.data, n.id[:]):
		r.describeCollection(n, e)
	default:
		r.describeEntry(n, e, in)
	}
	return e
}

func (r *reader) describeState(n *node, e *Entity) {
	e.Kind, e.Name = "state", "state"
	item := item(n)
	if v, t, err := r.s.Schema.stateOf(item); err == nil {
		e.Type, e.Value = t.name, v
		return
	}
	e.Undecoded = item
}

// item is the value of an entry: its bytes without its id.
func item(n *node) []byte { return bytes.TrimSuffix(n.data, n.id[:]) }

func (r *reader) describeCollection(n *node, e *Entity) {
	c := r.collection(n, e.Name)
	e.Kind = "collection"
	if len(c.types) == 0 {
		return
	}
	e.Type = c.types[0].name
	switch c.types[0].resolve().kind {
	case mapKind:
		e.Kind = "map"
	case setKind:
		e.Kind = "set"
	case vectorKind:
		e.Kind = "vector"
	case counterKind, upDownKind:
		e.Kind = "counter"
	case textKind:
		e.Kind = textKindName
	case userKind:
		e.Kind = "user storage"
	case frozenKind:
		e.Kind = "frozen storage"
	}
}

func (r *reader) describeEntry(n *node, e *Entity, in *collection) {
	e.Kind = "entry"
	if object, entries, ok := r.object(n); ok && in == nil {
		e.Kind, e.Name, e.Value = "object", "object "+short(object), Ref{Kind: "entries", ID: entries}
		return
	}
	data := item(n)
	if in != nil {
		if v, t, ok := in.read(data); ok {
			e.Name, e.Type, e.Value = in.name+in.label(v), t.name, v.value
			r.follow(e.Name, v.value)
			return
		}
	} else if r.js {
		t := &typ{kind: registerKind, name: "register", of: []*typ{container(optionKind, "Option", &typ{kind: bytesKind, name: "bytes"})}}
		if v, err := t.read(data); err == nil {
			e.Kind, e.Name, e.Type, e.Value = "register", "register "+short(n.id), t.name, v
			return
		}
	}
	if e.Undecoded = data; in != nil {
		if label, ok := in.key(data); ok {
			e.Name = in.name + label
		}
	}
}

// object recognises what an app in JavaScript holds: two or three ids, the entries' first, the own last.
func (r *reader) object(n *node) (id, entries crdt.ID, ok bool) {
	if !r.js || len(n.data) != 64 && len(n.data) != 96 || !bytes.HasSuffix(n.data, n.id[:]) {
		return id, entries, false
	}
	entries = crdt.ID(n.data[:32])
	_, ok = r.ns.byID[entries]
	return n.id, entries, ok
}

// collection is what is known of a collection while its entries are read.
type collection struct {
	name  string
	types []*typ // the most exact first
	js    bool
	index int
	chars chars
}

// collection finds the types that a collection may have: as its own row says, as the schema says, as a value that names
// it says.
func (r *reader) collection(n *node, name string) *collection {
	c := &collection{name: name, js: r.js}
	var meta crdt.Metadata
	if n.index != nil {
		meta = n.index.Metadata
	}
	add := func(t *typ) {
		if t != nil && t.kind != unknownKind {
			c.types = append(c.types, t)
		}
	}
	if meta.FieldName != nil && strings.HasPrefix(*meta.FieldName, "__counter_internal_") {
		add(&typ{kind: counterKind, name: "Counter"})
	}
	if meta.Crdt != nil {
		add(rowType(meta.Crdt))
	}
	for _, t := range r.types[n.id] {
		add(t)
	}
	if meta.FieldName != nil {
		add(r.s.Schema.field(fieldName(*meta.FieldName)))
	}
	return c
}

// rowType is the type that a collection's own row tells.
func rowType(t *crdt.CrdtType) *typ {
	switch t.Kind {
	case crdt.GCounter, crdt.PnCounter:
		return &typ{kind: counterKind, name: "Counter"}
	case crdt.Rga:
		return &typ{kind: textKind, name: "ReplicatedGrowableArray"}
	case crdt.UnorderedMap:
		key, value := parseType(t.Inner), parseType(t.Value)
		if strings.HasSuffix(t.Inner, "::CharKey") {
			return &typ{kind: textKind, name: "ReplicatedGrowableArray"}
		}
		return container(mapKind, "UnorderedMap", key, value)
	case crdt.UnorderedSet:
		return container(setKind, "UnorderedSet", parseType(t.Inner))
	case crdt.Vector:
		return container(vectorKind, "Vector", parseType(t.Inner))
	}
	return nil
}

// entryValue is a decoded entry; key is what it is found by.
type entryValue struct {
	key   any
	value any
	kind  kind
}

// read decodes an entry with the first type that fits.
func (c *collection) read(data []byte) (entryValue, *typ, bool) {
	for _, t := range c.types {
		if v, shown, err := c.readAs(t.resolve(), data); err == nil {
			return v, shown, true
		}
	}
	if c.js {
		return readObjectEntry(data)
	}
	return entryValue{}, nil, false
}

var errEntry = errors.New("the bytes are no entry of this collection")

func (c *collection) readAs(t *typ, data []byte) (entryValue, *typ, error) {
	v := entryValue{kind: t.kind}
	switch t.kind {
	case mapKind:
		return readPair(t.of[0], t.of[1], data, v)
	case userKind:
		return readPair(&typ{kind: keyKind, name: "PublicKey"}, t.of[0], data, v)
	case frozenKind:
		return readPair(&typ{kind: fixedKind, size: 32, name: "hash"}, t.of[0], data, v)
	case setKind, vectorKind:
		var err error
		v.value, err = t.of[0].read(data)
		v.key = v.value
		return v, t.of[0], err
	case counterKind, upDownKind:
		return readPair(slotType, countType, data, v)
	case textKind:
		char, err := readChar(data)
		if err == nil {
			c.chars = append(c.chars, char)
		}
		v.value = string(char.char)
		return v, charType, err
	}
	return v, nil, errEntry
}

var (
	slotType  = &typ{kind: stringKind, name: "String"}
	countType = &typ{kind: uintKind, size: 8, name: "u64"}
	charType  = &typ{kind: charKind, name: "char"}
)

func readPair(key, value *typ, data []byte, v entryValue) (entryValue, *typ, error) {
	d := decoder(data)
	v.key, v.value = key.decode(d), value.decode(d)
	if slot, ok := v.key.(string); ok && (v.kind == counterKind || v.kind == upDownKind) {
		if raw, err := domain.ParseHex32(slot); err == nil {
			v.key = domain.PublicKey(raw).String()
		}
	}
	return v, value, d.Finish()
}

// readObjectEntry decodes an entry of an app in JavaScript, whose rows do not tell the kind of collection.
func readObjectEntry(data []byte) (entryValue, *typ, bool) {
	raw := &typ{kind: bytesKind, name: "bytes"}
	for _, try := range []struct {
		kind       kind
		key, value *typ
	}{
		{counterKind, slotType, countType},
		{mapKind, raw, raw},
		{userKind, &typ{kind: keyKind, name: "PublicKey"}, raw},
	} {
		v, t, err := readPair(try.key, try.value, data, entryValue{kind: try.kind})
		if slot, ok := v.key.(string); err == nil && (try.kind != counterKind || ok && len(slot) >= 32) {
			return v, t, true
		}
	}
	value, err := raw.read(data)
	return entryValue{key: value, value: value, kind: setKind}, raw, err == nil
}

// key names an entry of which only the key can be decoded.
func (c *collection) key(data []byte) (label string, ok bool) {
	for _, t := range c.types {
		if t = t.resolve(); t.kind != mapKind {
			continue
		}
		d := decoder(data)
		if key := t.of[0].decode(d); d.Err() == nil {
			return "[" + text(key) + "]", true
		}
	}
	return "", false
}

// label is how an entry is named in its collection.
func (c *collection) label(v entryValue) string {
	switch v.kind {
	case vectorKind, textKind:
		return fmt.Sprintf("[%d]", c.index)
	case setKind:
		return "{" + text(v.key) + "}"
	}
	return "[" + text(v.key) + "]"
}
