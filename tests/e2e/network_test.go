package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// peers waits until a node says that it has so many.
func peers(t *testing.T, n *harness.Node, want int) {
	t.Helper()
	c := n.Client()
	defer c.Close()
	require.NoError(t, harness.Until(t.Context(), fmt.Sprintf("%d peers", want), func(ctx context.Context) error {
		var answer struct{ Count int }
		if err := c.Do(ctx, http.MethodGet, "/admin-api/peers", nil, &answer); err != nil {
			return err
		}
		if answer.Count != want {
			return fmt.Errorf("the node has %d peers", answer.Count)
		}
		return nil
	}))
}

// TestNodesMeet: two processes with loopback alone find each other, by a bootstrap address over each transport and by
// the folder of local nodes; they notice the other's end and its return.
func TestNodesMeet(t *testing.T) {
	t.Parallel()
	folder, err := harness.TempDir()
	require.NoError(t, err)
	for name, network := range map[string]func(first *harness.Node) string{
		"tcp":  func(n *harness.Node) string { return bootstrap(t, n, "/tcp/") },
		"quic": func(n *harness.Node) string { return bootstrap(t, n, "/quic-v1/") },
		"folder": func(*harness.Node) string {
			return fmt.Sprintf("  local_discovery = %q", filepath.Join(folder, "near"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := harness.QuietNetwork
			if name == "folder" {
				own += "\n" + network(nil)
			}
			a := harness.Start(t, harness.Options{Network: own})
			peers(t, a, 0)
			b := harness.Start(t, harness.Options{Network: harness.QuietNetwork + "\n" + network(a)})
			peers(t, a, 1)
			peers(t, b, 1)

			_, err := b.Stop(t.Context())
			require.NoError(t, err)
			peers(t, a, 0)
			require.NoError(t, b.Start(t.Context()))
			peers(t, a, 1)
			peers(t, b, 1)
			if name == "quic" { // nobody tells that a process died; the ping's time is longer than a test may take
				return
			}
			require.NoError(t, b.Kill())
			peers(t, a, 0)
			require.NoError(t, b.Start(t.Context()))
			peers(t, a, 1)
		})
	}
}

func bootstrap(t *testing.T, n *harness.Node, transport string) string {
	t.Helper()
	for _, a := range n.Swarm().Addresses {
		if strings.Contains(a, transport) {
			return fmt.Sprintf("  bootstrap = [%q]", a)
		}
	}
	t.Fatalf("no %s address: %v", transport, n.Swarm())
	return ""
}
