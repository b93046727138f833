package domain

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
)

// PrivateKey is the 32-byte seed of an Ed25519 key (RFC 8032 secret), not the 64-byte expanded form. It never prints:
// every fmt verb and every text or JSON form shows a placeholder or fails.
type PrivateKey [32]byte

// NewPrivateKey draws a seed from the system's random source.
func NewPrivateKey() (PrivateKey, error) {
	var key PrivateKey
	if _, err := rand.Read(key[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("draw a private key: %w", err)
	}
	return key, nil
}

// Public returns the public key of the seed.
func (k PrivateKey) Public() PublicKey {
	return PublicKey(ed25519.NewKeyFromSeed(k[:])[ed25519.SeedSize:])
}

// Sign signs message with plain Ed25519 (deterministic, no prehash, no context). Who signs often uses a Signer.
func (k PrivateKey) Sign(message []byte) Signature {
	return Signature(ed25519.Sign(ed25519.NewKeyFromSeed(k[:]), message))
}

// IsZero reports whether all 32 bytes are zero.
func (k PrivateKey) IsZero() bool { return k == PrivateKey{} }

// Signer signs with one private key. It keeps the expanded form of the key, which costs more to make than a signature,
// and prints as little as the key. It may be used concurrently.
type Signer struct{ expanded ed25519.PrivateKey }

// Signer makes a signer of the key.
func (k PrivateKey) Signer() *Signer { return &Signer{ed25519.NewKeyFromSeed(k[:])} }

// Of reports whether s signs with k.
func (s *Signer) Of(k PrivateKey) bool {
	return subtle.ConstantTimeCompare(s.expanded[:ed25519.SeedSize], k[:]) == 1
}

// Public returns the public key that verifies the signatures.
func (s *Signer) Public() PublicKey { return PublicKey(s.expanded[ed25519.SeedSize:]) }

// Sign signs as PrivateKey.Sign does.
func (s *Signer) Sign(message []byte) Signature { return Signature(ed25519.Sign(s.expanded, message)) }

// String returns a placeholder.
func (Signer) String() string { return redacted }

// Format prints a placeholder for every verb.
func (Signer) Format(state fmt.State, _ rune) { fmt.Fprint(state, redacted) }

// MarshalText always fails, as that of the key.
func (Signer) MarshalText() ([]byte, error) { return PrivateKey{}.MarshalText() }

const redacted = "PrivateKey(redacted)"

// String returns a placeholder.
func (PrivateKey) String() string { return redacted }

// Format prints a placeholder for every verb.
func (PrivateKey) Format(state fmt.State, _ rune) { fmt.Fprint(state, redacted) }

// MarshalText always fails: a private key has no text form that may leave the process by accident.
func (PrivateKey) MarshalText() ([]byte, error) {
	return nil, errors.New("refuse to print a private key")
}

// Signature is a raw Ed25519 signature (R ‖ S).
type Signature [64]byte

// String returns 128 lower-case hex digits.
func (s Signature) String() string { return hex.EncodeToString(s[:]) }

// IsZero reports whether all 64 bytes are zero, the mark of "not signed yet".
func (s Signature) IsZero() bool { return s == Signature{} }

// MarshalText returns the hex form; it never fails.
func (s Signature) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads 128 hex digits.
func (s *Signature) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("read signature: expected 128 hex digits: %w", err)
	}
	if len(raw) != len(s) {
		return fmt.Errorf("read signature: must be exactly %d bytes, got %d", len(s), len(raw))
	}
	copy(s[:], raw)
	return nil
}

// Verify reports whether sig is key's signature of message. It is the reference's non-strict check: the cofactorless
// equation with R compared as bytes, S canonical, keys in any encoding that is a point of the curve, small-order keys
// not refused (governance.md §1.2). A key that is no point verifies nothing.
func (id PublicKey) Verify(message []byte, sig Signature) bool {
	return ed25519.Verify(id[:], message, sig[:])
}
