package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// ReadAt reads at most length bytes (≤ MaxRead) of a blob from offset, through the cache; fewer at the end, none behind
// it. The slice is the caller's. Kind NotFound when the blob is not here, Corrupt when its content is damaged or missing.
func (s *Store) ReadAt(ctx context.Context, id domain.BlobID, offset, length uint64) ([]byte, error) {
	if length > MaxRead {
		return nil, errkind.TooLarge.Errorf("read of %d bytes of a blob, limit %d", length, MaxRead)
	}
	meta, err := s.meta(ctx, id)
	if err != nil {
		return nil, err
	}
	c := content{id: id, size: meta.Size, chunks: meta.Links, load: func(chunk domain.BlobID) ([]byte, error) {
		return s.cache.get(chunk, s.readChunk)
	}}
	used := c.within(offset, length)
	s.pin(used...)
	defer s.unpin(true, used...)
	out, err := c.readAt(offset, length)
	if err != nil {
		return nil, s.explain(ctx, id, err)
	}
	return out, nil
}

// Open opens a blob for reading from its beginning to its end; it must be closed. A blob that is deleted meanwhile can
// be read on. The content is verified chunk by chunk: kind Corrupt when it is damaged or missing.
func (s *Store) Open(ctx context.Context, id domain.BlobID) (*Reader, error) {
	meta, err := s.meta(ctx, id)
	if err != nil {
		return nil, err
	}
	r := &Reader{
		s: s, info: Info{ID: id, Hash: meta.Hash, Size: meta.Size},
		content: content{id: id, size: meta.Size, chunks: meta.Links, load: s.readChunk},
	}
	s.pin(r.content.parts()...)
	if has, err := store.BlobMeta.Has(ctx, s.db, id); err != nil || !has { // deleted before it was pinned?
		closeErr := r.Close()
		if err == nil {
			err = errkind.NotFound.Errorf("blob %s not found", id)
		}
		return nil, errors.Join(err, closeErr)
	}
	return r, nil
}

// Reader reads a blob. It is not safe for concurrent use.
type Reader struct {
	s       *Store
	info    Info
	content content
	offset  uint64
	chunk   []byte // what is left of the current chunk
	closed  bool
}

// Info describes the blob.
func (r *Reader) Info() Info { return r.info }

// Chunks are the blob's chunks in order; none for one that is a chunk itself or empty. The slice is not to be changed.
func (r *Reader) Chunks() []domain.BlobID { return r.content.chunks }

// SeekChunk makes the next Read begin with the given chunk.
func (r *Reader) SeekChunk(n uint64) { r.offset, r.chunk = n*blobid.ChunkSize, nil }

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, fs.ErrClosed
	}
	if r.offset >= r.info.Size {
		return 0, io.EOF
	}
	if len(r.chunk) == 0 {
		chunk, err := r.content.chunk(r.offset / blobid.ChunkSize)
		if err != nil {
			return 0, err
		}
		r.chunk = chunk
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	r.offset += uint64(n)
	return n, nil
}

// Close ends the reading; more than once is fine.
func (r *Reader) Close() error {
	if !r.closed {
		r.closed, r.chunk = true, nil
		r.s.unpin(true, r.content.parts()...)
	}
	return nil
}

// content is a blob's content by chunks.
type content struct {
	id     domain.BlobID
	size   uint64
	chunks []domain.BlobID // none: the blob is a chunk itself, or empty
	load   func(domain.BlobID) ([]byte, error)
}

func (c *content) parts() []domain.BlobID {
	if len(c.chunks) == 0 && c.size > 0 {
		return []domain.BlobID{c.id}
	}
	return c.chunks
}

// within are the chunks that have the bytes from offset on.
func (c *content) within(offset, length uint64) []domain.BlobID {
	if offset >= c.size || length == 0 {
		return nil
	}
	last := (offset + min(length, c.size-offset) - 1) / blobid.ChunkSize
	return c.parts()[offset/blobid.ChunkSize : last+1]
}

// chunk loads chunk i and checks its length.
func (c *content) chunk(i uint64) ([]byte, error) {
	parts := c.parts()
	if i >= uint64(len(parts)) {
		return nil, errkind.Corrupt.Errorf("blob %s has no chunk %d", c.id, i)
	}
	data, err := c.load(parts[i])
	if err != nil {
		return nil, err
	}
	if want := min(c.size-i*blobid.ChunkSize, blobid.ChunkSize); uint64(len(data)) != want {
		return nil, errkind.Corrupt.Errorf("blob %s: chunk %d has %d bytes instead of %d", c.id, i, len(data), want)
	}
	return data, nil
}

func (c *content) readAt(offset, length uint64) ([]byte, error) {
	if offset >= c.size {
		return nil, nil
	}
	length = min(length, c.size-offset)
	out := make([]byte, 0, length)
	for uint64(len(out)) < length {
		at := offset + uint64(len(out))
		data, err := c.chunk(at / blobid.ChunkSize)
		if err != nil {
			return nil, err
		}
		data = data[at%blobid.ChunkSize:]
		out = append(out, data[:min(uint64(len(data)), length-uint64(len(out)))]...)
	}
	return out, nil
}

// readChunk reads a chunk's file and verifies it.
func (s *Store) readChunk(id domain.BlobID) ([]byte, error) { return readChunkFile(s.path(id), id) }

func readChunkFile(path string, id domain.BlobID) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errkind.Corrupt.Errorf("dangling blob: the file of chunk %s is missing", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read blob file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, blobid.ChunkSize+1))
	if err != nil {
		return nil, fmt.Errorf("read blob file: %w", err)
	}
	if blobid.Chunk(data) != id {
		return nil, errkind.Corrupt.Errorf("blob file %s is damaged: its content has another hash; delete the blob and "+
			"store it again", path)
	}
	return data, nil
}

// explain tells a blob that was deleted while it was read from a damaged one.
func (s *Store) explain(ctx context.Context, id domain.BlobID, err error) error {
	if has, herr := store.BlobMeta.Has(ctx, s.db, id); herr == nil && !has {
		return errkind.NotFound.Errorf("blob %s not found", id)
	}
	return err
}

// chunkCache keeps the chunks used last, bounded in bytes.
type chunkCache struct {
	max int

	mu   sync.Mutex
	lru  *simplelru.LRU[domain.BlobID, []byte]
	size int
}

func newChunkCache(maxBytes int) *chunkCache {
	c := &chunkCache{max: maxBytes}
	// The bound is in bytes; the LRU's own is out of reach.
	lru, err := simplelru.NewLRU(1<<30, func(_ domain.BlobID, data []byte) { c.size -= len(data) })
	if err != nil {
		panic(err) // only for a size below one
	}
	c.lru = lru
	return c
}

// get answers from the cache or from load. The data may not be changed.
func (c *chunkCache) get(id domain.BlobID, load func(domain.BlobID) ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	data, ok := c.lru.Get(id)
	c.mu.Unlock()
	if ok {
		return data, nil
	}
	data, err := load(id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lru.Contains(id) {
		return data, nil
	}
	c.lru.Add(id, data)
	c.size += len(data)
	for c.size > c.max {
		if _, _, ok := c.lru.RemoveOldest(); !ok {
			break
		}
	}
	return data, nil
}

func (c *chunkCache) remove(id domain.BlobID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(id)
}
