package wire_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

var (
	localPatch    = wire.StatePatch{Row: 0x01020304, Edits: []engine.Edit{{Off: 5, Del: 6, Ins: []byte("ab")}, {Off: 11, Ins: []byte{}}}}
	localContext  = wire.ContextLocal{Seen: 0x0102, Shadows: true}
	localHandlers = wire.HandlersDue{Life: 1, Order: 2, Executor: domain.PublicKey{3}, Depth: 4, Next: 5, Events: []byte("[]")}
	localPending  = wire.PendingDelta{
		Delta: wire.ContextDagDelta{
			DeltaID: domain.Hash{1}, Parents: []domain.Hash{{2}}, Actions: []byte{0, 0, 0, 0}, HLC: crdt.ZeroTimestamp(),
		},
		Author: wire.DeltaAuthor{Author: domain.PublicKey{4}}, Received: 5,
	}
)

// TestLocalRows: the bytes of stored rows do not change.
func TestLocalRows(t *testing.T) {
	t.Parallel()
	zeros := func(n int) string { return strings.Repeat("00", n) }
	for _, c := range []struct {
		row  borsh.Marshaler
		want string
	}{
		{localPatch, "04030201" + "02000000" + "05000000" + "06000000" + "02000000" + "6162" + "0b000000" + "00000000" + "00000000"},
		{localContext, "0201000000000000" + "01" + "00"},
		{localHandlers, "0100000000000000" + "0200000000000000" + "03" + zeros(31) + "04000000" + "05000000" + "02000000" + "5b5d"},
		{localPending, "01" + zeros(31) + "01000000" + "02" + zeros(31) + "04000000" + zeros(4) + zeros(8) + "01" + zeros(15) + "00" +
			zeros(32) + "00" + "04" + zeros(31) + zeros(32) + "00" + "0500000000000000"},
	} {
		raw, err := wire.Encode(c.row)
		require.NoError(t, err)
		require.Equal(t, c.want, hex.EncodeToString(raw), "%T", c.row)
	}
	key := wire.StatePatchKey(domain.ContextID{1}, crdt.StateKey{2}, 0x01020304)
	require.Equal(t, "01"+zeros(31)+"02"+zeros(31)+"01020304", hex.EncodeToString(key))
	context, row, number, err := wire.ParseStatePatchKey(key)
	require.NoError(t, err)
	require.Equal(t, domain.ContextID{1}, context)
	require.Equal(t, crdt.StateKey{2}, row)
	require.EqualValues(t, 0x01020304, number)
	for _, bad := range [][]byte{nil, {1}, key[1:], append(key, 0)} {
		_, _, _, err := wire.ParseStatePatchKey(bad)
		require.ErrorIs(t, err, wire.ErrKey)
	}
}

func FuzzLocalRows(f *testing.F) {
	for _, row := range []borsh.Marshaler{localPatch, localContext, localHandlers} {
		raw, err := wire.Encode(row)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		canonical[wire.StatePatch](t, in)
		canonical[wire.ContextLocal](t, in)
		canonical[wire.HandlersDue](t, in)
		if p, err := wire.Decode[wire.PendingDelta](in); err == nil {
			out, err := wire.Encode(p)
			require.NoError(t, err)
			require.Len(t, out, len(in)) // a clock id of 0 reads as 1
		}
	})
}
