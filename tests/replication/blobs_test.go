package replication_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/tests/harness"
)

// blob is a blob of a context that nodes of a cluster fetch.
type blob struct {
	c       *harness.Cluster
	context string
	id      string
	content []byte
}

// upload makes a blob of a context on node at.
func upload(t *testing.T, x *harness.Context, c *harness.Cluster, at, size int) *blob {
	t.Helper()
	b := &blob{c: c, context: x.ID, content: make([]byte, size)}
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b.content) // never fails
	raw, err := c.Clients[at].Raw(t.Context(), http.MethodPut, "/admin-api/blobs?context_id="+x.ID, "", bytes.NewReader(b.content))
	require.NoError(t, err)
	var put struct {
		Data struct {
			ID string `json:"blob_id"`
		}
	}
	require.NoError(t, json.Unmarshal(raw, &put))
	b.id = put.Data.ID
	return b
}

// fetch reads the blob on node at, which gets it from others if it is not there.
func (b *blob) fetch(ctx context.Context, at int) error {
	client := b.c.Clients[at]
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, client.Base+"/admin-api/blobs/"+b.id+"?context_id="+b.context, nil)
	if err != nil {
		return err
	}
	res, err := client.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	got := sha256.New()
	if _, err := io.Copy(got, res.Body); err != nil {
		return err
	}
	if [32]byte(got.Sum(nil)) != sha256.Sum256(b.content) {
		return errors.New("other content")
	}
	return nil
}

// gathered waits until some chunks of the blob are on node at, or ctx ends.
func (b *blob) gathered(ctx context.Context, at, chunks int) error {
	dir := filepath.Join(b.c.Nodes[at].Dir, "blobs", ".partial", b.id)
	return harness.Until(ctx, "chunks have come", func(context.Context) error {
		files, err := os.ReadDir(dir)
		if err == nil && len(files) < chunks {
			err = fmt.Errorf("%d chunks", len(files))
		}
		return err
	})
}

// provider is the node among some that sends a blob at the moment.
func (b *blob) provider(ctx context.Context, among ...int) (at int, err error) {
	for _, i := range among {
		m, err := b.c.Clients[i].Metrics(ctx)
		if err != nil {
			return 0, err
		}
		if n, err := m.Sum("calimero_transfer_serving"); err != nil || n > 0 {
			return i, err
		}
	}
	return 0, errors.New("nobody sends")
}

// resumed is how many chunks were there when node at went on fetching.
func (b *blob) resumed(t *testing.T, at int) float64 {
	t.Helper()
	m, err := b.c.Clients[at].Metrics(t.Context())
	require.NoError(t, err)
	if _, known := m["calimero_transfer_chunks_total"]; !known {
		return 0
	}
	n, err := m.Sum("calimero_transfer_chunks_total", "from", "earlier")
	require.NoError(t, err)
	return n
}

// drop deletes the blob on node at.
func (b *blob) drop(t *testing.T, at int) {
	t.Helper()
	require.NoError(t, b.c.Clients[at].Do(t.Context(), http.MethodDelete, "/admin-api/blobs/"+b.id, nil, nil))
}

// TestBlob_Deaths: a node that dies while it fetches a blob goes on after its start; when the node that sends it dies, the
// rest comes from another one. What has come does not come again.
func TestBlob_Deaths(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 3, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	b := upload(t, all[0], c, 0, harness.Scale(64, 400)<<20+17)
	require.NoError(t, b.fetch(t.Context(), 1))

	// A fetch may be over before the death; then it is done again.
	again := func(what string, try func() (resumed float64)) {
		t.Helper()
		for range 8 {
			if resumed := try(); resumed > 0 {
				t.Logf("%s: %v chunks were there", what, resumed)
				return
			}
			b.drop(t, 2)
		}
		t.Fatalf("%s: no fetch was interrupted", what)
	}
	again("the fetching node dies", func() float64 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		over := make(chan error, 1)
		go func() {
			over <- b.fetch(t.Context(), 2)
			cancel()
		}()
		err := b.gathered(ctx, 2, 3)
		require.NoError(t, c.Nodes[2].Kill())
		if err := <-over; err != nil {
			t.Log("the fetch ends with", err)
		}
		c.Start(t, 2)
		all = c.Again(all)
		if err != nil {
			return 0
		}
		require.NoError(t, harness.Until(t.Context(), "the rest comes", func(ctx context.Context) error { return b.fetch(ctx, 2) }))
		return b.resumed(t, 2)
	})
	b.drop(t, 2)
	again("the sending node dies", func() float64 {
		before := b.resumed(t, 2)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		over := make(chan error, 1)
		go func() {
			over <- b.fetch(t.Context(), 2)
			cancel()
		}()
		if b.gathered(ctx, 2, 3) == nil {
			if at, err := b.provider(ctx, 0, 1); err == nil {
				require.NoError(t, c.Nodes[at].Kill())
				defer func() {
					c.Start(t, at)
					all = c.Again(all)
					c.Equal(t, all...)
				}()
			}
		}
		require.NoError(t, <-over, "the other one has it")
		return b.resumed(t, 2) - before
	})
}

// TestBlob_Announced: who uploads a blob for a context is found through the DHT by a node that knows another one only; and gives
// it to members, by both protocols, and to nobody else.
func TestBlob_Announced(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 2, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	b := upload(t, all[0], c, 0, 1<<20+5)
	e := newStranger(t, c.Nodes[1])
	asked := wire.BlobRequest{}
	var err error
	asked.Blob, err = domain.ParseBlobID(b.id)
	require.NoError(t, err)
	asked.Context, err = domain.ParseContextID(b.context)
	require.NoError(t, err)
	var provider network.Provider
	require.NoError(t, harness.Until(t.Context(), "the DHT names the node with the blob", func(ctx context.Context) error {
		found, err := e.FindProviders(ctx, network.BlobKey{Context: asked.Context, Blob: asked.Blob}, 8)
		if err == nil && len(found) == 0 {
			err = errors.New("nobody")
		}
		if err == nil {
			provider = found[0]
		}
		return err
	}))
	require.Equal(t, c.Nodes[0].Swarm().PeerID, provider.Peer.String())

	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	at := uint64(time.Now().Unix()) //nolint:gosec // after 1970
	for name, auth := range map[string]*wire.BlobAuth{
		"unsigned":      nil,
		"by a stranger": {PublicKey: key.Public(), Timestamp: at, Signature: key.Sign(wire.BlobAuthMessage(asked.Blob, asked.Context, at))},
	} {
		asked.Auth = auth
		request, err := wire.EncodeBlobRequest(asked)
		require.NoError(t, err)
		answer, err := wire.DecodeBlobResponse(e.exchange(t, provider.Peer, wire.BlobProtocol, request))
		require.NoError(t, err)
		require.Equal(t, wire.BlobResponse{}, answer, name)
		request, err = wire.EncodeExtension(wire.BlobOpen(asked))
		require.NoError(t, err)
		refusal, err := wire.DecodeExtension(e.exchange(t, provider.Peer, wire.ExtensionProtocol, request))
		require.NoError(t, err)
		require.Equal(t, wire.Refusal{Kind: errkind.NotFound, Text: "no such blob for you"}, refusal, name)
	}
	require.NoError(t, b.fetch(t.Context(), 1), "a member has it")
}

// stranger is a peer that belongs to no context.
type stranger struct{ *network.Client }

// newStranger makes a peer that knows one node.
func newStranger(t *testing.T, n *harness.Node) *stranger {
	t.Helper()
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	a, err := network.New(network.Options{
		Key: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	sup := actor.NewSupervisor("stranger", slog.New(slog.DiscardHandler), time.Minute)
	sup.Add(a)
	done := sup.ServeBackground(ctx)
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	s := &stranger{a.Client()}
	require.NoError(t, s.Started(t.Context()))
	_, err = s.Dial(t.Context(), n.Swarm().Addresses[slices.IndexFunc(n.Swarm().Addresses, isTCP)])
	require.NoError(t, err)
	return s
}

// exchange sends a frame on a new stream and reads one.
func (s *stranger) exchange(t *testing.T, p network.PeerID, protocol string, frame []byte) []byte {
	t.Helper()
	stream, err := s.OpenStream(t.Context(), p, protocol)
	require.NoError(t, err)
	require.NoError(t, stream.WriteFrame(t.Context(), frame))
	answer, err := stream.ReadFrame(t.Context(), 0)
	require.NoError(t, err)
	require.NoError(t, stream.Close())
	return answer
}
