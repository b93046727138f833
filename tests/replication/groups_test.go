package replication_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// groupNodes are nodes with identities of their own in groups.
type groupNodes struct{ *scenario }

// ask calls a route of groups and reads the data of its answer.
func ask[T any](t *testing.T, c *harness.Client, method, path string, body any) T {
	t.Helper()
	var out struct {
		Data T `json:"data"`
	}
	require.NoError(t, c.Do(t.Context(), method, "/admin-api/groups"+path, body, &out), path)
	return out.Data
}

// found makes a group with one context on node 0, and an invitation to it.
func (g groupNodes) found(t *testing.T) (group, id string, invitation json.RawMessage) {
	t.Helper()
	app, err := g.c.Nodes[0].Install(t.Context(), g.c.Clients[0], "kv")
	require.NoError(t, err)
	created := ask[struct {
		Group string `json:"groupId"`
	}](t, g.c.Clients[0], http.MethodPost, "", obj{"applicationId": app, "upgradePolicy": "Automatic"})
	id = g.context(t, created.Group, app)
	return created.Group, id, ask[json.RawMessage](t, g.c.Clients[0], http.MethodPost, "/"+created.Group+"/invite", obj{})
}

// context makes a context in a group on node 0.
func (g groupNodes) context(t *testing.T, group, app string) string {
	t.Helper()
	var out struct {
		Data struct {
			ID string `json:"contextId"`
		} `json:"data"`
	}
	require.NoError(t, g.c.Clients[0].Do(t.Context(), http.MethodPost, "/admin-api/contexts",
		obj{"applicationId": app, "groupId": group, "initializationParams": []int{}}, &out))
	return out.Data.ID
}

// in waits until a node is in a context, and returns it as its own identity there.
func (g groupNodes) in(t *testing.T, node int, id string) *harness.Context {
	t.Helper()
	x := &harness.Context{Client: g.c.Clients[node], ID: id}
	require.NoError(t, harness.Until(t.Context(), fmt.Sprintf("node %d is in the context", node), func(ctx context.Context) error {
		var out struct {
			Data struct {
				Identities []string `json:"identities"`
			} `json:"data"`
		}
		err := g.c.Clients[node].Do(ctx, http.MethodGet, "/admin-api/contexts/"+id+"/identities-owned", nil, &out)
		if err == nil && len(out.Data.Identities) == 0 {
			err = fmt.Errorf("no identity of its own")
		}
		if err == nil {
			x.Member = out.Data.Identities[0]
		}
		return err
	}))
	return x
}

func (g groupNodes) join(t *testing.T, node int, invitation json.RawMessage) {
	t.Helper()
	_ = ask[json.RawMessage](t, g.c.Clients[node], http.MethodPost, "/join", invitation)
}

// TestGroupJoin: nodes that have nothing become members of a group by an invitation alone, also while nobody is there and
// when they are killed in between, and share its contexts.
func TestGroupJoin(t *testing.T) {
	t.Parallel()
	g := groupNodes{newScenario(t, 3)}
	group, id, invitation := g.found(t)
	a := g.in(t, 0, id)
	set(t, a, "greeting", "hello")

	g.join(t, 1, invitation)
	b := g.in(t, 1, id)
	g.synced(a, b)
	set(t, b, "answer", "hi")
	g.synced(a, b)

	// Node 2 joins while the others are down, and is killed before they come back.
	require.NoError(t, g.c.Nodes[0].Kill())
	require.NoError(t, g.c.Nodes[1].Kill())
	g.join(t, 2, invitation)
	require.NoError(t, g.c.Nodes[2].Kill())
	for i := range g.c.Nodes {
		startAgain(t, g.c, i)
	}
	a, b = g.in(t, 0, id), g.in(t, 1, id)
	c := g.in(t, 2, id)
	g.synced(a, b, c)
	same(t, g.c, []*harness.Context{a, b, c}, "entries", obj{"greeting": "hello", "answer": "hi"})

	type members struct {
		Data []struct {
			Identity string `json:"identity"`
		} `json:"data"`
	}
	require.NoError(t, harness.Until(t.Context(), "all nodes count three members", func(ctx context.Context) error {
		for i, c := range g.c.Clients {
			var out members
			if err := c.Do(ctx, http.MethodGet, "/admin-api/groups/"+group+"/members", nil, &out); err != nil {
				return err
			}
			if len(out.Data) != 3 {
				return fmt.Errorf("node %d counts %d", i, len(out.Data))
			}
		}
		return nil
	}))

	// Who is removed is out: nothing of what comes later reaches it.
	_ = ask[json.RawMessage](t, g.c.Clients[0], http.MethodPost, "/"+group+"/members/remove", obj{"members": []string{c.Member}})
	require.NoError(t, harness.Until(t.Context(), "the removed node has lost its identity", func(ctx context.Context) error {
		var out struct {
			Data struct {
				Identities []string `json:"identities"`
			} `json:"data"`
		}
		err := g.c.Clients[2].Do(ctx, http.MethodGet, "/admin-api/contexts/"+id+"/identities-owned", nil, &out)
		if err == nil && len(out.Data.Identities) > 0 {
			err = fmt.Errorf("it has %v", out.Data.Identities)
		}
		return err
	}))
	removed := &harness.Context{Client: g.c.Clients[2], ID: id}
	round := 0
	require.NoError(t, harness.Until(t.Context(), "nothing reaches the removed node", func(ctx context.Context) error {
		before, err := removed.Info(ctx)
		if err != nil {
			return err
		}
		round++
		set(t, a, "secret", fmt.Sprint("for members ", round))
		g.synced(a, b)
		if err := removed.Sync(ctx); err != nil {
			return err
		}
		after, err := removed.Info(ctx)
		if err == nil && before.RootHash != after.RootHash {
			err = fmt.Errorf("a change came in round %d", round)
		}
		return err
	}))
}

// TestRestrictedContext: a context that becomes restricted is for those on its list alone, also among members of the group
// who had it before, and the admins of the group; on the list again, they have all of it.
func TestRestrictedContext(t *testing.T) {
	t.Parallel()
	g := groupNodes{newScenario(t, 3)}
	group, id, invitation := g.found(t)
	var all []*harness.Context
	for i := range g.c.Nodes {
		if i > 0 {
			g.join(t, i, invitation)
		}
		all = append(all, g.in(t, i, id))
	}
	a, b, c := all[0], all[1], all[2]
	g.synced(all...)
	set(t, b, "before", "open")
	g.synced(all...)
	route := "/" + group + "/contexts/" + id
	_ = ask[json.RawMessage](t, g.c.Clients[0], http.MethodPut, route+"/visibility", obj{"mode": "restricted"})
	_ = ask[json.RawMessage](t, g.c.Clients[0], http.MethodPost, route+"/allowlist", obj{"add": []string{b.Member}})
	_ = ask[json.RawMessage](t, g.c.Clients[0], http.MethodPut, "/"+group+"/members/"+c.Member+"/role", obj{"role": "Admin"})
	listed := func(x *harness.Context, want int) {
		t.Helper()
		require.NoError(t, harness.Until(t.Context(), "the list is known", func(ctx context.Context) error {
			var out struct {
				Data []string `json:"data"`
			}
			err := x.Client.Do(ctx, http.MethodGet, "/admin-api/groups"+route+"/allowlist", nil, &out)
			if err == nil && len(out.Data) != want {
				err = fmt.Errorf("it has %v", out.Data)
			}
			return err
		}))
	}
	for _, x := range all {
		listed(x, 2)
	}
	before, err := c.Info(t.Context())
	require.NoError(t, err)
	set(t, a, "secret", "of a")
	set(t, b, "answer", "of b")
	g.synced(a, b)
	require.NoError(t, harness.Until(t.Context(), "who is not on the list is refused", func(ctx context.Context) error {
		for _, client := range g.c.Clients[:2] {
			m, err := client.Metrics(ctx)
			if err != nil {
				return err
			}
			if value(m, count{"calimero_sync_sender_keys_renewed_total", nil}) == 0 {
				return fmt.Errorf("the sender keys are the old ones")
			}
		}
		_, err := c.Call(ctx, "set", obj{"key": "mine", "value": "of c"}) // dropped, as what readers write
		return err
	}))
	_ = c.Sync(t.Context()) // it has no peer for it; whether that is an error is not the point
	after, err := c.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)

	_ = ask[json.RawMessage](t, g.c.Clients[2], http.MethodPost, route+"/allowlist", obj{"add": []string{c.Member}})
	g.synced(all...)
	set(t, c, "mine", "of c")
	g.synced(all...)
	same(t, g.c, all, "entries", obj{"before": "open", "secret": "of a", "answer": "of b", "mine": "of c"})
}

// TestGroupJoinKilled: nodes that are killed at some moment of a join have a join that is whole or none, and can join again.
func TestGroupJoinKilled(t *testing.T) {
	t.Parallel()
	const joiners = 3
	g := groupNodes{newScenario(t, 1+joiners)}
	group, id, invitation := g.found(t)
	a := g.in(t, 0, id)
	set(t, a, "greeting", "hello")
	all := []*harness.Context{a}
	for i := 1; i <= joiners; i++ {
		client, answered := g.c.Clients[i], make(chan error, 1)
		go func() {
			var out json.RawMessage
			answered <- client.Do(t.Context(), http.MethodPost, "/admin-api/groups/join", invitation, &out)
		}()
		select {
		case <-time.After(time.Duration(5*i*i) * time.Millisecond): // while the request is under way, on most machines
		case err := <-answered:
			require.NoError(t, err)
			answered <- nil
		}
		require.NoError(t, g.c.Nodes[i].Kill())
		acknowledged := <-answered == nil
		startAgain(t, g.c, i)
		err := g.c.Clients[i].Do(t.Context(), http.MethodPost, "/admin-api/groups/join", invitation, nil)
		t.Logf("node %d: acknowledged %v, again: %v", i, acknowledged, err)
		if err != nil {
			require.ErrorContains(t, err, "already a member")
		}
		all = append(all, g.in(t, i, id))
	}
	g.synced(all...)
	same(t, g.c, all, "entries", obj{"greeting": "hello"})
	require.NoError(t, harness.Until(t.Context(), "all nodes count all members", func(ctx context.Context) error {
		for i, c := range g.c.Clients {
			var out struct {
				Data []json.RawMessage `json:"data"`
			}
			if err := c.Do(ctx, http.MethodGet, "/admin-api/groups/"+group+"/members", nil, &out); err != nil {
				return err
			}
			if len(out.Data) != 1+joiners {
				return fmt.Errorf("node %d counts %d", i, len(out.Data))
			}
		}
		return nil
	}))
}
