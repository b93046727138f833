package network

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// StreamHandler serves one stream that a peer opened. The stream is closed when it returns, and ctx ends with the
// stream's time or the host.
type StreamHandler func(ctx context.Context, s *Stream)

// StreamLimits bound the streams that peers open for one protocol. What is zero gets the default named with it.
type StreamLimits struct {
	// PerPeer (8) and Total (128) streams at once; a further one is reset. When all places are taken, a peer with fewer
	// streams gets that of the oldest stream of the peer with most: so a few peers cannot keep all others out.
	PerPeer, Total int
	// Frame bounds the reading or writing of one frame (DefaultFrameTimeout), Whole the life of a stream (5 min).
	Frame, Whole time.Duration
}

func (l StreamLimits) withDefaults() StreamLimits {
	if l.PerPeer <= 0 {
		l.PerPeer = 8
	}
	if l.Total <= 0 {
		l.Total = 128
	}
	if l.Frame <= 0 {
		l.Frame = DefaultFrameTimeout
	}
	if l.Whole <= 0 {
		l.Whole = 5 * time.Minute
	}
	return l
}

// inbound is a protocol that this node serves.
type inbound struct {
	protocol protocol.ID
	handler  StreamHandler
	limits   StreamLimits
	metrics  *metrics
	log      *slog.Logger

	mu    sync.Mutex
	open  map[PeerID][]*place // the oldest first
	total int
}

// place is what a stream takes of the limits; end ends the stream.
type place struct{ end context.CancelFunc }

// serve is the host's handler of the protocol; ctx ends with the host.
func (in *inbound) serve(ctx context.Context, raw p2p.Stream) {
	peer := raw.Conn().RemotePeer()
	ctx, cancel := context.WithTimeout(ctx, in.limits.Whole)
	defer cancel()
	own := &place{end: cancel}
	if !in.enter(peer, own) {
		in.metrics.streams.WithLabelValues(string(in.protocol), "in", "refused").Inc()
		_ = raw.ResetWithError(p2p.StreamResourceLimitExceeded)
		return
	}
	defer in.leave(peer, own)
	s := newStream(raw, in.limits.Frame, in.metrics)
	// A handler that forgets ctx is freed all the same, once it touches the stream.
	stop := context.AfterFunc(ctx, s.Reset)
	defer stop()
	err := in.run(ctx, s)
	in.metrics.streams.WithLabelValues(string(in.protocol), "in", outcome(err)).Inc()
	if err != nil {
		in.log.Error("stream handler failed", "protocol", in.protocol, "peer", peer, "err", err)
		s.Reset()
		return
	}
	if err := s.Close(); err != nil {
		in.log.Debug("stream not closed", "protocol", in.protocol, "peer", peer, "err", err)
	}
}

// run calls the handler; its error is a panic.
func (in *inbound) run(ctx context.Context, s *Stream) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	in.handler(ctx, s)
	return nil
}

func (in *inbound) enter(p PeerID, own *place) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	mine := len(in.open[p])
	if mine >= in.limits.PerPeer || in.total >= in.limits.Total && !in.displace(mine) {
		return false
	}
	in.open[p] = append(in.open[p], own)
	in.total++
	return true
}

// displace ends the oldest stream of the peer with most, if a peer with mine streams has fewer all the same afterwards, or
// as many.
func (in *inbound) displace(mine int) bool {
	var most PeerID
	for p, places := range in.open {
		if len(places) > len(in.open[most]) {
			most = p
		}
	}
	if len(in.open[most]) < mine+2 {
		return false
	}
	in.metrics.streams.WithLabelValues(string(in.protocol), "in", "displaced").Inc()
	oldest := in.open[most][0]
	in.remove(most, oldest)
	oldest.end()
	return true
}

func (in *inbound) leave(p PeerID, own *place) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.remove(p, own)
}

func (in *inbound) remove(p PeerID, own *place) {
	i := slices.Index(in.open[p], own)
	if i < 0 {
		return // displaced before
	}
	in.total--
	if in.open[p] = slices.Delete(in.open[p], i, i+1); len(in.open[p]) == 0 {
		delete(in.open, p)
	}
}
