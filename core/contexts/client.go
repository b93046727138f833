package contexts

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Client is the façade of the ContextManager. Its methods may be called concurrently and before the actor runs.
type Client struct {
	to  actor.Recipient[message]
	m   *manager
	hub *hub
}

// Client makes a façade.
func (a *Actor) Client() *Client { return &Client{to: a.Actor, m: a.m, hub: a.m.hub} }

func ask[R any](ctx context.Context, c *Client, fn func(context.Context, *manager) (R, error)) (R, error) {
	return actor.Ask(ctx, c.to, func(r actor.Reply[R]) message { return request[R]{fn: fn, reply: r} })
}

// Execute runs a method of a context. The error is a *CallError, or one of the mailbox: kind Exhausted, retryable, when
// too much is waiting, or of ctx. A call whose ctx ends while the guest runs is stopped and has no effect; one whose
// commit has begun is committed. One that comes before the context's application waits for it, outside the mailbox: the state
// is often here first, and the reference's clients call when it is.
func (c *Client) Execute(ctx context.Context, req ExecuteRequest) (*ExecuteResponse, error) {
	out, err := c.execute(ctx, req)
	var missing *CallError
	if c.m.opts.Arrive == nil || !errors.As(err, &missing) || missing.Type != ApplicationNotInstalled {
		return out, err
	}
	come, failed := c.m.opts.Arrive(ctx, missing.Application)
	if failed != nil {
		return nil, internal(fmt.Errorf("wait for application %s: %w", missing.Application, failed))
	}
	if !come {
		return nil, err
	}
	return c.execute(ctx, req)
}

func (c *Client) execute(ctx context.Context, req ExecuteRequest) (_ *ExecuteResponse, err error) {
	run := func(ctx context.Context, m *manager) (*ExecuteResponse, error) {
		return m.execute(ctx, &call{
			context: req.Context, method: req.Method, args: req.Args, executor: req.Executor,
			substitute: req.Substitute, kind: runtime.Call, chain: &chain{},
		})
	}
	here, leave, ok, err := c.m.enter(ctx)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return ask(ctx, c, run)
	}
	defer leave()
	defer func() {
		if p := recover(); p != nil {
			err = internal(errkind.Internal.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return run(here, c.m)
}

// Create creates a context: runs its application's init and commits state, identity and group as one batch.
func (c *Client) Create(ctx context.Context, req CreateRequest) (CreateResponse, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) (CreateResponse, error) { return m.create(ctx, req) })
}

// Delete removes a context and all its rows from this node. It is false when there is none. requester must be an admin
// of the context's group; nil is refused for a context in a group.
func (c *Client) Delete(ctx context.Context, id domain.ContextID, requester *domain.PublicKey) (bool, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) (bool, error) { return m.delete(ctx, id, requester) })
}

// Get describes a context, kind NotFound if it is not here.
func (c *Client) Get(ctx context.Context, id domain.ContextID) (Info, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) (Info, error) { return m.get(ctx, id) })
}

// List describes all contexts in order of their ids.
func (c *Client) List(ctx context.Context) ([]Info, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) ([]Info, error) { return m.list(ctx, nil) })
}

// ForApplication describes the contexts of an application.
func (c *Client) ForApplication(ctx context.Context, app domain.ApplicationID) ([]Info, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) ([]Info, error) { return m.list(ctx, &app) })
}

// Identities lists the members of a context, or only those whose private key is here; kind NotFound if there is no such
// context.
func (c *Client) Identities(ctx context.Context, id domain.ContextID, ownedOnly bool) ([]domain.PublicKey, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) ([]domain.PublicKey, error) {
		return m.identities(ctx, id, ownedOnly)
	})
}

// Group is the group that owns a context; nil for none.
func (c *Client) Group(ctx context.Context, id domain.ContextID) (*domain.GroupID, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) (*domain.GroupID, error) { return m.groupOf(ctx, id) })
}

// Receive takes deltas of other nodes, in any order and as often as they come; a receipt for each. Those whose ancestors
// are all here are applied, in causal order and as one commit (a large number as several). The others are stored, bounded
// in number, and applied when their parents come or the clock passes their times, after a restart too. The error, kind
// NotFound for an unknown context, means that nothing is known of the deltas.
func (c *Client) Receive(ctx context.Context, id domain.ContextID, deltas []Delta) ([]Receipt, error) {
	run := func(ctx context.Context, m *manager) ([]Receipt, error) { return m.receive(ctx, id, deltas) }
	return ask(ctx, c, run)
}

// Heads are the applied deltas that no applied delta builds on, and the root hash of the state they make.
func (c *Client) Heads(ctx context.Context, id domain.ContextID) (heads []domain.Hash, root domain.Hash, err error) {
	info, err := c.Get(ctx, id)
	return info.DagHeads, info.RootHash, err
}

// Deltas are those of ids that are applied here, in the order of ids; at most 4,096 may be asked for.
func (c *Client) Deltas(ctx context.Context, id domain.ContextID, ids []domain.Hash) ([]wire.ContextDagDelta, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) ([]wire.ContextDagDelta, error) {
		return m.deltas(ctx, id, ids)
	})
}

// Missing are the deltas that are not here and that others wait for, in ascending order.
func (c *Client) Missing(ctx context.Context, id domain.ContextID) ([]domain.Hash, error) {
	return ask(ctx, c, func(ctx context.Context, m *manager) ([]domain.Hash, error) { return m.missing(ctx, id) })
}

// Subscribe returns the mutations of all contexts from now on. The channel is closed by the function returned, by the
// end of ctx, or when the node stops. A subscriber that lags more than 256 mutations behind loses some; they are
// counted in calimero_events_lost_total.
func (c *Client) Subscribe(ctx context.Context) (<-chan StateMutation, func()) {
	return c.hub.subscribe(ctx)
}

// CloseSubscriptions ends all subscriptions, for the node's stop.
func (c *Client) CloseSubscriptions() { c.hub.close() }
