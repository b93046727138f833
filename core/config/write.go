package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/pelletier/go-toml/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// NodeFileSeed is what merod init knows.
type NodeFileSeed struct {
	Identity *Identity
	// Listen are host:port of the HTTP server; Swarm and Bootstrap are multiaddrs.
	Listen, Swarm, Bootstrap []string
	// Embedded asks for an auth plugin; otherwise auth_mode is "proxy".
	Embedded bool
	// ReadOnly is mode = "readonly".
	ReadOnly bool
	// MDNS and AdvertiseAddress are discovery's switches of these names.
	MDNS, AdvertiseAddress bool
}

// NewNodeFile makes the config.toml of a new node (http-api.md §8.2), to be written to path.
func NewNodeFile(path string, s NodeFileSeed) (*NodeFile, error) {
	listen := make([]string, len(s.Listen))
	for i, a := range s.Listen {
		m, err := multiaddrOf(a)
		if err != nil {
			return nil, errkind.Invalid.Errorf("make a multiaddr of %q: %w", a, err)
		}
		listen[i] = m
	}
	mode, auth := "standard", authProxy
	if s.ReadOnly {
		mode = "readonly"
	}
	if s.Embedded {
		auth = authEmbedded
	}
	on := map[string]any{"enabled": true}
	all := map[string]any{
		"mode":     mode,
		"identity": s.Identity.table(),
		"swarm":    map[string]any{"listen": list(s.Swarm)},
		"server": map[string]any{
			"listen": list(listen), "auth_mode": auth, "admin": on, "jsonrpc": on, "sse": on,
			"websocket": map[string]any{"enabled": true, "ping_interval_secs": 30, "pong_timeout_secs": 10},
		},
		"bootstrap": map[string]any{"nodes": list(s.Bootstrap)},
		"discovery": map[string]any{
			"mdns": s.MDNS, "advertise_address": s.AdvertiseAddress,
			"rendezvous": map[string]any{
				"namespace": "/calimero/devnet/global", "discovery_rpm": 0.5,
				"discovery_interval": seconds(90), "registrations_limit": 3,
			},
			"relay":   map[string]any{"registrations_limit": 3},
			"autonat": map[string]any{"max_candidates": autoNATCandidates, "probe_interval": seconds(int(autoNATInterval.Seconds()))},
		},
		"sync":      map[string]any{"timeout_ms": 30000, "interval_ms": 5000, "frequency_ms": 10000},
		"datastore": map[string]any{"path": "data"},
		"blobstore": map[string]any{"path": "blobs"},
		"context": map[string]any{"config": map[string]any{"signer": map[string]any{
			"self": map[string]any{"protocols": map[string]any{}}}}},
	}
	return remake(path, all)
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func seconds(n int) map[string]any { return map[string]any{"secs": n, "nanos": 0} }

// remake encodes all values and reads them back, so that what is written can be read.
func remake(path string, all map[string]any) (*NodeFile, error) {
	src, err := toml.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", path, err)
	}
	f, diags := ParseNodeFile(path, src)
	if err := diags.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

// Set returns the file with one more assignment, such as server.listen=['/ip4/127.0.0.1/tcp/2528']: a dotted key and a
// TOML value. Unknown keys are allowed; the result is checked as a whole.
func (f *NodeFile) Set(assignments ...string) (*NodeFile, error) {
	var all map[string]any
	if err := toml.Unmarshal(f.src, &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	for _, a := range assignments {
		key, value, ok := strings.Cut(a, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, errkind.Invalid.Errorf("%q is not an assignment; write key.path=value, with strings in quotes", a)
		}
		var one map[string]any
		if err := boundNesting([]byte(value)); err != nil {
			return nil, errkind.Invalid.Errorf("%q: %w", key, err)
		}
		if err := toml.Unmarshal([]byte("value = "+value), &one); err != nil || len(one) != 1 {
			return nil, errkind.Invalid.Errorf("%q is not a TOML value for %s; strings stand in quotes: %s='text'", value, key, key)
		}
		if err := assign(all, strings.Split(key, "."), one["value"]); err != nil {
			return nil, errkind.Invalid.Errorf("set %s: %w", key, err)
		}
	}
	return remake(f.path, all)
}

func assign(to map[string]any, keys []string, value any) error {
	if keys[0] == "" {
		return fmt.Errorf("the key has an empty part")
	}
	if len(keys) == 1 {
		to[keys[0]] = value
		return nil
	}
	next, ok := to[keys[0]].(map[string]any)
	if !ok {
		if to[keys[0]] != nil {
			return fmt.Errorf("%s is a value, not a table", keys[0])
		}
		next = map[string]any{}
		to[keys[0]] = next
	}
	return assign(next, keys[1:], value)
}

// Identity are the node's keys; nil when the file has none.
func (f *NodeFile) Identity() *Identity {
	if f.known.Identity == nil {
		return nil
	}
	id, _, _ := f.known.Identity.decode() // validated before
	return id
}

// Get is the value of a dotted key, as TOML types decode into any; nil if absent.
func (f *NodeFile) Get(key string) any {
	var at any = f.all
	for _, k := range strings.Split(key, ".") {
		table, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = table[k]
	}
	return at
}

// Write replaces the file at its path, mode 0600; after a crash it is the old or the new one.
func (f *NodeFile) Write() error { return WriteFile(f.path, f.src, 0o600) }

// Bytes is the text.
func (f *NodeFile) Bytes() []byte { return f.src }

// WriteFile replaces a file by another of the given mode; after a crash it is the old or the new one.
func WriteFile(path string, data []byte, mode os.FileMode) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Seed is what a new config.hcl holds; the rest are defaults.
type Seed struct {
	Name, Home string
	Listen     []string
	// Auth is NoAuth or the name of an auth plugin among Plugins.
	Auth      string
	SwarmPort uint16
	Plugins   []SeedPlugin
}

// SeedPlugin is a plugin block; paths are written as they are.
type SeedPlugin struct {
	Kind, Name, Path string
	Files            []string
}

// NewFile is the text of a config.hcl.
func NewFile(s Seed) []byte {
	f := hclwrite.NewEmptyFile()
	root := f.Body()
	root.SetAttributeValue("version", cty.NumberIntVal(Version))
	root.AppendNewline()
	node := root.AppendNewBlock("node", nil).Body()
	node.SetAttributeValue("name", cty.StringVal(s.Name))
	node.SetAttributeValue("home", cty.StringVal(s.Home))
	root.AppendNewline()
	server := root.AppendNewBlock("server", nil).Body()
	server.SetAttributeValue("listen", stringList(s.Listen))
	server.SetAttributeValue("auth", cty.StringVal(s.Auth))
	if s.SwarmPort != 0 {
		root.AppendNewline()
		root.AppendNewBlock("network", nil).Body().SetAttributeValue("swarm_port", cty.NumberUIntVal(uint64(s.SwarmPort)))
	}
	for _, p := range s.Plugins {
		root.AppendNewline()
		b := root.AppendNewBlock("plugin", []string{p.Kind, p.Name}).Body()
		b.SetAttributeValue("path", cty.StringVal(p.Path))
		if len(p.Files) > 0 {
			b.SetAttributeValue("files", stringList(p.Files))
		}
	}
	return f.Bytes()
}

func stringList(s []string) cty.Value {
	values := make([]cty.Value, len(s))
	for i, x := range s {
		values[i] = cty.StringVal(x)
	}
	return cty.TupleVal(values)
}
