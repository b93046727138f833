package store_test

import (
	"bytes"
	"context"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func stateKey(b byte) runtime.Key { return runtime.Key{Scope: runtime.ScopeState, K: [32]byte{b}} }

// rowsOf reads a context in both ways.
func rowsOf(t require.TestingT, r store.Reader, keys int) map[runtime.Key]string {
	got := map[runtime.Key]string{}
	require.NoError(t, store.ScanRows(context.Background(), r, ctxA, runtime.ScopeState, [32]byte{}, 0, 1000,
		func(page []runtime.Row) error {
			for _, row := range page {
				got[row.Key] = string(row.Value)
			}
			return nil
		}))
	var all []runtime.Key
	for i := range keys {
		all = append(all, stateKey(byte(i)))
	}
	rows, err := store.GetRows(context.Background(), r, ctxA, all)
	require.NoError(t, err)
	for _, row := range rows {
		value, found := got[row.Key]
		require.Equal(t, found, !row.Absent)
		require.Equal(t, value, string(row.Value))
	}
	return got
}

// TestPatchedRowsAreReadWhole: whatever a row went through, whole writes, patches, removals, restarts, commits that
// failed, readers see its last value.
func TestPatchedRowsAreReadWhole(t *testing.T) {
	t.Parallel()
	const keys = 3
	rapid.Check(t, func(t *rapid.T) {
		rec := &recorder{Store: storagetest.NewMemory()}
		reopen := func() *store.DB { return store.Open(rec, store.Options{Patience: time.Millisecond}) }
		db := reopen()
		truth := map[runtime.Key]string{}
		for range rapid.IntRange(1, 30).Draw(t, "commits") {
			b := db.Batch()
			next := maps.Clone(truth)
			for range rapid.IntRange(1, 4).Draw(t, "rows") {
				key := stateKey(rapid.ByteRange(0, keys-1).Draw(t, "key"))
				old, had := next[key]
				switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
				case kind == 0:
					delete(next, key)
					b.Rows(ctxA, []runtime.Row{{Key: key, Absent: true}})
				case kind <= 2 || !had:
					next[key] = string(bytes.Repeat([]byte{byte(kind)}, rapid.SampledFrom([]int{0, 10, 4095, 4096, 9000}).Draw(t, "size")))
					b.Rows(ctxA, []runtime.Row{{Key: key, Value: []byte(next[key])}})
				default:
					edits := drawEdits(t, len(old))
					next[key] = string(engine.Edited([]byte(old), edits))
					b.Rows(ctxA, []runtime.Row{{Key: key, Value: []byte(next[key]), Edits: edits}})
				}
			}
			require.NoError(t, db.Settle(context.Background()))
			switch rapid.IntRange(0, 9).Draw(t, "fate") {
			case 0: // nobody knows whether it took place: it did
				rec.after = func(string) error { return errkind.Unavailable.Errorf("gone") }
				require.ErrorIs(t, b.Commit(context.Background()), store.ErrOutcomeUnknown)
				rec.after = nil
				b.Abandon()
				truth = next
			case 1: // it did not
				rec.before = func(string) error { return errkind.Unavailable.Errorf("gone") }
				require.ErrorIs(t, b.Commit(context.Background()), store.ErrOutcomeUnknown)
				rec.before = nil
				b.Abandon()
			case 2:
				b.DeleteAllRows(ctxA, runtime.ScopeState)
				require.NoError(t, b.Commit(context.Background()))
				truth = map[runtime.Key]string{}
			default:
				require.NoError(t, b.Commit(context.Background()))
				truth = next
			}
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				db = reopen()
			}
			if rapid.Bool().Draw(t, "read") {
				require.Equal(t, truth, rowsOf(t, db, keys))
			}
		}
		require.Equal(t, truth, rowsOf(t, db, keys))
		require.Equal(t, truth, rowsOf(t, reopen(), keys))
		snapshot, err := db.Snapshot(context.Background())
		require.NoError(t, err)
		require.Equal(t, truth, rowsOf(t, snapshot, keys))
		require.NoError(t, snapshot.Close())
	})
}

// slowReader lets a reader wait between its reads and what it makes of them.
type slowReader struct {
	storage.Store
	enter, leave chan struct{}
}

func (s *slowReader) Scan(ctx context.Context, in storage.Range, page func([]storage.Item) error) error {
	err := s.Store.Scan(ctx, in, page)
	if ctx.Value(slowReader{}) != nil {
		s.enter <- struct{}{}
		<-s.leave
	}
	return err
}

// TestPatchesOutliveASlowReader: what it found is old by the time it says so, and the next patch must not replace one that
// came meanwhile.
func TestPatchesOutliveASlowReader(t *testing.T) {
	t.Parallel()
	slow := &slowReader{Store: storagetest.NewMemory(), enter: make(chan struct{}), leave: make(chan struct{})}
	db := store.Open(slow, store.Options{})
	value := make([]byte, 100_000)
	write := func(edits ...engine.Edit) {
		value = engine.Edited(value, edits)
		commit(t, db, func(b *store.Batch) {
			b.Rows(ctxA, []runtime.Row{{Key: stateKey(0), Value: value, Edits: edits}})
		})
	}
	write()
	rowsOf(t, db, 1)
	write(engine.Edit{Off: 1, Del: 1, Ins: []byte("one")})
	read := make(chan error)
	go func() {
		_, err := store.GetRows(context.WithValue(context.Background(), slowReader{}, true), db, ctxA, []runtime.Key{stateKey(0)})
		read <- err
	}()
	<-slow.enter
	write(engine.Edit{Off: 2, Del: 1, Ins: []byte("two")})
	slow.leave <- struct{}{}
	require.NoError(t, <-read)
	write(engine.Edit{Off: 3, Del: 1, Ins: []byte("three")})
	require.Equal(t, string(value), rowsOf(t, store.Open(slow, store.Options{}), 1)[stateKey(0)])
}

func drawEdits(t *rapid.T, size int) (edits []engine.Edit) {
	at := 0
	for range rapid.IntRange(1, 3).Draw(t, "edits") {
		e := engine.Edit{Off: rapid.IntRange(at, size).Draw(t, "off")}
		e.Del = rapid.IntRange(0, min(50, size-e.Off)).Draw(t, "del")
		e.Ins = rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "ins")
		edits = append(edits, e)
		at = e.Off + e.Del
	}
	return edits
}

// TestPatchesAreSmallAndFewEnough: a large row that changes a little costs little, and is written whole in time.
func TestPatchesAreSmallAndFewEnough(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	mem := storagetest.NewMemory()
	db := store.Open(mem, store.Options{Registerer: reg})
	value := make([]byte, 100_000)
	written, most := 0, 0
	commit(t, db, func(b *store.Batch) { b.Rows(ctxA, []runtime.Row{{Key: stateKey(1), Value: value}}) })
	_, err := store.GetRows(t.Context(), db, ctxA, []runtime.Key{stateKey(1)})
	require.NoError(t, err)
	const n = 2000
	for i := range n {
		edits := []engine.Edit{{Off: i, Del: 1, Ins: bytes.Repeat([]byte{byte(i)}, 50)}}
		value = engine.Edited(value, edits)
		b := db.Batch()
		b.Rows(ctxA, []runtime.Row{{Key: stateKey(1), Value: value, Edits: edits}})
		written += b.Size()
		require.NoError(t, b.Commit(t.Context()))
		patches := 0
		require.NoError(t, mem.Scan(t.Context(), storage.Range{Column: string(wire.ColumnStatePatch)}, func(items []storage.Item) error {
			patches += len(items)
			return nil
		}))
		most = max(most, patches)
	}
	require.Less(t, written/n, 600)
	require.LessOrEqual(t, most, 512)
	require.Equal(t, string(value), rowsOf(t, store.Open(mem, store.Options{}), 2)[stateKey(1)])
	families, err := reg.Gather()
	require.NoError(t, err)
	forms := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "calimero_store_large_row_writes_total" {
				forms[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	require.EqualValues(t, n+1, forms["whole"]+forms["patch"])
	require.Greater(t, forms["patch"], 100*forms["whole"])
}

// TestDamagedPatches: what does not fit the row is an error that names it, not a wrong value.
func TestDamagedPatches(t *testing.T) {
	t.Parallel()
	db, rec := open(t)
	commit(t, db, func(b *store.Batch) { b.Rows(ctxA, []runtime.Row{{Key: stateKey(1), Value: make([]byte, 5000)}}) })
	for name, raw := range map[string][]byte{
		"of another value": encoded(t, wire.StatePatch{Row: 1, Edits: []engine.Edit{{Ins: []byte("x")}}}),
		"malformed":        {1, 2, 3},
	} {
		batch := storage.Batch{ID: storage.NewBatchID()}
		batch.Put(string(wire.ColumnStatePatch), wire.StatePatchKey(ctxA, stateKey(1).K, 0), raw)
		_, err := rec.Store.Apply(t.Context(), batch)
		require.NoError(t, err)
		_, err = store.GetRows(t.Context(), store.Open(rec, store.Options{}), ctxA, []runtime.Key{stateKey(1)})
		require.ErrorIs(t, err, errkind.Corrupt, name)
	}
}

func encoded(t *testing.T, p wire.StatePatch) []byte {
	t.Helper()
	raw, err := wire.Encode(p)
	require.NoError(t, err)
	return raw
}
