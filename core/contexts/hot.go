package contexts

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// DefaultHotRows is the bound of the hot rows of all contexts, in bytes.
const DefaultHotRows = 64 << 20

// hotRows keeps rows of contexts, absent ones too, so that the engine finds what a call touches without a read. The rows
// of a context belong to a generation: a context whose rows are not known any more takes a new one, and the old rows age
// out. Rows of one generation are read and changed under the context's lock, so a cached row is what is stored.
type hotRows struct {
	max         int
	generations atomic.Uint64
	reads       *prometheus.CounterVec

	mu   sync.Mutex
	size int
	rows *simplelru.LRU[hotKey, hotRow]
}

type hotKey struct {
	generation uint64
	runtime.Key
}

type hotRow struct {
	value  []byte
	absent bool
}

// hotRowCost is about what a row takes besides its value, in bytes.
const hotRowCost = 200

func (r hotRow) size() int { return hotRowCost + len(r.value) }

func newHotRows(maxBytes int, reg prometheus.Registerer) *hotRows {
	h := &hotRows{max: maxBytes, reads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "calimero", Subsystem: "contexts", Name: "row_reads_total",
		Help: "State rows that the engine and guests asked for, by result: hit or miss of the hot rows.",
	}, []string{"result"})}
	if reg != nil {
		reg.MustRegister(h.reads)
	}
	// The bound is in bytes; the LRU's own is out of reach.
	rows, err := simplelru.NewLRU(1<<30, func(_ hotKey, r hotRow) { h.size -= r.size() })
	if err != nil {
		panic(err) // only for a size below one
	}
	h.rows = rows
	return h
}

// generation begins one.
func (h *hotRows) generation() uint64 { return h.generations.Add(1) }

// put takes over rows. It copies small values that are a part of something larger.
func (h *hotRows) put(generation uint64, rows []runtime.Row) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range rows {
		r := hotRow{value: rows[i].Value, absent: rows[i].Absent}
		if cap(r.value) > len(r.value)+len(r.value)/4 {
			r.value = bytes.Clone(r.value)
		}
		key := hotKey{generation, rows[i].Key}
		if old, ok := h.rows.Peek(key); ok {
			h.size -= old.size()
		}
		h.rows.Add(key, r)
		h.size += r.size()
	}
	for h.size > h.max {
		if _, _, ok := h.rows.RemoveOldest(); !ok {
			return
		}
	}
}

// read returns the rows of a context, in the order of the keys: those that are not hot from the store, in one round trip.
func (h *hotRows) read(ctx context.Context, db *store.DB, e *entry, keys []runtime.Key) ([]runtime.Row, error) {
	rows := make([]runtime.Row, len(keys))
	var missing []runtime.Key
	var places []int
	h.mu.Lock()
	for i, key := range keys {
		r, ok := h.rows.Get(hotKey{e.generation, key})
		if !ok {
			missing, places = append(missing, key), append(places, i)
			continue
		}
		rows[i] = runtime.Row{Key: key, Absent: r.absent, Value: r.value}
	}
	h.mu.Unlock()
	h.reads.WithLabelValues("hit").Add(float64(len(keys) - len(missing)))
	if len(missing) == 0 {
		return rows, nil
	}
	h.reads.WithLabelValues("miss").Add(float64(len(missing)))
	got, err := store.GetRows(ctx, db, e.id, missing)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		rows[place] = got[i]
	}
	h.put(e.generation, got)
	return rows, nil
}

// view shows the engine the state of a context.
type view struct {
	ctx context.Context
	m   *manager
	e   *entry
	// absent are rows that need not be looked for.
	absent map[crdt.StateKey]struct{}
}

func (m *manager) view(ctx context.Context, e *entry) *view {
	return &view{ctx: ctx, m: m, e: e, absent: map[crdt.StateKey]struct{}{}}
}

// knowShadows: as long as the context has no shadow rows, those of the entities that actions name need not be looked for.
func (v *view) knowShadows(actions []crdt.Action) {
	if v.e.local.Shadows {
		return
	}
	for i := range actions {
		v.absent[crdt.SyncStateKey(actions[i].ID)] = struct{}{}
	}
}

// hasShadow reports whether a shadow row is among the rows written.
func (v *view) hasShadow(rows []engine.Row) bool {
	return slices.ContainsFunc(rows, func(r engine.Row) bool {
		_, ok := v.absent[r.Key]
		return ok
	})
}

// Get makes view an engine.View.
func (v *view) Get(keys []crdt.StateKey) ([][]byte, error) {
	out := make([][]byte, len(keys))
	ask := make([]runtime.Key, 0, len(keys))
	places := make([]int, 0, len(keys))
	for i, key := range keys {
		if _, ok := v.absent[key]; !ok {
			ask, places = append(ask, runtime.Key{Scope: runtime.ScopeState, K: key}), append(places, i)
		}
	}
	rows, err := v.m.hot.read(v.ctx, v.m.opts.DB, v.e, ask)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		switch r := &rows[i]; {
		case r.Absent:
		case r.Value == nil:
			out[place] = []byte{}
		default:
			out[place] = r.Value
		}
	}
	return out, nil
}
