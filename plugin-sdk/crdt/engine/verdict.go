package engine

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/crdt"
)

// Outcome is what became of an action. The rows of a state are the same for every order of its actions; outcomes tell
// of the order at hand.
type Outcome uint8

// Outcomes.
const (
	Ignored    Outcome = iota // what is stored is newer, or the same
	Applied                   // its value is the visible one
	Recorded                  // kept, with no effect on what is visible
	Deleted                   // the entity is gone
	Superseded                // a later valid action of the same delta has the same id and time
	Refused                   // not valid; see the reason
)

var outcomes = [...]string{"ignored", "applied", "recorded", "deleted", "superseded", "refused"}

// String returns the outcome's name.
func (o Outcome) String() string { return outcomes[o] }

// Reason is why an action was refused.
type Reason uint8

// Reasons.
const (
	NoReason       Reason = iota
	IsCompare             // a comparison changes nothing
	OwnAncestor           // the id is among its own ancestors
	BadAncestors          // repeated ids, the tree root not at the end, or too many
	NoParent              // an upsert without ancestors that is not of the tree root
	RootNotPublic         // the tree root is public
	RootDelete            // the tree root cannot be deleted
	LargeMetadata         // type names and field name over [MaxNames] bytes
	NotOwners             // the id does not belong to the owner
	WrongOwner            // the data does not name the owner
	Unsigned              // no signature
	WrongNonce            // the nonce is not the action's time
	WrongSignature        // not the owner's signature
	FrozenContent         // the data does not contain its own hash
	NotContents           // the id does not belong to the content
	FrozenDelete          // frozen entities stay
	Authority             // the entity belongs to a higher storage class or another owner
)

var reasons = [...]string{
	"", "compare", "id among its own ancestors", "bad ancestors", "no parent", "root not public", "root delete",
	"metadata too large", "id not bound to owner", "data does not name the owner", "unsigned", "nonce", "signature",
	"frozen content", "id not bound to content", "frozen delete", "authority",
}

// String returns the reason in a few words.
func (r Reason) String() string { return reasons[r] }

// Verdict is what became of one action.
type Verdict struct {
	ID      crdt.ID
	Kind    crdt.ActionKind
	Outcome Outcome
	Reason  Reason // of a refusal
}

// String returns the outcome, of a refusal with its reason, in the form "refused: authority".
func (v Verdict) String() string {
	if v.Outcome == Refused {
		return fmt.Sprintf("%s: %s", v.Outcome, v.Reason)
	}
	return v.Outcome.String()
}
