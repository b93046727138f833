package network

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multistream"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// pingsAtOnce bounds the connections that are tried at the same time.
	pingsAtOnce = 16
	// doubtTime is how long an old connection has to answer when its peer opened another.
	doubtTime = 2 * time.Second
)

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
		for _, c := range n.host.Network().Conns() {
			places <- struct{}{}
			pings.Go(func() {
				defer func() { <-places }()
				n.try(ctx, c, n.m.opts.PingTimeout)
			})
		}
		pings.Wait()
	}
}

// doubt tries the other connections of a peer that opened one more: a peer that died and came back would otherwise get
// gossip and streams on its old ones until those time out.
func (n *node) doubt(_ p2p.Network, fresh p2p.Conn) {
	for _, c := range n.host.Network().ConnsToPeer(fresh.RemotePeer()) {
		if c == fresh || !n.enter() {
			continue
		}
		go func() {
			defer n.work.Done()
			n.try(n.ctx, c, doubtTime)
		}()
	}
}

// try closes a connection that does not answer in time.
func (n *node) try(ctx context.Context, c p2p.Conn, timeout time.Duration) {
	pingCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	took, err := pingConn(pingCtx, c)
	var notServed multistream.ErrNotSupported[protocol.ID]
	var reset *p2p.StreamError
	switch {
	case err == nil:
		n.m.metrics.ping.Observe(took.Seconds())
	case ctx.Err() != nil || c.IsClosed() || errors.As(err, &notServed) || errors.Is(err, p2p.ErrResourceLimitExceeded):
	case errors.As(err, &reset) && reset.Remote: // an answer too: libp2p lets a peer have two pings at once, on all its connections
	default:
		n.m.log.Info("a connection does not answer and is closed", "peer", c.RemotePeer(),
			"address", c.RemoteMultiaddr().String(), "err", err)
		if err := c.Close(); err != nil {
			n.m.log.Debug("connection not closed", "peer", c.RemotePeer(), "err", err)
		}
	}
}

// pingConn measures a round trip on one connection.
func pingConn(ctx context.Context, c p2p.Conn) (time.Duration, error) {
	s, err := c.NewStream(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = s.Reset() }() // nothing on it matters any more
	if err := s.SetProtocol(ping.ID); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	took, err := echo(s)
	if ctx.Err() != nil {
		return 0, fmt.Errorf("ping: %w", ctx.Err())
	}
	return took, err
}

func echo(s p2p.Stream) (time.Duration, error) {
	if err := multistream.SelectProtoOrFail[protocol.ID](ping.ID, s); err != nil {
		return 0, err
	}
	var sent, got [ping.PingSize]byte
	_, _ = rand.Read(sent[:]) // never fails
	began := time.Now()
	if _, err := s.Write(sent[:]); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(s, got[:]); err != nil {
		return 0, err
	}
	if !bytes.Equal(sent[:], got[:]) {
		return 0, errkind.Corrupt.Errorf("the peer answers a ping with other bytes")
	}
	return time.Since(began), nil
}
