package network

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Ways in which peers are found.
const (
	wayBootstrap  = "bootstrap"
	wayMDNS       = "mdns"
	wayLocal      = "local"
	wayRendezvous = "rendezvous"
)

const (
	// maxKept bounds the peers that were found nearby, maxPeerAddrs the addresses taken of one.
	maxKept      = 1024
	maxPeerAddrs = 16
	// dialsAtOnce and dialTime bound the keeper's dials.
	dialsAtOnce = 8
	dialTime    = 15 * time.Second
)

// forgetAfter is how long a peer that was found is dialled without being found again; bootstrap peers stay for ever. A
// peer from a rendezvous point is dialled when the point names it.
var forgetAfter = map[string]time.Duration{wayMDNS: 10 * time.Minute, wayLocal: 2 * time.Minute, wayRendezvous: time.Minute}

// keeper stays connected to the peers it was told of: it dials those that are not connected, with growing pauses.
type keeper struct {
	n      *node
	wake   chan struct{}
	places chan struct{}

	mu    sync.Mutex
	peers map[PeerID]*kept
}

type kept struct {
	info      peer.AddrInfo
	ever      bool      // bootstrap
	until     time.Time // unless ever
	connected bool
	dialling  bool
	next      time.Time
	pause     time.Duration
}

func newKeeper(n *node) *keeper {
	return &keeper{n: n, wake: make(chan struct{}, 1), places: make(chan struct{}, dialsAtOnce), peers: map[PeerID]*kept{}}
}

// keep adds peers, or news of them.
func (k *keeper) keep(way string, infos ...peer.AddrInfo) {
	now := time.Now()
	k.mu.Lock()
	for _, info := range infos {
		info.Addrs = dialable(info.Addrs)
		if info.ID == k.n.m.id || len(info.Addrs) == 0 {
			continue
		}
		one := k.peers[info.ID]
		if one == nil {
			if way != wayBootstrap && len(k.peers) >= maxKept {
				continue
			}
			one = &kept{connected: k.n.connected(info.ID), pause: k.n.m.opts.Redial}
			k.peers[info.ID] = one
			if way != wayBootstrap {
				k.n.m.metrics.found.WithLabelValues(way).Inc()
			}
		}
		if !sameAddrs(one.info.Addrs, info.Addrs) { // a peer that moved is tried at once
			one.next, one.pause = now, k.n.m.opts.Redial
		}
		one.info = info
		if way == wayBootstrap && !one.ever {
			one.ever = true
			k.n.host.ConnManager().Protect(info.ID, wayBootstrap) // it would be dialled again at once
		}
		if until := now.Add(forgetAfter[way]); until.After(one.until) {
			one.until = until
		}
	}
	k.mu.Unlock()
	signal(k.wake)
}

// dialable drops what cannot be dialled directly, and what is too much.
func dialable(all []ma.Multiaddr) []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, a := range all {
		if !isRelayed(a) && len(out) < maxPeerAddrs {
			out = append(out, a)
		}
	}
	return out
}

func sameAddrs(a, b []ma.Multiaddr) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

func (n *node) connected(p PeerID) bool { return len(n.host.Network().ConnsToPeer(p)) > 0 }

// connectedness is told about each change.
func (k *keeper) connectedness(p PeerID, up bool) {
	k.mu.Lock()
	one := k.peers[p]
	if one != nil {
		one.connected = up
		if up {
			one.pause = k.n.m.opts.Redial
		} else {
			one.next = time.Now().Add(jitter(one.pause))
		}
	}
	k.mu.Unlock()
	if one != nil {
		signal(k.wake)
	}
}

// jitter keeps nodes that lost each other from dialling in step.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// serve dials until ctx ends; all dials have ended when it returns.
func (k *keeper) serve(ctx context.Context) {
	var dials sync.WaitGroup
	defer dials.Wait()
	for {
		due, wait := k.due(time.Now())
		for _, info := range due {
			select {
			case k.places <- struct{}{}:
			case <-ctx.Done():
				return
			}
			dials.Go(func() {
				defer func() { <-k.places }()
				k.dial(ctx, info)
			})
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-k.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// due marks the peers to dial now and tells how long there is nothing to do.
func (k *keeper) due(now time.Time) (due []peer.AddrInfo, wait time.Duration) {
	wait = time.Minute
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, one := range k.peers {
		switch {
		case one.connected || one.dialling:
		case !one.ever && now.After(one.until):
			delete(k.peers, id)
		case !one.next.After(now):
			one.dialling = true
			one.info.ID = id
			due = append(due, one.info)
		default:
			wait = min(wait, one.next.Sub(now))
		}
	}
	return due, wait
}

func (k *keeper) dial(ctx context.Context, info peer.AddrInfo) {
	dialCtx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	err := k.n.connect(dialCtx, info)
	k.mu.Lock()
	if one := k.peers[info.ID]; one != nil {
		one.dialling = false
		one.connected = k.n.connected(info.ID)
		one.next = time.Now().Add(jitter(one.pause))
		if err != nil {
			one.pause = min(2*one.pause, k.n.m.opts.RedialMax)
		}
	}
	k.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		k.n.m.log.Debug("peer not reached", "peer", info.ID, "err", err)
	}
	signal(k.wake)
}
