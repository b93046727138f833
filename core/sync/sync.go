// Package sync is the SyncManager: it brings the deltas of contexts from node to node (docs/design/sync.md). It publishes
// what this node commits, verifies what others publish, and catches up with them over streams; state and pending deltas
// are core/contexts' part, connections core/network's. What comes from a peer is bounded in size, number and time, and
// nothing of it reaches a context before it is verified.
package sync

import (
	"context"
	"log/slog"
	stdsync "sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Options of the manager. What is zero gets the default named with it.
type Options struct {
	Network  Network
	Contexts Contexts
	Identity *identity.Service
	DB       *store.DB
	Access   AccessFunc
	// GroupDeltas serves governance ops; nil: none.
	GroupDeltas GroupDeltas
	// OpenBlob serves blobs to nodes of the reference that join; nil: none.
	OpenBlob OpenBlob
	// ServeBlob answers on a stream of the extension that begins with a BlobOpen, until it ends; nil: none.
	ServeBlob func(ctx context.Context, s Stream, asked wire.BlobOpen)
	// ServeGroup answers on a stream of the extension that begins with a GroupHello, until it ends with an error; nil: none.
	ServeGroup func(ctx context.Context, s Stream, hello wire.GroupHello) error
	// AcceptUnsigned says whether deltas count that their author has not signed and that do not come from a node that
	// has proven to be the author's. Nil: while a node without the extension is connected in the context.
	AcceptUnsigned *bool
	// Heartbeat (30 s) is how often the node says where its contexts are.
	Heartbeat time.Duration
	// Frequency (10 s) is how often a context is compared with that of some peer. Interval (half of it) is the rest that
	// a context has after any attempt; only a reason to think that something is missing breaks it.
	Frequency, Interval time.Duration
	// Retry (500 ms) and RetryMax (1 min) are the pauses after a failed synchronisation, doubling.
	Retry, RetryMax time.Duration
	// Republish (1 s) is the first pause, doubling, before a delta is published again that no peer is known to have.
	Republish time.Duration
	// Timeout (30 s) is how long an attempt to synchronise a context goes on with peers that bring nothing. While a peer
	// brings deltas the attempt goes on, Whole (5 min) at most with each.
	Timeout, Whole time.Duration
	// Idle (30 s) ends a stream on which nothing is asked, Answer (a third of Timeout) one on which nothing is answered.
	Idle, Answer time.Duration
	// MaxWalk (4,194,304) is how far back, in deltas, one synchronisation looks for what is missing.
	MaxWalk int
	// MaxConcurrent (16) is the number of synchronisations at once.
	MaxConcurrent int
	Registerer    prometheus.Registerer
	Logger        *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&o.Heartbeat, 30 * time.Second}, {&o.Frequency, 10 * time.Second}, {&o.Retry, 500 * time.Millisecond},
		{&o.RetryMax, time.Minute}, {&o.Republish, time.Second}, {&o.Idle, 30 * time.Second}, {&o.Answer, o.Timeout / 3},
		{&o.Whole, 5 * time.Minute},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if o.Interval <= 0 {
		o.Interval = o.Frequency / 2
	}
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 16
	}
	if o.MaxWalk <= 0 {
		o.MaxWalk = 4 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Manager is the SyncManager. Its methods are safe for concurrent use; outside of Serve they have no effect beyond
// noting what is to be done, and streams are refused.
type Manager struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	peers   *peerBook

	gossipRate  *limiter // messages of a source
	requestRate *limiter // requests of a peer
	hearsayRate *limiter // messages in a context that no member has signed, from peers that have not proven to be one
	greetRate   *limiter // entries of a peer into a context's topic
	places      chan struct{}
	reading     chan struct{} // reads of deltas of unknown size
	large       largeAnswers
	keys        flights
	headers     headers
	asked       reported // requests that cannot be served, peers that have another root, refused deltas

	// generation counts the changes of groups, from 1.
	generation atomic.Uint64

	tasks   actor.Tasks // while it serves
	mu      stdsync.Mutex
	follows map[domain.ContextID]*follow
}

// Rates at which a peer is served; an honest one stays far below them.
const (
	gossipPerSecond, gossipBurst     = 2000, 8000
	requestsPerSecond, requestsBurst = 2000, 8000
	hearsayPerSecond, hearsayBurst   = 100, 500
	greetsPerSecond, greetsBurst     = 0.2, 5
)

// New makes the manager.
func New(opts Options) *Manager {
	opts = opts.withDefaults()
	m := &Manager{
		opts: opts, log: opts.Logger, metrics: newMetrics(opts.Registerer), peers: newPeerBook(opts.Network),
		gossipRate: newLimiter(gossipPerSecond, gossipBurst), requestRate: newLimiter(requestsPerSecond, requestsBurst),
		hearsayRate: newLimiter(hearsayPerSecond, hearsayBurst), greetRate: newLimiter(greetsPerSecond, greetsBurst),
		places: make(chan struct{}, opts.MaxConcurrent), reading: make(chan struct{}, readers), large: newLargeAnswers(),
		follows: map[domain.ContextID]*follow{},
	}
	m.generation.Store(1)
	return m
}

// Serve follows all contexts of the node, and works until ctx ends. It returns ctx's error once all it began is over.
func (m *Manager) Serve(ctx context.Context) error {
	all, err := m.opts.Contexts.List(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	m.tasks.Begin(ctx)
	defer m.tasks.End()
	defer cancel()
	for _, c := range all {
		if err := m.Follow(ctx, c.ID); err != nil {
			return err
		}
	}
	m.tick(ctx)
	return ctx.Err()
}

// Follow enters the topic of a context, and keeps its copy here and those of others together from now on. A context that
// is followed already is synchronised at once.
func (m *Manager) Follow(ctx context.Context, id domain.ContextID) error {
	f, _ := m.followed(id)
	if err := m.opts.Network.Subscribe(ctx, wire.ContextTopic(id)); err != nil {
		return err
	}
	f.request("")
	return nil
}

// Unfollow leaves the topic of a context.
func (m *Manager) Unfollow(ctx context.Context, id domain.ContextID) error {
	m.mu.Lock()
	f, ok := m.follows[id]
	delete(m.follows, id)
	m.mu.Unlock()
	if !ok {
		return nil
	}
	m.headers.forget(f)
	m.peers.leave(id)
	return m.opts.Network.Unsubscribe(ctx, wire.ContextTopic(id))
}

// follow is the context's; nil when it is not followed.
func (m *Manager) follow(id domain.ContextID) *follow {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.follows[id]
}

// followed is the context's, made if need be.
func (m *Manager) followed(id domain.ContextID) (f *follow, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f = m.follows[id]
	if fresh = f == nil; fresh {
		f = newFollow(m, id)
		m.follows[id] = f
	}
	return f, fresh
}

func (m *Manager) allFollows() []*follow {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*follow, 0, len(m.follows))
	for _, f := range m.follows {
		all = append(all, f)
	}
	return all
}

// PeerSubscribed tells that a peer entered a topic: it hears where the context is, and is asked the same.
func (m *Manager) PeerSubscribed(p PeerID, topic string) {
	id, err := domain.ParseContextID(topic)
	if err != nil {
		return // the topic of something else
	}
	if f := m.follow(id); f != nil {
		f.met(p)
	}
}

// Sync brings a context together with that of some peer now; the error is of the last peer tried: kind NotFound when the
// context is not followed, Unavailable without a peer, Unsupported when a peer has no deltas to give.
func (m *Manager) Sync(ctx context.Context, id domain.ContextID) error {
	f := m.follow(id)
	if f == nil {
		return errkind.NotFound.Errorf("context %s is not followed", id)
	}
	return f.sync(ctx)
}

// Retry tries to bring a context together with its peers at once, whatever failed before: what it lacked is here now.
func (m *Manager) Retry(id domain.ContextID) {
	f := m.follow(id)
	if f == nil {
		return
	}
	f.mu.Lock()
	clear(f.failed)
	f.due = time.Time{}
	f.mu.Unlock()
	f.request("")
}

// Status tells how a context is doing; false when it is not followed.
func (m *Manager) Status(id domain.ContextID) (Status, bool) {
	f := m.follow(id)
	if f == nil {
		return Status{}, false
	}
	return f.status(), true
}

// Status is how the synchronisation of a context goes.
type Status struct {
	// Synced is when the context was last the same as, or ahead of, a peer's; zero = never.
	Synced time.Time
	// Peer is that one.
	Peer PeerID
	// Err is why the last try failed; nil after success. Its kind is Unsupported when no peer can give what is missing
	// as deltas: then the copies stay apart until another protocol brings them together.
	Err error
	// Failures is the number of tries that failed since.
	Failures int
	// Diverged: a peer with the same heads has another root hash.
	Diverged bool
	// Unsigned is the number of deltas taken in this life of the process that their author had not signed.
	Unsigned uint64
	// Unacknowledged is the number of own recent deltas that no peer is known to have.
	Unacknowledged int
}
