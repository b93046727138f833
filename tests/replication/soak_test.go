package replication_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// TestSoak: mixed load on three nodes for a while; then all contexts are equal, nobody has seen two states of the same
// changes, and no node keeps goroutines for what is over.
func TestSoak(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 3, harness.Options{})
	var meshes [][]*harness.Context
	for range harness.Scale(2, 8) {
		meshes = append(meshes, c.Mesh(t, "kv", nil))
	}
	before := goroutines(t, c)
	for end := time.Now().Add(time.Duration(harness.Scale(4, 1800)) * time.Second); time.Now().Before(end); {
		var work sync.WaitGroup
		for m, all := range meshes {
			for i, x := range all {
				work.Go(func() {
					for k := range 10 {
						method, args := "set", any(obj{"key": fmt.Sprintf("k%d", k%7), "value": fmt.Sprintf("%d of %d in %d", k, i, m)})
						switch k % 5 {
						case 1:
							method, args = "get", obj{"key": "k1"}
						case 3:
							method, args = "remove", obj{"key": fmt.Sprintf("k%d", k%7)}
						}
						if _, err := x.Call(t.Context(), method, args); err != nil {
							t.Errorf("%s on node %d: %v", method, i, err)
							return
						}
					}
				})
			}
		}
		work.Wait()
	}
	for _, all := range meshes {
		c.Equal(t, all...)
		holds(t, all, nil)
	}
	for i, client := range c.Clients {
		m, err := client.Metrics(t.Context())
		require.NoError(t, err)
		diverged, err := m.Sum("calimero_sync_diverged_total")
		require.NoError(t, err)
		require.Zero(t, diverged, "node %d", i)
	}
	require.NoError(t, harness.Until(t.Context(), "goroutines are what they were", func(context.Context) error {
		for i, now := range goroutines(t, c) {
			if now > before[i]+100 {
				return fmt.Errorf("node %d has %d goroutines, before it had %d", i, now, before[i])
			}
		}
		return nil
	}))
}

func goroutines(t *testing.T, c *harness.Cluster) []int {
	t.Helper()
	var all []int
	for _, client := range c.Clients {
		m, err := client.Metrics(t.Context())
		require.NoError(t, err)
		n, err := m.Sum("go_goroutines")
		require.NoError(t, err)
		all = append(all, int(n))
	}
	return all
}
