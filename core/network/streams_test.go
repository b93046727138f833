package network_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// serving sets a handler before the node runs.
func serving(t *testing.T, id string, l network.StreamLimits, h network.StreamHandler) func(*network.Client) {
	t.Helper()
	return func(c *network.Client) { require.NoError(t, c.SetStreamHandler(id, l, h)) }
}

// echo sends back each frame until the peer ends the stream.
func echo(ctx context.Context, s *network.Stream) {
	for {
		payload, err := s.ReadFrame(ctx, 0)
		if err != nil || s.WriteFrame(ctx, payload) != nil {
			return
		}
	}
}

// stranger is a plain libp2p host, for what a peer may do that our nodes do not.
func stranger(t *testing.T, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics(), libp2p.ResourceManager(&p2p.NullResourceManager{}),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// knows connects a stranger to a node.
func knows(t *testing.T, h host.Host, n *testNode) {
	t.Helper()
	info, err := peer.AddrInfoFromString(n.address(t, "tcp"))
	require.NoError(t, err)
	require.NoError(t, h.Connect(within(t), *info))
}

func TestStreams(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tcp", "quic-v1"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := start(t, options(t), serving(t, wire.SyncProtocol, network.StreamLimits{}, echo))
			a := start(t, options(t))
			a.dial(t, b, kind)
			s, err := a.OpenStream(within(t), b.LocalPeerID(), wire.SyncProtocol)
			require.NoError(t, err)
			require.Equal(t, b.LocalPeerID(), s.Peer())
			require.Equal(t, wire.SyncProtocol, s.Protocol())
			require.True(t, a.Supports(b.LocalPeerID(), wire.SyncProtocol))
			require.False(t, a.Supports(b.LocalPeerID(), wire.BlobProtocol))
			for _, size := range []int{0, 1, 70_000, network.MaxFrame} {
				payload := bytes.Repeat([]byte{byte(size)}, size)
				require.NoError(t, s.WriteFrame(within(t), payload))
				got, err := s.ReadFrame(within(t), 0)
				require.NoError(t, err)
				require.True(t, bytes.Equal(payload, got), "%d bytes", size)
			}
			require.NoError(t, s.CloseWrite())
			_, err = s.ReadFrame(within(t), 0)
			require.Equal(t, io.EOF, err)
			require.NoError(t, s.Close())
			require.NoError(t, s.Close(), "again")
			_, err = s.ReadFrame(within(t), 0)
			require.ErrorIs(t, err, errkind.Unavailable)

			_, err = a.OpenStream(within(t), b.LocalPeerID(), wire.BlobProtocol)
			require.ErrorIs(t, err, errkind.Unavailable, "nobody serves it")
			require.ErrorContains(t, err, wire.BlobProtocol)
			_, err = a.OpenStream(within(t), a.LocalPeerID(), wire.SyncProtocol)
			require.ErrorIs(t, err, errkind.Invalid)
		})
	}
}

func TestHandlersAreSetBefore(t *testing.T) {
	t.Parallel()
	n := start(t, options(t), serving(t, "/a", network.StreamLimits{}, echo), func(c *network.Client) {
		require.ErrorIs(t, c.SetStreamHandler("/a", network.StreamLimits{}, echo), errkind.AlreadyExists)
	})
	require.ErrorIs(t, n.SetStreamHandler("/b", network.StreamLimits{}, echo), errkind.Precondition)
	require.ErrorIs(t, n.SetValidator(nil), errkind.Precondition)
}

// TestOversizedFrames: neither side takes nor sends more than allowed, and a length alone costs nothing.
func TestOversizedFrames(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	n := start(t, options(t), serving(t, wire.SyncProtocol, network.StreamLimits{}, func(ctx context.Context, s *network.Stream) {
		_, err := s.ReadFrame(ctx, 1000)
		ended <- err
	}))
	h := stranger(t)
	knows(t, h, n)
	for _, length := range []uint32{1001, network.MaxFrame + 1, 1<<32 - 1} {
		s, err := h.NewStream(within(t), n.LocalPeerID(), wire.SyncProtocol)
		require.NoError(t, err)
		_, err = s.Write(binary.BigEndian.AppendUint32(nil, length))
		require.NoError(t, err)
		require.ErrorIs(t, <-ended, errkind.TooLarge)
		_, err = io.ReadAll(s)
		require.ErrorIs(t, err, p2p.ErrReset)
	}
	a := start(t, options(t))
	a.dial(t, n, "tcp")
	s, err := a.OpenStream(within(t), n.LocalPeerID(), wire.SyncProtocol)
	require.NoError(t, err)
	require.ErrorIs(t, s.WriteFrame(within(t), make([]byte, network.MaxFrame+1)), errkind.TooLarge)
	require.NoError(t, s.WriteFrame(within(t), []byte("fits")), "the stream is as it was")
	require.NoError(t, <-ended)
	require.NoError(t, s.Close())
}

// TestSlowStreamsEnd: a peer that sends a byte now and then holds a stream for the time of a frame, not for ever.
func TestSlowStreamsEnd(t *testing.T) {
	t.Parallel()
	const frameTime = 300 * time.Millisecond
	ended := make(chan error, 2)
	n := start(t, options(t),
		serving(t, "/slow", network.StreamLimits{Frame: frameTime}, func(ctx context.Context, s *network.Stream) {
			_, err := s.ReadFrame(ctx, 0)
			ended <- err
		}),
		serving(t, "/never", network.StreamLimits{Whole: frameTime}, func(ctx context.Context, s *network.Stream) {
			_, err := s.ReadFrame(ctx, 0)
			ended <- err
		}),
		serving(t, "/deaf", network.StreamLimits{Frame: frameTime}, func(ctx context.Context, s *network.Stream) {
			for {
				if err := s.WriteFrame(ctx, make([]byte, 1<<20)); err != nil {
					ended <- err
					return
				}
			}
		}))
	h := stranger(t)
	knows(t, h, n)
	for _, name := range []string{"/slow", "/never", "/deaf"} {
		began := time.Now()
		s, err := h.NewStream(within(t), n.LocalPeerID(), protocol.ID(name))
		require.NoError(t, err)
		_, err = s.Write([]byte{0, 0, 1})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var drip sync.WaitGroup
		if name == "/slow" {
			drip.Go(func() {
				for ctx.Err() == nil {
					if _, err := s.Write([]byte{1}); err != nil {
						return
					}
					select {
					case <-ctx.Done():
					case <-time.After(20 * time.Millisecond):
					}
				}
			})
		}
		err = <-ended
		require.Contains(t, []errkind.Kind{errkind.Deadline, errkind.Unavailable}, errkind.Of(err), "%s: %v", name, err)
		require.GreaterOrEqual(t, time.Since(began), frameTime/2)
		cancel()
		drip.Wait()
		require.NoError(t, s.Reset())
	}
}

func TestCanceledReadsEnd(t *testing.T) {
	t.Parallel()
	b := start(t, options(t), serving(t, "/hold", network.StreamLimits{}, func(ctx context.Context, _ *network.Stream) { <-ctx.Done() }))
	a := start(t, options(t))
	a.dial(t, b, "tcp")
	s, err := a.OpenStream(within(t), b.LocalPeerID(), "/hold")
	require.NoError(t, err)
	require.NoError(t, s.WriteFrame(within(t), nil)) // settles the protocol
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan error, 1)
	go func() {
		_, err := s.ReadFrame(ctx, 0)
		read <- err
	}()
	cancel()
	require.ErrorIs(t, <-read, errkind.Canceled)
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	_, err = a.OpenStream(ctx, b.LocalPeerID(), "/hold")
	require.Equal(t, errkind.Canceled, errkind.Of(err))
	// The stop of a node ends its handlers.
	b.stop()
}

// TestStreamLimits: a peer gets its share and no more, and another peer still gets one.
func TestStreamLimits(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	var open atomic.Int32
	n := start(t, options(t), serving(t, "/held", network.StreamLimits{PerPeer: 3, Total: 5}, func(ctx context.Context, s *network.Stream) {
		open.Add(1)
		defer open.Add(-1)
		_ = s.WriteFrame(t.Context(), []byte("in"))
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}))
	admitted := func(h host.Host) bool {
		s, err := h.NewStream(within(t), n.LocalPeerID(), "/held")
		require.NoError(t, err)
		_, err = io.ReadFull(s, make([]byte, 6))
		if err != nil {
			require.ErrorIs(t, err, p2p.ErrReset)
		}
		return err == nil
	}
	count := func(h host.Host) (in int) {
		for range 5 {
			if admitted(h) {
				in++
			}
		}
		return in
	}
	first, second, third := stranger(t), stranger(t), stranger(t)
	for _, h := range []host.Host{first, second, third} {
		knows(t, h, n)
	}
	require.Equal(t, 3, count(first))
	require.Equal(t, 2, count(second))
	require.Equal(t, 1, count(third), "it takes the place of one of those who have most, and no more than its share")
	require.Eventually(t, func() bool { return open.Load() == 5 }, wait, time.Millisecond)
	require.Equal(t, 0, count(first))
	close(gate)
	require.Eventually(t, func() bool { return open.Load() == 0 }, wait, time.Millisecond)
	require.Eventually(t, func() bool { return admitted(third) }, wait, 10*time.Millisecond, "places come back")
}

// TestHandlerThatPanics ends its own stream and nothing else.
func TestHandlerThatPanics(t *testing.T) {
	t.Parallel()
	n := start(t, options(t), serving(t, "/panic", network.StreamLimits{}, func(context.Context, *network.Stream) { panic("no") }),
		serving(t, "/echo", network.StreamLimits{}, echo))
	a := start(t, options(t))
	a.dial(t, n, "tcp")
	s, err := a.OpenStream(within(t), n.LocalPeerID(), "/panic")
	require.NoError(t, err)
	_, err = s.ReadFrame(within(t), 0)
	require.ErrorIs(t, err, network.ErrReset)
	require.True(t, errkind.IsRetryable(err))
	s, err = a.OpenStream(within(t), n.LocalPeerID(), "/echo")
	require.NoError(t, err)
	require.NoError(t, s.WriteFrame(within(t), []byte("still here")))
	got, err := s.ReadFrame(within(t), 0)
	require.NoError(t, err)
	require.Equal(t, "still here", string(got))
	s.Reset()
}
