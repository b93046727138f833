// A storage plugin that keeps everything in memory: a node that uses it forgets all when the plugin ends. It is the
// smallest complete storage plugin, to be copied by authors of others (docs/plugins.md).
package main

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

func main() { serve.Storage(newStore) }

func newStore() storage.Plugin {
	return &store{columns: map[string]map[string][]byte{}, applied: map[storage.BatchID]bool{}}
}

type store struct {
	storage.NoCapabilities
	mu      sync.Mutex
	columns map[string]map[string][]byte // values by column and key; nil once closed
	applied map[storage.BatchID]bool
	latest  []storage.BatchID // those in applied, oldest first
}

func (s *store) Info(context.Context) (base.Info, error) {
	return base.Info{Kind: storage.Kind, Name: "memory", Version: "1", Protocol: storage.Protocol}, nil
}

func (s *store) Schema(context.Context) (base.Schema, error)                      { return base.Schema{}, nil }
func (s *store) Configure(context.Context, base.Config) (diag.Diagnostics, error) { return nil, nil }
func (s *store) Health(ctx context.Context) error                                 { return s.use(ctx, func() {}) }

func (s *store) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.columns = nil
	return nil
}

// use runs f while nothing else uses the store.
func (s *store) use(ctx context.Context, f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.columns == nil {
		return errkind.Unavailable.Errorf("storage is closed")
	}
	if ctx.Err() == nil {
		f()
	}
	return ctx.Err()
}

func (s *store) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	if err := storage.CheckKeys(keys); err != nil {
		return nil, err
	}
	values := make([]storage.Value, len(keys))
	return values, s.use(ctx, func() {
		for i, k := range keys {
			v, found := s.columns[k.Column][string(k.Key)]
			values[i] = storage.Value{Bytes: bytes.Clone(v), Found: found}
		}
	})
}

func (s *store) Apply(ctx context.Context, b storage.Batch) (replayed bool, err error) {
	if err := b.Check(); err != nil {
		return false, err
	}
	err = s.use(ctx, func() {
		if replayed = s.applied[b.ID]; !replayed {
			s.apply(b)
		}
	})
	return replayed, err
}

func (s *store) apply(b storage.Batch) {
	for _, op := range b.Ops {
		column := s.columns[op.Column]
		switch {
		case op.Kind == storage.OpPut && column == nil:
			s.columns[op.Column] = map[string][]byte{string(op.Key): bytes.Clone(op.Value)}
		case op.Kind == storage.OpPut:
			column[string(op.Key)] = bytes.Clone(op.Value)
		case op.Kind == storage.OpDelete:
			delete(column, string(op.Key))
		case op.Kind == storage.OpDeleteRange:
			maps.DeleteFunc(column, func(k string, _ []byte) bool { return within(k, op.Key, op.End) })
		}
	}
	s.applied[b.ID], s.latest = true, append(s.latest, b.ID)
	if len(s.latest) > storage.RememberedBatches {
		delete(s.applied, s.latest[0])
		s.latest = s.latest[1:]
	}
}

func within(k string, start, end []byte) bool {
	return k >= string(start) && (len(end) == 0 || k < string(end))
}

// Scan copies all rows at once, so that it shows one moment, and hands them out in pages.
func (s *store) Scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	if err := r.Check(); err != nil {
		return err
	}
	var items []storage.Item
	err := s.use(ctx, func() {
		for k, v := range s.columns[r.Column] {
			if r.KeysOnly {
				v = nil
			}
			if within(k, r.Start, r.End) {
				items = append(items, storage.Item{Key: []byte(k), Value: bytes.Clone(v)})
			}
		}
	})
	slices.SortFunc(items, func(a, b storage.Item) int { return bytes.Compare(a.Key, b.Key) })
	if r.Reverse {
		slices.Reverse(items)
	}
	items = items[:min(uint64(len(items)), cmp.Or(r.Limit, 1<<63))]
	for err == nil && len(items) > 0 {
		n, size := 0, 0
		for ; n < len(items); n++ {
			size += len(items[n].Key) + len(items[n].Value)
			if n > 0 && size > cmp.Or(r.PageBytes, storage.DefaultPageBytes) {
				break
			}
		}
		if err = page(items[:n:n]); err == nil {
			err = ctx.Err()
		}
		items = items[n:]
	}
	return err
}
