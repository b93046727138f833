package contexts_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
)

// union is a guest whose root bytes are a set of letters, which it merges itself.
func union(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
	rows, err := h.Rows(ctx, []runtime.Key{runtimetest.StateKey(crdt.EntryKey(crdt.TreeRoot(e.Context)))})
	if err != nil {
		return nil, err
	}
	add := e.Input
	switch e.Method {
	case "get":
		return &runtime.Result{Value: rows[0].Value}, nil
	case "__calimero_sync_next":
		delta, err := crdt.DecodeArtifact(e.Input)
		if err != nil {
			return nil, err
		}
		add = delta.Actions[0].Data
		if slices.Contains(add, '!') {
			return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultTrap, Text: "unreachable code reached"}}, nil
		}
	}
	merged := slices.Concat(rows[0].Value, add)
	slices.Sort(merged)
	r := wrote(e, string(slices.Compact(merged)))
	if e.Method == "__calimero_sync_next" {
		r.Artifact = nil
	}
	return r, nil
}

// TestGuestMerge: what only the application can merge it merges, and its rows and root are committed.
func TestGuestMerge(t *testing.T) {
	t.Parallel()
	outA, outB := &outbox{}, &outbox{}
	a := startNode(t, union, contexts.Options{OnDelta: outA.add})
	id := a.create(t, mergingApp)
	b := startNode(t, union, contexts.Options{OnDelta: outB.add})
	b.join(t, id)
	batch := b.db.Batch()
	store.ContextMeta.Put(batch, id, wire.ContextMeta{ApplicationID: mergingApp})
	require.NoError(t, batch.Commit(t.Context()))
	requireOutcomes(t, b.receive(t, id, outA.deltas(t)...), contexts.Applied)

	for n, letters := range map[*node]string{a: "zx", b: "ya"} {
		_, err := n.call(id, "add", letters)
		require.NoError(t, err)
	}
	theirs := outB.deltas(t)
	theirs[0].Author = domain.PublicKey{} // b is no member at a
	requireOutcomes(t, a.receive(t, id, theirs...), contexts.Applied)
	b.receive(t, id, outA.deltas(t)...)
	require.Equal(t, "axyz", a.get(t, id))
	require.Equal(t, "axyz", b.get(t, id))
	for _, n := range []*node{a, b} {
		info, err := n.Get(t.Context(), id)
		require.NoError(t, err)
		require.True(t, info.GuestMerge)
		require.Len(t, info.DagHeads, 2)
		require.Equal(t, crdt.FullHash(crdt.OwnHash([]byte("axyz")), nil), info.RootHash)
	}

	heads, _, err := b.Heads(t.Context(), id)
	require.NoError(t, err)
	bad := outA.deltas(t)[1]
	bad.Author, bad.Parents = domain.PublicKey{}, heads
	bad.Actions[0].Data = []byte("!")
	bad.ID = crdt.DeltaID(bad.Parents, bad.Actions)
	r := b.receive(t, id, bad)
	requireOutcomes(t, r, contexts.Refused)
	require.ErrorContains(t, r[0].Err, "unreachable code reached")
	require.Zero(t, b.pendingRows(t))
	b = b.restart(t, union)
	require.Equal(t, "axyz", b.get(t, id))

	plain := startNode(t, register, contexts.Options{})
	info, err := plain.Get(t.Context(), plain.create(t, testApp))
	require.NoError(t, err)
	require.False(t, info.GuestMerge, "bytes of its own at the root, and no function that merges them")
}
