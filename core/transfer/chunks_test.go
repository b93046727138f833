package transfer_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/transfer"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// serveChunks is what a node does on a stream of the extension that begins with a BlobOpen.
func (n *node) serveChunks(ctx context.Context, s transfer.Stream) {
	raw, err := s.ReadFrame(ctx, 4096)
	if err != nil {
		return
	}
	m, err := wire.DecodeExtension(raw)
	if err != nil {
		return
	}
	if open, ok := m.(wire.BlobOpen); ok {
		n.ServeChunks(ctx, s, open)
	}
}

// dying is a stream that ends after some frames.
type dying struct {
	transfer.Stream
	frames int
}

func (d *dying) WriteFrame(ctx context.Context, b []byte) error {
	if d.frames == 0 {
		_ = d.Close() // what was written arrives; never fails
		return network.ErrReset
	}
	d.frames--
	return d.Stream.WriteFrame(ctx, b)
}

// TestFetch_Resumes: a fetch that ends in the middle goes on where it was, from the same peer, from another one, and after
// a restart; no chunk comes twice.
func TestFetch_Resumes(t *testing.T) {
	t.Parallel()
	const chunks = 7
	want := content(chunks<<20 - 5)
	setting := func() (*lan, *node, *node, domain.BlobID, func(frames ...int)) {
		l := &lan{chunks: map[transfer.PeerID]func(context.Context, transfer.Stream){}}
		me := newNode(t, l, domain.BlobID{})
		other := newNode(t, l, domain.BlobID{}, me.own(t))
		var mu sync.Mutex
		// lives sets after how many frames each further stream of the other one ends; then they last.
		return l, me, other, put(t, other, want), func(frames ...int) {
			l.chunks["other"] = func(ctx context.Context, s transfer.Stream) {
				mu.Lock()
				if len(frames) > 0 {
					s = &dying{s, frames[0]}
					frames = frames[1:]
				}
				mu.Unlock()
				other.serveChunks(ctx, s)
			}
		}
	}
	t.Run("the same peer", func(t *testing.T) {
		t.Parallel()
		l, me, _, id, lives := setting()
		lives(4, 2, 0)
		l.near = []transfer.PeerID{"other"}
		err := me.Fetch(t.Context(), ctxID, id) // 3 chunks, 1 chunk, and none: for now that is all
		require.Equal(t, errkind.NotFound, errkind.Of(err), "%v", err)
		require.ErrorContains(t, err, "4 chunks came")
		require.NoError(t, me.Fetch(t.Context(), ctxID, id))
		require.Equal(t, want, read(t, me, id))
		require.Equal(t, float64(chunks), me.counted(t, "peer"), "no chunk twice")
		l.work.Wait()
	})
	t.Run("another peer", func(t *testing.T) {
		t.Parallel()
		l, me, other, id, lives := setting()
		lives(6)
		l.near, l.providers = []transfer.PeerID{"other"}, []network.Provider{{Peer: "second"}}
		l.chunks["second"] = other.serveChunks
		require.NoError(t, me.Fetch(t.Context(), ctxID, id))
		require.Equal(t, want, read(t, me, id))
		require.Equal(t, float64(chunks), me.counted(t, "peer"))
		require.Equal(t, float64(5), me.counted(t, "earlier"))
		l.work.Wait()
	})
	t.Run("a restart", func(t *testing.T) {
		t.Parallel()
		l, me, _, id, lives := setting()
		lives(4, 0)
		l.near = []transfer.PeerID{"other"}
		require.Error(t, me.Fetch(t.Context(), ctxID, id))
		again := me.reopened(t, l)
		require.NoError(t, again.Fetch(t.Context(), ctxID, id))
		require.Equal(t, want, read(t, again, id))
		require.Equal(t, float64(chunks-3), again.counted(t, "peer"))
		l.work.Wait()
	})
	t.Run("a damaged file", func(t *testing.T) {
		t.Parallel()
		l, me, _, id, lives := setting()
		lives(4, 0)
		l.near = []transfer.PeerID{"other"}
		require.Error(t, me.Fetch(t.Context(), ctxID, id))
		second := blobid.Chunk(want[1<<20 : 2<<20]).String()
		require.NoError(t, os.WriteFile(filepath.Join(me.dir, ".partial", id.String(), second), []byte("torn"), 0o600))
		require.NoError(t, me.Fetch(t.Context(), ctxID, id))
		require.Equal(t, want, read(t, me, id))
		l.work.Wait()
	})
	t.Run("then from a node of the reference", func(t *testing.T) {
		t.Parallel()
		l, me, other, id, lives := setting()
		lives(4)
		l.near = []transfer.PeerID{"other", "reference"}
		l.serve = map[transfer.PeerID]func(context.Context, transfer.Stream){
			"reference": func(ctx context.Context, s transfer.Stream) { other.Serve(ctx, s) },
		}
		require.NoError(t, me.Fetch(t.Context(), ctxID, id))
		require.Equal(t, want, read(t, me, id))
		l.work.Wait()
	})
}

// TestFetch_HostileChunks: wrong lists, wrong chunks, too many of them; nothing of it stays.
func TestFetch_HostileChunks(t *testing.T) {
	t.Parallel()
	right := content(3 << 20)
	answers := func(all ...wire.ExtensionMessage) func(context.Context, transfer.Stream) {
		return func(ctx context.Context, s transfer.Stream) {
			for _, m := range all {
				if _, err := s.ReadFrame(ctx, 4096); err != nil {
					return
				}
				raw, err := wire.EncodeExtension(m)
				if err != nil || s.WriteFrame(ctx, raw) != nil {
					return
				}
			}
			_, _ = s.ReadFrame(ctx, 4096) // until the other end goes
		}
	}
	ids := []domain.BlobID{blobid.Chunk(right[:1<<20]), blobid.Chunk(right[1<<20 : 2<<20]), blobid.Chunk(right[2<<20:])}
	list := wire.BlobChunks{Chunks: ids}
	l := &lan{chunks: map[transfer.PeerID]func(context.Context, transfer.Stream){
		"another list":      answers(wire.BlobChunks{Chunks: ids[:2]}),
		"no list":           answers(wire.BlobChunks{}),
		"too long a list":   answers(wire.BlobChunks{Chunks: make([]domain.BlobID, 100_000)}),
		"no answer":         answers(wire.HeadsRequest{}),
		"another chunk":     answers(list, wire.Chunk{Data: right[1<<20 : 2<<20]}),
		"a shorter chunk":   answers(list, wire.Chunk{Data: right[:100]}),
		"an empty chunk":    answers(list, wire.Chunk{}),
		"no chunk":          answers(list, wire.BlobChunks{}),
		"a refusal":         answers(wire.Refusal{Kind: errkind.Internal, Text: "x"}),
		"a refusal later":   answers(list, wire.Refusal{Kind: errkind.NotFound}),
		"nothing":           func(context.Context, transfer.Stream) {},
		"garbage":           func(ctx context.Context, s transfer.Stream) { _ = s.WriteFrame(ctx, []byte("garbage")) },
		"cut off in a list": func(_ context.Context, s transfer.Stream) { s.Reset() },
	}}
	me := newNode(t, l, domain.BlobID{})
	other := newNode(t, l, domain.BlobID{}, me.own(t))
	id := put(t, other, right)
	for p := range l.chunks {
		l.near = append(l.near, p)
	}
	err := me.Fetch(t.Context(), ctxID, id)
	require.Equal(t, errkind.NotFound, errkind.Of(err), "%v", err)
	require.Zero(t, me.counted(t, "peer"))
	left, err := os.ReadDir(filepath.Join(me.dir, ".partial"))
	require.NoError(t, err)
	require.Empty(t, left)
	l.chunks["honest"] = other.serveChunks
	l.near = append(l.near, "honest")
	require.NoError(t, me.Fetch(t.Context(), ctxID, id))
	require.Equal(t, right, read(t, me, id))
	l.work.Wait()
}

// full is a store of blobs whose disk is full.
type full struct{ transfer.Blobs }

func (full) Resume(domain.BlobID, []domain.BlobID) (*blobs.Partial, error) {
	return nil, errkind.Exhausted.Errorf("no space left for blobs")
}

// TestFetch_OwnErrors: what is wrong here is said, and no further peer is bothered.
func TestFetch_OwnErrors(t *testing.T) {
	t.Parallel()
	l := &lan{near: []transfer.PeerID{"one", "two"}, chunks: map[transfer.PeerID]func(context.Context, transfer.Stream){}}
	me := newNode(t, l, domain.BlobID{})
	other := newNode(t, l, domain.BlobID{}, me.own(t))
	id := put(t, other, content(100))
	asked := make(chan struct{}, 2)
	for _, p := range l.near {
		l.chunks[p] = func(ctx context.Context, s transfer.Stream) {
			asked <- struct{}{}
			other.serveChunks(ctx, s)
		}
	}
	broken := transfer.New(transfer.Options{Network: l, Blobs: full{me.blobs}, Identity: me.identity})
	require.ErrorIs(t, broken.Fetch(t.Context(), ctxID, id), errkind.Exhausted)
	l.work.Wait()
	require.Len(t, asked, 1)
}

// TestServeChunks_Refusals: who may not have a blob hears the same as of one that is not here; requests that make no sense
// end the stream; a peer has a few streams at once.
func TestServeChunks_Refusals(t *testing.T) {
	t.Parallel()
	l := &lan{}
	n := newNode(t, l, domain.BlobID{})
	id := put(t, n, content(3<<20))
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	member := newNode(t, l, domain.BlobID{}, key.Public())
	put(t, member, content(3<<20))
	at := uint64(n.now.Unix())
	signed := &wire.BlobAuth{PublicKey: key.Public(), Timestamp: at, Signature: key.Sign(wire.BlobAuthMessage(id, ctxID, at))}
	var work sync.WaitGroup
	open := func(n *node, r wire.BlobOpen) (*pipe, wire.ExtensionMessage) {
		left, right := pipes("x", "y")
		t.Cleanup(left.Reset)
		work.Go(func() { n.ServeChunks(t.Context(), right, r); _ = right.Close() })
		return left, message(t, left)
	}
	missing := wire.Refusal{Kind: errkind.NotFound, Text: "no such blob for you"}
	_, got := open(n, wire.BlobOpen{Blob: id, Context: ctxID, Auth: signed})
	require.Equal(t, missing, got, "not a member")
	_, got = open(member, wire.BlobOpen{Blob: id, Context: ctxID})
	require.Equal(t, missing, got, "not signed")
	signedOther := *signed
	signedOther.Signature = key.Sign(wire.BlobAuthMessage(domain.BlobID{9}, ctxID, at))
	_, got = open(member, wire.BlobOpen{Blob: domain.BlobID{9}, Context: ctxID, Auth: &signedOther})
	require.Equal(t, missing, got, "not here")

	for _, r := range []wire.ExtensionMessage{
		wire.ChunksRequest{}, wire.ChunksRequest{From: 3, Count: 1}, wire.ChunksRequest{From: 1<<32 - 1, Count: 64},
		wire.ChunksRequest{Count: 65}, wire.ChunksRequest{Count: 1<<32 - 1}, wire.HeadsRequest{},
	} {
		s, got := open(member, wire.BlobOpen{Blob: id, Context: ctxID, Auth: signed})
		require.Len(t, got.(wire.BlobChunks).Chunks, 3)
		raw, err := wire.EncodeExtension(r)
		require.NoError(t, err)
		require.NoError(t, s.WriteFrame(t.Context(), raw))
		require.IsType(t, wire.Refusal{}, message(t, s), "%+v", r)
		_, err = s.ReadFrame(t.Context(), 0)
		require.ErrorIs(t, err, io.EOF)
	}
	var busy []*pipe
	for range 4 {
		s, got := open(member, wire.BlobOpen{Blob: id, Context: ctxID, Auth: signed})
		require.IsType(t, wire.BlobChunks{}, got)
		busy = append(busy, s)
	}
	_, got = open(member, wire.BlobOpen{Blob: id, Context: ctxID, Auth: signed})
	require.Equal(t, wire.Refusal{Kind: errkind.Unavailable, Text: "not now"}, got)
	for _, s := range busy {
		s.Reset()
	}
	work.Wait()
	s, got := open(member, wire.BlobOpen{Blob: id, Context: ctxID, Auth: signed})
	require.IsType(t, wire.BlobChunks{}, got)
	require.NoError(t, s.Close())
	work.Wait()
}

func message(t *testing.T, s *pipe) wire.ExtensionMessage {
	t.Helper()
	raw, err := s.ReadFrame(t.Context(), wire.MaxFrame)
	require.NoError(t, err)
	m, err := wire.DecodeExtension(raw)
	require.NoError(t, err)
	return m
}
