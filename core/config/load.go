package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/runtime"
)

const maxFile = 256 << 10 // bytes of a configuration file

// Option changes what Load does.
type Option func(*options)

type options struct {
	home, node string
}

// WithHome puts home in place of node.home; a relative path starts at the working folder. Empty changes nothing.
func WithHome(home string) Option { return func(o *options) { o.home = home } }

// WithNode puts name in place of node.name. Empty changes nothing.
func WithNode(name string) Option { return func(o *options) { o.node = name } }

// Load reads config.hcl at path and, if the node's folder has one, config.toml, whose values win. The configuration is
// nil if there are errors; warnings come with it.
func Load(path string, opts ...Option) (*Config, Diagnostics) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, failure("Configuration not found", "Find %s: %v.", path, err)
	}
	src, err := readFile(absolute)
	if err != nil {
		return nil, failure("Configuration not readable",
			"Read the configuration: %v. Name another file with --config, or make one with merod init.", err)
	}
	return load(absolute, path, src, opts)
}

// Check reads the configuration at path as Load does, for its complaints alone.
func Check(path string, opts ...Option) Diagnostics {
	_, diags := Load(path, opts...)
	return diags
}

// Parse reads src as if it were the file name (an absolute path); diagnostics call it shown. It reads no file but the
// node's config.toml.
func Parse(name, shown string, src []byte, opts ...Option) (*Config, Diagnostics) {
	return load(name, shown, src, opts)
}

func load(absolute, shown string, src []byte, opts []Option) (*Config, Diagnostics) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	c, diags := parse(absolute, shown, src)
	diags = diags.and(c.override(o))
	c.Node.Data, c.Node.Blobs = filepath.Join(c.NodeDir(), "data"), filepath.Join(c.NodeDir(), "blobs")
	if !diags.HasErrors() {
		diags = diags.and(c.overlayNodeFile())
	}
	if !diags.HasErrors() {
		diags = diags.and(c.check())
	}
	if diags.HasErrors() {
		return nil, diags
	}
	return c, diags
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes; a configuration file may have %d", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// parse decodes config.hcl; the result is never nil.
func parse(absolute, shown string, src []byte) (*Config, Diagnostics) {
	c := Default(filepath.Dir(absolute))
	c.Path = absolute
	if len(src) > maxFile {
		return c, failure("Configuration too large", "%s has %d bytes; a configuration file may have %d.", shown, len(src), maxFile)
	}
	if err := boundNesting(src); err != nil {
		return c, failure("Configuration refused", "%s: %v.", shown, err)
	}
	if err := boundNumbers(src, shown); err != nil {
		return c, failure("Configuration refused", "%s: %v.", shown, err)
	}
	parser := hclparse.NewParser()
	file, diags := parser.ParseHCL(src, shown)
	c.files[shown] = &hcl.File{Bytes: src}
	if file == nil {
		return c, c.diagnostics(diags)
	}
	c.files[shown] = &hcl.File{Bytes: src, Nav: file.Nav}
	d := &decoder{ranges: c.ranges, diags: diags}
	c.decode(d, file.Body)
	return c, c.diagnostics(d.diags)
}

// boundNesting refuses texts on which a recursive parser would take too much stack.
func boundNesting(src []byte) error {
	const most = 200
	depth, operators, questions := 0, 0, 0
	for _, b := range src {
		switch b {
		case '{', '[', '(':
			depth++
		case '}', ']', ')':
			depth = max(0, depth-1)
		case '?':
			questions++
		}
		switch b {
		case '!', '-':
			operators++
		case ' ', '\t', '\n', '\r':
		default:
			operators = 0
		}
		if depth > most || operators > most || questions > 5*most {
			return fmt.Errorf("expressions are nested more than %d deep", most)
		}
	}
	return nil
}

// boundNumbers refuses numbers that hcl, which has arbitrary precision, would take long to read.
func boundNumbers(src []byte, shown string) error {
	tokens, _ := hclsyntax.LexConfig(src, shown, hcl.InitialPos) // the parser reports what is wrong
	for _, t := range tokens {
		if t.Type != hclsyntax.TokenNumberLit {
			continue
		}
		_, exponent, _ := strings.Cut(strings.ToLower(string(t.Bytes)), "e")
		if len(t.Bytes) > 64 || len(exponent) > 4 {
			return fmt.Errorf("the number on line %d is too large", t.Range.Start.Line)
		}
	}
	return nil
}

func (c *Config) decode(d *decoder, body hcl.Body) {
	d.body("", body, []field{
		{name: "version", required: true, read: func(v cty.Value) error {
			n, err := wholeNumber(v, 0, math.MaxUint32)
			if err != nil {
				return err
			}
			if n != Version {
				return fmt.Errorf("this build reads version %d of the configuration; the file has version %d", Version, n)
			}
			return nil
		}},
	}, []child{
		{name: "node", read: func(b *hcl.Block) { c.decodeNode(d, b) }},
		{name: "server", read: func(b *hcl.Block) { c.decodeServer(d, b) }},
		{name: "execution", read: func(b *hcl.Block) { c.decodeExecution(d, b) }},
		{name: "network", read: func(b *hcl.Block) { c.decodeNetwork(d, b) }},
		{name: "sync", read: func(b *hcl.Block) { c.decodeSync(d, b) }},
		{name: "store", read: func(b *hcl.Block) {
			d.body("store", b.Body, []field{size("cache", &c.Store.CacheBytes, 64<<10, 1<<40)}, nil)
		}},
		{name: "log", read: func(b *hcl.Block) {
			d.body("log", b.Body, []field{
				text("level", &c.Log.Level, oneOf("trace", "debug", "info", "warn", "error")),
				text("format", &c.Log.Format, oneOf("text", "json")),
			}, nil)
		}},
		{name: "metrics", read: func(b *hcl.Block) {
			d.body("metrics", b.Body, []field{boolean("enabled", &c.Metrics.Enabled)}, nil)
		}},
		{name: "plugin", labels: []string{"kind", "name"}, many: true, read: func(b *hcl.Block) { c.decodePlugin(d, b) }},
	})
}

func (c *Config) decodeNode(d *decoder, b *hcl.Block) {
	home := ""
	d.body("node", b.Body, []field{
		text("name", &c.Node.Name, nodeName),
		text("home", &home, path),
	}, nil)
	if home == "" {
		return
	}
	absolute, err := c.resolve(home)
	if err != nil {
		d.errorf(d.ranges["node.home"], "Invalid value for node.home", "%s.", sentence(err))
		return
	}
	c.Node.Home = absolute
}

func (c *Config) decodeServer(d *decoder, b *hcl.Block) {
	s := &c.Server
	d.body("server", b.Body, []field{
		texts("listen", &s.Listen, listenAddress),
		text("auth", &s.Auth),
		boolean("behind_proxy", &s.BehindProxy),
		boolean("admin", &s.Admin),
		boolean("jsonrpc", &s.JSONRPC),
		boolean("websocket", &s.WebSocket),
		boolean("sse", &s.SSE),
		size("max_body", &s.MaxBody, 1<<10, 1<<30),
		size("max_upload", &s.MaxUpload, 1<<10, 1<<40),
		duration("websocket_ping", &s.WebSocketPing, 0, time.Hour),
		duration("websocket_pong", &s.WebSocketPong, time.Second, time.Hour),
		duration("read_header_timeout", &s.ReadHeaderTimeout, 100*time.Millisecond, 10*time.Minute),
		duration("idle_timeout", &s.IdleTimeout, time.Second, time.Hour),
		duration("shutdown_timeout", &s.ShutdownTimeout, 0, 10*time.Minute),
	}, []child{{name: "cors", read: func(b *hcl.Block) {
		d.body("server.cors", b.Body, []field{texts("origins", &s.CORSOrigins, origin)}, nil)
	}}})
}

// origin wants "*" or scheme://host[:port].
func origin(s string) error {
	scheme, host, ok := strings.Cut(s, "://")
	if s == "*" || ok && (scheme == "http" || scheme == "https") && host != "" && !strings.ContainsAny(host, "/?# \x00\r\n") {
		return nil
	}
	return fmt.Errorf(`%q is not an origin; write "*" or a scheme and host, such as "https://app.example.org"`, s)
}

func (c *Config) decodeExecution(d *decoder, b *hcl.Block) {
	e := &c.Execution
	d.body("execution", b.Body, []field{
		duration("deadline", &e.Deadline, 10*time.Millisecond, time.Hour),
		number("fuel", &e.Fuel, 1_000, 1<<53),
		number("memory_pages", &e.MemoryPages, 1, 65536),
		number("lanes", &e.Lanes, 0, 1024),
		boolean("allow_unmetered", &e.AllowUnmetered),
		size("max_module", &e.MaxModule, 1<<10, 256<<20),
		text("xcall", &e.XCall, oneOf(XCallAny, XCallSameApplication, XCallOff)),
		number("xcall_depth", &e.XCallDepth, 1, 64),
		number("xcall_count", &e.XCallCount, 1, 10_000),
	}, []child{{name: "limits", read: func(b *hcl.Block) { decodeLimits(d, b, &e.Limits) }}})
}

func decodeLimits(d *decoder, b *hcl.Block, l *runtime.Limits) {
	named := limitNames(l)
	var fields []field
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if strings.HasSuffix(name, "_size") || name == "max_registers_capacity" {
			fields = append(fields, size(name, named[name], 1, 1<<40))
		} else {
			fields = append(fields, number(name, named[name], 1, 1<<32))
		}
	}
	d.body("execution.limits", b.Body, fields, nil)
}

func limitNames(l *runtime.Limits) map[string]*uint64 {
	return map[string]*uint64{
		"max_stack_size": &l.MaxStackSize, "max_registers": &l.MaxRegisters, "max_register_size": &l.MaxRegisterSize,
		"max_registers_capacity": &l.MaxRegistersCapacity, "max_logs": &l.MaxLogs, "max_log_size": &l.MaxLogSize,
		"max_events": &l.MaxEvents, "max_event_kind_size": &l.MaxEventKindSize,
		"max_event_data_size": &l.MaxEventDataSize, "max_xcalls": &l.MaxXCalls,
		"max_xcall_function_size": &l.MaxXCallFunctionSize, "max_xcall_params_size": &l.MaxXCallParamsSize,
		"max_storage_key_size": &l.MaxStorageKeySize, "max_storage_value_size": &l.MaxStorageValueSize,
		"max_blob_handles": &l.MaxBlobHandles, "max_blob_chunk_size": &l.MaxBlobChunkSize,
		"max_method_name_length": &l.MaxMethodNameLength,
	}
}

// override puts the command line's home and name in place of the file's.
func (c *Config) override(o options) Diagnostics {
	if o.home != "" {
		absolute, err := filepath.Abs(o.home)
		if err != nil {
			return failure("Invalid home", "Find the folder %s: %v.", o.home, err)
		}
		c.Node.Home = absolute
	}
	if o.node != "" {
		if err := nodeName(o.node); err != nil {
			return failure("Invalid node name", "%s.", sentence(err))
		}
		c.Node.Name = o.node
	}
	return Diagnostics{}
}

// resolve makes a path absolute: relative ones start at the configuration's folder, ~/ is the user's home.
func (c *Config) resolve(p string) (string, error) {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the home folder for %q: %w; write an absolute path", p, err)
		}
		return filepath.Join(home, rest), nil
	}
	if filepath.IsAbs(p) {
		return filepath.Clean(p), nil
	}
	return filepath.Join(c.Dir, p), nil
}

// overlayNodeFile reads the node's config.toml, if there is one.
func (c *Config) overlayNodeFile() Diagnostics {
	f, diags := LoadNodeFile(filepath.Join(c.NodeDir(), NodeFileName))
	if f == nil || diags.HasErrors() {
		return diags
	}
	return diags.and(c.overlay(f))
}

// check finds what is wrong between several values.
func (c *Config) check() Diagnostics {
	d := &decoder{ranges: c.ranges}
	if len(c.Server.Listen) == 0 {
		d.errorf(c.at("server.listen"), "No address to listen on", `Write at least one, such as listen = ["127.0.0.1:2528"].`)
	}
	c.checkAuth(d)
	for _, kind := range []string{"storage", "runtime"} {
		c.checkOne(d, kind)
	}
	if c.Server.WebSocketPing > 0 && c.Server.WebSocketPong >= c.Server.WebSocketPing {
		d.errorf(c.at("server.websocket_pong"), "Invalid value for server.websocket_pong",
			"It must be less than websocket_ping (%v).", c.Server.WebSocketPing)
	}
	return c.diagnostics(d.diags)
}

func (c *Config) checkAuth(d *decoder) {
	if c.Server.Auth == NoAuth {
		if c.Server.BehindProxy {
			return
		}
		for _, a := range c.Server.Listen {
			if !loopback(a) {
				d.errorf(c.at("server.listen"), "Everybody could use this node",
					"server.auth is %q and %s is not a loopback address. Name an auth plugin (auth = \"local\"), listen on "+
						"127.0.0.1, or set behind_proxy = true if a reverse proxy authenticates the callers.", NoAuth, a)
			}
		}
		return
	}
	if c.Plugin("auth", c.Server.Auth) != nil {
		return
	}
	known := []string{NoAuth}
	for _, p := range c.Plugins {
		if p.Kind == "auth" {
			known = append(known, p.Name)
		}
	}
	d.errorf(c.at("server.auth"), "No such auth plugin",
		"There is no block plugin \"auth\" %q; %s.", c.Server.Auth, didYouMean(c.Server.Auth, known))
}

// checkOne wants exactly one plugin of a kind.
func (c *Config) checkOne(d *decoder, kind string) {
	var first *Plugin
	for _, p := range c.Plugins {
		switch {
		case p.Kind != kind:
		case first == nil:
			first = p
		case first.Name != p.Name: // the same name twice was reported already
			d.errorf(p.Range, "Two "+kind+" plugins",
				"A node runs one; the first is %q on line %d. Remove one of the blocks.", first.Name, first.Range.Start.Line)
		}
	}
	if first == nil {
		d.errorf(c.at(""), "Missing "+kind+" plugin",
			"The node needs one: add a block plugin %q \"<name>\" { path = … }.", kind)
	}
}

// at is where a value stands, or the start of config.hcl when it is a default.
func (c *Config) at(path string) hcl.Range {
	if r, ok := c.ranges[path]; ok {
		return r
	}
	for name := range c.files {
		if filepath.Ext(name) != filepath.Ext(NodeFileName) {
			return hcl.Range{Filename: name, Start: hcl.InitialPos, End: hcl.InitialPos}
		}
	}
	return hcl.Range{Filename: c.Path, Start: hcl.InitialPos, End: hcl.InitialPos}
}

func notExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
