package membership

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Bounds of what waits to be sent to a group, and of what is left alone.
const (
	maxOut     = 1024
	maxUnacked = 256
	maxShunned = 4096
	// Pauses before what nobody has acknowledged is published again, the first and the longest.
	firstAgain, lastAgain = time.Second, 5 * time.Minute
	shunTime              = time.Minute
)

// group is the traffic of a group that the node follows; what the group is, is core/groups' to say.
type group struct {
	m  *Manager
	id domain.GroupID
	// hearsay bounds what nobody has signed: a source's name costs nothing.
	hearsay *rate.Limiter

	mu    sync.Mutex
	since time.Time
	// inbox is what came by gossip and is to be worked off, by one goroutine while there is something.
	inbox      []*Incoming
	inboxBytes int
	working    bool
	// followed: the node is in the topic. Until then nothing is sent.
	followed bool
	beat     time.Time // the last heartbeat
	wanted   bool      // another one as soon as may be
	// out are operations made here that are to be published; unacked those that no peer has shown to know.
	out        []groups.Published
	publishing bool
	leaving    bool
	unacked    []domain.Hash
	// again is when unacked ones are published again, pause how long after that.
	again time.Time
	pause time.Duration
	// shunned are operations of strangers that nobody builds on, and since when: they are not asked for at once again.
	shunned map[domain.Hash]time.Time
	joiner  *domain.PrivateKey // of this node, until it has found its place
	// sought are subgroups that peers were asked for, and when they may be asked again.
	sought  map[sought]time.Time
	seeking bool
	// newcomer is the identity that joined last, and pass its invitation: others may not know it yet.
	newcomer *domain.PrivateKey
	pass     *wire.GroupPass
}

// published takes an operation that was made here.
func (g *group) published(p groups.Published) {
	g.mu.Lock()
	if len(g.out) < maxOut { // of more, heartbeats tell
		g.out = append(g.out, p)
	}
	if len(g.unacked) < maxUnacked {
		g.unacked = append(g.unacked, p.ID)
		g.pause = firstAgain
		g.again = time.Now().Add(g.pause)
	}
	g.publish()
	g.mu.Unlock()
	g.soon()
}

// follow lets out what waits, and tells where the group is.
func (g *group) follow() {
	g.mu.Lock()
	g.followed = true
	g.publish()
	g.mu.Unlock()
	g.soon()
}

// publish sends what is to be sent, one after the other. The caller holds the lock.
func (g *group) publish() {
	if g.publishing || !g.followed || len(g.out) == 0 {
		return
	}
	g.publishing = g.m.tasks.Go(func(ctx context.Context) {
		for {
			g.mu.Lock()
			if len(g.out) == 0 || ctx.Err() != nil {
				g.publishing = false
				g.mu.Unlock()
				return
			}
			p := g.out[0]
			g.out = g.out[1:]
			g.mu.Unlock()
			g.broadcast(ctx, wire.GroupGovernanceDelta{Group: g.id, Delta: p.ID, Parents: p.Parents, Payload: p.Raw})
		}
	})
}

// acknowledged takes what a peer has, and tells whether operations of this node are among it that no peer had shown to
// have.
func (g *group) acknowledged(ctx context.Context, have []domain.Hash) bool {
	g.mu.Lock()
	unacked := slices.Clone(g.unacked)
	g.mu.Unlock()
	if len(unacked) == 0 {
		return false
	}
	within, err := g.m.opts.Groups.Within(ctx, g.id, have, unacked)
	if err != nil || len(within) == 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unacked = without(g.unacked, within)
	return true
}

// acked: peers have shown to know all that this node made in this life of the process.
func (g *group) acked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.unacked) == 0
}

func without(ids, others []domain.Hash) []domain.Hash {
	return slices.DeleteFunc(slices.Clone(ids), func(id domain.Hash) bool { return slices.Contains(others, id) })
}

// minBeat is the shortest time between two heartbeats of a group, whatever asks for them.
const minBeat = 100 * time.Millisecond

// soon sends a heartbeat: now, or when the last one is long enough ago.
func (g *group) soon() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.followed {
		return
	}
	now := time.Now()
	if wait := minBeat - now.Sub(g.beat); wait > 0 {
		if g.wanted {
			return
		}
		g.wanted = g.m.tasks.Go(func(ctx context.Context) {
			t := time.NewTimer(wait)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
			g.mu.Lock()
			g.wanted, g.beat = false, time.Now()
			g.mu.Unlock()
			g.heartbeat(ctx)
		})
		return
	}
	g.beat = now
	g.m.tasks.Go(g.heartbeat)
}

func (g *group) tick(now time.Time) {
	g.mu.Lock()
	due := now.Sub(g.beat) >= g.m.opts.Heartbeat
	g.publish()
	g.work()
	var again []domain.Hash
	if g.followed && len(g.unacked) > 0 && !now.Before(g.again) {
		again = slices.Clone(g.unacked)
		g.pause = min(2*g.pause, lastAgain)
		g.again = now.Add(g.pause)
	}
	g.mu.Unlock()
	if len(again) > 0 {
		g.m.tasks.Go(func(ctx context.Context) { g.republish(ctx, again) })
	}
	if due {
		g.soon()
	}
}

// republish sends operations once more that no peer has shown to know, in the order in which they were made: a peer of the
// reference asks for heads alone.
func (g *group) republish(ctx context.Context, ops []domain.Hash) {
	raws, err := g.m.opts.Groups.Ops(ctx, g.id, ops)
	if err != nil {
		g.m.warn(ctx, "operations of a group are not published again", g.id, err)
		return
	}
	for _, raw := range raws {
		op, err := wire.DecodeSignedGroupOp(raw)
		var id domain.Hash
		if err == nil {
			id, err = op.ContentHash()
		}
		if err != nil {
			g.m.warn(ctx, "an operation of a group is not published again", g.id, err)
			continue
		}
		g.broadcast(ctx, wire.GroupGovernanceDelta{Group: g.id, Delta: id, Parents: op.Parents, Payload: raw})
	}
}

// shun leaves an operation alone for a while.
func (g *group) shun(id domain.Hash) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.shunned) >= maxShunned || g.shunned == nil {
		g.shunned = map[domain.Hash]time.Time{}
	}
	g.shunned[id] = time.Now()
}

// unshunned are those of ids that are not left alone now.
func (g *group) unshunned(ids []domain.Hash) []domain.Hash {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(ids, func(id domain.Hash) bool {
		since, shunned := g.shunned[id]
		return shunned && time.Since(since) < shunTime
	})
}

func (g *group) heartbeat(ctx context.Context) {
	g.changed() // those above may have changed
	frontier, members, err := g.m.opts.Groups.Frontier(ctx, g.id)
	if err != nil {
		g.m.warn(ctx, "no heartbeat of a group", g.id, err)
		return
	}
	if len(frontier) == 0 {
		return
	}
	g.broadcast(ctx, wire.GroupStateHeartbeat{
		Group: g.id, DagHeads: frontier[:min(len(frontier), maxHeads)], MemberCount: uint32(members), //nolint:gosec // fewer
	})
}

func (g *group) broadcast(ctx context.Context, b wire.Broadcast) {
	data, err := wire.EncodeBroadcast(b)
	if err == nil {
		err = g.m.opts.Network.Publish(ctx, wire.GroupTopic(g.id), data)
	}
	if err != nil && !errors.Is(err, network.ErrNoPeers) {
		g.m.warn(ctx, "a message to a group is not sent; the next heartbeat makes up for it", g.id, err)
	}
}
