package runtime_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
)

// rawExecute is the frame of a valid execution.
func rawExecute(id uint64, change func(*runtimev1.Execute)) *runtimev1.HostFrame {
	e := &runtimev1.Execute{
		ModuleId: make([]byte, 32), ContextId: make([]byte, 32), Executor: make([]byte, 32),
		Input: &runtimev1.Data{Data: &runtimev1.Data_Inline{Inline: []byte("in")}}, Kind: 1,
		State:  &runtimev1.State{Epoch: 1},
		Budget: &runtimev1.Budget{Fuel: 1, DeadlineMs: 60_000}, Detail: 3,
	}
	if change != nil {
		change(e)
	}
	return &runtimev1.HostFrame{Exec: id, Frame: &runtimev1.HostFrame_Execute{Execute: e}}
}

func rawLane(t *testing.T, f executeFunc) runtimev1.RuntimeService_LaneClient {
	t.Helper()
	stream, err := runtimev1.NewRuntimeServiceClient(link(t, &plugin{execute: f}).Conn).Lane(t.Context())
	require.NoError(t, err)
	return stream
}

func rawSpill(id uint64, spill uint32, data []byte, last bool) *runtimev1.HostFrame {
	return &runtimev1.HostFrame{Exec: id, Frame: &runtimev1.HostFrame_Spill{
		Spill: &runtimev1.Spill{Id: spill, Data: data, Last: last}}}
}

func TestServer_HostileHost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		frames []*runtimev1.HostFrame
		kind   errkind.Kind
		text   string
	}{
		"unknown frame":    {[]*runtimev1.HostFrame{{Exec: 1}}, errkind.Unsupported, "the host speaks runtime protocol unknown, this process speaks 1"},
		"short module id":  {[]*runtimev1.HostFrame{rawExecute(1, func(e *runtimev1.Execute) { e.ModuleId = []byte("x") })}, errkind.Internal, "module id has 1 bytes"},
		"short context id": {[]*runtimev1.HostFrame{rawExecute(1, func(e *runtimev1.Execute) { e.ContextId = nil })}, errkind.Internal, "context id has 0 bytes"},
		"no fuel":          {[]*runtimev1.HostFrame{rawExecute(1, func(e *runtimev1.Execute) { e.Budget.Fuel = 0 })}, errkind.Internal, "no fuel"},
		"no deadline":      {[]*runtimev1.HostFrame{rawExecute(1, func(e *runtimev1.Execute) { e.Budget.DeadlineMs = 0 })}, errkind.Internal, "no deadline"},
		"no input":         {[]*runtimev1.HostFrame{rawExecute(1, func(e *runtimev1.Execute) { e.Input = nil })}, errkind.Unsupported, "value of a form"},
		"two at once":      {[]*runtimev1.HostFrame{rawExecute(1, nil), rawExecute(2, nil)}, errkind.Internal, "execution 2 sent while 1 runs"},
		"spill of another": {[]*runtimev1.HostFrame{rawExecute(1, nil), rawSpill(2, 1, nil, true)}, errkind.Internal, "a spill of execution 2 while 1 runs"},
		"large spill part": {[]*runtimev1.HostFrame{rawSpill(1, 1, fill(mib+1), true)}, errkind.Internal, "1048577"},
		"large inline": {[]*runtimev1.HostFrame{rawExecute(1, func(e *runtimev1.Execute) {
			e.Input = &runtimev1.Data{Data: &runtimev1.Data_Inline{Inline: fill(256*kib + 1)}}
		})}, errkind.Internal, "262145"},
		"unknown row value": {[]*runtimev1.HostFrame{rawExecute(1, func(e *runtimev1.Execute) { e.State.Ahead = []*runtimev1.Row{{Scope: 1, Key: make([]byte, 32)}} })}, errkind.Unsupported, "row of a form"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := rawLane(t, obey)
			for _, f := range test.frames {
				require.NoError(t, stream.Send(f))
			}
			var err error
			for err == nil {
				_, err = stream.Recv()
			}
			err = errkind.FromStatus(err)
			require.ErrorIs(t, err, test.kind, "%v", err)
			require.ErrorContains(t, err, test.text)
		})
	}
}

func TestServer_ExecutionsOverABoundGetOneResult(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before func(id uint64) []*runtimev1.HostFrame
		change func(*runtimev1.Execute)
		text   string
	}{
		"steps": {change: func(e *runtimev1.Execute) { e.State.Steps = make([]*runtimev1.StateStep, 257) }, text: "256"},
		"step bytes": {text: "1048576", change: func(e *runtimev1.Execute) {
			rows := make([]*runtimev1.Row, 5)
			for i := range rows {
				rows[i] = &runtimev1.Row{Scope: 1, Key: make([]byte, 32), V: &runtimev1.Row_Value{Value: &runtimev1.Data{
					Data: &runtimev1.Data_Inline{Inline: fill(220 * kib)}}}}
			}
			e.State.Steps = []*runtimev1.StateStep{{Rows: rows}}
		}},
		"ahead": {text: "262144", change: func(e *runtimev1.Execute) {
			e.State.Ahead = []*runtimev1.Row{{Scope: 1, Key: make([]byte, 32), V: &runtimev1.Row_Value{Value: &runtimev1.Data{
				Data: &runtimev1.Data_Inline{Inline: fill(256*kib - 31)}}}}}
		}},
		"spills": {text: "67108864",
			before: func(id uint64) (out []*runtimev1.HostFrame) {
				for n := range 65 {
					out = append(out, rawSpill(id, uint32(n+1), fill(mib), true))
				}
				return out
			},
			change: func(e *runtimev1.Execute) { e.Input.Data = &runtimev1.Data_Spill{Spill: 1} }},
		"grants": {text: "1048576", change: func(e *runtimev1.Execute) {
			e.Grants = []*runtimev1.Grant{{Namespace: strings.Repeat("x", mib)}}
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := rawLane(t, echo)
			for id := uint64(1); id <= 2; id++ {
				if test.before != nil {
					for _, f := range test.before(id) {
						require.NoError(t, stream.Send(f))
					}
				}
				require.NoError(t, stream.Send(rawExecute(id, test.change)))
				f, err := stream.Recv()
				require.NoError(t, err)
				require.Equal(t, id, f.GetExec())
				require.Equal(t, uint32(runtime.FaultTooLarge), f.GetResult().GetFault().GetKind())
				require.Contains(t, f.GetResult().GetFault().GetText(), test.text)
			}
			require.NoError(t, stream.Send(rawExecute(3, nil)))
			f, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, "in", string(f.GetResult().GetValue().GetInline()))
		})
	}
}

func TestServer_LateFramesAreDropped(t *testing.T) {
	t.Parallel()
	stream := rawLane(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		_, err := h.Rows(short, []runtime.Key{key(1)})
		if !errors.Is(err, errkind.Deadline) {
			return nil, errkind.Internal.Errorf("want Deadline, got %v", err)
		}
		return echo(ctx, e, h)
	})
	for id := uint64(1); id <= 3; id++ {
		require.NoError(t, stream.Send(rawExecute(id, nil)))
		f, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, uint32(1), f.GetNeed().GetId())
		f, err = stream.Recv()
		require.NoError(t, err)
		require.Equal(t, "in", string(f.GetResult().GetValue().GetInline()))
		for _, late := range []*runtimev1.HostFrame{
			rawSpill(id, 1, []byte("x"), true),
			{Exec: id, Frame: &runtimev1.HostFrame_Rows{Rows: &runtimev1.Rows{Id: 1}}},
			{Exec: id, Frame: &runtimev1.HostFrame_Call{Call: &runtimev1.CallResult{Id: 1}}},
			{Exec: id, Frame: &runtimev1.HostFrame_Cancel{Cancel: &runtimev1.Cancel{}}},
		} {
			require.NoError(t, stream.Send(late))
		}
	}
	require.NoError(t, stream.CloseSend())
	_, err := stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestServer_AClosedLaneStopsItsExecution(t *testing.T) {
	t.Parallel()
	stopped := make(chan error, 1)
	stream := rawLane(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		<-ctx.Done()
		stopped <- ctx.Err()
		return echo(ctx, e, h)
	})
	require.NoError(t, stream.Send(rawExecute(1, nil)))
	require.NoError(t, stream.CloseSend())
	require.ErrorIs(t, <-stopped, context.Canceled)
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	module := fill(2*mib + 77)
	id := domain.Hash(sha256.Sum256(module))
	info := runtime.ModuleInfo{ID: id, MemoryMinPages: 17, MemoryMaxPages: 4096, RegistersMerge: true, PrepareMicros: 5,
		FromCache: true,
		Imports:   []runtime.Import{{Module: "env", Name: "input", Kind: "func", Params: []string{"i64"}, Results: []string{"i32"}}},
		Exports:   []runtime.Export{{Name: "memory", Kind: "memory"}}}
	whole := &plugin{info: info,
		prepare: func(_ context.Context, m domain.Hash, _ uint64, wasm io.Reader) (runtime.ModuleInfo, error) {
			got, err := io.ReadAll(wasm)
			if err != nil {
				return runtime.ModuleInfo{}, err
			}
			if m != id || !bytes.Equal(got, module) {
				return runtime.ModuleInfo{}, errkind.Internal.Errorf("not the module sent")
			}
			return info, nil
		}}
	hasty := &plugin{prepare: func(_ context.Context, _ domain.Hash, _ uint64, wasm io.Reader) (runtime.ModuleInfo, error) {
		_, err := io.ReadFull(wasm, make([]byte, 10))
		return info, err
	}}
	size := uint64(len(module))

	t.Run("of known and unknown size, one below, at and above the limit", func(t *testing.T) {
		t.Parallel()
		c := sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire, whole)
		for _, limit := range []uint64{size - 1, size, size + 1} {
			for name, r := range map[string]io.Reader{
				"known": bytes.NewReader(module), "unknown": io.MultiReader(bytes.NewReader(module)),
				"in odd pieces": iotest.HalfReader(bytes.NewReader(module)),
			} {
				got, err := c.Prepare(t.Context(), id, limit, r)
				if limit < size {
					var f *runtime.Fault
					require.ErrorAs(t, err, &f, name)
					require.Equal(t, runtime.FaultModuleSize, f.Kind)
					require.ErrorIs(t, err, errkind.TooLarge)
					continue
				}
				require.NoError(t, err, name)
				require.Empty(t, cmp.Diff(info, got))
			}
		}
		_, err := c.Prepare(t.Context(), id, size-1, bytes.NewReader(module))
		require.EqualError(t, err, "module size limit (max_module_size) exceeded: 2097229 bytes > 2097228 bytes limit")
		got, err := c.Inspect(t.Context(), id)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(info, got))
		_, err = c.Inspect(t.Context(), domain.Hash{1})
		require.ErrorIs(t, err, errkind.NotFound)
	})
	t.Run("refuses bytes with another hash", func(t *testing.T) {
		t.Parallel()
		other := bytes.Clone(module)
		other[len(other)-1]++
		for _, p := range []*plugin{whole, hasty} {
			c := sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire, p)
			_, err := c.Prepare(t.Context(), id, size, bytes.NewReader(other))
			require.ErrorIs(t, err, errkind.Invalid)
			require.ErrorContains(t, err, "the bytes sent hash to "+domain.Hash(sha256.Sum256(other)).String())
		}
	})
	t.Run("faults of the module cross the wire", func(t *testing.T) {
		t.Parallel()
		long := strings.Repeat("é", 100*kib)
		for _, text := range []string{"compilation error: unexpected end", long} {
			c := sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire, &plugin{
				prepare: func(context.Context, domain.Hash, uint64, io.Reader) (runtime.ModuleInfo, error) {
					return runtime.ModuleInfo{}, errkind.Invalid.Wrap(&runtime.Fault{Kind: runtime.FaultCompilation, Text: text})
				}})
			_, err := c.Prepare(t.Context(), id, size, bytes.NewReader(module))
			require.ErrorIs(t, err, errkind.Invalid)
			var f *runtime.Fault
			require.ErrorAs(t, err, &f)
			require.Equal(t, runtime.FaultCompilation, f.Kind)
			require.NotEmpty(t, f.Text)
			if text != long {
				require.Equal(t, text, f.Text)
				require.EqualError(t, err, text)
			}
		}
	})
	t.Run("a reader that fails", func(t *testing.T) {
		t.Parallel()
		c := sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire, whole)
		broken := errors.New("disk is gone")
		_, err := c.Prepare(t.Context(), id, size, io.MultiReader(bytes.NewReader(module[:mib]), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
	})
	t.Run("the caller gives up", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		c := sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire, &plugin{
			prepare: func(ctx context.Context, _ domain.Hash, _ uint64, _ io.Reader) (runtime.ModuleInfo, error) {
				cancel()
				<-ctx.Done()
				return runtime.ModuleInfo{}, ctx.Err()
			}})
		_, err := c.Prepare(ctx, id, size, bytes.NewReader(module))
		require.ErrorIs(t, err, errkind.Canceled)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestEngineAndForget(t *testing.T) {
	t.Parallel()
	p := &plugin{}
	c := sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire, p)
	e, err := c.Engine(t.Context())
	require.NoError(t, err)
	require.Equal(t, runtime.Engine{Name: "go", Version: "1.2", MaxLanes: 8, Capabilities: []string{runtime.CapFuel}}, e)
	require.NoError(t, c.Forget(t.Context(), make([]domain.Hash, 3), make([]domain.ContextID, 25_000)))
	require.Equal(t, int64(25_003), p.forgot.Load())
}
