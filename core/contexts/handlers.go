package contexts

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// handlersDue are handlers of the events of one delta that have to run. Their row is committed with the delta, and each
// handler that commits moves it on, or removes it, in its own batch; so each runs with effect once, whenever the node
// stops. One that fails or changes nothing is done too.
type handlersDue struct {
	key    store.DeltaKey
	row    wire.HandlersDue
	stored bool // there is a row
	events []Event
	chain  *chain
	// root is the context's, for reports.
	root domain.Hash
}

func loadHandlers(key store.DeltaKey, row wire.HandlersDue) (*handlersDue, error) {
	events, err := wire.DecodeEvents(row.Events)
	if err != nil {
		return nil, err
	}
	d := &handlersDue{key: key, row: row, stored: true, chain: &chain{}}
	for _, e := range events {
		d.events = append(d.events, Event(e))
	}
	return d, nil
}

// stageHandlers adds the rows of the handlers of received deltas to b.
func (m *manager) stageHandlers(b *store.Batch, e *entry, apply []*arrival) []*handlersDue {
	var all []*handlersDue
	for _, a := range apply {
		if !hasHandlers(a.delta.Events) {
			continue
		}
		d := &handlersDue{
			key: store.DeltaKey{Context: e.id, Delta: a.delta.ID}, stored: true, events: a.delta.Events, chain: &chain{},
			row: wire.HandlersDue{Life: m.life, Order: m.order(), Events: a.row.Delta.Events},
		}
		store.HandlersDue.Put(b, d.key, d.row)
		all = append(all, d)
	}
	return all
}

// stageOwnHandlers adds the row of the handlers of a call's own events.
func (m *manager) stageOwnHandlers(b *store.Batch, c *call, delta domain.Hash, events []Event) error {
	encoded, err := encodeEvents(events)
	if err != nil {
		return err
	}
	c.due = &handlersDue{
		key: store.DeltaKey{Context: c.context, Delta: delta}, stored: true, events: events, chain: c.chain,
		row: wire.HandlersDue{
			Life: m.life, Order: m.order(), Executor: c.executor, Depth: uint32(c.depth), Events: encoded,
		},
	}
	store.HandlersDue.Put(b, c.due.key, c.due.row)
	return nil
}

// order is greater than any before, across restarts too.
func (m *manager) order() uint64 {
	for {
		last := m.lastOrder.Load()
		next := max(last+1, uint64(m.opts.Now().UnixNano()))
		if m.lastOrder.CompareAndSwap(last, next) {
			return next
		}
	}
}

func encodeEvents(events []Event) ([]byte, error) {
	out := make([]wire.Event, len(events))
	for i, e := range events {
		out[i] = wire.Event(e)
	}
	return wire.EncodeEvents(out)
}

// startHandlers runs the handlers of a call's events in the background.
func (m *manager) startHandlers(c *call, r *ExecuteResponse) {
	if !hasHandlers(r.Events) {
		return
	}
	d := c.due
	if d == nil { // the call left no delta: nothing of it outlives the process
		d = &handlersDue{
			key: store.DeltaKey{Context: c.context}, events: r.Events, chain: c.chain,
			row: wire.HandlersDue{Executor: c.executor, Depth: uint32(c.depth)},
		}
	}
	d.root = r.RootHash
	m.startDue([]*handlersDue{d})
}

// startDue runs handlers in the background, in order. The caller is work of the manager itself.
func (m *manager) startDue(due []*handlersDue) {
	if len(due) == 0 {
		return
	}
	m.work.Add(1)
	ctx := m.background
	go func() {
		defer m.work.Done()
		for _, d := range due {
			m.runDue(ctx, d)
		}
	}()
}

// runDue runs the handlers of one delta's events, in order.
func (m *manager) runDue(ctx context.Context, d *handlersDue) {
	for int(d.row.Next) < len(d.events) && ctx.Err() == nil {
		e := d.events[d.row.Next]
		d.row.Next++
		if e.Handler == nil {
			continue
		}
		if err := m.runHandler(ctx, d, e); err == nil {
			m.metrics.handlers.WithLabelValues("ok").Inc()
		} else {
			if ctx.Err() != nil {
				return // the row has it: it runs at the next start
			}
			m.metrics.handlers.WithLabelValues("failed").Inc()
			m.reportFailure(d.key.Context, d.root, "event handler", d.key.Context.String(), *e.Handler, err)
		}
	}
}

func (m *manager) runHandler(ctx context.Context, d *handlersDue, e Event) error {
	c := &call{
		context: d.key.Context, method: *e.Handler, args: e.Data, executor: d.row.Executor, kind: runtime.Handler,
		chain: d.chain, depth: int(d.row.Depth) + 1,
	}
	if d.stored {
		c.mark = d.moveOn
	}
	err := d.chain.follow(&m.opts, c.depth)
	if err != nil { // nor may those that come after it
		d.row.Next = uint32(len(d.events))
	}
	if err == nil && c.executor.IsZero() {
		c.executor, err = m.writerOf(ctx, c.context)
	}
	if err == nil {
		_, err = m.execute(ctx, c)
	}
	if c.mark == nil || ctx.Err() != nil {
		return err
	}
	// It did not commit.
	b := m.opts.DB.Batch()
	defer b.Abandon()
	c.mark(b)
	if cerr := b.Commit(context.WithoutCancel(ctx)); cerr != nil {
		m.opts.Logger.Error("a handler may run again: that it ran could not be stored", "context", c.context,
			"delta", d.key.Delta, "handler", c.method, "err", cerr)
	}
	return err
}

// moveOn notes in b that the handler before Next has run.
func (d *handlersDue) moveOn(b *store.Batch) {
	if hasHandlers(d.events[d.row.Next:]) {
		store.HandlersDue.Put(b, d.key, d.row)
	} else {
		store.HandlersDue.Delete(b, d.key)
	}
}
