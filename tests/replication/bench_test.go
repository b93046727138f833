package replication_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// BenchmarkReplication measures two nodes of one context: a set on one, the time until the other one answers it, the time
// from the last of 1,000 sets by 4 callers to equal roots, and from the start of a node that missed 300 sets to equal roots.
func BenchmarkReplication(b *testing.B) {
	for b.Loop() {
		c := harness.StartCluster(b, 2, harness.Options{})
		all := c.Mesh(b, "kv", nil)
		put := func(key, value string) {
			_, err := all[0].Call(b.Context(), "set", obj{"key": key, "value": value})
			require.NoError(b, err)
		}
		for i := range 50 {
			put(fmt.Sprintf("warm%d", i), "x")
		}
		c.Equal(b, all...)
		var writes, visible []time.Duration
		for i := range 200 {
			key, begin := fmt.Sprintf("key%d", i%100), time.Now()
			put(key, fmt.Sprint(i))
			writes = append(writes, time.Since(begin))
			for {
				out, err := all[1].Call(b.Context(), "get", obj{"key": key})
				require.NoError(b, err)
				if string(out) == fmt.Sprintf("%q", fmt.Sprint(i)) {
					break
				}
			}
			visible = append(visible, time.Since(begin))
		}
		report(b, writes, 0.5, "set-p50-ms")
		report(b, visible, 0.5, "visible-p50-ms")
		report(b, visible, 0.99, "visible-p99-ms")

		var callers sync.WaitGroup
		begin := time.Now()
		for caller := range 4 {
			callers.Go(func() {
				for i := range 250 {
					put(fmt.Sprintf("key%d", (caller*250+i)%100), fmt.Sprint(i))
				}
			})
		}
		callers.Wait()
		b.ReportMetric(1000/time.Since(begin).Seconds(), "sets/s")
		begin = time.Now()
		c.Equal(b, all...)
		b.ReportMetric(ms(time.Since(begin)), "equal-after-1000-ms")

		require.NoError(b, c.Nodes[1].Kill())
		for i := range 300 {
			put(fmt.Sprintf("key%d", i%100), fmt.Sprint(i))
		}
		begin = time.Now()
		c.Start(b, 1)
		all = c.Again(all)
		c.Equal(b, all...)
		b.ReportMetric(ms(time.Since(begin)), "300-missed-ms")
	}
}

func report(b *testing.B, times []time.Duration, quantile float64, name string) {
	b.Helper()
	slices.Sort(times)
	b.ReportMetric(ms(times[int(quantile*float64(len(times)-1))]), name)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
