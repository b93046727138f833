package sync

import (
	"container/heap"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// ServeExtension answers on a stream of wire.ExtensionProtocol that a peer opened, until it ends.
func (m *Manager) ServeExtension(ctx context.Context, stream Stream) {
	s := &session{m: m, stream: stream}
	first, err := s.first(ctx)
	if blob, ok := first.(wire.BlobOpen); ok && m.opts.ServeBlob != nil {
		m.opts.ServeBlob(ctx, stream, blob)
		return
	}
	if hello, ok := first.(wire.GroupHello); ok && m.opts.ServeGroup != nil {
		err = m.opts.ServeGroup(ctx, stream, hello)
	} else if err == nil {
		err = s.accept(ctx, first)
	}
	for err == nil {
		err = s.answer(ctx)
	}
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return
	}
	m.metrics.refused.WithLabelValues("extension", errkind.Of(err).Error()).Inc()
	m.log.Debug("a session ends", "peer", stream.Peer(), "context", s.id, "err", err)
	refusal := wire.Refusal{Kind: errkind.Of(err), Text: refusalText(err)}
	if err := s.send(ctx, refusal); err != nil {
		stream.Reset()
	}
}

// refusalText tells a peer no more than it needs: that a context is here is nothing for strangers.
func refusalText(err error) string {
	switch errkind.Of(err) {
	case errkind.PermissionDenied, errkind.NotFound, errkind.Unauthenticated, errkind.Precondition:
		return "no such context for you"
	case errkind.TooLarge, errkind.Invalid:
		text := err.Error()
		return text[:min(len(text), 200)]
	case errkind.Exhausted:
		return "too many requests"
	}
	return "not now"
}

// first reads what the stream begins with.
func (s *session) first(ctx context.Context) (wire.ExtensionMessage, error) {
	if err := s.m.requestRate.wait(ctx, s.stream.Peer(), 1); err != nil {
		return nil, err
	}
	return s.read(ctx, maxHelloFrame, s.m.opts.Answer)
}

// accept is the acceptor's side of openSession.
func (s *session) accept(ctx context.Context, first wire.ExtensionMessage) error {
	hello, ok := first.(wire.Hello)
	if !ok {
		return errkind.Invalid.Errorf("a session begins with Hello, not %T", first)
	}
	s.id, s.peer = hello.Context, hello.Identity
	if s.m.follow(s.id) == nil {
		return errkind.NotFound.Errorf("context %s is not followed", s.id)
	}
	if err := s.m.isMember(ctx, s.id, s.peer); err != nil {
		return err
	}
	self, key, err := s.m.own(ctx, s.id, hello.Want)
	if err != nil {
		return err
	}
	s.self = self
	reply := wire.HelloReply{Identity: self}
	if _, err := rand.Read(reply.Nonce[:]); err != nil {
		return fmt.Errorf("draw a challenge: %w", err)
	}
	proof := wire.SessionProof{
		Hello: hello, Reply: reply, Opening: string(s.stream.Peer()), Accepter: string(s.m.opts.Network.LocalPeerID()),
	}
	reply.Proof = key.Sign(proof.Message())
	answer, err := s.ask(ctx, reply, maxHelloFrame)
	if err != nil {
		return err
	}
	theirs, ok := answer.(wire.HelloProof)
	if !ok {
		return errkind.Invalid.Errorf("expected a proof, not %T", answer)
	}
	proof.Opener = true
	if !s.peer.Verify(proof.Message(), theirs.Proof) {
		return errkind.Unauthenticated.Errorf("peer %s has not proven to be %s", s.stream.Peer(), s.peer)
	}
	s.m.peers.bind(s.id, s.peer, s.stream.Peer())
	s.m.peers.extends(s.stream.Peer())
	return nil
}

// answer answers one request.
func (s *session) answer(ctx context.Context) error {
	request, err := s.read(ctx, maxRequestFrame, s.m.opts.Idle)
	if err != nil {
		return err
	}
	if err := s.m.requestRate.wait(ctx, s.stream.Peer(), 1); err != nil {
		return err
	}
	if err := s.m.isMember(ctx, s.id, s.peer); err != nil {
		return err // a member no more
	}
	switch r := request.(type) {
	case wire.HeadsRequest:
		return s.answerHeads(ctx)
	case wire.HistoryRequest:
		return s.answerHistory(ctx, r)
	case wire.DeltasRequest:
		return s.answerDeltas(ctx, r)
	case wire.ShareKey:
		return s.answerKey(ctx, r)
	}
	return errkind.Invalid.Errorf("%T is no request", request)
}

func (s *session) answerHeads(ctx context.Context) error {
	s.m.metrics.served.WithLabelValues("heads").Inc()
	heads, root, err := s.m.opts.Contexts.Heads(ctx, s.id)
	if err != nil {
		return err
	}
	return s.send(ctx, wire.Heads{DagHeads: heads[:min(len(heads), maxHeads)], RootHash: root})
}

// keyRequests is what a new key counts for among a peer's requests: it is written to the disk.
const keyRequests = 100

func (s *session) answerKey(ctx context.Context, theirs wire.ShareKey) error {
	s.m.metrics.served.WithLabelValues("key").Inc()
	if err := s.m.requestRate.wait(ctx, s.stream.Peer(), keyRequests); err != nil {
		return err
	}
	if err := s.m.keepKey(ctx, s.id, s.peer, theirs.SenderKey); err != nil {
		return err
	}
	sender, err := s.m.give(ctx, s.id, s.self, s.peer)
	if err != nil {
		return err
	}
	return s.send(ctx, wire.ShareKey{SenderKey: sender})
}

// byTime orders deltas by their clocks, the latest first, so that ancestors come after most of their descendants.
type byTime []header

func (h byTime) Len() int           { return len(h) }
func (h byTime) Less(i, j int) bool { return h[i].hlc.Compare(h[j].hlc) > 0 }
func (h byTime) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byTime) Push(x any)        { *h = append(*h, x.(header)) }

// Pop takes the last, for package heap.
func (h *byTime) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// maxFrontier bounds the branches of one walk.
const maxFrontier = 64 << 10

// answerHistory walks back from the deltas named.
func (s *session) answerHistory(ctx context.Context, r wire.HistoryRequest) error {
	s.m.metrics.served.WithLabelValues("history").Inc()
	limit := int(min(r.Limit, wire.MaxHistory))
	if err := s.m.requestRate.wait(ctx, s.stream.Peer(), float64(limit)/256); err != nil {
		return err
	}
	f := s.m.follow(s.id)
	if f == nil {
		return errkind.NotFound.Errorf("context %s is followed no more", s.id)
	}
	seen := make(map[domain.Hash]struct{}, len(r.From))
	var frontier byTime
	visit := func(ids []domain.Hash) error {
		var fresh []domain.Hash
		for _, id := range ids {
			if _, ok := seen[id]; !ok && !id.IsZero() && len(seen) < maxFrontier {
				seen[id] = struct{}{}
				fresh = append(fresh, id)
			}
		}
		return f.headersOf(ctx, fresh, func(h header) { heap.Push(&frontier, h) })
	}
	if err := visit(r.From); err != nil {
		return err
	}
	var answer wire.History
	for size := 0; frontier.Len() > 0 && len(answer.Entries) < limit && size < wire.MaxFrame/2; {
		top := heap.Pop(&frontier).(header)
		answer.Entries = append(answer.Entries, wire.HistoryEntry{Delta: top.id, Parents: top.parents})
		size += 36 + 32*len(top.parents)
		if err := visit(top.parents); err != nil {
			return err
		}
	}
	return s.send(ctx, answer)
}

// answerBytes is about how large a message with deltas becomes, maxAnswered how many are in one.
const answerBytes, maxAnswered = 1 << 20, 32

// maxRecord is how large a delta with its events may be to fit a frame. Of a larger one the events stay here.
const maxRecord = wire.MaxFrame - 4<<10

// answerDeltas gives deltas with what is known of their authors.
func (s *session) answerDeltas(ctx context.Context, r wire.DeltasRequest) error {
	s.m.metrics.served.WithLabelValues("deltas").Inc()
	if err := s.m.requestRate.wait(ctx, s.stream.Peer(), float64(len(r.Deltas))/16); err != nil {
		return err
	}
	f := s.m.follow(s.id)
	if f == nil {
		return errkind.NotFound.Errorf("context %s is followed no more", s.id)
	}
	sizes := make(map[domain.Hash]int, len(r.Deltas))
	if err := f.headersOf(ctx, r.Deltas, func(h header) { sizes[h.id] = h.size }); err != nil {
		return err
	}
	var part []domain.Hash
	size := 0
	for _, id := range r.Deltas {
		n, here := sizes[id]
		if !here {
			continue
		}
		delete(sizes, id) // once, however often it is named
		if len(part) > 0 && (size+n > answerBytes || len(part) == maxAnswered) {
			if err := s.sendDeltas(ctx, part, size, true); err != nil {
				return err
			}
			part, size = nil, 0
		}
		part = append(part, id)
		size += n + 256
	}
	return s.sendDeltas(ctx, part, size, false)
}

// sendDeltas sends one message of an answer; size is about that of the deltas.
func (s *session) sendDeltas(ctx context.Context, ids []domain.Hash, size int, more bool) error {
	if size > answerBytes+maxAnswered*256 {
		leave, err := s.m.large.enter(ctx, s.stream.Peer())
		if err != nil {
			return err
		}
		defer leave()
	}
	records, err := s.m.records(ctx, s.id, ids)
	if err != nil {
		return err
	}
	return s.send(ctx, wire.Deltas{Records: records, More: more})
}

// largeAnswers bounds how many answers that are far larger than most are in memory at once, until peers have read them: one of
// a peer, and as many in all as there are places.
type largeAnswers struct {
	seed   maphash.Seed
	places [8]chan struct{}
}

func newLargeAnswers() largeAnswers {
	l := largeAnswers{seed: maphash.MakeSeed()}
	for i := range l.places {
		l.places[i] = make(chan struct{}, 1)
	}
	return l
}

// enter waits for a peer's place.
func (l *largeAnswers) enter(ctx context.Context, p PeerID) (leave func(), err error) {
	place := l.places[maphash.String(l.seed, string(p))%uint64(len(l.places))]
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// records are the deltas of ids that are here, in the order of ids.
func (m *Manager) records(ctx context.Context, id domain.ContextID, ids []domain.Hash) ([]wire.DeltaRecord, error) {
	rows, err := m.opts.Contexts.Deltas(ctx, id, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[domain.Hash]*wire.ContextDagDelta, len(rows))
	for i := range rows {
		byID[rows[i].DeltaID] = &rows[i]
	}
	keys := make([]store.DeltaKey, len(ids))
	for i := range ids {
		keys[i] = store.DeltaKey{Context: id, Delta: ids[i]}
	}
	authors, err := store.DeltaAuthor.GetMany(ctx, m.opts.DB, keys)
	if err != nil {
		return nil, err
	}
	records := make([]wire.DeltaRecord, 0, len(rows))
	for i, id := range ids {
		row := byID[id]
		if row == nil {
			continue
		}
		causal, err := row.Causal()
		if err != nil {
			return nil, err
		}
		rec := wire.DeltaRecord{Delta: causal}
		if authors[i] != nil {
			rec.Author = *authors[i]
			if wire.EventsDigest(row.Events) == rec.Author.Events && len(causal)+len(row.Events) <= maxRecord {
				rec.Events = row.Events
			}
		}
		records = append(records, rec)
	}
	return records, nil
}
