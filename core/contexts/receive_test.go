package contexts_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
)

// outbox keeps what a node publishes.
type outbox struct {
	mu  sync.Mutex
	all []contexts.Published
}

func (o *outbox) add(p contexts.Published) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, p)
}

// deltas published so far, as a peer gets them.
func (o *outbox) deltas(t *testing.T) []contexts.Delta {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]contexts.Delta, len(o.all))
	for i, p := range o.all {
		actions, err := crdt.DecodeActions(p.Delta.Actions)
		require.NoError(t, err)
		artifact, err := crdt.DecodeArtifact(p.Artifact())
		require.NoError(t, err)
		require.Equal(t, actions, artifact.Actions)
		events, err := wire.DecodeEvents(p.Events)
		require.NoError(t, err)
		out[i] = contexts.Delta{
			ID: p.Delta.DeltaID, Parents: p.Delta.Parents, Actions: actions, HLC: p.Delta.HLC,
			ExpectedRoot: p.Delta.ExpectedRootHash, Author: p.Proof.Author, Proof: p.Proof,
		}
		for _, e := range events {
			out[i].Events = append(out[i].Events, contexts.Event(e))
		}
	}
	return out
}

// author starts a node with one context; what it commits goes into the outbox.
func author(t *testing.T) (*node, domain.ContextID, *outbox) {
	t.Helper()
	out := &outbox{}
	n := startNode(t, register, contexts.Options{OnDelta: out.add})
	return n, n.create(t, testApp), out
}

// join makes a context known to n, with an identity of its own and without any state.
func (n *node) join(t *testing.T, id domain.ContextID) {
	t.Helper()
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	b := n.db.Batch()
	store.ContextMeta.Put(b, id, wire.ContextMeta{ApplicationID: testApp})
	store.ContextConfig.Put(b, id, wire.ContextConfig{})
	store.ContextIdentity.Put(b, store.IdentityKey{Context: id, Identity: key.Public()},
		wire.ContextIdentity{PrivateKey: &key, SenderKey: &key})
	require.NoError(t, b.Commit(t.Context()))
	n.member[id] = key.Public()
}

func receiver(t *testing.T, id domain.ContextID, opts contexts.Options) *node {
	t.Helper()
	n := startNode(t, register, opts)
	n.join(t, id)
	return n
}

func (n *node) receive(t *testing.T, id domain.ContextID, deltas ...contexts.Delta) []contexts.Receipt {
	t.Helper()
	receipts, err := n.Receive(t.Context(), id, deltas)
	require.NoError(t, err)
	require.Len(t, receipts, len(deltas))
	for i := range deltas {
		require.Equal(t, deltas[i].ID, receipts[i].ID)
	}
	return receipts
}

func requireOutcomes(t *testing.T, receipts []contexts.Receipt, want ...contexts.Outcome) {
	t.Helper()
	for i, r := range receipts {
		require.Equal(t, want[min(i, len(want)-1)], r.Outcome, "%d: %v", i, r.Err)
	}
}

// requireSame: equal rows, root, and heads.
func requireSame(t *testing.T, id domain.ContextID, a, b *node) {
	t.Helper()
	rows := func(n *node) (all []runtime.Row) {
		require.NoError(t, store.ScanRows(t.Context(), n.db, id, runtime.ScopeState, [32]byte{}, 0, 0,
			func(page []runtime.Row) error { all = append(all, page...); return nil }))
		return all
	}
	require.Equal(t, rows(a), rows(b))
	x, err := a.Get(t.Context(), id)
	require.NoError(t, err)
	y, err := b.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, x.RootHash, y.RootHash)
	require.ElementsMatch(t, x.DagHeads, y.DagHeads)
	require.Equal(t, a.get(t, id), b.get(t, id))
}

func (n *node) pendingRows(t *testing.T) int {
	t.Helper()
	rows, err := store.PendingDelta.List(t.Context(), n.db, nil)
	require.NoError(t, err)
	return len(rows)
}

func (n *node) set(t *testing.T, id domain.ContextID, value string) {
	t.Helper()
	_, err := n.call(id, "set", value)
	require.NoError(t, err)
}

func TestReceive_AppliesInCausalOrderWhateverTheArrival(t *testing.T) {
	t.Parallel()
	a, id, out := author(t)
	for i := range 5 {
		a.set(t, id, fmt.Sprint(i))
	}
	deltas := out.deltas(t)
	b := receiver(t, id, contexts.Options{})
	for i := len(deltas) - 1; i > 0; i-- {
		r := b.receive(t, id, deltas[i])
		requireOutcomes(t, r, contexts.Pending)
		require.Equal(t, deltas[i].Parents, r[0].Missing)
		missing, err := b.Missing(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, deltas[i].Parents, missing)
	}
	require.Equal(t, 5, b.pendingRows(t))
	commits := b.storage.commits()
	requireOutcomes(t, b.receive(t, id, deltas[0], deltas[5]), contexts.Applied)
	require.Equal(t, commits+1, b.storage.commits(), "one batch")
	require.Zero(t, b.pendingRows(t))
	requireSame(t, id, a, b)
	requireOutcomes(t, b.receive(t, id, deltas...), contexts.Duplicate)
	require.Equal(t, commits+1, b.storage.commits())

	stored, err := b.Deltas(t.Context(), id, []domain.Hash{deltas[2].ID, {9}, deltas[0].ID})
	require.NoError(t, err)
	require.Len(t, stored, 2)
	require.Equal(t, deltas[2].ID, stored[0].DeltaID)
	require.True(t, stored[0].Applied)
	proof, found, err := store.DeltaAuthor.Get(t.Context(), b.db, store.DeltaKey{Context: id, Delta: deltas[2].ID})
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, a.member[id], proof.Author)
	require.NotNil(t, proof.Signature)
}

func TestReceive_ForksAreMergedByTheNextCall(t *testing.T) {
	t.Parallel()
	a, id, out := author(t)
	back := &outbox{}
	b := receiver(t, id, contexts.Options{OnDelta: back.add})
	b.receive(t, id, out.deltas(t)...)
	a.set(t, id, "of a")
	b.set(t, id, "of b")
	require.Equal(t, "of a", a.get(t, id))
	require.Equal(t, "of b", b.get(t, id))
	requireOutcomes(t, b.receive(t, id, out.deltas(t)...), contexts.Duplicate, contexts.Applied)
	theirs := back.deltas(t)
	theirs[0].Author, theirs[0].Proof = domain.PublicKey{}, wire.DeltaAuthor{} // b is no member at a
	requireOutcomes(t, a.receive(t, id, theirs...), contexts.Applied)
	requireSame(t, id, a, b)
	heads, root, err := a.Heads(t.Context(), id)
	require.NoError(t, err)
	require.Len(t, heads, 2)
	require.NotZero(t, root)
	a.set(t, id, "after")
	last := out.deltas(t)
	require.ElementsMatch(t, heads, last[len(last)-1].Parents)
	b.receive(t, id, last[len(last)-1])
	requireSame(t, id, a, b)
	require.Equal(t, "after", b.get(t, id))
	heads, _, err = b.Heads(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []domain.Hash{last[len(last)-1].ID}, heads)
}

// TestReceive_AWriteAfterAReceivedOneWins: whatever the clocks say.
func TestReceive_AWriteAfterAReceivedOneWins(t *testing.T) {
	t.Parallel()
	_, id, out := author(t)
	b := receiver(t, id, contexts.Options{})
	b.receive(t, id, out.deltas(t)...)
	ahead := future(t, id, out.deltas(t)[0].ID, time.Now().Add(4*time.Second), "ahead")
	requireOutcomes(t, b.receive(t, id, ahead), contexts.Applied)
	require.Equal(t, "ahead", b.get(t, id))
	b.set(t, id, "mine")
	require.Equal(t, "mine", b.get(t, id))
}

// future makes a delta that writes the tree root at a time.
func future(t *testing.T, id domain.ContextID, parent domain.Hash, at time.Time, value string) contexts.Delta {
	t.Helper()
	actions := []crdt.Action{{Kind: crdt.Update, ID: crdt.TreeRoot(id), Data: []byte(value), Metadata: crdt.Metadata{
		CreatedAt: 1, UpdatedAt: uint64(at.UnixNano()),
	}}}
	parents := []domain.Hash{parent}
	return contexts.Delta{ID: crdt.DeltaID(parents, actions), Parents: parents, Actions: actions}
}

func TestReceive_HoldsWhatComesFromTheFuture(t *testing.T) {
	t.Parallel()
	_, id, out := author(t)
	var mu sync.Mutex
	now := time.Now()
	b := receiver(t, id, contexts.Options{Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	first := out.deltas(t)
	b.receive(t, id, first...)
	held := future(t, id, first[0].ID, now.Add(time.Hour), "future")
	child := future(t, id, held.ID, now, "child")
	other := future(t, id, first[0].ID, now.Add(time.Second), "now")
	r := b.receive(t, id, child, held, other)
	requireOutcomes(t, r, contexts.Held, contexts.Held, contexts.Applied)
	until := now.Add(time.Hour - crdt.MaxClockDrift)
	require.WithinDuration(t, until, r[0].Until, 0)
	require.WithinDuration(t, until, r[1].Until, 0)
	require.Equal(t, "now", b.get(t, id))
	require.Equal(t, 2, b.pendingRows(t))
	mu.Lock()
	now = until
	mu.Unlock()
	b.receive(t, id)
	require.Zero(t, b.pendingRows(t))
	require.Equal(t, "future", b.get(t, id))
}

func TestReceive_WhatWaitsOutlivesARestart(t *testing.T) {
	t.Parallel()
	a, id, out := author(t)
	for i := range 3 {
		a.set(t, id, fmt.Sprint(i))
	}
	deltas := out.deltas(t)
	b := receiver(t, id, contexts.Options{})
	requireOutcomes(t, b.receive(t, id, deltas[0], deltas[3]), contexts.Applied, contexts.Pending)
	held := future(t, id, deltas[0].ID, time.Now().Add(crdt.MaxClockDrift+time.Second), "soon")
	requireOutcomes(t, b.receive(t, id, held), contexts.Held)
	b = b.restart(t, register)
	require.Eventually(t, func() bool { return b.get(t, id) == "soon" }, 30*time.Second, 10*time.Millisecond,
		"it is applied without anybody asking")
	require.Equal(t, 1, b.pendingRows(t))
	missing, err := b.Missing(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []domain.Hash{deltas[2].ID}, missing)
	b = b.restart(t, register)
	requireOutcomes(t, b.receive(t, id, deltas[2], deltas[1]), contexts.Applied)
	require.Zero(t, b.pendingRows(t))
	requireOutcomes(t, b.receive(t, id, deltas[3]), contexts.Duplicate)
}

func TestReceive_Refusals(t *testing.T) {
	t.Parallel()
	a, id, out := author(t)
	a.set(t, id, "x")
	deltas := out.deltas(t)
	reader, member := domain.PublicKey{1}, a.member[id]
	b := receiver(t, id, contexts.Options{})
	group := b.found(t, wire.OpMemberAdded{Member: reader, Role: domain.RoleReadOnly},
		wire.OpMemberAdded{Member: member, Role: domain.RoleMember})
	batch := b.db.Batch()
	store.ContextGroup.Put(batch, id, wire.ID32(group))
	require.NoError(t, batch.Commit(t.Context()))
	requireOutcomes(t, b.receive(t, id, deltas[0]), contexts.Applied)
	info, err := b.Get(t.Context(), id)
	require.NoError(t, err)
	commits := b.storage.commits()
	for name, c := range map[string]struct {
		change func(*contexts.Delta)
		kind   errkind.Kind
		text   string
	}{
		"content":          {func(d *contexts.Delta) { d.Actions[0].Data = []byte("forged") }, errkind.Invalid, "not what its id says"},
		"id":               {func(d *contexts.Delta) { d.ID = domain.Hash{1} }, errkind.Invalid, "not what its id says"},
		"no parents":       {func(d *contexts.Delta) { d.Parents = nil }, errkind.Invalid, "has 0 parents"},
		"a parent twice":   {func(d *contexts.Delta) { d.Parents = append(d.Parents, d.Parents[0]) }, errkind.Invalid, "twice"},
		"too many parents": {func(d *contexts.Delta) { d.Parents = make([]domain.Hash, 1025) }, errkind.Invalid, "has 1025 parents"},
		"reader":           {func(d *contexts.Delta) { d.Author = reader }, errkind.PermissionDenied, "may only read"},
		"stranger":         {func(d *contexts.Delta) { d.Author = domain.PublicKey{9} }, errkind.PermissionDenied, "is not for"},
		"size": {func(d *contexts.Delta) {
			d.Actions[0].Data = make([]byte, 8<<20)
			d.ID = crdt.DeltaID(d.Parents, d.Actions)
		}, errkind.TooLarge, "limit"},
	} {
		d := deltas[1]
		d.Actions, d.Parents = slices.Clone(d.Actions), slices.Clone(d.Parents)
		c.change(&d)
		r := b.receive(t, id, d)
		requireOutcomes(t, r, contexts.Refused)
		require.ErrorIs(t, r[0].Err, c.kind, name)
		require.ErrorContains(t, r[0].Err, c.text, name)
	}
	require.Equal(t, commits, b.storage.commits())
	now, err := b.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, info, now)
	requireOutcomes(t, b.receive(t, id, deltas[1]), contexts.Applied)

	_, err = b.Receive(t.Context(), domain.ContextID{1}, deltas)
	require.ErrorIs(t, err, errkind.NotFound)
	strict := receiver(t, id, contexts.Options{Authorize: func(_ context.Context, of domain.ContextID, by domain.PublicKey) error {
		require.Equal(t, id, of)
		require.Equal(t, member, by)
		return errkind.PermissionDenied.Errorf("not today")
	}})
	r := strict.receive(t, id, deltas...)
	requireOutcomes(t, r, contexts.Refused)
	require.ErrorContains(t, r[0].Err, "not today")
}

// TestReceive_OneAuthorCannotFillTheStore: deltas without end wait for parents that never come.
func TestReceive_OneAuthorCannotFillTheStore(t *testing.T) {
	t.Parallel()
	a, id, out := author(t)
	a.set(t, id, "x")
	deltas := out.deltas(t)
	b := receiver(t, id, contexts.Options{})
	b.receive(t, id, deltas[0])
	waits := future(t, id, domain.Hash{0xee}, time.Now(), "waits")
	waits.Author = a.member[id]
	b.receive(t, id, waits)
	const limit = 4096
	junk := make([]contexts.Delta, limit+500)
	for i := range junk {
		junk[i] = future(t, id, domain.Hash{1, byte(i), byte(i >> 8)}, time.Now(), "junk")
		junk[i].Author = domain.PublicKey{6}
	}
	b.receive(t, id, junk...)
	require.Equal(t, limit+1, b.pendingRows(t))
	requireOutcomes(t, b.receive(t, id, waits), contexts.Pending)
	requireOutcomes(t, b.receive(t, id, deltas[1]), contexts.Applied)
}

// handled is a guest that counts the calls of "handler" and "broken", which write.
func handled(counts *sync.Map) runtimetest.Guest {
	return func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		if e.Method != "handler" && e.Method != "broken" {
			return register(ctx, e, h)
		}
		n, _ := counts.LoadOrStore(e.Method+string(e.Input), new(int))
		*n.(*int)++
		if e.Method == "broken" {
			return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultTrap, Text: "broken"}}, nil
		}
		return wrote(e, string(e.Input)), nil
	}
}

func event(handler, data string) contexts.Event {
	return contexts.Event{Kind: "E", Data: []byte(data), Handler: &handler}
}

func TestReceive_HandlersRunOnceOnTheReceiver(t *testing.T) {
	t.Parallel()
	_, id, out := author(t)
	first := out.deltas(t)[0]
	second := future(t, id, first.ID, time.Now(), "second")
	second.Events = []contexts.Event{event("broken", "1"), {Kind: "plain"}, event("handler", "1")}
	third := future(t, id, second.ID, time.Now(), "third")
	third.Events = []contexts.Event{event("handler", "2")}

	var counts sync.Map
	b := startNode(t, handled(&counts), contexts.Options{})
	b.join(t, id)
	mutations, end := b.Subscribe(t.Context())
	defer end()
	requireOutcomes(t, b.receive(t, id, first, third), contexts.Applied, contexts.Pending)
	require.Empty(t, (<-mutations).Events)
	requireOutcomes(t, b.receive(t, id, second, second), contexts.Applied)
	require.Equal(t, second.Events, (<-mutations).Events)
	require.Equal(t, third.Events, (<-mutations).Events)
	require.Eventually(t, func() bool { return b.handlersDue(t) == 0 }, 30*time.Second, time.Millisecond)
	b.receive(t, id, third, second)
	require.Equal(t, "2", b.get(t, id), "the handlers ran in the order of the deltas")
	b.stop()
	counts.Range(func(what, n any) bool {
		require.Equal(t, 1, *n.(*int), what)
		return true
	})
	_, ran := counts.Load("handler2")
	require.True(t, ran)
}

func (n *node) handlersDue(t *testing.T) int {
	t.Helper()
	rows, err := store.HandlersDue.List(t.Context(), n.db, nil)
	require.NoError(t, err)
	return len(rows)
}

// TestHandlers_ThoseThatANodeDidNotGetToRunAfterItsStart: of received deltas and of its own calls.
func TestHandlers_ThoseThatANodeDidNotGetToRunAfterItsStart(t *testing.T) {
	t.Parallel()
	_, id, out := author(t)
	first := out.deltas(t)[0]
	second := future(t, id, first.ID, time.Now(), "second")
	second.Events = []contexts.Event{event("handler", "1"), event("handler", "2")}

	entered := make(chan struct{}, 2)
	b := startNode(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		if e.Method == "handler" {
			entered <- struct{}{}
			<-ctx.Done()
			return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultCancelled, Text: "stopped"}}, nil
		}
		return register(ctx, e, h)
	}, contexts.Options{})
	b.join(t, id)
	own := b.create(t, testApp)
	requireOutcomes(t, b.receive(t, id, first, second), contexts.Applied)
	<-entered
	_, err := b.call(own, "emit:handler", "3")
	require.NoError(t, err)
	<-entered
	require.Equal(t, 2, b.handlersDue(t))

	var counts sync.Map
	b = b.restart(t, handled(&counts))
	require.Eventually(t, func() bool { return b.handlersDue(t) == 0 }, 30*time.Second, time.Millisecond)
	require.Equal(t, "2", b.get(t, id))
	require.Equal(t, "3", b.get(t, own))
	b = b.restart(t, handled(&counts))
	require.Equal(t, "2", b.get(t, id))
	b.stop()
	for _, what := range []string{"handler1", "handler2", "handler3"} {
		n, ran := counts.Load(what)
		require.True(t, ran, what)
		require.Equal(t, 1, *n.(*int), what)
	}
}

// TestPublish_SaysWhatAPeerNeeds: a signed delta, events without handlers, in the context's order.
func TestPublish_SaysWhatAPeerNeeds(t *testing.T) {
	t.Parallel()
	a, id, out := author(t)
	_, err := a.call(id, "emit:set", "data")
	require.NoError(t, err)
	out.mu.Lock()
	genesis, p := out.all[0], out.all[1]
	out.mu.Unlock()
	events, err := wire.DecodeEvents(p.Events)
	require.NoError(t, err)
	require.Equal(t, []wire.Event{{Kind: "E", Data: []byte("data")}}, events)
	statement := wire.DeltaStatement{
		Context: id, Author: a.member[id], Delta: p.Delta.DeltaID, HLC: p.Delta.HLC, RootHash: p.Delta.ExpectedRootHash,
		Actions: wire.EventsDigest(p.Delta.Actions), Events: wire.EventsDigest(p.Events),
	}
	require.True(t, statement.Verify(*p.Proof.Signature))
	require.Equal(t, []domain.Hash{genesis.Delta.DeltaID}, p.Delta.Parents)
	require.True(t, bytes.HasPrefix(p.Artifact(), []byte{0}))
}
