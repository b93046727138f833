package govern

import (
	"bytes"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// composed is what the operations of all groups make of one.
type composed struct {
	governance.Result
	parent *domain.GroupID
}

// listing is an operation that lists a group below another.
type listing struct {
	in, of *realm
	op     domain.Hash
	author domain.PublicKey
}

// composing computes groups from nothing, plainly: what may be above what from the operations alone, then each group after
// those above it.
type composing struct {
	h      *history
	ops    map[*realm][]governance.Op
	own    map[*realm]*governance.State // with nothing inherited
	above  map[*realm][]*realm          // may be parents
	done   map[*realm]composed
	origin map[*realm]governance.Genesis
}

func (h *history) compose() map[*realm]composed {
	c := composing{
		h: h, ops: map[*realm][]governance.Op{}, own: map[*realm]*governance.State{}, above: map[*realm][]*realm{},
		done: map[*realm]composed{}, origin: map[*realm]governance.Genesis{},
	}
	var listings []listing
	for _, r := range h.groups {
		for _, id := range r.ids {
			signed, err := wire.DecodeSignedGroupOp(r.made[id])
			h.check(err, "decode %s", id)
			op, err := governance.NewOp(r.genesis.Group, signed)
			h.check(err, "read %s", id)
			c.ops[r] = append(c.ops[r], op)
			if body, ok := op.Body.(wire.OpSubgroupCreated); ok {
				for _, child := range h.groups {
					if child.genesis.Group == body.Child && child != r {
						listings = append(listings, listing{in: r, of: child, op: id, author: op.Author})
					}
				}
			}
		}
		ops := c.ops[r]
		h.rng.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
		g := r.genesis
		c.origin[r] = governance.Genesis{Founder: g.Creator, AppKey: g.AppKey, Target: g.Target, Policy: g.Policy, Alias: g.Alias}
		c.own[r] = governance.Evaluate(c.origin[r], nil, ops).State
	}
	slices.SortFunc(listings, c.prefer)
	for _, l := range listings {
		if c.agreed(l) && !c.under(l.in, l.of) {
			c.above[l.of] = append(c.above[l.of], l.in)
		}
	}
	for _, r := range h.groups {
		c.compute(r)
	}
	return c.done
}

func named(l listing) bool {
	p := l.of.genesis.Parent
	return p != nil && *p == l.in.genesis.Group
}

// agreed reports whether the group below agrees: by its genesis, its creator or one of its own admins.
func (c *composing) agreed(l listing) bool {
	role, member := c.own[l.of].Members[l.author]
	return named(l) || l.author == l.of.genesis.Creator || member && role == domain.RoleAdmin
}

func (c *composing) prefer(a, b listing) int {
	if named(a) != named(b) {
		if named(a) {
			return -1
		}
		return 1
	}
	return bytes.Compare(a.op[:], b.op[:])
}

// under reports whether one group is another, or may be below it.
func (c *composing) under(r, top *realm) bool {
	return r == top || slices.ContainsFunc(c.above[r], func(up *realm) bool { return c.under(up, top) })
}

func (c *composing) compute(r *realm) composed {
	if out, done := c.done[r]; done {
		return out
	}
	var standing []listing
	for _, up := range c.above[r] {
		state := c.compute(up).State
		for _, l := range state.Links[r.genesis.Group] {
			one := listing{in: up, of: r, op: l.Op, author: l.Author}
			if state.Subgroups[r.genesis.Group] && c.agreed(one) {
				standing = append(standing, one)
			}
		}
	}
	slices.SortFunc(standing, c.prefer)
	var out composed
	if len(standing) > 0 {
		out.parent = &standing[0].in.genesis.Group
	}
	c.done[r] = out // for the lineage
	out.Result = governance.Evaluate(c.origin[r], c.inherited(r), c.ops[r])
	c.done[r] = out
	return out
}

// inherited is what the groups above say of each of the people.
func (c *composing) inherited(r *realm) governance.Inherited {
	out := governance.Inherited{}
	for _, who := range c.h.people {
		var s governance.InheritedAdmin
		for up := c.done[r].parent; up != nil; {
			group := c.done[c.h.realm(*up)]
			s.Ever = s.Ever || group.State.EverAdmins[who.public]
			if role, row := group.State.Members[who.public]; row {
				s.Now = role == domain.RoleAdmin
				break
			}
			up = group.parent
		}
		if s.Ever {
			out[who.public] = s
		}
	}
	return out
}
