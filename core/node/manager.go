package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/thejerf/suture/v4"
	"golang.org/x/time/rate"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/transfer"
	"github.com/calimero-go/core/core/upgrades"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// manager is the NodeManager: it ties contexts, groups and blobs to the network. Gossip is judged by whoever the topic
// belongs to and comes back as an event; streams go to whoever serves their protocol; what contexts commit goes out. Its
// parts do not wait for one another: each has queues of its own, and what is lost on the way is asked for again.
type manager struct {
	n      *Node
	groups *membership.Manager
	sync   *sync.Manager
	blobs  *transfer.Service
	apps   *provisioner
	// searches bounds the searches for special nodes that are forwarded.
	searches *rate.Limiter
	// flows and upgrades are how people govern groups.
	flows    *admin.Service
	upgrades *upgrades.Service
}

// newManager makes the NodeManager and gives the network its handlers; nothing runs yet.
func (n *Node) newManager() (*manager, error) {
	m := &manager{n: n, searches: rate.NewLimiter(20, 200)}
	var err error
	if m.groups, err = membership.New(membership.Options{
		DB: n.db, Groups: n.groups, Identity: n.identity, NodeKey: n.groupKey(), Contexts: n.contexts,
		Network: groupStreams{n.network}, Acknowledged: m.acknowledged, Entered: m.entered, Left: m.left, Registerer: n.reg, Logger: n.log,
	}); err != nil {
		return nil, fmt.Errorf("set up groups: %w", err)
	}
	m.sync = sync.New(sync.Options{
		Network: syncStreams{n.network}, Contexts: n.contexts, Identity: n.identity, DB: n.db, Access: m.access,
		GroupDeltas: m.groups.Op, OpenBlob: m.openBytecode,
		ServeBlob: func(ctx context.Context, s sync.Stream, b wire.BlobOpen) { m.blobs.ServeChunks(ctx, s, b) },
		ServeGroup: func(ctx context.Context, s sync.Stream, h wire.GroupHello) error {
			return m.groups.ServeGroup(ctx, s, h)
		},
		Timeout: n.cfg.Sync.Timeout, Interval: n.cfg.Sync.Interval,
		Frequency: n.cfg.Sync.Frequency, AcceptUnsigned: n.cfg.Sync.AcceptUnsigned, Registerer: n.reg, Logger: n.log,
	})
	options := transfer.Options{
		Network: blobStreams{n.network}, Blobs: n.blobs, Identity: n.identity, Bytecode: m.bytecode, Member: m.isMember,
		MaxBlob: n.cfg.Server.MaxUpload, Registerer: n.reg, Logger: n.log,
	}
	m.blobs = transfer.New(options)
	m.apps = newProvisioner(n.contexts, n.apps, m.blobs, m.sync.Retry, n.log)
	m.flows = admin.New(admin.Options{DB: n.db, Groups: n.groups, Peers: m.groups, Identity: n.identity, Logger: n.log})
	m.upgrades = upgrades.New(upgrades.Options{
		DB: n.db, Groups: n.groups, Contexts: n.contexts, Identity: n.identity, Provide: m.apps.provideNext, Logger: n.log,
	})
	return m, errors.Join(
		n.network.SetValidator(m.validate),
		n.network.SetStreamHandler(wire.SyncProtocol, network.StreamLimits{}, func(ctx context.Context, s *network.Stream) {
			m.sync.ServeReference(ctx, s)
		}),
		n.network.SetStreamHandler(wire.ExtensionProtocol, network.StreamLimits{}, func(ctx context.Context, s *network.Stream) {
			m.sync.ServeExtension(ctx, s)
		}),
		n.network.SetStreamHandler(transfer.Protocol, options.Limits(), func(ctx context.Context, s *network.Stream) {
			m.blobs.Serve(ctx, s)
		}),
	)
}

// groupKey is the node's own identity in groups; nil if it has none.
func (n *Node) groupKey() *domain.PrivateKey {
	if id := n.cfg.Node.Identity; id != nil && id.GroupGiven {
		return &id.Group
	}
	return nil
}

// start runs the parts; the function returned stops them and waits.
func (m *manager) start() (stop func()) {
	tree := actor.NewSupervisor("node-manager", m.n.log, stopTime)
	for _, s := range []suture.Service{m.groups, m.sync, m.apps, m.upgrades, m} {
		tree.Add(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := tree.ServeBackground(ctx)
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			m.n.log.Warn("node manager stopped", "err", err)
		}
	}
}

// validate judges a gossip message before it is forwarded.
func (m *manager) validate(ctx context.Context, msg *network.Message) network.Verdict {
	if membership.IsTopic(msg.Topic) {
		verdict, in := m.groups.Validate(ctx, msg.Topic, msg.Source, msg.Data)
		if in != nil {
			msg.Value = in
		}
		return verdict
	}
	if msg.Topic == m.n.cfg.Network.InviteTopic {
		return m.validateSearch(msg.Data)
	}
	verdict, in := m.sync.Validate(ctx, msg.Topic, msg.Source, msg.Data)
	if in != nil {
		msg.Value = in
	}
	return verdict
}

// validateSearch judges what is said where nodes of a special kind are looked for. Everybody may look for some; all of them
// together not more than networks need.
func (m *manager) validateSearch(data []byte) network.Verdict {
	said, err := wire.DecodeBroadcast(data)
	if _, ok := said.(wire.SpecializedNodeDiscovery); err != nil || !ok {
		return network.Reject
	}
	if !m.searches.Allow() {
		return network.Ignore
	}
	return network.Accept // for nodes that are special ones
}

// Serve routes the events of the network.
func (m *manager) Serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-m.n.network.Events():
			m.route(e)
		}
	}
}

func (m *manager) route(e network.Event) {
	switch e := e.(type) {
	case network.MessageReceived:
		switch in := e.Value.(type) {
		case *sync.Incoming:
			m.sync.Handle(in)
		case *membership.Incoming:
			m.groups.Handle(in)
		}
	case network.PeerSubscribed:
		if membership.IsTopic(e.Topic) {
			m.groups.PeerSubscribed(e.Topic)
			return
		}
		m.sync.PeerSubscribed(e.Peer, e.Topic)
		m.apps.retry()
	}
}

// acknowledged begins what had to wait until a peer knew that this node's identity is a member.
func (m *manager) acknowledged(group domain.GroupID, p network.PeerID) {
	for _, id := range m.groups.Contexts(group) {
		m.sync.PeerSubscribed(p, wire.ContextTopic(id))
	}
}

// entered brings the state and the application of a context that this node entered.
func (m *manager) entered(id domain.ContextID) {
	m.apps.want(id)
	if err := m.sync.Follow(context.Background(), id); err != nil {
		// A restart at the latest enters its topic.
		m.n.log.Error("a context was entered and its topic is not", "context", id, "err", err)
	}
}

// left stops following a context in which this node has no identity any more. What is here of it stays.
func (m *manager) left(id domain.ContextID) {
	if err := m.sync.Unfollow(context.Background(), id); err != nil {
		m.n.log.Error("a context was left and its topic is not", "context", id, "err", err)
	}
}

// access is what an identity may do in a context.
func (m *manager) access(ctx context.Context, id domain.ContextID, member domain.PublicKey) (sync.Access, error) {
	place, err := m.groups.Place(ctx, id, member)
	switch {
	case err != nil:
		return sync.NoAccess, err
	case place.Member && place.Role == domain.RoleReadOnly:
		return sync.MayRead, nil
	case place.Member:
		return sync.MayWrite, nil
	case place.Known:
		return sync.MightHave, nil
	}
	return sync.NoAccess, nil
}

func (m *manager) isMember(ctx context.Context, id domain.ContextID, member domain.PublicKey) (bool, error) {
	access, err := m.access(ctx, id, member)
	return access >= sync.MayRead, err
}

// bytecode is the module of a context's application.
func (m *manager) bytecode(ctx context.Context, id domain.ContextID) (domain.BlobID, error) {
	info, err := m.n.contexts.Get(ctx, id)
	if err != nil {
		return domain.BlobID{}, err
	}
	app, found, err := m.n.apps.Get(ctx, info.Application)
	if err == nil && !found {
		err = errkind.NotFound.Errorf("application %s is not installed", info.Application)
	}
	return app.Bytecode, err
}

// openBytecode gives the module of a context's application to a node of the reference that joins.
func (m *manager) openBytecode(ctx context.Context, id domain.ContextID, blob domain.BlobID) (io.ReadCloser, error) {
	bytecode, err := m.bytecode(ctx, id)
	if err != nil {
		return nil, err
	}
	if bytecode != blob {
		return nil, errkind.NotFound.Errorf("blob %s is not the application of context %s", blob, id)
	}
	return m.n.blobs.Open(ctx, blob)
}

// streams are the network as the parts see it.
type (
	syncStreams  struct{ *network.Client }
	groupStreams struct{ *network.Client }
	blobStreams  struct{ *network.Client }
)

// OpenStream opens a stream to a peer.
func (s syncStreams) OpenStream(ctx context.Context, p network.PeerID, protocol string) (sync.Stream, error) {
	return opened(s.Client.OpenStream(ctx, p, protocol))
}

// OpenStream opens a stream to a peer.
func (s groupStreams) OpenStream(ctx context.Context, p network.PeerID, protocol string) (membership.Stream, error) {
	return opened(s.Client.OpenStream(ctx, p, protocol))
}

// OpenStream opens a stream to a peer.
func (s blobStreams) OpenStream(ctx context.Context, p network.PeerID, protocol string) (transfer.Stream, error) {
	return opened(s.Client.OpenStream(ctx, p, protocol))
}

// opened makes no interface of a nil pointer.
func opened(s *network.Stream, err error) (transfer.Stream, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// replica is the façade of contexts that others have too: what the API calls.
type replica struct {
	*contexts.Client
	m *manager
}

// Count is the number of connected peers.
func (r replica) Count() int { return len(r.m.n.network.Peers()) }

// Create creates a context and enters its topics.
func (r replica) Create(ctx context.Context, req contexts.CreateRequest) (contexts.CreateResponse, error) {
	created, err := r.Client.Create(ctx, req)
	if err != nil {
		return created, err
	}
	if err := r.follow(ctx, created.Context); err != nil {
		// It exists: a restart at the latest enters its topics.
		r.m.n.log.Error("a context was created and its topics are not entered", "context", created.Context, "err", err)
	}
	return created, nil
}

func (r replica) follow(ctx context.Context, id domain.ContextID) error {
	owner, found, err := r.m.groups.Owner(ctx, id)
	if err == nil && found {
		err = r.m.groups.Follow(ctx, owner)
	}
	return errors.Join(err, r.m.sync.Follow(ctx, id))
}

// Delete deletes a context and leaves its topics.
func (r replica) Delete(ctx context.Context, id domain.ContextID, requester *domain.PublicKey) (bool, error) {
	if _, _, err := r.m.groups.Owner(ctx, id); err != nil { // while that is known
		return false, err
	}
	deleted, err := r.Client.Delete(ctx, id, requester)
	if err != nil || !deleted {
		return deleted, err
	}
	if err := errors.Join(r.m.sync.Unfollow(ctx, id), r.m.groups.Forget(ctx, id)); err != nil {
		r.m.n.log.Error("a context was deleted and its topics are not left", "context", id, "err", err)
	}
	return true, nil
}

// Invite makes an invitation to a context; nil when that is not here.
func (r replica) Invite(ctx context.Context, id domain.ContextID, inviter domain.PublicKey, valid time.Duration) (*membership.Invitation, error) {
	return r.m.groups.InviteToContext(ctx, id, inviter, valid)
}

// Join makes an identity of this node a member of a context that others have. State and application come afterwards.
func (r replica) Join(ctx context.Context, inv membership.Invitation, member domain.PublicKey) error {
	if err := r.m.groups.JoinContext(ctx, inv, member); err != nil {
		return err
	}
	r.m.apps.want(inv.Target)
	return r.m.sync.Follow(ctx, inv.Target)
}

// syncTime bounds a synchronisation that somebody asked for; it goes on in the background.
const syncTime = 5 * time.Second

// Sync brings a context, or with nil all contexts, together with a peer now. Without peers there is nothing to do.
func (r replica) Sync(ctx context.Context, id *domain.ContextID) error {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	r.m.apps.retry()
	var ids []domain.ContextID
	if id != nil {
		ids = append(ids, *id)
	} else {
		all, err := r.List(ctx)
		if err != nil {
			return err
		}
		for _, c := range all {
			ids = append(ids, c.ID)
		}
	}
	var all []error
	for _, one := range ids {
		err := r.m.sync.Sync(ctx, one)
		if err != nil && !errors.Is(err, errkind.Unavailable) && ctx.Err() == nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// Trouble says what keeps a context from being as its peers' have it, other than that there are none.
func (r replica) Trouble(id domain.ContextID) string {
	status, followed := r.m.sync.Status(id)
	switch {
	case followed && status.Diverged:
		return "a peer with the same changes has another root hash"
	case followed && status.Err != nil && !errors.Is(status.Err, errkind.Unavailable):
		return status.Err.Error()
	}
	return ""
}

// Announce tells the DHT that this node has a blob of a context.
func (r replica) Announce(ctx context.Context, id domain.ContextID, blob domain.BlobID, size uint64) error {
	return r.m.n.network.Provide(ctx, network.BlobKey{Context: id, Blob: blob}, size)
}

// Fetch brings a blob of a context here, if it is not.
func (r replica) Fetch(ctx context.Context, id domain.ContextID, blob domain.BlobID) error {
	return r.m.blobs.Fetch(ctx, id, blob)
}
