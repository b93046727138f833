package edges_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/actor"
	flows "github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	deltas "github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/upgrades"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

// People; the node of a rig is the admin's.
var (
	admin    = domain.PrivateKey{0x42}
	member   = domain.PrivateKey{0x43}
	other    = domain.PrivateKey{0x44}
	stranger = domain.PrivateKey{0x45}
	room     = domain.ContextID{0x33}
)

// Applications: one after the other of one signer, one of another signer, and one whose init returns a value.
var (
	app        = domain.ApplicationID{0xa1}
	nextApp    = domain.ApplicationID{0xa2}
	foreignApp = domain.ApplicationID{0xa3}
	talkingApp = domain.ApplicationID{0xb1}
)

// began is when tests take place, ends when invitations end, in Unix seconds.
const began, ends = 1_700_000_000, 1_800_000_000

// rig is a node in this process: the real services over a store in memory, wired as in core/node. A guest written in Go
// takes the place of the runtime, a lan that of the network. It has one group, of the admin's.
type rig struct {
	t       *testing.T
	lan     *lan
	port    *port
	key     *domain.PrivateKey // of the node; nil for none
	disk    storage.Store
	genesis wire.GroupGenesis
	now     atomic.Int64  // Unix seconds
	hold    chan struct{} // nil, or what keeps upgrades to nextApp after the first

	// of the present life
	db       *store.DB
	identity *identity.Service
	service  *groups.Service
	members  *membership.Manager
	contexts *contexts.Client
	deltas   *deltas.Manager
	upgrades *upgrades.Service
	http     http.Handler
	serving  atomic.Pointer[serving]
	stop     func()

	mu    sync.Mutex
	sent  []groups.Published
	asked int // for the module of nextApp
}

// serving is a life's time and what goes on in it for peers.
type serving struct {
	ctx  context.Context
	work sync.WaitGroup
}

// newRig makes the admin's node.
func newRig(t *testing.T) *rig {
	r := newNode(t, newLAN(), "admin", &admin)
	genesis, err := wire.GroupGenesis{
		Creator: admin.Public(), Target: app, CreatedAt: began, AutoJoin: true, Policy: domain.UpgradePolicy{Mode: domain.UpgradeAutomatic},
	}.Sign(admin, nil)
	require.NoError(t, err)
	r.genesis = genesis
	require.NoError(t, r.service.Found(t.Context(), genesis))
	require.NoError(t, r.members.Follow(t.Context(), genesis.Group))
	return r
}

// newNode makes a node with nothing but applications.
func newNode(t *testing.T, l *lan, name string, key *domain.PrivateKey) *rig {
	memory := storagetest.NewMemory()
	r := &rig{t: t, lan: l, key: key, disk: memory}
	r.now.Store(began)
	r.port = l.join(r, name)
	r.start()
	t.Cleanup(func() { r.stop() })
	b := r.db.Batch()
	for id, signer := range map[domain.ApplicationID]string{app: "did:key:a", nextApp: "did:key:a", foreignApp: "did:key:b", talkingApp: ""} {
		store.Application.Put(b, id, wire.ApplicationRecord{
			Bytecode: domain.BlobID(id), Size: 1, Source: "file:///app.wasm", Version: "1.0.0", SignerID: signer,
		})
	}
	require.NoError(t, b.Commit(t.Context()))
	return r
}

// beside adds another node to the rig's lan.
func (r *rig) beside(name string, key *domain.PrivateKey) *rig { return newNode(r.t, r.lan, name, key) }

// restart begins a new life on what is stored.
func (r *rig) restart() {
	r.stop()
	r.start()
}

func (r *rig) clock() time.Time { return time.Unix(r.now.Load(), 0) }

func (r *rig) start() {
	t := r.t
	life := &serving{}
	ctx, cancel := context.WithCancel(context.Background())
	life.ctx = ctx
	r.db = store.Open(r.disk, store.Options{})
	r.identity = identity.New(r.db)
	if r.key != nil {
		r.identity = identity.NewNode(r.db, *r.key)
	}
	r.service = groups.New(groups.Options{
		DB: r.db, Now: r.clock, Publish: r.published,
		Changed: func(id domain.GroupID, c []governance.Change) {
			r.members.Changed(id, c)
			r.deltas.GroupsChanged()
			r.upgrades.Changed(id)
		},
		Late: func(l groups.Late) { r.members.Late(l) },
	})
	stored, err := blobs.Open(ctx, r.db, t.TempDir(), blobs.Options{})
	require.NoError(t, err)
	x, err := executor.New(ctx, runtimetest.Guest(register), executor.Options{Lanes: 4})
	require.NoError(t, err)
	manager := contexts.New(contexts.Options{
		DB: r.db, Blobs: stored, Identity: r.identity, Executor: x, Groups: r.service, Modules: r,
		OnDelta:   func(p contexts.Published) { r.deltas.Publish(p) },
		Migrated:  func(id domain.ContextID) { r.upgrades.Migrated(id) },
		Authorize: func(context.Context, domain.ContextID, domain.PublicKey) error { return nil }, // the deltas' part asks
	})
	r.contexts = manager.Client()
	r.members, err = membership.New(membership.Options{
		DB: r.db, Groups: r.service, Identity: r.identity, NodeKey: r.key, Contexts: r.contexts, Network: groupPort{r.port},
		Entered: func(id domain.ContextID) { r.follow(id) }, Heartbeat: 50 * time.Millisecond, Now: r.clock,
	})
	require.NoError(t, err)
	r.deltas = deltas.New(deltas.Options{
		Network: deltaPort{r.port}, Contexts: r.contexts, Identity: r.identity, DB: r.db, Access: r.access, GroupDeltas: r.members.Op,
		ServeGroup: func(ctx context.Context, s deltas.Stream, h wire.GroupHello) error {
			return r.members.ServeGroup(ctx, s, h)
		},
		Heartbeat: 300 * time.Millisecond, Frequency: 200 * time.Millisecond, Retry: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond,
	})
	r.upgrades = upgrades.New(upgrades.Options{DB: r.db, Groups: r.service, Contexts: r.contexts, Identity: r.identity})
	governing := flows.New(flows.Options{DB: r.db, Groups: r.service, Peers: r.members, Identity: r.identity})
	server, err := api.New(api.Deps{
		Contexts: nodeContexts{r.contexts, r}, Apps: apps.New(r.db, stored, runtimetest.Guest(register), apps.Options{}), Blobs: stored, Identity: r.identity,
		Peers: nodeContexts{r.contexts, r}, Groups: governing, Upgrades: r.upgrades,
	}, api.Options{Admin: true, JSONRPC: true})
	require.NoError(t, err)
	r.http = server.Handler()

	tree := actor.NewSupervisor("edges", slog.New(slog.DiscardHandler), time.Minute)
	tree.Add(manager)
	tree.Add(r.members)
	tree.Add(r.deltas)
	tree.Add(r.upgrades)
	done := tree.ServeBackground(ctx)
	r.serving.Store(life)
	r.stop = sync.OnceFunc(func() {
		r.serving.Store(nil)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		life.work.Wait()
		server.Close()
		x.Close()
	})
}

func (r *rig) published(p groups.Published) {
	r.mu.Lock()
	r.sent = append(r.sent, p)
	r.mu.Unlock()
	r.members.Published(p)
}

// made are the operations of this node, in their order.
func (r *rig) made() []groups.Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]groups.Published(nil), r.sent...)
}

// access is what an identity may do in a context.
func (r *rig) access(ctx context.Context, id domain.ContextID, who domain.PublicKey) (deltas.Access, error) {
	place, err := r.members.Place(ctx, id, who)
	switch {
	case err != nil:
		return deltas.NoAccess, err
	case place.Member && place.Role == domain.RoleReadOnly:
		return deltas.MayRead, nil
	case place.Member:
		return deltas.MayWrite, nil
	case place.Known:
		return deltas.MightHave, nil
	}
	return deltas.NoAccess, nil
}

func (r *rig) follow(id domain.ContextID) {
	if err := r.deltas.Follow(context.Background(), id); err != nil {
		r.t.Errorf("follow context %s: %v", id, err)
	}
}

// gossip takes a message of a peer.
func (r *rig) gossip(ctx context.Context, topic string, from network.PeerID, data []byte) {
	if r.serving.Load() == nil {
		return
	}
	if membership.IsTopic(topic) {
		if verdict, in := r.members.Validate(ctx, topic, from, data); verdict == network.Accept && in != nil {
			r.members.Handle(in)
		}
		return
	}
	if verdict, in := r.deltas.Validate(ctx, topic, from, data); verdict == network.Accept && in != nil {
		r.deltas.Handle(in)
	}
}

func (r *rig) peerSubscribed(p network.PeerID, topic string) {
	if r.serving.Load() == nil {
		return
	}
	if membership.IsTopic(topic) {
		r.members.PeerSubscribed(topic)
		return
	}
	r.deltas.PeerSubscribed(p, topic)
}

// serve answers a peer on a stream.
func (r *rig) serve(protocol string, s *pipe) {
	life := r.serving.Load()
	if life == nil {
		s.end()
		return
	}
	life.work.Go(func() {
		defer s.end()
		if protocol == wire.SyncProtocol {
			r.deltas.ServeReference(life.ctx, s)
		} else {
			r.deltas.ServeExtension(life.ctx, s)
		}
	})
}

// nodeContexts is what the API calls; compare core/node.
type nodeContexts struct {
	*contexts.Client
	r *rig
}

func (n nodeContexts) Create(ctx context.Context, req contexts.CreateRequest) (contexts.CreateResponse, error) {
	created, err := n.Client.Create(ctx, req)
	if err != nil {
		return created, err
	}
	owner, _, err := n.r.members.Owner(ctx, created.Context)
	if err == nil {
		err = n.r.members.Follow(ctx, owner)
	}
	if err == nil {
		err = n.r.deltas.Follow(ctx, created.Context)
	}
	return created, err
}

func (n nodeContexts) Join(ctx context.Context, inv membership.Invitation, who domain.PublicKey) error {
	if err := n.r.members.JoinContext(ctx, inv, who); err != nil {
		return err
	}
	return n.r.deltas.Follow(ctx, inv.Target)
}

func (n nodeContexts) Invite(ctx context.Context, id domain.ContextID, inviter domain.PublicKey, valid time.Duration) (*membership.Invitation, error) {
	return n.r.members.InviteToContext(ctx, id, inviter, valid)
}

func (n nodeContexts) Count() int                                    { return len(n.r.port.others()) }
func (n nodeContexts) Sync(context.Context, *domain.ContextID) error { return nil }
func (n nodeContexts) Trouble(domain.ContextID) string               { return "" }
func (n nodeContexts) Fetch(context.Context, domain.ContextID, domain.BlobID) error {
	return errkind.NotFound.Errorf("no blobs here")
}

func (n nodeContexts) Announce(context.Context, domain.ContextID, domain.BlobID, uint64) error {
	return nil
}

// Module implements contexts.Modules: the id of a module begins as that of its application.
func (r *rig) Module(ctx context.Context, id domain.ApplicationID, _ wire.ApplicationRecord) (contexts.Module, error) {
	if id == nextApp && r.hold != nil {
		r.mu.Lock()
		r.asked++
		later := r.asked > 1
		r.mu.Unlock()
		if later {
			select {
			case <-r.hold:
			case <-ctx.Done():
				return contexts.Module{}, ctx.Err()
			}
		}
	}
	return contexts.Module{ID: domain.Hash{id[0]}}, nil
}

// register is an application with one register per context, the bytes of the tree root.
func register(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
	value := e.Input
	switch e.Method {
	case "init":
		value = []byte("initial")
	case "set":
	case "get":
		kept, err := runtimetest.Read(ctx, e, h)
		return &runtime.Result{Value: kept}, err
	default:
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultMethod, Text: "method \"" + e.Method + "\" not found"}}, nil
	}
	result := runtimetest.Wrote(e, value)
	if e.Method == "set" || e.Module[0] == talkingApp[0] {
		result.Value = []byte(`"done"`)
	}
	return result, nil
}

// sign makes an operation as somebody elsewhere does.
func (r *rig) sign(key domain.PrivateKey, nonce uint64, body wire.GroupOp, parents ...domain.Hash) (domain.Hash, []byte) {
	return r.signIn(r.genesis.Group, key, nonce, body, parents...)
}

func (r *rig) signIn(group domain.GroupID, key domain.PrivateKey, nonce uint64, body wire.GroupOp, parents ...domain.Hash) (domain.Hash, []byte) {
	id, raw, err := wire.SignableGroupOp{
		Version: wire.GroupOpVersion, Group: group, Signer: key.Public(), Nonce: nonce, Op: body, Parents: parents,
	}.SignRaw(key)
	require.NoError(r.t, err)
	return id, raw
}

func (r *rig) receive(raw []byte) groups.Receipt {
	out, err := r.service.Receive(r.t.Context(), r.genesis.Group, "peer", [][]byte{raw})
	require.NoError(r.t, err)
	return out[0]
}

// code takes one encoded operation and returns its verdict.
func (r *rig) code(raw []byte) governance.Code { return r.receive(raw).Verdict.Code }

// refuses checks that an operation is refused to its author, and when it comes from elsewhere.
func (r *rig) refuses(group domain.GroupID, key domain.PrivateKey, body wire.GroupOp, want governance.Code, text string) {
	r.t.Helper()
	_, err := r.service.Issue(r.t.Context(), group, key, body)
	require.ErrorContains(r.t, err, text)
	heads, err := r.service.Heads(r.t.Context(), group)
	require.NoError(r.t, err)
	_, raw := r.signIn(group, key, 1000, body, heads...)
	receipts, err := r.service.Receive(r.t.Context(), group, "peer", [][]byte{raw})
	require.NoError(r.t, err)
	require.Equal(r.t, want, receipts[0].Verdict.Code)
}

func (r *rig) issue(key domain.PrivateKey, body wire.GroupOp) { r.issueIn(r.genesis.Group, key, body) }

func (r *rig) issueIn(group domain.GroupID, key domain.PrivateKey, body wire.GroupOp) {
	r.t.Helper()
	_, err := r.service.Issue(r.t.Context(), group, key, body)
	require.NoError(r.t, err)
}

// grow adds a group by a creator, with the parent that its genesis names, or none.
func (r *rig) grow(creator domain.PrivateKey, salt byte, parent *domain.GroupID) domain.GroupID {
	genesis, err := wire.GroupGenesis{Creator: creator.Public(), Target: app, Salt: [32]byte{salt}, Parent: parent}.Sign(creator, nil)
	require.NoError(r.t, err)
	require.NoError(r.t, r.service.Found(r.t.Context(), genesis))
	return genesis.Group
}

// below makes a group of the member's below the rig's, of which somebody is an admin.
func (r *rig) below(who domain.PrivateKey) domain.GroupID {
	child := r.grow(member, 77, &r.genesis.Group)
	r.issue(admin, wire.OpSubgroupCreated{Child: child})
	if who != admin {
		r.issue(admin, wire.OpMemberAdded{Member: who.Public(), Role: domain.RoleAdmin})
	}
	return child
}

// manager makes the member one who manages members.
func (r *rig) manager() {
	r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
	r.issue(admin, wire.OpMemberCapabilitySet{Member: member.Public(), Capabilities: domain.CanManageMembers})
}

// claim is a join of a group by an invitation.
func (r *rig) claim(inviter domain.PrivateKey, group domain.GroupID, joiner domain.PrivateKey) wire.GroupOp {
	i := wire.GroupInvitation{Inviter: inviter.Public(), Target: group, Expiration: ends}
	signature, err := i.Sign(inviter)
	require.NoError(r.t, err)
	claim, err := wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}.Claim(joiner)
	require.NoError(r.t, err)
	return claim
}

func (r *rig) role(group domain.GroupID, who domain.PrivateKey) string {
	role, found, err := r.service.Role(r.t.Context(), group, who.Public())
	require.NoError(r.t, err)
	if !found {
		return "none"
	}
	return role.String()
}

func (r *rig) logged() int { return r.loggedIn(r.genesis.Group) }

func (r *rig) loggedIn(group domain.GroupID) int {
	_, total, err := r.service.Log(r.t.Context(), group, 0, 1)
	require.NoError(r.t, err)
	return total
}

func has[K, V any](r *rig, table *store.Table[K, V], key K) bool {
	found, err := table.Has(r.t.Context(), r.db, key)
	require.NoError(r.t, err)
	return found
}

// ask sends a request to the node's API.
func (r *rig) ask(method, path, body string) (status int, answer string) {
	request := httptest.NewRequestWithContext(r.t.Context(), method, "/admin-api"+path, bytes.NewReader([]byte(body)))
	request.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.http.ServeHTTP(w, request)
	return w.Code, w.Body.String()
}

// ok sends a request that must succeed; to gets what data holds, unless it is nil.
func (r *rig) ok(method, path, body string, to any) {
	r.t.Helper()
	status, answer := r.ask(method, path, body)
	require.Equal(r.t, http.StatusOK, status, answer)
	if to != nil {
		require.NoError(r.t, json.Unmarshal([]byte(answer), &struct{ Data any }{to}))
	}
}

// fails sends a request that must be refused as all errors of the reference's handlers are, with this text.
func (r *rig) fails(method, path, body, text string) {
	r.t.Helper()
	status, answer := r.ask(method, path, body)
	var refusal struct{ Error string }
	require.NoError(r.t, json.Unmarshal([]byte(answer), &refusal), answer)
	require.Equal(r.t, http.StatusInternalServerError, status, answer)
	require.Equal(r.t, text, refusal.Error)
}

func (r *rig) path(below string) string { return "/groups/" + r.genesis.Group.String() + below }

// created is what a create answers.
type created struct {
	ContextID       domain.ContextID
	MemberPublicKey domain.PublicKey
}

// create makes a context of the rig's group, by the node, or of a group of its own.
func (r *rig) create(inGroup bool) (c created) {
	r.t.Helper()
	body := `{"applicationId":"` + app.String() + `","initializationParams":[]`
	if inGroup {
		body += `,"groupId":"` + r.genesis.Group.String() + `"`
	}
	r.ok("POST", "/contexts", body+"}", &c)
	return c
}

func (r *rig) call(id domain.ContextID, who domain.PublicKey, method, input string) (*contexts.ExecuteResponse, error) {
	return r.contexts.Execute(r.t.Context(), contexts.ExecuteRequest{Context: id, Method: method, Args: []byte(input), Executor: who})
}

// get is what a context holds.
func (r *rig) get(c created) string {
	r.t.Helper()
	answer, err := r.call(c.ContextID, c.MemberPublicKey, "get", "")
	require.NoError(r.t, err)
	return string(answer.Output)
}

func (r *rig) runs(id domain.ContextID) domain.ApplicationID {
	info, err := r.contexts.Get(r.t.Context(), id)
	require.NoError(r.t, err)
	return info.Application
}

// invite makes an invitation to a context, as the body of a join of some identity.
func (r *rig) invite(c created, joiner domain.PublicKey) string {
	r.t.Helper()
	var invitation json.RawMessage
	r.ok("POST", "/contexts/invite", `{"contextId":"`+c.ContextID.String()+`","inviterId":"`+c.MemberPublicKey.String()+`","validForSeconds":3600}`, &invitation)
	return `{"invitation":` + string(invitation) + `,"newMemberPublicKey":"` + joiner.String() + `"}`
}

// newIdentity draws one that is in no context yet.
func (r *rig) newIdentity() domain.PublicKey {
	r.t.Helper()
	var made struct{ PublicKey domain.PublicKey }
	r.ok("POST", "/identity/context", "", &made)
	return made.PublicKey
}

// eventually waits for what others have to hear of first.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	require.Eventually(r.t, ok, time.Minute, 2*time.Millisecond, what)
}
