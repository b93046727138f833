package contexts

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Bounds of the deltas that one batch applies; more make several.
const (
	maxBatchDeltas = 4096
	maxBatchBytes  = 16 << 20
)

// advance applies the deltas that are ready and due, in causal order, as one batch, and stores the others. It returns
// until when those that are ready are held. The caller holds the context's lock.
func (m *manager) advance(ctx context.Context, e *entry) (held map[domain.Hash]time.Time, err error) {
	for {
		var apply []*arrival
		apply, held = e.graph.due(m.opts.Now(), crdt.MaxClockDrift)
		apply = firstBatch(apply)
		if len(apply) == 0 && len(e.graph.fresh)+len(e.graph.evicted) == 0 {
			break
		}
		if err := m.applyBatch(ctx, e, apply); err != nil {
			return nil, err
		}
	}
	m.wakeFor(e, held)
	return held, nil
}

func firstBatch(apply []*arrival) []*arrival {
	size := 0
	for i, a := range apply {
		if size += a.size; i > 0 && size > maxBatchBytes || i == maxBatchDeltas {
			return apply[:i]
		}
	}
	return apply
}

// applyBatch applies deltas and stores what waits.
func (m *manager) applyBatch(ctx context.Context, e *entry, apply []*arrival) error {
	if len(apply) > 0 {
		guests := e.local.GuestMerge
		if e.isNew() {
			var err error
			if guests, err = m.mergedByGuest(ctx, e, apply[0].delta.Actions); err != nil {
				return err
			}
		}
		if guests {
			return m.applyInGuest(ctx, e, apply[0])
		}
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	st := staged{meta: e.meta, local: e.local}
	if len(apply) > 0 {
		if err := m.stageReceived(ctx, b, e, apply, &st); err != nil {
			return err
		}
		m.stageApplied(b, e, apply, &st)
	}
	return m.commitReceived(ctx, b, e, apply, st, func() { e.copy.Change(st.rows) })
}

// isNew: nothing of the context's state is here.
func (e *entry) isNew() bool { return e.meta.RootHash.IsZero() && len(e.meta.DagHeads) == 0 }

// commitReceived commits what received deltas made of a context, together with what still waits. told tells the runtime's
// copy.
func (m *manager) commitReceived(ctx context.Context, b *store.Batch, e *entry, apply []*arrival, st staged, told func()) error {
	var due []*handlersDue
	marked := false
	if len(apply) > 0 {
		due = m.stageHandlers(b, e, apply)
		st.put(b, e.id)
		var err error
		if marked, err = m.stageMarks(ctx, b, e, apply); err != nil {
			return err
		}
	}
	applied := make(map[domain.Hash]struct{}, len(apply))
	for _, a := range apply {
		applied[a.delta.ID] = struct{}{}
	}
	saved := e.graph.save(b, e.id, applied)
	if b.Len() == 0 {
		saved()
		return nil
	}
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		e.forget()
		return err
	}
	saved()
	if len(apply) == 0 {
		return nil
	}
	for _, a := range apply {
		if err := e.graph.Apply(a.delta.ID); err != nil {
			e.forget() // what is stored is read again
			return err
		}
	}
	e.meta, e.local, e.known = st.meta, st.local, true
	told()
	e.hot.put(e.generation, st.rows)
	m.metrics.deltas.Add(float64(len(apply)))
	m.metrics.bytes.Add(float64(b.Size()))
	m.publishReceived(e, apply)
	m.startDue(due)
	if marked && m.opts.Migrated != nil {
		m.opts.Migrated(e.id)
	}
	return nil
}

// maxMutations bounds what a subscriber is told at once of a batch: far fewer than it may lag behind.
const maxMutations = subscriptionBuffer / 8

// publishReceived tells subscribers of the new state, and of the events of each delta; of many deltas, those of several at
// a time.
func (m *manager) publishReceived(e *entry, apply []*arrival) {
	var all [][]Event
	for _, a := range apply {
		if len(a.delta.Events) > 0 {
			all = append(all, a.delta.Events)
		}
	}
	if len(all) == 0 {
		m.hub.publish(StateMutation{Context: e.id, NewRoot: e.meta.RootHash})
		return
	}
	for some := range slices.Chunk(all, (len(all)+maxMutations-1)/maxMutations) {
		m.hub.publish(StateMutation{Context: e.id, NewRoot: e.meta.RootHash, Events: slices.Concat(some...)})
	}
}

// stageReceived adds the rows that received deltas make to b and to st.
func (m *manager) stageReceived(ctx context.Context, b *store.Batch, e *entry, apply []*arrival, st *staged) error {
	v := m.view(ctx, e)
	deltas := make([][]crdt.Action, len(apply))
	for i, a := range apply {
		v.knowShadows(a.delta.Actions)
		deltas[i] = a.delta.Actions
	}
	begin := time.Now()
	opts := engine.Options{Context: e.id}
	var before engine.View = v
	var genesis engine.Change
	if first := &apply[0].delta; e.isNew() {
		var err error
		if genesis, err = engine.Genesis(v, first.Actions, first.ExpectedRoot, opts); err != nil {
			return err
		}
		if genesis.Root != first.ExpectedRoot {
			m.opts.Logger.Warn("the first delta of the context does not give its author's root hash", "context", e.id,
				"author", first.ExpectedRoot, "node", genesis.Root)
		}
		before, deltas = engine.Over(v, genesis.Rows), deltas[1:]
	}
	change, err := engine.ApplyAll(before, deltas, opts)
	if err != nil {
		return err
	}
	m.metrics.engine.WithLabelValues("apply").Observe(time.Since(begin).Seconds())
	m.tellRefusals(e.id, apply, append(genesis.Verdicts, change.Verdicts...))
	rows := merged(genesis.Rows, change.Rows)
	st.rows = stateRows(rows)
	st.meta.RootHash = change.Root
	st.local.Shadows = st.local.Shadows || v.hasShadow(rows)
	b.Rows(e.id, st.rows)
	return b.Err()
}

// stageApplied adds deltas, authors and heads to b and st.
func (m *manager) stageApplied(b *store.Batch, e *entry, apply []*arrival, st *staged) {
	for _, a := range apply {
		st.local.Seen = max(st.local.Seen, a.latest)
		st.meta.DagHeads = withHead(st.meta.DagHeads, a.delta.ID, a.delta.Parents)
		key := store.DeltaKey{Context: e.id, Delta: a.delta.ID}
		store.Delta.Put(b, key, a.deltaRow())
		if !a.delta.Author.IsZero() {
			store.DeltaAuthor.Put(b, key, a.row.Author)
		}
		if a.stored {
			store.PendingDelta.Delete(b, key)
		}
	}
}

// merged are the rows of two changes, one after the other.
func merged(first, second []engine.Row) []engine.Row {
	if len(first) == 0 {
		return second
	}
	late := make(map[crdt.StateKey]struct{}, len(second))
	for i := range second {
		late[second[i].Key] = struct{}{}
		second[i].Edits = nil // they lead from the first
	}
	return append(slices.DeleteFunc(first, func(r engine.Row) bool {
		_, again := late[r.Key]
		return again
	}), second...)
}

// tellRefusals splits the verdicts among the deltas. A pruned first delta has fewer than actions: all are its own then.
func (m *manager) tellRefusals(id domain.ContextID, apply []*arrival, verdicts []engine.Verdict) {
	for i := len(apply) - 1; i >= 0; i-- {
		n := len(apply[i].delta.Actions)
		if i == 0 {
			n = len(verdicts)
		}
		at := len(verdicts) - n
		refused := slices.DeleteFunc(verdicts[at:], func(v engine.Verdict) bool { return v.Outcome != engine.Refused })
		m.reportVerdicts(id, apply[i].delta.Author, refused)
		verdicts = verdicts[:at]
	}
}

// withHead returns the heads after a delta.
func withHead(heads []domain.Hash, id domain.Hash, parents []domain.Hash) []domain.Hash {
	out := make([]domain.Hash, 0, len(heads)+1)
	for _, h := range heads {
		if !slices.Contains(parents, h) {
			out = append(out, h)
		}
	}
	return append(out, id)
}

// wakeFor looks at the context again when the first of the held deltas is due.
func (m *manager) wakeFor(e *entry, held map[domain.Hash]time.Time) {
	var next time.Time
	now := m.opts.Now()
	for id, until := range held {
		if next.IsZero() || until.Before(next) {
			next = until
		}
		if until.Sub(now) > time.Minute {
			m.warn(&m.told.ahead, "a delta claims a time far in the future and waits", "context", e.id, "delta", id, "until", until)
		}
	}
	if next.IsZero() || !e.wakes.IsZero() && !next.Before(e.wakes) {
		return
	}
	e.wakes = next
	m.wakeAfter(e.id, next.Sub(now))
}

// retryPause is how long the background waits after a failure.
const retryPause = time.Second

// wakeAfter looks at a context after a while, until that succeeds.
func (m *manager) wakeAfter(id domain.ContextID, d time.Duration) {
	m.after(d, func(ctx context.Context) {
		if err := m.wake(ctx, id); err != nil && ctx.Err() == nil {
			m.opts.Logger.Error("apply deltas that waited", "context", id, "err", err)
			m.wakeAfter(id, retryPause)
		}
	})
}

// wake applies what became due in a context.
func (m *manager) wake(ctx context.Context, id domain.ContextID) error {
	e := m.entry(id)
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.release()
	e.wakes = time.Time{}
	if _, found, err := store.ContextMeta.Get(ctx, m.opts.DB, id); err != nil || !found {
		return err
	}
	if err := m.refresh(ctx, e); err != nil {
		return err
	}
	if err := m.loadGraph(ctx, e); err != nil {
		return err
	}
	_, err := m.advance(ctx, e)
	return err
}

// after runs fn in the background, unless the manager stops before. The caller is work of the manager itself.
func (m *manager) after(d time.Duration, fn func(ctx context.Context)) {
	m.work.Add(1)
	ctx := m.background
	go func() {
		defer m.work.Done()
		timer := time.NewTimer(max(d, 0))
		defer timer.Stop()
		select {
		case <-timer.C:
			fn(ctx)
		case <-ctx.Done():
		}
	}()
}

// resume takes up what an earlier incarnation left: deltas that wait, handlers that have not run. An error is before
// anything was started.
func (m *manager) resume(ctx context.Context) error {
	due := map[domain.ContextID][]*handlersDue{}
	err := store.HandlersDue.Scan(ctx, m.opts.DB, nil, func(k store.DeltaKey, row wire.HandlersDue) error {
		if row.Life == m.life {
			return nil // of a call that came meanwhile
		}
		d, err := loadHandlers(k, row)
		if err == nil {
			due[k.Context] = append(due[k.Context], d)
		}
		return err
	})
	if err != nil {
		return err
	}
	waiting := map[domain.ContextID]struct{}{}
	err = store.PendingDelta.ScanKeys(ctx, m.opts.DB, nil, func(k store.DeltaKey) error {
		waiting[k.Context] = struct{}{}
		return nil
	})
	if err != nil {
		return err
	}
	for _, list := range due {
		slices.SortFunc(list, func(a, b *handlersDue) int { return cmp.Compare(a.row.Order, b.row.Order) })
		m.startDue(list)
	}
	for id := range waiting {
		m.wakeAfter(id, 0)
	}
	return nil
}

// resumeAfter resumes, until that succeeds.
func (m *manager) resumeAfter(d time.Duration) {
	m.after(d, func(ctx context.Context) {
		if err := m.resume(ctx); err != nil && ctx.Err() == nil {
			m.opts.Logger.Error("take up the deltas and handlers left before the start", "err", err)
			m.resumeAfter(retryPause)
		}
	})
}
