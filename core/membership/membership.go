// Package membership moves groups from node to node (docs/design/joining.md): it publishes the operations that are made here,
// takes those of others, tells where its groups are and asks for what is missing, and makes and uses invitations. What a
// group is, given its operations, and what of it is kept, is core/groups' part.
package membership

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// PeerID is the id of a node.
type PeerID = network.PeerID

// Network is what the manager needs of the network. Methods are safe for concurrent use.
type Network interface {
	Publish(ctx context.Context, topic string, data []byte) error
	Subscribe(ctx context.Context, topic string) error
	Unsubscribe(ctx context.Context, topic string) error
	// LocalPeerID is the node's own.
	LocalPeerID() PeerID
	// TopicPeers are the connected peers in a topic.
	TopicPeers(ctx context.Context, topic string) ([]PeerID, error)
	// Supports tells whether a peer is known to speak a protocol.
	Supports(p PeerID, protocol string) bool
	OpenStream(ctx context.Context, p PeerID, protocol string) (Stream, error)
}

// Stream is a framed stream; *network.Stream is one.
type Stream interface {
	Peer() PeerID
	ReadFrame(ctx context.Context, limit int) ([]byte, error)
	WriteFrame(ctx context.Context, payload []byte) error
	Close() error
	Reset()
}

// Contexts is what the manager needs of contexts; *contexts.Client is one.
type Contexts interface {
	Get(ctx context.Context, id domain.ContextID) (contexts.Info, error)
	Enter(ctx context.Context, r contexts.EnterRequest) error
	GroupsChanged()
}

// Options of the manager. What is zero gets the default named with it.
type Options struct {
	DB       *store.DB
	Groups   *groups.Service
	Identity *identity.Service
	// NodeKey is the node's own identity in groups; nil = none.
	NodeKey  *domain.PrivateKey
	Contexts Contexts
	Network  Network
	// Acknowledged is called when a peer is the first to show that it knows an operation of this node; it must not wait.
	Acknowledged func(group domain.GroupID, p PeerID)
	// Entered is called when an identity of this node has entered a context of a group; it must not wait.
	Entered func(domain.ContextID)
	// Left is called, once or more, when this node has no identity any more in a context that is here; it must not wait.
	Left func(domain.ContextID)
	// Heartbeat (30 s) is how often the node says where its groups are.
	Heartbeat time.Duration
	// Answer (10 s) bounds the wait for one answer of a peer.
	Answer     time.Duration
	Now        func() time.Time
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Heartbeat <= 0 {
		o.Heartbeat = 30 * time.Second
	}
	if o.Answer <= 0 {
		o.Answer = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Acknowledged == nil {
		o.Acknowledged = func(domain.GroupID, PeerID) {}
	}
	if o.Entered == nil {
		o.Entered = func(domain.ContextID) {}
	}
	if o.Left == nil {
		o.Left = func(domain.ContextID) {}
	}
	return o
}

// Bounds of what a peer may send.
const (
	perSecond, burst           = 50, 200  // messages of a source
	hearsayPerSecond, hearsays = 100, 500 // messages in a group's topic that nobody has signed
	maxSources                 = 4096
	maxHeads                   = 1900 // of a heartbeat, so that it fits a message
)

// Manager keeps the groups. Its methods are safe for concurrent use, and before Serve.
type Manager struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	sources *lru.Cache[PeerID, *rate.Limiter]

	tasks    actor.Tasks // while it serves
	mu       sync.Mutex
	groups   map[domain.GroupID]*group
	owners   map[domain.ContextID]domain.GroupID // of contexts asked for
	fetching map[fetch]struct{}
}

// New makes the manager.
func New(opts Options) (*Manager, error) {
	opts = opts.withDefaults()
	sources, err := lru.New[PeerID, *rate.Limiter](maxSources)
	if err != nil {
		return nil, err
	}
	return &Manager{
		opts: opts, log: opts.Logger, metrics: newMetrics(opts.Registerer), sources: sources,
		groups: map[domain.GroupID]*group{},
		owners: map[domain.ContextID]domain.GroupID{}, fetching: map[fetch]struct{}{},
	}, nil
}

// Serve follows all groups of the node and works until ctx ends. It returns ctx's error once all it began is over.
func (m *Manager) Serve(ctx context.Context) error {
	var ids []domain.GroupID
	err := store.GroupMeta.Scan(ctx, m.opts.DB, nil, func(id domain.GroupID, _ wire.GroupMeta) error {
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	m.tasks.Begin(ctx)
	defer m.tasks.End()
	defer cancel()
	for _, id := range ids {
		err := m.Follow(ctx, id)
		if errors.Is(err, errkind.NotFound) || errors.Is(err, errkind.Corrupt) { // no reason to leave the others alone
			m.log.Error("a group is not followed", "group", id, "err", err)
		} else if err != nil {
			return err
		}
	}
	tick := time.NewTicker(max(min(m.opts.Heartbeat/4, time.Second), 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			for _, g := range m.all() {
				if !m.forgets(g, now) {
					g.tick(now)
				}
			}
		}
	}
}

// Follow enters the topic of a group that is here.
func (m *Manager) Follow(ctx context.Context, id domain.GroupID) error {
	if _, err := m.opts.Groups.Genesis(ctx, id); err != nil {
		return err
	}
	if err := m.opts.Network.Subscribe(ctx, wire.GroupTopic(id)); err != nil {
		return err
	}
	g := m.traffic(id)
	if err := g.resume(ctx); err != nil {
		return err
	}
	g.follow()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.groups[id] = g // it may have waited for so long that it was forgotten
	return nil
}

// Unfollow leaves the topic of a group.
func (m *Manager) Unfollow(ctx context.Context, id domain.GroupID) error {
	m.mu.Lock()
	delete(m.groups, id)
	m.mu.Unlock()
	return m.opts.Network.Unsubscribe(ctx, wire.GroupTopic(id))
}

// Forget drops what is known of a context that was deleted, and of its group if that went with it.
func (m *Manager) Forget(ctx context.Context, id domain.ContextID) error {
	m.mu.Lock()
	group, known := m.owners[id]
	delete(m.owners, id)
	m.mu.Unlock()
	if !known {
		group = domain.GroupID(id)
	}
	found, err := store.GroupMeta.Has(ctx, m.opts.DB, group)
	if err != nil || found {
		return err
	}
	return m.Unfollow(ctx, group)
}

// Published takes an operation made here and has it sent to the group. It does not wait.
func (m *Manager) Published(p groups.Published) { m.traffic(p.Group).published(p) }

// Changed takes verdicts that changed. It does not wait.
func (m *Manager) Changed(id domain.GroupID, changes []governance.Change) {
	m.opts.Contexts.GroupsChanged()
	m.traffic(id).changed()
	for _, c := range changes {
		if c.Old.Code != "" {
			m.log.Info("an operation of a group counts otherwise now", "group", id, "operation", c.ID, "was", c.Old.Code, "is", c.New.Code)
		}
	}
}

// Late takes a claim that came too late: with an admin's key here it is ended everywhere. It does not wait.
func (m *Manager) Late(l groups.Late) {
	m.log.Warn("a claim came after its invitation's time; who made it is not served until an admin takes it in", "group", l.Group,
		"operation", l.Claim, "joiner", l.Joiner)
	m.tasks.Go(func(ctx context.Context) {
		key, err := m.adminKey(ctx, l.Group)
		if err == nil && key != nil {
			err = m.opts.Groups.Expel(ctx, l, *key)
		}
		if err != nil {
			m.warn(ctx, "a late claim is not ended", l.Group, err)
		}
	})
}

func (m *Manager) warn(ctx context.Context, what string, id domain.GroupID, err error) {
	if ctx.Err() == nil {
		m.log.Warn(what, "group", id, "err", err)
	}
}

func (m *Manager) all() []*group {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*group, 0, len(m.groups))
	for _, g := range m.groups {
		all = append(all, g)
	}
	return all
}

// find is a group that is followed; nil if not.
func (m *Manager) find(id domain.GroupID) *group {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.groups[id]
}

// forgetAfter is how long the traffic of a group is kept that is not followed: one that is new here is followed within
// moments, one that was left may still have had something to say.
const forgetAfter = time.Minute

// forgets drops the traffic of a group that nobody follows.
func (m *Manager) forgets(g *group, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.followed || now.Sub(g.since) < forgetAfter {
		return false
	}
	if m.groups[g.id] == g {
		delete(m.groups, g.id)
	}
	return true
}

// traffic is that of a group, made if need be.
func (m *Manager) traffic(id domain.GroupID) *group {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.groups[id]
	if g == nil {
		g = &group{m: m, id: id, since: time.Now(), hearsay: rate.NewLimiter(hearsayPerSecond, hearsays)}
		m.groups[id] = g
	}
	return g
}
