package runtime_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/serve"
)

func TestMain(m *testing.M) {
	sdktest.Main(m, map[string]func(){
		"echo": func() { serve.Runtime(func() runtime.Plugin { return &plugin{execute: echo} }) },
		"hang": func() { serve.Runtime(func() runtime.Plugin { return &plugin{execute: hang} }) },
	})
}

type executeFunc func(ctx context.Context, e *runtime.Execute, host runtime.Host) (*runtime.Result, error)

// plugin is a runtime plugin whose executions are Go functions.
type plugin struct {
	execute executeFunc
	prepare func(ctx context.Context, module domain.Hash, maxSize uint64, wasm io.Reader) (runtime.ModuleInfo, error)
	info    runtime.ModuleInfo
	forgot  atomic.Int64
	closed  atomic.Int64
	noLane  error
}

func echo(_ context.Context, e *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
	return &runtime.Result{Value: e.Input}, nil
}

// hang tells its host that it runs and then ignores even the end of its context.
func hang(ctx context.Context, _ *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
	_, _ = h.HostFn(ctx, "test", "running", nil)
	select {}
}

// whenRunning is the host of hang.
func whenRunning(f func()) runtime.Host {
	return &testHost{hostFn: func(context.Context, string, string, []byte) ([]byte, error) {
		f()
		return nil, nil
	}}
}

// obey waits for the end of its context and says so as a runtime does.
func obey(ctx context.Context, _ *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
	<-ctx.Done()
	kind := runtime.FaultCancelled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = runtime.FaultDeadline
	}
	return &runtime.Result{Fault: &runtime.Fault{Kind: kind, Text: "stopped"}}, nil
}

func (p *plugin) Info(context.Context) (base.Info, error) {
	return base.Info{Kind: runtime.Kind, Name: "fake", Version: "1", Protocol: runtime.Protocol}, nil
}
func (p *plugin) Schema(context.Context) (base.Schema, error) { return base.Schema{}, nil }
func (p *plugin) Configure(context.Context, base.Config) (diag.Diagnostics, error) {
	return nil, nil
}
func (p *plugin) Health(context.Context) error { return nil }
func (p *plugin) Close(context.Context) error  { return nil }
func (p *plugin) Engine(context.Context) (runtime.Engine, error) {
	return runtime.Engine{Name: "go", Version: "1.2", MaxLanes: 8, Capabilities: []string{runtime.CapFuel}}, nil
}

func (p *plugin) Inspect(_ context.Context, module domain.Hash) (runtime.ModuleInfo, error) {
	if module != p.info.ID {
		return runtime.ModuleInfo{}, errkind.NotFound.Errorf("module %s is not here", module)
	}
	return p.info, nil
}

func (p *plugin) Prepare(ctx context.Context, m domain.Hash, max uint64, wasm io.Reader) (runtime.ModuleInfo, error) {
	return p.prepare(ctx, m, max, wasm)
}

func (p *plugin) Forget(_ context.Context, modules []domain.Hash, contexts []domain.ContextID) error {
	p.forgot.Add(int64(len(modules) + len(contexts)))
	return nil
}

func (p *plugin) OpenLane(context.Context) (runtime.Lane, error) {
	if p.noLane != nil {
		return nil, p.noLane
	}
	return &fakeLane{p}, nil
}

type fakeLane struct{ p *plugin }

func (l *fakeLane) Execute(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
	return l.p.execute(ctx, e, h)
}

func (l *fakeLane) Close() error {
	l.p.closed.Add(1)
	return nil
}

// testHost is a host of functions; a nil one refuses.
type testHost struct {
	rows     func(keys []runtime.Key) ([]runtime.Row, error)
	hostFn   func(ctx context.Context, ns, fn string, args []byte) ([]byte, error)
	size     func(domain.BlobID) (uint64, error)
	read     func(id domain.BlobID, offset, length uint64) ([]byte, error)
	announce func(domain.BlobID, domain.ContextID) error
	part     func(runtime.BlobPart) error
}

var errNoHost = errkind.Unsupported.Errorf("this host does not do it")

func (h *testHost) Rows(_ context.Context, keys []runtime.Key) ([]runtime.Row, error) {
	if h.rows == nil {
		return nil, errNoHost
	}
	return h.rows(keys)
}

func (h *testHost) HostFn(ctx context.Context, ns, fn string, args []byte) ([]byte, error) {
	if h.hostFn == nil {
		return nil, errNoHost
	}
	return h.hostFn(ctx, ns, fn, args)
}

func (h *testHost) BlobSize(_ context.Context, id domain.BlobID) (uint64, error) {
	if h.size == nil {
		return 0, errNoHost
	}
	return h.size(id)
}

func (h *testHost) BlobRead(_ context.Context, id domain.BlobID, offset, length uint64) ([]byte, error) {
	if h.read == nil {
		return nil, errNoHost
	}
	return h.read(id, offset, length)
}

func (h *testHost) BlobAnnounce(_ context.Context, id domain.BlobID, to domain.ContextID) error {
	if h.announce == nil {
		return errNoHost
	}
	return h.announce(id, to)
}

func (h *testHost) BlobPart(_ context.Context, p runtime.BlobPart) error {
	if h.part == nil {
		return errNoHost
	}
	return h.part(p)
}

// over is a lane to a plugin that executes with f, over gRPC.
func over(t testing.TB, f executeFunc, opts ...sdktest.Option) runtime.Lane {
	t.Helper()
	return lane(t, sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire, &plugin{execute: f}, opts...))
}

func lane(t testing.TB, p runtime.Plugin) runtime.Lane {
	t.Helper()
	l, err := p.OpenLane(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

var lastID atomic.Uint64

// execution is a small valid one.
func execution() *runtime.Execute {
	return &runtime.Execute{
		ID: lastID.Add(1), Method: "set", Input: []byte(`{"k":1}`), Kind: runtime.Call,
		State:  runtime.State{Epoch: 1, Version: 1},
		Budget: runtime.Budget{Fuel: 1, DeadlineMillis: 60_000},
		Detail: runtime.WritesFull,
	}
}

func run(t testing.TB, l runtime.Lane, e *runtime.Execute, h runtime.Host) *runtime.Result {
	t.Helper()
	r, err := l.Execute(context.Background(), e, h)
	require.NoError(t, err)
	return r
}

// link is the raw connection to a fake plugin.
func link(t *testing.T, p *plugin) base.Link {
	t.Helper()
	var got base.Link
	sdktest.OverGRPC[runtime.Plugin](t, base.Wire[runtime.Plugin]{Kind: runtime.Kind,
		Versions: map[int]base.Version[runtime.Plugin]{1: {
			Register: runtime.Register,
			Client: func(l base.Link) runtime.Plugin {
				got = l
				return runtime.NewClient(l)
			},
		}}}, p)
	return got
}

// rawServer answers the lanes of a real client with a script.
type rawServer struct {
	runtimev1.UnimplementedRuntimeServiceServer
	script func(runtimev1.RuntimeService_LaneServer) error
}

func (s *rawServer) Lane(stream runtimev1.RuntimeService_LaneServer) error {
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	return s.script(stream)
}

// hostile is a lane to a plugin that answers every Execute with script.
func hostile(t *testing.T, script func(s runtimev1.RuntimeService_LaneServer, exec uint64) error) runtime.Lane {
	t.Helper()
	raw := &rawServer{script: func(s runtimev1.RuntimeService_LaneServer) error {
		for {
			f, err := s.Recv()
			if err != nil {
				return err
			}
			if f.GetExecute() == nil {
				continue
			}
			if err := script(s, f.GetExec()); err != nil {
				return err
			}
		}
	}}
	return lane(t, sdktest.OverGRPC[runtime.Plugin](t, base.Wire[runtime.Plugin]{Kind: runtime.Kind,
		Versions: map[int]base.Version[runtime.Plugin]{1: {
			Register: func(s grpc.ServiceRegistrar, p runtime.Plugin) *base.Server {
				runtimev1.RegisterRuntimeServiceServer(s, raw)
				return base.Register(s, p)
			},
			Client: runtime.NewClient,
		}}}, &plugin{}))
}

// messages counts the gRPC messages of the host's end.
type messages struct{ out, in atomic.Int64 }

func (m *messages) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (m *messages) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (m *messages) HandleConn(context.Context, stats.ConnStats)                       {}
func (m *messages) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.OutPayload:
		m.out.Add(1)
	case *stats.InPayload:
		m.in.Add(1)
	}
}
