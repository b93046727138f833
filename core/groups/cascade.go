package groups

import (
	"context"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// cascade adds to a batch what follows from the removal of members: their identities in the contexts of the group, and of
// the groups below in which they have no row, go, with this node's keys in them (governance.md §5.6). Contexts that
// belong to other groups on this node are none of this group's, whoever registered them here.
func (s *Service) cascade(ctx context.Context, b *store.Batch, id domain.GroupID, was, now *governance.State) error {
	var left []domain.PublicKey
	for who := range was.Members {
		if _, stays := now.Members[who]; !stays {
			left = append(left, who)
		}
	}
	if len(left) == 0 {
		return nil
	}
	type place struct {
		group   domain.GroupID
		context domain.ContextID
		who     domain.PublicKey
	}
	var places []place
	s.kin.mu.Lock()
	for _, who := range left {
		for c := range was.Contexts {
			places = append(places, place{id, c, who})
		}
		for _, child := range s.kin.below(id, who) {
			for c := range s.kin.groups[child].state.Contexts {
				places = append(places, place{child, c, who})
			}
		}
	}
	s.kin.mu.Unlock()
	contexts := make([]domain.ContextID, len(places))
	for i, p := range places {
		contexts[i] = p.context
	}
	owners, err := store.ContextGroup.GetMany(ctx, s.opts.DB, contexts)
	if err != nil {
		return err
	}
	for i, p := range places {
		if owners[i] != nil && domain.GroupID(*owners[i]) == p.group {
			store.ContextIdentity.Delete(b, store.IdentityKey{Context: p.context, Identity: p.who})
		}
	}
	return nil
}
