package contexts_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// TestReceive_WhatWaitsIsNotForgottenWhenItCannotBeRead: a storage that fails once.
func TestReceive_WhatWaitsIsNotForgottenWhenItCannotBeRead(t *testing.T) {
	t.Parallel()
	a, id, out := author(t)
	for _, v := range []string{"1", "2"} {
		a.set(t, id, v)
	}
	deltas := out.deltas(t)
	b := receiver(t, id, contexts.Options{})
	requireOutcomes(t, b.receive(t, id, deltas[0], deltas[2]), contexts.Applied, contexts.Pending)

	b.storage.failScans(errors.New("the disk is busy"))
	b = b.restart(t, register)
	_, err := b.Receive(t.Context(), id, deltas[1:2])
	require.ErrorContains(t, err, "the disk is busy")
	b.storage.failScans(nil)
	requireOutcomes(t, b.receive(t, id, deltas[1]), contexts.Applied)
	require.Zero(t, b.pendingRows(t))
	requireSame(t, id, a, b)
}

// TestExecute_APanicLeavesTheContextUsable: and what was committed is there.
func TestExecute_APanicLeavesTheContextUsable(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	n := startNode(t, register, contexts.Options{OnDelta: func(contexts.Published) {
		if broken.Load() {
			panic("on purpose")
		}
	}})
	id := n.create(t, testApp)
	broken.Store(true)
	_, err := n.call(id, "set", "committed")
	require.ErrorContains(t, err, "on purpose")
	broken.Store(false)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := n.Execute(ctx, contexts.ExecuteRequest{Context: id, Method: "get", Executor: n.member[id]})
	require.NoError(t, err)
	require.Equal(t, "committed", string(r.Output))
	n.set(t, id, "next")
	require.Equal(t, "next", n.get(t, id))
}

// TestExecute_NoTimeThatNoClockGave: others would hold the delta, and all that follows, until that time comes.
func TestExecute_NoTimeThatNoClockGave(t *testing.T) {
	t.Parallel()
	out := &outbox{}
	n := startNode(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		if ahead, err := time.ParseDuration(e.Method); err == nil {
			later := *e
			later.TimeFloor = uint64(time.Now().Add(ahead).UnixNano())
			return wrote(&later, e.Method), nil
		}
		return register(ctx, e, h)
	}, contexts.Options{OnDelta: out.add})
	id := n.create(t, testApp)
	_, err := n.call(id, "1h", "")
	c := requireCallError(t, err, contexts.FunctionCall)
	require.Contains(t, c.Text, "more than 5s ahead")
	require.Equal(t, "initial", n.get(t, id))
	require.Len(t, out.deltas(t), 1)
	_, err = n.call(id, "4s", "")
	require.NoError(t, err, "guests' clocks run ahead of ours when others' did")
	n.set(t, id, "next")
	require.Equal(t, "next", n.get(t, id))
}

// TestReceive_ACallerWhoGivesUpRefusesNothing: only a verdict on the author does.
func TestReceive_ACallerWhoGivesUpRefusesNothing(t *testing.T) {
	t.Parallel()
	_, id, out := author(t)
	var answer atomic.Pointer[error]
	b := receiver(t, id, contexts.Options{Authorize: func(context.Context, domain.ContextID, domain.PublicKey) error {
		if err := answer.Load(); err != nil {
			return *err
		}
		return nil
	}})
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		answer.Store(&err)
		_, got := b.Receive(t.Context(), id, out.deltas(t))
		require.ErrorIs(t, got, err)
	}
	answer.Store(nil)
	requireOutcomes(t, b.receive(t, id, out.deltas(t)...), contexts.Applied)
}

// TestHandlers_MoreThanOneRequestMayCauseAreDroppedAtOnce: not with a commit for each.
func TestHandlers_MoreThanOneRequestMayCauseAreDroppedAtOnce(t *testing.T) {
	t.Parallel()
	_, id, out := author(t)
	first := out.deltas(t)[0]
	second := future(t, id, first.ID, time.Now(), "second")
	for range 2000 {
		second.Events = append(second.Events, event("set", "by a handler"))
	}
	b := receiver(t, id, contexts.Options{XCallCalls: 3})
	mutations, end := b.Subscribe(t.Context())
	defer end()
	requireOutcomes(t, b.receive(t, id, first, second), contexts.Applied)
	require.Eventually(t, func() bool { return b.handlersDue(t) == 0 }, 30*time.Second, time.Millisecond)
	b.stop()
	require.Less(t, b.storage.commits(), 10)
	failures := 0
	for m := range mutations {
		for _, e := range m.Events {
			if e.Kind == contexts.XCallFailed {
				require.Contains(t, string(e.Data), "more than 3 calls")
				failures++
			}
		}
		if len(mutations) == 0 {
			break
		}
	}
	require.Equal(t, 1, failures)
}

// TestGuestMerge_AFaultOfTheNodeRefusesNothing: an application that may not run for a while, or a call that was stopped.
func TestGuestMerge_AFaultOfTheNodeRefusesNothing(t *testing.T) {
	t.Parallel()
	out := &outbox{}
	a := startNode(t, union, contexts.Options{OnDelta: out.add})
	id := a.create(t, mergingApp)
	var kind atomic.Uint32
	b := startNode(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		if k := kind.Load(); k != 0 && strings.HasPrefix(e.Method, "__") {
			return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultKind(k), Text: "not now"}}, nil
		}
		return union(ctx, e, h)
	}, contexts.Options{})
	b.join(t, id)
	batch := b.db.Batch()
	store.ContextMeta.Put(batch, id, wire.ContextMeta{ApplicationID: mergingApp})
	require.NoError(t, batch.Commit(t.Context()))
	_, err := a.call(id, "add", "x")
	require.NoError(t, err)
	deltas := out.deltas(t)
	requireOutcomes(t, b.receive(t, id, deltas[1]), contexts.Pending)
	for _, k := range []runtime.FaultKind{runtime.FaultRefused, runtime.FaultCancelled} {
		kind.Store(uint32(k))
		_, err = b.Receive(t.Context(), id, deltas[:1])
		require.ErrorContains(t, err, "not now")
	}
	require.Equal(t, 1, b.pendingRows(t))
	kind.Store(0)
	requireOutcomes(t, b.receive(t, id, deltas[0]), contexts.Applied)
	require.Zero(t, b.pendingRows(t))
	require.Equal(t, a.get(t, id), b.get(t, id))
}

// TestGuestMerge_IsSeenInTheStateToo: where the node's own row of the context is missing, as after a snapshot.
func TestGuestMerge_IsSeenInTheStateToo(t *testing.T) {
	t.Parallel()
	n := startNode(t, union, contexts.Options{})
	id := n.create(t, mergingApp)
	b := n.db.Batch()
	store.ContextLocal.Delete(b, id)
	require.NoError(t, b.Commit(t.Context()))
	n = n.restart(t, union)
	_, err := n.call(id, "add", "x")
	require.NoError(t, err)
	info, err := n.Get(t.Context(), id)
	require.NoError(t, err)
	require.True(t, info.GuestMerge)
}
