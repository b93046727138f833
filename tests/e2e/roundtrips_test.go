package e2e_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// trips are the calls to the plugins, as the interceptors of the plugin host counted them.
type trips struct{ runtime, storage float64 }

// countTrips leaves the health checks out: they come by the clock.
func countTrips(t *testing.T, c *harness.Client) trips {
	t.Helper()
	m, err := c.Metrics(t.Context())
	require.NoError(t, err)
	count := func(kind string) float64 {
		all, err := m.Sum("calimero_plugin_calls_total", "kind", kind)
		require.NoError(t, err)
		health, err := m.Sum("calimero_plugin_calls_total", "kind", kind, "method", "Health")
		require.NoError(t, err)
		return all - health
	}
	return trips{count("runtime"), count("storage")}
}

// TestRoundTrips: on a warm context a call costs one round trip to the runtime plugin, and one to the storage plugin if
// it commits.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	x := newContext(t, n, c, "kv", "")
	call[any](t, x, "set", obj{"key": "k", "value": "0"})
	call[any](t, x, "get", obj{"key": "k"})
	costs(t, c, "set", trips{runtime: calls, storage: calls}, func() {
		call[any](t, x, "set", obj{"key": "k", "value": "v"})
	})
	costs(t, c, "get", trips{runtime: calls}, func() { call[any](t, x, "get", obj{"key": "k"}) })
	costs(t, c, "a failing call", trips{runtime: calls}, func() {
		_, err := x.Call(t.Context(), "set_then_fail", obj{"key": "k", "value": "v"})
		require.Error(t, err)
	})
}

const calls = 20

// costs makes calls and compares what they cost. The node does things of its own now and then, which the counters have too:
// one of a few times there must be none.
func costs(t *testing.T, c *harness.Client, what string, want trips, call func()) {
	t.Helper()
	var got []trips
	for range 5 {
		before := countTrips(t, c)
		for range calls {
			call()
		}
		cost := countTrips(t, c).minus(before)
		if cost == want {
			return
		}
		got = append(got, cost)
	}
	require.Failf(t, what, "%d calls cost %+v, expected %+v", calls, got, want)
}

func (a trips) minus(b trips) trips { return trips{a.runtime - b.runtime, a.storage - b.storage} }
