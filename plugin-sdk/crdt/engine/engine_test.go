package engine_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

var (
	ctx   = domain.ContextID(fill(0x11))
	root  = crdt.TreeRoot(ctx)
	items = crdt.CollectionID("items")
	entry = crdt.EntryID(items, []byte("a"))
	opts  = engine.Options{Context: ctx}
)

func chain(ids ...crdt.ID) []crdt.ChildInfo {
	out := make([]crdt.ChildInfo, len(ids))
	for i, id := range ids {
		out[i] = crdt.ChildInfo{ID: id, Metadata: crdt.Metadata{CreatedAt: 1}}
	}
	return out
}

func upsert(id crdt.ID, data string, created, updated uint64, above ...crdt.ID) crdt.Action {
	return crdt.Action{Kind: crdt.Add, ID: id, Data: []byte(data), Ancestors: chain(above...),
		Metadata: crdt.Metadata{CreatedAt: created, UpdatedAt: updated}}
}

func remove(id crdt.ID, at uint64) crdt.Action {
	return crdt.Action{Kind: crdt.DeleteRef, ID: id, DeletedAt: at}
}

func userDelete(id crdt.ID, at uint64, key domain.PrivateKey) crdt.Action {
	a := remove(id, at)
	a.Metadata.Storage = crdt.StorageType{Kind: crdt.User, Owner: key.Public(), Signature: &crdt.SignatureData{}}
	list := []crdt.Action{a}
	crdt.SignUserActions(list, key.Signer())
	return list[0]
}

func readIndex(t *testing.T, rows engine.Rows, id crdt.ID) crdt.EntityIndex {
	t.Helper()
	var x crdt.EntityIndex
	require.Contains(t, rows, crdt.IndexKey(id))
	require.NoError(t, borsh.Unmarshal(rows[crdt.IndexKey(id)], &x))
	return x
}

func base(t *testing.T) engine.Rows {
	rows := engine.Rows{}
	apply(t, rows, []crdt.Action{
		upsert(root, string(root[:]), 1, 1), upsert(items, string(items[:]), 1, 1, root), upsert(entry, "v", 2, 2, items, root),
	}, opts)
	return rows
}

// TestForgedUserDelete: a user cannot take an id that is not theirs, whatever comes first.
func TestForgedUserDelete(t *testing.T) {
	t.Parallel()
	mallory := domain.PrivateKey(fill(7))
	for _, id := range []crdt.ID{entry, items, crdt.StateEntryID} {
		forged := userDelete(id, 1000, mallory)
		rows := base(t)
		before := maps.Clone(rows)
		change := apply(t, rows, []crdt.Action{forged}, opts)
		require.Equal(t, engine.Recorded, change.Verdicts[0].Outcome)
		delete(rows, crdt.SyncStateKey(id))
		requireRows(t, before, rows, "only the claim is new")
	}
	rows := engine.Rows{}
	apply(t, rows, []crdt.Action{userDelete(entry, 1000, mallory)}, opts)
	require.Len(t, rows, 1)
	change := apply(t, rows, []crdt.Action{upsert(entry, "v", 2, 2, items, root)}, opts)
	require.Equal(t, engine.Applied, change.Verdicts[0].Outcome)
	require.Equal(t, []byte("v"), rows[crdt.EntryKey(entry)])
}

// TestClaimsAreBounded: the oldest deletions of strangers are forgotten.
func TestClaimsAreBounded(t *testing.T) {
	t.Parallel()
	rows := base(t)
	for i := range byte(3 * engine.MaxClaims) {
		apply(t, rows, []crdt.Action{userDelete(entry, 1000+uint64(i), domain.PrivateKey(fill(i+1)))}, opts)
	}
	var s engine.Shadow
	require.NoError(t, borsh.Unmarshal(rows[crdt.SyncStateKey(entry)], &s))
	require.Len(t, s.Claims, engine.MaxClaims)
	for _, c := range s.Claims {
		require.GreaterOrEqual(t, c.UpdatedAt, uint64(1000+2*engine.MaxClaims))
	}
}

// TestRegistersAreBounded: the newest stay, in any order.
func TestRegistersAreBounded(t *testing.T) {
	t.Parallel()
	const n = engine.MaxRegisters + 50
	var actions []crdt.Action
	for i := range uint64(n) {
		actions = append(actions, upsert(entry, fmt.Sprint(i), 10+i*7919%n, 10+i, items, root))
	}
	want := base(t)
	apply(t, want, actions, opts)
	got := base(t)
	for i := range actions {
		part := []crdt.Action{actions[n-1-i]}
		if i < n-60 { // most in one delta, for time
			continue
		}
		apply(t, got, part, opts)
	}
	apply(t, got, actions[60-10:], opts)
	apply(t, got, actions[:60], opts)
	requireRows(t, want, got, "order")
	require.Len(t, readIndex(t, want, items).Children, engine.MaxRegisters)
	require.Equal(t, []byte(fmt.Sprint(n-1)), want[crdt.EntryKey(entry)])
}

// TestCycle: contradicting claims about parents end in finite hashes and the same rows.
func TestCycle(t *testing.T) {
	t.Parallel()
	a, b := crdt.ID(fill(1)), crdt.ID(fill(2))
	actions := []crdt.Action{
		upsert(a, "a", 1, 1, b, root), upsert(b, "b", 1, 1, a, root), upsert(root, string(root[:]), 1, 1),
	}
	var want engine.Rows
	for _, order := range permutations(len(actions)) {
		rows := engine.Rows{}
		for _, i := range order {
			apply(t, rows, actions[i:i+1], opts)
		}
		if want == nil {
			want = rows
		}
		requireRows(t, want, rows, "order")
	}
	require.Equal(t, b, *readIndex(t, want, a).ParentID)
	require.Equal(t, a, *readIndex(t, want, b).ParentID)
}

// TestEqualWritesUnderTwoParents: what differs in nothing but the parent hangs under the greater one.
func TestEqualWritesUnderTwoParents(t *testing.T) {
	t.Parallel()
	a, b := crdt.ID(fill(1)), crdt.ID(fill(2))
	actions := []crdt.Action{upsert(entry, "v", 5, 9, a, root), upsert(entry, "v", 5, 9, b, root), upsert(entry, "w", 6, 8, a, root)}
	var want engine.Rows
	for _, order := range permutations(len(actions)) {
		rows := base(t)
		for _, i := range order {
			apply(t, rows, actions[i:i+1], opts)
		}
		if want == nil {
			want = rows
		}
		requireRows(t, want, rows, "order")
	}
	require.Equal(t, b, *readIndex(t, want, entry).ParentID)
	require.Len(t, readIndex(t, want, b).Children, 3)
	require.Empty(t, readIndex(t, want, a).Children)
	require.Empty(t, readIndex(t, want, items).Children)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	long := string(make([]byte, engine.MaxNames+1))
	bulky := upsert(entry, "v", 1, 1, items, root)
	bulky.Metadata.FieldName = &long
	named := upsert(entry, "v", 1, 1, items, root)
	named.Ancestors[0].Metadata.Crdt = &crdt.CrdtType{Kind: crdt.Custom, Inner: long}
	var deep []crdt.ID
	for i := range byte(engine.MaxAncestors + 1) {
		deep = append(deep, crdt.ID(fill(i+100)))
	}
	user := upsert(root, "v", 1, 1)
	user.Metadata.Storage.Kind = crdt.User
	for want, a := range map[engine.Reason]crdt.Action{
		engine.LargeMetadata: bulky,
		engine.OwnAncestor:   upsert(entry, "v", 1, 1, items, entry, root),
		engine.NoParent:      upsert(entry, "v", 1, 1),
		engine.RootNotPublic: user,
		engine.RootDelete:    remove(root, 1),
		engine.IsCompare:     {Kind: crdt.Compare, ID: entry},
	} {
		requireRefused(t, want, a)
	}
	for _, a := range []crdt.Action{
		named, upsert(entry, "v", 1, 1, root, items), upsert(entry, "v", 1, 1, items, items, root),
		upsert(root, "v", 1, 1, items), upsert(entry, "v", 1, 1, deep...),
	} {
		requireRefused(t, engine.BadAncestors, a)
	}
}

func requireRefused(t *testing.T, want engine.Reason, a crdt.Action) {
	t.Helper()
	rows := base(t)
	change := apply(t, rows, []crdt.Action{a, upsert(entry, "other", 2, 9, items, root)}, opts)
	require.Equal(t, []engine.Verdict{{ID: a.ID, Kind: a.Kind, Outcome: engine.Refused, Reason: want}}, change.Dropped())
	require.Equal(t, "refused: "+want.String(), change.Verdicts[0].String())
	require.Equal(t, engine.Applied, change.Verdicts[1].Outcome, "the rest of the delta counts")
}

// TestReferenceRows: rows of a reference snapshot are taken as they are.
func TestReferenceRows(t *testing.T) {
	t.Parallel()
	rows := base(t)
	// Written again after its deletion: still marked, and stored.
	x := readIndex(t, rows, entry)
	deleted := uint64(5)
	x.DeletedAt, x.Metadata.UpdatedAt = &deleted, 6
	raw, err := borsh.Marshal(x)
	require.NoError(t, err)
	rows[crdt.IndexKey(entry)] = raw
	old := maps.Clone(rows)
	change := apply(t, old, []crdt.Action{upsert(entry, "late", 9, 5, items, root)}, opts)
	require.Equal(t, engine.Ignored, change.Verdicts[0].Outcome, "older than the deletion")
	change = apply(t, old, []crdt.Action{upsert(entry, "new", 2, 7, items, root)}, opts)
	require.Equal(t, engine.Applied, change.Verdicts[0].Outcome)
	require.Nil(t, readIndex(t, old, entry).DeletedAt)
	var s engine.Shadow
	require.NoError(t, borsh.Unmarshal(old[crdt.SyncStateKey(entry)], &s))
	require.Equal(t, deleted, s.Deletion.UpdatedAt)

	fixed, ok := engine.Revive(crdt.IndexKey(entry), raw)
	require.True(t, ok)
	x.DeletedAt = nil
	want, err := borsh.Marshal(x)
	require.NoError(t, err)
	require.Equal(t, want, fixed)
	_, ok = engine.Revive(crdt.IndexKey(entry), fixed)
	require.False(t, ok)
	_, ok = engine.Revive(crdt.EntryKey(entry), raw)
	require.False(t, ok)
	at, ok := engine.RowTime(crdt.IndexKey(entry), raw)
	require.True(t, ok)
	require.Equal(t, uint64(6), at)
	_, ok = engine.RowTime(crdt.EntryKey(entry), rows[crdt.EntryKey(entry)])
	require.False(t, ok)

	// A record left by another insert of the key: it is a register, and goes with the entity.
	rows = base(t)
	parent := readIndex(t, rows, items)
	second := parent.Children[0]
	second.Metadata.CreatedAt, second.Metadata.UpdatedAt = 4, 1
	second.MerkleHash = crdt.FullHash(crdt.OwnHash([]byte("other")), nil)
	parent.Children = append(parent.Children, second)
	rows[crdt.IndexKey(items)], err = borsh.Marshal(parent)
	require.NoError(t, err)
	apply(t, rows, []crdt.Action{upsert(entry, "new", 2, 7, items, root)}, opts)
	require.Len(t, readIndex(t, rows, items).Children, 2)
	require.Equal(t, second.MerkleHash, readIndex(t, rows, items).Children[1].MerkleHash)
	apply(t, rows, []crdt.Action{remove(entry, 8)}, opts)
	require.Nil(t, readIndex(t, rows, items).Children)
}

// TestRawRows: the guest's own keys pass; the engine's rows do not, in whatever way the guest touches them.
func TestRawRows(t *testing.T) {
	t.Parallel()
	rows := base(t)
	key := domain.PrivateKey(fill(1))
	own, gone := crdt.StateKey{1}, crdt.StateKey{2}
	rows[gone] = []byte("old")
	other := crdt.EntryID(items, []byte("other"))
	index, err := borsh.Marshal(crdt.EntityIndex{ID: other})
	require.NoError(t, err)
	call := engine.Call{Context: ctx, Executor: key.Public(), Writes: []engine.Row{
		{Key: own, Value: []byte{}},
		{Key: gone, Absent: true},
		{Key: crdt.IndexKey(entry), Absent: true},
		{Key: crdt.EntryKey(entry), Value: []byte("garbage")},
		{Key: crdt.IndexKey(items), Value: []byte("garbage")},
		{Key: crdt.IndexKey(other), Value: index},
		{Key: crdt.EntryKey(other), Value: []byte("anything")},
		{Key: crdt.SyncStateKey(root), Value: []byte("shadow")},
	}}
	rows[crdt.EntryKey(entry)] = append([]byte("v"), entry[:]...) // as the SDK writes it
	out, err := engine.Author(rows, call)
	require.NoError(t, err)
	require.Empty(t, out.Change.Rows)
	require.Equal(t, []engine.Row{{Key: own, Value: []byte{}}, {Key: gone, Absent: true}}, out.Raw)
	var corrected []crdt.StateKey
	for _, r := range out.Corrected {
		corrected = append(corrected, r.Key)
		require.Equal(t, rows[r.Key], r.Value)
	}
	want := []crdt.StateKey{}
	for _, w := range call.Writes[2:] {
		want = append(want, w.Key)
	}
	slices.SortFunc(want, func(a, b crdt.StateKey) int { return slices.Compare(a[:], b[:]) })
	require.Equal(t, want, corrected)
	require.Len(t, out.Rows(), 2)
}

// TestAuthorDropsWhatAllRefuse: an action that no node takes is not published.
func TestAuthorDropsWhatAllRefuse(t *testing.T) {
	t.Parallel()
	rows := base(t)
	key := domain.PrivateKey(fill(1))
	call := engine.Call{Context: ctx, Executor: key.Public(), Actions: []crdt.Action{
		upsert(entry, "v2", 2, 3, items, root), upsert(entry, "orphan", 2, 4), {Kind: crdt.Compare, ID: entry},
	}}
	out, err := engine.Author(rows, call)
	require.NoError(t, err)
	require.Equal(t, call.Actions[:1], unmarked(t, out, call.Executor))
	require.Len(t, out.Refused, 2)
}

type countingView struct {
	engine.Rows
	reads int
}

func (c *countingView) Get(keys []crdt.StateKey) ([][]byte, error) {
	c.reads++
	return c.Rows.Get(keys)
}

// TestFewReads: a view may be far away.
func TestFewReads(t *testing.T) {
	t.Parallel()
	key := domain.PrivateKey(fill(1))
	for name, actions := range map[string][]crdt.Action{
		"update": {upsert(entry, "v2", 2, 3, items, root), upsert(root, string(root[:]), 1, 3)},
		"insert": {upsert(crdt.EntryID(items, []byte("b")), "v2", 3, 3, items, root), upsert(root, string(root[:]), 1, 3)},
		"remove": {remove(entry, 9), upsert(root, string(root[:]), 1, 9)},
	} {
		rows := base(t)
		view := &countingView{Rows: rows}
		change, err := engine.Apply(view, actions, opts)
		require.NoError(t, err)
		require.LessOrEqual(t, view.reads, 2, name)
		view.reads = 0
		call := engine.Call{Context: ctx, Executor: key.Public(), Actions: actions, Writes: change.Rows}
		_, err = engine.Author(view, call)
		require.NoError(t, err)
		require.LessOrEqual(t, view.reads, 2, name)
	}
}

type brokenView struct{ err error }

func (b brokenView) Get([]crdt.StateKey) ([][]byte, error) { return nil, b.err }

func TestErrors(t *testing.T) {
	t.Parallel()
	action := []crdt.Action{upsert(entry, "v", 3, 3, items, root)}
	broken := brokenView{errors.New("broken")}
	_, err := engine.Apply(broken, action, opts)
	require.ErrorIs(t, err, broken.err)
	_, err = engine.Author(broken, engine.Call{Context: ctx, Actions: action})
	require.ErrorIs(t, err, broken.err)
	_, err = engine.Genesis(broken, action, domain.Hash{}, opts)
	require.ErrorIs(t, err, broken.err)
	_, err = engine.Apply(brokenView{}, action, opts)
	require.ErrorContains(t, err, "the view returned 0")
	for _, key := range []crdt.StateKey{crdt.IndexKey(root), crdt.IndexKey(items), crdt.IndexKey(entry), crdt.SyncStateKey(entry)} {
		for _, value := range [][]byte{{}, {1, 2, 3}, make([]byte, 200)} {
			rows := base(t)
			rows[key] = value
			_, err := engine.Apply(rows, action, opts)
			require.ErrorIs(t, err, errkind.Corrupt)
		}
	}
	rows := base(t)
	rows[crdt.IndexKey(entry)] = rows[crdt.IndexKey(items)]
	_, err = engine.Apply(rows, action, opts)
	require.ErrorContains(t, err, "index row of entity "+entry.String()+": it belongs to entity "+items.String())
}
