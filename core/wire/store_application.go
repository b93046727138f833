package wire

import (
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// What package and version of an application record say when nothing was given.
const (
	UnknownPackage = "unknown"
	UnknownVersion = "0.0.0"
)

// ApplicationRecord is the row of an application (network-apps.md §4.1).
type ApplicationRecord struct {
	Bytecode domain.BlobID // of the WASM, or of the whole bundle
	Size     uint64        // bytes of that blob; 0 is a stub
	Source   string        // URL
	Metadata []byte        // the caller's bytes, or JSON for a bundle
	Compiled domain.BlobID // zero is none
	Package  string
	Version  string
	SignerID string // did:key of the bundle's signer; empty is unsigned
}

// EncodeBorsh writes the row.
func (a ApplicationRecord) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(a.Bytecode[:])
	e.U64(a.Size)
	e.String(a.Source)
	e.Bytes(a.Metadata)
	e.Raw(a.Compiled[:])
	e.String(a.Package)
	e.String(a.Version)
	e.String(a.SignerID)
}

// DecodeBorsh reads the row.
func (a *ApplicationRecord) DecodeBorsh(d *borsh.Decoder) {
	a.Bytecode = d.Array32("bytecode")
	a.Size = d.U64("size")
	a.Source = d.String("source")
	a.Metadata = d.Bytes("metadata")
	a.Compiled = d.Array32("compiled")
	a.Package = d.String("package")
	a.Version = d.String("version")
	a.SignerID = d.String("signer_id")
}

// BlobMeta is the row of a blob or a chunk (network-apps.md §3.1).
type BlobMeta struct {
	Size  uint64          // bytes
	Hash  domain.Hash     // SHA-256 of the content; for a chunk equal to its id
	Links []domain.BlobID // the chunks in order; empty for a chunk
}

// EncodeBorsh writes the row.
func (b BlobMeta) EncodeBorsh(e *borsh.Encoder) {
	e.U64(b.Size)
	e.Raw(b.Hash[:])
	borsh.PutSlice(e, b.Links, borsh.PutArray32[domain.BlobID])
}

// DecodeBorsh reads the row.
func (b *BlobMeta) DecodeBorsh(d *borsh.Decoder) {
	b.Size = d.U64("size")
	b.Hash = d.Array32("hash")
	b.Links = borsh.Array32s[domain.BlobID](d, "links")
}
