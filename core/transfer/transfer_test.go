package transfer_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/transfer"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctxID = domain.ContextID{7}

// pipe is one end of a stream of frames.
type pipe struct {
	peer     transfer.PeerID
	in, out  chan []byte
	end, cut *sync.Once // of writing, of both ends
	ended    chan struct{}
	gone     chan struct{}
}

func pipes(a, b transfer.PeerID) (*pipe, *pipe) {
	x, y, gone := make(chan []byte, 16), make(chan []byte, 16), make(chan struct{})
	cut := &sync.Once{}
	xEnd, yEnd := make(chan struct{}), make(chan struct{})
	left := &pipe{peer: b, in: y, out: x, end: &sync.Once{}, cut: cut, ended: xEnd, gone: gone}
	right := &pipe{peer: a, in: x, out: y, end: &sync.Once{}, cut: cut, ended: yEnd, gone: gone}
	go func() { <-xEnd; close(x) }()
	go func() { <-yEnd; close(y) }()
	return left, right
}

func (p *pipe) Peer() transfer.PeerID { return p.peer }
func (p *pipe) CloseWrite() error     { p.end.Do(func() { close(p.ended) }); return nil }
func (p *pipe) Close() error          { return p.CloseWrite() }
func (p *pipe) Reset() {
	p.cut.Do(func() { close(p.gone) })
	_ = p.CloseWrite() // never fails
}

func (p *pipe) ReadFrame(ctx context.Context, limit int) ([]byte, error) {
	select {
	case b, ok := <-p.in:
		if !ok {
			return nil, io.EOF
		}
		if len(b) > limit {
			return nil, errkind.TooLarge.Errorf("a frame of %d bytes", len(b))
		}
		return b, nil
	case <-p.gone:
		return nil, network.ErrReset
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipe) WriteFrame(ctx context.Context, b []byte) error {
	select {
	case p.out <- bytes.Clone(b):
		return nil
	case <-p.gone:
		return network.ErrReset
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lan has the nodes that can be asked.
type lan struct {
	near      []transfer.PeerID
	providers []network.Provider
	serve     map[transfer.PeerID]func(context.Context, transfer.Stream)
	// chunks are peers with the extension: what they do on a stream of it.
	chunks map[transfer.PeerID]func(context.Context, transfer.Stream)
	work   sync.WaitGroup
}

func (l *lan) Supports(p transfer.PeerID, protocol string) bool {
	if protocol == wire.ExtensionProtocol {
		return l.chunks[p] != nil
	}
	return l.serve[p] != nil
}

func (l *lan) LocalPeerID() transfer.PeerID { return "self" }
func (l *lan) TopicPeers(context.Context, string) ([]transfer.PeerID, error) {
	return l.near, nil
}

func (l *lan) FindProviders(context.Context, network.BlobKey, int) ([]network.Provider, error) {
	return l.providers, nil
}

func (l *lan) OpenStream(ctx context.Context, p transfer.PeerID, protocol string) (transfer.Stream, error) {
	serve := l.serve[p]
	if protocol == wire.ExtensionProtocol {
		serve = l.chunks[p]
	}
	if serve == nil {
		return nil, errkind.Unavailable.Errorf("no such peer")
	}
	left, right := pipes("self", p)
	l.work.Go(func() {
		serve(ctx, right)
		_ = right.Close() // as the network does; never fails
	})
	return left, nil
}

type node struct {
	*transfer.Service
	blobs    *blobs.Store
	identity *identity.Service
	db       *store.DB
	dir      string // of the blobs
	reg      *prometheus.Registry
	now      time.Time
}

func newNode(t *testing.T, l *lan, bytecode domain.BlobID, members ...domain.PublicKey) *node {
	t.Helper()
	n := &node{db: store.Open(storagetest.NewMemory(), store.Options{}), dir: filepath.Join(t.TempDir(), "blobs")}
	n.open(t, l, bytecode, members...)
	return n
}

// reopened is the node after a restart.
func (n *node) reopened(t *testing.T, l *lan) *node {
	t.Helper()
	again := &node{db: n.db, dir: n.dir}
	again.open(t, l, domain.BlobID{})
	return again
}

func (n *node) open(t *testing.T, l *lan, bytecode domain.BlobID, members ...domain.PublicKey) {
	t.Helper()
	n.identity, n.reg, n.now = identity.New(n.db), prometheus.NewRegistry(), time.Now()
	var err error
	n.blobs, err = blobs.Open(t.Context(), n.db, n.dir, blobs.Options{})
	require.NoError(t, err)
	n.Service = transfer.New(transfer.Options{
		Network: l, Blobs: n.blobs, Identity: n.identity, MaxBlob: 8 << 20, Answer: 5 * time.Second, Registerer: n.reg,
		Bytecode: func(_ context.Context, id domain.ContextID) (domain.BlobID, error) {
			if id != ctxID {
				return domain.BlobID{}, errkind.NotFound.Errorf("no such context")
			}
			return bytecode, nil
		},
		Member: func(_ context.Context, _ domain.ContextID, m domain.PublicKey) (bool, error) {
			for _, member := range members {
				if member == m {
					return true, nil
				}
			}
			return false, nil
		},
		Now: func() time.Time { return n.now },
	})
}

// counted is the number of chunks that came from somewhere.
func (n *node) counted(t *testing.T, from string) float64 {
	t.Helper()
	all, err := n.reg.Gather()
	require.NoError(t, err)
	for _, family := range all {
		if family.GetName() != "calimero_transfer_chunks_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == from {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (n *node) own(t *testing.T) domain.PublicKey {
	t.Helper()
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	b := n.db.Batch()
	require.NoError(t, n.identity.PutOwn(b, ctxID, key))
	require.NoError(t, b.Commit(t.Context()))
	return key.Public()
}

func content(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(b) // the same bytes each time; never fails
	return b
}

func put(t *testing.T, n *node, b []byte) domain.BlobID {
	t.Helper()
	id, _, err := n.blobs.Put(t.Context(), bytes.NewReader(b), nil)
	require.NoError(t, err)
	return id
}

func read(t *testing.T, n *node, id domain.BlobID) []byte {
	t.Helper()
	r, err := n.blobs.Open(t.Context(), id)
	require.NoError(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return b
}

// TestFetch: blobs of all sizes come whole, from near peers and from those the DHT names; a second wish is free.
func TestFetch(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 1 << 20, 3<<20 + 17} {
		for _, near := range []bool{true, false} {
			l := &lan{serve: map[transfer.PeerID]func(context.Context, transfer.Stream){}}
			me := newNode(t, l, domain.BlobID{})
			other := newNode(t, l, domain.BlobID{}, me.own(t))
			l.serve["other"] = func(ctx context.Context, s transfer.Stream) { other.Serve(ctx, s) }
			if near {
				l.near = []transfer.PeerID{"self", "gone", "other"}
			} else {
				l.providers = []network.Provider{{Peer: "self"}, {Peer: "other"}}
			}
			want := content(size)
			id := put(t, other, want)
			if size == 0 {
				continue // an empty blob cannot be read back in the reference's format
			}
			require.NoError(t, me.Fetch(t.Context(), ctxID, id))
			require.Equal(t, want, read(t, me, id))
			l.serve = nil
			require.NoError(t, me.Fetch(t.Context(), ctxID, id))
			l.work.Wait()
		}
	}
}

// TestFetch_AtOnce: many who want the same blob fetch it once.
func TestFetch_AtOnce(t *testing.T) {
	t.Parallel()
	l := &lan{near: []transfer.PeerID{"other"}, serve: map[transfer.PeerID]func(context.Context, transfer.Stream){}}
	me := newNode(t, l, domain.BlobID{})
	other := newNode(t, l, domain.BlobID{}, me.own(t))
	var mu sync.Mutex
	served := 0
	l.serve["other"] = func(ctx context.Context, s transfer.Stream) {
		mu.Lock()
		served++
		mu.Unlock()
		other.Serve(ctx, s)
	}
	id := put(t, other, content(2<<20))
	var work sync.WaitGroup
	for range 16 {
		work.Go(func() {
			if err := me.Fetch(t.Context(), ctxID, id); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	l.work.Wait()
	require.Equal(t, 1, served)
}

// TestServe_Refusals: who may not have a blob hears the same as of one that is not there.
func TestServe_Refusals(t *testing.T) {
	t.Parallel()
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	l := &lan{}
	setup := newNode(t, l, domain.BlobID{})
	app := put(t, setup, []byte("an application"))
	n := newNode(t, l, app, key.Public())
	put(t, n, []byte("an application"))
	secret := put(t, n, []byte("a secret"))
	at := uint64(n.now.Unix())
	sign := func(as domain.PrivateKey, blob domain.BlobID, at uint64) *wire.BlobAuth {
		return &wire.BlobAuth{PublicKey: as.Public(), Timestamp: at, Signature: as.Sign(wire.BlobAuthMessage(blob, ctxID, at))}
	}
	stranger, err := domain.NewPrivateKey()
	require.NoError(t, err)
	other := sign(key, secret, at)
	other.PublicKey = stranger.Public()
	for name, test := range map[string]struct {
		request wire.BlobRequest
		found   bool
	}{
		"the application":            {wire.BlobRequest{Blob: app, Context: ctxID}, true},
		"in another context":         {wire.BlobRequest{Blob: app, Context: domain.ContextID{1}}, false},
		"a member":                   {wire.BlobRequest{Blob: secret, Context: ctxID, Auth: sign(key, secret, at)}, true},
		"nobody":                     {wire.BlobRequest{Blob: secret, Context: ctxID}, false},
		"a stranger":                 {wire.BlobRequest{Blob: secret, Context: ctxID, Auth: sign(stranger, secret, at)}, false},
		"another's signature":        {wire.BlobRequest{Blob: secret, Context: ctxID, Auth: other}, false},
		"a signature for another":    {wire.BlobRequest{Blob: secret, Context: ctxID, Auth: sign(key, app, at)}, false},
		"too old":                    {wire.BlobRequest{Blob: secret, Context: ctxID, Auth: sign(key, secret, at-31)}, false},
		"of the future":              {wire.BlobRequest{Blob: secret, Context: ctxID, Auth: sign(key, secret, at+11)}, false},
		"of the end of time":         {wire.BlobRequest{Blob: secret, Context: ctxID, Auth: sign(key, secret, 1<<64-1)}, false},
		"a member, what is not here": {wire.BlobRequest{Blob: domain.BlobID{9}, Context: ctxID, Auth: sign(key, domain.BlobID{9}, at)}, false},
	} {
		raw, err := wire.EncodeBlobRequest(test.request)
		require.NoError(t, err)
		answer := ask(t, n, raw)
		require.Equal(t, test.found, answer.Found, name)
		if !test.found {
			require.Nil(t, answer.Size, name)
		}
	}
	left, right := pipes("x", "y")
	var work sync.WaitGroup
	work.Go(func() { n.Serve(t.Context(), right) })
	require.NoError(t, left.WriteFrame(t.Context(), []byte("{")))
	_, err = left.ReadFrame(t.Context(), 1024)
	require.Error(t, err)
	left.Reset()
	work.Wait()
}

// ask sends a first frame and returns the answer to it, the rest unread.
func ask(t *testing.T, n *node, raw []byte) wire.BlobResponse {
	t.Helper()
	left, right := pipes("x", "y")
	var work sync.WaitGroup
	work.Go(func() { n.Serve(t.Context(), right); _ = right.Close() })
	require.NoError(t, left.WriteFrame(t.Context(), raw))
	in, err := left.ReadFrame(t.Context(), 1024)
	require.NoError(t, err)
	left.Reset()
	work.Wait()
	answer, err := wire.DecodeBlobResponse(in)
	require.NoError(t, err)
	return answer
}

// TestFetch_HostilePeers: whatever a peer gives instead, nothing of it stays, and the next peer is asked.
func TestFetch_HostilePeers(t *testing.T) {
	t.Parallel()
	chunk := func(b []byte) []byte {
		out, err := wire.EncodeBlobChunk(b)
		require.NoError(t, err)
		return out
	}
	size := uint64(1)
	found, err := wire.EncodeBlobResponse(wire.BlobResponse{Found: true, Size: &size})
	require.NoError(t, err)
	none, err := wire.EncodeBlobResponse(wire.BlobResponse{})
	require.NoError(t, err)
	frames := func(all ...[]byte) func(context.Context, transfer.Stream) {
		return func(ctx context.Context, s transfer.Stream) {
			if _, err := s.ReadFrame(ctx, 4096); err != nil {
				return
			}
			for _, f := range all {
				if s.WriteFrame(ctx, f) != nil {
					return
				}
			}
		}
	}
	endless := func(ctx context.Context, s transfer.Stream) {
		frames(found)(ctx, s)
		for s.WriteFrame(ctx, chunk(make([]byte, 1<<20))) == nil {
		}
	}
	l := &lan{serve: map[transfer.PeerID]func(context.Context, transfer.Stream){
		"garbage": frames([]byte("garbage")), "none": frames(none), "other content": frames(found, chunk([]byte("other")), chunk(nil)),
		"no chunk": frames(found, []byte{1, 2}), "nothing": func(context.Context, transfer.Stream) {}, "endless": endless,
		"cut off": func(ctx context.Context, s transfer.Stream) { frames(found, chunk([]byte("ri")))(ctx, s); s.Reset() },
	}}
	me := newNode(t, l, domain.BlobID{})
	other := newNode(t, l, domain.BlobID{}, me.own(t))
	id := put(t, other, []byte("right"))
	for p := range l.serve {
		l.near = append(l.near, p)
	}
	err = me.Fetch(t.Context(), ctxID, id)
	require.Equal(t, errkind.NotFound, errkind.Of(err), "%v", err)
	all, err := me.blobs.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
	l.serve["honest"] = func(ctx context.Context, s transfer.Stream) { other.Serve(ctx, s) }
	l.near = append(l.near, "honest")
	require.NoError(t, me.Fetch(t.Context(), ctxID, id))
	require.Equal(t, []byte("right"), read(t, me, id))
	l.work.Wait()
}
