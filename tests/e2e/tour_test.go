package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

const root = "../.."

// TestTour: what `make run ARGS=--once` runs, works; in a named home also a second time; and its curl commands do what
// the tour says they do.
func TestTour(t *testing.T) {
	t.Parallel()
	bin := harness.Bin(t)
	tour := filepath.Join(t.TempDir(), "tour")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", tour, "../tour").CombinedOutput()
	require.NoError(t, err, string(out))
	home, err := harness.TempDir()
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(home)) }()
	for range 2 {
		cmd := exec.CommandContext(t.Context(), tour, "-once", "-home", home)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CALIMERO_BIN="+bin)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), `which answered "hello"`)
		require.Contains(t, string(out), "status 401")
		require.NoError(t, harness.LeftOver(home))
	}

	cmd := exec.CommandContext(t.Context(), tour)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CALIMERO_BIN="+bin)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	defer func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait(), "Ctrl-C is the orderly end")
	}()
	var shown bytes.Buffer
	for !strings.Contains(shown.String(), "until Ctrl-C") {
		b := make([]byte, 4096)
		n, err := pipe.Read(b)
		require.NoError(t, err, shown.String())
		shown.Write(b[:n])
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed: the tour's commands are not tried")
	}
	var script strings.Builder
	for line := range strings.Lines(shown.String()) {
		if rest, ok := strings.CutPrefix(line, "     "); ok && !strings.HasPrefix(rest, "bin/merod") {
			script.WriteString(rest)
		}
	}
	result, err := exec.CommandContext(t.Context(), "sh", "-euc", script.String()).Output()
	require.NoError(t, err, "%s\n%s", script.String(), result)
	require.Contains(t, string(result), `"output":"hello"`)
	require.Contains(t, string(result), `"contextId"`)
	require.Contains(t, string(result), "401")
}

// TestReadme runs the commands of README.md: its fenced blocks marked `sh tour`, in order, in one shell, in the project's
// root. Nothing is built again.
func TestReadme(t *testing.T) {
	t.Parallel()
	bin := harness.Bin(t)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err, "the project needs a README.md with a tour")
	blocks := regexp.MustCompile("(?ms)^```sh tour\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, blocks, "README.md has no commands to test: mark the fenced blocks of its tour with ```sh tour")
	require.Contains(t, string(text), "make run")
	require.Contains(t, string(text), "make test")
	var script strings.Builder
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	for _, tool := range []string{"jq", "make"} {
		if _, err := exec.LookPath(tool); err != nil && strings.Contains(script.String(), tool) {
			t.Skipf("%s is not installed, which the commands of README.md need", tool)
		}
	}
	makeProgram, err := exec.LookPath("make")
	require.NoError(t, err)
	shims := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(shims, "make"),
		fmt.Appendf(nil, "#!/bin/sh\nexec %s -o build \"$@\"\n", makeProgram), 0o700))
	home, err := harness.TempDir()
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(home)) }()
	cmd := exec.CommandContext(t.Context(), "sh", "-eux", "-c", script.String())
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "PATH="+shims+":"+bin+":"+os.Getenv("PATH"), "HOME="+home, "TMPDIR="+home, "XDG_CONFIG_HOME="+home,
		"MAKEFLAGS=", "MAKELEVEL=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		logs, globErr := filepath.Glob(filepath.Join(home, "*", "log"))
		require.NoError(t, globErr)
		for _, l := range logs {
			b, readErr := os.ReadFile(l)
			require.NoError(t, readErr)
			t.Logf("%s:\n%s", l, b)
		}
		require.NoError(t, errors.Join(err, harness.KillBelow(home)), "the commands of README.md fail:\n%s", out)
	}
	require.Contains(t, string(out), "hello")
	until(t, "the node has ended", func(context.Context) error { return harness.LeftOver(home) })
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}
