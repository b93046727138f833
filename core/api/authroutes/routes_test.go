package authroutes_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api/authroutes"
	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const tokenBody = `{"auth_method":"user_password","public_key":"olga","client_name":"http://127.0.0.1:2528","timestamp":1,` +
	`"provider_data":{"username":"olga","password":"secret"},"permissions":["admin"]}`

func TestToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	var got auth.TokenRequest
	h.fake.token = func(r auth.TokenRequest) (auth.Tokens, error) {
		got = r
		return auth.Tokens{Access: "a", Refresh: "r"}, nil
	}
	w := h.post("/auth/token", "", tokenBody)
	require.Equal(t, http.StatusOK, w.Code)
	require.JSONEq(t, `{"data":{"access_token":"a","refresh_token":"r","error":null},"error":null}`, w.Body.String())
	require.Equal(t, "user_password", got.Method)
	require.Equal(t, "http://127.0.0.1:2528", got.ClientName)
	require.JSONEq(t, `{"username":"olga","password":"secret"}`, string(got.ProviderData))
	for name, want := range map[string]string{
		"Strict-Transport-Security": "max-age=31536000; includeSubDomains", "X-Frame-Options": "DENY",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "strict-origin-when-cross-origin",
		"Content-Type": "application/json",
	} {
		require.Equal(t, want, w.Header().Get(name))
	}
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'self'; script-src 'self'")

	h.post("/auth/token", "", strings.NewReplacer("user_password", "user_pass;word!", `"olga","client`, `"ol\u0000gaé","client`).
		Replace(strings.Replace(tokenBody, `"timestamp":1`, `"timestamp":1,"bootstrap_code":"code"`, 1)))
	require.Equal(t, "user_password", got.Method, "sanitised")
	require.Equal(t, "olga", got.PublicKey)
	require.Equal(t, "code", got.BootstrapCode)
}

func TestToken_Refused(t *testing.T) {
	t.Parallel()
	with := func(old, replacement string) string { return strings.Replace(tokenBody, old, replacement, 1) }
	tests := []struct {
		name, body string
		err        error
		status     int
		want       string
	}{
		{"wrong password", tokenBody, errkind.Unauthenticated.Errorf("Invalid username or password"), 401,
			`{"data":null,"error":"Authentication failed: Authentication failed: Invalid username or password"}`},
		{"unknown method", tokenBody, errkind.Invalid.Errorf("Unsupported authentication method: x"), 401,
			`{"data":null,"error":"Authentication failed: Invalid request: Unsupported authentication method: x"}`},
		{"too many attempts", tokenBody, errkind.Exhausted.Errorf("Too many failed attempts; try again in 3s"), 429,
			`{"data":null,"error":"Authentication failed: Authentication failed: Too many failed attempts; try again in 3s"}`},
		{"plugin down", tokenBody, errkind.Unavailable.Errorf("plugin gone: /secret/path"), 503,
			`{"data":null,"error":"The auth plugin does not answer at the moment; try again"}`},
		{"no method", with(`"user_password"`, `""`), nil, 422,
			`{"error":"Validation error: auth_method: Authentication method is required","status":422}`},
		{"no name", with(`"http://127.0.0.1:2528"`, `""`), nil, 422,
			`{"error":"Validation error: client_name: Client name is required","status":422}`},
		{"method of nothing good", with(`"user_password"`, `"!!"`), nil, 400,
			`{"data":null,"error":"Authentication method must contain valid characters"}`},
		{"key of nothing good", with(`"public_key":"olga"`, `"public_key":"é"`), nil, 400,
			`{"data":null,"error":"Public key cannot be empty after sanitization"}`},
		{"name of nothing good", with(`"http://127.0.0.1:2528"`, `"é"`), nil, 400,
			`{"data":null,"error":"Client name cannot be empty after sanitization"}`},
		{"no timestamp", with(`"timestamp":1,`, ``), nil, 400, "{\"error\":\"Invalid JSON: missing field `timestamp`\",\"status\":400}"},
		{"no data", with(`"provider_data":{"username":"olga","password":"secret"},`, ``), nil, 400,
			"{\"error\":\"Invalid JSON: missing field `provider_data`\",\"status\":400}"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, nil)
			h.fake.token = func(auth.TokenRequest) (auth.Tokens, error) {
				require.Error(t, test.err, "the plugin is not asked")
				return auth.Tokens{}, test.err
			}
			w := h.post("/auth/token", "", test.body)
			require.Equal(t, test.status, w.Code)
			require.JSONEq(t, test.want, w.Body.String())
		})
	}
	h := newHarness(t, nil)
	for _, body := range []string{"", "{", "[]", `"x"`, `{"auth_method":1}`, "\xff"} {
		w := h.post("/auth/token", "", body)
		require.Equal(t, http.StatusBadRequest, w.Code, "%q", body)
		require.Contains(t, w.Body.String(), `{"error":"Invalid JSON: `)
	}
	w := h.post("/auth/token", "", tokenBody, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Equal(t, http.StatusRequestEntityTooLarge, h.post("/auth/token", "", strings.Repeat(" ", 1<<20+1)).Code)
	w = h.post("/auth/token", "", strings.Repeat(" ", 1<<20+1), func(r *http.Request) { r.ContentLength = -1 })
	require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
}

func TestToken_Loopback(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*http.Request)
		want   bool
	}{
		{"a program here", func(*http.Request) {}, true},
		{"over IPv6", func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:5", "[::1]:2528" }, true},
		{"the node's own page", func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:2528") }, true},
		{"another machine", func(r *http.Request) { r.RemoteAddr = "10.0.0.1:5" }, false},
		{"a page of another site", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, false},
		{"a page without origin", func(r *http.Request) { r.Header.Set("Origin", "null") }, false},
		{"a name that points here", func(r *http.Request) { r.Host = "evil.example:2528" }, false},
		{"through a proxy", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "1.2.3.4") }, false},
		{"through another proxy", func(r *http.Request) { r.Header.Set("Via", "1.1 x") }, false},
		{"no address", func(r *http.Request) { r.RemoteAddr = "@" }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, behindProxy := range []bool{false, true} {
				h := newHarness(t, func(o *authroutes.Options) { o.BehindProxy = behindProxy })
				var got bool
				h.fake.token = func(r auth.TokenRequest) (auth.Tokens, error) {
					got = r.Loopback
					return auth.Tokens{Access: "a", Refresh: "r"}, nil
				}
				w := h.post("/auth/token", "", tokenBody, func(r *http.Request) {
					r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost:2528"
					test.change(r)
				})
				require.Equal(t, http.StatusOK, w.Code)
				require.Equal(t, test.want && !behindProxy, got)
			}
		})
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err    error
		status int
		want   string
		reason string
	}{
		{nil, 200, `{"data":{"access_token":"a","refresh_token":"r","error":null},"error":null}`, ""},
		{errkind.Unauthenticated.Errorf("Access token still valid"), 401, `{"data":null,"error":"Access token still valid"}`, ""},
		{errkind.NotFound.Errorf("Key not found"), 500, `{"data":null,"error":"Failed to refresh token: Key not found"}`, ""},
		{auth.KindWrongHost.Errorf("Token is not valid for this host. x"), 403,
			`{"data":null,"error":"Token is not valid for this host. x"}`, "invalid_node"},
	} {
		h := newHarness(t, nil)
		h.fake.refresh = func(r auth.RefreshRequest) (auth.Tokens, error) {
			require.Equal(t, auth.RefreshRequest{Tokens: auth.Tokens{Access: "x", Refresh: "y"}, Host: "example.com"}, r)
			return auth.Tokens{Access: "a", Refresh: "r"}, test.err
		}
		w := h.post("/auth/refresh", "", `{"access_token":"x","refresh_token":"y"}`)
		require.Equal(t, test.status, w.Code)
		require.JSONEq(t, test.want, w.Body.String())
		require.Equal(t, test.reason, w.Header().Get("X-Auth-Error"))
	}
	h := newHarness(t, nil)
	require.Equal(t, 422, h.post("/auth/refresh", "", `{"access_token":"","refresh_token":"y"}`).Code)
}

func TestValidate(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	w := h.do("GET", "/auth/validate", "k:blob;context[c,u]")
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"data":"","error":null}`, w.Body.String())
	require.Equal(t, "k", w.Header().Get("X-Auth-User"))
	require.Equal(t, "blob,context[c,u]", w.Header().Get("X-Auth-Permissions"))
	require.Equal(t, 200, h.do("HEAD", "/auth/validate", "k:").Code)
	require.Equal(t, 200, h.do("POST", "/auth/validate", "k:").Code)
	forwarded := func(r *http.Request) { r.Header.Set("X-Forwarded-Uri", "/ws?x=1&token=k:") }
	require.Equal(t, 200, h.do("GET", "/auth/validate", "", forwarded).Code)
	require.Equal(t, 401, h.do("GET", "/auth/validate?token=k:", "").Code, "its own query is not read")

	for _, test := range []struct {
		err          error
		status       int
		reason, text string
	}{
		{auth.KindExpired.Errorf("Invalid token: Token has expired"), 401, "token_expired", "Invalid token: Invalid token: Token has expired"},
		{auth.KindInvalidToken.Errorf("Invalid token: x"), 401, "invalid_token", "Invalid token: Invalid token: x"},
		{auth.KindInvalidToken.Errorf("Key not found"), 401, "invalid_token", "Key not found"},
		{auth.KindWrongHost.Errorf("Token is not valid for this host."), 403, "invalid_node", "Token is not valid for this host."},
		{errkind.Unavailable.Errorf("x"), 503, "", "The auth plugin does not answer at the moment; try again"},
	} {
		h := newHarness(t, nil)
		h.fake.verify = func(string, string) (auth.Grant, error) { return auth.Grant{}, test.err }
		w := h.do("GET", "/auth/validate", "k")
		require.Equal(t, test.status, w.Code)
		require.Equal(t, test.reason, w.Header().Get("X-Auth-Error"))
		want, err := json.Marshal(map[string]any{"data": nil, "error": test.text})
		require.NoError(t, err)
		require.JSONEq(t, string(want), w.Body.String())
	}
	w = h.do("GET", "/auth/validate", "")
	require.Equal(t, "missing_token", w.Header().Get("X-Auth-Error"))
	require.JSONEq(t, `{"data":null,"error":"No token provided"}`, w.Body.String())
}

func TestOpenRoutes(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	h.fake.providers = func() ([]auth.Provider, error) {
		return []auth.Provider{{Name: "user_password", Type: "credentials", Description: "d", Configured: true}}, nil
	}
	require.JSONEq(t, `{"data":{"providers":[{"name":"user_password","type":"credentials","description":"d","configured":true,"config":{}}],"count":1},"error":null}`,
		h.do("GET", "/auth/providers", "").Body.String())
	require.Contains(t, h.do("GET", "/auth/health", "").Body.String(), `"status":"alive"`)
	w := h.post("/auth/mock-token", "", "{}")
	require.Equal(t, 404, w.Code)
	require.JSONEq(t, `{"data":null,"error":"Endpoint not found"}`, w.Body.String())
	w = h.do("GET", "/auth/assets/x.js", "")
	require.Equal(t, 404, w.Code)
	require.Equal(t, "File not found", w.Body.String())
	require.Equal(t, 200, h.do("GET", "/auth/favicon.ico", "").Code)
	for _, path := range []string{"/auth/callback", "/auth/is-authed", "/admin/nothing", "/auth/"} {
		w := h.do("GET", path, "")
		require.Equal(t, 404, w.Code, path)
		require.Empty(t, w.Body.String())
		require.Empty(t, w.Header().Get("Content-Type"))
	}
	w = h.do("GET", "/auth/token", "")
	require.Equal(t, 405, w.Code)
	require.Empty(t, w.Body.String())
	require.Equal(t, "POST", w.Header().Get("Allow"))

	h.fake.providers = func() ([]auth.Provider, error) { return nil, errkind.Unavailable.Errorf("x") }
	require.Contains(t, h.do("GET", "/auth/health", "").Body.String(), `"not_alive"`)
	require.Equal(t, 503, h.do("GET", "/auth/providers", "").Code)
}

func TestLoginPage(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	h.fake.providers = func() ([]auth.Provider, error) { return []auth.Provider{{Name: "user_password"}}, nil }
	evil := "/auth/login?callback-url=javascript:alert(1)%22%3E%3Cscript%3E&permissions=%3Cb%3E"
	w := h.do("GET", evil, "")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, "no-cache, no-store, must-revalidate", w.Header().Get("Cache-Control"))
	page, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	require.NotContains(t, page, "alert(1)", "nothing of the request is in the page")
	require.NotContains(t, page, "{{")
	require.NotContains(t, page, "innerHTML")
	require.NotContains(t, policy, "unsafe")
	_, rest, ok := strings.Cut(policy, "script-src 'nonce-")
	require.True(t, ok)
	nonce, _, _ := strings.Cut(rest, "'")
	require.Contains(t, page, `<script nonce="`+nonce+`">`)
	require.NotContains(t, h.do("GET", evil, "").Body.String(), nonce, "each page has its own")

	h.fake.providers = func() ([]auth.Provider, error) { return nil, nil }
	require.Contains(t, h.do("GET", "/auth/login", "").Body.String(), "No authentication provider is available")
}

func TestAdmin_Guard(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	h.fake.keys = func() ([]auth.Key, error) { return nil, nil }
	tests := []struct {
		name, method, path, header string
		status                     int
		reason                     string
	}{
		{"no header", "GET", "/admin/keys", "", 400, "invalid_request"},
		{"not bearer", "GET", "/admin/keys", "Basic x", 400, "invalid_request"},
		{"empty", "GET", "/admin/keys", "Bearer ", 400, "invalid_request"},
		{"the query is not read", "GET", "/admin/keys?token=k:admin", "", 400, "invalid_request"},
		{"bad token", "GET", "/admin/keys", "Bearer bad", 401, "invalid_token"},
		{"no permission", "GET", "/admin/keys", "Bearer k:blob", 403, "permission_denied"},
		{"another permission", "PUT", "/admin/keys/x/permissions", "Bearer k:keys:permissions:update[y]", 403, "permission_denied"},
		{"revoke", "POST", "/admin/revoke", "Bearer k:context", 403, "permission_denied"},
		{"delete", "DELETE", "/admin/keys/x", "Bearer k:keys:list", 403, "permission_denied"},
		{"metrics", "GET", "/admin/metrics", "Bearer k:", 403, "permission_denied"},
		{"listed", "GET", "/admin/keys", "Bearer k:keys:list", 200, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := h.do(test.method, test.path, "", func(r *http.Request) {
				if test.header != "" {
					r.Header.Set("Authorization", test.header)
				}
			})
			require.Equal(t, test.status, w.Code)
			require.Equal(t, test.reason, w.Header().Get("X-Auth-Error"))
			if test.status != 200 {
				require.Empty(t, w.Body.String())
				return
			}
			require.JSONEq(t, `{"data":[],"error":null}`, w.Body.String())
			require.Equal(t, "k", w.Header().Get("X-Auth-User"))
		})
	}
	expired := newHarness(t, nil)
	expired.fake.verify = func(string, string) (auth.Grant, error) { return auth.Grant{}, auth.KindExpired.Errorf("x") }
	require.Equal(t, "token_expired", expired.do("GET", "/admin/keys", "k:").Header().Get("X-Auth-Error"))
}

func TestAdmin_Keys(t *testing.T) {
	t.Parallel()
	h := newHarness(t, nil)
	at := time.Unix(1700000000, 0)
	h.fake.keys = func() ([]auth.Key, error) {
		return []auth.Key{{ID: "i", PublicKey: "p", Method: "m", Created: at}, {ID: "j", Created: at, Revoked: at,
			Permissions: []string{"blob"}}}, nil
	}
	require.JSONEq(t, `{"data":[
		{"key_id":"i","public_key":"p","auth_method":"m","created_at":1700000000,"revoked_at":null,"permissions":[]},
		{"key_id":"j","public_key":"","auth_method":"","created_at":1700000000,"revoked_at":1700000000,"permissions":["blob"]}],"error":null}`,
		h.do("GET", "/admin/keys", "k:admin").Body.String())

	h.fake.providers = func() ([]auth.Provider, error) { return []auth.Provider{{Name: "user_password"}}, nil }
	var created auth.CreateKeyRequest
	h.fake.create = func(r auth.CreateKeyRequest) (string, bool, error) {
		created = r
		return "id", r.PublicKey == "new", nil
	}
	body := `{"public_key":"new","auth_method":"user_password","provider_data":{},"target_node_url":"http://n"}`
	require.JSONEq(t, `{"data":{"status":true,"message":"Key was created"},"error":null}`,
		h.post("/admin/keys", "k:keys:create;blob:add", body).Body.String())
	require.Equal(t, []string{"keys:create", "blob:add"}, created.Grantor, "nobody gives more than they have")
	require.Equal(t, "http://n", created.NodeURL)
	require.JSONEq(t, `{"data":{"status":true,"message":"Key was updated"},"error":null}`,
		h.post("/admin/keys", "k:keys", strings.Replace(body, "new", "old", 1)).Body.String())
	w := h.post("/admin/keys", "k:keys", strings.Replace(body, "user_password", "x", 1))
	require.Equal(t, 500, w.Code)
	require.JSONEq(t, `{"data":null,"error":"Provider not found"}`, w.Body.String())
	require.Equal(t, 400, h.post("/admin/keys", "k:keys", `{"public_key":"x","auth_method":"user_password"}`).Code)

	for _, test := range []struct {
		err    error
		status int
		want   string
	}{
		{nil, 200, `{"data":{"key_id":"x","revoked_at":1700000000},"error":null}`},
		{errkind.Precondition.Errorf("Cannot delete the last active root key"), 200,
			`{"data":{"status":false,"message":"Cannot delete the last active root key"},"error":null}`},
		{errkind.NotFound.Errorf("Root key not found"), 404, `{"data":null,"error":"Root key not found"}`},
		{errkind.Invalid.Errorf("Not a root key"), 400, `{"data":null,"error":"Not a root key"}`},
	} {
		h.fake.remove = func(string) (time.Time, error) { return at, test.err }
		w := h.do("DELETE", "/admin/keys/x", "k:keys:revoke")
		require.Equal(t, test.status, w.Code)
		require.JSONEq(t, test.want, w.Body.String())
	}
	h.fake.remove = func(string) (time.Time, error) { return at, nil }
	require.JSONEq(t, `{"data":{"success":true,"message":"Tokens revoked successfully"},"error":null}`,
		h.post("/admin/revoke", "k:admin", `{"client_id":"x"}`).Body.String())
	h.fake.remove = func(string) (time.Time, error) { return at, errkind.NotFound.Errorf("Key not found") }
	w = h.post("/admin/revoke", "k:admin", `{"client_id":"x"}`)
	require.Equal(t, 500, w.Code)
	require.JSONEq(t, `{"data":null,"error":"Failed to revoke tokens: Key not found"}`, w.Body.String())
	require.Equal(t, 422, h.post("/admin/revoke", "k:admin", `{"client_id":""}`).Code)

	var updated auth.UpdatePermissionsRequest
	h.fake.update = func(r auth.UpdatePermissionsRequest) ([]string, error) {
		updated = r
		return []string{"blob"}, nil
	}
	put := func(r *http.Request) { r.Method = http.MethodPut }
	require.JSONEq(t, `{"data":{"permissions":["blob"]},"error":null}`,
		h.post("/admin/keys/x/permissions", "k:keys", `{"add":["blob","\n"],"remove":null}`, put).Body.String())
	require.Equal(t, auth.UpdatePermissionsRequest{KeyID: "x", Add: []string{"blob"}, Grantor: []string{"keys"}}, updated)

	h.fake.clientKey = func(r auth.CreateClientKeyRequest) (auth.Tokens, error) {
		require.Equal(t, "root-k", r.RootKeyID)
		return auth.Tokens{}, errkind.Invalid.Errorf("Root key does not have permission: <b>")
	}
	w = h.post("/admin/client-key", "k:keys", `{}`)
	require.Equal(t, 403, w.Code)
	require.JSONEq(t, `{"data":null,"error":"Token does not have admin permissions"}`, w.Body.String())
	w = h.post("/admin/client-key", "k:admin", `{"context_id":"c","context_identity":null,"permissions":["<b>"]}`)
	require.Equal(t, 400, w.Code)
	require.JSONEq(t, `{"data":null,"error":"Root key does not have permission: &lt;b&gt;"}`, w.Body.String())

	require.JSONEq(t, `{"data":{"service":"calimero-auth","version":"1","authentication_mode":"forward","providers":["user_password"]},"error":null}`,
		h.do("GET", "/admin/identity", "k:").Body.String())
	require.Contains(t, h.do("GET", "/admin/metrics", "k:admin").Body.String(), `"token_revocations":2`)
}
