package sync

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	stdsync "sync"
	"sync/atomic"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// follow is a context that the node follows. Its goroutines run while there is something to do: one for what comes in,
// one for what goes out, one for synchronising.
type follow struct {
	m     *Manager
	id    domain.ContextID
	topic string
	log   *slog.Logger
	// one is held by whoever synchronises; watch is his.
	one   chan struct{}
	watch *watch

	// keys is held by whoever reads, gives or replaces sender keys of this node; checked is the generation of groups for
	// which they were last found to be with members alone.
	keys    stdsync.Mutex
	checked atomic.Uint64

	mu       stdsync.Mutex
	renewing bool
	former   map[domain.PublicKey][]domain.PrivateKey // sender keys that others had until lately, the last one first
	in       inbox
	// out is what is to be published.
	out outbox
	// wanted: to be synchronised, with prefer first, not before due.
	wanted, syncing bool
	prefer          []PeerID
	due, compared   time.Time
	ticked          time.Time // when a comparison was last due
	failed          map[PeerID]failure
	beat            time.Time // the last heartbeat sent
	beatWanted      bool      // another one, as soon as may be
	now             Status
}

// failure is how often a peer has failed in a row, and until when it is left alone.
type failure struct {
	times int
	until time.Time
}

// maxPrefer bounds the peers remembered for the next synchronisation.
const maxPrefer = 8

func newFollow(m *Manager, id domain.ContextID) *follow {
	f := &follow{
		m: m, id: id, topic: wire.ContextTopic(id), log: m.log.With("context", id), one: make(chan struct{}, 1),
		failed: map[PeerID]failure{}, former: map[domain.PublicKey][]domain.PrivateKey{},
	}
	f.beat = time.Now().Add(-rand.N(m.opts.Heartbeat)) //nolint:gosec // spreads the heartbeats of many contexts
	return f
}

func (f *follow) status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.now
	s.Unacknowledged = len(f.out.unacked)
	return s
}

// request asks for a synchronisation soon, with p first.
func (f *follow) request(p PeerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = true
	if p != "" && len(f.prefer) < maxPrefer && !slices.Contains(f.prefer, p) {
		f.prefer = append(f.prefer, p)
	}
	f.start()
}

// start begins synchronising when that is wanted and due. The caller holds the lock.
func (f *follow) start() {
	if f.wanted && !f.syncing && !time.Now().Before(f.due) {
		f.syncing = f.m.tasks.Go(f.run)
	}
}

// run synchronises until nobody wants it any more, or it is not due.
func (f *follow) run(ctx context.Context) {
	for {
		f.mu.Lock()
		if !f.wanted || time.Now().Before(f.due) || ctx.Err() != nil {
			f.syncing = false
			f.mu.Unlock()
			return
		}
		f.wanted = false
		prefer := f.prefer
		f.prefer = nil
		f.mu.Unlock()
		if err := f.attempt(ctx, prefer, false); err != nil && ctx.Err() == nil {
			f.log.Debug("not synchronised", "err", err)
		}
	}
}

// sync synchronises now, for somebody who waits.
func (f *follow) sync(ctx context.Context) error {
	return f.attempt(ctx, nil, true)
}

// attempt synchronises with peers, one after the other, until nothing is missing; with all those, too, that failed a moment
// ago.
func (f *follow) attempt(ctx context.Context, prefer []PeerID, all bool) (err error) {
	select {
	case f.one <- struct{}{}:
		defer func() { <-f.one }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case f.m.places <- struct{}{}:
		defer func() { <-f.m.places }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { f.attempted(ctx, err) }()
	peers, err := f.candidates(ctx, prefer, all)
	if err != nil {
		return err
	}
	err = errkind.Retryable(errkind.Unavailable.Errorf("no peer to synchronise context %s with", f.id))
	f.watch = newWatch(f.m.opts.Timeout)
	for _, p := range peers {
		if err = f.with(ctx, p); err != nil {
			if ctx.Err() != nil || f.watch.over() {
				return err
			}
			continue
		}
		missing, merr := f.m.opts.Contexts.Missing(ctx, f.id)
		if merr != nil || len(missing) == 0 {
			return merr
		}
		err = errkind.Unavailable.Errorf("context %s: %d deltas that others build on are with no peer asked", f.id, len(missing))
	}
	return err
}

// candidates are the peers to ask: those preferred, then those with the extension, then others; in each class in random
// order, and unless all are wanted without those that failed a moment ago. Of those that have not proven to be members the
// first keeps its place and the others come last: strangers that do not answer must not use up the time.
func (f *follow) candidates(ctx context.Context, prefer []PeerID, every bool) ([]PeerID, error) {
	peers, err := f.m.opts.Network.TopicPeers(ctx, f.topic)
	if err != nil {
		return nil, err
	}
	all := append(slices.Clone(prefer), peers...)
	rank := make(map[PeerID]int, len(all))
	for i, p := range all {
		if _, ok := rank[p]; ok {
			continue
		}
		rank[p] = rand.IntN(1 << 20) //nolint:gosec // an order, no secret
		if i >= len(prefer) {
			rank[p] += 1 << 21
		}
		if f.m.peers.isPlain(p) {
			rank[p] += 1 << 20
		}
	}
	self, now := f.m.opts.Network.LocalPeerID(), time.Now()
	f.mu.Lock()
	all = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(all))), func(p PeerID) bool {
		return p == self || !every && now.Before(f.failed[p].until)
	})
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b PeerID) int { return rank[a] - rank[b] })
	ordered := make([]PeerID, 0, len(all))
	var last []PeerID
	strangers := 0
	for _, p := range all {
		proven, err := f.m.hasProven(ctx, f.id, p)
		if err != nil {
			return nil, err
		}
		if !proven {
			strangers++
		}
		if proven || strangers == 1 {
			ordered = append(ordered, p)
		} else {
			last = append(last, p)
		}
	}
	return append(ordered, last...), nil
}

// with synchronises with one peer.
func (f *follow) with(ctx context.Context, p PeerID) error {
	one, cancel := context.WithTimeout(ctx, f.m.opts.Whole)
	defer cancel()
	defer f.watch.guard(cancel)()
	var err error
	if f.m.peers.isPlain(p) {
		err = f.withReference(one, p)
	} else {
		err = f.withExtended(one, p)
	}
	if err != nil && ctx.Err() == nil && f.watch.over() {
		err = errkind.Retryable(errkind.Unavailable.Errorf("context %s: nothing came for %v (sync.timeout), from peer %s at last: %w", f.id,
			f.m.opts.Timeout, p, err))
	}
	outcome := "ok"
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		delete(f.failed, p)
		f.now.Synced, f.now.Peer = time.Now(), p
	case ctx.Err() != nil:
		return err
	default:
		outcome = errkind.Of(err).Error()
		one := f.failed[p]
		one.times++
		one.until = time.Now().Add(f.pause(one.times))
		if len(f.failed) >= maxPeers {
			clear(f.failed) // it is learnt again
		}
		f.failed[p] = one
		f.log.Debug("synchronisation failed", "peer", p, "err", err)
	}
	f.m.metrics.syncs.WithLabelValues(outcome).Inc()
	return err
}

// pause doubles with each failure in a row, with a random part so that nodes do not fall into step.
func (f *follow) pause(times int) time.Duration {
	d := min(f.m.opts.Retry<<min(times-1, 20), f.m.opts.RetryMax)
	return d/2 + rand.N(d) //nolint:gosec // not a secret
}

// attempted notes how an attempt ended, and when the next may begin.
func (f *follow) attempted(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compared = time.Now()
	if err == nil {
		f.now.Err, f.now.Failures, f.due = nil, 0, time.Time{}
		return
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	if errors.Is(err, errkind.Unsupported) && (f.now.Err == nil || !errors.Is(f.now.Err, errkind.Unsupported)) {
		f.log.Error("the context cannot be synchronised by deltas", "err", err)
	}
	f.now.Err = err
	f.now.Failures++
	f.wanted = true
	f.due = time.Now().Add(f.pause(f.now.Failures))
}

// met greets a peer that entered the topic. Who enters and leaves all the time causes no more than others.
func (f *follow) met(p PeerID) {
	if !f.m.greetRate.allow(PeerID(f.id[:]) + p) {
		return
	}
	f.mu.Lock()
	delete(f.failed, p)
	f.due = time.Time{}
	f.mu.Unlock()
	f.request(p)
	f.soon()
}

// proved is told of a peer that took this node as a member, and is one. What failed with it before may go well now: it may have
// learned just now of a join.
func (f *follow) proved(p PeerID) {
	f.mu.Lock()
	_, failed := f.failed[p]
	f.mu.Unlock()
	if failed {
		f.met(p)
	}
}

// tick does what is due.
func (f *follow) tick(now time.Time) {
	f.mu.Lock()
	beat := f.beatWanted || now.Sub(f.beat) >= f.m.opts.Heartbeat
	if now.Sub(f.ticked) >= f.m.opts.Frequency {
		f.ticked = now
		f.wanted = f.wanted || now.Sub(f.compared) >= f.m.opts.Interval
	}
	f.start()
	if len(f.in.queue) > 0 && !f.in.draining {
		f.in.draining = f.m.tasks.Go(f.drain)
	}
	if len(f.out.queue) > 0 && !f.out.publishing {
		f.out.publishing = f.m.tasks.Go(f.publish)
	}
	f.out.retry(f, now)
	f.regroup()
	f.mu.Unlock()
	if beat {
		f.soon()
	}
}

// tick wakes the contexts until ctx ends.
func (m *Manager) tick(ctx context.Context) {
	period := max(min(m.opts.Heartbeat, m.opts.Frequency, m.opts.Retry, m.opts.Republish)/2, 10*time.Millisecond)
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for _, f := range m.allFollows() {
				f.tick(now)
			}
		}
	}
}
