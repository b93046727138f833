package engine

import (
	"cmp"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Options say whose context and whose delta it is.
type Options struct {
	Context domain.ContextID
	// Signer is the author's identity when the actions are not signed yet: its own actions pass without a signature,
	// but not without the place for one. It is nil for a delta from elsewhere.
	Signer *domain.PublicKey
}

// Apply joins the actions of one delta, in the delta's order, into the state that the view shows. Actions that are not
// valid are refused alone; the others count. The error is the view's or that of a malformed row.
//
// Apply does not look at any clock: see [LatestTime].
func Apply(view View, actions []crdt.Action, opts Options) (Change, error) {
	return ApplyAll(view, [][]crdt.Action{actions}, opts)
}

// ApplyAll applies several deltas, in order, at the cost of one: lists and hashes are made once. Rows and root are those
// of an [Apply] of each after the other. The verdicts are on all their actions, in order.
func ApplyAll(view View, deltas [][]crdt.Action, opts Options) (Change, error) {
	j := &join{view: view, root: crdt.TreeRoot(opts.Context), nodes: map[crdt.ID]*node{}}
	out := Change{}
	for _, actions := range deltas {
		out.Verdicts = append(out.Verdicts, verdicts(actions, j.root, opts.Signer)...)
	}
	actions := slices.Concat(deltas...)
	if err := j.prefetch(actions, out.Verdicts); err != nil {
		return Change{}, err
	}
	for i := range actions {
		v := &out.Verdicts[i]
		if v.Outcome == Superseded || v.Outcome == Refused {
			continue
		}
		var err error
		if v.Outcome, err = j.action(&actions[i]); err != nil {
			return Change{}, err
		}
		if v.Outcome == Refused {
			v.Reason = Authority
		}
	}
	var err error
	out.Rows, out.Root, err = j.finish()
	return out, err
}

// verdicts decides what needs no state.
func verdicts(actions []crdt.Action, root crdt.ID, signer *domain.PublicKey) []Verdict {
	type moment struct {
		id   crdt.ID
		time uint64
	}
	out := make([]Verdict, len(actions))
	later := make(map[moment]struct{}, len(actions))
	for i := len(actions) - 1; i >= 0; i-- {
		a := &actions[i]
		out[i] = Verdict{ID: a.ID, Kind: a.Kind}
		if out[i].Reason = check(a, root, signer); out[i].Reason != NoReason {
			out[i].Outcome = Refused
			continue
		}
		m := moment{a.ID, a.Time()}
		if _, ok := later[m]; ok {
			out[i].Outcome = Superseded
		}
		later[m] = struct{}{}
	}
	return out
}

// join is the work on one delta.
type join struct {
	view  View
	root  crdt.ID
	nodes map[crdt.ID]*node
	order []*node // of first use
	named idSet[struct{}]
}

// prefetch loads what the actions are likely to need in two reads: what they name, then the stored parents.
func (j *join) prefetch(actions []crdt.Action, verdicts []Verdict) error {
	ids := []crdt.ID{j.root}
	for i := range actions {
		if verdicts[i].Outcome == Superseded || verdicts[i].Outcome == Refused {
			continue
		}
		j.named.put(actions[i].ID, struct{}{})
		ids = append(ids, actions[i].ID)
		for k := range actions[i].Ancestors {
			ids = append(ids, actions[i].Ancestors[k].ID)
		}
	}
	if err := j.load(ids); err != nil {
		return err
	}
	ids = ids[:0]
	for _, n := range j.order {
		if n.old.parent != nil {
			ids = append(ids, *n.old.parent)
		}
	}
	return j.load(ids)
}

// load reads the rows of entities that are not in the working set yet.
func (j *join) load(ids []crdt.ID) error {
	var keys []crdt.StateKey
	var fresh []*node
	for _, id := range ids {
		if j.nodes[id] != nil {
			continue
		}
		n := &node{id: id}
		j.nodes[id] = n
		fresh = append(fresh, n)
		keys = append(keys, crdt.IndexKey(id))
		if _, ok := j.named.get(id[:]); ok {
			keys = append(keys, crdt.SyncStateKey(id))
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	values, err := get(j.view, keys)
	if err != nil {
		return err
	}
	for _, n := range fresh {
		raw := values[0]
		values = values[1:]
		if _, ok := j.named.get(n.id[:]); ok {
			n.shadow = values[0]
			values = values[1:]
		}
		if raw == nil {
			n.old = &row{}
		} else if n.old, err = parseRow(n.id, raw, &j.named); err != nil {
			return err
		}
		n.parent = n.old.parent
		n.placeholder = raw != nil && n.old.deleted == nil && n.old.own.IsZero()
		n.created = n.old.meta.CreatedAt
		n.hadEntry = n.wasLive()
		j.order = append(j.order, n)
	}
	return nil
}

// node returns an entity, from the view when it was not foreseen.
func (j *join) node(id crdt.ID) (*node, error) {
	if n := j.nodes[id]; n != nil {
		return n, nil
	}
	if err := j.load([]crdt.ID{id}); err != nil {
		return nil, err
	}
	return j.nodes[id], nil
}

// action joins one valid action.
func (j *join) action(a *crdt.Action) (Outcome, error) {
	if a.Kind == crdt.DeleteRef {
		return j.remove(a)
	}
	if err := j.placeholders(a.Ancestors); err != nil {
		return 0, err
	}
	return j.upsert(a)
}

// placeholders makes sure that a chain of ancestors exists.
func (j *join) placeholders(chain []crdt.ChildInfo) error {
	var above *crdt.ID
	for i := len(chain) - 1; i >= 0; i-- {
		n, err := j.node(chain[i].ID)
		if err != nil {
			return err
		}
		created := chain[i].Metadata.CreatedAt
		switch {
		case !n.exists():
			n.placeholder, n.parent, n.created, n.dirty = true, above, created, true
		case n.placeholder:
			if above != nil && (n.parent == nil || n.parent.Compare(*above) < 0) {
				n.parent, n.dirty = above, true
			}
			if created < n.created {
				n.created, n.dirty = created, true
			}
		}
		above = &n.id
	}
	return nil
}

// entity finds a node with its registers.
func (j *join) entity(id crdt.ID) (*node, *state, error) {
	n, err := j.node(id)
	if err != nil {
		return nil, nil, err
	}
	s, err := j.state(n)
	return n, s, err
}

func (j *join) upsert(a *crdt.Action) (Outcome, error) {
	n, s, err := j.entity(a.ID)
	if err != nil {
		return 0, err
	}
	storage := a.Metadata.Storage
	switch {
	case s.known && storage.Kind < s.class:
		return Refused, nil
	case !s.known || storage.Kind > s.class || storage.Kind == crdt.User && storage.Owner != s.owner:
		// Another owner's id is not bound to them (check has seen that it is bound to this one): rows of a snapshot.
		s.settle(storage.Kind, storage.Owner)
		n.dirty, n.placeholder, n.data = true, false, nil
	}
	own := crdt.OwnHash(a.Data)
	v, err := newValue(crdt.FullHash(own, nil), a.Metadata)
	if err != nil {
		return 0, err
	}
	if s.del != nil && v.meta.UpdatedAt <= s.del.meta.UpdatedAt {
		return Ignored, nil
	}
	outcome := s.put(v)
	if outcome == Ignored {
		return j.moved(n, a, &v), nil
	}
	n.dirty = true
	if outcome == Applied {
		n.data, n.own = a.Data, own
		n.parent = nil
		if len(a.Ancestors) > 0 {
			n.parent = &a.Ancestors[0].ID
		}
	}
	return outcome, nil
}

// moved decides between equal winners that name different parents: the greater one counts.
func (j *join) moved(n *node, a *crdt.Action, v *value) Outcome {
	if len(a.Ancestors) == 0 || n.parent == nil || n.parent.Compare(a.Ancestors[0].ID) >= 0 || n.state.winner().compare(v) != 0 {
		return Ignored
	}
	n.parent, n.dirty = &a.Ancestors[0].ID, true
	return Applied
}

func (j *join) remove(a *crdt.Action) (Outcome, error) {
	n, s, err := j.entity(a.ID)
	if err != nil {
		return 0, err
	}
	meta := a.Metadata
	meta.UpdatedAt = a.DeletedAt
	v, err := newValue(domain.Hash{}, meta)
	if err != nil {
		return 0, err
	}
	storage := a.Metadata.Storage
	var outcome Outcome
	switch {
	case storage.Kind == crdt.User && (!s.known || s.class == crdt.Public):
		outcome = s.claim(v)
	case s.known && (storage.Kind != s.class || storage.Kind == crdt.User && storage.Owner != s.owner):
		return Refused, nil
	default:
		if !s.known {
			s.settle(crdt.Public, domain.PublicKey{})
			n.dirty, n.placeholder = true, false
		}
		outcome = s.remove(v)
	}
	if outcome != Ignored {
		n.dirty = true
	}
	return outcome, nil
}

// state derives what is known of an entity from its rows, once.
func (j *join) state(n *node) (*state, error) {
	if n.state != nil {
		return n.state, nil
	}
	s := &state{}
	shadow, err := decodeShadow(n)
	if err != nil {
		return nil, err
	}
	for _, c := range shadow.Claims {
		v, err := newValue(domain.Hash{}, c)
		if err != nil {
			return nil, err
		}
		s.claims = append(s.claims, v)
	}
	if !n.placeholder && n.old.raw != nil {
		s.known, s.class, s.owner = true, n.old.meta.Storage.Kind, n.old.meta.Storage.Owner
		if err := j.derive(n, s, &shadow); err != nil {
			return nil, err
		}
		if s.class != crdt.Public {
			s.claims = nil
		}
	}
	n.state = s
	return s, nil
}

func (j *join) derive(n *node, s *state, shadow *Shadow) error {
	if n.old.deleted != nil {
		meta := n.old.meta
		meta.UpdatedAt = *n.old.deleted
		v, err := newValue(domain.Hash{}, meta)
		if err != nil {
			return err
		}
		s.del = &v
		if !n.wasRewritten() {
			return nil
		}
		entry, err := get(j.view, []crdt.StateKey{crdt.EntryKey(n.id)})
		if err != nil || entry[0] == nil {
			return err
		}
		n.own, n.hadEntry = n.old.own, true
		return j.recordsOf(n, s)
	}
	n.own = n.old.own
	if shadow.Deletion != nil && shadow.Deletion.UpdatedAt < n.old.meta.UpdatedAt {
		v, err := newValue(domain.Hash{}, *shadow.Deletion)
		if err != nil {
			return err
		}
		s.del = &v
	}
	for _, r := range shadow.Registers {
		v, err := newValue(r.Leaf, r.Metadata)
		if err != nil {
			return err
		}
		s.recs = append(s.recs, v)
	}
	slices.SortFunc(s.recs, func(a, b value) int { return cmp.Compare(a.meta.CreatedAt, b.meta.CreatedAt) })
	if s.live() {
		w := s.winner()
		if w.leaf == crdt.FullHash(n.own, nil) && w.meta.UpdatedAt == n.old.meta.UpdatedAt {
			return nil
		}
		s.recs, s.top = nil, 0 // left behind by a reference node that wrote on
	}
	return j.recordsOf(n, s)
}

// recordsOf makes the registers out of the records in the parent's list: one each, the first with the current value.
func (j *join) recordsOf(n *node, s *state) error {
	var records []crdt.ChildInfo
	if n.old.parent != nil {
		parent, err := j.node(*n.old.parent)
		if err != nil {
			return err
		}
		if records, err = parent.old.records(n.id); err != nil {
			return err
		}
	}
	leaf, current := crdt.FullHash(n.own, nil), n.old.meta.UpdatedAt
	first := n.old.meta
	if len(records) > 0 {
		first.CreatedAt = records[0].Metadata.CreatedAt
	}
	v, err := newValue(leaf, first)
	if err != nil {
		return err
	}
	s.recs = append(s.recs, v)
	for _, r := range records[min(1, len(records)):] {
		if len(s.recs) == MaxRegisters {
			break
		}
		meta := r.Metadata
		meta.UpdatedAt = min(meta.UpdatedAt, current)
		if r.MerkleHash != leaf && meta.UpdatedAt == current && current > 0 {
			meta.UpdatedAt-- // the entity has the first one's value
		}
		if v, err = newValue(r.MerkleHash, meta); err != nil {
			return err
		}
		if i, found := s.register(meta.CreatedAt); !found {
			s.recs = slices.Insert(s.recs, i, v)
		}
	}
	return nil
}
