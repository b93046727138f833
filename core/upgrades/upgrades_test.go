package upgrades_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/upgrades"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	node   = domain.PrivateKey{0x42}
	member = domain.PrivateKey{0x43}
	oldApp = domain.ApplicationID{1}
	newApp = domain.ApplicationID{2}
	rooms  = []domain.ContextID{{0x31}, {0x32}, {0x33}}
)

// rows are contexts without state: an upgrade changes their application, unless it is told to fail.
type rows struct {
	db *store.DB

	mu       sync.Mutex
	failing  map[domain.ContextID]int // how often from now on
	upgraded []contexts.UpgradeRequest
	block    chan struct{} // holds contexts but the first; nil holds none
}

func (r *rows) Get(ctx context.Context, id domain.ContextID) (contexts.Info, error) {
	meta, found, err := store.ContextMeta.Get(ctx, r.db, id)
	if err == nil && !found {
		err = errkind.NotFound.Errorf("context not found")
	}
	return contexts.Info{ID: id, Application: meta.ApplicationID}, err
}

func (r *rows) Upgrade(ctx context.Context, req contexts.UpgradeRequest) error {
	r.mu.Lock()
	r.upgraded = append(r.upgraded, req)
	fails, block := r.failing[req.Context] > 0, r.block
	r.failing[req.Context]--
	r.mu.Unlock()
	if fails {
		return errkind.Precondition.Errorf("Migration execution failed: no")
	}
	if block != nil && req.Context != rooms[0] {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b := r.db.Batch()
	defer b.Abandon()
	store.ContextMeta.Put(b, req.Context, wire.ContextMeta{ApplicationID: req.Application})
	if req.Also != nil {
		if err := req.Also(ctx, b); err != nil {
			return err
		}
	}
	return b.Commit(ctx)
}

func (r *rows) fail(id domain.ContextID, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing[id] = times
}

func (r *rows) asked() []contexts.UpgradeRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]contexts.UpgradeRequest(nil), r.upgraded...)
}

// rig is a node with a group of three contexts.
type rig struct {
	t        *testing.T
	db       *store.DB
	groups   *groups.Service
	contexts *rows
	group    domain.GroupID
	provided chan domain.ApplicationID
	stop     func()
	now      atomic.Pointer[time.Time] // nil: as it is
	*upgrades.Service
}

func newRig(t *testing.T, policy domain.UpgradeMode) *rig {
	r := &rig{t: t, db: store.Open(storagetest.NewMemory(), store.Options{}), provided: make(chan domain.ApplicationID, 100)}
	r.groups = groups.New(groups.Options{DB: r.db})
	r.contexts = &rows{db: r.db, failing: map[domain.ContextID]int{}}
	genesis, err := wire.GroupGenesis{Creator: node.Public(), Target: oldApp, Policy: domain.UpgradePolicy{Mode: policy}}.Sign(node, nil)
	require.NoError(t, err)
	r.group = genesis.Group
	b := r.db.Batch()
	ops := []wire.GroupOp{wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember}}
	for _, id := range rooms {
		ops = append(ops, wire.OpContextRegistered{Context: id})
		store.ContextMeta.Put(b, id, wire.ContextMeta{ApplicationID: oldApp})
		store.ContextGroup.Put(b, id, wire.ID32(r.group))
	}
	store.Application.Put(b, oldApp, wire.ApplicationRecord{Version: "1.0.0"})
	store.Application.Put(b, newApp, wire.ApplicationRecord{Version: "2.0.0", Bytecode: domain.BlobID{9}})
	require.NoError(t, r.groups.Begin(t.Context(), b, genesis, node, ops...))
	require.NoError(t, b.Commit(t.Context()))
	r.start()
	return r
}

// start begins a life of the service; stop ends it.
func (r *rig) start() {
	r.Service = upgrades.New(upgrades.Options{
		DB: r.db, Groups: r.groups, Contexts: r.contexts, Identity: identity.NewNode(r.db, node),
		Retries: []time.Duration{time.Millisecond, time.Millisecond}, Grace: 50 * time.Millisecond, Look: 50 * time.Millisecond,
		Now: func() time.Time {
			if at := r.now.Load(); at != nil {
				return *at
			}
			return time.Now()
		},
		Provide: func(_ context.Context, _ domain.ContextID, app domain.ApplicationID, _ domain.BlobID) error {
			r.provided <- app
			return nil
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(r.t, <-done, context.Canceled)
	})
	r.t.Cleanup(r.stop)
}

func (r *rig) state() *governance.State {
	state, err := r.groups.State(r.t.Context(), r.group)
	require.NoError(r.t, err)
	return state
}

func (r *rig) status() wire.GroupUpgradeStatus {
	row, err := r.Status(r.t.Context(), r.group)
	require.NoError(r.t, err)
	require.NotNil(r.t, row)
	return row.Status
}

// eventually waits until the upgrade is as wanted.
func (r *rig) eventually(want func(wire.GroupUpgradeStatus) bool) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return want(r.status()) }, 20*time.Second, time.Millisecond)
}

func (r *rig) run(id domain.ContextID) domain.ApplicationID {
	info, err := r.contexts.Get(r.t.Context(), id)
	require.NoError(r.t, err)
	return info.Application
}

func (r *rig) refused(err error, text string) {
	r.t.Helper()
	require.EqualError(r.t, err, text)
}

func completed(s wire.GroupUpgradeStatus) bool { return s.Completed }

func TestUpgrade(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeAutomatic)
	r.contexts.block = make(chan struct{})
	method := "migrate"
	status, err := r.Upgrade(t.Context(), r.group, newApp, &method, nil)
	require.NoError(t, err)
	require.Equal(t, wire.GroupUpgradeStatus{Total: 3, Finished: 1}, status)
	require.Equal(t, newApp, r.run(rooms[0]))
	require.Equal(t, oldApp, r.run(rooms[1]))
	state := r.state()
	require.Equal(t, newApp, state.Target)
	require.Equal(t, domain.Hash{9}, state.AppKey)
	require.Equal(t, method, string(state.Migration))
	_, err = r.Upgrade(t.Context(), r.group, oldApp, nil, nil)
	r.refused(err, "an upgrade is already in progress for this group")
	require.Eventually(t, func() bool { // as soon as the service runs
		_, err = r.Retry(t.Context(), r.group, nil)
		return err.Error() == "a propagator is already running for this group; wait for it to finish"
	}, 20*time.Second, time.Millisecond)
	close(r.contexts.block)
	r.eventually(completed)
	row, err := r.Status(t.Context(), r.group)
	require.NoError(t, err)
	require.Equal(t, "1.0.0", row.FromVersion)
	require.Equal(t, "2.0.0", row.ToVersion)
	require.Equal(t, node.Public(), row.InitiatedBy)
	require.NotNil(t, row.Status.CompletedAt)
	for _, req := range r.contexts.asked() {
		require.Equal(t, &method, req.Migrate)
	}
	for _, id := range rooms {
		require.Equal(t, newApp, r.run(id))
	}
	_, err = r.Retry(t.Context(), r.group, nil)
	r.refused(err, "upgrade is already completed")
	_, err = r.Upgrade(t.Context(), r.group, newApp, nil, nil)
	r.refused(err, "group is already targeting this application and no migration was requested")
}

func TestUpgrade_Refusals(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeAutomatic)
	who := member.Public()
	_, err := r.Upgrade(t.Context(), r.group, newApp, nil, &who)
	r.refused(err, "requester is not an admin of group '"+r.group.Debug()+"'")
	_, err = r.Upgrade(t.Context(), domain.GroupID{1}, newApp, nil, nil)
	r.refused(err, "group not found")
	_, err = r.Upgrade(t.Context(), r.group, domain.ApplicationID{7}, nil, nil)
	r.refused(err, "target application not found")
	_, err = r.Retry(t.Context(), r.group, nil)
	r.refused(err, "no upgrade found for this group")
	row, err := r.Status(t.Context(), r.group)
	require.NoError(t, err)
	require.Nil(t, row)
	for _, id := range rooms {
		_, err := r.groups.Issue(t.Context(), r.group, node, wire.OpContextDetached{Context: id})
		require.NoError(t, err)
	}
	_, err = r.Upgrade(t.Context(), r.group, newApp, nil, nil)
	r.refused(err, "group has no contexts to upgrade")
}

// TestUpgrade_ACanaryThatFailsLeavesNothing: the reference has told the group by then, and can neither go on nor back.
func TestUpgrade_ACanaryThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeCoordinated)
	r.contexts.fail(rooms[0], 1)
	_, err := r.Upgrade(t.Context(), r.group, newApp, nil, nil)
	r.refused(err, "canary upgrade failed on context "+rooms[0].String()+": Migration execution failed: no")
	require.Equal(t, oldApp, r.state().Target)
	row, err := r.Status(t.Context(), r.group)
	require.NoError(t, err)
	require.Nil(t, row)
	_, err = r.Upgrade(t.Context(), r.group, newApp, nil, nil)
	require.NoError(t, err)
	r.eventually(completed)
}

// TestUpgrade_Retries: contexts that fail are tried again, then left to whoever asks for it.
func TestUpgrade_Retries(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeAutomatic)
	r.contexts.fail(rooms[1], 2)
	r.contexts.fail(rooms[2], 1_000_000)
	_, err := r.Upgrade(t.Context(), r.group, newApp, nil, nil)
	require.NoError(t, err)
	r.eventually(func(s wire.GroupUpgradeStatus) bool {
		return s == wire.GroupUpgradeStatus{Total: 3, Finished: 2, Failed: 1}
	})
	r.contexts.fail(rooms[2], 0)
	require.Eventually(t, func() bool { // the one before lets the group go a moment after its note
		status, err := r.Retry(t.Context(), r.group, nil)
		return err == nil && status == wire.GroupUpgradeStatus{Total: 3} || completed(r.status())
	}, 20*time.Second, time.Millisecond)
	r.eventually(completed)
}

// TestUpgrade_Recovery: an upgrade that a crash cut off goes on at the next start.
func TestUpgrade_Recovery(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeAutomatic)
	r.contexts.block = make(chan struct{}) // until the end of this life
	_, err := r.Upgrade(t.Context(), r.group, newApp, nil, nil)
	require.NoError(t, err)
	r.stop()
	require.Equal(t, wire.GroupUpgradeStatus{Total: 3, Finished: 1}, r.status())
	r.contexts.block = nil
	r.start()
	r.eventually(completed)
	for _, id := range rooms {
		require.Equal(t, newApp, r.run(id))
	}
}

// TestUpgrade_RecoveryOfOneThatWasOvertaken: the application that another admin chose meanwhile comes with its own
// migration.
func TestUpgrade_RecoveryOfOneThatWasOvertaken(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeAutomatic)
	r.contexts.block = make(chan struct{}) // until the end of this life
	method, later := "migrate", "migrate_again"
	_, err := r.Upgrade(t.Context(), r.group, newApp, &method, nil)
	require.NoError(t, err)
	r.stop()
	for _, body := range contexts.TargetOps([]byte(method), oldApp, domain.BlobID{9}, &later) {
		_, err := r.groups.Issue(t.Context(), r.group, node, body)
		require.NoError(t, err)
	}
	before := len(r.contexts.asked())
	r.contexts.block = nil
	r.start()
	r.eventually(completed)
	after := r.contexts.asked()[before:]
	require.NotEmpty(t, after)
	for _, req := range after {
		require.Equal(t, oldApp, req.Application)
		require.Equal(t, &later, req.Migrate)
	}
}

func TestUpgrade_Lazy(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeLazyOnAccess)
	status, err := r.Upgrade(t.Context(), r.group, newApp, nil, nil)
	require.NoError(t, err)
	require.Equal(t, wire.GroupUpgradeStatus{Completed: true}, status)
	require.Equal(t, newApp, r.state().Target)
	r.Changed(r.group)
	require.Equal(t, newApp, <-r.provided, "the module is there when a call needs it")
	require.Empty(t, r.contexts.asked(), "their next calls upgrade them")
	// A migration within the application has no next call that would see a difference.
	method := "migrate"
	_, err = r.Upgrade(t.Context(), r.group, newApp, &method, nil)
	require.NoError(t, err)
	r.eventually(completed)
	require.NotEmpty(t, r.contexts.asked())
}

// TestFollow: a node follows what another node's admin began: it waits a while for that one's migration.
func TestFollow(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeAutomatic)
	issue := func(app domain.ApplicationID, migrate *string) {
		for _, body := range contexts.TargetOps(r.state().Migration, app, domain.BlobID{9}, migrate) {
			_, err := r.groups.Issue(t.Context(), r.group, node, body)
			require.NoError(t, err)
		}
		r.Changed(r.group)
	}
	follows := func(app domain.ApplicationID) {
		require.Eventually(t, func() bool {
			return r.run(rooms[0]) == app && r.run(rooms[1]) == app && r.run(rooms[2]) == app
		}, 20*time.Second, time.Millisecond)
	}
	issue(newApp, nil)
	follows(newApp)
	row, err := r.Status(t.Context(), r.group)
	require.NoError(t, err)
	require.Nil(t, row, "it is not this node's upgrade")

	method := "migrate"
	r.contexts.fail(rooms[1], 1)
	issue(oldApp, &method)
	follows(oldApp)
	last := r.contexts.asked()
	require.Equal(t, &method, last[len(last)-1].Migrate)
}

// TestFollow_Grace: for a while a context waits for the migration of who began the upgrade, and goes on as soon as it is
// there; afterwards this node migrates.
func TestFollow_Grace(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeAutomatic)
	begin, method := time.Now(), "migrate"
	r.now.Store(&begin)
	for _, body := range contexts.TargetOps(nil, newApp, domain.BlobID{9}, &method) {
		_, err := r.groups.Issue(t.Context(), r.group, node, body)
		require.NoError(t, err)
	}
	r.Changed(r.group)
	looks := func(contexts int) {
		t.Helper()
		for range 3 * contexts { // each three times
			select {
			case <-r.provided:
			case <-time.After(20 * time.Second):
				t.Fatal("nobody looks")
			}
		}
	}
	looks(3)
	require.Empty(t, r.contexts.asked(), "who began is to migrate")

	b := r.db.Batch()
	store.GroupContextLastMigration.Put(b, store.GroupContextKey{Group: r.group, Context: rooms[1]}, contexts.MarkOf(newApp, method))
	require.NoError(t, b.Commit(t.Context()))
	require.Eventually(t, func() bool { return r.run(rooms[1]) == newApp }, 20*time.Second, time.Millisecond)
	looks(2)
	require.Len(t, r.contexts.asked(), 1)
	require.Equal(t, oldApp, r.run(rooms[0]))

	later := begin.Add(time.Hour)
	r.now.Store(&later)
	require.Eventually(t, func() bool { return r.run(rooms[0]) == newApp && r.run(rooms[2]) == newApp }, 20*time.Second, time.Millisecond)
	for _, asked := range r.contexts.asked() {
		require.Equal(t, &method, asked.Migrate)
	}
}

// TestFollow_NoContextWaitsForAnother: one that cannot follow does not keep those after it.
func TestFollow_NoContextWaitsForAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, domain.UpgradeAutomatic)
	r.contexts.fail(rooms[0], 1_000_000)
	for _, body := range contexts.TargetOps(nil, newApp, domain.BlobID{9}, nil) {
		_, err := r.groups.Issue(t.Context(), r.group, node, body)
		require.NoError(t, err)
	}
	r.Changed(r.group)
	require.Eventually(t, func() bool { return r.run(rooms[1]) == newApp && r.run(rooms[2]) == newApp }, 20*time.Second, time.Millisecond)
	require.Equal(t, oldApp, r.run(rooms[0]))
	r.contexts.fail(rooms[0], 0)
	require.Eventually(t, func() bool { return r.run(rooms[0]) == newApp }, 20*time.Second, time.Millisecond)
}
