package edges_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/network"
	deltas "github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// lan connects nodes in memory. The bytes are the real ones; what one publishes, the others judge and handle.
type lan struct {
	mu    sync.Mutex
	ports map[network.PeerID]*port
	cut   map[network.PeerID]bool
}

func newLAN() *lan {
	return &lan{ports: map[network.PeerID]*port{}, cut: map[network.PeerID]bool{}}
}

// port is a node's place in the lan.
type port struct {
	lan *lan
	id  network.PeerID
	to  *rig

	mu     sync.Mutex
	topics map[string]bool
	sent   map[string][][]byte // by topic, whether or not somebody was there
}

func (l *lan) join(r *rig, name string) *port {
	p := &port{lan: l, id: network.PeerID(name), to: r, topics: map[string]bool{}, sent: map[string][][]byte{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ports[p.id] = p
	return p
}

// setCut takes a node off the lan, or brings it back.
func (l *lan) setCut(p *port, cut bool) {
	l.mu.Lock()
	l.cut[p.id] = cut
	l.mu.Unlock()
	if cut {
		return
	}
	for topic := range p.inTopics() {
		p.meet(topic)
	}
}

// meet tells those in a topic of each other.
func (p *port) meet(topic string) {
	for _, o := range p.others() {
		if o.inTopics()[topic] {
			o.to.peerSubscribed(p.id, topic)
			p.to.peerSubscribed(o.id, topic)
		}
	}
}

// others are those that a node reaches.
func (p *port) others() (out []*port) {
	p.lan.mu.Lock()
	defer p.lan.mu.Unlock()
	for id, o := range p.lan.ports {
		if id != p.id && !p.lan.cut[id] && !p.lan.cut[p.id] {
			out = append(out, o)
		}
	}
	return out
}

func (p *port) inTopics() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]bool{}
	for topic := range p.topics {
		out[topic] = true
	}
	return out
}

// published are the messages that a node has sent to a topic.
func (p *port) published(topic string) [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sent[topic])
}

func (p *port) LocalPeerID() network.PeerID              { return p.id }
func (p *port) Supports(_ network.PeerID, _ string) bool { return true }
func (p *port) Unsubscribe(_ context.Context, topic string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.topics, topic)
	return nil
}

func (p *port) Subscribe(_ context.Context, topic string) error {
	p.mu.Lock()
	again := p.topics[topic]
	p.topics[topic] = true
	p.mu.Unlock()
	if !again {
		p.meet(topic)
	}
	return nil
}

func (p *port) TopicPeers(_ context.Context, topic string) (out []network.PeerID, err error) {
	for _, o := range p.others() {
		if o.inTopics()[topic] {
			out = append(out, o.id)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (p *port) Publish(ctx context.Context, topic string, data []byte) error {
	p.mu.Lock()
	p.sent[topic] = append(p.sent[topic], slices.Clone(data))
	p.mu.Unlock()
	reached := false
	for _, o := range p.others() {
		if o.inTopics()[topic] {
			reached = true
			o.to.gossip(ctx, topic, p.id, data)
		}
	}
	if !reached {
		return network.ErrNoPeers
	}
	return nil
}

// open opens a stream that the other node serves.
func (p *port) open(to network.PeerID, protocol string) (*pipe, error) {
	for _, o := range p.others() {
		if o.id != to {
			continue
		}
		near, far := newPipes(p.id, o.id)
		o.to.serve(protocol, far)
		return near, nil
	}
	return nil, errkind.Unavailable.Errorf("%s is not reachable", to)
}

// groupPort and deltaPort are a port as the parts of the node see it.
type (
	groupPort struct{ *port }
	deltaPort struct{ *port }
)

func (p groupPort) OpenStream(_ context.Context, to network.PeerID, protocol string) (membership.Stream, error) {
	s, err := p.open(to, protocol)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (p deltaPort) OpenStream(_ context.Context, to network.PeerID, protocol string) (deltas.Stream, error) {
	s, err := p.open(to, protocol)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// pipe is one end of a stream; either end closes both.
type pipe struct {
	peer    network.PeerID
	in, out chan []byte
	over    chan struct{}
	end     func()
}

func newPipes(a, b network.PeerID) (near, far *pipe) {
	there, back, over := make(chan []byte, 8), make(chan []byte, 8), make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	return &pipe{peer: b, in: back, out: there, over: over, end: end}, &pipe{peer: a, in: there, out: back, over: over, end: end}
}

func (p *pipe) Peer() network.PeerID { return p.peer }
func (p *pipe) Close() error         { p.end(); return nil }
func (p *pipe) Reset()               { p.end() }

func (p *pipe) ReadFrame(ctx context.Context, limit int) ([]byte, error) {
	if limit == 0 {
		limit = wire.MaxFrame
	}
	select {
	case f := <-p.in: // before the end
		return bounded(f, limit)
	default:
	}
	select {
	case f := <-p.in:
		return bounded(f, limit)
	case <-p.over:
		select {
		case f := <-p.in:
			return bounded(f, limit)
		default:
			return nil, io.EOF
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func bounded(f []byte, limit int) ([]byte, error) {
	if len(f) > limit {
		return nil, errkind.TooLarge.Errorf("a frame of %d bytes, the limit is %d", len(f), limit)
	}
	return f, nil
}

var errOver = errors.New("the stream is over")

func (p *pipe) WriteFrame(ctx context.Context, f []byte) error {
	select {
	case p.out <- slices.Clone(f):
		return nil
	case <-p.over:
		return errOver
	case <-ctx.Done():
		return ctx.Err()
	}
}
