package contexts

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// graph has the deltas of a context that wait, and as much of those that are applied as they need. What waits is stored
// in PendingDelta.
type graph struct {
	*dag.DAG[*arrival]
	// fresh are deltas that wait and are not stored yet, evicted those that are stored and do not wait any more.
	fresh   []domain.Hash
	evicted []domain.Hash
	arrived uint64
	// refused are deltas that turned out not to be applicable, until a receipt says so.
	refused map[domain.Hash]error
}

// maxKnownApplied is how many applied deltas a graph remembers before it is made anew.
const maxKnownApplied = 16384

// loadGraph makes sure that there is a graph of what waits.
func (m *manager) loadGraph(ctx context.Context, e *entry) error {
	if e.graph != nil && e.graph.Counts().Applied <= maxKnownApplied {
		return nil
	}
	rows, err := store.PendingDelta.List(ctx, m.opts.DB, e.id[:])
	if err != nil {
		return err
	}
	e.graph = &graph{DAG: dag.New[*arrival](dag.Limits{})}
	if len(rows) == 0 {
		return nil
	}
	slices.SortFunc(rows, func(a, b store.Entry[store.DeltaKey, wire.PendingDelta]) int {
		return cmp.Compare(a.Value.Received, b.Value.Received)
	})
	arrivals := make([]*arrival, len(rows))
	for i, row := range rows {
		if arrivals[i], err = loadArrival(row.Value); err != nil {
			e.graph = nil
			return err
		}
		e.graph.arrived = max(e.graph.arrived, row.Value.Received)
	}
	if err := m.resolve(ctx, e, arrivals); err != nil {
		e.graph = nil
		return err
	}
	for _, a := range arrivals {
		if e.graph.Status(a.delta.ID) == dag.Applied {
			e.graph.evicted = append(e.graph.evicted, a.delta.ID)
			continue
		}
		if err := e.graph.add(a); err != nil {
			e.graph.evicted = append(e.graph.evicted, a.delta.ID)
		}
	}
	return nil
}

// add takes a delta; the author counts as its source.
func (g *graph) add(a *arrival) error {
	source := ""
	if !a.delta.Author.IsZero() {
		source = a.delta.Author.String()
	}
	added, err := g.Add(dag.Entry[*arrival]{ID: a.delta.ID, Parents: a.delta.Parents, Payload: a}, source, a.size)
	if err != nil {
		return err
	}
	if !added.Known && added.Status != dag.Absent && !a.stored {
		g.arrived++
		a.row.Received = g.arrived
		g.fresh = append(g.fresh, a.delta.ID)
	}
	g.evicted = append(g.evicted, added.Evicted...)
	return nil
}

// save adds to b what changed of the deltas that wait, those in applied apart. The function returned is called once the
// batch is committed.
func (g *graph) save(b *store.Batch, id domain.ContextID, applied map[domain.Hash]struct{}) (done func()) {
	var saved []*arrival
	for _, f := range g.fresh {
		entry, waits := g.Get(f)
		if _, now := applied[f]; now || !waits {
			continue
		}
		store.PendingDelta.Put(b, store.DeltaKey{Context: id, Delta: f}, entry.Payload.row)
		saved = append(saved, entry.Payload)
	}
	for _, x := range g.evicted {
		if _, waits := g.Get(x); !waits {
			store.PendingDelta.Delete(b, store.DeltaKey{Context: id, Delta: x})
		}
	}
	return func() {
		for _, a := range saved {
			a.stored = true
		}
		g.fresh, g.evicted = nil, nil
	}
}

// due splits the ready deltas into those that can be applied now, each after its parents, and the times until which the
// others are held.
func (g *graph) due(now time.Time, drift time.Duration) (apply []*arrival, held map[domain.Hash]time.Time) {
	limit := uint64(now.Add(drift).UnixNano())
	held = map[domain.Hash]time.Time{}
	for _, entry := range g.Ready() {
		var until time.Time
		if entry.Payload.latest > limit {
			until = timeOf(entry.Payload.latest).Add(-drift)
		}
		for _, p := range entry.Parents {
			if t, ok := held[p]; ok && t.After(until) {
				until = t
			}
		}
		if until.IsZero() {
			apply = append(apply, entry.Payload)
		} else {
			held[entry.ID] = until
		}
	}
	return apply, held
}

// timeOf is the time of ns since 1970; one that no clock shows is the last that it can show.
func timeOf(ns uint64) time.Time {
	const last = 1<<63 - 1
	return time.Unix(0, int64(min(ns, last)))
}
