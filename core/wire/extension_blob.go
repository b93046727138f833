package wire

import (
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// MaxBlobChunks is the most chunks of a blob that a BlobChunks names: 192 GiB.
const MaxBlobChunks = 3 << 16

// BlobOpen begins a stream about one blob, in place of a Hello: BlobChunks, and then a Chunk for each that is asked for.
type BlobOpen BlobRequest

func (BlobOpen) extensionTag() uint8 { return tagBlobOpen }

// EncodeBorsh writes the message.
func (b BlobOpen) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(b.Blob[:])
	e.Raw(b.Context[:])
	e.Bool(b.Auth != nil)
	if b.Auth != nil {
		e.Raw(b.Auth.PublicKey[:])
		e.Raw(b.Auth.Signature[:])
		e.U64(b.Auth.Timestamp)
	}
}

// DecodeBorsh reads the message.
func (b *BlobOpen) DecodeBorsh(d *borsh.Decoder) {
	b.Blob = d.Array32("blob_id")
	b.Context = d.Array32("context_id")
	if d.Bool("auth") {
		b.Auth = &BlobAuth{PublicKey: d.Array32("public_key"), Signature: readSignature(d, "signature"), Timestamp: d.U64("timestamp")}
	}
}

// BlobChunks are the chunks that a blob is made of. Whoever knows the blob's id can verify the list, and by it each chunk.
type BlobChunks struct{ Chunks []domain.BlobID }

func (BlobChunks) extensionTag() uint8 { return tagBlobChunks }

// EncodeBorsh writes the message.
func (b BlobChunks) EncodeBorsh(e *borsh.Encoder) {
	borsh.PutSlice(e, b.Chunks, func(e *borsh.Encoder, id domain.BlobID) { e.Raw(id[:]) })
}

// DecodeBorsh reads the message.
func (b *BlobChunks) DecodeBorsh(d *borsh.Decoder) {
	b.Chunks = borsh.Slice(d, "chunks", 32, func(d *borsh.Decoder) domain.BlobID { return d.Array32("chunk") })
	atMost(d, "chunks", len(b.Chunks), MaxBlobChunks)
}

// ChunksRequest asks for Count chunks of the blob, beginning with number From: as many Chunk.
type ChunksRequest struct{ From, Count uint32 }

func (ChunksRequest) extensionTag() uint8 { return tagChunksRequest }

// EncodeBorsh writes the message.
func (r ChunksRequest) EncodeBorsh(e *borsh.Encoder) {
	e.U32(r.From)
	e.U32(r.Count)
}

// DecodeBorsh reads the message.
func (r *ChunksRequest) DecodeBorsh(d *borsh.Decoder) {
	r.From = d.U32("from")
	r.Count = d.U32("count")
}

// Chunk is one chunk of a blob.
type Chunk struct{ Data []byte }

func (Chunk) extensionTag() uint8 { return tagChunk }

// EncodeBorsh writes the message.
func (c Chunk) EncodeBorsh(e *borsh.Encoder) { e.Bytes(c.Data) }

// DecodeBorsh reads the message.
func (c *Chunk) DecodeBorsh(d *borsh.Decoder) {
	c.Data = d.Bytes("data")
	atMost(d, "data", len(c.Data), blobid.ChunkSize)
}
