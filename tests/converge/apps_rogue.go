package converge

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/crdt"
)

// rogue misbehaves: it traps after writing and writes rows past the SDK.
type rogue struct {
	common
	items registers
}

func (r *rogue) step(h *history, n *node) {
	name, value := key(h), r.word()
	switch h.rng.IntN(8) {
	case 0, 1, 2:
		r.items.at(name).set(h.do(n, "set", "key", name, "value", value).Delta, value)
	case 3:
		count, size := 1+h.rng.IntN(4), 1+h.rng.IntN(40)
		d := h.do(n, "write_n", "prefix", name, "n", count, "size", size).Delta
		for i := range count {
			r.items.at(fmt.Sprint(name, i)).set(d, strings.Repeat("x", size))
		}
	case 4:
		h.refuse(n, pick(h, "set_and_trap", "set_and_trap"), "key", name, "value", value)
	case 5:
		h.refuse(n, "commit_twice")
	case 6, 7:
		r.raw(h, n)
	}
}

// raw writes and removes rows under keys of the guest's own, which stay on the node.
func (r *rogue) raw(h *history, n *node) {
	size := 1 + h.rng.IntN(3)
	row, _ := crdt.GuestKey([]byte(strings.Repeat("x", size)))
	had := n.raw[row]
	a := &Answer{}
	if h.chance(30) {
		a = h.do(n, "raw_remove", "key", size)
		delete(n.raw, row)
	} else {
		a = h.do(n, "raw_write", "key", size, "value", h.rng.IntN(50))
		n.raw[row] = true
	}
	if h.err == nil && string(a.Output) != fmt.Sprint(had) {
		h.failf("node %d: a raw row of %d bytes was there: %t, the guest says %s", n.number, size, had, a.Output)
	}
}

func (r *rogue) lost(h *history) Call {
	return pick(h, view("set", "key", key(h), "value", r.word()), view("raw_write", "key", 4, "value", 1))
}

func (r *rogue) views() []Call {
	out := []Call{view("len"), view("raw_read", "key", 4)}
	for _, name := range sortedKeys(r.items) {
		out = append(out, view("get", "key", name))
	}
	return out
}

func (r *rogue) verify(h *history, answers map[string]json.RawMessage) {
	got := map[string]string{}
	for _, name := range sortedKeys(r.items) {
		if value, found := unquote(h, answers["get"+string(args("key", name))]); found {
			got[name] = value
		}
	}
	r.items.check(h, "item", got)
	if n := answer[int](h, answers, "len"); n != len(got) {
		h.failf("%d items, and len says %d", len(got), n)
	}
	if size := answer[*int](h, answers, "raw_read", "key", 4); size != nil {
		h.failf("a row of a call that never committed is there")
	}
	for _, n := range h.nodes {
		for size := range 3 {
			row, _ := crdt.GuestKey([]byte(strings.Repeat("x", size+1)))
			var found *int
			h.query(n, &found, "raw_read", "key", size+1)
			if h.err == nil && (found != nil) != n.raw[row] {
				h.failf("node %d: raw row of %d bytes is there: %t", n.number, size+1, found != nil)
			}
		}
	}
}
