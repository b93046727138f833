package inspect_test

import (
	"bytes"
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts/inspect"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/collections"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// viewed are rows for a Writer whose changes are not kept: the engine makes them of its actions.
type viewed struct {
	below engine.Rows
	own   map[crdt.StateKey][]byte
}

func (v viewed) Get(key crdt.StateKey) ([]byte, bool, error) {
	if value, ok := v.own[key]; ok {
		return value, value != nil, nil
	}
	value, ok := v.below[key]
	return value, ok, nil
}

func (v viewed) Put(key crdt.StateKey, value []byte) error {
	v.own[key] = value
	return nil
}

func (v viewed) Remove(key crdt.StateKey) error {
	v.own[key] = nil
	return nil
}

// TestConflicts: a key that three nodes insert at the same time has three values, one of which is seen. The state says
// so, and its hashes fit.
func TestConflicts(t *testing.T) {
	t.Parallel()
	ctx := domain.ContextID{9}
	now := uint64(1_700_000_000_000_000_000)
	random := rand.New(rand.NewSource(1)) //nolint:gosec // ids of a test
	actions := func(rows engine.Rows, change func(w *collections.Writer)) []crdt.Action {
		tick := func() uint64 { now += 20_000; return now }
		clock := crdt.NewClock([16]byte{1})
		w := collections.New(collections.Config{
			Context: ctx, Executor: domain.PublicKey{1}, Rows: viewed{rows, map[crdt.StateKey][]byte{}}, Now: tick, Random: random,
			Timestamp: func() (crdt.Timestamp, error) { return clock.Now(tick()), nil }, MaxActions: 1 << 20,
		})
		change(w)
		return w.Take()
	}
	rows, root := engine.Rows{}, domain.Hash{}
	apply := func(list []crdt.Action) {
		c, err := engine.Apply(rows, list, engine.Options{Context: ctx})
		require.NoError(t, err)
		rows.Put(c.Rows)
		root = c.Root
	}
	var id crdt.ID
	apply(actions(rows, func(w *collections.Writer) {
		m, err := w.NewMap()
		require.NoError(t, err)
		id = m.ID()
		require.NoError(t, w.SaveRoot([]byte("document"), crdt.Metadata{CreatedAt: now, UpdatedAt: now + 1}))
	}))
	var all [][]crdt.Action
	for _, value := range []string{"1", "2", "3"} {
		all = append(all, actions(rows, func(w *collections.Writer) {
			m, err := w.Map(id)
			require.NoError(t, err)
			_, err = m.Insert([]byte("key"), []byte(value))
			require.NoError(t, err)
		}))
	}
	for _, list := range all {
		apply(list)
	}
	s := &inspect.State{Context: ctx, Root: root, Rows: rows}
	require.Empty(t, s.Verify().Findings)
	text := printed(t, s)
	require.Contains(t, text, `["key"] bytes = "3" (3 values)`)

	var shadow crdt.StateKey
	entry := all[0][0].ID
	shadow = crdt.SyncStateKey(entry)
	require.Contains(t, rows, shadow)
	altered := bytes.Clone(rows[shadow])
	// No deletion, the number of registers, the first's leaf and metadata (19 bytes); the second's leaf.
	altered[1+4+32+19] ^= 1
	rows[shadow] = altered
	findings := s.Verify().Findings
	require.Len(t, findings, 1)
	require.Equal(t, entry, findings[0].ID)
	require.Contains(t, findings[0].What, "shadow row")
}
