// Package wire has the byte form of everything the node stores and sends. Every layout is byte-exact with the reference,
// but for the files named extension_*, whose messages the reference never sees or ignores.
//
// Files named store_* hold the keys and values of the database (governance.md §4). Keys are functions that return new
// slices; what reads a key back is named Parse*. Values are types with the borsh methods; [Encode] and [Decode] are their
// entry points.
//
// The other files hold messages (sync-wire.md). Their entry points are [EncodeBroadcast] and [DecodeBroadcast] for gossip,
// [EncodeStream] and [DecodeStream] for the streams of [SyncProtocol], [EncodeExtension] and [DecodeExtension] for those
// of [ExtensionProtocol], and the functions of [BlobProtocol] and [InviteProtocol]. Decoders refuse what is longer than
// its limit, and use memory in proportion to the input. What a message says is its sender's claim.
package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
)

// Encode returns the bytes of a value.
func Encode(v borsh.Marshaler) ([]byte, error) {
	out, err := borsh.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return out, nil
}

// Decode reads a value from all of in. Its errors are [borsh.ErrMalformed]. The result shares no memory with in.
func Decode[T any, P interface {
	*T
	borsh.Unmarshaler
}](in []byte) (T, error) {
	var v T
	if err := borsh.Unmarshal(in, P(&v)); err != nil {
		var zero T
		return zero, fmt.Errorf("decode %T: %w", zero, err)
	}
	return v, nil
}
