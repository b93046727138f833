package contexts

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Event is an event of an application.
type Event = runtime.Event

// StateMutation tells subscribers that a context's state changed or that a call emitted events.
type StateMutation struct {
	Context domain.ContextID
	NewRoot domain.Hash
	Events  []Event
}

// subscriptionBuffer is how many mutations a subscriber may lag behind before it loses some.
const subscriptionBuffer = 256

// hub fans mutations out. Publishing never waits: a slow subscriber loses mutations, and they are counted.
type hub struct {
	mu   sync.Mutex
	subs map[chan StateMutation]struct{}
	lost prometheus.Counter
}

func newHub(reg prometheus.Registerer) *hub {
	h := &hub{subs: make(map[chan StateMutation]struct{}), lost: prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "calimero", Subsystem: "events", Name: "lost_total",
		Help: "State mutations that slow subscribers did not get.",
	})}
	if reg != nil {
		reg.MustRegister(h.lost)
	}
	return h
}

// subscribe returns a channel that is closed when the subscription ends: by the function returned, by ctx, or when the
// hub closes.
func (h *hub) subscribe(ctx context.Context) (<-chan StateMutation, func()) {
	ch := make(chan StateMutation, subscriptionBuffer)
	h.mu.Lock()
	if h.subs == nil {
		close(ch)
	} else {
		h.subs[ch] = struct{}{}
	}
	h.mu.Unlock()
	end := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[ch]; ok {
			delete(h.subs, ch)
			close(ch)
		}
	}
	stop := context.AfterFunc(ctx, end)
	return ch, func() { stop(); end() }
}

func (h *hub) publish(m StateMutation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.subs {
		select {
		case ch <- m:
		default:
			h.lost.Inc()
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.subs {
		close(ch)
	}
	h.subs = nil
}
