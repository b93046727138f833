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
	return &store{rows: map[string]map[string][]byte{}, sorted: map[string][]string{}, applied: map[storage.BatchID]bool{}}
}

type store struct {
	mu      sync.Mutex
	closed  bool
	rows    map[string]map[string][]byte // by column and key
	sorted  map[string][]string          // keys of a column in order, once it was scanned and until it changes
	applied map[storage.BatchID]bool
	latest  []storage.BatchID // those in applied, oldest first
}

func (s *store) Info(context.Context) (base.Info, error) {
	return base.Info{Kind: storage.Kind, Name: "memory", Version: "1", Protocol: storage.Protocol}, nil
}

func (s *store) Schema(context.Context) (base.Schema, error) { return base.Schema{}, nil }

func (s *store) Configure(context.Context, base.Config) (diag.Diagnostics, error) { return nil, nil }

func (s *store) Health(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready()
}

func (s *store) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *store) ready() error {
	if s.closed {
		return errkind.Unavailable.Errorf("storage is closed")
	}
	return nil
}

func (s *store) Get(_ context.Context, keys []storage.Key) ([]storage.Value, error) {
	if err := storage.CheckKeys(keys); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([]storage.Value, len(keys))
	for i, k := range keys {
		v, found := s.rows[k.Column][string(k.Key)]
		values[i] = storage.Value{Bytes: bytes.Clone(v), Found: found}
	}
	return values, s.ready()
}

func (s *store) Apply(_ context.Context, b storage.Batch) (replayed bool, err error) {
	if err := b.Check(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil || s.applied[b.ID] {
		return err == nil, err
	}
	for _, op := range b.Ops {
		rows := s.rows[op.Column]
		switch {
		case op.Kind == storage.OpPut && rows == nil:
			s.rows[op.Column] = map[string][]byte{string(op.Key): bytes.Clone(op.Value)}
		case op.Kind == storage.OpPut:
			rows[string(op.Key)] = bytes.Clone(op.Value)
		case op.Kind == storage.OpDelete:
			delete(rows, string(op.Key))
		case op.Kind == storage.OpDeleteRange:
			maps.DeleteFunc(rows, func(k string, _ []byte) bool {
				return k >= string(op.Key) && (len(op.End) == 0 || k < string(op.End))
			})
		}
		delete(s.sorted, op.Column)
	}
	s.applied[b.ID], s.latest = true, append(s.latest, b.ID)
	if len(s.latest) > storage.RememberedBatches {
		delete(s.applied, s.latest[0])
		s.latest = s.latest[1:]
	}
	return false, nil
}

func (s *store) Scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	if err := r.Check(); err != nil {
		return err
	}
	left := cmp.Or(r.Limit, ^uint64(0))
	for {
		items, err := s.page(r, left)
		if err = cmp.Or(err, ctx.Err()); err != nil || len(items) == 0 {
			return err
		}
		if last := items[len(items)-1].Key; r.Reverse {
			r.End = bytes.Clone(last)
		} else {
			r.Start = append(bytes.Clone(last), 0)
		}
		left -= uint64(len(items))
		if err := page(items); err != nil || left == 0 {
			return err
		}
	}
}

// page takes the first rows of r, as many as fit a page.
func (s *store) page(r storage.Range, left uint64) ([]storage.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, ok := s.sorted[r.Column]
	if !ok {
		keys = slices.Sorted(maps.Keys(s.rows[r.Column]))
		s.sorted[r.Column] = keys
	}
	from, _ := slices.BinarySearch(keys, string(r.Start))
	to := len(keys)
	if len(r.End) > 0 {
		to, _ = slices.BinarySearch(keys, string(r.End))
	}
	var items []storage.Item
	for budget := cmp.Or(r.PageBytes, storage.DefaultPageBytes); from < to && uint64(len(items)) < left; {
		k := keys[from]
		if r.Reverse {
			k = keys[to-1]
		}
		item := storage.Item{Key: []byte(k)}
		if !r.KeysOnly {
			item.Value = bytes.Clone(s.rows[r.Column][k])
		}
		if budget -= len(item.Key) + len(item.Value); budget < 0 && len(items) > 0 {
			break
		}
		items = append(items, item)
		if r.Reverse {
			to--
		} else {
			from++
		}
	}
	return items, s.ready()
}

// What is not announced as a capability is not called; kind Unsupported says so.
func (s *store) Snapshot(context.Context) (storage.Snapshot, error) { return nil, errkind.Unsupported }

func (s *store) Stats(context.Context) (storage.Stats, error) { return storage.Stats{}, errkind.Unsupported }

func (s *store) Compact(context.Context) (before, after uint64, err error) {
	return 0, 0, errkind.Unsupported
}
