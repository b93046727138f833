package membership

import (
	"context"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// receive takes operations of a peer, those that others build on after them if that may be chosen. It leaves out what
// only strangers made and nobody builds on. Missing is what is waited for.
func (g *group) receive(ctx context.Context, source PeerID, raws [][]byte) (missing []domain.Hash, err error) {
	introduced := map[domain.PublicKey]bool{}
	var worth, rest [][]byte
	doubtful := map[domain.Hash]int{} // those in rest
	for _, raw := range raws {
		x, err := g.m.opts.Groups.Examine(ctx, g.id, raw)
		if err != nil {
			if isOfStore(err) {
				return nil, err
			}
			g.m.refused(g.id, source, domain.Hash{}, err)
			continue
		}
		if x.Known {
			continue
		}
		if x.Fault == "" && (!x.Stranger || introduced[x.Author] || x.Claim != nil && introduced[x.Claim.Inviter]) {
			worth = append(worth, raw)
			introduces(x, introduced)
			continue
		}
		doubtful[x.ID] = len(rest)
		rest = append(rest, raw)
	}
	if err := g.add(ctx, source, worth); err != nil {
		return nil, err
	}
	for {
		if missing, err = g.m.opts.Groups.Missing(ctx, g.id); err != nil {
			return nil, err
		}
		var built [][]byte
		for _, id := range missing {
			if i, here := doubtful[id]; here {
				built = append(built, rest[i])
				delete(doubtful, id)
			}
		}
		if len(built) == 0 {
			for id := range doubtful {
				g.shun(id)
			}
			return missing, nil
		}
		if err := g.add(ctx, source, built); err != nil {
			return nil, err
		}
	}
}

// introduces notes whom an operation may have made a member.
func introduces(x groups.Exam, who map[domain.PublicKey]bool) {
	switch body := x.Body.(type) {
	case wire.OpMemberAdded:
		who[body.Member] = true
	case wire.OpMemberRoleSet:
		who[body.Member] = true
	case wire.OpMemberJoinedViaTeeAttestation:
		who[body.Member] = true
	case wire.OpJoinWithInvitationClaim, wire.OpMemberJoinedViaContextInvitation:
		who[x.Author] = true
	}
}

// add hands operations to the group, and follows up what came of them.
func (g *group) add(ctx context.Context, source PeerID, raws [][]byte) error {
	grown := false
	for chunk := range slices.Chunk(raws, groups.MaxReceive) {
		receipts, err := g.m.opts.Groups.Receive(ctx, g.id, string(source), chunk)
		if err != nil {
			return err
		}
		for _, r := range receipts {
			switch r.Outcome {
			case groups.Rejected:
				g.m.refused(g.id, source, r.ID, r.Err)
			case groups.Taken:
				grown = true
				g.m.metrics.ops.WithLabelValues(outcome(r.Verdict.Code)).Inc()
			}
		}
	}
	if grown {
		g.grew(ctx)
	}
	return nil
}

func outcome(c governance.Code) string {
	switch {
	case c.Refused():
		return "refused"
	case c.Void():
		return "void"
	}
	return "applied"
}

func (m *Manager) refused(id domain.GroupID, source PeerID, op domain.Hash, err error) {
	m.metrics.ops.WithLabelValues("rejected").Inc()
	m.log.Debug("an operation of a group is not kept", "group", id, "operation", op, "source", source, "err", err)
}

// grew is called after operations of others came in: peers are told, and a claim that this node's admin let in is
// vouched for, so that it counts whenever somebody else hears of it.
func (g *group) grew(ctx context.Context) {
	if err := g.vouch(ctx); err != nil {
		g.m.warn(ctx, "claims are not vouched for", g.id, err)
	}
	g.settle(ctx, false)
	g.soon()
}

// vouch issues an operation without effect, which has all before it in its past, if claims are among the heads and an
// admin's key is here. While one that came late is among them, nothing is said: it is to be ended.
func (g *group) vouch(ctx context.Context) error {
	service := g.m.opts.Groups
	heads, err := service.Heads(ctx, g.id)
	if err != nil {
		return err
	}
	raws, err := service.Ops(ctx, g.id, heads)
	if err != nil {
		return err
	}
	late, err := service.LateClaims(ctx, g.id)
	if err != nil || slices.ContainsFunc(late, func(l groups.Late) bool { return slices.Contains(heads, l.Claim) }) {
		return err
	}
	claims := false
	for _, raw := range raws {
		op, err := wire.DecodeSignedGroupOp(raw)
		if err != nil {
			return err
		}
		switch op.Op.(type) {
		case wire.OpJoinWithInvitationClaim, wire.OpMemberJoinedViaContextInvitation:
			claims = true
		}
	}
	if !claims {
		return nil
	}
	key, err := g.m.adminKey(ctx, g.id)
	if key == nil || err != nil {
		return err
	}
	_, err = service.Issue(ctx, g.id, *key, wire.OpNoop{})
	return err
}
