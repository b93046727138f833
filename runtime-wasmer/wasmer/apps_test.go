package wasmer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
	"github.com/calimero-go/core/tests/apps"
)

// app is a sample app in a context of its own whose state is initialised.
type app struct {
	testing.TB
	core   *runtimetest.Core
	module domain.Hash
}

func startApp(t testing.TB, p runtime.Runtime, name string) *app {
	t.Helper()
	wasm, err := apps.Wasm(name)
	require.NoError(t, err)
	a := &app{TB: t, core: runtimetest.NewCore(t, p), module: prepare(t, p, wasm).ID}
	a.commit("init", `{}`)
	return a
}

func (a *app) call(method, args string) *runtime.Result {
	a.Helper()
	_, r := a.core.Call(a.module, method, []byte(args))
	return r
}

// commit calls a method and accepts its writes.
func (a *app) commit(method, args string) *runtime.Result {
	a.Helper()
	e, r := a.core.Call(a.module, method, []byte(args))
	require.Nil(a, r.Fault, "%v", r.Fault)
	require.NotNil(a, r.RootHash)
	a.core.Accept(e, r)
	return r
}

// TestApps runs the sample apps on one plugin, which compiles each once.
func TestApps(t *testing.T) {
	t.Parallel()
	p := configured(t, wasmer.New(), t.TempDir(), map[string]int64{"lanes": 32})
	t.Run("group", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, runtime.Runtime){
			"key-value": testKeyValue, "every app starts": testEveryApp, "rogue guests are stopped": testRogue,
			"recursion has room": testRecursion,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, p)
			})
		}
	})
}

func testKeyValue(t *testing.T, p runtime.Runtime) {
	a := startApp(t, p, "kv")
	for i := range 20 {
		r := a.commit("set", fmt.Sprintf(`{"key":"k%d","value":"v%d"}`, i, i))
		require.Len(t, r.Events, 1)
		require.Equal(t, "Inserted", r.Events[0].Kind)
	}
	r := a.call("get", `{"key":"k7"}`)
	require.Equal(t, `"v7"`, string(r.Value))
	require.EqualValues(t, 1, r.Usage.RoundTrips)
	r = a.commit("set", `{"key":"k7","value":"again"}`)
	require.EqualValues(t, 1, r.Usage.RoundTrips)
	require.Equal(t, `"again"`, string(a.call("get", `{"key":"k7"}`).Value))
	require.NotNil(t, a.call("set_then_fail", `{"key":"k7","value":"no"}`).AppError)
	require.Equal(t, `"again"`, string(a.call("get", `{"key":"k7"}`).Value))
	require.Contains(t, a.call("get_unchecked", `{"key":"none"}`).Fault.Text, "guest panicked: key not found at ")
	require.Contains(t, a.call("init", `{}`).Fault.Text, "Cannot initialize over already existing state.")
}

func testEveryApp(t *testing.T, p runtime.Runtime) {
	for _, name := range apps.Names() {
		if name != "types" { // its init takes arguments
			startApp(t, p, name)
		}
	}
}

// testRogue runs what the rogue app does wrong; each ends in
// time with its own fault, and the next call works.
func testRogue(t *testing.T, p runtime.Runtime) {
	a := startApp(t, p, "rogue")
	a.commit("set", `{"key":"k","value":"v"}`)
	const deadline = 300
	for _, c := range []struct {
		method, args, text string
		kind               runtime.FaultKind
	}{
		{"loop_forever", `{}`, "deadline exceeded", runtime.FaultDeadline},
		{"loop_host_calls", `{}`, "deadline exceeded", runtime.FaultDeadline},
		{"set_and_loop", `{"key":"k","value":"lost"}`, "deadline exceeded", runtime.FaultDeadline},
		{"grow_forever", `{}`, "deadline exceeded", runtime.FaultDeadline},
		{"fill", `{"bytes":32000000,"rounds":1000000}`, "deadline exceeded", runtime.FaultDeadline},
		{"allocate_forever", `{}`, "unreachable code reached", runtime.FaultMemory},
		{"recurse", `{"depth":100000000}`, "stack overflow", runtime.FaultTrap},
		{"recurse_indirect", `{"depth":100000000}`, "stack overflow", runtime.FaultTrap},
		{"recurse_frames", `{"depth":100000000}`, "memory out of bounds", runtime.FaultTrap},
		{"recurse_host", `{"depth":100000000}`, "stack overflow", runtime.FaultTrap},
		{"recurse_host_at_end", `{"depth":100000000}`, "stack overflow", runtime.FaultTrap},
		{"recurse_copy", `{"depth":100000000}`, "stack overflow", runtime.FaultTrap},
		{"recurse_fill", `{"depth":100000000}`, "stack overflow", runtime.FaultTrap},
		{"recurse_grow", `{"depth":100000000}`, "stack overflow", runtime.FaultTrap},
		{"trap", `{}`, "unreachable code reached", runtime.FaultTrap},
		{"set_and_trap", `{"key":"k","value":"lost"}`, "unreachable code reached", runtime.FaultTrap},
		{"load_beyond", `{"offset":4000000000}`, "memory out of bounds", runtime.FaultTrap},
		{"divide", `{"a":1,"b":0}`, "illegal arithmetic operation", runtime.FaultTrap},
		{"truncate", `{"v":null}`, "illegal arithmetic operation", runtime.FaultTrap},
		{"call_slot", `{"slot":0}`, "indirect call to null", runtime.FaultTrap},
		{"call_slot", `{"slot":4000000}`, "memory out of bounds", runtime.FaultTrap},
		{"bare_panic", `{}`, "unreachable code reached", runtime.FaultTrap},
		{"commit_twice", `{}`, "invalid memory access", runtime.FaultHost},
		{"logs", `{"n":101,"size":1}`, "logs overflow", runtime.FaultHost},
		{"registers", `{"n":100}`, "invalid memory access", runtime.FaultHost},
	} {
		e := a.core.Request(a.module, c.method, []byte(c.args))
		if c.kind == runtime.FaultDeadline {
			e.Budget.DeadlineMillis = deadline
		}
		start := time.Now()
		r, err := a.core.Execute(context.Background(), e)
		took := time.Since(start)
		require.NoError(t, err, c.method)
		require.NotNil(t, r.Fault, c.method)
		require.Equal(t, c.kind, r.Fault.Kind, "%s: %s", c.method, r.Fault.Text)
		require.Contains(t, r.Fault.Text, c.text, c.method)
		if c.kind == runtime.FaultDeadline {
			require.Less(t, took, (deadline+1000)*time.Millisecond, c.method)
			t.Logf("%s: %v after the deadline", c.method, took-deadline*time.Millisecond)
		}
		require.Equal(t, `"v"`, string(a.call("get", `{"key":"k"}`).Value), "after %s", c.method)
	}
	require.Equal(t, "4096", string(a.call("grow_to_the_end", `{}`).Value))
}

// testRecursion shows that the guard leaves honest programs alone.
func testRecursion(t *testing.T, p runtime.Runtime) {
	a := startApp(t, p, "rogue")
	require.Nil(t, a.call("recurse", `{"depth":1000}`).Fault)
	require.Nil(t, a.call("recurse_host", `{"depth":1000}`).Fault)
}

func benchmarkApp(b *testing.B, keys int) *app {
	a := startApp(b, newPlugin(b), "kv")
	for i := range keys {
		a.commit("set", fmt.Sprintf(`{"key":"k%d","value":"v"}`, i))
	}
	return a
}

// The benchmarks run the bare execution: engine, guestabi and row copy in this
// process, all state in memory.
func BenchmarkSet(b *testing.B) {
	for _, keys := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			a := benchmarkApp(b, keys)
			i := 0
			for b.Loop() {
				i++
				a.commit("set", fmt.Sprintf(`{"key":"k%d","value":"value %d"}`, i%keys, i))
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, keys := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			a := benchmarkApp(b, keys)
			i := 0
			for b.Loop() {
				i++
				r := a.call("get", fmt.Sprintf(`{"key":"k%d"}`, i%keys))
				if r.Fault != nil || r.Usage.RoundTrips != 1 {
					b.Fatalf("%v, %d round trips", r.Fault, r.Usage.RoundTrips)
				}
			}
		})
	}
}

// BenchmarkHostCall counts register_len calls of a guest.
func BenchmarkHostCall(b *testing.B) {
	a := startApp(b, newPlugin(b), "rogue")
	const n = 100_000
	for b.Loop() {
		if r := a.call("host_calls", fmt.Sprintf(`{"n":%d}`, n)); r.Fault != nil {
			b.Fatal(r.Fault)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/hostcall")
}

func BenchmarkPrepare(b *testing.B) {
	wasm, err := apps.Wasm("kv")
	require.NoError(b, err)
	for b.Loop() {
		prepare(b, newPlugin(b), wasm)
	}
}
