package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeContexts answers with its functions; those not set must not be called.
type fakeContexts struct {
	execute    func(context.Context, contexts.ExecuteRequest) (*contexts.ExecuteResponse, error)
	create     func(contexts.CreateRequest) (contexts.CreateResponse, error)
	remove     func(domain.ContextID, *domain.PublicKey) (bool, error)
	get        func(domain.ContextID) (contexts.Info, error)
	list       func(*domain.ApplicationID) ([]contexts.Info, error)
	identities func(domain.ContextID, bool) ([]domain.PublicKey, error)
	group      func(domain.ContextID) (*domain.GroupID, error)

	mu   sync.Mutex
	subs map[chan contexts.StateMutation]struct{}
}

func (f *fakeContexts) Execute(ctx context.Context, r contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
	return f.execute(ctx, r)
}

func (f *fakeContexts) Create(_ context.Context, r contexts.CreateRequest) (contexts.CreateResponse, error) {
	return f.create(r)
}

func (f *fakeContexts) Delete(_ context.Context, id domain.ContextID, requester *domain.PublicKey) (bool, error) {
	return f.remove(id, requester)
}

func (f *fakeContexts) Get(_ context.Context, id domain.ContextID) (contexts.Info, error) {
	return f.get(id)
}

func (f *fakeContexts) List(context.Context) ([]contexts.Info, error) { return f.list(nil) }

func (f *fakeContexts) ForApplication(_ context.Context, app domain.ApplicationID) ([]contexts.Info, error) {
	return f.list(&app)
}

func (f *fakeContexts) Identities(_ context.Context, id domain.ContextID, owned bool) ([]domain.PublicKey, error) {
	return f.identities(id, owned)
}

func (f *fakeContexts) Group(_ context.Context, id domain.ContextID) (*domain.GroupID, error) {
	return f.group(id)
}

func (f *fakeContexts) Subscribe(context.Context) (<-chan contexts.StateMutation, func()) {
	ch := make(chan contexts.StateMutation, 64)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = map[chan contexts.StateMutation]struct{}{}
	}
	f.subs[ch] = struct{}{}
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, ch)
	}
}

func (f *fakeContexts) publish(m contexts.StateMutation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.subs {
		ch <- m
	}
}

func (f *fakeContexts) subscribers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

// fakeApps has applications in memory.
type fakeApps struct {
	api.Apps
	installed []apps.Application
	path      func(path string, metadata []byte, pkg, version string) (domain.ApplicationID, error)
	url       func(url string, metadata []byte, hash *domain.Hash) (domain.ApplicationID, error)
}

func (f *fakeApps) InstallPath(_ context.Context, path string, metadata []byte, pkg, version string) (domain.ApplicationID, error) {
	return f.path(path, metadata, pkg, version)
}

func (f *fakeApps) InstallURL(_ context.Context, url string, metadata []byte, hash *domain.Hash) (domain.ApplicationID, error) {
	return f.url(url, metadata, hash)
}

func (f *fakeApps) List(context.Context) ([]apps.Application, error) { return f.installed, nil }

func (f *fakeApps) Get(_ context.Context, id domain.ApplicationID) (apps.Application, bool, error) {
	for _, a := range f.installed {
		if a.ID == id {
			return a, true, nil
		}
	}
	return apps.Application{}, false, nil
}

func (f *fakeApps) Uninstall(context.Context, domain.ApplicationID) error { return nil }

func (f *fakeApps) Packages(context.Context) ([]string, error) {
	return []string{"com.example.kv"}, nil
}

func (f *fakeApps) Versions(_ context.Context, pkg string) ([]string, error) {
	if pkg == "com.example.kv" {
		return []string{"1.0.0"}, nil
	}
	return nil, nil
}

func (f *fakeApps) Latest(_ context.Context, pkg string) (apps.Application, bool, error) {
	if pkg == "com.example.kv" && len(f.installed) > 0 {
		return f.installed[0], true, nil
	}
	return apps.Application{}, false, nil
}

// world is a server with fakes for what needs plugins, and the real rest on a storage in memory.
type world struct {
	contexts *fakeContexts
	apps     *fakeApps
	db       *store.DB
	server   *api.Server
	url      string
}

func allOn() api.Options {
	return api.Options{
		Admin: true, JSONRPC: true, WebSocket: true, SSE: true, CORSOrigins: []string{"*"},
		ShutdownTimeout: 5 * time.Second,
	}
}

func newWorld(t testing.TB, o api.Options, change func(*api.Deps)) *world {
	t.Helper()
	w := newServer(t, o, change)
	h := httptest.NewServer(w.server.Handler())
	t.Cleanup(func() {
		w.server.Close()
		h.CloseClientConnections()
		h.Close()
	})
	w.url = h.URL
	return w
}

func newServer(t testing.TB, o api.Options, change func(*api.Deps)) *world {
	t.Helper()
	w := &world{contexts: &fakeContexts{}, apps: &fakeApps{}, db: store.Open(storagetest.NewMemory(), store.Options{})}
	files, err := blobs.Open(context.Background(), w.db, filepath.Join(t.TempDir(), "blobs"), blobs.Options{})
	require.NoError(t, err)
	reg := prometheus.NewRegistry()
	d := api.Deps{
		Contexts: w.contexts, Apps: w.apps, Blobs: files, Identity: identity.New(w.db), Gatherer: reg, Registerer: reg,
		Sessions: api.StoredSessions(w.db),
	}
	if change != nil {
		change(&d)
	}
	w.server, err = api.New(d, o)
	require.NoError(t, err)
	return w
}

type answer struct {
	status int
	header http.Header
	body   string
}

// client keeps no connections, so that none outlives the test.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}

func (w *world) do(t testing.TB, method, path, contentType, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return send(t, req)
}

func send(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return answer{resp.StatusCode, resp.Header, string(raw)}
}

const jsonType = "application/json"

func (w *world) get(t testing.TB, path string) answer { return w.do(t, http.MethodGet, path, "", "") }

func (w *world) post(t testing.TB, path, body string) answer {
	return w.do(t, http.MethodPost, path, jsonType, body)
}

func requireAnswer(t testing.TB, a answer, status int, body string) {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, body, a.body)
}

func fill[T ~[32]byte](b byte) (id T) {
	for i := range id {
		id[i] = b
	}
	return id
}

var (
	ctxA = fill[domain.ContextID](1)
	ctxB = fill[domain.ContextID](2)
	appA = fill[domain.ApplicationID](3)
	keyA = fill[domain.PublicKey](4)
)

func text(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return string(raw)
}
