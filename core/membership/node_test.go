package membership_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long is how long a busy machine may take.
const long = time.Minute

// lan connects nodes in memory: what one publishes all others judge and handle, and streams are answered with the
// operations that the other side has. The bytes are the real ones.
type lan struct {
	mu    sync.Mutex
	nodes map[membership.PeerID]*node
	deaf  map[membership.PeerID]bool // gets and gives nothing
}

func newLAN() *lan {
	return &lan{nodes: map[membership.PeerID]*node{}, deaf: map[membership.PeerID]bool{}}
}

func (l *lan) setDeaf(n *node, deaf bool) {
	l.mu.Lock()
	l.deaf[n.id] = deaf
	l.mu.Unlock()
	if deaf {
		return
	}
	for _, o := range l.others(n.id) {
		for topic := range n.subscribed() {
			o.manager().PeerSubscribed(topic)
			n.manager().PeerSubscribed(topic)
		}
	}
}

func (l *lan) others(id membership.PeerID) (out []*node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, n := range l.nodes {
		if other != id && !l.deaf[id] && !l.deaf[other] {
			out = append(out, n)
		}
	}
	return out
}

// node is a node with a store, its own identities, and groups.
type node struct {
	t        *testing.T
	lan      *lan
	id       membership.PeerID
	disk     *disk
	db       *store.DB
	identity *identity.Service
	clock    func() time.Time
	plain    bool // speaks no extension

	mu     sync.Mutex
	topics map[string]bool
	m      *membership.Manager
	groups *groups.Service
	stop   func()
	acks   int
	left   map[domain.ContextID]bool
	// entering is called when a context is entered.
	entering func()
	asked    map[domain.GroupID]int // sessions about a group
}

func (l *lan) node(t *testing.T, name string) *node {
	t.Helper()
	n := &node{t: t, lan: l, id: membership.PeerID(name), disk: &disk{Plugin: storagetest.NewMemory()}, clock: time.Now,
		topics: map[string]bool{}, left: map[domain.ContextID]bool{}, asked: map[domain.GroupID]int{}}
	n.open()
	n.start()
	t.Cleanup(func() { n.stop() })
	l.mu.Lock()
	l.nodes[n.id] = n
	l.mu.Unlock()
	return n
}

// open opens the storage, as a process does.
func (n *node) open() {
	n.db = store.Open(n.disk, store.Options{})
	n.identity = identity.New(n.db)
}

// disk is a storage whose process is killed in a commit: the one after as many as it says, before or after that is done.
// From then on it fails.
type disk struct {
	storage.Plugin

	mu    sync.Mutex
	armed bool
	dead  bool
	left  int
	done  bool
}

var errKilled = errors.New("the process was killed")

// kill has the process killed after some commits, in the next one.
func (d *disk) kill(after int, done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed, d.left, d.done = true, after, done
}

// revive is what a restart makes of it; it tells whether the process was killed.
func (d *disk) revive() (killed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	killed = d.dead
	d.armed, d.dead = false, false
	return killed
}

func (d *disk) Apply(ctx context.Context, b storage.Batch) (replayed bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.dead:
		return false, errKilled
	case d.armed && d.left == 0:
		d.dead = true
		if d.done {
			if _, err := d.Plugin.Apply(ctx, b); err != nil {
				return false, err
			}
		}
		return false, errKilled
	}
	d.left--
	return d.Plugin.Apply(ctx, b)
}

func (n *node) start() {
	var m *membership.Manager
	service := groups.New(groups.Options{
		DB: n.db, Publish: func(p groups.Published) { m.Published(p) },
		Changed: func(id domain.GroupID, c []governance.Change) { m.Changed(id, c) },
		Late:    func(l groups.Late) { m.Late(l) }, Now: func() time.Time { return n.clock() },
	})
	m, err := membership.New(membership.Options{
		DB: n.db, Groups: service, Identity: n.identity, Contexts: n, Network: n, Heartbeat: 50 * time.Millisecond,
		Now:          func() time.Time { return n.clock() },
		Left:         func(id domain.ContextID) { n.mu.Lock(); n.left[id] = true; n.mu.Unlock() },
		Acknowledged: func(domain.GroupID, membership.PeerID) { n.mu.Lock(); n.acks++; n.mu.Unlock() },
	})
	require.NoError(n.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	n.mu.Lock()
	n.m, n.groups, n.stop = m, service, func() { cancel(); <-done }
	n.mu.Unlock()
	go func() {
		defer close(done)
		_ = m.Serve(ctx) // ends with ctx
	}()
}

func (n *node) restart() {
	n.stop()
	n.start()
}

func (n *node) acknowledged() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.acks
}

// wasAsked is how many sessions about a group others began.
func (n *node) wasAsked(group domain.GroupID) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[group]
}

func (n *node) manager() *membership.Manager {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.m
}

func (n *node) service() *groups.Service {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.groups
}

func (n *node) subscribed() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := map[string]bool{}
	for t := range n.topics {
		out[t] = true
	}
	return out
}

func (n *node) Subscribe(_ context.Context, topic string) error {
	n.mu.Lock()
	n.topics[topic] = true
	n.mu.Unlock()
	for _, o := range n.lan.others(n.id) {
		if o.subscribed()[topic] {
			o.manager().PeerSubscribed(topic)
		}
	}
	return nil
}

func (n *node) Unsubscribe(_ context.Context, topic string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.topics, topic)
	return nil
}

func (n *node) Publish(ctx context.Context, topic string, data []byte) error {
	for _, o := range n.lan.others(n.id) {
		if !o.subscribed()[topic] {
			continue
		}
		if verdict, in := o.manager().Validate(ctx, topic, n.id, data); verdict == network.Accept && in != nil {
			o.manager().Handle(in)
		}
	}
	return nil
}

func (n *node) LocalPeerID() membership.PeerID { return n.id }

func (n *node) TopicPeers(_ context.Context, topic string) (out []membership.PeerID, err error) {
	for _, o := range n.lan.others(n.id) {
		if o.subscribed()[topic] {
			out = append(out, o.id)
		}
	}
	return out, nil
}

// Supports: a node that is plain speaks the reference's protocol alone.
func (n *node) Supports(p membership.PeerID, protocol string) bool {
	for _, o := range n.lan.others(n.id) {
		if o.id == p {
			return protocol == wire.SyncProtocol || !o.plain && !n.plain
		}
	}
	return false
}

func (n *node) OpenStream(ctx context.Context, p membership.PeerID, protocol string) (membership.Stream, error) {
	if !n.Supports(p, protocol) {
		return nil, errkind.Unavailable.Errorf("no such peer")
	}
	for _, o := range n.lan.others(n.id) {
		if o.id != p {
			continue
		}
		if protocol == wire.SyncProtocol {
			return &stream{to: o}, nil
		}
		return n.extension(ctx, o), nil
	}
	return nil, errkind.Unavailable.Errorf("no such peer")
}

// extension opens a stream that the other side serves as the SyncManager has it served.
func (n *node) extension(ctx context.Context, o *node) membership.Stream {
	there, back, over := make(chan []byte, 4), make(chan []byte, 4), make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(over) }) }
	mine := &pipe{peer: o.id, in: back, out: there, over: over, end: end}
	theirs := &pipe{peer: n.id, in: there, out: back, over: over, end: end}
	go func() {
		defer end()
		frame, err := theirs.ReadFrame(ctx, wire.MaxFrame)
		if err != nil {
			return
		}
		first, err := wire.DecodeExtension(frame)
		hello, ok := first.(wire.GroupHello)
		if err != nil || !ok {
			return
		}
		o.mu.Lock()
		o.asked[hello.Group]++
		o.mu.Unlock()
		err = o.manager().ServeGroup(ctx, theirs, hello)
		if refusal, encodeErr := wire.EncodeExtension(wire.Refusal{Kind: errkind.Of(err), Text: "no"}); encodeErr == nil {
			_ = theirs.WriteFrame(ctx, refusal) // nobody may be listening
		}
	}()
	return mine
}

// pipe is one end of a stream in memory.
type pipe struct {
	peer membership.PeerID
	in   <-chan []byte
	out  chan<- []byte
	over chan struct{}
	end  func()
}

func (p *pipe) Peer() membership.PeerID { return p.peer }
func (p *pipe) Close() error            { p.end(); return nil }
func (p *pipe) Reset()                  { p.end() }

func (p *pipe) ReadFrame(ctx context.Context, limit int) ([]byte, error) {
	select {
	case f := <-p.in:
		if len(f) > limit {
			return nil, errkind.TooLarge.Errorf("a frame of %d bytes", len(f))
		}
		return f, nil
	default:
	}
	select {
	case f := <-p.in:
		return f, nil
	case <-p.over:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipe) WriteFrame(ctx context.Context, f []byte) error {
	select {
	case p.out <- f:
		return nil
	case <-p.over:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream answers requests for operations at once.
type stream struct {
	to      *node
	answers [][]byte
}

func (s *stream) Peer() membership.PeerID { return s.to.id }
func (s *stream) Close() error            { return nil }
func (s *stream) Reset()                  {}

func (s *stream) WriteFrame(ctx context.Context, in []byte) error {
	msg, err := wire.DecodeStream(in)
	if err != nil {
		return err
	}
	init, ok := msg.(wire.Init)
	if !ok {
		return errors.New("no Init")
	}
	request, ok := init.Payload.(wire.GroupDeltaRequest)
	if !ok {
		return errors.New("no request for an operation")
	}
	found, err := s.to.manager().Op(ctx, request)
	if err != nil {
		return err
	}
	answer := wire.Message{Payload: wire.GroupDeltaNotFound{}}
	if found != nil {
		answer.Payload = *found
	}
	out, err := wire.EncodeStream(answer)
	s.answers = append(s.answers, out)
	return err
}

func (s *stream) ReadFrame(context.Context, int) ([]byte, error) {
	if len(s.answers) == 0 {
		return nil, io.EOF
	}
	out := s.answers[0]
	s.answers = s.answers[1:]
	return out, nil
}

// Get, Enter and GroupsChanged stand for the ContextManager: rows, and nothing that runs.
func (n *node) Get(ctx context.Context, id domain.ContextID) (contexts.Info, error) {
	meta, found, err := store.ContextMeta.Get(ctx, n.db, id)
	if err == nil && !found {
		err = errkind.NotFound.Errorf("context not found")
	}
	return contexts.Info{ID: id, Application: meta.ApplicationID}, err
}

func (n *node) Enter(ctx context.Context, r contexts.EnterRequest) error {
	n.mu.Lock()
	entering := n.entering
	n.mu.Unlock()
	if entering != nil {
		entering()
	}
	b := n.db.Batch()
	defer b.Abandon()
	store.ContextMeta.Put(b, r.Context, wire.ContextMeta{ApplicationID: r.Application})
	if err := n.identity.PutOwn(b, r.Context, r.Member); err != nil {
		return err
	}
	if err := r.Stage(ctx, b); err != nil {
		return err
	}
	return b.Commit(ctx)
}

func (n *node) GroupsChanged() {}

// contextOf is the id of the context that create makes of a seed.
func contextOf(seed byte) domain.ContextID { return domain.ContextID(domain.PrivateKey{seed}.Public()) }

// create makes a context with a group of its own, as the ContextManager does. Its id follows from seed.
func (n *node) create(seed byte) domain.PublicKey {
	n.t.Helper()
	key, err := domain.NewPrivateKey()
	require.NoError(n.t, err)
	secret := domain.PrivateKey{seed}
	id, app := domain.ContextID(secret.Public()), domain.ApplicationID{0xaa}
	group := domain.GroupID(id)
	genesis, err := wire.GroupGenesis{
		Kind: wire.GenesisCertified, Group: group, Creator: key.Public(), Target: app, AutoJoin: true, CreatedAt: 1700000000,
	}.Sign(key, &secret)
	require.NoError(n.t, err)
	b := n.db.Batch()
	require.NoError(n.t, n.service().Begin(n.t.Context(), b, genesis, key, wire.OpContextRegistered{Context: id},
		wire.OpContextVisibilitySet{Context: id, Creator: key.Public()}))
	store.ContextMeta.Put(b, id, wire.ContextMeta{ApplicationID: app})
	store.Application.Put(b, app, wire.ApplicationRecord{Bytecode: domain.BlobID{0xbb}, Size: 3, Source: "file:///app.wasm"})
	store.GroupMember.Put(b, store.GroupMemberKey{Group: group, Member: key.Public()},
		wire.GroupMember{Role: domain.RoleAdmin, PrivateKey: &key})
	store.ContextGroup.Put(b, id, wire.ID32(group))
	require.NoError(n.t, n.identity.PutOwn(b, id, key))
	require.NoError(n.t, b.Commit(n.t.Context()))
	require.NoError(n.t, n.manager().Follow(n.t.Context(), group))
	return key.Public()
}

// join joins as a new identity.
func (n *node) join(inv *membership.Invitation) (domain.PublicKey, error) {
	member, err := n.identity.NewIdentity(n.t.Context())
	require.NoError(n.t, err)
	return member, n.manager().JoinContext(n.t.Context(), *inv, member)
}

func (n *node) invite(id domain.ContextID, inviter domain.PublicKey, valid time.Duration) *membership.Invitation {
	n.t.Helper()
	inv, err := n.manager().InviteToContext(n.t.Context(), id, inviter, valid)
	require.NoError(n.t, err)
	require.NotNil(n.t, inv)
	return inv
}

// role is what a node knows of a member; false for none.
func (n *node) role(id domain.ContextID, member domain.PublicKey) (domain.MemberRole, bool) {
	n.t.Helper()
	place, err := n.manager().Place(n.t.Context(), id, member)
	require.NoError(n.t, err)
	return place.Role, place.Member
}

// knows waits until a node knows all members.
func (n *node) knows(id domain.ContextID, members ...domain.PublicKey) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		for _, m := range members {
			if place, err := n.manager().Place(n.t.Context(), id, m); err != nil || !place.Member {
				return false
			}
		}
		return true
	}, long, 2*time.Millisecond)
}
