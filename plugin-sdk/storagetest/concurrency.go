package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// parallel runs f n times at once and returns what each returned.
func parallel(s *suite, n int, f func(i int) (bool, error)) []bool {
	s.Helper()
	out, errs := make([]bool, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { out[i], errs[i] = f(i) })
	}
	wg.Wait()
	require.NoError(s, errors.Join(errs...))
	return out
}

var concurrencyChecks = []check{
	{name: "32 callers", run: func(s *suite) {
		const callers, rounds = 32, 40
		parallel(s, callers, func(c int) (bool, error) {
			column := fmt.Sprint("c", c%4)
			for i := range rounds {
				b := storage.Batch{ID: storage.NewBatchID()}
				b.Put(column, fmt.Appendf(nil, "%02d-%03d", c, i), fmt.Append(nil, i))
				b.Put("last", fmt.Appendf(nil, "%02d", c), fmt.Append(nil, i))
				if i%10 == 9 {
					b.DeleteRange(column, fmt.Appendf(nil, "%02d-%03d", c, i-9), fmt.Appendf(nil, "%02d-%03d", c, i))
				}
				if replayed, err := s.store.Apply(s.ctx, b); err != nil || replayed {
					return false, fmt.Errorf("apply: replayed %v, %w", replayed, err)
				}
				vs, err := s.store.Get(s.ctx, []storage.Key{{Column: "last", Key: fmt.Appendf(nil, "%02d", c)}})
				if err != nil {
					return false, err
				}
				if got := string(vs[0].Bytes); got != fmt.Sprint(i) {
					return false, fmt.Errorf("caller %d wrote %d and reads %q", c, i, got)
				}
				if i%8 == 0 {
					if _, err := collect(s.ctx, s.store, storage.Prefix(column, fmt.Appendf(nil, "%02d-", c))); err != nil {
						return false, err
					}
				}
			}
			return false, nil
		})
		rows := 0
		for c := range 4 {
			rows += len(s.scan(storage.Range{Column: fmt.Sprint("c", c)}))
		}
		require.Equal(s, callers*rounds/10, rows)
	}},
	{name: "callers that give up", run: func(s *suite) {
		// Every other caller gives up its batches at some moment before, in, or after their commit: each is applied once
		// or not at all, and nobody else notices.
		const callers, rounds = 16, 60
		parallel(s, callers, func(c int) (bool, error) {
			for i := range rounds {
				b := storage.Batch{ID: storage.NewBatchID()}
				k := fmt.Appendf(nil, "%02d-%03d", c, i)
				b.Put("c", k, k)
				ctx, cancel := context.WithCancel(s.ctx)
				if c%2 == 0 {
					time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
				}
				replayed, err := s.store.Apply(ctx, b)
				gaveUp := ctx.Err() != nil
				cancel()
				switch {
				case err == nil && replayed:
					return false, fmt.Errorf("caller %d: batch %d was never applied, the answer says replayed", c, i)
				case err != nil && (!gaveUp || errkind.Of(err) != errkind.Canceled):
					return false, fmt.Errorf("caller %d: batch %d, given up %v: %w", c, i, gaveUp, err)
				}
				again, err2 := s.store.Apply(s.ctx, b)
				if err2 != nil || err == nil && !again {
					return false, fmt.Errorf("caller %d: batch %d again: replayed %v, %w", c, i, again, err2)
				}
			}
			return false, nil
		})
		require.Len(s, s.scan(storage.Range{Column: "c"}), callers*rounds)
	}},
	{name: "batches are visible at once", run: func(s *suite) {
		s.needs(storage.CapSnapshot)
		const keys = 50
		write := func(i int) error {
			b := storage.Batch{ID: storage.NewBatchID()}
			if i%3 == 0 {
				b.DeleteRange("c", []byte{0}, nil)
			}
			for k := range keys {
				b.Put(fmt.Sprint("c", k%2), key(k), fmt.Append(nil, i))
			}
			_, err := s.store.Apply(s.ctx, b)
			return err
		}
		require.NoError(s, write(0))
		done := make(chan struct{})
		failed := make([]error, 2)
		var writers sync.WaitGroup
		for w := range failed {
			writers.Go(func() {
				for i := w + 1; failed[w] == nil; i += 2 {
					select {
					case <-done:
						return
					default:
						failed[w] = write(i)
					}
				}
			})
		}
		stop := sync.OnceFunc(func() {
			close(done)
			writers.Wait()
		})
		defer stop()
		for range 50 {
			snap, err := s.store.Snapshot(s.ctx)
			require.NoError(s, err)
			var rows []row
			for _, column := range []string{"c0", "c1"} {
				more, err := collect(s.ctx, snap, storage.Range{Column: column, PageBytes: 64})
				require.NoError(s, err)
				rows = append(rows, more...)
			}
			require.NoError(s, snap.Close())
			require.Len(s, rows, keys)
			for _, r := range rows {
				require.Equal(s, rows[0].Value, r.Value, "rows of two batches in one snapshot")
			}
		}
		stop()
		require.NoError(s, errors.Join(failed...))
	}},
	{name: "deletes of a range leave no gap", run: func(s *suite) {
		// Each batch empties the column and puts one row: there is never another number of rows.
		parallel(s, 8, func(c int) (bool, error) {
			for i := range 25 {
				b := storage.Batch{ID: storage.NewBatchID()}
				b.DeleteRange("c", []byte{0}, nil)
				b.Put("c", fmt.Appendf(nil, "%d-%d", c, i), nil)
				if _, err := s.store.Apply(s.ctx, b); err != nil {
					return false, err
				}
			}
			return false, nil
		})
		require.Len(s, s.scan(storage.Range{Column: "c"}), 1)
	}},
}
