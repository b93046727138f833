package network

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// opensPerPeer bounds the streams that are being opened to one peer: a peer of the reference takes one at a time and
// resets what comes in bursts (network-apps.md §8, row 13).
const opensPerPeer = 4

// openStream opens a stream. A stream whose asker is gone is the caller's to reset.
func (n *node) openStream(ctx context.Context, p PeerID, id protocol.ID) (_ *Stream, err error) {
	defer func() { n.m.metrics.streams.WithLabelValues(string(id), "out", outcome(err)).Inc() }()
	if p == n.m.id {
		return nil, errkind.Invalid.Errorf("open a stream to %s: that is this node", p)
	}
	leave, err := n.dials.enter(ctx, p)
	if err != nil {
		return nil, err
	}
	defer leave()
	raw, err := n.host.NewStream(ctx, p, id)
	if err != nil {
		return nil, errkind.Retryable(errkind.Unavailable.Errorf("open a stream to %s (%s): %w", p, id, err))
	}
	return newStream(raw, 0, n.m.metrics), nil
}

// clearBackoff lets a peer be dialled that failed a moment ago: the pauses between tries are the keeper's.
func (n *node) clearBackoff(p PeerID) {
	if s, ok := n.host.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(p)
	}
}

// meetAnew connects anew to a peer: it says all its topics again then.
func (n *node) meetAnew(p PeerID) {
	if !n.enter() {
		return
	}
	go func() {
		defer n.work.Done()
		info := n.host.Peerstore().PeerInfo(p)
		if err := n.host.Network().ClosePeer(p); err != nil {
			n.m.log.Debug("connections not closed", "peer", p, "err", err)
		}
		ctx, cancel := context.WithTimeout(n.ctx, dialTime)
		defer cancel()
		if err := n.connect(ctx, info); err != nil {
			n.m.log.Debug("peer not met anew", "peer", p, "err", err) // it may dial itself
		}
	}()
}

// gates bound what happens at once for each peer.
type gates struct {
	width int

	mu   sync.Mutex
	open map[PeerID]*gate
}

type gate struct {
	places chan struct{}
	users  int // of this gate, so that it goes with the last one
}

func newGates(width int) *gates { return &gates{width: width, open: map[PeerID]*gate{}} }

// enter waits for a place.
func (g *gates) enter(ctx context.Context, p PeerID) (leave func(), err error) {
	g.mu.Lock()
	one := g.open[p]
	if one == nil {
		one = &gate{places: make(chan struct{}, g.width)}
		g.open[p] = one
	}
	one.users++
	g.mu.Unlock()
	done := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(g.open, p)
		}
	}
	select {
	case one.places <- struct{}{}:
		return func() { <-one.places; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}
