package membership

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Incoming is a message of a group's topic that Validate has accepted.
type Incoming struct {
	group  *group
	source PeerID
	record *record       // of an operation
	heads  []domain.Hash // of a heartbeat
}

const topicPrefix = "group/"

// IsTopic tells whether a topic is that of a group.
func IsTopic(topic string) bool { return strings.HasPrefix(topic, topicPrefix) }

// Validate judges a gossip message of a group's topic before it is forwarded: form, group, signature, and whether its
// signer has a place in the group. The second result is for Handle; it is nil unless there is something to handle.
func (m *Manager) Validate(ctx context.Context, topic string, source PeerID, data []byte) (network.Verdict, *Incoming) {
	id, err := domain.ParseGroupID(strings.TrimPrefix(topic, topicPrefix))
	g := m.find(id)
	if err != nil || g == nil {
		return m.drop(network.Ignore, "topic", source, err)
	}
	if !m.allows(source) {
		return m.drop(network.Ignore, "rate", source, nil)
	}
	message, err := wire.DecodeBroadcast(data)
	if err != nil {
		if len(data) > 0 && data[0] >= wire.FirstExtensionTag {
			return m.drop(network.Ignore, "unknown", source, nil) // of a later version
		}
		return m.drop(network.Reject, "malformed", source, err)
	}
	var raw []byte
	switch b := message.(type) {
	case wire.GroupGovernanceDelta:
		if b.Group != id {
			return m.drop(network.Reject, "wrong group", source, nil)
		}
		raw = b.Payload
	case wire.SignedGroupOpV1:
		raw = b.Payload
	case wire.GroupStateHeartbeat:
		if b.Group != id || len(b.DagHeads) > maxHeads {
			return m.drop(network.Reject, "heartbeat", source, nil)
		}
		return network.Accept, &Incoming{group: g, source: source, heads: b.DagHeads}
	case wire.GroupMutation:
		if b.Group != id {
			return m.drop(network.Reject, "wrong group", source, nil)
		}
		return network.Accept, nil // a hint, unsigned: the operations are what counts
	case wire.TeeAttestationAnnounce:
		return network.Accept, nil // for nodes that admit such
	default:
		return m.drop(network.Reject, "wrong topic", source, nil)
	}
	r, err := read(raw)
	if err != nil {
		return m.drop(network.Reject, "operation", source, err)
	}
	if r.op.Group != id {
		return m.drop(network.Reject, "wrong group", source, nil)
	}
	r.source = source
	return m.validateOp(ctx, g, r)
}

// validateOp lets an operation through whose parents are not here yet, as far as its signer is known. What an operation
// does is judged once more when its turn comes.
func (m *Manager) validateOp(ctx context.Context, g *group, r *record) (network.Verdict, *Incoming) {
	g.mu.RLock()
	_, err := g.judge(ctx, r)
	g.mu.RUnlock()
	if err != nil {
		verdict := network.Ignore
		if errkind.Of(err) == errkind.Invalid {
			verdict = network.Reject
		}
		return m.drop(verdict, "operation", r.source, err)
	}
	return network.Accept, &Incoming{group: g, source: r.source, record: r}
}

func (m *Manager) drop(v network.Verdict, reason string, source PeerID, err error) (network.Verdict, *Incoming) {
	m.metrics.dropped.WithLabelValues(reason).Inc()
	m.log.Debug("a message of a group's topic is dropped", "reason", reason, "source", source, "err", err)
	return v, nil
}

// allows gives each source its share.
func (m *Manager) allows(source PeerID) bool {
	l, ok := m.sources.Get(source)
	if !ok {
		l = rate.NewLimiter(perSecond, burst)
		if old, had, _ := m.sources.PeekOrAdd(source, l); had {
			l = old
		}
	}
	return l.Allow()
}

// Handle takes what Validate gave. It does not wait: of too much, the newest is dropped and fetched later.
func (m *Manager) Handle(in *Incoming) {
	select {
	case m.inbox <- in:
	default:
		m.metrics.dropped.WithLabelValues("full").Inc()
	}
}

// PeerSubscribed tells that a peer entered the topic of a group: it hears where the group is.
func (m *Manager) PeerSubscribed(topic string) {
	id, err := domain.ParseGroupID(strings.TrimPrefix(topic, topicPrefix))
	if g := m.find(id); err == nil && g != nil {
		g.soon()
	}
}

func (m *Manager) take(ctx context.Context, in *Incoming) {
	g := in.group
	if in.record == nil {
		g.heard(in)
		return
	}
	g.mu.Lock()
	heads := len(g.log)
	err := g.add(ctx, in.record)
	missing := g.unknown(g.graph.Missing())
	grown := len(g.log) > heads
	acknowledged := g.acknowledged([]domain.Hash{in.record.id})
	g.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		m.log.Debug("an operation is not taken", "group", g.id, "source", in.source, "err", err)
	}
	if len(missing) > 0 {
		m.fetch(g, in.source, missing)
	}
	if grown {
		g.grew(ctx)
	}
	if acknowledged {
		m.opts.Acknowledged(g.id, in.source)
	}
}

// heard compares a heartbeat with what is here: what is missing is fetched, and who is behind is told.
func (g *group) heard(in *Incoming) {
	g.mu.Lock()
	want := g.unknown(in.heads)
	if len(want) == 0 {
		want = g.unknown(g.graph.Missing())
	}
	behind := len(without(g.graph.Heads(), in.heads)) > 0
	acknowledged := g.acknowledged(in.heads)
	g.mu.Unlock()
	if len(want) > 0 {
		g.m.fetch(g, in.source, want)
	}
	if behind {
		g.soon()
	}
	if acknowledged {
		g.m.opts.Acknowledged(g.id, in.source)
	}
}

// acknowledged tells, once, that somebody who has operations has the node's last one, as far as a short look back shows.
// The caller holds the lock.
func (g *group) acknowledged(have []domain.Hash) bool {
	if g.own.IsZero() {
		return false
	}
	const look = 64
	stack := slices.Clone(have)
	for i := 0; i < look && len(stack) > 0; i++ {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if top == g.own {
			g.own = domain.Hash{}
			return true
		}
		if g.graph.Status(top) == dag.Applied {
			stack = append(stack, g.graph.Parents(top)...)
		}
	}
	return false
}

func without(ids, others []domain.Hash) []domain.Hash {
	return slices.DeleteFunc(slices.Clone(ids), func(id domain.Hash) bool { return slices.Contains(others, id) })
}

// minBeat is the shortest time between two heartbeats of a group, whatever asks for them.
const minBeat = 100 * time.Millisecond

// soon sends a heartbeat: now, or when the last one is long enough ago.
func (g *group) soon() {
	g.beatMu.Lock()
	defer g.beatMu.Unlock()
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
			g.beatMu.Lock()
			g.wanted, g.beat = false, time.Now()
			g.beatMu.Unlock()
			g.heartbeat(ctx)
		})
		return
	}
	g.beat = now
	g.m.tasks.Go(g.heartbeat)
}

func (g *group) tick(now time.Time) {
	g.beatMu.Lock()
	due := now.Sub(g.beat) >= g.m.opts.Heartbeat
	g.beatMu.Unlock()
	if due {
		g.soon()
	}
}

func (g *group) heartbeat(ctx context.Context) {
	g.mu.RLock()
	heads := g.graph.Heads()
	members := len(g.members)
	g.mu.RUnlock()
	if len(heads) == 0 {
		return
	}
	g.broadcast(ctx, wire.GroupStateHeartbeat{
		Group: g.id, DagHeads: heads[:min(len(heads), maxHeads)], MemberCount: uint32(members), //nolint:gosec // at most maxLog
	})
}

// publish sends an operation to the group's topic. Without peers, heartbeats bring it to those who come.
func (g *group) publish(ctx context.Context, r *record) {
	g.broadcast(ctx, wire.GroupGovernanceDelta{Group: g.id, Delta: r.id, Parents: r.op.Parents, Payload: r.raw})
}

func (g *group) broadcast(ctx context.Context, b wire.Broadcast) {
	data, err := wire.EncodeBroadcast(b)
	if err == nil {
		err = g.m.opts.Network.Publish(ctx, wire.GroupTopic(g.id), data)
	}
	if err != nil && !errors.Is(err, network.ErrNoPeers) && ctx.Err() == nil {
		g.m.log.Warn("a message to a group is not sent; the next heartbeat makes up for it", "group", g.id, "err", err)
	}
}
