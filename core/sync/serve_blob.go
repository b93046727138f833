package sync

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// OpenBlob opens a blob that members of a context may have, such as the module of its application; kind NotFound for any
// other.
type OpenBlob func(ctx context.Context, id domain.ContextID, blob domain.BlobID) (io.ReadCloser, error)

// answerBlob gives a blob as the reference's nodes do to members that join (sync-wire.md §3.4): chunks sealed with the key
// that both identities share.
func (r *referenceStream) answerBlob(ctx context.Context, init wire.Init, q wire.BlobShareInit) error {
	r.m.metrics.served.WithLabelValues("blob").Inc()
	if r.m.opts.OpenBlob == nil {
		return errkind.Unsupported.Errorf("blobs are not served on this protocol")
	}
	if !r.m.peers.isBound(init.Context, init.Party, r.Peer()) {
		return errkind.Unauthenticated.Errorf("peer %s has not proven to be %s; a key share does", r.Peer(), init.Party)
	}
	blob, err := r.m.opts.OpenBlob(ctx, init.Context, q.Blob)
	if err != nil {
		return err
	}
	defer blob.Close()
	self, private, err := r.m.own(ctx, init.Context, domain.PublicKey{})
	if err != nil {
		return err
	}
	key, err := identity.NewSharedKey(private, init.Party)
	if err != nil {
		return errkind.Invalid.Errorf("share a key with %s: %w", init.Party, err)
	}
	nonce, err := identity.NewNonce()
	if err != nil {
		return err
	}
	if err := r.write(ctx, wire.Init{Context: init.Context, Party: self, Payload: q, NextNonce: nonce}); err != nil {
		return err
	}
	return r.sendBlob(ctx, key, nonce, blob)
}

// sendBlob sends the chunks; each message names the nonce of the next.
func (r *referenceStream) sendBlob(ctx context.Context, key identity.SharedKey, nonce wire.Nonce, blob io.Reader) error {
	buf := make([]byte, wire.MaxBlobChunk)
	var out sequence
	for {
		n, err := io.ReadFull(blob, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("read blob: %w", err)
		}
		var next wire.Nonce // of the end: zero
		if n > 0 {
			if next, err = identity.NewNonce(); err != nil {
				return err
			}
		}
		if err := r.m.requestRate.wait(ctx, r.Peer(), 4); err != nil {
			return err
		}
		plain, err := wire.EncodeStream(wire.Message{
			Sequence: out.next(), Payload: wire.BlobShare{Chunk: buf[:n]}, NextNonce: next,
		})
		if err != nil {
			return err
		}
		if err := r.WriteFrame(ctx, key.Encrypt(plain, nonce)); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		nonce = next
	}
}
