package replication_test

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// soakApps are the contexts of the soak. Their calls use a bounded number of names, so that the state does not grow.
var soakApps = []string{"kv", "kv", "kv", "kv", "collections", "owned", "blobs", "private"}

// soakTime is MINUTES (make soak), or a few seconds.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("MINUTES")
	if text == "" {
		return time.Duration(harness.Scale(8, 60)) * time.Second
	}
	minutes, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err, "MINUTES")
	return time.Duration(minutes * float64(time.Minute))
}

// reading is what a node holds at a checkpoint.
type reading struct {
	at                              time.Duration
	calls                           int // of all nodes, so far
	rss, disk, goroutines, fds, due float64
}

// TestSoak: three nodes and eight contexts under mixed load; in each round, one more context is created, joined, used and
// deleted. At each checkpoint all copies are equal and have what was acknowledged, nobody has seen two states of the same
// changes, and no queue is left. In the end neither memory nor goroutines nor open files have a trend, and the disk grows
// by what is written.
func TestSoak(t *testing.T) {
	t.Parallel()
	length := soakTime(t)
	rounds := max(6, int(length/(90*time.Second)))
	// A call may wait for as long as a machine that does other things too lets it: this is no test of speed.
	c := harness.StartCluster(t, 3, harness.Options{Execution: `  deadline = "2m"`})
	names := soakApps[:harness.Scale(4, len(soakApps))]
	if length >= time.Minute {
		names = soakApps
	}
	all := meshes(t, c, names)
	ledgers := make([]*ledger, len(all))
	players := make([][]*hand, len(all))
	for m := range all {
		ledgers[m] = newLedger()
		for i, x := range all[m] {
			random := rand.New(rand.NewPCG(uint64(m), uint64(i))) //nolint:gosec // any load does
			players[m] = append(players[m], &hand{random: random, app: names[m], node: i, member: x.Member, space: 16})
		}
	}
	readings := make([][]reading, len(c.Nodes))
	begin, calls := time.Now(), 0
	for round := range rounds {
		ctx, stop := context.WithDeadline(t.Context(), time.Now().Add(length/time.Duration(rounds)))
		var work sync.WaitGroup
		for m, copies := range all {
			for i, x := range copies {
				work.Go(func() {
					for ctx.Err() == nil {
						if err := ledgers[m].do(t.Context(), x, players[m][i]); err != nil {
							t.Errorf("round %d, node %d, %s: %v", round, i, names[m], err)
							return
						}
					}
				})
			}
		}
		passing(t, c, round)
		work.Wait()
		stop()
		require.False(t, t.Failed())
		calls = 0
		for m, app := range names {
			require.NoError(t, harness.Until(t.Context(), "all nodes have what was acknowledged in "+app, func(ctx context.Context) error {
				return ledgers[m].holds(ctx, app, all[m])
			}))
			c.Equal(t, all[m]...)
			calls += ledgers[m].calls
		}
		for i := range c.Nodes {
			r := read(t, c, i)
			r.at, r.calls = time.Since(begin).Round(time.Second), calls
			readings[i] = append(readings[i], r)
			t.Logf("round %d, node %d: %s, %d calls, RSS %.0f MiB, disk %.1f MiB, %.0f goroutines, %.0f files, %.0f events wait",
				round, i, r.at, r.calls, r.rss/(1<<20), r.disk/(1<<20), r.goroutines, r.fds, r.due)
		}
	}
	for i, list := range readings {
		trend(t, i, "RSS", list, func(r reading) float64 { return r.rss }, 1.25, 48<<20)
		trend(t, i, "goroutines", list, func(r reading) float64 { return r.goroutines }, 1.1, 60)
		trend(t, i, "open files", list, func(r reading) float64 { return r.fds }, 1.1, 24)
		perCall(t, i, list)
	}
}

// passing is a context that comes and goes.
func passing(t *testing.T, c *harness.Cluster, round int) {
	t.Helper()
	at := round % len(c.Nodes)
	x := c.Create(t, at, "kv", nil)
	copies := []*harness.Context{x, c.Join(t, x, (at+1)%len(c.Nodes))}
	want := writers(t, copies, "passing", 3, 2, 2)
	c.Equal(t, copies...)
	holds(t, copies, want)
	for _, y := range copies {
		require.NoError(t, y.Client.Do(t.Context(), http.MethodDelete, "/admin-api/contexts/"+y.ID, obj{"requester": x.Member}, nil))
	}
}

// read is what a node holds now.
func read(t *testing.T, c *harness.Cluster, i int) (r reading) {
	t.Helper()
	require.NoError(t, harness.Until(t.Context(), "no event waits", func(ctx context.Context) error {
		m, err := c.Clients[i].Metrics(ctx)
		if err != nil {
			return err
		}
		for family, to := range map[string]*float64{
			"go_goroutines": &r.goroutines, "process_open_fds": &r.fds, "calimero_network_events_depth": &r.due,
		} {
			if *to, err = m.Sum(family); err != nil {
				return err
			}
		}
		diverged, err := m.Sum("calimero_sync_diverged_total")
		if err == nil && diverged > 0 {
			err = fmt.Errorf("node %d has seen %v times that another has another root with the same changes", i, diverged)
		}
		if err == nil && r.due > 16 {
			err = fmt.Errorf("%v events wait", r.due)
		}
		return err
	}))
	processes, err := harness.Below(c.Nodes[i].Home)
	require.NoError(t, err)
	for _, p := range processes {
		r.rss += float64(p.RSS)
	}
	require.NoError(t, filepath.WalkDir(c.Nodes[i].Home, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, ierr := d.Info()
			if ierr == nil {
				r.disk += float64(info.Size())
			}
			return nil // a file that the storage has just deleted
		}
		return nil
	}))
	return r
}

// middle is the median of what readings have.
func middle(list []reading, of func(reading) float64) float64 {
	values := make([]float64, len(list))
	for i, r := range list {
		values[i] = of(r)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	return values[len(values)/2]
}

// trend fails when the last third of the readings is above the middle one by more than a factor and a slack.
func trend(t *testing.T, node int, what string, list []reading, of func(reading) float64, factor, slack float64) {
	t.Helper()
	third := len(list) / 3
	before, after := middle(list[third:2*third], of), middle(list[2*third:], of)
	require.LessOrEqualf(t, after, before*factor+slack, "%s of node %d", what, node)
}

// perCall fails when a call takes more of the disk in the second half than in the first.
func perCall(t *testing.T, node int, list []reading) {
	t.Helper()
	bytes := func(from, to reading) float64 { return (to.disk - from.disk) / float64(max(1, to.calls-from.calls)) }
	half := len(list) / 2
	first, second := bytes(list[0], list[half]), bytes(list[half], list[len(list)-1])
	t.Logf("node %d: %.0f and %.0f bytes of disk for each call", node, first, second)
	const slack = 8 << 10 // the storage's files grow and shrink by their own rules
	require.LessOrEqualf(t, second, max(first, 0)*1.5+slack, "disk for each call on node %d", node)
}
