package bench_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

// frames counts what goes over the connections to the plugins, in interceptors of gRPC: nothing of the code under test
// has a hand in it.
type frames struct {
	unary              atomic.Int64 // calls of the storage plugin; there are none but the commit
	streams            atomic.Int64 // streams opened
	laneSent, laneRead atomic.Int64 // messages on the runtime plugin's lanes
	other              atomic.Int64 // health checks and the like
}

func (f *frames) options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
			invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if strings.HasSuffix(method, "/Health") {
				f.other.Add(1)
			} else {
				f.unary.Add(1)
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			f.streams.Add(1)
			s, err := open(ctx, desc, cc, method, opts...)
			if err != nil || !strings.HasSuffix(method, "/Lane") {
				return s, err
			}
			return countedStream{s, f}, nil
		}),
	}
}

type countedStream struct {
	grpc.ClientStream
	f *frames
}

func (s countedStream) SendMsg(m any) error {
	s.f.laneSent.Add(1)
	return s.ClientStream.SendMsg(m)
}

func (s countedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.f.laneRead.Add(1)
	}
	return err
}

type counts struct{ unary, streams, sent, read int64 }

func (f *frames) counts() counts {
	return counts{f.unary.Load(), f.streams.Load(), f.laneSent.Load(), f.laneRead.Load()}
}

// TestRoundTripsOnTheWire: a warm call is one frame to the runtime plugin and one back, and one unary call to the storage
// plugin if it commits, whatever the number of keys.
func TestRoundTripsOnTheWire(t *testing.T) {
	t.Parallel()
	var f frames
	x := newHosted(t, f.options()...).context(t, "kv")
	fill(t, x.call)
	const n = 50
	measure := func(method string, args func(int) []byte) counts {
		before := f.counts()
		for i := range n {
			require.NoError(t, x.call(t.Context(), method, args(i)))
		}
		after := f.counts()
		return counts{after.unary - before.unary, after.streams - before.streams, after.sent - before.sent, after.read - before.read}
	}
	require.Equal(t, counts{unary: n, sent: n, read: n}, measure("set", setArgs), "set")
	require.Equal(t, counts{sent: n, read: n}, measure("get", getArgs), "get")
	// A key that was never there costs more: the runtime's copy cannot know that its rows are absent. They are asked for
	// alone, the rest of the state does not travel again.
	fresh := measure("set", func(i int) []byte { return fmt.Appendf(nil, `{"key":"new-%d","value":"v"}`, i) })
	require.LessOrEqual(t, fresh.sent, int64(3*n), "set of new keys")
	require.LessOrEqual(t, fresh.unary, int64(3*n), "set of new keys")
	require.Zero(t, fresh.streams, "set of new keys")
}
