package converge

import (
	"fmt"
	"slices"
)

// write is a write to one register, or its removal.
type write struct {
	at    *Delta
	value string
	gone  bool
}

// register knows the writes to something of which the last one counts. Two whose times overlap may end either way.
type register struct{ writes []write }

func (r *register) set(d *Delta, value string) {
	if d != nil {
		r.writes = append(r.writes, write{at: d, value: value})
	}
}

func (r *register) remove(d *Delta) {
	if d != nil {
		r.writes = append(r.writes, write{at: d, gone: true})
	}
}

// possible are the writes that none is certainly later than.
func (r *register) possible() []write {
	var out []write
	for _, w := range r.writes {
		if !slices.ContainsFunc(r.writes, func(o write) bool { return o.at.from > w.at.to }) {
			out = append(out, w)
		}
	}
	return out
}

// check tells whether the register may end with a value, or none.
func (r *register) check(value string, found bool) error {
	possible := r.possible()
	if len(possible) == 0 && !found {
		return nil
	}
	var want []string
	for _, w := range possible {
		if w.gone == !found && (w.gone || w.value == value) {
			return nil
		}
		if w.gone {
			want = append(want, fmt.Sprintf("nothing (delta %d)", w.at.number))
		} else {
			want = append(want, fmt.Sprintf("%q (delta %d)", w.value, w.at.number))
		}
	}
	if !found {
		return fmt.Errorf("there is nothing, expected %v", want)
	}
	return fmt.Errorf("it is %q, expected %v", value, want)
}

// registers are named ones.
type registers map[string]*register

func (r registers) at(key string) *register {
	if r[key] == nil {
		r[key] = &register{}
	}
	return r[key]
}

// check compares them with what is there in the end.
func (r registers) check(h *history, what string, got map[string]string) {
	for key, reg := range r {
		value, found := got[key]
		h.check(reg.check(value, found), "%s %q", what, key)
	}
	for key := range got {
		if r[key] == nil {
			h.failf("%s %q was never written", what, key)
		}
	}
}

// nested are the deltas that made something that cannot be merged when two make it, and those that use it.
type nested struct {
	made []*Delta
	uses []*Delta
}

// clean: one delta made it, and all that use it follow that one.
func (n *nested) clean() bool {
	if len(n.made) != 1 {
		return false
	}
	for _, d := range n.uses {
		if d != n.made[0] && !d.after[n.made[0].number] {
			return false
		}
	}
	return true
}
