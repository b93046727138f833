package identity

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// holdersScope has rows of ours, by context: the identities that the present sender keys of this node were given to.
var holdersScope = [16]byte([]byte("sender-key-given"))

func holdersKey(id domain.ContextID) store.GenericKey {
	return store.GenericKey{Scope: holdersScope, Fragment: id}
}

// Holders are the identities that the present sender keys of this node in a context were given to.
func (s *Service) Holders(ctx context.Context, id domain.ContextID) ([]domain.PublicKey, error) {
	raw, _, err := store.Generic.Get(ctx, s.db, holdersKey(id))
	if err != nil {
		return nil, err
	}
	if len(raw)%32 != 0 {
		return nil, errkind.Corrupt.Errorf("the holders of sender keys in context %s: %d bytes", id, len(raw))
	}
	holders := make([]domain.PublicKey, len(raw)/32)
	for i := range holders {
		holders[i] = domain.PublicKey(raw[32*i:])
	}
	return holders, nil
}

// PutHolders adds to b who has the sender keys of this node in a context; nobody after new ones were made.
func (s *Service) PutHolders(b *store.Batch, id domain.ContextID, holders []domain.PublicKey) {
	raw := make([]byte, 0, 32*len(holders))
	for _, who := range holders {
		raw = append(raw, who[:]...)
	}
	store.Generic.Put(b, holdersKey(id), raw)
}
