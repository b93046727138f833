package replication_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// lan is a bridge with a network namespace for each node. The test reaches all of them by the bridge's own address.
type lan struct {
	t      testing.TB
	name   string // of the bridge; the namespaces are this and a number
	subnet string // the first three numbers of all addresses
}

// lans counts those of this process.
var lans atomic.Int32

// newLAN makes the namespaces. Where that is not permitted the test is skipped.
func newLAN(t testing.TB, nodes int) *lan {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
		t.Skip("network namespaces need root and the program ip")
	}
	count := int(lans.Add(1))
	l := &lan{
		t: t, name: fmt.Sprintf("mr%d%c", os.Getpid(), 'a'+count%26),
		subnet: fmt.Sprintf("10.%d.%d.", 200+os.Getpid()%50, (os.Getpid()/50+count)%250),
	}
	t.Cleanup(l.remove)
	if err := l.try("link add " + l.name + " type bridge"); err != nil {
		t.Skipf("a bridge is not permitted here: %v", err)
	}
	l.ip("addr add %s254/24 dev %s", l.subnet, l.name)
	l.ip("link set %s up", l.name)
	for i := range nodes {
		l.ip("netns add %s", l.namespace(i))
		l.ip("link add %s-%d type veth peer name eth0 netns %s", l.name, i, l.namespace(i))
		l.ip("link set %s-%d master %s up", l.name, i, l.name)
		l.ip("-n %s addr add %s/24 dev eth0", l.namespace(i), l.address(i))
		l.ip("-n %s link set eth0 up", l.namespace(i))
		l.ip("-n %s link set lo up", l.namespace(i))
	}
	return l
}

func (l *lan) namespace(i int) string { return fmt.Sprintf("%s-ns%d", l.name, i) }
func (l *lan) address(i int) string   { return fmt.Sprintf("%s%d", l.subnet, i+1) }

func (l *lan) try(command string) error {
	out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput() //nolint:gosec // of this test
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, out)
	}
	return nil
}

func (l *lan) ip(format string, args ...any) {
	l.t.Helper()
	require.NoError(l.t, l.try(fmt.Sprintf(format, args...)))
}

// remove deletes what there is; veth pairs go with their namespaces.
func (l *lan) remove() {
	out, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil {
		l.t.Errorf("list namespaces: %v: %s", err, out)
		return
	}
	for line := range strings.Lines(string(out)) {
		if name := strings.Fields(line)[0]; strings.HasPrefix(name, l.name+"-ns") {
			err = errors.Join(err, l.try("netns delete "+name))
		}
	}
	if _, statErr := os.Stat("/sys/class/net/" + l.name); statErr == nil {
		err = errors.Join(err, l.try("link delete "+l.name))
	}
	if err != nil {
		l.t.Error(err)
	}
}

// part cuts a from b, both ways; heal joins them again.
func (l *lan) part(a, b int) { l.routes("add", a, b) }
func (l *lan) heal(a, b int) { l.routes("delete", a, b) }

func (l *lan) routes(verb string, a, b int) {
	l.t.Helper()
	l.ip("-n %s route %s blackhole %s", l.namespace(a), verb, l.address(b))
	l.ip("-n %s route %s blackhole %s", l.namespace(b), verb, l.address(a))
}

// start starts a node in each namespace; all know the first one.
func (l *lan) start(nodes int) *harness.Cluster {
	l.t.Helper()
	return l.startBy(nodes, "tcp/0", func(_ int, before []*harness.Node) []string {
		if len(before) == 0 {
			return nil
		}
		return before[0].Swarm().Addresses[:1]
	})
}

// startBy starts a node in each namespace, one after the other, that listens on a transport and stays connected with what
// bootstrap says, given those before it.
func (l *lan) startBy(nodes int, transport string, bootstrap func(i int, before []*harness.Node) []string) *harness.Cluster {
	l.t.Helper()
	c := &harness.Cluster{}
	for i := range nodes {
		var quoted []string
		for _, address := range bootstrap(i, c.Nodes) {
			quoted = append(quoted, fmt.Sprintf("%q", address))
		}
		n := harness.Start(l.t, harness.Options{
			Listen: []string{l.address(i) + ":0"}, Server: "  behind_proxy = true",
			Network: fmt.Sprintf("  listen = [\"/ip4/%s/%s\"]\n  mdns = false\n  bootstrap = [%s]", l.address(i), transport,
				strings.Join(quoted, ", ")),
			Wrap: []string{"ip", "netns", "exec", l.namespace(i)},
		})
		client := n.Client()
		l.t.Cleanup(client.Close)
		c.Nodes, c.Clients = append(c.Nodes, n), append(c.Clients, client)
	}
	return c
}

// TestPartition: both sides go on writing, the same keys too; when the network is whole again they are equal without
// help. A node that is cut from one peer alone hears of its writes by the third.
func TestPartition(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	c := l.start(3)
	all := c.Mesh(t, "kv", nil)
	want := writers(t, all, "whole", 2, 2, 2)
	c.Equal(t, all...)

	l.part(0, 1)
	want = merged(want, writers(t, all, "one", 3, 3, 2))
	c.Equal(t, all...)
	l.part(0, 2)
	want = merged(want, writers(t, all, "both", 3, 3, harness.Scale(2, 20)))
	c.Equal(t, all[1], all[2])
	apart, err := harness.Roots(t.Context(), all...)
	require.NoError(t, err)
	require.NotEqual(t, apart[0], apart[1], "the partition is none")
	l.heal(0, 1)
	l.heal(0, 2)
	c.Equal(t, all...)
	holds(t, all, want)
}
