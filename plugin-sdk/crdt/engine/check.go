package engine

import (
	"bytes"
	"crypto/sha256"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Limits of one action. Applications built with the SDK stay far below them.
const (
	// MaxAncestors bounds the chain of ancestors; the SDK makes at most 2.
	MaxAncestors = 32
	// MaxNames bounds the type names and the field name in one action's metadata together, since every record in a
	// parent's list repeats them.
	MaxNames = 64 << 10
)

// check refuses what can be refused without looking at the state, so that all nodes refuse it. A signer's own actions
// need no signature yet.
func check(a *crdt.Action, root crdt.ID, signer *domain.PublicKey) Reason {
	if a.Kind == crdt.Compare {
		return IsCompare
	}
	if names(&a.Metadata) > MaxNames {
		return LargeMetadata
	}
	if a.Kind == crdt.DeleteRef {
		return checkDelete(a, root, signer)
	}
	if r := checkAncestors(a, root); r != NoReason {
		return r
	}
	switch a.Metadata.Storage.Kind {
	case crdt.User:
		return checkUser(a, root, signer)
	case crdt.Frozen:
		return checkFrozen(a, root)
	default:
		return NoReason
	}
}

func names(m *crdt.Metadata) int {
	n := 0
	if m.Crdt != nil {
		n += len(m.Crdt.Inner) + len(m.Crdt.Value)
	}
	if m.FieldName != nil {
		n += len(*m.FieldName)
	}
	return n
}

func checkDelete(a *crdt.Action, root crdt.ID, signer *domain.PublicKey) Reason {
	switch {
	case a.ID == root:
		return RootDelete
	case a.Metadata.Storage.Kind == crdt.Frozen:
		return FrozenDelete
	case a.Metadata.Storage.Kind == crdt.User:
		return checkSignature(a, signer)
	default:
		return NoReason
	}
}

func checkAncestors(a *crdt.Action, root crdt.ID) Reason {
	if a.ID == root {
		if a.Metadata.Storage.Kind != crdt.Public {
			return RootNotPublic
		}
		if len(a.Ancestors) > 0 {
			return BadAncestors
		}
		return NoReason
	}
	if len(a.Ancestors) == 0 {
		return NoParent
	}
	if len(a.Ancestors) > MaxAncestors {
		return BadAncestors
	}
	for i := range a.Ancestors {
		id := a.Ancestors[i].ID
		if id == a.ID {
			return OwnAncestor
		}
		if id == root && i < len(a.Ancestors)-1 || names(&a.Ancestors[i].Metadata) > MaxNames {
			return BadAncestors
		}
		for j := range i {
			if a.Ancestors[j].ID == id {
				return BadAncestors
			}
		}
	}
	return NoReason
}

func checkUser(a *crdt.Action, root crdt.ID, signer *domain.PublicKey) Reason {
	owner := a.Metadata.Storage.Owner
	switch {
	case a.ID == root:
		return RootNotPublic
	case a.ID != crdt.EntryID(a.Ancestors[0].ID, owner[:]):
		return NotOwners
	case !bytes.HasPrefix(a.Data, owner[:]):
		return WrongOwner
	}
	return checkSignature(a, signer)
}

func checkSignature(a *crdt.Action, signer *domain.PublicKey) Reason {
	s := a.Metadata.Storage
	switch {
	case s.Signature == nil:
		return Unsigned
	case signer != nil && s.Owner == *signer:
		return NoReason
	case s.Signature.Nonce != a.Time():
		return WrongNonce
	case !a.VerifySignature():
		return WrongSignature
	}
	return NoReason
}

// checkFrozen: the data is the content's hash, the content, the entity's id.
func checkFrozen(a *crdt.Action, root crdt.ID) Reason {
	const sides = 32 + 32
	if a.ID == root {
		return RootNotPublic
	}
	if len(a.Data) < sides {
		return FrozenContent
	}
	if hash := sha256.Sum256(a.Data[32 : len(a.Data)-32]); !bytes.HasPrefix(a.Data, hash[:]) {
		return FrozenContent
	}
	if a.ID != crdt.EntryID(a.Ancestors[0].ID, a.Data[:32]) {
		return NotContents
	}
	return NoReason
}
