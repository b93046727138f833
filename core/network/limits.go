package network

import (
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/x/rate"
)

// What one peer may hold. Both ends may dial at once, over each transport; more are a fault.
const (
	connsPerPeer   = 8
	streamsPerPeer = 128
	memoryPerPeer  = 48 << 20 // a few frames of 8 MiB, and the buffers of its connections
	connsPerIP     = 8
)

// connGrace is how long a new connection is safe from being trimmed.
const connGrace = 20 * time.Second

// loopback and private are where many nodes share an address for good reasons: one host, or one NAT.
var (
	loopbackNets = prefixes("127.0.0.0/8", "::1/128")
	privateNets  = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7",
		"fe80::/10")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// ipNets are prefixes as package net has them.
func ipNets(list ...netip.Prefix) []*net.IPNet {
	out := make([]*net.IPNet, len(list))
	for i, p := range list {
		out[i] = &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	}
	return out
}

// newResourceManager bounds connections, streams and memory: of all peers, of one peer, and of one address.
func newResourceManager(o Options) (p2p.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	conns := rcmgr.LimitVal(o.MaxPeers * 2)
	streams := rcmgr.LimitVal(o.MaxPeers * 32)
	partial := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: conns, ConnsInbound: conns, ConnsOutbound: conns, FD: conns,
			Streams: streams, StreamsInbound: streams, StreamsOutbound: streams, Memory: rcmgr.LimitVal64(o.MaxMemory),
		},
		Transient: rcmgr.ResourceLimits{
			Conns: conns / 2, ConnsInbound: conns / 2, ConnsOutbound: conns / 2, FD: conns / 2,
			Streams: streams / 8, StreamsInbound: streams / 8, StreamsOutbound: streams / 8,
			Memory: rcmgr.LimitVal64(o.MaxMemory / 4),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns: connsPerPeer, ConnsInbound: connsPerPeer, ConnsOutbound: connsPerPeer, FD: connsPerPeer,
			Streams: streamsPerPeer, StreamsInbound: streamsPerPeer, StreamsOutbound: streamsPerPeer, Memory: memoryPerPeer,
		},
		ProtocolDefault: rcmgr.ResourceLimits{
			Streams: streams, StreamsInbound: streams, StreamsOutbound: streams, Memory: rcmgr.LimitVal64(o.MaxMemory),
		},
		ProtocolPeerDefault: rcmgr.ResourceLimits{
			Streams: streamsPerPeer / 2, StreamsInbound: streamsPerPeer / 2, StreamsOutbound: streamsPerPeer / 2,
			Memory: memoryPerPeer,
		},
		ProtocolPeer: map[protocol.ID]rcmgr.ResourceLimits{},
	}
	limiter := rcmgr.NewFixedLimiter(partial.Build(scaling.Scale(int64(o.MaxMemory), 2*o.MaxPeers)))
	v4, v6 := prefixLimits(o.MaxPeers)
	return rcmgr.NewResourceManager(limiter, rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsPerIP}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsPerIP}, {PrefixLength: 48, ConnCount: 8 * connsPerIP}}),
		rcmgr.WithNetworkPrefixLimit(v4, v6),
		rcmgr.WithConnRateLimiters(connRates()))
}

func prefixLimits(maxPeers int) (v4, v6 []rcmgr.NetworkPrefixLimit) {
	add := func(p netip.Prefix, conns int) {
		limit := rcmgr.NetworkPrefixLimit{Network: p, ConnCount: conns}
		if p.Addr().Is4() {
			v4 = append(v4, limit)
		} else {
			v6 = append(v6, limit)
		}
	}
	for _, p := range loopbackNets {
		add(p, math.MaxInt)
	}
	for _, p := range privateNets {
		add(p, 2*maxPeers)
	}
	return v4, v6
}

// connRates bounds how fast one address may connect; a peer that comes and goes needs far less.
func connRates() *rate.Limiter {
	limits := make([]rate.PrefixLimit, 0, len(loopbackNets)+len(privateNets))
	for _, p := range loopbackNets {
		limits = append(limits, rate.PrefixLimit{Prefix: p})
	}
	for _, p := range privateNets {
		limits = append(limits, rate.PrefixLimit{Prefix: p, Limit: rate.Limit{RPS: 50, Burst: 500}})
	}
	return &rate.Limiter{
		NetworkPrefixLimits: limits,
		SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: 0.5, Burst: 4 * connsPerIP}}},
			IPv6SubnetLimits: []rate.SubnetLimit{
				{PrefixLength: 56, Limit: rate.Limit{RPS: 0.5, Burst: 4 * connsPerIP}},
				{PrefixLength: 48, Limit: rate.Limit{RPS: 1, Burst: 16 * connsPerIP}},
			},
			GracePeriod: time.Minute,
		},
	}
}

// newConnManager closes the least useful connections above MaxPeers, down to three quarters of it.
func newConnManager(o Options) (*connmgr.BasicConnMgr, error) {
	return connmgr.NewConnManager(o.MaxPeers*3/4, o.MaxPeers, connmgr.WithGracePeriod(connGrace))
}
