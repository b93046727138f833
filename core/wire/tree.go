package wire

import (
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Limits of tree messages (sync-wire.md §4.7, §4.9).
const (
	MaxTreeNodes     = 1000    // in a TreeNodeResponse
	MaxTreeChildren  = 256     // of a TreeNode
	MaxTreeLeafValue = 1 << 20 // bytes of a leaf's value
	MaxTreeDepth     = 64
	MaxLevelNodes    = 10_000 // in a LevelWiseResponse
	MaxLevelParents  = 1000   // in a LevelWiseRequest
)

// Smallest encodings, which bound the counts of vectors.
const (
	minLeafMetadata = 1 + 8 + 8 + 32 + 1
	minTreeLeaf     = 32 + 4 + minLeafMetadata
	minTreeNode     = 32 + 32 + 4 + 1
	minLevelNode    = 32 + 32 + 1 + 1
)

// LeafMetadata is what a leaf says of its entity. The reference sends zeros as Version, Collection and no Parent.
type LeafMetadata struct {
	Crdt       crdt.CrdtType
	UpdatedAt  uint64 // ns since the Unix epoch
	Version    uint64
	Collection [32]byte
	Parent     *[32]byte
}

// EncodeBorsh writes the metadata.
func (m LeafMetadata) EncodeBorsh(e *borsh.Encoder) {
	m.Crdt.EncodeBorsh(e)
	e.U64(m.UpdatedAt)
	e.U64(m.Version)
	e.Raw(m.Collection[:])
	borsh.PutOption(e, m.Parent, borsh.PutArray32[[32]byte])
}

// DecodeBorsh reads the metadata.
func (m *LeafMetadata) DecodeBorsh(d *borsh.Decoder) {
	m.Crdt.DecodeBorsh(d)
	m.UpdatedAt = d.U64("hlc_timestamp")
	m.Version = d.U64("version")
	m.Collection = d.Array32("collection_id")
	m.Parent = borsh.OptArray32[[32]byte](d, "parent_id")
}

// TreeLeaf is an entity without children.
type TreeLeaf struct {
	Key      crdt.ID
	Value    []byte
	Metadata LeafMetadata
}

// EncodeBorsh writes the leaf.
func (l TreeLeaf) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(l.Key[:])
	e.Bytes(l.Value)
	l.Metadata.EncodeBorsh(e)
}

// DecodeBorsh reads the leaf.
func (l *TreeLeaf) DecodeBorsh(d *borsh.Decoder) {
	l.Key = d.Array32("key")
	l.Value = d.Bytes("value")
	l.Metadata.DecodeBorsh(d)
}

func (l *TreeLeaf) validate() error {
	if l != nil && len(l.Value) > MaxTreeLeafValue {
		return errkind.TooLarge.Errorf("value of %d bytes, the limit is %d", len(l.Value), MaxTreeLeafValue)
	}
	return nil
}

func readLeaf(d *borsh.Decoder) *TreeLeaf {
	return borsh.Option(d, "leaf_data", func(d *borsh.Decoder, _ string) TreeLeaf { return decoded[TreeLeaf](d) })
}

// TreeNode is a node of the state tree: with children, or with a leaf.
type TreeNode struct {
	ID       crdt.ID
	Hash     domain.Hash
	Children []crdt.ID
	Leaf     *TreeLeaf
}

// EncodeBorsh writes the node.
func (n TreeNode) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(n.ID[:])
	e.Raw(n.Hash[:])
	borsh.PutSlice(e, n.Children, borsh.PutArray32[crdt.ID])
	borsh.PutOption(e, n.Leaf, put[TreeLeaf])
}

// DecodeBorsh reads the node. It takes every node that has a form; see Validate.
func (n *TreeNode) DecodeBorsh(d *borsh.Decoder) {
	n.ID = d.Array32("id")
	n.Hash = d.Array32("hash")
	n.Children = borsh.Array32s[crdt.ID](d, "children")
	n.Leaf = readLeaf(d)
}

// Validate tells whether a peer may use the node.
func (n *TreeNode) Validate() error {
	switch {
	case len(n.Children) > MaxTreeChildren:
		return errkind.TooLarge.Errorf("tree node %s: %d children, the limit is %d", n.ID, len(n.Children), MaxTreeChildren)
	case len(n.Children) == 0 && n.Leaf == nil:
		return errkind.Invalid.Errorf("tree node %s: neither children nor a value", n.ID)
	case len(n.Children) > 0 && n.Leaf != nil:
		return errkind.Invalid.Errorf("tree node %s: both children and a value", n.ID)
	}
	return n.Leaf.validate()
}

// TreeNodeResponse has a node and its children.
type TreeNodeResponse struct {
	Nodes    []TreeNode
	NotFound bool
}

func (TreeNodeResponse) messageTag() uint8 { return tagTreeNodeResponse }

// EncodeBorsh writes the payload.
func (r TreeNodeResponse) EncodeBorsh(e *borsh.Encoder) {
	borsh.PutSlice(e, r.Nodes, put[TreeNode])
	e.Bool(r.NotFound)
}

// DecodeBorsh reads the payload.
func (r *TreeNodeResponse) DecodeBorsh(d *borsh.Decoder) {
	r.Nodes = borsh.Slice(d, "nodes", minTreeNode, decoded[TreeNode])
	r.NotFound = d.Bool("not_found")
}

// LevelNode is a node of one level of the state tree.
type LevelNode struct {
	ID     crdt.ID
	Hash   domain.Hash
	Parent *crdt.ID // nil at level 0
	Leaf   *TreeLeaf
}

// EncodeBorsh writes the node.
func (n LevelNode) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(n.ID[:])
	e.Raw(n.Hash[:])
	borsh.PutOption(e, n.Parent, borsh.PutArray32[crdt.ID])
	borsh.PutOption(e, n.Leaf, put[TreeLeaf])
}

// DecodeBorsh reads the node. It takes every node that has a form; see Validate.
func (n *LevelNode) DecodeBorsh(d *borsh.Decoder) {
	n.ID = d.Array32("id")
	n.Hash = d.Array32("hash")
	n.Parent = borsh.OptArray32[crdt.ID](d, "parent_id")
	n.Leaf = readLeaf(d)
}

// Validate tells whether a peer may use the node.
func (n *LevelNode) Validate() error { return n.Leaf.validate() }

// LevelWiseResponse has nodes of one level.
type LevelWiseResponse struct {
	Level   uint32
	Nodes   []LevelNode
	HasMore bool // there is a level below
}

func (LevelWiseResponse) messageTag() uint8 { return tagLevelWiseResponse }

// EncodeBorsh writes the payload.
func (r LevelWiseResponse) EncodeBorsh(e *borsh.Encoder) {
	e.U32(r.Level)
	borsh.PutSlice(e, r.Nodes, put[LevelNode])
	e.Bool(r.HasMore)
}

// DecodeBorsh reads the payload.
func (r *LevelWiseResponse) DecodeBorsh(d *borsh.Decoder) {
	r.Level = d.U32("level")
	r.Nodes = borsh.Slice(d, "nodes", minLevelNode, decoded[LevelNode])
	r.HasMore = d.Bool("has_more_levels")
}
