package api

import (
	"context"
	"errors"
	"sync"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/contexts"
)

var errStopping = errors.New("the node stops")

// streams are the open WebSockets and SSE streams.
type streams struct {
	limit int

	mu      sync.Mutex
	open    map[*stream]struct{}
	closing bool
	done    sync.WaitGroup
}

type stream struct{ end context.CancelCauseFunc }

func newStreams(limit int) *streams {
	return &streams{limit: limit, open: make(map[*stream]struct{})}
}

func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// enter registers a stream. Its context ends with ctx, with end, or when the server stops; leave must be called at its
// end. False when there are too many or the server stops.
func (s *streams) enter(ctx context.Context) (inner context.Context, end context.CancelCauseFunc, leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.open) >= s.limit {
		return nil, nil, nil, false
	}
	inner, end = context.WithCancelCause(ctx)
	st := &stream{end: end}
	s.open[st] = struct{}{}
	s.done.Add(1)
	return inner, end, func() {
		end(nil)
		s.mu.Lock()
		delete(s.open, st)
		s.mu.Unlock()
		s.done.Done()
	}, true
}

// close ends all streams and waits until they are gone.
func (s *streams) close() {
	s.mu.Lock()
	s.closing = true
	for st := range s.open {
		st.end(errStopping)
	}
	s.mu.Unlock()
	s.done.Wait()
}

// mutation is what subscribers are told.
func mutation(m contexts.StateMutation) schema.StateMutation {
	out := schema.StateMutation{ContextID: m.Context, Type: "StateMutation", Data: schema.MutationData{NewRoot: m.NewRoot}}
	if m.Events != nil {
		out.Data.Events = make([]schema.Event, len(m.Events))
		for i, e := range m.Events {
			out.Data.Events[i] = schema.Event{Kind: e.Kind, Data: e.Data, Handler: e.Handler}
		}
	}
	return out
}
