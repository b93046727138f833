package api

import (
	"errors"
	"net/http"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// answer writes v with status 200.
func (s *Server) answer(w http.ResponseWriter, v any) {
	body, err := schema.Encode(v)
	if err != nil {
		s.log.Error("answer cannot be written as JSON", "error", err)
		fail(w, http.StatusInternalServerError, "internal error")
		return
	}
	send(w, http.StatusOK, "application/json", body)
}

// answerData is answer with the wrapper most routes have.
func (s *Server) answerData(w http.ResponseWriter, v any) { s.answer(w, schema.Of(v)) }

// failure answers an error as the reference does, always 500, but for what asks to try again.
func (s *Server) failure(w http.ResponseWriter, r *http.Request, err error) {
	fail(w, s.failureStatus(w, r, err), err.Error())
}

// failureText is failure as kind T.
func (s *Server) failureText(w http.ResponseWriter, r *http.Request, err error) {
	failText(w, s.failureStatus(w, r, err), err.Error())
}

func (s *Server) failureStatus(w http.ResponseWriter, r *http.Request, err error) int {
	if r.Context().Err() == nil {
		s.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if overloaded(err) {
		w.Header().Set("Retry-After", "1")
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// unavailable answers for what this version does not do; it never pretends.
func unavailable(w http.ResponseWriter, what string) {
	fail(w, http.StatusInternalServerError, what+" is not available in this version: it needs the peer-to-peer network")
}

func isContextNotFound(err error) bool {
	var call *contexts.CallError
	if errors.As(err, &call) {
		return call.Type == contexts.ContextNotFound
	}
	return errors.Is(err, errkind.NotFound)
}

// pathID reads an id of the path; false when it answered.
func pathID[T any](w http.ResponseWriter, r *http.Request, name string, parse func(string) (T, error)) (T, bool) {
	id, err := parse(r.PathValue(name))
	if err != nil {
		failText(w, http.StatusBadRequest, "Invalid URL: "+err.Error())
	}
	return id, err == nil
}

func (s *Server) alive(w http.ResponseWriter, _ *http.Request) {
	s.answerData(w, schema.Status{Status: "alive"})
}

// ready is ours: 200 when the node can serve, 503 with the reason when not.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.deps.Ready != nil {
		if err := s.deps.Ready(r.Context()); err != nil {
			w.Header().Set("Retry-After", "1")
			fail(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
	}
	s.answerData(w, schema.Status{Status: "ready"})
}

// certificate answers as the reference does without a certificate; nothing there ever stores one.
func (s *Server) certificate(w http.ResponseWriter, _ *http.Request) {
	failText(w, http.StatusNotFound, "Certificate not found")
}

func (s *Server) peers(w http.ResponseWriter, _ *http.Request) {
	count := 0
	if s.deps.Peers != nil {
		count = s.deps.Peers.Count()
	}
	s.answer(w, schema.PeersCount{Count: uint64(max(0, count))})
}
