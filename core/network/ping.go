package network

import (
	"context"
	"errors"
	"sync"
	"time"

	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multistream"
)

// pingsAtOnce bounds the peers that are asked at the same time.
const pingsAtOnce = 16

// pingPeers tries the connections now and then, and closes dead ones: TCP alone takes many minutes to notice that a
// network was cut, and until then the peer counts as connected and is not dialled.
func (n *node) pingPeers(ctx context.Context) {
	tick := time.NewTicker(n.m.opts.Ping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var pings sync.WaitGroup
		places := make(chan struct{}, pingsAtOnce)
		for _, p := range n.host.Network().Peers() {
			places <- struct{}{}
			pings.Go(func() {
				defer func() { <-places }()
				n.pingPeer(ctx, p)
			})
		}
		pings.Wait()
	}
}

func (n *node) pingPeer(ctx context.Context, p PeerID) {
	pingCtx, cancel := context.WithTimeout(p2p.WithNoDial(ctx, "ping"), n.m.opts.PingTimeout)
	defer cancel()
	var result ping.Result
	select {
	case result = <-ping.Ping(pingCtx, n.host, p):
	case <-pingCtx.Done():
		result.Error = pingCtx.Err()
	}
	var notServed multistream.ErrNotSupported[protocol.ID]
	switch {
	case ctx.Err() != nil || errors.As(result.Error, &notServed) || errors.Is(result.Error, p2p.ErrNoConn):
	case result.Error != nil:
		n.m.log.Info("peer does not answer, its connections are closed", "peer", p, "err", result.Error)
		if err := n.host.Network().ClosePeer(p); err != nil {
			n.m.log.Debug("connections not closed", "peer", p, "err", err)
		}
	default:
		n.m.metrics.ping.Observe(result.RTT.Seconds())
	}
}
