package contexts

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// commit commits what a call did as one batch. The caller holds the context's lock. A commit that has begun is not given
// up with the caller.
func (m *manager) commit(ctx context.Context, e *entry, h *host, c *call, res *executor.Result, key *domain.PrivateKey) error {
	b := m.opts.DB.Batch()
	defer b.Abandon()
	st, err := m.stage(ctx, b, e, h, c, res, key)
	if err != nil {
		return err
	}
	if st.delta == nil && b.Len() == 0 {
		return nil // nothing of the call is left: its overlay is discarded
	}
	st.put(b, e.id)
	if c.mark != nil {
		c.mark(b)
	}
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		c.due = nil
		e.forget()
		return err
	}
	c.mark = nil
	e.committed(st)
	m.published(&st)
	m.metrics.commits.Inc()
	m.metrics.bytes.Add(float64(b.Size()))
	return nil
}

// staged is what becomes of a context by a batch that has its rows, delta and blobs.
type staged struct {
	meta  wire.ContextMeta
	local wire.ContextLocal
	// exec is the execution of a call.
	exec uint64
	// rows are those that change, corrected those that the overlay of exec has otherwise.
	rows, corrected []runtime.Row
	// delta is nil when a call left no action.
	delta *Published
	// events of a migration, for subscribers.
	events []Event
}

// put adds the context's own rows.
func (st *staged) put(b *store.Batch, id domain.ContextID) {
	store.ContextMeta.Put(b, id, st.meta)
	store.ContextLocal.Put(b, id, st.local)
}

// stage makes of a guest's result what is committed (convergence.md §3): the engine's rows and a delta with the context's
// heads as parents, the rows under the guest's own keys, private rows, blobs.
func (m *manager) stage(ctx context.Context, b *store.Batch, e *entry, h *host, c *call, res *executor.Result,
	key *domain.PrivateKey) (staged, error) {
	st := staged{meta: e.meta, local: e.local, exec: res.Exec}
	actions, err := actionsOf(res.Artifact)
	if err != nil {
		return st, guestsFault(err)
	}
	if err := m.inTime(e, actions); err != nil {
		return st, guestsFault(err)
	}
	guests := st.local.GuestMerge
	if c.kind == runtime.Init {
		if guests, err = m.mergedByGuest(ctx, e, actions); err != nil {
			return st, err
		}
	}
	if guests {
		return m.stageGuests(b, e, h, c, res, actions, key, st)
	}
	own := engine.Call{Context: e.id, Executor: c.executor, Actions: actions}
	for i := range res.Writes {
		w := &res.Writes[i]
		if w.Scope == runtime.ScopeState {
			own.Writes = append(own.Writes, engine.Row{Key: w.K, Absent: w.Absent, Value: w.Value, Digest: w.Digest})
		} else {
			st.rows = append(st.rows, *w)
		}
	}
	v := m.view(ctx, e)
	v.knowShadows(actions)
	begin := time.Now()
	authored, err := engine.Author(v, own)
	m.metrics.engine.WithLabelValues("author").Observe(time.Since(begin).Seconds())
	if err != nil {
		return st, guestsFault(err)
	}
	m.reportVerdicts(e.id, c.executor, authored.Refused)
	m.reportVerdicts(e.id, c.executor, authored.Change.Dropped())
	if root := authored.Change.Root; root != *res.RootHash {
		m.metrics.roots.Inc()
		m.opts.Logger.Warn("the application computed another root hash than the node", "context", e.id, "method", c.method,
			"application", *res.RootHash, "node", root)
	}
	st.rows = append(st.rows, stateRows(authored.Rows())...)
	st.corrected = stateRows(authored.Corrected)
	st.meta.RootHash = authored.Change.Root
	st.local.Seen = max(st.local.Seen, res.Usage.Time, engine.LatestTime(authored.Actions))
	st.local.Shadows = st.local.Shadows || v.hasShadow(authored.Change.Rows)
	if len(authored.Actions) > 0 {
		if err := m.stageDelta(b, e, c, res, authored.Actions, key, &st); err != nil {
			return st, err
		}
	}
	b.Rows(e.id, st.rows)
	return st, h.publish(b)
}

// stageDelta adds the delta of a call, with its author's signature and the handlers of its events, to b and st.
func (m *manager) stageDelta(b *store.Batch, e *entry, c *call, res *executor.Result, actions []crdt.Action,
	key *domain.PrivateKey, st *staged) error {
	parents := e.meta.DagHeads[:min(len(e.meta.DagHeads), maxParents)]
	signer := e.signerOf(key)
	delta, err := newDelta(actions, parents, signer, st.meta.RootHash, m.clock.now(), m.opts.MaxDelta)
	if err != nil {
		return guestsFault(err)
	}
	events, err := withoutHandlers(res.Events)
	if err != nil {
		return err
	}
	st.delta = &Published{Context: e.id, Delta: delta, Proof: proofOf(e.id, c.executor, signer, &delta, events), Events: events}
	st.meta.DagHeads = withHead(e.meta.DagHeads, delta.DeltaID, parents)
	at := store.DeltaKey{Context: e.id, Delta: delta.DeltaID}
	row := delta
	row.Events = events
	store.Delta.Put(b, at, row)
	store.DeltaAuthor.Put(b, at, st.delta.Proof)
	if hasHandlers(res.Events) {
		return m.stageOwnHandlers(b, c, delta.DeltaID, res.Events)
	}
	return nil
}

// stateRows are the engine's rows as rows of the store and of the runtime's copy.
func stateRows(rows []engine.Row) []runtime.Row {
	out := make([]runtime.Row, len(rows))
	for i, r := range rows {
		out[i] = runtime.Row{
			Key: runtime.Key{Scope: runtime.ScopeState, K: r.Key}, Absent: r.Absent, Value: r.Value, Edits: r.Edits,
		}
	}
	return out
}

// reportVerdicts tells of actions that were refused.
func (m *manager) reportVerdicts(id domain.ContextID, author domain.PublicKey, refused []engine.Verdict) {
	for _, v := range refused {
		m.metrics.actions.WithLabelValues(v.Reason.String()).Inc()
		m.warn(&m.told.actions, "an action of a delta is refused", "context", id, "author", author, "entity", v.ID,
			"action", v.Kind, "reason", v.Reason)
	}
}

// warn tells of what others cause: it is a warning once a minute, and otherwise for those who look for errors, so that nobody
// fills the log.
func (m *manager) warn(told *rate.Sometimes, what string, args ...any) {
	level := slog.LevelDebug
	told.Do(func() { level = slog.LevelWarn })
	m.opts.Logger.Log(context.Background(), level, what, args...)
}

// committed takes over what a committed batch made of the context.
func (e *entry) committed(st staged) {
	e.meta, e.local, e.known = st.meta, st.local, true
	e.copy.Accept(st.exec, st.corrected)
	e.hot.put(e.generation, st.rows)
}

// guestsFault tells the caller, in its text, what the application committed that cannot be.
func guestsFault(err error) error {
	if errors.Is(err, errkind.TooLarge) || errors.Is(err, errkind.Invalid) {
		return &CallError{Type: FunctionCall, Text: err.Error(), Err: err}
	}
	return err
}
