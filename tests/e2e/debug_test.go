package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// TestDebug: the states of two contexts on a stopped node as trees, files, differences, and their hashes checked.
func TestDebug(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	a, b := newContext(t, n, c, "kv", ""), newContext(t, n, c, "kv", "")
	for _, x := range []*harness.Context{a, b} {
		for _, key := range []string{"one", "two"} {
			_, err := x.Call(t.Context(), "set", map[string]string{"key": key, "value": "value of " + key})
			require.NoError(t, err)
		}
	}
	_, err := b.Call(t.Context(), "set", map[string]string{"key": "three", "value": "3"})
	require.NoError(t, err)
	_, err = b.Call(t.Context(), "remove", map[string]string{"key": "two"})
	require.NoError(t, err)
	info, err := a.Info(t.Context())
	require.NoError(t, err)

	out, err := n.Command(t.Context(), "debug", "state", a.ID)
	require.Error(t, err)
	require.Contains(t, out, "another node")
	require.Contains(t, out, "a running node holds its store")
	_, err = n.Stop(t.Context())
	require.NoError(t, err)

	out, err = n.Command(t.Context(), "debug", "state", a.ID)
	require.NoError(t, err, out)
	require.Contains(t, out, `entries["one"] LwwRegister<String> = "value of one"`)
	require.Contains(t, out, info.RootHash)
	out, err = n.Command(t.Context(), "debug", "state", "--json", "--schema", filepath.Join("testdata", "kv.schema.json"), a.ID)
	require.NoError(t, err, out)
	var tree struct{ Root struct{ Kind string } }
	require.NoError(t, json.Unmarshal([]byte(out), &tree))
	require.Equal(t, "root", tree.Root.Kind)
	require.Contains(t, out, `"type": "Kv"`)

	out, err = n.Command(t.Context(), "debug", "verify", a.ID)
	require.NoError(t, err, out)
	require.Contains(t, out, "root hash "+info.RootHash+": 0 findings")

	out, err = n.Command(t.Context(), "debug", "diff", a.ID, b.ID)
	require.Error(t, err)
	require.Contains(t, out, `+ entries["three"] = "3"`)
	require.Contains(t, out, `- entries["two"] = "value of two"`)

	file := filepath.Join(t.TempDir(), "state")
	out, err = n.Command(t.Context(), "debug", "export", "-o", file, a.ID)
	require.NoError(t, err, out)
	out, err = n.Command(t.Context(), "debug", "diff", file, a.ID)
	require.NoError(t, err, out)
	require.Contains(t, out, ": equal; ")
	out, err = n.Command(t.Context(), "debug", "export", "-o", file, a.ID)
	require.Error(t, err, "a file is not overwritten")
	require.Contains(t, out, "exists")
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(raw), `"value":"`, `"value":"AAAA`, 1)), 0o600))
	out, err = n.Command(t.Context(), "debug", "verify", file)
	require.Error(t, err)
	require.Contains(t, out, "the file was changed")

	out, err = n.Command(t.Context(), "debug", "state", "no-such-thing")
	require.Error(t, err)
	require.Contains(t, out, "neither a file nor a context id")
	require.NoError(t, n.Start(t.Context()), "the node takes its store back")
}
