package blobs

import (
	"context"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Staging holds the blobs that one execution writes, until Publish makes them part of a batch or Discard drops them. It
// is not safe for concurrent use. Discard must be called at the end in any case.
type Staging struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // bounds Publish, which has the execution's context
	total  uint64
	open   map[uint32]*writer
	closed map[domain.BlobID]*staged
	settle []func(error)
}

// staged is a blob that is complete.
type staged struct {
	w    *writer
	info blobid.Info
}

// Stage opens a staging area for one execution, whose context ctx is.
func (s *Store) Stage(ctx context.Context) (*Staging, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &Staging{s: s, ctx: ctx, open: map[uint32]*writer{}, closed: map[domain.BlobID]*staged{}}, nil
}

// Part appends a part to the blob being written on part.FD. The last part completes the blob: its id and size must be
// those of the content.
func (g *Staging) Part(ctx context.Context, part runtime.BlobPart) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(part.Data) > runtime.SpillPart {
		return errkind.TooLarge.Errorf("blob part of %d bytes, limit %d", len(part.Data), runtime.SpillPart)
	}
	if g.total += uint64(len(part.Data)); g.total > g.s.maxStaged {
		return errkind.TooLarge.Errorf("blobs written by one execution have more than %d bytes", g.s.maxStaged)
	}
	w := g.open[part.FD]
	if w == nil {
		if len(g.open)+len(g.closed) >= maxHandles {
			return errkind.TooLarge.Errorf("more than %d blobs written by one execution", maxHandles)
		}
		w = g.s.newWriter()
		g.open[part.FD] = w
	}
	if err := w.write(part.Data); err != nil {
		return err
	}
	if !part.Last {
		return nil
	}
	delete(g.open, part.FD)
	return g.complete(w, part)
}

func (g *Staging) complete(w *writer, part runtime.BlobPart) error {
	err := w.finish()
	info := w.sum()
	if err == nil && (info.ID != part.ID || info.Size != part.Size) {
		err = errkind.Invalid.Errorf("blob %s of %d bytes was announced, its parts make %s of %d bytes", part.ID, part.Size,
			info.ID, info.Size)
	}
	if _, again := g.closed[info.ID]; err != nil || again {
		w.discard()
		return err
	}
	g.closed[info.ID] = &staged{w, info}
	return nil
}

// Size is the size of a blob completed in this area; false when there is none of this id.
func (g *Staging) Size(id domain.BlobID) (uint64, bool) {
	b, ok := g.closed[id]
	if !ok {
		return 0, false
	}
	return b.info.Size, true
}

// ReadAt is Store.ReadAt for the blobs completed in this area; false when there is none of this id.
func (g *Staging) ReadAt(id domain.BlobID, offset, length uint64) ([]byte, bool, error) {
	b, ok := g.closed[id]
	if !ok {
		return nil, false, nil
	}
	if length > MaxRead {
		return nil, true, errkind.TooLarge.Errorf("read of %d bytes of a blob, limit %d", length, MaxRead)
	}
	c := content{id: id, size: b.info.Size, chunks: b.info.Chunks, load: func(chunk domain.BlobID) ([]byte, error) {
		if name, own := b.w.temporary[chunk]; own {
			return readChunkFile(name, chunk)
		}
		return g.s.readChunk(chunk)
	}}
	data, err := c.readAt(offset, length)
	return data, true, err
}

// Publish makes the completed blobs durable and adds their metadata to b, with whose commit they appear. Blobs that were
// not completed are dropped.
func (g *Staging) Publish(b *store.Batch) error {
	for fd, w := range g.open {
		w.discard()
		delete(g.open, fd)
	}
	for _, blob := range g.closed {
		settle, err := g.s.publish(g.ctx, b, blob.w)
		if err != nil {
			return errkind.Of(err).Errorf("publish blob %s: %w", blob.info.ID, err)
		}
		g.settle = append(g.settle, settle)
	}
	return nil
}

// Discard drops what was not published. What was published and whose batch has not ended stays on disk until the next
// start, which removes it unless it was committed after all. More than once is fine.
func (g *Staging) Discard() {
	for _, w := range g.open {
		w.discard()
	}
	for _, blob := range g.closed {
		blob.w.discard()
	}
	for _, settle := range g.settle {
		settle(store.ErrOutcomeUnknown)
	}
	clear(g.open)
	clear(g.closed)
	g.settle = nil
}
