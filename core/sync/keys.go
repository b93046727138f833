package sync

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Former sender keys open the messages that were under way when their members made new ones.
const maxFormer, maxFormerMembers = 2, 1024

// keepKey stores a member's sender key, which it has proven to be its own. The node's own identities stay as they are.
func (m *Manager) keepKey(ctx context.Context, id domain.ContextID, member domain.PublicKey, key domain.PrivateKey) error {
	row, _, err := m.opts.Identity.Get(ctx, id, member)
	if err != nil || row.PrivateKey != nil || row.SenderKey != nil && *row.SenderKey == key {
		return err
	}
	if f := m.follow(id); f != nil && row.SenderKey != nil {
		f.mu.Lock()
		if len(f.former) >= maxFormerMembers {
			clear(f.former) // what they would open comes when this node catches up
		}
		list := append([]domain.PrivateKey{*row.SenderKey}, f.former[member]...)
		f.former[member] = list[:min(len(list), maxFormer)]
		f.mu.Unlock()
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	m.opts.Identity.PutMember(b, id, member, &key)
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("keep the sender key of %s: %w", member, err)
	}
	return nil
}

// shareKeys exchanges sender keys with a peer that answers for want.
func (f *follow) shareKeys(ctx context.Context, p PeerID, want domain.PublicKey) error {
	if !f.m.peers.isPlain(p) {
		s, err := f.openSession(ctx, p, want)
		if err != nil {
			return err
		}
		defer s.close()
		return s.share(ctx)
	}
	r, err := f.openReference(ctx, p, domain.PublicKey{})
	if err != nil {
		return err
	}
	defer r.close()
	peer, err := r.shareKeys(ctx)
	if err == nil && peer != want {
		err = errkind.NotFound.Errorf("peer %s answered for %s, not for %s", p, peer, want)
	}
	return err
}

// keyShare is one run of the reference's key share (sync-wire.md §3.3) after both sides have named an identity. The side
// whose identity is greater begins, whoever opened the stream.
type keyShare struct {
	m          *Manager
	stream     *referenceStream
	id         domain.ContextID
	self, peer domain.PublicKey
}

// run proves and exchanges; then the peer's sender key is stored, and the peer bound to its identity.
func (k *keyShare) run(ctx context.Context) error {
	if k.self == k.peer {
		return errkind.Precondition.Errorf("both sides of the key share are %s", k.self)
	}
	private, _, err := k.m.ownKeys(ctx, k.id, k.self)
	if err != nil {
		return err
	}
	var in, out sequence
	first := bytes.Compare(k.self[:], k.peer[:]) > 0
	steps := []func() error{
		func() error { return k.challenge(ctx, &out, &in) },
		func() error { return k.prove(ctx, private, &out, &in) },
	}
	if !first {
		steps[0], steps[1] = steps[1], steps[0]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	theirs, err := k.exchange(ctx, first, &out, &in)
	if err != nil {
		return err
	}
	k.m.peers.bind(k.id, k.peer, k.stream.Peer())
	return k.m.keepKey(ctx, k.id, k.peer, theirs)
}

// sequence counts the messages of one direction.
type sequence uint64

func (s *sequence) next() uint64 {
	n := uint64(*s)
	*s++
	return n
}

func (k *keyShare) challenge(ctx context.Context, out, in *sequence) error {
	var c wire.Challenge
	if _, err := rand.Read(c.Challenge[:]); err != nil {
		return fmt.Errorf("draw a challenge: %w", err)
	}
	if err := k.stream.message(ctx, out, c); err != nil {
		return err
	}
	answer, err := expect[wire.ChallengeResponse](ctx, k.stream, in)
	if err != nil {
		return err
	}
	if !k.peer.Verify(wire.ChallengeMessage(c.Challenge), answer.Signature) {
		return errkind.Unauthenticated.Errorf("peer %s has not proven to be %s", k.stream.Peer(), k.peer)
	}
	return nil
}

func (k *keyShare) prove(ctx context.Context, private domain.PrivateKey, out, in *sequence) error {
	c, err := expect[wire.Challenge](ctx, k.stream, in)
	if err != nil {
		return err
	}
	return k.stream.message(ctx, out, wire.ChallengeResponse{Signature: private.Sign(wire.ChallengeMessage(c.Challenge))})
}

func (k *keyShare) exchange(ctx context.Context, first bool, out, in *sequence) (domain.PrivateKey, error) {
	send := func() error {
		sender, err := k.m.give(ctx, k.id, k.self, k.peer)
		if err != nil {
			return err
		}
		return k.stream.message(ctx, out, wire.KeyShare{SenderKey: sender})
	}
	if first {
		if err := send(); err != nil {
			return domain.PrivateKey{}, err
		}
	}
	theirs, err := expect[wire.KeyShare](ctx, k.stream, in)
	if err == nil && !first {
		err = send()
	}
	return theirs.SenderKey, err
}
