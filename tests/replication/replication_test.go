// Package replication_test tests that nodes have one state: real processes that meet, join, write at the same time, die
// and come back.
//
// Where the reference fails when it is run, there is a test here:
//
//	both nodes write the same keys at the same time: the roots    TestConcurrentWriters/the_same_keys
//	never become equal
//	the same and different keys mixed: likewise                   TestConcurrentWriters/both
//	after that one node is killed and started again: it gets      TestConcurrentWriters/then_offline
//	none of the calls that it missed
//	without any conflict, one node is killed, 5, 40 or 300 calls  TestOfflineCatchUp/5, /40, /300
//	are made on the other one: likewise
//	a diverged context fills both logs with a retry each second   TestConcurrentWriters, TestSoak: none diverges
//	deltas that came before their parents lose their handlers     core/contexts, core/sync: TestEventsOfMissedDeltas
package replication_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// obj is a JSON object.
type obj = map[string]any

func call[T any](t *testing.T, x *harness.Context, method string, args any) T {
	t.Helper()
	out, err := x.Call(t.Context(), method, args)
	require.NoErrorf(t, err, "%s %v", method, args)
	var v T
	require.NoErrorf(t, json.Unmarshal(out, &v), "%s: %s", method, out)
	return v
}

func set(t *testing.T, x *harness.Context, key, value string) {
	t.Helper()
	_, err := x.Call(t.Context(), "set", obj{"key": key, "value": value})
	require.NoError(t, err)
}

// same waits until all copies are equal and answer a method with the same.
func same[T any](t *testing.T, c *harness.Cluster, all []*harness.Context, method string, want T) {
	t.Helper()
	c.Equal(t, all...)
	for i, x := range all {
		require.Equalf(t, want, call[T](t, x, method, nil), "node %d", i)
	}
}

// keyed is what set wrote.
func keyed(prefix string, n int) map[string]string {
	m := make(map[string]string, n)
	for i := range n {
		m[fmt.Sprintf("%s%d", prefix, i)] = fmt.Sprintf("value %d", i)
	}
	return m
}

func write(t *testing.T, x *harness.Context, entries map[string]string) {
	t.Helper()
	for k, v := range entries {
		set(t, x, k, v)
	}
}

func merged(all ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range all {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// TestJoin: an invitation brings application, state and membership to nodes that have none of it; each node's writes are
// on all others; whoever comes later sees what was before.
func TestJoin(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 3, harness.Options{})
	a := c.Create(t, 0, "kv", nil)
	before := keyed("before", 5)
	write(t, a, before)
	all := []*harness.Context{a, c.Join(t, a, 1)}
	same(t, c, all, "entries", before)
	late := keyed("late", 5)
	write(t, all[1], late)
	same(t, c, all, "entries", merged(before, late))
	all = append(all, c.Join(t, a, 2))
	third := keyed("third", 5)
	write(t, all[2], third)
	same(t, c, all, "entries", merged(before, late, third))
	_, err := all[1].Call(t.Context(), "remove", obj{"key": "third0"})
	require.NoError(t, err)
	delete(third, "third0")
	same(t, c, all, "entries", merged(before, late, third))
}

// TestRestarts: each node is away for a while, ended in order or killed, and gets what it missed.
func TestRestarts(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 2, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	want := map[string]string{}
	for round, kill := range []bool{false, true, false, true} {
		away := round % 2
		if kill {
			require.NoError(t, c.Nodes[away].Kill())
		} else {
			_, err := c.Nodes[away].Stop(t.Context())
			require.NoError(t, err)
		}
		missed := keyed(fmt.Sprintf("round%d-", round), 10)
		write(t, all[1-away], missed)
		want = merged(want, missed)
		c.Start(t, away)
		all = c.Again(all)
		same(t, c, all, "entries", want)
	}
}

// TestOfflineCatchUp: a node that was away for 5, 40 and 300 calls gets them soon after its start.
func TestOfflineCatchUp(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 2, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	want := map[string]string{}
	for _, count := range []int{5, 40, 300} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			require.NoError(t, c.Nodes[1].Kill())
			missed := keyed(fmt.Sprint("missed of ", count, "-"), count)
			write(t, all[0], missed)
			want = merged(want, missed)
			begin := time.Now()
			startAgain(t, c, 1)
			all = c.Again(all)
			same(t, c, all, "entries", want)
			t.Logf("%d deltas: %v from the start of the process", count, time.Since(begin).Round(time.Millisecond))
		})
	}
}

// startAgain starts a node for the rest of the cluster's test, from a part of it.
func startAgain(t *testing.T, c *harness.Cluster, i int) {
	t.Helper()
	require.NoError(t, c.Nodes[i].Start(t.Context()))
	c.Clients[i].Close()
	c.Clients[i] = c.Nodes[i].Client()
}

// writers calls set on all nodes at the same time; each node has its own keys, and some that all write.
func writers(t *testing.T, all []*harness.Context, prefix string, own, shared, rounds int) (want map[string]string) {
	t.Helper()
	want = map[string]string{}
	var work sync.WaitGroup
	for i, x := range all {
		for k := range own {
			want[fmt.Sprintf("%s-%d-%d", prefix, i, k)] = fmt.Sprint(rounds - 1)
		}
		work.Go(func() {
			for r := range rounds {
				for k := range own {
					if _, err := x.Call(t.Context(), "set", obj{"key": fmt.Sprintf("%s-%d-%d", prefix, i, k), "value": fmt.Sprint(r)}); err != nil {
						t.Errorf("node %d: %v", i, err)
						return
					}
				}
				for k := range shared {
					if _, err := x.Call(t.Context(), "set", obj{"key": fmt.Sprintf("%s-shared-%d", prefix, k), "value": fmt.Sprintf("%d of node %d", r, i)}); err != nil {
						t.Errorf("node %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	work.Wait()
	return want
}

// holds checks values on all nodes, which are equal.
func holds(t *testing.T, all []*harness.Context, want map[string]string) {
	t.Helper()
	first := call[map[string]string](t, all[0], "entries", nil)
	for i, x := range all {
		got := call[map[string]string](t, x, "entries", nil)
		require.Equalf(t, first, got, "node %d", i)
		for k, v := range want {
			require.Equalf(t, v, got[k], "key %s on node %d", k, i)
		}
	}
}

// TestConcurrentWriters: different keys, the same keys, and both, written on all nodes at the same time; then a node is
// killed and catches up. In the reference, the roots stay apart for ever after the second.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 2, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	want := map[string]string{}
	for _, one := range []struct {
		name                string
		own, shared, rounds int
	}{
		{"different keys", harness.Scale(20, 100), 0, 1},
		{"the same keys", 0, 10, harness.Scale(10, 100)},
		{"both", 5, 5, harness.Scale(5, 50)},
	} {
		t.Run(one.name, func(t *testing.T) {
			want = merged(want, writers(t, all, one.name, one.own, one.shared, one.rounds))
			c.Equal(t, all...)
			holds(t, all, want)
		})
	}
	t.Run("then offline", func(t *testing.T) {
		require.NoError(t, c.Nodes[1].Kill())
		missed := keyed("missed", harness.Scale(50, 300))
		write(t, all[0], missed)
		startAgain(t, c, 1)
		all = c.Again(all)
		c.Equal(t, all...)
		holds(t, all, merged(want, missed))
	})
	for i, client := range c.Clients {
		m, err := client.Metrics(t.Context())
		require.NoError(t, err)
		diverged, err := m.Sum("calimero_sync_diverged_total")
		require.NoError(t, err)
		require.Zero(t, diverged, "node %d has seen another root with the same changes", i)
	}
}

// acked are the writes that a node acknowledged.
type acked struct {
	mu sync.Mutex
	m  map[string]string
}

func (a *acked) add(key, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.m[key] = value
}

// TestKills: processes die at random while all nodes write; whatever was acknowledged is on every node in the end.
func TestKills(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 3, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	got := &acked{m: map[string]string{}}
	random := rand.New(rand.NewPCG(5, 1)) //nolint:gosec // a fixed order of deaths
	for round := range harness.Scale(3, 12) {
		victim := random.IntN(len(all))
		what := []string{"core", "runtime", "storage"}[random.IntN(3)]
		written := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		var work sync.WaitGroup
		var once sync.Once
		for i, x := range all {
			work.Go(func() {
				for n := 0; ctx.Err() == nil && n < 400; n++ {
					key, value := fmt.Sprintf("r%d-n%d-%d", round, i, n), fmt.Sprint(n)
					if _, err := x.Call(ctx, "set", obj{"key": key, "value": value}); err == nil {
						got.add(key, value)
						if i == victim && n > 10 {
							once.Do(func() { close(written) })
						}
					} else if i != victim {
						if ctx.Err() == nil {
							t.Errorf("node %d, which nobody killed: %v", i, err)
						}
						return
					}
				}
			})
		}
		select {
		case <-written:
		case <-time.After(harness.Patience):
			t.Fatal("no write was acknowledged")
		}
		if what == "core" {
			require.NoError(t, c.Nodes[victim].Kill())
		} else {
			_, err := c.Nodes[victim].KillPlugin(what)
			require.NoError(t, err)
		}
		stop()
		work.Wait()
		if what == "core" {
			c.Start(t, victim)
			all = c.Again(all)
		}
	}
	c.Equal(t, all...)
	holds(t, all, got.m)
}

// TestFiveNodes: all write, all see all.
func TestFiveNodes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("five nodes are twenty processes")
	}
	c := harness.StartCluster(t, 5, harness.Options{})
	all := c.Mesh(t, "kv", nil)
	want := writers(t, all, "five", 4, 4, harness.Scale(3, 30))
	c.Equal(t, all...)
	holds(t, all, want)
}

// TestInvitationsThatDoNotCount: expired, altered, of somebody who may not invite, for an identity that is not here.
func TestInvitationsThatDoNotCount(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t, 2, harness.Options{})
	a := c.Create(t, 0, "kv", nil)
	refused := func(text string, err error) {
		t.Helper()
		var status *harness.StatusError
		require.True(t, errors.As(err, &status), "%v", err)
		require.Equal(t, 500, status.Status)
		require.Contains(t, status.Body, text)
	}
	expired, err := a.Invite(t.Context(), 0)
	require.NoError(t, err)
	_, err = c.Clients[1].Join(t.Context(), expired)
	refused("has expired", err)

	valid, err := a.Invite(t.Context(), 60)
	require.NoError(t, err)
	var altered obj
	require.NoError(t, json.Unmarshal(valid, &altered))
	altered["invitation"].(obj)["expiration_timestamp"] = 4_000_000_000 //nolint:forcetypeassert // it is one
	text, err := json.Marshal(altered)
	require.NoError(t, err)
	_, err = c.Clients[1].Join(t.Context(), text)
	refused("inviter signature", err)

	_, err = c.Clients[1].JoinAs(t.Context(), valid, a.Member)
	refused("missing identity for public key: "+a.Member, err)

	b, err := c.Clients[1].Join(t.Context(), valid)
	require.NoError(t, err)
	c.Equal(t, a, b)
	_, err = b.Invite(t.Context(), 60)
	refused("inviter lacks permission", err)
	again, err := c.Clients[1].JoinAs(t.Context(), valid, b.Member)
	require.NoError(t, err)
	require.Equal(t, b.ID, again.ID)

	other := *a
	other.ID = "4Ss5JMkXAD9Z7cktFEdrqeMuT6jGMF1pVozTyPHZ6zT4"
	none, err := other.Invite(t.Context(), 60)
	require.NoError(t, err)
	require.Equal(t, "null", string(none))
}
