// Package identity has the keys of the node and its members: how they are derived, agreed on and used.
package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"fmt"

	"filippo.io/edwards25519"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// NonceLen is the size in bytes of a nonce.
const NonceLen = wire.NonceLen

// Nonce makes each use of a [SharedKey] different. Using one twice with the same key gives the plaintexts away.
type Nonce = wire.Nonce

// NewNonce draws a nonce.
func NewNonce() (n Nonce, err error) {
	if _, err := rand.Read(n[:]); err != nil {
		return n, fmt.Errorf("draw a nonce: %w", err)
	}
	return n, nil
}

// Faults of keys and ciphertexts.
var (
	ErrInvalidPublicKey = errors.New("invalid public key: not a valid Edwards Y coordinate")
	ErrDecrypt          = errors.New("ciphertext does not open with this key and nonce")
)

// SharedKey encrypts with AES-256-GCM, without associated data. It is safe for concurrent use; make one with
// [NewSharedKey] or [NewSenderKey].
type SharedKey struct{ aead cipher.AEAD }

// NewSharedKey returns the key that the owner of secret shares with the owner of peer: the product of the secret scalar
// and the peer's point. As in the reference a peer key of small order is not refused; such a peer chose a key that
// everybody knows.
func NewSharedKey(secret domain.PrivateKey, peer domain.PublicKey) (SharedKey, error) {
	key, err := agree(secret, peer)
	if err != nil {
		return SharedKey{}, err
	}
	return newKey(key)
}

// NewSenderKey returns the key of a member's own deltas: the 32 bytes of its sender key.
func NewSenderKey(senderKey domain.PrivateKey) (SharedKey, error) { return newKey(senderKey) }

func agree(secret domain.PrivateKey, peer domain.PublicKey) ([32]byte, error) {
	point, err := new(edwards25519.Point).SetBytes(peer[:])
	if err != nil {
		return [32]byte{}, ErrInvalidPublicKey
	}
	digest := sha512.Sum512(secret[:])
	scalar, err := new(edwards25519.Scalar).SetBytesWithClamping(digest[:32])
	if err != nil {
		return [32]byte{}, fmt.Errorf("derive secret scalar: %w", err)
	}
	return [32]byte(point.ScalarMult(scalar, point).Bytes()), nil
}

func newKey(key [32]byte) (SharedKey, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return SharedKey{}, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return SharedKey{}, fmt.Errorf("make cipher: %w", err)
	}
	return SharedKey{aead}, nil
}

// Encrypt returns the ciphertext and its 16-byte tag in new memory.
func (k SharedKey) Encrypt(plain []byte, nonce Nonce) []byte {
	return k.aead.Seal(nil, nonce[:], plain, nil)
}

// Decrypt opens what Encrypt made, into new memory. Its error is [ErrDecrypt].
func (k SharedKey) Decrypt(ciphertext []byte, nonce Nonce) ([]byte, error) {
	plain, err := k.aead.Open(nil, nonce[:], ciphertext, nil)
	if err != nil {
		return nil, ErrDecrypt
	}
	return plain, nil
}
