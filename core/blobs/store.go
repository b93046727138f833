// Package blobs keeps content by its hash: chunk files in a folder, metadata in the database (network-apps.md §3.1).
//
// A chunk's file is on disk, and flushed, before any metadata names it; a crash leaves at worst files that nothing names,
// which Open removes. Chunks are shared by the blobs that contain them and go with the last of them.
package blobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Defaults and bounds.
const (
	DefaultCacheBytes = 64 << 20
	// DefaultMaxStaged bounds what one execution may write into blobs, in bytes.
	DefaultMaxStaged = 1 << 30
	// MaxChunks is the most chunks of a blob: their rows are one batch. It makes 192 GiB.
	MaxChunks = 3 << 16
	// MaxRead bounds one ReadAt, in bytes.
	MaxRead = 16 << 20
	// maxHandles bounds the blobs one execution writes.
	maxHandles = 128

	stagingFolder = ".staging"
)

// Options of a Store.
type Options struct {
	// CacheBytes bounds the chunks kept in memory; 0 = DefaultCacheBytes, negative = none.
	CacheBytes int
	// MaxStaged; 0 = DefaultMaxStaged.
	MaxStaged uint64
	Logger    *slog.Logger
}

// Info describes a blob. Hash is the SHA-256 of the content, Size is in bytes.
type Info struct {
	ID   domain.BlobID
	Hash domain.Hash
	Size uint64
}

// Store keeps blobs. All methods are safe for concurrent use.
type Store struct {
	dir       string
	db        *store.DB
	maxStaged uint64
	log       *slog.Logger
	cache     *chunkCache

	mu sync.Mutex
	// roots are the blobs with chunks, refs counts for each chunk the roots it is part of.
	roots map[domain.BlobID]struct{}
	refs  map[domain.BlobID]int
	// pins counts the uses of a chunk file by writers and readers: it stays whatever refs says.
	pins map[domain.BlobID]int
	// rooting and chunking count the commits under way that write a row as a root or as a chunk; deleting has the roots
	// whose removal is under way, each with a channel that is closed after it.
	rooting, chunking map[domain.BlobID]int
	deleting          map[domain.BlobID]chan struct{}

	// partials are the blobs that somebody gathers; their folders are not removed.
	gather   sync.Mutex
	partials map[domain.BlobID]struct{}
}

// Open opens the store over the metadata in db and the chunk files in dir, and removes the files that no metadata names.
// The folder is created if absent and belongs to this store alone.
func Open(ctx context.Context, db *store.DB, dir string, opts Options) (*Store, error) {
	if opts.CacheBytes == 0 {
		opts.CacheBytes = DefaultCacheBytes
	}
	if opts.MaxStaged == 0 {
		opts.MaxStaged = DefaultMaxStaged
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		dir: dir, db: db, maxStaged: opts.MaxStaged, log: opts.Logger, cache: newChunkCache(opts.CacheBytes),
		roots: map[domain.BlobID]struct{}{}, refs: map[domain.BlobID]int{}, pins: map[domain.BlobID]int{},
		rooting: map[domain.BlobID]int{}, chunking: map[domain.BlobID]int{}, deleting: map[domain.BlobID]chan struct{}{},
		partials: map[domain.BlobID]struct{}{},
	}
	staging := filepath.Join(s.dir, stagingFolder)
	if err := os.RemoveAll(staging); err != nil {
		return nil, fmt.Errorf("empty blob folder %s: %w", staging, err)
	}
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return nil, fmt.Errorf("create blob folder: %w", err)
	}
	if err := s.sweep(ctx); err != nil {
		return nil, err
	}
	if err := s.trimPartials(time.Now()); err != nil {
		return nil, err
	}
	return s, nil
}

// sweep learns what is referenced and removes the files that are not.
func (s *Store) sweep(ctx context.Context) error {
	single := map[domain.BlobID]struct{}{} // rows without chunks: a chunk, or a blob of the reference's failed uploads
	err := store.BlobMeta.Scan(ctx, s.db, nil, func(id domain.BlobID, meta wire.BlobMeta) error {
		if len(meta.Links) > 0 {
			s.addRoot(id, meta.Links)
		} else {
			single[id] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read blob metadata: %w", err)
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("read blob folder: %w", err)
	}
	removed := 0
	for _, file := range files {
		id, err := domain.ParseBlobID(file.Name())
		if err != nil || !file.Type().IsRegular() {
			continue // not ours
		}
		if _, ok := single[id]; ok || s.refs[id] > 0 {
			continue
		}
		if err := os.Remove(s.path(id)); err != nil {
			return fmt.Errorf("remove unreferenced blob file: %w", err)
		}
		removed++
	}
	if removed > 0 {
		s.log.Info("removed unreferenced blob files", "count", removed, "folder", s.dir)
	}
	return nil
}

func (s *Store) path(id domain.BlobID) string { return filepath.Join(s.dir, id.String()) }

// Info describes a blob; kind NotFound when there is none. It looks at the metadata only.
func (s *Store) Info(ctx context.Context, id domain.BlobID) (Info, error) {
	meta, err := s.meta(ctx, id)
	return Info{ID: id, Hash: meta.Hash, Size: meta.Size}, err
}

func (s *Store) meta(ctx context.Context, id domain.BlobID) (wire.BlobMeta, error) {
	meta, found, err := store.BlobMeta.Get(ctx, s.db, id)
	if err != nil {
		return wire.BlobMeta{}, err
	}
	if !found {
		return wire.BlobMeta{}, errkind.NotFound.Errorf("blob %s not found", id)
	}
	if n := (meta.Size + blobid.ChunkSize - 1) / blobid.ChunkSize; len(meta.Links) > 0 && n != uint64(len(meta.Links)) ||
		len(meta.Links) == 0 && n > 1 {
		return wire.BlobMeta{}, errkind.Corrupt.Errorf("blob %s: %d bytes in %d chunks", id, meta.Size, len(meta.Links))
	}
	return meta, nil
}

// List are the blobs in the order of their ids, without the chunks they are made of.
func (s *Store) List(ctx context.Context) ([]Info, error) {
	var all []Info
	err := store.BlobMeta.Scan(ctx, s.db, nil, func(id domain.BlobID, meta wire.BlobMeta) error {
		if len(meta.Links) > 0 || !s.isChunk(id) {
			all = append(all, Info{ID: id, Hash: meta.Hash, Size: meta.Size})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list blobs: %w", err)
	}
	return all, nil
}

// Delete removes a blob, its chunks that no other blob shares, and their files. Kind NotFound when it is not here; kind
// Precondition when it is a chunk of another blob, or, retryable, when it is being written at the moment.
func (s *Store) Delete(ctx context.Context, id domain.BlobID) error {
	meta, found, err := store.BlobMeta.Get(ctx, s.db, id)
	if err != nil {
		return err
	}
	if !found {
		return errkind.NotFound.Errorf("Blob not found") // the reference's text, shown to users
	}
	if len(meta.Links) == 0 {
		meta.Links = nil
		if s.isChunk(id) {
			return errkind.Precondition.Errorf("blob %s is a chunk of another blob: delete that one", id)
		}
	}
	chunks := distinct(meta.Links)
	if len(chunks) == 0 && meta.Size > 0 {
		chunks = []domain.BlobID{id}
	}
	done, err := s.beginDelete(id)
	if err != nil {
		return err
	}
	defer done()
	b := s.db.Batch()
	store.BlobMeta.Delete(b, id)
	for _, chunk := range s.unshared(id, chunks) {
		store.BlobMeta.Delete(b, chunk)
	}
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("delete blob %s: %w", id, err)
	}
	s.dropRoot(id, chunks)
	return nil
}

func (s *Store) beginDelete(id domain.BlobID) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooting[id] > 0 || s.deleting[id] != nil {
		return nil, errkind.Retryable(errkind.Precondition.Errorf("blob %s is being written or deleted: try again", id))
	}
	over := make(chan struct{})
	s.deleting[id] = over
	return func() {
		s.mu.Lock()
		delete(s.deleting, id)
		s.mu.Unlock()
		close(over)
	}, nil
}

// unshared are the chunks whose rows go with root.
func (s *Store) unshared(root domain.BlobID, chunks []domain.BlobID) []domain.BlobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := 0
	if _, ok := s.roots[root]; ok {
		own = 1
	}
	var out []domain.BlobID
	for _, chunk := range chunks {
		_, isRoot := s.roots[chunk]
		if s.refs[chunk] <= own && s.chunking[chunk] == 0 && s.rooting[chunk] == 0 && !isRoot {
			out = append(out, chunk)
		}
	}
	return out
}

// addRoot counts the chunks of a blob whose row is stored; the caller holds the lock or is alone.
func (s *Store) addRoot(id domain.BlobID, links []domain.BlobID) {
	if _, known := s.roots[id]; known {
		return
	}
	s.roots[id] = struct{}{}
	for _, chunk := range distinct(links) {
		s.refs[chunk]++
	}
}

// dropRoot is the opposite, after the row was removed, and removes the files nobody needs any more.
func (s *Store) dropRoot(id domain.BlobID, chunks []domain.BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.roots[id]
	delete(s.roots, id)
	for _, chunk := range chunks {
		if known {
			if s.refs[chunk]--; s.refs[chunk] <= 0 {
				delete(s.refs, chunk)
			}
		}
		s.removeUnused(chunk)
	}
}

// removeUnused removes a chunk file that no blob and no user needs; the caller holds the lock.
func (s *Store) removeUnused(chunk domain.BlobID) {
	if s.refs[chunk] > 0 || s.pins[chunk] > 0 {
		return
	}
	s.cache.remove(chunk)
	if err := os.Remove(s.path(chunk)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("cannot remove blob file; the next start tries again", "file", s.path(chunk), "error", err)
	}
}

func (s *Store) isChunk(id domain.BlobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refs[id] > 0
}

func (s *Store) pin(chunks ...domain.BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, chunk := range chunks {
		s.pins[chunk]++
	}
}

// unpin ends a use; with sweep, files that no blob names go.
func (s *Store) unpin(sweep bool, chunks ...domain.BlobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, chunk := range chunks {
		if s.pins[chunk]--; s.pins[chunk] <= 0 {
			delete(s.pins, chunk)
			if sweep {
				s.removeUnused(chunk)
			}
		}
	}
}

// distinct are the ids without repetitions, in order.
func distinct(ids []domain.BlobID) []domain.BlobID {
	seen := make(map[domain.BlobID]struct{}, len(ids))
	out := make([]domain.BlobID, 0, len(ids))
	for _, id := range ids {
		if _, ok := seen[id]; !ok {
			seen[id] = struct{}{}
			out = append(out, id)
		}
	}
	return out
}

// diskError gives a failed file operation its kind and says what to do about a full disk.
func diskError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return errkind.Exhausted.Errorf("no space left for blobs: free disk space and try again: %w", err)
	default:
		return errkind.Internal.Errorf("write blob file: %w", err)
	}
}
