package api

import (
	"slices"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// maxSubscriptions bounds the contexts of one connection or session.
const maxSubscriptions = 4096

// subscriptions are the contexts somebody wants to hear of.
type subscriptions struct {
	mu  sync.Mutex
	set map[domain.ContextID]struct{}
}

func newSubscriptions(ids []domain.ContextID) *subscriptions {
	s := &subscriptions{set: make(map[domain.ContextID]struct{}, len(ids))}
	for _, id := range ids {
		s.set[id] = struct{}{}
	}
	return s
}

// add is false, and nothing is added, when there would be too many.
func (s *subscriptions) add(ids []domain.ContextID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := 0
	for _, id := range ids {
		if _, has := s.set[id]; !has {
			fresh++
		}
	}
	if len(s.set)+fresh > maxSubscriptions {
		return false
	}
	for _, id := range ids {
		s.set[id] = struct{}{}
	}
	return true
}

// remove tells which were there.
func (s *subscriptions) remove(ids []domain.ContextID) []domain.ContextID {
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := []domain.ContextID{}
	for _, id := range ids {
		if _, has := s.set[id]; has {
			delete(s.set, id)
			removed = append(removed, id)
		}
	}
	return removed
}

func (s *subscriptions) has(id domain.ContextID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.set[id]
	return ok
}

// list is sorted.
func (s *subscriptions) list() []domain.ContextID {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]domain.ContextID, 0, len(s.set))
	for id := range s.set {
		all = append(all, id)
	}
	slices.SortFunc(all, domain.ContextID.Compare)
	return all
}
