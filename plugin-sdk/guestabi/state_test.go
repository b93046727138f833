package guestabi_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

func (g *guest) write(key crdt.StateKey, value []byte) {
	g.must("storage_write", g.buf(key[:]), g.buf(value), 0)
}

func indexRow(t *testing.T, x crdt.EntityIndex) []byte {
	t.Helper()
	b, err := borsh.Marshal(x)
	require.NoError(t, err)
	return b
}

// TestWritesOfStateRows: with HASHES, rows in the form of the engine's are reported by entity and hash, all others whole.
func TestWritesOfStateRows(t *testing.T) {
	t.Parallel()
	g := newGuest(t, guestabi.Config{})
	id := crdt.ID{7}
	index := indexRow(t, crdt.EntityIndex{ID: id})
	entry := append([]byte("value"), id[:]...)
	own := crdt.StateKey{1}
	g.write(crdt.IndexKey(id), index)
	g.write(crdt.EntryKey(id), entry)
	g.write(own, entry)
	key := func(k crdt.StateKey) runtime.Key { return runtime.Key{Scope: runtime.ScopeState, K: k} }
	require.Equal(t, []runtime.Row{
		{Key: key(crdt.IndexKey(id)), Digest: &engine.Digest{Entity: id, Sum: sha256.Sum256(index)}},
		{Key: key(crdt.EntryKey(id)), Digest: &engine.Digest{Entity: id, Sum: sha256.Sum256(entry)}},
		{Key: key(own), Value: entry},
	}, g.x.Finish(nil, runtime.WritesHashes).Writes)
	require.Equal(t, index, g.x.Overlay()[0].Value)
}

// TestRewrittenEntitiesAreVisible: the SDK leaves the mark of a deletion on an entity that is written again, and then does
// not find it.
func TestRewrittenEntitiesAreVisible(t *testing.T) {
	t.Parallel()
	g := newGuest(t, guestabi.Config{})
	id, deleted := crdt.ID{7}, uint64(10)
	rows := map[uint64]bool{9: false, 10: false, 11: true}
	for updated, visible := range rows {
		x := crdt.EntityIndex{ID: id, Metadata: crdt.Metadata{CreatedAt: 1, UpdatedAt: updated}, DeletedAt: &deleted}
		want := indexRow(t, x)
		g.write(crdt.IndexKey(id), want)
		if visible {
			x.DeletedAt = nil
			want = indexRow(t, x)
		}
		require.Equal(t, want, g.x.Overlay()[0].Value, "updated at %d", updated)
		g.write(crdt.StateKey{1}, indexRow(t, x)) // not the key of that row
		require.True(t, bytes.Equal(indexRow(t, x), g.x.Overlay()[1].Value))
	}
}
