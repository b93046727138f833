package groups_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// scopes are the rows of a group that the reference does not have, with what their keys end in.
var scopes = []string{
	"group-genesis-v1", "group-provisionl", "group-conflicted", "group-inherited1", "group-pending-op", "group-late-claim",
}

// FuzzStored reads a group with rows of any bytes, in its log too: it is read, or the error says that the storage is corrupt.
func FuzzStored(f *testing.F) {
	seed := newRig(f)
	genesis, err := wire.Encode(seed.genesis)
	require.NoError(f, err)
	_, op := seed.sign(admin, 1, wire.OpNoop{})
	for _, raw := range [][]byte{nil, genesis, append([]byte{1}, genesis...), op, bytes.Repeat([]byte{1}, 66), bytes.Repeat([]byte{1}, 96)} {
		for i := range len(scopes) + 1 {
			f.Add(byte(i), raw)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		r := newRig(t)
		b := r.db.Batch()
		if at := int(which) % (len(scopes) + 1); at < len(scopes) {
			store.Generic.Put(b, store.GenericKey{Scope: [16]byte([]byte(scopes[at])), Fragment: r.genesis.Group}, raw)
		} else {
			store.GroupOpLog.Put(b, store.GroupOpKey{Group: r.genesis.Group, Sequence: 1}, raw)
		}
		require.NoError(t, b.Commit(t.Context()))
		r.restart()
		if _, err := r.service.Origin(t.Context(), r.genesis.Group); err != nil {
			require.ErrorIs(t, err, errkind.Corrupt)
			return
		}
		_, err := r.service.Waiting(t.Context(), r.genesis.Group, groups.MaxLog)
		require.NoError(t, err)
		_, err = r.service.Issue(t.Context(), r.genesis.Group, admin, wire.OpNoop{})
		if err != nil { // of another genesis, or after an operation that deletes the group, or that has the last nonce
			require.Contains(t, []errkind.Kind{errkind.PermissionDenied, errkind.Precondition, errkind.Exhausted}, errkind.Of(err), "%v", err)
		}
	})
}
