package wire

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// maxInvitedGenesis bounds an encoded InvitedGenesis.
const maxInvitedGenesis = 4 << 10

const vouchDomain = "calimero.group.vouch.v1"

// InvitedGenesis is the genesis of a group as an invitation of ours carries it, an extension (docs/design/governance.md):
// the inviter vouches for it, so that who trusts the invitation may trust the genesis, whoever passed both on.
type InvitedGenesis struct {
	Genesis GroupGenesis
	Vouch   domain.Signature // the inviter's
}

// VouchFor makes the genesis part of an invitation, given that one's hash.
func VouchFor(g GroupGenesis, invitation domain.Hash, inviter domain.PrivateKey) (InvitedGenesis, error) {
	message, err := vouchMessage(g, invitation)
	return InvitedGenesis{Genesis: g, Vouch: inviter.Sign(message)}, err
}

func vouchMessage(g GroupGenesis, invitation domain.Hash) ([]byte, error) {
	raw, err := Encode(g)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(raw)
	return append(append([]byte(vouchDomain), invitation[:]...), digest[:]...), nil
}

// Verify checks the genesis and that the inviter vouches for it in this invitation to the group, or to a context of it.
func (i InvitedGenesis) Verify(group domain.GroupID, invitation domain.Hash, inviter domain.PublicKey) error {
	if i.Genesis.Group != group {
		return errkind.Invalid.Errorf("the invitation has the genesis of group %s, not of %s", i.Genesis.Group, group)
	}
	if err := i.Genesis.Verify(); err != nil {
		return err
	}
	message, err := vouchMessage(i.Genesis, invitation)
	if err != nil {
		return err
	}
	if !inviter.Verify(message, i.Vouch) {
		return errkind.Invalid.Errorf("genesis of group %s: the inviter %s does not vouch for it", group, inviter)
	}
	return nil
}

// EncodeBorsh writes both.
func (i InvitedGenesis) EncodeBorsh(e *borsh.Encoder) {
	i.Genesis.EncodeBorsh(e)
	e.Raw(i.Vouch[:])
}

// DecodeBorsh reads both. Nothing is verified.
func (i *InvitedGenesis) DecodeBorsh(d *borsh.Decoder) {
	i.Genesis.DecodeBorsh(d)
	i.Vouch = readSignature(d, "vouch")
}

// MarshalText is the form in the JSON of invitations: hex.
func (i InvitedGenesis) MarshalText() ([]byte, error) {
	raw, err := Encode(i)
	return hex.AppendEncode(nil, raw), err
}

// UnmarshalText reads it. Nothing is verified.
func (i *InvitedGenesis) UnmarshalText(text []byte) error {
	if len(text) > 2*maxInvitedGenesis {
		return errkind.TooLarge.Errorf("the genesis in the invitation takes %d characters, the limit is %d", len(text), 2*maxInvitedGenesis)
	}
	raw, err := hex.AppendDecode(nil, text)
	if err != nil {
		return errkind.Invalid.Errorf("the genesis in the invitation: %w", err)
	}
	if *i, err = Decode[InvitedGenesis](raw); err != nil {
		return errkind.Invalid.Errorf("the genesis in the invitation: %w", err)
	}
	return nil
}
