package executor

import (
	"context"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// lanes is a pool of lanes; a slot is the right to run one execution. The slot given back last is taken first, so that
// no more lanes are opened than executions run at once.
type lanes struct {
	rt   runtime.Runtime
	free chan struct{} // one token for each idle slot

	mu   sync.Mutex
	idle []*slot
}

type slot struct {
	lane   runtime.Lane
	cancel context.CancelFunc
}

func newLanes(rt runtime.Runtime, n int) *lanes {
	l := &lanes{rt: rt, free: make(chan struct{}, n)}
	for range n {
		l.release(&slot{})
	}
	return l
}

// acquire waits for a free slot as long as ctx allows.
func (l *lanes) acquire(ctx context.Context) (*slot, error) {
	select {
	case <-l.free:
		return l.pop(), nil
	default:
	}
	select {
	case <-l.free:
		return l.pop(), nil
	case <-ctx.Done():
		return nil, errkind.Retryable(errkind.Unavailable.Errorf("wait for a free execution lane (%d in use): %w",
			cap(l.free), context.Cause(ctx)))
	}
}

// pop takes a slot; the caller has its token.
func (l *lanes) pop() *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.idle) - 1
	s := l.idle[last]
	l.idle = l.idle[:last]
	return s
}

func (l *lanes) release(s *slot) {
	l.mu.Lock()
	l.idle = append(l.idle, s)
	l.mu.Unlock()
	l.free <- struct{}{}
}

// open makes sure that s has a lane. Its life is not the caller's: ctx bounds only the opening.
func (l *lanes) open(ctx context.Context, s *slot) error {
	if s.lane != nil {
		return nil
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	lane, err := l.rt.OpenLane(life)
	if !stop() && err == nil {
		err = context.Cause(ctx)
		_ = lane.Close()
	}
	if err != nil {
		cancel()
		return err
	}
	s.lane, s.cancel = lane, cancel
	return nil
}

// drop closes a lane that failed.
func (s *slot) drop() {
	if s.lane == nil {
		return
	}
	_ = s.lane.Close()
	s.cancel()
	s.lane, s.cancel = nil, nil
}

// close waits until every execution has ended and closes all lanes.
func (l *lanes) close() {
	for range cap(l.free) {
		<-l.free
		l.pop().drop()
	}
}
