package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { sdktest.Main(m, nil) }

func TestRepairCommand(t *testing.T) {
	t.Parallel()
	program := sdktest.Build(".")(t).Path
	dir := t.TempDir()
	plugin := sdktest.Start(t, storage.Wire, sdktest.Binary(program)).Plugin
	storagetest.Configure(t, plugin, dir, nil)
	b := storage.Batch{ID: storage.NewBatchID()}
	b.Put("c", []byte("k"), []byte("v"))
	_, err := plugin.Apply(context.Background(), b)
	require.NoError(t, err)

	run := func(args ...string) (string, int) {
		cmd := exec.Command(program, args...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := run("repair", dir)
	require.Equal(t, 1, code)
	require.Contains(t, out, "in use by another process (pid ")
	require.NoError(t, plugin.Close(context.Background()))

	require.NoError(t, os.Remove(filepath.Join(dir, "CURRENT")))
	out, code = run("repair", dir)
	require.Equal(t, 0, code, out)
	require.Contains(t, out, "manifest: rebuilt")
	require.Contains(t, out, "1 rows can be read")
	out, code = run("repair", dir)
	require.Equal(t, 0, code, out)
	require.Contains(t, out, "nothing is damaged")

	out, code = run("mend")
	require.Equal(t, 2, code)
	require.Contains(t, out, "usage:")
}
