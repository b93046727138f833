package collections

import (
	"fmt"
	"math"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
)

// Vector is a list of byte strings in the order of their creation.
type Vector struct{ object }

// NewVector makes an empty vector.
func (w *Writer) NewVector() (*Vector, error) {
	o, err := w.create(plainObject)
	return &Vector{o}, err
}

// Vector returns the vector with an id, made anew if it is not there.
func (w *Writer) Vector(id crdt.ID) (*Vector, error) {
	o, err := w.load(id, plainObject)
	return &Vector{o}, err
}

// Len returns the number of elements.
func (v *Vector) Len() (int, error) { return v.count() }

// Push adds an element at the end.
func (v *Vector) Push(value []byte) error {
	item, err := encode(value)
	if err != nil {
		return err
	}
	meta := v.w.fresh(crdt.StorageType{})
	id, err := v.w.randomID()
	if err != nil {
		return err
	}
	return v.w.insert(v.entries, id, entryData(item, id), meta)
}

// Get returns the element at a place; nil when there is none.
func (v *Vector) Get(index uint64) ([]byte, error) {
	if index == math.MaxUint64 {
		return nil, Error(fmt.Sprintf("arithmetic overflow: addition overflow: %d + 1 exceeds usize::MAX", index))
	}
	ids, err := v.w.children(v.entries)
	if err != nil || index >= uint64(len(ids)) {
		return nil, err
	}
	item, _, err := v.item(ids[index])
	if err != nil {
		return nil, err
	}
	if item == nil {
		return nil, errNotFound(ids[index])
	}
	return single(item)
}

// Pop removes the last element and returns it; nil when there is none.
func (v *Vector) Pop() ([]byte, error) {
	ids, err := v.w.children(v.entries)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	last := ids[len(ids)-1]
	item, _, err := v.item(last)
	if err != nil || item == nil {
		return nil, err
	}
	value, err := single(item)
	if err != nil {
		return nil, err
	}
	return value, v.remove(last)
}

// single reads an item that is one byte string.
func single(item []byte) (value []byte, err error) {
	err = decode(item, func(d *borsh.Decoder) { value = d.Bytes("value") })
	return notNil(value), err
}
