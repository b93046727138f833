package authroutes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/api/authroutes"
	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// passed is what the handler behind the guard answers.
const passed = http.StatusTeapot

func TestGuard_Tokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	header := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	tests := []struct {
		name, method, target string
		change               func(*http.Request)
		want                 int
	}{
		{"no token", "GET", "/admin-api/contexts", nil, 401},
		{"a token in the header", "GET", "/admin-api/contexts", header("Bearer k:admin"), passed},
		{"a token in the query", "GET", "/admin-api/contexts?a=b&token=k:admin", nil, passed},
		{"the first token of the query", "GET", "/admin-api/contexts?token=bad&token=k:admin", nil, 401},
		{"the query is not unescaped", "GET", "/admin-api/contexts?token=k%3Aadmin", nil, 401},
		{"the header alone decides", "GET", "/admin-api/contexts?token=k:admin", header("Bearer bad"), 401},
		{"an empty header decides too", "GET", "/admin-api/contexts?token=k:admin", header(""), 401},
		{"another scheme", "GET", "/admin-api/contexts", header("Basic k:admin"), 401},
		{"a scheme in small letters", "GET", "/admin-api/contexts", header("bearer k:admin"), 401},
		{"two headers", "GET", "/admin-api/contexts", func(r *http.Request) {
			r.Header["Authorization"] = []string{"Bearer k:admin", "Bearer k:admin"}
		}, 401},
		{"a token that is too long", "GET", "/admin-api/contexts", header("Bearer k:" + strings.Repeat("x", auth.MaxToken)), 401},
		{"a token with a control character", "GET", "/admin-api/contexts", header("Bearer k:\x01admin"), 401},
		{"a wrong method without a token", "DELETE", "/admin-api/contexts", nil, 401},
		{"a wrong method with a token", "DELETE", "/admin-api/contexts", header("Bearer k:"), 405},
		{"head is get", "HEAD", "/admin-api/contexts", header("Bearer k:admin"), passed},
		{"options", "OPTIONS", "/admin-api/contexts", nil, passed},
		{"health", "GET", "/admin-api/health", nil, passed},
		{"health with a bad token", "GET", "/admin-api/health", header("Bearer bad"), passed},
		{"a wrong method on a public path", "POST", "/admin-api/health", nil, 405},
		{"metrics", "GET", "/metrics", nil, passed},
		{"dashboard", "GET", "/admin-dashboard", nil, passed},
		{"dashboard below", "GET", "/admin-dashboard/a/b", nil, passed},
		{"unknown path", "GET", "/admin-api/nothing", nil, 404},
		{"unknown path with a token", "GET", "/admin-api/nothing", header("Bearer k:admin"), 404},
		{"a slash at the end", "POST", "/jsonrpc/", nil, 404},
		{"websocket", "GET", "/ws", nil, 401},
		{"sse", "GET", "/sse", nil, 401},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			change := test.change
			if change == nil {
				change = func(*http.Request) {}
			}
			w := h.do(test.method, test.target, "", change)
			require.Equal(t, test.want, w.Code)
			if test.want != passed {
				require.Empty(t, w.Body.String())
			}
			if test.want == 401 {
				require.Empty(t, w.Header().Get("X-Auth-Error"))
				require.Empty(t, w.Header().Get("WWW-Authenticate"))
			}
			if test.want == 405 {
				require.Contains(t, w.Header().Get("Allow"), "GET")
			}
		})
	}
}

func TestGuard_Permissions(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	tests := []struct {
		method, path, permissions string
		allowed                   bool
	}{
		{"GET", "/admin-api/contexts/c1", "context:list", true},
		{"GET", "/admin-api/contexts/c1", "context:list[c1]", true},
		{"GET", "/admin-api/contexts/c1", "context:list[c2]", false},
		{"GET", "/admin-api/contexts/c1", "context[c1,me]", true},
		{"GET", "/admin-api/contexts/c1", "", false},
		{"GET", "/admin-api/contexts/c1", "what:is:this", false},
		{"GET", "/admin-api/contexts", "context:list[c1]", false},
		{"DELETE", "/admin-api/contexts/c1", "context:list", false},
		{"DELETE", "/admin-api/contexts/c1", "context[c1,me]", false},
		{"DELETE", "/admin-api/contexts/c1", "context:delete[c1]", true},
		{"GET", "/admin-api/contexts/for-application/storage", "context:list[storage]", true},
		{"GET", "/admin-api/contexts/for-application/storage", "context:list[for-application]", false},
		{"GET", "/admin-api/contexts/c%31", "context:list[c1]", true},
		{"GET", "/admin-api/contexts/c1%2Fx", "context:list[c1]", false},
		{"GET", "/admin-api/contexts/c1],admin", "context:list[c1]", false},
		{"POST", "/admin-api/groups", "context", false},
		{"POST", "/admin-api/groups", "admin", true},
		{"GET", "/admin-api/peers", "", true},
		{"PUT", "/admin-api/blobs", "blob:add", true},
		{"PUT", "/admin-api/blobs", "blob:remove", false},
		{"POST", "/admin-api/install-application", "application", true},
		{"POST", "/admin-api/install-dev-application", "application:list", false},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %s with %q", test.method, test.path, test.permissions), func(t *testing.T) {
			t.Parallel()
			w := h.do(test.method, test.path, "k:"+test.permissions)
			if test.allowed {
				require.Equal(t, passed, w.Code, w.Body.String())
				return
			}
			require.Equal(t, http.StatusForbidden, w.Code)
			require.Contains(t, w.Body.String(), `{"error":"permission denied: this needs `)
		})
	}
}

func TestGuard_BodyScopes(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *authroutes.Options) { o.MaxBody = 1000 })
	call := func(context, user, method string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"execute","params":{"contextId":%q,"method":%q,"argsJson":{"contextId":"x"},"executorPublicKey":%q}}`,
			context, method, user)
	}
	tests := []struct {
		name, permissions, body string
		want                    int
	}{
		{"all", "context:execute", call("c", "u", "m"), passed},
		{"all, whatever the body", "context:execute", "{", passed},
		{"its context", "context[c,u]", call("c", "u", "m"), passed},
		{"another context", "context[c,u]", call("d", "u", "m"), 403},
		{"another identity", "context[c,u]", call("c", "v", "m"), 403},
		{"its method", "context:execute[c,,m]", call("c", "u", "m"), passed},
		{"another method", "context:execute[c,,m]", call("c", "u", "n"), 403},
		{"one of two", "context:execute[c];context:execute[d]", call("d", "u", "m"), passed},
		{"no body", "context[c,u]", "", 403},
		{"no JSON", "context[c,u]", "{", 403},
		{"no object", "context[c,u]", "[]", 403},
		{"no params", "context[c,u]", `{"params":null}`, 403},
		{"a number", "context[c,u]", `{"params":{"contextId":1}}`, 403},
		{"a field twice", "context[c,u]", `{"params":{"contextId":"c","contextId":"d","executorPublicKey":"u"}}`, 403},
		{"a field in two cases", "context[c,u]", `{"params":{"contextId":"c","CONTEXTID":"d","executorPublicKey":"u"}}`, 403},
		{"params twice", "context[c,u]", `{"params":{"contextId":"c","executorPublicKey":"u"},"Params":{"contextId":"d"}}`, 403},
		{"nothing of the kind", "blob", call("c", "u", "m"), 403},
		{"too large", "context[c,u]", call("c", "u", strings.Repeat("m", 1000)), 413},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got string
			s, err := authroutes.New(authroutes.Options{Auth: h.fake, MaxBody: 1000})
			require.NoError(t, err)
			guarded := s.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				require.NoError(t, err)
				got = string(b)
				w.WriteHeader(passed)
			}))
			r := httptest.NewRequest(http.MethodPost, "/jsonrpc", strings.NewReader(test.body))
			r.Header.Set("Authorization", "Bearer k:"+test.permissions)
			w := httptest.NewRecorder()
			guarded.ServeHTTP(w, r)
			require.Equal(t, test.want, w.Code)
			if test.want == passed {
				require.Equal(t, test.body, got, "the handler gets the whole body")
			}
		})
	}
}

func TestGuard_Identity(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	const key = "4vJ9JU1bJJE96FWSJKvHsmmFADCg4gpZQff4P3bkLKi" // 32 bytes of 1
	require.Equal(t, passed, h.do("GET", "/admin-api/peers", key+":context[c,u]").Code)
	id := h.seen[0]
	require.Equal(t, key, id.KeyID)
	require.Equal(t, "root-"+key, id.RootKeyID)
	require.NotNil(t, id.PublicKey)
	require.Equal(t, key, id.PublicKey.String())
	ctx := authroutes.With(context.Background(), id)
	require.True(t, authroutes.CanSubscribe(ctx, "c"))
	require.False(t, authroutes.CanSubscribe(ctx, "d"))
	require.True(t, authroutes.Can(ctx, auth.Permission{Action: "context:execute", Scope: "c", User: "u", Method: "m"}))
	require.False(t, authroutes.Can(context.Background(), auth.Permission{Action: "context:list"}))
	require.Equal(t, passed, h.do("GET", "/admin-api/peers", "olga:").Code)
	require.Nil(t, h.seen[1].PublicKey)
}

func TestGuard_NoAuth(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *authroutes.Options) { o.Auth = nil })
	require.Equal(t, passed, h.do("DELETE", "/admin-api/contexts/c", "").Code)
	require.True(t, authroutes.Can(authroutes.With(t.Context(), h.seen[0]), auth.Permission{Action: "admin"}))
	require.Equal(t, passed, h.do("GET", "/admin-api/not-in-the-table", "").Code)
	require.Equal(t, passed, h.do("GET", "/auth/login", "").Code, "the routes are not mounted")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, h.Run(ctx), context.Canceled)
}

func TestGuard_PluginDown(t *testing.T) {
	t.Parallel()
	for _, kind := range []errkind.Kind{errkind.Unavailable, errkind.Internal, errkind.Unknown, errkind.Deadline, errkind.Exhausted} {
		h := newHarness(t, nil)
		h.fake.verify = func(string, string) (auth.Grant, error) { return auth.Grant{}, kind.Errorf("gone") }
		w := h.do("GET", "/admin-api/contexts", "k:admin")
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.NotContains(t, w.Body.String(), "gone")
		require.Equal(t, http.StatusServiceUnavailable, h.do("GET", "/admin/keys", "k:admin").Code)
		require.Equal(t, http.StatusUnauthorized, h.do("GET", "/admin-api/contexts", "").Code)
		require.Equal(t, passed, h.do("GET", "/admin-api/health", "").Code)
		require.Empty(t, h.seen[1:], "nothing guarded was reached")
	}
	for _, kind := range []errkind.Kind{auth.KindExpired, auth.KindInvalidToken, auth.KindWrongHost} {
		h := newHarness(t, nil)
		h.fake.verify = func(string, string) (auth.Grant, error) { return auth.Grant{}, kind.Errorf("no") }
		require.Equal(t, http.StatusUnauthorized, h.do("GET", "/admin-api/contexts", "k:admin").Code)
	}
}

func TestGuard_Prefix(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *authroutes.Options) { o.PathPrefix = "/node1" })
	require.Equal(t, 401, h.do("GET", "/node1/admin-api/contexts", "").Code)
	require.Equal(t, 404, h.do("GET", "/admin-api/contexts", "").Code)
	require.Equal(t, 401, h.do("POST", "/node1/jsonrpc", "").Code)
	require.Equal(t, 401, h.do("GET", "/sse", "").Code)
	require.Equal(t, passed, h.do("GET", "/metrics", "").Code)
}

func TestGuard_Host(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	var got []string
	h.fake.verify = func(token, host string) (auth.Grant, error) {
		got = append(got, host)
		return permits(token, host)
	}
	for _, test := range []struct{ host, forwarded, want string }{
		{"a:1", "", "a:1"}, {"a", "b", "b"}, {"auth", "", ""}, {"auth:3001", "", ""}, {"auth:x", "", "auth:x"}, {"auth:", "", "auth:"},
	} {
		h.do("GET", "/admin-api/peers", "k:", func(r *http.Request) {
			r.Host = test.host
			if test.forwarded != "" {
				r.Header.Set("X-Forwarded-Host", test.forwarded)
			}
		})
		require.Equal(t, test.want, got[len(got)-1])
	}
	require.Equal(t, 401, h.do("GET", "/admin-api/peers", "k:", func(r *http.Request) { r.Host = strings.Repeat("h", 600) }).Code)
}

func TestCache(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := newHarness(t, func(o *authroutes.Options) { o.Now = func() time.Time { return now } })
	sequence := uint64(10)
	h.fake.verify = func(token, host string) (auth.Grant, error) {
		g, err := permits(token, host)
		g.Sequence, g.Expires = sequence, now.Add(time.Hour)
		return g, err
	}
	asked := func(token string, change ...func(*http.Request)) bool {
		t.Helper()
		before := h.fake.verified.Load()
		require.Equal(t, passed, h.do("GET", "/admin-api/peers", token, change...).Code)
		return h.fake.verified.Load() > before
	}
	require.True(t, asked("a:"))
	require.True(t, asked("a:"), "nothing is kept without a watch")

	h.watch(t)
	require.Eventually(t, func() bool { return !asked("a:") }, time.Minute, time.Millisecond)
	require.True(t, asked("b:"))
	require.False(t, asked("b:"))
	require.True(t, asked("a:", func(r *http.Request) { r.Host = "other" }), "for each host")

	h.fake.events <- auth.Event{Sequence: 11, Kind: auth.EventRevoked, KeyID: "a"}
	sequence = 11
	require.Eventually(t, func() bool { return asked("a:") }, time.Minute, time.Millisecond)
	require.False(t, asked("b:"), "others are kept")
	h.fake.events <- auth.Event{Sequence: 12, Kind: auth.EventChanged, KeyID: "root-b"}
	sequence = 12
	require.Eventually(t, func() bool { return asked("b:") }, time.Minute, time.Millisecond, "a root key's event is its clients' too")

	require.False(t, asked("b:"))
	now = now.Add(time.Hour)
	require.True(t, asked("b:"), "not beyond its expiry")

	require.False(t, asked("b:"))
	h.fake.broken <- errors.New("process gone")
	require.Eventually(t, func() bool { return asked("b:") }, time.Minute, time.Millisecond)
	require.True(t, asked("b:"), "nothing is kept before the next watch")
	h.fake.events <- auth.Event{Kind: auth.EventStarted, Sequence: 0}
	sequence = 0
	require.Eventually(t, func() bool { return !asked("b:") }, time.Minute, time.Millisecond, "a new watch, a new beginning")
}

// A grant that was verified before a revocation must not be kept after it.
func TestCache_RevokedWhileVerifying(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	entered, proceed := make(chan struct{}), make(chan struct{})
	gate := true
	h.fake.verify = func(token, host string) (auth.Grant, error) {
		g, err := permits(token, host)
		g.Sequence = 10
		if strings.HasPrefix(token, "a:") && gate {
			gate = false
			close(entered)
			<-proceed
		}
		return g, err
	}
	h.watch(t)
	done := make(chan int)
	go func() { done <- h.do("GET", "/admin-api/peers", "a:").Code }()
	<-entered
	h.fake.events <- auth.Event{Sequence: 11, Kind: auth.EventRevoked, KeyID: "a"}
	h.fake.events <- auth.Event{Sequence: 12, Kind: auth.EventRevoked, KeyID: "other"} // the first has been taken now
	close(proceed)
	require.Equal(t, passed, <-done)
	before := h.fake.verified.Load()
	h.do("GET", "/admin-api/peers", "a:")
	require.Greater(t, h.fake.verified.Load(), before)
}

func TestStreams_EndWithTheKey(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*fake){
		"revoked":    func(f *fake) { f.events <- auth.Event{Sequence: 11, Kind: auth.EventRevoked, KeyID: "a"} },
		"root":       func(f *fake) { f.events <- auth.Event{Sequence: 11, Kind: auth.EventRevoked, KeyID: "root-a"} },
		"watch ends": func(f *fake) { f.broken <- errors.New("process gone") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake()
			f.verify = func(token, host string) (auth.Grant, error) {
				g, err := permits(token, host)
				g.Sequence = 11
				return g, err
			}
			s, err := authroutes.New(authroutes.Options{Auth: f})
			require.NoError(t, err)
			open, closed := make(chan struct{}), make(chan error, 1)
			guarded := s.Guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(open)
				<-r.Context().Done()
				closed <- context.Cause(r.Context())
			}))
			request := func() *httptest.ResponseRecorder {
				r := httptest.NewRequest(http.MethodGet, "/sse", http.NoBody)
				r.Header.Set("Authorization", "Bearer a:")
				w := httptest.NewRecorder()
				guarded.ServeHTTP(w, r)
				return w
			}
			require.Equal(t, http.StatusServiceUnavailable, request().Code, "without a watch nobody could end it")

			ctx, cancel := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- s.Run(ctx) }()
			f.events <- auth.Event{Kind: auth.EventStarted, Sequence: 11}
			served := make(chan struct{})
			go func() {
				defer close(served)
				for {
					if request().Code != http.StatusServiceUnavailable { // the watch's start was not taken yet
						return
					}
				}
			}()
			<-open
			end(f)
			require.ErrorContains(t, <-closed, "revoked or changed")
			<-served
			cancel()
			require.ErrorIs(t, <-ran, context.Canceled)
		})
	}
}

// TestTable_KnowsEveryRoute lists the node's routes as http-api.md §2 to §4 have them.
func TestTable_KnowsEveryRoute(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	for _, line := range strings.Split(strings.TrimSpace(routes), "\n") {
		method, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		r, ok := h.Guarded(method, path)
		require.True(t, ok, line)
		open := strings.Contains(path, "/tee/") || strings.HasSuffix(path, "/health") || strings.HasSuffix(path, "/is-authed") ||
			strings.HasSuffix(path, "/certificate") || strings.HasPrefix(path, "/admin-dashboard") || path == "/metrics"
		require.Equal(t, open, r.Access == authroutes.Public, line)
	}
	_, ok := h.Guarded("PATCH", "/admin-api/contexts")
	require.False(t, ok)
	_, ok = h.Guarded("GET", "/admin-api/contexts/a/b/c")
	require.False(t, ok)
}

const routes = `
POST /jsonrpc
GET /ws
GET /sse
GET /sse/session/1
POST /sse/subscription
GET /metrics
GET /admin-dashboard/
GET /admin-api/health
GET /admin-api/is-authed
GET /admin-api/certificate
GET /admin-api/peers
GET /admin-api/tee/info
POST /admin-api/tee/attest
POST /admin-api/tee/verify-quote
POST /admin-api/install-application
POST /admin-api/install-dev-application
GET /admin-api/applications
GET /admin-api/applications/a
DELETE /admin-api/applications/a
GET /admin-api/packages
GET /admin-api/packages/p/versions
GET /admin-api/packages/p/latest
GET /admin-api/contexts
POST /admin-api/contexts
GET /admin-api/contexts/c
DELETE /admin-api/contexts/c
POST /admin-api/contexts/c/application
GET /admin-api/contexts/c/storage
GET /admin-api/contexts/c/identities
GET /admin-api/contexts/c/identities-owned
GET /admin-api/contexts/c/group
GET /admin-api/contexts/for-application/a
GET /admin-api/contexts/with-executors/for-application/a
POST /admin-api/contexts/invite
POST /admin-api/contexts/join
POST /admin-api/contexts/invite-specialized-node
POST /admin-api/contexts/sync
POST /admin-api/contexts/sync/c
POST /admin-api/contexts/c/capabilities/grant
POST /admin-api/contexts/c/capabilities/revoke
POST /admin-api/identity/context
POST /admin-api/alias/create/context
POST /admin-api/alias/create/application
POST /admin-api/alias/create/identity/c
POST /admin-api/alias/lookup/context/n
POST /admin-api/alias/lookup/application/n
POST /admin-api/alias/lookup/identity/c/n
POST /admin-api/alias/delete/context/n
POST /admin-api/alias/delete/application/n
POST /admin-api/alias/delete/identity/c/n
GET /admin-api/alias/list/context
GET /admin-api/alias/list/application
GET /admin-api/alias/list/identity/c
PUT /admin-api/blobs
GET /admin-api/blobs
GET /admin-api/blobs/b
HEAD /admin-api/blobs/b
DELETE /admin-api/blobs/b
GET /admin-api/groups
POST /admin-api/groups
GET /admin-api/groups/g
PATCH /admin-api/groups/g
DELETE /admin-api/groups/g
GET /admin-api/groups/g/contexts
GET /admin-api/groups/g/members
POST /admin-api/groups/g/members
POST /admin-api/groups/g/members/remove
PUT /admin-api/groups/g/members/i/role
PUT /admin-api/groups/g/alias
PUT /admin-api/groups/g/members/i/alias
POST /admin-api/groups/g/contexts/c/remove
POST /admin-api/groups/g/upgrade
GET /admin-api/groups/g/upgrade/status
POST /admin-api/groups/g/upgrade/retry
POST /admin-api/groups/g/signing-key
POST /admin-api/groups/g/sync
POST /admin-api/groups/g/invite
POST /admin-api/groups/join
POST /admin-api/groups/g/join-context
GET /admin-api/groups/g/members/i/capabilities
PUT /admin-api/groups/g/members/i/capabilities
PUT /admin-api/groups/g/settings/default-capabilities
PUT /admin-api/groups/g/settings/default-visibility
PUT /admin-api/groups/g/settings/tee-admission-policy
GET /admin-api/groups/g/contexts/c/visibility
PUT /admin-api/groups/g/contexts/c/visibility
GET /admin-api/groups/g/contexts/c/allowlist
POST /admin-api/groups/g/contexts/c/allowlist
`

// TestTable_HasTheRegisteredRoutes: what the node serves has an entry that asks as much as the node's own list says.
func TestTable_HasTheRegisteredRoutes(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	require.NotEmpty(t, api.Routes())
	for _, r := range api.Routes() {
		entry, ok := h.Guarded(r.Method, strings.NewReplacer("{", "", "}", "").Replace(r.Pattern))
		require.True(t, ok, "%s %s has no entry in the table: nobody can reach it", r.Method, r.Pattern)
		require.Equal(t, r.Guarded, entry.Access != authroutes.Public, "%s %s", r.Method, r.Pattern)
		require.Equal(t, strings.Count(r.Pattern, "/"), strings.Count(entry.Pattern, "/"), "%s is another route than %s",
			entry.Pattern, r.Pattern)
	}
}

func TestNew_RefusesWrongTables(t *testing.T) {
	t.Parallel()
	for name, list := range map[string][]authroutes.Route{
		"twice":           {{Method: "GET", Pattern: "/a", Access: authroutes.Public}, {Method: "GET", Pattern: "/a", Access: authroutes.Public}},
		"guarded by none": {{Method: "GET", Pattern: "/a", Access: authroutes.Guarded}},
		"no access":       {{Method: "GET", Pattern: "/a"}},
		"public needs":    {{Method: "GET", Pattern: "/a", Access: authroutes.Public, Needs: []string{"admin"}}},
		"unknown need":    {{Method: "GET", Pattern: "/a", Access: authroutes.Guarded, Needs: []string{"fly"}}},
		"literal scope":   {{Method: "GET", Pattern: "/a", Access: authroutes.Guarded, Needs: []string{"context:list[x]"}}},
		"too many parts":  {{Method: "GET", Pattern: "/a", Access: authroutes.Guarded, Needs: []string{"context:list[{a},{b}]"}}},
	} {
		_, err := authroutes.New(authroutes.Options{Auth: newFake(), Routes: list})
		require.Error(t, err, name)
	}
}

func FuzzGuard(f *testing.F) {
	f.Add("GET", "/admin-api/contexts/c", "", `{}`)
	f.Add("POST", "/jsonrpc", "token=k:context[c,u]", `{"params":{"contextId":"c"}}`)
	f.Add("POST", "/jsonrpc", "token=k:context[c,u]", `{"params":{"contextId":"c","contextid":"d"}}`)
	f.Add("DELETE", "/admin-api/contexts/%2e%2e", "token=k:context:delete[c]", ``)
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		r, err := http.NewRequest(method, "http://node", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		u, err := r.URL.Parse(path)
		if err != nil {
			t.Skip()
		}
		r.URL = u
		r.URL.RawQuery = query
		fake := newFake()
		fake.verify = permits
		s, err := authroutes.New(authroutes.Options{Auth: fake, MaxBody: 1 << 16})
		require.NoError(t, err)
		w := httptest.NewRecorder()
		s.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entry, ok := s.Guarded(r.Method, r.URL.EscapedPath())
			if r.Method == http.MethodOptions {
				return
			}
			require.True(t, ok, "a route that is not in the table was reached")
			if entry.Access != authroutes.Public {
				require.NotNil(t, authroutes.FromContext(r.Context()))
				require.Contains(t, query, "token=")
			}
		})).ServeHTTP(w, r)
	})
}
