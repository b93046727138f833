package collections

import (
	"fmt"
	"io"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// entity is the index row of an entity, as this execution sees it.
type entity struct {
	index   crdt.EntityIndex
	found   bool
	changed bool // since it was read or written
}

// entity returns the index row of id; found is false when there is none.
func (w *Writer) entity(id crdt.ID) (*entity, error) {
	if e := w.entities[id]; e != nil {
		return e, nil
	}
	value, found, err := w.Rows.Get(crdt.IndexKey(id))
	if err != nil {
		return nil, err
	}
	e := &entity{index: crdt.EntityIndex{ID: id}, found: found}
	if found {
		if err := borsh.Unmarshal(value, &e.index); err != nil {
			return nil, errDecode(err)
		}
		if e.index.ID != id { // a guest wrote this row by itself
			return nil, errUnexpectedID(e.index.ID)
		}
	}
	w.entities[id] = e
	return e, nil
}

// randomID returns an id that no entity has.
func (w *Writer) randomID() (id crdt.ID, err error) {
	if _, err = io.ReadFull(w.Random, id[:]); err != nil {
		return id, errkind.Internal.Errorf("read random bytes: %w", err)
	}
	w.entities[id] = &entity{index: crdt.EntityIndex{ID: id}}
	return id, nil
}

// existing returns the index row of an entity that must have one.
func (w *Writer) existing(id crdt.ID) (*entity, error) {
	e, err := w.entity(id)
	if err == nil && !e.found {
		err = errIndexNotFound(id)
	}
	return e, err
}

func (w *Writer) touch(e *entity) {
	e.found = true
	if !e.changed {
		e.changed = true
		w.changed = append(w.changed, e)
	}
}

func (w *Writer) putIndex(e *entity) error {
	value, err := borsh.Marshal(e.index)
	if err != nil {
		return Error("Serialization error: " + err.Error())
	}
	return w.Rows.Put(crdt.IndexKey(e.index.ID), value)
}

// data returns the bytes of an entity that is there and not deleted, otherwise nil.
func (w *Writer) data(id crdt.ID) ([]byte, *entity, error) {
	e, err := w.entity(id)
	if err != nil || !e.found || e.index.DeletedAt != nil {
		return nil, e, err
	}
	data, found, err := w.Rows.Get(crdt.EntryKey(id))
	if found && data == nil {
		data = []byte{}
	}
	return data, e, err
}

// insert makes a new entity and hangs it under parent.
func (w *Writer) insert(parent, id crdt.ID, data []byte, meta crdt.Metadata) error {
	p, err := w.entity(parent)
	if err != nil {
		return err
	}
	e, err := w.entity(id)
	if err != nil {
		return err
	}
	switch {
	case !e.found:
		e.index.Metadata = meta
	case e.index.Metadata.UpdatedAt > meta.UpdatedAt:
		return errStale(id, e.index.Metadata.UpdatedAt, meta.UpdatedAt)
	case e.index.DeletedAt != nil:
		// The deletion is over; the SDK would write what nobody can read (convergence.md §3, end).
		if *e.index.DeletedAt >= meta.UpdatedAt {
			return errStale(id, *e.index.DeletedAt, meta.UpdatedAt)
		}
		e.index.DeletedAt, e.index.Metadata = nil, meta
	}
	e.index.ParentID = &p.index.ID
	w.touch(e)
	record := crdt.ChildInfo{ID: id, MerkleHash: crdt.FullHash(crdt.OwnHash(data), e.index.Children), Metadata: meta}
	if i, found := slices.BinarySearchFunc(p.index.Children, record, crdt.ChildInfo.Compare); found {
		p.index.Children[i] = record
	} else {
		p.index.Children = slices.Insert(p.index.Children, i, record)
	}
	w.touch(p)
	return w.save(e, data, meta)
}

// save writes the bytes of an entity, brings the hashes up to the root and records the upsert.
func (w *Writer) save(e *entity, data []byte, meta crdt.Metadata) error {
	id := e.index.ID
	switch {
	case !e.found || e.index.ParentID == nil && id != w.root():
		return errOrphan(id)
	case e.index.Metadata.UpdatedAt > meta.UpdatedAt:
		return errStale(id, e.index.Metadata.UpdatedAt, meta.UpdatedAt)
	}
	if meta.Storage.Signature == nil {
		meta.Storage = w.waitsForSignature(meta.Storage, meta.UpdatedAt)
	}
	e.index.OwnHash, e.index.Metadata.UpdatedAt = crdt.OwnHash(data), meta.UpdatedAt
	w.touch(e)
	ancestors, err := w.rehash(e)
	if err != nil {
		return err
	}
	if err := w.Rows.Put(crdt.EntryKey(id), data); err != nil {
		return err
	}
	a := crdt.Action{Kind: crdt.Update, ID: id, Data: data, Ancestors: ancestors, Metadata: meta}
	if meta.CreatedAt == meta.UpdatedAt {
		a.Kind = crdt.Add
	}
	return w.record(a)
}

// rehash computes the full hashes from an entity to the root and returns the ancestors, the parent first.
func (w *Writer) rehash(e *entity) ([]crdt.ChildInfo, error) {
	e.index.FullHash = crdt.FullHash(e.index.OwnHash, e.index.Children)
	var ancestors []crdt.ChildInfo
	for e.index.ParentID != nil {
		if len(ancestors) == engine.MaxAncestors {
			return nil, errInvalid(fmt.Sprintf("more than %d entities lie above each other", engine.MaxAncestors))
		}
		p, err := w.existing(*e.index.ParentID)
		if err != nil {
			return nil, err
		}
		// The first record of the id has its full hash, others keep theirs.
		for i := range p.index.Children {
			if c := &p.index.Children[i]; c.ID == e.index.ID {
				c.MerkleHash = e.index.FullHash
				break
			}
		}
		p.index.FullHash = crdt.FullHash(p.index.OwnHash, p.index.Children)
		w.touch(p)
		ancestors = append(ancestors, crdt.ChildInfo{ID: p.index.ID, MerkleHash: p.index.FullHash, Metadata: p.index.Metadata})
		e = p
	}
	return ancestors, nil
}

// update replaces the bytes of an entity that is there.
func (w *Writer) update(e *entity, data []byte) error {
	meta := e.index.Metadata
	meta.UpdatedAt = w.Now()
	return w.save(e, data, meta)
}

// remove takes a child out of its parent's list, leaves a tombstone and records the deletion. A child that is not in the
// list stays as it is.
func (w *Writer) remove(parent, id crdt.ID) error {
	p, err := w.existing(parent)
	if err != nil {
		return err
	}
	is := func(c crdt.ChildInfo) bool { return c.ID == id }
	if !slices.ContainsFunc(p.index.Children, is) {
		return nil
	}
	e, err := w.existing(id)
	if err != nil {
		return err
	}
	now := w.Now()
	meta := e.index.Metadata
	meta.Storage = w.waitsForSignature(meta.Storage, now)
	if err := w.Rows.Remove(crdt.EntryKey(id)); err != nil {
		return err
	}
	e.index.DeletedAt, e.index.Metadata.UpdatedAt = &now, now
	w.touch(e)
	if p.index.Children = slices.DeleteFunc(p.index.Children, is); len(p.index.Children) == 0 {
		p.index.Children = nil
	}
	w.touch(p)
	if _, err := w.rehash(p); err != nil {
		return err
	}
	return w.record(crdt.Action{Kind: crdt.DeleteRef, ID: id, DeletedAt: now, Metadata: meta})
}

// children returns the ids in the list of an entity, each once, in order.
func (w *Writer) children(id crdt.ID) ([]crdt.ID, error) {
	e, err := w.entity(id)
	if err != nil {
		return nil, err
	}
	ids := make([]crdt.ID, 0, len(e.index.Children))
	seen := make(map[crdt.ID]struct{}, len(e.index.Children))
	for i := range e.index.Children {
		child := e.index.Children[i].ID
		if _, ok := seen[child]; !ok {
			seen[child] = struct{}{}
			ids = append(ids, child)
		}
	}
	return ids, nil
}

// has reports whether an id is in the list of an entity.
func (w *Writer) has(parent, id crdt.ID) (bool, error) {
	e, err := w.entity(parent)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(e.index.Children, func(c crdt.ChildInfo) bool { return c.ID == id }), nil
}
