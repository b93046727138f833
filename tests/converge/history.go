package converge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Call is a guest's method with its input.
type Call struct {
	Method string
	Args   []byte
	Kind   runtime.CallKind
	// Crash: the node ends between the guest's return and the commit.
	Crash bool
}

// Answer is what became of a call.
type Answer struct {
	Output  []byte // JSON; nil when the method returned nothing
	Failure string // an error of the application's, or the guest's fault
	Events  []runtime.Event
	XCalls  []runtime.XCall
	// Delta is nil when nothing was committed.
	Delta *Delta
	// More are deltas of event handlers and calls between contexts.
	More []*Delta
	// GuestRoot is the root hash that the guest computed; nil when the node does not tell.
	GuestRoot *domain.Hash
	Refused   []engine.Verdict
}

// Delta is a delta on its way between nodes.
type Delta struct {
	ID      domain.Hash
	Parents []domain.Hash
	Actions []crdt.Action
	Root    domain.Hash
	Author  domain.PublicKey
	hlc     crdt.Timestamp
	proof   wire.DeltaAuthor
	events  []contexts.Event

	number int
	// from and to are the earliest and the latest time in it.
	from, to uint64
	// after has the numbers of the deltas it follows.
	after map[int]bool
}

// setting is what a node is made of.
type setting struct {
	rig     *Rig
	slot    int    // its number in the history
	name    string // of the application
	seed    domain.Hash
	context domain.ContextID
	key     domain.PrivateKey
	calm    bool
	clock   func() uint64 // a reading
	wall    func() uint64 // the time, without reading the clock
	random  io.Reader
	members func(domain.PublicKey) bool // may write
}

// member is a node of a history.
type member interface {
	// expect makes the context known to a node that did not create it.
	expect(ctx context.Context) error
	call(ctx context.Context, c Call) (*Answer, error)
	// receive hands over deltas, in any order and repeatedly. Without any it looks again at those that wait for their time.
	receive(ctx context.Context, deltas []*Delta) error
	// join replaces the node's state by a snapshot of another node's, which must know all that this one knows.
	join(ctx context.Context, from member) error
	// restart ends the node and starts it on what it has stored.
	restart(ctx context.Context) error
	// has tells whether a delta is part of the state.
	has(ctx context.Context, id domain.Hash) (bool, error)
	// waiting counts the deltas that are kept and not part of the state.
	waiting(ctx context.Context) (int, error)
	state(ctx context.Context) (engine.Rows, domain.Hash, error)
	close() error
}

// node is a member with its surroundings.
type node struct {
	member
	number int
	key    domain.PrivateKey
	skew   atomic.Int64 // of its clock
	// got has the deltas that reached it, part tells its side of a partition.
	got  map[*Delta]bool
	part int
	// raw are the rows of the shared store that the guest wrote past the SDK, private what it keeps to itself.
	raw map[crdt.StateKey]bool
	// own is the application's model of what is on this node alone.
	own map[string]string
}

// history is one run.
type history struct {
	ctx  context.Context
	rig  *Rig
	opts Options
	rng  *rand.Rand
	name string
	app  app
	// calm: every call sees all calls before it.
	calm   bool
	full   bool
	seed   domain.Hash
	id     domain.ContextID
	now    atomic.Uint64
	nodes  []*node
	deltas []*Delta
	byID   map[domain.Hash]*Delta

	stats Stats
	trace []string
	err   error
}

// Stats count what histories did.
type Stats struct {
	Histories, Calls, Commits, Failures, Deltas, Actions, Forks, Deliveries, Duplicates, Partitions, Restarts, Joins,
	Crashes, Queries int
	// Roots counts the calls of conflict-free histories, RootsDiffer those whose guest computed another root hash than the
	// engine.
	Roots, RootsDiffer int
}

func (s *Stats) add(o Stats) {
	for _, f := range []struct{ to, from *int }{
		{&s.Histories, &o.Histories}, {&s.Calls, &o.Calls}, {&s.Commits, &o.Commits}, {&s.Failures, &o.Failures},
		{&s.Deltas, &o.Deltas}, {&s.Actions, &o.Actions}, {&s.Forks, &o.Forks}, {&s.Deliveries, &o.Deliveries},
		{&s.Duplicates, &o.Duplicates}, {&s.Partitions, &o.Partitions}, {&s.Restarts, &o.Restarts}, {&s.Joins, &o.Joins},
		{&s.Crashes, &o.Crashes}, {&s.Queries, &o.Queries}, {&s.Roots, &o.Roots}, {&s.RootsDiffer, &o.RootsDiffer},
	} {
		*f.to += *f.from
	}
}

const (
	start  = 1_700_000_000_000_000_000
	second = 1_000_000_000
	// far is how far ahead a clock may be whose deltas others hold. A history is over long before they are due, so that
	// no timer takes part in it.
	far = 300 * second
)

// failf ends the history; the first failure counts.
func (h *history) failf(format string, args ...any) {
	if h.err == nil {
		h.err = fmt.Errorf(format, args...)
	}
}

// check ends the history when something of the harness failed.
func (h *history) check(err error, doing string, args ...any) {
	if err != nil {
		h.failf("%s: %w", fmt.Sprintf(doing, args...), err)
	}
}

func (h *history) tracef(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf(format, args...))
}

// chance is true in n of 100 cases.
func (h *history) chance(n int) bool { return h.rng.IntN(100) < n }

// pick returns one of a few.
func pick[T any](h *history, from ...T) T { return from[h.rng.IntN(len(from))] }

func (h *history) randomBytes(b []byte) {
	for i := range b {
		b[i] = byte(h.rng.Uint32())
	}
}

// begin makes the nodes and the context.
func (h *history) begin() {
	h.byID = map[domain.Hash]*Delta{}
	h.randomBytes(h.seed[:])
	h.id = identity.ContextIDFromSeed(h.seed)
	h.now.Store(start + h.rng.Uint64N(1e15))
	for i := range maxNodes - h.rng.IntN(3) {
		n := &node{number: i, got: map[*Delta]bool{}, raw: map[crdt.StateKey]bool{}, own: map[string]string{}}
		h.randomBytes(n.key[:])
		if !h.calm {
			n.skew.Store(h.rng.Int64N(3*second) - 3*second/2)
		}
		h.nodes = append(h.nodes, n)
	}
	for _, n := range h.nodes {
		h.make(n)
		if h.err != nil {
			return
		}
	}
	first := h.nodes[0]
	a := h.run(first, Call{Method: "init", Args: h.app.init(), Kind: runtime.Init})
	if h.err == nil && a.Delta == nil {
		h.failf("init committed nothing: %s", a.Failure)
	}
	for _, n := range h.nodes[1:] {
		if h.err != nil {
			return
		}
		h.check(n.expect(h.ctx), "node %d learns of the context", n.number)
		if h.chance(50) && !h.full {
			h.join(n, first)
		} else {
			h.deliver(n, h.deltas)
		}
	}
}

func (h *history) make(n *node) {
	s := setting{
		rig: h.rig, slot: n.number, name: h.name, seed: h.seed, context: h.id, key: n.key, calm: h.calm,
		clock: h.clockOf(n), wall: func() uint64 { return h.wall(n) }, random: randomOf{h},
		members: func(key domain.PublicKey) bool {
			return slices.ContainsFunc(h.nodes, func(o *node) bool { return o.key.Public() == key })
		},
	}
	if h.full {
		m, err := newFull(h.ctx, s)
		h.check(err, "start node %d", n.number)
		n.member = m
	} else {
		m, err := newLight(h.ctx, s)
		h.check(err, "start node %d", n.number)
		n.member = m
	}
}

// end closes the nodes.
func (h *history) end() {
	for _, n := range h.nodes {
		if n.member != nil {
			h.check(n.close(), "node %d ends", n.number)
		}
	}
	h.rig.dropSource(h.id)
}

func (h *history) wall(n *node) uint64 { return uint64(int64(h.now.Load()) + n.skew.Load()) }

// clockOf is a node's wall clock, which goes on between two readings.
func (h *history) clockOf(n *node) func() uint64 {
	return func() uint64 {
		h.now.Add(200 + h.rng.Uint64N(2000))
		return h.wall(n)
	}
}

type randomOf struct{ h *history }

func (r randomOf) Read(b []byte) (int, error) {
	r.h.randomBytes(b)
	return len(b), nil
}

var _ io.Reader = randomOf{}

// args encodes named arguments: name, value, name, value.
func args(pairs ...any) []byte {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings, numbers, lists of them
	}
	return b
}

// do calls a method that is expected to succeed, and to commit if it may change the state.
func (h *history) do(n *node, method string, pairs ...any) *Answer {
	a := h.run(n, Call{Method: method, Args: args(pairs...), Kind: runtime.Call})
	if a.Failure != "" {
		h.failf("node %d: %s(%s) failed: %s", n.number, method, args(pairs...), a.Failure)
	}
	if h.err == nil && a.Delta == nil {
		h.failf("node %d: %s(%s) was answered and committed nothing", n.number, method, args(pairs...))
	}
	return a
}

// refuse calls a method that is expected to fail.
func (h *history) refuse(n *node, method string, pairs ...any) {
	a := h.run(n, Call{Method: method, Args: args(pairs...), Kind: runtime.Call})
	if h.err == nil && (a.Failure == "" || a.Delta != nil) {
		h.failf("node %d: %s(%s) should have failed", n.number, method, args(pairs...))
	}
}

// query calls a method that changes nothing and decodes what it returns.
func (h *history) query(n *node, into any, method string, pairs ...any) {
	h.stats.Queries++
	a := h.run(n, Call{Method: method, Args: args(pairs...), Kind: runtime.Call})
	if a.Failure != "" {
		h.failf("node %d: query %s(%s) failed: %s", n.number, method, args(pairs...), a.Failure)
	}
	if h.err == nil && a.Delta != nil {
		h.failf("node %d: query %s committed", n.number, method)
	}
	if h.err == nil {
		h.check(json.Unmarshal(a.Output, into), "answer of %s: %s", method, a.Output)
	}
}

// run calls a method and notes its delta. It is never nil.
func (h *history) run(n *node, c Call) *Answer {
	if h.err != nil {
		return &Answer{}
	}
	h.stats.Calls++
	a, err := n.call(h.ctx, c)
	if err != nil {
		h.check(err, "node %d: %s(%s)", n.number, c.Method, c.Args)
		return &Answer{}
	}
	if a.Failure != "" {
		h.stats.Failures++
	}
	h.tracef("node %d: %s %s -> %s%s", n.number, c.Method, c.Args, a.Output, a.Failure)
	if a.Delta != nil {
		h.committed(n, a.Delta)
		h.agreed(a)
	}
	for _, d := range a.More {
		h.committed(n, d)
	}
	return a
}

// agreed compares the engine with the guest.
func (h *history) agreed(a *Answer) {
	d := a.Delta
	if len(a.Refused) > 0 {
		h.failf("delta %d: the engine refused actions of an honest guest: %v", d.number, a.Refused)
	}
	if !h.calm {
		return
	}
	h.stats.Roots++ // a full node counts the differences itself
	if a.GuestRoot != nil && *a.GuestRoot != d.Root {
		h.stats.RootsDiffer++
		h.failf("delta %d: the engine has root %s, the guest computed %s", d.number, d.Root, a.GuestRoot)
	}
}

// committed notes a delta.
func (h *history) committed(n *node, d *Delta) {
	if old := h.byID[d.ID]; old != nil {
		h.failf("node %d: the delta has the id of delta %d", n.number, old.number)
		return
	}
	d.number, d.after, d.from = len(h.deltas), map[int]bool{}, ^uint64(0)
	for i := range d.Actions {
		if at := d.Actions[i].Time(); at > 0 { // not the mark
			d.from, d.to = min(d.from, at), max(d.to, at)
		}
	}
	for _, id := range d.Parents {
		if id.IsZero() {
			continue
		}
		p := h.byID[id]
		if p == nil {
			h.failf("node %d: parent %s of delta %d is unknown", n.number, id, d.number)
			return
		}
		d.after[p.number] = true
		for i := range p.after {
			d.after[i] = true
		}
	}
	for i := range d.after {
		if h.deltas[i].to >= d.from {
			h.failf("delta %d has a time (%d) not after one (%d) of delta %d, which it follows", d.number, d.from,
				h.deltas[i].to, i)
		}
	}
	if len(d.after) < d.number {
		h.stats.Forks++
	}
	h.deltas, h.byID[d.ID], n.got[d] = append(h.deltas, d), d, true
	h.stats.Commits++
	h.stats.Deltas++
	h.stats.Actions += len(d.Actions)
	h.tracef("        delta %d of %d actions, root %s", d.number, len(d.Actions), d.Root)
}

// deliver hands deltas to a node.
func (h *history) deliver(n *node, deltas []*Delta) {
	if h.err != nil || len(deltas) == 0 {
		return
	}
	numbers := make([]int, len(deltas))
	for i, d := range deltas {
		numbers[i] = d.number
		h.stats.Deliveries++
		if n.got[d] {
			h.stats.Duplicates++
		}
		n.got[d] = true
	}
	h.tracef("node %d: receives %v", n.number, numbers)
	h.check(n.receive(h.ctx, deltas), "node %d receives %v", n.number, numbers)
}

// reachable are the deltas that a node has not got and that another on its side has.
func (h *history) reachable(n *node) []*Delta {
	var out []*Delta
	for _, d := range h.deltas {
		if !n.got[d] && slices.ContainsFunc(h.nodes, func(o *node) bool { return o.part == n.part && o.got[d] }) {
			out = append(out, d)
		}
	}
	return out
}

// someDeltas delivers a few deltas to a node, most often in order, with duplicates.
func (h *history) someDeltas(n *node) {
	all := h.reachable(n)
	if !h.chance(60) {
		h.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	all = all[:min(len(all), 1+h.rng.IntN(4))]
	for h.chance(20) && len(n.got) > 0 {
		d := h.deltas[h.rng.IntN(len(h.deltas))]
		if n.got[d] || slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	h.deliver(n, all)
}

// everything delivers what a node lacks, in any order.
func (h *history) everything(n *node) {
	all := h.reachable(n)
	h.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	h.deliver(n, all)
}

func (h *history) split() {
	h.stats.Partitions++
	sides := make([]int, len(h.nodes))
	for i, n := range h.nodes {
		n.part = h.rng.IntN(2)
		sides[i] = n.part
	}
	h.tracef("partition %v", sides)
}

func (h *history) heal() {
	for _, n := range h.nodes {
		n.part = 0
	}
	h.tracef("partition ends")
}

func (h *history) restart(n *node) {
	h.stats.Restarts++
	h.tracef("node %d restarts", n.number)
	h.check(n.restart(h.ctx), "node %d restarts", n.number)
}

// join lets a node start again from a snapshot of another, if that one knows all that this one knows.
func (h *history) join(n, from *node) {
	var all []*Delta
	for _, d := range h.deltas {
		mine, err := n.has(h.ctx, d.ID)
		h.check(err, "look for delta %d", d.number)
		theirs, err := from.has(h.ctx, d.ID)
		h.check(err, "look for delta %d", d.number)
		if mine && !theirs {
			return
		}
		if theirs {
			all = append(all, d)
		}
	}
	if h.err != nil {
		return
	}
	for _, d := range all {
		n.got[d] = true
	}
	h.stats.Joins++
	h.tracef("node %d takes a snapshot of node %d", n.number, from.number)
	h.check(n.member.join(h.ctx, from.member), "node %d takes a snapshot", n.number)
	clear(n.raw)
	for k := range from.raw {
		n.raw[k] = true
	}
	h.app.joined(n, from)
}

// step is one event.
func (h *history) step() {
	n := h.nodes[h.rng.IntN(len(h.nodes))]
	h.now.Add(pick(h, 0, 1_000, 100_000, 10_000_000, uint64(second)))
	if h.calm {
		if !h.chance(70) {
			n = h.nodes[len(h.deltas)%len(h.nodes)]
		}
		for _, o := range h.nodes {
			h.everything(o)
		}
		h.app.step(h, n)
		return
	}
	switch k := h.rng.IntN(100); {
	case k < 55:
		h.app.step(h, n)
	case k < 60:
		h.crash(n)
	case k < 83:
		h.someDeltas(n)
	case k < 86:
		h.split()
	case k < 89:
		h.heal()
	case k < 93:
		h.restart(n)
	case k < 96:
		if o := h.nodes[h.rng.IntN(len(h.nodes))]; o != n && o.part == n.part && !h.full {
			h.join(n, o)
		}
	default: // its clock is set
		n.skew.Store(h.rng.Int64N(3*second) - 3*second/2)
		if h.chance(10) {
			n.skew.Store(far)
		}
		h.tracef("node %d: clock at %+.3f s", n.number, float64(n.skew.Load())/second)
	}
}

// crash lets a node die during a call, and start again.
func (h *history) crash(n *node) {
	h.stats.Crashes++
	c := h.app.lost(h)
	c.Kind, c.Crash = runtime.Call, true
	h.run(n, c)
	h.tracef("node %d died before the commit", n.number)
	h.restart(n)
}

// play runs the history.
func (h *history) play() (err error) {
	defer func() {
		h.end()
		err = h.err
	}()
	h.begin()
	for range 10 + h.rng.IntN(h.opts.steps()) {
		if h.err != nil {
			return h.err
		}
		h.step()
	}
	h.settle()
	h.verify()
	return h.err
}

// settle delivers everything to everyone.
func (h *history) settle() {
	h.heal()
	h.now.Add(2 * far)
	for range 3 {
		for _, n := range h.nodes {
			h.everything(n)
			if h.chance(50) {
				h.someDeltas(n)
			}
		}
	}
	for _, n := range h.nodes {
		if h.err != nil {
			return
		}
		h.check(n.receive(h.ctx, nil), "node %d looks at what waits", n.number)
		waiting, err := n.waiting(h.ctx)
		h.check(err, "count what waits")
		if waiting > 0 {
			h.failf("node %d: %d deltas wait although all were delivered", n.number, waiting)
		}
	}
}
