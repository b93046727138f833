package contexts

import (
	"context"

	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// CreateRequest asks for a context.
type CreateRequest struct {
	// Application; in a group, that of the group takes its place.
	Application domain.ApplicationID
	// Seed makes the context id a function of it.
	Seed *domain.Hash
	// Group to register in; nil makes a group of the context's own.
	Group *domain.GroupID
	// IdentitySecret is the creator's private key; nil is the node's own in a group, else a new one.
	IdentitySecret *[32]byte
	// Alias of the context.
	Alias *string
	// InitParams is what the guest's init gets as input.
	InitParams []byte
}

// CreateResponse names the context and the creator's identity in it.
type CreateResponse struct {
	Context domain.ContextID
	Member  domain.PublicKey
}

// create runs init and commits the whole context as one batch (governance.md §6.2): nothing of it exists before, neither
// here nor in a group.
func (m *manager) create(ctx context.Context, req CreateRequest) (CreateResponse, error) {
	member, err := m.creator(req)
	if err != nil {
		return CreateResponse{}, err
	}
	if req.Group != nil {
		if req.Application, err = m.mayCreate(ctx, *req.Group, member.Public()); err != nil {
			return CreateResponse{}, err
		}
	}
	secret, err := m.newContextSecret(ctx, req.Seed)
	if err != nil {
		return CreateResponse{}, err
	}
	id := domain.ContextID(secret.Public())
	e := m.entry(id)
	if err := e.acquire(ctx); err != nil {
		return CreateResponse{}, err
	}
	defer e.release()
	if err := m.createLocked(ctx, e, secret, member, req); err != nil {
		e.forget()
		return CreateResponse{}, err
	}
	m.groups.Add(1)
	return CreateResponse{Context: id, Member: member.Public()}, nil
}

// creator is the key that a context is created with: the one given, in a group the node's own, else a new one.
func (m *manager) creator(req CreateRequest) (domain.PrivateKey, error) {
	switch node := m.opts.Identity.Node(); {
	case req.IdentitySecret != nil:
		return domain.PrivateKey(*req.IdentitySecret), nil
	case req.Group == nil:
		return domain.NewPrivateKey()
	case node != nil:
		return *node, nil
	}
	return domain.PrivateKey{}, errkind.Precondition.Errorf("identity_secret required for group context creation")
}

// contextIDTries is how often a fresh id is drawn when the one before was taken.
const contextIDTries = 5

// newContextSecret draws the key whose public half is the id of a new context. It signs the genesis of the context's own
// group and is thrown away.
func (m *manager) newContextSecret(ctx context.Context, seed *domain.Hash) (domain.PrivateKey, error) {
	taken := func(secret domain.PrivateKey) (bool, error) {
		return store.ContextMeta.Has(ctx, m.opts.DB, domain.ContextID(secret.Public()))
	}
	if seed != nil {
		secret := identity.ContextSecretFromSeed(*seed)
		there, err := taken(secret)
		if err == nil && there {
			err = errkind.AlreadyExists.Errorf("seed resulted in an already existing context")
		}
		return secret, err
	}
	for range contextIDTries {
		secret, err := domain.NewPrivateKey()
		if err != nil {
			return domain.PrivateKey{}, err
		}
		there, err := taken(secret)
		if err != nil || !there {
			return secret, err
		}
	}
	return domain.PrivateKey{}, errkind.Internal.Errorf("failed to derive a context id after %d tries", contextIDTries)
}

func (m *manager) createLocked(ctx context.Context, e *entry, secret, member domain.PrivateKey, req CreateRequest) error {
	if taken, err := store.ContextMeta.Has(ctx, m.opts.DB, e.id); err != nil {
		return err
	} else if taken {
		return errkind.AlreadyExists.Errorf("seed resulted in an already existing context")
	}
	app, found, err := store.Application.Get(ctx, m.opts.DB, req.Application)
	if err != nil {
		return err
	}
	if !found {
		return errkind.NotFound.Errorf("application not found")
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	if req.Group == nil {
		if err := m.putOwnGroup(ctx, b, secret, member, req); err != nil {
			return err
		}
	}
	h := newHost(m, e)
	defer h.discard()
	st, err := m.initState(ctx, b, e, h, member, app, req)
	if err != nil {
		return err
	}
	st.put(b, e.id)
	store.ContextConfig.Put(b, e.id, wire.ContextConfig{})
	if req.Group != nil { // the last thing: the group is locked from here on
		if err := m.register(ctx, b, e.id, member, req); err != nil {
			return err
		}
	}
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	m.metrics.commits.Inc()
	e.committed(st)
	m.published(&st)
	return nil
}

// initState runs the guest's init and adds state and genesis delta to the batch.
func (m *manager) initState(ctx context.Context, b *store.Batch, e *entry, h *host, member domain.PrivateKey,
	app wire.ApplicationRecord, req CreateRequest) (staged, error) {
	e.forget() // whatever a failed attempt left
	e.meta, e.local = wire.ContextMeta{ApplicationID: req.Application}, wire.ContextLocal{}
	c := &call{context: e.id, method: "init", args: req.InitParams, executor: member.Public(), kind: runtime.Init}
	res, err := m.run(ctx, e, h, c, req.Application, app)
	if err != nil {
		return staged{}, err
	}
	if err := guestError(res.Result); err != nil {
		return staged{}, err
	}
	if res.Value != nil {
		return staged{}, errkind.Invalid.Errorf("context initialization returned a value, but it should not: %s",
			byteList(res.Value))
	}
	if res.RootHash == nil {
		return staged{meta: e.meta}, nil // the context stays uninitialised
	}
	st, err := m.stage(ctx, b, e, h, c, res, &member)
	if err == nil && st.meta.RootHash.IsZero() {
		err = errkind.Invalid.Errorf("init of application %s left no state that a peer could have: it committed without an "+
			"action on the root of the state", req.Application)
	}
	return st, err
}

// putOwnGroup begins the group that a context without one gets: same id, the creator as its admin, both with keys, and
// the context registered in it as open.
func (m *manager) putOwnGroup(ctx context.Context, b *store.Batch, secret, member domain.PrivateKey, req CreateRequest) error {
	id, pk := domain.ContextID(secret.Public()), member.Public()
	group := domain.GroupID(id)
	ops, err := registration(id, domain.VisibilityOpen, pk, req.Alias)
	if err != nil {
		return err
	}
	genesis, err := wire.GroupGenesis{
		Kind: wire.GenesisCertified, Group: group, Creator: pk, Target: req.Application,
		Policy: domain.UpgradePolicy{Mode: domain.UpgradeAutomatic}, CreatedAt: uint64(m.opts.Now().Unix()), AutoJoin: true,
	}.Sign(member, &secret)
	if err != nil {
		return err
	}
	if err := m.opts.Groups.Begin(ctx, b, genesis, member, ops...); err != nil {
		return err
	}
	groupSender, err := domain.NewPrivateKey()
	if err != nil {
		return err
	}
	store.GroupMember.Put(b, store.GroupMemberKey{Group: group, Member: pk},
		wire.GroupMember{Role: domain.RoleAdmin, PrivateKey: &member, SenderKey: &groupSender})
	store.ContextGroup.Put(b, id, wire.ID32(group))
	if err := m.opts.Identity.PutOwn(b, id, member); err != nil {
		return err
	}
	return b.Err()
}
