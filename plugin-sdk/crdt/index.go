package crdt

import (
	"crypto/sha256"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// EntityIndex is the index row of an entity, stored under [IndexKey].
type EntityIndex struct {
	ID        ID
	ParentID  *ID
	Children  []ChildInfo // nil (none) and empty are different encodings; the reference writes none when empty
	FullHash  domain.Hash
	OwnHash   domain.Hash
	Metadata  Metadata
	DeletedAt *uint64 // set on a tombstone
}

// EncodeBorsh writes the row.
func (x EntityIndex) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(x.ID[:])
	borsh.PutOption(e, x.ParentID, borsh.PutArray32[ID])
	e.Bool(x.Children != nil)
	if x.Children != nil {
		putChildren(e, x.Children)
	}
	e.Raw(x.FullHash[:])
	e.Raw(x.OwnHash[:])
	x.Metadata.EncodeBorsh(e)
	borsh.PutOption(e, x.DeletedAt, (*borsh.Encoder).U64)
}

// DecodeBorsh reads the row.
func (x *EntityIndex) DecodeBorsh(d *borsh.Decoder) {
	*x = EntityIndex{}
	x.decodeUpToFullHash(d)
	x.OwnHash = d.Array32("own_hash")
	x.Metadata.DecodeBorsh(d)
	x.DeletedAt = borsh.Option(d, "deleted_at", (*borsh.Decoder).U64)
}

func (x *EntityIndex) decodeUpToFullHash(d *borsh.Decoder) {
	x.ID = d.Array32("id")
	x.ParentID = borsh.OptArray32[ID](d, "parent_id")
	if d.Some("children") {
		x.Children = readChildren(d, "children")
	}
	x.FullHash = d.Array32("full_hash")
}

// ReadFullHash reads the full hash from an encoded row and, as the reference does for the root hash of a context,
// ignores what follows it.
func ReadFullHash(row []byte) (domain.Hash, error) {
	d := borsh.NewDecoder(row)
	var x EntityIndex
	x.decodeUpToFullHash(d)
	return x.FullHash, d.Err()
}

// OwnHash is the hash of an entity's bytes.
func OwnHash(entity []byte) domain.Hash { return sha256.Sum256(entity) }

// FullHash is the Merkle hash of an entity: of its own hash and its children's full hashes in list order.
func FullHash(own domain.Hash, children []ChildInfo) domain.Hash {
	h := sha256.New()
	h.Write(own[:])
	for i := range children {
		h.Write(children[i].MerkleHash[:])
	}
	return domain.Hash(h.Sum(nil))
}
