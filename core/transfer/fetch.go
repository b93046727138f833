package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"

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
	f := &fetching{s: s, context: id, blob: blob}
	for {
		before := f.gained
		done, err := f.round(ctx)
		switch {
		case done || err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case f.gained > before:
			continue // who had the rest may be asked again
		case f.gained > 0:
			return errkind.Retryable(errkind.NotFound.Errorf("none of %d peers gives the rest of blob %s of context %s: %d chunks came",
				f.asked, blob, id, f.gained))
		}
		return errkind.Retryable(errkind.NotFound.Errorf("none of %d peers gives blob %s of context %s", f.asked, blob, id))
	}
}

// fetching is the fetch of one blob.
type fetching struct {
	s       *Service
	context domain.ContextID
	blob    domain.BlobID
	asked   int // peers in this round
	gained  int // chunks that came and are kept
}

// round asks each peer that may have the blob once.
func (f *fetching) round(ctx context.Context) (done bool, err error) {
	near, err := f.s.opts.Network.TopicPeers(ctx, wire.ContextTopic(f.context))
	if err != nil && !errors.Is(err, errkind.Precondition) { // the topic need not be entered
		return false, err
	}
	f.asked = 0
	tried := map[PeerID]struct{}{f.s.opts.Network.LocalPeerID(): {}}
	if done, err := f.fromAny(ctx, near, tried); done || err != nil {
		return done, err
	}
	found, err := f.s.opts.Network.FindProviders(ctx, network.BlobKey{Context: f.context, Blob: f.blob}, maxProviders)
	if err != nil && ctx.Err() == nil {
		f.s.log.Debug("the DHT names nobody", "blob", f.blob, "err", err)
	}
	far := make([]PeerID, len(found))
	for i, p := range found {
		far[i] = p.Peer
	}
	return f.fromAny(ctx, far, tried)
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

// fromAny asks one peer after the other. The error is one of this node, such as a full disk.
func (f *fetching) fromAny(ctx context.Context, peers []PeerID, tried map[PeerID]struct{}) (done bool, err error) {
	for _, p := range peers {
		if _, again := tried[p]; again || ctx.Err() != nil {
			continue
		}
		tried[p] = struct{}{}
		f.asked++
		err := f.from(ctx, p)
		f.s.fetched.WithLabelValues(outcomeOf(err)).Inc()
		var own *ownError
		if errors.As(err, &own) {
			return false, own.error
		}
		if err == nil {
			f.s.log.Info("a blob was fetched", "blob", f.blob, "context", f.context, "peer", p)
			return true, nil
		}
		f.s.log.Debug("a peer does not give a blob", "blob", f.blob, "peer", p, "err", err)
	}
	return false, nil
}

// ownError is no peer's fault.
type ownError struct{ error }

func (e *ownError) Unwrap() error { return e.error }

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errkind.NotFound):
		return "absent"
	}
	return "failed"
}

// from fetches from one peer, of which it may have come closer when it fails.
func (f *fetching) from(ctx context.Context, p PeerID) error {
	auth, err := f.s.auth(ctx, f.context, f.blob)
	if err != nil {
		return &ownError{err}
	}
	r := wire.BlobRequest{Blob: f.blob, Context: f.context, Auth: auth}
	reference := func() bool {
		return f.s.opts.Network.Supports(p, Protocol) && !f.s.opts.Network.Supports(p, wire.ExtensionProtocol)
	}
	if reference() {
		return f.s.streamFrom(ctx, p, r)
	}
	err = f.chunksFrom(ctx, p, r)
	if err != nil && reference() { // what it is was not known before it was connected
		return f.s.streamFrom(ctx, p, r)
	}
	return err
}

// streamFrom fetches by the reference's protocol: the whole, from its beginning.
func (s *Service) streamFrom(ctx context.Context, p PeerID, r wire.BlobRequest) (err error) {
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
