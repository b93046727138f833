package engine

import (
	"bytes"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Clean returns the actions of a guest's artifact that its delta is to carry (convergence.md §3), in their order:
// without what the guest took back by other means than actions, without rewrites of the state entry that change
// nothing, without content that is frozen already; the executor's own user actions wait for its signature
// ([crdt.SignUserActions]). before is the state before the call and after the one that the guest left.
func Clean(before, after View, actions []crdt.Action, executor domain.PublicKey) ([]crdt.Action, error) {
	out := slices.Clone(actions)
	for _, step := range []func([]crdt.Action) ([]crdt.Action, error){
		func(in []crdt.Action) ([]crdt.Action, error) { return dropReassigned(before, after, in) },
		func(in []crdt.Action) ([]crdt.Action, error) { return dropUnchangedState(before, in) },
		func(in []crdt.Action) ([]crdt.Action, error) { return dropFrozen(before, in) },
	} {
		var err error
		if out, err = step(out); err != nil {
			return nil, err
		}
	}
	for i := range out {
		a := &out[i]
		if s := &a.Metadata.Storage; a.Kind != crdt.Compare && s.Kind == crdt.User && s.Owner == executor {
			// Also in place of an old signature, which the guest may have found in a row of a snapshot.
			s.Signature = &crdt.SignatureData{Nonce: a.Time()}
		}
	}
	return out, nil
}

func isUpsert(a *crdt.Action) bool { return a.Kind == crdt.Add || a.Kind == crdt.Update }

// dropReassigned drops the actions on entities that the guest made and then moved to another id, and on what hung under
// them (crdt-storage.md §1: `init` gives collections their final ids and tells nobody).
func dropReassigned(before, after View, actions []crdt.Action) ([]crdt.Action, error) {
	var ids []crdt.ID
	var keys []crdt.StateKey
	for i := range actions {
		if isUpsert(&actions[i]) {
			ids = append(ids, actions[i].ID)
			keys = append(keys, crdt.IndexKey(actions[i].ID))
		}
	}
	if len(ids) == 0 {
		return actions, nil
	}
	had, err := get(before, keys)
	if err != nil {
		return nil, err
	}
	has, err := get(after, keys)
	if err != nil {
		return nil, err
	}
	gone := map[crdt.ID]struct{}{}
	for i, id := range ids {
		if had[i] == nil && has[i] == nil {
			gone[id] = struct{}{}
		}
	}
	return dropTrees(actions, gone), nil
}

// dropTrees drops all actions on the entities and on those that hang under them.
func dropTrees(actions []crdt.Action, gone map[crdt.ID]struct{}) []crdt.Action {
	if len(gone) == 0 {
		return actions
	}
	below := map[crdt.ID]struct{}{}
	for i := range actions {
		for k := range actions[i].Ancestors {
			if _, ok := gone[actions[i].Ancestors[k].ID]; ok {
				below[actions[i].ID] = struct{}{}
			}
		}
	}
	return slices.DeleteFunc(actions, func(a crdt.Action) bool {
		_, isGone := gone[a.ID]
		_, isBelow := below[a.ID]
		return isGone || isBelow
	})
}

// dropUnchangedState drops writes of the state entry that end where they began. Every call of a method that may change
// the state makes one, and it would undo what others wrote there at the same time.
func dropUnchangedState(before View, actions []crdt.Action) ([]crdt.Action, error) {
	last := -1
	for i := range actions {
		if actions[i].ID == crdt.StateEntryID {
			last = i
		}
	}
	if last < 0 || !isUpsert(&actions[last]) {
		return actions, nil
	}
	stored, err := get(before, []crdt.StateKey{crdt.EntryKey(crdt.StateEntryID)})
	if err != nil || stored[0] == nil || !bytes.Equal(stored[0], actions[last].Data) {
		return actions, err
	}
	return slices.DeleteFunc(actions, func(a crdt.Action) bool { return a.ID == crdt.StateEntryID }), nil
}

// dropFrozen drops writes of content that is stored, or written earlier in the artifact: a reference peer refuses the
// whole delta for one of them.
func dropFrozen(before View, actions []crdt.Action) ([]crdt.Action, error) {
	var ids []crdt.ID
	var keys []crdt.StateKey
	for i := range actions {
		if isUpsert(&actions[i]) && actions[i].Metadata.Storage.Kind == crdt.Frozen {
			ids = append(ids, actions[i].ID)
			keys = append(keys, crdt.IndexKey(actions[i].ID))
		}
	}
	if len(ids) == 0 {
		return actions, nil
	}
	rows, err := get(before, keys)
	if err != nil {
		return nil, err
	}
	frozen := map[crdt.ID]bool{}
	for i, id := range ids {
		if rows[i] == nil {
			continue
		}
		r, err := parseRow(id, rows[i], &idSet[struct{}]{})
		if err != nil {
			return nil, err
		}
		frozen[id] = r.meta.Storage.Kind == crdt.Frozen && r.deleted == nil && !r.own.IsZero()
	}
	return slices.DeleteFunc(actions, func(a crdt.Action) bool {
		if !isUpsert(&a) || a.Metadata.Storage.Kind != crdt.Frozen {
			return false
		}
		drop := frozen[a.ID]
		frozen[a.ID] = true
		return drop
	}), nil
}

// PruneGenesis returns the actions of a first delta without what a reference author's `init` left behind in it: of an
// application built with the Rust SDK, collections directly under the tree root that have no name and type and that
// nothing refers to, and what is below them. With them the root hash differs from the author's.
func PruneGenesis(actions []crdt.Action, context domain.ContextID) []crdt.Action {
	root := crdt.TreeRoot(context)
	isRust := false
	gone := map[crdt.ID]struct{}{}
	var prefixes idSet[struct{}]
	for i := range actions {
		a := &actions[i]
		if !isUpsert(a) {
			continue
		}
		if a.ID == root {
			isRust = isRust || bytes.Equal(a.Data, root[:])
			continue
		}
		if bytes.Equal(a.Data, a.ID[:]) && len(a.Ancestors) == 1 && a.Ancestors[0].ID == root &&
			a.Metadata.Crdt == nil && a.Metadata.FieldName == nil {
			gone[a.ID] = struct{}{}
			prefixes.put(a.ID, struct{}{})
		}
	}
	if !isRust || len(gone) == 0 {
		return actions
	}
	for i := range actions {
		data := actions[i].Data
		for at := 0; at+32 <= len(data); at++ {
			if _, ok := prefixes.get(data[at : at+32]); ok && crdt.ID(data[at:at+32]) != actions[i].ID {
				delete(gone, crdt.ID(data[at:at+32]))
			}
		}
	}
	return dropTrees(slices.Clone(actions), gone)
}

// Genesis applies the first delta of a context: as it is, or pruned ([PruneGenesis]) if only that gives the root hash
// that the author expects. A change with another root hash is that of the delta as it is; a snapshot is better then.
func Genesis(view View, actions []crdt.Action, expected domain.Hash, opts Options) (Change, error) {
	whole, err := Apply(view, actions, opts)
	if err != nil || whole.Root == expected {
		return whole, err
	}
	kept := PruneGenesis(actions, opts.Context)
	if len(kept) == len(actions) {
		return whole, nil
	}
	pruned, err := Apply(view, kept, opts)
	if err != nil {
		return Change{}, err
	}
	if pruned.Root == expected {
		return pruned, nil
	}
	return whole, nil
}
