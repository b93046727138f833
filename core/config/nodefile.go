package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// NodeFile is a config.toml (http-api.md §8.2), with the keys this build does not know kept for rewriting.
type NodeFile struct {
	path      string
	src       []byte
	all       map[string]any
	known     nodeKeys
	positions map[string]hcl.Range
}

// nodeKeys are the keys that are read.
type nodeKeys struct {
	Mode     string    `toml:"mode"`
	Identity *idKeys   `toml:"identity"`
	Swarm    *struct { // required
		Listen []string `toml:"listen"`
	} `toml:"swarm"`
	Server *struct { // required
		Listen   []string     `toml:"listen"`
		AuthMode string       `toml:"auth_mode"`
		Admin    *enabledKey  `toml:"admin"`
		JSONRPC  *enabledKey  `toml:"jsonrpc"`
		SSE      *enabledKey  `toml:"sse"`
		WS       *websocketKs `toml:"websocket"`
	} `toml:"server"`
	Bootstrap *struct {
		Nodes []string `toml:"nodes"`
	} `toml:"bootstrap"`
	Discovery   *discoveryKeys `toml:"discovery"`
	Specialized *struct {
		InviteTopic   string `toml:"invite_topic"`
		AcceptMockTEE bool   `toml:"accept_mock_tee"`
	} `toml:"specialized_node"`
	Sync      *syncKeys `toml:"sync"`      // required
	Datastore *pathKey  `toml:"datastore"` // required
	Blobstore *pathKey  `toml:"blobstore"` // required
}

type pathKey struct {
	Path string `toml:"path"`
}

type enabledKey struct {
	Enabled *bool `toml:"enabled"`
}

type websocketKs struct {
	Enabled *bool  `toml:"enabled"`
	Ping    *int64 `toml:"ping_interval_secs"`
	Pong    *int64 `toml:"pong_timeout_secs"`
}

// LoadNodeFile reads a config.toml; both results are empty if there is none.
func LoadNodeFile(path string) (*NodeFile, Diagnostics) {
	src, err := readFile(path)
	if notExist(err) {
		return nil, Diagnostics{}
	}
	if err != nil {
		return nil, failure("Node configuration not readable", "Read %s: %v.", path, err)
	}
	return ParseNodeFile(path, src)
}

// ParseNodeFile reads src as the config.toml at path.
func ParseNodeFile(path string, src []byte) (*NodeFile, Diagnostics) {
	f := &NodeFile{path: path, src: src}
	if err := boundNesting(src); err != nil {
		return nil, failure("Configuration refused", "%s: %v.", path, err)
	}
	if err := toml.Unmarshal(src, &f.all); err != nil {
		return nil, f.decodeError(err)
	}
	if err := toml.Unmarshal(src, &f.known); err != nil {
		return nil, f.decodeError(err)
	}
	f.positions = keyPositions(path, src)
	d := &decoder{ranges: f.positions}
	f.validate(d)
	diags := Diagnostics{list: d.diags, files: f.source()}
	if diags.HasErrors() {
		return nil, diags
	}
	return f, diags
}

func (f *NodeFile) source() map[string]*hcl.File {
	return map[string]*hcl.File{f.path: {Bytes: f.src}}
}

// goField is what the TOML decoder says about the Go field a value does not fit.
var goField = regexp.MustCompile(`struct field .* of type `)

func (f *NodeFile) decodeError(err error) Diagnostics {
	diagnostic := &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: "Invalid node configuration",
		Detail: sentence(errors.New(goField.ReplaceAllString(strings.TrimPrefix(err.Error(), "toml: "), ""))) + ".",
	}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, column := at.Position()
		offset := 0
		for range line - 1 {
			offset += bytes.IndexByte(f.src[offset:], '\n') + 1
		}
		pos := hcl.Pos{Line: line, Column: column, Byte: offset + max(0, column-1)}
		diagnostic.Subject = &hcl.Range{Filename: f.path, Start: pos, End: pos}
		if key := strings.Join(at.Key(), "."); key != "" {
			diagnostic.Detail = key + ": " + diagnostic.Detail
		}
	} else {
		diagnostic.Detail = f.path + ": " + diagnostic.Detail
	}
	return Diagnostics{list: hcl.Diagnostics{diagnostic}, files: f.source()}
}

// keyPositions finds where each key stands, by dotted path.
func keyPositions(path string, src []byte) map[string]hcl.Range {
	positions := map[string]hcl.Range{}
	parser := &unstable.Parser{}
	parser.Reset(src)
	var table []string
	for parser.NextExpression() {
		e := parser.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = noteKey(positions, parser, path, src, nil, e)
		case unstable.KeyValue:
			notePairs(positions, parser, path, src, table, e)
		default: // comments
		}
	}
	return positions
}

func notePairs(to map[string]hcl.Range, p *unstable.Parser, path string, src []byte, under []string, pair *unstable.Node) {
	at := noteKey(to, p, path, src, under, pair)
	if pair.Value().Kind != unstable.InlineTable {
		return
	}
	for it := pair.Value().Children(); it.Next(); {
		if it.Node().Kind == unstable.KeyValue {
			notePairs(to, p, path, src, at, it.Node())
		}
	}
}

func noteKey(to map[string]hcl.Range, p *unstable.Parser, path string, src []byte, under []string, n *unstable.Node) []string {
	at := slices.Clone(under)
	for it := n.Key(); it.Next(); {
		at = append(at, string(it.Node().Data))
		raw := it.Node().Raw
		r := hcl.Range{Filename: path, Start: position(src, int(raw.Offset)), End: position(src, int(raw.Offset+raw.Length))}
		if _, ok := to[strings.Join(at, ".")]; !ok {
			to[strings.Join(at, ".")] = r
		}
	}
	return at
}

func position(src []byte, offset int) hcl.Pos {
	before := src[:min(offset, len(src))]
	line := bytes.Count(before, []byte("\n"))
	return hcl.Pos{Line: line + 1, Column: len(before) - bytes.LastIndexByte(before, '\n'), Byte: len(before)}
}

// at is where key stands, or the start of the file.
func (f *NodeFile) at(key string) hcl.Range {
	if r, ok := f.positions[key]; ok {
		return r
	}
	return hcl.Range{Filename: f.path, Start: hcl.InitialPos, End: hcl.InitialPos}
}

func (f *NodeFile) validate(d *decoder) {
	k := &f.known
	bad := func(key, format string, args ...any) {
		d.errorf(f.at(key), "Invalid value for "+key, format, args...)
	}
	for _, table := range []struct {
		key     string
		missing bool
	}{
		{"swarm", k.Swarm == nil}, {"server", k.Server == nil}, {"sync", k.Sync == nil},
		{"datastore", k.Datastore == nil}, {"blobstore", k.Blobstore == nil},
	} {
		if table.missing {
			d.errorf(f.at(table.key), "Missing table "+table.key,
				"The node needs [%s]; merod init --force writes a new file.", table.key)
		}
	}
	if !slices.Contains([]string{"", "standard", "readonly"}, k.Mode) {
		bad("mode", "%q is not known; %s.", k.Mode, didYouMean(k.Mode, []string{"standard", "readonly"}))
	}
	if k.Identity != nil {
		if _, key, err := k.Identity.decode(); err != nil {
			bad("identity."+key, "%s.", sentence(err))
		}
	}
	f.validateNetwork(bad)
	f.validateServer(bad)
	if k.Sync != nil {
		k.Sync.validate(bad)
	}
	f.validatePath("datastore.path", k.Datastore, bad)
	f.validatePath("blobstore.path", k.Blobstore, bad)
	if len(d.diags) == 0 {
		f.warn(d)
	}
}

// warn tells of keys of the reference that are set and do nothing here.
func (f *NodeFile) warn(d *decoder) {
	ignored := func(key, format string, args ...any) {
		d.warnf(f.at(key), key+" has no effect", format, args...)
	}
	if k := f.known.Discovery; k != nil && k.AutoNAT != nil {
		if n := k.AutoNAT.MaxCandidates; n != nil && *n != autoNATCandidates {
			ignored("discovery.autonat.max_candidates", "The network library chooses how many addresses it asks about. Remove the key.")
		}
		if p := k.AutoNAT.ProbeInterval; p != nil && p.duration() != autoNATInterval {
			ignored("discovery.autonat.probe_interval", "The network library chooses how often it asks. Remove the key.")
		}
	}
	if k := f.known.Specialized; k != nil && k.AcceptMockTEE {
		ignored("specialized_node.accept_mock_tee", "This version invites no specialized nodes. Set it to false.")
	}
	if f.Get("tee") != nil {
		ignored("tee", "This version does not run in a trusted execution environment. Remove the table.")
	}
}

func (f *NodeFile) validatePath(key string, p *pathKey, bad func(key, format string, args ...any)) {
	if p == nil {
		return
	}
	if err := path(p.Path); err != nil {
		bad(key, "%s.", sentence(err))
	}
}

func (f *NodeFile) validateServer(bad func(key, format string, args ...any)) {
	s := f.known.Server
	if s == nil {
		return
	}
	if len(s.Listen) == 0 {
		bad("server.listen", `Write at least one address, such as ["/ip4/127.0.0.1/tcp/2528"].`)
	}
	for _, a := range s.Listen {
		if _, err := httpAddress(a); err != nil {
			bad("server.listen", "%s.", sentence(err))
		}
	}
	if !slices.Contains([]string{"", authProxy, authEmbedded}, s.AuthMode) {
		bad("server.auth_mode", "%q is not known; %s.", s.AuthMode, didYouMean(s.AuthMode, []string{authProxy, authEmbedded}))
	}
	if w := s.WS; w != nil {
		if w.Ping != nil && *w.Ping != 0 && (*w.Ping < 5 || *w.Ping > 3600) {
			bad("server.websocket.ping_interval_secs", "It must be 0 (none) or from 5 to 3600.")
		}
		if w.Pong != nil && (*w.Pong < 1 || *w.Pong > 3600) {
			bad("server.websocket.pong_timeout_secs", "It must be from 1 to 3600.")
		}
	}
}

const (
	authProxy    = "proxy"
	authEmbedded = "embedded"
)

// httpAddress turns /ip4/127.0.0.1/tcp/2528 into 127.0.0.1:2528.
func httpAddress(s string) (string, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 5 || parts[0] != "" || parts[3] != "tcp" || parts[1] != "ip4" && parts[1] != "ip6" {
		return "", fmt.Errorf("%q is not an HTTP address; write /ip4/<address>/tcp/<port> or /ip6/<address>/tcp/<port>", s)
	}
	a, err := netip.ParseAddr(parts[2])
	if err != nil || a.Is4() != (parts[1] == "ip4") {
		return "", fmt.Errorf("%q: %q is not an %s address", s, parts[2], parts[1])
	}
	if _, err := strconv.ParseUint(parts[4], 10, 16); err != nil {
		return "", fmt.Errorf("%q: the port must be a number from 0 to 65535", s)
	}
	return net.JoinHostPort(a.String(), parts[4]), nil
}

// multiaddrOf is the reverse of httpAddress.
func multiaddrOf(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return "", err
	}
	family := "ip6"
	if a.Is4() {
		family = "ip4"
	}
	return fmt.Sprintf("/%s/%s/tcp/%s", family, a, port), nil
}

// overlay puts the file's values in place of those of config.hcl.
func (c *Config) overlay(f *NodeFile) Diagnostics {
	for name, file := range f.source() {
		c.files[name] = file
	}
	k := &f.known
	c.Node.ReadOnly = k.Mode == "readonly"
	if k.Identity != nil {
		c.Node.Identity, _, _ = k.Identity.decode() // validated before
	}
	c.Network.overlay(k)
	c.Sync.overlay(k.Sync)
	c.Node.Data, c.Node.Blobs = c.under(k.Datastore.Path), c.under(k.Blobstore.Path)
	return c.overlayServer(f)
}

func (c *Config) overlayServer(f *NodeFile) Diagnostics {
	k, s := f.known.Server, &c.Server
	s.Listen = nil
	for _, a := range k.Listen {
		address, _ := httpAddress(a) // validated before
		s.Listen = append(s.Listen, address)
	}
	c.ranges["server.listen"] = f.at("server.listen")
	s.Admin, s.JSONRPC, s.SSE = k.Admin.on(), k.JSONRPC.on(), k.SSE.on()
	s.WebSocket = k.WS != nil && (k.WS.Enabled == nil || *k.WS.Enabled)
	if k.WS != nil {
		if k.WS.Ping != nil {
			s.WebSocketPing = time.Duration(*k.WS.Ping) * time.Second
		}
		if k.WS.Pong != nil {
			s.WebSocketPong = time.Duration(*k.WS.Pong) * time.Second
		}
	}
	switch {
	case k.AuthMode == authProxy:
		s.Auth = NoAuth
		c.ranges["server.auth"] = f.at("server.auth_mode")
	case k.AuthMode == authEmbedded && s.Auth == NoAuth:
		p := c.Plugin("auth", "")
		if p == nil {
			d := &decoder{}
			d.errorf(f.at("server.auth_mode"), "No auth plugin",
				"auth_mode is %q, but config.hcl has no block plugin \"auth\"; add one or set auth_mode = %q.", authEmbedded, authProxy)
			return c.diagnostics(d.diags)
		}
		s.Auth = p.Name
	}
	return Diagnostics{}
}

// on: a table that is absent switches off, an absent key in it does not.
func (k *enabledKey) on() bool { return k != nil && (k.Enabled == nil || *k.Enabled) }

// under resolves a path of config.toml, which starts at the node's folder.
func (c *Config) under(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(c.NodeDir(), p)
}
