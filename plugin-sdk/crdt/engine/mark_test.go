package engine_test

import (
	"errors"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func author(t testing.TB, rows engine.Rows, key domain.PrivateKey, actions ...crdt.Action) []crdt.Action {
	t.Helper()
	out, err := engine.Author(rows, engine.Call{Context: ctx, Executor: key.Public(), Actions: actions})
	require.NoError(t, err)
	return out.Actions
}

// TestEqualChangesAreDifferentDeltas: two members do the same on top of the same delta, at different times. Without a
// mark both deltas would have one id.
func TestEqualChangesAreDifferentDeltas(t *testing.T) {
	t.Parallel()
	parents := []domain.Hash{{1}}
	added := crdt.EntryID(items, []byte("new"))
	for name, change := range map[string]func(at uint64) []crdt.Action{
		"remove": func(at uint64) []crdt.Action {
			return []crdt.Action{remove(entry, at), upsert(root, string(root[:]), 1, at)}
		},
		"add": func(at uint64) []crdt.Action {
			return []crdt.Action{upsert(added, "same", at, at, items, root), upsert(root, string(root[:]), 1, at)}
		},
		"touch": func(at uint64) []crdt.Action { return []crdt.Action{upsert(root, string(root[:]), 1, at)} },
	} {
		rows := base(t)
		apply(t, rows, []crdt.Action{upsert(crdt.StateEntryID, "state", 1, 1, root)}, opts)
		first := author(t, rows, domain.PrivateKey(fill(1)), change(10)...)
		second := author(t, rows, domain.PrivateKey(fill(2)), change(20)...)
		again := author(t, rows, domain.PrivateKey(fill(1)), change(30)...)
		ids := map[domain.Hash]bool{}
		for _, actions := range [][]crdt.Action{first, second, again} {
			ids[crdt.DeltaID(parents, actions)] = true
		}
		require.Len(t, ids, 3, name)
		require.Equal(t, crdt.DeltaID(parents, change(10)), crdt.DeltaID(parents, change(20)), name)
	}
}

// TestMarkCoversEverything: whatever is changed in a delta on its way, id or mark tell.
func TestMarkCoversEverything(t *testing.T) {
	t.Parallel()
	w := theWorld()
	rapid.Check(t, func(t *rapid.T) {
		rows := engine.Rows{}
		for _, d := range w.deltas(t) {
			applyRapid(t, rows, d, w.options())
		}
		key := w.keys[0]
		call := engine.Call{Context: w.context, Executor: key.Public()}
		call.Actions = rapid.SliceOfN(rapid.Custom(w.action), 1, 4).Draw(t, "actions")
		out, err := engine.Author(rows, call)
		if err != nil {
			t.Fatal(err)
		}
		crdt.SignUserActions(out.Actions, key.Signer())
		if engine.VerifyMark(out.Actions, call.Executor) != nil {
			return // nothing to anchor it to
		}
		if engine.VerifyMark(out.Actions, w.keys[1].Public()) == nil {
			t.Fatal("the mark holds for another author")
		}
		parents := []domain.Hash{{1}}
		id := crdt.DeltaID(parents, out.Actions)
		last := len(out.Actions) - 1
		marked, bare := maps.Clone(rows), rows
		applyRapid(t, marked, out.Actions, w.options())
		applyRapid(t, bare, out.Actions[:last], w.options())
		compareRapid(t, bare, marked)
		i := rapid.IntRange(0, last).Draw(t, "changed")
		a := out.Actions[i]
		switch rapid.IntRange(0, 4).Draw(t, "change") {
		case 0:
			a.Metadata.UpdatedAt++
			a.DeletedAt++
		case 1:
			a.Metadata.CreatedAt++
		case 2:
			a.Ancestors = append([]crdt.ChildInfo{{ID: crdt.ID{9}}}, a.Ancestors...)
			a.Metadata.CreatedAt++ // a deletion has no ancestors
		case 3:
			name := "other"
			if a.Metadata.FieldName != nil {
				name += *a.Metadata.FieldName
			}
			a.Metadata.FieldName = &name
		case 4:
			a.ID[0]++
		}
		out.Actions[i] = a
		err = engine.VerifyMark(out.Actions, call.Executor)
		if err == nil && crdt.DeltaID(parents, out.Actions) == id {
			t.Fatal("a changed delta passes")
		}
		if err != nil && errkind.Of(err) != errkind.Invalid && !errors.Is(err, engine.ErrUnmarked) {
			t.Fatal(err)
		}
	})
}
