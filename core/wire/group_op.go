package wire

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds and constants of group operations (governance.md §2).
const (
	// GroupOpVersion is the only version of the schema.
	GroupOpVersion = 3
	// MaxGroupOpParents bounds the parents of an operation.
	MaxGroupOpParents = 256
	// MaxGroupOpBytes bounds an encoded [SignedGroupOp], on gossip as on streams.
	MaxGroupOpBytes = 65536

	groupOpDomain = "calimero.group.v1"
)

// Faults of a signed operation, in the reference's words.
var (
	ErrGroupOpVersion   = errors.New("schema version mismatch")
	ErrGroupOpSignature = errors.New("signature verification failed")
)

// SignableGroupOp is what the signer of a group operation signs.
type SignableGroupOp struct {
	Version uint8
	Group   domain.GroupID
	Parents []domain.Hash // content hashes; zero ones say nothing
	// StateHash is the [GroupStateHash] the signer saw; zero is not given.
	StateHash domain.Hash
	Signer    domain.PublicKey
	Nonce     uint64
	Op        GroupOp
}

// EncodeBorsh writes the operation.
func (s SignableGroupOp) EncodeBorsh(e *borsh.Encoder) {
	e.U8(s.Version)
	e.Raw(s.Group[:])
	borsh.PutSlice(e, s.Parents, borsh.PutArray32[domain.Hash])
	e.Raw(s.StateHash[:])
	e.Raw(s.Signer[:])
	e.U64(s.Nonce)
	PutGroupOp(e, s.Op)
}

// DecodeBorsh reads the operation. The version may be any.
func (s *SignableGroupOp) DecodeBorsh(d *borsh.Decoder) {
	s.Version = d.U8("version")
	s.Group = d.Array32("group_id")
	s.Parents = borsh.Array32s[domain.Hash](d, "parent_op_hashes")
	s.StateHash = d.Array32("state_hash")
	s.Signer = d.Array32("signer")
	s.Nonce = d.U64("nonce")
	s.Op = ReadGroupOp(d, "op")
}

// SigningBytes are what is signed, and hashed for the identity of the operation: a domain and the encoding.
func (s SignableGroupOp) SigningBytes() ([]byte, error) {
	e := borsh.NewEncoder(append(make([]byte, 0, 512), groupOpDomain...))
	s.EncodeBorsh(e)
	out, err := e.Finish()
	if err != nil {
		return nil, fmt.Errorf("encode group operation: %w", err)
	}
	return out, nil
}

// Sign signs an operation with the key of its signer. An operation that others would refuse for its size is an error.
func (s SignableGroupOp) Sign(key domain.PrivateKey) (SignedGroupOp, error) {
	signed, _, err := s.sign(key)
	return signed, err
}

// SignRaw signs as Sign does and returns the identity and the encoding of the signed operation.
func (s SignableGroupOp) SignRaw(key domain.PrivateKey) (id domain.Hash, raw []byte, err error) {
	signed, message, err := s.sign(key)
	if err != nil {
		return id, nil, err
	}
	return sha256.Sum256(message), slices.Concat(message[len(groupOpDomain):], signed.Signature[:]), nil
}

func (s SignableGroupOp) sign(key domain.PrivateKey) (signed SignedGroupOp, message []byte, err error) {
	if key.Public() != s.Signer {
		return signed, nil, errkind.Invalid.Errorf("sign group operation: the key is not that of signer %s", s.Signer)
	}
	if message, err = s.SigningBytes(); err != nil {
		return signed, nil, err
	}
	if size := len(message) - len(groupOpDomain) + len(domain.Signature{}); size > MaxGroupOpBytes {
		return signed, nil, errkind.TooLarge.Errorf("signed group op payload exceeds max (%d > %d)", size, MaxGroupOpBytes)
	}
	return SignedGroupOp{SignableGroupOp: s, Signature: key.Sign(message)}, message, nil
}

// SignedGroupOp is a group operation as it travels and is kept.
type SignedGroupOp struct {
	SignableGroupOp
	Signature domain.Signature
}

// EncodeBorsh writes the operation.
func (s SignedGroupOp) EncodeBorsh(e *borsh.Encoder) {
	s.SignableGroupOp.EncodeBorsh(e)
	e.Raw(s.Signature[:])
}

// DecodeBorsh reads the operation. Nothing is verified.
func (s *SignedGroupOp) DecodeBorsh(d *borsh.Decoder) {
	s.SignableGroupOp.DecodeBorsh(d)
	d.Raw("signature", s.Signature[:])
}

// DecodeSignedGroupOp reads an operation of at most [MaxGroupOpBytes]. Nothing is verified.
func DecodeSignedGroupOp(in []byte) (SignedGroupOp, error) {
	if len(in) > MaxGroupOpBytes {
		return SignedGroupOp{}, errkind.TooLarge.Errorf("signed group op payload exceeds max (%d > %d)", len(in), MaxGroupOpBytes)
	}
	return Decode[SignedGroupOp](in)
}

// ContentHash is the identity of the operation. The signature is not part of it.
func (s SignableGroupOp) ContentHash() (domain.Hash, error) {
	message, err := s.SigningBytes()
	return sha256.Sum256(message), err
}

// Verify checks version and signature and returns the identity of the operation.
func (s SignedGroupOp) Verify() (domain.Hash, error) {
	if s.Version != GroupOpVersion {
		return domain.Hash{}, errkind.Invalid.Errorf("%w: expected %d, got %d", ErrGroupOpVersion, GroupOpVersion, s.Version)
	}
	message, err := s.SigningBytes()
	if err != nil {
		return domain.Hash{}, err
	}
	if !s.Signer.Verify(message, s.Signature) {
		return domain.Hash{}, errkind.Invalid.Errorf("%w: not a signature of %s", ErrGroupOpSignature, s.Signer)
	}
	return sha256.Sum256(message), nil
}

// GroupStateMember is a member in a [GroupStateHash].
type GroupStateMember struct {
	Member domain.PublicKey
	Role   domain.MemberRole
}

// GroupStateHash is the reference's short form of a group (governance.md §3.1): the first admin, the target application
// and the direct members, each once, in any order.
func GroupStateHash(group domain.GroupID, admin domain.PublicKey, target domain.ApplicationID,
	members []GroupStateMember) domain.Hash {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b GroupStateMember) int { return a.Member.Compare(b.Member) })
	h := sha256.New()
	h.Write(group[:])
	h.Write(admin[:])
	h.Write(target[:])
	for _, m := range members {
		h.Write(m.Member[:])
		h.Write([]byte{byte(m.Role)})
	}
	return domain.Hash(h.Sum(nil))
}
