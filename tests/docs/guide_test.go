// Package docs_test holds what the pages in docs say against the programs.
package docs_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

const root = "../.."

var guideBlock = regexp.MustCompile("(?ms)^```sh guide\n(.*?)^```$")

// TestPluginGuide runs the commands of docs/plugins.md, in one shell, in the project's root, with a home of their own.
func TestPluginGuide(t *testing.T) {
	t.Parallel()
	want, err := filepath.Abs(filepath.Join(root, "bin"))
	require.NoError(t, err)
	require.Equal(t, want, harness.Bin(t), "the page names the repository's bin: set CALIMERO_BIN to it")
	page, err := os.ReadFile(filepath.Join(root, "docs", "plugins.md"))
	require.NoError(t, err)
	blocks := guideBlock.FindAllStringSubmatch(string(page), -1)
	require.NotEmpty(t, blocks, "docs/plugins.md has no fenced blocks of kind `sh guide`")
	var script strings.Builder
	for _, b := range blocks {
		script.WriteString(b[1])
	}

	home, err := harness.TempDir()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(home)) })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eux", "-c", script.String())
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "HOME="+home, "GOWORK=", "GOFLAGS=")
	for _, name := range []string{"GOPATH", "GOCACHE", "GOMODCACHE"} { // not in the new home
		cmd.Env = append(cmd.Env, name+"="+goEnv(t, name))
	}
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if log, lerr := os.ReadFile(filepath.Join(home, "storage-mine", "log")); lerr == nil {
		t.Logf("log of the node:\n%s", log)
	}
	require.NoError(t, err, "the commands of docs/plugins.md fail:\n%s", out.String())
	require.Contains(t, out.String(), "plugin=storage/mine")
	require.NoError(t, harness.LeftOver(home))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}
