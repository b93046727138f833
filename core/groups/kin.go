package groups

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// maxLineage is how many groups are looked at for an identity: the group and its ancestors.
const maxLineage = 16

// kin is what the groups of the node are to each other (governance-join.md §10). A group's lock comes before the one of
// kin.
type kin struct {
	// stale: what groups have of their ancestors is to be looked at again.
	stale    atomic.Bool
	settling sync.Mutex

	mu      sync.Mutex
	groups  map[domain.GroupID]*relative
	parents map[domain.GroupID]domain.GroupID
	// failed are those that could not be brought up to date. It is tried again at each call.
	failed map[domain.GroupID]error
}

// relative is what other groups see of one. It is replaced, never changed.
type relative struct {
	creator   domain.PublicKey
	named     *domain.GroupID // the parent that the genesis names
	state     *governance.State
	listed    map[domain.GroupID][]governance.Link
	inherited governance.Inherited
	parent    *domain.GroupID // as the rows have it
	// own are the admins by the group's own authority; nil when it was not computed.
	own map[domain.PublicKey]bool
}

// edge is that a group lists another, and that the other agrees.
type edge struct {
	parent, child domain.GroupID
	named         bool        // by the child's genesis
	op            domain.Hash // the first that lists it by an author whom the child accepts
}

func (e edge) compare(o edge) int {
	if e.named != o.named {
		if e.named {
			return -1
		}
		return 1
	}
	if c := e.op.Compare(o.op); c != 0 {
		return c
	}
	return e.parent.Compare(o.parent)
}

// accepts reports whether the author of an operation in a group that lists the child may make that group its parent.
func (r *relative) accepts(parent domain.GroupID, by governance.Link) bool {
	return r.named != nil && *r.named == parent || by.Author == r.creator || r.own[by.Author]
}

// edge is made of the operations that list a child; false when the child agrees to none.
func (k *kin) edge(parent, child domain.GroupID, by []governance.Link) (edge, bool) {
	r := k.groups[child]
	if r == nil || parent == child {
		return edge{}, false
	}
	at := slices.IndexFunc(by, func(l governance.Link) bool { return r.accepts(parent, l) })
	if at < 0 {
		return edge{}, false
	}
	return edge{parent: parent, child: child, named: r.named != nil && *r.named == parent, op: by[at].Op}, true
}

// edges are those of all operations that list subgroups, also of such that do not count, but for those that would close
// a cycle: they depend on which operations there are and on nothing else.
func (k *kin) edges() []edge {
	var all []edge
	for id, r := range k.groups {
		for child, by := range r.listed {
			if e, ok := k.edge(id, child, by); ok {
				all = append(all, e)
			}
		}
	}
	slices.SortFunc(all, func(a, b edge) int {
		if c := a.compare(b); c != 0 {
			return c
		}
		return a.child.Compare(b.child)
	})
	above := map[domain.GroupID][]domain.GroupID{}
	return slices.DeleteFunc(all, func(e edge) bool {
		if reaches(above, e.parent, e.child) {
			return true
		}
		above[e.child] = append(above[e.child], e.parent)
		return false
	})
}

// reaches reports whether one group is another, or below it.
func reaches(above map[domain.GroupID][]domain.GroupID, from, to domain.GroupID) bool {
	seen := map[domain.GroupID]bool{from: true}
	for stack := []domain.GroupID{from}; len(stack) > 0; {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if id == to {
			return true
		}
		for _, up := range above[id] {
			if !seen[up] {
				seen[up] = true
				stack = append(stack, up)
			}
		}
	}
	return false
}

// order lists the groups, each after those that may be its parents, and these by child, the preferred first.
func (k *kin) order() ([]domain.GroupID, map[domain.GroupID][]edge) {
	into := map[domain.GroupID][]edge{}
	for _, e := range k.edges() {
		into[e.child] = append(into[e.child], e)
	}
	var out []domain.GroupID
	done := map[domain.GroupID]bool{}
	var visit func(domain.GroupID)
	visit = func(id domain.GroupID) {
		if done[id] {
			return
		}
		done[id] = true
		for _, e := range into[id] {
			visit(e.parent)
		}
		out = append(out, id)
	}
	for _, id := range slices.SortedFunc(maps.Keys(k.groups), domain.GroupID.Compare) {
		visit(id)
	}
	return out, into
}

// parent is the group whose authority flows down to a child: of those that list it, by operations that count and that the
// child agrees to, the one its genesis names, else the first.
func (k *kin) parent(child domain.GroupID, may []edge) *domain.GroupID {
	var best *edge
	for _, e := range may {
		up := k.groups[e.parent]
		if up == nil || !up.state.Subgroups[child] { // nil: forgotten meanwhile
			continue
		}
		if now, ok := k.edge(e.parent, child, up.state.Links[child]); ok && (best == nil || now.compare(*best) < 0) {
			best = &now
		}
	}
	if best == nil {
		return nil
	}
	return &best.parent
}

// ancestors of a group, the nearest first.
func (k *kin) ancestors(id domain.GroupID) []*relative {
	var out []*relative
	for range maxLineage - 1 {
		up, ok := k.parents[id]
		if !ok || k.groups[up] == nil {
			break
		}
		out = append(out, k.groups[up])
		id = up
	}
	return out
}

// inherited is the authority that comes down to a group: of identities that ever were admins of the nearest ancestor
// that has, or had, a row for them.
func (k *kin) inherited(id domain.GroupID) governance.Inherited {
	lineage := k.ancestors(id)
	out := governance.Inherited{}
	for _, first := range lineage {
		for who := range first.state.EverAdmins {
			if _, done := out[who]; !done {
				out[who] = standing(lineage, who)
			}
		}
	}
	maps.DeleteFunc(out, func(_ domain.PublicKey, s governance.InheritedAdmin) bool { return !s.Ever })
	return out
}

func standing(lineage []*relative, who domain.PublicKey) (s governance.InheritedAdmin) {
	for _, up := range lineage {
		s.Ever = s.Ever || up.state.EverAdmins[who]
		if role, row := up.state.Members[who]; row {
			s.Now = role == domain.RoleAdmin
			return s
		}
	}
	return s
}

// below lists the groups under one in which an identity has no row, and through none in which it has.
func (k *kin) below(id domain.GroupID, who domain.PublicKey) []domain.GroupID {
	children := map[domain.GroupID][]domain.GroupID{}
	for child, up := range k.parents {
		children[up] = append(children[up], child)
	}
	seen := map[domain.GroupID]bool{id: true}
	var out []domain.GroupID
	for queue := []domain.GroupID{id}; len(queue) > 0; queue = queue[1:] {
		for _, child := range children[queue[0]] {
			if _, row := k.groups[child].state.Members[who]; seen[child] || row {
				continue
			}
			seen[child] = true
			queue, out = append(queue, child), append(out, child)
		}
	}
	slices.SortFunc(out, domain.GroupID.Compare)
	return out
}

// meets tells the others what a group is now. The caller holds the group's lock.
func (s *Service) meets(g *group) {
	k := &s.kin
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.groups[g.id]
	now := &relative{
		creator: g.genesis.Creator, named: g.genesis.Parent, state: g.state, listed: g.engine.Listed(), inherited: g.inherited,
		parent: g.parent,
	}
	if was != nil && was.own != nil {
		now.own = g.ownAdmins()
	}
	k.groups[g.id] = now
	if was == nil || was.differs(now) {
		k.stale.Store(true)
	}
}

// differs reports whether other groups may see a difference.
func (r *relative) differs(o *relative) bool {
	if !maps.EqualFunc(r.listed, o.listed, slices.Equal[[]governance.Link]) || !maps.Equal(r.own, o.own) {
		return true
	}
	return len(r.listed) > 0 && (!maps.Equal(r.state.Members, o.state.Members) || !maps.Equal(r.state.EverAdmins, o.state.EverAdmins) ||
		!maps.Equal(r.state.Subgroups, o.state.Subgroups) ||
		!maps.EqualFunc(r.state.Links, o.state.Links, slices.Equal[[]governance.Link]))
}

// ownAdmins are the direct admins that the group has when nothing is inherited.
func (g *group) ownAdmins() map[domain.PublicKey]bool {
	members := g.state.Members
	if g.engine.Concerned() {
		if g.bare == nil {
			g.bare = governance.NewEngine(beginning(g.genesis), nil)
		}
		for _, e := range g.engine.Log(g.bare.Len(), g.engine.Len()) {
			if err := g.bare.Restore(e.Op); err != nil {
				panic(err) // the log has parents before their children
			}
		}
		g.bare.Settle()
		members = g.bare.State().Members
	}
	own := map[domain.PublicKey]bool{}
	for who, role := range members {
		if role == domain.RoleAdmin {
			own[who] = true
		}
	}
	return own
}

// leaves forgets a group.
func (s *Service) leaves(id domain.GroupID) {
	k := &s.kin
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.groups[id] != nil {
		delete(k.groups, id)
		delete(k.parents, id)
		k.stale.Store(true)
	}
}

// settle has each group know what its ancestors are now. A group that is in use is looked at by whoever uses it, when he
// is done.
func (s *Service) settle(ctx context.Context) {
	k := &s.kin
	for k.stale.Load() {
		if !k.settling.TryLock() {
			return // who settles looks again
		}
		k.stale.Store(false)
		ended := s.settleAll(context.WithoutCancel(ctx))
		k.settling.Unlock()
		if !ended {
			return
		}
	}
}

// behind is why a group may not be up to date with its ancestors: it, or one of them, could not be written.
func (k *kin) behind(id domain.GroupID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range maxLineage {
		if err := k.failed[id]; err != nil {
			return err
		}
		up, ok := k.parents[id]
		if !ok {
			break
		}
		id = up
	}
	return nil
}

// settleAll goes through all groups, ancestors first. It reports false when there is something left to do, and stale is
// set again: a group is in use, or could not be written.
func (s *Service) settleAll(ctx context.Context) (ended bool) {
	k := &s.kin
	ended = s.askOwn(ctx)
	k.mu.Lock()
	order, into := k.order()
	k.failed = map[domain.GroupID]error{}
	k.mu.Unlock()
	for _, id := range order {
		k.mu.Lock()
		r := k.groups[id]
		if r == nil { // forgotten meanwhile
			k.mu.Unlock()
			continue
		}
		parent := k.parent(id, into[id])
		if parent == nil {
			delete(k.parents, id)
		} else {
			k.parents[id] = *parent
		}
		inherited := k.inherited(id)
		k.mu.Unlock()
		if maps.Equal(inherited, r.inherited) && samePointer(parent, r.parent) {
			continue
		}
		ended = s.hold(ctx, id, func(g *group) error { return s.inherit(ctx, g, parent, inherited) }) && ended
	}
	return ended
}

// askOwn finds the own admins of groups that are listed by somebody whom neither their genesis nor their creator speaks
// for.
func (s *Service) askOwn(ctx context.Context) (ended bool) {
	k := &s.kin
	k.mu.Lock()
	var ask []domain.GroupID
	for id, r := range k.groups {
		for child, by := range r.listed {
			c := k.groups[child]
			if c == nil || c.own != nil || slices.Contains(ask, child) {
				continue
			}
			if slices.ContainsFunc(by, func(l governance.Link) bool { return !c.accepts(id, l) }) {
				ask = append(ask, child)
			}
		}
	}
	k.mu.Unlock()
	ended = true
	for _, id := range ask {
		ended = s.hold(ctx, id, func(g *group) error {
			own := g.ownAdmins()
			k.mu.Lock()
			defer k.mu.Unlock()
			r := *k.groups[id]
			r.own = own
			k.groups[id] = &r
			return nil
		}) && ended
	}
	return ended
}

// hold runs fn on a group that is not in use. If it is, whoever uses it settles afterwards; if fn fails, the next call
// does.
func (s *Service) hold(ctx context.Context, id domain.GroupID, fn func(*group) error) (ended bool) {
	k := &s.kin
	s.mu.Lock()
	g := s.groups[id]
	s.mu.Unlock()
	if g == nil { // forgotten meanwhile
		return true
	}
	if !g.mu.TryLock() {
		k.stale.Store(true)
		if !g.mu.TryLock() { // now he will see it
			return false
		}
	}
	defer g.mu.Unlock()
	if !s.current(g) {
		return true
	}
	err := s.ensure(ctx, g)
	if errors.Is(err, errkind.Corrupt) {
		s.opts.Logger.Error("a group cannot be read", "group", id, "err", err)
		s.leaves(id) // as if it were not here
		return true
	}
	if err == nil {
		err = fn(g)
	}
	if err == nil {
		return true
	}
	s.opts.Logger.Warn("a group is not up to date with its ancestors yet", "group", id, "err", err)
	k.stale.Store(true)
	k.mu.Lock()
	k.failed[id] = err
	k.mu.Unlock()
	return false
}

// inherit gives a group its parent and what comes down from there, with all that follows in one commit.
func (s *Service) inherit(ctx context.Context, g *group, parent *domain.GroupID, inherited governance.Inherited) error {
	t := s.begin(g)
	defer t.batch.Abandon()
	t.moved = true
	t.changes = g.engine.Inherit(inherited)
	putInherited(t.batch, g.id, inherited)
	if parent == nil {
		store.GroupParent.Delete(t.batch, g.id)
	} else {
		store.GroupParent.Put(t.batch, g.id, wire.ID32(*parent))
	}
	g.inherited, g.parent = inherited, parent
	if err := t.commit(ctx); err != nil {
		return err
	}
	s.meets(g)
	return nil
}

func samePointer(a, b *domain.GroupID) bool { return a == b || a != nil && b != nil && *a == *b }

// start reads all groups of the node, once: what one is may depend on others.
func (s *Service) start(ctx context.Context) error {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.started {
		return nil
	}
	ids, err := s.known(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.read(ctx, id); err != nil && !errors.Is(err, errkind.Corrupt) {
			return err
		} else if err != nil {
			s.opts.Logger.Error("a group cannot be read", "group", id, "err", err)
		}
	}
	s.kin.stale.Store(true)
	s.started = true
	return nil
}

// read loads one group.
func (s *Service) read(ctx context.Context, id domain.GroupID) error {
	g := s.enter(id)
	defer g.mu.Unlock()
	return s.ensure(ctx, g)
}

// putInherited remembers what the rows of a group were made with.
func putInherited(b *store.Batch, id domain.GroupID, inherited governance.Inherited) {
	key := store.GenericKey{Scope: inheritedScope, Fragment: id}
	if len(inherited) == 0 {
		store.Generic.Delete(b, key)
		return
	}
	var raw []byte
	for _, who := range slices.SortedFunc(maps.Keys(inherited), domain.PublicKey.Compare) {
		now := byte(0)
		if inherited[who].Now {
			now = 1
		}
		raw = append(append(raw, who[:]...), now)
	}
	store.Generic.Put(b, key, raw)
}

func (s *Service) readInherited(ctx context.Context, id domain.GroupID) (governance.Inherited, error) {
	raw, _, err := store.Generic.Get(ctx, s.opts.DB, store.GenericKey{Scope: inheritedScope, Fragment: id})
	if err != nil {
		return nil, err
	}
	const entry = 33
	if len(raw)%entry != 0 {
		return nil, errkind.Corrupt.Errorf("inherited authority of group %s: %d bytes", id, len(raw))
	}
	out := governance.Inherited{}
	for ; len(raw) > 0; raw = raw[entry:] {
		out[domain.PublicKey(raw[:32])] = governance.InheritedAdmin{Ever: true, Now: raw[32] == 1}
	}
	return out, nil
}
