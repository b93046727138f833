package groups

import (
	"context"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Exam is what can be said of an operation of a peer before it is taken.
type Exam struct {
	ID      domain.Hash
	Author  domain.PublicKey
	Body    wire.GroupOp
	Parents []domain.Hash
	// Known: it is here, or waits here.
	Known bool
	// Fault is a refusal that follows from the bytes alone; empty for none.
	Fault governance.Code
	// Claim is what a join by invitation says; nil for other operations.
	Claim *governance.Claim
	// Stranger: neither its author, nor who invites him, is known to be or have been a member, and it would not count now.
	// It is worth keeping only if somebody else builds on it.
	Stranger bool
}

// Examine verifies an encoded operation and says what it is worth. An error is of bytes that are nobody's operation, of kind
// Invalid, or of the group.
func (s *Service) Examine(ctx context.Context, id domain.GroupID, raw []byte) (x Exam, err error) {
	signed, err := wire.DecodeSignedGroupOp(raw)
	if err != nil {
		return x, err
	}
	op, err := governance.NewOp(id, signed)
	if err != nil {
		return x, err
	}
	x = Exam{ID: op.ID, Author: op.Author, Body: op.Body, Parents: op.Parents, Fault: op.Fault, Claim: op.Claim}
	if op.Claim != nil && op.Claim.Fault != "" {
		x.Fault = op.Claim.Fault
	}
	err = s.with(ctx, id, func(g *group) error {
		x.Known = g.here(op.ID)
		x.Stranger = !g.engine.Knows(op.Author) && (op.Claim == nil || !g.engine.Knows(op.Claim.Inviter)) &&
			g.engine.Try(op) != governance.Applied
		return nil
	})
	return x, err
}

// Lacks are those of ids that are neither here nor wait here.
func (s *Service) Lacks(ctx context.Context, id domain.GroupID, ids []domain.Hash) (lacks []domain.Hash, err error) {
	err = s.with(ctx, id, func(g *group) error {
		for _, op := range ids {
			if !op.IsZero() && !g.here(op) {
				lacks = append(lacks, op)
			}
		}
		return nil
	})
	return lacks, err
}

// Frontier is what others need to know of to have all of a group, in few ids in ascending order: the operations that no
// other one names, but for those that are refused for ever. Members is the number of members.
func (s *Service) Frontier(ctx context.Context, id domain.GroupID) (frontier []domain.Hash, members int, err error) {
	err = s.with(ctx, id, func(g *group) error {
		frontier = slices.DeleteFunc(g.engine.Tips(), func(op domain.Hash) bool {
			verdict, _ := g.engine.Verdict(op)
			return verdict.Code.Refused() && len(g.engine.Parents(op)) > 0
		})
		members = len(g.state.Members)
		return nil
	})
	return frontier, members, err
}

// maxLook is how many operations Within looks at.
const maxLook = 4096

// Within are those of ops that somebody has who has what is given, as far as a look back from there shows.
func (s *Service) Within(ctx context.Context, id domain.GroupID, have, ops []domain.Hash) (within []domain.Hash, err error) {
	err = s.with(ctx, id, func(g *group) error {
		seen := map[domain.Hash]struct{}{}
		for queue := slices.Clone(have); len(queue) > 0 && len(seen) < maxLook && len(within) < len(ops); {
			next := queue[0]
			queue = queue[1:]
			if _, again := seen[next]; again {
				continue
			}
			seen[next] = struct{}{}
			if slices.Contains(ops, next) {
				within = append(within, next)
			}
			queue = append(queue, g.engine.Parents(next)...)
		}
		return nil
	})
	return within, err
}

// maxOffer bounds the bytes of one page of an Offering.
const maxOffer = 4 << 20

// Offering gives a peer what it lacks of a group, in pages. What that is is found out once; a page then costs what it holds.
// It is not safe for concurrent use.
type Offering struct {
	s    *Service
	id   domain.GroupID
	rest []uint64 // places in the log, in a causal order
}

// Offering begins to give a peer what it lacks of a group.
func (s *Service) Offering(id domain.GroupID) *Offering { return &Offering{s: s, id: id} }

// Next is a page of encoded operations: those of want that are here, and then, each after its parents, what somebody lacked
// who had have and all before that when the first page was asked for, at most limit in all. Operations that are refused for
// ever, and that nobody builds on, are left out. More tells that there are others of the second kind; after the last of them
// it begins anew, with what the peer has then.
func (o *Offering) Next(ctx context.Context, have, want []domain.Hash, limit int) (raws [][]byte, more bool, err error) {
	err = o.s.with(ctx, o.id, func(g *group) error {
		if len(o.rest) == 0 {
			o.rest = g.engine.Offer(have)
		}
		var page []uint64
		wanted := map[uint64]bool{}
		for _, op := range want {
			if at := g.engine.Sequence(op); at > 0 && !wanted[at] && len(page) < limit {
				wanted[at] = true
				page = append(page, at)
			}
		}
		asked, taken := len(page), 0
		for _, at := range o.rest {
			if len(page) == limit {
				break
			}
			taken++
			if !wanted[at] {
				page = append(page, at)
			}
		}
		if raws, err = o.s.rawAt(ctx, g, page); err != nil {
			return err
		}
		size := 0
		for i, raw := range raws {
			if size += len(raw); size <= maxOffer || i == 0 {
				continue
			}
			raws = raws[:i]
			if i <= asked {
				taken = 0
			} else {
				taken = slices.Index(o.rest, page[i])
			}
			break
		}
		o.rest = o.rest[taken:]
		more = len(o.rest) > 0
		return nil
	})
	return raws, more, err
}
