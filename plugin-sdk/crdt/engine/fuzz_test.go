package engine_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// FuzzApply: any artifact, from a peer or from the node's own guest, leaves a state whose rows are sound, and a second
// time changes nothing.
func FuzzApply(f *testing.F) {
	c := loadConvergence(f)
	for _, r := range c.Groups.Rule {
		for _, d := range r.In.Deltas {
			f.Add([]byte(d))
		}
	}
	for _, l := range c.Groups.Local[2:] {
		f.Add([]byte(l.In.Artifact))
	}
	initial := c.initial(f, "post_init")
	executor := domain.PrivateKey(fill(1)).Public()
	f.Fuzz(func(t *testing.T, in []byte) {
		delta, err := crdt.DecodeArtifact(in)
		if err != nil {
			return
		}
		rows := maps.Clone(initial)
		first := apply(t, rows, delta.Actions, c.options())
		require.Len(t, first.Verdicts, len(delta.Actions))
		for _, row := range first.Rows {
			if id := (crdt.ID)(append(row.Value, make([]byte, 32)...)[:32]); crdt.IndexKey(id) == row.Key {
				requireSoundIndex(t, row.Value)
			}
		}
		again := apply(t, rows, delta.Actions, c.options())
		require.Empty(t, again.Rows)
		require.Equal(t, first.Root, again.Root)
		engine.LatestTime(delta.Actions)
		_, err = engine.Genesis(engine.Rows{}, delta.Actions, domain.Hash{}, c.options())
		require.NoError(t, err)
		out, err := engine.Author(initial, engine.Call{
			Context: domain.ContextID(c.ContextID), Executor: executor, Actions: delta.Actions, Writes: first.Rows,
		})
		require.NoError(t, err)
		require.Empty(t, out.Raw)
	})
}

func requireSoundIndex(t *testing.T, row []byte) {
	t.Helper()
	var x crdt.EntityIndex
	require.NoError(t, borsh.Unmarshal(row, &x))
	for i := range x.Children[min(1, len(x.Children)):] {
		require.Negative(t, x.Children[i].Compare(x.Children[i+1]))
	}
}

// FuzzRows: rows from a snapshot of a hostile peer are used or refused as corrupt.
func FuzzRows(f *testing.F) {
	c := loadConvergence(f)
	initial := c.initial(f, "post_init")
	items := crdt.CollectionID("items")
	entry := crdt.EntryID(items, []byte("a"))
	root := crdt.ID(c.ContextID)
	for _, h := range c.Groups.History[:40] {
		rows := c.initial(f, h.In.Initial)
		h.Out.Changed.putTo(f, rows)
		f.Add(rows[crdt.IndexKey(root)], rows[crdt.IndexKey(items)], rows[crdt.IndexKey(entry)],
			rows[crdt.SyncStateKey(entry)], rows[crdt.EntryKey(entry)])
	}
	actions := actionsOf(f, c.Groups.History[0].In.Deltas[0].Artifact)
	actions = append(actions, crdt.Action{Kind: crdt.DeleteRef, ID: entry, DeletedAt: 1})
	f.Fuzz(func(t *testing.T, rootRow, itemsRow, entryRow, shadow, data []byte) {
		rows := maps.Clone(initial)
		for key, value := range map[crdt.StateKey][]byte{
			crdt.IndexKey(root): rootRow, crdt.IndexKey(items): itemsRow, crdt.IndexKey(entry): entryRow,
			crdt.SyncStateKey(entry): shadow, crdt.EntryKey(entry): data,
		} {
			if len(value) > 0 {
				rows[key] = value
			}
			engine.RowTime(key, value)
			if fixed, ok := engine.Revive(key, value); ok {
				var x crdt.EntityIndex
				require.Equal(t, len(value)-8, len(fixed))
				if borsh.Unmarshal(value, &x) == nil {
					x.DeletedAt = nil
					want, err := borsh.Marshal(x)
					require.NoError(t, err)
					require.Equal(t, want, fixed)
				}
			}
		}
		for _, part := range [][]crdt.Action{actions, actions[:1], actions[len(actions)-1:]} {
			change, err := engine.Apply(rows, part, c.options())
			if err != nil {
				require.ErrorIs(t, err, errkind.Corrupt)
				continue
			}
			for _, r := range change.Rows {
				if len(r.Edits) > 0 {
					require.Equal(t, r.Value, engine.Edited(rows[r.Key], r.Edits))
				}
			}
		}
		var s engine.Shadow
		if err := borsh.Unmarshal(shadow, &s); err != nil {
			require.ErrorIs(t, err, borsh.ErrMalformed)
		}
	})
}
