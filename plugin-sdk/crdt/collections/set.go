package collections

import "github.com/calimero-go/core/plugin-sdk/crdt"

// Set is a set of byte strings.
type Set struct{ object }

// NewSet makes an empty set.
func (w *Writer) NewSet() (*Set, error) {
	o, err := w.create(plainObject)
	return &Set{o}, err
}

// Set returns the set with an id, made anew if it is not there.
func (w *Writer) Set(id crdt.ID) (*Set, error) {
	o, err := w.load(id, plainObject)
	return &Set{o}, err
}

// Len returns the number of elements.
func (s *Set) Len() (int, error) { return s.count() }

// Insert adds an element and reports whether it is new. One that is there is written again, as the SDK does.
func (s *Set) Insert(value []byte) (bool, error) {
	id := crdt.EntryID(s.entries, value)
	item, e, err := s.item(id)
	if err != nil {
		return false, err
	}
	if item != nil {
		if _, err := single(item); err != nil {
			return false, err
		}
		return false, s.replace(e, item)
	}
	if item, err = encode(value); err != nil {
		return false, err
	}
	return true, s.add(id, item, crdt.StorageType{})
}

// Contains reports whether the set has an element.
func (s *Set) Contains(value []byte) (bool, error) {
	return s.w.has(s.entries, crdt.EntryID(s.entries, value))
}

// Remove removes an element and reports whether it was there.
func (s *Set) Remove(value []byte) (bool, error) {
	id := crdt.EntryID(s.entries, value)
	item, _, err := s.item(id)
	if err != nil || item == nil {
		return false, err
	}
	if _, err := single(item); err != nil {
		return false, err
	}
	return true, s.remove(id)
}

// Each calls yield with all elements in the order of their creation, until it fails.
func (s *Set) Each(yield func(value []byte) error) error {
	return s.each(func(item []byte) error {
		value, err := single(item)
		if err != nil {
			return err
		}
		return yield(value)
	})
}

// Clear removes all elements and reports whether there were any.
func (s *Set) Clear() (bool, error) {
	ids, err := s.w.children(s.entries)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		if err := s.remove(id); err != nil {
			return false, err
		}
	}
	return len(ids) > 0, nil
}
