package crdt_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

const (
	storage = "testdata/storage.json"
	dag     = "testdata/dag.json"
)

type borshOut struct{ Borsh golden.Hex }

// requireBorsh checks both directions of the codec.
func requireBorsh[T borsh.Marshaler, P interface {
	*T
	borsh.Unmarshaler
}](t *testing.T, name string, value T, bytes golden.Hex) {
	t.Helper()
	out, err := borsh.Marshal(value)
	require.NoError(t, err, name)
	require.Equal(t, []byte(bytes), out, name)
	var back T
	require.NoError(t, borsh.Unmarshal(bytes, P(&back)), name)
	require.Empty(t, cmp.Diff(value, back), name)
}

func TestLayouts(t *testing.T) {
	t.Parallel()
	for _, c := range golden.Group[storageTypeJSON, borshOut](t, storage, "storage_type") {
		requireBorsh(t, c.Name, c.In.value(), c.Out.Borsh)
	}
	for _, c := range golden.Group[crdtTypeJSON, borshOut](t, storage, "crdt_type") {
		requireBorsh(t, c.Name, c.In.value(), c.Out.Borsh)
	}
	for _, c := range golden.Group[metadataJSON, borshOut](t, storage, "metadata") {
		requireBorsh(t, c.Name, c.In.value(), c.Out.Borsh)
	}
	for _, c := range golden.Group[childJSON, borshOut](t, storage, "child_info") {
		requireBorsh(t, c.Name, children([]childJSON{c.In})[0], c.Out.Borsh)
	}
	for _, c := range golden.Group[indexJSON, borshOut](t, storage, "entity_index") {
		index := c.In.value()
		requireBorsh(t, c.Name, index, c.Out.Borsh)
		full, err := crdt.ReadFullHash(append(c.Out.Borsh, 0xff))
		require.NoError(t, err, c.Name)
		require.Equal(t, index.FullHash, full, c.Name)
	}
	for _, c := range golden.Group[storageDeltaJSON, borshOut](t, storage, "storage_delta") {
		requireBorsh(t, c.Name, c.In.value(), c.Out.Borsh)
	}
}

func TestLayoutRefusals(t *testing.T) {
	t.Parallel()
	type out struct {
		Error   string
		Decoded json.RawMessage
	}
	for _, c := range golden.Group[borshOut, out](t, storage, "storage_type_decode") {
		require.ErrorContains(t, borsh.Unmarshal(c.In.Borsh, new(crdt.StorageType)), c.Out.Error, c.Name)
	}
	for _, c := range golden.Group[borshOut, out](t, storage, "metadata_decode") {
		want := c.Out.Error
		if c.Name == "field_name_not_utf8" { // the rest of the reference's text is Rust's own
			want = "invalid utf-8 sequence"
		}
		require.ErrorContains(t, borsh.Unmarshal(c.In.Borsh, new(crdt.Metadata)), want, c.Name)
	}
	for _, c := range golden.Group[borshOut, out](t, storage, "storage_delta_decode") {
		delta, err := crdt.DecodeArtifact(c.In.Borsh)
		if c.Out.Error != "" {
			require.ErrorContains(t, err, c.Out.Error, c.Name)
			require.ErrorIs(t, err, borsh.ErrMalformed, c.Name)
			continue
		}
		require.NoError(t, err, c.Name)
		require.JSONEq(t, `{"type":"Comparisons","comparisons":[]}`, string(c.Out.Decoded), c.Name)
		require.Equal(t, crdt.StorageDelta{Comparisons: []crdt.Comparison{}}, delta, c.Name)
	}
	_, err := borsh.Marshal(crdt.StorageDelta{Actions: []crdt.Action{}, Comparisons: []crdt.Comparison{}})
	require.Error(t, err)
	_, err = crdt.EncodeActions([]crdt.Action{{Kind: 9}})
	require.ErrorContains(t, err, "unknown kind 9")
	_, err = crdt.EncodeArtifact([]crdt.Action{{Metadata: crdt.Metadata{Storage: crdt.StorageType{Kind: 9}}}})
	require.ErrorContains(t, err, "unknown kind 9")
}

func TestActions(t *testing.T) {
	t.Parallel()
	type out struct {
		Borsh    golden.Hex
		Payload  golden.Hex32 `json:"payload_for_signing"`
		Artifact golden.Hex   `json:"artifact_one_action"`
	}
	for _, c := range golden.Group[actionJSON, out](t, storage, "action") {
		action := c.In.value()
		requireBorsh(t, c.Name, action, c.Out.Borsh)
		require.Equal(t, [32]byte(c.Out.Payload), action.SigningPayload(), c.Name)
		artifact, err := crdt.EncodeArtifact([]crdt.Action{action})
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Artifact), artifact, c.Name)
		delta, err := crdt.DecodeArtifact(artifact)
		require.NoError(t, err, c.Name)
		require.Empty(t, cmp.Diff([]crdt.Action{action}, delta.Actions), c.Name)
	}
}

func TestSigning(t *testing.T) {
	t.Parallel()
	type in struct {
		Unsigned      actionJSON
		UnsignedBorsh golden.Hex   `json:"unsigned_borsh"`
		Secret        golden.Hex32 `json:"secret_key"`
	}
	type out struct {
		Payload     golden.Hex32
		Signed      actionJSON
		SignedBorsh golden.Hex `json:"signed_borsh"`
	}
	for _, c := range golden.Group[in, out](t, storage, "action_signature") {
		action := c.In.Unsigned.value()
		requireBorsh(t, c.Name, action, c.In.UnsignedBorsh)
		require.Equal(t, [32]byte(c.Out.Payload), action.SigningPayload(), c.Name)
		require.False(t, action.VerifySignature(), c.Name)

		stranger := []crdt.Action{action}
		require.Zero(t, crdt.SignUserActions(stranger, domain.PrivateKey{0xee}.Signer()), "only the owner signs")

		signed := []crdt.Action{action}
		require.Equal(t, 1, crdt.SignUserActions(signed, domain.PrivateKey(c.In.Secret).Signer()), c.Name)
		requireBorsh(t, c.Name, signed[0], c.Out.SignedBorsh)
		require.Empty(t, cmp.Diff(c.Out.Signed.value(), signed[0]), c.Name)
		require.True(t, signed[0].VerifySignature(), c.Name)
		require.Zero(t, crdt.SignUserActions(signed, domain.PrivateKey(c.In.Secret).Signer()), "signed once")
		require.Empty(t, cmp.Diff(c.In.Unsigned.value(), action), "the caller's other copy is untouched")

		tampered := signed[0]
		tampered.ID[0] ^= 1
		require.False(t, tampered.VerifySignature(), c.Name)
	}
}

// An action whose nonce a guest got wrong is signed so that it verifies.
func TestSigningFixesNonce(t *testing.T) {
	t.Parallel()
	key := domain.PrivateKey{1}
	list := []crdt.Action{{Kind: crdt.Update, Metadata: crdt.Metadata{
		UpdatedAt: 7,
		Storage:   crdt.StorageType{Kind: crdt.User, Owner: key.Public(), Signature: &crdt.SignatureData{Nonce: 3}},
	}}}
	require.Equal(t, 1, crdt.SignUserActions(list, key.Signer()))
	require.Equal(t, uint64(7), list[0].Metadata.Storage.Signature.Nonce)
	require.True(t, list[0].VerifySignature())
}

func TestIDs(t *testing.T) {
	t.Parallel()
	type collection struct {
		Kind  string
		Field string
		Name  string `json:"hashed_name"`
		Name2 string `json:"hashed_name_2"`
	}
	type collectionOut struct {
		ID    golden.Hex
		Value golden.Hex `json:"value_bytes"` // the ids in the field's place
	}
	for _, c := range golden.Group[collection, collectionOut](t, storage, "collection_id") {
		names := []string{c.In.Field}
		switch c.In.Kind {
		case "g_counter":
			names = []string{crdt.CounterPositiveName(c.In.Field)}
		case "pn_counter":
			names = []string{crdt.CounterPositiveName(c.In.Field), crdt.CounterNegativeName(c.In.Field)}
		case "user_storage_inner":
			names = []string{crdt.UserStorageName(c.In.Field)}
		case "user_storage":
			names = []string{crdt.UserStorageName(c.In.Field), c.In.Field}
		case "frozen_storage":
			names = []string{crdt.FrozenStorageName(c.In.Field), c.In.Field}
		}
		require.Equal(t, c.In.Name, names[0], c.Name)
		var ids []byte
		for _, name := range names {
			id := crdt.CollectionID(name)
			ids = append(ids, id[:]...)
		}
		require.Equal(t, append([]byte(c.Out.ID), c.Out.Value...), ids, c.Name)
	}
	type entry struct {
		Collection crdt.ID
		Key        golden.Hex `json:"key_bytes"`
	}
	type entryOut struct {
		IDs     []crdt.ID
		Entries []struct { // of collaborative text: the key is the first 28 bytes of the entry
			ID    crdt.ID
			Entry golden.Hex
		}
	}
	for _, c := range golden.Group[entry, entryOut](t, storage, "entry_id") {
		for _, char := range c.Out.Entries {
			require.Equal(t, char.ID, crdt.EntryID(c.In.Collection, char.Entry[:28]), c.Name)
		}
		if len(c.Out.Entries) == 0 {
			require.Contains(t, c.Out.IDs, crdt.EntryID(c.In.Collection, c.In.Key), c.Name)
		}
	}
	type frozen struct {
		Value golden.Hex `json:"value_borsh"`
	}
	for _, c := range golden.Group[frozen, struct{ Key golden.Hex32 }](t, storage, "frozen_key") {
		require.Equal(t, [32]byte(c.Out.Key), crdt.FrozenKey(c.In.Value), c.Name)
	}
	type key struct {
		Kind string
		ID   crdt.ID
	}
	for _, c := range golden.Group[key, struct{ Key golden.Hex32 }](t, storage, "state_key") {
		of := map[string]func(crdt.ID) crdt.StateKey{
			"index": crdt.IndexKey, "entry": crdt.EntryKey, "sync_state": crdt.SyncStateKey,
		}[c.In.Kind]
		require.NotNil(t, of, c.In.Kind)
		require.Equal(t, crdt.StateKey(c.Out.Key), of(c.In.ID), c.Name)
	}
}

// The examples of crdt-storage.md §10.
func TestWorkedExample(t *testing.T) {
	t.Parallel()
	type in struct {
		Parents []golden.Hex32
		Actions []actionJSON
	}
	type out struct {
		DeltaID  golden.Hex32   `json:"delta_id"`
		Artifact golden.Hex     `json:"artifact"`
		Payloads []golden.Hex32 `json:"payloads_for_signing"`
	}
	for _, c := range golden.Group[in, out](t, storage, "worked_example") {
		list := actions(c.In.Actions)
		require.Equal(t, domain.Hash(c.Out.DeltaID), crdt.DeltaID(hashes(c.In.Parents), list), c.Name)
		artifact, err := crdt.EncodeArtifact(list)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Artifact), artifact, c.Name)
		require.Len(t, c.Out.Payloads, len(list))
		for i := range list {
			require.Equal(t, [32]byte(c.Out.Payloads[i]), list[i].SigningPayload(), c.Name)
		}
	}
	context := domain.ContextID{}
	executor := domain.PublicKey{}
	for i := range 32 {
		context[i], executor[i] = 0x11, 0x22
	}
	items := crdt.CollectionID("items")
	a := crdt.EntryID(items, []byte("a"))
	require.Equal(t, "2c28bb6706f1dff0b461c6b9b7d3be01d402ee789a66759cde0a34c6a1e2329a", items.String())
	require.Equal(t, "f4f215ebca170b0fc7674ea852ba6de9865d346dedeae7e0bec9293d7011c43f", a.String())
	slot := crdt.EntryID(crdt.CollectionID(crdt.CounterPositiveName("visits")), []byte(crdt.CounterSlot(executor)))
	require.Equal(t, "b3b82b055d8224138efefd28e1f05166bdb10d8c9e7730e02e0fcddd47140bbb", slot.String())
	require.Equal(t, "4635e1fa62a599a7880a8d14a56f720a1d40f6e5448ab5a5e39bedc8bd87fa8e",
		crdt.ID(crdt.IndexKey(crdt.TreeRoot(context))).String())
	require.Equal(t, "a39c42e558b5b1b6bd8064982e3531c150568a4c87decedf92b2e55324496c5a",
		crdt.ID(crdt.EntryKey(crdt.StateEntryID)).String())

	entity := append([]byte{1, 0, 0, 0, 'a', 1, 0, 0, 0, 'b'}, a[:]...)
	leaf := crdt.FullHash(crdt.OwnHash(entity), nil)
	require.Equal(t, "0c512a8e2d699ef7d184954f40771a4d35c99fdc633b5d302922804a3ccf1991", crdt.ID(leaf).String())
	full := crdt.FullHash(crdt.OwnHash(items[:]), []crdt.ChildInfo{{ID: a, MerkleHash: leaf}})
	require.Equal(t, "8639458a4404c248a7f9350f3989eeb9dc3a1cb047ce95f47c7f0eb8e08d47fc", crdt.ID(full).String())
}

func TestChildOrder(t *testing.T) {
	t.Parallel()
	type in struct{ Children []childJSON }
	type out struct{ Sorted []childJSON }
	for _, c := range golden.Group[in, out](t, storage, "child_order") {
		list := children(c.In.Children)
		slices.SortFunc(list, crdt.ChildInfo.Compare)
		require.NotEmpty(t, c.Out.Sorted)
		require.Empty(t, cmp.Diff(children(c.Out.Sorted), list), c.Name)
	}
}

func TestCausalDeltas(t *testing.T) {
	t.Parallel()
	type in struct {
		ID       golden.Hex32
		Parents  []golden.Hex32
		Actions  []actionJSON
		HLC      timestampJSON
		Expected golden.Hex32 `json:"expected_root_hash"`
		Payload  golden.Hex   `json:"payload_bytes"`
		Kind     string
	}
	type out struct {
		ID       golden.Hex32
		Borsh    golden.Hex
		Actions  golden.Hex  `json:"actions_borsh"`
		Physical golden.Uint `json:"physical_time"` // whole seconds, in ns
	}
	for _, c := range golden.Group[in, out](t, storage, "causal_delta") {
		list := actions(c.In.Actions)
		delta := crdt.NewCausalDelta(hashes(c.In.Parents), list, c.In.HLC.value(), domain.Hash(c.In.Expected))
		require.Equal(t, domain.Hash(c.Out.ID), delta.ID, c.Name)
		requireBorsh(t, c.Name, delta, c.Out.Borsh)
		require.Equal(t, uint64(c.Out.Physical), uint64(delta.HLC.PhysicalSeconds())*1e9, c.Name)
		encoded, err := crdt.EncodeActions(list)
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Actions), encoded, c.Name)
		back, err := crdt.DecodeActions(encoded)
		require.NoError(t, err, c.Name)
		require.Empty(t, cmp.Diff(list, back), c.Name)
	}
	for _, c := range golden.Group[in, out](t, dag, "causal_delta_generic") {
		kinds := map[string]crdt.DeltaKind{"Regular": crdt.RegularDelta, "Checkpoint": crdt.CheckpointDelta}
		requireBorsh(t, c.Name, crdt.PayloadDelta{
			ID: domain.Hash(c.In.ID), Parents: hashes(c.In.Parents), Payload: c.In.Payload, HLC: c.In.HLC.value(),
			ExpectedRootHash: domain.Hash(c.In.Expected), Kind: kinds[c.In.Kind],
		}, c.Out.Borsh)
	}
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	type out struct {
		Borsh    golden.Hex
		Display  string
		Physical uint32 `json:"physical_time_secs"`
	}
	for _, c := range golden.Group[timestampJSON, out](t, storage, "hybrid_timestamp") {
		ts := c.In.value()
		requireBorsh(t, c.Name, ts, c.Out.Borsh)
		require.Equal(t, c.Out.Display, ts.String(), c.Name)
		require.Equal(t, c.Out.Physical, ts.PhysicalSeconds(), c.Name)
	}
	type decoded struct {
		Decoded   timestampJSON
		Reencoded golden.Hex
	}
	for _, c := range golden.Group[borshOut, decoded](t, storage, "hybrid_timestamp_decode") {
		var ts crdt.Timestamp
		require.NoError(t, borsh.Unmarshal(c.In.Borsh, &ts), c.Name)
		require.Equal(t, c.Out.Decoded.value(), ts, c.Name)
		again, err := borsh.Marshal(ts)
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Reencoded), again, c.Name)
	}
	type grid struct {
		Cases []struct {
			A, B timestampJSON
			Cmp  int
		}
	}
	for _, c := range golden.Group[struct{}, grid](t, storage, "hybrid_timestamp_order") {
		require.NotEmpty(t, c.Out.Cases)
		for _, pair := range c.Out.Cases {
			require.Equal(t, pair.Cmp, pair.A.value().Compare(pair.B.value()))
		}
	}
	require.Equal(t, uint64(1_700_000_000_000_000_000), crdt.Timestamp{Time: 1_700_000_000 << 32}.Nanos())
}

func TestClock(t *testing.T) {
	t.Parallel()
	type out struct {
		Rows []struct {
			Executor  golden.Hex32 `json:"executor_id"`
			Now       golden.Uint  `json:"now"`
			Timestamp timestampJSON
			Borsh     golden.Hex
		}
	}
	for _, c := range golden.Group[struct{}, out](t, storage, "hlc_clock") {
		clocks := map[golden.Hex32]*crdt.Clock{}
		require.NotEmpty(t, c.Out.Rows)
		for i, row := range c.Out.Rows {
			clock := clocks[row.Executor]
			if clock == nil {
				clock = crdt.NewExecutorClock(domain.PublicKey(row.Executor))
				clocks[row.Executor] = clock
			}
			got := clock.Now(uint64(row.Now))
			require.Equal(t, row.Timestamp.value(), got, "row %d", i)
			encoded, err := borsh.Marshal(got)
			require.NoError(t, err)
			require.Equal(t, []byte(row.Borsh), encoded, "row %d", i)
		}
	}
}

func TestClockUpdate(t *testing.T) {
	t.Parallel()
	const now = 1_700_000_000_000_000_000
	clock := crdt.NewClock([16]byte{7})
	limit := uint64(1_700_000_005) << 32
	require.ErrorIs(t, clock.Update(crdt.Timestamp{Time: limit + 1}, now), crdt.ErrClockAhead)
	require.NoError(t, clock.Update(crdt.Timestamp{Time: limit}, now))
	require.Greater(t, clock.Now(now).Time, limit, "after an update no reading is older")

	constants := golden.Group[struct{}, struct {
		Drift int64 `json:"drift_tolerance_nanos"`
	}](t, storage, "constants")
	require.Equal(t, constants[0].Out.Drift, crdt.MaxClockDrift.Nanoseconds())
}

func TestGuestKey(t *testing.T) {
	t.Parallel()
	short, ok := crdt.GuestKey([]byte("ab"))
	require.True(t, ok)
	require.Equal(t, crdt.StateKey{'a', 'b'}, short)
	full, ok := crdt.GuestKey(make([]byte, 32))
	require.True(t, ok)
	require.Equal(t, crdt.StateKey{}, full)
	_, ok = crdt.GuestKey(make([]byte, 33))
	require.False(t, ok)
}
