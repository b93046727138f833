package wire_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

// frame is a message as a reference node sent it to one of this program, over TCP or QUIC (docs/interop.md).
type frame struct {
	Transport, Kind, Name, Peer string
	Data                        golden.Hex
}

// captured reads the frames.
func captured(t *testing.T) (frames []frame) {
	t.Helper()
	packed, err := os.Open("testdata/captured.json.gz")
	require.NoError(t, err)
	defer func() { require.NoError(t, packed.Close()) }()
	text, err := gzip.NewReader(packed)
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(text).Decode(&frames))
	return frames
}

// TestCapturedFrames: what a running reference node sends is read, and made again byte for byte.
func TestCapturedFrames(t *testing.T) {
	seen := map[string]int{}
	for i, f := range captured(t) {
		t.Run(fmt.Sprintf("%d %s %s", i, f.Transport, f.Kind), func(t *testing.T) {
			kind, again := remake(t, f)
			require.Equal(t, []byte(f.Data), again)
			seen[f.Transport+" "+kind]++
		})
	}
	for _, transport := range []string{"tcp", "quic"} {
		for _, kind := range []string{
			"wire.StateDelta", "wire.HashHeartbeat", "wire.GroupGovernanceDelta", "wire.GroupStateHeartbeat", "wire.KeyShareInit", "wire.DeltaRequest",
			"wire.KeyShare", "wire.Challenge", "wire.ChallengeResponse", "wire.DagHeadsRequest", "wire.DagHeadsResponse",
			"wire.DeltaResponse", "wire.GroupDeltaRequest",
			"wire.GroupDeltaResponse", "blob request", "blob response", "blob chunk",
		} {
			require.NotZero(t, seen[transport+" "+kind], "no %s over %s among %v", kind, transport, seen)
		}
	}
}

// remake reads a frame and encodes what was read.
func remake(t *testing.T, f frame) (kind string, again []byte) {
	t.Helper()
	switch {
	case f.Kind == "gossip":
		m, err := wire.DecodeBroadcast(f.Data)
		require.NoError(t, err)
		if op, ok := m.(wire.GroupGovernanceDelta); ok {
			verifyOp(t, op.Delta, op.Payload)
		}
		again, err = wire.EncodeBroadcast(m)
		require.NoError(t, err)
		return fmt.Sprintf("%T", m), again
	case f.Name == "/calimero/stream/0.0.2":
		m, err := wire.DecodeStream(f.Data)
		require.NoError(t, err)
		again, err = wire.EncodeStream(m)
		require.NoError(t, err)
		switch m := m.(type) {
		case wire.Init:
			return fmt.Sprintf("%T", m.Payload), again
		case wire.Message:
			if answer, ok := m.Payload.(wire.GroupDeltaResponse); ok {
				verifyOp(t, answer.Delta, answer.Payload)
			}
			return fmt.Sprintf("%T", m.Payload), again
		}
		return fmt.Sprintf("%T", m), again
	case bytes.HasPrefix(f.Data, []byte(`{"blob_id"`)):
		m, err := wire.DecodeBlobRequest(f.Data)
		require.NoError(t, err)
		again, err = wire.EncodeBlobRequest(m)
		require.NoError(t, err)
		return "blob request", again
	case bytes.HasPrefix(f.Data, []byte("{")):
		m, err := wire.DecodeBlobResponse(f.Data)
		require.NoError(t, err)
		again, err = wire.EncodeBlobResponse(m)
		require.NoError(t, err)
		return "blob response", again
	}
	chunk, err := wire.DecodeBlobChunk(f.Data)
	require.NoError(t, err)
	again, err = wire.EncodeBlobChunk(chunk)
	require.NoError(t, err)
	return "blob chunk", again
}

// verifyOp checks the signature of a group's operation, and its id.
func verifyOp(t *testing.T, want domain.Hash, raw []byte) {
	t.Helper()
	op, err := wire.DecodeSignedGroupOp(raw)
	require.NoError(t, err)
	id, err := op.Verify()
	require.NoError(t, err)
	require.Equal(t, want, id)
}
