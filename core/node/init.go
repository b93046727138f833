package node

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// InitOptions is what merod init was told.
type InitOptions struct {
	// Home and Name place the node: its folder is Home/Name.
	Home, Name string
	// ServerHosts and SwarmHosts are numeric addresses; ports may be 0.
	ServerHosts, SwarmHosts []string
	ServerPort, SwarmPort   uint16
	BootNodes               []string
	// Embedded configures the auth plugin local; otherwise nobody needs a token.
	Embedded                         bool
	ReadOnly, MDNS, AdvertiseAddress bool
	// Force deletes an existing node's folder first.
	Force bool
	// PluginDir has the plugins' binaries.
	PluginDir string
}

// InitResult is what init did.
type InitResult struct {
	// Dir is the node's folder. Existed: it was initialised before and is unchanged. Kept: it had a config.toml.
	Dir           string
	Existed, Kept bool
	// PeerID and GroupKey of the new node; empty when a config.toml that was kept has none.
	PeerID, GroupKey string
	// BootstrapCode creates the first account from another machine; empty without an auth plugin.
	BootstrapCode string
}

// BootstrapCodeFile, in the data folder of the auth plugin, holds the one-time code for the first root key.
const BootstrapCodeFile = "bootstrap-code"

// Init makes a node's folder: config.hcl, config.toml, plugins.lock. On an initialised folder it does nothing; a config.toml
// alone, say of a script or of the Rust node, is kept.
func Init(o InitOptions) (InitResult, error) {
	dir := filepath.Join(o.Home, o.Name)
	r := InitResult{Dir: dir}
	hcl := filepath.Join(dir, config.FileName)
	if o.Force {
		if err := os.RemoveAll(dir); err != nil {
			return r, fmt.Errorf("delete %s: %w", dir, err)
		}
	} else if _, err := os.Stat(hcl); err == nil {
		if _, diags := config.Load(hcl, config.WithHome(o.Home), config.WithNode(o.Name)); diags.HasErrors() {
			return r, fmt.Errorf("Failed to load existing configuration: %w", diags.Err()) //nolint:staticcheck // the reference's text
		}
		r.Existed = true
		return r, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, fmt.Errorf("make the node's folder: %w", err)
	}
	if err := makeNode(o, dir, hcl, &r); err != nil {
		return r, errors.Join(err, removeIfThere(hcl)) // without config.hcl the next init starts afresh
	}
	return r, nil
}

func makeNode(o InitOptions, dir, hcl string, r *InitResult) error {
	file, err := nodeFile(&o, filepath.Join(dir, config.NodeFileName), r)
	if err != nil {
		return err
	}
	if err := writeConfig(o, hcl); err != nil {
		return err
	}
	if err := file.Write(); err != nil {
		return err
	}
	cfg, diags := config.Load(hcl, config.WithHome(o.Home), config.WithNode(o.Name))
	if diags.HasErrors() {
		return diags.Err()
	}
	if _, err := pluginhost.Pin(cfg); err != nil {
		return fmt.Errorf("write %s: %w", cfg.LockPath(), err)
	}
	if !o.Embedded {
		return nil
	}
	code, err := writeBootstrapCode(cfg)
	r.BootstrapCode = code
	return err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeConfig writes config.hcl.
func writeConfig(o InitOptions, hcl string) error {
	auth := config.NoAuth
	listen := hostPorts(o.ServerHosts, o.ServerPort)
	plugins := []config.SeedPlugin{
		{Kind: "storage", Name: "leveldb", Path: filepath.Join(o.PluginDir, "merod-plugin-storage-leveldb")},
		{Kind: "runtime", Name: "wasmer", Path: filepath.Join(o.PluginDir, "merod-plugin-runtime-wasmer"),
			Files: []string{filepath.Join(o.PluginDir, "libwasmer"+config.LibraryExtension())}},
	}
	if o.Embedded {
		auth = "local"
		plugins = append(plugins, config.SeedPlugin{Kind: "auth", Name: "local",
			Path: filepath.Join(o.PluginDir, "merod-plugin-auth-local")})
	}
	return config.WriteFile(hcl, config.NewFile(config.Seed{
		Name: o.Name, Home: o.Home, Listen: listen, Auth: auth, SwarmPort: o.SwarmPort, Plugins: plugins,
	}), 0o600)
}

// nodeFile is the config.toml of a new node: the one that is there, which somebody has put there for it and has the node's
// keys, or a new one. What it says of tokens holds for o.
func nodeFile(o *InitOptions, path string, r *InitResult) (*config.NodeFile, error) {
	file, diags := config.LoadNodeFile(path)
	if err := diags.Err(); err != nil {
		return nil, fmt.Errorf("Failed to load existing configuration: %w", err) //nolint:staticcheck // the reference's text
	}
	var err error
	switch r.Kept = file != nil; {
	case r.Kept && o.Embedded:
		file, err = file.Set("server.auth_mode='embedded'")
	case r.Kept:
		o.Embedded = file.Get("server.auth_mode") == "embedded"
	default:
		file, err = newNodeFile(o, path)
	}
	if err != nil {
		return nil, err
	}
	if id := file.Identity(); id != nil {
		r.PeerID = id.PeerID
		if id.GroupGiven {
			r.GroupKey = id.Group.Public().String()
		}
	}
	return file, nil
}

func newNodeFile(o *InitOptions, path string) (*config.NodeFile, error) {
	id, err := config.NewIdentity()
	if err != nil {
		return nil, err
	}
	return config.NewNodeFile(path, config.NodeFileSeed{
		Identity: id, Listen: hostPorts(o.ServerHosts, o.ServerPort), Swarm: config.SwarmAddresses(o.SwarmHosts, o.SwarmPort),
		Bootstrap: o.BootNodes, Embedded: o.Embedded, ReadOnly: o.ReadOnly, MDNS: o.MDNS, AdvertiseAddress: o.AdvertiseAddress,
	})
}

func hostPorts(hosts []string, port uint16) []string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = net.JoinHostPort(h, strconv.Itoa(int(port)))
	}
	return out
}

func writeBootstrapCode(cfg *config.Config) (string, error) {
	p := cfg.Plugin("auth", "")
	if p == nil {
		return "", errkind.Internal.Errorf("no auth plugin in the configuration just written")
	}
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails
	code := base32.StdEncoding.EncodeToString(b[:])
	dir := cfg.DataDir(p)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return code, config.WriteFile(filepath.Join(dir, BootstrapCodeFile), []byte(code+"\n"), 0o600)
}
