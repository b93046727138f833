package api

import (
	"errors"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/calimero-go/core/core/api/schema"
)

// chain is, from outside: CORS, metrics and panics, deadlines, then authentication's routes or the guard and ours.
func (s *Server) chain() http.Handler {
	r := &router{}
	for _, e := range s.table() {
		if !s.enabled(e) {
			continue
		}
		if err := r.add(s.pattern(e), e); err != nil {
			panic(err) // the table is a constant
		}
	}
	ours := http.Handler(r)
	if s.deps.Guard != nil {
		ours = s.deps.Guard(ours)
	}
	split := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		path := req.URL.Path
		if s.deps.AuthRoutes != nil && (strings.HasPrefix(path, "/auth/") || strings.HasPrefix(path, "/admin/")) {
			s.deps.AuthRoutes.ServeHTTP(w, req)
			return
		}
		ours.ServeHTTP(w, req)
	})
	return s.cors(s.observe(r, s.deadlines(split)))
}

const (
	corsMethods = "POST,GET,DELETE,PUT,OPTIONS"
	corsVary    = "origin, access-control-request-method, access-control-request-headers"
)

// cors answers every OPTIONS request by itself (http-api.md §1). Credentials are never allowed.
func (s *Server) cors(next http.Handler) http.Handler {
	origins := s.opts.CORSOrigins
	if len(origins) == 0 {
		return next
	}
	all := slices.Contains(origins, "*")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Vary", corsVary)
		origin := r.Header.Get("Origin")
		switch {
		case all:
			h.Set("Access-Control-Allow-Origin", "*")
		case slices.Contains(origins, origin):
			h.Set("Access-Control-Allow-Origin", origin)
		}
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		if all || slices.Contains(origins, origin) {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", "*")
			if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
				h.Set("Access-Control-Allow-Private-Network", "true")
			}
		}
		w.WriteHeader(http.StatusOK)
	})
}

// deadlines bounds how long a body may take to arrive, also for the guard, and forgets the deadline by which an earlier
// answer on the connection had to be written.
func (s *Server) deadlines(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if r.Body != nil && r.Body != http.NoBody {
			s.ignoreUnsupported(c.SetReadDeadline(time.Now().Add(s.opts.BodyTimeout)))
		}
		s.ignoreUnsupported(c.SetWriteDeadline(time.Time{}))
		next.ServeHTTP(w, r)
		s.ignoreUnsupported(c.SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))) // what is still in the buffer
	})
}

// ignoreUnsupported takes the error of a deadline: writers of tests and of other servers have none, a connection that
// is gone shows when it is used.
func (s *Server) ignoreUnsupported(err error) {
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.log.Debug("deadline of a connection", "error", err)
	}
}

// observe counts requests, logs them and turns a panic into a 500.
func (s *Server) observe(routes *router, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer func() {
			fault := recover()
			if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(http.ErrAbortHandler)
			}
			if fault != nil {
				s.log.Error("request handler panicked", "method", r.Method, "path", r.URL.Path, "panic", fault,
					"stack", string(debug.Stack()))
				if rec.status != 0 {
					panic(http.ErrAbortHandler) // the answer cannot be taken back
				}
				fail(rec, http.StatusInternalServerError, "internal error")
			}
			pattern := "other"
			if p, _ := routes.find(r.URL); p != nil {
				pattern = p.pattern
			}
			status := rec.status
			if status == 0 {
				status = http.StatusOK
			}
			took := time.Since(start)
			s.metrics.requests.WithLabelValues(method(r.Method), pattern, strconv.Itoa(status)).Inc()
			s.metrics.seconds.WithLabelValues(pattern).Observe(took.Seconds())
			s.log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", status, "took", took)
		}()
		next.ServeHTTP(rec, r)
	})
}

// method keeps what clients make up out of the labels.
func method(m string) string {
	if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, m) {
		return m
	}
	return "other"
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// fail answers an error of kind A (http-api.md §0).
func fail(w http.ResponseWriter, status int, text string) {
	body, err := schema.Encode(schema.Fault{Error: text})
	if err != nil { // a struct with a string
		body = []byte(`{"error":"internal error"}`)
	}
	send(w, status, "application/json", body)
}

// failText answers an error of kind T.
func failText(w http.ResponseWriter, status int, text string) {
	send(w, status, "text/plain; charset=utf-8", []byte(text))
}

// send writes a whole answer. A client that is gone has no one to tell.
func send(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
