package network

import (
	"context"
	"time"
)

// eventQueue is the bounded way of events to the node (network-apps.md §6.2). It outlives restarts of the host.
type eventQueue struct {
	in      chan timedEvent
	out     chan Event
	metrics *metrics
	full    func()
}

type timedEvent struct {
	event Event
	at    time.Time
}

func newEventQueue(capacity int, m *metrics, full func()) *eventQueue {
	return &eventQueue{in: make(chan timedEvent, capacity), out: make(chan Event), metrics: m, full: full}
}

// put never waits; a full queue loses the event.
func (q *eventQueue) put(e Event) {
	q.metrics.events.WithLabelValues("received").Inc()
	select {
	case q.in <- timedEvent{e, time.Now()}:
		q.metrics.eventsDepth.Set(float64(len(q.in)))
	default:
		q.metrics.events.WithLabelValues("dropped").Inc()
		q.full()
	}
}

// serve hands events over until ctx ends. An event taken and not handed over by then is lost, as those still waiting are
// when nobody serves again.
func (q *eventQueue) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-q.in:
			q.metrics.eventsDepth.Set(float64(len(q.in)))
			select {
			case q.out <- e.event:
				q.metrics.eventsWait.Observe(time.Since(e.at).Seconds())
				q.metrics.events.WithLabelValues("processed").Inc()
			case <-ctx.Done():
				return
			}
		}
	}
}
