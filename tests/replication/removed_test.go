package replication_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/tests/harness"
)

// remove takes a member out of the own group of a context, by the API of its admin, and waits until the nodes know.
func remove(t *testing.T, admin *harness.Context, member string, copies ...*harness.Context) {
	t.Helper()
	id, err := domain.ParseContextID(admin.ID)
	require.NoError(t, err)
	require.NoError(t, admin.Client.Do(t.Context(), http.MethodPost, "/admin-api/groups/"+domain.GroupID(id).String()+"/members/remove",
		obj{"members": []string{member}, "requester": admin.Member}, nil))
	for _, x := range copies {
		require.NoError(t, harness.Until(t.Context(), x.Client.Base+" knows of the removal", func(ctx context.Context) error {
			out, err := x.Client.Raw(ctx, http.MethodGet, "/admin-api/contexts/"+x.ID+"/identities", "", nil)
			if err == nil && strings.Contains(string(out), member) {
				err = fmt.Errorf("%s", out)
			}
			return err
		}))
	}
}

// removed: the member itself, when the admin has removed it.
func (s *scene) removed(t *testing.T) {
	known := newEvil(t, s.v, s.nodes(), true) // it has proven to be the member while it was one
	for _, n := range s.nodes() {
		known.prove(known.reference(n))
	}
	remove(t, s.honest[0], s.v.key.Public().String(), s.honest...)
	ear := newEvil(t, s.v, s.nodes(), false)
	ofGroup := heard(ear, wire.GroupStateHeartbeat{}).DagHeads
	ofContext := heard(ear, wire.HashHeartbeat{}).DagHeads

	s.attack(t, "a removed member's deltas", func(t *testing.T, e *evil) {
		for name, parents := range map[string][]domain.Hash{"as if from before": e.traitor.heads, "on the newest": ofContext} {
			d := e.delta(t, "of a removed member, "+name, parents...)
			e.say(e.signed(t, d, e.key, e.sender))
			e.say(wire.DeltaAnnounce{
				DeltaStatement: d.Statement(e.id, wire.DeltaAuthor{Author: e.key.Public()}), Signature: *e.proof(d, e.key).Signature,
			})
			e.say(e.sealed(t, d, e.key.Public(), e.sender))
		}
	}, dropped("author"))
	for name, parents := range map[string][]domain.Hash{"as if from before": s.v.heads, "on the newest": ofContext} {
		s.attack(t, "a removed member's delta "+name+", to who catches up", func(t *testing.T, e *evil) {
			d := e.delta(t, "of a removed member, fetched, "+name, parents...)
			e.offer(d.DeltaID, history([]wire.ContextDagDelta{d}, e.record(t, d, e.proof(d, e.key))))
		}, run(errkind.PermissionDenied))
	}
	s.attack(t, "a removed member takes itself in again", func(t *testing.T, e *evil) {
		own := domain.GroupID(e.id)
		for nonce, parents := range [][]domain.Hash{ofGroup, {}} {
			id, raw, err := wire.SignableGroupOp{
				Version: wire.GroupOpVersion, Group: own, Parents: parents, Signer: e.key.Public(), Nonce: uint64(nonce + 1), //nolint:gosec // small
				Op: wire.OpMemberAdded{Member: e.key.Public(), Role: domain.RoleAdmin},
			}.SignRaw(e.key)
			require.NoError(t, err)
			e.sayIn(e.topics[1], wire.GroupGovernanceDelta{Group: own, Delta: id, Parents: parents, Payload: raw})
		}
		for _, x := range s.honest {
			require.NoError(t, harness.Until(t.Context(), "both operations are refused", func(ctx context.Context) error {
				m, err := x.Client.Metrics(ctx)
				if n := value(m, count{"calimero_membership_operations_total", []string{"outcome", "refused"}}); err == nil && n < 2 {
					err = fmt.Errorf("%v are", n)
				}
				return err
			}))
		}
	})
	s.attack(t, "a removed member's requests", func(t *testing.T, e *evil) {
		for _, n := range s.nodes() {
			peer := peerOf(t, n)
			refused := func(m wire.ExtensionMessage) {
				stream, err := e.OpenStream(t.Context(), peer, wire.ExtensionProtocol)
				require.NoError(t, err)
				t.Cleanup(stream.Reset)
				require.True(t, tell(t.Context(), stream, m))
				if _, group := m.(wire.GroupHello); group {
					require.True(t, tell(t.Context(), stream, wire.GroupOpsRequest{Limit: 10}))
				}
				r, ok := e.next(stream).(wire.Refusal)
				require.True(t, ok)
				require.Equal(t, errkind.PermissionDenied, r.Kind, "%T", m)
			}
			refused(wire.Hello{Context: e.id, Identity: e.key.Public()})
			proof := wire.GroupProof{Group: domain.GroupID(e.id), Opening: string(e.LocalPeerID()), Accepter: string(peer)}
			refused(wire.GroupHello{Group: domain.GroupID(e.id), Identity: e.key.Public(), Proof: e.key.Sign(proof.Message())})

			r := e.reference(n)
			for _, q := range []wire.InitPayload{
				wire.KeyShareInit{}, wire.DagHeadsRequest{Context: e.id}, wire.DeltaRequest{Context: e.id, Delta: ofContext[0]},
				wire.BlobShareInit{},
			} {
				require.IsType(t, wire.OpaqueError{}, r.ask(e.key.Public(), q), "%T", q)
			}
			require.False(t, e.fetches(n), "blobs are for members")
		}
	}, refusal("extension", errkind.PermissionDenied), refusal("reference", errkind.PermissionDenied),
		count{"calimero_transfer_served_total", []string{"outcome", "refused"}})
	s.attack(t, "requests of one who was a member, in another's name", func(t *testing.T, _ *evil) {
		for _, n := range s.nodes() {
			honest, err := domain.ParsePublicKey(s.honest[0].Member)
			require.NoError(t, err)
			r := known.reference(n)
			require.IsType(t, wire.OpaqueError{}, r.ask(honest, wire.DeltaRequest{Context: known.id, Delta: ofContext[0]}))
		}
	}, refusal("reference", errkind.Unauthenticated))
	t.Run("a removed member's sender keys", func(t *testing.T) {
		e := newEvil(t, s.v, s.nodes(), false)
		s.together(t)
		require.NoError(t, harness.Until(t.Context(), "deltas of both nodes are heard", func(context.Context) error {
			authors := map[domain.PublicKey]bool{}
			for _, m := range e.all(0xc0) {
				b, err := wire.DecodeBroadcast(m.Data)
				require.NoError(t, err)
				signed := b.(wire.SignedDelta) //nolint:forcetypeassert // by its tag
				for _, sender := range s.v.known {
					key, err := identity.NewSenderKey(sender)
					require.NoError(t, err)
					_, err = key.Decrypt(signed.Artifact, signed.Nonce)
					require.Error(t, err, "a key of before opens what is said now")
				}
				authors[signed.Author] = true
			}
			if len(authors) < len(s.honest) {
				return fmt.Errorf("of %d", len(authors))
			}
			return nil
		}))
		for _, client := range s.clients() {
			m, err := client.Metrics(t.Context())
			require.NoError(t, err)
			require.Positive(t, value(m, count{"calimero_sync_sender_keys_renewed_total", nil}))
		}
	})
}

// heard waits for a message of a kind and returns the last one.
func heard[M wire.Broadcast](e *evil, kind M) (last M) {
	e.t.Helper()
	tag, err := wire.EncodeBroadcast(kind)
	require.NoError(e.t, err)
	require.NoError(e.t, harness.Until(e.t.Context(), fmt.Sprintf("%T is heard", kind), func(context.Context) error {
		all := e.all(tag[0])
		if len(all) == 0 {
			return errors.New("not yet")
		}
		m, err := wire.DecodeBroadcast(all[len(all)-1].Data)
		if err == nil {
			last = m.(M) //nolint:forcetypeassert // by its tag
		}
		return err
	}))
	return last
}

// referenceStream is a stream of the reference's sync protocol.
type referenceStream struct {
	e *evil
	*network.Stream
}

func (e *evil) reference(n *harness.Node) referenceStream {
	e.t.Helper()
	s, err := e.OpenStream(e.t.Context(), peerOf(e.t, n), wire.SyncProtocol)
	require.NoError(e.t, err)
	e.t.Cleanup(s.Reset)
	return referenceStream{e, s}
}

func (r referenceStream) send(m wire.StreamMessage) {
	r.e.t.Helper()
	raw, err := wire.EncodeStream(m)
	require.NoError(r.e.t, err)
	require.NoError(r.e.t, r.WriteFrame(r.e.t.Context(), raw))
}

func (r referenceStream) read() wire.StreamMessage {
	r.e.t.Helper()
	raw, err := r.ReadFrame(r.e.t.Context(), 0)
	require.NoError(r.e.t, err)
	m, err := wire.DecodeStream(raw)
	require.NoError(r.e.t, err)
	return m
}

func (r referenceStream) ask(party domain.PublicKey, q wire.InitPayload) wire.StreamMessage {
	r.e.t.Helper()
	r.send(wire.Init{Context: r.e.id, Party: party, Payload: q})
	return r.read()
}

// prove runs a key share as the member (sync-wire.md §3.3).
func (e *evil) prove(r referenceStream) {
	t := e.t
	t.Helper()
	self := e.key.Public()
	ack, ok := r.ask(self, wire.KeyShareInit{}).(wire.Init)
	require.True(t, ok)
	message := func() wire.MessagePayload {
		m, ok := r.read().(wire.Message)
		require.True(t, ok)
		return m.Payload
	}
	challenge := func(n uint64) {
		r.send(wire.Message{Sequence: n, Payload: wire.Challenge{Challenge: [32]byte{7}}})
		require.IsType(t, wire.ChallengeResponse{}, message())
	}
	answer := func(n uint64) {
		c, ok := message().(wire.Challenge)
		require.True(t, ok)
		r.send(wire.Message{Sequence: n, Payload: wire.ChallengeResponse{Signature: e.key.Sign(wire.ChallengeMessage(c.Challenge))}})
	}
	share := wire.Message{Sequence: 2, Payload: wire.KeyShare{SenderKey: e.sender}}
	if bytes.Compare(self[:], ack.Party[:]) > 0 {
		challenge(0)
		answer(1)
		r.send(share)
		require.IsType(t, wire.KeyShare{}, message())
		return
	}
	answer(0)
	challenge(1)
	require.IsType(t, wire.KeyShare{}, message())
	r.send(share)
}

// fetches asks for a blob as the member.
func (e *evil) fetches(n *harness.Node) bool {
	t := e.t
	t.Helper()
	s, err := e.OpenStream(t.Context(), peerOf(t, n), wire.BlobProtocol)
	require.NoError(t, err)
	t.Cleanup(s.Reset)
	blob, now := domain.BlobID{1}, uint64(time.Now().Unix()) //nolint:gosec // after 1970
	raw, err := wire.EncodeBlobRequest(wire.BlobRequest{Blob: blob, Context: e.id, Auth: &wire.BlobAuth{
		PublicKey: e.key.Public(), Timestamp: now, Signature: e.key.Sign(wire.BlobAuthMessage(blob, e.id, now)),
	}})
	require.NoError(t, err)
	require.NoError(t, s.WriteFrame(t.Context(), raw))
	answer, err := s.ReadFrame(t.Context(), 0)
	require.NoError(t, err)
	r, err := wire.DecodeBlobResponse(answer)
	require.NoError(t, err)
	return r.Found
}

// TestRemovedMember: an admin removes a member while the network is parted. What it wrote, and a member's node has, is
// everybody's; what only its own node has is nobody's.
func TestRemovedMember(t *testing.T) {
	t.Parallel()
	l := newLAN(t, 3)
	c := l.start(3)
	all := c.Mesh(t, "kv", nil)
	want := writers(t, all, "whole", 1, 2, 2)
	c.Equal(t, all...)
	l.part(0, 1)
	l.part(0, 2)
	concurrent := keyed("meanwhile", 3)
	write(t, all[2], concurrent)
	c.Equal(t, all[1], all[2])
	l.part(1, 2)
	write(t, all[2], keyed("alone", 3))
	remove(t, all[0], all[2].Member, all[0])
	apart, err := harness.Roots(t.Context(), all[:2]...)
	require.NoError(t, err)
	require.NotEqual(t, apart[0], apart[1], "the partition is none")

	l.heal(0, 1)
	c.Equal(t, all[:2]...) // nobody writes on
	want = merged(want, concurrent)
	holds(t, all[:2], want)
	l.heal(0, 2)
	l.heal(1, 2)
	require.NoError(t, harness.Until(t.Context(), "the member hears of it", func(ctx context.Context) error {
		_, err := all[2].Call(ctx, "get", obj{"key": "alone0"})
		var refused *harness.CallError
		if errors.As(err, &refused) && refused.Type == "Unauthorized" {
			return nil
		}
		return errors.Join(errors.New("it may call still"), err)
	}))
	after := keyed("after", 2)
	write(t, all[0], after)
	c.Equal(t, all[:2]...)
	holds(t, all[:2], merged(want, after))
	require.NotContains(t, call[map[string]string](t, all[0], "entries", nil), "alone0")
}
