package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// stopTime is what scripts give a node between SIGTERM and SIGKILL.
const stopTime = 5 * time.Second

// TestRestart: everything is there after a restart, and roots and heads are the same.
func TestRestart(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	x := newContext(t, n, c, "kv", "")
	p := newContext(t, n, c, "private", "")
	b := newContext(t, n, c, "blobs", "")
	call[any](t, x, "set", obj{"key": "k", "value": "v"})
	call[any](t, p, "set_secret", obj{"value": "s"})
	blob := call[string](t, b, "store", obj{"name": "f", "text": "content"})
	before, err := x.Info(t.Context())
	require.NoError(t, err)
	require.Len(t, before.DagHeads, 1)

	for range 2 {
		took, err := n.Stop(t.Context())
		require.NoError(t, err)
		require.Less(t, took, stopTime)
		require.NoError(t, harness.LeftOver(n.Home))
		require.NoError(t, n.Start(t.Context()))
		c = n.Client()
		after, err := x.With(c).Info(t.Context())
		require.NoError(t, err)
		require.Equal(t, before, after)
		require.Equal(t, "v", call[string](t, x.With(c), "get", obj{"key": "k"}))
		require.Equal(t, "s", call[map[string]any](t, p.With(c), "secret", nil)["value"])
		require.Equal(t, "content", call[string](t, b.With(c), "load", obj{"name": "f"}))
		content, err := c.Raw(t.Context(), http.MethodGet, "/admin-api/blobs/"+blob, "", nil)
		require.NoError(t, err)
		require.Equal(t, "content", string(content))
	}
	call[any](t, x.With(c), "set", obj{"key": "k", "value": "w"})
	after, err := x.With(c).Info(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, before.RootHash, after.RootHash)
}

// TestStopUnderLoad: SIGTERM ends the node in time while calls are in flight, one of them endless; what it had
// acknowledged is there afterwards. A stop that was late once, on a loaded machine, must be in time at another try.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Server: `  shutdown_timeout = "2s"`})
	x := newContext(t, n, n.Client(), "kv", "")
	r := newContext(t, n, n.Client(), "rogue", "")
	acked := 0
	var took time.Duration
	for range 3 {
		c := n.Client()
		took = stopUnderLoad(t, n, x.With(c), r.With(c), &acked)
		require.NoError(t, harness.LeftOver(n.Home))
		require.NoError(t, n.Start(t.Context()))
		length := call[int](t, x.With(n.Client()), "len", nil)
		require.GreaterOrEqual(t, length, acked, "acknowledged calls are lost")
		require.LessOrEqual(t, length, acked+1, "one call may have been committed and not answered")
		acked = length
		if took < stopTime {
			break
		}
		t.Logf("the stop took %v, trying again", took)
	}
	require.Less(t, took, stopTime)
}

// stopUnderLoad stops the node while one caller sets new keys, counted in acked, and another one loops.
func stopUnderLoad(t *testing.T, n *harness.Node, x, r *harness.Context, acked *int) time.Duration {
	t.Helper()
	var load sync.WaitGroup
	started := make(chan struct{})
	load.Go(func() {
		for i := 0; ; i++ {
			if _, err := x.Call(t.Context(), "set_quiet", obj{"key": fmt.Sprint(*acked), "value": "v"}); err != nil {
				return
			}
			*acked++
			if i == 10 {
				close(started)
			}
		}
	})
	load.Go(func() {
		if _, err := r.Call(t.Context(), "loop_forever", nil); err == nil {
			t.Error("an endless call succeeded")
		}
	})
	select {
	case <-started:
	case <-n.Exited():
		t.Fatal("the node ended")
	}
	took, err := n.Stop(t.Context())
	require.NoError(t, err)
	load.Wait()
	return took
}

// TestApplications: install, list, uninstall; a context of an uninstalled application says so.
func TestApplications(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	x := newContext(t, n, c, "kv", "")
	again, err := n.Install(t.Context(), c, "kv")
	require.NoError(t, err)
	require.Equal(t, x.Application, again, "the same module is the same application")
	var list struct {
		Data struct {
			Apps []struct {
				ID   string
				Size int
			}
		}
	}
	require.NoError(t, c.Do(t.Context(), http.MethodGet, "/admin-api/applications", nil, &list))
	require.Len(t, list.Data.Apps, 1)
	require.Equal(t, x.Application, list.Data.Apps[0].ID)
	st, err := os.Stat(filepath.Join(n.Home, "files", "kv.wasm"))
	require.NoError(t, err)
	require.EqualValues(t, st.Size(), list.Data.Apps[0].Size)

	require.NoError(t, c.Do(t.Context(), http.MethodDelete, "/admin-api/applications/"+x.Application, nil, nil))
	_, err = x.Call(t.Context(), "get", obj{"key": "k"})
	var e *harness.CallError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "ApplicationNotInstalled", e.Type)
	require.JSONEq(t, with(`{"application_id":"$1"}`, x.Application), string(e.Data))
	_, err = n.Install(t.Context(), c, "kv")
	require.NoError(t, err)
	require.Equal(t, "null", string(call[json.RawMessage](t, x, "get", obj{"key": "k"})))

	_, err = c.InstallPath(t.Context(), filepath.Join(n.Home, "none.wasm"))
	require.ErrorContains(t, err, filepath.Join(n.Home, "none.wasm"))
	_, err = c.CreateContext(t.Context(), "11111111111111111111111111111112", nil)
	require.ErrorContains(t, err, "application not found")
}

// TestContexts: create, list, get, identities, delete; a deleted context is gone, its neighbours are not.
func TestContexts(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	a := newContext(t, n, c, "kv", "")
	b := newContext(t, n, c, "kv", "")
	call[any](t, a, "set", obj{"key": "k", "value": "a"})
	call[any](t, b, "set", obj{"key": "k", "value": "b"})
	list := func() []string {
		var out struct {
			Data struct{ Contexts []harness.ContextInfo }
		}
		require.NoError(t, c.Do(t.Context(), http.MethodGet, "/admin-api/contexts", nil, &out))
		var ids []string
		for _, x := range out.Data.Contexts {
			ids = append(ids, x.ID)
		}
		return ids
	}
	require.ElementsMatch(t, []string{a.ID, b.ID}, list())
	var identities struct {
		Data struct{ Identities []string }
	}
	for _, route := range []string{"/identities", "/identities-owned"} {
		require.NoError(t, c.Do(t.Context(), http.MethodGet, "/admin-api/contexts/"+a.ID+route, nil, &identities))
		require.Equal(t, []string{a.Member}, identities.Data.Identities)
	}
	// A context belongs to a group, whose admins may delete it.
	remove := func(requester any) (bool, error) {
		var gone struct{ Data struct{ IsDeleted bool } }
		err := c.Do(t.Context(), http.MethodDelete, "/admin-api/contexts/"+a.ID, requester, &gone)
		return gone.Data.IsDeleted, err
	}
	_, err := remove(nil)
	require.ErrorContains(t, err, "requester required")
	_, err = remove(obj{"requester": b.Member})
	require.Error(t, err, "a stranger")
	deleted, err := remove(obj{"requester": a.Member})
	require.NoError(t, err)
	require.True(t, deleted)
	deleted, err = remove(obj{"requester": a.Member})
	require.NoError(t, err)
	require.False(t, deleted)
	require.Equal(t, []string{b.ID}, list())
	_, err = a.Info(t.Context())
	requireStatus(t, err, http.StatusNotFound)
	_, err = a.Call(t.Context(), "get", obj{"key": "k"})
	var e *harness.CallError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "ContextNotFound", e.Type)
	require.Equal(t, "b", call[string](t, b, "get", obj{"key": "k"}))
	_, err = b.CallAs(t.Context(), a.Member, "get", obj{"key": "k"})
	require.ErrorAs(t, err, &e)
	require.Equal(t, "Unauthorized", e.Type)
	require.JSONEq(t, with(`{"context_id":"$1","public_key":"$2"}`, b.ID, a.Member), string(e.Data))
	_, err = n.Stop(t.Context())
	require.NoError(t, err)
	require.NoError(t, n.Start(t.Context()))
	c = n.Client()
	require.Equal(t, []string{b.ID}, list())
}

// TestSubstitute: aliases of identities in the arguments become public keys.
func TestSubstitute(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	x := newContext(t, n, c, "kv", "")
	require.NoError(t, c.Do(t.Context(), http.MethodPost, "/admin-api/alias/create/identity/"+x.ID,
		obj{"alias": "me", "identity": x.Member}, nil))
	_, err := x.CallAs(t.Context(), x.Member, "set", obj{"key": "{me}", "value": "v"}, "me")
	require.NoError(t, err)
	require.Equal(t, map[string]string{x.Member: "v"}, call[map[string]string](t, x, "entries", nil))
	_, err = x.CallAs(t.Context(), x.Member, "set", obj{"key": "{you}", "value": "v"}, "you")
	var e *harness.CallError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "AliasResolutionFailed", e.Type)
	require.JSONEq(t, `{"alias":"you"}`, string(e.Data))
}

// TestInit: the folder that merod init makes runs, in both modes.
func TestInit(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"proxy", "embedded"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			n := harness.Make(t, harness.Options{})
			require.NoError(t, os.RemoveAll(n.Dir))
			out, err := n.Init(t.Context(), "--server-port", "0", "--server-host", "127.0.0.1", "--swarm-port", "0",
				"--swarm-host", "127.0.0.1", "--no-mdns", "--auth-mode", mode)
			require.NoError(t, err, out)
			require.Contains(t, out, "Initialized a node in")
			require.Equal(t, mode == "proxy", bytes.Contains([]byte(out), []byte("warning")), out)
			for _, f := range []string{"config.hcl", "config.toml", "plugins.lock"} {
				require.FileExists(t, filepath.Join(n.Dir, f))
			}
			before := contents(t, n.Dir)
			out, err = n.Init(t.Context(), "--server-port", "1", "--swarm-port", "2", "--auth-mode", "proxy")
			require.NoError(t, err)
			require.Contains(t, out, "already initialized")
			require.Equal(t, before, contents(t, n.Dir), "nothing is changed")
			require.NoError(t, n.Start(t.Context()))
			c := n.Client()
			_, err = n.Install(t.Context(), c, "kv")
			if mode == "embedded" {
				requireStatus(t, err, http.StatusUnauthorized)
				c, err = c.LoggedIn(t.Context(), "root", password)
				require.NoError(t, err)
			} else {
				require.NoError(t, err)
			}
			x := newContext(t, n, c, "kv", "")
			call[any](t, x, "set", obj{"key": "k", "value": "v"})
		})
	}
}

// contents are the files below a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	}))
	return files
}

// TestInit_KeepsTheNodeFile: a config.toml that somebody has put into the folder has the node's keys.
func TestInit_KeepsTheNodeFile(t *testing.T) {
	t.Parallel()
	n := harness.Make(t, harness.Options{Identity: true})
	toml := filepath.Join(n.Dir, "config.toml")
	before, err := os.ReadFile(toml)
	require.NoError(t, err)
	require.NoError(t, os.Remove(n.Config))
	require.NoError(t, os.Remove(filepath.Join(n.Dir, "plugins.lock")))
	out, err := n.Init(t.Context(), "--server-port", "1", "--server-host", "127.0.0.1")
	require.NoError(t, err, out)
	require.Contains(t, out, "Kept config.toml")
	after, err := os.ReadFile(toml)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.NoError(t, n.Start(t.Context()))
	require.Contains(t, out, n.Swarm().PeerID)

	require.NoError(t, n.Kill())
	require.NoError(t, os.Remove(n.Config))
	out, err = n.Init(t.Context(), "--auth-mode", "embedded")
	require.NoError(t, err, out)
	require.Contains(t, out, "One-time code")
	require.NoError(t, n.Start(t.Context()))
	_, err = n.Install(t.Context(), n.Client(), "kv")
	requireStatus(t, err, http.StatusUnauthorized)
}
