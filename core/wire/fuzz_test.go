package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

// canonical checks that bytes which decode as T encode to the same bytes.
func canonical[T borsh.Marshaler, P interface {
	*T
	borsh.Unmarshaler
}](t *testing.T, in []byte) {
	t.Helper()
	v, err := wire.Decode[T, P](in)
	if err != nil {
		require.ErrorIs(t, err, borsh.ErrMalformed)
		return
	}
	out, err := wire.Encode(v)
	require.NoError(t, err)
	if _, delta := any(v).(wire.ContextDagDelta); delta { // a clock id of 0 reads as 1
		require.Len(t, out, len(in))
		return
	}
	require.Equal(t, in, out)
}

func FuzzStoredValues(f *testing.F) {
	for group := range rows {
		for _, c := range golden.Group[struct{}, rowOut](f, store, group) {
			f.Add([]byte(c.Out.Value))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		canonical[wire.ContextMeta](t, in)
		canonical[wire.ContextConfig](t, in)
		canonical[wire.ContextIdentity](t, in)
		canonical[wire.ContextDagDelta](t, in)
		canonical[wire.ApplicationRecord](t, in)
		canonical[wire.BlobMeta](t, in)
		canonical[wire.GroupMeta](t, in)
		canonical[wire.GroupMember](t, in)
		canonical[wire.GroupUpgrade](t, in)
		canonical[wire.GroupOpHead](t, in)
		canonical[wire.GroupContextVisibility](t, in)
		canonical[wire.ID32](t, in)
		canonical[wire.U8](t, in)
		canonical[wire.U32](t, in)
		canonical[wire.U64](t, in)
		canonical[wire.Text](t, in)
		canonical[wire.Bytes](t, in)
	})
}

func FuzzStoredKeys(f *testing.F) {
	for group := range rows {
		for _, c := range golden.Group[struct{}, rowOut](f, store, group) {
			f.Add([]byte(c.Out.Key))
		}
	}
	for _, c := range golden.Group[struct{}, rowOut](f, store, "alias") {
		f.Add([]byte(c.Out.Key))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		if group, member, err := wire.RowGroupMember.Parse(key); err == nil {
			require.Equal(t, key, wire.RowGroupMember.Key(group, member))
		}
		if group, context, err := wire.RowGroupContext.Parse(key); err == nil {
			require.Equal(t, key, wire.RowGroupContext.Key(group, context))
		}
		if group, context, member, err := wire.RowGroupContextAllowlist.Parse(key); err == nil {
			require.Equal(t, key, wire.RowGroupContextAllowlist.Key(group, context, member))
		}
		if group, sequence, err := wire.ParseGroupOpLogKey(key); err == nil {
			require.Equal(t, key, wire.GroupOpLogKey(group, sequence))
		}
		if kind, scope, alias, err := wire.ParseAliasKey(key); err == nil && kind == wire.AliasPublicKey {
			back, err := wire.PublicKeyAliasKey(scope, alias)
			if err != nil { // an inner zero byte: readable, since another node may have written it
				require.ErrorIs(t, err, wire.ErrAliasZeroByte)
				return
			}
			require.Equal(t, key, back)
		}
		if context, state, err := wire.ParseStateKey(key); err == nil {
			require.Equal(t, key, wire.StateKey(context, state))
		}
	})
}

func FuzzValueCipher(f *testing.F) {
	for _, c := range golden.Group[struct{ Stored golden.Hex }, struct{}](f, store, "encrypted_value") {
		f.Add([]byte(c.In.Stored))
	}
	key, err := wire.NewValueCipher([]byte{1})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, stored []byte) {
		if _, err := key.Open(stored); err != nil {
			require.ErrorIs(t, err, wire.ErrSealedValue)
		}
	})
}
