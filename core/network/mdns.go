package network

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// mdnsRetry is how long a machine without a network that can multicast is left alone.
const mdnsRetry = 30 * time.Second

// serveMDNS finds peers in the local network, with the names and records of the reference. It starts anew when the
// addresses of the node change, since what it answers is fixed at its start.
func (n *node) serveMDNS(ctx context.Context) {
	changes, err := n.host.EventBus().Subscribe(new(event.EvtLocalAddressesUpdated))
	if err != nil {
		n.m.log.Error("mDNS is off", "err", err)
		return
	}
	defer changes.Close()
	quiet := false // said already that there is no network
	for ctx.Err() == nil {
		service := mdns.NewMdnsService(n.host, mdns.ServiceName, found{n})
		err := service.Start()
		if err != nil && !quiet {
			n.m.log.Info("no network for mDNS; peers are found by other ways until there is one", "err", err)
		}
		retry := time.NewTimer(mdnsRetry)
		if quiet = err != nil; !quiet {
			retry.Stop()
		}
		select {
		case <-ctx.Done():
		case <-changes.Out():
		case <-retry.C:
		}
		retry.Stop()
		if err := service.Close(); err != nil {
			n.m.log.Debug("mDNS not closed", "err", err)
		}
	}
}

// found takes what mDNS finds.
type found struct{ n *node }

// HandlePeerFound is called by the service on goroutines of its own.
func (f found) HandlePeerFound(info peer.AddrInfo) { f.n.keeper.keep(wayMDNS, info) }
