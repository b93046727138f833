// Package sdktest runs a plugin at three heights: linked in process, behind gRPC over a real socket with mutual TLS in
// the same process, and as a child process launched the way a node does it. Conformance kits run the same suite at each
// height:
//
//	for _, h := range sdktest.Heights(storage.Wire, mystore.New, sdktest.Reexec("mystore")) {
//		t.Run(h.Name, func(t *testing.T) { storagetest.Run(t, h.New) })
//	}
package sdktest

import (
	"testing"

	"google.golang.org/grpc"

	"github.com/calimero-go/core/plugin-sdk/base"
)

// Names of the heights.
const (
	HeightInProcess = "in process"
	HeightGRPC      = "over grpc"
	HeightChild     = "child process"
)

// Height is one way to reach a plugin.
type Height[P base.Plugin] struct {
	Name string
	// New starts a plugin that is not configured yet. What New started is ended with tb, the plugin's Close is the
	// caller's. Several may live at once.
	New func(tb testing.TB) P
}

// Heights are all three of them.
func Heights[P base.Plugin](wire base.Wire[P], factory func() P, child Child, opts ...Option) []Height[P] {
	return []Height[P]{
		{Name: HeightInProcess, New: func(testing.TB) P { return factory() }},
		{Name: HeightGRPC, New: func(tb testing.TB) P { return OverGRPC(tb, wire, factory(), opts...) }},
		{Name: HeightChild, New: func(tb testing.TB) P { return Start(tb, wire, child, opts...).Plugin }},
	}
}

// Option changes how a harness connects.
type Option func(*options)

type options struct {
	dial   []grpc.DialOption
	server []grpc.ServerOption
	env    []string
	name   string
}

// WithDialOptions adds gRPC options (interceptors, stats handlers) to the host's end.
func WithDialOptions(o ...grpc.DialOption) Option {
	return func(opts *options) { opts.dial = append(opts.dial, o...) }
}

// WithServerOptions adds gRPC options to the plugin's end, over gRPC in process only: a child process has its own main.
func WithServerOptions(o ...grpc.ServerOption) Option {
	return func(opts *options) { opts.server = append(opts.server, o...) }
}

// WithEnv adds `NAME=value` to the environment of a child process.
func WithEnv(env ...string) Option {
	return func(opts *options) { opts.env = append(opts.env, env...) }
}

// WithName sets the name that errors call the plugin by; "test" if unset.
func WithName(name string) Option {
	return func(opts *options) { opts.name = name }
}

func apply(opts []Option) options {
	o := options{name: "test"}
	for _, f := range opts {
		f(&o)
	}
	return o
}
