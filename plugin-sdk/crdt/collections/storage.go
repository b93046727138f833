package collections

import (
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// keyed reads an item that is a 32-byte key and a byte string.
func keyed(item []byte) (value []byte, err error) {
	err = decode(item, func(d *borsh.Decoder) {
		d.Array32("key")
		value = d.Bytes("value")
	})
	return notNil(value), err
}

func keyedItem(key [32]byte, value []byte) []byte {
	return append(append(make([]byte, 0, len(key)+len(value)), key[:]...), value...)
}

func (o *object) keyedValue(key []byte) (id crdt.ID, value []byte, e *entity, err error) {
	id = crdt.EntryID(o.entries, key)
	item, e, err := o.item(id)
	if err != nil || item == nil {
		return id, nil, e, err
	}
	value, err = keyed(item)
	return id, value, e, err
}

// UserStorage has a byte string for each user, which only this user writes.
type UserStorage struct{ object }

// NewUserStorage makes an empty user storage.
func (w *Writer) NewUserStorage() (*UserStorage, error) {
	o, err := w.create(storageObject)
	return &UserStorage{o}, err
}

// UserStorage returns the user storage with an id, made anew if it is not there.
func (w *Writer) UserStorage(id crdt.ID) (*UserStorage, error) {
	o, err := w.load(id, storageObject)
	return &UserStorage{o}, err
}

// Get returns a user's value; nil when there is none.
func (u *UserStorage) Get(user domain.PublicKey) ([]byte, error) {
	_, value, _, err := u.keyedValue(user[:])
	return value, err
}

// Contains reports whether a user has a value.
func (u *UserStorage) Contains(user domain.PublicKey) (bool, error) {
	return u.w.has(u.entries, crdt.EntryID(u.entries, user[:]))
}

// Insert sets the executor's value and returns the one before; nil when there was none.
func (u *UserStorage) Insert(value []byte) ([]byte, error) {
	user := u.w.Executor
	id, old, e, err := u.keyedValue(user[:])
	if err != nil {
		return nil, err
	}
	enc, err := encode(value)
	if err != nil {
		return nil, err
	}
	item := keyedItem(user, enc)
	if old != nil {
		return old, u.replace(e, item)
	}
	return nil, u.add(id, item, crdt.StorageType{Kind: crdt.User, Owner: user})
}

// Remove removes the executor's value and returns it; nil when there was none.
func (u *UserStorage) Remove() ([]byte, error) {
	id, old, _, err := u.keyedValue(u.w.Executor[:])
	if err != nil || old == nil {
		return nil, err
	}
	return old, u.remove(id)
}

// FrozenStorage keeps byte strings for ever, each under the hash of its borsh form.
type FrozenStorage struct{ object }

// NewFrozenStorage makes an empty frozen storage.
func (w *Writer) NewFrozenStorage() (*FrozenStorage, error) {
	o, err := w.create(storageObject)
	return &FrozenStorage{o}, err
}

// FrozenStorage returns the frozen storage with an id, made anew if it is not there.
func (w *Writer) FrozenStorage(id crdt.ID) (*FrozenStorage, error) {
	o, err := w.load(id, storageObject)
	return &FrozenStorage{o}, err
}

// Get returns the value with a hash; nil when there is none.
func (f *FrozenStorage) Get(hash domain.Hash) ([]byte, error) {
	_, value, _, err := f.keyedValue(hash[:])
	return value, err
}

// Contains reports whether there is a value with a hash.
func (f *FrozenStorage) Contains(hash domain.Hash) (bool, error) {
	return f.w.has(f.entries, crdt.EntryID(f.entries, hash[:]))
}

// Add keeps a value and returns its hash. One that is there is written again, as the SDK does.
func (f *FrozenStorage) Add(value []byte) (domain.Hash, error) {
	enc, err := encode(value)
	if err != nil {
		return domain.Hash{}, err
	}
	hash := domain.Hash(crdt.FrozenKey(enc))
	id, old, e, err := f.keyedValue(hash[:])
	if err != nil {
		return hash, err
	}
	item := keyedItem(hash, enc)
	if old != nil {
		return hash, f.replace(e, item)
	}
	return hash, f.add(id, item, crdt.StorageType{Kind: crdt.Frozen})
}
