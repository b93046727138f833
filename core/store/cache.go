package store

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/plugin-sdk/storage"
)

const (
	// entryOverhead is roughly what a cached row takes beside its bytes.
	entryOverhead = 160
	// quarantine is how long a row that a failed commit touched is not cached: the storage may still apply it.
	quarantine = 2 * attemptTime
)

// cache keeps encoded rows, and that rows are absent. Its rule: a row is only put in when no commit that touches it was
// under way at any moment between the start of the read it comes from and now. Commits announce their writes (claim)
// before they start and end the claim when the storage has answered. A commit puts its own values in if no other claim
// of the row overlapped its own.
type cache struct {
	max  int
	hits *prometheus.CounterVec

	mu     sync.Mutex
	rows   *simplelru.LRU[string, storage.Value]
	size   int
	fills  map[string]*fill
	keys   map[string]*keyClaim
	ranges map[*rangeClaim]struct{}
}

// fill is a row being read.
type fill struct {
	readers int
	stale   bool
}

// keyClaim is a row being written.
type keyClaim struct {
	writers   int
	contested bool
	until     time.Time // of quarantine
}

// rangeClaim is a prefix being removed.
type rangeClaim struct {
	prefix string
	until  time.Time // of quarantine; zero while the commit runs
}

func newCache(maxBytes int, reg prometheus.Registerer) *cache {
	c := &cache{
		max: maxBytes, fills: map[string]*fill{}, keys: map[string]*keyClaim{}, ranges: map[*rangeClaim]struct{}{},
		hits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "store", Name: "cache_reads_total", Help: "Reads of hot rows by result.",
		}, []string{"result"}),
	}
	if reg != nil {
		reg.MustRegister(c.hits)
	}
	// The bound is in bytes; the LRU's own is out of reach.
	rows, err := simplelru.NewLRU(1<<30, func(key string, v storage.Value) { c.size -= rowSize(key, v) })
	if err != nil {
		panic(err) // only for a size below one
	}
	c.rows = rows
	return c
}

func cacheKey(column string, key []byte) string { return column + "\x00" + string(key) }

func rowSize(key string, v storage.Value) int { return len(key) + len(v.Bytes) + entryOverhead }

// read answers keys from the cache and the others from fetch.
func (c *cache) read(keys []storage.Key, fetch func([]storage.Key) ([]storage.Value, error)) ([]storage.Value, error) {
	values := make([]storage.Value, len(keys))
	var missing []storage.Key
	var places []int
	var fills []*fill
	c.mu.Lock()
	for i, k := range keys {
		name := cacheKey(k.Column, k.Key)
		if v, ok := c.rows.Get(name); ok {
			values[i] = v
			continue
		}
		missing, places, fills = append(missing, k), append(places, i), append(fills, c.beginFill(name))
	}
	c.mu.Unlock()
	c.hits.WithLabelValues("hit").Add(float64(len(keys) - len(missing)))
	if len(missing) == 0 {
		return values, nil
	}
	c.hits.WithLabelValues("miss").Add(float64(len(missing)))

	got, err := fetch(missing)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range missing {
		var v *storage.Value
		if err == nil {
			v = &got[i]
			values[places[i]] = got[i]
		}
		c.endFill(cacheKey(k.Column, k.Key), fills[i], v)
	}
	return values, err
}

// beginFill is nil when the row is being written.
func (c *cache) beginFill(name string) *fill {
	if c.claimed(name) {
		return nil
	}
	f := c.fills[name]
	if f == nil {
		f = &fill{}
		c.fills[name] = f
	}
	f.readers++
	return f
}

func (c *cache) endFill(name string, f *fill, v *storage.Value) {
	if f == nil {
		return
	}
	if f.readers--; f.readers == 0 && c.fills[name] == f {
		delete(c.fills, name)
	}
	if v != nil && !f.stale {
		c.set(name, *v)
	}
}

// claimed tells whether a commit of the row is under way or of unknown outcome.
func (c *cache) claimed(name string) bool {
	now := time.Now()
	if k := c.keys[name]; k != nil {
		if k.writers > 0 || now.Before(k.until) {
			return true
		}
		delete(c.keys, name)
	}
	for r := range c.ranges {
		if strings.HasPrefix(name, r.prefix) {
			if r.until.IsZero() || now.Before(r.until) {
				return true
			}
			delete(c.ranges, r)
		}
	}
	return false
}

func (c *cache) set(name string, v storage.Value) {
	if rowSize(name, v) > c.max/16 {
		return // it would push out too many others
	}
	if old, ok := c.rows.Peek(name); ok {
		c.size -= rowSize(name, old)
	}
	c.rows.Add(name, v)
	c.size += rowSize(name, v)
	for c.size > c.max {
		if _, _, ok := c.rows.RemoveOldest(); !ok {
			return
		}
	}
}

// cacheClaim is what one commit announced.
type cacheClaim struct {
	c      *cache
	values map[string]storage.Value
	ranges []*rangeClaim
}

// claim drops the rows that a commit will touch and keeps readers from caching them until release.
func (c *cache) claim(writes []write) *cacheClaim {
	if len(writes) == 0 {
		return nil
	}
	claim := &cacheClaim{c: c, values: map[string]storage.Value{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range writes {
		name := cacheKey(string(w.column), w.key)
		if w.prefix {
			c.claimRange(claim, name)
			continue
		}
		if _, again := claim.values[name]; !again {
			c.claimKey(name)
		}
		claim.values[name] = w.value // the last write of a row counts
	}
	return claim
}

func (c *cache) claimKey(name string) {
	busy := c.claimed(name)
	c.drop(name)
	k := c.keys[name]
	if k == nil {
		k = &keyClaim{}
		c.keys[name] = k
	}
	k.writers++
	k.contested = k.contested || busy
}

func (c *cache) claimRange(claim *cacheClaim, prefix string) {
	r := &rangeClaim{prefix: prefix}
	c.ranges[r] = struct{}{}
	claim.ranges = append(claim.ranges, r)
	for name, k := range c.keys {
		if strings.HasPrefix(name, prefix) {
			k.contested = true
		}
	}
	for _, name := range c.rows.Keys() {
		if strings.HasPrefix(name, prefix) {
			c.rows.Remove(name)
		}
	}
	for name, f := range c.fills {
		if strings.HasPrefix(name, prefix) {
			f.stale = true
			delete(c.fills, name)
		}
	}
}

func (c *cache) drop(name string) {
	c.rows.Remove(name)
	if f := c.fills[name]; f != nil {
		f.stale = true
		delete(c.fills, name)
	}
}

// release ends the claim. Only a commit that took place and was alone puts its values in.
func (claim *cacheClaim) release(committed bool) {
	if claim == nil {
		return
	}
	c := claim.c
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range claim.ranges {
		if committed {
			delete(c.ranges, r)
		} else {
			r.until = now.Add(quarantine)
		}
	}
	for name, value := range claim.values {
		k := c.keys[name]
		k.writers--
		if !committed {
			k.contested, k.until = true, now.Add(quarantine)
		}
		if k.writers > 0 || now.Before(k.until) {
			continue
		}
		delete(c.keys, name)
		if !k.contested {
			c.set(name, storage.Value{Bytes: slices.Clone(value.Bytes), Found: value.Found})
		}
	}
	if !committed {
		c.sweep(now)
	}
}

// sweep forgets quarantines that are over, so that failures do not pile up.
func (c *cache) sweep(now time.Time) {
	for name, k := range c.keys {
		if k.writers == 0 && now.After(k.until) {
			delete(c.keys, name)
		}
	}
	for r := range c.ranges {
		if !r.until.IsZero() && now.After(r.until) {
			delete(c.ranges, r)
		}
	}
}
