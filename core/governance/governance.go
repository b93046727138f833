package governance

import (
	"slices"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Result is a group computed from its operations.
type Result struct {
	State *State
	// Verdicts of all operations given, pending ones too.
	Verdicts map[domain.Hash]Verdict
	// Heads are the operations that count and that no other such operation has in its past, in ascending order: the
	// parents of the next one.
	Heads []domain.Hash
}

// Evaluate computes a group from nothing. Operations may come in any order and repeat; those with ancestors that are not
// among them are pending and count for nothing.
func Evaluate(g Genesis, inherited Inherited, ops []Op) Result {
	ready, depth, pending := causal(ops)
	e := newEvaluation(g.snapshot(), inherited, ready, depth)
	res := e.run()
	all := view{e, res.applied, res.joins}
	out := Result{Verdicts: all.verdicts(res), Heads: all.heads()}
	out.State = all.merged().state()
	for _, id := range pending {
		out.Verdicts[id] = Verdict{Code: Pending}
	}
	return out
}

// causal orders the operations whose ancestors are all here, each after its parents.
func causal(ops []Op) (ready []*Op, depth []int, pending []domain.Hash) {
	known := make(map[domain.Hash]*Op, len(ops))
	children := map[domain.Hash][]*Op{}
	blocked := map[domain.Hash]int{}
	var next []*Op
	for i := range ops {
		op := &ops[i]
		if known[op.ID] != nil {
			continue
		}
		known[op.ID] = op
		for _, p := range op.Parents {
			children[p] = append(children[p], op)
		}
		if blocked[op.ID] = len(op.Parents); len(op.Parents) == 0 {
			next = append(next, op)
		}
	}
	at := map[domain.Hash]int{}
	for len(next) > 0 {
		op := next[0]
		next = next[1:]
		deepest := 0
		for _, p := range op.Parents {
			deepest = max(deepest, at[p])
		}
		at[op.ID] = deepest + 1
		ready, depth = append(ready, op), append(depth, deepest+1)
		for _, c := range children[op.ID] {
			if blocked[c.ID]--; blocked[c.ID] == 0 {
				next = append(next, c)
			}
		}
	}
	for id := range known {
		if at[id] == 0 {
			pending = append(pending, id)
		}
	}
	return ready, depth, pending
}

func (v view) verdicts(res resolution) map[domain.Hash]Verdict {
	e := v.e
	out := make(map[domain.Hash]Verdict, len(e.ops))
	for i, op := range e.ops {
		verdict := Verdict{Code: Applied}
		if refused := v.judged(i).refused; refused != "" {
			verdict.Code = refused
		} else if !res.applied.has(i) {
			verdict = res.verdicts[i]
		}
		out[op.ID] = verdict
	}
	return out
}

func (v view) heads() []domain.Hash {
	e, applied := v.e, v.applied
	covered := newBitset(len(e.ops))
	for i := range applied.all {
		covered.union(e.past[i])
	}
	var heads []domain.Hash
	for i := range applied.all {
		if !covered.has(i) {
			heads = append(heads, e.ops[i].ID)
		}
	}
	slices.SortFunc(heads, domain.Hash.Compare)
	return heads
}
