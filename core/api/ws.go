package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/contexts"
)

const (
	// maxFrame bounds what a client sends at once: a request of schema.MaxSubscribe contexts fits.
	maxFrame = 64 << 10
	// replyQueue is how many replies may wait before the client is not listened to any more.
	replyQueue = 32
)

var errPingTimeout = errors.New("Ping timeout") //nolint:staticcheck // the close frame's text

// socket serves a WebSocket: subscribe and unsubscribe, and events of the contexts subscribed to (http-api.md §3.1).
func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	if why := notUpgrade(r); why != "" {
		failText(w, http.StatusBadRequest, "Invalid WebSocket upgrade request: "+why)
		return
	}
	ctx, end, leave, ok := s.streams.enter(r.Context())
	if !ok {
		tooManyStreams(w)
		return
	}
	defer leave()
	conn, err := websocket.Accept(w, r, s.socketOptions())
	if err != nil { // it answered
		s.log.Debug("WebSocket was not opened", "error", err)
		return
	}
	defer func() { _ = conn.CloseNow() }() // it may be closed already
	conn.SetReadLimit(maxFrame)
	c := &socketConn{
		s: s, ctx: ctx, end: end, conn: conn, wanted: newSubscriptions(nil), replies: make(chan []byte, replyQueue),
	}
	c.run()
}

func notUpgrade(r *http.Request) string {
	has := func(header, token string) bool {
		return slices.ContainsFunc(strings.Split(strings.Join(r.Header.Values(header), ","), ","), func(part string) bool {
			return strings.EqualFold(strings.TrimSpace(part), token)
		})
	}
	switch {
	case !has("Connection", "upgrade"):
		return "`Connection` header did not include 'upgrade'"
	case !has("Upgrade", "websocket"):
		return "`Upgrade` header did not include 'websocket'"
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return "`Sec-WebSocket-Version` header did not include '13'"
	case r.Header.Get("Sec-WebSocket-Key") == "":
		return "`Sec-WebSocket-Key` header missing"
	}
	return ""
}

func tooManyStreams(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	failText(w, http.StatusServiceUnavailable, "too many open streams, or the node stops; try again")
}

// socketOptions lets pages of those origins in that may call the API.
func (s *Server) socketOptions() *websocket.AcceptOptions {
	o := &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled}
	for _, origin := range s.opts.CORSOrigins {
		if origin == "*" {
			o.InsecureSkipVerify = true
		} else if u, err := url.Parse(origin); err == nil && u.Host != "" {
			o.OriginPatterns = append(o.OriginPatterns, u.Host)
		}
	}
	return o
}

// socketConn is one connection. One goroutine reads, one writes, one pings.
type socketConn struct {
	s       *Server
	ctx     context.Context
	end     context.CancelCauseFunc
	conn    *websocket.Conn
	wanted  *subscriptions
	replies chan []byte
}

// run serves the connection until it ends.
func (c *socketConn) run() {
	events, unsubscribe := c.s.deps.Contexts.Subscribe(c.ctx)
	defer unsubscribe()
	var wg sync.WaitGroup
	wg.Go(func() { c.end(c.write(events)) })
	if c.s.opts.PingInterval > 0 {
		wg.Go(func() { c.end(c.ping()) })
	}
	wg.Go(func() { c.end(c.read()) })
	<-c.ctx.Done()
	c.close(context.Cause(c.ctx))
	wg.Wait()
}

// close says why, if there is something to say, and ends reader and writer.
func (c *socketConn) close(cause error) {
	var err error
	switch {
	case errors.Is(cause, errPingTimeout):
		err = c.conn.Close(websocket.StatusProtocolError, errPingTimeout.Error())
	case errors.Is(cause, errStopping):
		err = c.conn.Close(websocket.StatusGoingAway, errStopping.Error())
	case websocket.CloseStatus(cause) == -1:
		err = c.conn.Close(websocket.StatusPolicyViolation, "")
	}
	c.s.log.Debug("WebSocket ended", "cause", cause, "error", err)
	if err := c.conn.CloseNow(); err != nil {
		c.s.log.Debug("WebSocket was closed before", "error", err)
	}
}

func (c *socketConn) send(frame []byte) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.s.opts.WriteTimeout)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, frame)
}

func (c *socketConn) write(events <-chan contexts.StateMutation) error {
	for {
		select {
		case <-c.ctx.Done():
			return c.ctx.Err()
		case frame := <-c.replies:
			if err := c.send(frame); err != nil {
				return err
			}
		case m, ok := <-events:
			if !ok {
				return errStopping
			}
			if !c.wanted.has(m.Context) || !c.s.deps.MaySubscribe(c.ctx, m.Context) {
				continue
			}
			frame, err := schema.Encode(schema.SocketResponse{Result: mutation(m)})
			if err != nil {
				return fmt.Errorf("write event: %w", err)
			}
			if err := c.send(frame); err != nil {
				return err
			}
		}
	}
}

func (c *socketConn) ping() error {
	t := time.NewTicker(c.s.opts.PingInterval)
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-t.C:
		}
		// Not with c.ctx, as with reading. close ends it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), c.s.opts.PongTimeout)
		err := c.conn.Ping(ctx)
		cancel()
		if err != nil {
			if c.ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				return errPingTimeout
			}
			return err
		}
	}
}

func (c *socketConn) read() error {
	for {
		// Not with c.ctx: its end would drop the connection before the close frame.
		kind, frame, err := c.conn.Read(context.Background())
		if err != nil {
			return err
		}
		if kind != websocket.MessageText {
			continue
		}
		reply, err := c.handle(frame)
		if err != nil {
			return err
		}
		if reply == nil {
			continue
		}
		select {
		case c.replies <- reply:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}

// handle answers a request; nil when it is ignored.
func (c *socketConn) handle(frame []byte) ([]byte, error) {
	id, err := schema.DecodeSocket(frame)
	if err != nil {
		c.s.log.Debug("WebSocket frame ignored", "error", err)
		return nil, nil
	}
	answer := schema.SocketResponse{ID: id}
	sub, err := schema.ReadSubscription(frame)
	switch {
	case err != nil:
		answer.Error = schema.ParseError(err.Error())
	case sub.Method == "unsubscribe":
		c.wanted.remove(sub.Contexts)
		answer.Result = schema.ContextIDs{ContextIDs: sub.Contexts}
	default:
		if fault := c.s.subscribe(c.ctx, c.wanted, sub); fault != "" {
			answer.Error = fault
		} else {
			answer.Result = schema.ContextIDs{ContextIDs: sub.Contexts}
		}
	}
	return schema.Encode(answer)
}

// subscribe adds contexts, or says why not.
func (s *Server) subscribe(ctx context.Context, to *subscriptions, sub schema.Subscription) string {
	for _, id := range sub.Contexts {
		if !s.deps.MaySubscribe(ctx, id) {
			return fmt.Sprintf("permission denied: the token does not allow to see context %s", id)
		}
	}
	if !to.add(sub.Contexts) {
		return fmt.Sprintf("too many contexts: at most %d", maxSubscriptions)
	}
	return ""
}
