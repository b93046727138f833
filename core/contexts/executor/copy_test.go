package executor_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

func row(b byte, size int) runtime.Row {
	return runtime.Row{Key: runtime.Key{Scope: runtime.ScopeState, K: [32]byte{b}}, Value: make([]byte, size)}
}

func TestCopy_StepsLeadToItsVersionUntilTold(t *testing.T) {
	t.Parallel()
	c := executor.NewCopy()
	first := c.State()
	require.NotZero(t, first.Epoch)
	require.Empty(t, first.Steps)

	c.Accept(7, nil)
	c.Change([]runtime.Row{row(1, 10)})
	s := c.State()
	require.Equal(t, first.Epoch, s.Epoch)
	require.Equal(t, first.Version+2, s.Version)
	require.Equal(t, []runtime.Step{
		{To: first.Version + 1, AcceptExec: 7},
		{To: first.Version + 2, Rows: []runtime.Row{row(1, 10)}},
	}, s.Steps)

	c.Told()
	require.Empty(t, c.State().Steps)
	require.Equal(t, s.Version, c.State().Version)
}

func TestCopy_NamesLargeRowsInsteadOfSendingThem(t *testing.T) {
	t.Parallel()
	c := executor.NewCopy()
	c.Change([]runtime.Row{row(1, 65<<10)})
	steps := c.State().Steps
	require.Len(t, steps, 1)
	require.Empty(t, steps[0].Rows)
	require.Equal(t, []runtime.Key{row(1, 0).Key}, steps[0].Forget)
}

func TestCopy_ResetsInsteadOfSendingTooManySteps(t *testing.T) {
	t.Parallel()
	c := executor.NewCopy()
	for range runtime.MaxSteps + 1 {
		c.Accept(1, nil)
	}
	s := c.State()
	require.Equal(t, []runtime.Step{{To: s.Version, Reset: true}}, s.Steps)

	c.Change([]runtime.Row{row(2, 1)})
	require.Len(t, c.State().Steps, 2)
}

func TestCopy_ANewEpochVoidsEverything(t *testing.T) {
	t.Parallel()
	c := executor.NewCopy()
	c.Accept(1, nil)
	before := c.State().Epoch
	c.Reset()
	require.NotEqual(t, before, c.State().Epoch)
	require.Empty(t, c.State().Steps)
}
