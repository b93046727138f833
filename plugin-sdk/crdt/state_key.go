package crdt

import "crypto/sha256"

// StateKey is the 32-byte key of a state row inside its context.
type StateKey [32]byte

// Tags of the logical keys.
const (
	tagIndex byte = iota
	tagEntry
	tagSyncState
)

// IndexKey is where the [EntityIndex] of an entity is stored.
func IndexKey(id ID) StateKey { return stateKey(tagIndex, id) }

// EntryKey is where the bytes of an entity are stored.
func EntryKey(id ID) StateKey { return stateKey(tagEntry, id) }

// SyncStateKey is reserved by the reference, which does not use it; package engine keeps shadow rows there.
func SyncStateKey(id ID) StateKey { return stateKey(tagSyncState, id) }

func stateKey(tag byte, id ID) StateKey {
	var in [33]byte
	in[0] = tag
	copy(in[1:], id[:])
	return sha256.Sum256(in[:])
}

// GuestKey maps a key that a guest passes to the storage functions to a state key: shorter keys are padded with zeros
// on the right, so "a" and "a\x00" are the same key. A key over 32 bytes has none (false): reads find nothing there and
// writes are dropped.
func GuestKey(key []byte) (StateKey, bool) {
	var out StateKey
	if len(key) > len(out) {
		return out, false
	}
	copy(out[:], key)
	return out, true
}
