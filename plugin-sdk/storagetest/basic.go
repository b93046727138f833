package storagetest

import (
	"bytes"
	"context"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

var infoChecks = []check{
	{name: "names itself", run: func(s *suite) {
		require.Equal(s, storage.Kind, s.info.Kind)
		require.EqualValues(s, storage.Protocol, s.info.Protocol)
		require.Regexp(s, `^[a-z0-9-]+$`, s.info.Name)
		require.NotEmpty(s, s.info.Version)
		for _, c := range s.info.Capabilities {
			require.Contains(s, []string{storage.CapSnapshot, storage.CapStats, storage.CapCompact}, c)
		}
	}},
	{name: "is healthy", run: func(s *suite) { require.NoError(s, s.store.Health(s.ctx)) }},
	{name: "configures once", needs: needsReopen, run: func(s *suite) {
		schema, err := s.store.Schema(s.ctx)
		require.NoError(s, err)
		d, err := s.store.Configure(s.ctx, base.Config{Value: Value(schema, nil), DataDir: s.TempDir()})
		if err == nil {
			require.True(s, d.HasErrors(), "a second Configure went through")
		}
		s.put("c", "k", "v")
		s.wantValue("c", "k", "v")
	}},
	{name: "stats", run: func(s *suite) {
		s.needs(storage.CapStats)
		s.fill("filled", 100)
		st, err := s.store.Stats(s.ctx)
		require.NoError(s, err)
		require.Contains(s, st.Columns, "filled")
		require.NotContains(s, st.Columns, "empty")
	}},
	{name: "compact keeps rows", run: func(s *suite) {
		s.needs(storage.CapCompact)
		s.fill("c", 2000)
		s.apply(func(b *storage.Batch) { b.DeleteRange("c", key(10), key(1990)) })
		_, _, err := s.store.Compact(s.ctx)
		require.NoError(s, err)
		require.Len(s, s.scan(storage.Range{Column: "c"}), 20)
	}},
	{name: "closed", run: func(s *suite) {
		require.NoError(s, s.store.Close(s.ctx))
		_, err := s.store.Get(s.ctx, []storage.Key{{Column: "c", Key: []byte("k")}})
		require.Error(s, err)
		_, err = s.store.Apply(s.ctx, storage.Batch{ID: storage.NewBatchID()})
		require.Error(s, err)
	}},
}

var getChecks = []check{
	{name: "absent", run: func(s *suite) {
		s.wantAbsent("never-seen", "k")
		s.put("c", "k", "v")
		s.wantAbsent("c", "K")
		s.wantAbsent("c", "k\x00")
	}},
	{name: "empty value is there", run: func(s *suite) {
		s.put("c", "k", "")
		s.wantValue("c", "k", "")
	}},
	{name: "in order, with absent and repeated keys", run: func(s *suite) {
		s.fill("c", 10)
		vs, err := s.store.Get(s.ctx, []storage.Key{
			{Column: "c", Key: key(7)}, {Column: "c", Key: []byte("x")}, {Column: "d", Key: key(7)},
			{Column: "c", Key: key(1)}, {Column: "c", Key: key(7)},
		})
		require.NoError(s, err)
		require.Len(s, vs, 5)
		for i, want := range []string{"v7", "", "", "v1", "v7"} {
			require.Equal(s, want, string(vs[i].Bytes), i)
			require.Equal(s, want != "", vs[i].Found, i)
		}
	}},
	{name: "no keys", run: func(s *suite) {
		vs, err := s.store.Get(s.ctx, nil)
		require.NoError(s, err)
		require.Empty(s, vs)
	}},
	{name: "any bytes", run: func(s *suite) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		s.apply(func(b *storage.Batch) {
			for i := range all {
				b.Put("c", all[i:i+1], all[i:])
			}
		})
		rows := s.scan(storage.Range{Column: "c"})
		require.Len(s, rows, 256)
		for i := range all {
			require.Equal(s, row{string(all[i : i+1]), string(all[i:])}, rows[i])
		}
	}},
	{name: "slices belong to the caller", run: func(s *suite) {
		k, v := []byte("key"), []byte("value")
		s.apply(func(b *storage.Batch) { b.Put("c", k, v) })
		copy(k, "xxx")
		copy(v, "xxxxx")
		s.wantValue("c", "key", "value")
		vs, err := s.store.Get(s.ctx, []storage.Key{{Column: "c", Key: []byte("key")}})
		require.NoError(s, err)
		copy(vs[0].Bytes, "xxxxx")
		require.NoError(s, s.store.Scan(s.ctx, storage.Range{Column: "c"}, func(items []storage.Item) error {
			copy(items[0].Key, "xxx")
			copy(items[0].Value, "xxxxx")
			// Neighbours in a shared buffer must not be reachable.
			_ = append(items[0].Key, "overflow"...)
			return nil
		}))
		s.wantValue("c", "key", "value")
	}},
	{name: "columns are apart", run: func(s *suite) {
		names := []string{"a", "aa", "A", "b", "a-", "a_", "0", strings.Repeat("z", storage.MaxColumn)}
		s.apply(func(b *storage.Batch) {
			for _, n := range names {
				b.Put(n, []byte("k"), []byte(n))
				b.Put(n, []byte("a"), []byte(n))
			}
		})
		s.apply(func(b *storage.Batch) { b.DeleteRange("a", []byte{0}, nil) })
		s.wantKeys("a")
		for _, n := range names[1:] {
			require.Equal(s, []row{{"a", n}, {"k", n}}, s.scan(storage.Range{Column: n}))
			require.Equal(s, []row{{"k", n}, {"a", n}}, s.scan(storage.Range{Column: n, Reverse: true}))
		}
	}},
	{name: "context", run: func(s *suite) {
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := s.store.Get(ctx, []storage.Key{{Column: "c", Key: []byte("k")}})
		s.wantKind(err, errkind.Canceled)
		err = s.store.Scan(ctx, storage.Range{Column: "c"}, func([]storage.Item) error { return nil })
		s.wantKind(err, errkind.Canceled)
		b := storage.Batch{ID: storage.NewBatchID()}
		b.Put("c", []byte("k"), []byte("v"))
		_, err = s.store.Apply(ctx, b)
		s.wantKind(err, errkind.Canceled)
		// Whatever became of it, the batch can be applied again.
		_, err = s.store.Apply(s.ctx, b)
		require.NoError(s, err)
		s.wantValue("c", "k", "v")
	}},
}

var applyChecks = []check{
	{name: "put, overwrite, delete", run: func(s *suite) {
		s.put("c", "k", "1")
		s.put("c", "k", "2")
		s.wantValue("c", "k", "2")
		s.apply(func(b *storage.Batch) { b.Delete("c", []byte("k")) })
		s.wantAbsent("c", "k")
		s.apply(func(b *storage.Batch) { b.Delete("c", []byte("k")) })
	}},
	{name: "operations in order", run: func(s *suite) {
		s.put("c", "k2", "old")
		s.apply(func(b *storage.Batch) {
			b.Put("c", []byte("k1"), []byte("1"))
			b.Put("c", []byte("k1"), []byte("2"))
			b.Delete("c", []byte("k2"))
			b.Put("c", []byte("k2"), []byte("new"))
			b.Put("c", []byte("k3"), []byte("gone"))
			b.Delete("c", []byte("k3"))
			b.Put("c", []byte("r1"), []byte("gone"))
			b.Put("c", []byte("r2"), []byte("gone"))
			b.DeletePrefix("c", []byte("r"))
			b.Put("c", []byte("r2"), []byte("back"))
			b.Put("c", []byte("s"), []byte("stays"))
		})
		require.Equal(s, []row{{"k1", "2"}, {"k2", "new"}, {"r2", "back"}, {"s", "stays"}},
			s.scan(storage.Range{Column: "c"}))
	}},
	{name: "several columns", run: func(s *suite) {
		s.apply(func(b *storage.Batch) {
			b.Put("a", []byte("k"), []byte("1"))
			b.Put("b", []byte("k"), []byte("2"))
			b.Delete("c", []byte("k"))
		})
		s.wantValue("a", "k", "1")
		s.wantValue("b", "k", "2")
	}},
	{name: "nothing of a refused batch", run: func(s *suite) {
		b := storage.Batch{ID: storage.NewBatchID()}
		b.Put("c", []byte("good"), []byte("1"))
		b.Put("c", nil, []byte("2"))
		_, err := s.store.Apply(s.ctx, b)
		s.wantKind(err, errkind.Invalid)
		s.wantAbsent("c", "good")
	}},
	{name: "no operations", run: func(s *suite) {
		b := storage.Batch{ID: storage.NewBatchID()}
		for _, want := range []bool{false, true} {
			replayed, err := s.store.Apply(s.ctx, b)
			require.NoError(s, err)
			require.Equal(s, want, replayed)
		}
	}},
	{name: "delete range", run: func(s *suite) {
		for _, c := range []struct {
			name, start, end string
			want             []string
		}{
			{"inner", "b", "d", []string{"a", "d", "e"}},
			{"between keys", "bb", "cc", []string{"a", "b", "d", "e"}},
			{"to the end", "c", "", []string{"a", "b"}},
			{"from the start", "", "c", []string{"c", "d", "e"}},
			{"all", "\x00", "", nil},
			{"one key", "c", "c\x00", []string{"a", "b", "d", "e"}},
			{"empty", "c", "c", []string{"a", "b", "c", "d", "e"}},
			{"backwards", "d", "b", []string{"a", "b", "c", "d", "e"}},
			{"beyond", "x", "z", []string{"a", "b", "c", "d", "e"}},
		} {
			column := strings.ReplaceAll(c.name, " ", "-")
			s.apply(func(b *storage.Batch) {
				for _, k := range "abcde" {
					b.Put(column, []byte(string(k)), nil)
					b.Put(column+"x", []byte(string(k)), nil)
				}
			})
			s.apply(func(b *storage.Batch) { b.DeleteRange(column, []byte(c.start), []byte(c.end)) })
			s.wantKeys(column, c.want...)
			s.wantKeys(column+"x", "a", "b", "c", "d", "e")
		}
	}},
	{name: "delete prefix of ff", run: func(s *suite) {
		s.apply(func(b *storage.Batch) {
			for _, k := range []string{"\xfe", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff"} {
				b.Put("c", []byte(k), nil)
			}
		})
		s.apply(func(b *storage.Batch) { b.DeletePrefix("c", []byte("\xff\xff")) })
		s.wantKeys("c", "\xfe", "\xff", "\xff\x00")
		s.apply(func(b *storage.Batch) { b.DeletePrefix("c", []byte("\xff")) })
		s.wantKeys("c", "\xfe")
	}},
	{name: "delete many rows", run: func(s *suite) {
		const n = 100_000
		for i := 0; i < n; i += n / 4 {
			s.apply(func(b *storage.Batch) {
				for j := range n / 4 {
					b.Put("c", key(i+j), nil)
				}
			})
		}
		s.apply(func(b *storage.Batch) { b.DeleteRange("c", key(1), key(n-1)) })
		s.wantKeys("c", string(key(0)), string(key(n-1)))
	}},
	{name: "survives reopen", needs: needsReopen, run: func(s *suite) {
		s.fill("c", 1000)
		s.apply(func(b *storage.Batch) { b.DeleteRange("c", key(500), nil) })
		s.use(s.f.Reopen(s, s.store))
		require.Len(s, s.scan(storage.Range{Column: "c"}), 500)
		s.fill("d", 10)
		s.use(s.f.Reopen(s, s.store))
		require.Len(s, s.scan(storage.Range{Column: "c"}), 500)
		require.Len(s, s.scan(storage.Range{Column: "d"}), 10)
	}},
	{name: "survives a crash", needs: needsCrash, run: func(s *suite) {
		for i := range 20 {
			s.put("c", string(key(i)), "v")
		}
		s.use(s.f.Crash(s, s.store))
		require.Len(s, s.scan(storage.Range{Column: "c"}), 20)
	}},
	{name: "large batch", run: func(s *suite) {
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
		s.apply(func(b *storage.Batch) {
			for i := range 20 {
				b.Put("c", key(i), big)
			}
		})
		n := 0
		require.NoError(s, s.store.Scan(s.ctx, storage.Range{Column: "c"}, func(items []storage.Item) error {
			for _, it := range items {
				require.Equal(s, string(key(n)), string(it.Key))
				require.True(s, bytes.Equal(big, it.Value))
				n++
			}
			return nil
		}))
		require.Equal(s, 20, n)
	}},
}

var idempotenceChecks = []check{
	{name: "applied once", run: func(s *suite) {
		b := storage.Batch{ID: storage.NewBatchID()}
		b.Put("c", []byte("k"), []byte("1"))
		replayed, err := s.store.Apply(s.ctx, b)
		require.NoError(s, err)
		require.False(s, replayed)
		s.put("c", "k", "2")
		for range 3 {
			replayed, err = s.store.Apply(s.ctx, b)
			require.NoError(s, err)
			require.True(s, replayed)
		}
		s.wantValue("c", "k", "2")
		// The id decides, not the content.
		b.Ops = nil
		b.Put("c", []byte("other"), []byte("3"))
		replayed, err = s.store.Apply(s.ctx, b)
		require.NoError(s, err)
		require.True(s, replayed)
		s.wantAbsent("c", "other")
	}},
	{name: "an empty batch takes its id", run: func(s *suite) {
		for _, first := range []bool{true, false} {
			b := storage.Batch{ID: storage.NewBatchID()}
			b.Put("c", []byte("k"), []byte{1})
			empty := storage.Batch{ID: b.ID}
			s.put("c", "k", "before")
			if first {
				_, err := s.store.Apply(s.ctx, b)
				require.NoError(s, err)
			}
			replayed, err := s.store.Apply(s.ctx, empty)
			require.NoError(s, err)
			require.Equal(s, first, replayed)
			s.put("c", "k", "after")
			replayed, err = s.store.Apply(s.ctx, b)
			require.NoError(s, err)
			require.True(s, replayed)
			s.wantValue("c", "k", "after")
		}
	}},
	{name: "the latest are remembered", run: func(s *suite) { s.remembers(func() {}) }},
	{name: "the latest are remembered over a reopen", needs: needsReopen, run: func(s *suite) {
		s.remembers(func() { s.use(s.f.Reopen(s, s.store)) })
	}},
	{name: "remembered over a crash", needs: needsCrash, run: func(s *suite) {
		b := storage.Batch{ID: storage.NewBatchID()}
		b.Put("c", []byte("k"), []byte("1"))
		_, err := s.store.Apply(s.ctx, b)
		require.NoError(s, err)
		s.use(s.f.Crash(s, s.store))
		replayed, err := s.store.Apply(s.ctx, b)
		require.NoError(s, err)
		require.True(s, replayed)
	}},
	{name: "at the same time", run: func(s *suite) {
		for range 20 {
			b := storage.Batch{ID: storage.NewBatchID()}
			b.Put("c", []byte("k"), []byte("1"))
			fresh := 0
			for _, replayed := range parallel(s, 8, func(int) (bool, error) { return s.store.Apply(s.ctx, b) }) {
				if !replayed {
					fresh++
				}
			}
			require.Equal(s, 1, fresh, "one of the callers applied the batch")
		}
	}},
}

// remembers applies as many batches as are remembered, lets between happen, and applies them all again.
func (s *suite) remembers(between func()) {
	ids := make([]storage.BatchID, storage.RememberedBatches)
	for i := range ids {
		ids[i] = storage.NewBatchID()
	}
	const callers = 16
	applyAll := func(value string, replayed bool) {
		for range parallel(s, callers, func(c int) (bool, error) {
			for i := c; i < len(ids); i += callers {
				b := storage.Batch{ID: ids[i]}
				b.Put("c", key(i), []byte(value))
				got, err := s.store.Apply(s.ctx, b)
				if err != nil {
					return false, err
				}
				if got != replayed {
					s.Errorf("batch %d: replayed = %v", i, got)
				}
			}
			return false, nil
		}) {
			continue
		}
	}
	s.apply(func(b *storage.Batch) { b.Put("c", []byte("a batch before"), nil) })
	applyAll("first", false)
	between()
	applyAll("second", true)
	for _, r := range s.scan(storage.Range{Column: "c", Start: key(0)}) {
		require.Equal(s, "first", r.Value, r.Key)
	}
}
