// Package edges_test holds the edge cases of the reference (its governance as it is, row by row) against this node: one
// table, in which each row is a check of the real services of nodes in this process.
package edges_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge is a row of the table of edge cases (governance.md §10). Differs says how the outcome is another than the
// reference's, and why; empty = it is the same.
type edge struct {
	row     int
	what    string
	differs string
	run     func(t *testing.T, r *rig)
}

// rows is how many the table has.
const rows = 60

// TestEdgeCases goes through the table.
func TestEdgeCases(t *testing.T) {
	t.Parallel()
	for _, e := range table() {
		t.Run(fmt.Sprintf("%02d %s", e.row, e.what), func(t *testing.T) {
			t.Parallel()
			if e.differs != "" {
				t.Log("not as the reference: " + e.differs)
			}
			e.run(t, newRig(t))
		})
	}
}

// TestEachRowIsThereOnce: none is missing, and none has two outcomes.
func TestEachRowIsThereOnce(t *testing.T) {
	t.Parallel()
	var have, want []int
	for _, e := range table() {
		have = append(have, e.row)
		require.NotEmpty(t, e.what, "row %d", e.row)
	}
	for row := range rows {
		want = append(want, row+1)
	}
	require.Equal(t, want, have)
}

func table() []edge {
	all := slices.Concat(operations, requests, executions, groupUpgrades, traffic)
	slices.SortStableFunc(all, func(a, b edge) int { return a.row - b.row })
	return all
}
