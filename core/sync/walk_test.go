package sync_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// TestAnyHistoryIsCaughtUp: whatever the shape of a history, and whatever part of it, closed under ancestors, a node has, one
// synchronisation brings the rest.
func TestAnyHistoryIsCaughtUp(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	a, b := newNode(t, l, 0, 2, setup{}), newNode(t, l, 1, 2, setup{})
	for _, n := range []*node{a, b} {
		n.stop() // no gossip: the test gives and takes
	}
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		all := newHistory(a.db, a.key)
		count := rapid.IntRange(1, 150).Draw(rt, "deltas")
		have := map[domain.Hash]bool{{}: true}
		var ids []domain.Hash
		a.reset()
		b.reset()
		for i := range count {
			var parents []domain.Hash
			for range rapid.IntRange(0, 3).Draw(rt, "parents") {
				if len(ids) == 0 {
					break
				}
				p := ids[rapid.IntRange(max(0, len(ids)-20), len(ids)-1).Draw(rt, "parent")]
				if !contains(parents, p) {
					parents = append(parents, p)
				}
			}
			row := newDelta(t, all.clock, parents, fmt.Sprint(round, " ", i))
			ids = append(ids, row.DeltaID)
			d := received(t, row, sign(&row, a.key, nil))
			take(t, a, d)
			known := rapid.Bool().Draw(rt, "known")
			for _, p := range row.Parents {
				known = known && have[p]
			}
			if known {
				have[row.DeltaID] = true
				take(t, b, d)
			}
		}
		require.NoError(t, b.m.Sync(t.Context(), ctxID))
		require.Equal(t, count, b.count())
		require.Equal(t, a.Root(), b.Root())
	})
}

func contains(list []domain.Hash, id domain.Hash) bool {
	for _, h := range list {
		if h == id {
			return true
		}
	}
	return false
}

func received(t *testing.T, row wire.ContextDagDelta, proof wire.DeltaAuthor) contexts.Delta {
	t.Helper()
	actions, err := crdt.DecodeActions(row.Actions)
	require.NoError(t, err)
	return contexts.Delta{
		ID: row.DeltaID, Parents: row.Parents, Actions: actions, HLC: row.HLC, ExpectedRoot: row.ExpectedRootHash,
		Author: proof.Author, Proof: proof,
	}
}

func take(t *testing.T, n *node, d contexts.Delta) {
	t.Helper()
	receipts, err := n.Receive(context.Background(), ctxID, []contexts.Delta{d})
	require.NoError(t, err)
	require.Equal(t, contexts.Applied, receipts[0].Outcome)
}

// reset forgets everything.
func (h *history) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.applied)
	clear(h.pending)
	clear(h.heads)
	h.root = domain.Hash{}
}
