package wire

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ErrSealedValue is a stored value that does not decrypt.
var ErrSealedValue = errors.New("encrypted value does not open")

const (
	sealVersion = 1
	nonceLen    = 12
	minSealed   = 1 + nonceLen + 16
)

// ValueCipher encrypts stored values, not keys, with AES-256-GCM: version ‖ nonce ‖ ciphertext and tag. The data key
// of a version is derived from the master key, so every version stays readable (network-apps.md §5.2). It is safe for
// concurrent use.
type ValueCipher struct {
	master []byte
	seal   cipher.AEAD
}

// NewValueCipher returns a cipher for a master key of any length but zero.
func NewValueCipher(master []byte) (*ValueCipher, error) {
	if len(master) == 0 {
		return nil, errors.New("make value cipher: the master key is empty")
	}
	c := &ValueCipher{master: append([]byte(nil), master...)}
	var err error
	c.seal, err = c.forVersion(sealVersion)
	return c, err
}

func (c *ValueCipher) forVersion(version byte) (cipher.AEAD, error) {
	salt := fmt.Appendf(nil, "calimero-dek-v%d", version)
	key, err := hkdf.Key(sha256.New, c.master, salt, "encryption", 32)
	if err != nil {
		return nil, fmt.Errorf("derive data key version %d: %w", version, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make data cipher version %d: %w", version, err)
	}
	return cipher.NewGCM(block)
}

// Seal encrypts a value under a fresh random nonce.
func (c *ValueCipher) Seal(plain []byte) ([]byte, error) {
	out := make([]byte, 1+nonceLen, minSealed+len(plain))
	out[0] = sealVersion
	if _, err := rand.Read(out[1:]); err != nil {
		return nil, fmt.Errorf("draw nonce: %w", err)
	}
	return c.seal.Seal(out, out[1:], plain, nil), nil
}

// Open decrypts what Seal made. Its errors are [ErrSealedValue].
func (c *ValueCipher) Open(stored []byte) ([]byte, error) {
	if len(stored) < minSealed {
		return nil, fmt.Errorf("%w: Ciphertext too short: %d bytes (minimum %d)", ErrSealedValue, len(stored), minSealed)
	}
	aead := c.seal
	if stored[0] != sealVersion {
		var err error
		if aead, err = c.forVersion(stored[0]); err != nil {
			return nil, err
		}
	}
	plain, err := aead.Open(nil, stored[1:1+nonceLen], stored[1+nonceLen:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: Decryption failed (version %d)", ErrSealedValue, stored[0])
	}
	return plain, nil
}
