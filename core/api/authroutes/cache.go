package authroutes

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/calimero-go/core/plugin-sdk/auth"
)

// cacheSize bounds the remembered grants.
const cacheSize = 4096

// errKeyGone is the cause by which the context of a lasting request ends when its key was revoked or changed, or when
// the auth plugin cannot tell any more.
var errKeyGone = errors.New("the caller's key was revoked or changed")

type cacheKey [sha256.Size]byte

// keyOf mixes host and token so that neither can stand for a part of the other.
func keyOf(token, host string) cacheKey {
	t := sha256.Sum256([]byte(token))
	return sha256.Sum256(append(t[:], host...))
}

// cache remembers verified tokens while a watch of the plugin runs, and knows the lasting requests.
type cache struct {
	now func() time.Time

	mu     sync.Mutex
	grants *lru.Cache[cacheKey, auth.Grant]
	// watch numbers the watches; watching says that the latest still runs, up to event sequence.
	watch    uint64
	watching bool
	sequence uint64
	streams  map[*stream]struct{}
}

type stream struct {
	keyID, rootID string
	end           context.CancelCauseFunc
}

func newCache(now func() time.Time) *cache {
	grants, err := lru.New[cacheKey, auth.Grant](cacheSize)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &cache{now: now, grants: grants, streams: make(map[*stream]struct{})}
}

// get answers a grant that is still good.
func (c *cache) get(k cacheKey) (auth.Grant, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.grants.Get(k)
	if ok && !c.now().Before(g.Expires) {
		c.grants.Remove(k)
		return auth.Grant{}, false
	}
	return g, ok
}

// begin is called before a verification; its answer goes to put.
func (c *cache) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watch
}

// put remembers a grant unless something happened since begin that it may not take into account.
func (c *cache) put(k cacheKey, g auth.Grant, watch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watching && c.watch == watch && g.Sequence >= c.sequence {
		c.grants.Add(k, g)
	}
}

// event takes an event of a watch.
func (c *cache) event(e auth.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Kind == auth.EventStarted {
		c.watch++
		c.watching = true
		c.sequence = e.Sequence
		return
	}
	c.sequence = e.Sequence
	for _, k := range c.grants.Keys() {
		if g, ok := c.grants.Peek(k); ok && (g.KeyID == e.KeyID || g.RootKeyID == e.KeyID) {
			c.grants.Remove(k)
		}
	}
	for s := range c.streams {
		if s.keyID == e.KeyID || s.rootID == e.KeyID {
			s.end(errKeyGone)
		}
	}
}

// drop forgets everything: the watch is over.
func (c *cache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch++
	c.watching = false
	c.grants.Purge()
	for s := range c.streams {
		s.end(errKeyGone)
	}
}

// enter registers a lasting request by the caller of a remembered grant; false when it is not remembered, which only the
// watch can say is still good.
func (c *cache) enter(ctx context.Context, k cacheKey) (context.Context, func(), bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.grants.Peek(k)
	if !ok || !c.watching {
		return nil, nil, false
	}
	ctx, end := context.WithCancelCause(ctx)
	s := &stream{keyID: g.KeyID, rootID: g.RootKeyID, end: end}
	c.streams[s] = struct{}{}
	return ctx, func() {
		c.mu.Lock()
		delete(c.streams, s)
		c.mu.Unlock()
		end(nil)
	}, true
}
