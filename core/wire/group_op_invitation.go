package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// InvitationBytes is the size of an encoded invitation, to a group or to a context.
const InvitationBytes = 104

// OneUseSalt begins the salt of an invitation that one identity may use once. The reference takes it for random bytes.
const OneUseSalt = "cal1use."

// invitation is what the two invitations share (governance.md §6.3, §6.6): it lets whoever holds it, with its signature,
// join Target, a group's or a context's id.
type invitation[Target ~[32]byte] struct {
	Inviter    domain.PublicKey
	Target     Target
	Expiration uint64 // Unix seconds
	Salt       [32]byte
}

// GroupInvitation invites to a group.
type GroupInvitation = invitation[domain.GroupID]

// ContextInvitation invites to a context.
type ContextInvitation = invitation[domain.ContextID]

// EncodeBorsh writes the invitation.
func (i invitation[T]) EncodeBorsh(e *borsh.Encoder) {
	target := [32]byte(i.Target)
	e.Raw(i.Inviter[:])
	e.Raw(target[:])
	e.U64(i.Expiration)
	e.Raw(i.Salt[:])
}

// DecodeBorsh reads the invitation.
func (i *invitation[T]) DecodeBorsh(d *borsh.Decoder) {
	i.Inviter = d.Array32("inviter_identity")
	i.Target = T(d.Array32("target"))
	i.Expiration = d.U64("expiration_timestamp")
	i.Salt = d.Array32("secret_salt")
}

// Hash is the identity of the invitation, and what its inviter signs.
func (i invitation[T]) Hash() domain.Hash {
	e := borsh.NewEncoder(make([]byte, 0, InvitationBytes))
	i.EncodeBorsh(e)
	raw, _ := e.Finish() // fixed fields: cannot fail
	return sha256.Sum256(raw)
}

// OneUse reports whether the invitation may be used once only.
func (i invitation[T]) OneUse() bool { return bytes.HasPrefix(i.Salt[:], []byte(OneUseSalt)) }

// Sign returns the inviter's signature in hex.
func (i invitation[T]) Sign(key domain.PrivateKey) (string, error) {
	if key.Public() != i.Inviter {
		return "", errkind.Invalid.Errorf("sign invitation: the key is not that of inviter %s", i.Inviter)
	}
	hash := i.Hash()
	return key.Sign(hash[:]).String(), nil
}

// Verify checks the inviter's signature.
func (i invitation[T]) Verify(signature string) error {
	hash := i.Hash()
	return verifyHex("inviter signature", i.Inviter, hash, signature)
}

// SignedGroupInvitation is an invitation with its inviter's signature in hex, as sent: any text.
type SignedGroupInvitation struct {
	Invitation       GroupInvitation
	InviterSignature string
}

// EncodeBorsh writes the invitation.
func (s SignedGroupInvitation) EncodeBorsh(e *borsh.Encoder) {
	s.Invitation.EncodeBorsh(e)
	e.String(s.InviterSignature)
}

// DecodeBorsh reads the invitation.
func (s *SignedGroupInvitation) DecodeBorsh(d *borsh.Decoder) {
	s.Invitation.DecodeBorsh(d)
	s.InviterSignature = d.String("inviter_signature")
}

// Verify checks the inviter's signature.
func (s SignedGroupInvitation) Verify() error { return s.Invitation.Verify(s.InviterSignature) }

// GroupInvitationReveal is what a joiner signs: the invitation and itself.
type GroupInvitationReveal struct {
	Invitation SignedGroupInvitation
	Member     domain.PublicKey
}

// EncodeBorsh writes the reveal.
func (r GroupInvitationReveal) EncodeBorsh(e *borsh.Encoder) {
	r.Invitation.EncodeBorsh(e)
	e.Raw(r.Member[:])
}

// DecodeBorsh reads the reveal.
func (r *GroupInvitationReveal) DecodeBorsh(d *borsh.Decoder) {
	r.Invitation.DecodeBorsh(d)
	r.Member = d.Array32("new_member_identity")
}

// Hash is what the joiner signs.
func (r GroupInvitationReveal) Hash() (domain.Hash, error) {
	raw, err := Encode(r)
	return sha256.Sum256(raw), err
}

// Claim makes the operation that joins the key's identity.
func (s SignedGroupInvitation) Claim(joiner domain.PrivateKey) (OpJoinWithInvitationClaim, error) {
	hash, err := GroupInvitationReveal{Invitation: s, Member: joiner.Public()}.Hash()
	if err != nil {
		return OpJoinWithInvitationClaim{}, err
	}
	return OpJoinWithInvitationClaim{Invitation: s, InviteeSignature: joiner.Sign(hash[:]).String()}, nil
}

// Verify checks both signatures of a claim by joiner.
func (o OpJoinWithInvitationClaim) Verify(joiner domain.PublicKey) error {
	if err := o.Invitation.Verify(); err != nil {
		return err
	}
	hash, err := GroupInvitationReveal{Invitation: o.Invitation, Member: joiner}.Hash()
	if err != nil {
		return err
	}
	return verifyHex("invitee signature", joiner, hash, o.InviteeSignature)
}

// Invitation reads the payload of the operation: an invitation to its context by its inviter.
func (o OpMemberJoinedViaContextInvitation) Invitation() (ContextInvitation, error) {
	i, err := Decode[ContextInvitation](o.Payload)
	switch {
	case err != nil:
		return ContextInvitation{}, errkind.Invalid.Errorf("context invitation: %w", err)
	case i.Inviter != o.Inviter:
		return ContextInvitation{}, errkind.Invalid.Errorf("context invitation is by %s, not by %s", i.Inviter, o.Inviter)
	case i.Target != o.Context:
		return ContextInvitation{}, errkind.Invalid.Errorf("context invitation is to %s, not to %s", i.Target, o.Context)
	}
	return i, nil
}

// verifyHex checks a signature of a hash that is given as text; leading "0x" are cut off, as the reference does.
func verifyHex(what string, key domain.PublicKey, hash domain.Hash, text string) error {
	for strings.HasPrefix(text, "0x") {
		text = text[2:]
	}
	raw, err := hex.DecodeString(text)
	if err != nil {
		return errkind.Invalid.Errorf("%s hex: %w", what, err)
	}
	if len(raw) != len(domain.Signature{}) {
		return errkind.Invalid.Errorf("%s must be 64 bytes", what)
	}
	if !key.Verify(hash[:], domain.Signature(raw)) {
		return errkind.Invalid.Errorf("%s verification failed: not a signature of %s", what, key)
	}
	return nil
}
