package api_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

func dial(t *testing.T, w *world) *websocket.Conn {
	t.Helper()
	conn, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(w.url, "http")+"/ws?token=x",
		&websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{"Origin": {"https://app.example"}}})
	require.NoError(t, err)
	if resp.Body != nil {
		defer resp.Body.Close()
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func exchange(t *testing.T, conn *websocket.Conn, request, want string) {
	t.Helper()
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(request)))
	require.Equal(t, want, receive(t, conn))
}

func receive(t *testing.T, conn *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, frame, err := conn.Read(ctx)
	require.NoError(t, err)
	return string(frame)
}

func mutationOf(id domain.ContextID) contexts.StateMutation {
	handler := "h"
	return contexts.StateMutation{Context: id, NewRoot: domain.Hash(id), Events: []contexts.Event{
		{Kind: "Inserted", Data: []byte("{}")}, {Kind: "X", Handler: &handler},
	}}
}

func eventOf(id domain.ContextID) string {
	return `{"contextId":"` + id.String() + `","type":"StateMutation","data":{"newRoot":"` + id.String() +
		`","events":[{"kind":"Inserted","data":[123,125],"handler":null},{"kind":"X","data":[],"handler":"h"}]}}`
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	forbidden := fill[domain.ContextID](99)
	w := newWorld(t, allOn(), func(d *api.Deps) {
		d.MaySubscribe = func(_ context.Context, id domain.ContextID) bool { return id != forbidden }
	})
	conn := dial(t, w)
	ids := `{"contextIds":["` + ctxA.String() + `"]}`
	exchange(t, conn, `{"id":1,"method":"subscribe","params":`+ids+`}`, `{"id":1,"result":`+ids+`}`)
	exchange(t, conn, `{"id":2,"method":"x","params":{}}`, "{\"id\":2,\"error\":{\"type\":\"ParseError\",\"data\":\"unknown variant `x`, expected `subscribe` or `unsubscribe`\"}}")
	exchange(t, conn, `{"method":"subscribe","params":{"contextIds":["0"]}}`,
		`{"id":null,"error":{"type":"ParseError","data":"provided string contained invalid character '0' at byte 0"}}`)
	exchange(t, conn, `{"id":3,"method":"subscribe","params":{"contextIds":["`+forbidden.String()+`"]}}`,
		`{"id":3,"error":"permission denied: the token does not allow to see context `+forbidden.String()+`"}`)

	// Ignored: no JSON, no object, no number, binary. Only then comes the event.
	for _, frame := range []string{"{", "[]", `{"id":"1","method":"subscribe","params":{}}`} {
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(frame)))
	}
	require.NoError(t, conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"id":4}`)))
	w.contexts.publish(mutationOf(ctxB))
	w.contexts.publish(mutationOf(ctxA))
	require.Equal(t, `{"id":null,"result":`+eventOf(ctxA)+`}`, receive(t, conn))
	quiet := mutationOf(ctxA)
	quiet.Events = nil
	w.contexts.publish(quiet)
	require.Contains(t, receive(t, conn), `"events":null`)

	exchange(t, conn, `{"id":5,"method":"unsubscribe","params":`+ids+`}`, `{"id":5,"result":`+ids+`}`)
	w.contexts.publish(mutationOf(ctxA))
	exchange(t, conn, `{"id":6,"method":"unsubscribe","params":{"contextIds":[]}}`, `{"id":6,"result":{"contextIds":[]}}`)
	require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))
	require.Eventually(t, func() bool { return w.contexts.subscribers() == 0 }, 10*time.Second, 5*time.Millisecond)
}

func TestWebSocketRefusals(t *testing.T) {
	t.Parallel()
	o := allOn()
	o.MaxStreams = 1
	w := newWorld(t, o, nil)
	requireAnswer(t, w.get(t, "/ws"), 400, "Invalid WebSocket upgrade request: `Connection` header did not include 'upgrade'")
	conn := dial(t, w)
	_, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(w.url, "http")+"/ws", &websocket.DialOptions{HTTPClient: client})
	require.Error(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)

	// A frame over the limit ends the connection.
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, make([]byte, 64<<10+1)))
	_, _, err = conn.Read(t.Context())
	require.Equal(t, websocket.StatusMessageTooBig, websocket.CloseStatus(err))
}

func TestWebSocketPing(t *testing.T) {
	t.Parallel()
	var pings atomic.Int32
	connect := func(alive bool, pong time.Duration) (*world, *websocket.Conn) {
		o := allOn()
		o.PingInterval, o.PongTimeout = 20*time.Millisecond, pong
		w := newWorld(t, o, nil)
		conn, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(w.url, "http")+"/ws", &websocket.DialOptions{
			HTTPClient: client, OnPingReceived: func(context.Context, []byte) bool { pings.Add(1); return alive },
		})
		require.NoError(t, err)
		if resp.Body != nil {
			require.NoError(t, resp.Body.Close())
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		return w, conn
	}
	_, dead := connect(false, 200*time.Millisecond)
	_, _, err := dead.Read(t.Context())
	var closed websocket.CloseError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, websocket.CloseError{Code: websocket.StatusProtocolError, Reason: "Ping timeout"}, closed)

	pings.Store(0)
	w, live := connect(true, 20*time.Second)
	done := make(chan error, 1)
	go func() {
		_, _, err := live.Read(context.Background())
		done <- err
	}()
	require.Eventually(t, func() bool { return pings.Load() > 15 }, 20*time.Second, 5*time.Millisecond)
	w.server.Close()
	require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(<-done))
}

// sseClient reads a stream.
type sseClient struct {
	t      *testing.T
	resp   *http.Response
	events *bufio.Scanner
}

func openSSE(t *testing.T, w *world, lastEvent string) *sseClient {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/sse", http.NoBody)
	require.NoError(t, err)
	if lastEvent != "" {
		req.Header.Set("Last-Event-ID", lastEvent)
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	require.Equal(t, "no-cache", resp.Header.Get("Cache-Control"))
	events := bufio.NewScanner(resp.Body)
	events.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := strings.Index(string(data), "\n\n"); i >= 0 {
			return i + 2, data[:i], nil
		}
		return 0, nil, nil
	})
	return &sseClient{t, resp, events}
}

func (c *sseClient) next() string {
	c.t.Helper()
	require.True(c.t, c.events.Scan(), "stream ended: %v", c.events.Err())
	return c.events.Text()
}

func (c *sseClient) ended() bool { return !c.events.Scan() }

func TestSSE(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	c := openSSE(t, w, "")
	id := c.resp.Header.Get("X-SSE-Session-ID")
	require.Equal(t, "false", c.resp.Header.Get("X-SSE-Reconnect"))
	require.Equal(t, "event: message\nid: "+id+"-0\nretry: 3000\ndata: {\"type\":\"connect\",\"session_id\":\""+id+"\",\"reconnect\":false}", c.next())

	subscribe := `{"id":"` + id + `","method":"subscribe","params":{"contextIds":["` + ctxA.String() + `"]}}`
	requireAnswer(t, w.post(t, "/sse/subscription", subscribe), 200, `{"result":{"status":"subscribed","contexts":["`+ctxA.String()+`"]}}`)
	w.contexts.publish(mutationOf(ctxB))
	w.contexts.publish(mutationOf(ctxA))
	require.Equal(t, "event: message\nid: "+id+"-0\ndata: {\"result\":"+eventOf(ctxA)+"}", c.next())
	w.contexts.publish(mutationOf(ctxA))
	require.Contains(t, c.next(), "id: "+id+"-1\n")
	requireAnswer(t, w.get(t, "/sse/session/"+id), 200,
		`{"result":{"session_id":`+id+`,"subscriptions":["`+ctxA.String()+`"],"event_counter":2,"status":"active"}}`)

	// Opened again: the old stream ends, events come once.
	again := openSSE(t, w, id+"-7")
	require.Equal(t, id, again.resp.Header.Get("X-SSE-Session-ID"))
	require.Equal(t, "true", again.resp.Header.Get("X-SSE-Reconnect"))
	require.Contains(t, again.next(), `"reconnect":true`)
	require.True(t, c.ended())
	require.Eventually(t, func() bool { return w.contexts.subscribers() == 1 }, 10*time.Second, 5*time.Millisecond)
	w.contexts.publish(mutationOf(ctxA))
	w.contexts.publish(mutationOf(ctxA))
	require.Contains(t, again.next(), "id: "+id+"-2\n")
	require.Contains(t, again.next(), "id: "+id+"-3\n")

	requireAnswer(t, w.post(t, "/sse/subscription", `{"id":"`+id+`","method":"unsubscribe","params":{"contextIds":["`+ctxB.String()+`","`+ctxA.String()+`"]}}`),
		200, `{"result":{"status":"unsubscribed","unsubscribed":["`+ctxA.String()+`"],"requested":["`+ctxB.String()+`","`+ctxA.String()+`"]}}`)

	for body, want := range map[string]string{
		`{"id":"x","method":"subscribe","params":{"contextIds":[]}}`:         `{"error":"Invalid Session Id"}`,
		`{"id":"` + id + `","method":"y","params":{}}`:                       "{\"error\":{\"type\":\"ParseError\",\"data\":\"unknown variant `y`, expected `subscribe` or `unsubscribe`\"}}",
		`{"id":"` + id + `","method":"subscribe","params":{"contextIds":1}}`: "{\"error\":{\"type\":\"ParseError\",\"data\":\"invalid type: integer `1`, expected a sequence\"}}",
	} {
		requireAnswer(t, w.post(t, "/sse/subscription", body), 400, want)
	}
	requireAnswer(t, w.post(t, "/sse/subscription", `{"id":"1","method":"subscribe","params":{"contextIds":[]}}`), 404,
		`{"error":"Session not found. Please reconnect to SSE endpoint first."}`)
	require.Equal(t, 422, w.post(t, "/sse/subscription", `{"id":1}`).status)
	require.Equal(t, 415, w.do(t, http.MethodPost, "/sse/subscription", "", subscribe).status)
	requireAnswer(t, w.get(t, "/sse/session/1"), 404, `{"error":"Session not found"}`)
	require.Equal(t, 400, w.get(t, "/sse/session/x").status)
	require.Equal(t, 404, w.get(t, "/sse/").status)

	w.server.Close()
	require.True(t, again.ended())
}

// A session outlives the process; an expired one does not, and is removed.
func TestSSESessionsAreKept(t *testing.T) {
	t.Parallel()
	first := newWorld(t, allOn(), nil)
	c := openSSE(t, first, "")
	id := c.resp.Header.Get("X-SSE-Session-ID")
	subscribe := `{"id":"` + id + `","method":"subscribe","params":{"contextIds":["` + ctxA.String() + `"]}}`
	require.Equal(t, 200, first.post(t, "/sse/subscription", subscribe).status)
	c.next()
	first.contexts.publish(mutationOf(ctxA))
	c.next()
	first.server.Close()

	kept := api.StoredSessions(first.db)
	require.NoError(t, kept.Save(t.Context(), 7, []byte(`{"subscriptions":[],"event_counter":1,"last_activity":5}`)))
	require.NoError(t, kept.Save(t.Context(), 8, []byte(`{`)))
	second := newWorld(t, allOn(), func(d *api.Deps) { d.Sessions = kept })
	requireAnswer(t, second.get(t, "/sse/session/"+id), 200,
		`{"result":{"session_id":`+id+`,"subscriptions":["`+ctxA.String()+`"],"event_counter":1,"status":"persisted"}}`)
	requireAnswer(t, second.get(t, "/sse/session/7"), 410, `{"error":"Session expired"}`)
	requireAnswer(t, second.get(t, "/sse/session/8"), 500, `{"error":{"type":"InternalError","data":{}}}`)
	require.Equal(t, 404, second.post(t, "/sse/subscription", subscribe).status, "not opened in this process")
	c = openSSE(t, second, id+"-0")
	require.Equal(t, id, c.resp.Header.Get("X-SSE-Session-ID"))
	c.next()
	second.contexts.publish(mutationOf(ctxA))
	require.Contains(t, c.next(), "id: "+id+"-1\n")
	require.NotEqual(t, "7", openSSE(t, second, "7-0").resp.Header.Get("X-SSE-Session-ID"))
}

func TestSSEKeepAlive(t *testing.T) {
	t.Parallel()
	o := allOn()
	o.KeepAlive = 10 * time.Millisecond
	c := openSSE(t, newWorld(t, o, nil), "")
	c.next()
	require.Equal(t, ":", c.next())
}
