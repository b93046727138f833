package actor

import (
	"context"
	"slices"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// envelope is a message in a mailbox; flight is nil for one nobody waits for.
type envelope[M any] struct {
	msg    M
	flight *flight
}

// mailbox is a bounded FIFO queue with one consumer. Senders never wait.
type mailbox[M any] struct {
	name     string
	capacity int
	hooks    Hooks
	filled   chan struct{} // holds a token while the consumer should look

	mu     sync.Mutex
	queue  []envelope[M]
	closed error
}

func newMailbox[M any](name string, capacity int, hooks Hooks) *mailbox[M] {
	return &mailbox[M]{name: name, capacity: capacity, hooks: hooks, filled: make(chan struct{}, 1)}
}

// push appends e or says why not: the mailbox is full (Exhausted, retryable) or closed.
func (b *mailbox[M]) push(e envelope[M]) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return b.closed
	}
	if len(b.queue) >= b.capacity {
		b.dropGone()
	}
	if len(b.queue) >= b.capacity {
		if b.hooks.Overload != nil {
			b.hooks.Overload()
		}
		return errkind.Retryable(errkind.Exhausted.Errorf("mailbox of %s is full (%d messages): try again later",
			b.name, b.capacity))
	}
	b.queue = append(b.queue, e)
	b.changed()
	return nil
}

// pushFront puts what waited elsewhere before everything else, whatever the capacity.
func (b *mailbox[M]) pushFront(waiting []envelope[M]) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return b.closed
	}
	b.queue = slices.Concat(waiting, b.queue)
	b.changed()
	return nil
}

// pop waits for the next message; false when ctx ended.
func (b *mailbox[M]) pop(ctx context.Context) (envelope[M], bool) {
	for ctx.Err() == nil {
		b.mu.Lock()
		if len(b.queue) > 0 {
			e := b.queue[0]
			b.queue[0] = envelope[M]{}
			if b.queue = b.queue[1:]; len(b.queue) == 0 {
				b.queue = nil // let the array go
			}
			b.changed()
			b.mu.Unlock()
			return e, true
		}
		b.mu.Unlock()
		select {
		case <-b.filled:
		case <-ctx.Done():
		}
	}
	return envelope[M]{}, false
}

// close refuses all further messages with err and fails those that wait.
func (b *mailbox[M]) close(err error) {
	b.mu.Lock()
	if b.closed != nil {
		b.mu.Unlock()
		return
	}
	waiting := b.queue
	b.queue, b.closed = nil, err
	b.changed()
	b.mu.Unlock()
	failAll(waiting, err)
}

func (b *mailbox[M]) depth() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

func (b *mailbox[M]) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed != nil
}

// dropGone makes room by removing asks whose asker gave up.
func (b *mailbox[M]) dropGone() {
	b.queue = slices.DeleteFunc(b.queue, func(e envelope[M]) bool {
		return e.flight != nil && e.flight.ctx.Err() != nil
	})
}

// changed reports the depth and wakes the consumer; the caller holds the lock.
func (b *mailbox[M]) changed() {
	if b.hooks.Depth != nil {
		b.hooks.Depth(len(b.queue))
	}
	if len(b.queue) > 0 {
		select {
		case b.filled <- struct{}{}:
		default:
		}
	}
}

func failAll[M any](waiting []envelope[M], err error) {
	for _, e := range waiting {
		if e.flight != nil {
			e.flight.fail(err)
		}
	}
}
