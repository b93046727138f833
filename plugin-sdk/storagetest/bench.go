package storagetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Bench measures commits and reads of the sizes a node has: a call writes a dozen rows of about 100 bytes and reads
// sixty.
func Bench(b *testing.B, f Factory) {
	ctx := context.Background()
	store := func(b *testing.B) storage.Plugin {
		b.Helper()
		s := f.New(b)
		b.Cleanup(func() {
			if err := s.Close(ctx); err != nil {
				b.Errorf("close the store: %v", err)
			}
		})
		return s
	}
	for _, writers := range []int{1, 8} {
		b.Run(fmt.Sprintf("Apply/writers=%d", writers), func(b *testing.B) {
			s := store(b)
			var n atomic.Int64
			run(b, writers, func() error {
				_, err := s.Apply(ctx, benchBatch(n.Add(1)))
				return err
			})
		})
	}
	for _, keys := range []int{1, 60} {
		b.Run(fmt.Sprintf("Get/keys=%d", keys), func(b *testing.B) {
			s := filled(b, store(b))
			ask := make([]storage.Key, keys)
			for i := range ask {
				ask[i] = storage.Key{Column: "c", Key: key(i * 97)}
			}
			run(b, 1, func() error {
				_, err := s.Get(ctx, ask)
				return err
			})
		})
	}
	for _, rows := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("Scan/rows=%d", rows), func(b *testing.B) {
			s := filled(b, store(b))
			run(b, 1, func() error {
				return s.Scan(ctx, storage.Range{Column: "c", Limit: uint64(rows)}, func([]storage.Item) error { return nil })
			})
		})
	}
}

func run(b *testing.B, callers int, f func() error) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	var n atomic.Int64
	errs := make(chan error, callers)
	for range callers {
		go func() {
			for n.Add(1) <= int64(b.N) {
				if err := f(); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			b.Error(err)
		}
	}
}

func benchBatch(n int64) storage.Batch {
	b := storage.Batch{ID: storage.NewBatchID()}
	for i := range int64(12) {
		b.Put("state", fmt.Appendf(nil, "%032x-%016x", i, n%1000), make([]byte, 100))
	}
	return b
}

func filled(b *testing.B, s storage.Plugin) storage.Plugin {
	b.Helper()
	batch := storage.Batch{ID: storage.NewBatchID()}
	for i := range 10_000 {
		batch.Put("c", key(i), make([]byte, 100))
	}
	if _, err := s.Apply(context.Background(), batch); err != nil {
		b.Fatal(err)
	}
	return s
}
