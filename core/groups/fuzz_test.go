package groups_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// scopes are the rows of a group that the reference does not have, with what their keys end in.
var scopes = []string{
	"group-genesis-v1", "group-provisionl", "group-conflicted", "group-inherited1", "group-pending-op", "group-late-claim",
}

// FuzzStored reads a group among rows of any bytes: it is read, or the error says that the storage is corrupt.
func FuzzStored(f *testing.F) {
	seed := newRig(f)
	genesis, err := wire.Encode(seed.genesis)
	require.NoError(f, err)
	_, op := seed.sign(admin, 1, wire.OpNoop{})
	for _, raw := range [][]byte{nil, genesis, append([]byte{1}, genesis...), op, bytes.Repeat([]byte{1}, 66), bytes.Repeat([]byte{1}, 96)} {
		for i := range scopes {
			f.Add(byte(i), raw)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		r := newRig(t)
		key := store.GenericKey{Scope: [16]byte([]byte(scopes[int(which)%len(scopes)])), Fragment: r.genesis.Group}
		b := r.db.Batch()
		store.Generic.Put(b, key, raw)
		store.GroupOpLog.Put(b, store.GroupOpKey{Group: domain.GroupID{1}, Sequence: 1}, raw)
		require.NoError(t, b.Commit(t.Context()))
		r.restart()
		if _, err := r.service.Origin(t.Context(), r.genesis.Group); err != nil {
			require.ErrorIs(t, err, errkind.Corrupt)
			return
		}
		_, err := r.service.Waiting(t.Context(), r.genesis.Group, groups.MaxLog)
		require.NoError(t, err)
		_, err = r.service.Issue(t.Context(), r.genesis.Group, admin, wire.OpNoop{})
		if err != nil { // another genesis, of another creator
			require.ErrorIs(t, err, errkind.PermissionDenied)
		}
	})
}
