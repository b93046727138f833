package domain

import (
	"errors"
	"unicode/utf8"
)

// MaxAliasBytes is the longest alias, in bytes of UTF-8.
const MaxAliasBytes = 50

// Faults of an alias.
var (
	ErrAliasTooLong = errors.New("exceeds maximum length of 50 characters")
	ErrAliasNotUTF8 = errors.New("alias is not valid UTF-8")
)

// Alias is a name an operator gives to a context, an application or an identity: any UTF-8 text of at most
// [MaxAliasBytes] bytes, the empty one included. Make one with [ParseAlias].
type Alias string

// ParseAlias checks the length and the encoding of text.
func ParseAlias(text string) (Alias, error) {
	if len(text) > MaxAliasBytes {
		return "", ErrAliasTooLong
	}
	if !utf8.ValidString(text) {
		return "", ErrAliasNotUTF8
	}
	return Alias(text), nil
}

// String returns the name.
func (a Alias) String() string { return string(a) }

// MarshalText returns the name; it fails when the value was not made by ParseAlias and is no alias.
func (a Alias) MarshalText() ([]byte, error) {
	_, err := ParseAlias(string(a))
	return []byte(a), err
}

// UnmarshalText reads what ParseAlias reads.
func (a *Alias) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAlias(string(text))
	return err
}
