package network

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/mr-tron/base58"
	"golang.org/x/time/rate"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of gossip (network-apps.md §1.3).
const (
	// maxRPC is the largest frame between two routers; the reference closes the stream over a larger one.
	maxRPC = 65_536
	// MaxMessage is the largest payload of a gossip message, in bytes: what is left of a frame after source, topic,
	// signature and their tags.
	MaxMessage = maxRPC - 512
	// maxSubscriptions bounds what a node says to a new peer about its topics, which must fit into one frame.
	maxSubscriptions = maxRPC - 4096
	// subscriptionSize is what a topic takes there besides its name.
	subscriptionSize = 10
	// maxTopic is the longest topic, maxPeerTopics the number of topics remembered of one peer, maxStrangeTopics that of all
	// topics of others that the router hears of.
	maxTopic         = 256
	maxPeerTopics    = 2048
	maxStrangeTopics = 16_384
	// validationTime bounds one run of the validator, validations how many run at once.
	validationTime = 5 * time.Second
	validations    = 256
	// maxNuisances is of how many peers is remembered how much they handed on that was not accepted.
	maxNuisances = 4096
	// queue lengths: messages to one peer, messages to be validated, messages of one topic for the node.
	peerQueue, validationQueue, topicQueue = 1024, 1024, 1024
)

// MessageID is the id of a gossip message as the reference makes it: base58 of the source, then the sequence number.
func MessageID(source PeerID, sequence uint64) string {
	return base58.Encode([]byte(source)) + strconv.FormatUint(sequence, 10)
}

// messageID gives messages without a proper sequence number, which are refused, an id too.
func messageID(m *pb.Message) string {
	var sequence uint64
	if len(m.GetSeqno()) == 8 {
		sequence = binary.BigEndian.Uint64(m.GetSeqno())
	}
	return MessageID(PeerID(m.GetFrom()), sequence)
}

// gossipParams are the reference's, but for the heartbeat's first delay: there is no reason to wait 5 s for a mesh.
func gossipParams() pubsub.GossipSubParams {
	p := pubsub.DefaultGossipSubParams()
	p.D, p.Dlo, p.Dhi, p.Dout, p.Dlazy, p.Dscore = 6, 5, 12, 2, 6, 4
	p.GossipFactor, p.GossipRetransmission = 0.25, 3
	p.HistoryLength, p.HistoryGossip = 5, 3
	p.HeartbeatInterval = time.Second
	p.FanoutTTL = time.Minute
	p.PruneBackoff, p.UnsubscribeBackoff = time.Minute, 10*time.Second
	p.MaxIHaveLength, p.MaxIHaveMessages = 5000, 10
	p.IWantFollowupTime = 3 * time.Second
	p.IDontWantMessageThreshold = 1000
	p.PrunePeers = 0
	return p
}

// scoring only takes points away, for invalid messages, for breaking the router's rules, and for crowds of peers on one
// public address; nobody needs to earn any, so that a mesh of two works as one of fifty.
func scoring() (*pubsub.PeerScoreParams, *pubsub.PeerScoreThresholds) {
	return &pubsub.PeerScoreParams{
			SkipAtomicValidation: true,
			Topics:               map[string]*pubsub.TopicScoreParams{},
			AppSpecificScore:     func(PeerID) float64 { return 0 },

			IPColocationFactorWeight: -5, IPColocationFactorThreshold: 10,
			IPColocationFactorWhitelist: ipNets(slices.Concat(loopbackNets, privateNets)...),

			BehaviourPenaltyWeight: -10, BehaviourPenaltyThreshold: 6,
			BehaviourPenaltyDecay: pubsub.ScoreParameterDecay(time.Minute),

			DecayInterval: time.Second, DecayToZero: 0.01, RetainScore: 10 * time.Minute,
		}, &pubsub.PeerScoreThresholds{
			GossipThreshold: -100, PublishThreshold: -225, GraylistThreshold: -400,
			AcceptPXThreshold: 1e9, // nobody reaches it: peers are not taken from strangers
		}
}

// topicScoring counts invalid messages: the square of their number, forgotten within ten minutes.
func topicScoring() *pubsub.TopicScoreParams {
	return &pubsub.TopicScoreParams{
		SkipAtomicValidation: true, TopicWeight: 1, TimeInMeshQuantum: time.Second,
		InvalidMessageDeliveriesWeight: -1,
		InvalidMessageDeliveriesDecay:  pubsub.ScoreParameterDecay(10 * time.Minute),
	}
}

// gossip is gossipsub and the topics joined.
type gossip struct {
	node  *node
	ps    *pubsub.PubSub
	trace *tracer
	// nuisance has what of each peer is tolerated.
	nuisance *lru.Cache[PeerID, *rate.Limiter]

	mu     sync.Mutex
	topics map[string]*joined
	size   int // of the names of topics, as a new peer hears them
}

// joined is a topic this node is subscribed to.
type joined struct {
	topic  *pubsub.Topic
	sub    *pubsub.Subscription
	events *pubsub.TopicEventHandler
	cancel context.CancelFunc
	work   sync.WaitGroup
}

func newGossip(n *node, h host.Host) (*gossip, error) {
	nuisance, err := lru.New[PeerID, *rate.Limiter](maxNuisances)
	if err != nil {
		return nil, err
	}
	heard := newEars(h)
	g := &gossip{node: n, trace: newTracer(n.m.id, n.m.metrics, n.connected, heard.repeat), nuisance: nuisance, topics: map[string]*joined{}}
	params, thresholds := scoring()
	ps, err := pubsub.NewGossipSub(n.hostCtx, heard,
		pubsub.WithGossipSubProtocols([]protocol.ID{pubsub.GossipSubID_v12, pubsub.GossipSubID_v11, pubsub.GossipSubID_v10},
			pubsub.GossipSubDefaultFeatures),
		pubsub.WithGossipSubParams(gossipParams()),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithMaxMessageSize(maxRPC),
		pubsub.WithSeenMessagesTTL(time.Minute),
		pubsub.WithFloodPublish(true),
		pubsub.WithPeerExchange(false),
		pubsub.WithPeerScore(params, thresholds),
		pubsub.WithPeerOutboundQueueSize(peerQueue),
		pubsub.WithValidateQueueSize(validationQueue),
		pubsub.WithSubscriptionFilter(&subscriptionFilter{trace: g.trace}),
		pubsub.WithRawTracer(g.trace),
		pubsub.WithLogger(n.m.routerLog),
		pubsub.WithRPCLogger(n.m.routerLog),
		pubsub.WithDefaultValidator(pubsub.ValidatorEx(g.validate),
			pubsub.WithValidatorTimeout(validationTime), pubsub.WithValidatorConcurrency(validations)),
	)
	if err != nil {
		return nil, err
	}
	g.ps = ps
	return g, nil
}

// validate is asked before a message is handed on or forwarded.
func (g *gossip) validate(ctx context.Context, forwarder PeerID, m *pubsub.Message) pubsub.ValidationResult {
	if forwarder == g.node.m.id {
		return pubsub.ValidationAccept
	}
	message := &Message{Topic: m.GetTopic(), Source: m.GetFrom(), Forwarder: forwarder, Data: m.Data}
	verdict := g.judge(ctx, message, len(m.GetSeqno()))
	m.ValidatorData = message
	switch {
	case verdict == Accept:
		return pubsub.ValidationAccept
	case verdict == Reject && message.Source == forwarder, !g.tolerates(forwarder):
		return pubsub.ValidationReject
	}
	// Peers of the reference forward what they have not looked at: the one who signed is to blame, not they.
	return pubsub.ValidationIgnore
}

// tolerates tells whether a peer may hand on one more message that is not accepted. A name for the source costs nothing, but
// whoever brings thousands of such messages is a nuisance, whoever made them: the router closes its ears to him for a while,
// before it looks at their signatures.
func (g *gossip) tolerates(forwarder PeerID) bool {
	l, ok := g.nuisance.Get(forwarder)
	if !ok {
		l = rate.NewLimiter(rate.Limit(g.node.m.opts.Tolerated)/20, g.node.m.opts.Tolerated)
		if old, had, _ := g.nuisance.PeekOrAdd(forwarder, l); had {
			l = old
		}
	}
	return l.Allow()
}

func (g *gossip) judge(ctx context.Context, m *Message, sequence int) Verdict {
	if sequence != 8 || len(m.Data) > maxRPC {
		return Reject
	}
	if v := g.node.m.currentValidator(); v != nil {
		return v(ctx, m)
	}
	return Accept
}

// subscribe joins a topic; again, it does nothing.
func (g *gossip) subscribe(name string) error {
	if name == "" || len(name) > maxTopic {
		return errkind.Invalid.Errorf("a topic has 1 to %d bytes; this one has %d", maxTopic, len(name))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.topics[name] != nil {
		return nil
	}
	if g.size+len(name)+subscriptionSize > maxSubscriptions {
		return errkind.TooLarge.Errorf("subscribe to %s: %d topics are all that fit into the first message to a peer", name,
			len(g.topics))
	}
	unheard := g.trace.enters(name)
	j, err := g.join(name)
	if err != nil {
		g.trace.leaves(name)
		return err
	}
	g.topics[name] = j
	g.size += len(name) + subscriptionSize
	g.node.m.metrics.topics.Set(float64(len(g.topics)))
	for _, p := range unheard {
		g.node.meetAnew(p)
	}
	return nil
}

func (g *gossip) join(name string) (_ *joined, err error) {
	j := &joined{}
	defer func() {
		if err != nil {
			err = errors.Join(errkind.Unavailable.Errorf("subscribe to %s: %w", name, err), j.leave())
		}
	}()
	if j.topic, err = g.ps.Join(name); err != nil {
		return nil, err
	}
	if err = j.topic.SetScoreParams(topicScoring()); err != nil {
		return nil, err
	}
	if j.events, err = j.topic.EventHandler(); err != nil {
		return nil, err
	}
	if j.sub, err = j.topic.Subscribe(pubsub.WithBufferSize(topicQueue)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(g.node.hostCtx)
	j.cancel = cancel
	j.work.Go(func() { g.readMessages(ctx, j) })
	j.work.Go(func() { g.readPeers(ctx, j, name) })
	return j, nil
}

func (g *gossip) readMessages(ctx context.Context, j *joined) {
	for {
		m, err := j.sub.Next(ctx)
		if err != nil {
			return // cancelled
		}
		if message, ok := m.ValidatorData.(*Message); ok { // own ones have none
			g.node.m.events.put(MessageReceived{*message})
		}
	}
}

func (g *gossip) readPeers(ctx context.Context, j *joined, name string) {
	for {
		e, err := j.events.NextPeerEvent(ctx)
		if err != nil {
			return // cancelled
		}
		switch e.Type {
		case pubsub.PeerJoin:
			g.node.m.events.put(PeerSubscribed{Peer: e.Peer, Topic: name})
		case pubsub.PeerLeave:
			g.node.m.events.put(PeerUnsubscribed{Peer: e.Peer, Topic: name})
		}
	}
}

// leave ends what join began.
func (j *joined) leave() error {
	if j.cancel != nil {
		j.cancel()
	}
	if j.sub != nil {
		j.sub.Cancel()
	}
	if j.events != nil {
		j.events.Cancel()
	}
	j.work.Wait()
	if j.topic == nil {
		return nil
	}
	return j.topic.Close()
}

// unsubscribe leaves a topic; again, it does nothing.
func (g *gossip) unsubscribe(name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.topics[name]
	if j == nil {
		return nil
	}
	delete(g.topics, name)
	g.size -= len(name) + subscriptionSize
	g.node.m.metrics.topics.Set(float64(len(g.topics)))
	g.trace.leaves(name)
	if err := j.leave(); err != nil {
		return errkind.Internal.Errorf("leave topic %s: %w", name, err)
	}
	return nil
}

func (g *gossip) find(name string) (*pubsub.Topic, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j := g.topics[name]; j != nil {
		return j.topic, nil
	}
	return nil, errkind.Precondition.Errorf("this node is not subscribed to topic %s", name)
}

func (g *gossip) publish(ctx context.Context, name string, data []byte) error {
	if len(data) > MaxMessage {
		return errkind.TooLarge.Errorf("a gossip message of %d bytes cannot be sent; %d are allowed", len(data), MaxMessage)
	}
	topic, err := g.find(name)
	if err != nil {
		return err
	}
	if len(topic.ListPeers()) == 0 {
		return errkind.Retryable(errkind.Unavailable.Errorf("%w %s", ErrNoPeers, name))
	}
	err = topic.Publish(ctx, data)
	g.node.m.metrics.published.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		return errkind.Unavailable.Errorf("publish to %s: %w", name, err)
	}
	return nil
}

// close leaves all topics; the router itself ends with the node's context.
func (g *gossip) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []error
	for name, j := range g.topics {
		all = append(all, j.leave())
		delete(g.topics, name)
	}
	g.node.m.metrics.topics.Set(0)
	return errors.Join(all...)
}
