package contexts

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// EnterRequest makes an identity of this node a member of a context that others have.
type EnterRequest struct {
	Context     domain.ContextID
	Application domain.ApplicationID
	Member      domain.PrivateKey
	// Stage adds what else belongs to the batch; nil adds nothing. It is called under the context's lock.
	Stage func(ctx context.Context, b *store.Batch) error
}

// Enter makes an identity a member of a context, as one batch. A context that is not here begins without state, which
// Receive brings; until then its calls fail as Uninitialized. It is an error of kind Precondition when the context has
// another application here.
func (c *Client) Enter(ctx context.Context, req EnterRequest) error {
	_, err := ask(ctx, c, func(ctx context.Context, m *manager) (struct{}, error) { return struct{}{}, m.admit(ctx, req) })
	return err
}

// GroupsChanged says that members of some group or their roles changed.
func (c *Client) GroupsChanged() { c.m.groups.Add(1) }

func (m *manager) admit(ctx context.Context, req EnterRequest) error {
	e := m.entry(req.Context)
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.release()
	b := m.opts.DB.Batch()
	defer b.Abandon()
	meta, err := m.load(ctx, req.Context)
	switch {
	case errors.Is(err, errkind.NotFound):
		store.ContextMeta.Put(b, req.Context, wire.ContextMeta{ApplicationID: req.Application})
		store.ContextConfig.Put(b, req.Context, wire.ContextConfig{})
	case err != nil:
		return err
	case meta.ApplicationID != req.Application:
		return errkind.Precondition.Errorf("application mismatch: expected %s, got %s", meta.ApplicationID, req.Application)
	}
	if err := m.opts.Identity.PutOwn(b, req.Context, req.Member); err != nil {
		return err
	}
	if req.Stage != nil {
		if err := req.Stage(ctx, b); err != nil {
			return err
		}
	}
	err = b.Commit(context.WithoutCancel(ctx))
	e.forget()
	m.groups.Add(1)
	return err
}
