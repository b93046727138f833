package api_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

var quiet = slog.New(slog.DiscardHandler)

func TestListen(t *testing.T) {
	t.Parallel()
	open, err := api.Listen(t.Context(), []string{"127.0.0.1:0", "192.0.2.1:0"}, quiet)
	require.NoError(t, err, "an address this machine does not have is skipped")
	require.Len(t, open, 1)
	defer open[0].Close()
	address := open[0].Addr().String()
	_, err = api.Listen(t.Context(), []string{"127.0.0.1:0", address}, quiet)
	require.ErrorContains(t, err, "listen on "+address+": the port is in use")
	require.ErrorContains(t, err, "server.listen")
	_, err = api.Listen(t.Context(), []string{"192.0.2.1:0"}, quiet)
	require.ErrorContains(t, err, "listen on 192.0.2.1:0")
	_, err = api.Listen(t.Context(), nil, quiet)
	require.ErrorContains(t, err, "server.listen")
}

// serving runs Serve until stop is called, which waits.
func serving(t *testing.T, w *world) (stop func() error) {
	t.Helper()
	open, err := api.Listen(t.Context(), []string{"127.0.0.1:0", "127.0.0.1:0"}, quiet)
	require.NoError(t, err)
	w.url = "http://" + open[1].Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(ctx, open...) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { require.NoError(t, stop()) })
	return stop
}

// A request in flight gets its answer, streams end.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	w := newServer(t, allOn(), nil)
	entered, release := make(chan struct{}), make(chan struct{})
	w.contexts.get = func(domain.ContextID) (contexts.Info, error) {
		close(entered)
		<-release
		return contexts.Info{ID: ctxA}, nil
	}
	stop := serving(t, w)
	stream := openSSE(t, w, "")
	stream.next()
	got := make(chan answer, 1)
	go func() { got <- w.get(t, "/admin-api/contexts/"+ctxA.String()) }()
	<-entered
	done := make(chan error, 1)
	go func() { done <- stop() }()
	require.True(t, stream.ended())
	close(release)
	require.Equal(t, 200, (<-got).status)
	require.NoError(t, <-done)
}

// A request that does not end is cut off after the bound, and its context ends.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	o := allOn()
	o.ShutdownTimeout = 50 * time.Millisecond
	w := newServer(t, o, nil)
	entered := make(chan struct{})
	w.contexts.execute = func(ctx context.Context, _ contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	stop := serving(t, w)
	failed := make(chan error, 1)
	go func() {
		resp, err := client.Post(w.url+"/jsonrpc", jsonType, strings.NewReader(call(`{}`)))
		if err == nil {
			err = resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	require.NoError(t, stop())
	require.Error(t, <-failed)
}

// A client that leaves ends its call.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	w := newServer(t, allOn(), nil)
	entered, left := make(chan struct{}), make(chan struct{})
	w.contexts.execute = func(ctx context.Context, _ contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
		close(entered)
		<-ctx.Done()
		close(left)
		return nil, ctx.Err()
	}
	serving(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/jsonrpc", strings.NewReader(call(`{}`)))
	require.NoError(t, err)
	req.Header.Set("Content-Type", jsonType)
	go func() {
		<-entered
		cancel()
	}()
	resp, err := client.Do(req)
	if err == nil {
		require.NoError(t, resp.Body.Close())
	}
	require.ErrorIs(t, err, context.Canceled)
	<-left
}

// A body that does not come is not waited for, but a call may take longer than a body may.
func TestBodyTimeout(t *testing.T) {
	t.Parallel()
	o := allOn()
	o.BodyTimeout = 250 * time.Millisecond
	w := newServer(t, o, nil)
	w.contexts.execute = func(ctx context.Context, _ contexts.ExecuteRequest) (*contexts.ExecuteResponse, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * o.BodyTimeout):
			return &contexts.ExecuteResponse{Output: []byte("1")}, nil
		}
	}
	serving(t, w)
	requireAnswer(t, w.post(t, "/jsonrpc", call(`{}`)), 200, `{"jsonrpc":"2.0","id":1,"result":{"output":1}}`)

	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(w.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}
