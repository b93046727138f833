package wire_test

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

const messages = "testdata/sync.json.gz"

// messageIn has the fields of all messages; each type uses its own.
type messageIn struct {
	Type          string
	ContextID     hex32           `json:"context_id"`
	GroupID       hex32           `json:"group_id"`
	AuthorID      hex32           `json:"author_id"`
	DeltaID       hex32           `json:"delta_id"`
	ParentIDs     []domainHash    `json:"parent_ids"`
	HLC           hlc             `json:"hlc"`
	RootHash      hex32           `json:"root_hash"`
	Artifact      golden.Hex      `json:"artifact"`
	Nonce         golden.Hex      `json:"nonce"`
	Events        golden.Hex      `json:"events"`
	Epoch         []domainHash    `json:"governance_epoch"`
	DagHeads      []domainHash    `json:"dag_heads"`
	MemberCount   uint32          `json:"member_count"`
	Payload       json.RawMessage `json:"payload"`
	MutationKind  *messageIn      `json:"mutation_kind"`
	Alias         string          `json:"alias"`
	Member        hex32           `json:"member"`
	Members       []domainHash    `json:"members"`
	Creator       hex32           `json:"creator"`
	Mode          uint8           `json:"mode"`
	Capabilities  uint32          `json:"capabilities"`
	QuoteBytes    golden.Hex      `json:"quote_bytes"`
	PublicKey     hex32           `json:"public_key"`
	PartyID       hex32           `json:"party_id"`
	NextNonce     golden.Hex      `json:"next_nonce"`
	SequenceID    golden.Uint     `json:"sequence_id"`
	BlobID        hex32           `json:"blob_id"`
	Cutoff        *golden.Uint    `json:"requested_cutoff_timestamp"`
	Boundary      hex32           `json:"boundary_root_hash"`
	BoundaryTime  golden.Uint     `json:"boundary_timestamp"`
	PageLimit     uint16          `json:"page_limit"`
	ByteLimit     uint32          `json:"byte_limit"`
	ResumeCursor  golden.Hex      `json:"resume_cursor"`
	NodeID        hex32           `json:"node_id"`
	MaxDepth      *uint8          `json:"max_depth"`
	Level         uint32          `json:"level"`
	Entities      []leafIn        `json:"entities"`
	Chunk         golden.Hex      `json:"chunk"`
	SenderKey     hex32           `json:"sender_key"`
	Delta         golden.Hex      `json:"delta"`
	Challenge     hex32           `json:"challenge"`
	Signature     golden.Hex      `json:"signature"`
	Uncompressed  uint32          `json:"uncompressed_len"`
	Cursor        golden.Hex      `json:"cursor"`
	PageCount     golden.Uint     `json:"page_count"`
	SentCount     golden.Uint     `json:"sent_count"`
	Error         *messageIn      `json:"error"`
	Expected      json.RawMessage `json:"expected"`
	Computed      hex32           `json:"computed"`
	PagesReceived golden.Uint     `json:"pages_received"`
	Actual        golden.Uint     `json:"actual"`
	Missing       []uint64        `json:"missing"`
	Nodes         json.RawMessage `json:"nodes"`
	NotFound      bool            `json:"not_found"`
	HasMore       bool            `json:"has_more_levels"`
	Applied       uint32          `json:"applied_count"`
}

type leafIn struct {
	Key      hex32
	Value    golden.Hex
	Metadata struct {
		Crdt struct {
			Type, Name string
			Inner      string `json:"inner_type"`
			Key        string `json:"key_type"`
			Value      string `json:"value_type"`
		} `json:"crdt_type"`
		UpdatedAt  golden.Uint `json:"hlc_timestamp"`
		Version    golden.Uint `json:"version"`
		Collection hex32       `json:"collection_id"`
		Parent     *hex32      `json:"parent_id"`
	}
}

func (l leafIn) value() wire.TreeLeaf {
	kinds := map[string]crdt.CrdtKind{
		"LwwRegister": crdt.LwwRegister, "UnorderedMap": crdt.UnorderedMap, "Custom": crdt.Custom,
	}
	m := l.Metadata
	return wire.TreeLeaf{Key: crdt.ID(l.Key), Value: l.Value, Metadata: wire.LeafMetadata{
		Crdt:      crdt.CrdtType{Kind: kinds[m.Crdt.Type], Inner: m.Crdt.Inner + m.Crdt.Key + m.Crdt.Name, Value: m.Crdt.Value},
		UpdatedAt: uint64(m.UpdatedAt), Version: uint64(m.Version), Collection: m.Collection, Parent: (*[32]byte)(m.Parent),
	}}
}

func leaf(in *leafIn) *wire.TreeLeaf {
	if in == nil {
		return nil
	}
	l := in.value()
	return &l
}

type nodeIn struct {
	ID       hex32
	Hash     hex32
	Children []domainHash
	Parent   *hex32  `json:"parent_id"`
	Leaf     *leafIn `json:"leaf_data"`
}

func (n nodeIn) tree() wire.TreeNode {
	return wire.TreeNode{ID: crdt.ID(n.ID), Hash: domain.Hash(n.Hash), Children: list[crdt.ID](n.Children), Leaf: leaf(n.Leaf)}
}

func (n nodeIn) level() wire.LevelNode {
	return wire.LevelNode{ID: crdt.ID(n.ID), Hash: domain.Hash(n.Hash), Parent: (*crdt.ID)(n.Parent), Leaf: leaf(n.Leaf)}
}

func read[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(raw, &v))
	return v
}

func each[T, U any](in []T, fn func(T) U) []U {
	out := make([]U, len(in))
	for i, v := range in {
		out[i] = fn(v)
	}
	return out
}

func nonce(in golden.Hex) wire.Nonce { return wire.Nonce(in) }

func hashList(in []domainHash) []domain.Hash { return list[domain.Hash](in) }

func (m messageIn) broadcast(t *testing.T) wire.Broadcast {
	t.Helper()
	switch m.Type {
	case "StateDelta":
		return wire.StateDelta{
			Context: domain.ContextID(m.ContextID), Author: domain.PublicKey(m.AuthorID), Delta: domain.Hash(m.DeltaID),
			Parents: hashList(m.ParentIDs), HLC: m.HLC.value(), RootHash: domain.Hash(m.RootHash), Artifact: m.Artifact,
			Nonce: nonce(m.Nonce), Events: m.Events, GovernanceEpoch: hashList(m.Epoch),
		}
	case "HashHeartbeat":
		return wire.HashHeartbeat{
			Context: domain.ContextID(m.ContextID), RootHash: domain.Hash(m.RootHash), DagHeads: hashList(m.DagHeads),
		}
	case "SpecializedNodeDiscovery":
		return wire.SpecializedNodeDiscovery{Nonce: [32]byte(m.Nonce)}
	case "SpecializedNodeJoinConfirmation":
		return wire.SpecializedNodeJoinConfirmation{Nonce: [32]byte(m.Nonce)}
	case "SignedGroupOpV1":
		return wire.SignedGroupOpV1{Payload: read[golden.Hex](t, m.Payload)}
	case "GroupGovernanceDelta":
		return wire.GroupGovernanceDelta{
			Group: domain.GroupID(m.GroupID), Delta: domain.Hash(m.DeltaID), Parents: hashList(m.ParentIDs),
			Payload: read[golden.Hex](t, m.Payload),
		}
	case "GroupStateHeartbeat":
		return wire.GroupStateHeartbeat{
			Group: domain.GroupID(m.GroupID), DagHeads: hashList(m.DagHeads), MemberCount: m.MemberCount,
		}
	case "TeeAttestationAnnounce":
		return wire.TeeAttestationAnnounce{
			Quote: m.QuoteBytes, PublicKey: domain.PublicKey(m.PublicKey), Nonce: [32]byte(m.Nonce),
		}
	case "GroupMutationNotification":
		return m.mutation(t)
	}
	t.Fatalf("no message %s", m.Type)
	return nil
}

var mutationKinds = strings.Fields(`MembersAdded MembersRemoved Upgraded Deleted ContextDetached SettingsUpdated
	MemberRoleUpdated VisibilityUpdated ContextAttached ContextAliasSet MemberCapabilitySet DefaultCapabilitiesSet
	ContextVisibilitySet DefaultVisibilitySet ContextAllowlistSet MemberAliasSet GroupAliasSet ContextRegistered
	TeeAdmissionPolicySet`)

func (m messageIn) mutation(t *testing.T) wire.GroupMutation {
	k := m.MutationKind
	for i, name := range mutationKinds {
		if name == k.Type {
			out := wire.GroupMutation{
				Group: domain.GroupID(m.GroupID), Kind: wire.GroupMutationKind(i), Context: domain.ContextID(k.ContextID),
				Member: domain.PublicKey(k.Member), Creator: domain.PublicKey(k.Creator), Alias: k.Alias,
				Capabilities: domain.GroupCapabilities(k.Capabilities), Mode: domain.VisibilityMode(k.Mode),
			}
			if k.Members != nil {
				out.Members = list[domain.PublicKey](k.Members)
			}
			return out
		}
	}
	t.Fatalf("no mutation %s", k.Type)
	return wire.GroupMutation{}
}

func (m messageIn) stream(t *testing.T) wire.StreamMessage {
	t.Helper()
	switch m.Type {
	case "Init":
		p := read[messageIn](t, m.Payload)
		return wire.Init{
			Context: domain.ContextID(m.ContextID), Party: domain.PublicKey(m.PartyID), Payload: p.initPayload(t),
			NextNonce: nonce(m.NextNonce),
		}
	case "Message":
		p := read[messageIn](t, m.Payload)
		return wire.Message{Sequence: uint64(m.SequenceID), Payload: p.messagePayload(t), NextNonce: nonce(m.NextNonce)}
	default:
		require.Equal(t, "OpaqueError", m.Type)
		return wire.OpaqueError{}
	}
}

func (m messageIn) initPayload(t *testing.T) wire.InitPayload {
	t.Helper()
	context := domain.ContextID(m.ContextID)
	switch m.Type {
	case "BlobShare":
		return wire.BlobShareInit{Blob: domain.BlobID(m.BlobID)}
	case "KeyShare":
		return wire.KeyShareInit{}
	case "DeltaRequest":
		return wire.DeltaRequest{Context: context, Delta: domain.Hash(m.DeltaID)}
	case "DagHeadsRequest":
		return wire.DagHeadsRequest{Context: context}
	case "SnapshotBoundaryRequest":
		return wire.SnapshotBoundaryRequest{Context: context, Cutoff: (*uint64)(m.Cutoff)}
	case "SnapshotStreamRequest":
		return wire.SnapshotStreamRequest{
			Context: context, Boundary: domain.Hash(m.Boundary), PageLimit: m.PageLimit, ByteLimit: m.ByteLimit,
			Cursor: m.ResumeCursor,
		}
	case "TreeNodeRequest":
		return wire.TreeNodeRequest{Context: context, Node: m.NodeID, MaxDepth: m.MaxDepth}
	case "LevelWiseRequest":
		r := wire.LevelWiseRequest{Context: context, Level: m.Level}
		if m.ParentIDs != nil {
			r.Parents = hashList(m.ParentIDs)
		}
		return r
	case "EntityPush":
		return wire.EntityPush{Context: context, Entities: each(m.Entities, leafIn.value)}
	case "GroupDeltaRequest":
		return wire.GroupDeltaRequest{Group: domain.GroupID(m.GroupID), Delta: domain.Hash(m.DeltaID)}
	}
	t.Fatalf("no payload %s", m.Type)
	return nil
}

func (m messageIn) messagePayload(t *testing.T) wire.MessagePayload {
	t.Helper()
	switch m.Type {
	case "BlobShare":
		return wire.BlobShare{Chunk: m.Chunk}
	case "KeyShare":
		return wire.KeyShare{SenderKey: domain.PrivateKey(m.SenderKey)}
	case "DeltaResponse":
		return wire.DeltaResponse{Delta: m.Delta}
	case "DeltaNotFound":
		return wire.DeltaNotFound{}
	case "DagHeadsResponse":
		return wire.DagHeadsResponse{DagHeads: hashList(m.DagHeads), RootHash: domain.Hash(m.RootHash)}
	case "Challenge":
		return wire.Challenge{Challenge: m.Challenge}
	case "ChallengeResponse":
		return wire.ChallengeResponse{Signature: domain.Signature(m.Signature)}
	case "SnapshotBoundaryResponse":
		return wire.SnapshotBoundaryResponse{
			Timestamp: uint64(m.BoundaryTime), RootHash: domain.Hash(m.Boundary), DagHeads: hashList(m.DagHeads),
		}
	case "SnapshotPage":
		return wire.SnapshotPage{
			Payload: read[golden.Hex](t, m.Payload), UncompressedLen: m.Uncompressed, Cursor: m.Cursor,
			PageCount: uint64(m.PageCount), SentCount: uint64(m.SentCount),
		}
	case "SnapshotError":
		return m.Error.snapshotError(t)
	case "TreeNodeResponse":
		return wire.TreeNodeResponse{Nodes: each(read[[]nodeIn](t, m.Nodes), nodeIn.tree), NotFound: m.NotFound}
	case "LevelWiseResponse":
		return wire.LevelWiseResponse{
			Level: m.Level, Nodes: each(read[[]nodeIn](t, m.Nodes), nodeIn.level), HasMore: m.HasMore,
		}
	case "EntityPushAck":
		return wire.EntityPushAck{Applied: m.Applied}
	case "GroupDeltaResponse":
		return wire.GroupDeltaResponse{
			Delta: domain.Hash(m.DeltaID), Parents: hashList(m.ParentIDs), Payload: read[golden.Hex](t, m.Payload),
		}
	case "GroupDeltaNotFound":
		return wire.GroupDeltaNotFound{}
	}
	t.Fatalf("no payload %s", m.Type)
	return nil
}

func (m *messageIn) snapshotError(t *testing.T) wire.SnapshotError {
	t.Helper()
	out := wire.SnapshotError{
		Computed: domain.Hash(m.Computed), PagesReceived: uint64(m.PagesReceived), ActualCount: uint64(m.Actual),
		Missing: m.Missing,
	}
	names := strings.Fields(`SnapshotRequired InvalidBoundary ResumeCursorInvalid SnapshotOnInitializedNode RootHashMismatch
		TransferInterrupted DecompressionFailed EntityCountMismatch MissingPages`)
	for i, name := range names {
		if name != m.Type {
			continue
		}
		switch out.Kind = wire.SnapshotErrorKind(i); out.Kind {
		case wire.RootHashMismatch:
			out.Expected = domain.Hash(read[hex32](t, m.Expected))
		case wire.EntityCountMismatch:
			out.ExpectedCount = uint64(read[golden.Uint](t, m.Expected))
		}
		return out
	}
	t.Fatalf("no snapshot error %s", m.Type)
	return out
}

type messageOut struct {
	Borsh golden.Hex
	Frame golden.Hex
	Error string
	Valid bool
}

func TestBroadcasts(t *testing.T) {
	t.Parallel()
	seen := map[reflect.Type]bool{}
	for _, c := range golden.Group[messageIn, messageOut](t, messages, "broadcast_message") {
		want := c.In.broadcast(t)
		seen[reflect.TypeOf(want)] = true
		got, err := wire.EncodeBroadcast(want)
		require.NoError(t, err, c.Name)
		require.Equal(t, hex.EncodeToString(c.Out.Borsh), hex.EncodeToString(got), c.Name)
		back, err := wire.DecodeBroadcast(c.Out.Borsh)
		require.NoError(t, err, c.Name)
		require.Empty(t, cmp.Diff(want, back), c.Name)
	}
	require.Len(t, seen, 9, "every message has a vector")
	for _, c := range golden.Group[encodedIn, messageOut](t, messages, "broadcast_message_decode") {
		_, err := wire.DecodeBroadcast(c.In.Borsh)
		require.ErrorIs(t, err, borsh.ErrMalformed, c.Name)
		if !strings.HasPrefix(c.Out.Error, "invalid utf-8") { // ours names no offset
			require.ErrorContains(t, err, c.Out.Error, c.Name)
		}
	}
}

// encodedIn is a message given by its bytes.
type encodedIn struct{ Borsh golden.Hex }

func TestStreamMessages(t *testing.T) {
	t.Parallel()
	seen := map[reflect.Type]bool{}
	for _, c := range golden.Group[messageIn, messageOut](t, messages, "stream_message") {
		want := c.In.stream(t)
		switch m := want.(type) {
		case wire.Init:
			seen[reflect.TypeOf(m.Payload)] = true
		case wire.Message:
			seen[reflect.TypeOf(m.Payload)] = true
		}
		got, err := wire.EncodeStream(want)
		require.NoError(t, err, c.Name)
		require.Equal(t, hex.EncodeToString(c.Out.Borsh), hex.EncodeToString(got), c.Name)
		back, err := wire.DecodeStream(c.Out.Borsh)
		require.NoError(t, err, c.Name)
		require.Empty(t, cmp.Diff(want, back, cmp.Comparer(func(a, b domain.PrivateKey) bool { return a == b })), c.Name)
	}
	require.Len(t, seen, 10+15, "every payload has a vector")
	for _, c := range golden.Group[encodedIn, messageOut](t, messages, "stream_message_decode") {
		_, err := wire.DecodeStream(c.In.Borsh)
		require.ErrorIs(t, err, borsh.ErrMalformed, c.Name)
		require.ErrorContains(t, err, c.Out.Error, c.Name)
	}
}

// TestSpecBytes has the messages whose bytes the format's description gives (sync-wire.md §11).
func TestSpecBytes(t *testing.T) {
	t.Parallel()
	fill := func(b byte) (out [32]byte) {
		for i := range out {
			out[i] = b
		}
		return out
	}
	nonce := wire.Nonce{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	var (
		ctx, party       = domain.ContextID(fill(0x11)), domain.PublicKey(fill(0x22))
		d1, d2, root     = domain.Hash(fill(0x33)), domain.Hash(fill(0x44)), domain.Hash(fill(0x55))
		ctxHex, partyHex = strings.Repeat("11", 32), strings.Repeat("22", 32)
		d1Hex, d2Hex     = strings.Repeat("33", 32), strings.Repeat("44", 32)
		rootHex          = strings.Repeat("55", 32)
		nonceHex         = "000102030405060708090a0b"
	)
	initOf := func(p wire.InitPayload) wire.StreamMessage {
		return wire.Init{Context: ctx, Party: party, Payload: p, NextNonce: nonce}
	}
	message := func(seq uint64, p wire.MessagePayload) wire.StreamMessage {
		return wire.Message{Sequence: seq, Payload: p, NextNonce: nonce}
	}
	depth := uint8(1)
	for name, c := range map[string]struct {
		message any
		want    string
	}{
		"E1": {wire.HashHeartbeat{Context: ctx, RootHash: root, DagHeads: []domain.Hash{d1, d2}},
			"01" + ctxHex + rootHex + "02000000" + d1Hex + d2Hex},
		"E2": {initOf(wire.DagHeadsRequest{Context: ctx}), "00" + ctxHex + partyHex + "03" + ctxHex + nonceHex},
		"E4": {message(0, wire.DagHeadsResponse{DagHeads: []domain.Hash{d1}, RootHash: root}),
			"01" + "0000000000000000" + "04" + "01000000" + d1Hex + rootHex + nonceHex},
		"E5": {initOf(wire.KeyShareInit{}), "00" + ctxHex + partyHex + "01" + nonceHex},
		"E6": {message(0, wire.Challenge{Challenge: fill(0xaa)}),
			"01" + "0000000000000000" + "05" + strings.Repeat("aa", 32) + nonceHex},
		"E7": {initOf(wire.TreeNodeRequest{Context: ctx, Node: root, MaxDepth: &depth}),
			"00" + ctxHex + partyHex + "06" + ctxHex + rootHex + "0101" + nonceHex},
		"E8": {initOf(wire.SnapshotStreamRequest{Context: ctx, Boundary: root, PageLimit: 16, ByteLimit: 65536}),
			"00" + ctxHex + partyHex + "05" + ctxHex + rootHex + "1000" + "00000100" + "00" + nonceHex},
		"E10": {initOf(wire.LevelWiseRequest{Context: ctx}), "00" + ctxHex + partyHex + "07" + ctxHex + "0000000000" + nonceHex},
		"E11": {message(3, wire.EntityPushAck{Applied: 42}), "0103000000000000000c2a000000" + nonceHex},
		"E12": {wire.OpaqueError{}, "02"},
		"E15": {wire.GroupStateHeartbeat{Group: domain.GroupID(ctx), DagHeads: []domain.Hash{d1}},
			"07" + ctxHex + "01000000" + d1Hex + "00000000"},
		"E16": {wire.SpecializedNodeDiscovery{Nonce: fill(0x44)}, "02" + d2Hex + "00"},
		"E18": {wire.Init{Payload: wire.GroupDeltaRequest{Group: domain.GroupID(d1), Delta: d2}, NextNonce: nonce},
			"00" + strings.Repeat("00", 64) + "09" + d1Hex + d2Hex + nonceHex},
		"E19": {message(0, wire.SnapshotError{Kind: wire.SnapshotRequired}), "01" + "0000000000000000" + "0900" + nonceHex},
		"E20": {message(0, wire.TreeNodeResponse{NotFound: true}), "01" + "0000000000000000" + "0a" + "0000000001" + nonceHex},
		"E23": {wire.GroupMutation{Group: domain.GroupID(ctx), Kind: wire.ContextAliasSet, Context: domain.ContextID(d1), Alias: "a"},
			"04" + ctxHex + "09" + d1Hex + "0100000061"},
	} {
		var got []byte
		var err error
		switch m := c.message.(type) {
		case wire.Broadcast:
			got, err = wire.EncodeBroadcast(m)
		case wire.StreamMessage:
			got, err = wire.EncodeStream(m)
		}
		require.NoError(t, err, name)
		require.Equal(t, c.want, hex.EncodeToString(got), name)
	}
	require.Equal(t, d1Hex+ctxHex+"00f1536500000000",
		hex.EncodeToString(wire.BlobAuthMessage(domain.BlobID(d1), ctx, 1700000000)), "E21")
	secret := domain.PrivateKey(fill(1))
	require.Equal(t, "a8dec567b9a44e25c7ea2d50f2b8455d491b56a24cb2fcd0c1721783c5e70b4f"+
		"dec841d47daea288b544adfca5ab4408a87a390f8e2ffaf8af072c84df2c6c00",
		secret.Sign(wire.ChallengeMessage(fill(0xaa))).String(), "C1")
}

func TestTreeNodes(t *testing.T) {
	t.Parallel()
	check := func(name string, want borsh.Marshaler, out messageOut, back any, err, valid error) {
		got, encodeErr := wire.Encode(want)
		require.NoError(t, encodeErr, name)
		require.Equal(t, hex.EncodeToString(out.Borsh), hex.EncodeToString(got), name)
		require.NoError(t, err, name)
		require.Empty(t, cmp.Diff(want, back), name)
		require.Equal(t, out.Valid, valid == nil, name)
	}
	for _, c := range golden.Group[nodeIn, messageOut](t, messages, "tree_node") {
		back, err := wire.Decode[wire.TreeNode](c.Out.Borsh)
		check(c.Name, c.In.tree(), c.Out, back, err, back.Validate())
	}
	for _, c := range golden.Group[nodeIn, messageOut](t, messages, "level_node") {
		back, err := wire.Decode[wire.LevelNode](c.Out.Borsh)
		check(c.Name, c.In.level(), c.Out, back, err, back.Validate())
	}
	for _, c := range golden.Group[leafIn, messageOut](t, messages, "tree_leaf_data") {
		back, err := wire.Decode[wire.TreeLeaf](c.Out.Borsh)
		check(c.Name, c.In.value(), c.Out, back, err, nil)
	}
	type size struct {
		Children int
		Value    *int `json:"leaf_value_len"`
	}
	for _, c := range golden.Group[size, messageOut](t, messages, "tree_node_valid") {
		n := wire.TreeNode{Children: make([]crdt.ID, c.In.Children)}
		if c.In.Value != nil {
			n.Leaf = &wire.TreeLeaf{Value: make([]byte, *c.In.Value)}
		}
		require.Equal(t, c.Out.Valid, n.Validate() == nil, c.Name)
	}
}

func TestHandshakes(t *testing.T) {
	t.Parallel()
	names := strings.Fields("None DeltaSync HashComparison Snapshot BloomFilter SubtreePrefetch LevelWise")
	kinds := func(in []string) []wire.SyncKind {
		return each(in, func(s string) wire.SyncKind {
			for i, name := range names {
				if name == s {
					return wire.SyncKind(i)
				}
			}
			t.Fatalf("no protocol %s", s)
			return 0
		})
	}
	type in struct {
		Version   uint32
		RootHash  hex32        `json:"root_hash"`
		Count     golden.Uint  `json:"entity_count"`
		MaxDepth  uint32       `json:"max_depth"`
		DagHeads  []domainHash `json:"dag_heads"`
		HasState  bool         `json:"has_state"`
		Supported []string     `json:"supported_protocols"`
		Selected  struct {
			Type       string
			Missing    []domainHash `json:"missing_delta_ids"`
			Root       hex32        `json:"root_hash"`
			Divergent  []domainHash `json:"divergent_subtrees"`
			Subtrees   []domainHash `json:"subtree_roots"`
			Compressed bool
			Verified   bool
			FilterSize uint64  `json:"filter_size"`
			Rate       float64 `json:"false_positive_rate"`
			MaxDepth   uint32  `json:"max_depth"`
		} `json:"selected_protocol"`
		Capabilities struct {
			Compression bool     `json:"supports_compression"`
			MaxBatch    uint64   `json:"max_batch_size"`
			Supported   []string `json:"supported_protocols"`
		}
	}
	for _, c := range golden.Group[in, messageOut](t, messages, "handshake") {
		want := wire.SyncHandshake{
			Version: c.In.Version, RootHash: domain.Hash(c.In.RootHash), Entities: uint64(c.In.Count), MaxDepth: c.In.MaxDepth,
			DagHeads: hashList(c.In.DagHeads), HasState: c.In.HasState, Supports: kinds(c.In.Supported),
		}
		got, err := wire.Encode(want)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Borsh), got, c.Name)
		back, err := wire.Decode[wire.SyncHandshake](got)
		require.NoError(t, err)
		require.Equal(t, want, back, c.Name)
	}
	for _, c := range golden.Group[in, messageOut](t, messages, "handshake_response") {
		s := c.In.Selected
		want := wire.SyncHandshakeResponse{
			Choice: wire.SyncChoice{
				Kind: kinds([]string{s.Type})[0], Root: domain.Hash(s.Root), Compressed: s.Compressed, Verified: s.Verified,
				FilterSize: s.FilterSize, FalsePositives: s.Rate, MaxDepth: s.MaxDepth,
			},
			RootHash: domain.Hash(c.In.RootHash), Entities: uint64(c.In.Count), Compression: c.In.Capabilities.Compression,
			MaxBatchSize: c.In.Capabilities.MaxBatch, Supports: kinds(c.In.Capabilities.Supported),
		}
		if s.Missing != nil {
			want.Choice.Deltas = hashList(s.Missing)
		}
		if subtrees := append(s.Divergent, s.Subtrees...); s.Divergent != nil || s.Subtrees != nil {
			want.Choice.Subtrees = hashList(subtrees)
		}
		got, err := wire.Encode(want)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Borsh), got, c.Name)
		back, err := wire.Decode[wire.SyncHandshakeResponse](got)
		require.NoError(t, err)
		require.Equal(t, want, back, c.Name)
	}
}

func TestSpecializedNodeMessages(t *testing.T) {
	t.Parallel()
	type in struct {
		Nonce      hex32
		Quote      golden.Hex `json:"quote_bytes"`
		PublicKey  hex32      `json:"public_key"`
		Invitation golden.Hex `json:"invitation_bytes"`
		Error      *string
	}
	for _, c := range golden.Group[in, messageOut](t, messages, "specialized_node") {
		if c.In.Quote != nil {
			want := wire.VerificationRequest{Nonce: c.In.Nonce, Quote: c.In.Quote, PublicKey: domain.PublicKey(c.In.PublicKey)}
			got, err := wire.Encode(want)
			require.NoError(t, err)
			require.Equal(t, []byte(c.Out.Borsh), got, c.Name)
			back, err := wire.DecodeVerificationRequest(got)
			require.NoError(t, err)
			require.Equal(t, want, back, c.Name)
			continue
		}
		want := wire.SpecializedNodeInvitation{Nonce: c.In.Nonce, Invitation: c.In.Invitation, Error: c.In.Error}
		got, err := wire.Encode(want)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Borsh), got, c.Name)
		back, err := wire.DecodeSpecializedNodeInvitation(got)
		require.NoError(t, err)
		require.Equal(t, want, back, c.Name)
	}
	_, err := wire.DecodeVerificationRequest(make([]byte, wire.MaxInvite+1))
	require.ErrorIs(t, err, errkind.TooLarge)
}

func TestBlobProtocol(t *testing.T) {
	t.Parallel()
	type in struct {
		Blob      hex32 `json:"blob_id"`
		Context   hex32 `json:"context_id"`
		Timestamp uint64
		Secret    *hex32 `json:"secret_key"`
		Found     *bool
		Size      *uint64
		Data      golden.Hex
	}
	type out struct {
		Payload   golden.Hex `json:"payload_borsh"`
		Signature domain.Signature
		Request   string     `json:"request_json"`
		JSON      string     `json:"json"`
		Borsh     golden.Hex `json:"borsh"`
		Key       golden.Hex `json:"key"`
	}
	for _, c := range golden.Group[in, out](t, messages, "blob_protocol") {
		blob, context := domain.BlobID(c.In.Blob), domain.ContextID(c.In.Context)
		switch {
		case c.Out.Request != "":
			r := wire.BlobRequest{Blob: blob, Context: context}
			if c.In.Secret != nil {
				require.Equal(t, []byte(c.Out.Payload), wire.BlobAuthMessage(blob, context, c.In.Timestamp))
				secret := domain.PrivateKey(*c.In.Secret)
				sig := secret.Sign(c.Out.Payload)
				require.Equal(t, c.Out.Signature, sig)
				r.Auth = &wire.BlobAuth{PublicKey: secret.Public(), Signature: sig, Timestamp: c.In.Timestamp}
				require.True(t, r.Verify())
			} else {
				require.False(t, r.Verify())
			}
			got, err := wire.EncodeBlobRequest(r)
			require.NoError(t, err)
			require.Equal(t, c.Out.Request, string(got), c.Name)
			back, err := wire.DecodeBlobRequest(got)
			require.NoError(t, err)
			require.Equal(t, r, back, c.Name)
		case c.In.Found != nil:
			r := wire.BlobResponse{Found: *c.In.Found, Size: c.In.Size}
			got, err := wire.EncodeBlobResponse(r)
			require.NoError(t, err)
			require.Equal(t, c.Out.JSON, string(got), c.Name)
			back, err := wire.DecodeBlobResponse(got)
			require.NoError(t, err)
			require.Equal(t, r, back, c.Name)
		case c.Out.Borsh != nil:
			got, err := wire.EncodeBlobChunk(c.In.Data)
			require.NoError(t, err)
			require.Equal(t, []byte(c.Out.Borsh), got, c.Name)
			back, err := wire.DecodeBlobChunk(got)
			require.NoError(t, err)
			require.Equal(t, string(c.In.Data), string(back), c.Name)
		default:
			require.Equal(t, []byte(c.Out.Key), wire.BlobRecordKey(context, blob), c.Name)
		}
	}
	record := wire.BlobRecord{Peer: []byte{0, 36, 8, 1}, Size: 1 << 40}
	back, err := wire.DecodeBlobRecord(wire.EncodeBlobRecord(record))
	require.NoError(t, err)
	require.Equal(t, record, back)
}

func TestBadBlobHeadersAreRefused(t *testing.T) {
	t.Parallel()
	id := `"` + strings.Repeat("1", 32) + `"`
	for _, text := range []string{
		``, `null`, `{}`, `[]`, `{"blob_id":` + id + `}`, `{"context_id":` + id + `}`,
		`{"blob_id":"x","context_id":` + id + `}`,
		`{"blob_id":` + id + `,"context_id":` + id + `,"auth":{}}`,
		`{"blob_id":` + id + `,"context_id":` + id + `,"auth":{"public_key":` + id + `,"signature":[1],"timestamp":1}}`,
		`{"blob_id":` + id + `,"context_id":` + id + `,"auth":{"public_key":` + id + `,"signature":[` +
			strings.Repeat("1,", 63) + `256],"timestamp":1}}`,
		`{"blob_id":` + id + `,"context_id":` + id + `,"auth":{"public_key":` + id + `,"signature":[` +
			strings.Repeat("1,", 63) + `1],"timestamp":-1}}`,
	} {
		_, err := wire.DecodeBlobRequest([]byte(text))
		require.ErrorIs(t, err, errkind.Invalid, text)
	}
	for _, text := range []string{``, `null`, `{}`, `{"found":1}`, `{"found":true,"size":-1}`} {
		_, err := wire.DecodeBlobResponse([]byte(text))
		require.ErrorIs(t, err, errkind.Invalid, text)
	}
	_, err := wire.DecodeBlobRequest(make([]byte, wire.MaxBlobHeader+1))
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = wire.DecodeBlobChunk(make([]byte, wire.MaxBlobChunk+5))
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = wire.EncodeBlobChunk(make([]byte, wire.MaxBlobChunk+1))
	require.ErrorIs(t, err, errkind.TooLarge)
	for _, n := range []int{0, 8, 200} {
		_, err = wire.DecodeBlobRecord(make([]byte, n))
		require.ErrorIs(t, err, errkind.Invalid)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	type event struct {
		Kind    string
		Data    golden.Hex
		Handler *string
	}
	for _, c := range golden.Group[struct{ Events []event }, struct{ JSON string }](t, messages, "events_json") {
		events := each(c.In.Events, func(e event) wire.Event { return wire.Event{Kind: e.Kind, Data: e.Data, Handler: e.Handler} })
		back, err := wire.DecodeEvents([]byte(c.Out.JSON))
		require.NoError(t, err)
		require.Equal(t, events, back, c.Name)
		got, err := wire.EncodeEvents(events)
		require.NoError(t, err)
		if len(events) == 0 {
			require.Nil(t, got, "no events are none, not an empty list")
			continue
		}
		require.Equal(t, c.Out.JSON, string(got), c.Name)
	}
	none, err := wire.DecodeEvents(nil)
	require.NoError(t, err)
	require.Nil(t, none)
	text, err := wire.EncodeEvents([]wire.Event{{Kind: "<&>"}})
	require.NoError(t, err)
	require.Equal(t, `[{"kind":"<&>","data":[],"handler":null}]`, string(text))
	for _, text := range []string{
		`{}`, `[1]`, `[{"kind":"a","data":"aGk="}]`, `[{"kind":"a","data":[256]}]`, `[{"kind":"a","data":[-1]}]`,
		`[{"kind":"a","data":[null]}]`, `[{"kind":"a","data":[[1]]}]`, `[{"kind":"a","data":null}]`, `[`,
	} {
		_, err := wire.DecodeEvents([]byte(text))
		require.ErrorIs(t, err, errkind.Invalid, text)
	}
	_, err = wire.DecodeEvents([]byte(`[` + strings.Repeat(`{},`, wire.MaxEvents) + `{}]`))
	require.ErrorIs(t, err, errkind.TooLarge)
	spaced, err := wire.DecodeEvents([]byte(`[ { "kind" : "a" , "data" : [ 1 , 2 ] } ]`))
	require.NoError(t, err)
	require.Equal(t, []wire.Event{{Kind: "a", Data: []byte{1, 2}}}, spaced)
}

func TestTopics(t *testing.T) {
	t.Parallel()
	type out struct {
		Context string `json:"context_topic"`
		Group   string `json:"group_topic"`
	}
	for _, c := range golden.Group[struct{ ID hex32 }, out](t, messages, "topics") {
		require.Equal(t, c.Out.Context, wire.ContextTopic(domain.ContextID(c.In.ID)))
		require.Equal(t, c.Out.Group, wire.GroupTopic(domain.GroupID(c.In.ID)))
	}
}

func TestMessageConstants(t *testing.T) {
	t.Parallel()
	type out struct {
		Stream    string     `json:"stream_protocol"`
		Blob      string     `json:"blob_protocol"`
		Invite    string     `json:"specialized_node_invite_protocol"`
		MaxFrame  int        `json:"max_message_size"`
		MaxInvite int        `json:"max_specialized_node_invite_message_size"`
		MaxOp     int        `json:"max_signed_group_op_payload_bytes"`
		Nodes     int        `json:"max_nodes_per_response"`
		Children  int        `json:"max_children_per_node"`
		Leaf      int        `json:"max_leaf_value_size"`
		Depth     int        `json:"max_tree_depth"`
		Parents   int        `json:"max_parents_per_request"`
		Level     int        `json:"max_nodes_per_level"`
		Domain    golden.Hex `json:"key_share_challenge_domain"`
		Transmit  int        `json:"max_transmit_size"`
	}
	cases := golden.Group[struct{}, out](t, messages, "constants")
	want := cases[0].Out
	require.Equal(t, out{
		Stream: wire.SyncProtocol, Blob: wire.BlobProtocol, Invite: wire.InviteProtocol, MaxFrame: wire.MaxFrame,
		MaxInvite: wire.MaxInvite, MaxOp: wire.MaxGroupOp, Nodes: wire.MaxTreeNodes, Children: wire.MaxTreeChildren,
		Leaf: wire.MaxTreeLeafValue, Depth: wire.MaxTreeDepth, Parents: wire.MaxLevelParents, Level: wire.MaxLevelNodes,
		Domain: wire.ChallengeMessage([32]byte{})[:len(want.Domain)],
	}, want)
	require.Equal(t, wire.MaxGossip, cases[1].Out.Transmit)
}

func TestOversizedMessagesAreRefused(t *testing.T) {
	t.Parallel()
	_, err := wire.DecodeBroadcast(make([]byte, wire.MaxGossip+1))
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = wire.EncodeBroadcast(wire.SignedGroupOpV1{Payload: make([]byte, wire.MaxGossip)})
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = wire.DecodeStream(make([]byte, wire.MaxFrame+1))
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = wire.EncodeStream(wire.Message{Payload: wire.DeltaResponse{Delta: make([]byte, wire.MaxFrame)}})
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = wire.DecodeExtension(make([]byte, wire.MaxFrame+1))
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = wire.EncodeExtension(wire.Deltas{Records: []wire.DeltaRecord{{Delta: make([]byte, wire.MaxFrame)}}})
	require.ErrorIs(t, err, errkind.TooLarge)
}

func TestUnknownKindsAreNotEncoded(t *testing.T) {
	t.Parallel()
	for _, m := range []wire.Broadcast{
		wire.GroupMutation{Kind: 19}, wire.SpecializedNodeDiscovery{NodeType: 1}, wire.TeeAttestationAnnounce{NodeType: 9},
	} {
		_, err := wire.EncodeBroadcast(m)
		require.ErrorContains(t, err, "unknown")
	}
	_, err := wire.EncodeStream(wire.Message{Payload: wire.SnapshotError{Kind: 9}})
	require.ErrorContains(t, err, "unknown")
	_, err = wire.Encode(wire.SyncChoice{Kind: 7})
	require.ErrorContains(t, err, "unknown")
}
