package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// A request counts from its time on for signedBefore seconds, and so much earlier as clocks may differ.
const signedBefore, signedAfter = 30, 10

// Serve answers the one request of a stream that a peer opened. What may not be had looks like what is not here.
func (s *Service) Serve(ctx context.Context, stream Stream) {
	outcome, err := s.serve(ctx, stream)
	s.served.WithLabelValues(outcome).Inc()
	if err != nil && ctx.Err() == nil {
		s.log.Debug("a blob is not served", "peer", stream.Peer(), "err", err)
		if outcome == "failed" {
			stream.Reset()
		}
	}
}

func (s *Service) serve(ctx context.Context, stream Stream) (outcome string, err error) {
	asked, err := func() (wire.BlobRequest, error) {
		ctx, cancel := context.WithTimeout(ctx, s.opts.Answer)
		defer cancel()
		raw, err := stream.ReadFrame(ctx, wire.MaxBlobHeader)
		if err != nil {
			return wire.BlobRequest{}, err
		}
		return wire.DecodeBlobRequest(raw)
	}()
	if err != nil {
		return "failed", err
	}
	if err := s.mayHave(ctx, asked); err != nil {
		return "refused", errors.Join(err, s.notFound(ctx, stream))
	}
	blob, err := s.opts.Blobs.Open(ctx, asked.Blob)
	if err != nil {
		return "absent", errors.Join(err, s.notFound(ctx, stream))
	}
	defer blob.Close()
	size := blob.Info().Size
	answer, err := wire.EncodeBlobResponse(wire.BlobResponse{Found: true, Size: &size})
	if err != nil {
		return "failed", err
	}
	if err := stream.WriteFrame(ctx, answer); err != nil {
		return "failed", err
	}
	if err := s.send(ctx, stream, blob); err != nil {
		return "failed", err
	}
	return "sent", nil
}

// send sends the content, and an empty chunk as its end.
func (s *Service) send(ctx context.Context, stream Stream, blob io.Reader) error {
	buffer := make([]byte, blobid.ChunkSize)
	for {
		n, err := io.ReadFull(blob, buffer)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		chunk, cerr := wire.EncodeBlobChunk(buffer[:n])
		if cerr != nil {
			return cerr
		}
		if werr := stream.WriteFrame(ctx, chunk); werr != nil {
			return werr
		}
		if n == 0 {
			return stream.CloseWrite()
		}
	}
}

func (s *Service) notFound(ctx context.Context, stream Stream) error {
	answer, err := wire.EncodeBlobResponse(wire.BlobResponse{})
	if err != nil {
		return err
	}
	return stream.WriteFrame(ctx, answer)
}

// mayHave is the reference's rule (sync-wire.md §7): an application's module is for everybody who knows of it, all else
// for members of the context named, who sign the request.
func (s *Service) mayHave(ctx context.Context, r wire.BlobRequest) error {
	bytecode, err := s.opts.Bytecode(ctx, r.Context)
	if err != nil {
		return err
	}
	if bytecode == r.Blob {
		return nil
	}
	if !r.Verify() {
		return errkind.Unauthenticated.Errorf("the request for blob %s is not signed", r.Blob)
	}
	now, at := s.opts.Now().Unix(), r.Auth.Timestamp
	if at > uint64(now+signedAfter) || at < uint64(max(now-signedBefore, 0)) { //nolint:gosec // after 1970
		return errkind.Unauthenticated.Errorf("the request for blob %s is of another time", r.Blob)
	}
	member, err := s.opts.Member(ctx, r.Context, r.Auth.PublicKey)
	if err == nil && !member {
		err = errkind.PermissionDenied.Errorf("%s is not a member of context %s", r.Auth.PublicKey, r.Context)
	}
	return err
}
