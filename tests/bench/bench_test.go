package bench_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
	sampleapps "github.com/calimero-go/core/tests/apps"
	"github.com/calimero-go/core/tests/harness"
)

func wasm(tb testing.TB, app string) []byte {
	tb.Helper()
	b, err := sampleapps.Wasm(app)
	require.NoError(tb, err)
	return b
}

func sha256sum(b []byte) domain.Hash { return sha256.Sum256(b) }
func reader(b []byte) io.Reader      { return bytes.NewReader(b) }

// keys of the key-value app in every measurement but those that say otherwise.
const keys = 100

func setArgs(i int) []byte { return fmt.Appendf(nil, `{"key":"key-%d","value":"value-%d"}`, i%keys, i) }
func getArgs(i int) []byte { return fmt.Appendf(nil, `{"key":"key-%d"}`, i%keys) }

// caller runs a method; its output is dropped.
type caller func(ctx context.Context, method string, args []byte) error

func fill(tb testing.TB, call caller) {
	tb.Helper()
	for i := range keys {
		require.NoError(tb, call(tb.Context(), "set", setArgs(i)))
	}
	require.NoError(tb, call(tb.Context(), "get", getArgs(0)))
}

func overHTTP(x *harness.Context) caller {
	return func(ctx context.Context, method string, args []byte) error {
		_, err := x.Call(ctx, method, json.RawMessage(args))
		return err
	}
}

// newNode starts a whole node with tokens.
func newNode(tb testing.TB) (*harness.Node, *harness.Client) {
	tb.Helper()
	n := harness.Start(tb, harness.Options{Auth: true})
	c, err := n.Client().LoggedIn(tb.Context(), "bench", "a long password")
	require.NoError(tb, err)
	return n, c
}

func newContexts(tb testing.TB, n *harness.Node, c *harness.Client, count int) []*harness.Context {
	tb.Helper()
	id, err := n.Install(tb.Context(), c, "kv")
	require.NoError(tb, err)
	all := make([]*harness.Context, count)
	for i := range all {
		all[i], err = c.CreateContext(tb.Context(), id, nil)
		require.NoError(tb, err)
	}
	return all
}

// BenchmarkCall measures set and get of one caller at each height, in turn, and the ratios between the heights.
func BenchmarkCall(b *testing.B) {
	once(b, func() {
		n, c := newNode(b)
		heights := []struct {
			name string
			call caller
		}{
			{"bare guest", newBare(b, "kv").call},
			{"core, plugins linked in", newLinked(b).context(b, "kv").call},
			{"core, plugins as processes", newHosted(b).context(b, "kv").call},
			{"node over HTTP", overHTTP(newContexts(b, n, c, 1)[0])},
		}
		for _, h := range heights {
			fill(b, h.call)
		}
		took := map[string][]samples{"set": make([]samples, len(heights)), "get": make([]samples, len(heights))}
		const chunk = 25
		for round := range harness.Scale(24, 200) {
			for i, h := range heights {
				for _, m := range []struct {
					name string
					args func(int) []byte
				}{{"set", setArgs}, {"get", getArgs}} {
					for j := range chunk {
						args := m.args(round*chunk + j)
						begin := time.Now()
						require.NoError(b, h.call(b.Context(), m.name, args))
						took[m.name][i] = append(took[m.name][i], time.Since(begin))
					}
				}
			}
		}
		title("one caller, 100 keys", "p50 µs", "p99 µs", "calls")
		for _, m := range []string{"set", "get"} {
			for i, h := range heights {
				s := took[m][i]
				report.add(m+", "+h.name, micros(s.at(0.5)), micros(s.at(0.99)), fmt.Sprint(len(s)))
			}
		}
		p50 := func(method string, height int) float64 { return float64(took[method][height].at(0.5)) }
		title("ratio at p50", "measured", "target")
		ratio(b, "set, two process boundaries to linked in", p50("set", 2)/p50("set", 1), false, 1.3)
		ratio(b, "set over HTTP to bare guest", p50("set", 3)/p50("set", 0), false, 2)
		ratio(b, "get over HTTP to bare guest", p50("get", 3)/p50("get", 0), false, 3)
		b.ReportMetric(p50("set", 3)/1e3, "µs/set")
		b.ReportMetric(p50("get", 3)/1e3, "µs/get")
	})
}

// BenchmarkCommit measures what the process boundary adds to a commit of the size that a set has, with a pause before each
// as the guest's work makes one: processes that wait take longer to wake than those that are at work.
func BenchmarkCommit(b *testing.B) {
	once(b, func() {
		linked := leveldb.New()
		configure(b, linked, filepath.Join(tempDir(b), "storage"))
		_, hosted, _ := newPlugins(b)
		heights := []struct {
			name  string
			store storage.Store
		}{{"linked in", linked}, {"as a process", hosted}}
		took := make([]samples, len(heights))
		const chunk, rows, size, pause = 50, 8, 400, time.Millisecond
		value := bytes.Repeat([]byte{0x5a}, size)
		for round := range harness.Scale(20, 200) {
			for i, h := range heights {
				for j := range chunk {
					batch := storage.Batch{ID: storage.NewBatchID()}
					for row := range rows {
						batch.Put("State", fmt.Appendf(nil, "%032d-%d", (round*chunk+j)%1000, row), value)
					}
					time.Sleep(pause)
					begin := time.Now()
					_, err := h.store.Apply(b.Context(), batch)
					took[i] = append(took[i], time.Since(begin))
					require.NoError(b, err)
				}
			}
		}
		title("commit of 8 rows, 3.4 KB", "p50 µs", "p99 µs", "commits")
		for i, h := range heights {
			report.add(h.name, micros(took[i].at(0.5)), micros(took[i].at(0.99)), fmt.Sprint(len(took[i])))
		}
		boundary := took[1].at(0.5) - took[0].at(0.5)
		title("ratio", "measured", "target")
		ratio(b, "ms that the boundary adds to a commit", boundary.Seconds()*1e3, false, 0.45)
	})
}

// BenchmarkThroughput measures calls per second of a node over HTTP.
func BenchmarkThroughput(b *testing.B) {
	once(b, func() {
		n, c := newNode(b)
		all := newContexts(b, n, c, 8)
		var calls []caller
		for _, x := range all {
			calls = append(calls, overHTTP(x))
		}
		for _, call := range calls {
			fill(b, call)
		}
		count := harness.Scale(800, 8000)
		title("node over HTTP", "callers", "contexts", "calls/s")
		rate := map[string]float64{}
		shapes := []struct{ callers, contexts int }{{1, 1}, {8, 1}, {8, 8}}
		for _, m := range []struct {
			name string
			args func(int) []byte
		}{{"set", setArgs}, {"get", getArgs}} {
			// The shapes take turns; the median of three counts.
			rates := make([]samples, len(shapes))
			for range 3 {
				for i, s := range shapes {
					rates[i] = append(rates[i], run(b, calls[:s.contexts], s.callers, count/3, m.name, m.args))
				}
			}
			for i, s := range shapes {
				perSecond := float64(count/3) / rates[i].at(0.5).Seconds()
				rate[fmt.Sprintf("%s %d/%d", m.name, s.callers, s.contexts)] = perSecond
				report.add(m.name, fmt.Sprint(s.callers), fmt.Sprint(s.contexts), fmt.Sprintf("%.0f", perSecond))
			}
		}
		title("ratio of calls/s", "measured", "target")
		ratio(b, "set, 8 contexts to 1, 8 callers", rate["set 8/8"]/rate["set 8/1"], true, 1.7)
		b.ReportMetric(rate["set 8/8"], "sets/s")
		b.ReportMetric(rate["get 8/8"], "gets/s")

		processes, err := harness.Below(n.Home)
		require.NoError(b, err)
		memory("memory after the load", processes)
	})
}

// run makes count calls by so many callers, spread over the contexts, and returns how long they took.
func run(b *testing.B, contexts []caller, callers, count int, method string, args func(int) []byte) time.Duration {
	b.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for i := range callers {
		call := contexts[i%len(contexts)]
		all.Go(func() {
			for {
				j := int(next.Add(1))
				if j > count {
					return
				}
				if err := call(b.Context(), method, args(j)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(begin)
}

// BenchmarkGrowth measures set as the map grows.
func BenchmarkGrowth(b *testing.B) {
	once(b, func() {
		n, c := newNode(b)
		call := overHTTP(newContexts(b, n, c, 1)[0])
		title("set of new keys over HTTP", "p50 µs", "p99 µs")
		size := 0
		for _, until := range []int{100, 500, 1000} {
			var s samples
			for ; size < until; size++ {
				args := fmt.Appendf(nil, `{"key":"new-%d","value":"v"}`, size)
				begin := time.Now()
				require.NoError(b, call(b.Context(), "set", args))
				if size >= until-50 {
					s = append(s, time.Since(begin))
				}
			}
			report.add(fmt.Sprintf("at %d keys", until), micros(s.at(0.5)), micros(s.at(0.99)))
		}
	})
}

// BenchmarkStart measures the start of a node to its first healthy answer, and its memory when idle.
func BenchmarkStart(b *testing.B) {
	n := harness.Make(b, harness.Options{Auth: true})
	var s samples
	var idle []harness.Process
	for b.Loop() {
		begin := time.Now()
		require.NoError(b, n.Start(b.Context()))
		s = append(s, time.Since(begin))
		b.StopTimer()
		var err error
		idle, err = harness.Below(n.Home)
		require.NoError(b, err)
		_, err = n.Stop(b.Context())
		require.NoError(b, err)
		b.StartTimer()
	}
	title("start to healthy", "p50 ms", "most ms")
	report.add("three plugins", fmt.Sprint(s.at(0.5).Milliseconds()), fmt.Sprint(s.at(1).Milliseconds()))
	memory("memory when idle", idle)
}

// memory reports the size of processes.
func memory(name string, processes []harness.Process) {
	title(name, "RSS MiB")
	var sum uint64
	for _, p := range processes {
		report.add(filepath.Base(p.Program), fmt.Sprintf("%.0f", float64(p.RSS)/(1<<20)))
		sum += p.RSS
	}
	report.add("together", fmt.Sprintf("%.0f", float64(sum)/(1<<20)))
}

// BenchmarkHostCall measures one host call of a guest, on the bare engine.
func BenchmarkHostCall(b *testing.B) {
	guest := newBare(b, "rogue")
	const calls = 100_000
	none, many := []byte(`{"n":0}`), fmt.Appendf(nil, `{"n":%d}`, calls)
	var with, without samples
	for b.Loop() {
		for _, m := range []struct {
			args []byte
			to   *samples
		}{{none, &without}, {many, &with}} {
			begin := time.Now()
			require.NoError(b, guest.call(b.Context(), "host_calls", m.args))
			*m.to = append(*m.to, time.Since(begin))
		}
	}
	perCall := float64(with.at(0.5)-without.at(0.5)) / calls
	b.ReportMetric(perCall, "ns/hostcall")
	if b.N > 1 {
		title("host call", "ns")
		report.add("register_len", fmt.Sprintf("%.0f", perCall))
	}
}
