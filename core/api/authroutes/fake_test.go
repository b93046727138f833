package authroutes_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/api/authroutes"
	"github.com/calimero-go/core/plugin-sdk/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is an auth plugin of functions; the embedded interface is nil, so a call that a test does not expect panics.
type fake struct {
	auth.Auth
	verify    func(token, host string) (auth.Grant, error)
	token     func(auth.TokenRequest) (auth.Tokens, error)
	refresh   func(auth.RefreshRequest) (auth.Tokens, error)
	providers func() ([]auth.Provider, error)
	keys      func() ([]auth.Key, error)
	create    func(auth.CreateKeyRequest) (string, bool, error)
	remove    func(id string) (time.Time, error)
	update    func(auth.UpdatePermissionsRequest) ([]string, error)
	clientKey func(auth.CreateClientKeyRequest) (auth.Tokens, error)

	verified atomic.Int64
	events   chan auth.Event
	broken   chan error
}

func newFake() *fake { return &fake{events: make(chan auth.Event), broken: make(chan error)} }

func (f *fake) Verify(_ context.Context, token, host string) (auth.Grant, error) {
	f.verified.Add(1)
	return f.verify(token, host)
}

func (f *fake) Token(_ context.Context, r auth.TokenRequest) (auth.Tokens, error) { return f.token(r) }

func (f *fake) Refresh(_ context.Context, r auth.RefreshRequest) (auth.Tokens, error) {
	return f.refresh(r)
}

func (f *fake) Providers(context.Context) ([]auth.Provider, error) { return f.providers() }
func (f *fake) Keys(context.Context) ([]auth.Key, error)           { return f.keys() }

func (f *fake) CreateKey(_ context.Context, r auth.CreateKeyRequest) (string, bool, error) {
	return f.create(r)
}

func (f *fake) DeleteKey(_ context.Context, id string) (time.Time, error) { return f.remove(id) }
func (f *fake) Revoke(_ context.Context, id string) (time.Time, error)    { return f.remove(id) }

func (f *fake) UpdatePermissions(_ context.Context, r auth.UpdatePermissionsRequest) ([]string, error) {
	return f.update(r)
}

func (f *fake) CreateClientKey(_ context.Context, r auth.CreateClientKeyRequest) (auth.Tokens, error) {
	return f.clientKey(r)
}

func (f *fake) Watch(ctx context.Context, each func(auth.Event) error) error {
	for {
		select {
		case e := <-f.events:
			if err := each(e); err != nil {
				return err
			}
		case err := <-f.broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// permits makes a Verify that knows tokens of the form "key:permission;permission".
func permits(token, _ string) (auth.Grant, error) {
	key, list, ok := strings.Cut(token, ":")
	if !ok {
		return auth.Grant{}, auth.KindInvalidToken.Errorf("Invalid token: InvalidSignature")
	}
	g := auth.Grant{KeyID: key, RootKeyID: "root-" + key, PublicKey: key, Expires: time.Now().Add(time.Hour)}
	if list != "" {
		g.Permissions = strings.Split(list, ";")
	}
	return g, nil
}

// harness is a service in front of a handler that tells who came.
type harness struct {
	*authroutes.Service
	fake    *fake
	handler http.Handler

	mu   sync.Mutex
	seen []*authroutes.Identity
	last *http.Request
}

func newHarness(t *testing.T, change func(*authroutes.Options)) *harness {
	t.Helper()
	h := &harness{fake: newFake()}
	h.fake.verify = permits
	o := authroutes.Options{Auth: h.fake, Version: "1"}
	if change != nil {
		change(&o)
	}
	s, err := authroutes.New(o)
	require.NoError(t, err)
	h.Service = s
	mux := http.NewServeMux()
	s.Routes(mux)
	mux.Handle("/", s.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.seen = append(h.seen, authroutes.FromContext(r.Context()))
		h.last = r
		w.WriteHeader(http.StatusTeapot)
	})))
	h.handler = mux
	return h
}

// watch runs the service beside the test; it has started a watch when this returns.
func (h *harness) watch(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
	h.fake.events <- auth.Event{Kind: auth.EventStarted, Sequence: 10}
	// The channel is unbuffered: once this is received, the start has been taken.
	h.fake.events <- auth.Event{Kind: auth.EventChanged, Sequence: 10, KeyID: "nobody"}
}

func (h *harness) do(method, target, token string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, http.NoBody)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}

func (h *harness) post(target, token, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	return w
}
