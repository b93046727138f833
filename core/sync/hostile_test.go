package sync_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// evil is a member of the context (its highest number) that does as it likes. It knows the sender keys of all.
type evil struct {
	*port
	key    domain.PrivateKey
	sender domain.PrivateKey
	clock  *crdt.Clock
}

// victims are a node that is attacked and an honest one.
func victims(t *testing.T, l *lan, options func(*sync.Options)) (a, b *node, e *evil) {
	t.Helper()
	a, b = newNode(t, l, 0, 3, setup{options: options}), newNode(t, l, 1, 3, setup{options: options})
	e = &evil{port: l.join("evil"), key: keyOf(2), sender: domain.PrivateKey{0xee}, clock: crdt.NewClock([16]byte{6})}
	require.NoError(t, e.Subscribe(t.Context(), wire.ContextTopic(ctxID)))
	for _, n := range []*node{a, b} {
		batch := n.db.Batch()
		n.identity.PutMember(batch, ctxID, e.key.Public(), &e.sender)
		require.NoError(t, batch.Commit(t.Context()))
	}
	return a, b, e
}

func (e *evil) broadcast(t testing.TB, m wire.Broadcast) {
	t.Helper()
	raw, err := wire.EncodeBroadcast(m)
	require.NoError(t, err)
	require.NoError(t, e.Publish(context.Background(), wire.ContextTopic(ctxID), raw))
}

// sealed makes the broadcast form of a delta with any author and keys.
func sealed(t testing.TB, row wire.ContextDagDelta, author domain.PublicKey, sender domain.PrivateKey) wire.StateDelta {
	t.Helper()
	key, err := identity.NewSenderKey(sender)
	require.NoError(t, err)
	return wire.StateDelta{
		Context: ctxID, Author: author, Delta: row.DeltaID, Parents: row.Parents, HLC: row.HLC, RootHash: row.ExpectedRootHash,
		Artifact: key.Encrypt(append([]byte{0}, row.Actions...), wire.Nonce{1}), Nonce: wire.Nonce{1},
	}
}

// signed is a delta as its honest author sends it.
func signed(t testing.TB, row wire.ContextDagDelta, author, sender domain.PrivateKey) wire.SignedDelta {
	t.Helper()
	proof := sign(&row, author, nil)
	return wire.SignedDelta{
		StateDelta: sealed(t, row, author.Public(), sender), Actions: sha256.Sum256(row.Actions), Signature: *proof.Signature,
	}
}

func (e *evil) delta(t testing.TB, data string, parents ...domain.Hash) wire.ContextDagDelta {
	return newDelta(t, e.clock, parents, data)
}

// senderOf is a node's own sender key, which all members know.
func senderOf(t testing.TB, n *node) domain.PrivateKey {
	t.Helper()
	_, sender, ok, err := n.identity.Own(context.Background(), ctxID, n.key.Public())
	require.NoError(t, err)
	require.True(t, ok)
	return sender
}

// unharmed checks that the nodes have nothing but what they wrote, and still work.
func unharmed(t *testing.T, count int, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		n.write(t, fmt.Sprint("after the attack ", n.port.id))
		count++
	}
	converged(t, count, long, nodes...)
}

// TestForgedGossip: each message is judged as it must be, and none changes a state.
func TestForgedGossip(t *testing.T) {
	t.Parallel()
	no := false
	a, b, e := victims(t, newLAN(t), func(o *sync.Options) { o.AcceptUnsigned = &no })
	first := a.write(t, "first")
	converged(t, 1, long, a, b)
	stranger := domain.PrivateKey{0x5a}
	victim, sender := b.key.Public(), senderOf(t, b)

	good := e.delta(t, "good", first)
	otherContext := signed(t, good, e.key, e.sender)
	otherContext.Context = domain.ContextID{1}
	othersName := signed(t, good, e.key, e.sender)
	othersName.Author = victim
	otherTimes := signed(t, good, e.key, e.sender)
	otherTimes.HLC.Time++
	otherRoot := signed(t, good, e.key, e.sender)
	otherRoot.RootHash[0]++
	otherEvents := signed(t, good, e.key, e.sender)
	otherEvents.Events = []byte("[]")
	noParents := signed(t, good, e.key, e.sender)
	noParents.Parents = []domain.Hash{}
	for name, c := range map[string]struct {
		message wire.Broadcast
		want    network.Verdict
	}{
		"author is a stranger":              {signed(t, good, stranger, e.sender), network.Ignore},
		"signed by another than its author": {othersName, network.Reject},
		"the context of another topic":      {otherContext, network.Reject},
		"another time":                      {otherTimes, network.Reject},
		"another root":                      {otherRoot, network.Reject},
		"other events":                      {otherEvents, network.Reject},
		"no parents":                        {noParents, network.Reject},
		"announced by another":              {wire.DeltaAnnounce{DeltaStatement: wire.DeltaStatement{Context: ctxID, Author: victim}}, network.Reject},
		"announced by a stranger":           {wire.DeltaAnnounce{DeltaStatement: wire.DeltaStatement{Context: ctxID, Author: stranger.Public()}}, network.Ignore},
		"a heartbeat of another context":    {wire.HashHeartbeat{Context: domain.ContextID{1}}, network.Reject},
		"what belongs to a group":           {wire.GroupStateHeartbeat{}, network.Reject},
		"unsigned, by a stranger":           {sealed(t, good, stranger.Public(), sender), network.Ignore},
		"unsigned, no parents":              {wire.StateDelta{Context: ctxID, Author: victim}, network.Reject},
	} {
		raw, err := wire.EncodeBroadcast(c.message)
		require.NoError(t, err, name)
		verdict, in := a.m.Validate(t.Context(), wire.ContextTopic(ctxID), e.id, raw)
		require.Equal(t, c.want, verdict, name)
		require.Nil(t, in, name)
		e.broadcast(t, c.message)
	}
	for name, raw := range map[string][]byte{
		"empty": {}, "garbage": []byte("garbage"), "unknown": {9}, "too large": make([]byte, wire.MaxGossip+1), "cut": {0xc0, 1},
	} {
		verdict, _ := a.m.Validate(t.Context(), wire.ContextTopic(ctxID), e.id, raw)
		require.NotEqual(t, network.Accept, verdict, name)
	}
	verdict, _ := a.m.Validate(t.Context(), wire.ContextTopic(domain.ContextID{1}), e.id, []byte{1})
	require.Equal(t, network.Ignore, verdict, "a topic that is not followed")
	unharmed(t, 1, a, b)
}

// TestAlteredArtifacts: who knows a sender key can seal what he likes. The signature, or the id, gives it away.
func TestAlteredArtifacts(t *testing.T) {
	t.Parallel()
	no := false
	a, b, e := victims(t, newLAN(t), func(o *sync.Options) { o.AcceptUnsigned = &no })
	victim := senderOf(t, b)
	honest := newDelta(t, e.clock, nil, "honest")
	actions, err := crdt.DecodeActions(honest.Actions)
	require.NoError(t, err)
	later := honest
	actions[0].Metadata.UpdatedAt += 1 << 40 // the id stays
	later.Actions, err = crdt.EncodeActions(actions)
	require.NoError(t, err)
	require.Equal(t, honest.DeltaID, crdt.DeltaID(honest.Parents, actions))
	other := honest
	actions[0].Data = []byte("other")
	other.Actions, err = crdt.EncodeActions(actions)
	require.NoError(t, err)

	proof := signed(t, honest, b.key, victim)
	for _, forged := range []wire.ContextDagDelta{later, other} {
		m := proof
		m.StateDelta = sealed(t, forged, b.key.Public(), victim)
		e.broadcast(t, m) // the digest of the honest actions, and others sealed
		u := sealed(t, forged, b.key.Public(), victim)
		e.broadcast(t, u) // not signed at all
	}
	garbled := proof
	garbled.Artifact = []byte("not sealed by anybody")
	e.broadcast(t, garbled)
	comparisons := proof
	key, err := identity.NewSenderKey(victim)
	require.NoError(t, err)
	comparisons.Artifact = key.Encrypt(nil, comparisons.Nonce)
	e.broadcast(t, comparisons)
	unharmed(t, 0, a, b)
	require.False(t, a.has(honest.DeltaID))
}

func TestReplaysCountOnce(t *testing.T) {
	t.Parallel()
	a, b, e := victims(t, newLAN(t), nil)
	m := signed(t, e.delta(t, "again"), e.key, e.sender)
	for range 300 {
		e.broadcast(t, m)
	}
	converged(t, 1, long, a, b)
	raw, err := wire.EncodeBroadcast(m)
	require.NoError(t, err)
	for i := range 10 { // a name costs nothing
		verdict, _ := a.m.Validate(t.Context(), wire.ContextTopic(ctxID), sync.PeerID(fmt.Sprint("name ", i)), raw)
		require.Equal(t, network.Ignore, verdict, "it is forwarded again")
	}
	// The author's own node may say it again, for those that did not hear it.
	own := b.write(t, "own")
	converged(t, 2, long, a, b)
	row, ok := b.history.row(own)
	require.True(t, ok)
	raw, err = wire.EncodeBroadcast(signed(t, row, b.key, senderOf(t, b)))
	require.NoError(t, err)
	eventually(t, "they have met", long, func() bool {
		verdict, _ := a.m.Validate(t.Context(), wire.ContextTopic(ctxID), b.port.id, raw)
		return verdict == network.Accept
	})
	unharmed(t, 2, a, b)
}

// TestHeartbeatsOfStrangers: whoever knows a context's id can send heartbeats in its topic. So many of them are let through as
// nodes need that have not met; they are no proof of anything, and those of members come through beside them.
func TestHeartbeatsOfStrangers(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	reg := prometheus.NewRegistry()
	quiet := func(o *sync.Options) { o.Frequency, o.Heartbeat, o.Republish = time.Hour, time.Hour, time.Hour }
	a := newNode(t, l, 0, 3, setup{options: func(o *sync.Options) { quiet(o); o.Registerer = reg }})
	head := a.write(t, "alone")
	say := func(source string, h wire.HashHeartbeat) network.Verdict {
		h.Context = ctxID
		raw, err := wire.EncodeBroadcast(h)
		require.NoError(t, err)
		verdict, in := a.m.Validate(t.Context(), wire.ContextTopic(ctxID), sync.PeerID(source), raw)
		if in != nil {
			a.m.Handle(in)
		}
		return verdict
	}
	// A stranger says that it has the same, with another root; and another one what this node will ask for.
	asked := make(chan struct{}, 1)
	p := l.join("asked")
	p.handlers[wire.ExtensionProtocol] = func(context.Context, sync.Stream) {
		select {
		case asked <- struct{}{}:
		default:
		}
	}
	require.Equal(t, network.Accept, say("stranger", wire.HashHeartbeat{RootHash: domain.Hash{1}, DagHeads: []domain.Hash{head}}))
	require.Equal(t, network.Accept, say("asked", wire.HashHeartbeat{RootHash: domain.Hash{1}, DagHeads: []domain.Hash{number(1)}}))
	<-asked
	s, _ := a.m.Status(ctxID)
	require.False(t, s.Diverged)
	require.Equal(t, 1, s.Unacknowledged)
	require.Zero(t, counted(t, reg, "calimero_sync_diverged_total", ""))

	accepted := 0
	flood := func(what string) {
		for i := range 2000 {
			if say(fmt.Sprint(what, i), wire.HashHeartbeat{DagHeads: []domain.Hash{number(uint64(i))}}) == network.Accept {
				accepted++
			}
		}
	}
	flood("name ")
	require.Positive(t, accepted)
	require.Less(t, accepted, 1000)
	b := newNode(t, l, 1, 3, setup{options: quiet}) // a member, which proves it when it catches up
	converged(t, 1, long, a, b)
	flood("more ")
	verdict := say(string(b.port.id), wire.HashHeartbeat{RootHash: domain.Hash{1}, DagHeads: []domain.Hash{head}})
	require.Equal(t, network.Accept, verdict)
	eventually(t, "a member's word counts", long, func() bool {
		s, _ := a.m.Status(ctxID)
		return s.Unacknowledged == 0 && counted(t, reg, "calimero_sync_diverged_total", "") > 0
	})
}

// TestRefusedIsSaidOnce: who sends deltas that do not open, under any number of names, does not fill the log with them.
func TestRefusedIsSaidOnce(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	reg := prometheus.NewRegistry()
	l := newLAN(t)
	a, b, e := victims(t, l, func(o *sync.Options) {
		if o.Network.LocalPeerID() == "node-0" {
			o.Logger, o.Registerer = slog.New(slog.NewTextHandler(&log, nil)), reg
		}
	})
	const times = 30
	for i := range times {
		m := signed(t, e.delta(t, fmt.Sprint("garbled ", i)), e.key, e.sender)
		m.Artifact = []byte("not sealed by anybody")
		e.broadcast(t, m)
	}
	eventually(t, "they are refused", long, func() bool { return counted(t, reg, "calimero_sync_dropped_total", "refused") == times })
	require.Equal(t, 1, strings.Count(log.String(), "a delta is refused"), log.String())
	unharmed(t, 0, a, b)
}

// TestDivergedIsSaidOnce: a member that has another root with the same deltas, and says so again and again, does not fill the log,
// also when others agree in between. The reference's log gets a line each second.
func TestDivergedIsSaidOnce(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	var log lockedBuffer
	reg := prometheus.NewRegistry()
	quiet := func(o *sync.Options) { o.Frequency, o.Heartbeat, o.Republish = time.Hour, time.Hour, time.Hour }
	a := newNode(t, l, 0, 2, setup{options: func(o *sync.Options) {
		quiet(o)
		o.Logger, o.Registerer = slog.New(slog.NewTextHandler(&log, nil)), reg
	}})
	b := newNode(t, l, 1, 2, setup{options: quiet})
	head := a.write(t, "one")
	converged(t, 1, long, a, b)
	require.NoError(t, a.m.Sync(t.Context(), ctxID)) // b has proven to be a member
	const times = 50
	for range times {
		for _, root := range []domain.Hash{{1}, a.Root()} {
			raw, err := wire.EncodeBroadcast(wire.HashHeartbeat{Context: ctxID, RootHash: root, DagHeads: []domain.Hash{head}})
			require.NoError(t, err)
			_, in := a.m.Validate(t.Context(), wire.ContextTopic(ctxID), b.port.id, raw)
			require.NotNil(t, in)
			a.m.Handle(in)
		}
	}
	eventually(t, "all are seen", long, func() bool { return counted(t, reg, "calimero_sync_diverged_total", "") == times })
	require.Equal(t, 1, strings.Count(log.String(), "another root hash"), log.String())
}

// TestMuteStrangers: strangers that have news, as they say, and then do not answer, do not keep a node from synchronising with a
// member.
func TestMuteStrangers(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	quiet := func(o *sync.Options) { o.Heartbeat, o.Republish = time.Hour, time.Hour }
	first := newNode(t, l, 0, 2, setup{options: func(o *sync.Options) { quiet(o); o.Frequency = time.Hour }})
	first.write(t, "one")
	second := newNode(t, l, 1, 2, setup{options: func(o *sync.Options) {
		quiet(o)
		o.Frequency, o.Timeout, o.Answer, o.RetryMax = 50*time.Millisecond, 900*time.Millisecond, 0, 500*time.Millisecond
	}})
	converged(t, 1, long, first, second)
	l.mu.Lock()
	l.loss = 1 // what is written comes by synchronising alone
	l.mu.Unlock()
	ctx, stop := context.WithCancel(t.Context())
	var shouting stdsync.WaitGroup
	for i := range 12 {
		p := l.join(fmt.Sprint("mute-", i))
		p.handlers[wire.ExtensionProtocol] = func(ctx context.Context, _ sync.Stream) { <-ctx.Done() }
		require.NoError(t, p.Subscribe(t.Context(), wire.ContextTopic(ctxID)))
		shouting.Go(func() {
			for n := uint64(1); ctx.Err() == nil; n++ {
				raw, err := wire.EncodeBroadcast(wire.HashHeartbeat{Context: ctxID, RootHash: domain.Hash{1}, DagHeads: []domain.Hash{number(n)}})
				if err == nil {
					if _, in := second.m.Validate(ctx, wire.ContextTopic(ctxID), p.id, raw); in != nil {
						second.m.Handle(in)
					}
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	for i := range 10 {
		first.write(t, fmt.Sprint("while they shout ", i))
		converged(t, i+2, 10*time.Second, first, second)
	}
	stop()
	shouting.Wait()
}

// TestRestlessPeer: who enters a topic again and again causes no more synchronisations than who does once.
func TestRestlessPeer(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	quiet := func(o *sync.Options) { o.Frequency, o.Heartbeat, o.Republish = time.Hour, time.Hour, time.Hour }
	first := newNode(t, l, 0, 2, setup{options: quiet})
	opened := first.sessions()
	first.write(t, "one")
	second := newNode(t, l, 1, 2, setup{options: quiet})
	converged(t, 1, long, first, second)
	const times = 50
	before := opened.Load()
	for range times {
		second.m.PeerSubscribed("restless", wire.ContextTopic(ctxID))
		require.NoError(t, second.m.Sync(t.Context(), ctxID)) // one at a time
	}
	require.Less(t, opened.Load()-before, int32(times+times/2))
}

// TestUnsignedForgeryIsNobodys: a member who does without the extension can put deltas in, as anybody could who makes one of
// his own, but not in the name of another.
func TestUnsignedForgeryIsNobodys(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	regs := map[sync.PeerID]*prometheus.Registry{}
	a, b, e := victims(t, l, func(o *sync.Options) {
		reg := prometheus.NewRegistry()
		o.Registerer, regs[o.Network.LocalPeerID()] = reg, reg
	})
	l.mu.Lock()
	e.plain = true
	l.mu.Unlock()
	b.write(t, "b signs")
	converged(t, 1, long, a, b)
	forged := sealed(t, e.delta(t, "in the name of b"), b.key.Public(), senderOf(t, b))
	e.broadcast(t, forged)
	unharmed(t, 1, a, b)
	require.False(t, a.has(forged.Delta), "who signs has not made what is not signed")

	for _, n := range []*node{a, b} {
		n.set(keyOf(3).Public(), sync.MayWrite)
		n.set(keyOf(4).Public(), sync.MayWrite)
		batch := n.db.Batch()
		n.identity.PutMember(batch, ctxID, keyOf(4).Public(), &e.sender)
		require.NoError(t, batch.Commit(t.Context()))
	}
	refusals := func() float64 { return counted(t, regs[a.port.id], "calimero_sync_dropped_total", "refused") }
	eventually(t, "it was looked at", long, func() bool { return refusals() == 1 })
	silent := func(data string) wire.StateDelta {
		m := sealed(t, e.delta(t, data), keyOf(4).Public(), e.sender)
		e.broadcast(t, m)
		return m
	}
	refused := silent("in the name of nobody here")
	eventually(t, "whoever speaks no extension may be a stranger", long, func() bool { return refusals() == 2 })
	require.False(t, a.has(refused.Delta))
	plain := newNode(t, l, 3, 4, setup{plain: true}) // a member proves to be one
	plain.write(t, "of a member without the extension")
	converged(t, 4, long, a, b)
	taken := silent("in the name of nobody, again")
	eventually(t, "it is taken, since a member's node without the extension is there", long, func() bool { return a.has(taken.Delta) })
	require.Zero(t, a.authorOf(taken.Delta), "and is nobody's")
	s, _ := a.m.Status(ctxID)
	require.Positive(t, s.Unsigned)
}

// TestPendingParents: a member sends deltas on top of what does not exist. What waits is bounded, and so is what is asked.
func TestPendingParents(t *testing.T) {
	t.Parallel()
	a, b, e := victims(t, newLAN(t), nil)
	count := scaled(1500, 100_000)
	for i := range count {
		var parent domain.Hash
		binary.BigEndian.PutUint64(parent[:], uint64(i)+1)
		e.broadcast(t, signed(t, e.delta(t, fmt.Sprint("orphan ", i), parent), e.key, e.sender))
	}
	eventually(t, "they wait", long, func() bool { return a.pendingCount() >= a.maxPending*9/10 })
	require.LessOrEqual(t, a.pendingCount(), a.maxPending)
	unharmed(t, 0, a, b)
}

// TestMembersWhoMayNotWrite: a member who may only read, and one who is a member no more.
func TestMembersWhoMayNotWrite(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	a, b, e := victims(t, l, nil)
	for access, text := range map[sync.Access]string{sync.MayRead: "reader", sync.NoAccess: "removed"} {
		for _, n := range []*node{a, b} {
			n.set(e.key.Public(), access)
		}
		e.broadcast(t, signed(t, e.delta(t, text), e.key, e.sender))
	}
	// Nor by a session that offers it.
	for _, n := range []*node{a, b} {
		n.set(e.key.Public(), sync.MayRead)
	}
	fetched := e.serve(t, fakeHistory{e.delta(t, "offered")})
	eventually(t, "it was offered", long, func() bool { return fetched() > 0 })
	unharmed(t, 0, a, b)
}

// TestRemovedMembersPastStays: what a member wrote before it was removed comes with what others built on it.
func TestRemovedMembersPastStays(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	nodes := newNodes(t, l, 2)
	var last domain.Hash
	for i := range 10 {
		last = nodes[1].write(t, fmt.Sprint("while a member ", i))
	}
	converged(t, 10, long, nodes...)
	nodes[0].write(t, "on top")
	converged(t, 11, long, nodes...)
	nodes[1].stop()
	nodes[0].set(nodes[1].key.Public(), sync.NoAccess)

	late := newNode(t, l, 2, 3, setup{})
	late.set(nodes[1].key.Public(), sync.NoAccess)
	nodes[0].set(late.key.Public(), sync.MayWrite)
	converged(t, 11, long, nodes[0], late)
	require.Equal(t, nodes[1].key.Public(), late.authorOf(last))
}

// fakeHistory is what an evil peer offers in a session.
type fakeHistory []wire.ContextDagDelta

// serve answers sessions as a member, with what it likes. It serves the extension from now on.
func (e *evil) serve(t *testing.T, h fakeHistory) (fetched func() int32) {
	var n atomic.Int32
	e.answer(t, func(q wire.ExtensionMessage) []wire.ExtensionMessage {
		switch q.(type) {
		case wire.HeadsRequest:
			var heads []domain.Hash
			for _, d := range h {
				heads = append(heads, d.DeltaID)
			}
			return []wire.ExtensionMessage{wire.Heads{DagHeads: heads, RootHash: domain.Hash{1}}}
		case wire.HistoryRequest:
			var out wire.History
			for _, d := range h {
				out.Entries = append(out.Entries, wire.HistoryEntry{Delta: d.DeltaID, Parents: d.Parents})
			}
			return []wire.ExtensionMessage{out}
		case wire.DeltasRequest:
			n.Add(1)
			var out wire.Deltas
			for _, d := range h {
				out.Records = append(out.Records, e.record(t, d))
			}
			return []wire.ExtensionMessage{out}
		}
		return nil
	})
	return n.Load
}

func (e *evil) record(t testing.TB, d wire.ContextDagDelta) wire.DeltaRecord {
	t.Helper()
	raw, err := d.Causal()
	require.NoError(t, err)
	return wire.DeltaRecord{Delta: raw, Author: sign(&d, e.key, nil)}
}

// answer proves to be the member and then answers requests with what fn makes of them.
func (e *evil) answer(t *testing.T, fn func(wire.ExtensionMessage) []wire.ExtensionMessage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handlers[wire.ExtensionProtocol] = func(ctx context.Context, s sync.Stream) {
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
		send := func(m wire.ExtensionMessage) bool {
			raw, err := wire.EncodeExtension(m)
			return err == nil && s.WriteFrame(ctx, raw) == nil
		}
		hello, ok := read().(wire.Hello)
		if !ok {
			return
		}
		reply := wire.HelloReply{Identity: e.key.Public(), Nonce: [32]byte{1}}
		proof := wire.SessionProof{Hello: hello, Reply: reply, Opening: string(s.Peer()), Accepter: string(e.id)}
		reply.Proof = e.key.Sign(proof.Message())
		if !send(reply) {
			return
		}
		if _, ok := read().(wire.HelloProof); !ok {
			return
		}
		for q := read(); q != nil; q = read() {
			if k, ok := q.(wire.ShareKey); ok {
				k.SenderKey = e.sender
				send(k)
				continue
			}
			for _, m := range fn(q) {
				if !send(m) {
					return
				}
			}
		}
	}
}

// TestEvilSources: a member that others catch up with gives them forged, altered, unasked and endless things.
func TestEvilSources(t *testing.T) {
	t.Parallel()
	heads := func(ids ...domain.Hash) []wire.ExtensionMessage {
		return []wire.ExtensionMessage{wire.Heads{DagHeads: ids, RootHash: domain.Hash{1}}}
	}
	list := func(entries ...wire.HistoryEntry) []wire.ExtensionMessage {
		return []wire.ExtensionMessage{wire.History{Entries: entries}}
	}
	one := domain.Hash{1}
	for name, c := range map[string]struct {
		want   errkind.Kind
		answer func(t *testing.T, e *evil, q wire.ExtensionMessage) []wire.ExtensionMessage
	}{
		"a delta nobody asked for": {errkind.Invalid, func(t *testing.T, e *evil, q wire.ExtensionMessage) []wire.ExtensionMessage {
			switch q.(type) {
			case wire.HeadsRequest:
				return heads(one)
			case wire.HistoryRequest:
				return list(wire.HistoryEntry{Delta: one, Parents: []domain.Hash{{}}})
			default:
				return []wire.ExtensionMessage{wire.Deltas{Records: []wire.DeltaRecord{e.record(t, e.delta(t, "x"))}}}
			}
		}},
		"history nobody asked for": {errkind.Invalid, func(_ *testing.T, _ *evil, q wire.ExtensionMessage) []wire.ExtensionMessage {
			if _, ok := q.(wire.HeadsRequest); ok {
				return heads(one)
			}
			return list(wire.HistoryEntry{Delta: domain.Hash{2}, Parents: []domain.Hash{{}}})
		}},
		"more history than asked for": {errkind.TooLarge, func(_ *testing.T, _ *evil, q wire.ExtensionMessage) []wire.ExtensionMessage {
			if _, ok := q.(wire.HeadsRequest); ok {
				return heads(one)
			}
			return list(make([]wire.HistoryEntry, 1000)...)
		}},
		"too many heads": {errkind.TooLarge, func(*testing.T, *evil, wire.ExtensionMessage) []wire.ExtensionMessage {
			return heads(make([]domain.Hash, 6000)...)
		}},
		"too many parents": {errkind.TooLarge, func(_ *testing.T, _ *evil, q wire.ExtensionMessage) []wire.ExtensionMessage {
			if _, ok := q.(wire.HeadsRequest); ok {
				return heads(one)
			}
			return list(wire.HistoryEntry{Delta: one, Parents: make([]domain.Hash, 5000)})
		}},
		"another message": {errkind.Invalid, func(*testing.T, *evil, wire.ExtensionMessage) []wire.ExtensionMessage {
			return []wire.ExtensionMessage{wire.HeadsRequest{}}
		}},
		"an endless history": {errkind.Exhausted, func(_ *testing.T, _ *evil, q wire.ExtensionMessage) []wire.ExtensionMessage {
			switch q := q.(type) {
			case wire.HeadsRequest:
				return heads(number(0))
			case wire.HistoryRequest:
				at := binary.BigEndian.Uint64(q.From[0][:])
				var out []wire.HistoryEntry
				for range q.Limit {
					out = append(out, wire.HistoryEntry{Delta: number(at), Parents: []domain.Hash{number(at + 1)}})
					at++
				}
				return list(out...)
			default:
				return []wire.ExtensionMessage{wire.Deltas{}}
			}
		}},
		"deltas without end": {errkind.Invalid, func(t *testing.T, e *evil, q wire.ExtensionMessage) []wire.ExtensionMessage {
			d := wire.ContextDagDelta{DeltaID: one, Parents: []domain.Hash{{}}, Actions: []byte{0, 0, 0, 0}, HLC: crdt.ZeroTimestamp()}
			switch q.(type) {
			case wire.HeadsRequest:
				return heads(one)
			case wire.HistoryRequest:
				return list(wire.HistoryEntry{Delta: one, Parents: []domain.Hash{{}}})
			default:
				return []wire.ExtensionMessage{wire.Deltas{Records: []wire.DeltaRecord{e.record(t, d)}, More: true}}
			}
		}},
		"another's signature": {errkind.Unauthenticated, func(t *testing.T, e *evil, q wire.ExtensionMessage) []wire.ExtensionMessage {
			d := newDelta(t, crdt.NewClock([16]byte{1}), nil, "forged")
			switch q.(type) {
			case wire.HeadsRequest:
				return heads(d.DeltaID)
			case wire.HistoryRequest:
				return list(wire.HistoryEntry{Delta: d.DeltaID, Parents: d.Parents})
			default:
				r := e.record(t, d)
				r.Author.Author = keyOf(1).Public()
				return []wire.ExtensionMessage{wire.Deltas{Records: []wire.DeltaRecord{r}}}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLAN(t)
			a := newNode(t, l, 0, 3, setup{options: func(o *sync.Options) { o.Frequency, o.Heartbeat, o.MaxWalk = time.Hour, time.Hour, 100_000 }})
			e := &evil{port: l.join("evil"), key: keyOf(2), sender: domain.PrivateKey{0xee}, clock: crdt.NewClock([16]byte{6})}
			e.answer(t, func(q wire.ExtensionMessage) []wire.ExtensionMessage { return c.answer(t, e, q) })
			require.NoError(t, e.Subscribe(t.Context(), wire.ContextTopic(ctxID)))
			err := a.m.Sync(t.Context(), ctxID)
			require.Equal(t, c.want, errkind.Of(err), "%v", err)
			require.Zero(t, a.count())
			// An honest peer still brings the context forward.
			b := newNode(t, l, 1, 3, setup{})
			unharmed(t, 0, a, b)
		})
	}
}

func number(n uint64) (h domain.Hash) {
	h[31] = 1
	binary.BigEndian.PutUint64(h[:], n)
	return h
}

// TestBadSessions: whoever does not prove to be a member gets nothing.
func TestBadSessions(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	n := newNode(t, l, 0, 2, setup{})
	n.write(t, "secret")
	member := keyOf(1)
	dial := func(p *port) sync.Stream {
		s, err := p.OpenStream(t.Context(), n.port.id, wire.ExtensionProtocol)
		require.NoError(t, err)
		t.Cleanup(s.Reset)
		return s
	}
	send := func(s sync.Stream, m wire.ExtensionMessage) {
		raw, err := wire.EncodeExtension(m)
		require.NoError(t, err)
		require.NoError(t, s.WriteFrame(t.Context(), raw))
	}
	read := func(s sync.Stream) wire.ExtensionMessage {
		raw, err := s.ReadFrame(t.Context(), 0)
		require.NoError(t, err)
		m, err := wire.DecodeExtension(raw)
		require.NoError(t, err)
		return m
	}
	refused := func(s sync.Stream, kind errkind.Kind) {
		t.Helper()
		r, ok := read(s).(wire.Refusal)
		require.True(t, ok)
		require.Equal(t, kind, r.Kind)
		require.NotContains(t, r.Text, "followed", "nothing is said of what is here")
	}
	p := l.join("peer")

	s := dial(p)
	send(s, wire.Hello{Context: ctxID, Identity: domain.PrivateKey{0x5a}.Public()})
	refused(s, errkind.PermissionDenied)
	s = dial(p)
	send(s, wire.Hello{Context: domain.ContextID{1}, Identity: member.Public()})
	refused(s, errkind.NotFound)
	s = dial(p)
	send(s, wire.HeadsRequest{})
	refused(s, errkind.Invalid)
	s = dial(p)
	send(s, wire.BlobOpen{}) // nobody serves blobs here
	refused(s, errkind.Invalid)
	s = dial(p)
	send(s, wire.Hello{Context: ctxID, Identity: member.Public(), Want: member.Public()})
	refused(s, errkind.Precondition)

	// A proof made for one connection is no good on another.
	for name, change := range map[string]func(*wire.SessionProof){
		"for another opener":   func(p *wire.SessionProof) { p.Opening = "somebody" },
		"for another acceptor": func(p *wire.SessionProof) { p.Accepter = "somebody" },
		"for another session":  func(p *wire.SessionProof) { p.Hello.Nonce[0]++ },
		"for another answer":   func(p *wire.SessionProof) { p.Reply.Nonce[0]++ },
		"for the other side":   func(p *wire.SessionProof) { p.Opener = false },
	} {
		s = dial(p)
		hello := wire.Hello{Context: ctxID, Identity: member.Public(), Nonce: [32]byte{3}}
		send(s, hello)
		reply, ok := read(s).(wire.HelloReply)
		require.True(t, ok, name)
		proof := wire.SessionProof{Opener: true, Hello: hello, Reply: reply, Opening: string(p.id), Accepter: string(n.port.id)}
		own := proof
		own.Opener = false
		require.True(t, reply.Identity.Verify(own.Message(), reply.Proof))
		change(&proof)
		send(s, wire.HelloProof{Proof: member.Sign(proof.Message())})
		refused(s, errkind.Unauthenticated)
	}

	// A member that is removed during a session.
	s = dial(p)
	hello := wire.Hello{Context: ctxID, Identity: member.Public()}
	send(s, hello)
	reply := read(s).(wire.HelloReply)
	proof := wire.SessionProof{Opener: true, Hello: hello, Reply: reply, Opening: string(p.id), Accepter: string(n.port.id)}
	send(s, wire.HelloProof{Proof: member.Sign(proof.Message())})
	send(s, wire.HeadsRequest{})
	require.IsType(t, wire.Heads{}, read(s))
	n.set(member.Public(), sync.NoAccess)
	send(s, wire.HeadsRequest{})
	refused(s, errkind.PermissionDenied)
}

// TestSlowAndLargeStreams: a peer that says nothing, garbage, or too much, is let go.
func TestSlowAndLargeStreams(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	n := newNode(t, l, 0, 1, setup{options: func(o *sync.Options) { o.Idle, o.Answer = 100*time.Millisecond, 100*time.Millisecond }})
	p := l.join("peer")
	for _, protocol := range []string{wire.SyncProtocol, wire.ExtensionProtocol} {
		for name, payload := range map[string][]byte{"nothing": nil, "garbage": []byte("garbage"), "too large": make([]byte, 1<<20)} {
			s, err := p.OpenStream(t.Context(), n.port.id, protocol)
			require.NoError(t, err)
			if payload != nil {
				require.NoError(t, s.WriteFrame(t.Context(), payload))
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					if _, err := s.ReadFrame(context.Background(), 0); err != nil {
						return
					}
				}
			}()
			select {
			case <-ended:
			case <-time.After(long):
				t.Fatalf("%s, %s: the stream stays open", protocol, name)
			}
		}
	}
	// Garbage in a number.
	s, err := p.OpenStream(t.Context(), n.port.id, wire.SyncProtocol)
	require.NoError(t, err)
	refusals := 0
	for range 100 {
		if s.WriteFrame(t.Context(), []byte("garbage")) != nil {
			break
		}
		if _, err := s.ReadFrame(t.Context(), 0); err != nil {
			break
		}
		refusals++
	}
	require.Less(t, refusals, 20)
	unharmed(t, 0, n)
}

// TestLargeDeltas: whoever asks for many large deltas, on many streams, and does not read them, has the node hold a few of them at a
// time.
func TestLargeDeltas(t *testing.T) {
	t.Parallel()
	const count, size, peers = 20, 2 << 20, 6
	l := newLAN(t)
	n := newNode(t, l, 0, peers+1, setup{})
	var atOnce, writing peak // bytes in one read, and in frames that are being written
	n.history.mu.Lock()
	var ids []domain.Hash
	b := n.db.Batch()
	for i := range count { // as after a start: the manager has not seen them
		row := newDelta(t, n.clock, slices.SortedFunc(maps.Keys(n.heads), domain.Hash.Compare), fmt.Sprint(i)+strings.Repeat("x", size))
		n.apply(b, row, n.key.Public(), sign(&row, n.key, nil))
		ids = append(ids, row.DeltaID)
	}
	require.NoError(t, b.Commit(t.Context()))
	n.history.onRead = func(bytes int) {
		atOnce.add(bytes)
		atOnce.add(-bytes)
	}
	n.history.mu.Unlock()
	serve := n.m.ServeExtension
	n.port.mu.Lock()
	n.port.handlers[wire.ExtensionProtocol] = func(ctx context.Context, s sync.Stream) { serve(ctx, counting{s, &writing}) }
	n.port.mu.Unlock()

	var asking stdsync.WaitGroup
	for i := range peers {
		p := l.join(fmt.Sprint("peer-", i))
		for range 4 {
			asking.Go(func() {
				s := p.session(t, n, keyOf(i+1))
				defer s.Reset()
				raw, err := wire.EncodeExtension(wire.DeltasRequest{Deltas: ids})
				if err != nil || s.WriteFrame(t.Context(), raw) != nil {
					return
				}
				for got := 0; got < count; {
					raw, err := s.ReadFrame(t.Context(), 0)
					if err != nil {
						t.Errorf("it is not served: %v", err)
						return
					}
					m, err := wire.DecodeExtension(raw)
					d, ok := m.(wire.Deltas)
					if err != nil || !ok {
						t.Errorf("it is not served: %T, %v", m, err)
						return
					}
					got += len(d.Records)
				}
			})
		}
	}
	asking.Wait()
	read, written := atOnce.highest(), writing.highest()
	t.Logf("%d bytes in a read, %d in frames", read, written)
	require.Positive(t, written)
	require.LessOrEqual(t, read, 9*size)
	require.LessOrEqual(t, written, 9*size)
}

// peak remembers the most that there was at a time.
type peak struct {
	mu        stdsync.Mutex
	now, most int
}

func (p *peak) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now += n
	p.most = max(p.most, p.now)
}

func (p *peak) highest() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

// counting is a stream whose reader takes its time.
type counting struct {
	sync.Stream
	writing *peak
}

func (c counting) WriteFrame(ctx context.Context, payload []byte) error {
	c.writing.add(len(payload))
	defer c.writing.add(-len(payload))
	select {
	case <-time.After(5 * time.Millisecond):
	case <-ctx.Done():
	}
	return c.Stream.WriteFrame(ctx, payload)
}

// session proves to be a member and is open then.
func (p *port) session(t *testing.T, n *node, key domain.PrivateKey) sync.Stream {
	t.Helper()
	s, err := p.OpenStream(t.Context(), n.port.id, wire.ExtensionProtocol)
	require.NoError(t, err)
	send := func(m wire.ExtensionMessage) {
		raw, err := wire.EncodeExtension(m)
		require.NoError(t, err)
		require.NoError(t, s.WriteFrame(t.Context(), raw))
	}
	hello := wire.Hello{Context: ctxID, Identity: key.Public(), Nonce: [32]byte{3}}
	send(hello)
	raw, err := s.ReadFrame(t.Context(), 0)
	require.NoError(t, err)
	m, err := wire.DecodeExtension(raw)
	require.NoError(t, err)
	reply, ok := m.(wire.HelloReply)
	require.True(t, ok)
	proof := wire.SessionProof{Opener: true, Hello: hello, Reply: reply, Opening: string(p.id), Accepter: string(n.port.id)}
	send(wire.HelloProof{Proof: key.Sign(proof.Message())})
	return s
}

// TestMemoryStaysBounded: floods of every kind leave no trace.
func TestMemoryStaysBounded(t *testing.T) {
	l := newLAN(t)
	a, b, e := victims(t, l, nil)
	arrived := func() { eventually(t, "all messages arrive", long, func() bool { return l.carried.Load() == 0 }) }
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range scaled(4000, 200_000) {
		switch i % 3 {
		case 0:
			e.broadcast(t, wire.HashHeartbeat{Context: ctxID, RootHash: domain.Hash{1}, DagHeads: []domain.Hash{number(uint64(i))}})
		case 1:
			e.broadcast(t, sealed(t, e.delta(t, strings.Repeat("x", 1000), number(uint64(i))), keyOf(1).Public(), e.sender))
		default:
			e.broadcast(t, wire.DeltaAnnounce{DeltaStatement: wire.DeltaStatement{Context: ctxID, Delta: number(uint64(i))}})
		}
		if i%1000 == 0 {
			arrived() // what is under way in the test's own network is not the node's
		}
	}
	arrived()
	unharmed(t, 0, a, b)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(64<<20))
}
