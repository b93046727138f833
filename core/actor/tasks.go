package actor

import (
	"context"
	"sync"
)

// Tasks are goroutines that a service starts while it serves and that end with it. The zero value is ready, and starts
// none before Begin. Methods are safe for concurrent use.
type Tasks struct {
	mu      sync.Mutex
	running context.Context // nil outside of Begin and End
	work    sync.WaitGroup
}

// Begin lets goroutines start until ctx ends or End is called.
func (t *Tasks) Begin(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = ctx
}

// End lets no more start, and waits for those that did. Whoever calls it has ended the context given to Begin.
func (t *Tasks) End() {
	t.mu.Lock()
	t.running = nil
	t.mu.Unlock()
	t.work.Wait()
}

// Go runs fn on a goroutine of its own with the context given to Begin. It is false, and fn does not run, when none is to
// start.
func (t *Tasks) Go(fn func(ctx context.Context)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx := t.running
	if ctx == nil || ctx.Err() != nil {
		return false
	}
	t.work.Add(1)
	go func() {
		defer t.work.Done()
		fn(ctx)
	}()
	return true
}
