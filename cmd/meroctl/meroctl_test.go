package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	appID = domain.ApplicationID{3}
	ctxID = domain.ContextID{1}
	keyID = domain.PublicKey{4}
)

// fakeContexts has at most one context.
type fakeContexts struct {
	mu      sync.Mutex
	present bool
	created contexts.CreateRequest
	called  contexts.ExecuteRequest
	execute func(contexts.ExecuteRequest) (*contexts.ExecuteResponse, error)
	deleted *domain.PublicKey
}

func (f *fakeContexts) Execute(_ context.Context, r contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.called = r
	return f.execute(r)
}

func (f *fakeContexts) Create(_ context.Context, r contexts.CreateRequest) (contexts.CreateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.present, f.created = true, r
	return contexts.CreateResponse{Context: ctxID, Member: keyID}, nil
}

func (f *fakeContexts) Delete(_ context.Context, _ domain.ContextID, requester *domain.PublicKey) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.present
	f.present, f.deleted = false, requester
	return was, nil
}

func (f *fakeContexts) Get(ctx context.Context, id domain.ContextID) (contexts.Info, error) {
	all, err := f.List(ctx)
	if err != nil || len(all) == 0 || id != ctxID {
		return contexts.Info{}, errors.Join(err, &contexts.CallError{Type: contexts.ContextNotFound})
	}
	return all[0], nil
}

func (f *fakeContexts) List(context.Context) ([]contexts.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.present {
		return nil, nil
	}
	return []contexts.Info{{ID: ctxID, Application: appID}}, nil
}

func (f *fakeContexts) ForApplication(ctx context.Context, _ domain.ApplicationID) ([]contexts.Info, error) {
	return f.List(ctx)
}

func (f *fakeContexts) Identities(context.Context, domain.ContextID, bool) ([]domain.PublicKey, error) {
	return []domain.PublicKey{keyID}, nil
}

func (f *fakeContexts) Group(context.Context, domain.ContextID) (*domain.GroupID, error) {
	return nil, nil
}

func (f *fakeContexts) Subscribe(context.Context) (<-chan contexts.StateMutation, func()) {
	return nil, func() {}
}

// fakeApps has one application once it is installed.
type fakeApps struct {
	mu  sync.Mutex
	app *apps.Application
}

func (f *fakeApps) InstallPath(_ context.Context, path string, metadata []byte, pkg, version string) (domain.ApplicationID, error) {
	if _, err := os.Stat(path); err != nil {
		return domain.ApplicationID{}, errkind.NotFound.Errorf("application file not found at %s", path)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.app = &apps.Application{ID: appID, ApplicationRecord: wire.ApplicationRecord{
		Size: 7, Source: "file://" + path + "\x1b[31m", Metadata: metadata, Package: pkg, Version: version,
	}}
	return appID, nil
}

func (f *fakeApps) InstallURL(context.Context, string, []byte, *domain.Hash) (domain.ApplicationID, error) {
	return domain.ApplicationID{}, errkind.Unavailable.Errorf("cannot reach it")
}

func (f *fakeApps) List(context.Context) ([]apps.Application, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.app == nil {
		return nil, nil
	}
	return []apps.Application{*f.app}, nil
}

func (f *fakeApps) Get(ctx context.Context, _ domain.ApplicationID) (apps.Application, bool, error) {
	return f.Latest(ctx, "")
}

func (f *fakeApps) Uninstall(context.Context, domain.ApplicationID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.app = nil
	return nil
}

func (f *fakeApps) Packages(context.Context) ([]string, error) {
	return []string{"com.example.kv"}, nil
}

func (f *fakeApps) Versions(context.Context, string) ([]string, error) { return []string{"1.2.3"}, nil }

func (f *fakeApps) Latest(ctx context.Context, _ string) (apps.Application, bool, error) {
	all, err := f.List(ctx)
	if err != nil || len(all) == 0 {
		return apps.Application{}, false, err
	}
	return all[0], true, nil
}

// accounts is an auth service that knows one user and the tokens it issued: "access-N", of which only the last is good.
type accounts struct {
	mu       sync.Mutex
	issued   int
	expired  bool
	requests []map[string]any
}

func (a *accounts) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		good := !a.expired && a.issued > 0 && r.Header.Get("Authorization") == "Bearer access-"+string(rune('0'+a.issued))
		a.mu.Unlock()
		if !good && !strings.HasSuffix(r.URL.Path, "/health") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *accounts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	a.requests = append(a.requests, body)
	data, _ := body["provider_data"].(map[string]any)
	switch {
	case r.URL.Path == "/auth/token" && data["username"] == "ann" && data["password"] == "pass word",
		r.URL.Path == "/auth/refresh" && body["refresh_token"] == "refresh":
		a.issued++
		a.expired = false
		_, _ = io.WriteString(w, `{"data":{"access_token":"access-`+string(rune('0'+a.issued))+`","refresh_token":"refresh"},"error":null}`)
	default:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"data":null,"error":"Authentication failed: Invalid username or password"}`)
	}
}

type world struct {
	t        *testing.T
	contexts *fakeContexts
	apps     *fakeApps
	accounts *accounts
	db       *store.DB
	groups   *groups.Service
	url      string
	home     string
	stdin    io.Reader
}

// newWorld starts a node's API and gives the user an empty configuration folder. With accounts it asks for tokens.
func newWorld(t *testing.T, withAccounts bool) *world {
	t.Helper()
	w := &world{t: t, contexts: &fakeContexts{}, apps: &fakeApps{}, home: t.TempDir(), stdin: strings.NewReader("")}
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(w.home, "config"))
	t.Setenv("HOME", w.home)
	for _, name := range []string{"CALIMERO_HOME", "MEROCTL_USERNAME", "MEROCTL_PASSWORD", "MEROCTL_CODE"} {
		t.Setenv(name, "")
		require.NoError(t, os.Unsetenv(name))
	}
	db := store.Open(storagetest.NewMemory(), store.Options{})
	files, err := blobs.Open(t.Context(), db, filepath.Join(w.home, "blobs"), blobs.Options{})
	require.NoError(t, err)
	w.db, w.groups = db, groups.New(groups.Options{DB: db})
	keys := identity.NewNode(db, nodeKey)
	d := api.Deps{
		Contexts: w.contexts, Apps: w.apps, Blobs: files, Identity: keys, Upgrades: w,
		Groups: admin.New(admin.Options{DB: db, Groups: w.groups, Peers: w, Identity: keys}),
	}
	if withAccounts {
		w.accounts = &accounts{}
		d.Guard, d.AuthRoutes = w.accounts.guard, w.accounts
	}
	server, err := api.New(d, api.Options{Admin: true, JSONRPC: true})
	require.NoError(t, err)
	h := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		h.Close()
	})
	w.url = h.URL
	return w
}

type result struct {
	status    int
	out, errs string
}

// run runs meroctl with --api.
func (w *world) run(args ...string) result {
	w.t.Helper()
	return w.bare(append([]string{"--api", w.url}, args...)...)
}

func (w *world) bare(args ...string) result {
	w.t.Helper()
	var out, errs bytes.Buffer
	status := run(w.t.Context(), args, w.stdin, &out, &errs)
	return result{status, out.String(), errs.String()}
}

// ok is the output of a command that must succeed.
func (w *world) ok(args ...string) string {
	w.t.Helper()
	r := w.run(args...)
	require.Zero(w.t, r.status, r.errs)
	return r.out
}

func (w *world) json(args ...string) string {
	w.t.Helper()
	return strings.TrimSuffix(w.ok(append([]string{"--output-format", "json"}, args...)...), "\n")
}

func TestApplications(t *testing.T) {
	w := newWorld(t, false)
	file := filepath.Join(w.home, "kv.wasm")
	require.NoError(t, os.WriteFile(file, []byte("\x00asm"), 0o600))
	require.Equal(t, `{"data":{"applicationId":"`+appID.String()+`"}}`,
		w.json("app", "install", "--path", file, "--package", "com.example.kv", "--version", "1.2.3", "-m", "hi"))
	require.Equal(t, "hi", string(w.apps.app.Metadata))
	require.Equal(t, "com.example.kv", w.apps.app.Package)
	require.Equal(t, "1.2.3", w.apps.app.Version)

	list := w.ok("app", "ls")
	require.Equal(t, "APPLICATION", strings.Fields(list)[0])
	require.Contains(t, list, appID.String())
	require.NotContains(t, list, "\x1b", "a terminal must not be steered")
	require.Contains(t, w.json("app", "get", appID.String()), `"size":7`)
	require.Contains(t, w.ok("app", "list-packages"), "PACKAGE\ncom.example.kv\n")
	require.Equal(t, "VERSION\n1.2.3\n", w.ok("app", "list-versions", "com.example.kv"))
	require.Contains(t, w.ok("app", "get-latest-version", "com.example.kv"), appID.String()+"  1.2.3\n")
	require.Contains(t, w.ok("app", "uninstall", appID.String()), appID.String())
	require.Equal(t, `{"data":{"apps":[]}}`, w.json("app", "list"))

	r := w.run("app", "install", "-p", "/does/not/exist")
	require.Equal(t, 101, r.status)
	require.Equal(t, "meroctl: application file not found at /does/not/exist\n", r.errs)
	require.Equal(t, 2, w.run("app", "install").status, "neither path nor URL")
	require.Equal(t, 2, w.run("app", "install", "-p", "a", "-u", "http://b").status)
	require.Equal(t, 1, w.run("app", "install", "-u", "http://b", "--hash", "0").status)
}

func TestContexts(t *testing.T) {
	w := newWorld(t, false)
	r := w.run("call", "get")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.errs, "the node has 0 contexts")

	out := w.ok("context", "create", "-a", appID.String(), "-p", `{"x":1}`, "--name", "main", "--as", "me")
	require.Contains(t, out, ctxID.String()+"  "+keyID.String())
	require.Equal(t, `{"x":1}`, string(w.contexts.created.InitParams))
	r = w.run("context", "create", "-a", appID.String(), "--name", "main")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.errs, "choose another --name")
	require.Contains(t, w.ok("context", "list"), ctxID.String())
	for _, args := range [][]string{{}, {"main"}, {ctxID.String()}, {"info"}, {"info", "main"}} {
		require.Contains(t, w.ok(append([]string{"context", "get"}, args...)...), ctxID.String())
	}
	require.Equal(t, `{"data":{"sizeInBytes":0}}`, w.json("context", "get", "storage", "main"))
	require.Contains(t, w.run("context", "get", "client-keys", "main").errs, "no route")
	require.Contains(t, w.run("context", "get", "x", "main").errs, "is not info")
	r = w.run("context", "get", "nobody")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.errs, `"nobody" is neither a context id nor an alias of a context`)
	require.Equal(t, 101, w.run("context", "get", keyID.String()).status)

	other := domain.ContextID{9}.String()
	require.Contains(t, w.run("context", "alias", "add", "main", other).errs, "add --force")
	require.Contains(t, w.ok("context", "alias", "add", "main", other, "-f"), "main names context "+other)
	require.Equal(t, other+"\n", w.ok("context", "alias", "get", "main"))
	require.Contains(t, w.ok("context", "alias", "list"), "main   "+other)
	w.ok("context", "alias", "rm", "main")
	require.Contains(t, w.run("context", "alias", "get", "main").errs, `there is no alias "main"`)
	require.Contains(t, w.run("context", "alias", "get", strings.Repeat("x", 51)).errs, "wants 1 to 50 bytes")

	w.ok("context", "use", other)
	w.ok("context", "use", ctxID.String())
	require.Equal(t, `{"data":{"default":"`+ctxID.String()+`"}}`, w.json("context", "alias", "ls"))
	require.Contains(t, w.ok("context", "sync"), "sync")
	require.Equal(t, `{"data":null}`, w.json("context", "sync", "--all"))

	require.Equal(t, "IDENTITY\n"+keyID.String()+"\n", w.ok("context", "identity", "list", "--owned"))
	require.Contains(t, w.ok("context", "identity", "generate"), "IDENTITY\n")
	require.Equal(t, keyID.String()+"\n", w.ok("context", "identity", "alias", "get", "me"))
	w.ok("context", "identity", "alias", "add", "you", other)
	require.Contains(t, w.ok("context", "identity", "alias", "list"), "you    "+other)
	w.ok("context", "identity", "alias", "remove", "you")
	w.ok("context", "identity", "use", "me")
	require.Equal(t, keyID.String()+"\n", w.ok("context", "identity", "alias", "get", "default"))

	require.Contains(t, w.ok("context", "delete", ctxID.String()), "yes")
	require.Equal(t, keyID, *w.contexts.deleted, "the node's own identity asks")
}

func TestCall(t *testing.T) {
	w := newWorld(t, false)
	w.contexts.present = true
	w.contexts.execute = func(contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
		return &contexts.ExecuteResponse{Output: []byte(`{"b":1,"a":[2]}`)}, nil
	}
	require.Equal(t, "{\n  \"b\": 1,\n  \"a\": [\n    2\n  ]\n}\n",
		w.ok("call", "get", "--args", `{"z":1, "key":"{bob}"}`, "--substitute", "bob,eve"))
	require.Equal(t, contexts.ExecuteRequest{
		Context: ctxID, Method: "get", Args: []byte(`{"z":1,"key":"{bob}"}`), Executor: keyID, Substitute: []string{"bob", "eve"},
	}, w.contexts.called)
	require.Equal(t, `{"jsonrpc":"2.0","id":"7","result":{"output":{"b":1,"a":[2]}}}`, w.json("call", "get", "--id", "7"))

	w.contexts.execute = func(contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
		return nil, &contexts.CallError{Type: contexts.FunctionCall, Text: "guest panicked: no\x1b[2J"}
	}
	r := w.run("call", "get")
	require.Equal(t, result{101, "", "meroctl: FunctionCallError: guest panicked: no\ufffd[2J\n"}, r)
	r = w.run("--output-format", "json", "call", "get")
	require.Equal(t, 101, r.status)
	require.Contains(t, r.out, `"error":{"type":"FunctionCallError"`)
	w.contexts.execute = func(contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
		return nil, &contexts.CallError{Type: contexts.Uninitialized}
	}
	require.Equal(t, result{101, "", "meroctl: Uninitialized\n"}, w.run("call", "get"))
	require.Contains(t, w.run("call", "get", "--args", "{").errs, "--args is no JSON")
	require.Contains(t, w.run("call", "get", "--as", "nobody").errs, `"nobody" is neither a public key nor an alias`)
	require.Equal(t, "PEERS\n0\n", w.ok("peers"))
}

func TestBlobs(t *testing.T) {
	w := newWorld(t, true)
	require.Zero(t, w.run("login", "--username", "ann", "--password", "pass word").status)
	content := strings.Repeat("blob", 1<<19)
	file, to := filepath.Join(w.home, "in"), filepath.Join(w.home, "out")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	id := blobid.Of([]byte(content)).String()

	// The token ran out: the upload begins again from its start.
	w.accounts.expired = true
	require.Equal(t, `{"data":{"blob_id":"`+id+`","size":2097152}}`, w.json("blob", "upload", "-f", file))
	w.accounts.expired = true
	require.Contains(t, w.ok("blob", "download", "-b", id, "--output", to), "wrote 2097152 bytes")
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.True(t, content == string(got), "content differs")
	require.Contains(t, w.ok("blob", "info", "-b", id), "2097152")
	require.Contains(t, w.json("blob", "info", "-b", id), `"mime_type":"application/octet-stream"`)
	require.Contains(t, w.ok("blob", "ls"), id)
	require.Contains(t, w.ok("blob", "rm", "-b", id), "yes")
	r := w.run("blob", "info", "-b", id)
	require.Equal(t, result{101, "", "meroctl: Blob not found\n"}, r)
	require.NoError(t, os.Remove(to))
	require.Equal(t, 101, w.run("blob", "download", "-b", id, "-o", to).status)
	require.NoFileExists(t, to)
	require.Contains(t, w.run("blob", "delete", "-b", "0").errs, "blob id")
	require.Equal(t, 2, w.run("blob", "upload", "-f", file+"x").status)
	leftovers, err := filepath.Glob(filepath.Join(w.home, ".out-*"))
	require.NoError(t, err)
	require.Empty(t, leftovers)
}

func TestLogin(t *testing.T) {
	w := newWorld(t, true)
	r := w.run("context", "list")
	require.Equal(t, 101, r.status)
	require.Contains(t, r.errs, "asks for a login: meroctl login")
	r = w.run("login", "--username", "ann", "--password", "wrong")
	require.Equal(t, result{101, "", "meroctl: Authentication failed: Invalid username or password\n"}, r)
	require.Contains(t, w.run("login", "--username", "ann").errs, "MEROCTL_PASSWORD")
	require.Contains(t, w.run("login").errs, "give --username")

	w.stdin = strings.NewReader("ann\n")
	t.Setenv("MEROCTL_PASSWORD", "pass word")
	require.Contains(t, w.ok("login", "--code", "abc"), "logged in at "+w.url+" as ann")
	last := w.accounts.requests[len(w.accounts.requests)-1]
	require.Equal(t, w.url, last["client_name"])
	require.Equal(t, "abc", last["bootstrap_code"])
	file := filepath.Join(w.home, "config", "calimero", "meroctl", "nodes.toml")
	if runtime.GOOS == "linux" {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	w.ok("context", "list")

	// A token that ran out is renewed, and the new one kept.
	w.accounts.expired = true
	w.ok("context", "list")
	require.Equal(t, 2, w.accounts.issued)
	w.ok("context", "list")
	require.Equal(t, 2, w.accounts.issued)

	// One that cannot be renewed says what to do.
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, bytes.ReplaceAll(text, []byte("refresh'"), []byte("other'")), 0o600))
	w.accounts.expired = true
	r = w.run("context", "list")
	require.Equal(t, 101, r.status)
	require.Contains(t, r.errs, "log in again with meroctl login")

	open := newWorld(t, false)
	require.Contains(t, open.run("login", "--username", "ann", "--password", "x").errs, "no login is needed")
}

func TestNodes(t *testing.T) {
	w := newWorld(t, false)
	say := func(args ...string) string {
		r := w.bare(args...)
		require.Zero(t, r.status, r.errs)
		return r.out
	}
	require.Contains(t, say("node", "add", "far", w.url+"/", "--access-token", "a", "--refresh-token", "r"), "added node far")
	require.Contains(t, say("node", "connect", "near", w.home), "added node near")
	require.Equal(t, "PEERS\n0\n", say("--node", "far", "peers"))
	say("node", "use", "far")
	require.Equal(t, "PEERS\n0\n", say("peers"))
	require.Equal(t, `[{"name":"far","location":"`+w.url+`","active":true,"logged_in":true},{"name":"near","location":"`+
		w.home+`","active":false,"logged_in":false}]`+"\n", say("--output-format", "json", "node", "ls"))
	require.Contains(t, say("node", "list"), "IN USE")

	// A local node is found by what it wrote when it began to listen.
	r := w.bare("--node", "near", "peers")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.errs, `no node "near" runs in `+w.home)
	require.Contains(t, r.errs, "merod --home "+w.home+" --node near run")
	dir := filepath.Join(w.home, "near", "run")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "addresses.json"), []byte(`{"server":["`+w.url+`"]}`), 0o600))
	require.Equal(t, "PEERS\n0\n", say("--node", "near", "peers"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "addresses.json"), []byte(`{}`), 0o600))
	require.Contains(t, w.bare("--node", "near", "peers").errs, "names no address")

	require.Contains(t, say("node", "rm", "far"), "removed")
	for _, args := range [][]string{{"node", "rm", "far"}, {"node", "use", "far"}} {
		r := w.bare(args...)
		require.Equal(t, 1, r.status)
		require.Contains(t, r.errs, `no node "far" is registered`)
	}
	require.Contains(t, w.bare("node", "add", "x", "ftp://h").errs, "http://HOST:PORT")
	require.Contains(t, w.bare("node", "identity").errs, "no node is named")
	require.Contains(t, w.bare("--node", "nowhere", "node", "identity").errs, `no node "nowhere"`)
	require.Contains(t, w.run("node", "identity").errs, "--node instead of --api")

	file := filepath.Join(w.home, "config", "calimero", "meroctl", "nodes.toml")
	require.NoError(t, os.WriteFile(file, []byte("nodes = 5"), 0o600))
	require.Contains(t, w.bare("peers").errs, "correct or delete it")
}

func TestConnectionErrors(t *testing.T) {
	w := newWorld(t, false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	r := w.bare("--api", gone, "peers")
	require.Equal(t, 1, r.status)
	require.Equal(t, "meroctl: no node answers at "+gone+": start it with merod run, or name another with --node or --api\n", r.errs)
	require.Equal(t, 1, w.bare("--api", "nonsense", "peers").status)

	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/admin-api/peers" {
			_, _ = io.WriteString(w, "<html>")
			return
		}
		http.Error(w, "", http.StatusNotFound)
	}))
	defer other.Close()
	require.Contains(t, w.bare("--api", other.URL, "peers").errs, "is not JSON: <html>")
	require.Contains(t, w.bare("--api", other.URL, "app", "list").errs, "is it a node")
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestUsage(t *testing.T) {
	w := newWorld(t, false)
	require.Equal(t, 2, w.bare("nonsense").status)
	require.Equal(t, 2, w.bare("--output-format", "xml", "peers").status)
	require.Equal(t, 2, w.bare("--api", "a", "--node", "b", "peers").status)
	require.Equal(t, result{0, "meroctl dev\n", ""}, w.bare("--version"))
	help := w.bare("--help")
	require.Zero(t, help.status)
	require.Contains(t, help.out, "Operates Calimero nodes.")
}
