package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// Listen opens listeners on addresses of the form host:port. An address that this machine does not have, as [::1]
// without IPv6, is skipped with a warning if another one could be opened; a port in use is always an error, as the
// clients of the other program would be ours.
func Listen(ctx context.Context, addresses []string, log *slog.Logger) ([]net.Listener, error) {
	var open []net.Listener
	var failed []error
	var lc net.ListenConfig
	for _, address := range addresses {
		l, err := lc.Listen(ctx, "tcp", address)
		switch {
		case err == nil:
			open = append(open, l)
			continue
		case errors.Is(err, syscall.EADDRINUSE):
			closeAll(open, log)
			return nil, fmt.Errorf("listen on %s: the port is in use by another node or program: stop it, or choose "+
				"another port in server.listen (0 takes a free one)", address)
		case errors.Is(err, syscall.EACCES):
			err = fmt.Errorf("%w: ports below 1024 need a privilege; choose a higher one in server.listen", err)
		}
		failed = append(failed, fmt.Errorf("listen on %s: %w", address, err))
	}
	if len(open) == 0 {
		if len(failed) == 0 {
			return nil, errors.New("no address to listen on: set server.listen")
		}
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		log.Warn("address skipped", "error", err)
	}
	return open, nil
}

func closeAll(open []net.Listener, log *slog.Logger) {
	for _, l := range open {
		if err := l.Close(); err != nil {
			log.Warn("listener cannot be closed", "address", l.Addr(), "error", err)
		}
	}
}

// Serve serves on the listeners and closes them. When ctx ends it takes no more requests, ends the streams, lets requests
// in flight finish within ShutdownTimeout, then cuts the rest off, and returns nil. It returns earlier, with the error,
// when a listener fails. It must be called once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	base, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	server := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: s.opts.ReadHeaderTimeout, IdleTimeout: s.opts.IdleTimeout,
		MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, len(listeners)+1)
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() {
			err := server.Serve(netutil.LimitListener(l, s.opts.MaxConnections))
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve on %s: %w", l.Addr(), err)
			}
		})
	}
	wg.Go(func() {
		if err := s.sse.sweep(base); err != nil && base.Err() == nil {
			s.log.Warn("old SSE sessions stay", "error", err)
		}
	})
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.shutdown(server, cut)
	wg.Wait()
	return err
}

func (s *Server) shutdown(server *http.Server, cut context.CancelCauseFunc) {
	bound, cancel := context.WithTimeout(context.Background(), s.opts.ShutdownTimeout)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.streams.close()
	}()
	start := time.Now()
	if err := server.Shutdown(bound); err != nil {
		s.log.Warn("requests in flight are cut off", "after", time.Since(start), "error", err)
		cut(errStopping)
		if err := server.Close(); err != nil {
			s.log.Warn("server cannot be closed", "error", err)
		}
	}
	<-ended
	cut(errStopping)
}
