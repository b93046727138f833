package authroutes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Routes mounts /auth/* and /admin/* on mux, outside of Guard. With no auth plugin there is nothing to mount.
func (s *Service) Routes(mux *http.ServeMux) {
	if s.o.Auth == nil {
		return
	}
	open := http.NewServeMux()
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /auth/login":            s.login,
		"GET /auth/assets/{path...}": assets,
		"GET /auth/favicon.ico":      favicon,
		"POST /auth/token":           s.token,
		"POST /auth/mock-token":      mockToken,
		"GET /auth/challenge":        s.challenge,
		"GET /auth/providers":        s.providers,
		"GET /auth/health":           s.health,
		"POST /auth/refresh":         s.refresh,
		"GET /auth/validate":         s.validate,
		"POST /auth/validate":        s.validate,
	} {
		open.HandleFunc(pattern, h)
	}
	admin := http.NewServeMux()
	for pattern, h := range map[string]http.HandlerFunc{
		"POST /admin/revoke":                              s.revoke,
		"GET /admin/keys":                                 s.listKeys,
		"POST /admin/keys":                                s.createKey,
		"DELETE /admin/keys/{key_id}":                     s.deleteKey,
		"GET /admin/keys/clients":                         s.listClients,
		"POST /admin/client-key":                          s.createClient,
		"DELETE /admin/keys/{key_id}/clients/{client_id}": s.deleteClient,
		"GET /admin/keys/{key_id}/permissions":            s.getPermissions,
		"PUT /admin/keys/{key_id}/permissions":            s.putPermissions,
		"GET /admin/identity":                             s.identity,
		"GET /admin/metrics":                              s.metrics,
	} {
		admin.HandleFunc(pattern, h)
	}
	mux.Handle("/auth/", secured(plainErrors(open)))
	mux.Handle("/admin/", secured(s.keyGuard(plainErrors(admin))))
}

const contentPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; " +
	"connect-src 'self' http://localhost:* http://host.docker.internal:* http://*.nip.io:* https://*.nip.io:* https: http:;"

// secured sets the security headers and bounds the body.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		h.Set("Content-Security-Policy", contentPolicy)
		if r.ContentLength > maxBody {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// plainErrors serves mux, but its own answers (404, 405) without a body.
func plainErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			w = &headOnly{w}
		}
		mux.ServeHTTP(w, r)
	})
}

type headOnly struct{ http.ResponseWriter }

func (h *headOnly) WriteHeader(status int) {
	h.Header().Del("Content-Type")
	h.ResponseWriter.WriteHeader(status)
}

func (h *headOnly) Write(b []byte) (int, error) { return len(b), nil }

// keyGuard is in front of /admin: as Guard, with reasons in headers and no token from the query.
func (s *Service) keyGuard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, named, fits := s.keys.find(r.Method, r.URL)
		if e == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fail := func(status int, reason string) {
			w.Header().Set("X-Auth-Error", reason)
			w.WriteHeader(status)
		}
		token := bearer(r.Header["Authorization"])
		if token == "" {
			fail(http.StatusBadRequest, "invalid_request")
			return
		}
		g, refused, err := s.verify(r.Context(), token, requestHost(r))
		switch {
		case errors.Is(err, auth.KindExpired):
			fail(http.StatusUnauthorized, "token_expired")
			return
		case refused:
			fail(http.StatusUnauthorized, "invalid_token")
			return
		case err != nil:
			s.refuse(w, r, false, err)
			return
		}
		ps, err := permissions(g.Permissions)
		if err != nil {
			s.log.Warn("key with permissions that are not understood", "key", g.KeyID, "error", err)
		}
		if fits && e.Access == Guarded {
			if ok, err := e.allowed(ps, named, r, maxBody); err != nil || !ok {
				fail(http.StatusForbidden, "permission_denied")
				return
			}
		}
		callerHeaders(w, g)
		next.ServeHTTP(w, r.WithContext(With(r.Context(), newIdentity(g, ps))))
	})
}

func callerHeaders(w http.ResponseWriter, g auth.Grant) {
	w.Header().Set("X-Auth-User", g.KeyID)
	if len(g.Permissions) > 0 {
		w.Header().Set("X-Auth-Permissions", strings.Join(g.Permissions, ","))
	}
}

type envelope struct {
	Data  any     `json:"data"`
	Error *string `json:"error"`
}

func ok(w http.ResponseWriter, data any) { writeJSON(w, http.StatusOK, envelope{Data: data}) }

func fail(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, envelope{Error: &text})
}

// failed answers an error of the plugin for which a route has no status of its own.
func (s *Service) failed(w http.ResponseWriter, r *http.Request, status int, prefix string, err error) {
	switch {
	case unavailable(err):
		if r.Context().Err() == nil {
			s.log.Error("auth plugin cannot answer", "path", r.URL.Path, "error", err)
		}
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusServiceUnavailable, "The auth plugin does not answer at the moment; try again")
	case errors.Is(err, errkind.Exhausted):
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusTooManyRequests, prefix+err.Error())
	default:
		fail(w, status, prefix+err.Error())
	}
}

// rule is a field that may not be empty.
type rule struct{ field, value, message string }

// body decodes a JSON body and checks rules; it has answered when it returns false.
func body(w http.ResponseWriter, r *http.Request, v any, rules func() []rule) bool {
	refuse := func(status int, text string) bool {
		writeJSON(w, status, struct {
			Error  string `json:"error"`
			Status int    `json:"status"`
		}{text, status})
		return false
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil ||
		kind != "application/json" && !(strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")) {
		return refuse(http.StatusBadRequest, "Invalid JSON: Expected request with `Content-Type: application/json`")
	}
	b, err := io.ReadAll(r.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return false
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "Invalid JSON: Failed to read the request body")
	}
	if !utf8.Valid(b) {
		return refuse(http.StatusBadRequest, "Invalid JSON: the body is not UTF-8")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return refuse(http.StatusBadRequest, "Invalid JSON: "+err.Error())
	}
	if rules == nil {
		return true
	}
	var broken []string
	for _, x := range rules() {
		if x.value == "" {
			broken = append(broken, x.field+": "+x.message)
		}
	}
	if len(broken) > 0 {
		return refuse(http.StatusUnprocessableEntity, "Validation error: "+strings.Join(broken, "\n"))
	}
	return true
}

// identifier keeps letters, digits, '-' and '_'; printable keeps what is ASCII and no control character.
func identifier(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			return c
		}
		return -1
	}, s)
}

func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, s)
}

// required is a field that must be in the body.
func required[T any](p *T, name string, w http.ResponseWriter) bool {
	if p == nil {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "Invalid JSON: missing field `" + name + "`", "status": 400})
		return false
	}
	return true
}

func (s *Service) challenge(w http.ResponseWriter, r *http.Request) {
	c, err := s.o.Auth.Challenge(r.Context())
	if err != nil {
		s.failed(w, r, http.StatusInternalServerError, "Failed to generate challenge: ", err)
		return
	}
	ok(w, map[string]any{"challenge": c.Token, "nonce": c.Nonce[:]})
}

type provider struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"`
	Description string          `json:"description"`
	Configured  bool            `json:"configured"`
	Config      json.RawMessage `json:"config"`
}

func (s *Service) providers(w http.ResponseWriter, r *http.Request) {
	list, err := s.o.Auth.Providers(r.Context())
	if err != nil {
		s.failed(w, r, http.StatusInternalServerError, "Failed to list providers: ", err)
		return
	}
	out := make([]provider, 0, len(list))
	for _, p := range list {
		if len(p.Config) == 0 {
			p.Config = json.RawMessage("{}")
		}
		out = append(out, provider{p.Name, p.Type, p.Description, p.Configured, p.Config})
	}
	ok(w, map[string]any{"providers": out, "count": len(out)})
}

func (s *Service) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	_, err := s.o.Auth.Providers(ctx)
	status := "alive"
	if err != nil {
		status = "not_alive"
	}
	ok(w, map[string]any{"status": status, "storage": err == nil, "uptime_seconds": int64(s.o.Now().Sub(s.started).Seconds())})
}

func mockToken(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "Endpoint not found")
}

func assets(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, "File not found") // the client is gone
}

const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="#7a3"/></svg>`

func favicon(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "image/svg+xml")
	_, _ = io.WriteString(w, icon) // the client is gone
}

type tokenRequest struct {
	AuthMethod    string          `json:"auth_method"`
	PublicKey     string          `json:"public_key"`
	ClientName    string          `json:"client_name"`
	Timestamp     *uint64         `json:"timestamp"`
	ProviderData  json.RawMessage `json:"provider_data"`
	BootstrapCode string          `json:"bootstrap_code"`
}

type tokenResponse struct {
	Access  string  `json:"access_token"`
	Refresh string  `json:"refresh_token"`
	Error   *string `json:"error"`
}

func (s *Service) token(w http.ResponseWriter, r *http.Request) {
	var q tokenRequest
	if !body(w, r, &q, func() []rule {
		return []rule{{"auth_method", q.AuthMethod, "Authentication method is required"},
			{"public_key", q.PublicKey, "Public key is required"}, {"client_name", q.ClientName, "Client name is required"}}
	}) || !required(q.Timestamp, "timestamp", w) {
		return
	}
	if len(q.ProviderData) == 0 {
		required((*int)(nil), "provider_data", w)
		return
	}
	req := auth.TokenRequest{Method: identifier(q.AuthMethod), PublicKey: printable(q.PublicKey),
		ClientName: printable(q.ClientName), ProviderData: q.ProviderData, Loopback: s.fromThisMachine(r),
		BootstrapCode: q.BootstrapCode}
	switch {
	case req.Method == "":
		fail(w, http.StatusBadRequest, "Authentication method must contain valid characters")
		return
	case req.PublicKey == "":
		fail(w, http.StatusBadRequest, "Public key cannot be empty after sanitization")
		return
	case req.ClientName == "":
		fail(w, http.StatusBadRequest, "Client name cannot be empty after sanitization")
		return
	}
	started := s.o.Now()
	s.counts.attempts.Add(1)
	t, err := s.o.Auth.Token(r.Context(), req)
	s.counts.micros.Add(s.o.Now().Sub(started).Microseconds())
	if err != nil {
		s.counts.failures.Add(1)
		s.log.Info("login refused", "method", req.Method, "from", r.RemoteAddr, "error", err)
		inner := "Authentication failed: "
		if errors.Is(err, errkind.Invalid) {
			inner = "Invalid request: "
		}
		s.failed(w, r, http.StatusUnauthorized, "Authentication failed: "+inner, err)
		return
	}
	s.counts.successes.Add(1)
	ok(w, tokenResponse{Access: t.Access, Refresh: t.Refresh})
}

func (s *Service) refresh(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if !body(w, r, &q, func() []rule {
		return []rule{{"access_token", q.Access, "Access token is required"},
			{"refresh_token", q.Refresh, "Refresh token is required"}}
	}) {
		return
	}
	t, err := s.o.Auth.Refresh(r.Context(), auth.RefreshRequest{Tokens: auth.Tokens{Access: q.Access, Refresh: q.Refresh},
		Host: requestHost(r)})
	switch {
	case err == nil:
		s.counts.refreshes.Add(1)
		ok(w, tokenResponse{Access: t.Access, Refresh: t.Refresh})
	case errors.Is(err, auth.KindWrongHost):
		w.Header().Set("X-Auth-Error", "invalid_node")
		fail(w, http.StatusForbidden, err.Error())
	case errors.Is(err, auth.KindInvalidToken):
		fail(w, http.StatusUnauthorized, err.Error())
	default:
		s.failed(w, r, http.StatusInternalServerError, "Failed to refresh token: ", err)
	}
}

func (s *Service) validate(w http.ResponseWriter, r *http.Request) {
	token := bearer(r.Header["Authorization"])
	if token == "" {
		_, query, _ := strings.Cut(r.Header.Get("X-Forwarded-Uri"), "?")
		token = queryToken(query)
	}
	refuse := func(status int, reason, text string) {
		w.Header().Set("X-Auth-Error", reason)
		fail(w, status, text)
	}
	if token == "" {
		refuse(http.StatusUnauthorized, "missing_token", "No token provided")
		return
	}
	g, refused, err := s.verify(r.Context(), token, requestHost(r))
	switch {
	case err == nil:
		callerHeaders(w, g)
		ok(w, "")
	case errors.Is(err, auth.KindWrongHost):
		refuse(http.StatusForbidden, "invalid_node", err.Error())
	case errors.Is(err, auth.KindExpired):
		refuse(http.StatusUnauthorized, "token_expired", "Invalid token: "+err.Error())
	case refused:
		text := err.Error()
		if strings.HasPrefix(text, "Invalid token: ") {
			text = "Invalid token: " + text
		}
		refuse(http.StatusUnauthorized, "invalid_token", text)
	default:
		s.failed(w, r, http.StatusInternalServerError, "", err)
	}
}

func rate(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func (s *Service) metrics(w http.ResponseWriter, _ *http.Request) {
	c := &s.counts
	failures := map[string]int64{}
	if n := c.failures.Load(); n > 0 {
		failures["authentication"] = n
	}
	average := rate(c.micros.Load(), 1000*c.attempts.Load())
	ok(w, map[string]any{"auth_attempts": c.attempts.Load(), "auth_successes": c.successes.Load(),
		"auth_failures": c.failures.Load(), "auth_success_rate": rate(c.successes.Load(), c.attempts.Load()),
		"auth_avg_duration_ms": average, "auth_failures_by_type": failures, "token_refreshes": c.refreshes.Load(),
		"token_revocations": c.revocations.Load()})
}

func (s *Service) identity(w http.ResponseWriter, r *http.Request) {
	list, err := s.o.Auth.Providers(r.Context())
	if err != nil {
		s.failed(w, r, http.StatusInternalServerError, "Failed to list providers: ", err)
		return
	}
	names := []string{}
	for _, p := range list {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	ok(w, map[string]any{"service": "calimero-auth", "version": s.o.Version, "authentication_mode": "forward",
		"providers": names})
}
