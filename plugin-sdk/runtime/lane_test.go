package runtime_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

func fill(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }

func key(n int) runtime.Key {
	return runtime.Key{Scope: runtime.ScopeState, K: [32]byte{byte(n), byte(n >> 8), byte(n >> 16)}}
}

func requireFault(t *testing.T, r *runtime.Result, kind runtime.FaultKind, text string) {
	t.Helper()
	require.NotNil(t, r.Fault, "no fault")
	require.Equal(t, kind, r.Fault.Kind, r.Fault.Text)
	require.Contains(t, r.Fault.Text, text)
}

func genBytes(max int) *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), 0, max) }

func gen32[T ~[32]byte]() *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T { return T(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "id")) })
}

var genKey = rapid.Custom(func(t *rapid.T) runtime.Key {
	return runtime.Key{
		Scope: rapid.SampledFrom([]runtime.Scope{runtime.ScopeState, runtime.ScopePrivate}).Draw(t, "scope"),
		K:     gen32[[32]byte]().Draw(t, "key"),
	}
})

var genRow = rapid.Custom(func(t *rapid.T) runtime.Row {
	r := runtime.Row{Key: genKey.Draw(t, "key"), Absent: rapid.Bool().Draw(t, "absent")}
	if !r.Absent {
		r.Value = genBytes(40).Draw(t, "value")
	}
	return r
})

func some[T any](t *rapid.T, g *rapid.Generator[T], name string) []T {
	s := rapid.SliceOfN(g, 0, 4).Draw(t, name)
	if len(s) == 0 {
		return nil
	}
	return s
}

func genExecute(t *rapid.T) *runtime.Execute {
	e := execution()
	e.Module, e.Context = gen32[domain.Hash]().Draw(t, "module"), gen32[domain.ContextID]().Draw(t, "context")
	e.Executor = gen32[domain.PublicKey]().Draw(t, "executor")
	e.Method = rapid.String().Draw(t, "method")
	e.Input = genBytes(100).Draw(t, "input")
	e.Kind = runtime.CallKind(rapid.IntRange(1, 6).Draw(t, "kind"))
	e.State.Epoch = rapid.Uint64Min(1).Draw(t, "epoch")
	e.State.Version = rapid.Uint64().Draw(t, "version")
	e.State.Ahead = some(t, genRow, "ahead")
	e.State.Steps = some(t, rapid.Custom(func(t *rapid.T) runtime.Step {
		return runtime.Step{To: rapid.Uint64().Draw(t, "to"), AcceptExec: rapid.Uint64().Draw(t, "accept"),
			Rows: some(t, genRow, "rows"), Forget: some(t, genKey, "forget"), Reset: rapid.Bool().Draw(t, "reset")}
	}), "steps")
	e.Budget.Fuel = rapid.Uint64Min(1).Draw(t, "fuel")
	e.Budget.MemoryPages = rapid.Uint32().Draw(t, "pages")
	e.Budget.Limits.MaxStackSize = rapid.Uint64().Draw(t, "stack")
	e.Budget.Limits.MaxMethodNameLength = rapid.Uint64().Draw(t, "method name")
	e.Grants = some(t, rapid.Custom(func(t *rapid.T) runtime.Grant {
		return runtime.Grant{Namespace: rapid.String().Draw(t, "ns"),
			Functions: some(t, rapid.String(), "functions"), Impure: rapid.Bool().Draw(t, "impure")}
	}), "grants")
	e.TimeFloor = rapid.Uint64().Draw(t, "floor")
	e.HasPrivate = rapid.Bool().Draw(t, "private")
	e.Detail = runtime.WriteDetail(rapid.IntRange(1, 3).Draw(t, "detail"))
	return e
}

func genResult(t *rapid.T) *runtime.Result {
	r := &runtime.Result{
		Logs:   some(t, rapid.String(), "logs"),
		Writes: some(t, genRow, "writes"),
		Read:   some(t, genKey, "read"),
		Events: some(t, rapid.Custom(func(t *rapid.T) runtime.Event {
			return runtime.Event{Kind: rapid.StringN(0, 20, 100).Draw(t, "kind"), Data: genBytes(20).Draw(t, "data"),
				Handler: rapid.Ptr(rapid.String(), true).Draw(t, "handler")}
		}), "events"),
		XCalls: some(t, rapid.Custom(func(t *rapid.T) runtime.XCall {
			return runtime.XCall{Context: gen32[domain.ContextID]().Draw(t, "to"),
				Function: rapid.StringN(0, 20, 100).Draw(t, "function"), Params: genBytes(20).Draw(t, "params")}
		}), "xcalls"),
		RootHash: rapid.Ptr(gen32[domain.Hash](), true).Draw(t, "root"),
		Blobs: some(t, rapid.Custom(func(t *rapid.T) runtime.BlobRef {
			return runtime.BlobRef{ID: gen32[domain.BlobID]().Draw(t, "blob"), Size: rapid.Uint64().Draw(t, "size")}
		}), "blobs"),
		Usage: runtime.Usage{Fuel: rapid.Uint64().Draw(t, "fuel"), WallMicros: 1, HostCalls: 2, Reads: 3, Misses: 4,
			RoundTrips: 1, PeakPages: 6, ClockRandom: rapid.Bool().Draw(t, "clock"), Effects: rapid.Bool().Draw(t, "effects")},
	}
	switch rapid.IntRange(0, 3).Draw(t, "outcome") {
	case 0:
		r.Value = genBytes(50).Draw(t, "value")
	case 1:
		r.AppError = genBytes(50).Draw(t, "app error")
	case 2:
		r.Fault = &runtime.Fault{Kind: runtime.FaultKind(rapid.IntRange(1, int(runtime.FaultRefused)).Draw(t, "fault")),
			Text: rapid.String().Draw(t, "text")}
	}
	if rapid.Bool().Draw(t, "has artifact") {
		r.Artifact = genBytes(50).Draw(t, "artifact")
	}
	return r
}

func TestLane_CarriesEveryField(t *testing.T) {
	t.Parallel()
	var want *runtime.Result
	got := make(chan *runtime.Execute, 1)
	l := over(t, func(_ context.Context, e *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
		got <- e
		return want, nil
	})
	rapid.Check(t, func(rt *rapid.T) {
		sent := genExecute(rt)
		want = genResult(rt)
		r, err := l.Execute(context.Background(), sent, nil)
		require.NoError(rt, err)
		require.Empty(rt, cmp.Diff(want, r))
		e := <-got
		require.LessOrEqual(rt, e.Budget.DeadlineMillis, sent.Budget.DeadlineMillis)
		require.Positive(rt, e.Budget.DeadlineMillis)
		e.Budget.DeadlineMillis = sent.Budget.DeadlineMillis
		require.Empty(rt, cmp.Diff(sent, e))
	})
}

func TestLane_AWarmCallIsOneMessageEachWay(t *testing.T) {
	t.Parallel()
	var count messages
	l := over(t, echo, sdktest.WithDialOptions(grpc.WithStatsHandler(&count)))
	out, in := count.out.Load(), count.in.Load()
	for range 10 {
		r := run(t, l, execution(), nil)
		require.Equal(t, uint32(1), r.Usage.RoundTrips)
	}
	require.Equal(t, out+10, count.out.Load())
	require.Equal(t, in+10, count.in.Load())
}

func TestLane_ValuesAtEveryBound(t *testing.T) {
	t.Parallel()
	tests := []struct {
		size int
		// sent are the messages for one such value each way.
		sent int64
		over bool
	}{
		{size: 0, sent: 1},
		{size: runtime.InlineData - 1, sent: 1},
		{size: runtime.InlineData, sent: 1},
		{size: runtime.InlineData + 1, sent: 2},
		{size: runtime.SpillPart, sent: 2},
		{size: runtime.SpillPart + 1, sent: 3},
		{size: runtime.MaxSpills - 1, sent: 65},
		{size: runtime.MaxSpills, sent: 65},
		{size: runtime.MaxSpills + 1, over: true},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.size), func(t *testing.T) {
			t.Parallel()
			var count messages
			l := over(t, func(_ context.Context, e *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
				if e.Method == "make" {
					return &runtime.Result{Value: fill(test.size)}, nil
				}
				return &runtime.Result{Value: e.Input}, nil
			}, sdktest.WithDialOptions(grpc.WithStatsHandler(&count)))
			e := execution()
			e.Input = fill(test.size)
			out, in := count.out.Load(), count.in.Load()
			r := run(t, l, e, nil)
			if test.over {
				requireFault(t, r, runtime.FaultTooLarge, "67108864")
				e := execution()
				e.Method = "make"
				requireFault(t, run(t, l, e, nil), runtime.FaultTooLarge, "67108864")
			} else {
				require.True(t, bytes.Equal(e.Input, r.Value))
				require.Equal(t, test.sent, count.out.Load()-out)
				require.Equal(t, test.sent, count.in.Load()-in)
			}
			require.Equal(t, []byte("next"), func() []byte {
				e := execution()
				e.Input = []byte("next")
				return run(t, l, e, nil).Value
			}())
		})
	}
}

func TestLane_BoundsOfTheState(t *testing.T) {
	t.Parallel()
	l := over(t, func(_ context.Context, e *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
		return &runtime.Result{Value: fmt.Appendf(nil, "%d %d", len(e.State.Steps), len(e.State.Ahead))}, nil
	})
	steps := func(n int) []runtime.Step { return make([]runtime.Step, n) }
	sized := func(n int) []runtime.Step {
		return []runtime.Step{{Rows: []runtime.Row{{Key: key(1), Value: fill(n - 32)}}}}
	}
	tests := map[string]struct {
		steps []runtime.Step
		ahead []runtime.Row
		want  string
		over  bool
	}{
		"no steps":         {want: "0 0"},
		"most steps":       {steps: steps(runtime.MaxSteps), want: "256 0"},
		"one step more":    {steps: steps(runtime.MaxSteps + 1), over: true},
		"largest steps":    {steps: sized(runtime.MaxStepBytes), want: "1 0"},
		"one byte more":    {steps: sized(runtime.MaxStepBytes + 1), over: true},
		"largest ahead":    {ahead: []runtime.Row{{Key: key(1), Value: fill(runtime.MaxReadAhead - 32)}}, want: "0 1"},
		"ahead is cut off": {ahead: []runtime.Row{{Key: key(1)}, {Key: key(2), Value: fill(runtime.MaxReadAhead)}}, want: "0 1"},
	}
	// One after the other: a lane is not for concurrent use.
	for name, test := range tests {
		e := execution()
		e.State.Steps, e.State.Ahead = test.steps, test.ahead
		for i := range e.State.Ahead {
			e.State.Ahead[i].Scope = runtime.ScopeState
		}
		r, err := l.Execute(context.Background(), e, nil)
		if test.over {
			require.ErrorIs(t, err, errkind.TooLarge, name)
			require.ErrorContains(t, err, "reset the copy", name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, test.want, string(r.Value), name)
	}
}

func TestLane_RefusesBadExecutions(t *testing.T) {
	t.Parallel()
	l := over(t, echo)
	tests := map[string]func(*runtime.Execute){
		"id 0":            func(e *runtime.Execute) { e.ID = 0 },
		"epoch 0":         func(e *runtime.Execute) { e.State.Epoch = 0 },
		"no fuel":         func(e *runtime.Execute) { e.Budget.Fuel = 0 },
		"no deadline":     func(e *runtime.Execute) { e.Budget.DeadlineMillis = 0 },
		"unknown kind":    func(e *runtime.Execute) { e.Kind = 7 },
		"unknown detail":  func(e *runtime.Execute) { e.Detail = 0 },
		"method not utf8": func(e *runtime.Execute) { e.Method = "\xff" },
	}
	for name, spoil := range tests {
		e := execution()
		spoil(e)
		_, err := l.Execute(context.Background(), e, nil)
		require.ErrorIs(t, err, errkind.Invalid, name)
	}
	require.NotNil(t, run(t, l, execution(), nil).Value, "the lane is still good")
}

func rows(n, size int) []runtime.Row {
	value := fill(size)
	out := make([]runtime.Row, n)
	for i := range out {
		out[i] = runtime.Row{Key: key(i), Value: value}
	}
	return out
}

func TestLane_WriteSetsAtTheBounds(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		writes []runtime.Row
		frames int64 // messages back
		over   string
	}{
		"in the result":           {writes: rows(4, 255*kib), frames: 1},
		"over a frame":            {writes: rows(5, 255*kib), frames: 3},
		"with spills":             {writes: rows(3, 2*mib), frames: 7},
		"the most rows":           {writes: rows(runtime.MaxWrites, 1), frames: 5},
		"one row more":            {writes: rows(runtime.MaxWrites+1, 1), over: "65536"},
		"the largest value":       {writes: rows(1, 10*mib), frames: 11},
		"one byte more":           {writes: rows(1, 10*mib+1), over: "10485760"},
		"more bytes than allowed": {writes: rows(513, 256*kib), over: "134217728"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var count messages
			l := over(t, func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
				return &runtime.Result{Value: []byte("ok"), Writes: test.writes}, nil
			}, sdktest.WithDialOptions(grpc.WithStatsHandler(&count)))
			in := count.in.Load()
			r := run(t, l, execution(), nil)
			if test.over != "" {
				requireFault(t, r, runtime.FaultTooLarge, test.over)
				require.Empty(t, r.Writes)
				return
			}
			require.Equal(t, test.frames, count.in.Load()-in)
			require.Len(t, r.Writes, len(test.writes))
			for i, w := range r.Writes {
				require.Equal(t, test.writes[i].Key, w.Key)
				require.True(t, bytes.Equal(test.writes[i].Value, w.Value))
			}
		})
	}
}

func TestLane_ResultsOverALimit(t *testing.T) {
	t.Parallel()
	many := func(n int) []string { return make([]string, n) }
	tests := map[string]struct {
		at, over runtime.Result
		text     string
	}{
		"logs":     {at: runtime.Result{Logs: many(100)}, over: runtime.Result{Logs: many(101)}, text: "number of logs"},
		"log size": {at: runtime.Result{Logs: []string{strings.Repeat("x", 16*kib)}}, over: runtime.Result{Logs: []string{strings.Repeat("x", 16*kib+1)}}, text: "log: 16385"},
		"events":   {at: runtime.Result{Events: make([]runtime.Event, 100)}, over: runtime.Result{Events: make([]runtime.Event, 101)}, text: "number of events"},
		"event kind": {at: runtime.Result{Events: []runtime.Event{{Kind: strings.Repeat("x", 100)}}},
			over: runtime.Result{Events: []runtime.Event{{Kind: strings.Repeat("x", 101)}}}, text: "kind of an event"},
		"event data": {at: runtime.Result{Events: []runtime.Event{{Data: fill(16 * kib)}}},
			over: runtime.Result{Events: []runtime.Event{{Data: fill(16*kib + 1)}}}, text: "data of an event"},
		"xcalls": {at: runtime.Result{XCalls: make([]runtime.XCall, 100)}, over: runtime.Result{XCalls: make([]runtime.XCall, 101)}, text: "number of xcalls"},
		"xcall params": {at: runtime.Result{XCalls: []runtime.XCall{{Params: fill(16 * kib)}}},
			over: runtime.Result{XCalls: []runtime.XCall{{Params: fill(16*kib + 1)}}}, text: "params of an xcall"},
		"xcall function": {at: runtime.Result{XCalls: []runtime.XCall{{Function: strings.Repeat("x", 100)}}},
			over: runtime.Result{XCalls: []runtime.XCall{{Function: strings.Repeat("x", 101)}}}, text: "function of an xcall"},
	}
	var next *runtime.Result
	l := over(t, func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) { return next, nil })
	for name, test := range tests {
		next = &test.at
		require.Nil(t, run(t, l, execution(), nil).Fault, name)
		next = &test.over
		requireFault(t, run(t, l, execution(), nil), runtime.FaultTooLarge, test.text)
	}
	next = &runtime.Result{Read: make([]runtime.Key, runtime.MaxReadKeys+1)}
	for i := range next.Read {
		next.Read[i] = key(i)
	}
	require.Equal(t, next.Read[:runtime.MaxReadKeys], run(t, l, execution(), nil).Read, "rows read are a hint: cut off")
}

func TestLane_Needs(t *testing.T) {
	t.Parallel()
	ask := func(n int) executeFunc {
		return func(ctx context.Context, _ *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
			keys := make([]runtime.Key, n)
			for i := range keys {
				keys[i] = key(i)
			}
			got, err := h.Rows(ctx, keys)
			if err != nil {
				return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultHost, Text: err.Error()}}, nil
			}
			return &runtime.Result{Writes: got}, nil
		}
	}
	t.Run("bounds of one Need", func(t *testing.T) {
		t.Parallel()
		for n, trips := range map[int]uint32{1: 2, runtime.MaxNeedKeys: 2, runtime.MaxNeedKeys + 1: 3} {
			asked := 0
			r := run(t, over(t, ask(n)), execution(), &testHost{rows: func(keys []runtime.Key) ([]runtime.Row, error) {
				require.LessOrEqual(t, len(keys), runtime.MaxNeedKeys)
				asked += len(keys)
				return nil, nil
			}})
			require.Equal(t, n, asked)
			require.Equal(t, trips, r.Usage.RoundTrips)
			require.Len(t, r.Writes, n)
			for i, w := range r.Writes {
				require.Equal(t, runtime.Row{Key: key(i), Absent: true}, w)
			}
		}
	})
	t.Run("read-ahead is cut off", func(t *testing.T) {
		t.Parallel()
		want := []runtime.Row{
			{Key: key(0), Value: []byte("asked")},
			{Key: key(7), Value: fill(runtime.MaxReadAhead - 32)},
		}
		r := run(t, over(t, ask(1)), execution(), &testHost{rows: func([]runtime.Key) ([]runtime.Row, error) {
			return append(want[:2:2], want[0], runtime.Row{Key: key(8), Value: []byte("too much")}), nil
		}})
		require.Empty(t, cmp.Diff(want, r.Writes))
	})
	t.Run("answers of many frames and spills", func(t *testing.T) {
		t.Parallel()
		want := append(rows(20, 200*kib), runtime.Row{Key: key(20), Value: fill(3 * mib)})
		r := run(t, over(t, ask(21)), execution(), &testHost{rows: func([]runtime.Key) ([]runtime.Row, error) {
			return want, nil
		}})
		require.Len(t, r.Writes, 21)
		for i := range want {
			require.True(t, bytes.Equal(want[i].Value, r.Writes[i].Value))
		}
	})
	t.Run("answers over the spill total", func(t *testing.T) {
		t.Parallel()
		big := fill(10 * mib)
		l := over(t, ask(7))
		r := run(t, l, execution(), &testHost{rows: func(keys []runtime.Key) ([]runtime.Row, error) {
			out := make([]runtime.Row, len(keys))
			for i, k := range keys {
				out[i] = runtime.Row{Key: k, Value: big}
			}
			return out, nil
		}})
		requireFault(t, r, runtime.FaultTooLarge, "67108864")
	})
}

func TestLane_HostCalls(t *testing.T) {
	t.Parallel()
	blob, to := domain.BlobID{1, 2}, domain.ContextID{3, 4}
	big := fill(10 * mib)
	var parts []runtime.BlobPart
	host := &testHost{
		hostFn: func(_ context.Context, ns, fn string, args []byte) ([]byte, error) {
			require.Equal(t, "mail send", ns+" "+fn)
			return append(args, '!'), nil
		},
		size: func(id domain.BlobID) (uint64, error) {
			if id != blob {
				return 0, errkind.NotFound.Errorf("blob %s is not here", id)
			}
			return 1 << 40, nil
		},
		read: func(id domain.BlobID, offset, length uint64) ([]byte, error) {
			require.Equal(t, blob, id)
			require.Equal(t, uint64(77), offset)
			return big[:length], nil
		},
		announce: func(id domain.BlobID, c domain.ContextID) error {
			require.Equal(t, blob, id)
			require.Equal(t, to, c)
			return nil
		},
		part: func(p runtime.BlobPart) error {
			p.Data = bytes.Clone(p.Data)
			parts = append(parts, p)
			return nil
		},
	}
	sent := []runtime.BlobPart{
		{FD: 1, Data: fill(runtime.SpillPart)},
		{FD: 1, Data: []byte("end"), Last: true, ID: blob, Size: runtime.SpillPart + 3},
	}
	l := over(t, func(ctx context.Context, _ *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		for _, n := range []int{0, 3, 300 * kib} {
			got, err := h.HostFn(ctx, "mail", "send", fill(n))
			require.NoError(t, err)
			require.True(t, bytes.Equal(append(fill(n), '!'), got))
		}
		size, err := h.BlobSize(ctx, blob)
		require.NoError(t, err)
		require.Equal(t, uint64(1<<40), size)
		_, err = h.BlobSize(ctx, domain.BlobID{9})
		require.ErrorIs(t, err, errkind.NotFound)
		require.ErrorContains(t, err, "is not here")
		for _, n := range []uint64{0, 1, 10*mib - 1, 10 * mib} {
			got, err := h.BlobRead(ctx, blob, 77, n)
			require.NoError(t, err)
			require.Len(t, got, int(n))
		}
		_, err = h.BlobRead(ctx, blob, 77, 10*mib+1)
		require.ErrorIs(t, err, errkind.TooLarge)
		require.NoError(t, h.BlobAnnounce(ctx, blob, to))
		for _, p := range sent {
			require.NoError(t, h.BlobPart(ctx, p))
		}
		require.ErrorIs(t, h.BlobPart(ctx, runtime.BlobPart{Data: fill(runtime.SpillPart + 1)}), errkind.TooLarge)
		return &runtime.Result{Value: []byte("done")}, nil
	})
	r := run(t, l, execution(), host)
	require.Nil(t, r.Fault)
	require.Equal(t, uint32(1+3+2+4+1), r.Usage.RoundTrips)
	require.Empty(t, cmp.Diff(sent, parts))
}

func TestLane_HostErrors(t *testing.T) {
	t.Parallel()
	passOn := func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		var err error
		switch e.Method {
		case "rows":
			_, err = h.Rows(ctx, []runtime.Key{key(1)})
		case "call":
			_, err = h.HostFn(ctx, "a", "b", nil)
		case "part":
			if err = h.BlobPart(ctx, runtime.BlobPart{FD: 1}); err == nil {
				<-ctx.Done() // a refused part stops the execution
				err = ctx.Err()
			}
		}
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultHost,
			Text: fmt.Sprintf("%d %v", errkind.Of(err), err)}}, nil
	}
	failing := func(err error) *testHost {
		return &testHost{
			rows:   func([]runtime.Key) ([]runtime.Row, error) { return nil, err },
			hostFn: func(context.Context, string, string, []byte) ([]byte, error) { return nil, err },
			part:   func(runtime.BlobPart) error { return err },
		}
	}
	for _, method := range []string{"rows", "call", "part"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			for kind := errkind.Unknown; kind <= errkind.Internal; kind++ {
				l := over(t, passOn)
				e := execution()
				e.Method = method
				r, err := l.Execute(context.Background(), e, failing(kind.Errorf("host says no")))
				if kind == errkind.Internal || kind == errkind.Unavailable {
					require.ErrorIs(t, err, kind)
					require.ErrorContains(t, err, "host says no")
					continue
				}
				require.NoError(t, err)
				requireFault(t, r, runtime.FaultHost, "host says no")
				if method != "part" {
					require.Contains(t, r.Fault.Text, fmt.Sprintf("%d ", kind))
				}
			}
		})
	}
}

func TestLane_StopsWithItsCaller(t *testing.T) {
	t.Parallel()
	l := over(t, obey)
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(200*time.Millisecond, cancel)
		r, err := l.Execute(ctx, execution(), nil)
		require.NoError(t, err)
		requireFault(t, r, runtime.FaultCancelled, "stopped")
	})
	t.Run("deadline of the caller", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		r, err := l.Execute(ctx, execution(), nil)
		require.NoError(t, err)
		requireFault(t, r, runtime.FaultDeadline, "stopped")
	})
	t.Run("deadline of the execution", func(t *testing.T) {
		e := execution()
		e.Budget.DeadlineMillis = 20
		requireFault(t, run(t, l, e, nil), runtime.FaultDeadline, "stopped")
	})
	t.Run("before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r, err := l.Execute(ctx, execution(), nil)
		require.NoError(t, err)
		requireFault(t, r, runtime.FaultCancelled, "before it began")
	})
	t.Run("while the host is asked", func(t *testing.T) {
		asking := over(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
			if _, err := h.HostFn(ctx, "a", "b", nil); err != nil {
				return obey(ctx, e, h)
			}
			return &runtime.Result{}, nil
		})
		ctx, cancel := context.WithCancel(context.Background())
		r, err := asking.Execute(ctx, execution(), &testHost{
			hostFn: func(ctx context.Context, _, _ string, _ []byte) ([]byte, error) {
				cancel()
				<-ctx.Done()
				return nil, ctx.Err()
			}})
		require.NoError(t, err)
		requireFault(t, r, runtime.FaultCancelled, "stopped")
		_, err = asking.Execute(context.Background(), execution(), &testHost{
			hostFn: func(context.Context, string, string, []byte) ([]byte, error) { return nil, nil }})
		require.NoError(t, err, "the lane is still good")
	})
}

func TestLane_ASilentPluginIsUnavailable(t *testing.T) {
	t.Parallel()
	p := sdktest.Start(t, runtime.Wire, sdktest.Reexec("hang"), sdktest.WithName("slow"))
	l := lane(t, p.Plugin)
	e := execution()
	e.Budget.DeadlineMillis = 20
	start := time.Now()
	_, err := l.Execute(context.Background(), e, whenRunning(func() {}))
	require.ErrorIs(t, err, errkind.Unavailable)
	require.True(t, errkind.IsRetryable(err))
	require.ErrorIs(t, err, runtime.ErrSilent)
	require.ErrorContains(t, err, `runtime plugin "slow" gave no result`)
	require.GreaterOrEqual(t, time.Since(start), runtime.ResultGrace)
	_, err = l.Execute(context.Background(), execution(), nil)
	require.ErrorIs(t, err, runtime.ErrNotStarted)
	p.Kill()
}

func TestLane_DeathOfTheProcess(t *testing.T) {
	t.Parallel()
	p := sdktest.Start(t, runtime.Wire, sdktest.Reexec("hang"), sdktest.WithName("mortal"))
	l, idle := lane(t, p.Plugin), lane(t, p.Plugin)
	running, done := make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := l.Execute(context.Background(), execution(), whenRunning(func() { close(running) }))
		done <- err
	}()
	<-running
	p.Kill()
	err := <-done
	require.ErrorIs(t, err, errkind.Unavailable)
	require.True(t, errkind.IsRetryable(err))
	require.ErrorContains(t, err, `runtime plugin "mortal"`)
	_, err = idle.Execute(context.Background(), execution(), nil)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorIs(t, err, runtime.ErrNotStarted, "an idle lane breaks without blaming an execution")
	_, err = p.Plugin.OpenLane(context.Background())
	require.ErrorIs(t, err, errkind.Unavailable)
}

func TestLane_OneExecutionAtATime(t *testing.T) {
	t.Parallel()
	running, release := make(chan struct{}), make(chan struct{})
	l := over(t, func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		close(running)
		<-release
		return &runtime.Result{}, nil
	})
	done := make(chan error, 1)
	go func() {
		_, err := l.Execute(context.Background(), execution(), nil)
		done <- err
	}()
	<-running
	_, err := l.Execute(context.Background(), execution(), nil)
	require.ErrorIs(t, err, errkind.Precondition)
	close(release)
	require.NoError(t, <-done)
}

func TestLane_PluginErrors(t *testing.T) {
	t.Parallel()
	l := over(t, func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		return nil, errkind.Internal.Errorf("engine is broken")
	})
	_, err := l.Execute(context.Background(), execution(), nil)
	require.ErrorIs(t, err, errkind.Internal)
	require.EqualError(t, err, "engine is broken")

	_, err = sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire,
		&plugin{noLane: errkind.Exhausted.Errorf("8 lanes are open, the limit")}).OpenLane(t.Context())
	require.ErrorIs(t, err, errkind.Exhausted)
	require.EqualError(t, err, "8 lanes are open, the limit")
}

func TestLane_ClosesThePluginsEnd(t *testing.T) {
	t.Parallel()
	p := &plugin{execute: echo}
	c := sdktest.OverGRPC[runtime.Plugin](t, runtime.Wire, p)
	l, err := c.OpenLane(context.Background())
	require.NoError(t, err)
	run(t, l, execution(), nil)
	require.NoError(t, l.Close())
	require.Eventually(t, func() bool { return p.closed.Load() == 1 }, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	_, err = c.OpenLane(ctx)
	require.NoError(t, err)
	cancel()
	require.Eventually(t, func() bool { return p.closed.Load() == 2 }, 10*time.Second, time.Millisecond)
}

func guest(exec uint64, m any) *runtimev1.GuestFrame {
	f := &runtimev1.GuestFrame{Exec: exec}
	switch m := m.(type) {
	case *runtimev1.Need:
		f.Frame = &runtimev1.GuestFrame_Need{Need: m}
	case *runtimev1.Call:
		f.Frame = &runtimev1.GuestFrame_Call{Call: m}
	case *runtimev1.BlobPart:
		f.Frame = &runtimev1.GuestFrame_Blob{Blob: m}
	case *runtimev1.Spill:
		f.Frame = &runtimev1.GuestFrame_Spill{Spill: m}
	case *runtimev1.Rows:
		f.Frame = &runtimev1.GuestFrame_Writes{Writes: m}
	case *runtimev1.Result:
		f.Frame = &runtimev1.GuestFrame_Result{Result: m}
	}
	return f
}

func TestLane_HostilePlugin(t *testing.T) {
	t.Parallel()
	inline := func(b []byte) *runtimev1.Data {
		return &runtimev1.Data{Data: &runtimev1.Data_Inline{Inline: b}}
	}
	value := func(d *runtimev1.Data) *runtimev1.Result {
		return &runtimev1.Result{Outcome: &runtimev1.Result_Value{Value: d}}
	}
	tests := map[string]struct {
		frames []any
		kind   errkind.Kind
		text   string
	}{
		"unknown frame":          {[]any{nil}, errkind.Unsupported, "speaks runtime protocol unknown, this process speaks 1"},
		"unknown outcome":        {[]any{&runtimev1.Result{}}, errkind.Unsupported, "result of a form"},
		"unknown value":          {[]any{value(&runtimev1.Data{})}, errkind.Unsupported, "value of a form"},
		"unknown fault":          {[]any{&runtimev1.Result{Outcome: &runtimev1.Result_Fault{Fault: &runtimev1.GuestFault{Kind: 99}}}}, errkind.Unsupported, "fault of a form"},
		"unknown call":           {[]any{&runtimev1.Call{Id: 1}}, errkind.Unsupported, "call of a form"},
		"unsent spill":           {[]any{value(&runtimev1.Data{Data: &runtimev1.Data_Spill{Spill: 4}})}, errkind.Internal, "spill 4, which was not sent whole"},
		"half a spill":           {[]any{&runtimev1.Spill{Id: 4, Data: []byte("x")}, value(&runtimev1.Data{Data: &runtimev1.Data_Spill{Spill: 4}})}, errkind.Internal, "not sent whole"},
		"spill goes on":          {[]any{&runtimev1.Spill{Id: 4, Last: true}, &runtimev1.Spill{Id: 4}}, errkind.Internal, "goes on"},
		"spill part too large":   {[]any{&runtimev1.Spill{Id: 4, Data: fill(mib + 1)}}, errkind.Internal, "1048577"},
		"inline value too big":   {[]any{value(inline(fill(256*kib + 1)))}, errkind.Internal, "262145"},
		"too many keys":          {[]any{&runtimev1.Need{Id: 1, Keys: make([]*runtimev1.RowKey, 1025)}}, errkind.Internal, "1024"},
		"short key":              {[]any{&runtimev1.Need{Id: 1, Keys: []*runtimev1.RowKey{{Scope: 1, Key: []byte("x")}}}}, errkind.Internal, "must have 32"},
		"unknown scope":          {[]any{&runtimev1.Need{Id: 1, Keys: []*runtimev1.RowKey{{Scope: 9, Key: make([]byte, 32)}}}}, errkind.Internal, "unknown scope"},
		"blob part too large":    {[]any{&runtimev1.BlobPart{Data: fill(mib + 1)}}, errkind.Internal, "1048577"},
		"blob read too large":    {[]any{&runtimev1.Call{Id: 1, Call: &runtimev1.Call_Read{Read: &runtimev1.BlobRead{BlobId: make([]byte, 32), Length: 10*mib + 1}}}}, errkind.Internal, "10485761"},
		"short root hash":        {[]any{&runtimev1.Result{Outcome: &runtimev1.Result_None{None: true}, RootHash: []byte("x")}}, errkind.Internal, "root hash"},
		"too many rows read":     {[]any{&runtimev1.Result{Outcome: &runtimev1.Result_None{None: true}, Read: make([]*runtimev1.RowKey, 4097)}}, errkind.Internal, "4096"},
		"a message of 16 MiB":    {[]any{&runtimev1.BlobPart{Data: fill(16 * mib)}}, errkind.Exhausted, "larger than max"},
		"unknown row":            {[]any{&runtimev1.Rows{Rows: []*runtimev1.Row{{Scope: 1, Key: make([]byte, 32)}}}}, errkind.Unsupported, "row of a form"},
		"end without a result":   {nil, errkind.Internal, "without a result"},
		"wrong execution number": {[]any{guest(1<<60, &runtimev1.Need{})}, errkind.Internal, "a frame of execution 1152921504606846976"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := hostile(t, func(s runtimev1.RuntimeService_LaneServer, exec uint64) error {
				for _, m := range test.frames {
					f, ok := m.(*runtimev1.GuestFrame)
					if !ok {
						f = guest(exec, m)
					}
					if err := s.Send(f); err != nil {
						return err
					}
				}
				if test.frames == nil {
					return errDone
				}
				<-s.Context().Done()
				return s.Context().Err()
			})
			_, err := l.Execute(context.Background(), execution(), &testHost{})
			if test.frames == nil {
				require.Error(t, err)
				return
			}
			require.ErrorIs(t, err, test.kind, "%v", err)
			require.ErrorContains(t, err, test.text)
			_, err = l.Execute(context.Background(), execution(), nil)
			require.ErrorIs(t, err, runtime.ErrNotStarted)
		})
	}
}

var errDone = errkind.Internal.Errorf("the script is over without a result")

func TestLane_FloodsBecomeFaults(t *testing.T) {
	t.Parallel()
	none := &runtimev1.Result{Outcome: &runtimev1.Result_None{None: true}}
	tests := map[string]struct {
		flood func(n int) any // a message, or nil when the flood is over
		text  string
	}{
		"spills": {text: "67108864", flood: func(n int) any {
			if n > 64 {
				return nil
			}
			return &runtimev1.Spill{Id: uint32(n), Data: fill(mib), Last: true}
		}},
		"empty spills": {text: "67108864", flood: func(n int) any {
			if n > 4200 {
				return nil
			}
			return &runtimev1.Spill{Id: uint32(n)}
		}},
		"writes": {text: "65536", flood: func(n int) any {
			if n > 65 {
				return nil
			}
			rows := make([]*runtimev1.Row, 1024)
			for i := range rows {
				rows[i] = &runtimev1.Row{Scope: 1, Key: make([]byte, 32), V: &runtimev1.Row_Absent{Absent: true}}
			}
			return &runtimev1.Rows{Rows: rows}
		}},
		"bytes written": {text: "134217728", flood: func(n int) any {
			if n > 130 {
				return nil
			}
			rows := make([]*runtimev1.Row, 4)
			for i := range rows {
				rows[i] = &runtimev1.Row{Scope: 1, Key: make([]byte, 32), V: &runtimev1.Row_Value{Value: &runtimev1.Data{
					Data: &runtimev1.Data_Inline{Inline: fill(256 * kib)}}}}
			}
			return &runtimev1.Rows{Rows: rows}
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := hostile(t, func(s runtimev1.RuntimeService_LaneServer, exec uint64) error {
				for n := 0; ; n++ {
					m := test.flood(n)
					if m == nil {
						return s.Send(guest(exec, none))
					}
					if err := s.Send(guest(exec, m)); err != nil {
						return err
					}
				}
			})
			requireFault(t, run(t, l, execution(), nil), runtime.FaultTooLarge, test.text)
			requireFault(t, run(t, l, execution(), nil), runtime.FaultTooLarge, test.text)
		})
	}
}

func BenchmarkLane_PingPong(b *testing.B) {
	l := over(b, echo)
	e := execution()
	b.ReportAllocs()
	for b.Loop() {
		e.ID++
		if _, err := l.Execute(context.Background(), e, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLane_TypicalSet(b *testing.B) {
	writes := rows(13, 150)
	hash := domain.Hash{1}
	p := sdktest.Start(b, runtime.Wire, sdktest.Reexec("echo"))
	for name, l := range map[string]runtime.Lane{
		"same process": over(b, func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
			return &runtime.Result{Value: []byte("null"), Writes: writes, RootHash: &hash, Artifact: fill(2000),
				Events: []runtime.Event{{Kind: "Inserted", Data: fill(60)}}}, nil
		}),
		"child process, echo of 2 KiB": lane(b, p.Plugin),
	} {
		b.Run(name, func(b *testing.B) {
			e := execution()
			e.Input = fill(2 * kib)
			e.State.Steps = []runtime.Step{{To: 2, AcceptExec: 1}}
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				e.ID++
				if _, err := l.Execute(ctx, e, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
