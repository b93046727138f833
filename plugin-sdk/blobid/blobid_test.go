package blobid_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

// pattern is the content of the generated vectors: byte i is i mod 251.
func pattern(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i % 251)
	}
	return out
}

func TestGolden(t *testing.T) {
	t.Parallel()
	type in struct {
		Data   golden.Hex `json:"data"`
		Length int        `json:"length"`
	}
	type out struct {
		BlobID golden.Hex32 `json:"blob_id"`
		Hash   golden.Hex32 `json:"hash"`
		Size   golden.Uint  `json:"size"`
		Chunks []struct {
			BlobID golden.Hex32 `json:"blob_id"`
		} `json:"chunks"`
	}
	for _, c := range golden.Group[in, out](t, "testdata/blob_id.json", "blob_id") {
		data := []byte(c.In.Data)
		if c.In.Data == nil {
			data = pattern(c.In.Length)
		}
		h := blobid.New()
		n, err := h.Write(data)
		require.NoError(t, err)
		require.Equal(t, len(data), n)
		chunks := make([]domain.BlobID, len(c.Out.Chunks))
		for i := range chunks {
			chunks[i] = domain.BlobID(c.Out.Chunks[i].BlobID)
		}
		require.Equal(t, blobid.Info{
			ID: domain.BlobID(c.Out.BlobID), Hash: domain.Hash(c.Out.Hash), Size: uint64(c.Out.Size), Chunks: chunks,
		}, h.Sum(), c.Name)
		require.Equal(t, domain.BlobID(c.Out.BlobID), blobid.Of(data), c.Name)
	}
	constants := golden.Group[struct{}, struct {
		ChunkSize int `json:"chunk_size"`
	}](t, "testdata/blob_id.json", "constants")
	require.Equal(t, constants[0].Out.ChunkSize, blobid.ChunkSize)
}

// However the content is cut into writes, and however often it is asked on the way, the answer is the same.
func TestWritesDoNotMatter(t *testing.T) {
	t.Parallel()
	data := pattern(3*blobid.ChunkSize + 17)
	want := blobid.New()
	_, err := want.Write(data)
	require.NoError(t, err)
	rapid.Check(t, func(t *rapid.T) {
		h := blobid.New()
		for rest := data; len(rest) > 0; {
			n := rapid.IntRange(1, 2*blobid.ChunkSize).Draw(t, "n")
			n = min(n, len(rest))
			_, err := h.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
			require.Equal(t, blobid.Of(data[:h.Size()]), h.Sum().ID)
		}
		require.Equal(t, want.Sum(), h.Sum())
	})
}
