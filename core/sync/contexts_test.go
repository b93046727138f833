package sync_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/sync"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

// register is an application with one register per context, the bytes of the tree root.
func register(_ context.Context, e *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
	value := e.Input
	if e.Method == "init" {
		value = []byte("initial")
	}
	r := runtimetest.Wrote(e, value)
	r.Events = []runtime.Event{{Kind: "set", Data: value}}
	return r, nil
}

type noModules struct{}

func (noModules) Module(context.Context, domain.ApplicationID, wire.ApplicationRecord) (contexts.Module, error) {
	return contexts.Module{ID: domain.Hash{1}}, nil
}

// replica is a node with a real ContextManager.
type replica struct {
	*contexts.Client
	db   *store.DB
	m    *sync.Manager
	port *port
	key  domain.PrivateKey
	id   domain.ContextID
	stop func()

	mu     stdsync.Mutex
	events []string // the data of all events of the context that subscribers were told of
}

// hear notes what subscribers are told, until the test ends.
func (r *replica) hear(t testing.TB) {
	mutations, end := r.Subscribe(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { end(); <-done })
	go func() {
		defer close(done)
		for m := range mutations {
			r.mu.Lock()
			for _, e := range m.Events {
				r.events = append(r.events, string(e.Data))
			}
			r.mu.Unlock()
		}
	}()
}

func (r *replica) heard() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

var testApp = domain.ApplicationID{0xaa}

// newReplica makes the node of member i. The context is created by member 0; others get its rows.
func newReplica(t testing.TB, l *lan, i, members int, id domain.ContextID, s setup) *replica {
	t.Helper()
	db := store.Open(storagetest.NewMemory(), store.Options{})
	ids := identity.New(db)
	r := &replica{db: db, port: l.join(fmt.Sprint("replica-", i)), key: keyOf(i), id: id}
	r.port.plain = s.plain
	ctx, cancel := context.WithCancel(context.Background())
	x, err := executor.New(ctx, runtimetest.Guest(register), executor.Options{Lanes: 4})
	require.NoError(t, err)
	blobStore, err := blobs.Open(ctx, db, t.TempDir(), blobs.Options{})
	require.NoError(t, err)
	var publish atomic.Pointer[sync.Manager]
	a := contexts.New(contexts.Options{
		DB: db, Blobs: blobStore, Identity: ids, Executor: x, Modules: noModules{},
		OnDelta:   func(p contexts.Published) { publish.Load().Publish(p) },
		Authorize: func(context.Context, domain.ContextID, domain.PublicKey) error { return nil },
	})
	r.Client = a.Client()
	o := sync.Options{
		Network: r.port, Contexts: r.Client, Identity: ids, DB: db,
		Access: func(context.Context, domain.ContextID, domain.PublicKey) (sync.Access, error) {
			return sync.MayWrite, nil
		},
		Heartbeat: 300 * time.Millisecond, Frequency: 200 * time.Millisecond, Retry: 20 * time.Millisecond,
		RetryMax: 200 * time.Millisecond, Republish: 100 * time.Millisecond,
	}
	if s.options != nil {
		s.options(&o)
	}
	r.m = sync.New(o)
	publish.Store(r.m)
	b := db.Batch()
	store.Application.Put(b, testApp, wire.ApplicationRecord{Size: 1, Source: "file:///app.wasm"})
	require.NoError(t, b.Commit(t.Context()))
	r.port.mu.Lock()
	r.port.deliver = func(topic string, source sync.PeerID, data []byte) {
		if verdict, in := r.m.Validate(l.stop, topic, source, data); verdict == network.Accept {
			r.m.Handle(in)
		}
	}
	r.port.joined = r.m.PeerSubscribed
	r.port.handlers[wire.SyncProtocol] = r.m.ServeReference
	if !s.plain {
		r.port.handlers[wire.ExtensionProtocol] = r.m.ServeExtension
	}
	r.port.mu.Unlock()
	sup := actor.NewSupervisor("test", o.Logger, time.Minute)
	sup.Add(a)
	sup.Add(r.m)
	done := sup.ServeBackground(ctx)
	r.stop = stdsync.OnceFunc(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		x.Close()
	})
	t.Cleanup(r.stop)
	if i == 0 {
		secret := [32]byte(r.key)
		created, err := r.Create(t.Context(), contexts.CreateRequest{Application: testApp, IdentitySecret: &secret})
		require.NoError(t, err)
		r.id = created.Context
	}
	b = db.Batch()
	for k := range members {
		if k == i && i != 0 {
			require.NoError(t, ids.PutOwn(b, r.id, keyOf(k)))
		} else if k != i {
			ids.PutMember(b, r.id, keyOf(k).Public(), nil)
		}
	}
	if i != 0 {
		store.ContextMeta.Put(b, r.id, wire.ContextMeta{ApplicationID: testApp})
		store.ContextConfig.Put(b, r.id, wire.ContextConfig{})
	}
	require.NoError(t, b.Commit(t.Context()))
	r.hear(t)
	require.NoError(t, r.m.Follow(t.Context(), r.id))
	return r
}

func (r *replica) set(value string) error {
	_, err := r.Execute(context.Background(), contexts.ExecuteRequest{
		Context: r.id, Method: "set", Args: []byte(value), Executor: r.key.Public(),
	})
	return err
}

func (r *replica) rows(t testing.TB) (all []runtime.Row) {
	t.Helper()
	require.NoError(t, store.ScanRows(t.Context(), r.db, r.id, runtime.ScopeState, [32]byte{}, 0, 0,
		func(page []runtime.Row) error { all = append(all, page...); return nil }))
	return all
}

func (r *replica) deltas(t testing.TB) int {
	t.Helper()
	n := 0
	require.NoError(t, store.Delta.ScanKeys(t.Context(), r.db, r.id[:], func(store.DeltaKey) error { n++; return nil }))
	return n
}

// same waits until all replicas have the same heads and root, and checks their rows.
func same(t testing.TB, deltas int, replicas ...*replica) {
	t.Helper()
	require.Eventually(t, func() bool {
		first, root, err := replicas[0].Heads(t.Context(), replicas[0].id)
		require.NoError(t, err)
		for _, r := range replicas {
			heads, own, err := r.Heads(t.Context(), r.id)
			require.NoError(t, err)
			if own != root || len(heads) != len(first) || r.deltas(t) != deltas {
				return false
			}
		}
		return true
	}, long, 20*time.Millisecond)
	want := replicas[0].rows(t)
	for _, r := range replicas[1:] {
		require.Equal(t, want, r.rows(t))
		s, ok := r.m.Status(r.id)
		require.True(t, ok)
		require.False(t, s.Diverged)
	}
}

// TestReplicasConverge: real contexts, all of whose members write over a bad network, among them one without the extension.
func TestReplicasConverge(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprint("plain=", plain), func(t *testing.T) {
			t.Parallel()
			l := newLAN(t)
			l.loss, l.twice, l.delay = 0.3, 0.2, 20*time.Millisecond
			const members = 4
			first := newReplica(t, l, 0, members, domain.ContextID{}, setup{})
			all := []*replica{first, newReplica(t, l, 1, members, first.id, setup{}), newReplica(t, l, 2, members, first.id, setup{plain: plain})}
			same(t, 1, all...)
			each := scaled(15, 150)
			var wg stdsync.WaitGroup
			for i, r := range all {
				wg.Go(func() {
					for k := range each {
						if err := r.set(fmt.Sprintf("%d of %d", k, i)); err != nil {
							t.Error(err)
						}
						time.Sleep(rand.N(2 * time.Millisecond))
					}
				})
			}
			wg.Wait()
			same(t, 1+3*each, all...)
			late := newReplica(t, l, 3, members, first.id, setup{})
			same(t, 1+3*each, append(all, late)...)
			require.NoError(t, late.set("and one more"))
			same(t, 2+3*each, append(all, late)...)
		})
	}
}

// TestSignaturesArePassedOn: who got deltas from others gives them to a third with their authors' signatures, after the
// authors are gone and where nothing unsigned is taken.
func TestSignaturesArePassedOn(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	no := false
	strict := setup{options: func(o *sync.Options) { o.AcceptUnsigned = &no }}
	a := newReplica(t, l, 0, 3, domain.ContextID{}, strict)
	for i := range 20 {
		require.NoError(t, a.set(fmt.Sprint(i)))
	}
	b := newReplica(t, l, 1, 3, a.id, strict)
	same(t, 21, a, b)
	want := a.rows(t)
	a.leave()
	c := newReplica(t, l, 2, 3, a.id, strict)
	same(t, 21, b, c)
	require.Equal(t, want, c.rows(t))
	authors, err := store.DeltaAuthor.List(t.Context(), c.db, wire.DeltaAuthorPrefix(a.id))
	require.NoError(t, err)
	require.Len(t, authors, 21)
	for _, row := range authors {
		require.Equal(t, a.key.Public(), row.Value.Author)
		require.NotNil(t, row.Value.Signature)
	}
}

// leave takes a replica off the network.
func (r *replica) leave() {
	r.stop()
	r.port.mu.Lock()
	defer r.port.mu.Unlock()
	clear(r.port.topics)
	clear(r.port.handlers)
}

// TestEventsOfMissedDeltas: subscribers of a node hear the events of a delta once, whether it came by gossip, while the node
// caught up, or from a third node after its author was gone; so do those of deltas too large for gossip.
func TestEventsOfMissedDeltas(t *testing.T) {
	t.Parallel()
	l := newLAN(t)
	a := newReplica(t, l, 0, 3, domain.ContextID{}, setup{})
	want := []string{"initial"}
	set := func(value string) {
		want = append(want, value)
		require.NoError(t, a.set(value))
	}
	for i := range scaled(600, 3000) {
		set(fmt.Sprint("missed ", i))
	}
	set(strings.Repeat("large ", sync.MaxInline/6+1))
	hears := func(r *replica) {
		t.Helper()
		require.Eventually(t, func() bool { return len(r.heard()) >= len(want) }, long, 5*time.Millisecond)
		require.ElementsMatch(t, want, r.heard())
	}
	b := newReplica(t, l, 1, 3, a.id, setup{})
	same(t, len(want), a, b)
	hears(b)
	require.Equal(t, want, b.heard(), "in the order of the deltas")
	for i := range 10 {
		set(fmt.Sprint("gossiped ", i))
	}
	same(t, len(want), a, b)
	hears(b)
	a.leave()
	c := newReplica(t, l, 2, 3, a.id, setup{})
	same(t, len(want), b, c)
	hears(c)
	require.NoError(t, c.m.Sync(t.Context(), c.id))
	require.NoError(t, b.set("the last"))
	want = append(want, "the last")
	same(t, len(want), b, c)
	hears(b)
	hears(c)
}
