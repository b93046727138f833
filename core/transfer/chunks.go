package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// window is how many chunks are asked for at once; maxWindow is what a peer may ask for.
	window, maxWindow = 8, 64
	// maxChunkFrame is the frame of a chunk.
	maxChunkFrame = blobid.ChunkSize + 64
)

// chunksFrom fetches the chunks that are not here from a peer with the extension.
func (f *fetching) chunksFrom(ctx context.Context, p PeerID, r wire.BlobRequest) (err error) {
	stream, err := f.s.opts.Network.OpenStream(ctx, p, wire.ExtensionProtocol)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			stream.Reset()
		}
	}()
	most := f.s.opts.MaxBlob/blobid.ChunkSize + 1
	answer, err := ask(ctx, stream, wire.BlobOpen(r), int(min(32*most+64, wire.MaxFrame))) //nolint:gosec // at most MaxFrame
	if err != nil {
		return err
	}
	list, ok := answer.(wire.BlobChunks)
	if !ok {
		return errkind.Invalid.Errorf("peer %s answers BlobOpen with %T", p, answer)
	}
	if uint64(len(list.Chunks)) > most {
		return errkind.TooLarge.Errorf("blob %s of peer %s has %d chunks, the limit is %d bytes", r.Blob, p, len(list.Chunks),
			f.s.opts.MaxBlob)
	}
	partial, err := f.s.opts.Blobs.Resume(r.Blob, list.Chunks)
	if err != nil {
		return blame(err)
	}
	defer func() {
		if cerr := partial.Close(); cerr != nil {
			err = errors.Join(err, &ownError{cerr})
		}
	}()
	f.s.chunks.WithLabelValues("earlier").Add(float64(partial.Next()))
	for {
		if err := f.gather(ctx, stream, partial, len(list.Chunks)); err != nil {
			return fmt.Errorf("blob %s of peer %s: %w", r.Blob, p, err)
		}
		_, err := partial.Commit(ctx)
		if errors.Is(err, errkind.Corrupt) && errkind.IsRetryable(err) {
			f.s.log.Warn("a chunk that came earlier is damaged and asked for again", "blob", r.Blob, "err", err)
			continue
		}
		if err != nil {
			return blame(err)
		}
		break
	}
	if err := stream.Close(); err != nil {
		f.s.log.Debug("a stream does not end well", "peer", p, "err", err) // all that was wanted is here
	}
	return nil
}

// blame tells a bad answer from an error of this node.
func blame(err error) error {
	if errors.Is(err, errkind.Invalid) || errors.Is(err, errkind.TooLarge) {
		return err
	}
	return &ownError{err}
}

// gather asks for chunks until all are here.
func (f *fetching) gather(ctx context.Context, stream Stream, partial *blobs.Partial, all int) error {
	for partial.Next() < all {
		from := partial.Next()
		count := min(window, all-from)
		if err := send(ctx, stream, wire.ChunksRequest{From: uint32(from), Count: uint32(count)}); err != nil { //nolint:gosec // few
			return err
		}
		for i := from; i < from+count; i++ {
			answer, err := read(ctx, stream, maxChunkFrame)
			if err != nil {
				return err
			}
			chunk, ok := answer.(wire.Chunk)
			if !ok {
				return errkind.Invalid.Errorf("%T in place of chunk %d", answer, i)
			}
			if i < partial.Next() {
				continue // it has the content of an earlier one
			}
			if err := partial.Put(chunk.Data); err != nil {
				return blame(err)
			}
			f.gained++
			f.s.chunks.WithLabelValues("peer").Inc()
		}
	}
	return nil
}

func send(ctx context.Context, stream Frames, m wire.ExtensionMessage) error {
	payload, err := wire.EncodeExtension(m)
	if err != nil {
		return err
	}
	return stream.WriteFrame(ctx, payload)
}

// read reads the next message; a refusal is an error.
func read(ctx context.Context, stream Frames, limit int) (wire.ExtensionMessage, error) {
	payload, err := stream.ReadFrame(ctx, limit)
	if err != nil {
		return nil, err
	}
	m, err := wire.DecodeExtension(payload)
	if err != nil {
		return nil, errkind.Invalid.Wrap(err)
	}
	if r, ok := m.(wire.Refusal); ok {
		kind := errkind.Unavailable
		if r.Kind == errkind.NotFound {
			kind = r.Kind
		}
		return nil, kind.Errorf("peer %s refuses: %q", stream.Peer(), r.Text)
	}
	return m, nil
}

func ask(ctx context.Context, stream Frames, m wire.ExtensionMessage, limit int) (wire.ExtensionMessage, error) {
	if err := send(ctx, stream, m); err != nil {
		return nil, err
	}
	return read(ctx, stream, limit)
}

// ServeChunks answers on a stream of the extension that a peer began with BlobOpen, until it ends.
func (s *Service) ServeChunks(ctx context.Context, stream Frames, asked wire.BlobOpen) {
	outcome, err := s.serveChunks(ctx, stream, wire.BlobRequest(asked))
	s.served.WithLabelValues(outcome).Inc()
	if err == nil || ctx.Err() != nil {
		return
	}
	s.log.Debug("a blob is not served", "peer", stream.Peer(), "err", err)
	refusal := wire.Refusal{Kind: errkind.Unavailable, Text: "not now"}
	if outcome != "failed" {
		refusal = wire.Refusal{Kind: errkind.NotFound, Text: "no such blob for you"}
	}
	if err := send(ctx, stream, refusal); err != nil {
		s.log.Debug("a peer does not hear that a blob is not served", "peer", stream.Peer(), "err", err)
	}
}

func (s *Service) serveChunks(ctx context.Context, stream Frames, asked wire.BlobRequest) (outcome string, err error) {
	leave, err := s.enter(stream.Peer())
	if err != nil {
		return "failed", err
	}
	defer leave()
	if err := s.mayHave(ctx, asked); err != nil {
		return "refused", err
	}
	blob, err := s.opts.Blobs.Open(ctx, asked.Blob)
	if err != nil {
		return "absent", err
	}
	defer blob.Close()
	list := blob.Chunks()
	if len(list) == 0 {
		return "absent", errkind.NotFound.Errorf("blob %s is a chunk of another one, or empty", asked.Blob)
	}
	if err := send(ctx, stream, wire.BlobChunks{Chunks: list}); err != nil {
		return "failed", err
	}
	buffer := make([]byte, blobid.ChunkSize)
	for {
		m, err := read(ctx, stream, wire.MaxBlobHeader)
		if errors.Is(err, io.EOF) || errors.Is(err, network.ErrReset) {
			return "sent", nil // whoever has what he wants goes
		}
		if err != nil {
			return "failed", err
		}
		if err := s.sendChunks(ctx, stream, blob, list, m, buffer); err != nil {
			return "failed", err
		}
	}
}

func (s *Service) sendChunks(ctx context.Context, stream Frames, blob *blobs.Reader, list []domain.BlobID, m wire.ExtensionMessage,
	buffer []byte) error {
	r, ok := m.(wire.ChunksRequest)
	if !ok || r.Count == 0 || r.Count > maxWindow || uint64(r.From)+uint64(r.Count) > uint64(len(list)) {
		return errkind.Invalid.Errorf("%+v is no request for some of %d chunks", m, len(list))
	}
	blob.SeekChunk(uint64(r.From))
	for range r.Count {
		n, err := io.ReadFull(blob, buffer)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if err := send(ctx, stream, wire.Chunk{Data: buffer[:n]}); err != nil {
			return err
		}
	}
	return nil
}

// enter takes a place among the streams that are served.
func (s *Service) enter(p PeerID) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving[p] >= maxPerPeer || s.total >= maxServed {
		return nil, errkind.Exhausted.Errorf("%d streams of peer %s and %d in all ask for blobs", s.serving[p], p, s.total)
	}
	s.serving[p]++
	s.total++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.serving[p]--; s.serving[p] == 0 {
			delete(s.serving, p)
		}
	}, nil
}
