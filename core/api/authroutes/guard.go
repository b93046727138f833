package authroutes

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Guard lets a request pass to next if the table says that its caller may make it: 404 when the table does not have the
// path, 401 with an empty body without a live token, 403 without the permission, 503 when the auth plugin does not
// answer. A method that the table does not have for the path is 405, on a guarded path after the token. The token is in the
// Authorization header, which alone decides if it is there, or else in the query (token=…, taken as it stands).
//
// The context of the request that next gets has the caller's Identity. For lasting requests (Route.Stream) it ends when
// the key is revoked or changed; other requests that have passed are not stopped.
func (s *Service) Guard(next http.Handler) http.Handler {
	if s.o.Auth == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(With(r.Context(), everybody)))
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.guard(w, r, next) })
}

func (s *Service) guard(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Method == http.MethodOptions {
		next.ServeHTTP(w, r)
		return
	}
	e, named, fits := s.table.find(r.Method, r.URL)
	if e == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if e.Access == Public {
		if !fits {
			s.wrongMethod(w, r)
			return
		}
		next.ServeHTTP(w, r)
		return
	}
	token, host := requestToken(r), requestHost(r)
	if token == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	g, refused, err := s.verify(r.Context(), token, host)
	if err != nil {
		s.refuse(w, r, refused, err)
		return
	}
	ps, err := permissions(g.Permissions)
	if err != nil {
		s.log.Warn("key with permissions that are not understood", "key", g.KeyID, "error", err)
	}
	if !fits {
		s.wrongMethod(w, r)
		return
	}
	if e.Access == Guarded {
		allowed, err := e.allowed(ps, named, r, s.o.MaxBody)
		switch {
		case errors.Is(err, errBodyTooLarge):
			fault(w, http.StatusRequestEntityTooLarge, "the request body is over the limit of the node")
			return
		case err != nil:
			fault(w, http.StatusBadRequest, err.Error())
			return
		case !allowed:
			s.log.Info("permission denied", "method", r.Method, "route", e.Pattern, "key", g.KeyID)
			w.Header().Set("X-Auth-Error", "permission_denied")
			fault(w, http.StatusForbidden, "permission denied: this needs "+strings.Join(e.Needs, " or "))
			return
		}
	}
	ctx := With(r.Context(), newIdentity(g, ps))
	if e.Stream {
		lasting, leave, ok := s.cache.enter(ctx, keyOf(token, host))
		if !ok {
			unavailableNow(w)
			return
		}
		defer leave()
		ctx = lasting
	}
	next.ServeHTTP(w, r.WithContext(ctx))
}

func (s *Service) wrongMethod(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", strings.Join(s.table.methods(r.URL), ","))
	w.WriteHeader(http.StatusMethodNotAllowed)
}

func (s *Service) refuse(w http.ResponseWriter, r *http.Request, refused bool, err error) {
	if refused {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Context().Err() == nil {
		s.log.Error("auth plugin cannot verify a token", "error", err)
	}
	unavailableNow(w)
}

func unavailableNow(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	fault(w, http.StatusServiceUnavailable, "the auth plugin does not answer at the moment; try again")
}

// fault answers the admin API's kind of error.
func fault(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]string{"error": text})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client is gone
}

// requestToken takes the token of a guarded request; "" when there is none or the header is not of the form.
func requestToken(r *http.Request) string {
	if values, ok := r.Header["Authorization"]; ok {
		return bearer(values)
	}
	return queryToken(r.URL.RawQuery)
}

// bearer answers "" for anything but one `Bearer <token>`.
func bearer(values []string) string {
	if len(values) != 1 {
		return ""
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok {
		return ""
	}
	return strings.TrimSpace(token)
}

// queryToken takes the first token=… of a query, not unescaped.
func queryToken(query string) string {
	for query != "" {
		var part string
		part, query, _ = strings.Cut(query, "&")
		if token, ok := strings.CutPrefix(part, "token="); ok {
			return token
		}
	}
	return ""
}

// requestHost is the host that the client named; "" for the auth service's own name behind a reverse proxy, which skips
// the check.
func requestHost(r *http.Request) string {
	host := r.Header.Get("X-Forwarded-Host")
	if host == "" {
		host = r.Host
	}
	port, ok := strings.CutPrefix(host, "auth:")
	if host == "auth" || ok && port != "" && strings.Trim(port, "0123456789") == "" {
		return ""
	}
	return host
}

// fromThisMachine tells whether a request was made by a program on this machine: not through a proxy, not by a page of
// another site in a browser here, and not by a foreign name that was made to point here.
func (s *Service) fromThisMachine(r *http.Request) bool {
	if s.o.BehindProxy {
		return false
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !isLoopback(remote) || !isLoopback((&url.URL{Host: r.Host}).Hostname()) {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
