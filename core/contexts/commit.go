package contexts

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
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

// commit commits what a call did as one batch. The caller holds the context's lock. A commit that has begun is not given
// up with the caller.
func (m *manager) commit(ctx context.Context, e *entry, h *host, res *executor.Result, key *domain.PrivateKey) error {
	b := m.opts.DB.Batch()
	defer b.Abandon()
	st, err := m.stage(ctx, b, e.id, h, e.meta, res, key)
	if err != nil {
		return err
	}
	store.ContextMeta.Put(b, e.id, st.meta)
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		e.forget()
		return err
	}
	e.committed(st)
	m.metrics.commits.Inc()
	m.metrics.bytes.Add(float64(st.size))
	return nil
}

// staged is a result whose rows, delta and blobs are in a batch.
type staged struct {
	// meta is the context's row afterwards.
	meta wire.ContextMeta
	// exec is the execution; corrected are the rows that its overlay has otherwise.
	exec      uint64
	corrected []runtime.Row
	// latest is the latest time of its actions, size what it writes in bytes.
	latest uint64
	size   int
}

// stage makes the delta of a result, with the heads of before as parents, and adds it to b with rows and blobs.
func (m *manager) stage(ctx context.Context, b *store.Batch, id domain.ContextID, h *host, before wire.ContextMeta,
	res *executor.Result, key *domain.PrivateKey) (staged, error) {
	ch, err := m.engine.local(ctx, id, res.Result)
	if err != nil {
		return staged{}, err
	}
	delta, latest, err := newDelta(res.Artifact, before.DagHeads, key, ch.root, m.clock.now(), m.opts.MaxDelta)
	if err != nil {
		return staged{}, guestsFault(err)
	}
	b.Rows(id, ch.rows)
	store.Delta.Put(b, store.DeltaKey{Context: id, Delta: delta.DeltaID}, delta)
	st := staged{
		meta: wire.ContextMeta{
			ApplicationID: before.ApplicationID, RootHash: ch.root, DagHeads: []domain.Hash{delta.DeltaID},
		},
		exec: res.Exec, corrected: ch.corrected, latest: latest, size: size(ch.rows) + len(delta.Actions),
	}
	return st, h.publish(b)
}

// committed takes over what a committed batch made of the context.
func (e *entry) committed(st staged) {
	e.meta, e.known = st.meta, true
	e.copy.Accept(st.exec, st.corrected)
	e.floor = max(e.floor, st.latest)
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
