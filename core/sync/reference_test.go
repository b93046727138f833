package sync_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// TestWithoutTheExtension: two nodes that speak the reference's protocols only, and one of each kind.
func TestWithoutTheExtension(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string][]bool{"both": {true, true}, "one": {false, true}, "the other": {true, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLAN(t)
			a, b := newNode(t, l, 0, 2, setup{plain: plain[0]}), newNode(t, l, 1, 2, setup{plain: plain[1]})
			a.write(t, "first")
			converged(t, 1, long, a, b)
			b.stop()
			for i := range 100 {
				a.write(t, fmt.Sprint("meanwhile ", i))
			}
			b.start(t)
			converged(t, 101, long, a, b)
			a.write(t, strings.Repeat("x", 1<<20))
			converged(t, 102, long, a, b)
			for i := range 10 {
				a.write(t, fmt.Sprint("a ", i))
				b.write(t, fmt.Sprint("b ", i))
			}
			converged(t, 122, long, a, b)
			row, _, err := a.identity.Get(t.Context(), ctxID, b.key.Public())
			require.NoError(t, err)
			_, sender, _, err := b.identity.Own(t.Context(), ctxID, b.key.Public())
			require.NoError(t, err)
			require.True(t, *row.SenderKey == sender, "keys are shared")
			require.Positive(t, a.port.sentOf(0)+b.port.sentOf(0))
		})
	}
}

// TestLateMember: a node of the reference that learns late of a join is asked again as soon as it takes the new member as one,
// however long it was to be left alone.
func TestLateMember(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	l.loss = 1 // nothing comes by gossip
	old := newNode(t, l, 0, 1, setup{plain: true, options: func(o *sync.Options) { o.Retry, o.RetryMax = 10*time.Millisecond, 10*time.Millisecond }})
	old.write(t, "one")
	n := newNode(t, l, 1, 2, setup{options: func(o *sync.Options) { o.Retry, o.RetryMax = time.Hour, time.Hour }})
	require.Eventually(t, func() bool {
		s, ok := n.m.Status(ctxID)
		return ok && s.Failures > 0
	}, long, time.Millisecond)
	require.Zero(t, n.count())
	old.set(keyOf(1).Public(), sync.MayWrite)
	converged(t, 1, long, old, n)
}

// TestPeersProveWhoseDeltasTheySend: what comes by gossip is its author's once the source has proven to be.
func TestPeersProveWhoseDeltasTheySend(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	no := false
	quiet := func(o *sync.Options) {
		o.Frequency, o.Heartbeat, o.Republish, o.AcceptUnsigned = time.Hour, time.Hour, time.Hour, &no
	}
	old, n := newNode(t, l, 0, 2, setup{plain: true, options: quiet}), newNode(t, l, 1, 2, setup{options: quiet})
	for i := range 5 {
		id := old.write(t, fmt.Sprint(i))
		converged(t, i+1, long, old, n)
		require.Equal(t, old.key.Public(), n.authorOf(id))
	}
}

// TestMixedNodes: nodes of both kinds, all writing.
func TestMixedNodes(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	l.loss, l.delay = 0.2, 10*time.Millisecond
	nodes := []*node{
		newNode(t, l, 0, 4, setup{}), newNode(t, l, 1, 4, setup{}), newNode(t, l, 2, 4, setup{plain: true}),
		newNode(t, l, 3, 4, setup{plain: true}),
	}
	for i := range 25 {
		for k, n := range nodes {
			n.write(t, fmt.Sprintf("node %d value %d", k, i))
		}
	}
	converged(t, 100, long, nodes...)
}

func TestUnsignedDeltasAreMarkedOrRefused(t *testing.T) {
	t.Parallel()
	for _, accept := range []bool{true, false} {
		t.Run(fmt.Sprint(accept), func(t *testing.T) {
			t.Parallel()
			l := newLAN(t)
			// What it publishes again, as one who has proven to be the author, would count.
			old := newNode(t, l, 0, 2, setup{plain: true, options: func(o *sync.Options) { o.Republish = time.Hour }})
			for i := range 10 {
				old.write(t, fmt.Sprint(i))
			}
			late := newNode(t, l, 1, 2, setup{options: func(o *sync.Options) { o.AcceptUnsigned = &accept }})
			if accept {
				converged(t, 10, long, old, late)
				s, _ := late.m.Status(ctxID)
				require.EqualValues(t, 10, s.Unsigned)
				return
			}
			eventually(t, "it says so", long, func() bool {
				s, _ := late.m.Status(ctxID)
				return s.Err != nil
			})
			err := late.m.Sync(t.Context(), ctxID)
			require.ErrorIs(t, err, errkind.Unauthenticated)
			require.ErrorContains(t, err, "accept_unsigned is off")
			require.Zero(t, late.count())
		})
	}
}

// referencePeer is a peer that speaks the sync protocol by hand.
type referencePeer struct {
	t *testing.T
	s sync.Stream
}

func dialReference(t *testing.T, from *port, to *node) referencePeer {
	t.Helper()
	s, err := from.OpenStream(t.Context(), to.port.id, wire.SyncProtocol)
	require.NoError(t, err)
	t.Cleanup(s.Reset)
	return referencePeer{t, s}
}

func (p referencePeer) ask(context domain.ContextID, party domain.PublicKey, q wire.InitPayload) wire.StreamMessage {
	p.t.Helper()
	p.send(wire.Init{Context: context, Party: party, Payload: q})
	return p.read()
}

func (p referencePeer) send(m wire.StreamMessage) {
	p.t.Helper()
	raw, err := wire.EncodeStream(m)
	require.NoError(p.t, err)
	require.NoError(p.t, p.s.WriteFrame(p.t.Context(), raw))
}

func (p referencePeer) read() wire.StreamMessage {
	p.t.Helper()
	raw, err := p.s.ReadFrame(p.t.Context(), 0)
	require.NoError(p.t, err)
	m, err := wire.DecodeStream(raw)
	require.NoError(p.t, err)
	return m
}

// prove runs the key share as member i, whose identity key is below or above the node's.
func (p referencePeer) prove(n *node, i int) {
	p.t.Helper()
	key := keyOf(i)
	ack, ok := p.ask(ctxID, key.Public(), wire.KeyShareInit{}).(wire.Init)
	require.True(p.t, ok)
	require.Equal(p.t, n.key.Public(), ack.Party)
	answer := func() {
		c, ok := p.read().(wire.Message).Payload.(wire.Challenge)
		require.True(p.t, ok)
		p.send(wire.Message{Sequence: 0, Payload: wire.ChallengeResponse{Signature: key.Sign(wire.ChallengeMessage(c.Challenge))}})
	}
	first := strings.Compare(string(keyBytes(key.Public())), string(keyBytes(ack.Party))) > 0
	if first {
		p.send(wire.Message{Sequence: 0, Payload: wire.Challenge{Challenge: [32]byte{7}}})
		r, ok := p.read().(wire.Message).Payload.(wire.ChallengeResponse)
		require.True(p.t, ok)
		require.True(p.t, ack.Party.Verify(wire.ChallengeMessage([32]byte{7}), r.Signature))
		c := p.read().(wire.Message)
		require.EqualValues(p.t, 1, c.Sequence)
		p.send(wire.Message{Sequence: 1, Payload: wire.ChallengeResponse{
			Signature: key.Sign(wire.ChallengeMessage(c.Payload.(wire.Challenge).Challenge))}})
		p.send(wire.Message{Sequence: 2, Payload: wire.KeyShare{SenderKey: domain.PrivateKey{9}}})
		share := p.read().(wire.Message)
		require.EqualValues(p.t, 2, share.Sequence)
		return
	}
	answer()
	p.send(wire.Message{Sequence: 1, Payload: wire.Challenge{Challenge: [32]byte{7}}})
	require.EqualValues(p.t, 1, p.read().(wire.Message).Sequence)
	share := p.read().(wire.Message)
	require.EqualValues(p.t, 2, share.Sequence)
	p.send(wire.Message{Sequence: 2, Payload: wire.KeyShare{SenderKey: domain.PrivateKey{9}}})
}

func keyBytes(k domain.PublicKey) []byte { return k[:] }

func TestReferenceRequests(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	reg := prometheus.NewRegistry()
	n := newNode(t, l, 0, 3, setup{options: func(o *sync.Options) { o.Registerer = reg }})
	id := n.write(t, "one")
	for _, member := range []int{1, 2} { // one of them has the greater key, one the lesser, or both alike
		p := dialReference(t, l.join(fmt.Sprint("peer-", member)), n)
		party := keyOf(member).Public()
		heads, ok := p.ask(ctxID, party, wire.DagHeadsRequest{Context: ctxID}).(wire.Message)
		require.True(t, ok)
		require.Equal(t, wire.DagHeadsResponse{DagHeads: []domain.Hash{id}, RootHash: n.Root()}, heads.Payload)
		require.IsType(t, wire.OpaqueError{}, p.ask(ctxID, party, wire.DeltaRequest{Context: ctxID, Delta: id}),
			"state is not for who has only named a member")
		p.prove(n, member)
		got, ok := p.ask(ctxID, party, wire.DeltaRequest{Context: ctxID, Delta: id}).(wire.Message)
		require.True(t, ok)
		var c crdt.CausalDelta
		require.NoError(t, borsh.Unmarshal(got.Payload.(wire.DeltaResponse).Delta, &c))
		require.Equal(t, id, c.ID)
		require.Equal(t, id, crdt.DeltaID(c.Parents, c.Actions))
		missing, ok := p.ask(ctxID, party, wire.DeltaRequest{Context: ctxID, Delta: domain.Hash{}}).(wire.Message)
		require.True(t, ok)
		require.Equal(t, wire.DeltaNotFound{}, missing.Payload)

		for _, q := range []wire.InitPayload{
			wire.SnapshotBoundaryRequest{Context: ctxID}, wire.SnapshotStreamRequest{Context: ctxID},
			wire.TreeNodeRequest{Context: ctxID}, wire.LevelWiseRequest{Context: ctxID}, wire.EntityPush{Context: ctxID},
			wire.DeltaRequest{Context: domain.ContextID{1}, Delta: id}, wire.GroupDeltaRequest{},
		} {
			require.IsType(t, wire.OpaqueError{}, p.ask(ctxID, party, q), "%T", q)
		}
		after, ok := p.ask(ctxID, party, wire.DagHeadsRequest{Context: ctxID}).(wire.Message)
		require.True(t, ok, "the stream is still good")
		require.IsType(t, wire.DagHeadsResponse{}, after.Payload)
	}
	for what, times := range map[string]float64{"snapshot": 4, "hash_comparison": 4, "level_wise": 2} {
		require.Equal(t, times, counted(t, reg, "calimero_sync_unsupported_total", what), what)
	}
	row, _, err := n.identity.Get(t.Context(), ctxID, keyOf(1).Public())
	require.NoError(t, err)
	require.True(t, *row.SenderKey == domain.PrivateKey{9})
}

func TestBlobsAreShared(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	module := bytes.Repeat([]byte("module"), 400_000) // three chunks
	known := domain.BlobID{0xb1}
	n := newNode(t, l, 0, 2, setup{options: func(o *sync.Options) {
		o.OpenBlob = func(_ context.Context, id domain.ContextID, blob domain.BlobID) (io.ReadCloser, error) {
			if id != ctxID || blob != known {
				return nil, errkind.NotFound.Errorf("no such blob")
			}
			return io.NopCloser(bytes.NewReader(module)), nil
		}
	}})
	p := dialReference(t, l.join("peer"), n)
	party := keyOf(1).Public()
	require.IsType(t, wire.OpaqueError{}, p.ask(ctxID, party, wire.BlobShareInit{Blob: known}), "not to strangers")
	p.prove(n, 1)
	require.IsType(t, wire.OpaqueError{}, p.ask(ctxID, party, wire.BlobShareInit{Blob: domain.BlobID{1}}))
	ack, ok := p.ask(ctxID, party, wire.BlobShareInit{Blob: known}).(wire.Init)
	require.True(t, ok)
	require.Equal(t, wire.BlobShareInit{Blob: known}, ack.Payload)
	key, err := identity.NewSharedKey(keyOf(1), ack.Party)
	require.NoError(t, err)
	var got []byte
	nonce := ack.NextNonce
	for seq := uint64(0); ; seq++ {
		raw, err := p.s.ReadFrame(t.Context(), 0)
		require.NoError(t, err)
		plain, err := key.Decrypt(raw, nonce)
		require.NoError(t, err)
		m, err := wire.DecodeStream(plain)
		require.NoError(t, err)
		message := m.(wire.Message)
		require.Equal(t, seq, message.Sequence)
		chunk := message.Payload.(wire.BlobShare).Chunk
		nonce = message.NextNonce
		if len(chunk) == 0 {
			require.Zero(t, nonce)
			break
		}
		got = append(got, chunk...)
	}
	require.True(t, bytes.Equal(module, got))
	require.IsType(t, wire.Message{}, p.ask(ctxID, party, wire.DagHeadsRequest{Context: ctxID}), "the stream goes on")
}

func TestGroupDeltasAreServed(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	want := wire.GroupDeltaResponse{Delta: domain.Hash{2}, Parents: []domain.Hash{}, Payload: []byte("op")}
	n := newNode(t, l, 0, 1, setup{options: func(o *sync.Options) {
		o.GroupDeltas = func(_ context.Context, r wire.GroupDeltaRequest) (*wire.GroupDeltaResponse, error) {
			if r.Group == (domain.GroupID{1}) && r.Delta == want.Delta {
				return &want, nil
			}
			return nil, nil
		}
	}})
	p := dialReference(t, l.join("peer"), n)
	got := p.ask(domain.ContextID{}, domain.PublicKey{}, wire.GroupDeltaRequest{Group: domain.GroupID{1}, Delta: want.Delta})
	require.Equal(t, want, got.(wire.Message).Payload)
	got = p.ask(domain.ContextID{}, domain.PublicKey{}, wire.GroupDeltaRequest{Group: domain.GroupID{3}, Delta: want.Delta})
	require.Equal(t, wire.GroupDeltaNotFound{}, got.(wire.Message).Payload)
}

// TestSnapshotsAreNotSupported: a peer whose history begins with a snapshot has no deltas for what was before.
func TestSnapshotsAreNotSupported(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	old := newNode(t, l, 0, 2, setup{plain: true})
	checkpoint := wire.ContextDagDelta{
		DeltaID: domain.Hash{5}, Parents: []domain.Hash{{}}, Actions: []byte{0, 0, 0, 0}, HLC: crdt.ZeroTimestamp(), Applied: true,
	}
	old.history.mu.Lock()
	b := old.db.Batch()
	old.apply(b, checkpoint, domain.PublicKey{}, wire.DeltaAuthor{})
	require.NoError(t, b.Commit(t.Context()))
	old.history.mu.Unlock()
	old.write(t, "after")
	var log lockedBuffer
	reg := prometheus.NewRegistry()
	late := newNode(t, l, 1, 2, setup{options: func(o *sync.Options) {
		o.Logger, o.Registerer = slog.New(slog.NewTextHandler(&log, nil)), reg
	}})
	eventually(t, "the status says so", long, func() bool {
		s, _ := late.m.Status(ctxID)
		return s.Err != nil && errkind.Of(s.Err) == errkind.Unsupported
	})
	err := late.m.Sync(t.Context(), ctxID)
	require.ErrorIs(t, err, errkind.Unsupported)
	require.ErrorContains(t, err, "snapshot")
	require.Contains(t, log.String(), "level=ERROR msg=\"the context cannot be synchronised by deltas\"")
	require.Contains(t, log.String(), "needs a snapshot, which this version does not transfer: use a peer that has the whole history")
	require.Positive(t, counted(t, reg, "calimero_sync_unsupported_total", "snapshot"))
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu stdsync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// counted is the value of a counter with one label, or "" for none; 0 when nothing was counted.
func counted(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	all, err := reg.Gather()
	require.NoError(t, err)
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
