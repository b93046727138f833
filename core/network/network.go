// Package network is the NetworkManager: it owns the libp2p host of the node — transports, gossip, the DHT, streams,
// discovery — and speaks the protocols of the Rust node (docs/design/network.md). It moves bytes and knows who sent them;
// what they mean is its callers' part. Callers use Client; handlers and the validator are given before the actor runs,
// so that the host has them before it listens or dials.
package network

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// PeerID is the id of a node, as libp2p has it: the bytes of a multihash in a string. String shows 12D3Koo….
type PeerID = peer.ID

// ParsePeerID reads the text form.
func ParsePeerID(text string) (PeerID, error) {
	id, err := peer.Decode(text)
	return id, errkind.Invalid.Wrap(err)
}

// PeerIDOf is the id of the node with a key.
func PeerIDOf(key domain.PublicKey) (PeerID, error) {
	public, err := crypto.UnmarshalEd25519PublicKey(key[:])
	if err != nil {
		return "", errkind.Invalid.Wrap(err)
	}
	return peer.IDFromPublicKey(public)
}

const (
	kadPrefix = "/calimero"
	// protocolVersion is what a build of the reference's sources announces through identify; nobody checks it.
	protocolVersion = "/calimero-network/0.0.0"
)

// DefaultInviteTopic is where specialized nodes are looked for. Every node is subscribed to it, which also keeps the
// connections between nodes of the reference alive (network-apps.md §8, row 5).
const DefaultInviteTopic = "mero_specialized_node_invites"

// ErrNoPeers is in the error of Publish when no connected peer is in the topic; the text is the topic's. It is worth a
// repetition once there is one.
var ErrNoPeers = errors.New("no peers subscribed to topic")

// Options of the network. What is zero gets the default named with it, if there is one.
type Options struct {
	// Key is the node's identity.
	Key domain.PrivateKey
	// Listen are the multiaddrs to listen on: TCP and QUIC v1; port 0 takes a free one. None: the node only dials.
	Listen []string
	// Advertise are multiaddrs that others shall know besides those listened on.
	Advertise []string
	// AdvertisePublicIP asks PublicIPService for the node's public IPv4 at start and advertises it with the ports of
	// Listen.
	AdvertisePublicIP bool
	PublicIPService   string
	// Bootstrap are multiaddrs of peers, ending in /p2p/<id>, that the node stays connected to.
	Bootstrap []string
	// MDNS finds peers in the local network; it needs an interface that can multicast.
	MDNS bool
	// LocalDir is a folder in which the nodes of one user on one host tell each other their addresses; "" = none.
	LocalDir   string
	Rendezvous Rendezvous
	// RelayReservations is how many relays the node lets reach it at most, when it is not publicly reachable; 0 = none.
	RelayReservations int
	// AutoNAT asks peers which of the node's addresses are reachable, and answers such questions.
	AutoNAT bool
	// InviteTopic is DefaultInviteTopic when empty.
	InviteTopic string
	// MaxPeers (256) is how many peers are kept; MaxMemory (256 MiB) what streams and connections may buffer.
	MaxPeers  int
	MaxMemory uint64
	// Events is the capacity of the event queue (1,000).
	Events int
	// Redial (1 s) and RedialMax (1 min) are the first and the longest pause before a lost peer is dialled again.
	Redial, RedialMax time.Duration
	// Ping (15 s) is how often connections are tried; one without an answer for PingTimeout (20 s) is closed.
	Ping, PingTimeout time.Duration
	// Tolerated (10,000) is how many gossip messages that are not accepted a peer may hand on at once, and each second a
	// twentieth of it.
	Tolerated int
	// Agent is the program's name and version, for identify.
	Agent string
	// Mailbox is the actor's capacity; 0 = the actor's default.
	Mailbox    int
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Rendezvous says how rendezvous points are used. An empty Namespace: not at all.
type Rendezvous struct {
	Namespace string
	// Interval (90 s) between discoveries; Throttle (120 s) how long a point rests after one.
	Interval, Throttle time.Duration
	// Registrations (3) is the number of points the node registers at.
	Registrations int
}

const (
	maxMaxPeers  = 16_384
	maxBootstrap = 1_024
)

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	count := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&o.Rendezvous.Interval, 90*time.Second)
	set(&o.Rendezvous.Throttle, 120*time.Second)
	count(&o.Rendezvous.Registrations, 3)
	set(&o.Redial, time.Second)
	set(&o.RedialMax, time.Minute)
	set(&o.Ping, 15*time.Second)
	set(&o.PingTimeout, 20*time.Second)
	count(&o.MaxPeers, 256)
	count(&o.Events, 1000)
	count(&o.Tolerated, 10_000)
	if o.MaxMemory == 0 {
		o.MaxMemory = 256 << 20
	}
	if o.InviteTopic == "" {
		o.InviteTopic = DefaultInviteTopic
	}
	if o.PublicIPService == "" {
		o.PublicIPService = "https://api.ipify.org"
	}
	if o.Agent == "" {
		o.Agent = "calimero-go"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// manager is what outlives restarts of the host.
type manager struct {
	opts      Options
	key       crypto.PrivKey
	id        PeerID
	listen    []ma.Multiaddr
	advertise []ma.Multiaddr
	bootstrap []peer.AddrInfo
	metrics   *metrics
	events    *eventQueue
	log       *slog.Logger
	routerLog *slog.Logger

	mu        sync.Mutex
	begun     bool // an incarnation has begun: no more handlers
	handlers  map[protocol.ID]*inbound
	validator Validator
	topics    map[string]struct{} // that the node wants to be in
	node      *node               // the running incarnation
	started   chan struct{}
	startErr  error // of the first incarnation

	// running bounds the requests at work.
	running chan struct{}
}

const maxRunning = 1024

// Actor is the NetworkManager.
type Actor struct {
	*actor.Actor[message]
	m *manager
}

// message is a request to the manager: it runs on a goroutine of its own.
type message interface {
	run(ctx context.Context, n *node)
	fail(err error)
}

type request[R any] struct {
	fn    func(ctx context.Context, n *node) (R, error)
	reply actor.Reply[R]
}

func (r request[R]) fail(err error) { r.reply.Fail(err) }

func (r request[R]) run(ctx context.Context, n *node) {
	r.reply.Do(func() (R, error) { return r.fn(ctx, n) })
}

// New checks the options and makes the actor; nothing listens before a supervisor serves it.
func New(opts Options) (*Actor, error) {
	m, err := newManager(opts.withDefaults())
	if err != nil {
		return nil, err
	}
	a := actor.New("network-manager", actor.Options{Capacity: opts.Mailbox, Hooks: m.metrics.hooks()},
		func(context.Context) (actor.Handler[message], error) {
			n, err := m.begin()
			if err != nil {
				return nil, err
			}
			return n, nil
		})
	return &Actor{Actor: a, m: m}, nil
}

func newManager(o Options) (*manager, error) {
	if o.MaxPeers > maxMaxPeers {
		return nil, errkind.Invalid.Errorf("a node can keep %d peers, not %d", maxMaxPeers, o.MaxPeers)
	}
	public := o.Key.Public()
	key, err := crypto.UnmarshalEd25519PrivateKey(slices.Concat(o.Key[:], public[:]))
	if err != nil {
		return nil, errkind.Invalid.Errorf("read the node's key: %w", err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, errkind.Invalid.Errorf("make the node's peer id: %w", err)
	}
	m := &manager{
		opts: o, key: key, id: id, metrics: newMetrics(o.Registerer), log: o.Logger,
		routerLog: slog.New(quiet{o.Logger.Handler()}),
		handlers:  map[protocol.ID]*inbound{}, topics: map[string]struct{}{o.InviteTopic: {}},
		started: make(chan struct{}), running: make(chan struct{}, maxRunning),
	}
	m.events = newEventQueue(o.Events, m.metrics, m.eventsFull())
	if m.listen, err = addresses("listen on", o.Listen); err != nil {
		return nil, err
	}
	if m.advertise, err = addresses("advertise", o.Advertise); err != nil {
		return nil, err
	}
	if len(o.Bootstrap) > maxBootstrap {
		return nil, errkind.Invalid.Errorf("there are %d bootstrap addresses; %d are allowed", len(o.Bootstrap), maxBootstrap)
	}
	m.bootstrap, err = peerInfos(o.Bootstrap)
	return m, err
}

// eventsFull logs that events are lost, once in ten seconds.
func (m *manager) eventsFull() func() {
	var mu sync.Mutex
	var last time.Time
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) > 10*time.Second {
			last = now
			m.log.Warn("network events are lost: the node does not keep up", "queue", m.opts.Events)
		}
	}
}

func addresses(verb string, list []string) ([]ma.Multiaddr, error) {
	var out []ma.Multiaddr
	for _, s := range list {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, errkind.Invalid.Errorf("%s %q: %w", verb, s, err)
		}
		out = append(out, a)
	}
	return out, nil
}

// peerInfos puts addresses of one peer together, in the order of first mention.
func peerInfos(list []string) ([]peer.AddrInfo, error) {
	var out []peer.AddrInfo
	for _, s := range list {
		info, err := peer.AddrInfoFromString(s)
		if err != nil {
			return nil, errkind.Invalid.Errorf("bootstrap address %q must end in /p2p/<peer id>: %w", s, err)
		}
		i := slices.IndexFunc(out, func(p peer.AddrInfo) bool { return p.ID == info.ID })
		if i < 0 {
			out = append(out, *info)
			continue
		}
		out[i].Addrs = append(out[i].Addrs, info.Addrs...)
	}
	return out, nil
}

// begin starts a host. The first start's error is what Started tells.
func (m *manager) begin() (*node, error) {
	m.mu.Lock()
	m.begun = true
	m.mu.Unlock()
	n, err := m.open()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.node = n
	select {
	case <-m.started:
	default:
		m.startErr = err
		close(m.started)
	}
	return n, err
}

func (m *manager) current() *node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.node
}

func (m *manager) currentValidator() Validator {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.validator
}

func (m *manager) tooMany() error {
	m.metrics.refused.Inc()
	return errkind.Retryable(errkind.Exhausted.Errorf("too many requests to the network at once (%d)", cap(m.running)))
}

// tooLate is for what must be set before the host is there.
func tooLate(what string) error {
	return errkind.Precondition.Errorf("the network runs already: %s is set before", what)
}
