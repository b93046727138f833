package executor_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plugin is a runtime whose lanes run fn.
type plugin struct {
	runtime.Runtime
	caps    []string
	lanes   int
	fn      func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error)
	prepare func(wasm []byte) error
	opened  atomic.Int32
}

func (p *plugin) Engine(context.Context) (runtime.Engine, error) {
	caps := p.caps
	if caps == nil {
		caps = []string{runtime.CapFuel, runtime.CapDeadline}
	}
	return runtime.Engine{Name: "test", MaxLanes: p.lanes, Capabilities: caps}, nil
}

func (p *plugin) Prepare(_ context.Context, _ domain.Hash, _ uint64, r io.Reader) (runtime.ModuleInfo, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return runtime.ModuleInfo{}, err
	}
	return runtime.ModuleInfo{}, p.prepare(b)
}

func (p *plugin) OpenLane(context.Context) (runtime.Lane, error) {
	p.opened.Add(1)
	return &lane{p}, nil
}

type lane struct{ p *plugin }

func (l *lane) Execute(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
	return l.p.fn(ctx, e, h)
}
func (l *lane) Close() error { return nil }

func dead() error { return errkind.Retryable(errkind.Unavailable.Errorf("plugin died")) }

func request(app byte) *executor.Request {
	return &executor.Request{
		Application: domain.ApplicationID{app}, Method: "m", Kind: runtime.Call, Copy: executor.NewCopy(),
		Wasm: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader([]byte("wasm"))), nil
		},
	}
}

func start(t *testing.T, p *plugin, o executor.Options) *executor.Executor {
	t.Helper()
	x, err := executor.New(context.Background(), p, o)
	require.NoError(t, err)
	t.Cleanup(x.Close)
	return x
}

func TestNew_RefusesAnUnmeteredEngine(t *testing.T) {
	t.Parallel()
	p := &plugin{caps: []string{runtime.CapFuel}}
	_, err := executor.New(context.Background(), p, executor.Options{})
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, "allow_unmetered")
	x, err := executor.New(context.Background(), p, executor.Options{AllowUnmetered: true})
	require.NoError(t, err)
	x.Close()
}

func TestRun_PreparesAnUnknownModuleAndRunsAgain(t *testing.T) {
	t.Parallel()
	var prepared atomic.Bool
	p := &plugin{}
	p.prepare = func(wasm []byte) error {
		require.Equal(t, "wasm", string(wasm))
		prepared.Store(true)
		return nil
	}
	p.fn = func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		if !prepared.Load() {
			return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultUnknownModule}}, nil
		}
		return &runtime.Result{Value: []byte("1")}, nil
	}
	r, err := start(t, p, executor.Options{}).Run(context.Background(), request(1))
	require.NoError(t, err)
	require.Equal(t, "1", string(r.Value))
	require.NotZero(t, r.Exec)
}

func TestRun_AModuleThatDoesNotCompileIsTheGuestsFault(t *testing.T) {
	t.Parallel()
	p := &plugin{prepare: func([]byte) error {
		return (&runtime.Fault{Kind: runtime.FaultCompilation, Text: "compilation error: x"}).AsError()
	}}
	p.fn = func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultUnknownModule}}, nil
	}
	r, err := start(t, p, executor.Options{}).Run(context.Background(), request(1))
	require.NoError(t, err)
	require.Equal(t, "compilation error: x", r.Fault.Text)
}

func TestRun_RunsOnceMoreAfterADeath(t *testing.T) {
	t.Parallel()
	var runs, restarts atomic.Int32
	p := &plugin{fn: func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		if runs.Add(1) == 1 {
			return nil, dead()
		}
		return &runtime.Result{Value: []byte("2")}, nil
	}}
	req := request(1)
	req.Restart = func() { restarts.Add(1) }
	r, err := start(t, p, executor.Options{Lanes: 1}).Run(context.Background(), req)
	require.NoError(t, err)
	require.Equal(t, "2", string(r.Value))
	require.EqualValues(t, 1, restarts.Load())
	require.EqualValues(t, 2, p.opened.Load(), "the broken lane is replaced")
}

func TestRun_AnIdleLaneThatBrokeBlamesNobody(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	p := &plugin{fn: func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		if runs.Add(1)%2 == 1 {
			return nil, errkind.Retryable(errkind.Unavailable.Errorf("run: %w", runtime.ErrNotStarted))
		}
		return &runtime.Result{}, nil
	}}
	x := start(t, p, executor.Options{Lanes: 1})
	for range 3 {
		r, err := x.Run(context.Background(), request(1))
		require.NoError(t, err)
		require.Nil(t, r.Fault)
	}
	require.EqualValues(t, 4, p.opened.Load(), "the first lane and one for each that broke")
}

func TestRun_RefusesAnAppThatKillsTwiceAndServesOthers(t *testing.T) {
	t.Parallel()
	p := &plugin{fn: func(_ context.Context, e *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
		if e.Method == "kill" {
			return nil, dead()
		}
		return &runtime.Result{}, nil
	}}
	x := start(t, p, executor.Options{})
	bad := request(1)
	bad.Method = "kill"
	r, err := x.Run(context.Background(), bad)
	require.NoError(t, err)
	require.Equal(t, runtime.FaultRefused, r.Fault.Kind)
	require.Contains(t, r.Fault.Text, `runtime stopped while running "kill" of application `+bad.Application.String())

	r, err = x.Run(context.Background(), request(1))
	require.NoError(t, err)
	require.Equal(t, runtime.FaultRefused, r.Fault.Kind, "another method of the same application")
	r, err = x.Run(context.Background(), request(2))
	require.NoError(t, err)
	require.Nil(t, r.Fault)
}

// One death under several executions of an application is one death: all of them run again.
// storageDown is a host whose storage is being restarted.
type storageDown struct{ runtime.Host }

func (storageDown) Rows(context.Context, []runtime.Key) ([]runtime.Row, error) {
	return nil, errkind.Retryable(errkind.Unavailable.Errorf("storage is not there"))
}

// TestRun_AStorageThatIsDownBlamesNoApplication: the plugin has not died, so nothing runs again and nothing is refused.
func TestRun_AStorageThatIsDownBlamesNoApplication(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	p := &plugin{fn: func(ctx context.Context, _ *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		runs.Add(1)
		if _, err := h.Rows(ctx, nil); err != nil {
			return nil, fmt.Errorf("read rows: %w", err)
		}
		return &runtime.Result{Value: []byte("1")}, nil
	}}
	x := start(t, p, executor.Options{})
	for n := range 4 {
		req := request(1)
		req.Host = storageDown{}
		if n == 3 {
			req.Host, req.Ahead = nil, func(context.Context) ([]runtime.Row, error) { return storageDown{}.Rows(t.Context(), nil) }
		}
		_, err := x.Run(t.Context(), req)
		require.ErrorIs(t, err, errkind.Unavailable, "not a fault of the application")
		require.ErrorContains(t, err, "storage is not there")
	}
	require.EqualValues(t, 3, runs.Load())
}

func TestRun_OneDeathUnderSeveralExecutionsIsOne(t *testing.T) {
	t.Parallel()
	const n = 4
	var first sync.WaitGroup // ends when all run
	first.Add(n)
	var runs atomic.Int32
	p := &plugin{fn: func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		if runs.Add(1) <= n {
			first.Done()
			first.Wait()
			return nil, dead()
		}
		return &runtime.Result{Value: []byte("1")}, nil
	}}
	x := start(t, p, executor.Options{Lanes: n})
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			res, err := x.Run(context.Background(), request(1))
			if err != nil || res.Fault != nil {
				t.Errorf("gave %v, %v", res, err)
			}
		})
	}
	all.Wait()
}

// Calls that follow one another use one lane.
func TestRun_OpensNoMoreLanesThanAreNeeded(t *testing.T) {
	t.Parallel()
	p := &plugin{fn: func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		return &runtime.Result{}, nil
	}}
	x := start(t, p, executor.Options{Lanes: 8})
	for range 20 {
		_, err := x.Run(context.Background(), request(1))
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, p.opened.Load())
}

func TestRun_DoesNotRepeatEffects(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	p := &plugin{fn: func(ctx context.Context, _ *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		runs.Add(1)
		if err := h.BlobAnnounce(ctx, domain.BlobID{}, domain.ContextID{}); err != nil {
			return nil, err
		}
		return nil, dead()
	}}
	req := request(1)
	req.Host = announcer{}
	_, err := start(t, p, executor.Options{}).Run(context.Background(), req)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, "effects")
	require.EqualValues(t, 1, runs.Load())
}

type announcer struct{ runtime.Host }

func (announcer) BlobAnnounce(context.Context, domain.BlobID, domain.ContextID) error { return nil }

func TestRun_WaitsForALaneUnderTheCallersDeadline(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	entered := make(chan struct{}, 8)
	p := &plugin{lanes: 1, fn: func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		entered <- struct{}{}
		<-release
		return &runtime.Result{}, nil
	}}
	x := start(t, p, executor.Options{Lanes: 8})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := x.Run(context.Background(), request(1))
		require.NoError(t, err)
	})
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := x.Run(ctx, request(1))
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, errkind.IsRetryable(err))
	close(release)
	wg.Wait()
}

func TestRun_KillsAPluginThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	p := &plugin{}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.fn = func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		cancel() // the time of a call is over when its plugin is found silent
		return nil, errkind.Retryable(errkind.Unavailable.Errorf("killed: %w", runtime.ErrSilent))
	}
	reason := make(chan string, 1)
	x := start(t, p, executor.Options{Kill: func(r string) { reason <- r }})
	_, err := x.Run(ctx, request(1))
	require.Error(t, err)
	require.Contains(t, <-reason, `"m"`)
}

func TestRun_SendsRowsAheadOnlyToAColdCopy(t *testing.T) {
	t.Parallel()
	var ahead []int
	p := &plugin{fn: func(_ context.Context, e *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
		ahead = append(ahead, len(e.State.Ahead))
		return &runtime.Result{}, nil
	}}
	x := start(t, p, executor.Options{Lanes: 1})
	req := request(1)
	req.Ahead = func(context.Context) ([]runtime.Row, error) { return []runtime.Row{row(1, 1)}, nil }
	for range 2 {
		_, err := x.Run(context.Background(), req)
		require.NoError(t, err)
	}
	req.Copy.Reset()
	_, err := x.Run(context.Background(), req)
	require.NoError(t, err)
	require.Equal(t, []int{1, 0, 1}, ahead)
}
