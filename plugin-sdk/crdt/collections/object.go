package collections

import (
	"bytes"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
)

// object is what a guest holds: an entity directly under the tree root that names the collection with its entries, which
// hangs there too. The id that guests know is the object's.
type object struct {
	w  *Writer
	id crdt.ID
	// entries is the collection's id.
	entries crdt.ID
}

// ID returns the id by which the guest finds the object again.
func (o *object) ID() crdt.ID { return o.id }

// Sizes of an object's entity (crdt-storage.md §3.4): ids, the object's own last.
const (
	plainObject   = 2 * 32 // map, vector, set, counter
	storageObject = 3 * 32 // user and frozen storage, with the id of an element that is nowhere else
)

// create makes an object of the given size.
func (w *Writer) create(size int) (object, error) { return w.createAs(nil, size) }

// createAs makes an object with the given id, or a random one.
func (w *Writer) createAs(id *crdt.ID, size int) (object, error) {
	entries, err := w.randomID()
	if err != nil {
		return object{}, err
	}
	if err := w.insert(w.root(), entries, entries[:], w.fresh(crdt.StorageType{})); err != nil {
		return object{}, err
	}
	data := append(make([]byte, 0, size), entries[:]...)
	if size == storageObject {
		element, err := w.randomID()
		if err != nil {
			return object{}, err
		}
		data = append(data, element[:]...)
	}
	meta := w.fresh(crdt.StorageType{})
	if id == nil {
		random, err := w.randomID()
		if err != nil {
			return object{}, err
		}
		id = &random
	}
	o := object{w: w, id: *id, entries: entries}
	return o, w.insert(w.root(), o.id, append(data, o.id[:]...), meta)
}

// load finds an object, and makes one that is not there: the guest's own state may name one that was lost.
func (w *Writer) load(id crdt.ID, size int) (object, error) {
	data, err := w.loadData(id)
	if err != nil {
		return object{}, err
	}
	if data == nil {
		return w.createAs(&id, size)
	}
	if len(data) != size {
		return object{}, Error("Deserialization error: " + lengthText(len(data), size))
	}
	return object{w: w, id: id, entries: crdt.ID(data[:32])}, nil
}

func lengthText(have, want int) string {
	if have < want {
		return "Unexpected length of input"
	}
	return "Not all bytes read"
}

// loadData returns the entity of an object, nil if it is not there.
func (w *Writer) loadData(id crdt.ID) ([]byte, error) {
	if id == w.root() { // it holds the guest's document
		return nil, errUnexpectedID(id)
	}
	data, _, err := w.data(id)
	if err == nil && data != nil && !bytes.HasSuffix(data, id[:]) {
		return nil, errDecode(errUnexpectedID(id))
	}
	return data, err
}

// The entries of a collection. An entry's bytes are its item followed by its id.

// item returns the item of an entry, nil when it is not there.
func (o *object) item(id crdt.ID) ([]byte, *entity, error) {
	data, e, err := o.w.data(id)
	if err != nil || data == nil {
		return nil, e, err
	}
	item, ok := bytes.CutSuffix(data, id[:])
	if !ok {
		return nil, e, errDecode(errUnexpectedID(id))
	}
	return item, e, nil
}

// add makes an entry. item is not changed.
func (o *object) add(id crdt.ID, item []byte, storage crdt.StorageType) error {
	return o.w.insert(o.entries, id, entryData(item, id), o.w.fresh(storage))
}

func (o *object) replace(e *entity, item []byte) error {
	return o.w.update(e, entryData(item, e.index.ID))
}

func entryData(item []byte, id crdt.ID) []byte {
	return append(append(make([]byte, 0, len(item)+len(id)), item...), id[:]...)
}

func (o *object) remove(id crdt.ID) error { return o.w.remove(o.entries, id) }

// count returns the number of entries.
func (o *object) count() (int, error) {
	ids, err := o.w.children(o.entries)
	return len(ids), err
}

// each calls yield with the items of all entries, in order. Entries without bytes, and such as yield cannot read
// (anybody may have written them), do not count.
func (o *object) each(yield func(item []byte) error) error {
	ids, err := o.w.children(o.entries)
	if err != nil {
		return err
	}
	for _, id := range ids {
		item, _, err := o.item(id)
		if err == nil && item != nil {
			err = yield(item)
		}
		if err != nil && !isError(err) {
			return err
		}
	}
	return nil
}

// decode reads a value that is the whole of an item.
func decode(item []byte, read func(d *borsh.Decoder)) error {
	d := borsh.NewDecoder(item)
	read(d)
	if err := d.Finish(); err != nil {
		return errDecode(err)
	}
	return nil
}

// encode returns the borsh form of byte strings, one after the other.
func encode(parts ...[]byte) ([]byte, error) {
	size := 0
	for _, p := range parts {
		size += 4 + len(p)
	}
	e := borsh.NewEncoder(make([]byte, 0, size))
	for _, p := range parts {
		e.Bytes(p)
	}
	out, err := e.Finish()
	if err != nil {
		return nil, Error("Serialization error: " + err.Error())
	}
	return out, nil
}
