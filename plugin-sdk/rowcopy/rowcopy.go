// Package rowcopy keeps a runtime plugin's copy of the rows of contexts
// (runtime-protocol.md §3). The core owns the truth; a copy only saves asking
// again, and dropping any of it at any moment changes nothing but speed.
package rowcopy

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// ErrBusy is a second execution on a context that has a running one.
var ErrBusy = errors.New("the context has a running execution")

// rowCost is what a row takes besides its value, in bytes: key, map and slice.
const rowCost = 128

// Cache holds the copies of all contexts. It may be used concurrently.
type Cache struct {
	max int

	mu       sync.Mutex
	bytes    int
	contexts map[domain.ContextID]*copied
	lru      *list.List // of *copied, most recently used first
}

// copied is one context. Its fields belong to the cache's lock.
type copied struct {
	id             domain.ContextID
	epoch, version uint64
	rows           map[runtime.Key]entry
	bytes          int
	place          *list.Element
	running        *Run

	// The overlay of the last execution, which is not part of the copy.
	exec  uint64
	aside []runtime.Row
}

type entry struct {
	value []byte
	found bool
}

// New makes a cache of at most maxBytes for rows and overlays together.
func New(maxBytes int) *Cache {
	return &Cache{max: maxBytes, contexts: make(map[domain.ContextID]*copied), lru: list.New()}
}

// Run is one execution's hold on a context. Row and Learn may be called from one
// goroutine, End once, by whoever called Begin.
type Run struct {
	c    *Cache
	ctx  context.Context
	copy *copied
	done chan struct{}
}

// Begin leads the copy of a context to s.Version and holds the context until
// End. ctx is the execution's: when the holder before has a context that ended,
// Begin waits for its End, otherwise it fails with ErrBusy. Steps that make no
// sense are an error of kind Invalid.
func (c *Cache) Begin(ctx context.Context, id domain.ContextID, s runtime.State) (*Run, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		k := c.contexts[id]
		if k == nil || k.running == nil {
			break
		}
		if k.running.ctx.Err() == nil {
			return nil, ErrBusy
		}
		done := k.running.done
		c.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	k := c.contexts[id]
	if k == nil {
		k = &copied{id: id, rows: make(map[runtime.Key]entry)}
		k.place = c.lru.PushFront(k)
		c.contexts[id] = k
	}
	c.lru.MoveToFront(k.place)
	c.lead(k, s)
	k.running = &Run{c: c, ctx: ctx, copy: k, done: make(chan struct{})}
	c.evict(k)
	return k.running, nil
}

func check(s runtime.State) error {
	if s.Epoch == 0 {
		return errkind.Invalid.Errorf("state without an epoch")
	}
	if len(s.Steps) > runtime.MaxSteps {
		return errkind.TooLarge.Errorf("%d state steps, at most %d are accepted", len(s.Steps), runtime.MaxSteps)
	}
	last := uint64(0)
	for _, step := range s.Steps {
		if step.To <= last || step.To > s.Version {
			return errkind.Invalid.Errorf("state steps lead to version %d after %d, towards %d", step.To, last, s.Version)
		}
		last = step.To
	}
	return nil
}

// lead applies the epoch and the steps.
func (c *Cache) lead(k *copied, s runtime.State) {
	if k.epoch != s.Epoch {
		c.empty(k)
		c.setAside(k, 0, nil)
		k.epoch, k.version = s.Epoch, 0
	}
	for _, step := range s.Steps {
		if step.To <= k.version {
			continue
		}
		if step.Reset || k.version != step.To-1 {
			c.empty(k)
		}
		c.apply(k, step)
		k.version = step.To
	}
	if k.version != s.Version {
		c.empty(k)
		k.version = s.Version
	}
	c.setAside(k, 0, nil)
	for _, r := range s.Ahead {
		c.put(k, r)
	}
}

func (c *Cache) apply(k *copied, step runtime.Step) {
	rows, lost := k.edited(step.Rows)
	if step.AcceptExec != 0 {
		if k.exec == step.AcceptExec {
			overlay := k.aside
			c.setAside(k, 0, nil)
			for _, r := range overlay {
				c.put(k, r)
			}
		} else {
			c.empty(k)
		}
	}
	for _, r := range rows {
		c.put(k, r)
	}
	for _, key := range lost {
		c.remove(k, key)
	}
	for _, key := range step.Forget {
		c.remove(k, key)
	}
}

// edited makes the edits of a step's rows, before its overlay is taken over. Rows of which the copy does not have the
// value are lost.
func (k *copied) edited(rows []runtime.Row) (whole []runtime.Row, lost []runtime.Key) {
	if !slices.ContainsFunc(rows, func(r runtime.Row) bool { return len(r.Edits) > 0 }) {
		return rows, nil
	}
	now := make(map[runtime.Key]entry, len(rows)) // what the rows so far make of it
	for _, r := range rows {
		if len(r.Edits) > 0 {
			e, ok := now[r.Key]
			if !ok {
				e = k.rows[r.Key]
			}
			if !e.found || !engine.Fits(e.value, r.Edits) {
				now[r.Key] = entry{}
				lost = append(lost, r.Key)
				continue
			}
			r = runtime.Row{Key: r.Key, Value: engine.Edited(e.value, r.Edits)}
		}
		now[r.Key] = entry{value: r.Value, found: !r.Absent}
		whole = append(whole, r)
	}
	return whole, lost
}

func (c *Cache) put(k *copied, r runtime.Row) {
	c.remove(k, r.Key)
	e := entry{value: r.Value, found: !r.Absent}
	if r.Absent {
		e.value = nil
	}
	k.rows[r.Key] = e
	c.grow(k, rowCost+len(e.value))
}

func (c *Cache) remove(k *copied, key runtime.Key) {
	if e, ok := k.rows[key]; ok {
		delete(k.rows, key)
		c.grow(k, -rowCost-len(e.value))
	}
}

func (c *Cache) grow(k *copied, n int) {
	k.bytes += n
	c.bytes += n
}

func (c *Cache) empty(k *copied) {
	size := 0
	for _, e := range k.rows {
		size += rowCost + len(e.value)
	}
	clear(k.rows)
	c.grow(k, -size)
}

func (c *Cache) setAside(k *copied, exec uint64, rows []runtime.Row) {
	c.grow(k, sizeOf(rows)-sizeOf(k.aside))
	k.exec, k.aside = exec, rows
}

func sizeOf(rows []runtime.Row) int {
	n := 0
	for _, r := range rows {
		n += rowCost + len(r.Value)
	}
	return n
}

// evict drops the least recently used contexts until the rest fits; the one in
// use goes last and only loses its rows. Contexts of other running executions
// lose their rows too.
func (c *Cache) evict(current *copied) {
	for e := c.lru.Back(); e != nil && c.bytes > c.max; {
		k := e.Value.(*copied)
		e = e.Prev()
		if k != current {
			c.drop(k)
		}
	}
	if c.bytes > c.max {
		c.empty(current)
	}
	if c.bytes > c.max {
		c.setAside(current, 0, nil)
	}
}

// drop forgets a context; while it is running, only what is known of it. Its
// version stays: rows learned from now on belong to it.
func (c *Cache) drop(k *copied) {
	c.empty(k)
	c.setAside(k, 0, nil)
	if k.running == nil {
		c.lru.Remove(k.place)
		delete(c.contexts, k.id)
	}
}

// Forget drops the copies of contexts. Unknown ones are ignored.
func (c *Cache) Forget(ids ...domain.ContextID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if k := c.contexts[id]; k != nil {
			c.drop(k)
		}
	}
}

// Bytes returns what the copies take.
func (c *Cache) Bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Row returns a row of the copy; known is false when the core has to be asked.
func (r *Run) Row(key runtime.Key) (value []byte, found, known bool) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	e, ok := r.copy.rows[key]
	return e.value, e.found, ok
}

// Learn adds rows the core sent for this execution, and the asked keys that are
// not among them as absent. The rows' values are kept.
func (r *Run) Learn(rows []runtime.Row, asked []runtime.Key) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	got := make(map[runtime.Key]bool, len(rows))
	for _, row := range rows {
		c.put(r.copy, row)
		got[row.Key] = true
	}
	for _, key := range asked {
		if !got[key] {
			c.put(r.copy, runtime.Row{Key: key, Absent: true})
		}
	}
	c.evict(r.copy)
}

// End releases the context and keeps the overlay aside under exec until the
// next Begin says what became of it. The overlay's values are kept.
func (r *Run) End(exec uint64, overlay []runtime.Row) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	r.copy.running = nil
	close(r.done)
	c.setAside(r.copy, exec, overlay)
	c.evict(r.copy)
}
