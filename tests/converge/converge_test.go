package converge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/apps"
	"github.com/calimero-go/core/tests/converge"
	"github.com/calimero-go/core/tests/harness"
	"github.com/calimero-go/core/tests/histories"
)

var rig *converge.Rig

// TestMain compiles the applications once.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if rig, err = converge.NewRig(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := rig.Close(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

func run(t *testing.T, o converge.Options) converge.Report {
	t.Helper()
	report, err := rig.Run(t.Context(), o)
	require.NoError(t, err)
	var out strings.Builder
	report.Print(&out, o, 0)
	require.Empty(t, report.Failures, out.String())
	require.Equal(t, o.Seeds, report.Stats.Histories)
	t.Log(out.String())
	return report
}

// TestHistories runs a few of the histories that `make converge` runs by the thousand, and makes sure that they contain
// what they are for.
func TestHistories(t *testing.T) {
	t.Parallel()
	s := run(t, converge.Options{Options: histories.Options{From: 1, Seeds: harness.Scale(60, 4000)}}).Stats
	for name, n := range map[string]int{
		"forks": s.Forks, "repeated deliveries": s.Duplicates, "partitions": s.Partitions, "restarts": s.Restarts,
		"crashes": s.Crashes, "snapshots": s.Joins, "calls that fail": s.Failures, "roots": s.Roots,
	} {
		require.Greater(t, n, 10, name)
	}
}

// TestGuestsComputeOurRoot: without conflicts the guest's root hash is the engine's, after every call of every
// application. A reference peer, which has the guest's, agrees with us.
func TestGuestsComputeOurRoot(t *testing.T) {
	t.Parallel()
	var commits int
	for _, name := range apps.Names() {
		if converge.MergesItself(name) { // its roots are the guest's
			continue
		}
		s := run(t, converge.Options{
			// Not the seeds of TestHistories, which runs at the same time in the same runtimes: a seed names a context.
			Options: histories.Options{From: 2_000_000, Seeds: harness.Scale(2, 60)}, Steps: harness.Scale(40, 80), Only: name, Calm: true,
		}).Stats
		require.Zero(t, s.RootsDiffer)
		require.Greater(t, s.Roots, harness.Scale(15, 1000), name)
		commits += s.Roots
	}
	require.Greater(t, commits, harness.Scale(300, 10_000))
}

// TestSeedDecidesEverything: a history runs twice the same.
func TestSeedDecidesEverything(t *testing.T) {
	t.Parallel()
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		run(t, converge.Options{Options: histories.Options{From: 1_000_000, Seeds: harness.Scale(6, 100), Parallel: 1, Trace: out}})
	}
	require.Equal(t, first.String(), second.String())
}

// TestEveryApplicationIsDriven: a new sample application needs a driver.
func TestEveryApplicationIsDriven(t *testing.T) {
	t.Parallel()
	for _, name := range apps.Names() {
		require.True(t, converge.Driven(name), "application %s has no driver in package converge", name)
	}
}

// TestFailuresCanBePlayedAgain: the command names everything that made the history.
func TestFailuresCanBePlayedAgain(t *testing.T) {
	t.Parallel()
	r := converge.Report{Stats: converge.Stats{Histories: 3}, Failures: []histories.Failure{{Seed: 7, What: "kv", Err: errors.New("it broke")}}}
	var out strings.Builder
	r.Print(&out, converge.Options{Only: "kv", Steps: 5, Calm: true, Nodes: converge.Full}, 0)
	require.Contains(t, out.String(), "seed 7 (kv): it broke\n  again: make converge SEEDS=1 FROM=7 ARGS='-steps=5 -app=kv -calm -nodes=full'\n")
	require.True(t, strings.HasSuffix(out.String(), "\n3 histories, 1 failed\n"), out.String())
}
