package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// mapOf returns a map with n keys under a tree root.
func mapOf(b testing.TB, n int) (engine.Rows, func(key int, time uint64) []crdt.Action, engine.Options) {
	opts := engine.Options{Context: domain.ContextID(fill(0x11))}
	root := crdt.TreeRoot(opts.Context)
	items := crdt.CollectionID("items")
	atRoot := []crdt.ChildInfo{{ID: root, Metadata: crdt.Metadata{CreatedAt: 1}}}
	inItems := append([]crdt.ChildInfo{{ID: items, Metadata: crdt.Metadata{CreatedAt: 2}}}, atRoot...)
	upsert := func(id crdt.ID, data []byte, chain []crdt.ChildInfo, created, updated uint64) crdt.Action {
		return crdt.Action{Kind: crdt.Update, ID: id, Data: data, Ancestors: chain,
			Metadata: crdt.Metadata{CreatedAt: created, UpdatedAt: updated}}
	}
	set := func(key int, time uint64) []crdt.Action {
		id := crdt.EntryID(items, fmt.Append(nil, key))
		return []crdt.Action{
			upsert(id, fmt.Appendf(nil, "%032d%s", time, id[:]), inItems, 10+uint64(key), time),
			upsert(root, root[:], nil, 1, time),
		}
	}
	actions := []crdt.Action{upsert(root, root[:], nil, 1, 1), upsert(items, items[:], atRoot, 2, 2)}
	for key := range n {
		actions = append(actions, set(key, 10+uint64(key))[0])
	}
	rows := engine.Rows{}
	change, err := engine.Apply(rows, actions, opts)
	require.NoError(b, err)
	require.Empty(b, change.Dropped())
	rows.Put(change.Rows)
	return rows, set, opts
}

// written is what a store that understands edits has to write.
func written(rows []engine.Row) (whole, edits int) {
	for _, r := range rows {
		whole += len(r.Value)
		if len(r.Edits) == 0 {
			edits += len(r.Value)
		}
		for _, e := range r.Edits {
			edits += 8 + len(e.Ins)
		}
	}
	return whole, edits
}

// BenchmarkSet applies the delta of one set, of a key that exists and of a new one.
func BenchmarkSet(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		rows, set, opts := mapOf(b, n)
		for name, key := range map[string]int{"update": n / 2, "insert": n} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				actions := set(key, 1<<40)
				var change engine.Change
				for b.Loop() {
					var err error
					if change, err = engine.Apply(rows, actions, opts); err != nil {
						b.Fatal(err)
					}
				}
				whole, edits := written(change.Rows)
				b.ReportMetric(float64(whole), "B-rows")
				b.ReportMetric(float64(edits), "B-edits")
			})
		}
	}
}

// BenchmarkAuthor is a local set at 10,000 keys: the guest's rows are the engine's.
func BenchmarkAuthor(b *testing.B) {
	rows, set, opts := mapOf(b, 10_000)
	actions := set(5000, 1<<40)
	change, err := engine.Apply(rows, actions, opts)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		out, err := engine.Author(rows, engine.Call{Context: opts.Context, Actions: actions, Writes: change.Rows})
		if err != nil || len(out.Corrected) > 0 {
			b.Fatal(err, len(out.Corrected))
		}
	}
}

// BenchmarkBatch applies one delta with 1,000 new keys to a map of 10,000.
func BenchmarkBatch(b *testing.B) {
	rows, set, opts := mapOf(b, 10_000)
	var actions []crdt.Action
	for key := range 1000 {
		actions = append(actions, set(20_000+key, 1<<40)[0])
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := engine.Apply(rows, actions, opts); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeRow is what decoding the list of 10,000 records would cost alone.
func BenchmarkDecodeRow(b *testing.B) {
	rows, _, _ := mapOf(b, 10_000)
	row := rows[crdt.IndexKey(crdt.CollectionID("items"))]
	b.SetBytes(int64(len(row)))
	for b.Loop() {
		var x crdt.EntityIndex
		if err := borsh.Unmarshal(row, &x); err != nil {
			b.Fatal(err)
		}
	}
}

// TestManyKeys: a set costs the store little at 10,000 keys.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	rows, set, opts := mapOf(t, 10_000)
	for _, key := range []int{5000, 10_000} {
		change := apply(t, rows, set(key, 1<<40), opts)
		_, edits := written(change.Rows)
		require.Less(t, edits, 1024)
		rows.Put(change.Rows)
	}
	change := apply(t, rows, []crdt.Action{{
		Kind: crdt.DeleteRef, ID: crdt.EntryID(crdt.CollectionID("items"), []byte("7000")), DeletedAt: 1 << 41,
	}}, opts)
	_, edits := written(change.Rows)
	require.Less(t, edits, 1024)
	require.Equal(t, "deleted", change.Verdicts[0].String())
}
