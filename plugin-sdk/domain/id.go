package domain

import "bytes"

// Hash is a SHA-256 digest or any other 32-byte value shown in base58 (root hashes, delta ids).
type Hash [32]byte

// ParseHash reads the base58 form. It fails with [ErrInvalidBase58] or [ErrInvalidHashLength].
func ParseHash(text string) (Hash, error) {
	id, err := parseID(text)
	return Hash(id), err
}

// String returns the base58 form.
func (id Hash) String() string { return encodeBase58(id[:]) }

// IsZero reports whether all 32 bytes are zero.
func (id Hash) IsZero() bool { return id == Hash{} }

// Compare orders by raw bytes, as the store does.
func (id Hash) Compare(other Hash) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the base58 form; it never fails.
func (id Hash) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what ParseHash reads.
func (id *Hash) UnmarshalText(text []byte) (err error) {
	*id, err = ParseHash(string(text))
	return err
}

// UnmarshalJSON reads a base58 string; its error texts are those of the reference's JSON reader.
func (id *Hash) UnmarshalJSON(data []byte) error {
	raw, err := parseIDJSON(data)
	if err != nil {
		return err
	}
	*id = Hash(raw)
	return nil
}

// ContextID is the identity of a context: the Ed25519 public key of a one-off secret. The zero value is the pool of
// identities that belong to no context yet.
type ContextID [32]byte

// ParseContextID reads the base58 form. It fails with [ErrInvalidBase58] or [ErrInvalidHashLength].
func ParseContextID(text string) (ContextID, error) {
	id, err := parseID(text)
	return ContextID(id), err
}

// String returns the base58 form.
func (id ContextID) String() string { return encodeBase58(id[:]) }

// IsZero reports whether all 32 bytes are zero.
func (id ContextID) IsZero() bool { return id == ContextID{} }

// Compare orders by raw bytes, as the store does.
func (id ContextID) Compare(other ContextID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the base58 form; it never fails.
func (id ContextID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what ParseContextID reads.
func (id *ContextID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseContextID(string(text))
	return err
}

// UnmarshalJSON reads a base58 string; its error texts are those of the reference's JSON reader.
func (id *ContextID) UnmarshalJSON(data []byte) error {
	raw, err := parseIDJSON(data)
	if err != nil {
		return err
	}
	*id = ContextID(raw)
	return nil
}

// ApplicationID is the identity of an installed application (see [WASMApplicationID], [BundleApplicationID]).
type ApplicationID [32]byte

// ParseApplicationID reads the base58 form. It fails with [ErrInvalidBase58] or [ErrInvalidHashLength].
func ParseApplicationID(text string) (ApplicationID, error) {
	id, err := parseID(text)
	return ApplicationID(id), err
}

// String returns the base58 form.
func (id ApplicationID) String() string { return encodeBase58(id[:]) }

// IsZero reports whether all 32 bytes are zero.
func (id ApplicationID) IsZero() bool { return id == ApplicationID{} }

// Compare orders by raw bytes, as the store does.
func (id ApplicationID) Compare(other ApplicationID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the base58 form; it never fails.
func (id ApplicationID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what ParseApplicationID reads.
func (id *ApplicationID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseApplicationID(string(text))
	return err
}

// UnmarshalJSON reads a base58 string; its error texts are those of the reference's JSON reader.
func (id *ApplicationID) UnmarshalJSON(data []byte) error {
	raw, err := parseIDJSON(data)
	if err != nil {
		return err
	}
	*id = ApplicationID(raw)
	return nil
}

// BlobID is the identity of a blob (network-apps.md §3.1, package blobid).
type BlobID [32]byte

// ParseBlobID reads the base58 form. It fails with [ErrInvalidBase58] or [ErrInvalidHashLength].
func ParseBlobID(text string) (BlobID, error) {
	id, err := parseID(text)
	return BlobID(id), err
}

// String returns the base58 form.
func (id BlobID) String() string { return encodeBase58(id[:]) }

// IsZero reports whether all 32 bytes are zero.
func (id BlobID) IsZero() bool { return id == BlobID{} }

// Compare orders by raw bytes, as the store does.
func (id BlobID) Compare(other BlobID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the base58 form; it never fails.
func (id BlobID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what ParseBlobID reads.
func (id *BlobID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseBlobID(string(text))
	return err
}

// UnmarshalJSON reads a base58 string; its error texts are those of the reference's JSON reader.
func (id *BlobID) UnmarshalJSON(data []byte) error {
	raw, err := parseIDJSON(data)
	if err != nil {
		return err
	}
	*id = BlobID(raw)
	return nil
}

// PublicKey is an Ed25519 public key in its 32-byte compressed form. Any 32 bytes are a value of this type; whether they
// are a point of the curve shows when they are used.
type PublicKey [32]byte

// ParsePublicKey reads the base58 form. It fails with [ErrInvalidBase58] or [ErrInvalidHashLength].
func ParsePublicKey(text string) (PublicKey, error) {
	id, err := parseID(text)
	return PublicKey(id), err
}

// String returns the base58 form.
func (id PublicKey) String() string { return encodeBase58(id[:]) }

// IsZero reports whether all 32 bytes are zero.
func (id PublicKey) IsZero() bool { return id == PublicKey{} }

// Compare orders by raw bytes, as the store does.
func (id PublicKey) Compare(other PublicKey) int { return bytes.Compare(id[:], other[:]) }

// MarshalText returns the base58 form; it never fails.
func (id PublicKey) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what ParsePublicKey reads.
func (id *PublicKey) UnmarshalText(text []byte) (err error) {
	*id, err = ParsePublicKey(string(text))
	return err
}

// UnmarshalJSON reads a base58 string; its error texts are those of the reference's JSON reader.
func (id *PublicKey) UnmarshalJSON(data []byte) error {
	raw, err := parseIDJSON(data)
	if err != nil {
		return err
	}
	*id = PublicKey(raw)
	return nil
}
