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
			// Other such joins are judged on the whole set, as it was.
			past.applied = e.resolve(e.without(everything, i), res.joins, false).applied
		}
		if !op.parentless() && !e.state(e.past[i]).allows(j.uses) {
			return fmt.Errorf("%x (%T) counts, and had no authority where it was made", op.ID[:4], op.Body)
		}
		if err := all.acts(i); err != nil {
			return err
		}
		if !j.takes.any() && !all.rejudged(i) && !past.allows(j.uses) {
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
	if err := all.returned(); err != nil {
		return err
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

// rejudged reports whether a join without parents in an operation's past is another than where the operation was made: it
// is judged on whatever there is, and writes the defaults of then.
func (v view) rejudged(i int) bool {
	at := v.e.state(v.e.past[i])
	for k, now := range v.joins {
		if v.e.past[i].has(k) && !sameJudgement(now, at.joins[k]) {
			return true
		}
	}
	return false
}

// acts checks that the author of an operation that counts was not removed before, unless somebody took him in again in
// between, or he is an admin from above.
func (v view) acts(i int) error {
	e, op := v.e, v.e.ops[i]
	if op.Claim != nil || e.inherited[op.Author].Ever {
		return nil
	}
	for _, r := range e.removals[op.Author] {
		if e.past[i].has(r.op) && e.appliedAt[i].has(r.op) && !v.readmitted(op.Author, r.op, e.past[i]) {
			return fmt.Errorf("%x counts, and %x had removed its author", op.ID[:4], e.ops[r.op].ID[:4])
		}
	}
	return nil
}

// returned checks that whoever was removed and is a member was taken in by somebody who knew of the removal.
func (v view) returned() error {
	for who, removals := range v.e.removals {
		if !v.member(who).present {
			continue
		}
		for _, r := range removals {
			if v.applied.has(r.op) && !v.readmitted(who, r.op, v.applied) {
				return fmt.Errorf("%x removed %x, who is a member", v.e.ops[r.op].ID[:4], who[:4])
			}
		}
	}
	return nil
}

// readmitted reports whether an operation of a set makes somebody a member and has a removal in its past.
func (v view) readmitted(who domain.PublicKey, removal int, in bitset) bool {
	for _, w := range v.writers(key{kind: keyMember, who: who}) {
		if in.has(w.op) && !w.member.removed && v.e.past[w.op].has(removal) {
			return true
		}
	}
	return false
}

// CheckMarks checks that nothing that came after a mark of an engine changed what counted then. It returns how many
// marks there are.
func (g *Engine) CheckMarks(ops []Op) (int, error) {
	ready, depth, _ := causal(ops)
	e := newEvaluation(g.genesis.snapshot(), g.inherited, ready, depth)
	res := e.run()
	for _, m := range g.marks[1:] {
		head := e.index[m.head.op.ID]
		before := newBitset(len(e.ops)) // known when the mark was set
		for _, n := range g.log[:m.at] {
			before.add(e.index[n.op.ID])
		}
		all, then, now := view{e, res.applied, res.joins}, e.state(before).applied, res.applied
		for i := range before.all {
			if then.has(i) != now.has(i) && !e.ops[i].parentless() && !all.rejudged(i) {
				return 0, fmt.Errorf("whether %x counts, before %x, changed", e.ops[i].ID[:4], m.head.op.ID[:4])
			}
		}
		for i := range res.applied.all {
			if i != head && !e.past[head].has(i) && !e.past[i].has(head) && !e.ops[i].parentless() {
				return 0, fmt.Errorf("%x counts, and is neither before nor after %x", e.ops[i].ID[:4], m.head.op.ID[:4])
			}
		}
	}
	return len(g.marks) - 1, nil
}

// Assume makes an identity a member before the first operation.
func (g *Engine) Assume(who domain.PublicKey, role domain.MemberRole) {
	for _, s := range []*snapshot{g.now, g.marks[0].state} {
		s.members[who] = memberState{present: true, role: role, written: true}
	}
}
