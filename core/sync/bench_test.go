package sync_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// quiet leaves only what a write itself sets off.
func quiet(o *sync.Options) { o.Heartbeat, o.Frequency, o.Republish = time.Hour, time.Hour, time.Hour }

// BenchmarkWriteToVisible measures from the begin of a call to its delta being applied on another node, the network's time
// left out.
func BenchmarkWriteToVisible(b *testing.B) {
	l := newLAN(b)
	x := newReplica(b, l, 0, 2, domain.ContextID{}, setup{options: quiet})
	y := newReplica(b, l, 1, 2, x.id, setup{options: quiet})
	seen, end := y.Subscribe(b.Context())
	defer end()
	visible := func() {
		_, want, err := x.Heads(b.Context(), x.id)
		require.NoError(b, err)
		for m := range seen {
			if m.NewRoot == want {
				return
			}
		}
	}
	require.NoError(b, x.set("first"))
	visible()
	b.Run("call", func(b *testing.B) {
		for i := range b.N {
			require.NoError(b, x.set(fmt.Sprint("call ", i)))
			b.StopTimer()
			visible()
			b.StartTimer()
		}
	})
	b.Run("visible", func(b *testing.B) {
		for i := range b.N {
			require.NoError(b, x.set(fmt.Sprint("visible ", i)))
			visible()
		}
	})
}

// BenchmarkCatchUp measures how long a node takes that has nothing of a history of deltas.
func BenchmarkCatchUp(b *testing.B) {
	for _, count := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			l := newLAN(b)
			x := newReplica(b, l, 0, 2, domain.ContextID{}, setup{options: quiet})
			for i := range count - 1 { // the first is the context's
				require.NoError(b, x.set(fmt.Sprint(i)))
			}
			b.ResetTimer()
			for range b.N {
				y := newReplica(b, l, 1, 2, x.id, setup{options: quiet})
				require.Eventually(b, func() bool {
					_, want, err := x.Heads(b.Context(), x.id)
					require.NoError(b, err)
					_, got, err := y.Heads(b.Context(), y.id)
					return err == nil && got == want
				}, long, time.Millisecond)
				b.StopTimer()
				y.stop()
				b.StartTimer()
			}
			b.ReportMetric(float64(count*b.N)/b.Elapsed().Seconds(), "deltas/s")
		})
	}
}
