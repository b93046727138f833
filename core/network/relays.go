package network

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// relayBackoff is how long a relay that refused is left alone, relayRenew how long before its end a reservation is
	// renewed, relayTime bounds a request.
	relayBackoff = time.Minute
	relayRenew   = 5 * time.Minute
	relayTime    = 15 * time.Second
	// maxRelays bounds the relays remembered, maxRelayAddrs the addresses of one that others are told.
	maxRelays     = 64
	maxRelayAddrs = 4
)

// relays reserves places at peers that relay for others (circuit v2), so that nodes reach this one through them. The
// library does so only once AutoNAT has found the node unreachable, for which networks of the reference have no servers
// of the version it asks; the reference reserves wherever it can, and so does this node, unless it knows addresses of
// its own that others can dial.
type relays struct {
	n    *node
	wake chan struct{}

	mu     sync.Mutex
	public bool
	peers  map[PeerID]*relay
}

// relay is a connected peer that relays.
type relay struct {
	until time.Time // of the reservation; zero = none
	retry time.Time
	addrs []ma.Multiaddr
}

// newRelays answers nil when none are wanted.
func newRelays(n *node) *relays {
	if n.m.opts.RelayReservations == 0 || len(n.advertised) > 0 {
		return nil
	}
	return &relays{n: n, wake: make(chan struct{}, 1), peers: map[PeerID]*relay{}}
}

func (r *relays) identified(e event.EvtPeerIdentificationCompleted) {
	if r == nil || !slices.Contains(e.Protocols, proto.ProtoIDv2Hop) {
		return
	}
	r.mu.Lock()
	if r.peers[e.Peer] == nil && len(r.peers) < maxRelays {
		r.peers[e.Peer] = &relay{}
	}
	r.mu.Unlock()
	signal(r.wake)
}

func (r *relays) forget(p PeerID) {
	if r == nil {
		return
	}
	r.mu.Lock()
	delete(r.peers, p)
	r.mu.Unlock()
	signal(r.wake)
}

func (r *relays) reachability(to p2p.Reachability) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.public = to == p2p.ReachabilityPublic
	r.mu.Unlock()
	signal(r.wake)
}

// addresses are those through relays; the host's own come besides.
func (r *relays) addresses() []ma.Multiaddr {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []ma.Multiaddr
	for _, one := range r.peers {
		if one.until.After(time.Now()) {
			out = append(out, one.addrs...)
		}
	}
	slices.SortFunc(out, ma.Multiaddr.Compare)
	return out
}

func (r *relays) serve(ctx context.Context) {
	changed, err := r.n.host.EventBus().Emitter(new(event.EvtAutoRelayAddrsUpdated), eventbus.Stateful)
	if err != nil {
		r.n.m.log.Error("no relays are asked", "err", err)
		return
	}
	defer changed.Close()
	var told []ma.Multiaddr
	for {
		for _, p := range r.due(time.Now()) {
			r.reserve(ctx, p)
		}
		if now := r.addresses(); !sameAddrs(now, told) && ctx.Err() == nil {
			told = now
			if err := changed.Emit(event.EvtAutoRelayAddrsUpdated{RelayAddrs: now}); err != nil {
				r.n.m.log.Warn("relayed addresses not announced", "err", err)
			}
		}
		timer := time.NewTimer(relayBackoff / 4)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// due are the relays to ask now: to renew, or for as many as are missing.
func (r *relays) due(now time.Time) (due []PeerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	held := 0
	for _, one := range r.peers {
		if one.until.After(now) {
			held++
		}
	}
	r.n.m.metrics.reservation.Set(float64(held))
	if r.public {
		return nil
	}
	missing := r.n.m.opts.RelayReservations - held
	for p, one := range r.peers {
		switch renew := one.until.After(now); {
		case one.retry.After(now):
		case renew && one.until.Sub(now) < relayRenew:
			due = append(due, p)
		case !renew && missing > 0:
			missing--
			due = append(due, p)
		}
	}
	return due
}

func (r *relays) reserve(ctx context.Context, p PeerID) {
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	reservation, err := client.Reserve(ctx, r.n.host, peer.AddrInfo{ID: p})
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.peers[p]
	switch {
	case one == nil:
	case err != nil:
		one.retry = time.Now().Add(relayBackoff)
		r.n.m.log.Debug("no place at a relay", "relay", p, "err", err)
	default:
		one.until, one.addrs = reservation.Expiration, r.through(p, reservation.Addrs)
		one.retry = time.Now().Add(time.Until(one.until) / 2)
	}
}

// through are this node's addresses by way of a relay: by those it vouches for, or by those it is known by.
func (r *relays) through(p PeerID, vouched []ma.Multiaddr) []ma.Multiaddr {
	circuit, err := ma.NewMultiaddr("/p2p/" + p.String() + "/p2p-circuit")
	if err != nil {
		return nil
	}
	var out []ma.Multiaddr
	for _, a := range slices.Concat(vouched, r.n.host.Peerstore().Addrs(p)) {
		if isRelayed(a) || len(out) == maxRelayAddrs {
			continue
		}
		if _, id := peer.SplitAddr(a); id == "" {
			a = a.Encapsulate(circuit)
		} else {
			a = a.Encapsulate(ma.StringCast("/p2p-circuit"))
		}
		if !slices.ContainsFunc(out, a.Equal) {
			out = append(out, a)
		}
	}
	return out
}
