package network_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	p2p "github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/network/rendezvous"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// connected waits until a node is connected to a peer.
func connected(t *testing.T, n *testNode, p network.PeerID) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, q := range n.Peers() {
			if p == q {
				return true
			}
		}
		return false
	}, wait, 10*time.Millisecond)
}

func TestListenFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	opts := options(t)
	opts.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)}
	n, err := tryStart(t, opts)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, "swarm.listen")
	n.stop()
	require.Empty(t, n.Peers())
	require.Empty(t, n.ListenAddrs())
}

func TestStopped(t *testing.T) {
	t.Parallel()
	n := start(t, options(t))
	require.NotEmpty(t, n.ListenAddrs())
	n.stop()
	require.Empty(t, n.ListenAddrs())
	require.Empty(t, n.Peers())
	require.False(t, n.Supports(n.LocalPeerID(), "/x"))
	require.ErrorIs(t, n.Subscribe(within(t), "x"), errkind.Unavailable)
	_, err := n.OpenStream(within(t), n.LocalPeerID(), "/x")
	require.ErrorIs(t, err, errkind.Unavailable)
}

func TestOptions_Refused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*network.Options){
		"listen":    func(o *network.Options) { o.Listen = []string{"127.0.0.1:1"} },
		"advertise": func(o *network.Options) { o.Advertise = []string{"x"} },
		"bootstrap": func(o *network.Options) { o.Bootstrap = []string{"/ip4/127.0.0.1/tcp/1"} },
		"peers":     func(o *network.Options) { o.MaxPeers = 1 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := options(t)
			change(&opts)
			_, err := network.New(opts)
			require.ErrorIs(t, err, errkind.Invalid)
		})
	}
	n := start(t, options(t))
	_, err := n.Dial(within(t), "/ip4/127.0.0.1/tcp/1")
	require.ErrorIs(t, err, errkind.Invalid)
	_, err = n.Dial(within(t), "/ip4/127.0.0.1/tcp/1/p2p/"+start(t, options(t)).LocalPeerID().String())
	require.ErrorIs(t, err, errkind.Unavailable)
}

// TestBootstrap_KeepsTheConnection: a lost bootstrap peer is dialled until it is back, with the same identity or at all.
func TestBootstrap_KeepsTheConnection(t *testing.T) {
	t.Parallel()
	opts := options(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that stays the same
	require.NoError(t, err)
	opts.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)}
	require.NoError(t, l.Close())
	first := start(t, opts)
	o := options(t)
	o.Bootstrap = []string{first.address(t, "tcp")}
	n := start(t, o)
	for range 2 {
		until(t, n, func(e network.PeerConnected) bool { return e.Peer == first.LocalPeerID() })
		first.stop()
		until(t, n, func(e network.PeerDisconnected) bool { return e.Peer == first.LocalPeerID() })
		first = start(t, opts)
	}
	connected(t, n, first.LocalPeerID())
}

// TestLocalFolder: nodes with nothing but a folder in common find each other.
func TestLocalFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "near")
	var nodes []*testNode
	for range 3 {
		opts := options(t)
		opts.LocalDir = dir
		nodes = append(nodes, start(t, opts))
	}
	for _, n := range nodes {
		for _, other := range nodes {
			if n != other {
				connected(t, n, other.LocalPeerID())
			}
		}
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	own := filepath.Join(dir, nodes[0].LocalPeerID().String()+".json")
	require.FileExists(t, own)
	nodes[0].stop()
	require.NoFileExists(t, own)
}

// TestLocalFolder_Suspicious: files that lie are passed over, and a folder of others is not used at all.
func TestLocalFolder_Suspicious(t *testing.T) {
	t.Parallel()
	open := t.TempDir()
	require.NoError(t, os.Chmod(open, 0o755))
	opts := options(t)
	opts.LocalDir = open
	n := start(t, opts)

	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	friend := start(t, options(t))
	stack, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		stack = "host"
	}
	put := func(name, id, network string, addresses ...string) {
		b, err := json.Marshal(map[string]any{"peer_id": id, "addresses": addresses, "network": network})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), b, 0o600))
	}
	address := func(n *testNode) string {
		return strings.TrimSuffix(n.address(t, "tcp"), "/p2p/"+n.LocalPeerID().String())
	}
	other, elsewhere, stale := start(t, options(t)), start(t, options(t)), start(t, options(t))
	put(other.LocalPeerID().String(), friend.LocalPeerID().String(), stack, address(other))          // another's name
	put(elsewhere.LocalPeerID().String(), elsewhere.LocalPeerID().String(), "x", address(elsewhere)) // another network
	put(stale.LocalPeerID().String(), stale.LocalPeerID().String(), stack, address(stale))
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(dir, stale.LocalPeerID().String()+".json"), old, old))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "junk.json"), []byte("{"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large.json"), make([]byte, 1<<20), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder.json"), 0o700))
	// A public address is not dialled, the loopback one beside it is.
	put(friend.LocalPeerID().String(), friend.LocalPeerID().String(), stack, "/ip4/192.0.2.1/tcp/1", "nonsense", address(friend))
	opts = options(t)
	opts.LocalDir = dir
	m := start(t, opts)
	connected(t, m, friend.LocalPeerID())
	require.Equal(t, []network.PeerID{friend.LocalPeerID()}, m.Peers())
	require.Equal(t, 1.0, metric(t, m, "calimero_network_peers_found_total", "local"))
	require.Empty(t, n.Peers())
	entries, err := os.ReadDir(open)
	require.NoError(t, err)
	require.Empty(t, entries, "a folder that others can read is not written to")
}

// point is a rendezvous point, with the answers of the Rust implementation.
type point struct {
	host host.Host

	mu      sync.Mutex
	records map[peer.ID]rendezvous.Register
	asked   []rendezvous.Message
	// answer, if not nil, replaces the answer to Discover.
	answer func() []byte
}

func newPoint(t *testing.T) *point {
	t.Helper()
	p := &point{host: stranger(t), records: map[peer.ID]rendezvous.Register{}}
	p.host.SetStreamHandler(rendezvous.Protocol, func(s p2p.Stream) {
		defer s.Close()
		body, err := rendezvous.ReadMessage(s)
		if err != nil {
			return
		}
		m, err := rendezvous.Decode(body)
		if err != nil {
			return
		}
		if answer := p.reply(s.Conn().RemotePeer(), m); answer != nil {
			_ = rendezvous.WriteMessage(s, answer)
		}
	})
	return p
}

func (p *point) reply(from peer.ID, m *rendezvous.Message) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, *m)
	switch m.Type {
	case rendezvous.TypeRegister:
		p.records[from] = m.Register
		return (&rendezvous.Message{Type: rendezvous.TypeRegisterResponse, RegisterResponse: rendezvous.RegisterResponse{TTL: 7200}}).Encode()
	case rendezvous.TypeUnregister:
		delete(p.records, from)
	case rendezvous.TypeDiscover:
		if p.answer != nil {
			return p.answer()
		}
		r := rendezvous.DiscoverResponse{Cookie: []byte("cookie")}
		for _, one := range p.records {
			r.Registrations = append(r.Registrations, one)
		}
		return (&rendezvous.Message{Type: rendezvous.TypeDiscoverResponse, DiscoverResponse: r}).Encode()
	}
	return nil
}

func (p *point) listed(id peer.ID) (rendezvous.Register, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.records[id]
	return r, ok
}

func (p *point) address() string { return p.host.Addrs()[0].String() + "/p2p/" + p.host.ID().String() }

// viaPoint are the options of a node that knows a rendezvous point alone, and may be dialled at an address it advertises.
func viaPoint(t *testing.T, p *point) network.Options {
	t.Helper()
	opts := options(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, l.Close())
	opts.Listen, opts.Advertise = []string{address}, []string{address}
	opts.Bootstrap = []string{p.address()}
	opts.Rendezvous = network.Rendezvous{Namespace: "ns", Interval: 100 * time.Millisecond, Throttle: 50 * time.Millisecond}
	return opts
}

func TestRendezvous(t *testing.T) {
	t.Parallel()
	p := newPoint(t)
	opts := viaPoint(t, p)
	a, b := start(t, opts), start(t, viaPoint(t, p))
	connected(t, a, b.LocalPeerID())
	connected(t, b, a.LocalPeerID())
	r, ok := p.listed(a.LocalPeerID())
	require.True(t, ok)
	require.Equal(t, "ns", r.Namespace)
	info, err := rendezvous.OpenRecord(r.Record)
	require.NoError(t, err)
	require.Equal(t, a.LocalPeerID(), info.ID)
	require.Equal(t, []ma.Multiaddr{ma.StringCast(opts.Advertise[0])}, info.Addrs)
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, m := range p.asked {
			if m.Type == rendezvous.TypeDiscover && string(m.Discover.Cookie) == "cookie" {
				return true
			}
		}
		return false
	}, wait, 10*time.Millisecond, "the cookie comes back")

	private := viaPoint(t, p)
	private.Advertise = nil
	c := start(t, private)
	connected(t, c, a.LocalPeerID())
	_, ok = p.listed(c.LocalPeerID())
	require.False(t, ok, "a node without an address for others is not listed")

	a.stop()
	require.Eventually(t, func() bool { _, ok := p.listed(a.LocalPeerID()); return !ok }, wait, 10*time.Millisecond)
}

// TestRendezvous_HostilePoint: whatever a point answers, the node goes on and dials no forged record.
func TestRendezvous_HostilePoint(t *testing.T) {
	t.Parallel()
	victim := start(t, options(t))
	forger, err := domain.NewPrivateKey()
	require.NoError(t, err)
	key := privKey(t, forger)
	forged, err := rendezvous.SealRecord(key, peer.AddrInfo{ID: victim.LocalPeerID(),
		Addrs: []ma.Multiaddr{ma.StringCast(strings.Split(victim.address(t, "tcp"), "/p2p/")[0])}})
	require.NoError(t, err)
	for name, answer := range map[string]func() []byte{
		"nothing":    func() []byte { return []byte{} },
		"garbage":    func() []byte { return []byte{0xff, 0xff, 0xff} },
		"other type": func() []byte { return (&rendezvous.Message{Type: rendezvous.TypeRegisterResponse}).Encode() },
		"refusal": func() []byte {
			return (&rendezvous.Message{Type: rendezvous.TypeDiscoverResponse,
				DiscoverResponse: rendezvous.DiscoverResponse{Status: 103, Text: "no"}}).Encode()
		},
		"too long": func() []byte { return make([]byte, rendezvous.MaxMessage+1) },
		"forged": func() []byte {
			return (&rendezvous.Message{Type: rendezvous.TypeDiscoverResponse, DiscoverResponse: rendezvous.DiscoverResponse{
				Registrations: []rendezvous.Register{{Namespace: "ns", Record: forged}}}}).Encode()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPoint(t)
			p.answer = answer
			n := start(t, viaPoint(t, p))
			require.Eventually(t, func() bool {
				return metric(t, n, "calimero_network_rendezvous_total", "discover") >= 2
			}, wait, 10*time.Millisecond)
			require.Equal(t, []network.PeerID{p.host.ID()}, n.Peers())
		})
	}
}

// TestRelay: a node that cannot be dialled is reached through a relay it has a reservation at.
func TestRelay(t *testing.T) {
	t.Parallel()
	r := stranger(t, libp2p.EnableRelayService(relay.WithInfiniteLimits()), libp2p.ForceReachabilityPublic())
	address := r.Addrs()[0].String() + "/p2p/" + r.ID().String()
	opts := deaf(t)
	opts.Bootstrap, opts.RelayReservations = []string{address}, 1
	hidden := start(t, opts, serving(t, "/echo", network.StreamLimits{}, echo))
	n := start(t, deaf(t))
	circuit := address + "/p2p-circuit/p2p/" + hidden.LocalPeerID().String()
	require.Eventually(t, func() bool {
		_, err := n.Dial(within(t), circuit)
		return err == nil
	}, wait, 100*time.Millisecond)
	s, err := n.OpenStream(within(t), hidden.LocalPeerID(), "/echo")
	require.NoError(t, err)
	require.NoError(t, s.WriteFrame(within(t), []byte("through the relay")))
	got, err := s.ReadFrame(within(t), 0)
	require.NoError(t, err)
	require.Equal(t, "through the relay", string(got))
	require.NoError(t, s.Close())
}

// viaRelay is a gate that lets a host dial nobody directly but its relay.
type viaRelay struct{ relay peer.ID }

func (g viaRelay) InterceptPeerDial(peer.ID) bool { return true }
func (g viaRelay) InterceptAddrDial(p peer.ID, a ma.Multiaddr) bool {
	return p == g.relay || strings.Contains(a.String(), "p2p-circuit")
}
func (g viaRelay) InterceptAccept(p2p.ConnMultiaddrs) bool                          { return true }
func (g viaRelay) InterceptSecured(p2p.Direction, peer.ID, p2p.ConnMultiaddrs) bool { return true }
func (g viaRelay) InterceptUpgraded(p2p.Conn) (bool, control.DisconnectReason)      { return true, 0 }

// TestHolePunching: a connection through a relay is replaced by a direct one where that is possible.
func TestHolePunching(t *testing.T) {
	t.Parallel()
	if !inNamespace(t, "for i in 1 2 3; do ip addr add 1.2.3.$i/32 dev lo; done") {
		return
	}
	r := stranger(t, libp2p.ListenAddrStrings("/ip4/1.2.3.1/tcp/0"),
		libp2p.EnableRelayService(relay.WithInfiniteLimits()), libp2p.ForceReachabilityPublic())
	address := r.Addrs()[1].String() + "/p2p/" + r.ID().String()
	opts := options(t)
	opts.Listen, opts.Bootstrap, opts.RelayReservations = []string{"/ip4/1.2.3.2/tcp/0"}, []string{address}, 1
	hidden := start(t, opts, serving(t, "/echo", network.StreamLimits{}, echo))
	h := stranger(t, libp2p.ListenAddrStrings("/ip4/1.2.3.3/tcp/0"), libp2p.ConnectionGater(viaRelay{r.ID()}))
	circuit, err := peer.AddrInfoFromString(address + "/p2p-circuit/p2p/" + hidden.LocalPeerID().String())
	require.NoError(t, err)
	relayed := 0
	var met time.Time
	require.Eventually(t, func() bool {
		for _, c := range h.Network().ConnsToPeer(hidden.LocalPeerID()) {
			if !strings.Contains(c.RemoteMultiaddr().String(), "p2p-circuit") {
				return true
			}
			relayed++
		}
		if time.Since(met) > 2*time.Second { // before, it may not have known that others can dial it
			_ = h.Network().ClosePeer(hidden.LocalPeerID())
			if h.Connect(within(t), *circuit) == nil { // there is a reservation
				met = time.Now()
			}
		}
		return false
	}, wait, 50*time.Millisecond)
	require.Positive(t, relayed, "it was reached through the relay first")
}

func TestDHT(t *testing.T) {
	t.Parallel()
	middle := start(t, options(t))
	var nodes []*testNode
	for range 3 {
		opts := options(t)
		opts.Bootstrap = []string{middle.address(t, "tcp")}
		nodes = append(nodes, start(t, opts))
	}
	key := network.BlobKey{Context: domain.ContextID{1}, Blob: domain.BlobID{2}}
	found, err := middle.FindProviders(within(t), key, 10)
	require.NoError(t, err)
	require.Empty(t, found)
	require.NoError(t, nodes[0].Provide(within(t), key, 77))
	require.NoError(t, nodes[1].Provide(within(t), key, 77))
	var ids []network.PeerID
	require.Eventually(t, func() bool {
		found, err := nodes[2].FindProviders(within(t), key, 10)
		require.NoError(t, err)
		ids = nil
		for _, p := range found {
			ids = append(ids, p.Peer)
		}
		return len(found) == 2
	}, wait, 50*time.Millisecond)
	require.ElementsMatch(t, []network.PeerID{nodes[0].LocalPeerID(), nodes[1].LocalPeerID()}, ids)
	one, err := nodes[2].FindProviders(within(t), key, 1)
	require.NoError(t, err)
	require.Len(t, one, 1)
	own, err := nodes[0].FindProviders(within(t), key, 10)
	require.NoError(t, err)
	require.Equal(t, nodes[1].LocalPeerID(), own[0].Peer, "a node does not find itself")
	none, err := nodes[2].FindProviders(within(t), network.BlobKey{}, 10)
	require.NoError(t, err)
	require.Empty(t, none)
}

// TestDHT_AnnouncementWaitsForPeers: what is announced by a node that is alone is found once it is not.
func TestDHT_AnnouncementWaitsForPeers(t *testing.T) {
	t.Parallel()
	a, b := start(t, options(t)), start(t, options(t))
	key := network.BlobKey{Blob: domain.BlobID{9}}
	require.NoError(t, a.Provide(within(t), key, 5))
	a.dial(t, b, "quic-v1")
	require.Eventually(t, func() bool {
		found, err := b.FindProviders(within(t), key, 1)
		return err == nil && len(found) == 1 && found[0].Peer == a.LocalPeerID()
	}, wait, 50*time.Millisecond)
}

// TestPublicAddress: what the service says is advertised; a node that cannot learn it does not start.
func TestPublicAddress(t *testing.T) {
	t.Parallel()
	answer := "192.0.2.7"
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, answer) }))
	t.Cleanup(service.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	opts := options(t)
	opts.Listen = []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port), "/ip4/127.0.0.1/udp/0/quic-v1"}
	opts.AdvertisePublicIP, opts.PublicIPService = true, service.URL
	n := start(t, opts)
	h := stranger(t)
	knows(t, h, n)
	require.Eventually(t, func() bool {
		for _, a := range h.Peerstore().Addrs(n.LocalPeerID()) {
			if a.String() == fmt.Sprintf("/ip4/192.0.2.7/tcp/%d", port) {
				return true
			}
		}
		return false
	}, wait, 10*time.Millisecond)

	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }))
	t.Cleanup(bad.Close)
	opts = options(t)
	opts.AdvertisePublicIP, opts.PublicIPService = true, bad.URL
	_, err = tryStart(t, opts)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, "discovery.advertise_address")
}

// TestConnectionLimits: the node takes as many connections as it was told, and no more.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	opts := options(t)
	opts.MaxPeers = 4 // the bound on connections is twice that
	n := start(t, opts)
	info, err := peer.AddrInfoFromString(n.address(t, "tcp"))
	require.NoError(t, err)
	refused := 0
	for range 12 {
		h := stranger(t)
		if err := h.Connect(within(t), *info); err != nil {
			refused++
			continue
		}
		if len(h.Network().ConnsToPeer(n.LocalPeerID())) == 0 {
			refused++
		}
	}
	require.LessOrEqual(t, len(n.Peers()), 8)
	require.GreaterOrEqual(t, refused, 4)
	require.Eventually(t, func() bool { return len(n.Peers()) > 0 }, wait, 10*time.Millisecond)
}

// TestConnectionManager: above the number of peers that are kept, the least useful connections are closed; one to a bootstrap
// peer never is.
func TestConnectionManager(t *testing.T) {
	t.Parallel()
	address := func(h host.Host) string { return h.Addrs()[0].String() + "/p2p/" + h.ID().String() }
	boot := stranger(t)
	opts := options(t)
	opts.MaxPeers, opts.Bootstrap = 4, []string{address(boot)}
	n := start(t, opts)
	connected(t, n, boot.ID())
	for range 6 { // each with a stream, so that the bootstrap peer would go first
		h := stranger(t)
		h.SetStreamHandler("/useful", func(s p2p.Stream) { time.AfterFunc(5*wait, func() { _ = s.Reset() }) })
		_, err := n.Dial(within(t), address(h))
		require.NoError(t, err)
		s, err := n.OpenStream(within(t), h.ID(), "/useful")
		require.NoError(t, err)
		require.NoError(t, s.WriteFrame(within(t), []byte("x")))
		t.Cleanup(s.Reset)
	}
	require.Len(t, n.Peers(), 7)
	require.Eventually(t, func() bool { return len(n.Peers()) <= 4 }, 3*wait, 100*time.Millisecond)
	require.Contains(t, n.Peers(), boot.ID())
	require.Len(t, boot.Network().ConnsToPeer(n.LocalPeerID()), 1)
	require.Equal(t, 7.0, metric(t, n, "calimero_network_dials_total", "ok"), "it was not closed and dialled again")
}

// TestDeadConnections: a peer that stops answering is let go; so is the old connection of one that came back.
func TestDeadConnections(t *testing.T) {
	t.Parallel()
	opts := options(t)
	opts.Ping, opts.PingTimeout = 100*time.Millisecond, 300*time.Millisecond
	n := start(t, opts)
	mute := stranger(t, libp2p.Ping(false))
	mute.SetStreamHandler("/ipfs/ping/1.0.0", func(s p2p.Stream) { time.AfterFunc(wait, func() { _ = s.Reset() }) })
	knows(t, mute, n)
	until(t, n, func(e network.PeerConnected) bool { return e.Peer == mute.ID() })
	until(t, n, func(e network.PeerDisconnected) bool { return e.Peer == mute.ID() })

	without := stranger(t, libp2p.Ping(false))
	knows(t, without, n)
	busy := stranger(t, libp2p.Ping(false))
	busy.SetStreamHandler("/ipfs/ping/1.0.0", func(s p2p.Stream) { _ = s.ResetWithError(p2p.StreamResourceLimitExceeded) })
	knows(t, busy, n)
	lively := start(t, options(t))
	lively.dial(t, n, "tcp")
	lively.dial(t, n, "quic-v1")
	pings := func() float64 {
		families, err := n.reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "calimero_network_ping_seconds" {
				return float64(f.GetMetric()[0].GetHistogram().GetSampleCount())
			}
		}
		return 0
	}
	require.Eventually(t, func() bool { return pings() > 5 }, wait, 10*time.Millisecond)
	require.Len(t, n.Peers(), 3, "one that answers, one that does not know the protocol, and one that is asked too often")
}

// TestReturnedPeer: when a peer that does not answer any more connects anew, as one does that was killed, its old
// connection goes at once and the new one stays.
func TestReturnedPeer(t *testing.T) {
	t.Parallel()
	n := start(t, options(t))
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	identity := libp2p.Identity(privKey(t, key))
	dead := stranger(t, identity, libp2p.Ping(false))
	dead.SetStreamHandler("/ipfs/ping/1.0.0", func(s p2p.Stream) { time.AfterFunc(wait, func() { _ = s.Reset() }) })
	knows(t, dead, n)
	connected(t, n, dead.ID())
	back := stranger(t, identity)
	knows(t, back, n)
	began := time.Now()
	require.Eventually(t, func() bool { return len(dead.Network().ConnsToPeer(n.LocalPeerID())) == 0 }, wait, 10*time.Millisecond)
	require.Less(t, time.Since(began), 10*time.Second, "before the next ping")
	require.NotEmpty(t, back.Network().ConnsToPeer(n.LocalPeerID()))
	require.Equal(t, []network.PeerID{back.ID()}, n.Peers())
}

// inNamespace runs a test again in a network namespace of its own, after a script; true inside of it.
func inNamespace(t *testing.T, script string, tools ...string) (inside bool) {
	t.Helper()
	if os.Getenv("NETWORK_TEST_NAMESPACE") == t.Name() {
		return true
	}
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("network namespaces need Linux and root")
	}
	for _, tool := range append(tools, "unshare", "ip") {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*wait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "sh", "-c", "set -e\nip link set lo up\n"+script+
		"\nexec \"$0\" -test.run \"^$1\\$\" -test.v", exe, t.Name())
	cmd.Env = append(os.Environ(), "NETWORK_TEST_NAMESPACE="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "Operation not permitted") {
		t.Skipf("no network namespaces here: %s", out)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

// TestMDNS: two nodes that know nothing of each other meet on an interface that multicasts.
func TestMDNS(t *testing.T) {
	t.Parallel()
	if !inNamespace(t, `ip link add near type veth peer name far
ip addr add 10.99.0.1/24 dev near
ip link set near up
ip link set far up
ip route add 224.0.0.0/4 dev near`) {
		return
	}
	var nodes []*testNode
	for range 2 {
		opts := options(t)
		opts.Listen = []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"}
		opts.MDNS = true
		nodes = append(nodes, start(t, opts))
	}
	connected(t, nodes[0], nodes[1].LocalPeerID())
	found := metric(t, nodes[0], "calimero_network_peers_found_total", "mdns") +
		metric(t, nodes[1], "calimero_network_peers_found_total", "mdns")
	require.Positive(t, found)
}

// TestPartition: a network that carries nothing any more, which no TCP socket notices, is found out; when it heals, the nodes meet
// again without help and gossip.
func TestPartition(t *testing.T) {
	t.Parallel()
	if !inNamespace(t, "") {
		return
	}
	const topic = "topic"
	loopback := func(state string) {
		out, err := exec.CommandContext(t.Context(), "ip", "link", "set", "lo", state).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	for _, kind := range []string{"tcp", "quic-v1"} {
		opts := options(t)
		opts.Ping, opts.PingTimeout = 200*time.Millisecond, 500*time.Millisecond
		a := start(t, opts)
		opts = options(t)
		opts.Ping, opts.PingTimeout = 200*time.Millisecond, 500*time.Millisecond
		opts.Bootstrap = []string{a.address(t, kind)}
		b := start(t, opts)
		join(t, topic, a, b)
		meet(t, topic, a, b)
		loopback("down")
		until(t, a, func(e network.PeerDisconnected) bool { return e.Peer == b.LocalPeerID() })
		until(t, b, func(e network.PeerDisconnected) bool { return e.Peer == a.LocalPeerID() })
		loopback("up")
		until(t, a, func(e network.PeerConnected) bool { return e.Peer == b.LocalPeerID() })
		meet(t, topic, a, b)
		require.NoError(t, b.Publish(within(t), topic, []byte("healed "+kind)))
		received(t, a, "healed "+kind)
		a.stop()
		b.stop()
	}
}
