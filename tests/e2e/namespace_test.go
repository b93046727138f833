package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// mounting returns a command that runs another one with a tmpfs over a folder, in a mount namespace of its own. Where
// that is not permitted the test is skipped.
func mounting(t *testing.T, dir string, mib int) []string {
	t.Helper()
	script := `mount -t tmpfs -o size="$1"m,mode=700 none "$2" && shift 2 && exec "$@"`
	size := fmt.Sprint(mib)
	var failure error
	for _, unshare := range [][]string{{"unshare", "-m"}, {"unshare", "-rm"}} {
		wrap := append(unshare, "sh", "-c", script, "sh", size, dir)
		out, err := exec.CommandContext(t.Context(), wrap[0], append(wrap[1:], "true")...).CombinedOutput()
		if err == nil {
			return wrap
		}
		failure = fmt.Errorf("%v: %w: %s", unshare, err, out)
	}
	t.Skipf("a mount namespace with a tmpfs is not permitted here: %v", failure)
	return nil
}

// inside is a path as the process of a node sees it.
func inside(n *harness.Node, path string) string {
	return filepath.Join("/proc", fmt.Sprint(n.PID()), "root", path)
}

// TestWithoutModuleCache: the built programs run where Go's module cache, with the engine's library in it, is not there.
func TestWithoutModuleCache(t *testing.T) {
	t.Parallel()
	cache := goEnv(t, "GOMODCACHE")
	n := harness.Start(t, harness.Options{Bin: copyBin(t), Wrap: mounting(t, cache, 1)})
	entries, err := os.ReadDir(inside(n, cache))
	require.NoError(t, err)
	require.Empty(t, entries, "the cache is hidden")
	x := newContext(t, n, n.Client(), "kv", "")
	call[any](t, x, "set", obj{"key": "k", "value": "v"})
	require.Equal(t, "v", call[string](t, x, "get", obj{"key": "k"}))
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pluginPIDs(t, n)["runtime"]))
	require.NoError(t, err)
	require.NotContains(t, string(maps), cache)
	require.Contains(t, string(maps), n.Home, "the library of the host's private folder is used")
}

// TestFullDisk: on a full disk calls fail with an error that says so, what was acknowledged stays readable, and when
// there is space again writes go on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	o := harness.Options{}
	n := harness.Make(t, o)
	data := filepath.Join(n.Dir, "data")
	require.NoError(t, os.MkdirAll(data, 0o700))
	wrap := mounting(t, data, 48)
	full := harness.Make(t, harness.Options{Home: n.Home, Wrap: wrap,
		PluginConfig: map[string]string{"storage": `    compression = "none"`}})
	require.NoError(t, full.Start(t.Context()))
	c := full.Client()
	x := newContext(t, full, c, "rogue", "")
	// What its end frees is more than the storage needs to write again: two full journals, and a commit.
	ballast := inside(full, filepath.Join(data, "ballast"))
	require.NoError(t, os.WriteFile(ballast, make([]byte, 24<<20), 0o600))

	var acked int
	var err error
	for err == nil {
		_, err = x.Call(t.Context(), "write_n", obj{"prefix": fmt.Sprintf("w%d/", acked), "n": 2, "size": 100_000})
		if err == nil {
			acked++
		}
		require.Less(t, acked, 1000, "the disk must become full")
	}
	t.Logf("%d calls fit; then: %v", acked, err)
	require.Positive(t, acked)
	until(t, "the log says that the disk is full, and where", func(context.Context) error {
		if log := full.Log(); !containsAll(log, "is full", data) {
			return errors.New("it does not")
		}
		return nil
	})
	verify := func() {
		t.Helper()
		for i := range acked {
			for j := range 2 {
				out, err := x.Call(t.Context(), "get", obj{"key": fmt.Sprintf("w%d/%d", i, j)})
				require.NoError(t, err)
				require.Len(t, string(out), 100_002)
			}
		}
		require.Equal(t, 2*acked, call[int](t, x, "len", nil), "no part of the refused call is visible")
	}
	verify()
	// From the disk too, not from a copy of the rows: the storage plugin and the runtime start anew on the full disk.
	for _, kind := range []string{"storage", "runtime"} {
		_, err = full.KillPlugin(kind)
		require.NoError(t, err)
	}
	verify()
	require.NoError(t, os.Remove(ballast))
	until(t, "writes go on", func(ctx context.Context) error {
		_, err := x.Call(ctx, "write_n", obj{"prefix": fmt.Sprintf("w%d/", acked), "n": 2, "size": 100_000})
		return err
	})
	acked++
	verify()
}
