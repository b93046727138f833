package governance

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// MarkEvery lets a test have marks often.
func (g *Engine) MarkEvery(n int) { g.markEvery = n }

// Marks is how many marks are kept.
func (g *Engine) Marks() int { return len(g.marks) }

// Invariants checks what must hold of operations that count beside each other, by definition and not by how the rule
// gets there.
func Invariants(g Genesis, inherited Inherited, ops []Op) error {
	ready, depth, _ := causal(ops)
	e := newEvaluation(g.snapshot(), inherited, ready, depth)
	res := e.run()
	r := resolving{evaluation: e, joins: res.joins, set: newBitset(len(e.ops)), void: newBitset(len(e.ops)), facts: map[int]*revocation{}}
	for i := range e.ops {
		if r.judged(i).refused == "" {
			r.set.add(i)
		}
	}
	r.voidClaims()
	r.voidLost()
	r.findRevocations()
	all := view{e, res.applied, res.joins}
	claims := map[[32]byte]int{}
	for i := range res.applied.all {
		op, j := e.ops[i], r.judged(i)
		past := view{e, res.applied.clone(), res.joins}
		past.applied.intersect(e.past[i])
		if op.parentless() {
			everything := newBitset(len(e.ops))
			for k := range e.ops {
				everything.add(k)
			}
			past = e.state(e.without(everything, i))
		}
		if !j.takes.any() && !past.allows(j.uses) {
			return fmt.Errorf("%x (%T, parents %x) counts without authority %v on what counts of its past; join %v lost %v", op.ID[:4], op.Body, op.Parents, j.uses, op.parentless(), j.lost)
		}
		if op.Claim != nil && op.Claim.OneUse && len(j.writes) > 0 {
			if claims[op.Claim.Invitation]++; claims[op.Claim.Invitation] > 1 {
				return fmt.Errorf("%x is a second use of an invitation for one", op.ID)
			}
		}
		for q := range res.applied.all {
			if !r.concurrent(i, q) || !r.judged(q).takes.any() || !r.strikes(q, i) {
				continue
			}
			if !j.takes.any() && !op.parentless() && !r.facts[q].ack.has(i) {
				return fmt.Errorf("%x counts, and so does %x, which took its authority", op.ID, e.ops[q].ID)
			}
			if j.takes.any() && op.Author != e.ops[q].Author && r.strikes(i, q) && !r.facts[q].ack.has(i) && !r.facts[i].ack.has(q) {
				return fmt.Errorf("%x and %x count and take each other's authority", op.ID, e.ops[q].ID)
			}
		}
	}
	if all.deleted() {
		if all.anyContext() {
			return fmt.Errorf("deleted, with contexts")
		}
		return nil
	}
	if len(all.admins()) == 0 {
		return fmt.Errorf("no admin is left")
	}
	return nil
}

// Assume makes an identity a member before the first operation.
func (g *Engine) Assume(who domain.PublicKey, role domain.MemberRole) {
	for _, s := range []*snapshot{g.now, g.marks[0].state} {
		s.members[who] = memberState{present: true, role: role, written: true}
	}
}
