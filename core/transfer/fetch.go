package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// maxProviders bounds the peers asked that the DHT names.
const maxProviders = 8

// Fetch brings a blob of a context here, if it is not: from a peer in the context's topic, or one that the DHT names. Kind
// NotFound when none of them gives it; what comes is believed only if its content has the id.
func (s *Service) Fetch(ctx context.Context, id domain.ContextID, blob domain.BlobID) error {
	for {
		if _, err := s.opts.Blobs.Info(ctx, blob); !errors.Is(err, errkind.NotFound) {
			return err
		}
		s.mu.Lock()
		f := s.flights[blob]
		first := f == nil
		if first {
			f = &flight{done: make(chan struct{})}
			s.flights[blob] = f
		}
		s.mu.Unlock()
		if first {
			f.err = s.fetch(ctx, id, blob)
			s.mu.Lock()
			delete(s.flights, blob)
			s.mu.Unlock()
			close(f.done)
			return f.err
		}
		select {
		case <-f.done:
			if f.err == nil {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Service) fetch(ctx context.Context, id domain.ContextID, blob domain.BlobID) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Whole)
	defer cancel()
	auth, err := s.auth(ctx, id, blob)
	if err != nil {
		return err
	}
	near, err := s.opts.Network.TopicPeers(ctx, wire.ContextTopic(id))
	if err != nil && !errors.Is(err, errkind.Precondition) { // the topic need not be entered
		return err
	}
	tried := map[PeerID]struct{}{s.opts.Network.LocalPeerID(): {}}
	if s.fromAny(ctx, near, tried, wire.BlobRequest{Blob: blob, Context: id, Auth: auth}) {
		return nil
	}
	found, err := s.opts.Network.FindProviders(ctx, network.BlobKey{Context: id, Blob: blob}, maxProviders)
	if err != nil && ctx.Err() == nil {
		s.log.Debug("the DHT names nobody", "blob", blob, "err", err)
	}
	far := make([]PeerID, len(found))
	for i, p := range found {
		far[i] = p.Peer
	}
	if s.fromAny(ctx, far, tried, wire.BlobRequest{Blob: blob, Context: id, Auth: auth}) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errkind.Retryable(errkind.NotFound.Errorf("none of %d peers gives blob %s of context %s", len(tried)-1, blob, id))
}

// auth signs a request as the first of the node's identities in the context; nil without one.
func (s *Service) auth(ctx context.Context, id domain.ContextID, blob domain.BlobID) (*wire.BlobAuth, error) {
	owned, err := s.opts.Identity.List(ctx, id, true)
	if err != nil || len(owned) == 0 {
		return nil, err
	}
	row, found, err := s.opts.Identity.Get(ctx, id, owned[0])
	if err != nil || !found || row.PrivateKey == nil {
		return nil, err
	}
	at := uint64(s.opts.Now().Unix()) //nolint:gosec // after 1970
	return &wire.BlobAuth{
		PublicKey: owned[0], Timestamp: at, Signature: row.PrivateKey.Sign(wire.BlobAuthMessage(blob, id, at)),
	}, nil
}

func (s *Service) fromAny(ctx context.Context, peers []PeerID, tried map[PeerID]struct{}, r wire.BlobRequest) bool {
	for _, p := range slices.Clone(peers) {
		if _, again := tried[p]; again || ctx.Err() != nil {
			continue
		}
		tried[p] = struct{}{}
		err := s.from(ctx, p, r)
		s.fetched.WithLabelValues(outcomeOf(err)).Inc()
		if err == nil {
			s.log.Info("a blob was fetched", "blob", r.Blob, "context", r.Context, "peer", p)
			return true
		}
		s.log.Debug("a peer does not give a blob", "blob", r.Blob, "peer", p, "err", err)
	}
	return false
}

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errkind.NotFound):
		return "absent"
	}
	return "failed"
}

// from fetches from one peer.
func (s *Service) from(ctx context.Context, p PeerID, r wire.BlobRequest) (err error) {
	stream, err := s.opts.Network.OpenStream(ctx, p, Protocol)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			stream.Reset()
		}
	}()
	request, err := wire.EncodeBlobRequest(r)
	if err != nil {
		return err
	}
	if err := stream.WriteFrame(ctx, request); err != nil {
		return err
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	raw, err := stream.ReadFrame(ctx, wire.MaxBlobHeader)
	if err != nil {
		return err
	}
	answer, err := wire.DecodeBlobResponse(raw)
	if err != nil {
		return err
	}
	if !answer.Found {
		return errkind.NotFound.Errorf("peer %s does not have blob %s, or not for this node", p, r.Blob)
	}
	if _, err := s.opts.Blobs.PutExact(ctx, r.Blob, &chunks{ctx: ctx, stream: stream}, s.opts.MaxBlob); err != nil {
		return fmt.Errorf("blob %s of peer %s: %w", r.Blob, p, err)
	}
	if err := stream.Close(); err != nil {
		s.log.Debug("a stream does not end well", "peer", p, "err", err) // all that was wanted is here
	}
	return nil
}

// chunks reads the content from the frames of a stream.
type chunks struct {
	ctx    context.Context //nolint:containedctx // of the one transfer that reads it
	stream Stream
	rest   []byte
	ended  bool
}

// Read implements io.Reader. The empty chunk is the end; so is the end of the stream, which the id of the content tells
// from a loss.
func (c *chunks) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.ended {
			return 0, io.EOF
		}
		raw, err := c.stream.ReadFrame(c.ctx, wire.MaxBlobChunk+16)
		if errors.Is(err, io.EOF) || errors.Is(err, network.ErrReset) {
			c.ended = true
			continue
		}
		if err != nil {
			return 0, err
		}
		if c.rest, err = wire.DecodeBlobChunk(raw); err != nil {
			return 0, err
		}
		c.ended = len(c.rest) == 0
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
