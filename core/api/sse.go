package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/calimero-go/core/core/api/schema"
)

// sseStream opens the stream of a session, a new one unless Last-Event-ID names one (http-api.md §3.2). Events that came
// while no stream was open are not sent again.
func (s *Server) sseStream(w http.ResponseWriter, r *http.Request) {
	ctx, end, leave, ok := s.streams.enter(r.Context())
	if !ok {
		tooManyStreams(w)
		return
	}
	defer leave()
	sess := s.resumed(r)
	reconnect := sess != nil
	if sess == nil {
		var err error
		if sess, err = s.sse.create(); err != nil {
			s.failureText(w, r, err)
			return
		}
	}
	st := &sseStream{end: end}
	sess.open(st)
	defer func() {
		sess.close(st)
		if len(sess.wanted.list()) > 0 {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), 5*time.Second)
			defer cancel()
			s.sse.keep(ctx, sess)
		}
	}()
	events, unsubscribe := s.deps.Contexts.Subscribe(ctx)
	defer unsubscribe()

	id := strconv.FormatUint(sess.id, 10)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-SSE-Session-ID", id)
	h.Set("X-SSE-Reconnect", strconv.FormatBool(reconnect))
	w.WriteHeader(http.StatusOK)
	out := &sseWriter{s: s, w: w, c: http.NewResponseController(w), session: id}
	s.ignoreUnsupported(out.c.SetReadDeadline(time.Time{}))
	if !out.event(0, "retry: 3000\n", schema.Connected{Type: "connect", SessionID: id, Reconnect: reconnect}) {
		return
	}
	keepAlive := time.NewTicker(s.opts.KeepAlive)
	defer keepAlive.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-keepAlive.C:
			if !out.write(":\n\n") {
				return
			}
		case m, ok := <-events:
			if !ok {
				return
			}
			if !sess.wanted.has(m.Context) || !s.deps.MaySubscribe(ctx, m.Context) {
				continue
			}
			n, ok := sess.next(st)
			if !ok || !out.event(n, "", schema.ResultOf(mutation(m))) {
				return
			}
		}
	}
}

// resumed is the session that the request names; nil for none.
func (s *Server) resumed(r *http.Request) *session {
	text, _, _ := strings.Cut(r.Header.Get("Last-Event-ID"), "-")
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil
	}
	return s.sse.resume(r.Context(), id)
}

// sseWriter writes a stream. Its methods are false when the client is gone or takes nothing.
type sseWriter struct {
	s       *Server
	w       http.ResponseWriter
	c       *http.ResponseController
	session string
}

func (o *sseWriter) event(n uint64, extra string, v any) bool {
	data, err := schema.Encode(v)
	if err != nil {
		o.s.log.Error("event cannot be written as JSON", "error", err)
		return false
	}
	return o.write("event: message\nid: " + o.session + "-" + strconv.FormatUint(n, 10) + "\n" + extra + "data: " +
		string(data) + "\n\n")
}

func (o *sseWriter) write(text string) bool {
	o.s.ignoreUnsupported(o.c.SetWriteDeadline(time.Now().Add(o.s.opts.WriteTimeout)))
	if _, err := o.w.Write([]byte(text)); err != nil {
		return false
	}
	return o.c.Flush() == nil
}

// sseSubscription subscribes or unsubscribes a session that has been opened in this process.
func (s *Server) sseSubscription(w http.ResponseWriter, r *http.Request) {
	body, fault := s.readJSON(w, r)
	if fault != nil {
		failText(w, fault.status, fault.text)
		return
	}
	request, err := schema.DecodeSSE(body)
	if err != nil {
		fault := decodeError(err)
		failText(w, fault.status, fault.text)
		return
	}
	id, err := strconv.ParseUint(request.ID, 10, 64)
	if err != nil {
		fail(w, http.StatusBadRequest, "Invalid Session Id")
		return
	}
	sub, err := schema.ReadSubscription(request.Payload)
	if err != nil {
		s.failObject(w, http.StatusBadRequest, schema.ParseError(err.Error()))
		return
	}
	sess, ok := s.sse.get(id)
	if !ok {
		fail(w, http.StatusNotFound, "Session not found. Please reconnect to SSE endpoint first.")
		return
	}
	var answer any
	if sub.Method == "unsubscribe" {
		answer = schema.ResultOf(schema.Unsubscribed{
			Status: "unsubscribed", Unsubscribed: sess.wanted.remove(sub.Contexts), Requested: sub.Contexts,
		})
	} else {
		if fault := s.subscribe(r.Context(), sess.wanted, sub); fault != "" {
			fail(w, http.StatusForbidden, fault)
			return
		}
		answer = schema.ResultOf(schema.Subscribed{Status: "subscribed", Contexts: sub.Contexts})
	}
	sess.touch()
	s.sse.keep(r.Context(), sess)
	s.answer(w, answer)
}

// failObject answers an error that is an object.
func (s *Server) failObject(w http.ResponseWriter, status int, e *schema.RPCError) {
	body, err := schema.Encode(struct {
		Error *schema.RPCError `json:"error"`
	}{e})
	if err != nil {
		s.log.Error("answer cannot be written as JSON", "error", err)
		fail(w, http.StatusInternalServerError, "internal error")
		return
	}
	send(w, status, "application/json", body)
}

// sseSession describes a session.
func (s *Server) sseSession(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("session_id"), 10, 64)
	if err != nil {
		failText(w, http.StatusBadRequest, "Invalid URL: Cannot parse `session_id` as an unsigned integer")
		return
	}
	answer := schema.Session{SessionID: id, Status: "active"}
	if sess, ok := s.sse.get(id); ok {
		stored := sess.stored()
		answer.Subscriptions, answer.EventCounter = stored.Subscriptions, stored.EventCounter
		s.answer(w, schema.ResultOf(answer))
		return
	}
	kept, found, expired, err := s.sse.load(r.Context(), id)
	switch {
	case err != nil:
		s.log.Error("kept SSE session cannot be read", "session", id, "error", err)
		s.failObject(w, http.StatusInternalServerError, schema.OpaqueError())
	case !found:
		fail(w, http.StatusNotFound, "Session not found")
	case expired:
		fail(w, http.StatusGone, "Session expired")
	default:
		answer.Status, answer.Subscriptions, answer.EventCounter = "persisted", orNone(kept.Subscriptions), kept.EventCounter
		s.answer(w, schema.ResultOf(answer))
	}
}
