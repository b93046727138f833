// Package contexts is the ContextManager: it owns contexts and their state, runs their methods, and commits what they
// did. Callers use Client; the actor behind it hands every long work to a goroutine, so that contexts run in parallel,
// and each context is serialised by its own lock.
package contexts

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// XCallPolicy says which contexts a context may call.
type XCallPolicy string

const (
	// XCallAny allows every context of the node.
	XCallAny XCallPolicy = "any"
	// XCallSameApplication allows contexts of the same application.
	XCallSameApplication XCallPolicy = "same_application"
	// XCallOff runs no cross-context call.
	XCallOff XCallPolicy = "off"
)

// Modules finds the module of an application.
type Modules interface {
	Module(ctx context.Context, id domain.ApplicationID, app wire.ApplicationRecord) (Module, error)
}

// Module is what an application runs.
type Module struct {
	// ID is the sha256 of the wasm.
	ID domain.Hash
	// Open reads the wasm.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Options of the manager.
type Options struct {
	DB       *store.DB
	Blobs    *blobs.Store
	Identity *identity.Service
	Executor *executor.Executor
	// Groups keeps the groups that govern contexts; nil = of this manager's own, which publishes nothing.
	Groups *groups.Service
	// Modules finds the module of an application.
	Modules Modules
	// Arrive waits a moment for an application that is on its way from another node; false if it has not come. nil: none comes.
	Arrive func(ctx context.Context, id domain.ApplicationID) (bool, error)
	// XCall is XCallAny when empty. XCallDepth (8) bounds chains, XCallCalls (100) the calls of one request; handlers
	// count too.
	XCall      XCallPolicy
	XCallDepth int
	XCallCalls int
	// MaxDelta is the largest encoded delta in bytes; 0 = 7 MiB.
	MaxDelta int
	// Authorize says why the author of a received delta may not change a context; nil asks the group. It is called
	// under the context's lock. An error of kind Internal, Unavailable, Exhausted, Corrupt, Deadline or Canceled
	// is not about the author, and fails the Receive.
	Authorize func(ctx context.Context, id domain.ContextID, author domain.PublicKey) error
	// OnDelta gets each delta that a call of this node committed, in the context's order, under the context's lock: it
	// must not wait nor call back. It may not change what it gets.
	OnDelta func(Published)
	// Migrated is called after a delta of a peer that migrated a context's state; nil = nobody is told. It must not wait.
	Migrated func(id domain.ContextID)
	// Announce tells peers that a blob of a context is here, at its guest's wish; nil = nobody is told. It must not wait.
	Announce func(ctx context.Context, id domain.ContextID, blob domain.BlobID, size uint64) error
	// Now is the wall clock that received times are compared with; nil = the system's.
	Now func() time.Time
	// HotRows bounds the state rows kept in memory, in bytes; 0 = DefaultHotRows.
	HotRows int
	// Mailbox is the actor's capacity; 0 = the actor's default.
	Mailbox    int
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// maxRunning bounds the requests at work at once; most of them wait for a context or a lane.
const maxRunning = 1024

// DefaultMaxDelta is the largest delta that a stream frame carries to a peer (docs/design/commit.md).
const DefaultMaxDelta = 7 << 20

func (o Options) withDefaults() Options {
	if o.XCall == "" {
		o.XCall = XCallAny
	}
	if o.XCallDepth == 0 {
		o.XCallDepth = 8
	}
	if o.XCallCalls == 0 {
		o.XCallCalls = 100
	}
	if o.MaxDelta == 0 {
		o.MaxDelta = DefaultMaxDelta
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Groups == nil {
		o.Groups = groups.New(groups.Options{DB: o.DB, Logger: o.Logger})
	}
	if o.HotRows == 0 {
		o.HotRows = DefaultHotRows
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// manager is the state behind the actor. The map is the actor's; an entry is whoever's holds its lock.
type manager struct {
	opts    Options
	hot     *hotRows
	hub     *hub
	metrics *metrics
	clock   *sharedClock
	// told is what is in the log once a minute.
	told struct{ actions, ahead rate.Sometimes }

	// life is drawn for each incarnation; lastOrder orders what it commits.
	life      uint64
	lastOrder atomic.Uint64

	// groups counts the changes of any group's rows.
	groups atomic.Uint64

	mu      sync.Mutex
	entries map[domain.ContextID]*entry
	open    bool // an incarnation runs

	// running bounds the requests at work, work counts all goroutines of this incarnation, background ends with it.
	running    chan struct{}
	work       sync.WaitGroup
	background context.Context
	stop       context.CancelFunc
}

// Actor is the ContextManager.
type Actor struct {
	*actor.Actor[message]
	m *manager
}

// message is a request to the manager: it runs on a goroutine of its own.
type message interface {
	run(ctx context.Context, m *manager)
	fail(err error)
}

// request carries fn and the reply of one Client method.
type request[R any] struct {
	fn    func(ctx context.Context, m *manager) (R, error)
	reply actor.Reply[R]
}

func (r request[R]) fail(err error) { r.reply.Fail(err) }

func (r request[R]) run(ctx context.Context, m *manager) {
	r.reply.Do(func() (R, error) { return r.fn(ctx, m) })
}

// New makes the actor; it runs when a supervisor serves it.
func New(opts Options) *Actor {
	opts = opts.withDefaults()
	m := &manager{
		opts: opts, hot: newHotRows(opts.HotRows, opts.Registerer), hub: newHub(opts.Registerer), metrics: newMetrics(opts.Registerer),
		clock: newSharedClock(), running: make(chan struct{}, maxRunning),
	}
	m.told.actions.Interval, m.told.ahead.Interval = time.Minute, time.Minute
	a := actor.New("context-manager", actor.Options{Capacity: opts.Mailbox, Hooks: m.metrics.hooks()},
		func(context.Context) (actor.Handler[message], error) { return m.begin(), nil })
	return &Actor{Actor: a, m: m}
}

// begin starts an incarnation of the actor. What it knows of contexts is read again.
func (m *manager) begin() *manager {
	m.background, m.stop = context.WithCancel(context.Background())
	m.mu.Lock()
	m.entries = make(map[domain.ContextID]*entry)
	var life [8]byte
	_, _ = rand.Read(life[:]) // never fails
	m.life = binary.LittleEndian.Uint64(life[:])
	m.resumeAfter(0)
	m.open = true
	m.mu.Unlock()
	return m
}

// enter takes a place for work on the caller's own goroutine, which must call leave at its end; the context ends with the
// incarnation too. It is false when the actor does not run: then the mailbox is the way. A call saves two changes of
// goroutine by it, which is a twentieth of a short one.
func (m *manager) enter(ctx context.Context) (_ context.Context, leave func(), ok bool, err error) {
	m.mu.Lock()
	if !m.open {
		m.mu.Unlock()
		return ctx, nil, false, nil
	}
	m.work.Add(1)
	background := m.background
	m.mu.Unlock()
	select {
	case m.running <- struct{}{}:
	default:
		m.work.Done()
		return ctx, nil, true, m.tooMany()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unwatch := context.AfterFunc(background, func() { cancel(errkind.Unavailable.Errorf("the context manager stops")) })
	return ctx, func() {
		unwatch()
		cancel(nil)
		<-m.running
		m.work.Done()
	}, true, nil
}

func (m *manager) tooMany() error {
	m.metrics.refused.Inc()
	return errkind.Retryable(errkind.Exhausted.Errorf("too many requests at once (%d)", cap(m.running)))
}

// Handle starts the work of one message.
func (m *manager) Handle(ctx context.Context, msg message) {
	select {
	case m.running <- struct{}{}:
	default:
		msg.fail(m.tooMany())
		return
	}
	m.work.Add(1)
	go func() {
		defer func() { <-m.running; m.work.Done() }()
		msg.run(ctx, m)
	}()
}

// Stop waits for all work, event handlers included; those still waiting for their turn are given up.
func (m *manager) Stop() {
	m.mu.Lock()
	m.open = false
	m.mu.Unlock()
	m.stop()
	m.work.Wait()
}

// sharedClock is the node's hybrid clock for deltas; its id is random (crdt-storage.md §6.3).
type sharedClock struct {
	mu    sync.Mutex
	clock *crdt.Clock
}

func newSharedClock() *sharedClock {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return &sharedClock{clock: crdt.NewClock(id)}
}

func (c *sharedClock) now() crdt.Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock.Now(uint64(time.Now().UnixNano()))
}
