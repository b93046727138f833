package wire

import (
	"bytes"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// deltaAuthorScope is the scope, in Generic, of the rows that say who made a delta.
var deltaAuthorScope = []byte("delta-author\x00\x00\x00\x00")

// DeltaAuthorPrefix is what the keys of all rows of a context begin with that say who made its deltas.
func DeltaAuthorPrefix(context domain.ContextID) []byte { return concat(deltaAuthorScope, context[:]) }

// DeltaAuthorKey is the key of the row, in Generic, that says who made a delta: a [DeltaAuthor].
func DeltaAuthorKey(context domain.ContextID, delta domain.Hash) []byte {
	return concat(deltaAuthorScope, context[:], delta[:])
}

// ParseDeltaAuthorKey reads a DeltaAuthorKey.
func ParseDeltaAuthorKey(key []byte) (domain.ContextID, domain.Hash, error) {
	ids, err := split("delta author", key, len(deltaAuthorScope), 2)
	if err == nil && !bytes.HasPrefix(key, deltaAuthorScope) {
		err = fmt.Errorf("%w of delta author: it begins with %q", ErrKey, key[:len(deltaAuthorScope)])
	}
	if err != nil {
		return domain.ContextID{}, domain.Hash{}, err
	}
	return ids[0], ids[1], nil
}
