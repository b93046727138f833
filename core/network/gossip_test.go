package network_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-msgio"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// join subscribes nodes to a topic.
func join(t *testing.T, topic string, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes {
		require.NoError(t, n.Subscribe(within(t), topic))
	}
}

// meshed waits until a node's mesh has so many peers: what it forwards before reaches those in the mesh alone.
func meshed(t *testing.T, topic string, n *testNode, peers int) {
	t.Helper()
	require.Eventually(t, func() bool {
		mesh, err := n.MeshPeers(t.Context(), topic)
		return err == nil && len(mesh) == peers
	}, wait, 10*time.Millisecond)
}

// received waits for a message with data.
func received(t *testing.T, n *testNode, data string) network.MessageReceived {
	t.Helper()
	return until(t, n, func(m network.MessageReceived) bool { return string(m.Data) == data })
}

// deaf are the options of a node that cannot be dialled, so that it stays connected to whom it dials alone.
func deaf(t *testing.T) network.Options {
	opts := options(t)
	opts.Listen = nil
	return opts
}

// TestFiveNodesGossip: every node's message reaches all the others, though four of them know only the fifth.
func TestFiveNodesGossip(t *testing.T) {
	t.Parallel()
	const topic = "topic"
	hub := start(t, options(t))
	nodes := []*testNode{hub}
	for range 4 {
		nodes = append(nodes, start(t, deaf(t)))
	}
	join(t, topic, nodes...)
	for _, n := range nodes[1:] {
		n.dial(t, hub, "tcp")
		meet(t, topic, n, hub)
	}
	meshed(t, topic, hub, 4)
	for i, from := range nodes {
		text := fmt.Sprintf("from %d", i)
		require.NoError(t, from.Publish(within(t), topic, []byte(text)))
		for j, to := range nodes {
			if i == j {
				continue
			}
			m := received(t, to, text)
			require.Equal(t, from.LocalPeerID(), m.Source)
			if i != 0 && j != 0 {
				require.Equal(t, hub.LocalPeerID(), m.Forwarder)
			}
		}
	}
}

// TestValidator: what it does not accept is neither handed on nor forwarded, and what it left in Value arrives.
func TestValidator(t *testing.T) {
	t.Parallel()
	const topic = "topic"
	verdicts := map[string]network.Verdict{"good": network.Accept, "odd": network.Ignore, "bad": network.Reject, "last": network.Accept}
	judge := func(c *network.Client) {
		require.NoError(t, c.SetValidator(func(_ context.Context, m *network.Message) network.Verdict {
			m.Value = "judged " + string(m.Data)
			return verdicts[string(m.Data)]
		}))
	}
	a, b, c := start(t, deaf(t)), start(t, options(t), judge), start(t, deaf(t))
	join(t, topic, a, b, c)
	a.dial(t, b, "tcp")
	c.dial(t, b, "tcp")
	meet(t, topic, a, b)
	meet(t, topic, c, b)
	meshed(t, topic, b, 2)
	for _, text := range []string{"good", "odd", "bad"} {
		require.NoError(t, a.Publish(within(t), topic, []byte(text)))
	}
	require.Equal(t, "judged good", received(t, b, "good").Value)
	require.NoError(t, a.Publish(within(t), topic, []byte("last")))
	var texts []string
	until(t, c, func(m network.MessageReceived) bool {
		texts = append(texts, string(m.Data))
		return slices.Contains(texts, "good") && slices.Contains(texts, "last")
	})
	require.ElementsMatch(t, []string{"good", "last"}, texts)
	for _, verdict := range []string{"rejected", "ignored"} { // messages are judged at the same time
		require.Eventually(t, func() bool { return metric(t, b, "calimero_network_messages_total", verdict) == 1 }, wait, 10*time.Millisecond)
	}
	require.Equal(t, 2.0, metric(t, c, "calimero_network_messages_total", "accepted"), "nothing but the two came")
}

// metric reads one value of a counter or gauge; label is the value of one of its labels.
func metric(t *testing.T, n *testNode, name, label string) float64 {
	t.Helper()
	families, err := n.reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label {
					return m.GetCounter().GetValue()
				}
			}
			if label == "" {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestPublish_Bounds(t *testing.T) {
	t.Parallel()
	a, b := start(t, options(t)), start(t, options(t))
	topic := "group/" + fmt.Sprintf("%064d", 1) // the longest there is
	join(t, topic, a, b)
	a.dial(t, b, "tcp")
	meet(t, topic, a, b)
	require.ErrorIs(t, a.Publish(within(t), topic, make([]byte, network.MaxMessage+1)), errkind.TooLarge)
	largest := bytes.Repeat([]byte("x"), network.MaxMessage)
	require.NoError(t, a.Publish(within(t), topic, largest))
	received(t, b, string(largest))

	require.ErrorIs(t, a.Publish(within(t), "elsewhere", nil), errkind.Precondition)
	require.ErrorIs(t, a.Subscribe(within(t), ""), errkind.Invalid)
	require.ErrorIs(t, a.Subscribe(within(t), string(make([]byte, 257))), errkind.Invalid)
	require.NoError(t, a.Subscribe(within(t), topic), "again")
	require.NoError(t, a.Unsubscribe(within(t), "never"))
	_, err := a.TopicPeers(within(t), "elsewhere")
	require.ErrorIs(t, err, errkind.Precondition)
}

// TestTopics_AreBounded by what fits into the first message to a peer.
func TestTopics_AreBounded(t *testing.T) {
	t.Parallel()
	a, b := start(t, options(t)), start(t, options(t))
	var err error
	last := ""
	for i := 0; err == nil; i++ {
		require.Less(t, i, 1000)
		topic := fmt.Sprintf("%0250d", i)
		if err = a.Subscribe(within(t), topic); err == nil {
			last = topic
		}
	}
	require.ErrorIs(t, err, errkind.TooLarge)
	join(t, last, b)
	a.dial(t, b, "tcp")
	meet(t, last, a, b)
	require.NoError(t, a.Unsubscribe(within(t), fmt.Sprintf("%0250d", 0)))
	require.NoError(t, a.Subscribe(within(t), fmt.Sprintf("%0250d", 5000)))
}

// TestSubscriptionsSurviveARestart: the host comes back with its topics, its peers by bootstrap.
func TestSubscriptionsSurviveARestart(t *testing.T) {
	t.Parallel()
	const topic = "topic"
	a := start(t, options(t))
	opts := options(t)
	opts.Bootstrap = []string{a.address(t, "tcp")}
	b := start(t, opts)
	join(t, topic, a, b)
	meet(t, topic, a, b)
	b.stop()
	until(t, a, func(e network.PeerDisconnected) bool { return e.Peer == b.LocalPeerID() })
	b = start(t, opts)
	join(t, topic, b)
	meet(t, topic, a, b)
	require.NoError(t, a.Publish(within(t), topic, []byte("again")))
	received(t, b, "again")
}

// TestEvents_AreBounded: a node that reads none goes on; the number of lost ones is known.
func TestEvents_AreBounded(t *testing.T) {
	t.Parallel()
	const topic, messages = "topic", 50
	opts := options(t)
	opts.Events = 8
	a, b := start(t, options(t)), start(t, opts)
	join(t, topic, a, b)
	a.dial(t, b, "tcp")
	meet(t, topic, a, b)
	for i := range messages {
		require.NoError(t, a.Publish(within(t), topic, fmt.Append(nil, i)))
	}
	require.Eventually(t, func() bool { // eight wait, one is in the hand
		in := metric(t, b, "calimero_network_events_total", "received")
		return in > messages && in == metric(t, b, "calimero_network_events_total", "dropped")+9
	}, wait, 10*time.Millisecond)
	require.NoError(t, b.Publish(within(t), topic, []byte("still here")))
	received(t, a, "still here")
}

// TestIdentify: what a peer of the reference sees.
func TestIdentify(t *testing.T) {
	t.Parallel()
	opts := options(t)
	opts.Agent, opts.AutoNAT, opts.RelayReservations = "calimero-go/test", true, 3
	n := start(t, opts, serving(t, wire.SyncProtocol, network.StreamLimits{}, echo),
		serving(t, wire.BlobProtocol, network.StreamLimits{}, echo))
	h := stranger(t)
	knows(t, h, n)
	get := func(key string) any {
		v, err := h.Peerstore().Get(n.LocalPeerID(), key)
		require.NoError(t, err)
		return v
	}
	require.Equal(t, "/calimero-network/0.0.0", get("ProtocolVersion"))
	require.Equal(t, "calimero-go/test", get("AgentVersion"))
	var protocols []protocol.ID
	require.Eventually(t, func() bool {
		var err error
		protocols, err = h.Peerstore().GetProtocols(n.LocalPeerID())
		return err == nil && slices.Contains(protocols, "/calimero/kad/1.0.0")
	}, wait, 10*time.Millisecond)
	for _, p := range []protocol.ID{
		"/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/meshsub/1.2.0", "/meshsub/1.1.0", "/meshsub/1.0.0",
		"/calimero/stream/0.0.2", "/calimero/blob/0.0.2", "/libp2p/circuit/relay/0.2.0/stop",
		"/libp2p/autonat/2/dial-request", "/libp2p/autonat/2/dial-back",
	} {
		require.Contains(t, protocols, p)
	}
	require.NotContains(t, protocols, protocol.ID("/floodsub/1.0.0"))
	require.NotContains(t, protocols, protocol.ID("/meshsub/1.3.0"))
	require.NotContains(t, protocols, protocol.ID("/libp2p/circuit/relay/0.2.0/hop"), "the node relays for nobody")
}

// TestEarlyPeer: a peer that connects the moment the node listens is served. One of the reference asks once, and never again on
// that connection. The node serves many protocols, so that it takes a while to say so.
func TestEarlyPeer(t *testing.T) {
	t.Parallel()
	var many []func(*network.Client)
	for i := range 1000 {
		many = append(many, serving(t, fmt.Sprint("/many/", i), network.StreamLimits{}, echo))
	}
	for range 3 {
		opts := options(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		opts.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)}
		require.NoError(t, l.Close())
		id, err := network.PeerIDOf(opts.Key.Public())
		require.NoError(t, err)
		h := stranger(t)
		h.Peerstore().AddAddr(id, ma.StringCast(opts.Listen[0]), peerstore.PermanentAddrTTL)
		asked := make(chan error, 1)
		go func() {
			asked <- func() error {
				var conn p2p.Conn
				for err := error(nil); conn == nil; conn, err = h.Network().DialPeer(t.Context(), id) {
					if t.Context().Err() != nil {
						return err
					}
					h.Network().(*swarm.Swarm).Backoff().Clear(id) //nolint:forcetypeassert // it is one
				}
				for _, p := range []protocol.ID{"/meshsub/1.2.0", "/calimero/kad/1.0.0", "/many/17", "/many/500", "/many/951"} {
					s, err := conn.NewStream(t.Context())
					if err != nil {
						return err
					}
					if err := multistream.SelectProtoOrFail(p, s); err != nil {
						return err
					}
					if err := s.Reset(); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
		n := start(t, opts, many...)
		require.NoError(t, <-asked)
		n.stop()
		require.NoError(t, h.Close())
	}
}

// TestManyOnOneAddress: peers that share a private address are no crowd, however many.
func TestManyOnOneAddress(t *testing.T) {
	t.Parallel()
	if !inNamespace(t, "ip addr add 10.99.0.1/32 dev lo") {
		return
	}
	const topic, count = "topic", 21
	opts := options(t)
	opts.Listen = []string{"/ip4/10.99.0.1/tcp/0"}
	n := start(t, opts)
	join(t, topic, n)
	peers := make([]*rawPeer, count)
	yes := true
	for i := range peers {
		peers[i] = newRawPeer(t, n)
		peers[i].send(t, &pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &yes, Topicid: new(topic)}}})
	}
	require.Eventually(t, func() bool {
		in, err := n.TopicPeers(t.Context(), topic)
		return err == nil && len(in) == count
	}, wait, 10*time.Millisecond)
	for i, p := range peers {
		p.send(t, &pb.RPC{Publish: []*pb.Message{p.message(t, topic, []byte{0, 0, 0, 0, 0, 0, 0, 1}, fmt.Sprint(i))}})
		received(t, n, fmt.Sprint(i))
	}
}

// rawPeer is a peer that speaks gossip by hand.
type rawPeer struct {
	host host.Host
	out  p2p.Stream
}

func newRawPeer(t *testing.T, n *testNode) *rawPeer {
	t.Helper()
	h := stranger(t)
	for _, id := range []protocol.ID{pubsub.GossipSubID_v11} {
		h.SetStreamHandler(id, func(s p2p.Stream) {
			r := msgio.NewVarintReader(s)
			for {
				b, err := r.ReadMsg()
				if err != nil {
					return
				}
				r.ReleaseMsg(b)
			}
		})
	}
	knows(t, h, n)
	s, err := h.NewStream(within(t), n.LocalPeerID(), pubsub.GossipSubID_v11)
	require.NoError(t, err)
	return &rawPeer{host: h, out: s}
}

func (p *rawPeer) send(t *testing.T, rpc *pb.RPC) {
	t.Helper()
	b, err := rpc.Marshal()
	require.NoError(t, err)
	require.NoError(t, msgio.NewVarintWriter(p.out).WriteMsg(b))
}

// message signs as the router does.
func (p *rawPeer) message(t *testing.T, topic string, sequence []byte, data string) *pb.Message {
	t.Helper()
	return signedBy(t, p.host.Peerstore().PrivKey(p.host.ID()), topic, sequence, data)
}

func signedBy(t *testing.T, key crypto.PrivKey, topic string, sequence []byte, data string) *pb.Message {
	t.Helper()
	id, err := peer.IDFromPrivateKey(key)
	require.NoError(t, err)
	m := &pb.Message{From: []byte(id), Topic: &topic, Seqno: sequence, Data: []byte(data)}
	b, err := m.Marshal()
	require.NoError(t, err)
	m.Signature, err = key.Sign(append([]byte("libp2p-pubsub:"), b...))
	require.NoError(t, err)
	return m
}

// TestHostileGossip: what is not signed by its source, or badly numbered, goes nowhere; floods are bounded; an oversized
// frame ends the stream, not the node.
func TestHostileGossip(t *testing.T) {
	t.Parallel()
	const topic = "topic"
	n := start(t, options(t))
	join(t, topic, n)
	p := newRawPeer(t, n)
	yes := true
	p.send(t, &pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &yes, Topicid: new(topic)}}})
	until(t, n, func(e network.PeerSubscribed) bool { return e.Peer == p.host.ID() && e.Topic == topic })

	good := p.message(t, topic, []byte{0, 0, 0, 0, 0, 0, 0, 1}, "good")
	forged := p.message(t, topic, []byte{0, 0, 0, 0, 0, 0, 0, 2}, "forged")
	forged.Data = []byte("altered")
	unsigned := p.message(t, topic, []byte{0, 0, 0, 0, 0, 0, 0, 3}, "unsigned")
	unsigned.Signature = nil
	short := p.message(t, topic, []byte{4}, "short")
	other := p.message(t, topic, []byte{0, 0, 0, 0, 0, 0, 0, 5}, "other")
	other.From = []byte(n.LocalPeerID())
	elsewhere := p.message(t, "elsewhere", []byte{0, 0, 0, 0, 0, 0, 0, 6}, "elsewhere")
	last := p.message(t, topic, []byte{0, 0, 0, 0, 0, 0, 0, 7}, "last")
	p.send(t, &pb.RPC{Publish: []*pb.Message{forged, unsigned, short, other, elsewhere, good, good}})
	p.send(t, &pb.RPC{Publish: []*pb.Message{good, last}})
	var texts []string
	until(t, n, func(m network.MessageReceived) bool {
		texts = append(texts, string(m.Data))
		return slices.Contains(texts, "last") && slices.Contains(texts, "good")
	})
	require.ElementsMatch(t, []string{"good", "last"}, texts)

	for i := range 100 { // 10,000 topics
		var subs []*pb.RPC_SubOpts
		for j := range 100 {
			subs = append(subs, &pb.RPC_SubOpts{Subscribe: &yes, Topicid: new(fmt.Sprintf("flood %d %d", i, j))})
		}
		p.send(t, &pb.RPC{Subscriptions: subs})
	}
	p.send(t, &pb.RPC{Publish: []*pb.Message{p.message(t, topic, []byte{0, 0, 0, 0, 0, 0, 0, 8}, "after the flood")}})
	received(t, n, "after the flood")
	join(t, "flood 99 99", n)
	peers, err := n.TopicPeers(within(t), "flood 99 99")
	require.NoError(t, err)
	require.Empty(t, peers, "topics beyond the bound are not remembered")

	p.send(t, &pb.RPC{Publish: []*pb.Message{p.message(t, topic, []byte{0, 0, 0, 0, 0, 0, 0, 9}, string(make([]byte, 65_536)))}})
	require.Eventually(t, func() bool {
		_, err := p.out.Write([]byte{0})
		return err != nil
	}, wait, 10*time.Millisecond)
	b := start(t, options(t))
	join(t, topic, b)
	b.dial(t, n, "tcp")
	meet(t, topic, n, b)
	require.NoError(t, b.Publish(within(t), topic, []byte("still here")))
	received(t, n, "still here")
}

// TestTwoGossipStreams: what a peer says on any of its streams is heard, as nodes of the reference have one on each connection;
// not on any number of them, and not after nonsense.
func TestTwoGossipStreams(t *testing.T) {
	t.Parallel()
	n := start(t, options(t))
	p := newRawPeer(t, n)
	yes := true
	topics := 0
	heard := func(s p2p.Stream) {
		t.Helper()
		topics++
		topic := fmt.Sprint("topic ", topics)
		join(t, topic, n)
		(&rawPeer{host: p.host, out: s}).send(t, &pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &yes, Topicid: &topic}}})
		require.Eventually(t, func() bool {
			peers, err := n.TopicPeers(within(t), topic)
			return err == nil && slices.Contains(peers, p.host.ID())
		}, wait, 10*time.Millisecond)
	}
	open := func() p2p.Stream {
		s, err := p.host.NewStream(within(t), n.LocalPeerID(), pubsub.GossipSubID_v11)
		require.NoError(t, err)
		return s
	}
	ended := func(s p2p.Stream) {
		t.Helper()
		require.NoError(t, s.SetReadDeadline(time.Now().Add(wait)))
		_, err := s.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrReset)
	}
	all := []p2p.Stream{p.out}
	heard(p.out)
	for range 3 {
		all = append(all, open())
		for _, s := range all {
			heard(s)
		}
	}
	tooMany := open()
	_, _ = tooMany.Write([]byte{0}) // a stream is opened by what is written
	ended(tooMany)
	require.NoError(t, all[0].Close())
	for _, s := range all[1:] {
		heard(s)
	}
	join(t, "free place", n)
	require.Eventually(t, func() bool { // the first that comes after the end of one has its place
		(&rawPeer{host: p.host, out: open()}).send(t, &pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &yes, Topicid: new("free place")}}})
		peers, err := n.TopicPeers(within(t), "free place")
		return err == nil && slices.Contains(peers, p.host.ID())
	}, wait, 10*time.Millisecond)
	_, err := all[1].Write([]byte{1, 0xff}) // a message of one byte that is none
	require.NoError(t, err)
	for _, s := range all[1:] {
		ended(s)
	}
	p.out = open()
	heard(p.out)
}

// TestQuickReturn: a node that ended in good order and is back at once exchanges messages again at once: who says that it leaves a
// topic is not let in again for a while.
func TestQuickReturn(t *testing.T) {
	t.Parallel()
	const topic = "topic"
	opts := options(t)
	n, b := start(t, opts), start(t, options(t))
	join(t, topic, n, b)
	n.dial(t, b, "tcp")
	inMesh := func(n, of *testNode) func() bool {
		return func() bool {
			mesh, err := of.MeshPeers(within(t), topic)
			return err == nil && slices.Contains(mesh, n.LocalPeerID())
		}
	}
	require.Eventually(t, inMesh(n, b), wait, 10*time.Millisecond)
	n.stop()
	back := start(t, opts)
	join(t, topic, back)
	back.dial(t, b, "tcp")
	require.Eventually(t, inMesh(back, b), wait, 10*time.Millisecond)
	require.Eventually(t, inMesh(b, back), wait, 10*time.Millisecond)
}

// TestLostGossipStream: a peer that is still connected stays in its topics when the stream to it ends, as it does with one of two
// connections: it does not say them again.
func TestLostGossipStream(t *testing.T) {
	t.Parallel()
	n := start(t, options(t))
	h := stranger(t)
	streams := make(chan p2p.Stream, 16)
	h.SetStreamHandler(pubsub.GossipSubID_v11, func(s p2p.Stream) { streams <- s })
	knows(t, h, n)
	out, err := h.NewStream(within(t), n.LocalPeerID(), pubsub.GossipSubID_v11)
	require.NoError(t, err)
	p := &rawPeer{host: h, out: out}
	yes, no := true, false
	var subs []*pb.RPC_SubOpts
	for i := range 300 { // more than are in one message
		subs = append(subs, &pb.RPC_SubOpts{Subscribe: &yes, Topicid: new(fmt.Sprintf("%0250d", i))})
	}
	for some := range slices.Chunk(subs, 100) {
		p.send(t, &pb.RPC{Subscriptions: some})
	}
	p.send(t, &pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &no, Topicid: subs[7].Topicid}}})
	in := func(i int) bool {
		peers, err := n.TopicPeers(within(t), *subs[i].Topicid)
		return err == nil && slices.Contains(peers, h.ID())
	}
	for _, i := range []int{0, 7, 150, 299} {
		join(t, *subs[i].Topicid, n)
	}
	for range 2 {
		require.Eventually(t, func() bool { return in(0) && in(150) && in(299) && !in(7) }, wait, 10*time.Millisecond)
		require.NoError(t, (<-streams).Reset())
		select { // the router opens another one when it has forgotten the peer
		case s := <-streams:
			streams <- s
		case <-time.After(wait):
			t.Fatal("no other stream is opened")
		}
	}
	require.Eventually(t, func() bool { return in(0) && in(150) && in(299) && !in(7) }, wait, 10*time.Millisecond)
}

// TestFloodUnderOtherNames: a peer that brings what is not accepted, under names that cost nothing, is not listened to after a
// while; others are.
func TestFloodUnderOtherNames(t *testing.T) {
	t.Parallel()
	const topic = "topic"
	judge := func(c *network.Client) {
		require.NoError(t, c.SetValidator(func(_ context.Context, m *network.Message) network.Verdict {
			if string(m.Data) == "good" {
				return network.Accept
			}
			return network.Ignore
		}))
	}
	opts := options(t)
	opts.Tolerated = 500
	n := start(t, opts, judge)
	join(t, topic, n)
	p, other := newRawPeer(t, n), newRawPeer(t, n)
	other.send(t, &pb.RPC{Publish: []*pb.Message{other.message(t, topic, make([]byte, 8), "good")}})
	received(t, n, "good")
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	name := privKey(t, key)
	sequence := uint64(0)
	counted := func(verdict string) float64 { return metric(t, n, "calimero_network_messages_total", verdict) }
	require.Eventually(t, func() bool {
		var flood []*pb.Message
		for range 200 {
			sequence++
			flood = append(flood, signedBy(t, name, topic, binary.BigEndian.AppendUint64(nil, sequence), "bad"))
		}
		p.send(t, &pb.RPC{Publish: flood})
		return counted("rejected") > 25
	}, 3*wait, time.Millisecond)
	t.Logf("%d messages sent, %v ignored, %v rejected", sequence, counted("ignored"), counted("rejected"))
	require.Eventually(t, func() bool { // what was under way has been judged
		before := counted("ignored") + counted("rejected")
		sequence++
		p.send(t, &pb.RPC{Publish: []*pb.Message{signedBy(t, name, topic, binary.BigEndian.AppendUint64(nil, sequence), "bad")}})
		other.send(t, &pb.RPC{Publish: []*pb.Message{other.message(t, topic, binary.BigEndian.AppendUint64(nil, sequence), "good")}})
		received(t, n, "good")
		return counted("ignored")+counted("rejected") == before
	}, wait, 100*time.Millisecond)
}

// TestTopicNames: the router forgets no name of a topic. A peer that makes up names without end does not fill the memory with
// them; and whoever is in a topic is found when the node enters it, whatever was made up before.
func TestTopicNames(t *testing.T) { // not parallel: it measures the memory of the process
	const topic, late = "topic", "entered after the flood"
	n := start(t, options(t))
	join(t, topic, n)
	p := newRawPeer(t, n)
	yes, no := true, false
	flood := func(from, to int) {
		for i := from; i < to; i += 100 {
			for _, in := range []*bool{&yes, &no} {
				var subs []*pb.RPC_SubOpts
				for j := range 100 {
					subs = append(subs, &pb.RPC_SubOpts{Subscribe: in, Topicid: new(fmt.Sprintf("%0250d", i+j))})
				}
				p.send(t, &pb.RPC{Subscriptions: subs})
			}
		}
		p.send(t, &pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &yes, Topicid: new(topic)}}})
		until(t, n, func(e network.PeerSubscribed) bool { return e.Peer == p.host.ID() && e.Topic == topic })
		p.send(t, &pb.RPC{Subscriptions: []*pb.RPC_SubOpts{{Subscribe: &no, Topicid: new(topic)}}})
		until(t, n, func(e network.PeerUnsubscribed) bool { return e.Peer == p.host.ID() && e.Topic == topic })
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	flood(0, 20_000)
	before := heap()
	flood(20_000, 120_000)
	require.Less(t, int64(heap())-int64(before), int64(8<<20))

	b := start(t, options(t))
	join(t, late, b)
	b.dial(t, n, "tcp")
	join(t, topic, b) // when this is heard, so was the other
	until(t, n, func(e network.PeerSubscribed) bool { return e.Peer == b.LocalPeerID() && e.Topic == topic })
	join(t, late, n)
	meet(t, late, n, b)
	require.NoError(t, b.Publish(within(t), late, []byte("heard")))
	received(t, n, "heard")
}
