// Package membership keeps who is in the groups that contexts belong to: members, the log of signed operations,
// invitations to contexts, and how operations come from node to node (docs/design/joining.md). Of the operations, this
// version judges the one by which an identity joins with an invitation to a context; others of members are kept and passed
// on, and have no effect here. The whole of governance is core/groups, over the same log.
package membership

import (
	"context"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// PeerID is the id of a node.
type PeerID = network.PeerID

// Network is what the manager needs of the network. Methods are safe for concurrent use.
type Network interface {
	Publish(ctx context.Context, topic string, data []byte) error
	Subscribe(ctx context.Context, topic string) error
	Unsubscribe(ctx context.Context, topic string) error
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
	Identity *identity.Service
	Contexts Contexts
	Network  Network
	// Acknowledged is called when a peer has shown that it knows the last operation of this node in a group; it must
	// not wait.
	Acknowledged func(group domain.GroupID, p PeerID)
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
	return o
}

// Bounds of what a peer may send.
const (
	perSecond, burst = 50, 200 // messages of a source
	maxSources       = 4096
	maxInbox         = 1024
	maxHeads         = 1900 // of a heartbeat, so that it fits a message
)

// Manager keeps the groups. Its methods are safe for concurrent use, and before Serve.
type Manager struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	sources *lru.Cache[PeerID, *rate.Limiter]
	inbox   chan *Incoming

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
		inbox: make(chan *Incoming, maxInbox), groups: map[domain.GroupID]*group{},
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
		if err := m.Follow(ctx, id); err != nil {
			return err
		}
	}
	tick := time.NewTicker(max(min(m.opts.Heartbeat/4, time.Second), 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case in := <-m.inbox:
			m.take(ctx, in)
		case now := <-tick.C:
			for _, g := range m.all() {
				g.tick(now)
			}
		}
	}
}

// Follow enters the topic of a group that is here.
func (m *Manager) Follow(ctx context.Context, id domain.GroupID) error {
	g, err := m.load(ctx, id)
	if err != nil {
		return err
	}
	if err := m.opts.Network.Subscribe(ctx, wire.GroupTopic(id)); err != nil {
		return err
	}
	g.soon()
	return nil
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
	m.mu.Lock()
	delete(m.groups, group)
	m.mu.Unlock()
	return m.opts.Network.Unsubscribe(ctx, wire.GroupTopic(group))
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

// find is a group that has been loaded; nil if not.
func (m *Manager) find(id domain.GroupID) *group {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.groups[id]
}
