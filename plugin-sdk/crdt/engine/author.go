package engine

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Call is what a guest left when it committed.
type Call struct {
	Context  domain.ContextID
	Executor domain.PublicKey
	// Actions are those of its artifact.
	Actions []crdt.Action
	// Writes are the rows of the shared state that it wrote or removed, each key once. Those in the form of the engine's
	// own rows may have a digest in place of their value ([DigestOf]).
	Writes []Row
}

// Authored is what becomes of a call.
type Authored struct {
	// Actions are those of the delta to be made, the last one its mark ([VerifyMark]). The executor's own user actions are
	// not signed yet; signing changes neither rows, root nor mark. There may be none.
	Actions []crdt.Action
	// Change holds the engine's rows, the root hash, both of the delta and of the context, and the verdicts on Actions.
	Change Change
	// Refused are actions that every node would refuse, and that are not published: a reference peer would reject the
	// delta for some, and apply others.
	Refused []Verdict
	// Raw are rows that the guest wrote under keys of its own: they are kept, on this node alone.
	Raw []Row
	// Corrected are rows in which the guest's copy of the state differs from what is committed. Edits lead from the value
	// before the call, not from the guest's.
	Corrected []Row
}

// Rows returns everything to commit, ordered by key.
func (a *Authored) Rows() []Row {
	return slices.SortedFunc(func(yield func(Row) bool) {
		for _, rows := range [][]Row{a.Change.Rows, a.Raw} {
			for _, r := range rows {
				if !yield(r) {
					return
				}
			}
		}
	}, compareRows)
}

func compareRows(a, b Row) int { return bytes.Compare(a.Key[:], b.Key[:]) }

// Author makes of a guest's call what its author's node commits: the artifact is cleaned ([Clean]) and applied to the
// state before the call, like a delta from elsewhere; what the guest wrote into the engine's rows is thrown away.
//
// As a rule it reads the view twice: what the call names, and the stored parents of that.
func Author(view View, call Call) (Authored, error) {
	var out Authored
	before := &memo{view: view, rows: map[crdt.StateKey][]byte{}}
	_, err := get(before, call.keys())
	if err != nil {
		return Authored{}, err
	}
	after := Over(before, call.Writes)
	if out.Actions, err = Clean(before, after, call.Actions, call.Executor); err != nil {
		return Authored{}, err
	}
	out.Change, err = Apply(before, out.Actions, Options{Context: call.Context, Signer: &call.Executor})
	if err != nil {
		return Authored{}, err
	}
	out.dropRefused()
	if err = out.mark(before, &call); err != nil {
		return Authored{}, err
	}
	if out.Raw, err = raw(before, &call); err != nil {
		return Authored{}, err
	}
	out.Corrected, err = corrections(before, out.Change.Rows, call.Writes, out.Raw)
	return out, err
}

// dropRefused leaves those in that lost to a higher class: only nodes that know the same refuse them.
func (a *Authored) dropRefused() {
	actions, verdicts := a.Actions[:0], a.Change.Verdicts[:0]
	for i, v := range a.Change.Verdicts {
		if v.Outcome == Refused && v.Reason != Authority {
			a.Refused = append(a.Refused, v)
			continue
		}
		actions, verdicts = append(actions, a.Actions[i]), append(verdicts, v)
	}
	a.Actions, a.Change.Verdicts = actions, verdicts
}

// keys are the rows that the call names.
func (c *Call) keys() []crdt.StateKey {
	root := crdt.TreeRoot(c.Context)
	keys := []crdt.StateKey{
		crdt.IndexKey(root), crdt.IndexKey(crdt.StateEntryID), crdt.EntryKey(crdt.StateEntryID),
	}
	for i := range c.Actions {
		keys = append(keys, crdt.IndexKey(c.Actions[i].ID), crdt.SyncStateKey(c.Actions[i].ID))
		for k := range c.Actions[i].Ancestors {
			keys = append(keys, crdt.IndexKey(c.Actions[i].Ancestors[k].ID))
		}
	}
	for i := range c.Writes {
		keys = append(keys, c.Writes[i].Key)
	}
	return keys
}

// memo is a view that reads each row once.
type memo struct {
	view View
	rows map[crdt.StateKey][]byte // nil: absent
}

func (m *memo) Get(keys []crdt.StateKey) ([][]byte, error) {
	var missing []crdt.StateKey
	for _, key := range keys {
		if _, ok := m.rows[key]; !ok {
			m.rows[key] = nil
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		values, err := get(m.view, missing)
		if err != nil {
			return nil, err
		}
		for i, key := range missing {
			m.rows[key] = values[i]
		}
	}
	out := make([][]byte, len(keys))
	for i, key := range keys {
		out[i] = m.rows[key]
	}
	return out, nil
}

// overlay is a view with rows written over it.
type overlay struct {
	below View
	rows  map[crdt.StateKey]*Row
}

func (o overlay) Get(keys []crdt.StateKey) ([][]byte, error) {
	out := make([][]byte, len(keys))
	var missing []crdt.StateKey
	var places []int
	for i, key := range keys {
		switch r := o.rows[key]; {
		case r == nil:
			missing = append(missing, key)
			places = append(places, i)
		case !r.Absent:
			out[i] = present(r.Value)
		}
	}
	if len(missing) == 0 {
		return out, nil
	}
	values, err := get(o.below, missing)
	if err != nil {
		return nil, err
	}
	for i, place := range places {
		out[place] = values[i]
	}
	return out, nil
}

// raw returns the writes that are none of the engine's rows (convergence.md §4): by their form, by the form of what they
// replace, or by an id that the call named.
func raw(before View, call *Call) ([]Row, error) {
	named := map[crdt.StateKey]struct{}{}
	name := func(id crdt.ID) {
		for _, key := range [...]crdt.StateKey{crdt.IndexKey(id), crdt.EntryKey(id), crdt.SyncStateKey(id)} {
			named[key] = struct{}{}
		}
	}
	name(crdt.TreeRoot(call.Context))
	for i := range call.Actions {
		name(call.Actions[i].ID)
		for k := range call.Actions[i].Ancestors {
			name(call.Actions[i].Ancestors[k].ID)
		}
	}
	var unknown []*Row
	for i := range call.Writes {
		w := &call.Writes[i]
		id, ok := ownerOf(w.Key, w.Value)
		if w.Digest != nil {
			if id, ok = w.Digest.Entity, w.Digest.belongs(w.Key); !ok {
				return nil, errkind.Invalid.Errorf("row %x is given as a digest of entity %s, to which it does not belong",
					w.Key, id)
			}
		}
		if ok && !w.Absent {
			name(id)
			continue
		}
		unknown = append(unknown, w)
	}
	unknown = slices.DeleteFunc(unknown, func(w *Row) bool {
		_, ok := named[w.Key]
		return ok
	})
	if len(unknown) == 0 {
		return nil, nil
	}
	keys := make([]crdt.StateKey, len(unknown))
	for i, w := range unknown {
		keys[i] = w.Key
	}
	stored, err := get(before, keys)
	if err != nil {
		return nil, err
	}
	var out []Row
	for i, w := range unknown {
		if _, ok := ownerOf(w.Key, stored[i]); !ok {
			out = append(out, Row{Key: w.Key, Absent: w.Absent, Value: w.Value})
		}
	}
	return out, nil
}

// ownerOf returns the entity whose index or entry row a value under a key is.
func ownerOf(key crdt.StateKey, value []byte) (crdt.ID, bool) {
	if id, ok := indexID(key, value); ok {
		return id, true
	}
	return entryID(key, value)
}

// corrections compares what is committed with what the guest left, over all rows that either changed.
func corrections(before View, engine, guest, raw []Row) ([]Row, error) {
	committed := make(map[crdt.StateKey]*Row, len(engine)+len(raw))
	for _, rows := range [][]Row{engine, raw} {
		for i := range rows {
			committed[rows[i].Key] = &rows[i]
		}
	}
	left := make(map[crdt.StateKey]*Row, len(guest))
	keys := make([]crdt.StateKey, 0, len(guest)+len(engine))
	for i := range guest {
		left[guest[i].Key] = &guest[i]
		keys = append(keys, guest[i].Key)
	}
	for i := range engine {
		if left[engine[i].Key] == nil {
			keys = append(keys, engine[i].Key)
		}
	}
	stored, err := get(before, keys)
	if err != nil {
		return nil, err
	}
	var out []Row
	for i, key := range keys {
		is := Row{Key: key, Absent: stored[i] == nil, Value: stored[i]}
		if r := committed[key]; r != nil {
			is = *r
		}
		if !left[key].holds(&is, stored[i]) {
			out = append(out, is)
		}
	}
	slices.SortFunc(out, compareRows)
	return out, nil
}

// holds reports whether the guest, which wrote w (nil: nothing) over stored, has the value of r.
func (w *Row) holds(r *Row, stored []byte) bool {
	switch {
	case w == nil:
		return r.Absent == (stored == nil) && bytes.Equal(r.Value, stored)
	case r.Absent || w.Absent:
		return r.Absent == w.Absent
	case w.Digest != nil:
		return sha256.Sum256(r.Value) == w.Digest.Sum
	}
	return bytes.Equal(r.Value, w.Value)
}
