package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// TestDamagedStorage: a node refuses to start on a damaged database and names the way out; after it the node serves what
// was not damaged. Only the torn end of an interrupted write is cut without asking, and reported.
func TestDamagedStorage(t *testing.T) {
	t.Parallel()
	// The first half of the keys is in tables, the second in the journal.
	const keys = 20
	for name, test := range map[string]struct {
		damage func(t *testing.T, data string)
		// torn: the node starts by itself.
		torn bool
		// keep is how many keys there are at least afterwards.
		keep int
	}{
		"flipped byte in the journal": {damage: func(t *testing.T, data string) {
			change(t, newest(t, data, "*.log"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, keep: keys / 2},
		"flipped byte at the journal's begin": {damage: func(t *testing.T, data string) {
			change(t, newest(t, data, "*.log"), func(b []byte) []byte { b[10] ^= 0x80; return b })
		}, keep: keys / 2},
		"torn end of the journal": {damage: func(t *testing.T, data string) {
			change(t, newest(t, data, "*.log"), func(b []byte) []byte { return b[:len(b)-5] })
		}, torn: true, keep: keys - 1},
		"no CURRENT": {damage: func(t *testing.T, data string) {
			require.NoError(t, os.Remove(filepath.Join(data, "CURRENT")))
		}, keep: keys},
		"CURRENT is empty": {damage: func(t *testing.T, data string) {
			change(t, filepath.Join(data, "CURRENT"), func([]byte) []byte { return nil })
		}, keep: keys},
		"CURRENT names no manifest": {damage: func(t *testing.T, data string) {
			change(t, filepath.Join(data, "CURRENT"), func([]byte) []byte { return []byte("MANIFEST-999999\n") })
		}, keep: keys},
		"no manifest": {damage: func(t *testing.T, data string) {
			require.NoError(t, os.Remove(newest(t, data, "MANIFEST-*")))
		}, keep: keys},
		"flipped byte in the manifest": {damage: func(t *testing.T, data string) {
			change(t, newest(t, data, "MANIFEST-*"), func(b []byte) []byte { b[12] ^= 1; return b })
		}, keep: keys},
		"empty manifest": {damage: func(t *testing.T, data string) {
			change(t, newest(t, data, "MANIFEST-*"), func([]byte) []byte { return nil })
		}, keep: keys},
		"a table is missing": {damage: func(t *testing.T, data string) {
			require.NoError(t, os.Remove(newest(t, data, "*.ldb")))
		}, keep: 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := harness.Start(t, harness.Options{})
			x := newContext(t, n, n.Client(), "kv", "")
			for half := range 2 {
				if half == 1 {
					_, err := n.Stop(t.Context())
					require.NoError(t, err)
					require.NoError(t, n.Start(t.Context()))
				}
				for i := range keys / 2 {
					call[any](t, x.With(n.Client()), "set_quiet", obj{"key": fmt.Sprint(half*keys/2 + i), "value": "v"})
				}
			}
			require.NoError(t, n.Kill())
			until(t, "the plugins are gone", leftOver(n))
			test.damage(t, filepath.Join(n.Dir, "data"))
			if test.torn {
				require.NoError(t, n.Start(t.Context()))
				require.Regexp(t, `cut the end of a write.*bytes`, n.Log())
			} else {
				requireStartFails(t, n, "storage repair", filepath.Join(n.Dir, "data"))
				out, err := n.Command(t.Context(), "storage", "repair")
				require.NoError(t, err, out)
				require.Contains(t, out, "rows can be read")
				require.NoError(t, n.Start(t.Context()), out)
			}
			require.NoError(t, n.Client().Health(t.Context()))
			if test.keep > 0 {
				length := call[int](t, x.With(n.Client()), "len", nil)
				require.GreaterOrEqual(t, length, test.keep)
				for i := range test.keep {
					require.Equal(t, "v", call[string](t, x.With(n.Client()), "get", obj{"key": fmt.Sprint(i)}))
				}
				call[any](t, x.With(n.Client()), "set", obj{"key": "after", "value": "v"})
			}
		})
	}
}

func change(t *testing.T, path string, fn func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, fn(bytes.Clone(b)), 0o600))
}

// newest is the file with the highest number.
func newest(t *testing.T, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files, pattern)
	return files[len(files)-1]
}

func containsAll(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}
