package sdktest

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/handshake"
)

// OverGRPC serves p on a unix socket with the options, limits and mutual TLS of a real plugin and returns the host's
// end, which speaks the highest version of the protocol. Both ends, without p itself, are gone at the end of tb.
func OverGRPC[P base.Plugin](tb testing.TB, wire base.Wire[P], p P, opts ...Option) P {
	tb.Helper()
	o := apply(opts)
	number := 0
	for n := range wire.Versions {
		number = max(number, n)
	}
	version := wire.Versions[number]

	host, err := handshake.NewIdentity()
	require.NoError(tb, err)
	plugin, err := handshake.NewIdentity()
	require.NoError(tb, err)
	serverTLS, err := plugin.PluginTLS(host.PEM())
	require.NoError(tb, err)
	clientTLS := host.HostTLS()
	clientTLS.RootCAs.AddCert(plugin.Leaf())

	socket := filepath.Join(socketDir(tb), "plugin")
	listener, err := net.Listen("unix", socket)
	require.NoError(tb, err)
	server := grpc.NewServer(slices.Concat(
		[]grpc.ServerOption{grpc.Creds(credentials.NewTLS(serverTLS))}, handshake.ServerOptions(), o.server)...)
	version.Register(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	conn, err := grpc.NewClient("passthrough:plugin", slices.Concat([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(clientTLS)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}),
	}, handshake.DialOptions(), o.dial)...)
	require.NoError(tb, err)
	gone, died := context.WithCancel(context.Background())
	tb.Cleanup(func() {
		if err := conn.Close(); err != nil {
			tb.Errorf("close the connection to the plugin: %v", err)
		}
		server.Stop()
		died()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Errorf("serve the plugin: %v", err)
		}
	})
	return version.Client(base.Link{Conn: conn, Gone: gone, Name: base.Label(wire.Kind, o.name)})
}

// socketDir is a folder with a short path: a unix socket's may have about a hundred bytes.
func socketDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "p")
	require.NoError(tb, err)
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("remove the socket's folder: %v", err)
		}
	})
	return dir
}
