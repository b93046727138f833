package blobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of blobs that are partly here and that nobody fetches at the moment. The oldest go first.
const (
	MaxPartials     = 8
	MaxPartialBytes = 2 << 30
	MaxPartialAge   = 24 * time.Hour

	partialFolder = ".partial"
)

// Partial is a blob whose chunks come one after the other, perhaps from several sources, with pauses and restarts. It is
// for one goroutine at a time, and must be closed.
type Partial struct {
	s      *Store
	id     domain.BlobID
	chunks []domain.BlobID
	dir    string
	next   int
}

// Resume begins to gather a blob, or goes on with what is here of it. The chunks must be those of the blob, kind Invalid;
// kind Precondition while somebody else gathers it.
func (s *Store) Resume(id domain.BlobID, chunks []domain.BlobID) (*Partial, error) {
	if len(chunks) > MaxChunks {
		return nil, errkind.TooLarge.Errorf("blob %s has more than %d chunks of %d bytes", id, MaxChunks, blobid.ChunkSize)
	}
	if len(chunks) == 0 || blobid.Root(chunks) != id {
		return nil, errkind.Invalid.Errorf("a list of %d chunks is not that of blob %s", len(chunks), id)
	}
	s.gather.Lock()
	defer s.gather.Unlock()
	if _, again := s.partials[id]; again {
		return nil, errkind.Precondition.Errorf("blob %s is being gathered already", id)
	}
	if err := s.trimPartials(time.Now()); err != nil {
		return nil, err
	}
	p := &Partial{s: s, id: id, chunks: slices.Clone(chunks), dir: filepath.Join(s.dir, partialFolder, id.String())}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, diskError(err)
	}
	s.partials[id] = struct{}{}
	p.advance()
	return p, nil
}

func (p *Partial) path(chunk domain.BlobID) string { return filepath.Join(p.dir, chunk.String()) }

// advance goes to the first chunk that is not here.
func (p *Partial) advance() {
	for p.next < len(p.chunks) {
		if _, err := os.Lstat(p.path(p.chunks[p.next])); err != nil {
			return
		}
		p.next++
	}
}

// Next is the number of the chunk that Put takes; the number of all chunks when none is missing.
func (p *Partial) Next() int { return p.next }

// Put takes the next chunk; kind Invalid when it is another one.
func (p *Partial) Put(data []byte) error {
	if p.next == len(p.chunks) {
		return errkind.Invalid.Errorf("blob %s has no further chunk", p.id)
	}
	want := p.chunks[p.next]
	if got := blobid.Chunk(data); got != want || len(data) > blobid.ChunkSize {
		return errkind.Invalid.Errorf("chunk %d of blob %s is %s, what came is %s", p.next, p.id, want, got)
	}
	file, err := os.CreateTemp(filepath.Join(p.s.dir, stagingFolder), "chunk-*")
	if err != nil {
		return diskError(err)
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), p.path(want))
	}
	if err != nil {
		return errors.Join(diskError(err), os.Remove(file.Name()))
	}
	p.advance()
	return nil
}

// Commit makes the blob a blob of the store, once all chunks are here. A chunk that is damaged, say by a power failure, is
// forgotten: the error is retryable and of kind Corrupt, and Next is its number. Content that cannot have the blob's id is
// kind Invalid and goes.
func (p *Partial) Commit(ctx context.Context) (Info, error) {
	if p.next < len(p.chunks) {
		return Info{}, errkind.Precondition.Errorf("blob %s lacks chunk %d of %d", p.id, p.next, len(p.chunks))
	}
	b := p.s.db.Batch()
	defer b.Abandon()
	w := p.s.newWriter()
	defer w.release()
	for i, chunk := range p.chunks {
		data, err := readChunkFile(p.path(chunk), chunk)
		if err != nil {
			p.next = i
			return Info{}, errkind.Retryable(errors.Join(errkind.Corrupt.Errorf("chunk %d of blob %s: %w", i, p.id, err),
				removeIfThere(p.path(chunk))))
		}
		if err := w.adopt(chunk, p.path(chunk), data); err != nil {
			return Info{}, err
		}
	}
	w.closed = true
	info := w.sum()
	if info.ID != p.id { // a chunk in the middle is short
		return Info{}, errors.Join(errkind.Invalid.Errorf("blob %s has chunks that no blob can have", p.id), os.RemoveAll(p.dir))
	}
	if _, err := p.s.publish(ctx, b, w); err != nil {
		return Info{}, err
	}
	if err := b.Commit(ctx); err != nil {
		p.next = 0
		p.advance()
		return Info{}, fmt.Errorf("store blob %s: %w", p.id, err)
	}
	if err := os.RemoveAll(p.dir); err != nil {
		p.s.log.Warn("cannot remove what a blob was gathered in; it goes later", "folder", p.dir, "error", err)
	}
	return Info{ID: info.ID, Hash: info.Hash, Size: info.Size}, nil
}

// Close ends the gathering for now. What is here stays for the next time.
func (p *Partial) Close() error {
	p.s.gather.Lock()
	defer p.s.gather.Unlock()
	delete(p.s.partials, p.id)
	// When nothing is in it, or it is gone.
	if err := os.Remove(p.dir); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return diskError(err)
	}
	return nil
}

func removeIfThere(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// adopt takes a chunk whose verified content is in a file. The file goes with seal, unless the chunk is in the store.
func (w *writer) adopt(id domain.BlobID, name string, data []byte) error {
	if _, err := w.content.Write(data); err != nil {
		return err
	}
	w.chunks++
	if _, again := w.temporary[id]; again {
		return nil
	}
	w.s.pin(id)
	w.pinned = append(w.pinned, id)
	if _, err := w.s.readChunk(id); err != nil { // absent, or damaged
		w.temporary[id] = name
	}
	return nil
}

// release lets go of what was adopted and not published; its files stay where they are.
func (w *writer) release() {
	w.temporary = nil
	w.discard()
}

// partial is a folder of chunks that nobody gathers at the moment.
type partial struct {
	dir   string
	bytes int64
	used  time.Time
}

// trimPartials removes what is too old or too much. The caller holds gather or is alone.
func (s *Store) trimPartials(now time.Time) error {
	root := filepath.Join(s.dir, partialFolder)
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read blob folder: %w", err)
	}
	var all []partial
	for _, e := range entries {
		if id, err := domain.ParseBlobID(e.Name()); err == nil {
			if _, inUse := s.partials[id]; inUse {
				continue
			}
		}
		one, err := measure(filepath.Join(root, e.Name()))
		if err != nil {
			return fmt.Errorf("read blob folder: %w", err)
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b partial) int { return b.used.Compare(a.used) })
	var kept int64
	for i, one := range all {
		kept += one.bytes
		if i < MaxPartials && kept <= MaxPartialBytes && now.Sub(one.used) < MaxPartialAge {
			continue
		}
		kept -= one.bytes
		if err := os.RemoveAll(one.dir); err != nil {
			return fmt.Errorf("remove a blob that is partly here: %w", err)
		}
		s.log.Info("a blob that was partly here is removed", "folder", one.dir, "bytes", one.bytes)
	}
	return nil
}

func measure(dir string) (partial, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return partial{}, err
	}
	one := partial{dir: dir, used: info.ModTime()}
	if !info.IsDir() {
		return one, nil
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return partial{}, err
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			one.bytes += info.Size()
		}
	}
	return one, nil
}
