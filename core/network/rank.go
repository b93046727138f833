package network

import (
	"slices"
	"time"

	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// quicDelay is how long QUIC waits for TCP on one host or in a local network.
const quicDelay = 300 * time.Millisecond

// rankDials prefers TCP for near addresses, where there is nothing to traverse: it costs less, and the kernel tells at
// once when the other process died. Far ones keep the library's order, QUIC first.
func rankDials(all []ma.Multiaddr) []p2p.AddrDelay {
	var near []p2p.AddrDelay
	far := slices.DeleteFunc(slices.Clone(all), func(a ma.Multiaddr) bool {
		if isRelayed(a) || !manet.IsIPLoopback(a) && !manet.IsPrivateAddr(a) {
			return false
		}
		delay := quicDelay
		if _, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			delay = 0
		}
		near = append(near, p2p.AddrDelay{Addr: a, Delay: delay})
		return true
	})
	if !slices.ContainsFunc(near, func(a p2p.AddrDelay) bool { return a.Delay == 0 }) { // nothing to wait for
		for i := range near {
			near[i].Delay = 0
		}
	}
	slices.SortStableFunc(near, func(a, b p2p.AddrDelay) int { return int(a.Delay - b.Delay) })
	return append(near, swarm.DefaultDialRanker(far)...)
}
