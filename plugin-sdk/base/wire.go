package base

import (
	"context"
	"fmt"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// Wire is how a kind of plugin travels over gRPC: what serve, the test harness and the host need to know of it.
type Wire[P Plugin] struct {
	// Kind is the kind's name; the go-plugin set has one entry under it.
	Kind string
	// Versions are the protocol versions this build speaks.
	Versions map[int]Version[P]
}

// Version is one version of a kind's protocol.
type Version[P Plugin] struct {
	// Register adds the services of the kind and of base to a server.
	Register func(s grpc.ServiceRegistrar, p P) *Server
	// Client makes the host's end.
	Client func(l Link) P
}

// HostPlugins is the host's VersionedPlugins; Dispense(Kind) returns a P. Errors call the plugin by its name in the
// config file.
func (w Wire[P]) HostPlugins(name string) map[int]goplugin.PluginSet {
	sets := make(map[int]goplugin.PluginSet, len(w.Versions))
	for number, v := range w.Versions {
		sets[number] = goplugin.PluginSet{w.Kind: &hostPlugin[P]{client: v.Client, label: Label(w.Kind, name)}}
	}
	return sets
}

// ServerPlugins is the plugin's VersionedPlugins. registered gets the base server of the version that was negotiated.
func (w Wire[P]) ServerPlugins(p P, registered func(*Server)) map[int]goplugin.PluginSet {
	sets := make(map[int]goplugin.PluginSet, len(w.Versions))
	for number, v := range w.Versions {
		sets[number] = goplugin.PluginSet{w.Kind: &serverPlugin[P]{register: v.Register, impl: p, registered: registered}}
	}
	return sets
}

// Label is how errors call a plugin, for Link.Name.
func Label(kind, name string) string { return fmt.Sprintf("%s plugin %q", kind, name) }

type hostPlugin[P Plugin] struct {
	goplugin.NetRPCUnsupportedPlugin
	client func(Link) P
	label  string
}

func (*hostPlugin[P]) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return fmt.Errorf("serve a plugin: this set is the host's")
}

// GRPCClient gets a context that ends with the process.
func (h *hostPlugin[P]) GRPCClient(gone context.Context, _ *goplugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return h.client(Link{Conn: c, Gone: gone, Name: h.label}), nil
}

type serverPlugin[P Plugin] struct {
	goplugin.NetRPCUnsupportedPlugin
	register   func(grpc.ServiceRegistrar, P) *Server
	impl       P
	registered func(*Server)
}

func (s *serverPlugin[P]) GRPCServer(_ *goplugin.GRPCBroker, g *grpc.Server) error {
	s.registered(s.register(g, s.impl))
	return nil
}

func (*serverPlugin[P]) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("connect to a plugin: this set is the plugin's")
}
