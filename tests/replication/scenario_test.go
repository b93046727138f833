package replication_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// scenario is what the ecosystem's test harness does with nodes (docs/interop.md): it makes them by init, changes their
// config.toml as a TOML file, runs them, and calls their API step by step.
type scenario struct {
	t *testing.T
	c *harness.Cluster
}

// newScenario makes and starts nodes. They find each other in a folder, where the harness would use the host's network.
func newScenario(t *testing.T, nodes int) *scenario {
	t.Helper()
	s := &scenario{t: t, c: &harness.Cluster{}}
	near := filepath.Join(t.TempDir(), "near")
	for range nodes {
		home, err := harness.TempDir()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(home)) })
		n := harness.Make(t, harness.Options{Home: home, Config: filepath.Join(home, "node", "config.hcl")})
		init := func() string {
			out, err := n.Init(t.Context(), "--server-port", "0", "--server-host", "127.0.0.1", "--swarm-port", "0", "--swarm-host", "127.0.0.1")
			require.NoError(t, err, out)
			return out
		}
		init()
		hcl, err := os.OpenFile(n.Config, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = fmt.Fprintf(hcl, "network {\n  local_discovery = %q\n}\n", near)
		require.NoError(t, err)
		require.NoError(t, hcl.Close())
		edit(t, filepath.Join(n.Dir, "config.toml"))
		require.Contains(t, init(), "already initialized") // it is done before each start
		s.c.Nodes, s.c.Clients = append(s.c.Nodes, n), append(s.c.Clients, nil)
		s.c.Start(t, len(s.c.Nodes)-1)
		for _, path := range []string{"/admin-api/health", "/admin-api/is-authed", "/admin-api/peers"} {
			_, err := s.c.Clients[len(s.c.Nodes)-1].Raw(t.Context(), http.MethodGet, path, "", nil)
			require.NoError(t, err)
		}
	}
	return s
}

// edit changes a config.toml as the harness does.
func edit(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, toml.Unmarshal(text, &all))
	table := func(path ...string) map[string]any {
		at := all
		for _, key := range path {
			next, ok := at[key].(map[string]any)
			require.Truef(t, ok, "init writes no table %v", path)
			at = next
		}
		return at
	}
	table("bootstrap")["nodes"] = []string{}
	table("discovery", "rendezvous")["namespace"] = "calimero/merobox-tests/0a1b2c3d"
	table("discovery")["mdns"] = false // the harness says true; this test stays on the loopback interface
	times := table("sync")
	times["timeout_ms"], times["interval_ms"], times["frequency_ms"] = 30000, 500, 1000
	text, err = toml.Marshal(all)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text, 0o600))
}

// join is the steps create_identity, invite and join.
func (s *scenario) join(x *harness.Context, at int) *harness.Context {
	s.t.Helper()
	member, err := s.c.Clients[at].NewIdentity(s.t.Context())
	require.NoError(s.t, err)
	invitation, err := x.Invite(s.t.Context(), 3600)
	require.NoError(s.t, err)
	y, err := s.c.Clients[at].JoinAs(s.t.Context(), invitation, member)
	require.NoError(s.t, err)
	require.Equal(s.t, x.ID, y.ID)
	require.Equal(s.t, member, y.Member)
	return y
}

// synced is the step wait_for_sync: all nodes are asked to synchronise until they have one root hash.
func (s *scenario) synced(all ...*harness.Context) {
	s.t.Helper()
	require.NoError(s.t, harness.Until(s.t.Context(), "the nodes are synchronised", func(ctx context.Context) error {
		for _, x := range all {
			if err := x.Sync(ctx); err != nil {
				return err
			}
		}
		roots, err := harness.Roots(ctx, all...)
		if err != nil {
			return err
		}
		if slices.Sort(roots); roots[0] != roots[len(roots)-1] {
			return fmt.Errorf("root hashes %v", roots)
		}
		return nil
	}))
}

// says is a step call followed by an assertion, on each of the nodes.
func (s *scenario) says(want any, method string, args any, all ...*harness.Context) {
	s.t.Helper()
	for i, x := range all {
		require.Equalf(s.t, want, call[any](s.t, x, method, args), "%s on node %d", method, i)
	}
}

// TestScenarios: the steps of the reference's workflows with the sample apps, in their order.
func TestScenarios(t *testing.T) {
	t.Parallel()
	s := newScenario(t, 3)
	t.Run("simple-store", func(t *testing.T) {
		s := &scenario{t, s.c}
		x := s.c.Create(t, 0, "kv", []byte("{}"))
		set(t, x, "greeting", "hello-world")
		s.says("hello-world", "get", obj{"key": "greeting"}, x)
		set(t, x, "foo", "bar")
		set(t, x, "test", "data")
		s.says(obj{"foo": "bar", "greeting": "hello-world", "test": "data"}, "entries", nil, x)
	})
	t.Run("workflow-example", func(t *testing.T) {
		s := &scenario{t, s.c}
		x := s.c.Create(t, 0, "kv", nil)
		all := []*harness.Context{x, s.join(x, 1), s.join(x, 2)}
		set(t, x, "hello", "world")
		s.synced(all...)
		s.says("world", "get", obj{"key": "hello"}, all...)
		set(t, all[2], "node3_key", "node3_value")
		s.synced(all...)
		s.says("node3_value", "get", obj{"key": "node3_key"}, all...)
		for i := range 3 {
			key, value := fmt.Sprintf("iteration_%d", i+1), fmt.Sprintf("value_%d_from_node1", i+1)
			set(t, x, key, value)
			s.synced(all...)
			s.says(value, "get", obj{"key": key}, all...)
		}
	})
	t.Run("simple-sync", func(t *testing.T) {
		s := &scenario{t, s.c}
		a := s.c.Create(t, 0, "kv", nil)
		b := s.join(a, 1)
		set(t, a, "from-node-1", "one")
		s.synced(a, b)
		s.says("one", "get", obj{"key": "from-node-1"}, b)
		set(t, b, "from-node-2", "two")
		s.synced(a, b)
		s.says("two", "get", obj{"key": "from-node-2"}, a)
	})
	t.Run("xcall", func(t *testing.T) {
		s := &scenario{t, s.c}
		a, b := s.c.Create(t, 0, "xcall", nil), s.c.Create(t, 0, "xcall", nil)
		a2, b2 := s.join(a, 1), s.join(b, 1)
		s.synced(a, a2)
		s.synced(b, b2)
		s.says(0.0, "hits", nil, a, b, a2, b2)
		ping := func(from, to *harness.Context) {
			_, err := from.Call(t.Context(), "call", obj{"context": to.ID, "method": "record", "params": obj{"note": "ping"}})
			require.NoError(t, err)
		}
		ping(a, b)
		s.synced(b, b2)
		s.says(1.0, "hits", nil, b, b2)
		s.says(0.0, "hits", nil, a, a2)
		ping(b2, a2) // from the other node, as xcall-example does
		s.synced(a, a2)
		s.says(1.0, "hits", nil, a, a2)
	})
	t.Run("e2e", func(t *testing.T) { (&scenario{t, s.c}).wholeStory() })
	for i := range s.c.Nodes {
		took, err := s.c.Nodes[i].Stop(t.Context())
		require.NoError(t, err, "the harness kills after five seconds")
		t.Logf("node %d ended in %v", i, took)
	}
}

// wholeStory is e2e.yml: every kind of state, with a third node that comes later.
func (s *scenario) wholeStory() {
	t := s.t
	x := s.c.Create(t, 0, "kv", nil)
	all := []*harness.Context{x, s.join(x, 1)}
	set(t, x, "greeting", "Hello, World!")
	set(t, x, "count", "42")
	s.synced(all...)
	s.says("Hello, World!", "get", obj{"key": "greeting"}, all...)
	set(t, all[1], "from-node-2", "hi")
	s.synced(all...)
	all = append(all, s.join(x, 2))
	s.synced(all...)
	s.says(obj{"greeting": "Hello, World!", "count": "42", "from-node-2": "hi"}, "entries", nil, all...)
	s.says("42", "remove", obj{"key": "count"}, all[2])
	s.synced(all...)
	s.says(nil, "get", obj{"key": "count"}, all...)
	s.says(2.0, "len", nil, all...)

	for _, app := range []string{"collections", "owned", "private"} {
		y := s.c.Create(t, 0, app, nil)
		copies := []*harness.Context{y, s.join(y, 1), s.join(y, 2)}
		s.synced(copies...)
		play(t, s.c, copies, stories[app])
		s.synced(copies...)
	}

	// What a handler writes is everywhere, once for each event.
	h := s.c.Create(t, 0, "handlers", nil)
	copies := []*harness.Context{h, s.join(h, 1), s.join(h, 2)}
	s.synced(copies...)
	for n := range 3 {
		_, err := copies[n%3].Call(t.Context(), "fire", obj{"value": fmt.Sprint(n)})
		require.NoError(t, err)
		s.synced(copies...)
	}
	s.handled(copies, 3)

	s.files()

	_, err := all[1].Call(t.Context(), "clear", nil)
	require.NoError(t, err)
	s.synced(all...)
	s.says(0.0, "len", nil, all...)
}

// files: blobs that were uploaded for a context, whose ids the application keeps.
func (s *scenario) files() {
	t := s.t
	x := s.c.Create(t, 0, "blobs", nil)
	all := []*harness.Context{x, s.join(x, 1)}
	for name, content := range map[string][]byte{"text": []byte("content"), "picture": bytes.Repeat([]byte{0, 1, 2, 3}, 400_000)} {
		raw, err := x.Client.Raw(t.Context(), http.MethodPut, "/admin-api/blobs?context_id="+x.ID, "", bytes.NewReader(content))
		require.NoError(t, err)
		var put struct {
			Data struct {
				ID   string `json:"blob_id"`
				Size int
			}
		}
		require.NoError(t, json.Unmarshal(raw, &put))
		require.Equal(t, len(content), put.Data.Size)
		_, err = x.Call(t.Context(), "adopt", obj{"name": name, "id": put.Data.ID, "size": len(content)})
		require.NoError(t, err)
		s.synced(all...)
		files := call[map[string]obj](t, all[1], "files", nil)
		require.Equal(t, put.Data.ID, files[name]["id"], files)
		got, err := all[1].Client.Raw(t.Context(), http.MethodGet, "/admin-api/blobs/"+put.Data.ID+"?context_id="+x.ID, "", nil)
		require.NoError(t, err)
		require.Equal(t, content, got)
	}
}

// handled waits until the handlers of a number of events have run, once each, and all nodes know it.
func (s *scenario) handled(all []*harness.Context, events int) {
	s.t.Helper()
	for i, x := range all {
		require.NoError(s.t, harness.Until(s.t.Context(), fmt.Sprintf("handlers of %d events on node %d", events, i),
			func(ctx context.Context) error {
				return says(ctx, x, turn{method: "runs", args: "{}", want: fmt.Sprintf(`{"on_fired":%d}`, events)}, strings.NewReplacer())
			}))
	}
	s.synced(all...)
}
