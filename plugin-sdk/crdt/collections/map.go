package collections

import (
	"errors"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
)

func isError(err error) bool {
	var e Error
	return errors.As(err, &e)
}

// Map is a map from byte strings to byte strings.
type Map struct{ object }

// NewMap makes an empty map.
func (w *Writer) NewMap() (*Map, error) {
	o, err := w.create(plainObject)
	return &Map{o}, err
}

// Map returns the map with an id, made anew if it is not there.
func (w *Writer) Map(id crdt.ID) (*Map, error) {
	o, err := w.load(id, plainObject)
	return &Map{o}, err
}

// Get returns the value of a key; nil when there is none.
func (m *Map) Get(key []byte) ([]byte, error) {
	_, value, _, err := m.find(key)
	return value, err
}

func (m *Map) find(key []byte) (id crdt.ID, value []byte, e *entity, err error) {
	id = crdt.EntryID(m.entries, key)
	item, e, err := m.item(id)
	if err != nil || item == nil {
		return id, nil, e, err
	}
	_, value, err = pair(item)
	return id, value, e, err
}

func pair(item []byte) (key, value []byte, err error) {
	err = decode(item, func(d *borsh.Decoder) { key, value = d.Bytes("key"), d.Bytes("value") })
	return key, notNil(value), err
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Insert sets the value of a key and returns the one before; nil when there was none.
func (m *Map) Insert(key, value []byte) ([]byte, error) {
	id, old, e, err := m.find(key)
	if err != nil {
		return nil, err
	}
	item, err := encode(key, value)
	if err != nil {
		return nil, err
	}
	if old != nil {
		return old, m.replace(e, item)
	}
	return nil, m.add(id, item, crdt.StorageType{})
}

// Remove removes a key and returns its value; nil when there was none.
func (m *Map) Remove(key []byte) ([]byte, error) {
	id, old, _, err := m.find(key)
	if err != nil || old == nil {
		return nil, err
	}
	return old, m.remove(id)
}

// Contains reports whether the map has a key.
func (m *Map) Contains(key []byte) (bool, error) {
	return m.w.has(m.entries, crdt.EntryID(m.entries, key))
}

// Each calls yield with all keys and values in the order of their creation, until it fails.
func (m *Map) Each(yield func(key, value []byte) error) error {
	return m.each(func(item []byte) error {
		key, value, err := pair(item)
		if err != nil {
			return err
		}
		return yield(key, value)
	})
}
