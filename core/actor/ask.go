package actor

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Recipient takes messages of type M: an [Actor] or a [LazyRecipient].
type Recipient[M any] interface {
	// String names it in errors.
	String() string
	deliver(e envelope[M]) error
	adopt(waiting []envelope[M]) error
}

// Ask sends the message that build makes around a fresh Reply and waits for the answer, at most until ctx ends. Then the
// message is dropped if it still waits; if it is being handled, the handler's context ends, and whether it took effect
// is unknown. Errors besides those of the handler: kind Exhausted, retryable, when the mailbox is full; kind Unavailable
// when the actor is stopped or was restarted with the question open; kind Internal when the handler panicked. An actor
// that asks itself and waits never gets an answer.
func Ask[M, R any](ctx context.Context, to Recipient[M], build func(Reply[R]) M) (R, error) {
	var none R
	results := make(chan result[R], 1)
	f := newFlight(ctx, func(err error) { resolve(results, result[R]{err: err}) })
	defer f.end()
	reply := Reply[R]{results}
	if err := to.deliver(envelope[M]{msg: build(reply), flight: f}); err != nil {
		return none, err
	}
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
	}
	select { // an answer that is there counts
	case r := <-results:
		return r.value, r.err
	default:
		return none, fmt.Errorf("wait for %s: %w", to, ctx.Err())
	}
}

// Tell sends a message without waiting. The errors are those of Ask before the message is taken.
func Tell[M any](to Recipient[M], msg M) error {
	return to.deliver(envelope[M]{msg: msg})
}

// Reply answers one Ask; the first answer counts. It may be copied, kept and used from any goroutine. The zero Reply, of
// a message sent with Tell, swallows answers.
type Reply[R any] struct {
	results chan result[R]
}

type result[R any] struct {
	value R
	err   error
}

// Return answers with a value.
func (r Reply[R]) Return(value R) { resolve(r.results, result[R]{value: value}) }

// Fail answers with an error.
func (r Reply[R]) Fail(err error) { resolve(r.results, result[R]{err: err}) }

// Resolve answers with an error unless it is nil, else with the value.
func (r Reply[R]) Resolve(value R, err error) { resolve(r.results, result[R]{value, err}) }

// Do answers with what fn returns. A panic of fn becomes an error of kind Internal, with the stack in its text for the
// log, and goes no further: for work in goroutines of its own.
func (r Reply[R]) Do(fn func() (R, error)) {
	defer func() {
		if p := recover(); p != nil {
			r.Fail(errkind.Internal.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	r.Resolve(fn())
}

func resolve[R any](results chan result[R], r result[R]) {
	select {
	case results <- r:
	default: // answered before, or nobody asks
	}
}

// flight is the life of one ask as the actor sees it.
type flight struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	fail   func(error)

	mu    sync.Mutex
	ended bool
	after func()
}

func newFlight(ctx context.Context, fail func(error)) *flight {
	f := &flight{fail: fail}
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	return f
}

// onEnd calls fn when the ask is over, now if it is already.
func (f *flight) onEnd(fn func()) {
	f.mu.Lock()
	ended := f.ended
	if !ended {
		f.after = fn
	}
	f.mu.Unlock()
	if ended {
		fn()
	}
}

func (f *flight) end() {
	f.cancel(nil)
	f.mu.Lock()
	f.ended = true
	fn := f.after
	f.mu.Unlock()
	if fn != nil {
		fn()
	}
}
