package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// node is one incarnation: the host and all that lives with it.
type node struct {
	m *manager
	// ctx ends first, with all work; router, DHT and host have one of their own that ends after it.
	ctx, hostCtx       context.Context
	cancel, cancelHost context.CancelFunc

	host       host.Host
	advertised []ma.Multiaddr
	gossip     *gossip
	kad        *kad
	bus        event.Subscription // of what the host tells
	keeper     *keeper
	relays     *relays         // nil without
	points     *rendezvousLoop // nil without
	dials      *gates

	// topicsMu keeps the topics wanted and those joined the same.
	topicsMu sync.Mutex

	mu      sync.Mutex
	closing bool
	work    sync.WaitGroup
}

// open builds a host and starts all that belongs to it. Whatever answers peers is registered before the host listens or
// dials: a peer of the reference asks once, and never again on that connection (network-apps.md §8, row 23).
func (m *manager) open() (_ *node, err error) {
	n := &node{m: m, dials: newGates(opensPerPeer)}
	n.hostCtx, n.cancelHost = context.WithCancel(context.Background())
	n.ctx, n.cancel = context.WithCancel(n.hostCtx)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start the network: %w", err), n.close())
		}
	}()
	if n.advertised, err = m.publicAddresses(n.ctx); err != nil {
		return nil, err
	}
	n.relays = newRelays(n)
	if n.host, err = m.newHost(n); err != nil {
		return nil, err
	}
	n.keeper = newKeeper(n)
	if err := n.registerAll(); err != nil {
		return nil, err
	}
	if err := n.listen(); err != nil {
		return nil, err
	}
	return n, n.startBackground()
}

// newHost makes a host that neither listens nor dials yet.
func (m *manager) newHost(n *node) (host.Host, error) {
	resources, err := newResourceManager(m.opts)
	if err != nil {
		return nil, fmt.Errorf("set the limits: %w", err)
	}
	conns, err := newConnManager(m.opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set the limits: %w", err), resources.Close())
	}
	opts := []libp2p.Option{
		libp2p.Identity(m.key),
		libp2p.NoListenAddrs,
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(quic.NewTransport),
		libp2p.Security(tls.ID, tls.New),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ProtocolVersion(protocolVersion),
		libp2p.UserAgent(m.opts.Agent),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionManager(conns),
		libp2p.AddrsFactory(func(all []ma.Multiaddr) []ma.Multiaddr {
			return announced(slices.Concat(n.advertised, n.relays.addresses()), all)
		}),
		libp2p.SwarmOpts(swarm.WithDialRanker(rankDials)),
		libp2p.EnableRelay(),
		libp2p.EnableHolePunching(),
		libp2p.DisableMetrics(),
	}
	if m.opts.AutoNAT {
		opts = append(opts, libp2p.EnableAutoNATv2())
	}
	h, err := libp2p.New(opts...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the host: %w", err), conns.Close(), resources.Close())
	}
	return h, nil
}

// maxAnnounced bounds the addresses in identify, whose message a peer of the reference reads up to 4,096 bytes.
const maxAnnounced = 24

// announced puts the addresses that help most first and drops what is too much.
func announced(advertise, all []ma.Multiaddr) []ma.Multiaddr {
	out := slices.Clone(advertise)
	for _, a := range all {
		if !slices.ContainsFunc(out, a.Equal) {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b ma.Multiaddr) int { return addressRank(a) - addressRank(b) })
	return out[:min(len(out), maxAnnounced)]
}

func addressRank(a ma.Multiaddr) int {
	switch {
	case manet.IsIPLoopback(a):
		return 3
	case manet.IsPublicAddr(a):
		return 0
	case isRelayed(a):
		return 1
	}
	return 2
}

func isRelayed(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

func (n *node) registerAll() (err error) {
	n.bus, err = n.host.EventBus().Subscribe([]any{
		new(event.EvtPeerConnectednessChanged), new(event.EvtPeerIdentificationCompleted), new(event.EvtLocalAddressesUpdated),
		new(event.EvtLocalReachabilityChanged),
	}, eventbus.BufSize(256))
	if err != nil {
		return fmt.Errorf("listen to the host: %w", err)
	}
	if n.m.opts.Rendezvous.Namespace != "" {
		n.points = newRendezvousLoop(n)
	}
	if n.gossip, err = newGossip(n, n.host); err != nil {
		return fmt.Errorf("start gossip: %w", err)
	}
	n.m.mu.Lock()
	for id, in := range n.m.handlers {
		n.host.SetStreamHandler(id, func(raw p2p.Stream) {
			if !n.enter() {
				_ = raw.ResetWithError(p2p.StreamShutdown)
				return
			}
			defer n.work.Done()
			in.serve(n.ctx, raw)
		})
	}
	topics := make([]string, 0, len(n.m.topics))
	for t := range n.m.topics {
		topics = append(topics, t)
	}
	n.m.mu.Unlock()
	if n.kad, err = newKad(n); err != nil {
		return fmt.Errorf("start the DHT: %w", err)
	}
	for _, t := range topics {
		if err := n.gossip.subscribe(t); err != nil {
			return err
		}
	}
	return nil
}

// listen takes all addresses or fails, but for IPv6 on a machine without it.
func (n *node) listen() error {
	var failed []error
	for _, a := range n.m.listen {
		err := n.host.Network().Listen(a)
		if err == nil {
			continue
		}
		err = fmt.Errorf("listen on %s: %w", a, err)
		if _, ip6 := a.ValueForProtocol(ma.P_IP6); ip6 == nil && noSuchAddress(err) {
			n.m.log.Warn("address skipped: this machine has no IPv6", "address", a.String(), "err", err)
			continue
		}
		failed = append(failed, err)
	}
	if len(failed) > 0 {
		return errkind.Unavailable.Errorf("%w; is another node running? swarm.listen in config.toml, or network.swarm_port, "+
			"names another port", errors.Join(failed...))
	}
	return nil
}

func noSuchAddress(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

func (n *node) startBackground() error {
	addresses := make(chan struct{}, 1)
	n.work.Go(func() { n.m.events.serve(n.ctx) })
	n.work.Go(func() { n.watch(addresses) })
	n.work.Go(func() { n.keeper.serve(n.ctx) })
	n.work.Go(func() { n.pingPeers(n.ctx) })
	n.work.Go(func() { n.kad.serve(n.ctx) })
	n.work.Go(func() { n.announceListening(addresses) })
	if n.relays != nil {
		n.work.Go(func() { n.relays.serve(n.ctx) })
	}
	if n.points != nil {
		n.work.Go(func() { n.points.serve(n.ctx) })
	}
	if n.m.opts.MDNS {
		n.work.Go(func() { n.serveMDNS(n.ctx) })
	}
	if n.m.opts.LocalDir != "" {
		n.work.Go(func() { n.serveLocal(n.ctx) })
	}
	n.host.Network().Notify(&p2p.NotifyBundle{ConnectedF: n.doubt})
	n.keeper.keep(wayBootstrap, n.m.bootstrap...)
	if err := n.kad.bootstrap(n.ctx); err != nil {
		return fmt.Errorf("start the DHT: %w", err)
	}
	return nil
}

// watch follows the host's own events.
func (n *node) watch(addresses chan<- struct{}) {
	connected := map[PeerID]bool{}
	for {
		select {
		case <-n.ctx.Done():
			return
		case e, ok := <-n.bus.Out():
			if !ok {
				return
			}
			switch e := e.(type) {
			case event.EvtPeerConnectednessChanged:
				n.connectedness(connected, e)
			case event.EvtPeerIdentificationCompleted:
				n.relays.identified(e)
				n.points.identified(e)
			case event.EvtLocalReachabilityChanged:
				n.relays.reachability(e.Reachability)
			case event.EvtLocalAddressesUpdated:
				signal(addresses)
				n.points.addressesChanged()
			}
		}
	}
}

func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default: // one is pending already
	}
}

func (n *node) connectedness(connected map[PeerID]bool, e event.EvtPeerConnectednessChanged) {
	up := e.Connectedness == p2p.Connected || e.Connectedness == p2p.Limited
	if up == connected[e.Peer] {
		return
	}
	if up {
		connected[e.Peer] = true
		n.m.events.put(PeerConnected{Peer: e.Peer})
	} else {
		delete(connected, e.Peer)
		n.gossip.trace.forget(e.Peer)
		n.relays.forget(e.Peer)
		n.m.events.put(PeerDisconnected{Peer: e.Peer})
	}
	n.m.metrics.peers.Set(float64(len(connected)))
	n.keeper.connectedness(e.Peer, up)
}

// announceListening tells the addresses listened on, now and when they change.
func (n *node) announceListening(changed <-chan struct{}) {
	told := map[string]bool{}
	for {
		for _, a := range n.listenAddrs() {
			if !told[a] {
				told[a] = true
				n.m.log.Info("listening", "address", a+"/p2p/"+n.m.id.String())
				n.m.events.put(Listening{Address: a})
			}
		}
		select {
		case <-n.ctx.Done():
			return
		case <-changed:
		}
	}
}

// listenAddrs are the addresses of interfaces, with the ports taken.
func (n *node) listenAddrs() []string {
	all, err := n.host.Network().InterfaceListenAddresses()
	if err != nil {
		n.m.log.Warn("addresses of this machine", "err", err)
	}
	var out []string
	for _, a := range all {
		if !isRelayed(a) {
			out = append(out, a.String())
		}
	}
	return out
}

func (n *node) subscribe(topic string) error {
	n.topicsMu.Lock()
	defer n.topicsMu.Unlock()
	if err := n.gossip.subscribe(topic); err != nil {
		return err
	}
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	n.m.topics[topic] = struct{}{}
	return nil
}

func (n *node) unsubscribe(topic string) error {
	n.topicsMu.Lock()
	defer n.topicsMu.Unlock()
	n.m.mu.Lock()
	delete(n.m.topics, topic)
	n.m.mu.Unlock()
	return n.gossip.unsubscribe(topic)
}

// dial connects to the peer at an address.
func (n *node) dial(ctx context.Context, address string) (PeerID, error) {
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return "", errkind.Invalid.Errorf("dial %q: the address must end in /p2p/<peer id>: %w", address, err)
	}
	return info.ID, n.connect(ctx, *info)
}

func (n *node) connect(ctx context.Context, info peer.AddrInfo) error {
	n.clearBackoff(info.ID)
	err := n.host.Connect(ctx, info)
	n.m.metrics.dials.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		return errkind.Retryable(errkind.Unavailable.Errorf("dial %s: %w", info.ID, err))
	}
	return nil
}

// enter takes part in the incarnation; false when it ends. Whoever entered calls work.Done.
func (n *node) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return false
	}
	n.work.Add(1)
	return true
}

// Handle starts the work of one message.
func (n *node) Handle(ctx context.Context, msg message) {
	select {
	case n.m.running <- struct{}{}:
	default:
		msg.fail(n.m.tooMany())
		return
	}
	if !n.enter() {
		<-n.m.running
		msg.fail(errkind.Retryable(errkind.Unavailable.Errorf("the network is closing")))
		return
	}
	go func() {
		defer func() { <-n.m.running; n.work.Done() }()
		msg.run(ctx, n)
	}()
}

// Stop ends the incarnation and waits for all that belongs to it.
func (n *node) Stop() {
	n.m.mu.Lock()
	n.m.node = nil
	n.m.mu.Unlock()
	if err := n.close(); err != nil {
		n.m.log.Warn("network stopped", "err", err)
	}
}

func (n *node) close() error {
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	n.cancel()
	n.work.Wait()
	var all []error
	if n.host != nil {
		// First, so that nobody is told that the topics are left: a router does not let in again for a while who left.
		for _, p := range n.host.Network().Peers() {
			all = append(all, n.host.Network().ClosePeer(p))
		}
	}
	if n.gossip != nil {
		all = append(all, n.gossip.close())
	}
	if n.kad != nil {
		all = append(all, n.kad.close())
	}
	if n.bus != nil {
		all = append(all, n.bus.Close())
	}
	n.cancelHost()
	if n.host != nil {
		all = append(all, n.host.Close())
	}
	n.m.metrics.peers.Set(0)
	return errors.Join(all...)
}
