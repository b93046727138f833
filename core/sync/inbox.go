package sync

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of what waits in an inbox.
const (
	maxInbox      = 4096
	maxInboxBytes = 32 << 20
	// maxBatch is how many messages are worked off at once.
	maxBatch = 256
	// maxWaiting messages wait for their authors' sender keys.
	maxWaiting = 512
	// maxSeen deltas are remembered, so that copies of them cost nothing.
	maxSeen = 8192
)

// inbox is what came by gossip and is not worked off. It belongs to the holder of the follow's lock.
type inbox struct {
	queue    []*Incoming
	bytes    int
	draining bool
	// waiting are messages whose author's sender key is being asked for.
	waiting []*Incoming
	seen    recent
}

// recent remembers the last maxSeen hashes.
type recent struct {
	set   map[domain.Hash]struct{}
	order []domain.Hash
	next  int
}

func (r *recent) has(id domain.Hash) bool {
	_, ok := r.set[id]
	return ok
}

func (r *recent) add(id domain.Hash) {
	if r.has(id) {
		return
	}
	if r.set == nil {
		r.set = map[domain.Hash]struct{}{}
	}
	if len(r.order) < maxSeen {
		r.order = append(r.order, id)
	} else {
		delete(r.set, r.order[r.next])
		r.order[r.next] = id
		r.next = (r.next + 1) % maxSeen
	}
	r.set[id] = struct{}{}
}

// enqueue takes a message; when the inbox is full it is dropped, and what it said is fetched later.
func (f *follow) enqueue(in *Incoming) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.in.queue) >= maxInbox || f.in.bytes+in.bytes > maxInboxBytes {
		f.m.metrics.dropped.WithLabelValues("full").Inc()
		f.wanted = true
		f.start()
		return
	}
	f.in.queue = append(f.in.queue, in)
	f.in.bytes += in.bytes
	if !f.in.draining {
		f.in.draining = f.m.tasks.Go(f.drain)
	}
}

// drain works the inbox off.
func (f *follow) drain(ctx context.Context) {
	for {
		f.mu.Lock()
		n := min(len(f.in.queue), maxBatch)
		if n == 0 || ctx.Err() != nil {
			f.in.draining = false
			f.mu.Unlock()
			return
		}
		batch := slices.Clone(f.in.queue[:n])
		f.in.queue = slices.Delete(f.in.queue, 0, n)
		for _, in := range batch {
			f.in.bytes -= in.bytes
		}
		f.mu.Unlock()
		f.work(ctx, batch)
	}
}

// work takes a batch of messages: the deltas first, and together.
func (f *follow) work(ctx context.Context, batch []*Incoming) {
	var deltas []contexts.Delta
	sources := map[domain.Hash]PeerID{}
	for _, in := range batch {
		d, err := f.open(ctx, in)
		switch {
		case err != nil:
			f.m.metrics.dropped.WithLabelValues("refused").Inc()
			f.tellRefused(ctx, err, "source", in.source)
		case d != nil:
			deltas = append(deltas, *d)
			sources[d.ID] = in.source
		}
	}
	if len(deltas) > 0 {
		if _, err := f.receive(ctx, "gossip", deltas, sources); err != nil {
			f.log.Debug("deltas are not taken", "deltas", len(deltas), "err", err)
		}
	}
	for _, in := range batch {
		switch m := in.message.(type) {
		case wire.HashHeartbeat:
			f.heard(ctx, m, in.source)
		case wire.DeltaAnnounce:
			if !f.saw(m.Delta) {
				f.request(in.source)
			}
		}
	}
}

// tellRefused warns once a minute: whoever makes such deltas shall not fill the log with them. The metrics count them.
func (f *follow) tellRefused(ctx context.Context, err error, key string, value any) {
	level := slog.LevelDebug
	if f.m.asked.due(request{context: f.id, kind: "refused"}, time.Now()) {
		level = slog.LevelWarn
	}
	f.log.Log(ctx, level, "a delta is refused", key, value, "err", err)
}

func (f *follow) saw(id domain.Hash) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.in.seen.has(id)
}

// open decrypts and verifies a broadcast delta. Nil without an error: it is no news, or waits.
func (f *follow) open(ctx context.Context, in *Incoming) (*contexts.Delta, error) {
	switch m := in.message.(type) {
	case wire.SignedDelta:
		return f.openSigned(ctx, in, &m)
	case wire.StateDelta:
		return f.openUnsigned(ctx, in, &m)
	}
	return nil, nil
}

func (f *follow) openSigned(ctx context.Context, in *Incoming, s *wire.SignedDelta) (*contexts.Delta, error) {
	if f.saw(s.Delta) {
		f.m.metrics.dropped.WithLabelValues("seen").Inc()
		return nil, nil
	}
	actions, encoded, err := f.decrypt(ctx, in, &s.StateDelta, f.formerKeys(s.Author)...)
	if actions == nil || err != nil {
		return nil, err
	}
	if sha256.Sum256(encoded) != s.Actions {
		return nil, errkind.Unauthenticated.Errorf("delta %s: its actions are not those that %s signed", s.Delta, s.Author)
	}
	events, err := decodeEvents(s.Events)
	if err != nil {
		return nil, err
	}
	return &contexts.Delta{
		ID: s.Delta, Parents: s.Parents, Actions: actions, HLC: s.HLC, ExpectedRoot: s.RootHash, Author: s.Author,
		Proof:  wire.DeltaAuthor{Author: s.Author, Events: wire.EventsDigest(s.Events), Signature: &s.Signature},
		Events: events,
	}, nil
}

// openUnsigned takes a delta of a node without the extension (docs/design/authorship.md): as its author's when it comes
// from a peer that has proven to be the author's, else as nobody's and only where that is accepted.
func (f *follow) openUnsigned(ctx context.Context, in *Incoming, s *wire.StateDelta) (*contexts.Delta, error) {
	if f.saw(s.Delta) {
		f.m.metrics.dropped.WithLabelValues("seen").Inc()
		return nil, nil
	}
	if f.m.peers.isExtended(in.source) {
		f.m.metrics.dropped.WithLabelValues("unsigned").Inc()
		return nil, nil // what a node with the extension says in this form it says signed too
	}
	if f.m.peers.isPlain(in.source) || in.asked {
		f.m.peers.heardPlain(f.id)
	}
	row, _, err := f.m.opts.Identity.Get(ctx, f.id, s.Author)
	if err != nil {
		return nil, err
	}
	if row.PrivateKey != nil || f.m.peers.isSigner(f.id, s.Author) {
		return nil, errkind.Unauthenticated.Errorf("delta %s: %s signs its deltas and has not signed this one", s.Delta, s.Author)
	}
	bound := f.m.peers.isBound(f.id, s.Author, in.source)
	if !bound && !in.asked {
		return nil, f.askKey(in, s.Author)
	}
	if !bound && !f.acceptsUnsigned(ctx) {
		return nil, fmtUnsigned(s.Delta, s.Author)
	}
	actions, _, err := f.decrypt(ctx, in, s)
	if actions == nil || err != nil {
		return nil, err
	}
	events, err := decodeEvents(s.Events)
	if err != nil {
		return nil, err
	}
	d := &contexts.Delta{
		ID: s.Delta, Parents: s.Parents, Actions: actions, HLC: s.HLC, ExpectedRoot: s.RootHash, Events: events,
		Proof: wire.DeltaAuthor{Events: wire.EventsDigest(s.Events)},
	}
	if bound {
		d.Author, d.Proof.Author = s.Author, s.Author
	}
	return d, nil
}

func fmtUnsigned(id domain.Hash, author domain.PublicKey) error {
	return errkind.Unauthenticated.Errorf("delta %s: not signed by %s, and accept_unsigned is off", id, author)
}

// acceptsUnsigned tells whether deltas count whose author nobody has proven.
func (f *follow) acceptsUnsigned(ctx context.Context) bool {
	if f.m.opts.AcceptUnsigned != nil {
		return *f.m.opts.AcceptUnsigned
	}
	peers, err := f.m.opts.Network.TopicPeers(ctx, f.topic)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(peers, func(p PeerID) bool {
		if !f.m.peers.isPlain(p) {
			return false
		}
		proven, err := f.m.hasProven(ctx, f.id, p)
		return err == nil && proven
	})
}

// formerKeys are the sender keys that a member had before its present one.
func (f *follow) formerKeys(member domain.PublicKey) []domain.PrivateKey {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.former[member]
}

// unseal opens an artifact with the first of keys that fits.
func unseal(s *wire.StateDelta, keys ...domain.PrivateKey) (plain []byte, err error) {
	for _, k := range keys {
		key, err := identity.NewSenderKey(k)
		if err != nil {
			return nil, err
		}
		if plain, err = key.Decrypt(s.Artifact, s.Nonce); err == nil {
			return plain, nil
		}
	}
	return nil, errkind.Invalid.Errorf("delta %s: its artifact does not open with the sender key of %s", s.Delta, s.Author)
}

// decrypt opens the artifact, with the author's present sender key or a former one, and verifies the delta's id. The
// actions are nil without an error while the sender key of the author is asked for.
func (f *follow) decrypt(ctx context.Context, in *Incoming, s *wire.StateDelta, former ...domain.PrivateKey) (
	_ []crdt.Action, encoded []byte, err error) {
	row, _, err := f.m.opts.Identity.Get(ctx, f.id, s.Author)
	if err != nil {
		return nil, nil, err
	}
	if row.SenderKey == nil {
		if in.asked {
			f.request(in.source) // it comes as plaintext, from whoever has it
			return nil, nil, nil
		}
		return nil, nil, f.askKey(in, s.Author)
	}
	plain, err := unseal(s, append([]domain.PrivateKey{*row.SenderKey}, former...)...)
	if err != nil {
		if !in.asked {
			return nil, nil, f.askKey(in, s.Author) // the author may have another key by now
		}
		return nil, nil, err
	}
	actions, err := openArtifact(s, plain)
	if err != nil {
		return nil, nil, err
	}
	if actions == nil {
		actions = []crdt.Action{}
	}
	return actions, plain[1:], nil
}

// askKey sets a message aside until the source has been asked for its author's sender key.
func (f *follow) askKey(in *Incoming, author domain.PublicKey) error {
	f.mu.Lock()
	if len(f.in.waiting) >= maxWaiting {
		f.mu.Unlock()
		f.request(in.source)
		return errkind.Retryable(errkind.Exhausted.Errorf("%d deltas wait for sender keys already", maxWaiting))
	}
	f.in.waiting = append(f.in.waiting, in)
	f.mu.Unlock()
	type flight struct {
		id     domain.ContextID
		author domain.PublicKey
		source PeerID
	}
	end, ok := f.m.keys.begin(flight{f.id, author, in.source})
	if !ok {
		return nil // whoever asks takes this message along
	}
	ask := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, f.m.opts.Answer)
		defer cancel()
		err := f.shareKeys(ctx, in.source, author)
		if err != nil {
			f.log.Debug("no sender key", "author", author, "source", in.source, "err", err)
		}
		end()
		f.resume(author, in.source)
	}
	if !f.m.tasks.Go(ask) {
		end()
	}
	return nil
}

// resume puts the messages that waited for a key back into the inbox.
func (f *follow) resume(author domain.PublicKey, source PeerID) {
	f.mu.Lock()
	var ready []*Incoming
	f.in.waiting = slices.DeleteFunc(f.in.waiting, func(in *Incoming) bool {
		if in.source != source || in.author() != author {
			return false
		}
		in.asked = true
		ready = append(ready, in)
		return true
	})
	f.mu.Unlock()
	for _, in := range ready {
		f.enqueue(in)
	}
}

func (in *Incoming) author() domain.PublicKey {
	switch m := in.message.(type) {
	case wire.SignedDelta:
		return m.Author
	case wire.StateDelta:
		return m.Author
	}
	return domain.PublicKey{}
}

// receive hands verified deltas to the context. sources has who sent each.
func (f *follow) receive(ctx context.Context, way string, deltas []contexts.Delta, sources map[domain.Hash]PeerID) ([]contexts.Receipt, error) {
	receipts, err := f.m.opts.Contexts.Receive(ctx, f.id, deltas)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, errkind.NotFound) {
			f.log.Error("the context does not take deltas", "deltas", len(deltas), "err", err)
			f.request("")
		}
		return nil, err
	}
	var unsigned uint64
	asks := map[PeerID]struct{}{}
	f.mu.Lock()
	for i, r := range receipts {
		f.m.metrics.deltas.WithLabelValues(way, r.Outcome.String()).Inc()
		if r.Outcome == contexts.Refused {
			f.tellRefused(ctx, r.Err, "delta", r.ID)
			continue
		}
		f.in.seen.add(r.ID)
		if p := sources[r.ID]; r.Outcome == contexts.Pending && p != "" {
			asks[p] = struct{}{}
		}
		if i < len(deltas) {
			if deltas[i].Proof.Signature == nil && r.Outcome != contexts.Duplicate {
				unsigned++
			}
			f.out.acknowledge(deltas[i].Parents)
			if r.Outcome == contexts.Applied {
				f.m.headers.put(f, headerOfReceived(&deltas[i]))
			}
		}
	}
	f.now.Unsigned += unsigned
	f.mu.Unlock()
	for p := range asks {
		f.request(p)
	}
	return receipts, nil
}
