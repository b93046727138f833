// Package governance says what a group is, given its operations: who is a member, who may do what, which contexts it
// has. Two nodes that hold the same genesis and the same operations compute the same state and the same verdict for
// each operation, whatever the order of arrival, repetition or restart. The rule is that of docs/design/governance.md.
//
// The package is a function: no I/O, no clock, no signature is checked here but in [NewOp]. [Evaluate] computes a group
// from nothing, [Engine] keeps one up to date.
package governance

import (
	"slices"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Op is an operation of a group whose signature was verified.
type Op struct {
	// ID is the content hash, Parents those of the operations its author had seen: distinct, without zero.
	ID      domain.Hash
	Parents []domain.Hash
	Author  domain.PublicKey
	Nonce   uint64
	Body    wire.GroupOp
	// Fault is a refusal that follows from the bytes alone; empty for none.
	Fault Code
	// Claim is what a join by invitation says; nil for other operations.
	Claim *Claim
}

// Claim is the content of a join by invitation, checked as far as bytes go.
type Claim struct {
	Inviter    domain.PublicKey
	Invitation domain.Hash
	OneUse     bool
	// Expiration in Unix seconds. No verdict depends on it.
	Expiration uint64
	// Fault is why the claim is refused, whatever the group; empty for none.
	Fault Code
}

// NewOp verifies a signed operation of a group and reads what the rule needs of it. An error says that the signature,
// the version or the group is not right: such bytes are nobody's operation and are not to be kept.
func NewOp(group domain.GroupID, signed wire.SignedGroupOp) (Op, error) {
	if signed.Group != group {
		return Op{}, faultf("operation of group %s, not of %s", signed.Group, group)
	}
	id, err := signed.Verify()
	if err != nil {
		return Op{}, err
	}
	return newOp(id, signed), nil
}

// ReadOp is NewOp for an operation whose signature this node verified before it kept it.
func ReadOp(group domain.GroupID, signed wire.SignedGroupOp) (Op, error) {
	if signed.Group != group {
		return Op{}, faultf("operation of group %s, not of %s", signed.Group, group)
	}
	id, err := signed.ContentHash()
	if err != nil {
		return Op{}, err
	}
	return newOp(id, signed), nil
}

func newOp(id domain.Hash, signed wire.SignedGroupOp) Op {
	op := Op{
		ID: id, Parents: distinct(signed.Parents), Author: signed.Signer, Nonce: signed.Nonce, Body: signed.Op,
	}
	if len(signed.Parents) > wire.MaxGroupOpParents {
		op.Fault = RefusedTooManyParents
	}
	switch body := signed.Op.(type) {
	case wire.OpJoinWithInvitationClaim:
		op.Claim = groupClaim(signed.Group, signed.Signer, body)
	case wire.OpMemberJoinedViaContextInvitation:
		op.Claim = contextClaim(body)
	}
	return op
}

func groupClaim(group domain.GroupID, joiner domain.PublicKey, body wire.OpJoinWithInvitationClaim) *Claim {
	i := body.Invitation.Invitation
	claim := &Claim{Inviter: i.Inviter, Invitation: i.Hash(), OneUse: i.OneUse(), Expiration: i.Expiration}
	switch {
	case i.Target != group:
		claim.Fault = RefusedInvitationGroup
	case body.Verify(joiner) != nil:
		claim.Fault = RefusedInvitationSignature
	}
	return claim
}

func contextClaim(body wire.OpMemberJoinedViaContextInvitation) *Claim {
	i, err := body.Invitation()
	if err != nil {
		return &Claim{Inviter: body.Inviter, Fault: RefusedInvitationPayload}
	}
	claim := &Claim{Inviter: i.Inviter, Invitation: i.Hash(), OneUse: i.OneUse(), Expiration: i.Expiration}
	if i.Verify(body.InviterSignature) != nil {
		claim.Fault = RefusedInvitationSignature
	}
	return claim
}

// parentless reports a join that names no parents: a fresh node of the reference makes one.
func (o *Op) parentless() bool { return o.Claim != nil && len(o.Parents) == 0 }

// distinct returns the parents once each, without zero.
func distinct(parents []domain.Hash) []domain.Hash {
	out := slices.Clone(parents)
	slices.SortFunc(out, domain.Hash.Compare)
	out = slices.Compact(out)
	return slices.DeleteFunc(out, domain.Hash.IsZero)
}
