package crdt

import (
	"errors"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// StorageDelta is the artifact a guest commits: actions, or comparisons of the legacy tree sync. One of the two is nil.
type StorageDelta struct {
	Actions     []Action
	Comparisons []Comparison
}

// Comparison is one entity with its position in the tree, for the legacy tree sync.
type Comparison struct {
	Data      []byte // nil when the entity is absent
	ID        ID
	FullHash  domain.Hash
	OwnHash   domain.Hash
	Children  map[string][]ChildInfo
	Ancestors []ChildInfo
	Metadata  Metadata
}

// EncodeBorsh writes the comparison.
func (c Comparison) EncodeBorsh(e *borsh.Encoder) {
	e.OptBytes(c.Data)
	e.Raw(c.ID[:])
	e.Raw(c.FullHash[:])
	e.Raw(c.OwnHash[:])
	borsh.PutMap(e, c.Children, (*borsh.Encoder).String, putChildren)
	putChildren(e, c.Ancestors)
	c.Metadata.EncodeBorsh(e)
}

// DecodeBorsh reads the comparison.
func (c *Comparison) DecodeBorsh(d *borsh.Decoder) {
	c.Data = d.OptBytes("data")
	c.ID = d.Array32("id")
	c.FullHash = d.Array32("full_hash")
	c.OwnHash = d.Array32("own_hash")
	c.Children = borsh.Map(d, "children", 4+4,
		func(d *borsh.Decoder) string { return d.String("name") },
		func(d *borsh.Decoder) []ChildInfo { return readChildren(d, "list") })
	c.Ancestors = readChildren(d, "ancestors")
	c.Metadata.DecodeBorsh(d)
}

// Tags of a storage delta.
const (
	deltaActions byte = iota
	deltaComparisons
)

// ErrDeltaTag is a storage delta of unknown kind.
var ErrDeltaTag = errors.New("Invalid tag") //nolint:staticcheck // the reference's exact text

// EncodeBorsh writes the delta. A delta without actions and comparisons is one without comparisons.
func (s StorageDelta) EncodeBorsh(e *borsh.Encoder) {
	if s.Actions != nil && s.Comparisons != nil {
		e.Fail(errors.New("encode storage delta: both actions and comparisons"))
		return
	}
	if s.Actions != nil {
		e.U8(deltaActions)
		putActions(e, s.Actions)
		return
	}
	e.U8(deltaComparisons)
	borsh.PutSlice(e, s.Comparisons, func(e *borsh.Encoder, c Comparison) { c.EncodeBorsh(e) })
}

// DecodeBorsh reads the delta. Empty input is a delta without comparisons.
func (s *StorageDelta) DecodeBorsh(d *borsh.Decoder) {
	*s = StorageDelta{}
	if d.Err() == nil && d.Offset() == 0 && d.Remaining() == 0 {
		s.Comparisons = []Comparison{}
		return
	}
	switch d.U8("kind") {
	case deltaActions:
		s.Actions = readActions(d)
	case deltaComparisons:
		s.Comparisons = borsh.Slice(d, "comparisons", minComparison, func(d *borsh.Decoder) (c Comparison) {
			c.DecodeBorsh(d)
			return c
		})
	default:
		d.Fail("kind", ErrDeltaTag)
	}
}

// EncodeArtifact returns the artifact of the actions: a storage delta.
func EncodeArtifact(actions []Action) ([]byte, error) {
	out, err := borsh.Marshal(StorageDelta{Actions: append([]Action{}, actions...)})
	if err != nil {
		return nil, fmt.Errorf("encode artifact: %w", err)
	}
	return out, nil
}

// DecodeArtifact reads a storage delta of either kind; a delta with comparisons has nil actions.
func DecodeArtifact(in []byte) (StorageDelta, error) {
	var s StorageDelta
	if err := borsh.Unmarshal(in, &s); err != nil {
		return StorageDelta{}, fmt.Errorf("decode artifact: %w", err)
	}
	return s, nil
}
