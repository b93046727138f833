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
	unary          atomic.Int64 // calls that open no stream: reads of the storage plugin
	streams        atomic.Int64 // streams opened
	lanes, commits messages     // on the runtime plugin's lanes and on the storage plugin's Apply streams
	other          atomic.Int64 // health checks and the like
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
			switch {
			case err != nil:
			case strings.HasSuffix(method, "/Lane"):
				return countedStream{s, &f.lanes}, nil
			case strings.HasSuffix(method, "/Apply"):
				return countedStream{s, &f.commits}, nil
			}
			return s, err
		}),
	}
}

// messages counts those of streams.
type messages struct{ sent, read atomic.Int64 }

type countedStream struct {
	grpc.ClientStream
	m *messages
}

func (s countedStream) SendMsg(m any) error {
	s.m.sent.Add(1)
	return s.ClientStream.SendMsg(m)
}

func (s countedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.m.read.Add(1)
	}
	return err
}

// counts are of calls, streams, and messages sent and read.
type counts struct{ unary, streams, lane, laneBack, commit, commitBack int64 }

func (f *frames) counts() counts {
	return counts{f.unary.Load(), f.streams.Load(), f.lanes.sent.Load(), f.lanes.read.Load(), f.commits.sent.Load(),
		f.commits.read.Load()}
}

func (c counts) minus(d counts) counts {
	return counts{c.unary - d.unary, c.streams - d.streams, c.lane - d.lane, c.laneBack - d.laneBack, c.commit - d.commit,
		c.commitBack - d.commitBack}
}

// TestRoundTripsOnTheWire: a warm call is one frame to the runtime plugin and one back, and, if it commits, one message to
// the storage plugin and one back, whatever the number of keys; all go on streams that are open.
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
		return f.counts().minus(before)
	}
	require.Equal(t, counts{lane: n, laneBack: n, commit: n, commitBack: n}, measure("set", setArgs), "set")
	require.Equal(t, counts{lane: n, laneBack: n}, measure("get", getArgs), "get")
	// A key that was never there costs more: the runtime's copy cannot know that its rows are absent. They are asked for
	// alone, the rest of the state does not travel again.
	fresh := measure("set", func(i int) []byte { return fmt.Appendf(nil, `{"key":"new-%d","value":"v"}`, i) })
	require.LessOrEqual(t, fresh.lane, int64(3*n), "set of new keys")
	require.LessOrEqual(t, fresh.unary, int64(2*n), "set of new keys")
	require.EqualValues(t, n, fresh.commit, "set of new keys")
	require.Zero(t, fresh.streams, "set of new keys")
}
