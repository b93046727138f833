package replication_test

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
	"github.com/calimero-go/core/tests/harness"
)

// traitor is a member of a context whose node has gone over: it has all that its node had.
type traitor struct {
	id     domain.ContextID
	key    domain.PrivateKey // of the member
	sender domain.PrivateKey
	// known are the sender keys of the members that it has heard of.
	known map[domain.PublicKey]domain.PrivateKey
	heads []domain.Hash
	clock *crdt.Clock
}

// betray takes what a node that has ended knows of a context.
func betray(t *testing.T, n *harness.Node, x *harness.Context) *traitor {
	t.Helper()
	v := &traitor{known: map[domain.PublicKey]domain.PrivateKey{}, clock: crdt.NewClock([16]byte{0xe1})}
	var err error
	v.id, err = domain.ParseContextID(x.ID)
	require.NoError(t, err)
	member, err := domain.ParsePublicKey(x.Member)
	require.NoError(t, err)

	ctx := t.Context()
	p := leveldb.New()
	schema, err := p.Schema(ctx)
	require.NoError(t, err)
	values := map[string]cty.Value{}
	for _, a := range schema.Attributes {
		if values[a.Name] = a.Default; a.Default == cty.NilVal {
			values[a.Name] = cty.NullVal(a.Type)
		}
	}
	for _, b := range schema.Blocks {
		values[b.Name] = cty.NullVal(b.Schema.ObjectType())
	}
	diags, err := p.Configure(ctx, base.Config{Value: cty.ObjectVal(values), DataDir: filepath.Join(n.Dir, "data"), Node: "evil"})
	require.NoError(t, err)
	require.False(t, diags.HasErrors(), "%v", diags)
	defer func() { require.NoError(t, p.Close(context.WithoutCancel(ctx))) }()
	db := store.Open(p, store.Options{})
	ids := identity.New(db)
	var ok bool
	v.key, v.sender, ok, err = ids.Own(ctx, v.id, member)
	require.NoError(t, err)
	require.True(t, ok)
	all, err := ids.List(ctx, v.id, false)
	require.NoError(t, err)
	for _, one := range all {
		row, _, err := ids.Get(ctx, v.id, one)
		require.NoError(t, err)
		if row.SenderKey != nil {
			v.known[one] = *row.SenderKey
		}
	}
	meta, found, err := store.ContextMeta.Get(ctx, db, v.id)
	require.NoError(t, err)
	require.True(t, found)
	v.heads = meta.DagHeads
	return v
}

// delta makes a delta on top of parents; none: of the heads that the traitor's node had.
func (v *traitor) delta(t testing.TB, data string, parents ...domain.Hash) wire.ContextDagDelta {
	t.Helper()
	if len(parents) == 0 {
		parents = v.heads
	}
	now := uint64(time.Now().UnixNano())
	actions := []crdt.Action{{
		Kind: crdt.Add, ID: sha256.Sum256([]byte(data)), Data: []byte(data), Metadata: crdt.Metadata{CreatedAt: now, UpdatedAt: now},
		Ancestors: []crdt.ChildInfo{{ID: crdt.TreeRoot(v.id)}},
	}}
	encoded, err := crdt.EncodeActions(actions)
	require.NoError(t, err)
	return wire.ContextDagDelta{
		DeltaID: crdt.DeltaID(parents, actions), Parents: parents, Actions: encoded, HLC: v.clock.Now(now), Applied: true,
		ExpectedRootHash: domain.Hash{1},
	}
}

// sealed makes the broadcast form of a delta in any author's name, with any sender key.
func (v *traitor) sealed(t testing.TB, row wire.ContextDagDelta, author domain.PublicKey, sender domain.PrivateKey) wire.StateDelta {
	t.Helper()
	key, err := identity.NewSenderKey(sender)
	require.NoError(t, err)
	return wire.StateDelta{
		Context: v.id, Author: author, Delta: row.DeltaID, Parents: row.Parents, HLC: row.HLC, RootHash: row.ExpectedRootHash,
		Artifact: key.Encrypt(append([]byte{0}, row.Actions...), wire.Nonce{1}), Nonce: wire.Nonce{1},
	}
}

// proof is the signature of key under a delta.
func (v *traitor) proof(d wire.ContextDagDelta, key domain.PrivateKey) wire.DeltaAuthor {
	by := wire.DeltaAuthor{Author: key.Public()}
	signature := key.Sign(d.Statement(v.id, by).Message())
	by.Signature = &signature
	return by
}

// signed is a delta as an honest author sends it.
func (v *traitor) signed(t testing.TB, row wire.ContextDagDelta, key, sender domain.PrivateKey) wire.SignedDelta {
	t.Helper()
	return wire.SignedDelta{
		StateDelta: v.sealed(t, row, key.Public(), sender), Actions: sha256.Sum256(row.Actions), Signature: *v.proof(row, key).Signature,
	}
}

// record is a delta as it is given to who catches up.
func (v *traitor) record(t testing.TB, d wire.ContextDagDelta, by wire.DeltaAuthor) wire.DeltaRecord {
	t.Helper()
	raw, err := d.Causal()
	require.NoError(t, err)
	return wire.DeltaRecord{Delta: raw, Author: by}
}

// evil is a node of the traitor's: a peer on the real protocols, with an id of its own. Each has its own, since peers remember
// what a peer did.
type evil struct {
	*traitor
	*network.Client
	t      *testing.T
	topics []string
	// leave ends the peer, at the latest when the test ends.
	leave func()

	mu sync.Mutex
	// answer makes the answers to requests of sessions; nil: none.
	answer func(q wire.ExtensionMessage) []any
	heard  map[byte][]network.Message // by first byte
}

// newEvil makes a peer that is connected with the nodes and in the topics of the context and its group; a plain one has no
// extension, as nodes of the reference.
func newEvil(t *testing.T, v *traitor, nodes []*harness.Node, plain bool) *evil {
	t.Helper()
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	a, err := network.New(network.Options{
		Key: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Mailbox: 4096, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	e := &evil{
		traitor: v, Client: a.Client(), t: t, heard: map[byte][]network.Message{},
		topics: []string{wire.ContextTopic(v.id), wire.GroupTopic(domain.GroupID(v.id))},
	}
	if !plain {
		require.NoError(t, e.SetStreamHandler(wire.ExtensionProtocol, network.StreamLimits{}, e.serve))
	}
	ctx, cancel := context.WithCancel(context.Background())
	sup := actor.NewSupervisor("evil", slog.New(slog.DiscardHandler), time.Minute)
	sup.Add(a)
	done := sup.ServeBackground(ctx)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for {
			select {
			case <-ctx.Done():
				return
			case ev := <-e.Events():
				if m, ok := ev.(network.MessageReceived); ok && len(m.Data) > 0 {
					e.mu.Lock()
					if list := e.heard[m.Data[0]]; len(list) < 64 {
						e.heard[m.Data[0]] = append(list, m.Message)
					}
					e.mu.Unlock()
				}
			}
		}
	}()
	e.leave = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		<-drained
	})
	t.Cleanup(e.leave)
	require.NoError(t, e.Started(t.Context()))
	for _, topic := range e.topics {
		require.NoError(t, e.Subscribe(t.Context(), topic))
	}
	for _, n := range nodes {
		address := n.Swarm().Addresses[slices.IndexFunc(n.Swarm().Addresses, isTCP)]
		require.NoError(t, harness.Until(t.Context(), "dial a node", func(ctx context.Context) error {
			_, err := e.Dial(ctx, address)
			return err
		}))
	}
	for _, topic := range e.topics {
		require.NoError(t, harness.Until(t.Context(), "the nodes are in "+topic, func(ctx context.Context) error {
			peers, err := e.TopicPeers(ctx, topic)
			if err == nil && len(peers) < len(nodes) {
				err = os.ErrNotExist
			}
			return err
		}))
	}
	return e
}

// say publishes a message in the context's topic, whatever it is; bytes as they are.
func (e *evil) say(m any) { e.sayIn(e.topics[0], m) }

func (e *evil) sayIn(topic string, m any) {
	e.t.Helper()
	raw, ok := m.([]byte)
	if b, is := m.(wire.Broadcast); is && !ok {
		var err error
		raw, err = wire.EncodeBroadcast(b)
		require.NoError(e.t, err)
	}
	require.NoError(e.t, e.Publish(e.t.Context(), topic, raw))
}

// offer tells the nodes of heads, so that they come and ask, and answers them so.
func (e *evil) offer(head domain.Hash, answer func(q wire.ExtensionMessage) []any) {
	e.mu.Lock()
	e.answer = answer
	e.mu.Unlock()
	e.say(wire.HashHeartbeat{Context: e.id, RootHash: domain.Hash{1}, DagHeads: []domain.Hash{head}})
}

// history is the answer of a peer that has deltas on top of what nodes have, given as these records.
func history(deltas []wire.ContextDagDelta, records ...wire.DeltaRecord) func(q wire.ExtensionMessage) []any {
	return func(q wire.ExtensionMessage) []any {
		switch q.(type) {
		case wire.HeadsRequest:
			var heads []domain.Hash
			for _, d := range deltas {
				heads = append(heads, d.DeltaID)
			}
			return []any{wire.Heads{DagHeads: heads, RootHash: domain.Hash{1}}}
		case wire.HistoryRequest:
			var out wire.History
			for _, d := range deltas {
				out.Entries = append(out.Entries, wire.HistoryEntry{Delta: d.DeltaID, Parents: d.Parents})
			}
			return []any{out}
		case wire.DeltasRequest:
			return []any{wire.Deltas{Records: records}}
		}
		return nil
	}
}

// serve proves to be the member and answers as it was told; bytes go out as they are.
func (e *evil) serve(ctx context.Context, s *network.Stream) {
	read := func() wire.ExtensionMessage {
		raw, err := s.ReadFrame(ctx, 0)
		if err != nil {
			return nil
		}
		m, err := wire.DecodeExtension(raw)
		if err != nil {
			return nil
		}
		return m
	}
	hello, ok := read().(wire.Hello)
	if !ok {
		return
	}
	reply := wire.HelloReply{Identity: e.key.Public(), Nonce: [32]byte{1}}
	proof := wire.SessionProof{Hello: hello, Reply: reply, Opening: string(s.Peer()), Accepter: string(e.LocalPeerID())}
	reply.Proof = e.key.Sign(proof.Message())
	if !tell(ctx, s, reply) {
		return
	}
	if _, ok := read().(wire.HelloProof); !ok {
		return
	}
	for q := read(); q != nil; q = read() {
		e.mu.Lock()
		answer := e.answer
		e.mu.Unlock()
		var answers []any
		switch _, key := q.(wire.ShareKey); {
		case key:
			answers = []any{wire.ShareKey{SenderKey: e.sender}}
		case answer != nil:
			answers = answer(q)
		default:
			answers = []any{wire.Heads{DagHeads: e.heads}} // nothing that the nodes do not have
		}
		for _, m := range answers {
			if !tell(ctx, s, m) {
				return
			}
		}
	}
}

// tell writes a message, or bytes as they are, as a frame.
func tell(ctx context.Context, s *network.Stream, m any) bool {
	raw, ok := m.([]byte)
	if !ok {
		var err error
		if raw, err = wire.EncodeExtension(m.(wire.ExtensionMessage)); err != nil { //nolint:forcetypeassert // of this test
			return false
		}
	}
	return s.WriteFrame(ctx, raw) == nil
}

// session opens a session with a node as the member; prove is false for one who cannot.
func (e *evil) session(n *harness.Node, as domain.PrivateKey) *network.Stream {
	t, ctx := e.t, e.t.Context()
	t.Helper()
	peer := peerOf(t, n)
	s, err := e.OpenStream(ctx, peer, wire.ExtensionProtocol)
	require.NoError(t, err)
	t.Cleanup(s.Reset)
	hello := wire.Hello{Context: e.id, Identity: e.key.Public(), Nonce: [32]byte{3}}
	require.True(t, tell(ctx, s, hello))
	reply, ok := e.next(s).(wire.HelloReply)
	require.True(t, ok)
	proof := wire.SessionProof{Opener: true, Hello: hello, Reply: reply, Opening: string(e.LocalPeerID()), Accepter: string(peer)}
	require.True(t, tell(ctx, s, wire.HelloProof{Proof: as.Sign(proof.Message())}))
	return s
}

func peerOf(t *testing.T, n *harness.Node) network.PeerID {
	t.Helper()
	peer, err := network.ParsePeerID(n.Swarm().PeerID)
	require.NoError(t, err)
	return peer
}

// all are the first messages that were heard with a tag.
func (e *evil) all(tag byte) []network.Message {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard[tag])
}

// next reads a message of a session.
func (e *evil) next(s *network.Stream) wire.ExtensionMessage {
	e.t.Helper()
	raw, err := s.ReadFrame(e.t.Context(), 0)
	require.NoError(e.t, err)
	m, err := wire.DecodeExtension(raw)
	require.NoError(e.t, err)
	return m
}

// endless is a borsh message whose first list claims to have 2³²-1 items.
func endless(tag byte, before int) []byte {
	return append(append([]byte{tag}, make([]byte, before)...), 0xff, 0xff, 0xff, 0xff)
}
