package authflow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/api/authroutes"
	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/authtest"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugins/auth-local/local"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// node is an HTTP server with the real routes, guard and plugin, the plugin behind gRPC.
type node struct {
	url    string
	client *http.Client
	clock  *clock
	plugin auth.Plugin
}

func start(t *testing.T) *node {
	t.Helper()
	n := &node{clock: &clock{at: time.Now()}}
	n.plugin = sdktest.OverGRPC(t, auth.Wire, local.NewWith(local.WithClock(n.clock.now)))
	authtest.Configure(t, n.plugin, t.TempDir(), map[string]cty.Value{
		"argon2_memory_kib": cty.NumberIntVal(19456), "argon2_iterations": cty.NumberIntVal(2)})
	s, err := authroutes.New(authroutes.Options{Auth: n.plugin, Now: n.clock.now})
	require.NoError(t, err)
	mux := http.NewServeMux()
	s.Routes(mux)
	mux.Handle("/", s.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/sse" {
			_, _ = io.WriteString(w, "passed")
			return
		}
		w.WriteHeader(http.StatusOK)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
		<-r.Context().Done()
	})))
	server := httptest.NewServer(mux)
	n.url, n.client = server.URL, server.Client()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.NoError(t, n.plugin.Close(context.Background()))
	})
	return n
}

// do answers status and body.
func (n *node) do(t *testing.T, method, path, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, n.url+path, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w, err := n.client.Do(r)
	require.NoError(t, err)
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	return w.StatusCode, string(b)
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// data does a request that must succeed, and decodes its data.
func data[T any](t *testing.T, n *node, method, path, token, body string) T {
	t.Helper()
	status, text := n.do(t, method, path, token, body)
	require.Equal(t, http.StatusOK, status, text)
	var v struct{ Data T }
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v.Data
}

const login = `{"auth_method":"user_password","public_key":"olga","client_name":"x","timestamp":1,` +
	`"provider_data":{"username":"olga","password":"correct horse"}}`

func TestFlow(t *testing.T) {
	t.Parallel()
	n := start(t)
	status, text := n.do(t, "GET", "/admin-api/contexts", "", "")
	require.Equal(t, http.StatusUnauthorized, status)
	require.Empty(t, text)
	root := data[tokens](t, n, "POST", "/auth/token", "", login)
	status, text = n.do(t, "GET", "/admin-api/contexts", root.Access, "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "passed", text)
	status, _ = n.do(t, "GET", "/admin-api/contexts?token="+root.Access, "", "")
	require.Equal(t, http.StatusOK, status)
	status, _ = n.do(t, "GET", "/admin-api/contexts", root.Refresh, "")
	require.Equal(t, http.StatusUnauthorized, status, "a refresh token is no access token")

	client := data[tokens](t, n, "POST", "/admin/client-key", root.Access, `{"context_id":"ctx","context_identity":"me"}`)
	call := func(context, identity string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"execute","params":{"contextId":"` + context + `","executorPublicKey":"` + identity + `","method":"set"}}`
	}
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/jsonrpc", call("ctx", "me"), 200},
		{"POST", "/jsonrpc", call("ctx", "you"), 403},
		{"POST", "/jsonrpc", call("other", "me"), 403},
		{"GET", "/admin-api/contexts/ctx", "", 200},
		{"DELETE", "/admin-api/contexts/ctx", "", 403},
		{"GET", "/admin-api/contexts", "", 403},
		{"GET", "/admin/keys", "", 403},
	} {
		status, text := n.do(t, test.method, test.path, client.Access, test.body)
		require.Equal(t, test.want, status, "%s %s: %s", test.method, test.path, text)
	}

	type key struct {
		ID string `json:"client_id"`
	}
	keys := data[[]key](t, n, "GET", "/admin/keys/clients", root.Access, "")
	require.Len(t, keys, 1)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+"/sse", http.NoBody)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+client.Access)
	// The watch that a stream needs has started by the time a token is remembered.
	require.Eventually(t, func() bool {
		probe, err := n.client.Do(r.Clone(t.Context()))
		if err != nil {
			return false
		}
		defer probe.Body.Close()
		return probe.StatusCode == http.StatusOK
	}, time.Minute, 10*time.Millisecond)
	stream, err := n.client.Do(r)
	require.NoError(t, err)
	defer stream.Body.Close()
	_, text = n.do(t, "POST", "/admin/revoke", root.Access, `{"client_id":"`+keys[0].ID+`"}`)
	require.Contains(t, text, "Tokens revoked successfully")
	_, err = io.Copy(io.Discard, stream.Body) // ends with the key
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, _ := n.do(t, "POST", "/jsonrpc", client.Access, call("ctx", "me"))
		return status == http.StatusUnauthorized
	}, time.Minute, time.Millisecond)

	n.clock.advance(2 * time.Hour)
	status, _ = n.do(t, "GET", "/admin-api/contexts", root.Access, "")
	require.Equal(t, http.StatusUnauthorized, status)
	renewed := data[tokens](t, n, "POST", "/auth/refresh", "", `{"access_token":"`+root.Access+`","refresh_token":"`+root.Refresh+`"}`)
	status, _ = n.do(t, "GET", "/admin-api/contexts", renewed.Access, "")
	require.Equal(t, http.StatusOK, status)
	status, text = n.do(t, "POST", "/auth/refresh", "", `{"access_token":"`+renewed.Access+`","refresh_token":"`+renewed.Refresh+`"}`)
	require.Equal(t, http.StatusUnauthorized, status)
	require.JSONEq(t, `{"data":null,"error":"Access token still valid"}`, text)
}

func TestPluginClosed(t *testing.T) {
	t.Parallel()
	n := start(t)
	root := data[tokens](t, n, "POST", "/auth/token", "", login)
	require.NoError(t, n.plugin.Close(t.Context()))
	require.Eventually(t, func() bool {
		status, _ := n.do(t, "GET", "/admin-api/contexts", root.Access, "")
		return status == http.StatusServiceUnavailable
	}, time.Minute, time.Millisecond, "what was verified before does not outlive the plugin")
}
