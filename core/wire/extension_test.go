package wire_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func filled[T ~[32]byte](b byte) T { return T(bytes.Repeat([]byte{b}, 32)) }

func statement() wire.DeltaStatement {
	return wire.DeltaStatement{
		Context: filled[domain.ContextID](0x11), Author: domain.PrivateKey(filled[domain.Hash](1)).Public(),
		Delta: filled[domain.Hash](0x33), HLC: crdt.Timestamp{Time: 0x0102030405060708, ID: borsh.U128{Lo: 1}},
		RootHash: filled[domain.Hash](0x55), Actions: sha256.Sum256([]byte{0, 0, 0, 0}), Events: wire.EventsDigest([]byte("[]")),
	}
}

const (
	authorHex    = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
	timestampHex = "0807060504030201" + "01000000000000000000000000000000"
	noActionsHex = "df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119"
	noEventsHex  = "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"
)

func repeated(pair string) string { return strings.Repeat(pair, 32) }

func statementHex() string {
	return repeated("11") + authorHex + repeated("33") + timestampHex + repeated("55") + noActionsHex + noEventsHex
}

func TestDeltaStatement(t *testing.T) {
	t.Parallel()
	s := statement()
	require.Equal(t, hex.EncodeToString([]byte("calimero-go/delta/1"))+statementHex(), hex.EncodeToString(s.Message()))
	key := domain.PrivateKey(filled[domain.Hash](1))
	sig := key.Sign(s.Message())
	require.True(t, s.Verify(sig))
	for name, change := range map[string]func(*wire.DeltaStatement){
		"context": func(s *wire.DeltaStatement) { s.Context[0]++ },
		"author":  func(s *wire.DeltaStatement) { s.Author = domain.PrivateKey{2}.Public() },
		"delta":   func(s *wire.DeltaStatement) { s.Delta[0]++ },
		"time":    func(s *wire.DeltaStatement) { s.HLC.Time++ },
		"clock":   func(s *wire.DeltaStatement) { s.HLC.ID.Hi++ },
		"root":    func(s *wire.DeltaStatement) { s.RootHash[0]++ },
		"actions": func(s *wire.DeltaStatement) { s.Actions[0]++ },
		"events":  func(s *wire.DeltaStatement) { s.Events[0]++ },
	} {
		s := statement()
		change(&s)
		require.False(t, s.Verify(sig), name)
	}
	require.Equal(t, domain.Hash{}, wire.EventsDigest(nil))
}

// TestExtensionBytes fixes the extension's layouts: a change is a new version.
func TestExtensionBytes(t *testing.T) {
	t.Parallel()
	sig := domain.Signature(bytes.Repeat([]byte{0x77}, 64))
	sigHex := strings.Repeat("77", 64)
	genesis, err := wire.GroupGenesis{Creator: domain.PrivateKey{1}.Public()}.Sign(domain.PrivateKey{1}, nil)
	require.NoError(t, err)
	raw, err := wire.Encode(genesis)
	require.NoError(t, err)
	genesisHex := hex.EncodeToString(raw)
	delta := wire.StateDelta{
		Context: filled[domain.ContextID](0x11), Author: filled[domain.PublicKey](0x22), Delta: filled[domain.Hash](0x33),
		Parents: []domain.Hash{{}}, HLC: statement().HLC, RootHash: filled[domain.Hash](0x55), Artifact: []byte{0xde, 0xad},
		Nonce: wire.Nonce{9}, GovernanceEpoch: []domain.Hash{},
	}
	for want, m := range map[string]wire.Broadcast{
		"c0" + repeated("11") + repeated("22") + repeated("33") + "01000000" + repeated("00") + timestampHex + repeated("55") +
			"02000000dead" + "09" + strings.Repeat("00", 11) + "00" + "00000000" + repeated("66") + sigHex: wire.SignedDelta{
			StateDelta: delta, Actions: filled[domain.Hash](0x66), Signature: sig},
		"c1" + statementHex() + "00000100" + sigHex: wire.DeltaAnnounce{DeltaStatement: statement(), Size: 65536, Signature: sig},
	} {
		got, err := wire.EncodeBroadcast(m)
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(got))
		back, err := wire.DecodeBroadcast(got)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(m, back))
	}
	a, b := filled[domain.Hash](0xaa), filled[domain.Hash](0xbb)
	for want, m := range map[string]wire.ExtensionMessage{
		"00" + repeated("11") + repeated("22") + repeated("44") + repeated("aa"): wire.Hello{
			Context: filled[domain.ContextID](0x11), Identity: filled[domain.PublicKey](0x22), Want: filled[domain.PublicKey](0x44),
			Nonce: a},
		"01" + repeated("22") + repeated("bb") + sigHex: wire.HelloReply{
			Identity: filled[domain.PublicKey](0x22), Nonce: b, Proof: sig},
		"02" + sigHex: wire.HelloProof{Proof: sig},
		"03":          wire.HeadsRequest{},
		"04" + "01000000" + repeated("aa") + repeated("55"): wire.Heads{
			DagHeads: []domain.Hash{a}, RootHash: filled[domain.Hash](0x55)},
		"05" + "01000000" + repeated("aa") + "40000000": wire.HistoryRequest{From: []domain.Hash{a}, Limit: 64},
		"06" + "01000000" + repeated("aa") + "01000000" + repeated("bb"): wire.History{
			Entries: []wire.HistoryEntry{{Delta: a, Parents: []domain.Hash{b}}}},
		"07" + "02000000" + repeated("aa") + repeated("bb"): wire.DeltasRequest{Deltas: []domain.Hash{a, b}},
		"08" + "02000000" +
			"020000000102" + repeated("22") + repeated("bb") + "01" + sigHex + "01" + "020000005b5d" +
			"00000000" + repeated("00") + repeated("00") + "00" + "00" + "01": wire.Deltas{
			Records: []wire.DeltaRecord{
				{Delta: []byte{1, 2}, Author: wire.DeltaAuthor{Author: filled[domain.PublicKey](0x22), Events: b, Signature: &sig},
					Events: []byte("[]")},
				{Delta: []byte{}},
			}, More: true},
		"09" + repeated("aa"):                         wire.ShareKey{SenderKey: domain.PrivateKey(a)},
		"0a" + "06" + "02000000" + "6e6f":             wire.Refusal{Kind: errkind.PermissionDenied, Text: "no"},
		"0b" + repeated("aa") + repeated("11") + "00": wire.BlobOpen{Blob: domain.BlobID(a), Context: filled[domain.ContextID](0x11)},
		"0b" + repeated("aa") + repeated("11") + "01" + repeated("22") + sigHex + "0807060504030201": wire.BlobOpen{
			Blob: domain.BlobID(a), Context: filled[domain.ContextID](0x11),
			Auth: &wire.BlobAuth{PublicKey: filled[domain.PublicKey](0x22), Signature: sig, Timestamp: 0x0102030405060708}},
		"0c" + "02000000" + repeated("aa") + repeated("bb"): wire.BlobChunks{Chunks: []domain.BlobID{domain.BlobID(a), domain.BlobID(b)}},
		"0d" + "01000000" + "10000000":                      wire.ChunksRequest{From: 1, Count: 16},
		"0e" + "02000000" + "6869":                          wire.Chunk{Data: []byte("hi")},
		"0f" + repeated("11") + repeated("22") + sigHex + "00": wire.GroupHello{
			Group: filled[domain.GroupID](0x11), Identity: filled[domain.PublicKey](0x22), Proof: sig},
		"0f" + repeated("11") + repeated("22") + sigHex + "01" + repeated("33") + repeated("11") + "0807060504030201" + repeated("44") +
			sigHex: wire.GroupHello{
			Group: filled[domain.GroupID](0x11), Identity: filled[domain.PublicKey](0x22), Proof: sig,
			Invitation: &wire.GroupPass{Invitation: wire.GroupInvitation{
				Inviter: filled[domain.PublicKey](0x33), Target: filled[domain.GroupID](0x11), Expiration: 0x0102030405060708,
				Salt: filled[[32]byte](0x44)}, Signature: sig}},
		"10":                     wire.GenesisRequest{},
		"11" + "00":              wire.Genesis{},
		"11" + "01" + genesisHex: wire.Genesis{Genesis: &genesis},
		"12" + "01000000" + repeated("aa") + "01000000" + repeated("bb") + "40000000": wire.GroupOpsRequest{
			Have: []domain.Hash{a}, Want: []domain.Hash{b}, Limit: 64},
		"13" + "01000000" + "020000000102" + "01": wire.GroupOps{Ops: [][]byte{{1, 2}}, More: true},
		"06" + "00000000":                         wire.History{Entries: []wire.HistoryEntry{}},
		"05" + "00000000" + "ffffffff":            wire.HistoryRequest{From: []domain.Hash{}, Limit: 1<<32 - 1},
		"08" + "00000000" + "00":                  wire.Deltas{Records: []wire.DeltaRecord{}},
		"04" + "00000000" + repeated("00"):        wire.Heads{DagHeads: []domain.Hash{}},
		"07" + "00000000":                         wire.DeltasRequest{Deltas: []domain.Hash{}},
		"0a" + "00" + "00000000":                  wire.Refusal{},
		"01" + repeated("00") + repeated("00") + strings.Repeat("00", 64): wire.HelloReply{},
	} {
		got, err := wire.EncodeExtension(m)
		require.NoError(t, err)
		require.Equal(t, want, hex.EncodeToString(got))
		back, err := wire.DecodeExtension(got)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(m, back, cmp.Comparer(func(a, b domain.PrivateKey) bool { return a == b })))
	}
	proof := wire.SessionProof{
		Opener: true, Hello: wire.Hello{Context: filled[domain.ContextID](0x11), Identity: filled[domain.PublicKey](0x22), Nonce: a},
		Reply: wire.HelloReply{Identity: filled[domain.PublicKey](0x33), Nonce: b, Proof: sig}, Opening: "A", Accepter: "BC",
	}
	group := wire.GroupProof{Group: filled[domain.GroupID](0x11), Opening: "A", Accepter: "BC"}
	require.Equal(t, hex.EncodeToString([]byte("calimero-go/group/1"))+repeated("11")+"0100000041"+"020000004243",
		hex.EncodeToString(group.Message()))
	require.Equal(t, hex.EncodeToString([]byte("calimero-go/session/1"))+"01"+repeated("11")+repeated("22")+repeated("00")+repeated("aa")+
		repeated("33")+repeated("bb")+"0100000041"+"020000004243", hex.EncodeToString(proof.Message()))
}

func TestStatementOfASignedDelta(t *testing.T) {
	t.Parallel()
	want := statement()
	s := wire.SignedDelta{StateDelta: wire.StateDelta{
		Context: want.Context, Author: want.Author, Delta: want.Delta, HLC: want.HLC, RootHash: want.RootHash, Events: []byte("[]"),
	}, Actions: want.Actions}
	require.Equal(t, want, s.Statement())
}

// TestCausalFormOfARow: a stored delta becomes what peers are given without being decoded.
func TestCausalFormOfARow(t *testing.T) {
	t.Parallel()
	actions := []crdt.Action{{Kind: crdt.Add, ID: crdt.ID{1}, Data: []byte("x")}, {Kind: crdt.Compare, ID: crdt.ID{2}}}
	want := crdt.NewCausalDelta([]domain.Hash{{7}, {8}}, actions, crdt.Timestamp{Time: 9, ID: borsh.U128{Lo: 1}}, domain.Hash{3})
	encoded, err := crdt.EncodeActions(actions)
	require.NoError(t, err)
	got, err := wire.ContextDagDelta{
		DeltaID: want.ID, Parents: want.Parents, Actions: encoded, HLC: want.HLC, ExpectedRootHash: want.ExpectedRootHash,
	}.Causal()
	require.NoError(t, err)
	whole, err := borsh.Marshal(want)
	require.NoError(t, err)
	require.Equal(t, whole, got)
}

func TestExtensionLimits(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]wire.ExtensionMessage{
		"history":      wire.History{Entries: make([]wire.HistoryEntry, wire.MaxHistory+1)},
		"history from": wire.HistoryRequest{From: make([]domain.Hash, wire.MaxHistoryFrom+1)},
		"deltas":       wire.DeltasRequest{Deltas: make([]domain.Hash, wire.MaxDeltas+1)},
		"records":      wire.Deltas{Records: make([]wire.DeltaRecord, wire.MaxDeltas+1)},
		"text":         wire.Refusal{Text: strings.Repeat("x", wire.MaxRefusal+1)},
		"chunks":       wire.BlobChunks{Chunks: make([]domain.BlobID, wire.MaxBlobChunks+1)},
		"have":         wire.GroupOpsRequest{Have: make([]domain.Hash, wire.MaxGroupHave+1)},
		"want":         wire.GroupOpsRequest{Want: make([]domain.Hash, wire.MaxGroupWant+1)},
		"ops":          wire.GroupOps{Ops: make([][]byte, wire.MaxGroupOps+1)},
		"op":           wire.GroupOps{Ops: [][]byte{make([]byte, wire.MaxGroupOp+1)}},
		"data":         wire.Chunk{Data: make([]byte, 1<<20+1)},
	} {
		raw, err := wire.EncodeExtension(m)
		require.NoError(t, err, name)
		_, err = wire.DecodeExtension(raw)
		require.ErrorIs(t, err, borsh.ErrMalformed, name)
		require.ErrorContains(t, err, "the limit is", name)
	}
	for _, tag := range []byte{9, 0x7f, 0xbf, 0xc3, 0xff} {
		_, err := wire.DecodeBroadcast([]byte{tag})
		require.ErrorIs(t, err, borsh.ErrMalformed)
	}
	_, err := wire.DecodeExtension([]byte{20})
	require.ErrorIs(t, err, borsh.ErrMalformed)
}

func TestDeltaAuthorRow(t *testing.T) {
	t.Parallel()
	context, delta := filled[domain.ContextID](0x11), filled[domain.Hash](0x33)
	key := wire.DeltaAuthorKey(context, delta)
	require.Equal(t, hex.EncodeToString([]byte("delta-author\x00\x00\x00\x00"))+repeated("11")+repeated("33"), hex.EncodeToString(key))
	require.True(t, bytes.HasPrefix(key, wire.DeltaAuthorPrefix(context)))
	gotContext, gotDelta, err := wire.ParseDeltaAuthorKey(key)
	require.NoError(t, err)
	require.Equal(t, context, gotContext)
	require.Equal(t, delta, gotDelta)
	_, _, err = wire.ParseDeltaAuthorKey(key[1:])
	require.ErrorIs(t, err, wire.ErrKey)

	sig := domain.Signature{1}
	for _, row := range []wire.DeltaAuthor{{}, {Author: domain.PublicKey{1}, Events: domain.Hash{2}, Signature: &sig}} {
		raw, err := wire.Encode(row)
		require.NoError(t, err)
		back, err := wire.Decode[wire.DeltaAuthor](raw)
		require.NoError(t, err)
		require.Equal(t, row, back)
	}
}
