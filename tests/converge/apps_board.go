package converge

import "encoding/json"

// board keeps bytes of its own at the tree root, which only the guest can merge: the best score of each player.
type board struct {
	common
	best map[string]int
}

func (*board) mergesItself() {}

// mergesItself tells whether deltas of an application are applied by the guest, which light nodes do not do.
func mergesItself(a app) bool {
	_, ok := a.(interface{ mergesItself() })
	return ok
}

// MergesItself tells it of a sample application.
func MergesItself(name string) bool { return mergesItself(newApp(name)) }

// score is one that no other call of the history has: two boards of one content would be deltas of one id.
func (b *board) score(h *history) int {
	b.words++
	return h.rng.IntN(20)*1000 + b.words
}

func (b *board) step(h *history, n *node) {
	player, score := key(h), b.score(h)
	a := h.run(n, view("submit", "player", player, "score", score))
	if a.Failure != "" {
		h.failf("node %d: submit failed: %s", n.number, a.Failure)
	}
	if a.Delta != nil {
		b.best[player] = max(b.best[player], score)
	}
	var now map[string]int
	h.query(n, &now, "best")
	if h.err == nil && (now[player] < score || a.Delta != nil && now[player] != score) {
		h.failf("node %d: %d was submitted for %q, whose best is %d", n.number, score, player, now[player])
	}
}

// lost would stand out if it were not lost.
func (b *board) lost(h *history) Call {
	return view("submit", "player", key(h), "score", 1_000_000+b.score(h))
}

func (*board) views() []Call { return []Call{view("best")} }

func (b *board) verify(h *history, answers map[string]json.RawMessage) {
	got := answer[map[string]int](h, answers, "best")
	if h.err == nil && len(got) != len(b.best) {
		h.failf("%d players, %d expected: %v", len(got), len(b.best), got)
	}
	for player, score := range b.best {
		if h.err == nil && got[player] != score {
			h.failf("the best of %q is %d, %d was committed", player, got[player], score)
		}
	}
}
