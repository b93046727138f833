// Package blobid computes the identities of blobs (network-apps.md §3.1). A blob is cut into chunks of [ChunkSize]
// bytes, the last one shorter; a chunk's id is its SHA-256, the blob's id is the SHA-256 of its chunk ids in a row (also
// for a single chunk), and the empty blob has the SHA-256 of nothing and no chunks.
package blobid

import (
	"crypto/sha256"
	"hash"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// ChunkSize is the size in bytes of every chunk but the last.
const ChunkSize = 1 << 20

// Chunk returns the id of one chunk.
func Chunk(data []byte) domain.BlobID { return sha256.Sum256(data) }

// Root returns the id of the blob with the given chunks.
func Root(chunks []domain.BlobID) domain.BlobID {
	h := sha256.New()
	for _, id := range chunks {
		h.Write(id[:])
	}
	return domain.BlobID(h.Sum(nil))
}

// Of returns the id of a blob that is in memory.
func Of(data []byte) domain.BlobID {
	var chunks []domain.BlobID
	for len(data) > ChunkSize {
		chunks = append(chunks, Chunk(data[:ChunkSize]))
		data = data[ChunkSize:]
	}
	if len(data) > 0 {
		chunks = append(chunks, Chunk(data))
	}
	return Root(chunks)
}

// Info is what there is to know about a blob's content.
type Info struct {
	ID     domain.BlobID
	Hash   domain.Hash // SHA-256 of the whole content
	Size   uint64      // bytes
	Chunks []domain.BlobID
}

// Hasher computes the [Info] of a stream. It keeps no content, 32 bytes for each chunk. It is not safe for concurrent
// use.
type Hasher struct {
	content hash.Hash
	chunk   hash.Hash
	pending int // bytes in the open chunk
	size    uint64
	chunks  []domain.BlobID
}

// New returns a hasher of the empty stream.
func New() *Hasher { return &Hasher{content: sha256.New(), chunk: sha256.New()} }

// Write adds data to the stream. It never fails.
func (h *Hasher) Write(data []byte) (int, error) {
	n := len(data)
	h.content.Write(data)
	h.size += uint64(n)
	for len(data) > 0 {
		part := data[:min(len(data), ChunkSize-h.pending)]
		h.chunk.Write(part)
		h.pending += len(part)
		data = data[len(part):]
		if h.pending == ChunkSize {
			h.chunks = append(h.chunks, domain.BlobID(h.chunk.Sum(nil)))
			h.chunk.Reset()
			h.pending = 0
		}
	}
	return n, nil
}

// Size returns the number of bytes written.
func (h *Hasher) Size() uint64 { return h.size }

// Sum returns the info of what was written so far; more may be written afterwards. The chunk list is the caller's.
func (h *Hasher) Sum() Info {
	chunks := append(make([]domain.BlobID, 0, len(h.chunks)+1), h.chunks...)
	if h.pending > 0 {
		chunks = append(chunks, domain.BlobID(h.chunk.Sum(nil)))
	}
	return Info{ID: Root(chunks), Hash: domain.Hash(h.content.Sum(nil)), Size: h.size, Chunks: chunks}
}
