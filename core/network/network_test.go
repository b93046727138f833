package network_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/thejerf/suture/v4"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const wait = 20 * time.Second

// testNode is a running network of its own.
type testNode struct {
	*network.Client
	reg  *prometheus.Registry
	stop func()
	opts network.Options
}

// loopback listens on free ports of the loopback interface.
var loopback = []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}

// options are those of a node that finds nobody by itself.
func options(t *testing.T) network.Options {
	t.Helper()
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	return network.Options{
		Key: key, Listen: loopback, Logger: testLog(t), Redial: 50 * time.Millisecond, RedialMax: time.Second,
	}
}

func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("test", t.Name())
}

// start runs a network until the test ends; before sets what must be set before it runs.
func start(t *testing.T, opts network.Options, before ...func(c *network.Client)) *testNode {
	t.Helper()
	n, err := tryStart(t, opts, before...)
	require.NoError(t, err)
	return n
}

func tryStart(t *testing.T, opts network.Options, before ...func(c *network.Client)) (*testNode, error) {
	t.Helper()
	reg := prometheus.NewRegistry()
	opts.Registerer = reg
	a, err := network.New(opts)
	require.NoError(t, err)
	c := a.Client()
	for _, f := range before {
		f(c)
	}
	n := &testNode{Client: c, reg: reg, stop: serve(t, a, opts.Logger), opts: opts}
	t.Cleanup(n.stop)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	return n, c.Started(ctx)
}

func serve(t *testing.T, s suture.Service, log *slog.Logger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	sup := actor.NewSupervisor("test", log, wait)
	sup.Add(s)
	done := sup.ServeBackground(ctx)
	stopped := false
	return func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
}

// address is one of the node's, for Dial: TCP, or QUIC.
func (n *testNode) address(t *testing.T, kind string) string {
	t.Helper()
	for _, a := range n.ListenAddrs() {
		if slices.Contains(splitAddress(a), kind) {
			return a + "/p2p/" + n.LocalPeerID().String()
		}
	}
	t.Fatalf("no %s address among %v", kind, n.ListenAddrs())
	return ""
}

// dial connects two nodes.
func (n *testNode) dial(t *testing.T, to *testNode, kind string) {
	t.Helper()
	id, err := n.Dial(within(t), to.address(t, kind))
	require.NoError(t, err)
	require.Equal(t, to.LocalPeerID(), id)
}

func splitAddress(a string) []string {
	var out []string
	for start, i := 0, 0; i <= len(a); i++ {
		if i == len(a) || a[i] == '/' {
			out = append(out, a[start:i])
			start = i + 1
		}
	}
	return out
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	t.Cleanup(cancel)
	return ctx
}

// until reads events until one fits.
func until[E network.Event](t *testing.T, n *testNode, fits func(E) bool) E {
	t.Helper()
	timeout := time.After(wait)
	for {
		select {
		case e := <-n.Events():
			if e, ok := e.(E); ok && fits(e) {
				return e
			}
		case <-timeout:
			var none E
			t.Fatalf("no fitting event %T came", none)
			return none
		}
	}
}

// meet waits until each of the nodes sees all the others in a topic.
func meet(t *testing.T, topic string, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes {
		require.Eventually(t, func() bool {
			peers, err := n.TopicPeers(t.Context(), topic)
			return err == nil && !slices.ContainsFunc(nodes, func(other *testNode) bool {
				return other != n && !slices.Contains(peers, other.LocalPeerID())
			})
		}, wait, 10*time.Millisecond)
	}
}

func TestTwoNodesGossip(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tcp", "quic-v1"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			const topic = "topic"
			a, b := start(t, options(t)), start(t, options(t))
			require.NoError(t, a.Subscribe(t.Context(), topic))
			require.ErrorIs(t, a.Publish(t.Context(), topic, []byte("nobody")), network.ErrNoPeers)
			a.dial(t, b, kind)
			until(t, b, func(e network.PeerConnected) bool { return e.Peer == a.LocalPeerID() })
			require.Equal(t, []network.PeerID{b.LocalPeerID()}, a.Peers())
			require.NoError(t, b.Subscribe(t.Context(), topic))
			meet(t, topic, a, b)
			for i, pair := range [][2]*testNode{{a, b}, {b, a}} {
				data := fmt.Appendf(nil, "message %d", i)
				require.NoError(t, pair[0].Publish(t.Context(), topic, data))
				m := until(t, pair[1], func(network.MessageReceived) bool { return true })
				require.Equal(t, topic, m.Topic)
				require.Equal(t, data, m.Data)
				require.Equal(t, pair[0].LocalPeerID(), m.Source)
				require.Equal(t, pair[0].LocalPeerID(), m.Forwarder)
			}
			require.Eventually(t, func() bool {
				mesh, err := a.MeshPeers(t.Context(), topic)
				return err == nil && slices.Equal(mesh, []network.PeerID{b.LocalPeerID()})
			}, wait, 10*time.Millisecond)

			require.NoError(t, b.Unsubscribe(t.Context(), topic))
			until(t, a, func(e network.PeerUnsubscribed) bool { return e.Peer == b.LocalPeerID() && e.Topic == topic })
			require.ErrorIs(t, b.Publish(t.Context(), topic, nil), errkind.Precondition)
			b.stop()
			until(t, a, func(e network.PeerDisconnected) bool { return e.Peer == b.LocalPeerID() })
			require.Empty(t, a.Peers())
		})
	}
}

// privKey is a key as libp2p has it.
func privKey(t *testing.T, key domain.PrivateKey) crypto.PrivKey {
	t.Helper()
	public := key.Public()
	k, err := crypto.UnmarshalEd25519PrivateKey(slices.Concat(key[:], public[:]))
	require.NoError(t, err)
	return k
}
