package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// TestRogue: an application that misbehaves gets its error, the node and its plugins live on, and the next call works.
func TestRogue(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	x := newContext(t, n, n.Client(), "rogue", "")
	before := pluginPIDs(t, n)
	kib := func(n int) string { return fmt.Sprint(n << 10) }
	long := func(n int) string { return fmt.Sprint(n) }

	groups := map[string][]step{
		"memory": {
			outOfMemory("allocate_forever", ""),
			gives("allocate", `{"bytes":1000000}`, `1000000`), outOfMemory("allocate", `{"bytes":1073741824}`),
			gives("grow", `{"pages":70000}`, `-1`), gives("fill", `{"bytes":1048576,"rounds":2}`, `2`),
			gives("grow_to_the_end", "", `4096`),
			fails("load_beyond", `{"offset":0}`, "memory out of bounds"), fails("store_beyond", `{"offset":0}`, "memory out of bounds"),
			fails("load_beyond", `{"offset":65536}`, "memory out of bounds"),
		},
		"traps": {
			fails("trap", "", "unreachable code reached"),
			fails("set_and_trap", `{"key":"trap","value":"v"}`, "unreachable code reached"), gives("get", `{"key":"trap"}`, `null`),
			gives("divide", `{"a":7,"b":2}`, `3`), fails("divide", `{"a":7,"b":0}`, "illegal arithmetic operation"),
			fails("divide", `{"a":-2147483648,"b":-1}`, "illegal arithmetic operation"),
			fails("remainder", `{"a":7,"b":0}`, "illegal arithmetic operation"),
			fails("truncate", `{"v":null}`, "illegal arithmetic operation"), fails("truncate", `{"v":1e10}`, "illegal arithmetic operation"),
			fails("call_slot", `{"slot":0}`, "indirect call to null"), fails("call_slot", `{"slot":100000}`, "memory out of bounds"),
			fails("bare_panic", "", "unreachable code reached"), exactly("bare", "", `null`),
			fails("takes_argument", "", `method "takes_argument" has invalid signature: expected no arguments and no return value`),
			fails("gives_result", "", `method "gives_result" has invalid signature: expected no arguments and no return value`),
			fails("panic_bad_utf8", "", "invalid UTF-8 string"), fails("return_then_trap", "", "unreachable code reached"),
		},
		"recursion": {
			fails("recurse", `{"depth":100000000}`, "stack overflow"), fails("recurse_indirect", `{"depth":100000000}`, "stack overflow"),
			fails("recurse_frames", `{"depth":100000}`, "memory out of bounds"),
			fails("recurse_host", `{"depth":100000000}`, "stack overflow"),
			fails("recurse_host_at_end", `{"depth":100000000}`, "stack overflow"),
			fails("recurse_copy", `{"depth":100000000}`, "stack overflow"), fails("recurse_fill", `{"depth":100000000}`, "stack overflow"),
			fails("recurse_grow", `{"depth":100000000}`, "stack overflow"),
		},
		"sizes": {
			exactly("logs", with(`{"n":100,"size":$1}`, kib(16)), `null`), fails("logs", `{"n":101,"size":1}`, "logs overflow"),
			fails("logs", with(`{"n":1,"size":$1}`, fmt.Sprint(16<<10+1)), "log size overflow"),
			fails("log_bad_utf8", "", "invalid UTF-8 string"),
			exactly("events", with(`{"n":100,"kind":100,"data":$1}`, kib(16)), `null`),
			fails("events", `{"n":101,"kind":1,"data":1}`, "events overflow"),
			fails("events", `{"n":1,"kind":101,"data":1}`, "event kind size overflow"),
			fails("events", with(`{"n":1,"kind":1,"data":$1}`, fmt.Sprint(16<<10+1)), "event data size overflow"),
			fails("calls", `{"n":101,"function":1,"params":1}`, "xcalls overflow"),
			fails("calls", `{"n":1,"function":101,"params":1}`, "xcall function size overflow"),
			fails("calls", with(`{"n":1,"function":1,"params":$1}`, fmt.Sprint(16<<10+1)), "xcall params size overflow"),
			fails("call_context_len", `{"n":31}`, "invalid memory access"),
			fails("return_tag", `{"tag":2}`, "invalid memory access"), refuses("return_tag", `{"tag":1}`, `1`),
			fails("read_register_unset", `{"register":7}`, "invalid register id: 7"),
			fails("registers", `{"n":100000}`, "invalid memory access"),
			fails("raw_write", with(`{"key":$1,"value":1}`, long(1<<20+1)), "key length overflow"),
			fails("raw_write", with(`{"key":1,"value":$1}`, long(10<<20+1)), "value length overflow"),
			fails("commit_twice", "", "invalid memory access"), fails("commit_raw", `{"root":[1],"artifact":[]}`, "invalid memory access"),
			refuses("return_raw", `{"bytes":[255],"error":true}`, "\xff"),
			gives("fetch_url", `{"url":"http://localhost/"}`, `[1,"Host function 'fetch' is temporarily disabled."]`),
		},
		"pointers": wildPointers(),
	}
	for name, steps := range groups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y, err := n.Client().CreateContext(t.Context(), x.Application, nil)
			require.NoError(t, err)
			play(t, y, steps)
			requireAlive(t, y)
		})
	}
	t.Run("a large return", func(t *testing.T) {
		t.Parallel()
		require.Len(t, call[string](t, x, "return_bytes", obj{"n": 5 << 20}), 5<<20)
	})
	t.Run("a result that is no JSON", func(t *testing.T) {
		t.Parallel()
		_, err := x.Call(t.Context(), "return_raw", obj{"bytes": []int{0x7b}, "error": false})
		var e *harness.CallError
		require.ErrorAs(t, err, &e)
		require.Equal(t, "SerdeError", e.Type)
	})
	t.Run("a delta over 7 MiB", func(t *testing.T) {
		t.Parallel()
		y, err := n.Client().CreateContext(t.Context(), x.Application, nil)
		require.NoError(t, err)
		_, err = y.Call(t.Context(), "write_n", obj{"prefix": "big", "n": 8, "size": 1 << 20})
		require.Contains(t, functionCallText(t, err), "the limit is 7340032")
		require.Equal(t, 0, call[int](t, y, "len", nil))
		require.Equal(t, 5, call[int](t, y, "write_n", obj{"prefix": "big", "n": 5, "size": 1 << 20}))
		requireAlive(t, y)
	})
	t.Cleanup(func() { require.Equal(t, before, pluginPIDs(t, n), "no plugin may have been restarted") })
}

// outOfMemory wants the trap of an allocator that got no memory; how much there was may follow.
func outOfMemory(method, args string) step {
	return step{method, args, func(t *testing.T, _ json.RawMessage, err error) {
		t.Helper()
		require.Regexp(t, `^unreachable code reached(, with \d+ of at most 4096 memory pages in use)?$`, functionCallText(t, err))
	}}
}

func wildPointers() []step {
	var steps []step
	for _, f := range []string{
		"panic_utf8", "read_register", "value_return", "log_utf8", "emit", "xcall", "commit", "storage_read", "storage_remove",
		"storage_write", "private_storage_read", "private_storage_remove", "private_storage_write", "random_bytes", "time_now",
		"ed25519_verify", "blob_open", "blob_read", "blob_write", "blob_announce_to_context",
	} {
		for _, pointer := range []string{"4294967295", "18446744073709551615", "9223372036854775808"} {
			steps = append(steps, fails("wild_descriptor", with(`{"function":"$1","pointer":$2}`, f, pointer), "invalid memory access"))
		}
	}
	// A length beyond all bounds breaks the bound of its kind first.
	for f, text := range map[string]string{
		"emit": "event data size overflow", "storage_read": "key length overflow", "storage_write": "key length overflow",
		"log_utf8": "invalid memory access", "value_return": "invalid memory access", "commit": "invalid memory access",
	} {
		steps = append(steps, fails("wild_slice", with(`{"function":"$1","pointer":4294967280,"len":4096}`, f), "invalid memory access"),
			fails("wild_slice", with(`{"function":"$1","pointer":16,"len":18446744073709551615}`, f), text))
	}
	return steps
}

func requireAlive(t *testing.T, x *harness.Context) {
	t.Helper()
	call[any](t, x, "set", obj{"key": "alive", "value": "yes"})
	require.Equal(t, "yes", call[string](t, x, "get", obj{"key": "alive"}))
}

func pluginPIDs(t *testing.T, n *harness.Node) map[string]int {
	t.Helper()
	pids := map[string]int{}
	for _, kind := range []string{"storage", "runtime"} {
		pid, err := n.Plugin(kind)
		require.NoError(t, err)
		pids[kind] = pid
	}
	return pids
}

const (
	rogueDeadline = time.Second
	// A runaway guest is stopped this long after its deadline at the latest.
	stopWithin = 250 * time.Millisecond
)

// TestRunaway: what never ends is stopped in time, and other contexts are served meanwhile. It runs before the parallel
// tests, for the sake of the clock; a stop that came late once must be in time at another try.
func TestRunaway(t *testing.T) {
	n := harness.Start(t, harness.Options{Execution: fmt.Sprintf("  deadline = %q", rogueDeadline)})
	c := n.Client()
	x := newContext(t, n, c, "rogue", "")
	other := newContext(t, n, c, "kv", "")
	before := pluginPIDs(t, n)
	for _, method := range []string{"loop_forever", "loop_host_calls", "grow_forever", "set_and_loop"} {
		t.Run(method, func(t *testing.T) {
			var took time.Duration
			for range 3 {
				if took = runaway(t, x, other, method); took <= rogueDeadline+stopWithin {
					break
				}
				t.Logf("%s: answered after %v, trying again", method, took)
			}
			require.LessOrEqual(t, took, rogueDeadline+stopWithin)
			requireAlive(t, x)
		})
	}
	require.Equal(t, 1, call[int](t, x, "len", nil), "the write of set_and_loop must not stay")
	require.Equal(t, before, pluginPIDs(t, n))

	// The caller goes away: its guest is stopped, and the context is free again long before the deadline.
	ctx, cancel := context.WithCancel(t.Context())
	var gone sync.WaitGroup
	gone.Go(func() {
		_, err := x.Call(ctx, "loop_forever", nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled call gave %v", err)
		}
	})
	until(t, "the guest runs", func(context.Context) error {
		return busy(t, c)
	})
	cancel()
	gone.Wait()
	requireAlive(t, x)
}

// busy is nil when a call to the runtime plugin is in flight.
func busy(t *testing.T, c *harness.Client) error {
	m, err := c.Metrics(t.Context())
	if err != nil {
		return err
	}
	v, err := m.Sum("calimero_plugin_in_flight", "kind", "runtime")
	if err == nil && v == 0 {
		err = errors.New("nothing is in flight")
	}
	return err
}

// runaway runs a method that never ends and returns how long its error took; meanwhile another context answers.
func runaway(t *testing.T, x, other *harness.Context, method string) time.Duration {
	t.Helper()
	type answer struct {
		err  error
		took time.Duration
	}
	done := make(chan answer, 1)
	go func() {
		begin := time.Now()
		_, err := x.Call(t.Context(), method, json.RawMessage(`{"key":"loop","value":"x"}`))
		done <- answer{err, time.Since(begin)}
	}()
	served := 0
	for {
		select {
		case a := <-done:
			require.Regexp(t, `^deadline exceeded: the call did not end within (1000|9\d\d) ms$`, functionCallText(t, a.err))
			require.GreaterOrEqual(t, served, 5, "other contexts must be served meanwhile")
			return a.took
		default:
			call[any](t, other, "set", obj{"key": "k", "value": "v"})
			served++
		}
	}
}

// TestFuel: a call may use so many instructions, whatever its deadline.
func TestFuel(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Execution: "  fuel = 100000000"})
	x := newContext(t, n, n.Client(), "rogue", "")
	play(t, x, []step{
		fails("loop_forever", "", "instruction budget exhausted: the call used all of its 100000000 instructions"),
		fails("spin", `{"rounds":1000000000}`, "instruction budget exhausted: the call used all of its 100000000 instructions"),
	})
	requireAlive(t, x)
}
