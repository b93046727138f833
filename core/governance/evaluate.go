package governance

import (
	"slices"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// evaluation computes the verdicts of operations that all have a base in their past, except joins without parents.
type evaluation struct {
	base      *snapshot
	inherited Inherited

	// ops in a causal order. No result depends on which.
	ops   []*Op
	index map[domain.Hash]int
	depth []int
	past  []bitset // without the operation itself
	// causal has the judgements, but for those of joins without parents.
	causal []judgement
	// appliedAt is which operations of its past an operation saw applied.
	appliedAt []bitset
	// after are the operations that have one in their past.
	after []bitset
	// pinned operations were decided for good, against what the base has; none of them counts.
	pinned map[int]judgement

	writers  map[key][]entry
	removals map[domain.PublicKey][]entry
	authors  map[domain.PublicKey][]int
	claims   map[domain.Hash][]int // of one-use invitations
	memo     map[string]view       // states of sets
}

// newEvaluation takes operations in a causal order with the depths of their places.
func newEvaluation(base *snapshot, inherited Inherited, ops []*Op, depth []int) *evaluation {
	e := &evaluation{
		base: base, inherited: inherited, ops: ops, depth: depth, index: make(map[domain.Hash]int, len(ops)),
		past: make([]bitset, len(ops)), after: make([]bitset, len(ops)), authors: map[domain.PublicKey][]int{},
		claims: map[domain.Hash][]int{},
	}
	for i, op := range ops {
		e.index[op.ID] = i
		e.past[i] = newBitset(len(ops))
		for _, p := range op.Parents {
			if at, here := e.index[p]; here {
				e.past[i].union(e.past[at])
				e.past[i].add(at)
			}
		}
		e.authors[op.Author] = append(e.authors[op.Author], i)
		if op.Claim != nil && op.Claim.OneUse {
			e.claims[op.Claim.Invitation] = append(e.claims[op.Claim.Invitation], i)
		}
		e.after[i] = newBitset(len(ops))
		for before := range e.past[i].all {
			e.after[before].add(i)
		}
	}
	return e
}

// run judges all operations and resolves the whole set.
func (e *evaluation) run() resolution {
	e.causal = make([]judgement, len(e.ops))
	e.appliedAt = make([]bitset, len(e.ops))
	e.writers = map[key][]entry{}
	e.removals = map[domain.PublicKey][]entry{}
	e.memo = map[string]view{}
	all := newBitset(len(e.ops))
	for i, op := range e.ops {
		all.add(i)
		judged, pinned := e.pinned[i]
		if pinned || op.parentless() {
			e.appliedAt[i] = newBitset(len(e.ops))
			e.causal[i] = judged
			continue
		}
		at := e.state(e.past[i])
		e.appliedAt[i] = at.applied
		e.keep(i, at.judge(i))
	}
	return e.resolve(all, e.state(all).joins, true)
}

// state is the state of a closed set of operations.
func (e *evaluation) state(set bitset) view {
	name := set.name()
	if v, known := e.memo[name]; known {
		return v
	}
	v := view{e: e, joins: e.judgeJoins(set)}
	v.applied = e.resolve(set, v.joins, false).applied
	e.memo[name] = v
	return v
}

// judgeJoins judges the joins without parents of a set, each on everything of the set that is not after it. As that has
// other such joins in it, there are rounds: each judges on the verdicts of the round before. A chain of joins, each
// inviting the next, settles in as many rounds as it is long; what would go on for ever, joins that exclude each other,
// ends with the last round, on each node alike.
func (e *evaluation) judgeJoins(set bitset) joins {
	var loose []int
	for i := range set.all {
		if _, pinned := e.pinned[i]; e.ops[i].parentless() && !pinned {
			loose = append(loose, i)
		}
	}
	if len(loose) == 0 {
		return nil
	}
	now := make(joins, len(loose))
	for _, i := range loose {
		now[i] = judgement{refused: RefusedInviterLacks} // until judged
	}
	for range len(loose) + 1 {
		next, same := make(joins, len(loose)), true
		for _, i := range loose {
			rest := e.without(set, i)
			v := view{e, e.resolve(rest, now, false).applied, now}
			next[i] = v.judge(i)
			same = same && sameJudgement(next[i], now[i])
		}
		if now = next; same {
			break
		}
	}
	return now
}

// without is a set but for an operation and what is after it.
func (e *evaluation) without(set bitset, op int) bitset {
	rest := set.clone()
	rest.drop(op)
	rest.subtract(e.after[op])
	return rest
}

func sameJudgement(a, b judgement) bool {
	return a.refused == b.refused && a.rank == b.rank && a.lost == b.lost &&
		slices.EqualFunc(a.uses, b.uses, func(c, d clause) bool { return slices.Equal(c, d) }) &&
		slices.Equal(a.writes, b.writes)
}

// keep records a judgement.
func (e *evaluation) keep(i int, j judgement) {
	e.causal[i] = j
	for _, w := range j.writes {
		e.writers[w.key] = append(e.writers[w.key], entry{i, w.value})
		if w.key.kind == keyMember && w.member.removed {
			e.removals[w.key.who] = append(e.removals[w.key.who], entry{op: i})
		}
	}
}

// nonceBefore is the greatest nonce of an operation's author in its past, refused ones excepted.
func (v view) nonceBefore(i int) uint64 {
	e := v.e
	var greatest uint64
	if !e.ops[i].parentless() {
		greatest = e.base.nonces[e.ops[i].Author]
	}
	for _, k := range e.authors[e.ops[i].Author] {
		if e.past[i].has(k) && v.judged(k).refused == "" {
			greatest = max(greatest, e.ops[k].Nonce)
		}
	}
	return greatest
}

// wasAdminBefore reports whether somebody with authority had made an identity an admin in an operation's past.
func (v view) wasAdminBefore(i int, who domain.PublicKey) bool {
	e := v.e
	if e.base.wasAdmin[who] {
		return true
	}
	for _, w := range e.writers[key{kind: keyMember, who: who}] {
		if e.past[i].has(w.op) && !w.member.weak && !w.member.removed && w.member.role == domain.RoleAdmin {
			return true
		}
	}
	return false
}

// claimedBefore reports whether a one-use invitation was claimed in an operation's past; it stays used when that claim
// does not count in the end.
func (v view) claimedBefore(i int, invitation domain.Hash) bool {
	e := v.e
	if e.ops[i].parentless() {
		return false // concurrent with everything it is judged on
	}
	if e.base.claimed[invitation] {
		return true
	}
	for _, k := range e.claims[invitation] {
		if e.past[i].has(k) && len(v.judged(k).writes) > 0 {
			return true
		}
	}
	return false
}

// lost reports whether some clause rests on inherited authority alone that is gone.
func (e *evaluation) lost(uses []clause) bool {
	for _, c := range uses {
		gone := true
		for _, t := range c {
			if t.kind != tokenInherited || e.inherited[t.who].Now {
				gone = false
			}
		}
		if gone {
			return true
		}
	}
	return false
}

// candidates are the identities that may be direct admins.
func (v view) candidates() []domain.PublicKey {
	e := v.e
	seen := map[domain.PublicKey]bool{}
	var out []domain.PublicKey
	for who, m := range e.base.members {
		if m.admin() {
			seen[who] = true
			out = append(out, who)
		}
	}
	for k, list := range e.writers {
		if k.kind != keyMember || seen[k.who] {
			continue
		}
		for _, w := range list {
			if w.member.role == domain.RoleAdmin && !w.member.removed {
				out = append(out, k.who)
				break
			}
		}
	}
	return out
}

// keysOf lists the keys of a kind that anything wrote, in no order.
func (v view) keysOf(kind keyKind) []key {
	e := v.e
	var out []key
	for k := range e.base.bits {
		if k.kind == kind {
			out = append(out, k)
		}
	}
	for k := range e.writers {
		if _, known := e.base.bits[k]; k.kind == kind && !known {
			out = append(out, k)
		}
	}
	return out
}
