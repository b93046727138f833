package sync

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Limits of the frames a session reads. Requests are small, answers are not.
const (
	maxRequestFrame = 256 << 10
	maxHelloFrame   = 4 << 10
)

// fetchAnswers is how many times the time of an answer a request for deltas may take, with what is done with them here.
const fetchAnswers = 6

// session is a stream of the extension on which both sides have proven to be members of one context. One side asks, the
// other answers, one at a time.
type session struct {
	m      *Manager
	stream Stream
	id     domain.ContextID
	self   domain.PublicKey
	peer   domain.PublicKey
}

// open begins a session with a peer; want is who shall answer, zero for any member.
func (f *follow) openSession(ctx context.Context, p PeerID, want domain.PublicKey) (_ *session, err error) {
	self, key, err := f.m.own(ctx, f.id, domain.PublicKey{})
	if err != nil {
		return nil, err
	}
	open, cancel := context.WithTimeout(ctx, f.m.opts.Answer)
	defer cancel()
	stream, err := f.m.opts.Network.OpenStream(open, p, wire.ExtensionProtocol)
	if err != nil {
		return nil, err
	}
	s := &session{m: f.m, stream: stream, id: f.id, self: self}
	defer func() {
		if err != nil {
			stream.Reset()
		}
	}()
	hello := wire.Hello{Context: f.id, Identity: self, Want: want}
	if _, err := rand.Read(hello.Nonce[:]); err != nil {
		return nil, fmt.Errorf("draw a challenge: %w", err)
	}
	answer, err := s.ask(ctx, hello, maxHelloFrame)
	if err != nil {
		return nil, err
	}
	reply, ok := answer.(wire.HelloReply)
	if !ok {
		return nil, unexpected(answer)
	}
	proof := wire.SessionProof{Hello: hello, Reply: reply, Opening: string(f.m.opts.Network.LocalPeerID()), Accepter: string(p)}
	if !reply.Identity.Verify(proof.Message(), reply.Proof) || !want.IsZero() && reply.Identity != want {
		return nil, errkind.Unauthenticated.Errorf("peer %s has not proven to be %s", p, reply.Identity)
	}
	if err := f.m.isMember(ctx, f.id, reply.Identity); err != nil {
		return nil, err
	}
	f.m.peers.bind(f.id, reply.Identity, p)
	f.m.peers.extends(p)
	s.peer = reply.Identity
	proof.Opener = true
	return s, s.send(ctx, wire.HelloProof{Proof: key.Sign(proof.Message())})
}

// own is an identity of this node in a context, with its private key: want, or any if that is zero.
func (m *Manager) own(ctx context.Context, id domain.ContextID, want domain.PublicKey) (domain.PublicKey, domain.PrivateKey, error) {
	list := []domain.PublicKey{want}
	if want.IsZero() {
		var err error
		if list, err = m.opts.Identity.List(ctx, id, true); err != nil {
			return want, domain.PrivateKey{}, err
		}
	}
	for _, identity := range list {
		private, _, ok, err := m.opts.Identity.Own(ctx, id, identity)
		if err == nil && ok {
			ok = m.isMember(ctx, id, identity) == nil
		}
		if err != nil || ok {
			return identity, private, err
		}
	}
	return want, domain.PrivateKey{}, errkind.Precondition.Errorf("this node has no identity that context %s is for", id)
}

func (s *session) send(ctx context.Context, m wire.ExtensionMessage) error {
	payload, err := wire.EncodeExtension(m)
	if err != nil {
		return err
	}
	return s.stream.WriteFrame(ctx, payload)
}

// read reads the next message within the given time. A refusal is an error of its kind.
func (s *session) read(ctx context.Context, limit int, within time.Duration) (wire.ExtensionMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	payload, err := s.stream.ReadFrame(ctx, limit)
	if err != nil {
		return nil, err
	}
	m, err := wire.DecodeExtension(payload)
	if err != nil {
		return nil, errkind.Invalid.Wrap(err)
	}
	if r, ok := m.(wire.Refusal); ok {
		return nil, refusalKind(r.Kind).Errorf("peer %s refuses: %q", s.stream.Peer(), r.Text)
	}
	return m, nil
}

// refusalKind is what a peer's word for its refusal may be here.
func refusalKind(k errkind.Kind) errkind.Kind {
	switch k {
	case errkind.NotFound, errkind.PermissionDenied, errkind.Unauthenticated, errkind.Exhausted, errkind.Unavailable,
		errkind.TooLarge, errkind.Unsupported:
		return k
	default:
		return errkind.Unavailable
	}
}

func (s *session) ask(ctx context.Context, m wire.ExtensionMessage, limit int) (wire.ExtensionMessage, error) {
	if err := s.send(ctx, m); err != nil {
		return nil, err
	}
	return s.read(ctx, limit, s.m.opts.Answer)
}

func (s *session) close() {
	if err := s.stream.Close(); err != nil {
		s.m.log.Debug("a session does not end well", "peer", s.stream.Peer(), "err", err)
	}
}

func unexpected(m any) error { return errkind.Invalid.Errorf("unexpected answer %T", m) }

// heads asks where the peer's copy is.
func (s *session) heads(ctx context.Context) ([]domain.Hash, domain.Hash, error) {
	answer, err := s.ask(ctx, wire.HeadsRequest{}, maxRequestFrame)
	if err != nil {
		return nil, domain.Hash{}, err
	}
	h, ok := answer.(wire.Heads)
	if !ok {
		return nil, domain.Hash{}, unexpected(answer)
	}
	if len(h.DagHeads) > maxHeads {
		return nil, domain.Hash{}, errkind.TooLarge.Errorf("%d heads, the limit is %d", len(h.DagHeads), maxHeads)
	}
	return h.DagHeads, h.RootHash, nil
}

// history asks for the ancestors of from, themselves included.
func (s *session) history(ctx context.Context, from []domain.Hash, limit int) ([]wire.HistoryEntry, error) {
	answer, err := s.ask(ctx, wire.HistoryRequest{From: from, Limit: uint32(limit)}, 0) //nolint:gosec // at most MaxHistory
	if err != nil {
		return nil, err
	}
	h, ok := answer.(wire.History)
	if !ok {
		return nil, unexpected(answer)
	}
	if len(h.Entries) > limit {
		return nil, errkind.TooLarge.Errorf("%d entries of history, %d were asked for", len(h.Entries), limit)
	}
	return h.Entries, nil
}

// fetch asks for deltas and calls each with every one that comes, in the order of the answer. The peer must not take longer
// with all of them than with a few answers.
func (s *session) fetch(ctx context.Context, ids []domain.Hash, each func(wire.DeltaRecord) error) error {
	ctx, cancel := context.WithTimeout(ctx, fetchAnswers*s.m.opts.Answer)
	defer cancel()
	answer, err := s.ask(ctx, wire.DeltasRequest{Deltas: ids}, 0)
	for got := 0; ; {
		if err != nil {
			return err
		}
		d, ok := answer.(wire.Deltas)
		if !ok {
			return unexpected(answer)
		}
		if got += len(d.Records); got > len(ids) || len(d.Records) == 0 && d.More {
			return errkind.Invalid.Errorf("%d deltas came, %d were asked for", got, len(ids))
		}
		for _, r := range d.Records {
			if err := each(r); err != nil {
				return err
			}
		}
		if !d.More {
			return nil
		}
		answer, err = s.read(ctx, 0, s.m.opts.Answer)
	}
}

// share exchanges sender keys.
func (s *session) share(ctx context.Context) error {
	sender, err := s.m.give(ctx, s.id, s.self, s.peer)
	if err != nil {
		return err
	}
	answer, err := s.ask(ctx, wire.ShareKey{SenderKey: sender}, maxHelloFrame)
	if err != nil {
		return err
	}
	theirs, ok := answer.(wire.ShareKey)
	if !ok {
		return unexpected(answer)
	}
	return s.m.keepKey(ctx, s.id, s.peer, theirs.SenderKey)
}
