package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

// WASMApplicationID derives the id of an application installed from a single WASM blob of size bytes (governance.md
// §1.3). source is the normalised URL. It panics only for a source or metadata over 4 GiB, which no caller can hold as
// a request.
func WASMApplicationID(bytecode BlobID, size uint64, source string, metadata []byte) ApplicationID {
	h := sha256.New()
	h.Write(bytecode[:])
	h.Write(binary.LittleEndian.AppendUint64(nil, size))
	h.Write(lengthPrefix(len(source)))
	h.Write([]byte(source))
	h.Write(lengthPrefix(len(metadata)))
	h.Write(metadata)
	return ApplicationID(h.Sum(nil))
}

// BundleApplicationID derives the id of an application installed from a signed bundle; every version of the package by
// the same signer has the same id.
func BundleApplicationID(packageName, signerID string) ApplicationID {
	h := sha256.New()
	for _, text := range []string{packageName, signerID} {
		h.Write(lengthPrefix(len(text)))
		h.Write([]byte(text))
	}
	return ApplicationID(h.Sum(nil))
}

func lengthPrefix(n int) []byte {
	if uint64(n) > math.MaxUint32 {
		panic(fmt.Sprintf("length %d does not fit 32 bits", n))
	}
	return binary.LittleEndian.AppendUint32(nil, uint32(n))
}

// SignerID returns the did:key form of an Ed25519 key, the name of a bundle's signer.
func SignerID(key PublicKey) string {
	return "did:key:z" + encodeBase58(append([]byte{0xed, 0x01}, key[:]...))
}

// AppKey names an application by package and signer, independent of its version.
type AppKey struct {
	AppID    string // no colon in it
	SignerID string
}

// NewAppKey checks the two parts.
func NewAppKey(appID, signerID string) (AppKey, error) {
	switch {
	case appID == "":
		return AppKey{}, errors.New("appId cannot be empty")
	case strings.Contains(appID, ":"):
		return AppKey{}, errors.New("appId cannot contain ':' (colon is used as separator in serialized format)")
	case signerID == "":
		return AppKey{}, errors.New("invalid signerId: signerId cannot be empty")
	}
	return AppKey{AppID: appID, SignerID: signerID}, nil
}

// ParseAppKey reads "appId:signerId", split at the first colon.
func ParseAppKey(text string) (AppKey, error) {
	appID, signerID, ok := strings.Cut(text, ":")
	if !ok {
		return AppKey{}, fmt.Errorf("invalid AppKey format: expected 'appId:signerId', got '%s'", text)
	}
	return NewAppKey(appID, signerID)
}

// String returns "appId:signerId".
func (k AppKey) String() string { return k.AppID + ":" + k.SignerID }

// MarshalText returns "appId:signerId"; it never fails.
func (k AppKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what ParseAppKey reads.
func (k *AppKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParseAppKey(string(text))
	return err
}
