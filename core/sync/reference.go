package sync

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// referenceStream is a stream of the reference's sync protocol, as seen by either side.
type referenceStream struct {
	Stream
	m *Manager
}

func (r *referenceStream) write(ctx context.Context, msg wire.StreamMessage) error {
	payload, err := wire.EncodeStream(msg)
	if err != nil {
		return err
	}
	return r.WriteFrame(ctx, payload)
}

func (r *referenceStream) read(ctx context.Context, limit int, within time.Duration) (wire.StreamMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	payload, err := r.ReadFrame(ctx, limit)
	if err != nil {
		return nil, err
	}
	msg, err := wire.DecodeStream(payload)
	return msg, errkind.Invalid.Wrap(err)
}

// message sends a Message with the next number.
func (r *referenceStream) message(ctx context.Context, out *sequence, p wire.MessagePayload) error {
	return r.write(ctx, wire.Message{Sequence: out.next(), Payload: p, NextNonce: filler()})
}

// filler is what stands where a nonce has no meaning.
func filler() (n wire.Nonce) {
	_, _ = rand.Read(n[:]) // never fails, and would not matter
	return n
}

// expect reads a Message of one kind with the next number.
func expect[P wire.MessagePayload](ctx context.Context, r *referenceStream, in *sequence) (P, error) {
	var zero P
	msg, err := r.read(ctx, 0, r.m.opts.Answer)
	if err != nil {
		return zero, err
	}
	m, ok := msg.(wire.Message)
	if !ok {
		return zero, unexpected(msg)
	}
	if n := in.next(); m.Sequence != n {
		return zero, errkind.Invalid.Errorf("message %d of peer %s came as number %d", m.Sequence, r.Peer(), n)
	}
	p, ok := m.Payload.(P)
	if !ok {
		return zero, unexpected(m.Payload)
	}
	return p, nil
}

// reference is a synchronisation with a node of the reference, as its opener.
type reference struct {
	*referenceStream
	f    *follow
	self domain.PublicKey
	// bodies are deltas that came while the history was walked, up to maxBodies bytes.
	bodies map[domain.Hash][]byte
	bytes  int
}

// maxBodies bounds the deltas kept from the walk; others are asked for again.
const maxBodies = 16 << 20

// openReference opens a stream as an identity of this node; as any if that is zero.
func (f *follow) openReference(ctx context.Context, p PeerID, self domain.PublicKey) (*reference, error) {
	if self.IsZero() {
		var err error
		if self, err = f.m.ownAtRandom(ctx, f.id); err != nil {
			return nil, err
		}
	}
	open, cancel := context.WithTimeout(ctx, f.m.opts.Answer)
	defer cancel()
	stream, err := f.m.opts.Network.OpenStream(open, p, wire.SyncProtocol)
	if err != nil {
		return nil, err
	}
	return &reference{
		referenceStream: &referenceStream{Stream: stream, m: f.m}, f: f, self: self, bodies: map[domain.Hash][]byte{},
	}, nil
}

func (r *reference) close() {
	if err := r.Close(); err != nil {
		r.m.log.Debug("a stream does not end well", "peer", r.Peer(), "err", err)
	}
}

func (r *reference) init(ctx context.Context, p wire.InitPayload) error {
	return r.write(ctx, wire.Init{Context: r.f.id, Party: r.self, Payload: p, NextNonce: filler()})
}

// shareKeys proves both identities and exchanges sender keys; it returns the peer's identity.
func (r *reference) shareKeys(ctx context.Context) (domain.PublicKey, error) {
	if err := r.init(ctx, wire.KeyShareInit{}); err != nil {
		return domain.PublicKey{}, err
	}
	msg, err := r.read(ctx, 0, r.m.opts.Answer)
	if err != nil {
		return domain.PublicKey{}, err
	}
	ack, ok := msg.(wire.Init)
	if !ok {
		return domain.PublicKey{}, unexpected(msg)
	}
	if _, ok := ack.Payload.(wire.KeyShareInit); !ok || ack.Context != r.f.id {
		return domain.PublicKey{}, unexpected(ack.Payload)
	}
	if err := r.m.isMember(ctx, r.f.id, ack.Party); err != nil {
		return domain.PublicKey{}, err
	}
	k := keyShare{m: r.m, stream: r.referenceStream, id: r.f.id, self: r.self, peer: ack.Party}
	return ack.Party, k.run(ctx)
}

// ask sends a question and reads its answer, whatever its number.
func (r *reference) ask(ctx context.Context, q wire.InitPayload) (wire.MessagePayload, error) {
	if err := r.init(ctx, q); err != nil {
		return nil, err
	}
	msg, err := r.read(ctx, 0, 3*r.m.opts.Answer) // the reference itself waits as long
	if err != nil {
		return nil, err
	}
	m, ok := msg.(wire.Message)
	if !ok {
		return nil, errkind.Unavailable.Errorf("peer %s answers %T with %T", r.Peer(), q, msg)
	}
	return m.Payload, nil
}

func (r *reference) heads(ctx context.Context) ([]domain.Hash, domain.Hash, error) {
	answer, err := r.ask(ctx, wire.DagHeadsRequest{Context: r.f.id})
	if err != nil {
		return nil, domain.Hash{}, err
	}
	h, ok := answer.(wire.DagHeadsResponse)
	if !ok {
		return nil, domain.Hash{}, unexpected(answer)
	}
	if len(h.DagHeads) > maxHeads {
		return nil, domain.Hash{}, errkind.TooLarge.Errorf("%d heads, the limit is %d", len(h.DagHeads), maxHeads)
	}
	return h.DagHeads, h.RootHash, nil
}

// history asks for each delta itself: the reference has no other way to name its parents.
func (r *reference) history(ctx context.Context, from []domain.Hash, limit int) ([]wire.HistoryEntry, error) {
	var entries []wire.HistoryEntry
	for _, id := range from[:min(len(from), limit)] {
		raw, c, err := r.delta(ctx, id)
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		entries = append(entries, wire.HistoryEntry{Delta: id, Parents: c.Parents})
		if r.bytes+len(raw) <= maxBodies {
			r.bodies[id] = raw
			r.bytes += len(raw)
		}
	}
	return entries, nil
}

// delta asks for one delta; nil when the peer does not have it.
func (r *reference) delta(ctx context.Context, id domain.Hash) ([]byte, *crdt.CausalDelta, error) {
	answer, err := r.ask(ctx, wire.DeltaRequest{Context: r.f.id, Delta: id})
	if err != nil {
		return nil, nil, err
	}
	switch a := answer.(type) {
	case wire.DeltaNotFound:
		return nil, nil, nil
	case wire.SnapshotError:
		return nil, nil, needsSnapshot(r.m, r.f.id, r.Peer(), "the peer has no delta "+id.String()+" any more")
	case wire.DeltaResponse:
		var c crdt.CausalDelta
		if err := borsh.Unmarshal(a.Delta, &c); err != nil {
			return nil, nil, errkind.Invalid.Errorf("decode delta %s of peer %s: %w", id, r.Peer(), err)
		}
		if c.ID != id {
			return nil, nil, errkind.Invalid.Errorf("peer %s gave delta %s for %s", r.Peer(), c.ID, id)
		}
		if isCheckpoint(&c) {
			return nil, nil, needsSnapshot(r.m, r.f.id, r.Peer(), "the peer itself began with a snapshot at delta "+id.String())
		}
		return a.Delta, &c, nil
	}
	return nil, nil, unexpected(answer)
}

// isCheckpoint tells the mark that a snapshot leaves in the reference's history from a delta (sync-wire.md §5.4).
func isCheckpoint(c *crdt.CausalDelta) bool {
	return len(c.Actions) == 0 && len(c.Parents) == 1 && c.Parents[0].IsZero() && c.HLC == crdt.ZeroTimestamp()
}

// needsSnapshot says that a context needs a protocol which this version does not have.
func needsSnapshot(m *Manager, id domain.ContextID, p PeerID, why string) error {
	m.metrics.unsupported.WithLabelValues("snapshot").Inc()
	return errkind.Unsupported.Errorf("context %s cannot be caught up by deltas with peer %s: %s; it needs a snapshot, which "+
		"this version does not transfer: use a peer that has the whole history", id, p, why)
}

func (r *reference) fetch(ctx context.Context, ids []domain.Hash, each func(wire.DeltaRecord) error) error {
	for _, id := range ids {
		raw, kept := r.bodies[id]
		if kept {
			delete(r.bodies, id)
			r.bytes -= len(raw)
		} else {
			var err error
			if raw, _, err = r.delta(ctx, id); err != nil {
				return err
			}
		}
		if raw == nil {
			continue
		}
		if err := each(wire.DeltaRecord{Delta: raw}); err != nil {
			return err
		}
	}
	return nil
}

// withReference synchronises with a node of the reference.
func (f *follow) withReference(ctx context.Context, p PeerID) error {
	r, err := f.openReference(ctx, p, domain.PublicKey{})
	if err != nil {
		return err
	}
	defer r.close()
	by, err := r.shareKeys(ctx)
	if err != nil {
		r.Reset()
		return fmt.Errorf("share keys with peer %s: %w", p, err)
	}
	return f.catchUp(ctx, p, by, r)
}

// withExtended synchronises with a node that has the extension.
func (f *follow) withExtended(ctx context.Context, p PeerID) error {
	s, err := f.openSession(ctx, p, domain.PublicKey{})
	if err != nil {
		return err
	}
	defer s.close()
	if row, _, err := f.m.opts.Identity.Get(ctx, f.id, s.peer); err == nil && row.SenderKey == nil {
		if err := s.share(ctx); err != nil {
			return err
		}
	}
	return f.catchUp(ctx, p, s.peer, s)
}
