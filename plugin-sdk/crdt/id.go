package crdt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// ID is the identity of an entity. Its text form is lower-case hex.
type ID [32]byte

// StateEntryID is the id of the entry that holds an application's state value, the same in every context.
var StateEntryID = ID(bytes.Repeat([]byte{'v'}, 32))

// TreeRoot returns the id of the root of a context's tree: the context id itself.
func TreeRoot(context domain.ContextID) ID { return ID(context) }

// String returns 64 lower-case hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether all 32 bytes are zero.
func (id ID) IsZero() bool { return id == ID{} }

// Compare orders by raw bytes.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the hex form; it never fails.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads 64 hex digits.
func (id *ID) UnmarshalText(text []byte) error {
	raw, err := domain.ParseHex32(string(text))
	*id = raw
	return err
}

// Separators that keep derived ids of different kinds apart.
const (
	collectionDomain = "__calimero_collection__"
	entryDomain      = "__calimero_entry__"
)

// CollectionID returns the id of the collection behind a top-level state field; name is what the *Name functions make
// of the field, or the field itself for maps, sets, vectors and text. It does not depend on the context.
func CollectionID(name string) ID { return hashParts([]byte(collectionDomain), []byte(name)) }

// ChildCollectionID returns the id of a collection with an explicit parent.
func ChildCollectionID(parent ID, name string) ID {
	return hashParts(parent[:], []byte(collectionDomain), []byte(name))
}

// EntryID returns the id of the entry of a map, set, counter or user and frozen storage. key is the raw form of the
// key (UTF-8, bytes, public key, [CounterSlot], [FrozenKey]), not its borsh form.
func EntryID(collection ID, key []byte) ID {
	return hashParts(collection[:], []byte(entryDomain), key)
}

// CounterPositiveName is the name to hash for the increments of the counter in a field.
func CounterPositiveName(field string) string { return "__counter_internal_" + field + "_positive" }

// CounterNegativeName is the name to hash for the decrements of the counter in a field.
func CounterNegativeName(field string) string { return "__counter_internal_" + field + "_negative" }

// UserStorageName is the name to hash for the map inside a field of user storage.
func UserStorageName(field string) string { return "__user_storage_" + field }

// FrozenStorageName is the name to hash for the map inside a field of frozen storage.
func FrozenStorageName(field string) string { return "__frozen_storage_" + field }

// CounterSlot is the key of an executor's slot in a counter: 64 hex digits in ASCII.
func CounterSlot(executor domain.PublicKey) string { return hex.EncodeToString(executor[:]) }

// FrozenKey is the key of a frozen value, given the value's borsh form.
func FrozenKey(value []byte) [32]byte { return sha256.Sum256(value) }

func hashParts(parts ...[]byte) ID {
	h := sha256.New()
	for _, part := range parts {
		h.Write(part)
	}
	return ID(h.Sum(nil))
}
