package network

import (
	"slices"
	"sync"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// tracer listens to the router, which keeps its meshes to itself.
type tracer struct {
	self    PeerID
	metrics *metrics

	mu   sync.Mutex
	mesh map[string]map[PeerID]struct{}
	// said are the topics of peers; false: the router has not heard of it.
	said map[PeerID]map[string]bool
	// own are the topics of this node. strange are others that the router has heard of: it never forgets a name.
	own, strange map[string]struct{}

	connected func(PeerID) bool
	// repeat has the router hear again that a peer is in topics.
	repeat func(p PeerID, topics []string)
}

var _ pubsub.RawTracer = (*tracer)(nil)

func newTracer(self PeerID, m *metrics, connected func(PeerID) bool, repeat func(PeerID, []string)) *tracer {
	return &tracer{
		self: self, metrics: m, connected: connected, repeat: repeat, mesh: map[string]map[PeerID]struct{}{}, said: map[PeerID]map[string]bool{},
		own: map[string]struct{}{}, strange: map[string]struct{}{},
	}
}

// enters is told of a topic before the node joins it. It returns the peers that are in it without the router's knowledge.
func (t *tracer) enters(topic string) (unheard []PeerID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own[topic] = struct{}{}
	for p, said := range t.said {
		if heard, in := said[topic]; in && !heard {
			unheard = append(unheard, p)
		}
	}
	return unheard
}

// leaves is told of a topic that the node left.
func (t *tracer) leaves(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.own, topic)
}

// mayHear tells whether the router may be told a name.
func (t *tracer) mayHear(topic string) bool {
	if _, own := t.own[topic]; own {
		return true
	}
	if _, heard := t.strange[topic]; !heard && len(t.strange) >= maxStrangeTopics {
		return false
	}
	t.strange[topic] = struct{}{}
	return true
}

// meshPeers are the peers that get each message of a topic at once, in order of their ids.
func (t *tracer) meshPeers(topic string) []PeerID {
	t.mu.Lock()
	defer t.mu.Unlock()
	peers := make([]PeerID, 0, len(t.mesh[topic]))
	for p := range t.mesh[topic] {
		peers = append(peers, p)
	}
	slices.Sort(peers)
	return peers
}

// Graft is called by the router.
func (t *tracer) Graft(p PeerID, topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mesh[topic] == nil {
		t.mesh[topic] = map[PeerID]struct{}{}
	}
	t.mesh[topic][p] = struct{}{}
}

// Prune is called by the router.
func (t *tracer) Prune(p PeerID, topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(p, topic)
}

func (t *tracer) drop(p PeerID, topic string) {
	delete(t.mesh[topic], p)
	if len(t.mesh[topic]) == 0 {
		delete(t.mesh, topic)
	}
}

// Leave is called by the router.
func (t *tracer) Leave(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mesh, topic)
}

// AddPeer is called by the router.
func (t *tracer) AddPeer(PeerID, protocol.ID) {}

// RemovePeer is called by the router, also when one of several connections with a peer ends. It forgets then what topics the peer
// is in, who does not say it again.
func (t *tracer) RemovePeer(p PeerID) {
	if !t.connected(p) {
		t.forget(p)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropAll(p)
	var topics []string
	for topic, heard := range t.said[p] {
		if heard {
			topics = append(topics, topic)
		}
	}
	t.repeat(p, topics)
}

// forget drops what is known of a peer that is gone. The router does not call RemovePeer for peers it never reached.
func (t *tracer) forget(p PeerID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropAll(p)
	delete(t.said, p)
}

func (t *tracer) dropAll(p PeerID) {
	for topic := range t.mesh {
		t.drop(p, topic)
	}
}

// DeliverMessage is called by the router.
func (t *tracer) DeliverMessage(m *pubsub.Message) { t.count(m, "accepted") }

// RejectMessage is called by the router.
func (t *tracer) RejectMessage(m *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationFailed:
		reason = "rejected"
	case pubsub.RejectValidationIgnored:
		reason = "ignored"
	}
	t.count(m, reason)
}

// UndeliverableMessage is called by the router.
func (t *tracer) UndeliverableMessage(m *pubsub.Message) { t.count(m, "undeliverable") }

func (t *tracer) count(m *pubsub.Message, verdict string) {
	if m.ReceivedFrom != t.self {
		t.metrics.messages.WithLabelValues(verdict).Inc()
	}
}

// Join is called by the router.
func (t *tracer) Join(string) {}

// ValidateMessage is called by the router.
func (t *tracer) ValidateMessage(*pubsub.Message) {}

// DuplicateMessage is called by the router.
func (t *tracer) DuplicateMessage(*pubsub.Message) {}

// ThrottlePeer is called by the router.
func (t *tracer) ThrottlePeer(PeerID) {}

// RecvRPC is called by the router.
func (t *tracer) RecvRPC(*pubsub.RPC) {}

// SendRPC is called by the router.
func (t *tracer) SendRPC(*pubsub.RPC, PeerID) {}

// DropRPC is called by the router.
func (t *tracer) DropRPC(*pubsub.RPC, PeerID) {
	t.metrics.messages.WithLabelValues("peer queue full").Inc()
}

// subscriptionFilter bounds what the router remembers of the topics of others.
type subscriptionFilter struct{ trace *tracer }

var _ pubsub.SubscriptionFilter = (*subscriptionFilter)(nil)

// CanSubscribe allows own topics, which gossip checks.
func (f *subscriptionFilter) CanSubscribe(string) bool { return true }

// FilterIncomingSubscriptions is called by the router for each message with subscriptions.
func (f *subscriptionFilter) FilterIncomingSubscriptions(p PeerID, subs []*pb.RPC_SubOpts) ([]*pb.RPC_SubOpts, error) {
	if !f.trace.connected(p) {
		return nil, errkind.Unavailable.Errorf("%s is gone, and nothing would forget what it said", p)
	}
	t := f.trace
	t.mu.Lock()
	defer t.mu.Unlock()
	said := t.said[p]
	if said == nil {
		said = map[string]bool{}
		t.said[p] = said
	}
	var kept []*pb.RPC_SubOpts
	for _, s := range subs {
		topic := s.GetTopicid()
		heard, known := said[topic]
		switch {
		case topic == "" || len(topic) > maxTopic:
			continue
		case !s.GetSubscribe(): // the router makes nothing of what it has not heard of
			delete(said, topic)
			heard = true
		case !known && len(said) >= maxPeerTopics:
			return nil, errkind.TooLarge.Errorf("%s is in more than %d topics", p, maxPeerTopics)
		default:
			heard = heard || t.mayHear(topic)
			said[topic] = heard
		}
		if heard {
			kept = append(kept, s)
		}
	}
	return kept, nil
}
