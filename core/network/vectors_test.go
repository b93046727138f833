package network_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/network/frame"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// vectors are what the reference made (testdata/network.json).
func vectors(t *testing.T, group string, each func(t *testing.T, name string, in, out map[string]any)) {
	t.Helper()
	b, err := os.ReadFile("testdata/network.json")
	require.NoError(t, err)
	var file struct {
		Groups map[string][]struct {
			Name    string
			In, Out map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(b, &file))
	require.NotEmpty(t, file.Groups[group])
	for _, v := range file.Groups[group] {
		t.Run(v.Name, func(t *testing.T) { each(t, v.Name, v.In, v.Out) })
	}
}

func unhex(t *testing.T, v any) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.(string))
	require.NoError(t, err)
	return b
}

func TestPeerIDs_AreTheReferences(t *testing.T) {
	t.Parallel()
	vectors(t, "peer_id", func(t *testing.T, _ string, in, out map[string]any) {
		var key domain.PrivateKey
		copy(key[:], unhex(t, in["ed25519_seed"]))
		a, err := network.New(network.Options{Key: key})
		require.NoError(t, err)
		id := a.Client().LocalPeerID()
		require.Equal(t, out["peer_id"], id.String())
		require.Equal(t, unhex(t, out["peer_id_bytes"]), []byte(id))

		same, err := network.ParsePeerID(out["peer_id"].(string))
		require.NoError(t, err)
		require.Equal(t, id, same)
		same, err = network.PeerIDOf(key.Public())
		require.NoError(t, err)
		require.Equal(t, id, same)
	})
}

func TestMessageIDs_AreTheReferences(t *testing.T) {
	t.Parallel()
	vectors(t, "gossip_message_id", func(t *testing.T, _ string, in, out map[string]any) {
		source, err := network.ParsePeerID(in["peer_id"].(string))
		require.NoError(t, err)
		sequence, err := strconv.ParseUint(in["sequence_number"].(string), 10, 64)
		require.NoError(t, err)
		require.Equal(t, string(unhex(t, out["message_id"])), network.MessageID(source, sequence))
	})
}

func TestFrames_AreTheReferences(t *testing.T) {
	t.Parallel()
	vectors(t, "frame", func(t *testing.T, name string, in, out map[string]any) {
		switch name {
		case "limits":
			require.EqualValues(t, frame.MaxPayload, in["max_message_size"])
			return
		case "split_input":
			r := bytes.NewReader(append(unhex(t, in["first_part"]), unhex(t, in["second_part"])...))
			for _, want := range out["messages"].([]any) {
				payload, err := frame.Read(r, frame.MaxPayload, nil)
				require.NoError(t, err)
				require.Equal(t, unhex(t, want), payload)
			}
			return
		}
		var b bytes.Buffer
		require.NoError(t, frame.Write(&b, unhex(t, in["payload"])))
		require.Equal(t, unhex(t, out["frame"]), b.Bytes())
		payload, err := frame.Read(&b, frame.MaxPayload, nil)
		require.NoError(t, err)
		require.Equal(t, unhex(t, in["payload"]), payload)
	})
}
