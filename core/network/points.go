package network

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/calimero-go/core/core/network/rendezvous"
)

// maxPoints bounds the rendezvous points remembered, pointTries how often one that fails is asked before it is forgotten.
const (
	maxPoints  = 16
	pointTries = 5
)

// rendezvousLoop finds peers at rendezvous points and lists this node there (network-apps.md §1.5). A point is any peer
// that serves the protocol. A nil loop does nothing.
type rendezvousLoop struct {
	n      *node
	client *rendezvous.Client
	wake   chan struct{}

	mu     sync.Mutex
	points map[PeerID]*point
}

type point struct {
	cookie     []byte
	discovered time.Time // the last time it answered
	registered time.Time // until when; zero = not
	failures   int
}

func newRendezvousLoop(n *node) *rendezvousLoop {
	return &rendezvousLoop{
		n: n, client: rendezvous.NewClient(n.host, n.m.key), wake: make(chan struct{}, 1), points: map[PeerID]*point{},
	}
}

func (r *rendezvousLoop) identified(e event.EvtPeerIdentificationCompleted) {
	if r == nil || !slices.Contains(e.Protocols, rendezvous.Protocol) {
		return
	}
	r.mu.Lock()
	if r.points[e.Peer] == nil && len(r.points) < maxPoints {
		r.points[e.Peer] = &point{}
	}
	r.mu.Unlock()
	signal(r.wake)
}

// addressesChanged makes the points hear of the new ones.
func (r *rendezvousLoop) addressesChanged() {
	if r == nil {
		return
	}
	r.mu.Lock()
	for _, p := range r.points {
		p.registered = time.Time{}
	}
	r.mu.Unlock()
	signal(r.wake)
}

func (r *rendezvousLoop) serve(ctx context.Context) {
	tick := time.NewTicker(r.n.m.opts.Rendezvous.Interval)
	defer tick.Stop()
	defer r.unregister()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
		}
		for id, p := range r.snapshot() {
			r.visit(ctx, id, p)
		}
	}
}

func (r *rendezvousLoop) snapshot() map[PeerID]point {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[PeerID]point, len(r.points))
	for id, p := range r.points {
		out[id] = *p
	}
	return out
}

// visit discovers and registers, each when it is time.
func (r *rendezvousLoop) visit(ctx context.Context, id PeerID, p point) {
	var errs []error
	if time.Since(p.discovered) >= r.n.m.opts.Rendezvous.Throttle {
		errs = append(errs, r.discover(ctx, id, p.cookie))
	}
	if addrs := r.external(); len(addrs) > 0 && time.Until(p.registered) < r.n.m.opts.Rendezvous.Interval && r.mayRegister(id) {
		errs = append(errs, r.register(ctx, id, addrs))
	}
	err := errors.Join(errs...)
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.points[id]
	switch {
	case one == nil:
	case err == nil:
		one.failures = 0
	default:
		r.n.m.log.Debug("rendezvous point", "peer", id, "err", err)
		one.cookie = nil // it may be what the point did not like
		if one.failures++; one.failures >= pointTries {
			delete(r.points, id) // until it is met again
		}
	}
}

func (r *rendezvousLoop) discover(ctx context.Context, id PeerID, cookie []byte) error {
	found, err := r.client.Discover(ctx, id, r.n.m.opts.Rendezvous.Namespace, cookie)
	r.n.m.metrics.rendezvous.WithLabelValues("discover", outcome(err)).Inc()
	if err != nil {
		return err
	}
	r.mu.Lock()
	if p := r.points[id]; p != nil {
		p.cookie, p.discovered = found.Cookie, time.Now()
	}
	r.mu.Unlock()
	r.n.keeper.keep(wayRendezvous, found.Peers...)
	return nil
}

func (r *rendezvousLoop) register(ctx context.Context, id PeerID, addrs []ma.Multiaddr) error {
	ttl, err := r.client.Register(ctx, id, r.n.m.opts.Rendezvous.Namespace, addrs)
	r.n.m.metrics.rendezvous.WithLabelValues("register", outcome(err)).Inc()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.points[id]; p != nil {
		p.registered = time.Now().Add(ttl)
	}
	return nil
}

// mayRegister keeps the number of points that list this node below the limit.
func (r *rendezvousLoop) mayRegister(id PeerID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	others := 0
	for other, p := range r.points {
		if other != id && p.registered.After(time.Now()) {
			others++
		}
	}
	return others < r.n.m.opts.Rendezvous.Registrations
}

// external are the addresses that others elsewhere can dial: public ones, those of relays, and what the configuration
// advertises.
func (r *rendezvousLoop) external() []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, a := range r.n.host.Addrs() {
		if manet.IsPublicAddr(a) || isRelayed(a) || slices.ContainsFunc(r.n.advertised, a.Equal) {
			out = append(out, a)
		}
	}
	return out[:min(len(out), maxPeerAddrs)]
}

// unregister says good-bye at the end, within a moment.
func (r *rendezvousLoop) unregister() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var leaving sync.WaitGroup
	for id, p := range r.snapshot() {
		if p.registered.After(time.Now()) && r.n.connected(id) {
			leaving.Go(func() {
				err := r.client.Unregister(ctx, id, r.n.m.opts.Rendezvous.Namespace)
				r.n.m.metrics.rendezvous.WithLabelValues("unregister", outcome(err)).Inc()
			})
		}
	}
	leaving.Wait()
}
