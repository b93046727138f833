package contexts

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// engine decides which rows a call's result becomes. It is the seam for the state engine: guest result → engine →
// commit.
type engine interface {
	// local returns the change of a call that committed.
	local(ctx context.Context, id domain.ContextID, r *runtime.Result) (change, error)
}

// change is what one call does to a context.
type change struct {
	// root is the context's root hash afterwards.
	root domain.Hash
	// rows are the rows to commit.
	rows []runtime.Row
	// corrected are those that differ from what the guest wrote.
	corrected []runtime.Row
}

// guestRows commits what the guest wrote.
type guestRows struct{}

func (guestRows) local(_ context.Context, _ domain.ContextID, r *runtime.Result) (change, error) {
	return change{root: *r.RootHash, rows: r.Writes}, nil
}

// commit makes the call's delta and commits rows, delta, heads and blobs as one batch. The caller holds the context's
// lock. A commit that has begun is not given up with the caller.
func (m *manager) commit(ctx context.Context, e *entry, h *host, c *call, res *executor.Result,
	key *domain.PrivateKey) error {
	ch, err := m.engine.local(ctx, e.id, res.Result)
	if err != nil {
		return err
	}
	delta, err := newDelta(res.Artifact, e.meta.DagHeads, key, ch.root, m.clock.now(), m.opts.MaxDelta)
	if err != nil {
		return guestsFault(err)
	}
	meta := wire.ContextMeta{
		ApplicationID: e.meta.ApplicationID, RootHash: ch.root, DagHeads: []domain.Hash{delta.DeltaID},
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	b.Rows(e.id, ch.rows)
	store.Delta.Put(b, store.DeltaKey{Context: e.id, Delta: delta.DeltaID}, delta)
	store.ContextMeta.Put(b, e.id, meta)
	if err := h.publish(b); err != nil {
		return err
	}
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		e.forget()
		return err
	}
	e.meta = meta
	e.copy.Accept(res.Exec, ch.corrected)
	e.floor = max(e.floor, latest(delta.Actions))
	m.metrics.commits.Inc()
	m.metrics.bytes.Add(float64(size(ch.rows) + len(delta.Actions)))
	return nil
}

// guestsFault tells the caller, in its text, what the application committed that cannot be.
func guestsFault(err error) error {
	if errors.Is(err, errkind.TooLarge) || errors.Is(err, errkind.Invalid) {
		return &CallError{Type: FunctionCall, Text: err.Error(), Err: err}
	}
	return err
}

func size(rows []runtime.Row) int {
	n := 0
	for _, r := range rows {
		n += len(r.K) + len(r.Value)
	}
	return n
}

// latest is the latest time an encoded action list carries.
func latest(encoded []byte) uint64 {
	actions, err := crdt.DecodeActions(encoded)
	if err != nil { // encoded by newDelta just before
		return 0
	}
	var t uint64
	for i := range actions {
		t = max(t, actions[i].Time())
	}
	return t
}
