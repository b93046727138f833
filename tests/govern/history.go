// Package govern plays random histories of groups over several nodes and checks the promise of core/governance and
// core/groups: nodes that got the same operations, over a network that loses, repeats, reorders and partitions, with
// restarts and failing commits, have the same groups. Groups are below others, and ancestors come late or begin from an
// invitation alone. Everything comes from a history's seed and nothing else.
//
// When a history ends, the network heals and nodes fetch what they miss. Then logs, verdicts, heads, states, parents and
// rows must be equal on all nodes, and equal to what the operations give when computed from nothing.
package govern

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

// history is one run.
type history struct {
	ctx     context.Context
	rng     *rand.Rand
	groups  []*realm
	people  []person
	nodes   []*node
	flights []flight
	stats   Stats
	trace   []string
	err     error
}

// realm is a group and its operations.
type realm struct {
	genesis wire.GroupGenesis
	made    map[domain.Hash][]byte // every operation that left its author
	ids     []domain.Hash          // of made, in order
}

// person is somebody with a key.
type person struct {
	key    domain.PrivateKey
	public domain.PublicKey
}

// flight is an operation on its way.
type flight struct {
	from, to *node
	group    *realm
	raw      []byte
}

// node is a node with a part of the people.
type node struct {
	number  int
	h       *history
	disk    *disk
	db      *store.DB
	service *groups.Service
	has     map[*realm]bool
	part    int // its side of a partition
}

// disk is a storage that fails the next commit when told to.
type disk struct {
	storage.Store
	fail bool
}

func (d *disk) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	if d.fail {
		d.fail = false
		return false, errkind.Internal.Errorf("the disk failed")
	}
	return d.Store.Apply(ctx, b)
}

func newHistory(ctx context.Context, seed uint64) *history {
	h := &history{ctx: ctx, rng: rand.New(rand.NewPCG(seed, 0x67726f7570))}
	for i := range 3 + h.rng.IntN(4) {
		key := domain.PrivateKey{1, byte(i)}
		h.people = append(h.people, person{key, key.Public()})
	}
	h.group(seed)
	if h.chance(60) {
		for range 1 + h.rng.IntN(3) {
			h.group(seed)
		}
	}
	for i := range 2 + h.rng.IntN(4) {
		n := h.node(i)
		for _, r := range h.groups {
			if r == h.groups[0] || h.chance(70) {
				h.found(n, r, h.chance(50))
			}
		}
	}
	for _, r := range h.groups {
		if r.genesis.Parent != nil && h.chance(80) {
			h.list(h.realm(*r.genesis.Parent), r)
		}
	}
	return h
}

// list has the creator of a group list another below it, and take in admins who will be such there too.
func (h *history) list(parent, child *realm) {
	for _, n := range h.nodes {
		if !n.has[parent] {
			continue
		}
		for _, who := range h.people {
			if who.public != parent.genesis.Creator {
				continue
			}
			for _, body := range []wire.GroupOp{
				wire.OpSubgroupCreated{Child: child.genesis.Group},
				wire.OpMemberAdded{Member: pick(h, h.people).public, Role: domain.RoleAdmin},
				wire.OpMemberAdded{Member: pick(h, h.people).public, Role: domain.RoleAdmin},
			} {
				if _, err := n.service.Issue(h.ctx, parent.genesis.Group, who.key, body); err != nil {
					h.lawful(n, err) // he is not its creator on this node yet
				}
			}
		}
		return
	}
}

// group adds a group, which may name one before it as its parent. Of some nothing proves the genesis.
func (h *history) group(seed uint64) {
	creator := h.people[h.rng.IntN(2)]
	g := wire.GroupGenesis{
		Creator: creator.public, CreatedAt: 1700000000, AutoJoin: true, Salt: [32]byte{byte(seed), byte(seed >> 8), byte(len(h.groups))},
	}
	if len(h.groups) > 0 && h.chance(60) {
		g.Parent = &pick(h, h.groups).genesis.Group
	}
	if h.chance(20) {
		g.Kind, g.Group = wire.GenesisVouched, domain.GroupID{0x77, byte(len(h.groups))}
	}
	genesis, err := g.Sign(creator.key, nil)
	h.check(err, "make a genesis")
	h.groups = append(h.groups, &realm{genesis: genesis, made: map[domain.Hash][]byte{}})
}

func (h *history) node(number int) *node {
	n := &node{number: number, h: h, disk: &disk{Store: storagetest.NewMemory()}, has: map[*realm]bool{}}
	n.start()
	h.nodes = append(h.nodes, n)
	return n
}

// found gives a node the genesis of a group, or where nothing proves it, one made from an invitation by somebody.
func (h *history) found(n *node, r *realm, provisional bool) {
	var err error
	if provisional && r.genesis.Kind == wire.GenesisVouched {
		inviter := pick(h, h.people)
		b := n.db.Batch()
		err = n.service.FoundProvisional(h.ctx, b, wire.GroupGenesis{
			Kind: wire.GenesisVouched, Group: r.genesis.Group, Creator: inviter.public,
		}, inviter.key)
		if err == nil {
			err = b.Commit(h.ctx)
		}
		b.Abandon()
		h.stats.Provisional++
	} else {
		err = n.service.Found(h.ctx, r.genesis)
	}
	if errors.Is(err, errkind.Internal) {
		h.note("node %d: %v", n.number, err)
		return
	}
	h.check(err, "found the group on node %d", n.number)
	n.has[r] = true
}

// start begins the node on what it has stored.
func (n *node) start() {
	n.db = store.Open(n.disk, store.Options{})
	n.service = groups.New(groups.Options{DB: n.db, Publish: n.publish})
}

// publish sends an operation to all others.
func (n *node) publish(p groups.Published) {
	r := n.h.realm(p.Group)
	r.remember(p.ID, p.Raw)
	for _, other := range n.h.nodes {
		if other != n {
			n.h.flights = append(n.h.flights, flight{from: n, to: other, group: r, raw: p.Raw})
		}
	}
}

func (h *history) realm(id domain.GroupID) *realm {
	return h.groups[slices.IndexFunc(h.groups, func(r *realm) bool { return r.genesis.Group == id })]
}

func (r *realm) remember(id domain.Hash, raw []byte) {
	if r.made[id] == nil {
		r.ids = append(r.ids, id)
	}
	r.made[id] = raw
}

func (h *history) failf(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf(format, args...)
	}
}

func (h *history) check(err error, format string, args ...any) {
	if err != nil {
		h.failf(format+": %w", append(args, err)...)
	}
}

func (h *history) note(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf(format, args...))
}

func (h *history) chance(percent int) bool { return h.rng.IntN(100) < percent }

func pick[T any](h *history, list []T) T { return list[h.rng.IntN(len(list))] }

// play runs the history and returns what is wrong with it.
func (h *history) play() error {
	for range 20 + h.rng.IntN(25) + 10*len(h.groups) {
		if h.err != nil {
			return h.err
		}
		h.step()
	}
	h.heal()
	if h.err == nil {
		h.verify()
	}
	return h.err
}

func (h *history) step() {
	n, r := pick(h, h.nodes), pick(h, h.groups)
	if h.chance(40) {
		r = h.groups[0]
	}
	switch k := h.rng.IntN(100); {
	case k < 40:
		h.issue(n, r)
	case k < 45:
		h.remove(n, r)
	case k < 53:
		h.forge(r)
	case k < 77:
		h.deliver()
	case k < 87:
		h.catchUp(n, pick(h, h.nodes), r)
	case k < 90:
		h.found(n, r, false)
	case k < 94:
		h.stats.Partitions++
		for _, n := range h.nodes {
			n.part = h.rng.IntN(2)
		}
	case k < 97:
		h.stats.Restarts++
		n.start()
	default:
		h.stats.Failures++
		n.disk.fail = true
	}
}

// issue has one of a node's people make an operation; what it may not do is refused without a trace.
func (h *history) issue(n *node, r *realm) {
	if !n.has[r] {
		return
	}
	for range 6 {
		who := pick(h, h.people)
		body := h.draw(r, who)
		id, err := n.service.Issue(h.ctx, r.genesis.Group, who.key, body)
		if err == nil {
			h.stats.Issued++
			h.note("node %d: %s by %s in %s is %s", n.number, body.Kind(), who.public, r.genesis.Group, id)
			return
		}
		if !h.lawful(n, err) {
			return
		}
	}
}

// remove has one of a node's people remove another, with the cuts in the groups below.
func (h *history) remove(n *node, r *realm) {
	if !n.has[r] {
		return
	}
	state, err := n.service.State(h.ctx, r.genesis.Group)
	if h.disk(n, err) {
		return
	}
	for range 12 {
		who, target := pick(h, h.people), pick(h, h.people)
		if !state.EverAdmins[target.public] {
			continue
		}
		removal, err := n.service.RemoveMember(h.ctx, r.genesis.Group, who.key, target.public)
		if err == nil {
			h.cut(n, r, removal)
			return
		}
		if !h.lawful(n, err) {
			return
		}
	}
}

func (h *history) cut(n *node, r *realm, removal groups.Removal) {
	h.stats.Issued++
	h.note("node %d: a removal in %s is %s", n.number, r.genesis.Group, removal.Op)
	for _, cut := range removal.Cuts {
		if cut.Err != nil {
			h.lawful(n, cut.Err)
			continue
		}
		h.stats.Cuts++
		h.note("node %d: cut off from %s by %s", n.number, cut.Group, cut.Op)
	}
}

// lawful reports whether the error of an operation is that its author may not make it, and fails where it is neither that
// nor the disk.
func (h *history) lawful(n *node, err error) bool {
	switch {
	case errors.Is(err, errkind.Internal): // the disk; the operation may be made again
		h.note("node %d: %v", n.number, err)
		return false
	case errors.Is(err, errkind.PermissionDenied), errors.Is(err, errkind.Precondition), errors.Is(err, errkind.Invalid),
		errors.Is(err, errkind.AlreadyExists):
		h.stats.Refused++
		return true
	}
	h.failf("an operation on node %d: %w", n.number, err)
	return false
}

// forge makes an operation past the service, as a member that misbehaves or a second device would: old parents, parents
// that nobody has, none; any nonce; an author without the right.
func (h *history) forge(r *realm) {
	who := pick(h, h.people)
	op := wire.SignableGroupOp{
		Version: wire.GroupOpVersion, Group: r.genesis.Group, Signer: who.public, Nonce: uint64(h.rng.IntN(30)), Op: h.draw(r, who),
	}
	for range h.rng.IntN(4) {
		if len(r.ids) > 0 {
			op.Parents = append(op.Parents, pick(h, r.ids))
		}
	}
	id, raw, err := op.SignRaw(who.key)
	h.check(err, "forge")
	r.remember(id, raw)
	h.stats.Forged++
	h.note("forged: %s by %s in %s is %s, nonce %d", op.Op.Kind(), who.public, r.genesis.Group, id, op.Nonce)
	h.flights = append(h.flights, flight{to: pick(h, h.nodes), group: r, raw: raw})
}

// deliver lets some of what is on its way arrive, in any order; some is lost, some comes again later.
func (h *history) deliver() {
	for range 1 + h.rng.IntN(6) {
		if len(h.flights) == 0 {
			return
		}
		at := h.rng.IntN(len(h.flights))
		f := h.flights[at]
		if !h.chance(20) {
			h.flights = slices.Delete(h.flights, at, at+1)
		} else {
			h.stats.Repeated++
		}
		switch {
		case f.from != nil && f.from.part != f.to.part, !f.to.has[f.group], h.chance(20):
			h.stats.Lost++
		default:
			h.receive(f.to, f.group, "peer", [][]byte{f.raw})
		}
	}
}

func (h *history) receive(n *node, r *realm, source string, raws [][]byte) {
	h.stats.Delivered += len(raws)
	receipts, err := n.service.Receive(h.ctx, r.genesis.Group, source, raws)
	if errors.Is(err, errkind.Internal) {
		h.note("node %d: %v", n.number, err)
		return
	}
	h.check(err, "receive on node %d", n.number)
	for _, got := range receipts {
		h.check(got.Err, "operation %s on node %d", got.ID, n.number)
		if got.Outcome == groups.Waiting {
			h.stats.Waited++
			if len(got.Missing) == 0 {
				h.failf("operation %s waits on node %d, and nothing is missing", got.ID, n.number)
			}
		}
	}
}

// catchUp has a node ask another for what it misses.
func (h *history) catchUp(n, from *node, r *realm) {
	if n == from || n.part != from.part || !n.has[r] || !from.has[r] {
		return
	}
	missing, err := n.service.Missing(h.ctx, r.genesis.Group)
	if h.disk(n, err) {
		return
	}
	raws, err := from.service.Ops(h.ctx, r.genesis.Group, missing)
	if h.disk(from, err) {
		return
	}
	h.receive(n, r, fmt.Sprint(from.number), append(raws, h.after(n, from, r, 1+h.rng.IntN(20))...))
}

// after is what one node has of a group and another has not.
func (h *history) after(n, from *node, r *realm, limit int) [][]byte {
	tips, err := n.service.Tips(h.ctx, r.genesis.Group)
	if h.disk(n, err) {
		return nil
	}
	raws, err := from.service.After(h.ctx, r.genesis.Group, tips, limit)
	if h.disk(from, err) {
		return nil
	}
	return raws
}

// disk reports whether a call failed, which only the disk may make it: a commit that failed is made good first.
func (h *history) disk(n *node, err error) bool {
	if err == nil {
		return false
	}
	h.note("node %d: %v", n.number, err)
	if !errors.Is(err, errkind.Internal) {
		h.failf("ask node %d: %w", n.number, err)
	}
	return true
}

// heal ends partitions and brings everything everywhere: what is on its way arrives, what was lost is fetched.
func (h *history) heal() {
	for _, n := range h.nodes {
		n.part, n.disk.fail = 0, false
	}
	h.node(len(h.nodes)) // a newcomer
	for _, i := range h.rng.Perm(len(h.nodes)) {
		for _, k := range h.rng.Perm(len(h.groups)) {
			h.found(h.nodes[i], h.groups[k], false)
		}
	}
	for _, r := range h.groups {
		for _, i := range h.rng.Perm(len(r.ids)) { // nobody may have some: they are sent again
			h.receive(pick(h, h.nodes), r, "peer", [][]byte{r.made[r.ids[i]]})
		}
	}
	h.nodes[0].start()
	for range len(h.nodes) + 1 {
		for _, n := range h.nodes {
			for _, from := range h.nodes {
				for _, k := range h.rng.Perm(len(h.groups)) {
					if raws := h.after(n, from, h.groups[k], groups.MaxReceive); len(raws) > 0 {
						h.receive(n, h.groups[k], fmt.Sprint(from.number), raws)
					}
				}
			}
		}
	}
}

// verify compares the nodes.
func (h *history) verify() {
	want := h.compose()
	h.stats.Groups += len(h.groups)
	for _, w := range want {
		if w.parent != nil {
			h.stats.Linked++
		}
		for _, v := range w.Verdicts {
			if v.Code.Void() {
				h.stats.Void++
			}
			if v.Code == governance.VoidInheritedLost {
				h.stats.InheritedLost++
			}
		}
	}
	var rows map[string]string
	for _, n := range h.nodes {
		if h.err != nil {
			return
		}
		for r, w := range want {
			h.compare(n, r, w)
		}
		got := h.rows(n)
		if n.number == 0 {
			rows = got
		}
		for k, v := range rows {
			if got[k] != v {
				h.failf("row %x is %x on node 0 and %x on node %d", k, v, got[k], n.number)
			}
		}
		if len(got) != len(rows) {
			h.failf("node 0 has %d rows, node %d %d", len(rows), n.number, len(got))
		}
	}
}
