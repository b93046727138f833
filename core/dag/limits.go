package dag

import (
	"cmp"
	"container/heap"
	"container/list"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Defaults of Limits.
const (
	DefaultEntries = 16384
	DefaultBytes   = 64 << 20
	DefaultParents = 1024
)

// Limits bound the entries that are not applied. Ready ones count too: a caller applies them, or takes them out, before it
// adds many more.
//
// Eviction. A source over its own limit loses its oldest entry. When all together are over theirs, the source that holds
// most of what is short loses its oldest. So a peer that sends entries without end drives out its own only, and one that
// fetches a long history from its end backwards still arrives at the beginning: what was evicted is missing again and
// fetched another time.
type Limits struct {
	// Entries and Bytes bound all that wait; 0 = DefaultEntries, DefaultBytes. An entry costs its size, 512 bytes for each
	// parent, which is what the graph keeps of one that nobody has sent, and 256.
	Entries, Bytes int
	// SourceEntries and SourceBytes bound those of one source; 0 = a quarter of the above.
	SourceEntries, SourceBytes int
	// Parents bounds the distinct parents of one entry; 0 = DefaultParents.
	Parents int
}

func (l Limits) withDefaults() Limits {
	l.Entries = cmp.Or(l.Entries, DefaultEntries)
	l.Bytes = cmp.Or(l.Bytes, DefaultBytes)
	l.SourceEntries = cmp.Or(l.SourceEntries, max(l.Entries/4, 1))
	l.SourceBytes = cmp.Or(l.SourceBytes, max(l.Bytes/4, 1))
	l.Parents = cmp.Or(l.Parents, DefaultParents)
	return l
}

// admit refuses an entry that no eviction makes room for.
func (l Limits) admit(id domain.Hash, cost, parents int) error {
	if parents > l.Parents {
		return errkind.TooLarge.Errorf("entry %s has %d parents, limit %d", id, parents, l.Parents)
	}
	if limit := min(l.Bytes, l.SourceBytes); cost > limit {
		return errkind.TooLarge.Errorf("entry %s takes %d bytes, limit %d", id, cost, limit)
	}
	return nil
}

const entryOverhead, parentOverhead = 256, 512

func costOf(size, parents int) int { return max(size, 0) + parents*parentOverhead + entryOverhead }

// evict brings the waiting entries back under the limits, after source got one more.
func (g *DAG[P]) evict(source string) []domain.Hash {
	var evicted []domain.Hash
	drop := func(q *queue) {
		n, _ := q.entries.Front().Value.(*node[P])
		evicted = append(evicted, n.id)
		g.remove(n)
	}
	for q := g.waiting.sources[source]; q.count() > g.limits.SourceEntries || q.bytes > g.limits.SourceBytes; {
		drop(q)
	}
	for {
		switch {
		case g.waiting.count > g.limits.Entries:
			drop(g.waiting.greatest((*queue).count))
		case g.waiting.bytes > g.limits.Bytes:
			drop(g.waiting.greatest(func(q *queue) int { return q.bytes }))
		default:
			return evicted
		}
	}
}

// pool is the waiting entries, by source.
type pool[P any] struct {
	sources map[string]*queue
	count   int
	bytes   int
}

// queue is the waiting entries of one source, oldest first.
type queue struct {
	entries list.List // of *node[P]
	bytes   int
}

func (q *queue) count() int { return q.entries.Len() }

func (p *pool[P]) push(n *node[P]) {
	q := p.sources[n.wait.source]
	if q == nil {
		q = &queue{}
		p.sources[n.wait.source] = q
	}
	n.wait.queued = q.entries.PushBack(n)
	q.bytes += n.wait.cost
	p.count++
	p.bytes += n.wait.cost
}

func (p *pool[P]) take(n *node[P]) {
	q := p.sources[n.wait.source]
	q.entries.Remove(n.wait.queued)
	q.bytes -= n.wait.cost
	p.count--
	p.bytes -= n.wait.cost
	if q.count() == 0 {
		delete(p.sources, n.wait.source)
	}
}

// greatest is the source that holds most; of equal ones that with the least name.
func (p *pool[P]) greatest(share func(*queue) int) *queue {
	var most *queue
	name := ""
	for source, q := range p.sources {
		if most == nil || share(q) > share(most) || share(q) == share(most) && source < name {
			most, name = q, source
		}
	}
	return most
}

// all ranges over the waiting entries, in no order.
func (p *pool[P]) all(yield func(*node[P]) bool) {
	for _, q := range p.sources {
		for e := q.entries.Front(); e != nil; e = e.Next() {
			if n, _ := e.Value.(*node[P]); !yield(n) {
				return
			}
		}
	}
}

// arrivals is a heap of waiting entries, the oldest on top.
type arrivals[P any] []*node[P]

func (a *arrivals[P]) push(n *node[P]) { heap.Push(a, n) }

func (a *arrivals[P]) pop() *node[P] {
	n, _ := heap.Pop(a).(*node[P])
	return n
}

func (a arrivals[P]) Len() int           { return len(a) }
func (a arrivals[P]) Less(i, j int) bool { return a[i].wait.arrival < a[j].wait.arrival }
func (a arrivals[P]) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push is heap.Interface's.
func (a *arrivals[P]) Push(x any) {
	n, _ := x.(*node[P])
	*a = append(*a, n)
}

// Pop is heap.Interface's.
func (a *arrivals[P]) Pop() any {
	last := len(*a) - 1
	n := (*a)[last]
	*a = (*a)[:last]
	return n
}
