package contexts

import (
	"bytes"
	"context"
	"slices"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// An application built with the SDK keeps nothing in its tree root, so the engine can join its state. One that keeps bytes
// of its own there and registers a function that merges them must be asked: its deltas are applied by its own
// `__calimero_sync_next`, and its own rows and root hash are committed, as in the reference. Whether that converges is up
// to the application.

// syncNext applies a delta in the guest.
const syncNext = "__calimero_sync_next"

// mergedByGuest tells, from the first delta of a context, whether only the guest can merge its state.
func (m *manager) mergedByGuest(ctx context.Context, e *entry, actions []crdt.Action) (bool, error) {
	root := crdt.TreeRoot(e.id)
	own := slices.ContainsFunc(actions, func(a crdt.Action) bool {
		return a.ID == root && (a.Kind == crdt.Add || a.Kind == crdt.Update) && !bytes.Equal(a.Data, root[:])
	})
	if !own {
		return false, nil
	}
	return m.mergesItself(ctx, e.meta.ApplicationID)
}

// mergesItself tells whether an application has a function that merges and one that applies deltas. All that are built
// with the SDK's macros do; only one with bytes of its own at the tree root needs them.
func (m *manager) mergesItself(ctx context.Context, id domain.ApplicationID) (bool, error) {
	app, found, err := store.Application.Get(ctx, m.opts.DB, id)
	if err != nil {
		return false, err
	}
	if !found {
		return false, errkind.Retryable(errkind.Unavailable.Errorf("application %s is not here, and its state cannot be merged "+
			"without it: install it", id))
	}
	module, err := m.opts.Modules.Module(ctx, id, app)
	if err != nil {
		return false, err
	}
	info, err := m.opts.Executor.Inspect(ctx, module.ID, module.Open)
	if err != nil {
		return false, err
	}
	return info.RegistersMerge && slices.ContainsFunc(info.Exports, func(x runtime.Export) bool {
		return x.Name == syncNext && x.Kind == "func"
	}), nil
}

// stageGuests is stage for a context that its application merges.
func (m *manager) stageGuests(b *store.Batch, e *entry, h *host, c *call, res *executor.Result, actions []crdt.Action,
	key *domain.PrivateKey, st staged) (staged, error) {
	st.local.GuestMerge = true
	st.rows, st.meta.RootHash = res.Writes, *res.RootHash
	st.local.Seen = max(st.local.Seen, res.Usage.Time, engine.LatestTime(actions))
	if len(actions) > 0 {
		if err := m.stageDelta(b, e, c, res, actions, key, &st); err != nil {
			return st, err
		}
	}
	b.Rows(e.id, st.rows)
	return st, h.publish(b)
}

// applyInGuest applies one received delta in the guest. A delta at which the guest fails is refused.
func (m *manager) applyInGuest(ctx context.Context, e *entry, a *arrival) error {
	app, found, err := store.Application.Get(ctx, m.opts.DB, e.meta.ApplicationID)
	if err != nil {
		return err
	}
	if !found {
		return &CallError{Type: ApplicationNotInstalled, Application: e.meta.ApplicationID}
	}
	as, err := m.writerOf(ctx, e.id)
	if err != nil {
		return err
	}
	artifact, err := crdt.EncodeArtifact(a.delta.Actions)
	if err != nil {
		return err
	}
	h := newHost(m, e)
	defer h.discard()
	c := &call{context: e.id, method: syncNext, args: artifact, executor: as, kind: runtime.SyncNext}
	res, err := m.run(m.background, e, h, c, e.meta.ApplicationID, app) // a caller who gives up is no reason to refuse
	if err != nil {
		return err
	}
	if f := res.Fault; f != nil && saysNothing(f.Kind) {
		return errkind.Retryable(errkind.Unavailable.Errorf("apply delta %s in the application: %w", a.delta.ID, f))
	}
	if err := guestError(res.Result); err != nil {
		e.graph.refuse(a.delta.ID, errkind.Invalid.Errorf("the application does not take delta %s: %w", a.delta.ID, err))
		return nil
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	st := staged{meta: e.meta, local: e.local, exec: res.Exec}
	st.local.GuestMerge = true
	if res.RootHash != nil {
		st.rows, st.meta.RootHash = res.Writes, *res.RootHash
		b.Rows(e.id, st.rows)
	}
	st.local.Seen = max(st.local.Seen, res.Usage.Time)
	m.stageApplied(b, e, []*arrival{a}, &st)
	return m.commitReceived(ctx, b, e, []*arrival{a}, st, func() {
		if res.RootHash != nil {
			e.copy.Accept(st.exec, nil)
		}
	})
}

// saysNothing: a fault that is not about what was run.
func saysNothing(k runtime.FaultKind) bool {
	return k == runtime.FaultCancelled || k == runtime.FaultRefused || k == runtime.FaultUnknownModule
}

// refuse takes a delta out that cannot be applied.
func (g *graph) refuse(id domain.Hash, err error) {
	g.Remove(id)
	g.evicted = append(g.evicted, id)
	if g.refused == nil {
		g.refused = map[domain.Hash]error{}
	}
	g.refused[id] = err
}
