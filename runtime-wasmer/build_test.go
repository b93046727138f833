package main_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBuiltPluginFindsItsLibrary builds the plugin as `make build` does and
// shows that it runs on the library beside it: the module cache is neither
// named in it nor looked into.
func TestBuiltPluginFindsItsLibrary(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the plugin")
	}
	dir := t.TempDir()
	out, err := exec.Command("sh", "build.sh", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	binary := filepath.Join(dir, "merod-plugin-runtime-wasmer")

	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	require.NoError(t, err)
	data, err := os.ReadFile(binary)
	require.NoError(t, err)
	require.False(t, bytes.Contains(data, bytes.TrimSpace(cache)), "the module cache is named in the binary")

	compile := func(program string) ([]byte, error) {
		cmd := exec.Command(program, "compile-module", "16")
		cmd.Stdin = strings.NewReader(`(module (memory (export "memory") 1))`)
		cmd.Env = []string{}
		return cmd.Output()
	}
	built, err := compile(binary)
	require.NoError(t, err)
	require.NotEmpty(t, built)

	moved := t.TempDir()
	for _, name := range []string{filepath.Base(binary), library()} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(moved, name), b, 0o700)) //nolint:gosec // a program
	}
	_, err = compile(filepath.Join(moved, filepath.Base(binary)))
	require.NoError(t, err, "the folder can be moved")
	require.NoError(t, os.Remove(filepath.Join(moved, library())))
	_, err = compile(filepath.Join(moved, filepath.Base(binary)))
	require.Error(t, err, "without the library beside it there is no other")

	if runtime.GOOS == "linux" {
		f, err := elf.Open(binary)
		require.NoError(t, err)
		defer func() { require.NoError(t, f.Close()) }()
		path, err := f.DynString(elf.DT_RUNPATH)
		require.NoError(t, err)
		require.Equal(t, []string{"$ORIGIN"}, path)
	}
}

func library() string {
	if runtime.GOOS == "darwin" {
		return "libwasmer.dylib"
	}
	return "libwasmer.so"
}
