package harness_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// The check that tests rely on finds what it is for.
func TestLeftOver(t *testing.T) {
	t.Parallel()
	dir, err := harness.TempDir()
	require.NoError(t, err)
	defer func() {
		require.NoError(t, harness.Until(t.Context(), "the folder is gone", func(context.Context) error { return os.RemoveAll(dir) }))
	}()
	require.NoError(t, harness.LeftOver(dir))

	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	require.ErrorContains(t, harness.LeftOver(dir), "left over: socket")
	require.NoError(t, l.Close())
	require.NoError(t, harness.LeftOver(dir))

	cmd := exec.Command("sleep", "1000")
	cmd.Dir = dir
	require.NoError(t, cmd.Start())
	require.NoError(t, harness.Until(t.Context(), "the process is seen", func(context.Context) error {
		if err := harness.LeftOver(dir); err == nil {
			return errors.New("not yet")
		}
		return nil
	}))
	require.ErrorContains(t, harness.LeftOver(dir), "left over: process")
	require.NoError(t, harness.KillBelow(dir))
	require.Error(t, cmd.Wait())
	require.NoError(t, harness.LeftOver(dir))
}

func TestUntilSaysWhyNot(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	why := errors.New("still red")
	err := harness.Until(ctx, "the light is green", func(context.Context) error { cancel(); return why })
	require.ErrorIs(t, err, why)
	require.ErrorContains(t, err, "the light is green")
	calls := 0
	require.NoError(t, harness.Until(t.Context(), "the third call", func(context.Context) error {
		if calls++; calls < 3 {
			return why
		}
		return nil
	}))
	require.Equal(t, 3, calls)
}

// A node that cannot start says why, and leaves nothing.
func TestStartFails(t *testing.T) {
	t.Parallel()
	n := harness.Make(t, harness.Options{Listen: []string{"192.0.2.1:1"}, Server: "  behind_proxy = true"})
	err := n.Start(t.Context())
	var failed *harness.StartError
	require.ErrorAs(t, err, &failed)
	require.Contains(t, failed.Output, "192.0.2.1:1")
}

// Nodes run side by side, stop, start again at other ports, and survive nothing less.
func TestNode(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	require.NoError(t, n.Client().Health(t.Context()))
	for _, kind := range []string{"storage", "runtime"} {
		pid, err := n.Plugin(kind)
		require.NoError(t, err)
		require.Positive(t, pid)
	}
	require.Error(t, harness.LeftOver(n.Home))
	_, err := n.Stop(t.Context())
	require.NoError(t, err)
	require.Error(t, n.Client().Health(t.Context()))
	require.NoError(t, n.Start(t.Context()))
	require.NoError(t, n.Client().Health(t.Context()))
	require.NoError(t, n.Kill())
	require.NoError(t, harness.Until(t.Context(), "nothing is left", func(context.Context) error { return harness.LeftOver(n.Home) }))
}
