package sync

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// minBeat is the shortest time between two heartbeats of a context, whatever asks for them.
const minBeat = 500 * time.Millisecond

// maxBeatHeads is how many heads a heartbeat has at most, so that it fits a gossip message.
const maxBeatHeads = 1900

// soon sends a heartbeat: now, or when the last one is long enough ago.
func (f *follow) soon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.beatWanted = now.Sub(f.beat) < min(minBeat, f.m.opts.Heartbeat); f.beatWanted {
		return
	}
	f.beat = now
	f.m.tasks.Go(func(ctx context.Context) {
		if err := f.heartbeat(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, network.ErrNoPeers) {
			f.log.Warn("no heartbeat", "err", err)
		}
	})
}

// heartbeat tells the topic where the context is.
func (f *follow) heartbeat(ctx context.Context) error {
	peers, err := f.m.opts.Network.TopicPeers(ctx, f.topic)
	if err != nil || len(peers) == 0 {
		return err
	}
	heads, root, err := f.m.opts.Contexts.Heads(ctx, f.id)
	if err != nil || root.IsZero() {
		return err // nothing to tell of
	}
	heads = heads[:min(len(heads), maxBeatHeads)]
	return f.broadcast(ctx, "heartbeat", wire.HashHeartbeat{Context: f.id, RootHash: root, DagHeads: heads})
}

// maxStrangeHeads is how many heads are looked up of somebody who has not proven to be a member.
const maxStrangeHeads = 16

// heard compares a heartbeat with the own copy: what is missing is asked for, and who is behind is told. The word of who has
// not proven to be a member is a reason to ask, and no more.
func (f *follow) heard(ctx context.Context, h wire.HashHeartbeat, source PeerID) {
	proven, err := f.m.hasProven(ctx, f.id, source)
	if err != nil {
		f.log.Debug("heartbeat not compared", "source", source, "err", err)
		return
	}
	heads := h.DagHeads
	if !proven {
		heads = heads[:min(len(heads), maxStrangeHeads)]
	}
	unknown, behind, err := f.compare(ctx, heads, h.RootHash, source, proven)
	switch {
	case err != nil:
		f.log.Debug("heartbeat not compared", "source", source, "err", err)
	case unknown > 0:
		f.request(source)
	case behind:
		f.soon()
	}
}

// compare takes where a peer is: how many of its heads are not here, and whether it lacks some of ours. Only of a member it is
// noted what it has.
func (f *follow) compare(ctx context.Context, theirs []domain.Hash, root domain.Hash, source PeerID, member bool) (unknown int,
	behind bool, err error) {
	ours, ownRoot, err := f.m.opts.Contexts.Heads(ctx, f.id)
	if err != nil {
		return 0, false, err
	}
	if member {
		f.mu.Lock()
		f.out.acknowledge(theirs)
		f.mu.Unlock()
	}
	strange := without(theirs, ours)
	missing, err := f.absent(ctx, strange)
	if err != nil {
		return 0, false, err
	}
	behind = len(without(ours, theirs)) > 0
	if !member {
		return len(missing), behind, nil
	}
	diverged := len(strange) == 0 && !behind && root != ownRoot && !root.IsZero() && !ownRoot.IsZero()
	f.mu.Lock()
	defer f.mu.Unlock()
	if diverged {
		f.m.metrics.diverged.Inc()
		if f.m.asked.due(request{source, f.id, "diverged"}, time.Now()) {
			f.log.Error("a peer with the same deltas has another root hash", "peer", source, "own", ownRoot, "peers", root,
				"heads", ours)
		}
	}
	f.now.Diverged = diverged
	return len(missing), behind, nil
}

// absent are those of ids that are not applied here.
func (f *follow) absent(ctx context.Context, ids []domain.Hash) ([]domain.Hash, error) {
	here := []domain.Hash{{}}
	err := f.headersOf(ctx, ids, func(h header) { here = append(here, h.id) })
	if err != nil {
		return nil, err
	}
	return without(ids, here), nil
}

// without are the hashes that are not in others, in their order.
func without(hashes, others []domain.Hash) []domain.Hash {
	if len(others) > 8 {
		set := make(map[domain.Hash]struct{}, len(others))
		for _, h := range others {
			set[h] = struct{}{}
		}
		return slices.DeleteFunc(slices.Clone(hashes), func(h domain.Hash) bool { _, ok := set[h]; return ok })
	}
	return slices.DeleteFunc(slices.Clone(hashes), func(h domain.Hash) bool { return slices.Contains(others, h) })
}
