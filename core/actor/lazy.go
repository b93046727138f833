package actor

import (
	"slices"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// LazyRecipient is an address that may be used before its actor exists, which is how actors that need one another are
// wired. Until Init, messages wait in order, at most as many as its capacity; askers wait as long as their contexts let
// them. All methods are safe for concurrent use.
type LazyRecipient[M any] struct {
	name     string
	capacity int

	mu      sync.RWMutex
	waiting []envelope[M]
	target  Recipient[M]
	closed  error
	ready   chan struct{}
}

// NewLazy makes an address without an actor; capacity 0 = DefaultCapacity.
func NewLazy[M any](name string, capacity int) *LazyRecipient[M] {
	if capacity <= 0 {
		capacity = DefaultCapacity
	}
	return &LazyRecipient[M]{name: name, capacity: capacity, ready: make(chan struct{})}
}

// Init gives the address its actor. What waited goes to it in order, before anything sent to it later or directly. Only
// the first Init counts: false means that there is a target already, or that the address was closed.
func (l *LazyRecipient[M]) Init(target Recipient[M]) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.target != nil || l.closed != nil {
		return false
	}
	if err := target.adopt(l.waiting); err != nil {
		failAll(l.waiting, err)
	}
	l.waiting, l.target = nil, target
	close(l.ready)
	return true
}

// Ready is closed once Init or Close was called.
func (l *LazyRecipient[M]) Ready() <-chan struct{} { return l.ready }

// Close gives up on an address that never got its actor: askers get an error of kind Unavailable. After Init it does
// nothing.
func (l *LazyRecipient[M]) Close() {
	l.mu.Lock()
	if l.target != nil || l.closed != nil {
		l.mu.Unlock()
		return
	}
	l.closed = errkind.Unavailable.Errorf("%s was never started", l.name)
	waiting := l.waiting
	l.waiting = nil
	close(l.ready)
	l.mu.Unlock()
	failAll(waiting, l.closed)
}

// String returns the name.
func (l *LazyRecipient[M]) String() string { return l.name }

func (l *LazyRecipient[M]) deliver(e envelope[M]) error {
	l.mu.RLock()
	target := l.target
	l.mu.RUnlock()
	if target != nil {
		return target.deliver(e)
	}
	return l.hold(e)
}

func (l *LazyRecipient[M]) hold(e envelope[M]) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed != nil:
		return l.closed
	case l.target != nil:
		return l.target.deliver(e)
	}
	if len(l.waiting) >= l.capacity {
		l.waiting = slices.DeleteFunc(l.waiting, func(e envelope[M]) bool {
			return e.flight != nil && e.flight.ctx.Err() != nil
		})
	}
	if len(l.waiting) >= l.capacity {
		return errkind.Retryable(errkind.Exhausted.Errorf("%s is not started yet and %d messages wait for it", l.name,
			l.capacity))
	}
	l.waiting = append(l.waiting, e)
	return nil
}

// adopt lets a lazy address stand behind another one.
func (l *LazyRecipient[M]) adopt(waiting []envelope[M]) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed != nil:
		return l.closed
	case l.target != nil:
		return l.target.adopt(waiting)
	}
	l.waiting = slices.Concat(waiting, l.waiting)
	return nil
}
