package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// Cluster is a number of nodes that find each other, with one client of each.
type Cluster struct {
	Nodes   []*Node
	Clients []*Client
}

// StartCluster makes and starts nodes for a test: on the loopback interface, meeting in a folder of their own.
func StartCluster(tb testing.TB, size int, o Options) *Cluster {
	tb.Helper()
	c := MakeCluster(tb, size, o)
	for i := range c.Nodes {
		c.Start(tb, i)
	}
	return c
}

// MakeCluster makes nodes for a test, to be started by it.
func MakeCluster(tb testing.TB, size int, o Options) *Cluster {
	tb.Helper()
	dir := tb.TempDir()
	if o.Network == "" {
		o.Network = QuietNetwork + fmt.Sprintf("\n  local_discovery = %q", filepath.Join(dir, "near"))
	}
	c := &Cluster{}
	for range size {
		c.Nodes = append(c.Nodes, Make(tb, o))
		c.Clients = append(c.Clients, nil)
	}
	return c
}

// Start starts a node, again after its end, and makes a client of it.
func (c *Cluster) Start(tb testing.TB, i int) {
	tb.Helper()
	if err := c.Nodes[i].Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	if old := c.Clients[i]; old != nil {
		old.Close()
	}
	c.Clients[i] = c.Nodes[i].Client()
	tb.Cleanup(c.Clients[i].Close)
}

// Create installs a sample app on node at and creates a context there.
func (c *Cluster) Create(tb testing.TB, at int, app string, params []byte) *Context {
	tb.Helper()
	id, err := c.Nodes[at].Install(tb.Context(), c.Clients[at], app)
	if err != nil {
		tb.Fatal(err)
	}
	x, err := c.Clients[at].CreateContext(tb.Context(), id, params)
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

// Join lets node at join a context by an invitation of x's member, and waits until it can call it.
func (c *Cluster) Join(tb testing.TB, x *Context, at int) *Context {
	tb.Helper()
	inv, err := x.Invite(tb.Context(), 3600)
	if err != nil {
		tb.Fatal(err)
	}
	y, err := c.Clients[at].Join(tb.Context(), inv)
	if err != nil {
		tb.Fatal(err)
	}
	c.Equal(tb, x, y)
	if err := Until(tb.Context(), "the joined context has its application", y.answers); err != nil {
		tb.Fatal(err)
	}
	return y
}

// answers is nil when the context's application is here: it says that it has no such method.
func (x *Context) answers(ctx context.Context) error {
	_, err := x.Call(ctx, "no_such_method", nil)
	var refused *CallError
	if errors.As(err, &refused) && refused.Type == "FunctionCallError" {
		return nil
	}
	return errors.Join(errors.New("a method that does not exist was not refused"), err)
}

// Mesh creates a context on the first node and lets all others join it.
func (c *Cluster) Mesh(tb testing.TB, app string, params []byte) []*Context {
	tb.Helper()
	all := []*Context{c.Create(tb, 0, app, params)}
	for i := 1; i < len(c.Nodes); i++ {
		all = append(all, c.Join(tb, all[0], i))
	}
	return all
}

// Again is the context by the present clients, after restarts.
func (c *Cluster) Again(all []*Context) []*Context {
	out := make([]*Context, len(all))
	for i, x := range all {
		out[i] = x.With(c.Clients[i])
	}
	return out
}

// Equal waits until the copies of a context have the same root hash and the application that answers.
func (c *Cluster) Equal(tb testing.TB, all ...*Context) {
	tb.Helper()
	err := Until(tb.Context(), "all nodes have the same root hash", func(ctx context.Context) error {
		roots, err := Roots(ctx, all...)
		if err != nil {
			return err
		}
		if roots[0] == zeroRoot || len(slices.Compact(slices.Clone(roots))) != 1 {
			return fmt.Errorf("root hashes %v", roots)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

const zeroRoot = "11111111111111111111111111111111"

// Roots are the root hashes of copies of a context.
func Roots(ctx context.Context, all ...*Context) ([]string, error) {
	roots := make([]string, len(all))
	errs := make([]error, len(all))
	var work sync.WaitGroup
	for i, x := range all {
		work.Go(func() {
			var info ContextInfo
			info, errs[i] = x.Info(ctx)
			roots[i] = info.RootHash
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return roots, nil
}

// NewIdentity draws an identity that belongs to no context yet.
func (c *Client) NewIdentity(ctx context.Context) (string, error) {
	r, err := do[struct{ PublicKey string }](ctx, c, http.MethodPost, "/admin-api/identity/context", nil)
	return r.PublicKey, err
}

// Invite makes an invitation as the context's member.
func (x *Context) Invite(ctx context.Context, validFor uint64) (json.RawMessage, error) {
	return do[json.RawMessage](ctx, x.Client, http.MethodPost, "/admin-api/contexts/invite",
		map[string]any{"contextId": x.ID, "inviterId": x.Member, "validForSeconds": validFor})
}

// Join joins a context as a new identity.
func (c *Client) Join(ctx context.Context, invitation json.RawMessage) (*Context, error) {
	member, err := c.NewIdentity(ctx)
	if err != nil {
		return nil, err
	}
	return c.JoinAs(ctx, invitation, member)
}

// JoinAs joins a context as an identity that NewIdentity drew.
func (c *Client) JoinAs(ctx context.Context, invitation json.RawMessage, member string) (*Context, error) {
	r, err := do[struct{ ContextID, MemberPublicKey string }](ctx, c, http.MethodPost, "/admin-api/contexts/join",
		map[string]any{"invitation": invitation, "newMemberPublicKey": member})
	return &Context{Client: c, ID: r.ContextID, Member: r.MemberPublicKey}, err
}

// Sync asks for the news of the context.
func (x *Context) Sync(ctx context.Context) error {
	return x.Client.Do(ctx, http.MethodPost, "/admin-api/contexts/sync/"+x.ID, nil, nil)
}
