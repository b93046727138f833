package contexts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/thejerf/suture/v4"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testApp is what contexts in tests run; mergingApp merges its own state.
var testApp, mergingApp = domain.ApplicationID{0xaa}, domain.ApplicationID{0xcc}

// guest is an application written in Go; a module of it merges its own state when its id begins with 2.
type guest struct{ runtimetest.Guest }

func (guest) Inspect(_ context.Context, id domain.Hash) (runtime.ModuleInfo, error) {
	exports := []runtime.Export{{Name: "__calimero_sync_next", Kind: "func"}}
	return runtime.ModuleInfo{ID: id, RegistersMerge: id[0] == 2, Exports: exports}, nil
}

// wrote is the result of a guest that wrote the bytes of its tree root.
func wrote(e *runtime.Execute, value string) *runtime.Result {
	return runtimetest.Wrote(e, []byte(value))
}

// register is the guest most tests use: one register per context, the tree root. Its methods take the input as they are.
func register(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
	wrote := func(value string) *runtime.Result { return wrote(e, value) }
	switch method, arg, _ := strings.Cut(e.Method, ":"); method {
	case "init":
		return wrote("initial"), nil
	case "set":
		return wrote(string(e.Input)), nil
	case "get":
		value, err := runtimetest.Read(ctx, e, h)
		return &runtime.Result{Value: value}, err
	case "fail":
		r := wrote("lost")
		r.AppError = []byte(`"no"`)
		return r, nil
	case "trap":
		r := wrote("lost")
		r.Fault = &runtime.Fault{Kind: runtime.FaultTrap, Text: "unreachable code reached"}
		return r, nil
	case "torn":
		r := wrote("lost")
		r.Artifact = nil
		return r, nil
	case "large":
		r := wrote("lost")
		var err error
		r.Artifact, err = crdt.EncodeArtifact([]crdt.Action{{
			Kind: crdt.Update, ID: crdt.TreeRoot(e.Context), Data: make([]byte, 8<<20),
			Metadata: crdt.Metadata{CreatedAt: 1, UpdatedAt: r.Usage.Time},
		}})
		return r, err
	case "xcall":
		r := wrote(string(e.Input))
		if err := json.Unmarshal(e.Input, &r.XCalls); err != nil {
			return nil, err
		}
		return r, nil
	case "emit":
		r := wrote("emitted")
		handler := arg
		r.Events = []runtime.Event{{Kind: "E", Data: e.Input, Handler: &handler}}
		return r, nil
	case "slow":
		<-ctx.Done()
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultCancelled, Text: "cancelled"}}, nil
	}
	return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultMethod, Text: fmt.Sprintf("method %q not found", e.Method)}}, nil
}

// nodeKey is the node's own identity in groups.
var nodeKey = domain.PrivateKey{0x42}

// node is a manager over an in-memory store.
type node struct {
	*contexts.Client
	db      *store.DB
	groups  *groups.Service
	storage *recorder
	stop    func()
	member  map[domain.ContextID]domain.PublicKey
}

// recorder counts and can fail commits.
type recorder struct {
	storage.Store
	mu      sync.Mutex
	batches []storage.Batch
	gets    int
	fail    error
	unread  error // of scans of deltas that wait
}

func (r *recorder) Scan(ctx context.Context, in storage.Range, page func([]storage.Item) error) error {
	r.mu.Lock()
	err := r.unread
	r.mu.Unlock()
	if err != nil && in.Column == string(wire.ColumnPendingDelta) {
		return err
	}
	return r.Store.Scan(ctx, in, page)
}

func (r *recorder) failScans(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unread = err
}

func (r *recorder) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	r.mu.Lock()
	r.gets++
	r.mu.Unlock()
	return r.Store.Get(ctx, keys)
}

func (r *recorder) reads() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gets
}

func (r *recorder) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return false, r.fail
	}
	r.batches = append(r.batches, b)
	return r.Store.Apply(ctx, b)
}

func (r *recorder) failWith(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func (r *recorder) commits() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.batches)
}

type modules struct{}

func (modules) Module(_ context.Context, app domain.ApplicationID, _ wire.ApplicationRecord) (contexts.Module, error) {
	id := domain.Hash{1}
	if app == mergingApp {
		id[0] = 2
	}
	return contexts.Module{ID: id}, nil
}

func startNode(t *testing.T, g runtimetest.Guest, opts contexts.Options) *node {
	t.Helper()
	mem := storagetest.NewMemory()
	t.Cleanup(func() { require.NoError(t, mem.Close(context.Background())) })
	rec := &recorder{Store: mem}
	n := startOver(t, rec, g, opts)
	b := n.db.Batch()
	store.Application.Put(b, testApp, wire.ApplicationRecord{Size: 1, Source: "file:///app.wasm"})
	store.Application.Put(b, domain.ApplicationID{0xbb}, wire.ApplicationRecord{Size: 1, Source: "file:///other.wasm"})
	store.Application.Put(b, mergingApp, wire.ApplicationRecord{Size: 1, Source: "file:///merging.wasm"})
	require.NoError(t, b.Commit(t.Context()))
	return n
}

// restart starts another node over the same storage; n does not do anything any more.
func (n *node) restart(t *testing.T, g runtimetest.Guest) *node {
	t.Helper()
	n.stop()
	again := startOver(t, n.storage, g, contexts.Options{})
	again.member = n.member
	return again
}

func startOver(t *testing.T, rec *recorder, g runtimetest.Guest, opts contexts.Options) *node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	db := store.Open(rec, store.Options{Patience: 10 * time.Millisecond})
	x, err := executor.New(ctx, guest{g}, executor.Options{Lanes: 8})
	require.NoError(t, err)
	opts.DB, opts.Executor, opts.Modules = db, x, modules{}
	opts.Identity = identity.NewNode(db, nodeKey)
	opts.Groups = groups.New(groups.Options{DB: db})
	opts.Blobs, err = blobs.Open(ctx, db, t.TempDir(), blobs.Options{})
	require.NoError(t, err)
	opts.Logger = slog.New(slog.DiscardHandler)
	a := contexts.New(opts)
	sup := suture.NewSimple("test")
	sup.Add(a)
	done := sup.ServeBackground(ctx)
	stop := sync.OnceFunc(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		x.Close()
	})
	t.Cleanup(stop)
	return &node{Client: a.Client(), db: db, groups: opts.Groups, storage: rec, stop: stop, member: make(map[domain.ContextID]domain.PublicKey)}
}

func (n *node) create(t *testing.T, app domain.ApplicationID) domain.ContextID {
	t.Helper()
	r, err := n.Create(context.Background(), contexts.CreateRequest{Application: app})
	require.NoError(t, err)
	n.member[r.Context] = r.Member
	return r.Context
}

// govern makes operations in the own group of a context, by its creator.
func (n *node) govern(t *testing.T, id domain.ContextID, bodies ...wire.GroupOp) {
	t.Helper()
	row, found, err := store.ContextIdentity.Get(t.Context(), n.db, store.IdentityKey{Context: id, Identity: n.member[id]})
	require.NoError(t, err)
	require.True(t, found)
	for _, body := range bodies {
		_, err := n.groups.Issue(t.Context(), domain.GroupID(id), *row.PrivateKey, body)
		require.NoError(t, err)
	}
	n.GroupsChanged()
}

func (n *node) call(id domain.ContextID, method, input string) (*contexts.ExecuteResponse, error) {
	return n.Execute(context.Background(), contexts.ExecuteRequest{
		Context: id, Method: method, Args: []byte(input), Executor: n.member[id],
	})
}

func (n *node) get(t *testing.T, id domain.ContextID) string {
	t.Helper()
	r, err := n.call(id, "get", "")
	require.NoError(t, err)
	return string(r.Output)
}

func requireCallError(t *testing.T, err error, typ contexts.CallErrorType) *contexts.CallError {
	t.Helper()
	var c *contexts.CallError
	require.ErrorAs(t, err, &c)
	require.Equal(t, typ, c.Type, "%v", err)
	return c
}

func requireRefused(t *testing.T, err error, typ contexts.CallErrorType) {
	t.Helper()
	require.Equal(t, typ, requireCallError(t, err, typ).Type)
}

func TestCreate_CommitsTheWholeContextAtOnce(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	before := n.storage.commits()
	id := n.create(t, testApp)
	require.Equal(t, before+1, n.storage.commits())

	ctx := context.Background()
	info, err := n.Get(ctx, id)
	require.NoError(t, err)
	require.Equal(t, testApp, info.Application)
	require.Len(t, info.DagHeads, 1)
	delta, found, err := store.Delta.Get(ctx, n.db, store.DeltaKey{Context: id, Delta: info.DagHeads[0]})
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, []domain.Hash{{}}, delta.Parents)
	require.Equal(t, info.RootHash, delta.ExpectedRootHash)

	group, err := n.Group(ctx, id)
	require.NoError(t, err)
	require.Equal(t, domain.GroupID(id), *group)
	owned, err := n.Identities(ctx, id, true)
	require.NoError(t, err)
	require.Equal(t, []domain.PublicKey{n.member[id]}, owned)
	member, found, err := store.GroupMember.Get(ctx, n.db, store.GroupMemberKey{Group: *group, Member: n.member[id]})
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, domain.RoleAdmin, member.Role)
	require.Equal(t, "initial", n.get(t, id))
}

func TestCreate_LeavesNothingWhenInitFails(t *testing.T) {
	t.Parallel()
	n := startNode(t, func(context.Context, *runtime.Execute, runtime.Host) (*runtime.Result, error) {
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultHost, Text: "guest panicked: no"}}, nil
	}, contexts.Options{})
	before := n.storage.commits()
	_, err := n.Create(context.Background(), contexts.CreateRequest{Application: testApp})
	require.Equal(t, "guest panicked: no", requireCallError(t, err, contexts.FunctionCall).Text)
	require.Equal(t, before, n.storage.commits())
	_, err = n.Create(context.Background(), contexts.CreateRequest{Application: domain.ApplicationID{9}})
	require.ErrorIs(t, err, errkind.NotFound)
}

func TestCreate_ASeedNamesOneContext(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	seed := domain.Hash{7}
	r, err := n.Create(context.Background(), contexts.CreateRequest{Application: testApp, Seed: &seed})
	require.NoError(t, err)
	require.Equal(t, identity.ContextIDFromSeed(seed), r.Context)
	_, err = n.Create(context.Background(), contexts.CreateRequest{Application: testApp, Seed: &seed})
	require.ErrorIs(t, err, errkind.AlreadyExists)
}

func TestExecute_IsOneCommitThatMovesTheHead(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id := n.create(t, testApp)
	old, err := n.Get(context.Background(), id)
	require.NoError(t, err)
	before := n.storage.commits()
	r, err := n.call(id, "set", "one")
	require.NoError(t, err)
	require.Equal(t, before+1, n.storage.commits())
	require.Equal(t, "one", n.get(t, id))
	require.Equal(t, before+1, n.storage.commits(), "a view commits nothing")

	now, err := n.Get(context.Background(), id)
	require.NoError(t, err)
	require.Equal(t, r.RootHash, now.RootHash)
	delta, found, err := store.Delta.Get(context.Background(), n.db, store.DeltaKey{Context: id, Delta: now.DagHeads[0]})
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, old.DagHeads, delta.Parents)
	actions, err := crdt.DecodeActions(delta.Actions)
	require.NoError(t, err)
	require.Equal(t, crdt.DeltaID(delta.Parents, actions), delta.DeltaID)
}

func TestExecute_WhatFailedIsNotCommitted(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id := n.create(t, testApp)
	before := n.storage.commits()
	for method, want := range map[string]string{
		"fail":    "the method call returned an error: [34, 110, 111, 34]",
		"trap":    "unreachable code reached",
		"unknown": `method "unknown" not found`,
	} {
		_, err := n.call(id, method, "")
		require.Equal(t, want, requireCallError(t, err, contexts.FunctionCall).Text, method)
	}
	_, err := n.call(id, "torn", "")
	require.ErrorContains(t, requireCallError(t, err, contexts.Internal), "no actions were generated")
	_, err = n.call(id, "large", "")
	c := requireCallError(t, err, contexts.FunctionCall)
	require.ErrorIs(t, c, errkind.TooLarge)
	require.ErrorContains(t, c, "7340032")
	require.Equal(t, before, n.storage.commits())
	require.Equal(t, "initial", n.get(t, id))
}

func TestExecute_Refusals(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id := n.create(t, testApp)
	ctx := context.Background()

	_, err := n.call(domain.ContextID{1}, "get", "")
	requireRefused(t, err, contexts.ContextNotFound)
	_, err = n.Execute(ctx, contexts.ExecuteRequest{Context: id, Method: "get", Executor: domain.PublicKey{1}})
	require.Equal(t, domain.PublicKey{1}, requireCallError(t, err, contexts.Unauthorized).PublicKey)
	_, err = n.Execute(ctx, contexts.ExecuteRequest{Context: id, Method: "get", Args: []byte("{x}"),
		Executor: n.member[id], Substitute: []string{"x"}})
	require.Equal(t, "x", requireCallError(t, err, contexts.AliasResolutionFailed).Alias)

	b := n.db.Batch()
	store.ContextMeta.Put(b, domain.ContextID{2}, wire.ContextMeta{ApplicationID: testApp})
	store.Application.Delete(b, testApp)
	require.NoError(t, b.Commit(ctx))
	_, err = n.call(domain.ContextID{2}, "get", "")
	requireRefused(t, err, contexts.Uninitialized)
	_, err = n.call(id, "get", "")
	require.Equal(t, testApp, requireCallError(t, err, contexts.ApplicationNotInstalled).Application)
}

func TestExecute_WaitsForItsApplication(t *testing.T) {
	t.Parallel()
	var n *node
	var id domain.ContextID
	come, failed := false, error(nil)
	n = startNode(t, register, contexts.Options{Arrive: func(_ context.Context, app domain.ApplicationID) (bool, error) {
		if come {
			// Others can use the context meanwhile.
			_, _, err := n.Heads(t.Context(), id)
			require.NoError(t, err)
			b := n.db.Batch()
			store.Application.Put(b, app, wire.ApplicationRecord{Size: 1, Source: "file:///app.wasm"})
			require.NoError(t, b.Commit(t.Context()))
		}
		return come, failed
	}})
	id = n.create(t, testApp)
	b := n.db.Batch()
	store.Application.Delete(b, testApp)
	require.NoError(t, b.Commit(t.Context()))

	_, err := n.call(id, "set", "one")
	require.Equal(t, testApp, requireCallError(t, err, contexts.ApplicationNotInstalled).Application)
	failed = context.Canceled
	_, err = n.call(id, "set", "one")
	require.ErrorIs(t, requireCallError(t, err, contexts.Internal), context.Canceled)
	come, failed = true, nil
	_, err = n.call(id, "set", "one")
	require.NoError(t, err)
	require.Equal(t, "one", n.get(t, id))
}

func TestExecute_ReadsAgainAfterACommitOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id := n.create(t, testApp)
	n.storage.failWith(errkind.Unavailable.Errorf("storage is away"))
	_, err := n.call(id, "set", "two")
	require.ErrorContains(t, requireCallError(t, err, contexts.Internal), "storage is away")
	n.storage.failWith(nil)
	require.Equal(t, "initial", n.get(t, id))
	_, err = n.call(id, "set", "three")
	require.NoError(t, err)
	require.Equal(t, "three", n.get(t, id))
}

func TestExecute_ReadOnlyMembersChangeNothing(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id := n.create(t, testApp)
	ctx := context.Background()
	reader, err := domain.NewPrivateKey()
	require.NoError(t, err)
	b := n.db.Batch()
	store.ContextIdentity.Put(b, store.IdentityKey{Context: id, Identity: reader.Public()},
		wire.ContextIdentity{PrivateKey: &reader, SenderKey: &reader})
	require.NoError(t, b.Commit(ctx))
	n.govern(t, id, wire.OpMemberAdded{Member: reader.Public(), Role: domain.RoleReadOnly})
	before := n.storage.commits()
	_, err = n.Execute(ctx, contexts.ExecuteRequest{Context: id, Method: "set", Args: []byte("x"), Executor: reader.Public()})
	require.NoError(t, err)
	require.Equal(t, before, n.storage.commits())
	require.Equal(t, "initial", n.get(t, id))
}

func TestExecute_OneContextIsSerialisedOthersAreNot(t *testing.T) {
	t.Parallel()
	inside := make(map[domain.ContextID]int)
	var mu sync.Mutex
	both := make(chan struct{})
	var once sync.Once
	n := startNode(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		if e.Method != "set" {
			return register(ctx, e, h)
		}
		mu.Lock()
		inside[e.Context]++
		if inside[e.Context] > 1 {
			mu.Unlock()
			return nil, errors.New("two executions in one context")
		}
		if len(inside) == 2 {
			once.Do(func() { close(both) })
		}
		mu.Unlock()
		<-both // only passes when two contexts run at the same time
		mu.Lock()
		inside[e.Context]--
		mu.Unlock()
		return register(ctx, e, h)
	}, contexts.Options{})
	ids := []domain.ContextID{n.create(t, testApp), n.create(t, testApp)}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := n.call(ids[i%2], "set", "v")
			require.NoError(t, err)
		})
	}
	wg.Wait()
}

func TestExecute_EndsWithItsCaller(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id := n.create(t, testApp)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := n.Execute(ctx, contexts.ExecuteRequest{Context: id, Method: "slow", Executor: n.member[id]})
	require.Error(t, err)
	require.Equal(t, "initial", n.get(t, id), "the context is free again")
}

func xcalls(t *testing.T, calls ...runtime.XCall) string {
	t.Helper()
	b, err := json.Marshal(calls)
	require.NoError(t, err)
	return string(b)
}

func TestXCalls_RunInOrderBeforeTheAnswerAndMayComeBack(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	a, b := n.create(t, testApp), n.create(t, testApp)
	back := xcalls(t, runtime.XCall{Context: a, Function: "set", Params: []byte("back")})
	_, err := n.call(a, "xcall", xcalls(t,
		runtime.XCall{Context: a, Function: "set", Params: []byte("self")},
		runtime.XCall{Context: b, Function: "xcall", Params: []byte(back)},
	))
	require.NoError(t, err)
	require.Equal(t, "back", n.get(t, a))
	require.Equal(t, back, n.get(t, b))
}

func TestXCalls_ChainsEnd(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	runs := 0
	n := startNode(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		if e.Method == "init" {
			return register(ctx, e, h)
		}
		mu.Lock()
		runs++
		mu.Unlock()
		r, err := register(ctx, &runtime.Execute{ID: e.ID, Context: e.Context, Method: "set"}, h)
		for range 3 { // three calls to itself each: a tree that only the bound of calls ends
			r.XCalls = append(r.XCalls, runtime.XCall{Context: e.Context, Function: "again"})
		}
		return r, err
	}, contexts.Options{XCallDepth: 5, XCallCalls: 20})
	id := n.create(t, testApp)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	mutations, end := n.Subscribe(ctx)
	defer end()
	_, err := n.call(id, "again", "")
	require.NoError(t, err)
	require.Equal(t, 21, runs)
	deep, many := false, false
	for len(mutations) > 0 {
		for _, e := range (<-mutations).Events {
			if e.Kind == contexts.XCallFailed {
				deep = deep || strings.Contains(string(e.Data), "deeper than 5")
				many = many || strings.Contains(string(e.Data), "more than 20 calls")
			}
		}
	}
	require.True(t, deep)
	require.True(t, many)
}

func TestXCalls_Policy(t *testing.T) {
	t.Parallel()
	other := domain.ApplicationID{0xbb}
	for policy, reached := range map[contexts.XCallPolicy][2]bool{
		contexts.XCallAny: {true, true}, contexts.XCallSameApplication: {true, false}, contexts.XCallOff: {false, false},
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			n := startNode(t, register, contexts.Options{XCall: policy})
			from := n.create(t, testApp)
			for i, app := range []domain.ApplicationID{testApp, other} {
				to := n.create(t, app)
				_, err := n.call(from, "xcall", xcalls(t, runtime.XCall{Context: to, Function: "set", Params: []byte("hit")}))
				require.NoError(t, err)
				require.Equal(t, reached[i], n.get(t, to) == "hit")
			}
		})
	}
}

func TestXCalls_NeedAWriterInTheTarget(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	from, to := n.create(t, testApp), n.create(t, testApp)
	n.govern(t, to, wire.OpMemberAdded{Member: domain.PublicKey{1}, Role: domain.RoleAdmin},
		wire.OpMemberRoleSet{Member: n.member[to], Role: domain.RoleReadOnly})
	mutations, end := n.Subscribe(context.Background())
	defer end()
	_, err := n.call(from, "xcall", xcalls(t, runtime.XCall{Context: to, Function: "set", Params: []byte("hit")}))
	require.NoError(t, err)
	require.Equal(t, "initial", n.get(t, to))
	require.Empty(t, (<-mutations).Events)
	failed := <-mutations
	require.Equal(t, contexts.XCallFailed, failed.Events[0].Kind)
	require.Contains(t, string(failed.Events[0].Data), "may write")
}

func TestHandlers_RunAfterTheAnswer(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id := n.create(t, testApp)
	mutations, end := n.Subscribe(context.Background())
	defer end()
	r, err := n.call(id, "emit:set", "handled")
	require.NoError(t, err)
	require.Equal(t, "set", *r.Events[0].Handler)
	require.Equal(t, r.RootHash, (<-mutations).NewRoot)
	<-mutations // of the handler
	require.Equal(t, "handled", n.get(t, id))
}

func TestHandlers_OfTheirOwnEventsEnd(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{XCallDepth: 3})
	id := n.create(t, testApp)
	mutations, end := n.Subscribe(context.Background())
	defer end()
	_, err := n.call(id, "emit:emit:emit:emit:emit:set", "x")
	require.NoError(t, err)
	for m := range mutations {
		if len(m.Events) == 1 && m.Events[0].Kind == contexts.XCallFailed {
			require.Contains(t, string(m.Events[0].Data), "deeper than 3")
			return
		}
	}
}

func TestDelete_RemovesEveryRow(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	id, kept := n.create(t, testApp), n.create(t, testApp)
	ctx := context.Background()
	_, err := n.Delete(ctx, id, nil)
	require.ErrorContains(t, err, "requester required to delete a group context")
	stranger := domain.PublicKey{1}
	_, err = n.Delete(ctx, id, &stranger)
	require.ErrorIs(t, err, errkind.PermissionDenied)
	member := n.member[id]
	deleted, err := n.Delete(ctx, id, &member)
	require.NoError(t, err)
	require.True(t, deleted)
	deleted, err = n.Delete(ctx, id, &member)
	require.NoError(t, err)
	require.False(t, deleted)
	_, err = n.call(id, "get", "")
	requireRefused(t, err, contexts.ContextNotFound)
	for _, c := range append(wire.Columns(), wire.LocalColumns()...) {
		require.NoError(t, n.storage.Scan(ctx, storage.Range{Column: string(c)}, func(items []storage.Item) error {
			for _, it := range items {
				require.NotContains(t, string(it.Key), string(id[:]), "column %s", c)
			}
			return nil
		}))
	}
	require.Equal(t, "initial", n.get(t, kept))
}
