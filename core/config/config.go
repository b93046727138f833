// Package config reads the node's configuration: config.hcl, which names the plugins and all settings, and the
// config.toml in the node's home, which scripts and harnesses write and whose values win. Every error names file, line,
// column and the fix, and all are reported at once. Loading opens no port and starts no process.
package config

import (
	"path/filepath"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Version is the version of config.hcl that this build reads.
const Version = 1

// File names: LockName beside config.hcl, NodeFileName in the node's folder.
const (
	FileName     = "config.hcl"
	LockName     = "plugins.lock"
	NodeFileName = "config.toml"
)

// NoAuth is the value of server.auth that lets everybody in.
const NoAuth = "none"

// Config is the whole configuration with defaults filled in. It is not changed after Load.
type Config struct {
	// Path is the absolute path of config.hcl, Dir its folder: relative paths in it start there.
	Path, Dir string

	Node      Node
	Server    Server
	Execution Execution
	Network   Network
	Sync      Sync
	Store     Store
	Log       Log
	Metrics   Metrics
	// Plugins in the order of the file.
	Plugins []*Plugin

	ranges map[string]hcl.Range
	files  map[string]*hcl.File
}

// Node is the node's identity on this machine. Its data lie in Home/Name.
type Node struct {
	Name string
	// Home is absolute.
	Home string
	// ReadOnly refuses JSON-RPC (config.toml mode = "readonly").
	ReadOnly bool
	// Identity is nil when there is no config.toml or it has none.
	Identity *Identity
	// Blobs is the absolute path of the blob files, Data that of the storage plugin.
	Blobs, Data string
}

// Server is the HTTP server.
type Server struct {
	// Listen are host:port with numeric addresses; port 0 takes a free one.
	Listen []string
	// Auth is NoAuth or the name of an auth plugin.
	Auth string
	// BehindProxy says that a reverse proxy authenticates, which allows NoAuth on any address.
	BehindProxy bool
	// Admin, JSONRPC, WebSocket, SSE switch the APIs.
	Admin, JSONRPC, WebSocket, SSE bool
	// WebSocketPing is the interval of pings, 0 = none; WebSocketPong how long to wait for the answer.
	WebSocketPing, WebSocketPong time.Duration
	// MaxBody bounds request bodies except blobs and wasm, MaxUpload those, in bytes.
	MaxBody, MaxUpload uint64
	// ReadHeaderTimeout, IdleTimeout of connections; ShutdownTimeout for requests in flight at the end.
	ReadHeaderTimeout, IdleTimeout, ShutdownTimeout time.Duration
	// CORSOrigins are the allowed origins, "*" for all; none = no CORS headers.
	CORSOrigins []string
}

// Execution bounds the runs of applications.
type Execution struct {
	// Deadline of one execution.
	Deadline time.Duration
	// Fuel is the instruction budget of one execution.
	Fuel uint64
	// MemoryPages caps one instance, in 64 KiB pages. All together are bounded by the runtime plugin's own setting.
	MemoryPages uint32
	// Lanes is the number of parallel executions; 0 = two per CPU.
	Lanes int
	// AllowUnmetered starts with a runtime that can neither count instructions nor stop a guest in time.
	AllowUnmetered bool
	// MaxModule is the largest wasm module in bytes.
	MaxModule uint64
	// XCall says which contexts a method may call: XCallAny, XCallSameApplication, XCallOff.
	XCall string
	// XCallDepth bounds a chain of calls, XCallCount all calls of one request.
	XCallDepth, XCallCount int
	// Limits has every field set.
	Limits runtime.Limits
}

// Values of Execution.XCall.
const (
	XCallAny             = "any"
	XCallSameApplication = "same_application"
	XCallOff             = "off"
)

// Store is the core's cache of hot rows over the storage plugin, in bytes.
type Store struct {
	CacheBytes uint64
}

// Log is the node's own log.
type Log struct {
	// Level is trace, debug, info, warn or error; Format is text or json.
	Level, Format string
}

// Metrics is the Prometheus endpoint.
type Metrics struct {
	Enabled bool
}

// Default is a configuration without plugins, with all defaults, based on the working folder dir (absolute).
func Default(dir string) *Config {
	c := &Config{
		Dir:  dir,
		Node: Node{Name: "node", Home: filepath.Join(dir, ".calimero")},
		Server: Server{
			Listen: []string{"127.0.0.1:2528", "[::1]:2528"}, Auth: NoAuth,
			Admin: true, JSONRPC: true, WebSocket: true, SSE: true,
			WebSocketPing: 30 * time.Second, WebSocketPong: 10 * time.Second,
			MaxBody: 16 << 20, MaxUpload: 1 << 30,
			ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ShutdownTimeout: 15 * time.Second,
			CORSOrigins: []string{"*"},
		},
		Execution: Execution{
			Deadline: 30 * time.Second, Fuel: 100_000_000_000, MemoryPages: 4096,
			MaxModule: 10 << 20, XCall: XCallAny, XCallDepth: 8, XCallCount: 100, Limits: runtime.DefaultLimits(),
		},
		Network: defaultNetwork(),
		Sync:    defaultSync(),
		Store:   Store{CacheBytes: 16 << 20},
		Log:     Log{Level: "info", Format: "text"},
		Metrics: Metrics{Enabled: true},
		ranges:  map[string]hcl.Range{},
		files:   map[string]*hcl.File{},
	}
	return c
}

// NodeDir is the folder of this node: Home/Name.
func (c *Config) NodeDir() string { return filepath.Join(c.Node.Home, c.Node.Name) }

// LockPath is where plugins.lock lies.
func (c *Config) LockPath() string { return filepath.Join(c.Dir, LockName) }

// Plugin finds the block of a kind and name; an empty name takes the only or first block of the kind. It is nil when
// there is none.
func (c *Config) Plugin(kind, name string) *Plugin {
	for _, p := range c.Plugins {
		if p.Kind == kind && (name == "" || p.Name == name) {
			return p
		}
	}
	return nil
}

// DataDir is the folder that belongs to a plugin: data (datastore.path) for storage, auth for auth, else
// plugins/<kind>-<name> in the node's folder.
func (c *Config) DataDir(p *Plugin) string {
	switch p.Kind {
	case "storage":
		return c.Node.Data
	case "auth":
		return filepath.Join(c.NodeDir(), "auth")
	}
	return filepath.Join(c.NodeDir(), "plugins", p.Kind+"-"+p.Name)
}

// diagnostics are list with the sources of c.
func (c *Config) diagnostics(list hcl.Diagnostics) Diagnostics {
	return Diagnostics{list: list, files: c.files}
}
