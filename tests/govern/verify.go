package govern

import (
	"reflect"
	"slices"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// compare holds a node to what its operations give.
func (h *history) compare(n *node, r *realm, want composed) {
	id := r.genesis.Group
	log, total, err := n.service.Log(h.ctx, id, 0, len(r.ids)+1)
	h.check(err, "log of node %d", n.number)
	if total != len(r.ids) {
		missing, err := n.service.Missing(h.ctx, id)
		h.check(err, "missing on node %d", n.number)
		h.failf("node %d has %d of %d operations and waits for %d", n.number, total, len(r.ids), len(missing))
	}
	parent, found, err := n.service.Parent(h.ctx, id)
	h.check(err, "parent on node %d", n.number)
	if found != (want.parent != nil) || found && parent != *want.parent {
		h.failf("node %d has %s (%t) as the parent of %s, computed from nothing %v", n.number, parent, found, id, want.parent)
	}
	for _, e := range log {
		if v := want.Verdicts[e.Op.ID]; v.Code != e.Verdict.Code || !slices.Equal(v.By, e.Verdict.By) {
			h.failf("node %d: operation %s is %s by %s, computed from nothing %s by %s", n.number, e.Op.ID, e.Verdict.Code,
				e.Verdict.By, v.Code, v.By)
		}
	}
	state, err := n.service.State(h.ctx, id)
	h.check(err, "state of node %d", n.number)
	if !reflect.DeepEqual(state, want.State) {
		h.failf("node %d has state %+v, computed from nothing %+v", n.number, state, want.State)
	}
	heads, err := n.service.Heads(h.ctx, id)
	h.check(err, "heads of node %d", n.number)
	if !slices.Equal(heads, want.Heads) {
		h.failf("node %d has heads %s, computed from nothing %s", n.number, heads, want.Heads)
	}
}

// rows reads what the node stores of the group, but for the order of its log.
func (h *history) rows(n *node) map[string]string {
	out := map[string]string{}
	log := wire.GroupOpLogPrefix(domain.GroupID{})[0]
	err := n.disk.Scan(h.ctx, storage.Prefix(string(wire.ColumnGroup), nil), func(items []storage.Item) error {
		for _, item := range items {
			if item.Key[0] != log {
				out[string(item.Key)] = string(item.Value)
			}
		}
		return nil
	})
	h.check(err, "rows of node %d", n.number)
	pending := 0
	err = n.disk.Scan(h.ctx, storage.Prefix(string(wire.ColumnGeneric), []byte("group-pending-op")), func(items []storage.Item) error {
		pending += len(items)
		return nil
	})
	h.check(err, "rows of node %d", n.number)
	if pending > 0 {
		h.failf("node %d keeps %d operations as waiting that are in its log", n.number, pending)
	}
	return out
}
