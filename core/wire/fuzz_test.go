package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
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

// canonicalMessage checks that bytes which decode as a message encode to the same bytes.
func canonicalMessage[M any](t *testing.T, in []byte, decode func([]byte) (M, error), encode func(M) ([]byte, error)) {
	t.Helper()
	m, err := decode(in)
	if err != nil {
		require.ErrorIs(t, err, borsh.ErrMalformed)
		return
	}
	out, err := encode(m)
	require.NoError(t, err)
	switch any(m).(type) {
	case wire.StateDelta, wire.SignedDelta, wire.DeltaAnnounce: // a clock id of 0 reads as 1
		require.Len(t, out, len(in))
	default:
		require.Equal(t, in, out)
	}
}

func addMessages(f *testing.F, groups ...string) {
	for _, group := range groups {
		for _, c := range golden.Group[struct{}, messageOut](f, messages, group) {
			f.Add([]byte(c.Out.Borsh))
		}
	}
}

func FuzzBroadcast(f *testing.F) {
	addMessages(f, "broadcast_message")
	for _, m := range []wire.Broadcast{wire.SignedDelta{}, wire.DeltaAnnounce{}} {
		raw, err := wire.EncodeBroadcast(m)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, in []byte) { canonicalMessage(t, in, wire.DecodeBroadcast, wire.EncodeBroadcast) })
}

func FuzzStream(f *testing.F) {
	addMessages(f, "stream_message")
	f.Fuzz(func(t *testing.T, in []byte) { canonicalMessage(t, in, wire.DecodeStream, wire.EncodeStream) })
}

func FuzzExtension(f *testing.F) {
	sig := domain.Signature{1}
	for _, m := range []wire.ExtensionMessage{
		wire.Hello{}, wire.HelloReply{}, wire.HelloProof{}, wire.HeadsRequest{}, wire.Heads{DagHeads: make([]domain.Hash, 2)},
		wire.HistoryRequest{From: make([]domain.Hash, 1)},
		wire.History{Entries: []wire.HistoryEntry{{Parents: make([]domain.Hash, 2)}}},
		wire.DeltasRequest{Deltas: make([]domain.Hash, 2)},
		wire.Deltas{Records: []wire.DeltaRecord{{Author: wire.DeltaAuthor{Signature: &sig}, Events: []byte("[]")}}},
		wire.ShareKey{}, wire.Refusal{Text: "no"}, wire.BlobOpen{}, wire.BlobOpen{Auth: &wire.BlobAuth{}},
		wire.BlobChunks{Chunks: make([]domain.BlobID, 2)}, wire.ChunksRequest{}, wire.Chunk{Data: []byte("x")},
		wire.GroupHello{Invitation: &wire.GroupPass{}}, wire.GenesisRequest{}, wire.Genesis{Genesis: &wire.GroupGenesis{}},
		wire.GroupOpsRequest{Have: make([]domain.Hash, 2)}, wire.GroupOps{Ops: [][]byte{{1}}},
	} {
		raw, err := wire.EncodeExtension(m)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, in []byte) { canonicalMessage(t, in, wire.DecodeExtension, wire.EncodeExtension) })
}

func FuzzOtherMessages(f *testing.F) {
	addMessages(f, "handshake", "handshake_response", "specialized_node", "tree_node", "level_node", "tree_leaf_data")
	f.Fuzz(func(t *testing.T, in []byte) {
		canonical[wire.SyncHandshake](t, in)
		canonical[wire.SyncHandshakeResponse](t, in)
		canonical[wire.VerificationRequest](t, in)
		canonical[wire.SpecializedNodeInvitation](t, in)
		canonical[wire.TreeNode](t, in)
		canonical[wire.LevelNode](t, in)
		canonical[wire.TreeLeaf](t, in)
		canonical[wire.SnapshotCursor](t, in)
		if data, err := wire.DecodeBlobChunk(in); err == nil {
			out, err := wire.EncodeBlobChunk(data)
			require.NoError(t, err)
			require.Equal(t, in, out)
		}
		if record, err := wire.DecodeBlobRecord(in); err == nil {
			require.Equal(t, in, wire.EncodeBlobRecord(record))
		}
	})
}

func FuzzJSONMessages(f *testing.F) {
	for _, c := range golden.Group[struct{}, struct {
		Request string `json:"request_json"`
		JSON    string `json:"json"`
	}](f, messages, "blob_protocol") {
		f.Add([]byte(c.Out.Request + c.Out.JSON))
	}
	for _, c := range golden.Group[struct{}, struct{ JSON string }](f, messages, "events_json") {
		f.Add([]byte(c.Out.JSON))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if events, err := wire.DecodeEvents(in); err == nil {
			out, err := wire.EncodeEvents(events)
			require.NoError(t, err)
			again, err := wire.DecodeEvents(out)
			require.NoError(t, err)
			require.Len(t, again, len(events))
		}
		if r, err := wire.DecodeBlobRequest(in); err == nil {
			out, err := wire.EncodeBlobRequest(r)
			require.NoError(t, err)
			again, err := wire.DecodeBlobRequest(out)
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
		if r, err := wire.DecodeBlobResponse(in); err == nil {
			out, err := wire.EncodeBlobResponse(r)
			require.NoError(t, err)
			again, err := wire.DecodeBlobResponse(out)
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
	})
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
		canonical[wire.DeltaAuthor](t, in)
		canonical[wire.ID32](t, in)
		canonical[wire.U8](t, in)
		canonical[wire.U32](t, in)
		canonical[wire.U64](t, in)
		canonical[wire.Text](t, in)
		canonical[wire.Bytes](t, in)
	})
}

// canonicalGroupKey checks that a key that is one of a row of groups is made again of what it says.
func canonicalGroupKey(t *testing.T, key []byte, row byte) {
	t.Helper()
	if group, err := wire.GroupRow(row).Parse(key); err == nil {
		require.Equal(t, key, wire.GroupRow(row).Key(group))
	}
	if group, member, err := wire.GroupMemberRow(row).Parse(key); err == nil {
		require.Equal(t, key, wire.GroupMemberRow(row).Key(group, member))
	}
	if group, context, err := wire.GroupContextRow(row).Parse(key); err == nil {
		require.Equal(t, key, wire.GroupContextRow(row).Key(group, context))
	}
	if group, context, member, err := wire.GroupContextMemberRow(row).Parse(key); err == nil {
		require.Equal(t, key, wire.GroupContextMemberRow(row).Key(group, context, member))
	}
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
		if len(key) > 0 {
			canonicalGroupKey(t, key, key[0])
			_, err := wire.GroupRow(key[0] + 1).Parse(key)
			require.ErrorIs(t, err, wire.ErrKey, "of another row")
		}
		if context, err := wire.ParseContextGroupKey(key); err == nil {
			require.Equal(t, key, wire.ContextGroupKey(context))
		}
		if parent, child, err := wire.ParseGroupChildKey(key); err == nil {
			require.Equal(t, key, wire.GroupChildKey(parent, child))
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
		if context, delta, err := wire.ParseDeltaAuthorKey(key); err == nil {
			require.Equal(t, key, wire.DeltaAuthorKey(context, delta))
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
