package groups

import (
	"context"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Place is what an identity is to a context of a group.
type Place struct {
	// Role in the group; it says nothing unless Member.
	Role domain.MemberRole
	// Member: the context is for it, now. It is a member of the group, on the list where the context is restricted, and has
	// not come too late.
	Member bool
	// Known: it is, or was once, a member of the group or an admin of one above.
	Known bool
}

// Place of an identity in a context of a group, as the operations that are here say. Kind NotFound without the group.
func (s *Service) Place(ctx context.Context, id domain.GroupID, c domain.ContextID, who domain.PublicKey) (p Place, err error) {
	err = s.with(ctx, id, func(g *group) error {
		line := s.kin.line(id)
		role, found := effective(line, who)
		if !found {
			p.Known = g.engine.Knows(who) ||
				slices.ContainsFunc(line[1:], func(r *relative) bool { return r.state.EverAdmins[who] })
			return nil
		}
		p = Place{Role: role, Known: true, Member: line[0].state.Admits(c, who, role) && !g.quarantines(who)}
		return nil
	})
	return p, err
}
