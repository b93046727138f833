package governance

import (
	"errors"
	"strings"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Code is a verdict's stable text.
type Code string

// Verdicts. A refusal never changes, but for joins without parents and what follows them. A void operation may come
// alive, and an applied one become void, as operations arrive.
const (
	Pending Code = "PENDING_PARENTS"
	Applied Code = "APPLIED"

	// Of what is no operation of the group, and is not kept.
	RefusedStructure Code = "REFUSED_STRUCTURE"
	RefusedVersion   Code = "REFUSED_VERSION"
	RefusedSignature Code = "REFUSED_SIGNATURE"
	RefusedTooLarge  Code = "REFUSED_TOO_LARGE"

	RefusedTooManyParents      Code = "REFUSED_TOO_MANY_PARENTS"
	RefusedGroupDeleted        Code = "REFUSED_GROUP_DELETED"
	RefusedNonceStale          Code = "REFUSED_NONCE_STALE"
	RefusedNotAdmin            Code = "REFUSED_NOT_ADMIN"
	RefusedNoCapability        Code = "REFUSED_NO_CAPABILITY"
	RefusedNotAMember          Code = "REFUSED_NOT_A_MEMBER"
	RefusedOnlyAdminAddsAdmin  Code = "REFUSED_ONLY_ADMIN_ADDS_ADMIN"
	RefusedAdminTarget         Code = "REFUSED_ADMIN_TARGET"
	RefusedSelfEscalation      Code = "REFUSED_SELF_ESCALATION"
	RefusedLastAdmin           Code = "REFUSED_LAST_ADMIN"
	RefusedBadMode             Code = "REFUSED_BAD_MODE"
	RefusedContextNotInGroup   Code = "REFUSED_CONTEXT_NOT_IN_GROUP"
	RefusedCreatorClaim        Code = "REFUSED_CREATOR_CLAIM"
	RefusedNoVisibility        Code = "REFUSED_NO_VISIBILITY"
	RefusedNotDirectOrCreator  Code = "REFUSED_NOT_DIRECT_ADMIN_OR_CREATOR"
	RefusedNotAdminOrCreator   Code = "REFUSED_NOT_ADMIN_OR_CREATOR"
	RefusedNotAdminOrSelf      Code = "REFUSED_NOT_ADMIN_OR_SELF"
	RefusedDeleteWithContexts  Code = "REFUSED_DELETE_WITH_CONTEXTS"
	RefusedNotASubgroup        Code = "REFUSED_NOT_A_SUBGROUP"
	RefusedInvitationGroup     Code = "REFUSED_INVITATION_GROUP"
	RefusedInvitationSignature Code = "REFUSED_INVITATION_SIGNATURE"
	RefusedInvitationPayload   Code = "REFUSED_INVITATION_PAYLOAD"
	RefusedInvitationClosed    Code = "REFUSED_INVITATION_CLOSED"
	RefusedInvitationUsed      Code = "REFUSED_INVITATION_USED"
	RefusedInviterLacks        Code = "REFUSED_INVITER_LACKS_PERMISSION"
	RefusedAlreadyMember       Code = "REFUSED_ALREADY_MEMBER"
	RefusedTeeNoPolicy         Code = "REFUSED_TEE_NO_POLICY"
	RefusedTeePolicy           Code = "REFUSED_TEE_POLICY"
	VoidAuthorityRevoked       Code = "VOID_AUTHORITY_REVOKED"
	VoidUnsupported            Code = "VOID_UNSUPPORTED"
	VoidLastAdmin              Code = "VOID_LAST_ADMIN"
	VoidInvitationUsed         Code = "VOID_INVITATION_USED"
	VoidInheritedLost          Code = "VOID_INHERITED_LOST"
	VoidDeleteContexts         Code = "VOID_DELETE_CONTEXTS"
	VoidGroupDeleted           Code = "VOID_GROUP_DELETED"
)

// Refused reports whether the operation never counts.
func (c Code) Refused() bool { return strings.HasPrefix(string(c), "REFUSED_") }

// Void reports whether the operation was lawful where it was made and does not count beside what others did.
func (c Code) Void() bool { return strings.HasPrefix(string(c), "VOID_") }

// reasons tell an operator what a code means.
var reasons = map[Code]string{
	Pending:                    "waits for operations that were not received",
	Applied:                    "counts",
	RefusedStructure:           "is not the encoding of an operation of this group",
	RefusedVersion:             "has another schema version",
	RefusedSignature:           "its signature is not its author's",
	RefusedTooLarge:            "is larger than an operation may be",
	RefusedTooManyParents:      "has more than 256 parents",
	RefusedGroupDeleted:        "the group was deleted before",
	RefusedNonceStale:          "its author had used this nonce or a higher one",
	RefusedNotAdmin:            "its author was not an admin of the group",
	RefusedNoCapability:        "its author was neither an admin nor held the capability",
	RefusedNotAMember:          "its author was not a member",
	RefusedOnlyAdminAddsAdmin:  "only admins can add new admins",
	RefusedAdminTarget:         "only admins can remove other admins or lower their role",
	RefusedSelfEscalation:      "its author, no admin, set its own role",
	RefusedLastAdmin:           "it would leave the group without an admin",
	RefusedBadMode:             "visibility mode must be 0 (Open) or 1 (Restricted)",
	RefusedContextNotInGroup:   "the context was not registered in the group",
	RefusedCreatorClaim:        "its author was neither a direct admin nor the creator of the context",
	RefusedNoVisibility:        "the context had no visibility yet, and its author was no admin",
	RefusedNotDirectOrCreator:  "its author was neither a direct admin nor the creator of the context",
	RefusedNotAdminOrCreator:   "its author was neither an admin nor the creator of the context",
	RefusedNotAdminOrSelf:      "its author was neither an admin nor the member named",
	RefusedDeleteWithContexts:  "contexts were still registered in the group",
	RefusedNotASubgroup:        "the child group is not a subgroup of this group",
	RefusedInvitationGroup:     "the invitation is to another group",
	RefusedInvitationSignature: "a signature of the invitation or of the joiner is wrong",
	RefusedInvitationPayload:   "the invitation does not name this context and this inviter",
	RefusedInvitationClosed:    "the invitation was closed",
	RefusedInvitationUsed:      "the invitation, for one use, was used",
	RefusedInviterLacks:        "the inviter was neither an admin nor held CAN_INVITE_MEMBERS",
	RefusedAlreadyMember:       "its author was a member",
	RefusedTeeNoPolicy:         "no policy for attested nodes was set",
	RefusedTeePolicy:           "the attestation does not fit the policy",
	VoidAuthorityRevoked:       "another operation, made without knowledge of it, took the authority it used",
	VoidUnsupported:            "its authority came from operations that do not count",
	VoidLastAdmin:              "together with other removals it would leave the group without an admin",
	VoidInvitationUsed:         "another join used the invitation, which is for one use",
	VoidInheritedLost:          "its author is no admin of the parent group any more, and no member had built on it",
	VoidDeleteContexts:         "a context was registered at the same time",
	VoidGroupDeleted:           "the group was deleted",
}

// Rejection is the code of what [wire.DecodeSignedGroupOp] or [NewOp] do not take.
func Rejection(err error) Code {
	switch {
	case errors.Is(err, wire.ErrGroupOpVersion):
		return RefusedVersion
	case errors.Is(err, wire.ErrGroupOpSignature):
		return RefusedSignature
	case errors.Is(err, errkind.TooLarge):
		return RefusedTooLarge
	}
	return RefusedStructure
}

// Reason says in words what a code means.
func (c Code) Reason() string { return reasons[c] }

// Verdict is what became of an operation, and which other operations caused it: the first ones, that is those without
// another cause in their past, in ascending order.
type Verdict struct {
	Code Code
	By   []domain.Hash
}

func faultf(format string, args ...any) error { return errkind.Invalid.Errorf(format, args...) }
