package govern_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/govern"
	"github.com/calimero-go/core/tests/harness"
	"github.com/calimero-go/core/tests/histories"
)

// TestHistories runs what `make govern` runs, and makes sure that the histories contain what they are for.
func TestHistories(t *testing.T) {
	t.Parallel()
	report := govern.Run(t.Context(), histories.Options{From: 1, Seeds: harness.Scale(1000, 20_000)})
	var out strings.Builder
	report.Print(&out, 0)
	require.Empty(t, report.Failures, out.String())
	s := report.Stats
	require.Equal(t, harness.Scale(1000, 20_000), s.Histories)
	for name, n := range map[string]int{
		"issued": s.Issued, "refused": s.Refused, "forged": s.Forged, "void": s.Void, "repeated": s.Repeated, "lost": s.Lost,
		"waited": s.Waited, "partitions": s.Partitions, "restarts": s.Restarts, "failed commits": s.Failures,
		"linked": s.Linked, "provisional": s.Provisional, "cuts": s.Cuts, "inherited lost": s.InheritedLost,
	} {
		require.Greater(t, n, 30, name)
	}
	t.Log(out.String())
}

// TestSeedsThatFailed plays histories that once showed a mistake: two joins without parents by one person, of which a node
// had counted the first for good when the second came.
func TestSeedsThatFailed(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{308973} {
		report := govern.Run(t.Context(), histories.Options{From: seed, Seeds: 1})
		var out strings.Builder
		report.Print(&out, 0)
		require.Empty(t, report.Failures, out.String())
		require.Equal(t, 1, report.Stats.Histories)
	}
}

// TestSeedDecidesEverything: a history runs twice the same.
func TestSeedDecidesEverything(t *testing.T) {
	t.Parallel()
	trace := func() string {
		var out strings.Builder
		govern.Run(t.Context(), histories.Options{From: 7, Seeds: 5, Parallel: 1, Trace: &out})
		return out.String()
	}
	first := trace()
	require.Contains(t, first, "forged")
	require.Equal(t, first, trace())
}
