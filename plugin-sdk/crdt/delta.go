package crdt

import (
	"crypto/sha256"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// DeltaID derives the id of a delta from its parents, in order, and its actions (crdt-storage.md §7.2). Times,
// ancestors, signatures, the clock and the root hash are not covered.
func DeltaID(parents []domain.Hash, actions []Action) domain.Hash {
	h := sha256.New()
	for i := range parents {
		h.Write(parents[i][:])
	}
	for i := range actions {
		a := &actions[i]
		h.Write(a.ID[:])
		if a.Kind == Compare {
			continue
		}
		if a.Kind != DeleteRef {
			h.Write(a.Data)
		}
		h.Write(a.Metadata.Storage.unsigned())
	}
	return domain.Hash(h.Sum(nil))
}

// CausalDelta is a set of actions with its place in the history of a context. The first delta of a context has the zero
// hash as its only parent.
type CausalDelta struct {
	ID               domain.Hash
	Parents          []domain.Hash
	Actions          []Action
	HLC              Timestamp
	ExpectedRootHash domain.Hash
}

// NewCausalDelta returns the delta with its id computed.
func NewCausalDelta(parents []domain.Hash, actions []Action, hlc Timestamp, expectedRoot domain.Hash) CausalDelta {
	return CausalDelta{
		ID: DeltaID(parents, actions), Parents: parents, Actions: actions, HLC: hlc, ExpectedRootHash: expectedRoot,
	}
}

// EncodeBorsh writes the delta.
func (c CausalDelta) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(c.ID[:])
	borsh.PutSlice(e, c.Parents, borsh.PutArray32[domain.Hash])
	putActions(e, c.Actions)
	c.HLC.EncodeBorsh(e)
	e.Raw(c.ExpectedRootHash[:])
}

// DecodeBorsh reads the delta. It does not check the id: compare it with [DeltaID].
func (c *CausalDelta) DecodeBorsh(d *borsh.Decoder) {
	c.ID = d.Array32("id")
	c.Parents = borsh.Array32s[domain.Hash](d, "parents")
	c.Actions = readActions(d)
	c.HLC.DecodeBorsh(d)
	c.ExpectedRootHash = d.Array32("expected_root_hash")
}

// DeltaKind tells an ordinary delta from the mark a snapshot leaves. Its number is the wire form.
type DeltaKind uint8

// Kinds of delta.
const (
	RegularDelta DeltaKind = iota
	CheckpointDelta

	deltaKinds
)

// PayloadDelta is a causal delta over opaque bytes, the form of the DAG that does not know its payload.
type PayloadDelta struct {
	ID               domain.Hash
	Parents          []domain.Hash
	Payload          []byte
	HLC              Timestamp
	ExpectedRootHash domain.Hash
	Kind             DeltaKind
}

// EncodeBorsh writes the delta.
func (p PayloadDelta) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(p.ID[:])
	borsh.PutSlice(e, p.Parents, borsh.PutArray32[domain.Hash])
	e.Bytes(p.Payload)
	p.HLC.EncodeBorsh(e)
	e.Raw(p.ExpectedRootHash[:])
	e.U8(uint8(p.Kind))
}

// DecodeBorsh reads the delta.
func (p *PayloadDelta) DecodeBorsh(d *borsh.Decoder) {
	p.ID = d.Array32("id")
	p.Parents = borsh.Array32s[domain.Hash](d, "parents")
	p.Payload = d.Bytes("payload")
	p.HLC.DecodeBorsh(d)
	p.ExpectedRootHash = d.Array32("expected_root_hash")
	p.Kind = DeltaKind(d.Tag("kind", uint8(deltaKinds)))
}
