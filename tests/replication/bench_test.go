package replication_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// benched is a context on two nodes that stay the same peers after restarts.
func benched(b *testing.B) (*harness.Cluster, []*harness.Context) {
	b.Helper()
	c := harness.StartCluster(b, 2, harness.Options{Identity: true})
	all := c.Mesh(b, "kv", nil)
	fill(b, all[0], 1, 50)
	c.Equal(b, all...)
	return c, all
}

// fill makes n sets of a hundred keys by some callers.
func fill(b *testing.B, x *harness.Context, callers, n int) {
	b.Helper()
	var work sync.WaitGroup
	for caller := range callers {
		work.Go(func() {
			for i := caller; i < n; i += callers {
				if _, err := x.Call(b.Context(), "set", obj{"key": fmt.Sprintf("key%d", i%100), "value": fmt.Sprint(i)}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
}

// BenchmarkReplication measures two nodes of one context: a set on one, the time until the other one answers it, and 1,000
// sets by 4 callers, with the time from the last one to equal roots.
func BenchmarkReplication(b *testing.B) {
	for b.Loop() {
		c, all := benched(b)
		var writes, visible []time.Duration
		for i := range 200 {
			key, begin := fmt.Sprintf("key%d", i%100), time.Now()
			_, err := all[0].Call(b.Context(), "set", obj{"key": key, "value": fmt.Sprint(-i)})
			require.NoError(b, err)
			writes = append(writes, time.Since(begin))
			for {
				out, err := all[1].Call(b.Context(), "get", obj{"key": key})
				require.NoError(b, err)
				if string(out) == fmt.Sprintf("%q", fmt.Sprint(-i)) {
					break
				}
			}
			visible = append(visible, time.Since(begin))
		}
		report(b, writes, 0.5, "set-p50-ms")
		report(b, visible, 0.5, "visible-p50-ms")
		report(b, visible, 0.99, "visible-p99-ms")

		begin := time.Now()
		fill(b, all[0], 4, 1000)
		written := time.Now()
		c.Equal(b, all...)
		b.ReportMetric(1000/written.Sub(begin).Seconds(), "sets/s")
		b.ReportMetric(1000/time.Since(begin).Seconds(), "equal-deltas/s")
		b.ReportMetric(ms(time.Since(written)), "equal-after-1000-ms")
	}
}

// BenchmarkCatchUp kills a node, makes deltas that it misses, and measures from the start of its process: until it serves, and
// until it has all of them.
func BenchmarkCatchUp(b *testing.B) {
	for _, missed := range []int{300, 1000, 10_000} {
		b.Run(fmt.Sprint(missed), func(b *testing.B) {
			for b.Loop() {
				c, all := benched(b)
				require.NoError(b, c.Nodes[1].Kill())
				fill(b, all[0], 4, missed)
				begin := time.Now()
				c.Start(b, 1)
				b.ReportMetric(ms(time.Since(begin)), "serves-ms")
				c.Equal(b, c.Again(all)...)
				b.ReportMetric(ms(time.Since(begin)), "equal-ms")
			}
		})
	}
}

// BenchmarkIdle measures two nodes of one context that do nothing: processor time and memory of all processes of each.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		c, _ := benched(b)
		const span = 10 * time.Second
		usage := func(n *harness.Node) (cpu time.Duration, rss uint64) {
			all, err := harness.Below(n.Home)
			require.NoError(b, err)
			require.Len(b, all, 3, "core, runtime, storage")
			for _, p := range all {
				cpu, rss = cpu+p.CPU, rss+p.RSS
			}
			return cpu, rss
		}
		before, _ := usage(c.Nodes[1])
		time.Sleep(span)
		after, rss := usage(c.Nodes[1])
		b.ReportMetric(100*(after-before).Seconds()/span.Seconds(), "idle-cpu-%")
		b.ReportMetric(float64(rss)/(1<<20), "idle-rss-MiB")
	}
}

// BenchmarkWire counts what one call costs on the wire, with all that lies around it: the bytes between two network
// namespaces while a node makes 500 sets.
func BenchmarkWire(b *testing.B) {
	l := newLAN(b, 2)
	for b.Loop() {
		const sets = 500
		c := l.start(2)
		all := c.Mesh(b, "kv", nil)
		fill(b, all[0], 1, 50)
		c.Equal(b, all...)
		// What this test asks is on the first node's link; the second one's has the peers' traffic.
		before := l.bytes(1)
		fill(b, all[0], 1, sets)
		c.Equal(b, all...)
		b.ReportMetric(float64(l.bytes(1)-before)/sets, "wire-B/call")
		for _, n := range c.Nodes {
			_, err := n.Stop(b.Context())
			require.NoError(b, err)
		}
	}
}

// bytes is what went to and came from a node.
func (l *lan) bytes(node int) (sum uint64) {
	l.t.Helper()
	for _, direction := range []string{"rx_bytes", "tx_bytes"} {
		text, err := os.ReadFile(filepath.Join("/sys/class/net", fmt.Sprintf("%s-%d", l.name, node), "statistics", direction))
		require.NoError(l.t, err)
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		require.NoError(l.t, err)
		sum += n
	}
	return sum
}

func report(b *testing.B, times []time.Duration, quantile float64, name string) {
	b.Helper()
	slices.Sort(times)
	b.ReportMetric(ms(times[int(quantile*float64(len(times)-1))]), name)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
