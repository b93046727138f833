package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

var scanChecks = []check{
	{name: "ranges", run: func(s *suite) {
		s.apply(func(b *storage.Batch) {
			for _, k := range []string{"a", "b", "ba", "bb", "c", "d"} {
				b.Put("c", []byte(k), []byte("v"+k))
			}
		})
		for _, c := range []struct {
			start, end string
			want       []string
		}{
			{"", "", []string{"a", "b", "ba", "bb", "c", "d"}},
			{"b", "", []string{"b", "ba", "bb", "c", "d"}},
			{"", "b", []string{"a"}},
			{"b", "c", []string{"b", "ba", "bb"}},
			{"b\x00", "bb\x00", []string{"ba", "bb"}},
			{"e", "", nil},
			{"c", "c", nil},
			{"c", "b", nil},
		} {
			r := storage.Range{Column: "c", Start: []byte(c.start), End: []byte(c.end)}
			s.wantScan(r, c.want)
			for limit := range uint64(4) {
				r.Limit = limit + 1
				s.wantScan(r, c.want)
			}
		}
	}},
	{name: "prefix", run: func(s *suite) {
		s.apply(func(b *storage.Batch) {
			for _, k := range []string{"a", "b", "b\xff", "b\xff\xff", "c", "\xff", "\xffz", "\xff\xff"} {
				b.Put("c", []byte(k), nil)
			}
		})
		require.Equal(s, []string{"b", "b\xff", "b\xff\xff"}, keysOf(s.scan(storage.Prefix("c", []byte("b")))))
		require.Equal(s, []string{"\xff", "\xffz", "\xff\xff"}, keysOf(s.scan(storage.Prefix("c", []byte("\xff")))))
		require.Len(s, s.scan(storage.Prefix("c", nil)), 8)
	}},
	{name: "pages", run: func(s *suite) {
		s.fill("c", 3000)
		for _, pageBytes := range []int{0, 1, 100, 4096, storage.MaxPageBytes} {
			for _, reverse := range []bool{false, true} {
				rows := s.scan(storage.Range{Column: "c", PageBytes: pageBytes, Reverse: reverse})
				require.Len(s, rows, 3000)
				if reverse {
					slices.Reverse(rows)
				}
				for i, r := range rows {
					require.Equal(s, row{string(key(i)), string(value(i))}, r)
				}
			}
		}
		rows := s.scan(storage.Range{Column: "c", Start: key(10), End: key(2000), Limit: 500, PageBytes: 64})
		require.Len(s, rows, 500)
		require.Equal(s, string(key(509)), rows[499].Key)
	}},
	{name: "values larger than a page", run: func(s *suite) {
		big := strings.Repeat("x", 3<<20)
		s.put("c", "a", "small")
		s.put("c", "b", big)
		s.put("c", "c", "small")
		want := []row{{"a", "small"}, {"b", big}, {"c", "small"}}
		require.True(s, slices.Equal(want, s.scan(storage.Range{Column: "c", PageBytes: 1024})))
		slices.Reverse(want)
		require.True(s, slices.Equal(want, s.scan(storage.Range{Column: "c", PageBytes: 1024, Reverse: true})))
	}},
	{name: "keys only", run: func(s *suite) {
		s.fill("c", 50)
		for _, r := range s.scan(storage.Range{Column: "c", KeysOnly: true, PageBytes: 64}) {
			require.Empty(s, r.Value)
		}
	}},
	{name: "empty values", run: func(s *suite) {
		s.apply(func(b *storage.Batch) { b.Put("c", []byte("k"), nil) })
		require.Equal(s, []row{{"k", ""}}, s.scan(storage.Range{Column: "c"}))
	}},
	{name: "stops at the first error", run: func(s *suite) {
		s.fill("c", 1000)
		stop := errors.New("enough")
		pages := 0
		err := s.store.Scan(s.ctx, storage.Range{Column: "c", PageBytes: 100}, func([]storage.Item) error {
			pages++
			if pages == 3 {
				return stop
			}
			return nil
		})
		require.ErrorIs(s, err, stop)
		require.Equal(s, 3, pages)
		require.Len(s, s.scan(storage.Range{Column: "c"}), 1000)
	}},
	{name: "stops with its context", run: func(s *suite) {
		s.fill("c", 20_000)
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		err := s.store.Scan(ctx, storage.Range{Column: "c", PageBytes: 64}, func([]storage.Item) error {
			cancel()
			return nil
		})
		s.wantKind(err, errkind.Canceled)
	}},
	{name: "the store can be used inside", run: func(s *suite) {
		s.fill("c", 1000)
		seen := 0
		require.NoError(s, s.store.Scan(s.ctx, storage.Range{Column: "c", PageBytes: 512}, func(items []storage.Item) error {
			seen += len(items)
			s.apply(func(b *storage.Batch) {
				for _, it := range items {
					b.Delete("c", it.Key)
					b.Put("d", it.Key, it.Value)
				}
			})
			return nil
		}))
		require.Equal(s, 1000, seen)
		s.wantKeys("c")
		require.Len(s, s.scan(storage.Range{Column: "d"}), 1000)
	}},
	{name: "rows that do not change are seen once", run: func(s *suite) {
		s.apply(func(b *storage.Batch) {
			for i := range 4000 {
				b.Put("c", key(i), value(i))
			}
		})
		done := make(chan struct{})
		churned := make(chan error, 1)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					churned <- nil
					return
				default:
				}
				b := storage.Batch{ID: storage.NewBatchID()}
				for j := range 20 {
					k := 2*((i*31+j*197)%2000) + 1 // odd keys come and go
					if i%2 == 0 {
						b.Delete("c", key(k))
					} else {
						b.Put("c", key(k), value(k))
					}
				}
				if _, err := s.store.Apply(s.ctx, b); err != nil {
					churned <- err
					return
				}
			}
		}()
		for i := range 6 {
			rows := s.scan(storage.Range{Column: "c", PageBytes: 512, Reverse: i%2 == 1})
			even := 0
			for _, r := range rows {
				if (r.Key[len(r.Key)-1]-'0')%2 == 0 {
					even++
				}
			}
			if even != 2000 {
				s.Errorf("scan %d saw %d of 2000 rows that did not change", i, even)
			}
		}
		close(done)
		require.NoError(s, <-churned)
	}},
}

// wantScan scans forwards and backwards; want is without the limit.
func (s *suite) wantScan(r storage.Range, want []string) {
	s.Helper()
	cut := func(ks []string) []string {
		if r.Limit > 0 && uint64(len(ks)) > r.Limit {
			return ks[:r.Limit]
		}
		return ks
	}
	require.Equal(s, append([]string{}, cut(want)...), keysOf(s.scan(r)), "%q to %q, limit %d", r.Start, r.End, r.Limit)
	back := slices.Clone(want)
	slices.Reverse(back)
	r.Reverse = true
	require.Equal(s, append([]string{}, cut(back)...), keysOf(s.scan(r)), "%q to %q, limit %d, reverse", r.Start, r.End, r.Limit)
}

var snapshotChecks = []check{
	{name: "is isolated", run: func(s *suite) {
		snap := s.snapshot(s.ctx)
		s.fill("c", 100)
		second := s.snapshot(s.ctx)
		s.apply(func(b *storage.Batch) {
			b.DeleteRange("c", key(50), nil)
			b.Put("c", key(1), []byte("new"))
			b.Put("d", key(1), []byte("new"))
		})
		rows, err := collect(s.ctx, snap, storage.Range{Column: "c"})
		require.NoError(s, err)
		require.Empty(s, rows)
		rows, err = collect(s.ctx, second, storage.Range{Column: "c", PageBytes: 64})
		require.NoError(s, err)
		require.Len(s, rows, 100)
		v, _ := get(s, second, "c", string(key(1)))
		require.Equal(s, "v1", v)
		_, ok := get(s, second, "d", string(key(1)))
		require.False(s, ok)
		rows, err = collect(s.ctx, second, storage.Range{Column: "c", Reverse: true, Limit: 3, KeysOnly: true})
		require.NoError(s, err)
		require.Equal(s, []string{string(key(99)), string(key(98)), string(key(97))}, keysOf(rows))
		s.wantValue("c", string(key(1)), "new")
	}},
	{name: "survives compaction", run: func(s *suite) {
		s.needs(storage.CapCompact)
		s.fill("c", 500)
		snap := s.snapshot(s.ctx)
		s.apply(func(b *storage.Batch) { b.DeleteRange("c", []byte{0}, nil) })
		_, _, err := s.store.Compact(s.ctx)
		require.NoError(s, err)
		rows, err := collect(s.ctx, snap, storage.Range{Column: "c"})
		require.NoError(s, err)
		require.Len(s, rows, 500)
		s.wantKeys("c")
	}},
	{name: "close ends it", run: func(s *suite) {
		s.put("c", "k", "v")
		snap := s.snapshot(s.ctx)
		require.NoError(s, snap.Close())
		require.NoError(s, snap.Close())
		s.wantEnded(snap)
		s.wantValue("c", "k", "v")
	}},
	{name: "its context ends it", run: func(s *suite) {
		ctx, cancel := context.WithCancel(s.ctx)
		defer cancel()
		snap := s.snapshot(ctx)
		_, _ = get(s, snap, "c", "k")
		cancel()
		require.Eventually(s, func() bool {
			_, err := snap.Get(s.ctx, []storage.Key{{Column: "c", Key: []byte("k")}})
			return errkind.Of(err) == errkind.NotFound
		}, 10*time.Second, time.Millisecond)
		s.wantEnded(snap)
	}},
	{name: "an abandoned one ends", needs: needsShortLease, run: func(s *suite) {
		if s.f.Leased == nil {
			require.True(s, s.endsUnused(storage.SnapshotLease), "the machine is too slow")
			return
		}
		for lease := 300 * time.Millisecond; lease < time.Minute; lease *= 2 {
			require.NoError(s, s.store.Close(s.ctx))
			s.use(s.f.Leased(s, lease))
			if s.endsUnused(lease) {
				return
			}
		}
		s.Fatal("the machine is too slow")
	}},
	{name: "many", run: func(s *suite) {
		for i := range 50 {
			s.put("c", "k", fmt.Sprint(i))
			snap := s.snapshot(s.ctx)
			defer func() {
				v, ok := get(s, snap, "c", "k")
				require.True(s, ok)
				require.Equal(s, fmt.Sprint(i), v)
				require.NoError(s, snap.Close())
			}()
		}
	}},
	{name: "bounds hold as well", run: func(s *suite) {
		snap := s.snapshot(s.ctx)
		_, err := snap.Get(s.ctx, []storage.Key{{Column: "c", Key: bytes.Repeat([]byte("k"), storage.MaxKey+1)}})
		s.wantKind(err, errkind.TooLarge)
		err = snap.Scan(s.ctx, storage.Range{Column: "bad name"}, func([]storage.Item) error { return nil })
		s.wantKind(err, errkind.Invalid)
	}},
}

// endsUnused checks that a snapshot lives as long as it is used, and then no longer than the lease. It is false, and nothing
// is checked, when the machine did not come to use it within the lease.
func (s *suite) endsUnused(lease time.Duration) bool {
	s.Helper()
	s.fill("c", 10)
	read := func(snap storage.Snapshot) error {
		_, err := snap.Get(s.ctx, []storage.Key{{Column: "c", Key: key(1)}})
		return err
	}
	used := time.Now()
	snap := s.snapshot(s.ctx)
	for until := used.Add(lease * 3 / 2); used.Before(until); {
		wait(lease / 10)
		now := time.Now()
		err := read(snap)
		if time.Since(used) >= lease {
			return false
		}
		require.NoError(s, err, "used %v ago, with a lease of %v", time.Since(used), lease)
		used = now
	}
	for range 10 {
		wait(lease * 3 / 2) // not less: the question renews what has not ended
		if err := read(snap); err != nil {
			s.wantKind(err, errkind.NotFound)
			return true
		}
	}
	s.Fatalf("a snapshot that was not used for %v lives on", lease*3/2)
	return false
}

func wait(d time.Duration) { <-time.After(d) }

func (s *suite) snapshot(ctx context.Context) storage.Snapshot {
	s.Helper()
	s.needs(storage.CapSnapshot)
	snap, err := s.store.Snapshot(ctx)
	require.NoError(s, err)
	s.Cleanup(func() {
		if err := snap.Close(); err != nil {
			s.Errorf("close the snapshot: %v", err)
		}
	})
	return snap
}

func (s *suite) wantEnded(snap storage.Snapshot) {
	s.Helper()
	_, err := snap.Get(s.ctx, []storage.Key{{Column: "c", Key: []byte("k")}})
	s.wantKind(err, errkind.NotFound)
	err = snap.Scan(s.ctx, storage.Range{Column: "c"}, func([]storage.Item) error { return nil })
	s.wantKind(err, errkind.NotFound)
}
