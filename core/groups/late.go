package groups

import (
	"context"
	"time"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// lateAfter is how long after the end of its invitation a claim may come: it takes its way through the network, and
// clocks differ.
const lateAfter = 10 * time.Minute

// Late is a claim that came after its invitation had ended. It counts, for operations carry no time; but nobody may
// serve who joined by it until an admin has built on it, and an admin's node ends it ([Service.Expel]).
type Late struct {
	Group      domain.GroupID
	Claim      domain.Hash
	Joiner     domain.PublicKey
	Invitation domain.Hash
}

// Quarantined reports whether an identity is a member here by a late claim alone. It is a matter of this node's clock,
// and no part of the group.
func (s *Service) Quarantined(ctx context.Context, id domain.GroupID, who domain.PublicKey) (quarantined bool, err error) {
	err = s.with(ctx, id, func(g *group) error {
		quarantined = g.quarantines(who)
		return nil
	})
	return quarantined, err
}

func (g *group) quarantines(who domain.PublicKey) bool {
	for _, l := range g.late {
		if l.Joiner == who && g.rests(l) {
			return true
		}
	}
	return false
}

// LateClaims are those by which somebody is a member here.
func (s *Service) LateClaims(ctx context.Context, id domain.GroupID) (claims []Late, err error) {
	err = s.with(ctx, id, func(g *group) error {
		for _, l := range g.late {
			if g.rests(l) {
				claims = append(claims, l)
			}
		}
		return nil
	})
	return claims, err
}

// rests reports whether a membership rests on a claim.
func (g *group) rests(l Late) bool {
	v, _ := g.engine.Verdict(l.Claim)
	return v.Code == governance.Applied && g.state.Joined[l.Joiner]
}

// Expel ends a late claim everywhere, with the key of an admin: the member is removed and the invitation closed.
func (s *Service) Expel(ctx context.Context, l Late, key domain.PrivateKey) error {
	return s.with(ctx, l.Group, func(g *group) error {
		if !g.rests(l) {
			return nil // somebody did
		}
		bodies := []wire.GroupOp{wire.OpMemberRemoved{Member: l.Joiner}}
		if !g.state.Closed[l.Invitation] {
			bodies = append(bodies, wire.OpMemberCapabilitySet{
				Member: domain.PublicKey(l.Invitation), Capabilities: governance.CloseInvitation,
			})
		}
		_, err := s.issue(ctx, g, key, bodies...)
		return err
	})
}

// ended is the error of a claim of an invitation whose time is over. Who joins looks at the clock, nobody else does.
func (s *Service) ended(op *governance.Op) error {
	if op.Claim == nil || op.Claim.Expiration >= unix(s.opts.Now()) {
		return nil
	}
	return errkind.Precondition.Errorf("the invitation has expired")
}

// watch remembers a claim that comes late.
func (t *taking) watch(op governance.Op) {
	if op.Claim == nil || op.Claim.Fault != "" {
		return
	}
	now, grace := unix(t.s.opts.Now()), uint64(lateAfter/time.Second)
	if now < grace || op.Claim.Expiration >= now-grace {
		return
	}
	l := Late{Group: t.g.id, Claim: op.ID, Joiner: op.Author, Invitation: op.Claim.Invitation}
	t.g.late[op.ID] = l
	t.late = append(t.late, l)
	store.Generic.Put(t.batch, lateKey(op.ID), append(l.Group[:], append(l.Joiner[:], l.Invitation[:]...)...))
}

// vouch forgets late claims that an admin built on.
func (t *taking) vouch() {
	if len(t.g.late) == 0 {
		return
	}
	var ids []domain.Hash
	for id := range t.g.late {
		ids = append(ids, id)
	}
	for _, id := range t.g.engine.Vouched(ids) {
		delete(t.g.late, id)
		store.Generic.Delete(t.batch, lateKey(id))
	}
}

// warn tells of claims that came late, after the commit.
func (t *taking) warn() {
	for _, l := range t.late {
		if _, open := t.g.late[l.Claim]; open && t.g.rests(l) && t.s.opts.Late != nil {
			t.s.opts.Late(l)
		}
	}
}

func lateKey(claim domain.Hash) store.GenericKey {
	return store.GenericKey{Scope: lateScope, Fragment: claim}
}

func (s *Service) loadLate(ctx context.Context, g *group) error {
	g.late = make(map[domain.Hash]Late)
	return store.Generic.Scan(ctx, s.opts.DB, lateScope[:], func(k store.GenericKey, raw []byte) error {
		if len(raw) != 3*32 {
			return errkind.Corrupt.Errorf("late claim %x: %d bytes", k.Fragment, len(raw))
		}
		l := Late{Group: domain.GroupID(raw[:32]), Claim: k.Fragment, Joiner: domain.PublicKey(raw[32:64]), Invitation: domain.Hash(raw[64:])}
		if l.Group == g.id {
			g.late[l.Claim] = l
		}
		return nil
	})
}

func unix(t time.Time) uint64 { return uint64(max(0, t.Unix())) }
