package sync

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of what goes out.
const (
	// MaxInline is the largest delta that is broadcast; a larger one is announced and fetched.
	MaxInline = 60 << 10
	// maxOutbox deltas wait to be published; of more, the oldest are left to catching up.
	maxOutbox      = 1024
	maxOutboxBytes = 32 << 20
	// maxUnacked own deltas are remembered that no peer is known to have, maxRepeat of them are published again at once.
	maxUnacked = 256
	maxRepeat  = 16
)

// outbox is what goes out. It belongs to the holder of the follow's lock.
type outbox struct {
	queue      []contexts.Published
	bytes      int
	publishing bool
	// unacked are own deltas in the order of their commits, each an ancestor of the next.
	unacked   []contexts.Published
	repeat    time.Time // when they are published again
	repeating bool
	pause     time.Duration
}

// Publish sends a delta that this node committed to the peers of its context. Call it in the order of commits; it does
// not wait.
func (m *Manager) Publish(p contexts.Published) {
	f, fresh := m.followed(p.Context)
	if fresh { // the context was just created, or the manager does not run yet
		m.tasks.Go(func(ctx context.Context) {
			if err := m.Follow(ctx, p.Context); err != nil {
				m.log.Error("a context is not followed", "context", p.Context, "err", err)
			}
		})
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.in.seen.add(p.Delta.DeltaID)
	m.headers.put(f, headerOf(&p.Delta))
	o := &f.out
	o.queue = append(o.queue, p)
	o.bytes += len(p.Delta.Actions)
	for len(o.queue) > maxOutbox || o.bytes > maxOutboxBytes && len(o.queue) > 1 {
		f.m.metrics.dropped.WithLabelValues("outbox").Inc()
		o.bytes -= len(o.queue[0].Delta.Actions)
		o.queue = slices.Delete(o.queue, 0, 1)
	}
	o.remember(p, f.m.opts.Republish)
	if !o.publishing {
		o.publishing = f.m.tasks.Go(f.publish)
	}
}

func (o *outbox) remember(p contexts.Published, pause time.Duration) {
	if len(o.unacked) == 0 {
		o.pause = pause
		o.repeat = time.Now().Add(pause)
	}
	o.unacked = append(o.unacked, p)
	if len(o.unacked) > maxUnacked {
		o.unacked = slices.Delete(o.unacked, 0, len(o.unacked)-maxUnacked)
	}
}

// acknowledge notes that a peer has deltas, and so all before them.
func (o *outbox) acknowledge(ids []domain.Hash) {
	for i := len(o.unacked) - 1; i >= 0; i-- {
		if slices.Contains(ids, o.unacked[i].Delta.DeltaID) {
			o.unacked = slices.Delete(o.unacked, 0, i+1)
			return
		}
	}
}

// retry asks a peer whether it has the own deltas that nobody is known to have, and publishes them again if not. The
// caller holds the lock.
func (o *outbox) retry(f *follow, now time.Time) {
	if len(o.unacked) == 0 || now.Before(o.repeat) || o.repeating {
		return
	}
	o.pause = min(2*o.pause, f.m.opts.RetryMax)
	o.repeat = now.Add(o.pause)
	o.repeating = f.m.tasks.Go(f.republish)
}

func (f *follow) republish(ctx context.Context) {
	defer func() {
		f.mu.Lock()
		f.out.repeating = false
		f.mu.Unlock()
	}()
	err := f.attempt(ctx, nil, false) // hears the heads of a peer
	f.mu.Lock()
	again := slices.Clone(f.out.unacked[max(0, len(f.out.unacked)-maxRepeat):])
	f.mu.Unlock()
	if errors.Is(err, errkind.Unavailable) && len(again) > 0 {
		f.log.Debug("own deltas are with no peer yet", "deltas", len(again), "err", err)
	}
	for _, p := range again {
		if err := f.send(ctx, p); err != nil {
			f.log.Debug("not published again", "delta", p.Delta.DeltaID, "err", err)
			return
		}
	}
	if len(again) > 0 {
		f.soon()
	}
}

// publish works the outbox off.
func (f *follow) publish(ctx context.Context) {
	for {
		f.mu.Lock()
		if len(f.out.queue) == 0 || ctx.Err() != nil {
			f.out.publishing = false
			f.mu.Unlock()
			return
		}
		p := f.out.queue[0]
		f.out.queue = slices.Delete(f.out.queue, 0, 1)
		f.out.bytes -= len(p.Delta.Actions)
		f.mu.Unlock()
		if err := f.send(ctx, p); err != nil && ctx.Err() == nil && !errors.Is(err, network.ErrNoPeers) {
			f.log.Warn("a delta is not published; peers will ask for it", "delta", p.Delta.DeltaID, "err", err)
		}
	}
}

// send broadcasts a delta in the forms that the peers of the topic understand.
func (f *follow) send(ctx context.Context, p contexts.Published) error {
	peers, err := f.m.opts.Network.TopicPeers(ctx, f.topic)
	if err != nil || len(peers) == 0 {
		return err
	}
	plain := f.m.peers.hasPlain(f.id, peers)
	extended := slices.ContainsFunc(peers, func(p PeerID) bool { return !f.m.peers.isPlain(p) })
	if len(p.Delta.Actions)+len(p.Events)+32*len(p.Delta.Parents) > MaxInline {
		return f.announce(ctx, p, plain, extended)
	}
	s, err := f.seal(ctx, p)
	if err != nil {
		return err
	}
	if extended {
		signed := wire.SignedDelta{StateDelta: s, Actions: sha256.Sum256(p.Delta.Actions), Signature: *p.Proof.Signature}
		if err := f.broadcast(ctx, "signed delta", signed); err != nil {
			return err
		}
	}
	if plain {
		return f.broadcast(ctx, "delta", s)
	}
	return nil
}

// announce tells of a delta that is too large to be broadcast: peers ask for it.
func (f *follow) announce(ctx context.Context, p contexts.Published, plain, extended bool) error {
	if extended {
		a := wire.DeltaAnnounce{
			DeltaStatement: p.Delta.Statement(f.id, p.Proof), Size: uint32(len(p.Delta.Actions)), //nolint:gosec // a hint
			Signature: *p.Proof.Signature,
		}
		if err := f.broadcast(ctx, "announcement", a); err != nil {
			return err
		}
	}
	if plain {
		return f.heartbeat(ctx)
	}
	return nil
}

// seal makes the broadcast form of a delta, encrypted with its author's sender key.
func (f *follow) seal(ctx context.Context, p contexts.Published) (wire.StateDelta, error) {
	if p.Proof.Signature == nil {
		return wire.StateDelta{}, errkind.Internal.Errorf("delta %s of this node is not signed", p.Delta.DeltaID)
	}
	_, sender, err := f.m.ownKeys(ctx, f.id, p.Proof.Author)
	if err != nil {
		return wire.StateDelta{}, err
	}
	key, err := identity.NewSenderKey(sender)
	if err != nil {
		return wire.StateDelta{}, err
	}
	nonce, err := identity.NewNonce()
	if err != nil {
		return wire.StateDelta{}, err
	}
	return wire.StateDelta{
		Context: f.id, Author: p.Proof.Author, Delta: p.Delta.DeltaID, Parents: p.Delta.Parents, HLC: p.Delta.HLC,
		RootHash: p.Delta.ExpectedRootHash, Artifact: key.Encrypt(p.Artifact(), nonce), Nonce: nonce, Events: p.Events,
	}, nil
}

func (f *follow) broadcast(ctx context.Context, kind string, m wire.Broadcast) error {
	data, err := wire.EncodeBroadcast(m)
	if err != nil {
		return err
	}
	if err := f.m.opts.Network.Publish(ctx, f.topic, data); err != nil {
		return err
	}
	f.m.metrics.published.WithLabelValues(kind).Inc()
	return nil
}
