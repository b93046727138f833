package governance_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// world makes a random history: nodes that see parts of it write operations, lawful ones most of the time.
type world struct {
	t         testing.TB
	rng       *rand.Rand
	genesis   governance.Genesis
	inherited governance.Inherited
	hostile   bool
	close     bool // nodes hear of each other most of the time
	crowd     bool // the same few people join again and again, most of the time without parents
	who       []domain.PublicKey
	nodes     []*peer
	ops       []governance.Op // in a causal order
	nonces    map[domain.PublicKey]uint64
	marks     int // seen
}

// peer is a node: an engine and the operations that wait for their parents.
type peer struct {
	engine  *governance.Engine
	has     map[domain.Hash]bool
	waiting []governance.Op
	said    map[domain.Hash]governance.Verdict
	joins   map[domain.Hash]bool // without parents
}

// tell records changes, which must lead on from what was said before.
func (p *peer) tell(t testing.TB, changes []governance.Change, anew bool) {
	for _, c := range changes {
		require.Equal(t, p.said[c.ID], c.Old)
		require.False(t, c.Old.Code.Refused() && !p.joins[c.ID] && !anew, "a refusal changed: %+v", c)
		p.said[c.ID] = c.New
	}
}

// inherit changes what a node knows of the ancestors of the group, now and then.
func (w *world) inherit(p *peer) {
	if len(w.inherited) == 0 || w.rng.IntN(4) != 0 {
		return
	}
	other := governance.Inherited{}
	for _, who := range w.who {
		ever := w.rng.IntN(4) == 0
		if w.rng.IntN(2) == 0 {
			other[who] = governance.InheritedAdmin{Ever: ever, Now: ever && w.rng.IntN(2) == 0}
		}
	}
	p.tell(w.t, p.engine.Inherit(other), true)
}

func person(i int) domain.PublicKey { return id[domain.PublicKey](string(rune('A' + i))) }

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), nonces: map[domain.PublicKey]uint64{}, hostile: seed%8 == 7, close: seed/8%4 == 0,
		crowd:   seed%8 == 5,
		genesis: governance.Genesis{Founder: person(0), AppKey: id[domain.Hash]("k0"), Target: id[domain.ApplicationID]("app0")},
	}
	for i := range 3 + w.rng.IntN(4) {
		w.who = append(w.who, person(i))
	}
	if w.rng.IntN(3) == 0 {
		p, q := id[domain.PublicKey]("P"), id[domain.PublicKey]("Q")
		w.inherited = governance.Inherited{p: {Ever: true, Now: true}, q: {Ever: true}}
		w.who = append(w.who, p, q)
	}
	for range 2 + w.rng.IntN(3) {
		w.nodes = append(w.nodes, w.newPeer())
	}
	return w
}

func (w *world) newPeer() *peer {
	engine := governance.NewEngine(w.genesis, w.inherited)
	if w.rng.IntN(3) != 0 {
		engine.MarkEvery(1 + w.rng.IntN(6))
	}
	return &peer{engine: engine, has: map[domain.Hash]bool{}, said: map[domain.Hash]governance.Verdict{},
		joins: map[domain.Hash]bool{}}
}

func (w *world) run(steps int) {
	for range steps {
		n := w.nodes[w.rng.IntN(len(w.nodes))]
		if w.rng.IntN(3) == 0 {
			var got []governance.Op
			for range w.rng.IntN(8) {
				if len(w.ops) > 0 {
					got = append(got, w.ops[w.rng.IntN(len(w.ops))])
				}
			}
			w.inherit(n)
			n.take(w.t, w.rng.IntN(2) == 0, got...)
			continue
		}
		if w.close && w.rng.IntN(4) != 0 {
			n.take(w.t, true, w.ops...)
		}
		op := w.write(n)
		w.ops = append(w.ops, op)
		n.take(w.t, false, op)
	}
}

// take gives operations to a node, which settles them at once or one by one.
func (p *peer) take(t testing.TB, together bool, ops ...governance.Op) {
	p.waiting = append(p.waiting, ops...)
	for again := true; again; {
		again = false
		for i, op := range p.waiting {
			if slices.ContainsFunc(op.Parents, func(id domain.Hash) bool { return !p.has[id] }) {
				continue
			}
			p.waiting = slices.Delete(p.waiting, i, i+1)
			p.joins[op.ID] = op.Claim != nil && len(op.Parents) == 0
			require.NoError(t, p.engine.Take(op))
			if !together {
				p.tell(t, p.engine.Settle(), false)
			}
			p.has[op.ID] = true
			again = true
			break
		}
	}
	p.tell(t, p.engine.Settle(), false)
}

func (w *world) write(n *peer) governance.Op {
	var op governance.Op
	for try := range 12 {
		op = w.draw()
		lawful := n.engine.Try(op) == governance.Applied
		if lawful || try == 11 || w.rng.IntN(40) == 0 {
			break
		}
	}
	if op.Parents = w.parents(n); w.crowd && op.Claim != nil && w.rng.IntN(3) != 0 {
		op.Parents = nil
	}
	w.nonces[op.Author]++
	op.Nonce = w.nonces[op.Author]
	switch w.rng.IntN(12) {
	case 0:
		op.Nonce = max(1, op.Nonce-1)
	case 1:
		op.Nonce += 3
		w.nonces[op.Author] = op.Nonce
	}
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, uint64(len(w.ops)))
	_ = binary.Write(h, binary.LittleEndian, w.rng.Uint64())
	op.ID = domain.Hash(h.Sum(nil))
	return op
}

func (w *world) parents(n *peer) []domain.Hash {
	known := slices.SortedFunc(maps.Keys(n.has), domain.Hash.Compare)
	share := 78
	if w.hostile {
		share = 30
	}
	switch p := w.rng.IntN(100); {
	case p < share || len(known) == 0:
		return n.engine.Heads()
	case p < 95:
		var out []domain.Hash
		for range 1 + w.rng.IntN(3) {
			out = append(out, known[w.rng.IntN(len(known))])
		}
		slices.SortFunc(out, domain.Hash.Compare)
		return slices.Compact(out)
	}
	return nil
}

// draw makes an operation without its place.
func (w *world) draw() governance.Op {
	pick := func() domain.PublicKey { return w.who[w.rng.IntN(len(w.who))] }
	context := func() domain.ContextID { return id[domain.ContextID](fmt.Sprintf("c%d", 1+w.rng.IntN(2))) }
	role := func() domain.MemberRole {
		return []domain.MemberRole{domain.RoleAdmin, domain.RoleMember, domain.RoleReadOnly, domain.RoleAdmin}[w.rng.IntN(4)]
	}
	caps := func() domain.GroupCapabilities { return domain.GroupCapabilities(w.rng.IntN(32)) }
	text := func() string { return strconv.Itoa(w.rng.IntN(9)) }
	child := func() domain.GroupID { return id[domain.GroupID](fmt.Sprintf("s%d", 1+w.rng.IntN(2))) }
	op := governance.Op{Author: pick()}
	kind := w.rng.IntN(34)
	if w.hostile && w.rng.IntN(2) == 0 {
		kind = []int{1, 2, 2, 3}[w.rng.IntN(4)]
	}
	if w.crowd && w.rng.IntN(3) == 0 {
		kind = []int{8, 18, 18, 23}[w.rng.IntN(4)]
		op.Author = w.who[len(w.who)-1-w.rng.IntN(2)]
	}
	switch kind {
	case 0:
		op.Body = wire.OpNoop{}
	case 1, 26, 27, 28:
		op.Body = wire.OpMemberAdded{Member: pick(), Role: role()}
	case 2, 29, 30:
		op.Body = wire.OpMemberRemoved{Member: pick()}
	case 3, 31:
		op.Body = wire.OpMemberRoleSet{Member: pick(), Role: role()}
	case 4, 32:
		op.Body = wire.OpMemberCapabilitySet{Member: pick(), Capabilities: caps()}
	case 5:
		op.Body = wire.OpDefaultCapabilitiesSet{Capabilities: caps()}
	case 6:
		op.Body = wire.OpUpgradePolicySet{Policy: domain.UpgradePolicy{Mode: domain.UpgradeMode(w.rng.IntN(2))}}
	case 7:
		op.Body = wire.OpTargetApplicationSet{AppKey: id[domain.Hash](text()), Target: id[domain.ApplicationID](text())}
	case 8:
		op.Body = wire.OpContextRegistered{Context: context()}
	case 9:
		op.Body = wire.OpContextDetached{Context: context()}
	case 10:
		op.Body = wire.OpDefaultVisibilitySet{Mode: domain.VisibilityMode(w.rng.IntN(3))}
	case 11:
		creator := op.Author
		if w.rng.IntN(3) == 0 {
			creator = pick()
		}
		op.Body = wire.OpContextVisibilitySet{Context: context(), Mode: domain.VisibilityMode(w.rng.IntN(3)), Creator: creator}
	case 12:
		body := wire.OpContextAllowlistReplaced{Context: context()}
		for range w.rng.IntN(4) {
			body.Members = append(body.Members, pick())
		}
		op.Body = body
	case 13:
		op.Body = wire.OpContextAliasSet{Context: context(), Alias: text()}
	case 14:
		op.Body = wire.OpMemberAliasSet{Member: pick(), Alias: text()}
	case 15:
		op.Body = wire.OpGroupAliasSet{Alias: text()}
	case 16:
		op.Body = wire.OpGroupDelete{}
		if w.rng.IntN(4) != 0 {
			op.Body = wire.OpNoop{}
		}
	case 17:
		op.Body = wire.OpGroupMigrationSet{Migration: []byte(text())}
	case 18, 33:
		op.Body, op.Claim = wire.OpJoinWithInvitationClaim{}, w.claim(pick(), "i")
	case 19:
		op.Body = wire.OpContextCapabilityGranted{Context: context(), Member: pick(), Capability: domain.ContextCapability(w.rng.IntN(8))}
	case 20:
		op.Body = wire.OpContextCapabilityRevoked{Context: context(), Member: pick(), Capability: domain.ContextCapability(w.rng.IntN(8))}
	case 21:
		op.Body = wire.OpSubgroupCreated{Child: child()}
	case 22:
		op.Body = wire.OpSubgroupRemoved{Child: child()}
	case 23:
		op.Body, op.Claim = wire.OpMemberJoinedViaContextInvitation{Context: context()}, w.claim(pick(), "j")
	case 24:
		op.Body = wire.OpTeeAdmissionPolicySet{MRTD: []string{text(), text(), text()}}
	default:
		op.Body = wire.OpMemberJoinedViaTeeAttestation{Member: pick(), MRTD: text(), Role: role()}
	}
	if set, ok := op.Body.(wire.OpMemberCapabilitySet); ok && w.rng.IntN(5) == 0 {
		set.Member, set.Capabilities = domain.PublicKey(w.claim(pick(), "i").Invitation), governance.CloseInvitation
		op.Body = set
	}
	return op
}

// claim uses one of the inviter's few invitations; those with an even number are for one use.
func (w *world) claim(inviter domain.PublicKey, kind string) *governance.Claim {
	n := w.rng.IntN(4)
	return &governance.Claim{Inviter: inviter, Invitation: id[domain.Hash](fmt.Sprintf("%s%d%s", kind, n, inviter[:1])), OneUse: n%2 == 0}
}

// cases is how many histories a test runs.
func cases(small, full int) int {
	if os.Getenv("SCALE") == "full" {
		return full
	}
	return small
}

// TestConvergence: nodes that get the same operations, in any order and repeatedly, agree on everything, also with one
// that computes the group from nothing; and what counts fits together.
func TestConvergence(t *testing.T) {
	t.Parallel()
	const lanes = 4
	for lane := range uint64(lanes) {
		t.Run(strconv.FormatUint(lane, 10), func(t *testing.T) {
			t.Parallel()
			marks := 0
			for n := range uint64(cases(400, 12000)) / lanes {
				marks += converge(t, n*lanes+lane)
			}
			require.Greater(t, marks, cases(400, 12000)/lanes, "places to start from")
		})
	}
}

func converge(t *testing.T, seed uint64) (marks int) {
	w := newWorld(t, seed)
	w.run(10 + w.rng.IntN(30))
	w.check(seed)
	return w.marks
}

func (w *world) check(seed uint64) {
	t := w.t
	want := governance.Evaluate(w.genesis, w.inherited, w.ops)
	require.NoError(t, governance.Invariants(w.genesis, w.inherited, w.ops), "seed %d", seed)
	w.checkMarks(seed)
	w.nodes = append(w.nodes, w.newPeer())
	for _, n := range w.nodes {
		delivery := slices.Clone(w.ops)
		delivery = append(delivery, w.ops[:len(w.ops)/3]...)
		w.rng.Shuffle(len(delivery), func(i, j int) { delivery[i], delivery[j] = delivery[j], delivery[i] })
		w.inherit(n)
		for len(delivery) > 0 {
			some := delivery[:min(len(delivery), 1+w.rng.IntN(1+w.rng.IntN(20)))]
			n.take(t, w.rng.IntN(2) == 0, some...)
			delivery = delivery[len(some):]
		}
		n.tell(t, n.engine.Inherit(w.inherited), true)
		if reflect.DeepEqual(want.Verdicts, n.said) && reflect.DeepEqual(want.State, n.engine.State()) &&
			slices.Equal(want.Heads, n.engine.Heads()) {
			continue
		}
		for id, v := range want.Verdicts {
			require.Equal(t, v, n.said[id], "seed %d: verdict of %x", seed, id[:4])
		}
		require.Equal(t, want.State, n.engine.State(), "seed %d", seed)
		require.Equal(t, some(want.Heads), some(n.engine.Heads()), "seed %d", seed)
	}
}

// checkMarks follows a node that gets the operations in the order in which they were made: what comes never changes what
// counts before a place that the node starts from.
func (w *world) checkMarks(seed uint64) {
	n := w.newPeer()
	n.engine.MarkEvery(1 + w.rng.IntN(6))
	n.engine.Inherit(w.inherited)
	for i := 0; i < len(w.ops); i += 4 {
		n.take(w.t, false, w.ops[i:min(len(w.ops), i+4)]...)
		marks, err := n.engine.CheckMarks(w.ops[:min(len(w.ops), i+4)])
		require.NoError(w.t, err, "seed %d", seed)
		w.marks += marks
	}
}

// TestLongLog: a long history with conflicts keeps few marks; what comes late, from far back, counts as it should.
func TestLongLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	w.nodes = []*peer{w.newPeer()}
	n := w.nodes[0]
	n.engine = governance.NewEngine(w.genesis, w.inherited)
	n.engine.MarkEvery(16)
	add := func(author int, body wire.GroupOp, parents []domain.Hash) governance.Op {
		op := governance.Op{Author: person(author), Body: body, Parents: parents}
		w.nonces[op.Author]++
		op.Nonce = w.nonces[op.Author]
		op.ID = sha256.Sum256(fmt.Appendf(nil, "%d", len(w.ops)))
		w.ops = append(w.ops, op)
		n.take(t, false, op)
		return op
	}
	add(0, wire.OpMemberAdded{Member: person(1), Role: domain.RoleAdmin}, n.engine.Heads())
	add(0, wire.OpMemberAdded{Member: person(2), Role: domain.RoleAdmin}, n.engine.Heads())
	early := n.engine.Heads()
	length := cases(600, 3000)
	for i := range length {
		add(i%2, wire.OpMemberAliasSet{Member: person(i % 7), Alias: strconv.Itoa(i)}, n.engine.Heads())
	}
	require.Less(t, n.engine.Marks(), 24)
	late := add(2, wire.OpGroupAliasSet{Alias: "late"}, early)
	require.Equal(t, governance.Verdict{Code: governance.Applied}, n.said[late.ID])
	back := add(2, wire.OpMemberRemoved{Member: person(1)}, []domain.Hash{late.ID})
	require.Equal(t, governance.Applied, n.said[back.ID].Code)
	removed := 0
	for _, v := range n.said {
		if v.Code == governance.VoidAuthorityRevoked {
			require.Equal(t, []domain.Hash{back.ID}, v.By)
			removed++
		}
	}
	require.Equal(t, length/2, removed, "what the removed admin did meanwhile does not count")
	w.check(3)
}

func some(h []domain.Hash) []domain.Hash {
	if h == nil {
		return []domain.Hash{}
	}
	return h
}
