package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// initialised writes the config.toml of a node n1 in a new home and returns the home.
func initialised(t *testing.T, change func(*config.NodeFileSeed)) (home string, id *config.Identity) {
	t.Helper()
	home = t.TempDir()
	id, err := config.NewIdentity()
	require.NoError(t, err)
	seed := config.NodeFileSeed{
		Identity: id, Listen: []string{"127.0.0.1:4001", "[::1]:4001"}, Swarm: []string{"/ip4/0.0.0.0/tcp/5001"}, MDNS: true,
	}
	if change != nil {
		change(&seed)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(home, "n1"), 0o700))
	f, err := config.NewNodeFile(filepath.Join(home, "n1", "config.toml"), seed)
	require.NoError(t, err)
	require.NoError(t, f.Write())
	return home, id
}

func TestNodeFile_WinsOverConfig(t *testing.T) {
	t.Parallel()
	home, id := initialised(t, nil)
	c := load(t, valid+"server {\n  auth = \"local\"\n  listen = [\"0.0.0.0:1\"]\n}\n", config.WithHome(home))
	require.Equal(t, []string{"127.0.0.1:4001", "[::1]:4001"}, c.Server.Listen)
	require.Equal(t, config.NoAuth, c.Server.Auth)
	require.Equal(t, []string{"/ip4/0.0.0.0/tcp/5001"}, c.Network.Listen)
	require.Equal(t, id.PeerID, c.Node.Identity.PeerID)
	require.Equal(t, id.Peer, c.Node.Identity.Peer)
	require.Equal(t, id.Group, c.Node.Identity.Group)
	require.Equal(t, filepath.Join(home, "n1", "data"), c.Node.Data)
	require.Equal(t, filepath.Join(home, "n1", "blobs"), c.Node.Blobs)
	require.Equal(t, 5*time.Second, c.Sync.Interval)

	info, err := os.Stat(filepath.Join(home, "n1", "config.toml"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestNodeFile_EmbeddedTakesTheAuthPlugin(t *testing.T) {
	t.Parallel()
	home, _ := initialised(t, func(s *config.NodeFileSeed) { s.Embedded, s.ReadOnly = true, true })
	c := load(t, valid, config.WithHome(home))
	require.Equal(t, "local", c.Server.Auth)
	require.True(t, c.Node.ReadOnly)
}

func TestNodeFile_MissingSectionSwitchesOff(t *testing.T) {
	t.Parallel()
	home, _ := initialised(t, nil)
	file := filepath.Join(home, "n1", "config.toml")
	write(t, file, `
[swarm]
listen = []
[server]
listen = ["/ip4/127.0.0.1/tcp/0"]
admin = {}
jsonrpc = { enabled = false }
websocket = { ping_interval_secs = 20, pong_timeout_secs = 5 }
[sync]
[datastore]
path = "/var/data"
[blobstore]
path = "b"
`)
	c := load(t, valid, config.WithHome(home))
	require.True(t, c.Server.Admin)
	require.False(t, c.Server.JSONRPC)
	require.False(t, c.Server.SSE)
	require.True(t, c.Server.WebSocket)
	require.Equal(t, 20*time.Second, c.Server.WebSocketPing)
	require.Equal(t, "/var/data", c.Node.Data)
	require.Nil(t, c.Node.Identity)
}

// What merobox does: read with any TOML library, change some keys, write.
func TestNodeFile_SetKeepsUnknownKeys(t *testing.T) {
	t.Parallel()
	home, id := initialised(t, nil)
	path := filepath.Join(home, "n1", "config.toml")
	f, diags := config.LoadNodeFile(path)
	require.NoError(t, diags.Err())
	require.Equal(t, true, f.Get("discovery.mdns"))

	f, err := f.Set("discovery.rendezvous.namespace = 'calimero/tests/1'", "sync.interval_ms=500", "a.new.key=[1, 2]",
		"server.listen=['/ip4/127.0.0.1/tcp/7']")
	require.NoError(t, err)
	require.NoError(t, f.Write())

	f, diags = config.LoadNodeFile(path)
	require.NoError(t, diags.Err())
	require.Equal(t, "calimero/tests/1", f.Get("discovery.rendezvous.namespace"))
	require.Equal(t, 0.5, f.Get("discovery.rendezvous.discovery_rpm"))
	require.Equal(t, []any{int64(1), int64(2)}, f.Get("a.new.key"))
	require.Nil(t, f.Get("a.new.key.x"))
	c := load(t, valid, config.WithHome(home))
	require.Equal(t, []string{"127.0.0.1:7"}, c.Server.Listen)
	require.Equal(t, 500*time.Millisecond, c.Sync.Interval)
	require.Equal(t, id.PeerID, c.Node.Identity.PeerID)
}

func TestNodeFile_SetRefuses(t *testing.T) {
	t.Parallel()
	home, _ := initialised(t, nil)
	f, diags := config.LoadNodeFile(filepath.Join(home, "n1", "config.toml"))
	require.NoError(t, diags.Err())
	for assignment, want := range map[string]string{
		"mode":                   "not an assignment",
		"mode=standard":          "strings stand in quotes",
		"mode.x=1":               "is a value, not a table",
		"a..b=1":                 "empty part",
		"sync.interval_ms=1":     "from 100 to 3600000",
		"server.listen=['x']":    "not an HTTP address",
		"mode=1\nidentity = 'x'": "not a TOML value",
		"identity.peer_id='x'":   "eer ID does not match public key",
	} {
		_, err := f.Set(assignment)
		require.ErrorIs(t, err, errkind.Invalid, assignment)
		require.ErrorContains(t, err, want, assignment)
	}
}

func TestNodeFile_Network(t *testing.T) {
	t.Parallel()
	home, _ := initialised(t, nil)
	hcl := valid + "network {\n  mdns = false\n  relays = 7\n  bootstrap = [\"/ip4/10.0.0.1/tcp/1/p2p/" + bootPeer + "\"]\n}\n"
	c := load(t, hcl, config.WithHome(home))
	require.True(t, c.Network.MDNS, "config.toml has it")
	require.Equal(t, 3, c.Network.Relays)
	require.Empty(t, c.Network.Bootstrap)
	require.Equal(t, config.Rendezvous{Namespace: "/calimero/devnet/global", Interval: 90 * time.Second,
		Throttle: 2 * time.Minute, Registrations: 3}, c.Network.Rendezvous)
	require.Equal(t, []string{"/ip4/0.0.0.0/tcp/5001"}, c.Network.SwarmAddresses())

	// What merobox changes, and what it may leave out.
	f, diags := config.LoadNodeFile(filepath.Join(home, "n1", "config.toml"))
	require.NoError(t, diags.Err())
	f, err := f.Set("discovery.rendezvous.namespace = 'calimero/merobox-tests/0a1b2c3d'", "discovery.mdns=false",
		"discovery.rendezvous.discovery_rpm = 2", "discovery.rendezvous.discovery_interval = {secs=1, nanos=500000000}",
		"discovery.relay.registrations_limit = 1", "specialized_node.invite_topic = 'tee'",
		"bootstrap.nodes=['/ip4/127.0.0.1/tcp/2428/p2p/"+bootPeer+"']", "discovery.advertise_address=true")
	require.NoError(t, err)
	require.NoError(t, f.Write())
	c = load(t, hcl, config.WithHome(home))
	require.False(t, c.Network.MDNS)
	require.True(t, c.Network.AdvertisePublicIP)
	require.Equal(t, 1, c.Network.Relays)
	require.Equal(t, "tee", c.Network.InviteTopic)
	require.Equal(t, []string{"/ip4/127.0.0.1/tcp/2428/p2p/" + bootPeer}, c.Network.Bootstrap)
	require.Equal(t, config.Rendezvous{Namespace: "calimero/merobox-tests/0a1b2c3d", Interval: 1500 * time.Millisecond,
		Throttle: 30 * time.Second, Registrations: 3}, c.Network.Rendezvous)
}

const bootPeer = "12D3KooWR5V4zmisVtVdGE6i8jfFwtgRNq5t8eDGxfckKuhXu7Eh"

func TestNetwork_SwarmAddresses(t *testing.T) {
	t.Parallel()
	c := load(t, valid+"network {\n  swarm_port = 77\n}\n")
	require.Equal(t, []string{"/ip4/0.0.0.0/tcp/77", "/ip4/0.0.0.0/udp/77/quic-v1", "/ip6/::/tcp/77", "/ip6/::/udp/77/quic-v1"},
		c.Network.SwarmAddresses())
	c = load(t, valid+"network {\n  listen = [\"/ip4/127.0.0.1/tcp/0\"]\n  local_discovery = \"near\"\n}\n")
	require.Equal(t, []string{"/ip4/127.0.0.1/tcp/0"}, c.Network.SwarmAddresses())
	require.Equal(t, filepath.Join(c.Dir, "near"), c.Network.LocalDiscovery)
}

// overrides are the keys of config.toml that init writes, each with another value and what it does to a configuration
// whose config.hcl says something else.
var overrides = map[string]struct {
	value string
	want  any
	get   func(*config.Config) any
}{
	"swarm.listen":                        {"['/ip4/127.0.0.1/tcp/7']", []string{"/ip4/127.0.0.1/tcp/7"}, func(c *config.Config) any { return c.Network.SwarmAddresses() }},
	"server.listen":                       {"['/ip4/127.0.0.1/tcp/7']", []string{"127.0.0.1:7"}, func(c *config.Config) any { return c.Server.Listen }},
	"server.auth_mode":                    {"'embedded'", "local", func(c *config.Config) any { return c.Server.Auth }},
	"server.admin.enabled":                {"false", false, func(c *config.Config) any { return c.Server.Admin }},
	"server.jsonrpc.enabled":              {"false", false, func(c *config.Config) any { return c.Server.JSONRPC }},
	"server.sse.enabled":                  {"false", false, func(c *config.Config) any { return c.Server.SSE }},
	"server.websocket.enabled":            {"false", false, func(c *config.Config) any { return c.Server.WebSocket }},
	"server.websocket.ping_interval_secs": {"50", 50 * time.Second, func(c *config.Config) any { return c.Server.WebSocketPing }},
	"server.websocket.pong_timeout_secs":  {"20", 20 * time.Second, func(c *config.Config) any { return c.Server.WebSocketPong }},
	"bootstrap.nodes": {"['/ip4/10.0.0.2/tcp/1/p2p/" + bootPeer + "']", []string{"/ip4/10.0.0.2/tcp/1/p2p/" + bootPeer},
		func(c *config.Config) any { return c.Network.Bootstrap }},
	"discovery.mdns":                           {"false", false, func(c *config.Config) any { return c.Network.MDNS }},
	"discovery.advertise_address":              {"true", true, func(c *config.Config) any { return c.Network.AdvertisePublicIP }},
	"discovery.rendezvous.namespace":           {"'other'", "other", func(c *config.Config) any { return c.Network.Rendezvous.Namespace }},
	"discovery.rendezvous.discovery_rpm":       {"4", 15 * time.Second, func(c *config.Config) any { return c.Network.Rendezvous.Throttle }},
	"discovery.rendezvous.discovery_interval":  {"{secs=7, nanos=0}", 7 * time.Second, func(c *config.Config) any { return c.Network.Rendezvous.Interval }},
	"discovery.rendezvous.registrations_limit": {"2", 2, func(c *config.Config) any { return c.Network.Rendezvous.Registrations }},
	"discovery.relay.registrations_limit":      {"1", 1, func(c *config.Config) any { return c.Network.Relays }},
	"discovery.autonat.max_candidates":         {"6", "discovery.autonat.max_candidates has no effect", nil},
	"discovery.autonat.probe_interval":         {"{secs=11, nanos=0}", "discovery.autonat.probe_interval has no effect", nil},
	"sync.timeout_ms":                          {"3000", 3 * time.Second, func(c *config.Config) any { return c.Sync.Timeout }},
	"sync.interval_ms":                         {"500", 500 * time.Millisecond, func(c *config.Config) any { return c.Sync.Interval }},
	"sync.frequency_ms":                        {"1000", time.Second, func(c *config.Config) any { return c.Sync.Frequency }},
	"datastore.path":                           {"'/var/d'", "/var/d", func(c *config.Config) any { return c.Node.Data }},
	"blobstore.path":                           {"'/var/b'", "/var/b", func(c *config.Config) any { return c.Node.Blobs }},
}

// Every key that init writes does what it says, over what config.hcl says, or there is a warning.
func TestNodeFile_EveryKeyCounts(t *testing.T) {
	t.Parallel()
	home, _ := initialised(t, nil)
	path := filepath.Join(home, "n1", "config.toml")
	written, diags := config.LoadNodeFile(path)
	require.NoError(t, diags.Err())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, toml.Unmarshal(text, &all))
	delete(all, "identity") // tested above
	delete(all, "mode")
	delete(all, "context") // empty tables, for the reference
	for _, key := range leaves("", all) {
		require.Contains(t, overrides, key, "init writes a key that nothing tests")
	}
	for key, o := range overrides {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			require.NotNil(t, written.Get(key), "init does not write it")
			changed, err := written.Set(key + "=" + o.value)
			require.NoError(t, err)
			dir := t.TempDir()
			write(t, filepath.Join(dir, "home", "n1", "config.toml"), string(changed.Bytes()))
			write(t, filepath.Join(dir, "config.hcl"), valid+`
server {
  listen         = ["127.0.0.1:1"]
  websocket_ping = "40s"
}
network {
  listen     = ["/ip4/127.0.0.1/tcp/1"]
  bootstrap  = ["/ip4/10.0.0.1/tcp/1/p2p/`+bootPeer+`"]
  relays     = 9
  rendezvous {
    namespace     = "hcl"
    interval      = "9s"
    throttle      = "9s"
    registrations = 9
  }
}
sync {
  timeout   = "9s"
  interval  = "9s"
  frequency = "9s"
}
`)
			c, diags := config.Load(filepath.Join(dir, "config.hcl"))
			require.NoError(t, diags.Err())
			if o.get == nil {
				require.Contains(t, diags.Warnings().String(), o.want)
				return
			}
			require.Zero(t, diags.Len(), diags.String())
			require.Equal(t, o.want, o.get(c))
		})
	}
}

// leaves are the dotted keys of values that are not tables, and of {secs, nanos}.
func leaves(under string, table map[string]any) []string {
	var out []string
	for name, v := range table {
		next, ok := v.(map[string]any)
		if _, duration := next["secs"]; ok && !duration {
			out = append(out, leaves(under+name+".", next)...)
		} else {
			out = append(out, under+name)
		}
	}
	return out
}

func TestNodeFile_WhatHasNoEffect(t *testing.T) {
	t.Parallel()
	home, _ := initialised(t, nil)
	f, diags := config.LoadNodeFile(filepath.Join(home, "n1", "config.toml"))
	require.NoError(t, diags.Err())
	f, err := f.Set("specialized_node.accept_mock_tee=true", "tee.kms.phala.url='http://127.0.0.1:1'")
	require.NoError(t, err)
	_, diags = config.ParseNodeFile("config.toml", f.Bytes())
	require.NoError(t, diags.Err())
	require.Contains(t, diags.String(), "specialized_node.accept_mock_tee has no effect")
	require.Contains(t, diags.String(), "tee has no effect")
}

func TestSync(t *testing.T) {
	t.Parallel()
	require.Nil(t, load(t, valid).Sync.AcceptUnsigned)
	require.Nil(t, load(t, valid+"sync {\n  accept_unsigned = \"auto\"\n}\n").Sync.AcceptUnsigned)
	for _, yes := range []bool{true, false} {
		got := load(t, valid+fmt.Sprintf("sync {\n  accept_unsigned = %v\n}\n", yes)).Sync.AcceptUnsigned
		require.NotNil(t, got)
		require.Equal(t, yes, *got)
	}
}
