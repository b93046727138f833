package pluginhost

import (
	"context"

	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Storage is the store behind a handle. Get, the start of a Scan, Apply (by its batch id), Snapshot and Stats are
// repeated once when the process ends under them.
func Storage(h *Handle[storage.Plugin]) storage.Store { return store{h} }

type store struct{ h *Handle[storage.Plugin] }

var _ storage.Store = store{}

func (s store) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	return Call(ctx, s.h, "Get", Repeatable, func(ctx context.Context, p storage.Plugin) ([]storage.Value, error) {
		return p.Get(ctx, keys)
	})
}

func (s store) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	return Call(ctx, s.h, "Apply", Repeatable, func(ctx context.Context, p storage.Plugin) (bool, error) {
		return p.Apply(ctx, b)
	})
}

func (s store) Scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	paged := false
	_, _, err := call(ctx, s.h, "Scan", Repeatable|Streaming, func() bool { return !paged },
		func(ctx context.Context, p storage.Plugin) (struct{}, error) {
			return struct{}{}, p.Scan(ctx, r, func(items []storage.Item) error {
				paged = true
				return page(items)
			})
		})
	return err
}

func (s store) Stats(ctx context.Context) (storage.Stats, error) {
	return Call(ctx, s.h, "Stats", Repeatable, func(ctx context.Context, p storage.Plugin) (storage.Stats, error) {
		return p.Stats(ctx)
	})
}

func (s store) Compact(ctx context.Context) (before, after uint64, err error) {
	sizes, err := Call(ctx, s.h, "Compact", Once, func(ctx context.Context, p storage.Plugin) ([2]uint64, error) {
		b, a, err := p.Compact(ctx)
		return [2]uint64{b, a}, err
	})
	return sizes[0], sizes[1], err
}

// Snapshot opens a view of one process; it ends with that process.
func (s store) Snapshot(ctx context.Context) (storage.Snapshot, error) {
	return Call(ctx, s.h, "Snapshot", Repeatable, func(ctx context.Context, p storage.Plugin) (storage.Snapshot, error) {
		return p.Snapshot(ctx)
	})
}
