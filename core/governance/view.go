package governance

import (
	"math/bits"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// entry is a write in the list of its key's writers.
type entry struct {
	op int
	value
}

// view is the state of some applied operations over the base of their evaluation.
type view struct {
	e       *evaluation
	applied bitset
	joins   joins
}

// joins are the judgements of joins without parents, which depend on the set they are in.
type joins map[int]judgement

func (v view) judged(i int) *judgement {
	if j, loose := v.joins[i]; loose {
		return &j
	}
	return &v.e.causal[i]
}

// writers are the writes of a key, in causal order.
func (v view) writers(k key) []entry {
	list := v.e.writers[k]
	if len(v.joins) == 0 {
		return list
	}
	var more []entry
	for i, j := range v.joins {
		for _, w := range j.writes {
			if w.key == k {
				more = append(more, entry{i, w.value})
			}
		}
	}
	slices.SortFunc(more, func(a, b entry) int { return a.op - b.op })
	return mergeEntries(list, more)
}

// last returns the writes that are in the past of no other applied write of the list, which is in causal order.
func (v view) last(list []entry) []entry {
	var out []entry
	var covered bitset
	for i := len(list) - 1; i >= 0; i-- {
		w := list[i]
		if !v.applied.has(w.op) {
			continue
		}
		if covered == nil {
			covered = newBitset(len(v.e.ops))
		}
		if !covered.has(w.op) {
			out = append(out, w)
		}
		covered.union(v.e.past[w.op])
	}
	return out
}

// rootless reports whether none of the writes has the base in its past.
func (v view) rootless(last []entry) bool {
	for _, w := range last {
		if !v.e.ops[w.op].parentless() {
			return false
		}
	}
	return true
}

func (v view) member(who domain.PublicKey) memberState {
	state := v.e.base.members[who]
	list := v.writers(key{kind: keyMember, who: who})
	if len(list) == 0 {
		return state
	}
	var strongs, weaks []entry
	for _, w := range list {
		if w.member.weak {
			weaks = append(weaks, w)
		} else {
			strongs = append(strongs, w)
		}
	}
	strong := v.last(strongs)
	if len(strong) > 0 {
		state = mergeStrong(strong)
	}
	if state.present {
		return state
	}
	eligible := weaks[:0:0]
	for _, w := range weaks {
		if v.applied.has(w.op) && v.sees(w.op, strong, state.written) {
			eligible = append(eligible, w)
		}
	}
	if joins := v.last(eligible); len(joins) > 0 {
		join := memberState{present: true, joined: true, role: domain.RoleAdmin, written: state.written}
		for _, w := range joins {
			join.role = narrower(join.role, w.member.role)
		}
		join.since = latest(joins, join.role)
		return join
	}
	return state
}

// sees reports whether an operation has all of the last strong writes in its past.
func (v view) sees(op int, strong []entry, written bool) bool {
	if len(strong) == 0 {
		return !written || !v.e.ops[op].parentless()
	}
	for _, w := range strong {
		if !v.e.past[op].has(w.op) {
			return false
		}
	}
	return true
}

// mergeStrong merges concurrent writes of a membership: removal, then demotion, then Admin, then the narrower role.
func mergeStrong(last []entry) memberState {
	state := memberState{present: true, written: true, role: domain.RoleMember}
	admin, demoted := false, false
	for _, w := range last {
		if w.member.removed {
			return memberState{written: true, removed: true}
		}
		demoted = demoted || w.member.demotes
		if w.member.role == domain.RoleAdmin {
			admin = true
		} else {
			state.role = narrower(state.role, w.member.role)
		}
	}
	if admin && !demoted {
		state.role = domain.RoleAdmin
	}
	state.since = latest(last, state.role)
	return state
}

func latest(last []entry, role domain.MemberRole) since {
	var at since
	for _, w := range last {
		if w.member.role == role && w.member.since.compare(at) > 0 {
			at = w.member.since
		}
	}
	return at
}

// bit is the value of a bit and whether anything wrote it.
func (v view) bit(k key) (on, written bool) {
	list := v.writers(k)
	if k.ofMember() {
		list = mergeEntries(list, v.e.removals[k.who])
	}
	base, known := v.e.base.bit(k)
	last := v.last(list)
	if len(last) == 0 {
		return base, known
	}
	on = !k.oneWins()
	if known && v.rootless(last) {
		on = base
	}
	for _, w := range last {
		if k.oneWins() {
			on = on || w.bit
		} else {
			on = on && w.bit
		}
	}
	return on, true
}

func (v view) on(k key) bool {
	on, _ := v.bit(k)
	return on
}

func (v view) register(k key) any {
	var senior *entry
	for _, w := range v.last(v.writers(k)) {
		if senior == nil || v.judged(w.op).rank.compare(v.judged(senior.op).rank) < 0 {
			senior = &w
		}
	}
	if senior == nil {
		return v.e.base.regs[k]
	}
	return senior.register
}

// tee is the policies that hold together: those written last, in the order of their operations' ids.
func (v view) tee() teePolicies {
	last := v.last(v.writers(key{kind: keyTee}))
	if len(last) == 0 {
		policies, _ := v.e.base.regs[key{kind: keyTee}].(teePolicies)
		return policies
	}
	slices.SortFunc(last, func(a, b entry) int { return v.e.ops[a.op].ID.Compare(v.e.ops[b.op].ID) })
	var policies teePolicies
	for _, w := range last {
		p, _ := w.register.(teePolicies)
		policies = append(policies, p...)
	}
	return policies
}

func (v view) creator(context domain.Hash) (domain.PublicKey, bool) {
	who, ok := v.register(key{kind: keyCreator, id: context}).(domain.PublicKey)
	return who, ok
}

func (v view) deleted() bool { return v.on(key{kind: keyDeleted}) }

// capabilities of an identity, also without membership.
func (v view) capabilities(who domain.PublicKey) (caps uint32) {
	for bit := range eachBit(^uint32(0)) {
		if v.on(key{kind: keyCap, who: who, bit: bit}) {
			caps |= bit
		}
	}
	return caps
}

func (v view) defaults() (caps uint32) {
	for bit := range eachBit(^uint32(0)) {
		if v.on(key{kind: keyDefault, bit: bit}) {
			caps |= bit
		}
	}
	return caps
}

// inherits reports whether an identity without a row here is, or was, an admin above.
func (v view) inherits(who domain.PublicKey, m memberState) bool {
	return !m.present && v.e.inherited[who].Ever
}

func (v view) holds(t token) bool {
	if t.kind == tokenOpen {
		return !v.on(key{kind: keyClosed, id: t.id})
	}
	m := v.member(t.who)
	switch t.kind {
	case tokenAdmin:
		return m.admin()
	case tokenInherited:
		return v.inherits(t.who, m)
	case tokenSelf:
		return m.present
	case tokenCap:
		return m.present && v.on(key{kind: keyCap, who: t.who, bit: uint32(t.bit)})
	case tokenCreator:
		who, known := v.creator(t.id)
		return m.present && known && who == t.who
	case tokenRegistrar:
		_, created := v.creator(t.id)
		who, known := v.register(key{kind: keyRegistrar, id: t.id}).(domain.PublicKey)
		return m.present && !created && known && who == t.who
	}
	return false
}

// held returns the tokens of a clause that are held.
func (v view) held(alternatives ...token) clause {
	var c clause
	for _, t := range alternatives {
		if v.holds(t) {
			c = append(c, t)
		}
	}
	return c
}

// allows reports whether each clause has a token that is held.
func (v view) allows(uses []clause) bool {
	for _, c := range uses {
		ok := false
		for _, t := range c {
			if ok = v.holds(t); ok {
				break
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// admins lists the direct admins.
func (v view) admins() []domain.PublicKey {
	var out []domain.PublicKey
	for _, who := range v.candidates() {
		if v.member(who).admin() {
			out = append(out, who)
		}
	}
	return out
}

func (v view) soleAdmin(who domain.PublicKey) bool {
	if !v.member(who).admin() {
		return false
	}
	for _, other := range v.candidates() {
		if other != who && v.member(other).admin() {
			return false
		}
	}
	return true
}

func (v view) anyContext() bool {
	for _, k := range v.keysOf(keyContext) {
		if v.on(k) {
			return true
		}
	}
	return false
}

// mergeEntries merges two lists in causal order; an operation is in one of them only.
func mergeEntries(a, b []entry) []entry {
	if len(b) == 0 {
		return a
	}
	out := make([]entry, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].op < b[0].op {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// eachBit ranges over the bits of a set.
func eachBit(set uint32) func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for ; set != 0; set &= set - 1 {
			if !yield(1 << bits.TrailingZeros32(set)) {
				return
			}
		}
	}
}
