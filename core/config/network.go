package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/multiformats/go-multiaddr"
)

// Network is the peer-to-peer network.
type Network struct {
	// Listen are multiaddrs, TCP and QUIC v1. In config.hcl, none stands for SwarmPort on all addresses.
	Listen    []string
	SwarmPort uint16
	// Advertise are multiaddrs told to others besides those listened on; AdvertisePublicIP asks a service for the public
	// address at start (config.toml's discovery.advertise_address).
	Advertise         []string
	AdvertisePublicIP bool
	// Bootstrap are multiaddrs of peers, ending in /p2p/<id>.
	Bootstrap []string
	// MDNS looks for peers in the local network, LocalDiscovery for nodes of this user on this host: LocalAuto, LocalOff,
	// or a folder.
	MDNS           bool
	LocalDiscovery string
	Rendezvous     Rendezvous
	// Relays is the number of relays that may be asked to relay to this node.
	Relays int
	// AutoNAT asks peers whether the node's addresses are reachable.
	AutoNAT bool
	// InviteTopic is where specialized nodes are looked for.
	InviteTopic string
	// MaxPeers are kept; MaxMemory, in bytes, is what connections and streams may buffer.
	MaxPeers  int
	MaxMemory uint64
}

// Values of Network.LocalDiscovery besides a folder.
const (
	// LocalAuto looks for other nodes in a folder of the user's, as long as MDNS is on.
	LocalAuto = "auto"
	// LocalOff does not.
	LocalOff = "off"
)

// Rendezvous says how rendezvous points are used; an empty Namespace: not at all.
type Rendezvous struct {
	Namespace string
	// Interval between discoveries; Throttle is how long one point rests after it answered.
	Interval, Throttle time.Duration
	// Registrations is the number of points the node registers at.
	Registrations int
}

func defaultNetwork() Network {
	return Network{
		SwarmPort: 2428, MDNS: true, LocalDiscovery: LocalAuto, Relays: 3, AutoNAT: true,
		Rendezvous: Rendezvous{Namespace: "/calimero/devnet/global", Interval: 90 * time.Second, Throttle: 2 * time.Minute,
			Registrations: 3},
		InviteTopic: "mero_specialized_node_invites", MaxPeers: 256, MaxMemory: 256 << 20,
	}
}

// SwarmAddresses are where to listen: Listen, or SwarmPort on all addresses.
func (n *Network) SwarmAddresses() []string {
	if n.Listen != nil {
		return n.Listen
	}
	return SwarmAddresses([]string{"0.0.0.0", "::"}, n.SwarmPort)
}

// SwarmAddresses are the multiaddrs of TCP and QUIC on each host, which is a numeric address.
func SwarmAddresses(hosts []string, port uint16) []string {
	var out []string
	for _, h := range hosts {
		family := "ip4"
		if strings.Contains(h, ":") {
			family = "ip6"
		}
		out = append(out, fmt.Sprintf("/%s/%s/tcp/%d", family, h, port), fmt.Sprintf("/%s/%s/udp/%d/quic-v1", family, h, port))
	}
	return out
}

// Bounds, the same in both files.
const (
	maxRegistrations           = 100
	minDiscovery, maxDiscovery = time.Second, 24 * time.Hour
	minThrottle, maxThrottle   = time.Second, 24 * time.Hour
	maxTopicName               = 256
	maxNamespaceName           = 255
	minPeers, maxPeers         = 8, 16_384
	minNetMemory, maxNetMemory = 64 << 20, 64 << 30
	secondsPerMinute           = 60
	// What init writes, as the reference does.
	autoNATCandidates, autoNATInterval = 5, 10 * time.Second
	maxDiscoverySecs, maxNanos         = int64(maxDiscovery / time.Second), int64(time.Second) - 1
)

func (c *Config) decodeNetwork(d *decoder, b *hcl.Block) {
	n := &c.Network
	local := n.LocalDiscovery
	d.body("network", b.Body, []field{
		number("swarm_port", &n.SwarmPort, 0, 65535),
		texts("listen", &n.Listen, swarmAddress),
		texts("advertise", &n.Advertise, anyAddress),
		texts("bootstrap", &n.Bootstrap, bootstrapAddress),
		boolean("mdns", &n.MDNS),
		text("local_discovery", &local, path),
		number("relays", &n.Relays, 0, maxRegistrations),
		boolean("autonat", &n.AutoNAT),
		text("invite_topic", &n.InviteTopic, topicName),
		number("max_peers", &n.MaxPeers, minPeers, maxPeers),
		size("max_memory", &n.MaxMemory, minNetMemory, maxNetMemory),
	}, []child{{name: "rendezvous", read: func(b *hcl.Block) {
		r := &n.Rendezvous
		d.body("network.rendezvous", b.Body, []field{
			text("namespace", &r.Namespace, namespaceName),
			duration("interval", &r.Interval, minDiscovery, maxDiscovery),
			duration("throttle", &r.Throttle, minThrottle, maxThrottle),
			number("registrations", &r.Registrations, 1, maxRegistrations),
		}, nil)
	}}})
	for _, list := range []*[]string{&n.Listen, &n.Advertise, &n.Bootstrap} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if local != LocalAuto && local != LocalOff {
		absolute, err := c.resolve(local)
		if err != nil {
			d.errorf(d.ranges["network.local_discovery"], "Invalid value for network.local_discovery", "%s.", sentence(err))
			return
		}
		local = absolute
	}
	n.LocalDiscovery = local
}

// anyAddress wants a multiaddr.
func anyAddress(s string) error {
	if _, err := multiaddr.NewMultiaddr(s); err != nil {
		return fmt.Errorf("%q is not a multiaddr: %w", s, err)
	}
	return nil
}

// swarmAddress wants a multiaddr that this node can listen on.
func swarmAddress(s string) error {
	a, err := multiaddr.NewMultiaddr(s)
	if err != nil {
		return fmt.Errorf("%q is not a multiaddr: %w", s, err)
	}
	var protocols []string
	for _, c := range a {
		protocols = append(protocols, c.Protocol().Name)
	}
	ip := len(protocols) > 0 && (protocols[0] == "ip4" || protocols[0] == "ip6")
	if !ip || !slices.Equal(protocols[1:], []string{"tcp"}) && !slices.Equal(protocols[1:], []string{"udp", "quic-v1"}) {
		return fmt.Errorf("%q cannot be listened on; write /ip4/<address>/tcp/<port> or /ip4/<address>/udp/<port>/quic-v1, or "+
			"the same with ip6", s)
	}
	return nil
}

func bootstrapAddress(s string) error {
	a, err := multiaddr.NewMultiaddr(s)
	if err != nil {
		return fmt.Errorf("%q is not a multiaddr: %w", s, err)
	}
	if len(a) == 0 || a[len(a)-1].Code() != multiaddr.P_P2P {
		return fmt.Errorf("%q: a bootstrap address must end in /p2p/<peer id>", s)
	}
	return nil
}

func topicName(s string) error {
	if s == "" || len(s) > maxTopicName || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("a topic has 1 to %d bytes without spaces", maxTopicName)
	}
	return nil
}

func namespaceName(s string) error {
	if len(s) > maxNamespaceName || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("a namespace has at most %d bytes and no control characters", maxNamespaceName)
	}
	return nil
}

// discoveryKeys is [discovery] of config.toml.
type discoveryKeys struct {
	MDNS       *bool `toml:"mdns"`
	Advertise  *bool `toml:"advertise_address"`
	Rendezvous *struct {
		Namespace     *string       `toml:"namespace"`
		RPM           *float64      `toml:"discovery_rpm"`
		Interval      *durationKeys `toml:"discovery_interval"`
		Registrations *int64        `toml:"registrations_limit"`
	} `toml:"rendezvous"`
	Relay *struct {
		Registrations *int64 `toml:"registrations_limit"`
	} `toml:"relay"`
	AutoNAT *struct {
		MaxCandidates *int64        `toml:"max_candidates"`
		ProbeInterval *durationKeys `toml:"probe_interval"`
	} `toml:"autonat"`
}

type durationKeys struct {
	Secs  int64 `toml:"secs"`
	Nanos int64 `toml:"nanos"`
}

func (k *durationKeys) valid() bool {
	return k.Secs >= 0 && k.Secs <= maxDiscoverySecs && k.Nanos >= 0 && k.Nanos <= maxNanos && k.duration() > 0
}

func (k *durationKeys) duration() time.Duration {
	return time.Duration(k.Secs)*time.Second + time.Duration(k.Nanos)
}

func (f *NodeFile) validateNetwork(bad func(key, format string, args ...any)) {
	k := &f.known
	if k.Swarm != nil {
		for _, a := range k.Swarm.Listen {
			if err := swarmAddress(a); err != nil {
				bad("swarm.listen", "%s.", sentence(err))
			}
		}
	}
	if k.Bootstrap != nil {
		for _, a := range k.Bootstrap.Nodes {
			if err := bootstrapAddress(a); err != nil {
				bad("bootstrap.nodes", "%s.", sentence(err))
			}
		}
	}
	if k.Specialized != nil && k.Specialized.InviteTopic != "" {
		if err := topicName(k.Specialized.InviteTopic); err != nil {
			bad("specialized_node.invite_topic", "%s.", sentence(err))
		}
	}
	if k.Discovery != nil {
		k.Discovery.validate(bad)
	}
}

func (k *discoveryKeys) validate(bad func(key, format string, args ...any)) {
	count := func(key string, n *int64) {
		if n != nil && (*n < 1 || *n > maxRegistrations) {
			bad("discovery."+key, "It must be from 1 to %d.", maxRegistrations)
		}
	}
	period := func(key string, d *durationKeys) {
		if d != nil && !d.valid() {
			bad("discovery."+key, "It must be a table {secs = …, nanos = …} of more than nothing and at most %v.", maxDiscovery)
		}
	}
	if r := k.Rendezvous; r != nil {
		if r.Namespace != nil {
			if err := namespaceName(*r.Namespace); err != nil {
				bad("discovery.rendezvous.namespace", "%s.", sentence(err))
			}
		}
		if r.RPM != nil && !(*r.RPM > 0 && *r.RPM <= math.MaxInt32) {
			bad("discovery.rendezvous.discovery_rpm", "It must be a number above 0.")
		}
		period("rendezvous.discovery_interval", r.Interval)
		count("rendezvous.registrations_limit", r.Registrations)
	}
	if k.Relay != nil {
		count("relay.registrations_limit", k.Relay.Registrations)
	}
	if k.AutoNAT != nil {
		if n := k.AutoNAT.MaxCandidates; n != nil && *n < 1 {
			bad("discovery.autonat.max_candidates", "It must be at least 1.")
		}
		period("autonat.probe_interval", k.AutoNAT.ProbeInterval)
	}
}

// overlay puts the values of config.toml in place of those of config.hcl. Those of autonat are checked only: the library
// has numbers of its own.
func (n *Network) overlay(k *nodeKeys) {
	if n.Listen = k.Swarm.Listen; n.Listen == nil {
		n.Listen = []string{}
	}
	if k.Bootstrap != nil {
		n.Bootstrap = k.Bootstrap.Nodes
	}
	if k.Specialized != nil && k.Specialized.InviteTopic != "" {
		n.InviteTopic = k.Specialized.InviteTopic
	}
	if d := k.Discovery; d != nil {
		n.overlayDiscovery(d)
	}
}

func (n *Network) overlayDiscovery(d *discoveryKeys) {
	replace(&n.MDNS, d.MDNS)
	replace(&n.AdvertisePublicIP, d.Advertise)
	if r := d.Rendezvous; r != nil {
		replace(&n.Rendezvous.Namespace, r.Namespace)
		if r.RPM != nil { // how often a minute one point is asked
			throttle := secondsPerMinute / *r.RPM
			n.Rendezvous.Throttle = time.Duration(min(throttle, maxThrottle.Seconds()) * float64(time.Second))
		}
		if r.Interval != nil {
			n.Rendezvous.Interval = r.Interval.duration()
		}
		if r.Registrations != nil {
			n.Rendezvous.Registrations = int(*r.Registrations)
		}
	}
	if d.Relay != nil && d.Relay.Registrations != nil {
		n.Relays = int(*d.Relay.Registrations)
	}
}

func replace[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}
