package replication_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/apps"
	"github.com/calimero-go/core/tests/harness"
)

// seeds are those of the environment variables FROM and SEEDS (make writers), or from 1 on as many as the scale says.
func seeds(t *testing.T) (all []uint64) {
	t.Helper()
	from, count := uint64(1), harness.Scale(1, 10)
	if text := os.Getenv("SEEDS"); text != "" && os.Getenv("WRITERS") != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err, "SEEDS")
		count = n
		from, err = strconv.ParseUint(os.Getenv("FROM"), 10, 64)
		require.NoError(t, err, "FROM")
	}
	for i := range count {
		all = append(all, from+uint64(i)) //nolint:gosec // small
	}
	return all
}

// meshes makes a context of each application that all nodes of the cluster are in.
func meshes(t *testing.T, c *harness.Cluster, names []string) [][]*harness.Context {
	t.Helper()
	all := make([][]*harness.Context, len(names))
	t.Run("join", func(t *testing.T) {
		for i, app := range names {
			t.Run(fmt.Sprint(app, i), func(t *testing.T) {
				t.Parallel()
				all[i] = c.Mesh(t, app, []byte(initial[app]))
			})
		}
	})
	require.False(t, t.Failed())
	return all
}

// TestSeededWriters: three nodes make random calls of all sample apps at the same time, while processes die at random. In
// the end all copies are equal, all views answer alike, and whatever was acknowledged is on every node. The histories of
// package converge do the same in one process by the thousand, with every order of delivery.
func TestSeededWriters(t *testing.T) {
	t.Parallel()
	for _, app := range apps.Names() {
		require.Contains(t, hands, app, "a new sample app needs calls here")
	}
	for _, seed := range seeds(t) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { seededWriters(t, seed) })
	}
}

func seededWriters(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a seed is a test case
	// The first call of an application compiles it, ten of them at a time here.
	c := harness.StartCluster(t, 3, harness.Options{Execution: `  deadline = "2m"`})
	names := sampleApps()
	all := meshes(t, c, names)
	ledgers := make([]*ledger, len(names))
	for i := range ledgers {
		ledgers[i] = newLedger()
	}
	words := make([]int, len(names)*len(c.Nodes))
	for round := range harness.Scale(2, 6) {
		victim := random.IntN(len(c.Nodes))
		what := []string{"core", "core", "runtime", "storage"}[random.IntN(4)]
		t.Logf("round %d: the %s of node %d dies", round, what, victim)
		ctx, stop := context.WithCancel(t.Context())
		var work sync.WaitGroup
		calls := make(chan struct{}, 1<<16)
		for m, copies := range all {
			for i, x := range copies {
				k := m*len(c.Nodes) + i
				h := &hand{
					random: rand.New(rand.NewPCG(seed, uint64(round*1000+k))), //nolint:gosec // see above
					app:    names[m], node: i, member: x.Member, words: words[k],
				}
				work.Go(func() {
					defer func() { words[k] = h.words + 1 }()
					for range harness.Scale(8, 30) {
						if err := ledgers[m].do(ctx, x, h); err != nil {
							if i != victim {
								t.Errorf("node %d, which nobody killed, %s: %v", i, h.app, err)
							}
							return
						}
						calls <- struct{}{}
					}
				})
			}
		}
		// Somewhere in the middle of all calls.
		for range 10 + random.IntN(len(all)*len(c.Nodes)*harness.Scale(8, 30)/3) {
			select {
			case <-calls:
			case <-time.After(harness.Patience):
				t.Fatal("no call is answered")
			}
		}
		if what == "core" {
			require.NoError(t, c.Nodes[victim].Kill())
		} else {
			_, err := c.Nodes[victim].KillPlugin(what)
			require.NoError(t, err)
		}
		work.Wait()
		stop()
		if what == "core" {
			c.Start(t, victim)
			for m := range all {
				all[m] = c.Again(all[m])
			}
		}
	}
	for m, app := range names {
		err := harness.Until(t.Context(), "all nodes have what was acknowledged in "+app, func(ctx context.Context) error {
			return ledgers[m].holds(ctx, app, all[m])
		})
		require.NoError(t, err)
		c.Equal(t, all[m]...)
		require.Positive(t, ledgers[m].calls, app)
	}
}
