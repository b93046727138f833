package network

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"
)

// maxEars is how many streams of one peer the router listens to: one on each of its connections.
const maxEars = 4

// ears is the host as the gossip router has it: all streams of a peer are one. A Rust peer has a stream on each connection, of
// which there are two when both sides dial at once, and writes to any of them; the router would reset one for the other, and
// what the peer says only once, such as that it enters a topic, would be lost.
type ears struct {
	host.Host

	mu   sync.Mutex
	open map[PeerID]*ear
}

func newEars(h host.Host) *ears { return &ears{Host: h, open: map[PeerID]*ear{}} }

// SetStreamHandler has the handler called with the streams of one peer as one.
func (e *ears) SetStreamHandler(id protocol.ID, handler p2p.StreamHandler) {
	e.Host.SetStreamHandler(id, func(s p2p.Stream) { e.hear(s, handler) })
}

// hear passes on what comes on a stream until it ends.
func (e *ears) hear(s p2p.Stream, handler p2p.StreamHandler) {
	p := s.Conn().RemotePeer()
	e.mu.Lock()
	one, known := e.open[p]
	switch {
	case !known:
		one = &ear{
			Stream: s, streams: map[p2p.Stream]struct{}{}, frames: make(chan []byte), ended: make(chan struct{}), stop: make(chan struct{}),
		}
		one.quit = sync.OnceFunc(func() { close(one.stop) })
		e.open[p] = one
	case len(one.streams) >= maxEars:
		e.mu.Unlock()
		_ = s.Reset() // it says nothing else
		return
	}
	one.streams[s] = struct{}{}
	e.mu.Unlock()
	if !known {
		go func() {
			handler(one)
			e.forget(p, one)
		}()
	}

	err := one.listen(s)
	if errors.Is(err, io.EOF) {
		err = s.Close()
	}
	if err != nil {
		_ = s.Reset()
	}
	e.mu.Lock()
	delete(one.streams, s)
	last := len(one.streams) == 0
	if last && e.open[p] == one {
		delete(e.open, p)
	}
	e.mu.Unlock()
	if last {
		close(one.ended)
	}
}

// forget ends all streams of a peer that the router reads no more.
func (e *ears) forget(p PeerID, one *ear) {
	one.quit()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[p] == one {
		delete(e.open, p)
	}
	for s := range one.streams {
		_ = s.Reset()
	}
}

// topicsAtOnce is how many topics are in one message.
const topicsAtOnce = maxRPC / (2 * maxTopic)

// repeat says to the router, in the name of a peer, that it is in topics. It does not block.
func (e *ears) repeat(p PeerID, topics []string) {
	e.mu.Lock()
	one := e.open[p]
	e.mu.Unlock()
	if one == nil {
		return // it says so itself on the stream that it opens
	}
	go func() {
		yes := true
		for some := range slices.Chunk(topics, topicsAtOnce) {
			var rpc pb.RPC
			for i := range some {
				rpc.Subscriptions = append(rpc.Subscriptions, &pb.RPC_SubOpts{Subscribe: &yes, Topicid: &some[i]})
			}
			msg, err := rpc.Marshal()
			if err != nil || !one.say(msg) {
				return // the first cannot happen; then there is no peer
			}
		}
	}()
}

// ear is all streams of a peer as one, of which it is the first in all that is not said here.
type ear struct {
	p2p.Stream
	streams map[p2p.Stream]struct{} // under the lock of ears
	frames  chan []byte
	rest    []byte
	ended   chan struct{} // when no stream is left
	stop    chan struct{} // when the router reads no more
	quit    func()
}

// listen hands on the frames of a stream, one at a time.
func (e *ear) listen(s p2p.Stream) error {
	r := msgio.NewVarintReaderSize(s, maxRPC)
	for {
		msg, err := r.ReadMsg()
		if err != nil {
			r.ReleaseMsg(msg)
			return err
		}
		ok := e.say(msg)
		r.ReleaseMsg(msg)
		if !ok {
			return p2p.ErrReset
		}
	}
}

// say hands on one frame, and waits for the one before; false when nobody reads any more. It does not keep msg.
func (e *ear) say(msg []byte) bool {
	frame := append(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen32+len(msg)), uint64(len(msg))), msg...)
	select {
	case e.frames <- frame:
		return true
	case <-e.ended:
	case <-e.stop:
	}
	return false
}

// Read is for one reader.
func (e *ear) Read(b []byte) (int, error) {
	if len(e.rest) == 0 {
		select {
		case e.rest = <-e.frames:
		case <-e.ended:
			return 0, io.EOF
		case <-e.stop:
			return 0, p2p.ErrReset
		}
	}
	n := copy(b, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// Reset has all streams ended.
func (e *ear) Reset() error {
	e.quit()
	return nil
}

// Close does nothing: the streams are closed one by one as they end.
func (e *ear) Close() error { return nil }
