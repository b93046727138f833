package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

// written counts the bytes of keys and values in batches.
type written struct {
	storage.Store
	mu    sync.Mutex
	bytes int
}

func (w *written) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	w.mu.Lock()
	for i := range b.Ops {
		w.bytes += len(b.Ops[i].Key) + len(b.Ops[i].Value)
	}
	w.mu.Unlock()
	return w.Store.Apply(ctx, b)
}

func (w *written) total() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}

// stateRig is the core with its plugins linked in, and what it published.
type stateRig struct {
	*core
	written *written
	reg     *prometheus.Registry
	mu      sync.Mutex
	deltas  []contexts.Delta
}

func newStateRig(tb testing.TB) *stateRig {
	tb.Helper()
	dir := tempDir(tb)
	st, rt := leveldb.New(), wasmer.New()
	configure(tb, st, filepath.Join(dir, "storage"))
	configure(tb, rt, filepath.Join(dir, "runtime"))
	r := &stateRig{written: &written{Store: st}, reg: prometheus.NewRegistry()}
	r.core = newCoreWith(tb, dir, r.written, rt, contexts.Options{Registerer: r.reg, OnDelta: func(p contexts.Published) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.deltas = append(r.deltas, received(tb, p.Delta))
	}})
	return r
}

// received is a delta as a peer gets it that does not know its author.
func received(tb testing.TB, d wire.ContextDagDelta) contexts.Delta {
	actions, err := crdt.DecodeActions(d.Actions)
	require.NoError(tb, err)
	return contexts.Delta{ID: d.DeltaID, Parents: d.Parents, Actions: actions, HLC: d.HLC, ExpectedRoot: d.ExpectedRootHash}
}

// sum of a histogram's observations, in seconds.
func (r *stateRig) sum(tb testing.TB, name string) (sum float64) {
	tb.Helper()
	families, err := r.reg.Gather()
	require.NoError(tb, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name {
				sum += m.GetHistogram().GetSampleSum()
			}
		}
	}
	return sum
}

// grow makes more keys in a key-value context, by deltas that insert as a call does: sample inserted "key-000000".
func (r *stateRig) grow(tb testing.TB, x *coreContext, sample contexts.Delta, from, to int) {
	tb.Helper()
	const old = "key-000000"
	var entry crdt.Action
	for _, a := range sample.Actions {
		if a.Kind == crdt.Add && bytes.Contains(a.Data, []byte(old)) {
			entry = a
		}
	}
	require.NotEmpty(tb, entry.Data, "the sample inserts %s", old)
	const batch = 1000
	for ; from < to; from += batch {
		heads, _, err := x.client.Heads(tb.Context(), x.id)
		require.NoError(tb, err)
		var actions []crdt.Action
		for i := from; i < min(from+batch, to); i++ {
			key := fmt.Sprintf("key-%06d", i)
			a := entry
			a.ID = crdt.EntryID(entry.Ancestors[0].ID, []byte(key))
			a.Data = bytes.Replace(bytes.Clone(entry.Data[:len(entry.Data)-32]), []byte(old), []byte(key), 1)
			a.Data = append(a.Data, a.ID[:]...)
			actions = append(actions, a)
		}
		receipts, err := x.client.Receive(tb.Context(), x.id, []contexts.Delta{
			{ID: crdt.DeltaID(heads, actions), Parents: heads, Actions: actions}})
		require.NoError(tb, err)
		require.Equal(tb, contexts.Applied, receipts[0].Outcome, "%v", receipts[0].Err)
	}
}

func keyArgs(i int, value string) []byte {
	return fmt.Appendf(nil, `{"key":"key-%06d","value":%q}`, i, value)
}

// BenchmarkState measures what the state engine costs a call, and what a call writes to the storage, as the map grows.
func BenchmarkState(b *testing.B) {
	once(b, func() {
		r := newStateRig(b)
		x := r.context(b, "kv")
		require.NoError(b, x.call(b.Context(), "set", keyArgs(0, "0")))
		sample := r.deltas[len(r.deltas)-1]
		title("set in a map of so many keys", "µs per set", "engine µs", "bytes per set", "most")
		size := 1
		for _, keys := range []int{10, 1000, 10_000} {
			r.grow(b, x, sample, size, keys)
			size = keys
			out, err := x.client.Execute(b.Context(), contexts.ExecuteRequest{Context: x.id, Method: "len", Args: nil, Executor: x.member})
			require.NoError(b, err)
			require.Equal(b, fmt.Sprint(keys), strings.TrimSpace(string(out.Output)), "the guest sees what deltas wrote")
			require.NoError(b, x.call(b.Context(), "set", keyArgs(1, "warm")))
			n := 200
			if keys == 10_000 {
				n = 40
			}
			bytesBefore, engineBefore, begin := r.written.total(), r.sum(b, "calimero_contexts_engine_seconds"), time.Now()
			most, last := 0, bytesBefore
			for i := range n {
				require.NoError(b, x.call(b.Context(), "set", keyArgs(i%size, fmt.Sprint("value-", i))))
				now := r.written.total()
				most, last = max(most, now-last), now
			}
			took := time.Since(begin).Seconds() / float64(n)
			engineTook := (r.sum(b, "calimero_contexts_engine_seconds") - engineBefore) / float64(n)
			perSet := (last - bytesBefore) / n
			report.add(fmt.Sprint(keys), fmt.Sprintf("%.0f", took*1e6), fmt.Sprintf("%.0f", engineTook*1e6), fmt.Sprint(perSet), fmt.Sprint(most))
			if keys == 10_000 {
				b.ReportMetric(float64(perSet), "bytes/set")
				defer ratio(b, "KiB written per set at 10,000 keys", float64(perSet)/1024, false, 8)
			}
			defer ratio(b, fmt.Sprintf("engine's part of a set at %d keys", keys), engineTook/took, false, 0.15)
		}
		title("ratio", "measured", "target")
	})
}

// BenchmarkDeltas measures how fast deltas of others are applied: by the engine alone, by the guest alone, and with all
// that a node does.
func BenchmarkDeltas(b *testing.B) {
	once(b, func() {
		r := newStateRig(b)
		x := r.context(b, "kv")
		for i := range keys {
			require.NoError(b, x.call(b.Context(), "set", keyArgs(i, "v")))
		}
		base := len(r.deltas)
		const n = 500
		for i := range n {
			require.NoError(b, x.call(b.Context(), "set", keyArgs(i%keys, fmt.Sprint("value-", i))))
		}
		deltas := r.deltas
		fill, rest := deltas[:base], deltas[base:]

		rows := engine.Rows{}
		opts := engine.Options{Context: x.id}
		apply := func(d contexts.Delta) {
			change, err := engine.Apply(rows, d.Actions, opts)
			require.NoError(b, err)
			rows.Put(change.Rows)
		}
		for _, d := range fill {
			apply(d)
		}
		alone := timed(func() {
			for _, d := range rest {
				apply(d)
			}
		})

		guest := newBareAt(b, "kv", x.id)
		sync := func(d contexts.Delta) {
			artifact, err := crdt.EncodeArtifact(d.Actions)
			require.NoError(b, err)
			_, err = guest.run(b.Context(), "__calimero_sync_next", artifact, runtime.SyncNext)
			require.NoError(b, err)
		}
		for _, d := range fill {
			sync(d)
		}
		inGuest := timed(func() {
			for _, d := range rest {
				sync(d)
			}
		})

		title("deltas of a map of 100 keys", "per second")
		rate := func(name string, d time.Duration) float64 {
			v := n / d.Seconds()
			report.add(name, fmt.Sprintf("%.0f", v))
			return v
		}
		engineRate, guestRate := rate("engine", alone), rate("guest (__calimero_sync_next)", inGuest)
		for _, batch := range []int{1, 100} {
			peer := newStateRig(b)
			y := peer.replica(b, x)
			require.NoError(b, receiveAll(b, y, fill, len(fill)))
			took := timed(func() { require.NoError(b, receiveAll(b, y, rest, batch)) })
			rate(fmt.Sprintf("node, %d at a time, committed", batch), took)
			_, want, err := x.client.Heads(b.Context(), x.id)
			require.NoError(b, err)
			_, got, err := y.client.Heads(b.Context(), y.id)
			require.NoError(b, err)
			require.Equal(b, want, got)
		}
		title("ratio", "measured", "target")
		ratio(b, "deltas per second, engine to guest", engineRate/guestRate, true, 10)
		b.ReportMetric(engineRate, "deltas/s")
	})
}

func timed(fn func()) time.Duration {
	begin := time.Now()
	fn()
	return time.Since(begin)
}

func receiveAll(b *testing.B, x *coreContext, deltas []contexts.Delta, batch int) error {
	for len(deltas) > 0 {
		n := min(batch, len(deltas))
		receipts, err := x.client.Receive(b.Context(), x.id, deltas[:n])
		if err != nil {
			return err
		}
		for _, r := range receipts {
			if r.Outcome != contexts.Applied {
				return fmt.Errorf("delta %s: %s: %w", r.ID, r.Outcome, r.Err)
			}
		}
		deltas = deltas[n:]
	}
	return nil
}

// replica makes a context of another node known to this one.
func (r *stateRig) replica(tb testing.TB, x *coreContext) *coreContext {
	tb.Helper()
	key, err := domain.NewPrivateKey()
	require.NoError(tb, err)
	db := store.Open(r.written, store.Options{})
	batch := db.Batch()
	store.ContextMeta.Put(batch, x.id, wire.ContextMeta{ApplicationID: domain.ApplicationID{1}})
	store.ContextConfig.Put(batch, x.id, wire.ContextConfig{})
	store.ContextIdentity.Put(batch, store.IdentityKey{Context: x.id, Identity: key.Public()},
		wire.ContextIdentity{PrivateKey: &key, SenderKey: &key})
	require.NoError(tb, batch.Commit(tb.Context()))
	return &coreContext{r.contexts, x.id, key.Public()}
}
