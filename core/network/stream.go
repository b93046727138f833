package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	p2p "github.com/libp2p/go-libp2p/core/network"

	"github.com/calimero-go/core/core/network/frame"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxFrame is the largest payload of a frame, in bytes.
const MaxFrame = frame.MaxPayload

// DefaultFrameTimeout bounds the reading or writing of one frame.
const DefaultFrameTimeout = 30 * time.Second

// ErrReset is in the error of a stream that the peer or the network cut off. A peer may do so after its last message
// (network-apps.md §8, row 3); a reader that has all it waits for takes it as the end.
var ErrReset = errors.New("stream reset")

// Stream is a framed stream to a peer. One goroutine may read while another writes; Close, CloseWrite and Reset may be
// called at any time, by any. Whoever got the stream from OpenStream must Close or Reset it.
type Stream struct {
	raw     p2p.Stream
	peer    PeerID
	timeout time.Duration
	metrics *metrics

	// held is what the last frame read reserved of the memory that the resource manager grants.
	mu     sync.Mutex
	held   int
	closed bool
	once   sync.Once
}

func newStream(raw p2p.Stream, timeout time.Duration, m *metrics) *Stream {
	if timeout <= 0 {
		timeout = DefaultFrameTimeout
	}
	return &Stream{raw: raw, peer: raw.Conn().RemotePeer(), timeout: timeout, metrics: m}
}

// Peer is the other end; its identity is proven by the connection.
func (s *Stream) Peer() PeerID { return s.peer }

// Protocol is the stream's protocol id.
func (s *Stream) Protocol() string { return string(s.raw.Protocol()) }

// ReadFrame reads one frame with at most limit bytes of payload (0 = MaxFrame); the bytes are the caller's. It takes at
// most the stream's frame timeout, and ends with ctx. The error is io.EOF when the peer ended the stream between frames;
// kind TooLarge for a longer frame, Deadline, Exhausted when the node has no memory for it; ErrReset is in the error when
// the stream was cut off. After an error other than io.EOF the stream is of no use and has been reset.
func (s *Stream) ReadFrame(ctx context.Context, limit int) ([]byte, error) {
	if limit <= 0 {
		limit = MaxFrame
	}
	if err := s.release(false); err != nil {
		return nil, err
	}
	var payload []byte
	err := s.within(ctx, s.raw.SetReadDeadline, func() (err error) {
		payload, err = frame.Read(s.raw, limit, s.reserve)
		return err
	})
	switch {
	case err == nil:
		s.metrics.streamBytes("in", s.raw.Protocol(), frame.HeaderSize+len(payload))
		return payload, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	}
	s.Reset()
	return nil, s.explain(ctx, "read from", err)
}

// WriteFrame writes one frame. It takes at most the stream's frame timeout, and ends with ctx. Payloads over MaxFrame are
// of kind TooLarge and leave the stream as it was; after any other error it has been reset.
func (s *Stream) WriteFrame(ctx context.Context, payload []byte) error {
	if len(payload) > MaxFrame {
		return errkind.TooLarge.Errorf("a frame of %d bytes cannot be sent; %d are allowed", len(payload), MaxFrame)
	}
	err := s.within(ctx, s.raw.SetWriteDeadline, func() error { return frame.Write(s.raw, payload) })
	if err == nil {
		s.metrics.streamBytes("out", s.raw.Protocol(), frame.HeaderSize+len(payload))
		return nil
	}
	s.Reset()
	return s.explain(ctx, "write to", err)
}

// within runs fn under the frame timeout and ctx.
func (s *Stream) within(ctx context.Context, setDeadline func(time.Time) error, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	deadline := time.Now().Add(s.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := setDeadline(deadline); err != nil {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = setDeadline(time.Unix(1, 0)) // a stream that is closed already ends fn too
	})
	err := fn()
	if !stop() {
		<-interrupted
	}
	return err
}

func (s *Stream) reserve(bytes int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrReset
	}
	if err := s.raw.Scope().ReserveMemory(bytes, p2p.ReservationPriorityMedium); err != nil {
		return errkind.Retryable(errkind.Exhausted.Wrap(err))
	}
	s.held += bytes
	return nil
}

// release gives back what the last frame held; closing does it for good.
func (s *Stream) release(closing bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errkind.Unavailable.Errorf("the stream to %s is closed", s.peer)
	}
	if s.held > 0 {
		s.raw.Scope().ReleaseMemory(s.held)
		s.held = 0
	}
	s.closed = closing
	return nil
}

// CloseWrite tells the peer that nothing more comes; reading goes on.
func (s *Stream) CloseWrite() error {
	if err := s.raw.CloseWrite(); err != nil {
		return s.explain(context.Background(), "end the stream to", err)
	}
	return nil
}

// Close ends both directions; what was written is still delivered. Further calls do nothing.
func (s *Stream) Close() error {
	if s.end() {
		if err := s.raw.Close(); err != nil {
			return s.explain(context.Background(), "close the stream to", err)
		}
	}
	return nil
}

// Reset cuts the stream off; what was written may be lost. After Close it does nothing.
func (s *Stream) Reset() {
	if s.end() {
		_ = s.raw.Reset() // nothing is left to do with a stream that cannot be reset
	}
}

func (s *Stream) end() (first bool) {
	s.once.Do(func() {
		first = true
		_ = s.release(true)
	})
	return first
}

// explain gives an error of the transport its kind.
func (s *Stream) explain(ctx context.Context, verb string, err error) error {
	err = fmt.Errorf("%s %s (%s): %w", verb, s.peer, s.raw.Protocol(), err)
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return errkind.Canceled.Wrap(err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errkind.Deadline.Wrap(err)
	case errors.Is(err, p2p.ErrReset):
		return errkind.Retryable(errkind.Unavailable.Errorf("%w: %w", ErrReset, err))
	case errkind.Of(err) != errkind.Unknown:
		return err
	}
	return errkind.Retryable(errkind.Unavailable.Wrap(err))
}
