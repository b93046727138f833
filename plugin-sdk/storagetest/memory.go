package storagetest

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// NewMemory is a complete storage plugin that keeps everything in memory, for tests of what uses storage. It need not
// be configured. It passes Run.
func NewMemory() storage.Plugin { return NewMemoryLease(storage.SnapshotLease) }

// NewMemoryLease is NewMemory with another lease of snapshots.
func NewMemoryLease(lease time.Duration) storage.Plugin {
	return &memory{lease: lease, seen: make(map[storage.BatchID]struct{}), closed: make(chan struct{})}
}

// state is an immutable set of columns, so that a snapshot is a copy of the map.
type state map[string]*node

type memory struct {
	lease  time.Duration
	closed chan struct{}
	once   sync.Once

	mu    sync.RWMutex
	state state
	// seen has the ids in ring; next is the ring's oldest place.
	seen map[storage.BatchID]struct{}
	ring []storage.BatchID
	next int
}

func (m *memory) Info(context.Context) (base.Info, error) {
	return base.Info{
		Kind: storage.Kind, Name: "memory", Version: "1", Protocol: storage.Protocol,
		Capabilities: []string{storage.CapSnapshot, storage.CapStats, storage.CapCompact},
	}, nil
}

func (m *memory) Schema(context.Context) (base.Schema, error) { return base.Schema{}, nil }

func (m *memory) Configure(context.Context, base.Config) (diag.Diagnostics, error) { return nil, nil }

func (m *memory) Health(ctx context.Context) error { return m.ready(ctx) }

func (m *memory) Close(context.Context) error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *memory) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-m.closed:
		return errkind.Unavailable.Errorf("storage is closed")
	default:
		return nil
	}
}

func (m *memory) current() (state, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state, nil
}

func (m *memory) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	return m.get(ctx, keys, m.current)
}

func (m *memory) get(ctx context.Context, keys []storage.Key, view func() (state, error)) ([]storage.Value, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckKeys(keys); err != nil {
		return nil, err
	}
	s, err := view()
	if err != nil {
		return nil, err
	}
	values := make([]storage.Value, len(keys))
	for i, k := range keys {
		if n := s[k.Column].find(string(k.Key)); n != nil {
			values[i] = storage.Value{Bytes: bytes.Clone(n.value), Found: true}
		}
	}
	return values, nil
}

func (m *memory) Scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	return m.scan(ctx, r, page, m.current)
}

// scan takes the view anew for each page, as stores on disk do.
func (m *memory) scan(ctx context.Context, r storage.Range, page func([]storage.Item) error, view func() (state, error)) error {
	if err := r.Check(); err != nil {
		return err
	}
	start, end := string(r.Start), string(r.End)
	limit := cmp.Or(r.Limit, ^uint64(0))
	budget := cmp.Or(r.PageBytes, storage.DefaultPageBytes)
	for {
		if err := m.ready(ctx); err != nil {
			return err
		}
		s, err := view()
		if err != nil {
			return err
		}
		var items []storage.Item
		size, more := 0, false
		s[r.Column].walk(start, end, r.Reverse, func(n *node) bool {
			item := storage.Item{Key: []byte(n.key)}
			if !r.KeysOnly {
				item.Value = bytes.Clone(n.value)
			}
			size += len(item.Key) + len(item.Value)
			if len(items) > 0 && size > budget {
				more = true
				return false
			}
			items = append(items, item)
			return uint64(len(items)) < limit
		})
		if len(items) == 0 {
			return nil
		}
		limit -= uint64(len(items))
		last := string(items[len(items)-1].Key)
		if r.Reverse {
			end = last
		} else {
			start = last + "\x00"
		}
		if err := page(items); err != nil {
			return err
		}
		if !more || limit == 0 {
			return nil
		}
	}
}

func (m *memory) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	if err := m.ready(ctx); err != nil {
		return false, err
	}
	if err := b.Check(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.seen[b.ID]; ok {
		return true, nil
	}
	next := maps.Clone(m.state)
	if next == nil {
		next = state{}
	}
	for _, op := range b.Ops {
		root := next[op.Column]
		switch op.Kind {
		case storage.OpPut:
			root = root.put(string(op.Key), bytes.Clone(op.Value))
		case storage.OpDelete:
			root = root.cut(string(op.Key), string(op.Key)+"\x00")
		case storage.OpDeleteRange:
			root = root.cut(string(op.Key), string(op.End))
		}
		if root == nil {
			delete(next, op.Column)
		} else {
			next[op.Column] = root
		}
	}
	m.state = next
	m.remember(b.ID)
	return false, nil
}

func (m *memory) remember(id storage.BatchID) {
	m.seen[id] = struct{}{}
	if len(m.ring) < storage.RememberedBatches {
		m.ring = append(m.ring, id)
		return
	}
	delete(m.seen, m.ring[m.next])
	m.ring[m.next] = id
	m.next = (m.next + 1) % len(m.ring)
}

func (m *memory) Snapshot(ctx context.Context) (storage.Snapshot, error) {
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	s, err := m.current()
	if err != nil {
		return nil, err
	}
	snap := &memorySnapshot{m: m, state: s, used: time.Now()}
	snap.stop = context.AfterFunc(ctx, snap.end)
	return snap, nil
}

type memorySnapshot struct {
	m    *memory
	stop func() bool

	mu    sync.Mutex
	state state
	used  time.Time
	ended bool
}

func (s *memorySnapshot) view() (state, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.ended || now.Sub(s.used) > s.m.lease {
		s.ended, s.state = true, nil
		return nil, errkind.NotFound.Errorf("snapshot has ended (closed, or not used for %v)", s.m.lease)
	}
	s.used = now
	return s.state, nil
}

func (s *memorySnapshot) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.state = true, nil
}

func (s *memorySnapshot) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	return s.m.get(ctx, keys, s.view)
}

func (s *memorySnapshot) Scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	if _, err := s.view(); err != nil {
		return err
	}
	return s.m.scan(ctx, r, page, s.view)
}

func (s *memorySnapshot) Close() error {
	s.stop()
	s.end()
	return nil
}

func (m *memory) Stats(ctx context.Context) (storage.Stats, error) {
	if err := m.ready(ctx); err != nil {
		return storage.Stats{}, err
	}
	s, err := m.current()
	if err != nil {
		return storage.Stats{}, err
	}
	st := storage.Stats{Columns: make(map[string]uint64, len(s)), Engine: map[string]string{"engine": "memory"}}
	for name, root := range s {
		var size uint64
		root.walk("", "", false, func(n *node) bool {
			size += uint64(len(n.key) + len(n.value))
			return true
		})
		st.Columns[name] = size
	}
	return st, nil
}

func (m *memory) Compact(ctx context.Context) (before, after uint64, err error) {
	return 0, 0, m.ready(ctx)
}

// node is a treap that never changes once built: writers copy the path to what they change.
type node struct {
	key         string
	value       []byte
	priority    uint64
	left, right *node
}

func (n *node) find(key string) *node {
	for n != nil && n.key != key {
		if key < n.key {
			n = n.left
		} else {
			n = n.right
		}
	}
	return n
}

// split makes a tree of the keys below key and one of the others.
func (n *node) split(key string) (below, others *node) {
	if n == nil {
		return nil, nil
	}
	c := *n
	if n.key < key {
		c.right, others = n.right.split(key)
		return &c, others
	}
	below, c.left = n.left.split(key)
	return below, &c
}

// join makes one tree of two; all keys of n are below those of m.
func (n *node) join(m *node) *node {
	if n == nil {
		return m
	}
	if m == nil {
		return n
	}
	if n.priority > m.priority {
		c := *n
		c.right = n.right.join(m)
		return &c
	}
	c := *m
	c.left = n.join(m.left)
	return &c
}

func (n *node) put(key string, value []byte) *node {
	below, others := n.split(key)
	_, above := others.split(key + "\x00")
	return below.join(&node{key: key, value: value, priority: rand.Uint64()}).join(above)
}

// cut removes the keys in [start, end); an empty end means to the end.
func (n *node) cut(start, end string) *node {
	if end != "" && end <= start {
		return n
	}
	below, others := n.split(start)
	if end == "" {
		return below
	}
	_, above := others.split(end)
	return below.join(above)
}

// walk visits the keys in [start, end) in order until visit returns false, and tells whether it came to the end.
func (n *node) walk(start, end string, reverse bool, visit func(*node) bool) bool {
	if n == nil {
		return true
	}
	low, high := n.key >= start, end == "" || n.key < end
	first, second := n.left, n.right
	goFirst, goSecond := low, high
	if reverse {
		first, second, goFirst, goSecond = second, first, goSecond, goFirst
	}
	if goFirst && !first.walk(start, end, reverse, visit) {
		return false
	}
	if low && high && !visit(n) {
		return false
	}
	return !goSecond || second.walk(start, end, reverse, visit)
}
