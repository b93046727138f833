// Package serve is the whole main function of a plugin:
//
//	func main() { serve.Storage(mystore.New) }
//
// It makes the JSON logger that the host reads (hclog.Default and package log write to it), answers the handshake with
// mutual TLS, bounds message sizes, closes the plugin once, in good order, when the host asks, when a signal arrives
// or when the host is gone, and ends the process.
package serve

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/handshake"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

const (
	// closeTime is what a plugin gets to close itself after a signal or when its host is gone.
	closeTime = 30 * time.Second
	// lateCloseTime is what it gets when the host stopped the server without calling Close; the host kills the process
	// two seconds after that.
	lateCloseTime = 1500 * time.Millisecond
)

// Option changes how a plugin is served.
type Option func(*options)

type options struct {
	server []grpc.ServerOption
}

// WithServerOptions adds gRPC server options (interceptors, stats handlers) after those of package handshake.
func WithServerOptions(o ...grpc.ServerOption) Option {
	return func(opts *options) { opts.server = append(opts.server, o...) }
}

// Storage serves a storage plugin; it returns when the process may end.
func Storage(factory func() storage.Plugin, opts ...Option) { Serve(storage.Wire, factory, opts...) }

// Auth serves an auth plugin; it returns when the process may end.
func Auth(factory func() auth.Plugin, opts ...Option) { Serve(auth.Wire, factory, opts...) }

// Runtime serves a runtime plugin; it returns when the process may end.
func Runtime(factory func() runtime.Plugin, opts ...Option) { Serve(runtime.Wire, factory, opts...) }

// Serve serves a plugin of any kind; it returns when the process may end. A process that no host started is told so
// and exits with status 1.
func Serve[P base.Plugin](wire base.Wire[P], factory func() P, opts ...Option) {
	var o options
	for _, f := range opts {
		f(&o)
	}
	if os.Getenv(handshake.Config.MagicCookieKey) != handshake.Config.MagicCookieValue {
		fail("%s is a %s plugin of a Calimero node and is not run by hand: name it in a plugin block of config.hcl",
			os.Args[0], wire.Kind)
	}
	survivePipes()
	logger := newLogger(wire.Kind)
	identity, tlsConfig, err := newTLS()
	if err != nil {
		fail("start %s plugin: %v", wire.Kind, err)
	}
	lost, err := watchHost(logger)
	if err != nil {
		fail("start %s plugin: %v", wire.Kind, err)
	}
	if err := certifyHandshake(identity); err != nil {
		fail("start %s plugin: %v", wire.Kind, err)
	}

	var server *base.Server
	var rpc *grpc.Server
	plugins := wire.ServerPlugins(factory(), func(s *base.Server) {
		server = s
		go closeOn(s, rpc, lost, logger)
	})
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  handshake.Config,
		VersionedPlugins: plugins,
		TLSProvider:      tlsConfig,
		Logger:           logger,
		GRPCServer: func(s []grpc.ServerOption) *grpc.Server {
			rpc = grpc.NewServer(append(append(s, handshake.ServerOptions()...), o.server...)...)
			return rpc
		},
	})
	if server == nil {
		os.Exit(1) // go-plugin has logged why
	}
	ctx, cancel := context.WithTimeout(context.Background(), lateCloseTime)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		logger.Error("close plugin", "error", err)
		cancel()
		os.Exit(1)
	}
}

// closeOn closes the plugin and stops its server, which ends Serve and removes the socket, when a signal arrives or the
// host is gone. A second signal ends the process at once.
func closeOn(s *base.Server, rpc *grpc.Server, lost <-chan string, logger hclog.Logger) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	var why string
	select {
	case sig := <-signals:
		why = fmt.Sprintf("signal %v", sig)
	case why = <-lost:
	}
	logger.Info("closing", "reason", why)
	go func() {
		<-signals
		os.Exit(1)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		logger.Error("close plugin", "reason", why, "error", err)
	}
	rpc.Stop()
}

// survivePipes keeps a write to a log that nobody reads any more from ending the process before it is closed: without a
// receiver, Go dies of SIGPIPE on stdout and stderr.
func survivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// newLogger makes the logger before go-plugin redirects os.Stderr, and makes it the default one.
func newLogger(kind string) hclog.Logger {
	level := hclog.LevelFromString(os.Getenv(handshake.EnvLogLevel))
	if level == hclog.NoLevel {
		level = hclog.Info
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: kind, Level: level, Output: os.Stderr, JSONFormat: true})
	hclog.SetDefault(logger)
	log.SetFlags(0)
	log.SetOutput(logger.StandardWriter(&hclog.StandardLoggerOptions{InferLevels: true}))
	return logger
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
