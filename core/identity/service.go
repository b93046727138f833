package identity

import (
	"context"
	"fmt"
	"sync"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Service has the identities and aliases of the node. All methods are safe for concurrent use.
type Service struct {
	db   *store.DB
	node *domain.PrivateKey // nil for none

	mu      sync.Mutex
	claimed map[store.AliasKey]struct{} // aliases in batches under way
}

// New makes the service over db.
func New(db *store.DB) *Service {
	return &Service{db: db, claimed: map[store.AliasKey]struct{}{}}
}

// pool is the context under which identities wait that belong to no context yet.
var pool domain.ContextID

// NewIdentity draws a key pair and keeps it in the pool of identities that belong to no context yet.
func (s *Service) NewIdentity(ctx context.Context) (domain.PublicKey, error) {
	key, err := domain.NewPrivateKey()
	if err != nil {
		return domain.PublicKey{}, err
	}
	b := s.db.Batch()
	store.ContextIdentity.Put(b, store.IdentityKey{Context: pool, Identity: key.Public()},
		wire.ContextIdentity{PrivateKey: &key})
	if err := b.Commit(ctx); err != nil {
		return domain.PublicKey{}, fmt.Errorf("store new identity: %w", err)
	}
	return key.Public(), nil
}

// Pooled is the private key of an identity that belongs to no context yet; kind NotFound, with the reference's text, for
// one that is not there.
func (s *Service) Pooled(ctx context.Context, identity domain.PublicKey) (domain.PrivateKey, error) {
	row, found, err := store.ContextIdentity.Get(ctx, s.db, store.IdentityKey{Context: pool, Identity: identity})
	if err != nil {
		return domain.PrivateKey{}, err
	}
	if !found || row.PrivateKey == nil {
		return domain.PrivateKey{}, errkind.NotFound.Errorf("missing identity for public key: %s", identity)
	}
	return *row.PrivateKey, nil
}

// Get is what the node knows of an identity in a context: its private key if it is the node's own, its sender key if it
// is known. False when the identity is not a member there.
func (s *Service) Get(ctx context.Context, id domain.ContextID, identity domain.PublicKey) (wire.ContextIdentity, bool, error) {
	row, found, err := store.ContextIdentity.Get(ctx, s.db, store.IdentityKey{Context: id, Identity: identity})
	if err != nil {
		return wire.ContextIdentity{}, false, err
	}
	if found && row.PrivateKey != nil && row.PrivateKey.Public() != identity {
		return wire.ContextIdentity{}, false, errkind.Corrupt.Errorf(
			"identity %s in context %s: the private key stored with it belongs to another", identity, id)
	}
	return row, found, nil
}

// Own is the private key and the sender key of one of the node's own identities in a context. False when the identity is
// no member, somebody else's, or has no sender key yet: such a one cannot execute.
func (s *Service) Own(ctx context.Context, id domain.ContextID, identity domain.PublicKey) (private, sender domain.PrivateKey,
	ok bool, err error) {
	row, found, err := s.Get(ctx, id, identity)
	if err != nil || !found || row.PrivateKey == nil || row.SenderKey == nil {
		return domain.PrivateKey{}, domain.PrivateKey{}, false, err
	}
	return *row.PrivateKey, *row.SenderKey, true, nil
}

// List are the members of a context in the order of their keys; with ownedOnly those whose private key is here.
func (s *Service) List(ctx context.Context, id domain.ContextID, ownedOnly bool) ([]domain.PublicKey, error) {
	var members []domain.PublicKey
	err := store.ContextIdentity.Scan(ctx, s.db, wire.ContextKey(id), func(key store.IdentityKey, row wire.ContextIdentity) error {
		if row.PrivateKey != nil || !ownedOnly {
			members = append(members, key.Identity)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list identities of context %s: %w", id, err)
	}
	return members, nil
}

// PutOwn adds to b the row of one of the node's own identities in a context, with a fresh sender key, and takes the
// identity out of the pool if it was there.
func (s *Service) PutOwn(b *store.Batch, id domain.ContextID, private domain.PrivateKey) error {
	if id == pool {
		return errkind.Invalid.Errorf("the zero context has no members")
	}
	sender, err := domain.NewPrivateKey()
	if err != nil {
		return err
	}
	identity := private.Public()
	store.ContextIdentity.Put(b, store.IdentityKey{Context: id, Identity: identity},
		wire.ContextIdentity{PrivateKey: &private, SenderKey: &sender})
	store.ContextIdentity.Delete(b, store.IdentityKey{Context: pool, Identity: identity})
	return nil
}

// PutMember adds to b the row of somebody else's identity in a context; sender is nil until it is known.
func (s *Service) PutMember(b *store.Batch, id domain.ContextID, identity domain.PublicKey, sender *domain.PrivateKey) {
	store.ContextIdentity.Put(b, store.IdentityKey{Context: id, Identity: identity}, wire.ContextIdentity{SenderKey: sender})
}

// Remove adds to b the removal of an identity of a context.
func (s *Service) Remove(b *store.Batch, id domain.ContextID, identity domain.PublicKey) {
	store.ContextIdentity.Delete(b, store.IdentityKey{Context: id, Identity: identity})
}

// DeleteAll adds to b the removal of all identities of a context.
func (s *Service) DeleteAll(b *store.Batch, id domain.ContextID) {
	store.ContextIdentity.DeletePrefix(b, wire.ContextKey(id))
	store.Generic.Delete(b, holdersKey(id))
}
