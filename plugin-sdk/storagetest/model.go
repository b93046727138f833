package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/storage"
)

// model is what the store has to look like: column, key, value.
type model map[string]map[string]string

func (m model) clone() model {
	c := model{}
	for name, rows := range m {
		c[name] = maps.Clone(rows)
	}
	return c
}

func (m model) apply(b storage.Batch) {
	for _, op := range b.Ops {
		rows := m[op.Column]
		if rows == nil {
			rows = map[string]string{}
			m[op.Column] = rows
		}
		switch op.Kind {
		case storage.OpPut:
			rows[string(op.Key)] = string(op.Value)
		case storage.OpDelete:
			delete(rows, string(op.Key))
		case storage.OpDeleteRange:
			for k := range rows {
				if within(k, op.Key, op.End) {
					delete(rows, k)
				}
			}
		}
	}
}

func within(k string, start, end []byte) bool {
	return k >= string(start) && (len(end) == 0 || k < string(end))
}

func (m model) scan(r storage.Range) []row {
	rows := []row{}
	for _, k := range slices.Sorted(maps.Keys(m[r.Column])) {
		if within(k, r.Start, r.End) {
			rows = append(rows, row{k, m[r.Column][k]})
		}
	}
	if r.Reverse {
		slices.Reverse(rows)
	}
	if r.Limit > 0 && uint64(len(rows)) > r.Limit {
		rows = rows[:r.Limit]
	}
	if r.KeysOnly {
		for i := range rows {
			rows[i].Value = ""
		}
	}
	return rows
}

// Keys are short and of few letters, so that they meet.
var (
	drawKey   = rapid.StringOfN(rapid.SampledFrom([]rune{0, 'a', 'b', 0x7f}), 1, 3, -1)
	drawBound = rapid.StringOfN(rapid.SampledFrom([]rune{0, 'a', 'b', 0x7f}), 0, 4, -1)
	drawValue = rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat("v", rapid.IntRange(0, 40).Draw(t, "length")) + rapid.StringN(0, 2, -1).Draw(t, "text")
	})
)

func drawBatch(t *rapid.T, columns []string) storage.Batch {
	b := storage.Batch{ID: storage.NewBatchID()}
	column := rapid.SampledFrom(columns)
	for range rapid.IntRange(0, 12).Draw(t, "operations") {
		c := column.Draw(t, "column")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1:
			b.Delete(c, []byte(drawKey.Draw(t, "key")))
		case 2:
			b.DeletePrefix(c, []byte(drawKey.Draw(t, "prefix")))
		case 3:
			b.DeleteRange(c, []byte(drawKey.Draw(t, "start")), []byte(drawBound.Draw(t, "end")))
		default:
			b.Put(c, []byte(drawKey.Draw(t, "key")), []byte(drawValue.Draw(t, "value")))
		}
	}
	return b
}

func drawRange(t *rapid.T, columns []string) storage.Range {
	return storage.Range{
		Column:    rapid.SampledFrom(columns).Draw(t, "column"),
		Start:     []byte(drawBound.Draw(t, "start")),
		End:       []byte(drawBound.Draw(t, "end")),
		Reverse:   rapid.Bool().Draw(t, "reverse"),
		Limit:     rapid.Uint64Range(0, 6).Draw(t, "limit"),
		PageBytes: rapid.SampledFrom([]int{0, 1, 20, 100}).Draw(t, "page"),
		KeysOnly:  rapid.Bool().Draw(t, "keys only"),
	}
}

var modelChecks = []check{
	{name: "behaves like a map", run: func(s *suite) {
		var round atomic.Int64
		rapid.Check(s.t, func(t *rapid.T) {
			// One store for all rounds; each has its own columns.
			n := round.Add(1)
			columns := []string{fmt.Sprintf("a%d-", n), fmt.Sprintf("a%d-a", n), fmt.Sprintf("b%d-", n)}
			m := model{}
			applied := []storage.Batch{}
			type view struct {
				snap storage.Snapshot
				want model
			}
			var views []view
			defer func() {
				for _, v := range views {
					if err := v.snap.Close(); err != nil {
						t.Errorf("close the snapshot: %v", err)
					}
				}
			}()
			for range rapid.IntRange(1, 12).Draw(t, "steps") {
				switch rapid.IntRange(0, 9).Draw(t, "step") {
				case 0:
					if s.info.Has(storage.CapSnapshot) && len(views) < 3 {
						snap, err := s.store.Snapshot(s.ctx)
						if err != nil {
							t.Fatal(err)
						}
						views = append(views, view{snap, m.clone()})
					}
				case 1:
					if len(applied) > 0 {
						b := rapid.SampledFrom(applied).Draw(t, "again")
						if replayed, err := s.store.Apply(s.ctx, b); err != nil || !replayed {
							t.Fatalf("apply again: replayed %v, %v", replayed, err)
						}
					}
				case 2, 3, 4, 5, 6:
					b := drawBatch(t, columns)
					if replayed, err := s.store.Apply(s.ctx, b); err != nil || replayed {
						t.Fatalf("apply: replayed %v, %v", replayed, err)
					}
					m.apply(b)
					applied = append(applied, b)
				default:
					r := drawRange(t, columns)
					compare(t, s.ctx, s.store, m, r)
					for _, v := range views {
						compare(t, s.ctx, v.snap, v.want, r)
					}
				}
			}
			for _, c := range columns {
				compare(t, s.ctx, s.store, m, storage.Range{Column: c})
				for _, v := range views {
					compare(t, s.ctx, v.snap, v.want, storage.Range{Column: c})
				}
			}
		})
	}},
}

func compare(t *rapid.T, ctx context.Context, rd storage.Reader, m model, r storage.Range) {
	t.Helper()
	rows, err := collect(ctx, rd, r)
	if err != nil {
		t.Fatalf("scan %+v: %v", r, err)
	}
	if diff := cmp.Diff(m.scan(r), append([]row{}, rows...)); diff != "" {
		t.Fatalf("scan %+v (- want + got):\n%s", r, diff)
	}
	if len(rows) == 0 {
		return
	}
	keys := make([]storage.Key, 0, len(rows)+1)
	for _, row := range rows {
		keys = append(keys, storage.Key{Column: r.Column, Key: []byte(row.Key)})
	}
	keys = append(keys, storage.Key{Column: r.Column, Key: []byte("never a key")})
	values, err := rd.Get(ctx, keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values[:len(rows)] {
		if want := m[r.Column][rows[i].Key]; !v.Found || !bytes.Equal(v.Bytes, []byte(want)) {
			t.Fatalf("get %q: %v %q, want %q", rows[i].Key, v.Found, v.Bytes, want)
		}
	}
	if values[len(rows)].Found {
		t.Fatal("an absent key was found")
	}
}
