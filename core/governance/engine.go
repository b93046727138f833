package governance

import (
	"container/heap"
	"maps"
	"math"
	"slices"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of an Engine.
const (
	// MaxWindow is how many operations are evaluated together at most: how far back of the heads an operation may begin.
	MaxWindow = 16384

	// markEvery is after how many operations the state is kept.
	markEvery = 512
)

// Engine is a group kept up to date. After each [Engine.Add] it is what [Evaluate] makes of all operations added.
// It is not safe for concurrent use.
//
// It works on a window: the operations after a mark, a place that all operations which count are before or after, with
// nothing left to be decided there. What comes after a mark changes nothing before it. An operation that does not have
// the mark in its past takes the engine back to an earlier one.
type Engine struct {
	genesis   Genesis
	inherited Inherited
	concerned map[domain.PublicKey]bool // identities whose inherited authority was asked for
	listed    map[domain.GroupID][]Link // operations that list subgroups, whatever their verdicts
	nodes     map[domain.Hash]*node
	tips      map[domain.Hash]*node // that no other names
	log       []*node               // in a causal order
	marks     []mark                // the first is the genesis
	lastMark  int
	window    []*node
	loose     []pin // neither before nor after the last mark: they do not count, and that is final
	now       *snapshot
	heads     []domain.Hash
	// calm: every operation in the window counts or is refused, so one that has all heads as its parents adds to the
	// state and changes nothing else.
	calm bool
	// untold are changes that Settle will return, fresh the operations of the window that it is to evaluate.
	untold []Change
	fresh  []*node

	markEvery int
}

type node struct {
	op      *Op
	depth   int
	mark    int        // number of the last mark in its past
	gives   int        // the same for those that name it as a parent
	at      int        // in the log
	verdict *Verdict   // shared between nodes, not changed
	judged  *judgement // while in the window
	takers  takers
	named   bool // as a parent
	out     bool // let go: refused, and not named by others
	admin   bool // its author was one where it was made, and it is not refused
	idle    bool // it counts, and changed nothing where it was made
}

// pin is an operation that will never count.
type pin struct {
	*node
	judged judgement
	why    Verdict // as the mark left it
	// takers are, where another reason may come first yet, the standing revocations that took its authority before the
	// mark, and later those of the window too.
	takers, later takers
}

// mark is a place to start from.
type mark struct {
	number int
	head   *node // nil for the genesis
	at     int   // length of the log with it
	state  *snapshot
	loose  []pin
	window []*node // what went on into the next window
}

// Change is a verdict that is new or different.
type Change struct {
	ID       domain.Hash
	Old, New Verdict // Old.Code is empty for a new operation
}

// NewEngine makes a group without operations.
func NewEngine(g Genesis, inherited Inherited) *Engine {
	start := g.snapshot()
	return &Engine{
		genesis: g, inherited: inherited, concerned: map[domain.PublicKey]bool{},
		listed: map[domain.GroupID][]Link{}, nodes: map[domain.Hash]*node{}, tips: map[domain.Hash]*node{}, marks: []mark{{state: start}}, now: start.clone(), calm: true,
		markEvery: markEvery,
	}
}

// Add takes an operation whose parents were added before; one that is known changes nothing. It returns what changed,
// the operation first. An error of kind Precondition names a parent that is missing, one of kind Exhausted says that the
// operation begins too far back; neither adds it.
func (g *Engine) Add(op Op) ([]Change, error) {
	if err := g.Take(op); err != nil {
		return nil, err
	}
	return g.Settle(), nil
}

// Take is Add without the evaluation: until [Engine.Settle] nothing else may be called. Many operations that conflict
// are settled at the price of one.
func (g *Engine) Take(op Op) error { return g.take(op, MaxWindow) }

// Restore is Take for an operation that was added in an earlier life: it may begin anywhere.
func (g *Engine) Restore(op Op) error { return g.take(op, math.MaxInt) }

func (g *Engine) take(op Op, window int) error {
	if g.nodes[op.ID] != nil {
		return nil
	}
	n := &node{op: &op}
	for _, id := range op.Parents {
		p := g.nodes[id]
		if p == nil {
			return errkind.Precondition.Errorf("operation %s has a parent that was not added: %s", op.ID, id)
		}
		n.depth = max(n.depth, p.depth)
		n.mark = max(n.mark, p.gives)
	}
	n.depth++
	n.gives = n.mark
	to := g.markFor(n.mark)
	if op.parentless() && !g.reachesBack(&op) {
		to = len(g.marks) - 1 // it is judged on the present, and changes nothing else
	}
	if behind := len(g.log) - g.marks[to].at; behind >= window {
		return errkind.Exhausted.Errorf("operation %s begins %d operations behind the newest, limit %d", op.ID, behind, MaxWindow)
	}
	for _, id := range op.Parents {
		p := g.nodes[id]
		p.named = true
		delete(g.tips, id)
		if p.out {
			g.takeBack(p)
		}
	}
	g.rewind(to)
	n.at = len(g.log)
	g.nodes[op.ID], g.tips[op.ID] = n, n
	g.log = append(g.log, n)
	g.window = append(g.window, n)
	g.concern(n.op)
	if len(g.fresh) > 0 || !g.calm || op.parentless() || !sameSet(op.Parents, g.heads) || !g.extend(n) {
		g.fresh = append(g.fresh, n)
	}
	return nil
}

// reachesBack reports whether a join without parents can change the judgement of another that is before the last mark: of
// one by the same author, or by the same invitation for one use.
func (g *Engine) reachesBack(op *Op) bool {
	before := g.last().state
	_, known := before.members[op.Author]
	return known || op.Claim.OneUse && before.claimed[op.Claim.Invitation]
}

// Settle evaluates what was taken and returns what changed: new operations first, as they were taken.
func (g *Engine) Settle() []Change {
	changes := g.untold
	if len(g.fresh) > 0 {
		changes = g.evaluate(changes)
	}
	g.untold, g.fresh = nil, nil
	return changes
}

// concern remembers whose inherited authority matters to an operation.
func (g *Engine) concern(op *Op) {
	g.concerned[op.Author] = true
	if op.Claim != nil {
		g.concerned[op.Claim.Inviter] = true
	}
	switch body := op.Body.(type) {
	case wire.OpMemberRemoved:
		g.concerned[body.Member] = true
	case wire.OpSubgroupCreated:
		g.listed[body.Child] = addLink(g.listed[body.Child], Link{Op: op.ID, Author: op.Author})
	}
}

// Inherit gives the group another standing of identities in its ancestors. Where that matters, everything is computed
// anew; it returns the verdicts that changed.
func (g *Engine) Inherit(inherited Inherited) []Change {
	same := true
	for who := range g.concerned {
		same = same && g.inherited[who] == inherited[who]
	}
	if same {
		g.inherited = inherited
		return nil
	}
	return g.Rebase(g.genesis, inherited)
}

// Rebase gives the group another beginning, and computes everything anew; it returns the verdicts that changed.
func (g *Engine) Rebase(genesis Genesis, inherited Inherited) []Change {
	anew := NewEngine(genesis, inherited)
	anew.markEvery = g.markEvery
	for i, n := range g.log {
		if err := anew.Restore(*n.op); err != nil {
			panic(err) // the log has parents before their children
		}
		if i%markEvery == markEvery-1 {
			anew.Settle()
		}
	}
	anew.Settle()
	var changes []Change
	for _, n := range g.log {
		if now := anew.nodes[n.op.ID].verdict; !now.equal(*n.verdict) {
			changes = append(changes, Change{ID: n.op.ID, Old: *n.verdict, New: *now})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return a.ID.Compare(b.ID) })
	*g = *anew
	return changes
}

func (g *Engine) last() *mark { return &g.marks[len(g.marks)-1] }

// markFor finds the last mark that is kept and not after the one with a number.
func (g *Engine) markFor(number int) int {
	at := len(g.marks) - 1
	for g.marks[at].number > number {
		at--
	}
	return at
}

// rewind goes back to a mark.
func (g *Engine) rewind(to int) {
	if to == len(g.marks)-1 {
		return
	}
	m := g.marks[to]
	for _, later := range g.marks[to+1:] {
		later.head.gives = m.number
	}
	g.marks = g.marks[:to+1]
	g.loose = slices.Clone(m.loose)
	g.window = append(slices.Clone(m.window), g.log[m.at:]...)
	for _, n := range g.log[m.at:] {
		n.mark, n.gives, n.out = min(n.mark, m.number), min(n.gives, m.number), false
	}
	g.calm = false
}

// takeBack makes a refused operation, which was let go, part of the evaluation again.
func (g *Engine) takeBack(n *node) {
	n.out = false
	p := pin{node: n, judged: judgement{refused: n.verdict.Code}, why: *n.verdict}
	for i := range g.marks {
		if g.marks[i].at > n.at {
			g.marks[i].loose = append(g.marks[i].loose, p)
		}
	}
	if g.last().at > n.at {
		g.loose = append(g.loose, p)
	}
}

// extend adds an operation that has everything that counts in its past. It reports false, and does nothing, when that may
// change others.
func (g *Engine) extend(n *node) bool {
	e := &evaluation{
		base: g.now, inherited: g.inherited, ops: []*Op{n.op}, depth: []int{n.depth}, past: []bitset{newBitset(1)},
		causal: make([]judgement, 1),
	}
	judged := view{e: e, applied: newBitset(1)}.judge(0)
	if judged.lost || judged.takes.any() && g.reasonsOpen() {
		return false
	}
	n.decide(&judged, Verdict{Code: judged.refused})
	if judged.refused == "" {
		n.decide(&judged, Verdict{Code: Applied})
		g.now.extend(n.op, &judged)
		g.heads = []domain.Hash{n.op.ID}
		if len(g.window) >= g.markEvery {
			g.setMark(n, nil)
		}
	}
	g.untold = append(g.untold, Change{ID: n.op.ID, New: *n.verdict})
	return true
}

// decide records what became of an operation.
func (n *node) decide(j *judgement, v Verdict) {
	n.judged = j
	n.say(v)
	n.admin = j.refused == "" && j.admin
	n.idle = v.Code == Applied && j.idle
}

// applied is the verdict of most operations.
var applied = &Verdict{Code: Applied}

func (n *node) say(v Verdict) {
	if n.verdict = &v; v.equal(*applied) {
		n.verdict = applied
	}
}

// evaluate computes the window anew, and adds what changed.
func (g *Engine) evaluate(changes []Change) []Change {
	pins := g.evaluated()
	ops, depth := make([]*Op, len(pins)), make([]int, len(pins))
	pinned := make(map[int]judgement, len(g.loose))
	loose := g.looseSet()
	for i, n := range pins {
		ops[i], depth[i] = n.op, n.depth
		if loose[n.node] {
			pinned[i] = n.judged
		}
	}
	e := newEvaluation(g.last().state, g.inherited, ops, depth)
	e.pinned = pinned
	res := e.run()
	all := view{e, res.applied, res.joins}
	verdicts := all.verdicts(res)
	if to := g.revived(pins, loose, verdicts); to < len(g.marks)-1 {
		g.rewind(to)
		return g.evaluate(changes)
	}
	for _, n := range g.fresh {
		changes = append(changes, Change{ID: n.op.ID, New: verdicts[n.op.ID]})
		n.say(verdicts[n.op.ID])
	}
	told := len(changes)
	g.calm = !res.contested
	for i, p := range pins {
		n := p.node
		if loose[n] {
			if c, changed := g.renew(&g.loose[g.looseAt(n)], res.takers[i]); changed {
				changes = append(changes, c)
			}
			continue
		}
		n.takers = res.takers[i]
		v := verdicts[n.op.ID]
		if !v.equal(*n.verdict) {
			changes = append(changes, Change{ID: n.op.ID, Old: *n.verdict, New: v})
		}
		n.decide(all.judged(i), v)
		g.calm = g.calm && (v.Code == Applied || v.Code.Refused() && !n.mayRevive())
	}
	slices.SortFunc(changes[told:], func(a, b Change) int { return a.ID.Compare(b.ID) })
	g.now = all.merged()
	g.heads = all.heads()
	if head := g.last().head; head != nil && !g.followed(all) {
		g.heads = append(g.heads, head.op.ID)
		slices.SortFunc(g.heads, domain.Hash.Compare)
	}
	newest := g.fresh[len(g.fresh)-1]
	if !res.contested && sameSet(g.heads, []domain.Hash{newest.op.ID}) && !newest.op.parentless() {
		g.setMark(newest, all.e.past[e.index[newest.op.ID]])
	}
	return changes
}

// revived returns the mark to go back to: an earlier one than the last when a join counts that was refused, and operations
// that rest on it do not, which was final.
func (g *Engine) revived(pins []pin, loose map[*node]bool, verdicts map[domain.Hash]Verdict) int {
	to := len(g.marks) - 1
	rests := map[domain.Hash]bool{}
	for _, p := range pins {
		n := p.node
		if n.mayRevive() && n.verdict != nil && n.verdict.Code.Refused() && verdicts[n.op.ID].Code == Applied {
			rests[n.op.ID] = true
		}
		for _, id := range n.op.Parents {
			rests[n.op.ID] = rests[n.op.ID] || rests[id]
		}
		if !rests[n.op.ID] || !loose[n] {
			continue
		}
		if before := g.markFor(n.mark); len(g.log)-g.marks[before].at < MaxWindow {
			to = min(to, before)
		}
	}
	return to
}

// reasonsOpen reports whether the reason why some operation does not count may change.
func (g *Engine) reasonsOpen() bool {
	return slices.ContainsFunc(g.loose, func(p pin) bool { return p.why.Code.mayChange() })
}

func (g *Engine) looseAt(n *node) int {
	return slices.IndexFunc(g.loose, func(p pin) bool { return p.node == n })
}

// renew gives a pinned operation its verdict, seen with what the window took of its authority.
func (g *Engine) renew(p *pin, window takers) (Change, bool) {
	verdict := p.why
	p.later = takers{}
	maps.Copy(p.later, p.takers)
	if p.why.Code.mayChange() {
		for t, ops := range window {
			p.later[t] = append(slices.Clone(p.later[t]), ops...)
		}
		if by := p.later.all(p.judged.uses); by != nil {
			verdict = Verdict{Code: VoidAuthorityRevoked, By: g.first(by)}
		}
	}
	old := *p.verdict
	p.say(verdict)
	return Change{ID: p.op.ID, Old: old, New: verdict}, !verdict.equal(old)
}

// first returns, in ascending order, the operations that have no other of the list in their past.
func (g *Engine) first(by []*Op) []domain.Hash {
	var out []domain.Hash
	for _, op := range by {
		if !slices.ContainsFunc(by, func(before *Op) bool { return g.follows(op.ID, before.ID) }) {
			out = append(out, op.ID)
		}
	}
	slices.SortFunc(out, domain.Hash.Compare)
	return slices.Compact(out)
}

// follows reports whether an operation has another in its past.
func (g *Engine) follows(id, before domain.Hash) bool {
	floor := g.nodes[before].depth
	seen := map[domain.Hash]bool{id: true}
	for stack := []domain.Hash{id}; len(stack) > 0; {
		n := g.nodes[stack[len(stack)-1]]
		stack = stack[:len(stack)-1]
		for _, p := range n.op.Parents {
			if p == before {
				return true
			}
			if !seen[p] && g.nodes[p].depth > floor {
				seen[p] = true
				stack = append(stack, p)
			}
		}
	}
	return false
}

// followed reports whether something that counts has the last mark in its past.
func (g *Engine) followed(v view) bool {
	for i := range v.applied.all {
		if !v.e.ops[i].parentless() {
			return true
		}
	}
	return false
}

// evaluated are the loose operations and those of the window, in causal order.
func (g *Engine) evaluated() []pin {
	pins := slices.Clone(g.loose)
	for _, n := range g.window {
		pins = append(pins, pin{node: n})
	}
	slices.SortFunc(pins, func(a, b pin) int { return a.at - b.at })
	return pins
}

func (g *Engine) looseSet() map[*node]bool {
	set := make(map[*node]bool, len(g.loose))
	for _, p := range g.loose {
		set[p.node] = true
	}
	return set
}

// mayRevive reports whether a refused operation is judged again as others come: a join without parents.
func (n *node) mayRevive() bool {
	return n.op.parentless() && n.op.Claim.Fault == "" && n.op.Fault == ""
}

// setMark makes an operation that has all others which count in its past the place to start from. past is its past in
// the window and the loose operations, in the order of the log; nil means all that is not refused.
func (g *Engine) setMark(head *node, past bitset) {
	wasLoose := g.looseSet()
	var loose []pin
	var window []*node
	for i, p := range g.evaluated() {
		n := p.node
		if !wasLoose[n] {
			p.judged, p.takers = *n.judged, n.takers
		} else if p.later != nil {
			p.takers = p.later
		}
		p.why, p.later = *n.verdict, nil
		inPast := n == head || past != nil && past.has(i) || past == nil && n.verdict.Code == Applied
		n.judged, n.takers = nil, nil
		switch {
		case inPast:
		case n.mayRevive() && n.verdict.Code.Refused() && !wasLoose[n]:
			window = append(window, n)
		case n.verdict.Code.Refused() && !n.named:
			n.out = true
		default:
			loose = append(loose, p)
		}
	}
	g.lastMark++
	head.gives = g.lastMark
	g.thin()
	g.marks = append(g.marks, mark{
		number: g.lastMark, head: head, at: len(g.log), state: g.now.clone(), loose: slices.Clone(loose),
		window: slices.Clone(window),
	})
	g.loose, g.window = loose, window
	g.calm = len(window) == 0
}

// thin drops marks so that their number grows with the logarithm of the log: of any three neighbours the middle one goes
// when the span they cover is shorter than their distance to the end.
func (g *Engine) thin() {
	for i := len(g.marks) - 2; i > 0; i-- {
		if span := g.marks[i+1].at - g.marks[i-1].at; 2*span < len(g.log)-g.marks[i+1].at {
			g.marks = slices.Delete(g.marks, i, i+1)
		}
	}
}

// Try judges an operation as if it were added with the heads as its parents: what its author wants to know before signing
// it. ID, Parents and Nonce of op are not looked at. While conflicts are open the verdict of Add may still be another.
func (g *Engine) Try(op Op) Code {
	op.Parents, op.Nonce = g.heads, math.MaxUint64
	e := &evaluation{
		base: g.now, inherited: g.inherited, ops: []*Op{&op}, depth: []int{1}, past: []bitset{newBitset(1)},
		causal: make([]judgement, 1),
	}
	switch judged := (view{e: e, applied: newBitset(1)}).judge(0); {
	case judged.refused != "":
		return judged.refused
	case judged.lost:
		return VoidInheritedLost
	}
	return Applied
}

// State is the group now.
func (g *Engine) State() *State { return g.now.state() }

// Heads are the parents of the next operation, in ascending order.
func (g *Engine) Heads() []domain.Hash { return slices.Clone(g.heads) }

// Verdict of an operation; false when it was never added.
func (g *Engine) Verdict(id domain.Hash) (Verdict, bool) {
	n := g.nodes[id]
	if n == nil {
		return Verdict{}, false
	}
	return *n.verdict, true
}

// After lists operations that are not among those of have nor in the past of one, at most limit, in a causal order: what
// to send to somebody with these heads. Ids that are not known are passed over.
func (g *Engine) After(have []domain.Hash, limit int) []domain.Hash {
	lacks := g.lacks(have)
	lacks = lacks[:min(len(lacks), limit)]
	out := make([]domain.Hash, len(lacks))
	for i, at := range lacks {
		out[i] = g.log[at].op.ID
	}
	return out
}

// Offer lists the places in the log, from 1, of what After lists, but for operations that are refused for ever and that nobody
// builds on.
func (g *Engine) Offer(have []domain.Hash) []uint64 {
	var out []uint64
	for _, at := range g.lacks(have) {
		if n := g.log[at]; n.named || !n.verdict.Code.Refused() || len(n.op.Parents) == 0 {
			out = append(out, uint64(at)+1) //nolint:gosec // an index
		}
	}
	return out
}

// lacks are the places of operations that are not among those of have nor in the past of one, in ascending order, which is
// causal. It looks at these, and at what is concurrent with them: back from the end, until all that is left is known.
func (g *Engine) lacks(have []domain.Hash) []int {
	known := map[int]bool{} // of the places in the queue, whether somebody who has have has it
	queue, open := &places{}, 0
	look := func(n *node, has bool) {
		switch was, seen := known[n.at]; {
		case !seen:
			known[n.at] = has
			heap.Push(queue, n.at)
			if !has {
				open++
			}
		case has && !was:
			known[n.at] = true
			open--
		}
	}
	for _, id := range have {
		if n := g.nodes[id]; n != nil {
			look(n, true)
		}
	}
	for _, n := range g.tips {
		look(n, false)
	}
	var out []int
	for open > 0 {
		at, _ := heap.Pop(queue).(int)
		has := known[at] // all that name it were before
		delete(known, at)
		if !has {
			open--
			out = append(out, at)
		}
		for _, id := range g.log[at].op.Parents {
			look(g.nodes[id], has)
		}
	}
	slices.Reverse(out)
	return out
}

// places is a heap of places in the log, the last first.
type places []int

func (p places) Len() int           { return len(p) }
func (p places) Less(i, j int) bool { return p[i] > p[j] }
func (p places) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }

// Push is for the heap.
func (p *places) Push(at any) {
	if at, ok := at.(int); ok {
		*p = append(*p, at)
	}
}

// Pop is for the heap.
func (p *places) Pop() any {
	last := len(*p) - 1
	at := (*p)[last]
	*p = (*p)[:last]
	return at
}

// Tips are the operations, counting or not, that no other names as a parent, in ascending order: what this node has,
// in few words.
func (g *Engine) Tips() []domain.Hash {
	return slices.SortedFunc(maps.Keys(g.tips), domain.Hash.Compare)
}

// Listed are the operations, counting or not, that list subgroups, as State.Links has those that count. The caller does
// not change them.
func (g *Engine) Listed() map[domain.GroupID][]Link { return maps.Clone(g.listed) }

// Concerned reports whether the standing of some identity in ancestor groups made a difference, or may have.
func (g *Engine) Concerned() bool {
	for who := range g.concerned {
		if g.inherited[who].Ever {
			return true
		}
	}
	return false
}

// Vouched returns those of the operations that an admin of then built on: one of its operations, not refused, has them in
// its past. Authors of the given operations do not vouch for each other, unless somebody else vouched for them.
func (g *Engine) Vouched(ids []domain.Hash) []domain.Hash {
	open := map[*node]bool{}
	for _, id := range ids {
		if n := g.nodes[id]; n != nil {
			open[n] = true
		}
	}
	var vouched []domain.Hash
	for again := true; again && len(open) > 0; {
		again = false
		seen := g.underAdmins(open)
		for n := range open {
			if seen[n] {
				vouched = append(vouched, n.op.ID)
				delete(open, n)
				again = true
			}
		}
	}
	slices.SortFunc(vouched, domain.Hash.Compare)
	return vouched
}

// underAdmins is the past of operations of admins that are not authors of some operations, as far back as these.
func (g *Engine) underAdmins(open map[*node]bool) map[*node]bool {
	authors, floor := map[domain.PublicKey]bool{}, math.MaxInt
	for n := range open {
		authors[n.op.Author] = true
		floor = min(floor, n.depth)
	}
	seen := map[*node]bool{}
	var stack []*node
	for _, n := range g.log {
		if n.admin && n.depth > floor && !authors[n.op.Author] {
			stack = append(stack, n)
		}
	}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, id := range n.op.Parents {
			if p := g.nodes[id]; !seen[p] && p.depth >= floor {
				seen[p] = true
				stack = append(stack, p)
			}
		}
	}
	return seen
}

// Entry is an operation of the log with its verdict.
type Entry struct {
	Op      Op
	Verdict Verdict
	// Sequence is its place in the log, from 1; 0 for one that waits for its parents.
	Sequence uint64
	// NoEffect: it counts, and changed nothing where it was made.
	NoEffect bool
}

// Log lists operations in the order they were added, from a position on, at most limit.
func (g *Engine) Log(from, limit int) []Entry {
	if from < 0 || from >= len(g.log) || limit <= 0 {
		return nil
	}
	page := g.log[from:min(len(g.log), from+limit)]
	out := make([]Entry, len(page))
	for i, n := range page {
		out[i] = Entry{Op: *n.op, Verdict: *n.verdict, Sequence: uint64(from+i) + 1, NoEffect: n.idle}
	}
	return out
}

// Knows tells whether somebody is a member, or was one by an operation that counts.
func (g *Engine) Knows(who domain.PublicKey) bool {
	_, known := g.now.members[who]
	return known
}

// Parents of an operation; nil when it was never added. The caller does not change them.
func (g *Engine) Parents(id domain.Hash) []domain.Hash {
	if n := g.nodes[id]; n != nil {
		return n.op.Parents
	}
	return nil
}

// Sequence is the place of an operation in the log, from 1; 0 when it was never added.
func (g *Engine) Sequence(id domain.Hash) uint64 {
	if n := g.nodes[id]; n != nil {
		return uint64(n.at) + 1
	}
	return 0
}

// Len is the number of operations added.
func (g *Engine) Len() int { return len(g.log) }

func (v Verdict) equal(o Verdict) bool { return v.Code == o.Code && slices.Equal(v.By, o.By) }

// sameSet compares lists without repeats.
func sameSet(a, b []domain.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for _, id := range a {
		if !slices.Contains(b, id) {
			return false
		}
	}
	return true
}

// extend writes an operation that has everything before it in its past.
func (s *snapshot) extend(op *Op, j *judgement) {
	s.nonces[op.Author] = max(s.nonces[op.Author], op.Nonce)
	if op.Claim != nil && op.Claim.OneUse && len(j.writes) > 0 {
		s.claimed[op.Claim.Invitation] = true
	}
	for _, w := range j.writes {
		if w.grants() {
			s.ever[w.key.who] = true
		}
		if w.key.kind == keyChild && w.bit {
			s.link(domain.GroupID(w.key.id), Link{Op: op.ID, Author: op.Author})
		} else if w.unlisted() {
			delete(s.links, domain.GroupID(w.key.id))
		}
		switch {
		case w.key.kind == keyMember:
			s.extendMember(w)
		case w.key.kind >= keyPolicy:
			s.regs[w.key] = w.register
		default:
			s.setBit(w.key, w.bit)
		}
	}
}

func (s *snapshot) extendMember(w write) {
	who := w.key.who
	m := w.member
	switch {
	case m.removed:
		s.members[who] = memberState{written: true, removed: true}
		for _, k := range s.byMember[who] {
			s.bits[k] = false
		}
		return
	case m.weak:
		s.members[who] = memberState{present: true, joined: true, role: m.role, since: m.since, written: s.members[who].written}
		return
	}
	s.members[who] = memberState{present: true, role: m.role, since: m.since, written: true}
	if m.role == domain.RoleAdmin {
		s.wasAdmin[who] = true
	}
}
