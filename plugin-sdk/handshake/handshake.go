// Package handshake is what the host and a plugin process must agree on before the first call: the go-plugin cookie,
// names of environment variables, the certificates of both ends, message sizes, and the pipe by which a plugin notices
// that its host is gone.
package handshake

import (
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Config is the go-plugin handshake of all kinds. Versions are negotiated through VersionedPlugins.
var Config = goplugin.HandshakeConfig{
	MagicCookieKey:   "CALIMERO_PLUGIN",
	MagicCookieValue: "6b1d5a0e-calimero-node-plugin",
}

// Environment of a plugin process, besides what go-plugin sets.
const (
	// EnvHostCert holds the host's certificate in PEM, as go-plugin's AutoMTLS passes it. It is required.
	EnvHostCert = "PLUGIN_CLIENT_CERT"
	// EnvLifeline is the number of the file descriptor whose end of file means that the host is gone.
	EnvLifeline = "CALIMERO_PLUGIN_LIFELINE"
	// EnvLogLevel is the lowest level logged: trace, debug, info, warn, error; info if unset.
	EnvLogLevel = "CALIMERO_PLUGIN_LOG_LEVEL"
)

const (
	// MaxMessage is the largest gRPC message in bytes, in both directions and on both ends.
	MaxMessage = 16 << 20
	// SoftMessage is the size in bytes at which senders start a new message where the protocol allows it.
	SoftMessage = 1 << 20
)

// Windows of HTTP/2 flow control in bytes. They are fixed: gRPC otherwise finds them by a ping and a window update with
// every message, which doubles the wake-ups of a call. They bound what a process buffers of one stream and of all.
const (
	streamWindow = 1 << 20
	connWindow   = 8 << 20
)

// ServerOptions are those of every gRPC server of a plugin.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow)}
}

// DialOptions are those of every connection to a plugin; the host puts them into ClientConfig.GRPCDialOptions, with its
// interceptors and stats handlers after them.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow),
	}
}
