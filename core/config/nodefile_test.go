package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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
	require.Equal(t, 5*time.Second, c.Network.SyncInterval)

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
	require.Equal(t, 500*time.Millisecond, c.Network.SyncInterval)
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
