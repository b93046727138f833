package executor

import (
	"context"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// lanes is a pool of open lanes; a slot is the right to run one execution.
type lanes struct {
	rt    runtime.Runtime
	slots chan *slot
}

type slot struct {
	lane   runtime.Lane
	cancel context.CancelFunc
}

func newLanes(rt runtime.Runtime, n int) *lanes {
	l := &lanes{rt: rt, slots: make(chan *slot, n)}
	for range n {
		l.slots <- &slot{}
	}
	return l
}

// acquire waits for a free slot as long as ctx allows.
func (l *lanes) acquire(ctx context.Context) (*slot, error) {
	select {
	case s := <-l.slots:
		return s, nil
	default:
	}
	select {
	case s := <-l.slots:
		return s, nil
	case <-ctx.Done():
		return nil, errkind.Retryable(errkind.Unavailable.Errorf("wait for a free execution lane (%d in use): %w",
			cap(l.slots), context.Cause(ctx)))
	}
}

func (l *lanes) release(s *slot) { l.slots <- s }

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
	for range cap(l.slots) {
		(<-l.slots).drop()
	}
}
