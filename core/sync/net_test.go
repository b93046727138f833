package sync_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// lan is a network in memory: gossip that may be lost, doubled, delayed and reordered, and streams of frames. The bytes
// are the real ones.
type lan struct {
	mu    stdsync.Mutex
	ports map[sync.PeerID]*port
	cut   map[[2]sync.PeerID]bool
	open  map[[2]sync.PeerID][]*pipe
	loss  float64
	twice float64
	delay time.Duration
	// carried counts messages under way.
	carried atomic.Int64
	work    stdsync.WaitGroup
	stop    context.Context
	end     context.CancelFunc
}

func newLAN(t testing.TB) *lan {
	l := &lan{ports: map[sync.PeerID]*port{}, cut: map[[2]sync.PeerID]bool{}, open: map[[2]sync.PeerID][]*pipe{}}
	l.stop, l.end = context.WithCancel(context.Background())
	t.Cleanup(func() {
		l.end()
		l.work.Wait()
	})
	return l
}

// port is a node's connection to the lan.
type port struct {
	lan *lan
	id  sync.PeerID
	// plain: the node has no extension.
	plain bool

	mu       stdsync.Mutex
	topics   map[string]bool
	handlers map[string]func(context.Context, sync.Stream)
	deliver  func(topic string, source sync.PeerID, data []byte)
	joined   func(p sync.PeerID, topic string)
	sent     map[byte]int // gossip messages by their first byte
}

func (l *lan) join(name string) *port {
	p := &port{
		lan: l, id: sync.PeerID(name), topics: map[string]bool{}, handlers: map[string]func(context.Context, sync.Stream){},
		deliver: func(string, sync.PeerID, []byte) {}, joined: func(sync.PeerID, string) {}, sent: map[byte]int{},
	}
	l.mu.Lock()
	l.ports[p.id] = p
	l.mu.Unlock()
	return p
}

func pair(a, b sync.PeerID) [2]sync.PeerID {
	if a > b {
		a, b = b, a
	}
	return [2]sync.PeerID{a, b}
}

// disconnect cuts nodes off from each other, connect brings them together again and tells them.
func (l *lan) disconnect(a, b sync.PeerID) {
	l.mu.Lock()
	l.cut[pair(a, b)] = true
	open := l.open[pair(a, b)]
	delete(l.open, pair(a, b))
	l.mu.Unlock()
	for _, s := range open {
		s.Reset()
	}
}

func (l *lan) connect(a, b sync.PeerID) {
	l.mu.Lock()
	delete(l.cut, pair(a, b))
	pa, pb := l.ports[a], l.ports[b]
	l.mu.Unlock()
	for topic := range pa.inTopics() {
		if pb.inTopics()[topic] {
			pa.met(b, topic)
			pb.met(a, topic)
		}
	}
}

func (p *port) inTopics() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]bool{}
	for t := range p.topics {
		out[t] = true
	}
	return out
}

func (p *port) met(other sync.PeerID, topic string) {
	p.mu.Lock()
	joined := p.joined
	p.mu.Unlock()
	joined(other, topic)
}

func (l *lan) reachable(from sync.PeerID) []*port {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*port
	for id, p := range l.ports {
		if id != from && !l.cut[pair(from, id)] {
			out = append(out, p)
		}
	}
	return out
}

func (p *port) LocalPeerID() sync.PeerID { return p.id }

func (p *port) Supports(other sync.PeerID, protocol string) bool {
	p.lan.mu.Lock()
	defer p.lan.mu.Unlock()
	o := p.lan.ports[other]
	return o != nil && (protocol == wire.SyncProtocol || !p.plain && !o.plain && protocol == wire.ExtensionProtocol)
}

func (p *port) Subscribe(_ context.Context, topic string) error {
	p.mu.Lock()
	again := p.topics[topic]
	p.topics[topic] = true
	p.mu.Unlock()
	if again {
		return nil
	}
	for _, o := range p.lan.reachable(p.id) {
		if o.inTopics()[topic] {
			o.met(p.id, topic)
			p.met(o.id, topic)
		}
	}
	return nil
}

func (p *port) Unsubscribe(_ context.Context, topic string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.topics, topic)
	return nil
}

func (p *port) TopicPeers(_ context.Context, topic string) ([]sync.PeerID, error) {
	var out []sync.PeerID
	for _, o := range p.lan.reachable(p.id) {
		if o.inTopics()[topic] {
			out = append(out, o.id)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (p *port) Publish(_ context.Context, topic string, data []byte) error {
	if len(data) > network.MaxMessage {
		return errkind.TooLarge.Errorf("%d bytes", len(data))
	}
	p.mu.Lock()
	p.sent[data[0]]++
	p.mu.Unlock()
	reached := false
	for _, o := range p.lan.reachable(p.id) {
		if !o.inTopics()[topic] {
			continue
		}
		reached = true
		if o.plain && data[0] >= wire.FirstExtensionTag {
			continue // it would not know what to make of it
		}
		p.lan.carry(p.id, o, topic, data)
	}
	if !reached {
		return network.ErrNoPeers
	}
	return nil
}

func (p *port) sentOf(tag byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[tag]
}

func (l *lan) carry(from sync.PeerID, to *port, topic string, data []byte) {
	l.mu.Lock()
	loss, twice, delay := l.loss, l.twice, l.delay
	l.mu.Unlock()
	copies := 1
	if rand.Float64() < twice { //nolint:gosec // a test
		copies = 2
	}
	for range copies {
		if rand.Float64() < loss { //nolint:gosec // a test
			continue
		}
		l.carried.Add(1)
		l.work.Go(func() {
			defer l.carried.Add(-1)
			if delay > 0 {
				t := time.NewTimer(rand.N(delay)) //nolint:gosec // a test
				defer t.Stop()
				select {
				case <-t.C:
				case <-l.stop.Done():
					return
				}
			}
			to.mu.Lock()
			deliver := to.deliver
			to.mu.Unlock()
			deliver(topic, from, data)
		})
	}
}

func (p *port) OpenStream(ctx context.Context, to sync.PeerID, protocol string) (sync.Stream, error) {
	for _, o := range p.lan.reachable(p.id) {
		if o.id != to {
			continue
		}
		o.mu.Lock()
		h := o.handlers[protocol]
		o.mu.Unlock()
		if h == nil {
			return nil, errkind.Unavailable.Errorf("%s does not speak %s", to, protocol)
		}
		near, far := newPipe(p.id, o.id)
		p.lan.mu.Lock()
		p.lan.open[pair(p.id, o.id)] = append(p.lan.open[pair(p.id, o.id)], near)
		p.lan.mu.Unlock()
		p.lan.work.Go(func() {
			ctx, cancel := context.WithCancel(p.lan.stop)
			defer cancel()
			h(ctx, far)
			_ = far.Close()
		})
		return near, ctx.Err()
	}
	return nil, errkind.Unavailable.Errorf("%s is not reachable", to)
}

// pipe is one end of a stream.
type pipe struct {
	peer     sync.PeerID
	in, out  chan []byte
	ended    chan struct{} // closed by this end
	theirEnd chan struct{}
	reset    chan struct{} // of both
	once     *stdsync.Once // of reset
	close    stdsync.Once
}

func newPipe(a, b sync.PeerID) (near, far *pipe) {
	x, y, reset, once := make(chan []byte, 4), make(chan []byte, 4), make(chan struct{}), new(stdsync.Once)
	ea, eb := make(chan struct{}), make(chan struct{})
	return &pipe{peer: b, in: x, out: y, ended: ea, theirEnd: eb, reset: reset, once: once},
		&pipe{peer: a, in: y, out: x, ended: eb, theirEnd: ea, reset: reset, once: once}
}

var errReset = errors.New("stream reset")

func (p *pipe) Peer() sync.PeerID { return p.peer }

func (p *pipe) ReadFrame(ctx context.Context, limit int) ([]byte, error) {
	if limit == 0 {
		limit = wire.MaxFrame
	}
	select {
	case f := <-p.in:
		return p.checked(f, limit)
	default:
	}
	select {
	case f := <-p.in:
		return p.checked(f, limit)
	case <-p.reset:
		return nil, errReset
	case <-p.theirEnd:
		select {
		case f := <-p.in:
			return p.checked(f, limit)
		default:
			return nil, io.EOF
		}
	case <-ctx.Done():
		p.Reset()
		return nil, errkind.Deadline.Errorf("read from %s: %w", p.peer, ctx.Err())
	}
}

func (p *pipe) checked(f []byte, limit int) ([]byte, error) {
	if len(f) > limit {
		p.Reset()
		return nil, errkind.TooLarge.Errorf("a frame of %d bytes, the limit is %d", len(f), limit)
	}
	return f, nil
}

func (p *pipe) WriteFrame(ctx context.Context, payload []byte) error {
	select {
	case p.out <- slices.Clone(payload):
		return nil
	case <-p.reset:
		return errReset
	case <-p.theirEnd:
		return fmt.Errorf("write to %s: %w", p.peer, errReset)
	case <-ctx.Done():
		p.Reset()
		return ctx.Err()
	}
}

func (p *pipe) Close() error {
	p.close.Do(func() { close(p.ended) })
	return nil
}

func (p *pipe) Reset() { p.once.Do(func() { close(p.reset) }) }
