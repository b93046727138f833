package sync

import (
	"context"
	stdsync "sync"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// header is the place of an applied delta in its context's history.
type header struct {
	id      domain.Hash
	parents []domain.Hash
	hlc     crdt.Timestamp
	size    int // about how many bytes the delta has with its events
}

// headers remembers the places of deltas, so that walks through the recent history of a context read nothing. Deltas never
// change and stay applied, so what is remembered stays true.
type headers struct {
	mu    stdsync.Mutex
	known map[headerKey]header
	order []headerKey
	next  int
}

// headerKey has the follow, not its context: a context may be deleted, and joined again without its deltas.
type headerKey struct {
	of    *follow
	delta domain.Hash
}

const (
	maxHeaders = 64 << 10
	// maxHeaderParents: what has more is not remembered.
	maxHeaderParents = 8
	// readAtOnce bounds the deltas of unknown size that are read at once, and readers how often that happens at the same time:
	// each delta may have 7 MiB.
	readAtOnce, readers = 8, 2
)

func (h *headers) put(of *follow, one header) {
	if len(one.parents) > maxHeaderParents {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	key := headerKey{of, one.id}
	if _, ok := h.known[key]; ok {
		return
	}
	if h.known == nil {
		h.known = map[headerKey]header{}
	}
	if len(h.order) < maxHeaders { // next is 0 then
		h.order = append(h.order, key)
	} else {
		delete(h.known, h.order[h.next])
		h.order[h.next] = key
		h.next = (h.next + 1) % maxHeaders
	}
	h.known[key] = one
}

// forget drops a context that is followed no more, so that nothing of it stays in memory.
func (h *headers) forget(of *follow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := make([]headerKey, 0, len(h.order))
	for _, key := range append(h.order[h.next:], h.order[:h.next]...) { // from the oldest
		if key.of == of {
			delete(h.known, key)
		} else {
			kept = append(kept, key)
		}
	}
	h.order, h.next = kept, 0
}

func (h *headers) get(of *follow, delta domain.Hash) (header, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one, ok := h.known[headerKey{of, delta}]
	return one, ok
}

// headersOf calls each with the headers of those deltas of ids that are applied here, in any order.
func (f *follow) headersOf(ctx context.Context, ids []domain.Hash, each func(header)) error {
	var ask []domain.Hash
	read := func() error {
		if len(ask) == 0 {
			return nil
		}
		select {
		case f.m.reading <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		rows, err := f.m.opts.Contexts.Deltas(ctx, f.id, ask)
		<-f.m.reading
		ask = ask[:0]
		for i := range rows {
			one := headerOf(&rows[i])
			f.m.headers.put(f, one)
			each(one)
		}
		return err
	}
	for _, delta := range ids {
		if delta.IsZero() {
			continue
		}
		if one, ok := f.m.headers.get(f, delta); ok {
			each(one)
			continue
		}
		if ask = append(ask, delta); len(ask) == readAtOnce {
			if err := read(); err != nil {
				return err
			}
		}
	}
	return read()
}

func headerOf(d *wire.ContextDagDelta) header {
	return header{id: d.DeltaID, parents: d.Parents, hlc: d.HLC, size: len(d.Actions) + len(d.Events) + 32*len(d.Parents)}
}

func headerOfReceived(d *contexts.Delta) header {
	h := header{id: d.ID, parents: d.Parents, hlc: d.HLC, size: 32 * len(d.Parents)}
	for i := range d.Actions {
		h.size += len(d.Actions[i].Data) + 128*(1+len(d.Actions[i].Ancestors))
	}
	for i := range d.Events {
		h.size += 4*len(d.Events[i].Data) + 64 // numbers in a text
	}
	return h
}
