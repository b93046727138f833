// Package actor runs objects that own their state: one goroutine each, a bounded typed mailbox, supervision by suture.
//
// An actor is defined by its message type M, usually an interface its package keeps to itself, and a [Handler] that gets
// the messages one by one. Callers use [Ask] for an answer and [Tell] for none; a full mailbox is an error at once, never
// a queue without end. A message that expects an answer carries a [Reply], which may be resolved from any goroutine, so
// that a handler can hand long work on and take the next message.
package actor

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/thejerf/suture/v4"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// DefaultCapacity is the mailbox size used when Options name none.
const DefaultCapacity = 256

// Handler is the behaviour of one incarnation of an actor.
type Handler[M any] interface {
	// Handle gets one message at a time. For a message sent with Ask, ctx ends when the asker gives up, when its answer
	// is there, or when the incarnation ends; for one sent with Tell, only with the incarnation. A panic ends the
	// incarnation: the asker gets an error and the supervisor starts another.
	Handle(ctx context.Context, msg M)
}

// Stopper is implemented by handlers with work of their own going on. Stop is called once per incarnation, after its
// context ended and before Serve returns; it should wait for that work. Asks not answered by then fail.
type Stopper interface {
	Stop()
}

// HandlerFunc makes a handler of a function.
type HandlerFunc[M any] func(ctx context.Context, msg M)

// Handle calls f.
func (f HandlerFunc[M]) Handle(ctx context.Context, msg M) { f(ctx, msg) }

// Hooks observe an actor. Nil ones are left out; they are called from several goroutines and must be quick.
type Hooks struct {
	// Depth gets the number of waiting messages after each change.
	Depth func(int)
	// Handled gets the time Handle took and whether it panicked.
	Handled func(took time.Duration, panicked bool)
	// Overload is called for each message refused because the mailbox was full.
	Overload func()
}

// Options of an actor.
type Options struct {
	// Capacity of the mailbox; 0 = DefaultCapacity.
	Capacity int
	Hooks    Hooks
}

// Actor is a running or restartable actor and the address of its mailbox. Its life is that of a suture service: add it
// to a supervisor. Messages may be sent before it runs; they wait, also during a restart. All methods are safe for
// concurrent use.
type Actor[M any] struct {
	name  string
	start func(ctx context.Context) (Handler[M], error)
	hooks Hooks
	box   *mailbox[M]

	mu      sync.Mutex
	flights map[*flight]struct{}
}

// New makes an actor; start makes the handler of each incarnation, with a context that ends with it. An error of start
// is an incarnation that failed: the supervisor tries again after its backoff.
func New[M any](name string, opts Options, start func(ctx context.Context) (Handler[M], error)) *Actor[M] {
	capacity := opts.Capacity
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	return &Actor[M]{
		name: name, start: start, hooks: opts.Hooks,
		box:     newMailbox[M](name, capacity, opts.Hooks),
		flights: map[*flight]struct{}{},
	}
}

// String returns the name, for suture's log.
func (a *Actor[M]) String() string { return a.name }

// Depth is the number of waiting messages.
func (a *Actor[M]) Depth() int { return a.box.depth() }

// Serve runs one incarnation until ctx ends (the actor is then stopped for ever) or a handler panics (then an error is
// returned for the supervisor to start the next one). It is called by the supervisor.
func (a *Actor[M]) Serve(ctx context.Context) error {
	if a.box.isClosed() {
		return suture.ErrDoNotRestart
	}
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	err := a.incarnation(run, cancel)
	if ctx.Err() != nil {
		a.box.close(a.stopped())
		return ctx.Err()
	}
	return err
}

func (a *Actor[M]) incarnation(ctx context.Context, cancel context.CancelFunc) (err error) {
	handler, err := a.begin(ctx)
	if err != nil {
		return fmt.Errorf("start actor %s: %w", a.name, err)
	}
	defer func() {
		cancel()
		cause := a.stopped()
		if err != nil {
			cause = errkind.Retryable(errkind.Unavailable.Errorf("actor %s restarted", a.name))
		}
		a.endFlights(handler, cause)
	}()
	for {
		e, ok := a.box.pop(ctx)
		if !ok {
			return nil
		}
		if err := a.handle(ctx, handler, e); err != nil {
			return err
		}
	}
}

func (a *Actor[M]) begin(ctx context.Context) (h Handler[M], err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errkind.Internal.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return a.start(ctx)
}

// handle runs one message; its error is a panic of the handler.
func (a *Actor[M]) handle(ctx context.Context, handler Handler[M], e envelope[M]) (err error) {
	if e.flight != nil {
		if e.flight.ctx.Err() != nil {
			return nil // the asker is gone
		}
		ctx = e.flight.ctx
		a.track(e.flight)
	}
	began := time.Now()
	defer func() {
		p := recover()
		if a.hooks.Handled != nil {
			a.hooks.Handled(time.Since(began), p != nil)
		}
		if p == nil {
			return
		}
		err = errkind.Internal.Errorf("actor %s: panic while handling %T: %v\n%s", a.name, e.msg, p, debug.Stack())
		if e.flight != nil {
			e.flight.fail(errkind.Internal.Errorf("actor %s: panic while handling %T: %v", a.name, e.msg, p))
		}
	}()
	handler.Handle(ctx, e.msg)
	return nil
}

// track remembers an ask until it is over, so that the end of the incarnation ends it.
func (a *Actor[M]) track(f *flight) {
	a.mu.Lock()
	a.flights[f] = struct{}{}
	a.mu.Unlock()
	f.onEnd(func() {
		a.mu.Lock()
		delete(a.flights, f)
		a.mu.Unlock()
	})
}

func (a *Actor[M]) endFlights(handler Handler[M], cause error) {
	for _, f := range a.tracked() {
		f.cancel(cause)
	}
	if s, ok := handler.(Stopper); ok {
		s.Stop()
	}
	for _, f := range a.tracked() {
		f.fail(cause)
	}
}

func (a *Actor[M]) tracked() []*flight {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*flight, 0, len(a.flights))
	for f := range a.flights {
		all = append(all, f)
	}
	return all
}

func (a *Actor[M]) stopped() error {
	return errkind.Unavailable.Errorf("actor %s is stopped", a.name)
}

func (a *Actor[M]) deliver(e envelope[M]) error { return a.box.push(e) }

func (a *Actor[M]) adopt(waiting []envelope[M]) error { return a.box.pushFront(waiting) }
