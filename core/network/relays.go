package network

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
)

// How often relays are looked for, and how long one that refused is left alone.
const (
	relayInterval = 5 * time.Second
	relayBackoff  = time.Minute
	maxRelays     = 64
)

// relays remembers which connected peers relay for others (circuit v2).
type relays struct {
	wanted int

	mu    sync.Mutex
	peers map[PeerID]peer.AddrInfo
}

func newRelays(wanted int) *relays { return &relays{wanted: wanted, peers: map[PeerID]peer.AddrInfo{}} }

func (r *relays) identified(h host.Host, e event.EvtPeerIdentificationCompleted) {
	if r.wanted == 0 || !slices.Contains(e.Protocols, proto.ProtoIDv2Hop) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.peers) < maxRelays {
		r.peers[e.Peer] = peer.AddrInfo{ID: e.Peer, Addrs: h.Peerstore().Addrs(e.Peer)}
	}
}

func (r *relays) forget(p PeerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.peers, p)
}

// candidates offers up to limit of them; the host asks when it wants a reservation.
func (r *relays) candidates(_ context.Context, limit int) <-chan peer.AddrInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(chan peer.AddrInfo, min(limit, len(r.peers)))
	for _, info := range r.peers {
		if len(out) == cap(out) {
			break
		}
		out <- info
	}
	close(out)
	return out
}
