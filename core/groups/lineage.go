package groups

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Role of an identity in a group: of its own row, else of the nearest of its ancestors that has one. Of the group and its
// ancestors 16 are looked at.
func (s *Service) Role(ctx context.Context, id domain.GroupID, who domain.PublicKey) (role domain.MemberRole, found bool, err error) {
	err = s.with(ctx, id, func(*group) error {
		role, found = effective(s.kin.line(id), who)
		return nil
	})
	return role, found, err
}

// line is a group, which is here, with its ancestors, the nearest first.
func (k *kin) line(id domain.GroupID) []*relative {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]*relative{k.groups[id]}, k.ancestors(id)...)
}

// effective is the one place that says what somebody is in a group: by the nearest row.
func effective(line []*relative, who domain.PublicKey) (role domain.MemberRole, found bool) {
	for _, r := range line {
		if role, found = r.state.Members[who]; found {
			break
		}
	}
	return role, found
}

// Parent of a group: the one whose admins are its own. False when it has none that is here.
func (s *Service) Parent(ctx context.Context, id domain.GroupID) (parent domain.GroupID, found bool, err error) {
	err = s.with(ctx, id, func(g *group) error {
		if g.parent != nil {
			parent, found = *g.parent, true
		}
		return nil
	})
	return parent, found, err
}

// Cuts are the groups below one, as far as they are here, in which an identity has no row, in ascending order. Whoever
// removes it from the one removes it there too: what it does there, without knowing of the removal, is then void for
// certain.
func (s *Service) Cuts(ctx context.Context, id domain.GroupID, who domain.PublicKey) (cuts []domain.GroupID, err error) {
	err = s.with(ctx, id, func(*group) error {
		s.kin.mu.Lock()
		defer s.kin.mu.Unlock()
		cuts = s.kin.below(id, who)
		return nil
	})
	return cuts, err
}

// Removal is what a removal made.
type Removal struct {
	Op   domain.Hash
	Cuts []Cut
}

// Cut is the removal of somebody without a row from a group below. Err says why there is none: the key may not remove
// members there, or the commit failed.
type Cut struct {
	Group domain.GroupID
	Op    domain.Hash
	Err   error
}

// RemoveMember removes a member, and cuts it off from the groups below (governance-join.md §10). It is an error, and
// nothing happens, when it may not be removed from the group itself. Cuts are made for who was an admin.
func (s *Service) RemoveMember(ctx context.Context, id domain.GroupID, key domain.PrivateKey, who domain.PublicKey) (Removal, error) {
	state, err := s.State(ctx, id)
	if err != nil {
		return Removal{}, err
	}
	op, err := s.Issue(ctx, id, key, wire.OpMemberRemoved{Member: who})
	if err != nil || !state.EverAdmins[who] {
		return Removal{Op: op}, err
	}
	out := Removal{Op: op}
	below, err := s.Cuts(ctx, id, who)
	if err != nil {
		return out, err
	}
	for _, child := range below {
		cut := Cut{Group: child}
		cut.Op, cut.Err = s.Issue(ctx, child, key, wire.OpMemberRemoved{Member: who})
		out.Cuts = append(out.Cuts, cut)
	}
	return out, nil
}

// beginning is the part of a genesis that operations build on.
func beginning(g wire.GroupGenesis) governance.Genesis {
	return governance.Genesis{Founder: g.Creator, AppKey: g.AppKey, Target: g.Target, Policy: g.Policy, Alias: g.Alias}
}

// notFound reports that a group is not here.
func notFound(err error) bool { return errors.Is(err, errkind.NotFound) }
