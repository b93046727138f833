package converge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// verify compares the nodes when all have everything.
func (h *history) verify() {
	var want engine.Rows
	var root domain.Hash
	for _, n := range h.nodes {
		if h.err != nil {
			return
		}
		rows, at, err := n.state(h.ctx)
		h.check(err, "read the state of node %d", n.number)
		rows = maps.Clone(rows)
		for key := range n.raw {
			delete(rows, key)
		}
		h.check(verifyHashes(rows, h.id, at), "state of node %d", n.number)
		if n.number == 0 {
			want, root = rows, at
			continue
		}
		if diff := diffRows(want, rows); diff != "" {
			h.failf("nodes 0 and %d have different rows:\n%s", n.number, diff)
		}
		if at != root {
			h.failf("node 0 has root %s, node %d %s", root, n.number, at)
		}
	}
	if !mergesItself(h.app) {
		h.again(want)
	}
	h.views()
}

// again applies the actions of all deltas to nothing, in an order that ignores causes.
func (h *history) again(want engine.Rows) {
	if h.err != nil {
		return
	}
	rows := engine.Rows{}
	for _, i := range h.rng.Perm(len(h.deltas)) {
		change, err := engine.Apply(rows, h.deltas[i].Actions, engine.Options{Context: h.id})
		if err != nil {
			h.failf("apply delta %d out of order: %w", i, err)
			return
		}
		rows.Put(change.Rows)
	}
	if diff := diffRows(want, rows); diff != "" {
		h.failf("the deltas in another order give other rows:\n%s", diff)
	}
}

// views asks all nodes the application's questions.
func (h *history) views() {
	answers := map[string]json.RawMessage{}
	for _, v := range h.app.views() {
		name := v.Method + string(v.Args)
		for _, n := range h.nodes {
			h.stats.Queries++
			v.Kind = runtime.Call
			a := h.run(n, v)
			if h.err != nil {
				return
			}
			got := a.Output
			if a.Failure != "" {
				got, _ = json.Marshal(a.Failure) // a string
			}
			if n.number == 0 {
				answers[name] = got
			} else if !bytes.Equal(answers[name], got) {
				h.failf("%s is %s on node 0, %s on node %d", name, answers[name], got, n.number)
			}
		}
	}
	h.app.verify(h, answers)
}

// diffRows names the differences, up to a few.
func diffRows(a, b engine.Rows) string {
	keys := map[crdt.StateKey]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	var out []byte
	lines := 0
	for _, k := range slices.SortedFunc(maps.Keys(keys), func(x, y crdt.StateKey) int { return bytes.Compare(x[:], y[:]) }) {
		x, inA := a[k]
		y, inB := b[k]
		if inA == inB && bytes.Equal(x, y) {
			continue
		}
		if lines++; lines > 6 {
			return string(out) + "  …"
		}
		out = fmt.Appendf(out, "  row %x\n    %s\n    %s\n", k[:6], show(k, x, inA), show(k, y, inB))
	}
	return string(out)
}

func show(key crdt.StateKey, value []byte, found bool) string {
	if !found {
		return "absent"
	}
	var x crdt.EntityIndex
	if borsh.Unmarshal(value, &x) == nil && crdt.IndexKey(x.ID) == key {
		deleted := "live"
		if x.DeletedAt != nil {
			deleted = fmt.Sprintf("deleted %d", *x.DeletedAt)
		}
		return fmt.Sprintf("index %x, created %d, updated %d, %s, %d children, own %x, full %x", x.ID[:4], x.Metadata.CreatedAt,
			x.Metadata.UpdatedAt, deleted, len(x.Children), x.OwnHash[:4], x.FullHash[:4])
	}
	return fmt.Sprintf("%d bytes %x", len(value), value[:min(len(value), 40)])
}

// verifyHashes computes every hash of a state again.
func verifyHashes(rows engine.Rows, context domain.ContextID, root domain.Hash) error {
	index := map[crdt.ID]crdt.EntityIndex{}
	for key, value := range rows {
		var x crdt.EntityIndex
		if borsh.Unmarshal(value, &x) == nil && crdt.IndexKey(x.ID) == key {
			index[x.ID] = x
		}
	}
	top, ok := index[crdt.TreeRoot(context)]
	if !ok {
		return fmt.Errorf("there is no tree root")
	}
	if top.FullHash != root {
		return fmt.Errorf("the tree root has hash %s, the context %s", top.FullHash, root)
	}
	for id, x := range index {
		entry, live := rows[crdt.EntryKey(id)]
		placeholder := !live && x.OwnHash.IsZero()
		switch {
		case live == (x.DeletedAt != nil):
			if !placeholder {
				return fmt.Errorf("entity %s: deleted %t, bytes present %t", id, x.DeletedAt != nil, live)
			}
		case live && crdt.OwnHash(entry) != x.OwnHash:
			return fmt.Errorf("entity %s: own hash does not match its bytes", id)
		case live && crdt.FullHash(x.OwnHash, x.Children) != x.FullHash:
			return fmt.Errorf("entity %s: full hash does not match its children", id)
		}
		seen := map[crdt.ID]bool{}
		for i, c := range x.Children {
			if i > 0 {
				p := x.Children[i-1]
				if p.Metadata.CreatedAt > c.Metadata.CreatedAt ||
					p.Metadata.CreatedAt == c.Metadata.CreatedAt && p.ID.Compare(c.ID) >= 0 {
					return fmt.Errorf("entity %s: children %d and %d are out of order", id, i-1, i)
				}
			}
			child, ok := index[c.ID]
			if !ok || child.ParentID == nil || *child.ParentID != id {
				return fmt.Errorf("entity %s: its child %s does not name it as its parent", id, c.ID)
			}
			if !seen[c.ID] && child.FullHash != c.MerkleHash {
				return fmt.Errorf("entity %s: the record of child %s has another hash than the child", id, c.ID)
			}
			seen[c.ID] = true
		}
		if p := x.ParentID; p != nil && x.DeletedAt == nil {
			if !slices.ContainsFunc(index[*p].Children, func(c crdt.ChildInfo) bool { return c.ID == id }) {
				return fmt.Errorf("entity %s is not in its parent's list", id)
			}
		}
	}
	return nil
}
