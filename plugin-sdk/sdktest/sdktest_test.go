package sdktest_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) {
	sdktest.Main(m, map[string]func(){"memory": func() { serve.Storage(storagetest.NewMemory) }})
}

func use(t *testing.T, p storage.Plugin) {
	t.Helper()
	b := storage.Batch{ID: storage.NewBatchID()}
	b.Put("c", []byte("k"), []byte("v"))
	_, err := p.Apply(t.Context(), b)
	require.NoError(t, err)
	v, err := p.Get(t.Context(), []storage.Key{{Column: "c", Key: []byte("k")}})
	require.NoError(t, err)
	require.Equal(t, []storage.Value{{Found: true, Bytes: []byte("v")}}, v)
}

func TestHeights(t *testing.T) {
	t.Parallel()
	heights := sdktest.Heights(storage.Wire, storagetest.NewMemory, sdktest.Reexec("memory"))
	require.Len(t, heights, 3)
	for _, h := range heights {
		t.Run(h.Name, func(t *testing.T) {
			t.Parallel()
			first, second := h.New(t), h.New(t)
			use(t, first)
			v, err := second.Get(t.Context(), []storage.Key{{Column: "c", Key: []byte("k")}})
			require.NoError(t, err)
			require.False(t, v[0].Found, "two plugins are two")
			require.NoError(t, first.Close(t.Context()))
			require.ErrorIs(t, first.Health(t.Context()), errkind.Unavailable)
			require.NoError(t, second.Health(t.Context()))
		})
	}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	child := sdktest.Build("./testdata/plugin")
	first := child(t)
	require.Equal(t, first.Path, child(t).Path, "built once")
	use(t, sdktest.Start(t, storage.Wire, child).Plugin)
	use(t, sdktest.Start(t, storage.Wire, sdktest.Binary(first.Path)).Plugin)
}

func TestProcess_Kill(t *testing.T) {
	t.Parallel()
	p := sdktest.Start(t, storage.Wire, sdktest.Reexec("memory"))
	require.Positive(t, p.PID())
	require.False(t, p.Exited())
	p.Kill()
	require.True(t, p.Exited())
	p.Kill()
}

// conns counts connections and calls on one end.
type conns struct{ conns, calls atomic.Int64 }

func (c *conns) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	c.calls.Add(1)
	return ctx
}
func (c *conns) HandleRPC(context.Context, stats.RPCStats) {}
func (c *conns) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	c.conns.Add(1)
	return ctx
}
func (c *conns) HandleConn(context.Context, stats.ConnStats) {}

func TestOptions_ReachBothEnds(t *testing.T) {
	t.Parallel()
	var host, plugin conns
	var intercepted atomic.Int64
	p := sdktest.OverGRPC(t, storage.Wire, storagetest.NewMemory(),
		sdktest.WithDialOptions(grpc.WithStatsHandler(&host)),
		sdktest.WithServerOptions(grpc.StatsHandler(&plugin), grpc.ChainUnaryInterceptor(
			func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				intercepted.Add(1)
				return next(ctx, req)
			}), grpc.ChainStreamInterceptor(
			func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
				intercepted.Add(1)
				return next(srv, s)
			})))
	use(t, p)
	require.Equal(t, int64(2), host.calls.Load())
	require.Equal(t, int64(2), plugin.calls.Load())
	require.Equal(t, int64(2), intercepted.Load())
	require.Equal(t, int64(1), host.conns.Load())

	var child conns
	use(t, sdktest.Start(t, storage.Wire, sdktest.Reexec("memory"),
		sdktest.WithDialOptions(grpc.WithStatsHandler(&child))).Plugin)
	require.GreaterOrEqual(t, child.calls.Load(), int64(2))
}
