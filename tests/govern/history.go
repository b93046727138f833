// Package govern plays random histories of groups over several nodes and checks the promise of core/governance and
// core/groups: nodes that got the same operations, over a network that loses, repeats, reorders and partitions, with
// restarts and failing commits, have the same groups. Everything comes from a history's seed and nothing else.
//
// When a history ends, the network heals and nodes fetch what they miss. Then logs, verdicts, heads, states and rows must
// be equal on all nodes, and equal to what the operations give when computed from nothing.
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
	genesis wire.GroupGenesis
	people  []person
	nodes   []*node
	flights []flight
	made    map[domain.Hash][]byte // every operation that left its author
	ids     []domain.Hash          // of made, in order
	stats   Stats
	trace   []string
	err     error
}

// person is somebody with a key.
type person struct {
	key    domain.PrivateKey
	public domain.PublicKey
}

// flight is an operation on its way.
type flight struct {
	from, to *node
	raw      []byte
}

// node is a node with a part of the people.
type node struct {
	number  int
	h       *history
	disk    *disk
	service *groups.Service
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
	h := &history{ctx: ctx, rng: rand.New(rand.NewPCG(seed, 0x67726f7570)), made: map[domain.Hash][]byte{}}
	for i := range 3 + h.rng.IntN(4) {
		key := domain.PrivateKey{1, byte(i)}
		h.people = append(h.people, person{key, key.Public()})
	}
	genesis, err := wire.GroupGenesis{
		Creator: h.people[0].public, CreatedAt: 1700000000, AutoJoin: true, Salt: [32]byte{byte(seed), byte(seed >> 8)},
	}.Sign(h.people[0].key, nil)
	h.check(err, "make the genesis")
	h.genesis = genesis
	for i := range 2 + h.rng.IntN(4) {
		h.nodes = append(h.nodes, h.node(i))
	}
	return h
}

func (h *history) node(number int) *node {
	n := &node{number: number, h: h, disk: &disk{Store: storagetest.NewMemory()}}
	n.start()
	h.check(n.service.Found(h.ctx, h.genesis), "found the group on node %d", number)
	return n
}

// start begins the node on what it has stored.
func (n *node) start() {
	n.service = groups.New(groups.Options{DB: store.Open(n.disk, store.Options{}), Publish: n.publish})
}

// publish sends an operation to all others.
func (n *node) publish(p groups.Published) {
	n.h.remember(p.ID, p.Raw)
	for _, other := range n.h.nodes {
		if other != n {
			n.h.flights = append(n.h.flights, flight{from: n, to: other, raw: p.Raw})
		}
	}
}

func (h *history) remember(id domain.Hash, raw []byte) {
	if h.made[id] == nil {
		h.ids = append(h.ids, id)
	}
	h.made[id] = raw
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
	for range 25 + h.rng.IntN(30) {
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
	n := pick(h, h.nodes)
	switch k := h.rng.IntN(100); {
	case k < 45:
		h.issue(n)
	case k < 55:
		h.forge()
	case k < 80:
		h.deliver()
	case k < 90:
		h.catchUp(n, pick(h, h.nodes))
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
func (h *history) issue(n *node) {
	for range 6 {
		who := pick(h, h.people)
		body := h.draw(who)
		id, err := n.service.Issue(h.ctx, h.genesis.Group, who.key, body)
		switch {
		case err == nil:
			h.stats.Issued++
			h.note("node %d: %s by %s is %s", n.number, body.Kind(), who.public, id)
			return
		case errors.Is(err, errkind.Internal): // the disk; the operation may be made again
			h.note("node %d: %v", n.number, err)
			return
		case errors.Is(err, errkind.PermissionDenied), errors.Is(err, errkind.Precondition), errors.Is(err, errkind.Invalid),
			errors.Is(err, errkind.AlreadyExists):
			h.stats.Refused++
		default:
			h.failf("issue %s on node %d: %w", body.Kind(), n.number, err)
			return
		}
	}
}

// forge makes an operation past the service, as a member that misbehaves or a second device would: old parents, parents
// that nobody has, none; any nonce; an author without the right.
func (h *history) forge() {
	who := pick(h, h.people)
	op := wire.SignableGroupOp{
		Version: wire.GroupOpVersion, Group: h.genesis.Group, Signer: who.public, Nonce: uint64(h.rng.IntN(30)), Op: h.draw(who),
	}
	for range h.rng.IntN(4) {
		if len(h.ids) > 0 {
			op.Parents = append(op.Parents, pick(h, h.ids))
		}
	}
	signed, err := op.Sign(who.key)
	h.check(err, "forge")
	id, err := signed.ContentHash()
	h.check(err, "forge")
	raw, err := wire.Encode(signed)
	h.check(err, "forge")
	h.remember(id, raw)
	h.stats.Forged++
	h.note("forged: %s by %s is %s, nonce %d", op.Op.Kind(), who.public, id, op.Nonce)
	h.flights = append(h.flights, flight{to: pick(h, h.nodes), raw: raw})
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
		case f.from != nil && f.from.part != f.to.part, h.chance(20):
			h.stats.Lost++
		default:
			h.receive(f.to, "peer", [][]byte{f.raw})
		}
	}
}

func (h *history) receive(n *node, source string, raws [][]byte) {
	h.stats.Delivered += len(raws)
	receipts, err := n.service.Receive(h.ctx, h.genesis.Group, source, raws)
	if errors.Is(err, errkind.Internal) {
		h.note("node %d: %v", n.number, err)
		return
	}
	h.check(err, "receive on node %d", n.number)
	for _, r := range receipts {
		h.check(r.Err, "operation %s on node %d", r.ID, n.number)
		if r.Outcome == groups.Waiting {
			h.stats.Waited++
			if len(r.Missing) == 0 {
				h.failf("operation %s waits on node %d, and nothing is missing", r.ID, n.number)
			}
		}
	}
}

// catchUp has a node ask another for what it misses.
func (h *history) catchUp(n, from *node) {
	if n == from || n.part != from.part {
		return
	}
	missing, err := n.service.Missing(h.ctx, h.genesis.Group)
	h.check(err, "missing on node %d", n.number)
	raws, err := from.service.Ops(h.ctx, h.genesis.Group, missing)
	h.check(err, "operations on node %d", from.number)
	tips, err := n.service.Tips(h.ctx, h.genesis.Group)
	h.check(err, "tips of node %d", n.number)
	more, err := from.service.After(h.ctx, h.genesis.Group, tips, 1+h.rng.IntN(20))
	h.check(err, "operations on node %d", from.number)
	h.receive(n, fmt.Sprint(from.number), append(raws, more...))
}

// heal ends partitions and brings everything everywhere: what is on its way arrives, what was lost is fetched.
func (h *history) heal() {
	for _, n := range h.nodes {
		n.part, n.disk.fail = 0, false
	}
	for _, i := range h.rng.Perm(len(h.ids)) { // nobody may have some: they are sent again
		h.receive(pick(h, h.nodes), "peer", [][]byte{h.made[h.ids[i]]})
	}
	h.nodes = append(h.nodes, h.node(len(h.nodes))) // a newcomer
	h.nodes[0].start()
	for range len(h.nodes) + 1 {
		for _, n := range h.nodes {
			for _, from := range h.nodes {
				h.fetch(n, from)
			}
		}
	}
}

func (h *history) fetch(n, from *node) {
	tips, err := n.service.Tips(h.ctx, h.genesis.Group)
	h.check(err, "tips of node %d", n.number)
	raws, err := from.service.After(h.ctx, h.genesis.Group, tips, groups.MaxReceive)
	h.check(err, "operations on node %d", from.number)
	if len(raws) > 0 {
		h.receive(n, fmt.Sprint(from.number), raws)
	}
}

// verify compares the nodes.
func (h *history) verify() {
	var ops []governance.Op
	for _, id := range h.ids {
		signed, err := wire.DecodeSignedGroupOp(h.made[id])
		h.check(err, "decode %s", id)
		op, err := governance.NewOp(h.genesis.Group, signed)
		h.check(err, "read %s", id)
		ops = append(ops, op)
	}
	h.rng.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	want := governance.Evaluate(governance.Genesis{
		Founder: h.genesis.Creator, AppKey: h.genesis.AppKey, Target: h.genesis.Target, Policy: h.genesis.Policy,
	}, nil, ops)
	for _, v := range want.Verdicts {
		if v.Code.Void() {
			h.stats.Void++
		}
	}
	var rows map[string]string
	for _, n := range h.nodes {
		if h.err != nil {
			return
		}
		h.compare(n, want)
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
