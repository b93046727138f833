package dag_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// TestWhatWaitsCostsWhatItTakes: entries on top of parents that never come fill a graph to its limit, and no more memory than
// that, however many parents each has.
func TestWhatWaitsCostsWhatItTakes(t *testing.T) { // not parallel: it measures the heap
	for _, parents := range []int{1, 8, dag.DefaultParents} {
		t.Run(fmt.Sprint(parents), func(t *testing.T) {
			const limit = 16 << 20
			heap := func() int64 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc) //nolint:gosec // below 2⁶³
			}
			before := heap()
			g := dag.New[struct{}](dag.Limits{Entries: 1 << 20, Bytes: limit, SourceEntries: 1 << 20, SourceBytes: limit})
			next := uint64(0)
			id := func() (h domain.Hash) {
				next++
				binary.BigEndian.PutUint64(h[:], next)
				return h
			}
			for full := false; !full; {
				e := dag.Entry[struct{}]{ID: id()}
				for range parents {
					e.Parents = append(e.Parents, id())
				}
				added, err := g.Add(e, "somebody", 0)
				require.NoError(t, err)
				full = len(added.Evicted) > 0
			}
			took := heap() - before
			t.Logf("%d entries, %d MiB", g.Counts().Pending, took>>20)
			require.LessOrEqual(t, g.Counts().WaitingBytes, limit)
			require.LessOrEqual(t, took, int64(limit*3/2))
			runtime.KeepAlive(g)
		})
	}
}
