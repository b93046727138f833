package engine_test

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// model computes all rows of a state from the set of its deltas, with no state in between: the rule as it is written,
// slowly. It relies on the engine for the checks that look at one action alone.
type model struct {
	t        require.TestingT
	root     crdt.ID
	upserts  map[crdt.ID][]crdt.Action
	deletes  map[crdt.ID][]crdt.Action
	named    map[crdt.ID]mention
	entities map[crdt.ID]*entity
}

type mention struct {
	parent  *crdt.ID
	created uint64
}

type register struct {
	leaf domain.Hash
	meta crdt.Metadata
	enc  []byte
	data []byte
	at   *crdt.ID // parent
}

type entity struct {
	del         *register
	recs        []register
	claims      []register
	known       bool
	placeholder bool
	parent      *crdt.ID
	own         domain.Hash
	created     uint64
}

func runModel(t require.TestingT, ctx domain.ContextID, deltas [][]crdt.Action) engine.Rows {
	m := &model{
		t: t, root: crdt.TreeRoot(ctx), upserts: map[crdt.ID][]crdt.Action{}, deletes: map[crdt.ID][]crdt.Action{},
		named: map[crdt.ID]mention{}, entities: map[crdt.ID]*entity{},
	}
	for _, delta := range deltas {
		alone, err := engine.Apply(engine.Rows{}, delta, engine.Options{Context: ctx})
		require.NoError(t, err)
		for i, v := range alone.Verdicts {
			if v.Outcome == engine.Superseded || v.Outcome == engine.Refused && v.Reason != engine.Authority {
				continue
			}
			m.add(delta[i])
		}
	}
	ids := map[crdt.ID]bool{}
	for id := range m.upserts {
		ids[id] = true
	}
	for id := range m.deletes {
		ids[id] = true
	}
	for id := range m.named {
		ids[id] = true
	}
	for id := range ids {
		m.entities[id] = m.entity(id)
	}
	return m.rows()
}

func (m *model) add(a crdt.Action) {
	if a.Kind == crdt.DeleteRef {
		m.deletes[a.ID] = append(m.deletes[a.ID], a)
		return
	}
	m.upserts[a.ID] = append(m.upserts[a.ID], a)
	var above *crdt.ID
	for _, anc := range slices.Backward(a.Ancestors) {
		n, ok := m.named[anc.ID]
		if !ok || anc.Metadata.CreatedAt < n.created {
			n.created = anc.Metadata.CreatedAt
		}
		if above != nil && (n.parent == nil || n.parent.Compare(*above) < 0) {
			n.parent = above
		}
		m.named[anc.ID] = n
		above = &anc.ID
	}
}

func (m *model) register(a crdt.Action) register {
	r := register{meta: a.Metadata, data: a.Data}
	r.meta.Storage.Signature = nil
	if a.Kind == crdt.DeleteRef {
		r.meta.UpdatedAt = a.DeletedAt
	} else {
		r.leaf = crdt.FullHash(crdt.OwnHash(a.Data), nil)
		if len(a.Ancestors) > 0 {
			r.at = &a.Ancestors[0].ID
		}
	}
	var err error
	r.enc, err = borsh.Marshal(r.meta)
	require.NoError(m.t, err)
	return r
}

func (r register) compare(o register) int {
	return cmp.Or(cmp.Compare(r.meta.UpdatedAt, o.meta.UpdatedAt), bytes.Compare(r.leaf[:], o.leaf[:]),
		bytes.Compare(r.enc, o.enc), comparePtr(r.at, o.at))
}

func comparePtr(a, b *crdt.ID) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return a.Compare(*b)
}

func (m *model) entity(id crdt.ID) *entity {
	e := &entity{}
	class, owner := crdt.Public, domain.PublicKey{}
	for _, a := range m.upserts[id] {
		if a.Metadata.Storage.Kind >= class {
			class, owner = a.Metadata.Storage.Kind, a.Metadata.Storage.Owner
		}
	}
	best := map[uint64]register{}
	for _, a := range m.deletes[id] {
		s, r := a.Metadata.Storage, m.register(a)
		switch {
		case s.Kind == class && (s.Kind == crdt.Public || s.Owner == owner):
			e.known = true
			if e.del == nil || e.del.compare(r) < 0 {
				e.del = &r
			}
		case class == crdt.Public:
			i := slices.IndexFunc(e.claims, func(c register) bool { return c.meta.Storage.Owner == s.Owner })
			if i < 0 {
				e.claims = append(e.claims, r)
			} else if e.claims[i].compare(r) < 0 {
				e.claims[i] = r
			}
		}
	}
	for _, a := range m.upserts[id] {
		if a.Metadata.Storage.Kind != class {
			continue
		}
		e.known = true
		r := m.register(a)
		if e.del != nil && r.meta.UpdatedAt <= e.del.meta.UpdatedAt {
			continue
		}
		if old, ok := best[r.meta.CreatedAt]; !ok || old.compare(r) < 0 {
			best[r.meta.CreatedAt] = r
		}
	}
	for _, r := range best {
		e.recs = append(e.recs, r)
	}
	slices.SortFunc(e.recs, func(a, b register) int { return cmp.Compare(a.meta.CreatedAt, b.meta.CreatedAt) })
	slices.SortFunc(e.claims, func(a, b register) int {
		return bytes.Compare(a.meta.Storage.Owner[:], b.meta.Storage.Owner[:])
	})
	n, named := m.named[id]
	switch {
	case len(e.recs) > 0:
		w := slices.MaxFunc(e.recs, register.compare)
		e.parent, e.own = w.at, crdt.OwnHash(w.data)
	case !e.known && named:
		e.placeholder, e.parent, e.created = true, n.parent, n.created
	}
	return e
}

func (m *model) inTree(e *entity) bool { return e.placeholder || len(e.recs) > 0 }

func (m *model) children(id crdt.ID) []crdt.ChildInfo {
	var out []crdt.ChildInfo
	for child, e := range m.entities {
		if e.parent == nil || *e.parent != id || !m.inTree(e) {
			continue
		}
		if e.placeholder {
			out = append(out, crdt.ChildInfo{
				ID: child, MerkleHash: m.full(child), Metadata: crdt.Metadata{CreatedAt: e.created, UpdatedAt: e.created},
			})
		}
		for i, r := range e.recs {
			record := crdt.ChildInfo{ID: child, MerkleHash: r.leaf, Metadata: r.meta}
			if i == 0 {
				record.MerkleHash = m.full(child)
			}
			out = append(out, record)
		}
	}
	slices.SortFunc(out, crdt.ChildInfo.Compare)
	return out
}

func (m *model) full(id crdt.ID) domain.Hash {
	e := m.entities[id]
	switch {
	case !m.inTree(e):
		return domain.Hash{}
	case e.parent == nil || *e.parent == m.root:
		return crdt.FullHash(e.own, m.children(id))
	default:
		return crdt.FullHash(e.own, nil)
	}
}

func (m *model) rows() engine.Rows {
	out := engine.Rows{}
	put := func(key crdt.StateKey, v borsh.Marshaler) {
		raw, err := borsh.Marshal(v)
		require.NoError(m.t, err)
		out[key] = raw
	}
	for id, e := range m.entities {
		live := len(e.recs) > 0
		if live && (len(e.recs) > 1 || e.del != nil) || len(e.claims) > 0 {
			put(crdt.SyncStateKey(id), shadowOf(e))
		}
		if !e.known && !e.placeholder {
			continue
		}
		index := crdt.EntityIndex{
			ID: id, ParentID: e.parent, Children: m.children(id), FullHash: m.full(id), OwnHash: e.own,
		}
		switch {
		case live:
			w := slices.MaxFunc(e.recs, register.compare)
			index.Metadata = w.meta
			index.Metadata.CreatedAt = e.recs[0].meta.CreatedAt
			out[crdt.EntryKey(id)] = w.data
		case e.known:
			index.Metadata, index.DeletedAt = e.del.meta, &e.del.meta.UpdatedAt
		default:
			index.Metadata = crdt.Metadata{CreatedAt: e.created, UpdatedAt: e.created}
		}
		put(crdt.IndexKey(id), index)
	}
	return out
}

type shadowRow struct{ e *entity }

func shadowOf(e *entity) shadowRow { return shadowRow{e} }

func (s shadowRow) EncodeBorsh(e *borsh.Encoder) {
	if len(s.e.recs) < 2 && (len(s.e.recs) == 0 || s.e.del == nil) {
		e.Bool(false)
		e.Len(0)
	} else {
		e.Bool(s.e.del != nil)
		if s.e.del != nil {
			s.e.del.meta.EncodeBorsh(e)
		}
		borsh.PutSlice(e, s.e.recs, func(e *borsh.Encoder, r register) {
			e.Raw(r.leaf[:])
			r.meta.EncodeBorsh(e)
		})
	}
	if len(s.e.claims) > 0 {
		borsh.PutSlice(e, s.e.claims, func(e *borsh.Encoder, r register) { r.meta.EncodeBorsh(e) })
	}
}
