package governance

import (
	"cmp"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// resolution is which operations of a closed set count, and why others do not.
type resolution struct {
	applied  bitset
	joins    joins
	verdicts map[int]Verdict // of void operations, when asked for
	// contested: operations yet to come, by authors who see all that counts, may still decide otherwise.
	contested bool
	// takers are, for void operations that could also be void by their authority, the standing revocations that took it.
	takers map[int]takers
}

// takers are the operations that took a token.
type takers map[token][]*Op

// all returns those that took the alternatives of some clause; nil when none is without any left.
func (t takers) all(uses []clause) []*Op {
	var out []*Op
	for _, c := range uses {
		var these []*Op
		left := false
		for _, tok := range c {
			left = left || len(t[tok]) == 0
			these = append(these, t[tok]...)
		}
		if !left {
			out = append(out, these...)
		}
	}
	return out
}

// mayChange reports whether a void operation of this code would be void by VoidAuthorityRevoked, which is looked at
// first, once somebody takes its authority.
func (c Code) mayChange() bool {
	return c == VoidDeleteContexts || c == VoidLastAdmin || c == VoidInheritedLost
}

// resolving is the resolution of one set.
type resolving struct {
	*evaluation
	joins   joins
	set     bitset // operations that are not refused
	explain bool
	void    bitset // decided on causal facts, before the revocations
	out     resolution

	revocations []int
	standing    bitset
	facts       map[int]*revocation
}

// revocation is what is known of an operation that takes authority away.
type revocation struct {
	op     int
	rivals []int
	ack    bitset // seen by its author, as far as it worked on
	stale  bool   // its author made other operations beside it
	sealed bool   // endorsed by more than half of the admins of before the conflict
}

// resolve settles a closed set, given the judgements of its joins without parents.
func (e *evaluation) resolve(set bitset, joins joins, explain bool) resolution {
	r := resolving{
		evaluation: e, joins: joins, set: set.clone(), explain: explain, void: newBitset(len(e.ops)), standing: newBitset(len(e.ops)),
		facts: map[int]*revocation{},
	}
	r.out.joins, r.out.verdicts = joins, map[int]Verdict{}
	for i := range set.all {
		if r.judged(i).refused != "" {
			r.set.drop(i)
		}
	}
	for i := range e.pinned {
		if r.set.has(i) {
			r.void.add(i)
		}
	}
	r.voidClaims()
	r.voidLost()
	r.findRevocations()
	if r.quiet() {
		r.out.applied = r.set
		return r.out
	}
	for _, op := range r.order() {
		if r.stands(op) {
			r.standing.add(op)
		}
	}
	r.out.applied = r.settle(r.set, r.explain)
	r.delete()
	r.nameWinners()
	if explain {
		r.nameTakers()
	}
	return r.out
}

// quiet reports that nothing can void anything: the rest of the work is for conflicts.
func (r *resolving) quiet() bool {
	if !r.void.empty() {
		return false
	}
	beside := newBitset(len(r.ops))
	for _, op := range r.revocations {
		copy(beside, r.set)
		beside.subtract(r.past[op])
		beside.subtract(r.after[op])
		beside.drop(op)
		if !beside.empty() {
			return false
		}
	}
	for i, j := range r.joins {
		if j.refused != "" && !r.after[i].empty() {
			return false // it may have counted for those after it
		}
	}
	for i := range r.set.all {
		if r.deletes(i) {
			return false
		}
	}
	return true
}

func (r *resolving) judged(i int) *judgement { return view{e: r.evaluation, joins: r.joins}.judged(i) }

func (r *resolving) concurrent(a, b int) bool {
	return a != b && !r.past[a].has(b) && !r.past[b].has(a)
}

// verdict records why an operation does not count. Of its causes only the first are named, not what came after them: so
// that a verdict does not change as more of the same follows.
func (r *resolving) verdict(op int, code Code, by []int) {
	if !r.explain {
		return
	}
	v := Verdict{Code: code}
	for _, cause := range by {
		if !slices.ContainsFunc(by, func(before int) bool { return r.past[cause].has(before) }) {
			v.By = append(v.By, r.ops[cause].ID)
		}
	}
	slices.SortFunc(v.By, domain.Hash.Compare)
	v.By = slices.Compact(v.By)
	r.out.verdicts[op] = v
}

// voidClaims leaves one claim of each invitation that is for one use: the one that most admins built on, then the one
// with the least id. All are concurrent, for a claim with another in its past is refused.
func (r *resolving) voidClaims() {
	for _, list := range r.claims {
		var rivals []int
		for _, i := range list {
			if r.set.has(i) && !r.void.has(i) && r.uses(i) {
				rivals = append(rivals, i)
			}
		}
		if len(rivals) < 2 {
			continue
		}
		winner, most := -1, 0
		for _, i := range rivals {
			n := len(r.endorsers(i, nil))
			if winner < 0 || n > most || n == most && r.ops[i].ID.Compare(r.ops[winner].ID) < 0 {
				winner, most = i, n
			}
		}
		for _, i := range rivals {
			if i != winner {
				r.void.add(i)
				r.verdict(i, VoidInvitationUsed, []int{winner})
			}
		}
	}
}

// nameTakers finds who took the authority of operations that are void for another reason: when all of it is gone, that
// is the reason, also if those who took it were looked at later.
func (r *resolving) nameTakers() {
	r.out.takers = map[int]takers{}
	for op, v := range r.out.verdicts {
		if !v.Code.mayChange() {
			continue
		}
		r.out.takers[op] = r.takers(op)
		if by := r.revoked(op); by != nil {
			r.verdict(op, VoidAuthorityRevoked, by)
		} else if v.Code == VoidInheritedLost {
			r.out.contested = true // somebody may build on it yet
		}
	}
	for op := range r.pinned {
		r.out.takers[op] = r.takers(op)
	}
}

// nameWinners leaves out winners of a one-use invitation that do not count in the end: the invitation is used all the
// same.
func (r *resolving) nameWinners() {
	for op, v := range r.out.verdicts {
		if v.Code == VoidInvitationUsed && !r.out.applied.has(r.index[v.By[0]]) {
			r.out.verdicts[op] = Verdict{Code: VoidInvitationUsed}
		}
	}
}

// uses reports whether a claim makes a member: one by a member has no effect, and uses up nothing.
func (r *resolving) uses(claim int) bool { return len(r.judged(claim).writes) > 0 }

// voidLost voids what rests on inherited authority that is gone, unless another author, a member, had built on it.
func (r *resolving) voidLost() {
	for i := range r.set.all {
		if !r.judged(i).lost || r.void.has(i) {
			continue
		}
		acknowledged := false
		for q := range r.set.all {
			if r.past[q].has(i) && r.judged(q).row && r.ops[q].Author != r.ops[i].Author {
				acknowledged = true
				break
			}
		}
		if !acknowledged {
			r.void.add(i)
			r.verdict(i, VoidInheritedLost, nil)
			r.out.contested = r.out.contested || r.judged(i).takes.any()
		}
	}
}

func (r *resolving) findRevocations() {
	for i := range r.set.all {
		if !r.void.has(i) && r.judged(i).takes.any() {
			r.revocations = append(r.revocations, i)
			r.facts[i] = &revocation{op: i}
		}
	}
	for n, a := range r.revocations {
		for _, b := range r.revocations[:n] {
			if r.concurrent(a, b) && (r.strikes(a, b) || r.strikes(b, a)) {
				r.facts[a].rivals = append(r.facts[a].rivals, b)
				r.facts[b].rivals = append(r.facts[b].rivals, a)
			}
		}
	}
	for _, op := range r.revocations {
		r.acknowledge(r.facts[op])
	}
	for _, op := range r.revocations {
		if f := r.facts[op]; len(f.rivals) > 0 {
			f.sealed = r.sealed(f)
		}
	}
	for _, op := range r.revocations {
		if f := r.facts[op]; len(f.rivals) > 0 && !f.sealed && !r.rivalSealed(f) {
			r.out.contested = true
		}
	}
}

func (r *resolving) rivalSealed(f *revocation) bool {
	return slices.ContainsFunc(f.rivals, func(i int) bool { return r.facts[i].sealed })
}

// strikes reports whether one operation takes all the alternatives of something that another needs.
func (r *resolving) strikes(by, op int) bool {
	for _, c := range r.judged(op).uses {
		all := true
		for _, t := range c {
			all = all && r.judged(by).takes.token(t)
		}
		if all {
			return true
		}
	}
	return false
}

// acknowledge finds what the author of a revocation has seen: an admin who keeps working cannot later pretend not to
// have seen what it saw.
func (r *resolving) acknowledge(f *revocation) {
	f.ack = r.past[f.op].clone()
	for _, y := range r.authors[r.ops[f.op].Author] {
		if !r.set.has(y) || !r.concurrent(y, f.op) {
			continue
		}
		if slices.ContainsFunc(f.rivals, func(rival int) bool { return r.past[y].has(rival) }) {
			continue
		}
		f.stale = true
		f.ack.union(r.past[y])
		f.ack.add(y)
	}
}

// endorsers are the admins who made operations on the ground that one counts, and none of its rivals does.
func (r *resolving) endorsers(op int, rivals []int) map[domain.PublicKey]bool {
	out := map[domain.PublicKey]bool{}
	for q := range r.set.all {
		if !r.judged(q).admin || !r.appliedAt[q].has(op) || !r.past[q].has(op) {
			continue
		}
		if !slices.ContainsFunc(rivals, func(rival int) bool { return r.appliedAt[q].has(rival) }) {
			out[r.ops[q].Author] = true
		}
	}
	return out
}

// sealed reports whether more than half of those in office before the conflict endorse a revocation.
func (r *resolving) sealed(f *revocation) bool {
	before := f.ack.clone()
	for _, rival := range f.rivals {
		before.intersect(r.facts[rival].ack)
	}
	endorsed := r.endorsers(f.op, f.rivals)
	endorsed[r.ops[f.op].Author] = true
	electors, votes := 0, 0
	for _, who := range r.state(before).admins() {
		if target, ok := r.judged(f.op).takes.target(); ok && target == who {
			continue
		}
		electors++
		if endorsed[who] {
			votes++
		}
	}
	return 2*votes > electors
}

// order lists the revocations, the most senior first, each after those in its past.
func (r *resolving) order() []int {
	sorted := slices.Clone(r.revocations)
	slices.SortFunc(sorted, func(a, b int) int {
		fa, fb := r.facts[a], r.facts[b]
		return cmp.Or(
			cmp.Compare(one(fa.stale && !fa.sealed), one(fb.stale && !fb.sealed)),
			cmp.Compare(one(fa.disputed()), one(fb.disputed())),
			r.judged(a).rank.compare(r.judged(b).rank),
		)
	})
	done := newBitset(len(r.ops))
	out := make([]int, 0, len(sorted))
	var emit func(int)
	emit = func(op int) {
		if done.has(op) {
			return
		}
		done.add(op)
		for _, before := range sorted {
			if r.past[op].has(before) {
				emit(before)
			}
		}
		out = append(out, op)
	}
	for _, op := range sorted {
		emit(op)
	}
	return out
}

// disputed: it has rivals, and no majority endorses it.
func (f *revocation) disputed() bool { return len(f.rivals) > 0 && !f.sealed }

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// stands decides a revocation against those that stand already. One that stands is not looked at again when another
// removes its author: what a more senior or endorsed admin took away stays taken.
func (r *resolving) stands(op int) bool {
	past := r.past[op].clone()
	past.intersect(r.set)
	now := r.settle(past, false)
	if changed := r.unsupported(op, now); changed != nil {
		r.verdict(op, VoidUnsupported, changed)
		return false
	}
	if by := r.revoked(op); by != nil {
		r.verdict(op, VoidAuthorityRevoked, by)
		return false
	}
	target, removes := r.judged(op).takes.target()
	if !removes {
		return true
	}
	left := map[domain.PublicKey]bool{}
	for _, who := range (view{r.evaluation, now, r.joins}).admins() {
		left[who] = who != target
	}
	var by []int
	for q := range r.standing.all {
		if other, ok := r.judged(q).takes.target(); ok && r.concurrent(q, op) {
			by = append(by, q)
			left[other] = false
		}
	}
	for _, stays := range left {
		if stays {
			return true
		}
	}
	r.verdict(op, VoidLastAdmin, by)
	return false
}

// settle tells which of a closed set of operations count, given the revocations that stand.
func (r *resolving) settle(set bitset, explain bool) bitset {
	applied := newBitset(len(r.ops))
	for i := range set.all {
		switch {
		case r.facts[i] != nil:
			if r.standing.has(i) {
				applied.add(i)
			}
		case r.void.has(i):
		default:
			seen := applied.clone()
			seen.intersect(r.past[i])
			by, code := r.unsupported(i, seen), VoidUnsupported
			if by == nil {
				by, code = r.revoked(i), VoidAuthorityRevoked
			}
			if by == nil {
				applied.add(i)
			} else if explain {
				r.verdict(i, code, by)
			}
		}
	}
	return applied
}

// unsupported returns the operations in the past of one whose verdicts are not those it saw, if its authority does not
// hold on those that count now; else nil.
func (r *resolving) unsupported(op int, now bitset) []int {
	if r.ops[op].parentless() || now.equal(r.appliedAt[op]) || (view{r.evaluation, now, r.joins}).allows(r.judged(op).uses) {
		return nil
	}
	var changed []int
	for i := range r.past[op].all {
		if now.has(i) != r.appliedAt[op].has(i) {
			changed = append(changed, i)
		}
	}
	return changed
}

// revoked returns the standing revocations that took what an operation used, made without knowledge of it; else nil.
func (r *resolving) revoked(op int) []int {
	if r.ops[op].parentless() {
		return nil // judged on what they left
	}
	var by []int
	for _, taker := range r.takers(op).all(r.judged(op).uses) {
		by = append(by, r.index[taker.ID])
	}
	return by
}

func (r *resolving) takers(op int) takers {
	out := takers{}
	for _, c := range r.judged(op).uses {
		for _, t := range c {
			for q := range r.standing.all {
				if r.concurrent(q, op) && !r.facts[q].ack.has(op) && r.judged(q).takes.token(t) {
					out[t] = append(out[t], r.ops[q])
				}
			}
		}
	}
	return out
}

// delete settles the end of the group: a context registered at the same time keeps it alive; otherwise nothing counts
// beside the deletion and what it saw.
func (r *resolving) delete() {
	keep := newBitset(len(r.ops))
	var deletes []int
	for d := range r.out.applied.all {
		if !r.deletes(d) {
			continue
		}
		var by []int
		for i := range r.out.applied.all {
			if r.registers(i) && r.concurrent(i, d) {
				by = append(by, i)
			}
		}
		if by == nil && r.hasContexts(d) { // by what counts of its past after all
			for i := range r.past[d].all {
				if r.out.applied.has(i) && r.registers(i) {
					by = append(by, i)
				}
			}
		}
		if by != nil {
			r.verdict(d, VoidDeleteContexts, by)
			continue
		}
		deletes = append(deletes, d)
		keep.union(r.past[d])
		keep.add(d)
	}
	for d := range r.out.applied.clone().all {
		if len(deletes) > 0 && !keep.has(d) || r.deletes(d) && !slices.Contains(deletes, d) {
			r.out.applied.drop(d)
			if !r.deletes(d) {
				r.verdict(d, VoidGroupDeleted, deletes)
			}
		}
	}
}

// hasContexts reports whether the group had contexts on what counts of an operation's past.
func (r *resolving) hasContexts(op int) bool {
	now := r.out.applied.clone()
	now.intersect(r.past[op])
	return (view{r.evaluation, now, r.joins}).anyContext()
}

func (r *resolving) deletes(op int) bool {
	return slices.ContainsFunc(r.judged(op).writes, func(w write) bool { return w.key.kind == keyDeleted })
}

func (r *resolving) registers(op int) bool {
	return slices.ContainsFunc(r.judged(op).writes, func(w write) bool { return w.key.kind == keyContext && w.bit })
}
