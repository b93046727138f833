package domain

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Faults of a hex identifier; the API puts its own words around them (governance.md §1.1).
var (
	ErrInvalidHex       = errors.New("expected hex-encoded 32 bytes")
	ErrInvalidHexLength = errors.New("must be exactly 32 bytes")
)

// GroupID is the identity of a context group. Unlike the other identifiers its text form is lower-case hex.
type GroupID [32]byte

// ParseGroupID reads 64 hex digits of either case. It fails with [ErrInvalidHex] or [ErrInvalidHexLength].
func ParseGroupID(text string) (GroupID, error) {
	raw, err := ParseHex32(text)
	return GroupID(raw), err
}

// ParseHex32 reads 32 bytes from 64 hex digits of either case, the form of group ids, group app keys and secrets in
// requests. It fails with [ErrInvalidHex] or [ErrInvalidHexLength].
func ParseHex32(text string) ([32]byte, error) {
	var out [32]byte
	raw, err := hex.DecodeString(text)
	if err != nil {
		return out, ErrInvalidHex
	}
	if len(raw) != len(out) {
		return out, ErrInvalidHexLength
	}
	copy(out[:], raw)
	return out, nil
}

// String returns 64 lower-case hex digits.
func (id GroupID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether all 32 bytes are zero.
func (id GroupID) IsZero() bool { return id == GroupID{} }

// Compare orders by raw bytes, as the store does.
func (id GroupID) Compare(other GroupID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the hex form; it never fails.
func (id GroupID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what ParseGroupID reads.
func (id *GroupID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseGroupID(string(text))
	return err
}

// Debug returns the form in which the reference's error texts name a group (governance.md §1.1).
func (id GroupID) Debug() string {
	var list strings.Builder
	for i, b := range id {
		if i > 0 {
			list.WriteString(", ")
		}
		fmt.Fprintf(&list, "%d", b)
	}
	return "ContextGroupId(Identity([" + list.String() + "]))"
}

// Debug returns the form in which some of the reference's error texts name a context.
func (id ContextID) Debug() string { return `ContextId(Hash("` + id.String() + `"))` }
