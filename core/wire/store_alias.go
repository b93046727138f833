package wire

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// AliasKind is what an alias names. Its number is the first byte of the key.
type AliasKind uint8

// Kinds of alias.
const (
	AliasContext     AliasKind = 1 // scope: zero
	AliasPublicKey   AliasKind = 2 // scope: the context
	AliasApplication AliasKind = 3 // scope: zero
)

const aliasKeyLen = 1 + 32 + domain.MaxAliasBytes

// ErrAliasZeroByte is an alias that its key could not tell from a shorter one.
var ErrAliasZeroByte = errors.New("alias contains a zero byte")

// ContextAliasKey is the key of a context's alias.
func ContextAliasKey(alias domain.Alias) ([]byte, error) {
	return aliasKey(AliasContext, domain.ContextID{}, alias)
}

// PublicKeyAliasKey is the key of an identity's alias in a context.
func PublicKeyAliasKey(context domain.ContextID, alias domain.Alias) ([]byte, error) {
	return aliasKey(AliasPublicKey, context, alias)
}

// ApplicationAliasKey is the key of an application's alias.
func ApplicationAliasKey(alias domain.Alias) ([]byte, error) {
	return aliasKey(AliasApplication, domain.ContextID{}, alias)
}

func aliasKey(kind AliasKind, scope domain.ContextID, alias domain.Alias) ([]byte, error) {
	if _, err := domain.ParseAlias(string(alias)); err != nil {
		return nil, err
	}
	if bytes.IndexByte([]byte(alias), 0) >= 0 {
		return nil, ErrAliasZeroByte
	}
	key := make([]byte, aliasKeyLen)
	copy(key, AliasPrefix(kind, scope))
	copy(key[33:], alias)
	return key, nil
}

// AliasPrefix is what the keys of all aliases of a kind and scope begin with.
func AliasPrefix(kind AliasKind, scope domain.ContextID) []byte {
	return concat([]byte{byte(kind)}, scope[:])
}

// ParseAliasKey reads an alias key. The scope is zero unless the kind is AliasPublicKey.
func ParseAliasKey(key []byte) (AliasKind, domain.ContextID, domain.Alias, error) {
	if len(key) != aliasKeyLen {
		return 0, domain.ContextID{}, "", fmt.Errorf("%w of alias: %d bytes instead of %d", ErrKey, len(key), aliasKeyLen)
	}
	kind := AliasKind(key[0])
	if kind < AliasContext || kind > AliasApplication {
		return 0, domain.ContextID{}, "", fmt.Errorf("%w of alias: unknown kind %d", ErrKey, kind)
	}
	alias, err := domain.ParseAlias(string(bytes.TrimRight(key[33:], "\x00")))
	if err != nil {
		return 0, domain.ContextID{}, "", fmt.Errorf("%w of alias: %w", ErrKey, err)
	}
	return kind, domain.ContextID(key[1:33]), alias, nil
}
