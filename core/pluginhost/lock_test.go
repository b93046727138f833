package pluginhost_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// tree is a folder with config.hcl and two plugin files in bin/.
func tree(t *testing.T, extra string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	for _, name := range []string{"storage", "runtime", "lib.so"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", name), []byte(name), 0o700))
	}
	src := fmt.Sprintf(`
version = 1
node {
  home = "home"
}
plugin "storage" "s" {
  path = "bin/storage"
%s
}
plugin "runtime" "r" {
  path  = "bin/runtime"
  files = [%q]
}
`, extra, filepath.Join(dir, "bin", "lib.so"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.hcl"), []byte(src), 0o600))
	c, diags := config.Load(filepath.Join(dir, "config.hcl"))
	require.NoError(t, diags.Err())
	return c
}

func TestPin_WritesWhatVerifyReads(t *testing.T) {
	t.Parallel()
	c := tree(t, "")
	err := pluginhost.Verify(c)
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, "is not pinned in "+c.LockPath())
	require.ErrorContains(t, err, "merod plugin pin, or add the line\n")
	require.ErrorContains(t, err, "  bin/storage\n")

	lines, err := pluginhost.Pin(c)
	require.NoError(t, err)
	require.Len(t, lines, 3)
	require.True(t, strings.HasSuffix(lines[0], "  bin/storage"), lines[0])
	require.True(t, strings.HasSuffix(lines[2], "  "+filepath.Join(c.Dir, "bin", "lib.so")), lines[2])
	require.NoError(t, pluginhost.Verify(c))

	check := exec.Command("sha256sum", "--check", "--strict", "plugins.lock")
	check.Dir = c.Dir
	out, err := check.CombinedOutput()
	require.NoError(t, err, string(out))

	require.NoError(t, os.WriteFile(filepath.Join(c.Dir, "bin", "lib.so"), []byte("evil"), 0o700))
	err = pluginhost.Verify(c)
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, "lib.so was altered")
	require.NotContains(t, err.Error(), "bin/storage")
	require.NoError(t, os.Remove(filepath.Join(c.Dir, "bin", "lib.so")))
	require.ErrorContains(t, pluginhost.Verify(c), "lib.so does not exist")
	_, err = pluginhost.Pin(c)
	require.ErrorIs(t, err, errkind.NotFound)
}

func TestVerify_SumInTheBlock(t *testing.T) {
	t.Parallel()
	const sum = "cde1e0bc5dabeefd2a2e9a9a1f8ed2c7b6b4e3cc60ac9a9ee0e0a7d1cd2d8f8e"
	c := tree(t, fmt.Sprintf("  sha256 = %q", sum))
	require.ErrorContains(t, pluginhost.Verify(c), "the block says "+sum)
}

func TestReadLock_Refuses(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("ab", 32)
	for name, test := range map[string]struct{ text, want string }{
		"no sum":    {"bin/storage\n", "line 1 is not"},
		"short sum": {"abcd  bin/storage\n", "line 1 is not"},
		"no path":   {"# x\n\n" + sum + "  \n", "line 3 is not"},
		"twice":     {sum + "  a\n" + sum + " *./a\n", "line 2 names ./a again"},
		"too large": {strings.Repeat("#\n", 1<<20), "has more than"},
		"long line": {strings.Repeat("x", 100_000), "read plugin lock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "plugins.lock")
			require.NoError(t, os.WriteFile(path, []byte(test.text), 0o600))
			_, err := pluginhost.ReadLock(path)
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := pluginhost.ReadLock(filepath.Join(t.TempDir(), "none"))
	require.NoError(t, err)
}

func TestStart_OnlyPinnedFilesRun(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{unpinned: true})
	_, err := n.tryStorage()
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, "is not pinned in")
	line := err.Error()[strings.LastIndex(err.Error(), "\n")+1:]

	// The line that the error prints is the one to add.
	require.NoError(t, os.WriteFile(n.cfg.LockPath(), []byte(line+"\n"), 0o600))
	require.NoError(t, n.storage().Close(t.Context()))

	altered := strings.Replace(line, line[:4], "0000", 1)
	require.NoError(t, os.WriteFile(n.cfg.LockPath(), []byte(altered+"\n"), 0o600))
	_, err = n.tryStorage()
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, "was altered")
	require.ErrorContains(t, err, "merod plugin pin")
}

func TestStart_RunsACopyThatIsCheckedAndRepaired(t *testing.T) {
	t.Parallel()
	library := filepath.Join(t.TempDir(), "lib.so")
	require.NoError(t, os.WriteFile(library, []byte("library"), 0o600))
	n := newNode(t, change{files: []string{library}})
	h := n.storage()
	var where []string
	require.NoError(t, command(t.Context(), h, "dir", &where))
	copies := filepath.Dir(where[1])
	text, err := os.ReadFile(filepath.Join(copies, "lib.so"))
	require.NoError(t, err)
	require.Equal(t, "library", string(text))
	info, err := os.Stat(copies)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	// A changed source does not touch the running node, not even at a restart.
	require.NoError(t, os.WriteFile(library, []byte("another"), 0o600))
	h.Kill("for the test")
	require.NoError(t, command(t.Context(), h, "dir", &where))
	require.Equal(t, copies, filepath.Dir(where[1]))

	// A damaged copy is made again, from sources that match the lock.
	require.NoError(t, os.Chmod(filepath.Join(copies, "lib.so"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(copies, "lib.so"), []byte("evil"), 0o600))
	h.Kill("for the test")
	require.Eventually(t, func() bool {
		err := h.Status().Err
		return err != nil && strings.Contains(err.Error(), "lib.so was altered")
	}, patience, 1e6)
	require.NoError(t, os.WriteFile(library, []byte("library"), 0o600))
	require.Eventually(t, func() bool { return h.Status().Err == nil }, patience, 1e6)
	text, err = os.ReadFile(filepath.Join(copies, "lib.so"))
	require.NoError(t, err)
	require.Equal(t, "library", string(text))

	// Another build replaces the copy.
	require.NoError(t, h.Close(t.Context()))
	require.NoError(t, os.WriteFile(library, []byte("another"), 0o600))
	_, err = pluginhost.Pin(n.cfg)
	require.NoError(t, err)
	n.storage()
	entries, err := os.ReadDir(filepath.Dir(copies))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.NotEqual(t, filepath.Base(copies), entries[0].Name())
}
