package membership

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Incoming is a message of a group's topic that Validate has accepted.
type Incoming struct {
	group  *group
	source PeerID
	op     []byte        // an operation, encoded
	heads  []domain.Hash // of a heartbeat, or the operation's id
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
	switch b := message.(type) {
	case wire.GroupGovernanceDelta:
		if b.Group != id {
			return m.drop(network.Reject, "wrong group", source, nil)
		}
		return m.validateOp(ctx, g, source, b.Payload)
	case wire.SignedGroupOpV1:
		return m.validateOp(ctx, g, source, b.Payload)
	case wire.GroupStateHeartbeat:
		if b.Group != id || len(b.DagHeads) > maxHeads {
			return m.drop(network.Reject, "heartbeat", source, nil)
		}
		if !g.hearsay.Allow() {
			return m.drop(network.Ignore, "hearsay", source, nil)
		}
		return network.Accept, &Incoming{group: g, source: source, heads: b.DagHeads}
	case wire.GroupMutation:
		if b.Group != id {
			return m.drop(network.Reject, "wrong group", source, nil)
		}
		if !g.hearsay.Allow() {
			return m.drop(network.Ignore, "hearsay", source, nil)
		}
		return network.Accept, nil // a hint, unsigned: the operations are what counts
	case wire.TeeAttestationAnnounce:
		if !g.hearsay.Allow() {
			return m.drop(network.Ignore, "hearsay", source, nil)
		}
		return network.Accept, nil // for nodes that admit such
	default:
		return m.drop(network.Reject, "wrong topic", source, nil)
	}
}

// validateOp lets an operation through whose parents are not here yet, as far as its signer is known. What it does is
// judged when its turn comes.
func (m *Manager) validateOp(ctx context.Context, g *group, source PeerID, raw []byte) (network.Verdict, *Incoming) {
	x, err := m.opts.Groups.Examine(ctx, g.id, raw)
	switch {
	case err != nil && isOfStore(err):
		return m.drop(network.Ignore, "store", source, err)
	case err != nil:
		return m.drop(network.Reject, "operation", source, err)
	case x.Fault != "":
		return m.drop(network.Reject, "operation", source, errkind.Invalid.Errorf("%s", x.Fault))
	case x.Stranger:
		return m.drop(network.Ignore, "stranger", source, nil)
	}
	return network.Accept, &Incoming{group: g, source: source, op: raw, heads: []domain.Hash{x.ID}}
}

// isOfStore tells an error of the node's own from one of what a peer sent.
func isOfStore(err error) bool {
	switch errkind.Of(err) {
	case errkind.Unavailable, errkind.Internal, errkind.Canceled, errkind.NotFound, errkind.Corrupt:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
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

// Bounds of what waits to be worked off in each group.
const (
	maxInbox      = 512
	maxInboxBytes = 8 << 20
)

// Handle takes what Validate gave. It does not wait: of too much, the newest is dropped and fetched later.
func (m *Manager) Handle(in *Incoming) {
	g := in.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.inbox) >= maxInbox || g.inboxBytes+in.bytes() > maxInboxBytes {
		m.metrics.dropped.WithLabelValues("full").Inc()
		return
	}
	g.inbox = append(g.inbox, in)
	g.inboxBytes += in.bytes()
	g.work()
}

func (in *Incoming) bytes() int { return len(in.op) + 32*len(in.heads) }

// work has what came in worked off, in its order: no group waits for another. The caller holds the lock.
func (g *group) work() {
	if g.working || len(g.inbox) == 0 {
		return
	}
	g.working = g.m.tasks.Go(func(ctx context.Context) {
		for {
			g.mu.Lock()
			if len(g.inbox) == 0 || ctx.Err() != nil {
				g.working = false
				g.mu.Unlock()
				return
			}
			in := g.inbox[0]
			g.inbox = slices.Delete(g.inbox, 0, 1)
			g.inboxBytes -= in.bytes()
			g.mu.Unlock()
			g.m.take(ctx, in)
		}
	})
}

// PeerSubscribed tells that a peer entered the topic of a group: it hears where the group is.
func (m *Manager) PeerSubscribed(topic string) {
	id, err := domain.ParseGroupID(strings.TrimPrefix(topic, topicPrefix))
	if g := m.find(id); err == nil && g != nil {
		g.soon()
	}
}

func (m *Manager) take(ctx context.Context, in *Incoming) {
	if in.op == nil {
		in.group.heard(ctx, in)
		return
	}
	g := in.group
	missing, err := g.receive(ctx, in.source, [][]byte{in.op})
	if err != nil {
		m.warn(ctx, "an operation of a group is not taken", g.id, err)
	}
	if len(missing) > 0 {
		m.fetch(g, in.source, missing)
	}
	if g.acknowledged(ctx, in.heads) {
		m.opts.Acknowledged(g.id, in.source)
	}
}

// heard compares a heartbeat with what is here: what is missing is fetched, and who is behind is told.
func (g *group) heard(ctx context.Context, in *Incoming) {
	service := g.m.opts.Groups
	want, err := service.Lacks(ctx, g.id, in.heads)
	want = g.unshunned(want)
	if err == nil && len(want) == 0 {
		want, err = service.Missing(ctx, g.id)
	}
	var ours []domain.Hash
	if err == nil {
		ours, _, err = service.Frontier(ctx, g.id)
	}
	if err != nil {
		g.m.warn(ctx, "a heartbeat of a group is not compared", g.id, err)
		return
	}
	if len(want) > 0 {
		g.m.fetch(g, in.source, want)
	}
	if len(without(ours, in.heads)) > 0 {
		g.soon()
	}
	if g.acknowledged(ctx, in.heads) {
		g.m.opts.Acknowledged(g.id, in.source)
	}
	if len(want) == 0 && len(in.heads) > 0 {
		open, err := g.seek(ctx, in.source)
		if err != nil {
			g.m.warn(ctx, "subgroups of a group are not looked for", g.id, err)
		}
		g.settle(ctx, g.acked() && !open && err == nil)
	}
}
