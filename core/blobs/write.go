package blobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Put stores what r gives and returns its id and size. When it returns, content and metadata are durable; on an error
// nothing is visible and no file is left. With expect, content of another SHA-256 is refused with kind Invalid. A full
// disk is kind Exhausted.
func (s *Store) Put(ctx context.Context, r io.Reader, expect *domain.Hash) (domain.BlobID, uint64, error) {
	info, err := s.PutLimit(ctx, r, expect, 0)
	return info.ID, info.Size, err
}

// PutLimit is Put with a bound: content of more than limit bytes (0 = none) is refused with kind TooLarge.
func (s *Store) PutLimit(ctx context.Context, r io.Reader, expect *domain.Hash, limit uint64) (Info, error) {
	b := s.db.Batch()
	defer b.Abandon()
	info, err := s.Add(ctx, b, r, expect, limit)
	if err != nil {
		return Info{}, err
	}
	if err := b.Commit(ctx); err != nil {
		return Info{}, fmt.Errorf("store blob %s: %w", info.ID, err)
	}
	return info, nil
}

// PutExact is PutLimit for content that must have an id: other content is refused with kind Invalid and leaves nothing.
func (s *Store) PutExact(ctx context.Context, id domain.BlobID, r io.Reader, limit uint64) (Info, error) {
	b := s.db.Batch()
	defer b.Abandon()
	info, err := s.Add(ctx, b, r, nil, limit)
	if err != nil {
		return Info{}, err
	}
	if info.ID != id {
		return Info{}, errkind.Invalid.Errorf("content of blob %s was to come, it is that of %s", id, info.ID)
	}
	if err := b.Commit(ctx); err != nil {
		return Info{}, fmt.Errorf("store blob %s: %w", id, err)
	}
	return info, nil
}

// Add is PutLimit with the metadata in b: the blob appears with b's commit, together with what else is in it. The caller
// commits b or abandons it.
func (s *Store) Add(ctx context.Context, b *store.Batch, r io.Reader, expect *domain.Hash, limit uint64) (Info, error) {
	w := s.newWriter()
	defer w.discard()
	if err := w.readFrom(ctx, r, limit); err != nil {
		return Info{}, err
	}
	if err := w.finish(); err != nil {
		return Info{}, err
	}
	info := w.sum()
	if expect != nil && info.Hash != *expect {
		return Info{}, errkind.Invalid.Errorf("blob hash mismatch: expected %s, content has %s", expect, info.Hash)
	}
	if _, err := s.publish(ctx, b, w); err != nil {
		return Info{}, err
	}
	return Info{ID: info.ID, Hash: info.Hash, Size: info.Size}, nil
}

// publish makes the content of w durable and adds its rows to b. From then on the content belongs to b; settle must be
// called with b's outcome (it is, by AfterCommit) and counts once.
func (s *Store) publish(ctx context.Context, b *store.Batch, w *writer) (settle func(error), err error) {
	if err := w.seal(); err != nil {
		return nil, err
	}
	info := w.sum()
	rows, end, err := s.beginWrite(ctx, info)
	if err != nil {
		return nil, err
	}
	w.published = true
	var once sync.Once
	settle = func(err error) {
		once.Do(func() {
			// When the outcome is unknown the content stays: a file too many goes at the next start.
			end(err == nil || errors.Is(err, store.ErrOutcomeUnknown))
			s.unpin(true, w.pinned...)
		})
	}
	b.AfterCommit(settle)
	for _, row := range rows {
		store.BlobMeta.Put(b, row.id, row.meta)
	}
	store.BlobMeta.Put(b, info.ID, wire.BlobMeta{Size: info.Size, Hash: info.Hash, Links: info.Chunks})
	return settle, nil
}

type metaRow struct {
	id   domain.BlobID
	meta wire.BlobMeta
}

// beginWrite announces a commit of info's rows and returns those of its chunks. The content of one blob may be the chunk
// list of another, so that a chunk has the other's id: then the row stays that of the root; chunks are read by their
// files.
func (s *Store) beginWrite(ctx context.Context, info blobid.Info) (rows []metaRow, end func(committed bool), err error) {
	s.mu.Lock()
	for s.deleting[info.ID] != nil {
		over := s.deleting[info.ID]
		s.mu.Unlock()
		select {
		case <-over:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("wait for the deletion of blob %s: %w", info.ID, ctx.Err())
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if s.chunking[info.ID] > 0 {
		return nil, nil, errkind.Retryable(errkind.Unavailable.Errorf("blob %s is being written: try again", info.ID))
	}
	s.rooting[info.ID]++
	var own []domain.BlobID
	for _, id := range distinct(info.Chunks) {
		if _, isRoot := s.roots[id]; isRoot || s.rooting[id] > 0 {
			continue
		}
		size := uint64(blobid.ChunkSize)
		if id == info.Chunks[len(info.Chunks)-1] {
			size = info.Size - uint64(len(info.Chunks)-1)*blobid.ChunkSize
		}
		rows = append(rows, metaRow{id, wire.BlobMeta{Size: size, Hash: domain.Hash(id)}})
		own = append(own, id)
		s.chunking[id]++
	}
	return rows, func(committed bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		decrement(s.rooting, info.ID)
		for _, id := range own {
			decrement(s.chunking, id)
		}
		if committed && len(info.Chunks) > 0 {
			s.addRoot(info.ID, info.Chunks)
		}
	}, nil
}

func decrement(counts map[domain.BlobID]int, id domain.BlobID) {
	if counts[id]--; counts[id] <= 0 {
		delete(counts, id)
	}
}

// writer cuts a stream into chunk files. It keeps no content in memory.
type writer struct {
	s         *Store
	content   *blobid.Hasher
	file      *os.File // the open chunk
	chunk     hash.Hash
	pending   int // bytes in the open chunk
	temporary map[domain.BlobID]string
	pinned    []domain.BlobID
	chunks    int
	published bool
	closed    bool
}

func (s *Store) newWriter() *writer {
	return &writer{s: s, content: blobid.New(), chunk: sha256.New(), temporary: map[domain.BlobID]string{}}
}

func (w *writer) readFrom(ctx context.Context, r io.Reader, limit uint64) error {
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("store blob: %w", err)
		}
		n, err := r.Read(buf)
		if limit > 0 && w.content.Size()+uint64(n) > limit {
			return errkind.TooLarge.Errorf("content is larger than %d bytes", limit)
		}
		if err := w.write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errkind.Of(err).Errorf("read content of blob: %w", err)
		}
	}
}

func (w *writer) write(data []byte) error {
	if _, err := w.content.Write(data); err != nil {
		return err
	}
	for len(data) > 0 {
		if err := w.openChunk(); err != nil {
			return err
		}
		part := data[:min(len(data), blobid.ChunkSize-w.pending)]
		if _, err := w.file.Write(part); err != nil {
			return diskError(err)
		}
		w.chunk.Write(part)
		w.pending += len(part)
		data = data[len(part):]
		if w.pending == blobid.ChunkSize {
			if err := w.closeChunk(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) openChunk() error {
	if w.file != nil {
		return nil
	}
	if w.chunks == MaxChunks {
		return errkind.TooLarge.Errorf("blob has more than %d chunks of %d bytes", MaxChunks, blobid.ChunkSize)
	}
	file, err := os.CreateTemp(filepath.Join(w.s.dir, stagingFolder), "chunk-*")
	if err != nil {
		return diskError(err)
	}
	w.file, w.chunks = file, w.chunks+1
	return nil
}

// closeChunk names the open chunk. If its file is there already, from another blob or an earlier chunk, that one serves.
func (w *writer) closeChunk() error {
	if w.file == nil {
		return nil
	}
	file := w.file
	id := domain.BlobID(w.chunk.Sum(nil))
	w.file, w.pending = nil, 0
	w.chunk.Reset()
	if err := file.Close(); err != nil {
		return errors.Join(diskError(err), os.Remove(file.Name()))
	}
	if _, again := w.temporary[id]; again {
		return os.Remove(file.Name())
	}
	w.s.pin(id)
	w.pinned = append(w.pinned, id)
	if _, err := w.s.readChunk(id); err == nil { // a damaged one is replaced
		return os.Remove(file.Name())
	}
	w.temporary[id] = file.Name()
	return nil
}

// finish ends the stream.
func (w *writer) finish() error {
	if w.closed {
		return nil
	}
	w.closed = true
	return w.closeChunk()
}

// seal ends the stream and makes its files durable under their names.
func (w *writer) seal() error {
	if err := w.finish(); err != nil {
		return err
	}
	for id, name := range w.temporary {
		if err := syncFile(name); err != nil {
			return diskError(err)
		}
		if err := os.Rename(name, w.s.path(id)); err != nil {
			return diskError(err)
		}
		delete(w.temporary, id)
	}
	if len(w.pinned) == 0 {
		return nil
	}
	return diskError(syncFile(w.s.dir))
}

func (w *writer) sum() blobid.Info { return w.content.Sum() }

// discard removes what was not published.
func (w *writer) discard() {
	if w.published {
		return
	}
	w.published, w.closed = true, true
	if w.file != nil {
		w.temporary[domain.BlobID{}] = w.file.Name()
		_ = w.file.Close() // its content goes anyway
		w.file = nil
	}
	for _, name := range w.temporary {
		if err := os.Remove(name); err != nil {
			w.s.log.Warn("cannot remove temporary blob file; the next start does", "file", name, "error", err)
		}
	}
	w.s.unpin(true, w.pinned...)
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
