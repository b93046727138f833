package crdt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

// requireCanonical checks that what decodes encodes to the same bytes.
func requireCanonical[T borsh.Marshaler, P interface {
	*T
	borsh.Unmarshaler
}](t *testing.T, in []byte) bool {
	t.Helper()
	var v T
	if err := borsh.Unmarshal(in, P(&v)); err != nil {
		require.ErrorIs(t, err, borsh.ErrMalformed)
		return false
	}
	out, err := borsh.Marshal(v)
	require.NoError(t, err)
	require.Equal(t, in, out)
	return true
}

func FuzzArtifact(f *testing.F) {
	for _, c := range golden.Group[storageDeltaJSON, borshOut](f, storage, "storage_delta") {
		f.Add([]byte(c.Out.Borsh))
	}
	for _, c := range golden.Group[actionJSON, struct {
		Artifact golden.Hex `json:"artifact_one_action"`
	}](f, storage, "action") {
		f.Add([]byte(c.Out.Artifact))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 || !requireCanonical[crdt.StorageDelta](t, in) {
			return
		}
		delta, err := crdt.DecodeArtifact(in)
		require.NoError(t, err)
		for i := range delta.Actions {
			delta.Actions[i].SigningPayload()
			delta.Actions[i].VerifySignature()
		}
		crdt.DeltaID(nil, delta.Actions)
	})
}

func FuzzEntityIndex(f *testing.F) {
	for _, c := range golden.Group[indexJSON, borshOut](f, storage, "entity_index") {
		f.Add([]byte(c.Out.Borsh))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if requireCanonical[crdt.EntityIndex](t, in) {
			_, err := crdt.ReadFullHash(in)
			require.NoError(t, err)
		}
	})
}

func FuzzCausalDelta(f *testing.F) {
	for _, c := range golden.Group[struct{}, borshOut](f, storage, "causal_delta") {
		f.Add([]byte(c.Out.Borsh))
	}
	for _, c := range golden.Group[struct{}, borshOut](f, dag, "causal_delta_generic") {
		f.Add([]byte(c.Out.Borsh))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var delta crdt.CausalDelta
		if borsh.Unmarshal(in, &delta) == nil { // not canonical: a clock id of 0 reads as 1
			out, err := borsh.Marshal(delta)
			require.NoError(t, err)
			require.Len(t, out, len(in))
			requireCanonical[crdt.CausalDelta](t, out)
		}
		var payload crdt.PayloadDelta
		if borsh.Unmarshal(in, &payload) == nil {
			out, err := borsh.Marshal(payload)
			require.NoError(t, err)
			requireCanonical[crdt.PayloadDelta](t, out)
		}
	})
}
