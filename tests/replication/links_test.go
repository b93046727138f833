package replication_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// through makes proxies between all nodes, which cannot reach each other otherwise: each node connects to those before it.
func (l *lan) through(nodes int, network string, f harness.Faults) (c *harness.Cluster, proxies []*harness.Proxy) {
	l.t.Helper()
	for a := range nodes {
		for b := range a {
			l.part(a, b)
		}
	}
	transport := map[string]string{"tcp": "tcp/0", "udp": "udp/0/quic-v1"}[network]
	c = l.startBy(nodes, transport, func(i int, before []*harness.Node) (bootstrap []string) {
		for _, n := range before {
			parts := strings.Split(n.Swarm().Addresses[0], "/") // "", ip4, A, tcp or udp, PORT, …, p2p, ID
			f.Seed++
			p, err := harness.StartProxy(network, l.subnet+"254:0", parts[2]+":"+parts[4], f)
			require.NoError(l.t, err)
			l.t.Cleanup(p.Close)
			proxies = append(proxies, p)
			_, port, _ := strings.Cut(p.Addr, ":")
			parts[2], parts[4] = l.subnet+"254", port
			bootstrap = append(bootstrap, strings.Join(parts, "/"))
		}
		return bootstrap
	})
	return c, proxies
}

// TestBadLinks: three nodes that reach each other only through links that delay, break, lose, double and reorder. All write
// at the same time, the same keys too; in the end they are equal.
func TestBadLinks(t *testing.T) {
	t.Parallel()
	for network, f := range map[string]harness.Faults{
		"tcp": {Seed: 100, Delay: 15 * time.Millisecond, Break: 0.002},
		"udp": {Seed: 200, Delay: 25 * time.Millisecond, Lose: 0.05, Double: 0.05},
	} {
		t.Run(network, func(t *testing.T) {
			l := newLAN(t, 3)
			c, proxies := l.through(3, network, f)
			all := c.Mesh(t, "kv", nil)
			want := writers(t, all, "first", 3, 3, harness.Scale(2, 20))
			for _, p := range proxies {
				p.BreakAll()
			}
			want = merged(want, writers(t, all, "then", 3, 3, harness.Scale(2, 20)))
			c.Equal(t, all...)
			holds(t, all, want)
			for i, p := range proxies {
				t.Logf("link %d: %d passed, %d broken, %d lost, %d doubled", i, p.Passed.Load(), p.Broken.Load(), p.Lost.Load(), p.Doubled.Load())
				require.Positive(t, p.Passed.Load(), "link %d is not used", i)
				if network == "tcp" {
					require.Positive(t, p.Broken.Load())
				} else {
					require.Positive(t, p.Lost.Load())
					require.Positive(t, p.Doubled.Load())
				}
			}
		})
	}
}

// iptables changes the filter of a node's namespace. The test is skipped where there is none.
func (l *lan) iptables(node int, rule string) {
	l.t.Helper()
	if _, err := exec.LookPath("iptables"); err != nil {
		l.t.Skip("random loss and one-way partitions need the program iptables")
	}
	args := append([]string{"netns", "exec", l.namespace(node), "iptables"}, strings.Fields(rule)...)
	out, err := exec.Command("ip", args...).CombinedOutput() //nolint:gosec // of this test
	if err != nil && strings.Contains(string(out), "not supported") {
		l.t.Skipf("iptables %s does not work here: %s", rule, out)
	}
	require.NoErrorf(l.t, err, "iptables %s: %s", rule, out)
}

// TestLossyNetwork: between the namespaces packets are lost at random; then one direction between two nodes is cut, and
// then one node hears nobody while all hear it. Whatever was acknowledged is on all nodes once the network is whole again,
// without help.
func TestLossyNetwork(t *testing.T) {
	t.Parallel()
	const nodes = 3
	l := newLAN(t, nodes)
	for i := range nodes {
		l.iptables(i, "-A INPUT -m statistic --mode random --probability 0.05 -j DROP")
	}
	c := l.start(nodes)
	all := c.Mesh(t, "kv", nil)
	begin := time.Now()
	phase := func(what string) { t.Logf("%s after %v", what, time.Since(begin).Round(time.Millisecond)) }
	rounds := harness.Scale(2, 20)
	want := writers(t, all, "lossy", 3, 3, rounds)
	c.Equal(t, all...)
	phase("equal in spite of losses")

	l.iptables(0, fmt.Sprintf("-A INPUT -s %s -j DROP", l.address(1)))
	want = merged(want, writers(t, all, "one way", 3, 3, rounds))
	c.Equal(t, all...) // by the third
	phase("equal in spite of a one-way cut")

	l.iptables(2, fmt.Sprintf("-A INPUT -s %s -j DROP", l.address(0)))
	l.iptables(2, fmt.Sprintf("-A INPUT -s %s -j DROP", l.address(1)))
	want = merged(want, writers(t, all, "deaf", 3, 3, rounds))
	apart, err := harness.Roots(t.Context(), all...)
	require.NoError(t, err)
	require.NotEqual(t, apart[0], apart[2], "the cut is none")
	for i := range nodes {
		l.iptables(i, "-F INPUT")
	}
	phase("whole again")
	c.Equal(t, all...)
	phase("equal")
	holds(t, all, want)
}
