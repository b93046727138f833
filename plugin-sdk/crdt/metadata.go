package crdt

import (
	"cmp"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Smallest encodings, which bound the counts of vectors.
const (
	minMetadata   = 8 + 8 + 1 + 1 + 1
	minChild      = 32 + 32 + minMetadata
	minAction     = 1 // one bad tag is reported as such, as the reference does, not as a short input
	minComparison = 1 + 32 + 32 + 32 + 4 + 4 + minMetadata
)

// StorageKind says who may write an entity. Its number is the wire tag.
type StorageKind uint8

// Kinds of storage.
const (
	Public StorageKind = iota // anybody with write rights in the context
	User                      // the owner alone, by signature
	Frozen                    // nobody after the first write; content-addressed

	storageKinds
)

// StorageType is a kind with what belongs to it. Owner and Signature are used by User alone.
type StorageType struct {
	Kind      StorageKind
	Owner     domain.PublicKey
	Signature *SignatureData // nil when nobody has signed
}

// SignatureData is the owner's signature of an action and its replay guard.
type SignatureData struct {
	Signature domain.Signature // all zero until the executing node signs
	Nonce     uint64           // the action's time
}

// EncodeBorsh writes the type.
func (t StorageType) EncodeBorsh(e *borsh.Encoder) {
	if t.Kind >= storageKinds {
		e.Fail(fmt.Errorf("encode storage type: unknown kind %d", t.Kind))
		return
	}
	e.U8(uint8(t.Kind))
	if t.Kind != User {
		return
	}
	e.Raw(t.Owner[:])
	borsh.PutOption(e, t.Signature, func(e *borsh.Encoder, s SignatureData) {
		e.Raw(s.Signature[:])
		e.U64(s.Nonce)
	})
}

// DecodeBorsh reads the type.
func (t *StorageType) DecodeBorsh(d *borsh.Decoder) {
	*t = StorageType{Kind: StorageKind(d.Tag("storage_type", uint8(storageKinds)))}
	if t.Kind != User {
		return
	}
	t.Owner = d.Array32("owner")
	t.Signature = borsh.Option(d, "signature_data", func(d *borsh.Decoder, _ string) (s SignatureData) {
		d.Raw("signature", s.Signature[:])
		s.Nonce = d.U64("nonce")
		return s
	})
}

// CrdtKind is how values of an entity merge. Its number is the wire tag.
type CrdtKind uint8

// Kinds of CRDT.
const (
	LwwRegister CrdtKind = iota
	GCounter
	PnCounter
	Rga
	UnorderedMap
	UnorderedSet
	Vector
	UserStorage
	FrozenStorage
	Custom

	crdtKinds
)

// TypeNames returns how many type names follow the tag of the kind: 0, 1 or 2.
func (k CrdtKind) TypeNames() int {
	switch k {
	case LwwRegister, UnorderedSet, Vector, Custom:
		return 1
	case UnorderedMap:
		return 2
	default:
		return 0
	}
}

// CrdtType is a kind with the type names that belong to it. The names are opaque.
type CrdtType struct {
	Kind  CrdtKind
	Inner string // LwwRegister: value; UnorderedMap: key; UnorderedSet, Vector: element; Custom: name
	Value string // UnorderedMap: value
}

// EncodeBorsh writes the type.
func (t CrdtType) EncodeBorsh(e *borsh.Encoder) {
	if t.Kind >= crdtKinds {
		e.Fail(fmt.Errorf("encode crdt type: unknown kind %d", t.Kind))
		return
	}
	e.U8(uint8(t.Kind))
	if t.Kind.TypeNames() > 0 {
		e.String(t.Inner)
	}
	if t.Kind.TypeNames() > 1 {
		e.String(t.Value)
	}
}

// DecodeBorsh reads the type.
func (t *CrdtType) DecodeBorsh(d *borsh.Decoder) {
	*t = CrdtType{Kind: CrdtKind(d.Tag("crdt_type", uint8(crdtKinds)))}
	if t.Kind.TypeNames() > 0 {
		t.Inner = d.String("inner_type")
	}
	if t.Kind.TypeNames() > 1 {
		t.Value = d.String("value_type")
	}
}

// Metadata is what is known of an entity besides its bytes. It does not enter any Merkle hash.
type Metadata struct {
	CreatedAt uint64
	UpdatedAt uint64
	Storage   StorageType
	Crdt      *CrdtType // nil for entries, the state entry and the tree root
	FieldName *string   // the name hashed into the id of a top-level collection
}

// EncodeBorsh writes the metadata.
func (m Metadata) EncodeBorsh(e *borsh.Encoder) {
	e.U64(m.CreatedAt)
	e.U64(m.UpdatedAt)
	m.Storage.EncodeBorsh(e)
	borsh.PutOption(e, m.Crdt, func(e *borsh.Encoder, t CrdtType) { t.EncodeBorsh(e) })
	borsh.PutOption(e, m.FieldName, (*borsh.Encoder).String)
}

// DecodeBorsh reads the metadata. There is no reading of the older layout without the last two fields.
func (m *Metadata) DecodeBorsh(d *borsh.Decoder) {
	if !d.Enter("metadata") {
		return
	}
	defer d.Leave()
	*m = Metadata{CreatedAt: d.U64("created_at"), UpdatedAt: d.U64("updated_at")}
	m.Storage.DecodeBorsh(d)
	m.Crdt = borsh.Option(d, "crdt_type", func(d *borsh.Decoder, _ string) (t CrdtType) {
		t.DecodeBorsh(d)
		return t
	})
	m.FieldName = borsh.Option(d, "field_name", (*borsh.Decoder).String)
}

// ChildInfo is a reference to an entity with its hash: the full hash in an index row and in an action's ancestors.
type ChildInfo struct {
	ID         ID
	MerkleHash domain.Hash
	Metadata   Metadata
}

// EncodeBorsh writes the reference.
func (c ChildInfo) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(c.ID[:])
	e.Raw(c.MerkleHash[:])
	c.Metadata.EncodeBorsh(e)
}

// DecodeBorsh reads the reference.
func (c *ChildInfo) DecodeBorsh(d *borsh.Decoder) {
	c.ID = d.Array32("id")
	c.MerkleHash = d.Array32("merkle_hash")
	c.Metadata.DecodeBorsh(d)
}

// Compare is the order of children in an index row: by creation time, then id.
func (c ChildInfo) Compare(other ChildInfo) int {
	return cmp.Or(cmp.Compare(c.Metadata.CreatedAt, other.Metadata.CreatedAt), c.ID.Compare(other.ID))
}

func putChildren(e *borsh.Encoder, children []ChildInfo) {
	borsh.PutSlice(e, children, func(e *borsh.Encoder, c ChildInfo) { c.EncodeBorsh(e) })
}

func readChildren(d *borsh.Decoder, field string) []ChildInfo {
	return borsh.Slice(d, field, minChild, func(d *borsh.Decoder) (c ChildInfo) {
		c.DecodeBorsh(d)
		return c
	})
}
