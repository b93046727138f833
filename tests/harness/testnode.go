package harness

import (
	"context"
	"strings"
	"testing"
)

// Start makes and starts a node for a test. At the end of the test it is stopped, must have left neither process nor
// socket, and its log is printed if the test failed.
func Start(tb testing.TB, o Options) *Node {
	tb.Helper()
	n := Make(tb, o)
	if err := n.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return n
}

// Make makes a node for a test, to be started by it. The end of the test is as for Start.
func Make(tb testing.TB, o Options) *Node {
	tb.Helper()
	if o.Bin == "" {
		o.Bin = Bin(tb)
	}
	n, err := New(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { end(tb, n) })
	return n
}

func end(tb testing.TB, n *Node) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	if n.Running() {
		if _, err := n.Stop(ctx); err != nil {
			tb.Errorf("stop the node: %v", err)
		}
	}
	if err := Until(ctx, "nothing is left over", func(context.Context) error { return LeftOver(n.Home) }); err != nil {
		tb.Error(err)
		if err := KillBelow(n.Home); err != nil {
			tb.Error(err)
		}
	}
	if tb.Failed() {
		tb.Logf("log of the node:\n%s", tail(n.Log(), 300))
	}
	if err := n.Remove(); err != nil {
		tb.Errorf("delete the node's home: %v", err)
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(all) <= lines {
		return s
	}
	return "…\n" + strings.Join(all[len(all)-lines:], "\n")
}
