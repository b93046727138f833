package wire

import (
	"errors"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// ErrKey is a stored key that does not have its column's layout.
var ErrKey = errors.New("malformed key")

func concat(parts ...[]byte) []byte {
	var n int
	for _, part := range parts {
		n += len(part)
	}
	out := make([]byte, 0, n)
	for _, part := range parts {
		out = append(out, part...)
	}
	return out
}

// split cuts key into parts of 32 bytes after its first skip bytes.
func split(what string, key []byte, skip, parts int) ([][32]byte, error) {
	if len(key) != skip+32*parts {
		return nil, fmt.Errorf("%w of %s: %d bytes instead of %d", ErrKey, what, len(key), skip+32*parts)
	}
	out := make([][32]byte, parts)
	for i := range out {
		out[i] = [32]byte(key[skip+32*i:])
	}
	return out, nil
}

// ContextKey is the key of a context in Meta and Config, and the prefix of its rows in Identity, State, PrivateState
// and Delta.
func ContextKey(context domain.ContextID) []byte { return concat(context[:]) }

// ParseContextKey reads a ContextKey.
func ParseContextKey(key []byte) (domain.ContextID, error) {
	ids, err := split("context", key, 0, 1)
	if err != nil {
		return domain.ContextID{}, err
	}
	return ids[0], nil
}

// IdentityKey is the key of an identity in a context. Under the zero context are identities not assigned to any.
func IdentityKey(context domain.ContextID, identity domain.PublicKey) []byte {
	return concat(context[:], identity[:])
}

// ParseIdentityKey reads an IdentityKey.
func ParseIdentityKey(key []byte) (domain.ContextID, domain.PublicKey, error) {
	ids, err := split("identity", key, 0, 2)
	if err != nil {
		return domain.ContextID{}, domain.PublicKey{}, err
	}
	return ids[0], ids[1], nil
}

// StateKey is the key of a state row, shared or private.
func StateKey(context domain.ContextID, key crdt.StateKey) []byte { return concat(context[:], key[:]) }

// ParseStateKey reads a StateKey.
func ParseStateKey(key []byte) (domain.ContextID, crdt.StateKey, error) {
	ids, err := split("state row", key, 0, 2)
	if err != nil {
		return domain.ContextID{}, crdt.StateKey{}, err
	}
	return ids[0], ids[1], nil
}

// DeltaKey is the key of a delta.
func DeltaKey(context domain.ContextID, delta domain.Hash) []byte {
	return concat(context[:], delta[:])
}

// ParseDeltaKey reads a DeltaKey.
func ParseDeltaKey(key []byte) (domain.ContextID, domain.Hash, error) {
	ids, err := split("delta", key, 0, 2)
	if err != nil {
		return domain.ContextID{}, domain.Hash{}, err
	}
	return ids[0], ids[1], nil
}

// BlobKey is the key of a blob or chunk.
func BlobKey(blob domain.BlobID) []byte { return concat(blob[:]) }

// ParseBlobKey reads a BlobKey.
func ParseBlobKey(key []byte) (domain.BlobID, error) {
	ids, err := split("blob", key, 0, 1)
	if err != nil {
		return domain.BlobID{}, err
	}
	return ids[0], nil
}

// ApplicationKey is the key of an application.
func ApplicationKey(application domain.ApplicationID) []byte { return concat(application[:]) }

// ParseApplicationKey reads an ApplicationKey.
func ParseApplicationKey(key []byte) (domain.ApplicationID, error) {
	ids, err := split("application", key, 0, 1)
	if err != nil {
		return domain.ApplicationID{}, err
	}
	return ids[0], nil
}

// GenericKey is the key of a row that belongs to no other column. A scope shorter than 16 bytes is padded with zeros.
func GenericKey(scope [16]byte, fragment [32]byte) []byte { return concat(scope[:], fragment[:]) }

// Values that are one thing. A row whose presence is its whole meaning has an empty value.
type (
	// ID32 is a 32-byte identifier as a value.
	ID32 [32]byte
	// U8 is a byte as a value.
	U8 uint8
	// U32 is a 32-bit number as a value.
	U32 uint32
	// U64 is a 64-bit number as a value.
	U64 uint64
	// Text is a UTF-8 text as a value.
	Text string
	// Bytes is a byte string, with its length, as a value.
	Bytes []byte
)

// EncodeBorsh writes 32 bytes.
func (v ID32) EncodeBorsh(e *borsh.Encoder) { e.Raw(v[:]) }

// DecodeBorsh reads 32 bytes.
func (v *ID32) DecodeBorsh(d *borsh.Decoder) { *v = d.Array32("id") }

// EncodeBorsh writes one byte.
func (v U8) EncodeBorsh(e *borsh.Encoder) { e.U8(uint8(v)) }

// DecodeBorsh reads one byte.
func (v *U8) DecodeBorsh(d *borsh.Decoder) { *v = U8(d.U8("value")) }

// EncodeBorsh writes 4 bytes.
func (v U32) EncodeBorsh(e *borsh.Encoder) { e.U32(uint32(v)) }

// DecodeBorsh reads 4 bytes.
func (v *U32) DecodeBorsh(d *borsh.Decoder) { *v = U32(d.U32("value")) }

// EncodeBorsh writes 8 bytes.
func (v U64) EncodeBorsh(e *borsh.Encoder) { e.U64(uint64(v)) }

// DecodeBorsh reads 8 bytes.
func (v *U64) DecodeBorsh(d *borsh.Decoder) { *v = U64(d.U64("value")) }

// EncodeBorsh writes the text.
func (v Text) EncodeBorsh(e *borsh.Encoder) { e.String(string(v)) }

// DecodeBorsh reads the text.
func (v *Text) DecodeBorsh(d *borsh.Decoder) { *v = Text(d.String("text")) }

// EncodeBorsh writes the bytes.
func (v Bytes) EncodeBorsh(e *borsh.Encoder) { e.Bytes(v) }

// DecodeBorsh reads the bytes.
func (v *Bytes) DecodeBorsh(d *borsh.Decoder) { *v = d.Bytes("bytes") }
