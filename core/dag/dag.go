// Package dag keeps the order of content-addressed entries that arrive in any order, several times or never: a context's
// deltas, a group's operations. It says what may be applied now, what waits for parents, which parents nobody has sent,
// and which entries are heads. It does not apply, store or verify anything, has no clock and no lock.
//
// An entry is pending until all its parents are applied or ready, then ready, and applied when the caller says so
// ([DAG.Apply]), after its commit. What could not be applied stays ready and may be tried again, or is taken out with
// [DAG.Remove], as if it had never come: the same entry is welcome again later. The zero hash stands for the beginning;
// as a parent it says nothing, and it is no entry.
package dag

import (
	"bytes"
	"container/list"
	"maps"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Entry is one content-addressed item. That ID belongs to Parents and Payload is the caller's to check.
type Entry[P any] struct {
	ID      domain.Hash
	Parents []domain.Hash
	Payload P
}

// Status is how far an entry is.
type Status uint8

// The states of an entry.
const (
	// Absent: never added, removed or evicted. Others may name it as a parent.
	Absent Status = iota
	// Pending: some ancestor is absent.
	Pending
	// Ready: each parent is applied or ready.
	Ready
	// Applied: the caller said so.
	Applied
)

func (s Status) String() string {
	return [...]string{"absent", "pending", "ready", "applied"}[s]
}

// Added is what became of an entry.
type Added struct {
	// Status of the entry now; Absent when it was evicted at once because its source held more than any other.
	Status Status
	// Known: it was here before, and nothing changed.
	Known bool
	// Evicted entries are Absent again; who wants them has to add them again.
	Evicted []domain.Hash
}

// Counts of entries.
type Counts struct {
	Applied, Ready, Pending int
	// WaitingBytes is the cost of the ready and pending ones.
	WaitingBytes int
}

// DAG is the graph of one context or group. It is not safe for concurrent use.
type DAG[P any] struct {
	limits  Limits
	nodes   map[domain.Hash]*node[P]
	heads   map[domain.Hash]struct{}
	missing map[domain.Hash]struct{}
	waiting pool[P]
	applied int
	ready   int
	arrival uint64
}

// node is an entry, or an id that others name as a parent.
type node[P any] struct {
	id      domain.Hash
	status  Status
	parents []*node[P]
	// extended: an applied entry has this one as a parent, so it is no head.
	extended bool
	wait     *waiting[P] // of a pending or ready entry
	// children that are pending or ready.
	children map[*node[P]]struct{}
}

// waiting is what only an entry has that is not applied.
type waiting[P any] struct {
	payload P
	source  string
	cost    int
	arrival uint64
	blocked int // parents that are neither ready nor applied
	queued  *list.Element
}

// New makes an empty graph. Zero limits are the defaults.
func New[P any](limits Limits) *DAG[P] {
	return &DAG[P]{
		limits:  limits.withDefaults(),
		nodes:   make(map[domain.Hash]*node[P]),
		heads:   make(map[domain.Hash]struct{}),
		missing: make(map[domain.Hash]struct{}),
		waiting: pool[P]{sources: make(map[string]*queue)},
	}
}

// Add takes an entry from source (a peer; "" = this node), which takes size bytes of memory. A known one changes
// nothing. When the waiting entries exceed the limits, some are evicted, as [Limits] says. The entry's slices are not
// kept.
func (g *DAG[P]) Add(e Entry[P], source string, size int) (Added, error) {
	if e.ID == (domain.Hash{}) {
		return Added{}, errkind.Invalid.Errorf("entry has the id zero, which stands for the beginning")
	}
	if n := g.nodes[e.ID]; n != nil && n.status != Absent {
		return Added{Status: n.status, Known: true}, nil
	}
	parents := distinct(e.Parents)
	if slices.Contains(parents, e.ID) {
		return Added{}, errkind.Invalid.Errorf("entry %s names itself as a parent", e.ID)
	}
	cost := costOf(size, len(parents))
	if err := g.limits.admit(e.ID, cost, len(parents)); err != nil {
		return Added{}, err
	}
	n := g.node(e.ID)
	delete(g.missing, e.ID)
	g.arrival++
	n.wait = &waiting[P]{payload: e.Payload, source: source, cost: cost, arrival: g.arrival}
	n.status = Pending
	g.waiting.push(n)
	g.link(n, parents)
	if n.wait.blocked == 0 {
		g.promote(n)
	}
	evicted := g.evict(source)
	return Added{Status: n.status, Evicted: evicted}, nil
}

// Restore marks an entry as applied that the caller applied before, for instance in an earlier life of the process. The
// order of calls does not matter, and parents need not be known: they count as missing only for entries that wait. Entries
// that waited for this one may be ready now. It reports false when the entry was applied already.
func (g *DAG[P]) Restore(id domain.Hash, parents []domain.Hash) bool {
	if id == (domain.Hash{}) {
		return false
	}
	n := g.node(id)
	switch n.status {
	case Applied:
		return false
	case Absent:
		delete(g.missing, id)
		for _, p := range distinct(parents) {
			n.parents = append(n.parents, g.node(p))
		}
	}
	g.finish(n)
	return true
}

// Ready lists the entries that may be applied, each after its parents and otherwise in the order they came. Every
// beginning of the list may be applied on its own.
func (g *DAG[P]) Ready() []Entry[P] {
	if g.ready == 0 {
		return nil
	}
	ready := make([]*node[P], 0, g.ready)
	blocked := make(map[*node[P]]int)
	var next arrivals[P]
	for n := range g.waiting.all {
		if n.status != Ready {
			continue
		}
		waits := 0
		for _, p := range n.parents {
			if p.status == Ready {
				waits++
			}
		}
		if blocked[n] = waits; waits == 0 {
			next.push(n)
		}
	}
	for len(next) > 0 {
		n := next.pop()
		ready = append(ready, n)
		for c := range n.children {
			if c.status != Ready {
				continue
			}
			if blocked[c]--; blocked[c] == 0 {
				next.push(c)
			}
		}
	}
	out := make([]Entry[P], len(ready))
	for i, n := range ready {
		out[i] = n.entry()
	}
	return out
}

// Apply marks a ready entry as applied; its parents must be applied. The payload is let go.
func (g *DAG[P]) Apply(id domain.Hash) error {
	n := g.nodes[id]
	if n == nil || n.status != Ready {
		return errkind.Precondition.Errorf("entry %s is %s, not ready to be applied", id, g.Status(id))
	}
	for _, p := range n.parents {
		if p.status != Applied {
			return errkind.Precondition.Errorf("entry %s cannot be applied before its parent %s", id, p.id)
		}
	}
	g.finish(n)
	return nil
}

// Remove takes out an entry that waits, as if it had never come; what is behind it is pending again. False when no such
// entry waits.
func (g *DAG[P]) Remove(id domain.Hash) (Entry[P], bool) {
	n := g.nodes[id]
	if n == nil || n.wait == nil {
		return Entry[P]{}, false
	}
	e := n.entry()
	g.remove(n)
	return e, true
}

// Get returns an entry that waits.
func (g *DAG[P]) Get(id domain.Hash) (Entry[P], bool) {
	n := g.nodes[id]
	if n == nil || n.wait == nil {
		return Entry[P]{}, false
	}
	return n.entry(), true
}

// Status says how far an entry is.
func (g *DAG[P]) Status(id domain.Hash) Status {
	if n := g.nodes[id]; n != nil {
		return n.status
	}
	return Absent
}

// Parents are the distinct parents of an entry that is here, without zero.
func (g *DAG[P]) Parents(id domain.Hash) []domain.Hash {
	if n := g.nodes[id]; n != nil {
		return n.parentIDs()
	}
	return nil
}

// Heads are the applied entries that no applied entry has as a parent, in ascending order. They are empty at the
// beginning.
func (g *DAG[P]) Heads() []domain.Hash { return sorted(g.heads) }

// Missing are the absent entries that waiting ones have as parents, in ascending order: what to ask others for.
func (g *DAG[P]) Missing() []domain.Hash { return sorted(g.missing) }

// MissingFor are the absent ancestors that one entry waits for, in ascending order, as far as they are known.
func (g *DAG[P]) MissingFor(id domain.Hash) []domain.Hash {
	found := make(map[domain.Hash]struct{})
	n := g.nodes[id]
	if n == nil || n.status != Pending {
		return nil
	}
	seen := map[*node[P]]bool{n: true}
	for stack := []*node[P]{n}; len(stack) > 0; {
		n, stack = stack[len(stack)-1], stack[:len(stack)-1]
		if n.status == Absent {
			found[n.id] = struct{}{}
			continue
		}
		for _, p := range n.parents {
			if !seen[p] && (p.status == Pending || p.status == Absent) {
				seen[p] = true
				stack = append(stack, p)
			}
		}
	}
	return sorted(found)
}

// Counts counts.
func (g *DAG[P]) Counts() Counts {
	return Counts{
		Applied: g.applied, Ready: g.ready, Pending: g.waiting.count - g.ready, WaitingBytes: g.waiting.bytes,
	}
}

// node finds or makes the node of an id.
func (g *DAG[P]) node(id domain.Hash) *node[P] {
	n := g.nodes[id]
	if n == nil {
		n = &node[P]{id: id}
		g.nodes[id] = n
	}
	return n
}

// link ties a waiting entry to its parents.
func (g *DAG[P]) link(n *node[P], parents []domain.Hash) {
	n.parents = make([]*node[P], len(parents))
	for i, id := range parents {
		p := g.node(id)
		n.parents[i] = p
		if p.status == Applied {
			continue
		}
		if p.children == nil {
			p.children = make(map[*node[P]]struct{})
		}
		p.children[n] = struct{}{}
		if p.status != Ready {
			n.wait.blocked++
		}
		if p.status == Absent {
			g.missing[id] = struct{}{}
		}
	}
}

// promote makes a pending entry ready, and those that waited for nothing else.
func (g *DAG[P]) promote(n *node[P]) {
	for stack := []*node[P]{n}; len(stack) > 0; {
		n, stack = stack[len(stack)-1], stack[:len(stack)-1]
		n.status = Ready
		g.ready++
		for c := range n.children {
			if c.wait.blocked--; c.wait.blocked == 0 {
				stack = append(stack, c)
			}
		}
	}
}

// demote makes what waits for an entry, which is no longer ready, pending.
func (g *DAG[P]) demote(n *node[P]) {
	for stack := []*node[P]{n}; len(stack) > 0; {
		n, stack = stack[len(stack)-1], stack[:len(stack)-1]
		for c := range n.children {
			c.wait.blocked++
			if c.status == Ready {
				c.status = Pending
				g.ready--
				stack = append(stack, c)
			}
		}
	}
}

// finish makes an entry applied.
func (g *DAG[P]) finish(n *node[P]) {
	if n.wait != nil {
		g.waiting.take(n)
		for _, p := range n.parents {
			p.drop(n)
		}
		n.wait = nil
	}
	before := n.status
	n.status = Applied
	if before == Ready {
		g.ready--
	} else {
		for c := range n.children {
			if c.wait.blocked--; c.wait.blocked == 0 {
				g.promote(c)
			}
		}
	}
	g.applied++
	if !n.extended {
		g.heads[n.id] = struct{}{}
	}
	for _, p := range n.parents {
		if !p.extended {
			p.extended = true
			delete(g.heads, p.id)
		}
		if p.status == Absent && len(p.children) == 0 {
			delete(g.missing, p.id) // known only as a parent of applied entries
		}
	}
}

func (g *DAG[P]) remove(n *node[P]) {
	if n.status == Ready {
		g.ready--
		g.demote(n)
	}
	g.waiting.take(n)
	n.status, n.wait = Absent, nil
	for _, p := range n.parents {
		p.drop(n)
		g.release(p)
	}
	n.parents = nil
	if len(n.children) > 0 {
		g.missing[n.id] = struct{}{}
	}
	g.release(n)
}

// release lets go of what nobody names any more.
func (g *DAG[P]) release(n *node[P]) {
	if n.status != Absent || len(n.children) > 0 {
		return
	}
	delete(g.missing, n.id)
	if !n.extended {
		delete(g.nodes, n.id)
	}
}

func (n *node[P]) drop(child *node[P]) {
	delete(n.children, child)
	if len(n.children) == 0 {
		n.children = nil
	}
}

func (n *node[P]) entry() Entry[P] {
	return Entry[P]{ID: n.id, Parents: n.parentIDs(), Payload: n.wait.payload}
}

func (n *node[P]) parentIDs() []domain.Hash {
	ids := make([]domain.Hash, len(n.parents))
	for i, p := range n.parents {
		ids[i] = p.id
	}
	return ids
}

// distinct returns the parents once each, without zero, in their order.
func distinct(parents []domain.Hash) []domain.Hash {
	out := make([]domain.Hash, 0, len(parents))
	seen := make(map[domain.Hash]struct{}, len(parents))
	for _, p := range parents {
		if _, known := seen[p]; known || p == (domain.Hash{}) {
			continue
		}
		seen[p] = struct{}{}
		out = append(out, p)
	}
	return out
}

func sorted(set map[domain.Hash]struct{}) []domain.Hash {
	return slices.SortedFunc(maps.Keys(set), func(a, b domain.Hash) int { return bytes.Compare(a[:], b[:]) })
}
