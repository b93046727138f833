package contexts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/runtimetest"
)

// nextApp follows testApp.
var nextApp = domain.ApplicationID{0xbb}

// versioned is a guest with a state entry, as the SDK's are: init and set write it, migrate makes "v2:…" of "v1:…" and
// fails on anything else.
type versioned struct{ migrations atomic.Int32 }

func (g *versioned) run(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
	read := func() (string, error) {
		rows, err := h.Rows(ctx, []runtime.Key{runtimetest.StateKey(crdt.EntryKey(crdt.StateEntryID))})
		if err != nil || rows[0].Absent {
			return "", err
		}
		return string(bytes.TrimSuffix(rows[0].Value, crdt.StateEntryID[:])), nil
	}
	switch e.Method {
	case "init":
		return stated(e, "v1:first", true), nil
	case "set":
		return stated(e, string(e.Input), false), nil
	case "get":
		value, err := read()
		return &runtime.Result{Value: []byte(value)}, err
	case "migrate":
		g.migrations.Add(1)
		value, err := read()
		if err != nil {
			return nil, err
		}
		if rest, ok := strings.CutPrefix(value, "v1:"); ok && e.Kind == runtime.Migrate && !e.HasPrivate {
			return &runtime.Result{Value: []byte("v2:" + rest)}, nil
		}
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultTrap, Text: "this is no state of v1"}}, nil
	case "nothing":
		return &runtime.Result{}, nil
	}
	return register(ctx, e, h)
}

// stated is the result of a guest that wrote its state entry, and with it, at first, the tree root.
func stated(e *runtime.Execute, value string, first bool) *runtime.Result {
	root, now := crdt.TreeRoot(e.Context), max(e.TimeFloor, uint64(time.Now().UnixNano()))
	meta := crdt.Metadata{CreatedAt: 1, UpdatedAt: now}
	data := append([]byte(value), crdt.StateEntryID[:]...)
	actions := []crdt.Action{{
		Kind: crdt.Update, ID: crdt.StateEntryID, Data: data, Metadata: meta, Ancestors: []crdt.ChildInfo{{ID: root, Metadata: meta}},
	}}
	if first {
		actions = append([]crdt.Action{{Kind: crdt.Update, ID: root, Data: root[:], Metadata: meta}}, actions...)
	}
	artifact, err := crdt.EncodeArtifact(actions)
	if err != nil {
		panic(err)
	}
	r := &runtime.Result{RootHash: &domain.Hash{1}, Artifact: artifact, Usage: runtime.Usage{Time: now}}
	for i := range actions {
		index, err := borsh.Marshal(crdt.EntityIndex{ID: actions[i].ID, Metadata: meta, OwnHash: crdt.OwnHash(actions[i].Data)})
		if err != nil {
			panic(err)
		}
		r.Writes = append(r.Writes, runtime.Row{Key: runtimetest.StateKey(crdt.IndexKey(actions[i].ID)), Value: index},
			runtime.Row{Key: runtimetest.StateKey(crdt.EntryKey(actions[i].ID)), Value: actions[i].Data})
	}
	return r
}

func (n *node) upgrade(id domain.ContextID, app domain.ApplicationID, migrate string) error {
	req := contexts.UpgradeRequest{Context: id, Application: app}
	if migrate != "" {
		req.Migrate = &migrate
	}
	return n.Upgrade(context.Background(), req)
}

func (n *node) application(t *testing.T, id domain.ContextID) domain.ApplicationID {
	t.Helper()
	info, err := n.Get(t.Context(), id)
	require.NoError(t, err)
	return info.Application
}

// upgraded is a context on two nodes: a, which made it, and b, where a group has it.
type upgraded struct {
	a, b          *node
	first, second versioned // their guests
	id            domain.ContextID
	out           outbox                // the deltas of a
	told          chan domain.ContextID // what b says was migrated
}

// newUpgraded makes the context and the group, the latter by operations.
func newUpgraded(t *testing.T, ops ...wire.GroupOp) *upgraded {
	t.Helper()
	u := &upgraded{told: make(chan domain.ContextID, 9)}
	u.a = startNode(t, u.first.run, contexts.Options{OnDelta: u.out.add})
	u.id = u.a.create(t, testApp)
	u.b = startNode(t, u.second.run, contexts.Options{
		Authorize: func(context.Context, domain.ContextID, domain.PublicKey) error { return nil },
		Migrated:  func(id domain.ContextID) { u.told <- id },
	})
	u.b.join(t, u.id)
	batch := u.b.db.Batch()
	store.ContextGroup.Put(batch, u.id, wire.ID32(u.b.found(t, ops...)))
	require.NoError(t, batch.Commit(t.Context()))
	return u
}

// TestUpgrade_MigrationIsADelta: who migrates first makes the delta, and who gets it does not migrate again.
func TestUpgrade_MigrationIsADelta(t *testing.T) {
	t.Parallel()
	u := newUpgraded(t)
	a, b, id := u.a, u.b, u.id
	require.Equal(t, "v1:first", a.get(t, id))
	before := a.storage.commits()
	require.NoError(t, a.upgrade(id, nextApp, "migrate"))
	require.Equal(t, before+1, a.storage.commits())
	require.Equal(t, nextApp, a.application(t, id))
	require.Equal(t, "v2:first", a.get(t, id))
	require.NoError(t, a.upgrade(id, nextApp, "migrate"), "it has that migration behind it")
	require.EqualValues(t, 1, u.first.migrations.Load())
	require.Equal(t, before+1, a.storage.commits())
	_, err := a.call(id, "set", "v2:more")
	require.NoError(t, err)

	deltas := u.out.deltas(t)
	require.Len(t, deltas, 3)
	requireOutcomes(t, b.receive(t, id, deltas...), contexts.Applied)
	require.Equal(t, id, <-u.told)
	require.Equal(t, testApp, b.application(t, id), "what runs is its group's matter")
	require.NoError(t, b.upgrade(id, nextApp, "migrate"))
	require.Zero(t, u.second.migrations.Load())
	require.Equal(t, nextApp, b.application(t, id))
	require.Equal(t, "v2:more", b.get(t, id))
	requireSame(t, id, a, b)
}

// TestUpgrade_UnsignedEvents: whoever passes a delta on cannot say that it migrates.
func TestUpgrade_UnsignedEvents(t *testing.T) {
	t.Parallel()
	u := newUpgraded(t)
	a, b, id := u.a, u.b, u.id
	require.NoError(t, a.upgrade(id, nextApp, "migrate"))
	deltas := u.out.deltas(t)
	for i := range deltas {
		deltas[i].Proof.Signature = nil
	}
	requireOutcomes(t, b.receive(t, id, deltas...), contexts.Applied)
	requireSame(t, id, a, b)
	require.Empty(t, u.told)
	marks, err := store.GroupContextLastMigration.List(t.Context(), b.db, nil)
	require.NoError(t, err)
	require.Empty(t, marks)
}

// TestUpgrade_FalseMarks: a writer who says that he migrated must have written the state, and the migration that the group
// wants is not forgotten for another that he speaks of.
func TestUpgrade_FalseMarks(t *testing.T) {
	t.Parallel()
	method := "migrate"
	u := newUpgraded(t, contexts.TargetOps(nil, nextApp, domain.BlobID{1}, &method)...)
	a, b, id := u.a, u.b, u.id
	b.GroupsChanged()
	marks := func() (all []wire.Text) {
		list, err := store.GroupContextLastMigration.List(t.Context(), b.db, nil)
		require.NoError(t, err)
		for _, row := range list {
			all = append(all, row.Value)
		}
		return all
	}
	lie := func(method string, entity crdt.ID) {
		t.Helper()
		info, err := b.Get(t.Context(), id)
		require.NoError(t, err)
		now := uint64(time.Now().UnixNano())
		meta := crdt.Metadata{CreatedAt: 1, UpdatedAt: now}
		actions := []crdt.Action{{
			Kind: crdt.Update, ID: entity, Data: []byte("lie"), Metadata: meta,
			Ancestors: []crdt.ChildInfo{{ID: crdt.TreeRoot(id), Metadata: meta}},
		}}
		data, err := json.Marshal(map[string]any{"application": nextApp, "method": method})
		require.NoError(t, err)
		event := contexts.Event{Kind: contexts.Migrated, Data: data}
		encoded, err := wire.EncodeEvents([]wire.Event{wire.Event(event)})
		require.NoError(t, err)
		d := contexts.Delta{
			ID: crdt.DeltaID(info.DagHeads, actions), Parents: info.DagHeads, Actions: actions, HLC: crdt.NewClock([16]byte{9}).Now(now),
			ExpectedRoot: domain.Hash{1}, Author: domain.PublicKey{7}, Events: []contexts.Event{event},
		}
		d.Proof = wire.DeltaAuthor{Author: d.Author, Events: wire.EventsDigest(encoded), Signature: &domain.Signature{1}}
		requireOutcomes(t, b.receive(t, id, d), contexts.Applied)
	}
	requireOutcomes(t, b.receive(t, id, u.out.deltas(t)...), contexts.Applied)
	lie(method, crdt.ID{1})
	require.Empty(t, marks(), "nothing was migrated")
	require.Empty(t, u.told)
	require.NoError(t, a.upgrade(id, nextApp, method))
	requireOutcomes(t, b.receive(t, id, u.out.deltas(t)[1:]...), contexts.Applied)
	want := []wire.Text{contexts.MarkOf(nextApp, method)}
	require.Equal(t, want, marks())
	lie("another", crdt.StateEntryID)
	require.Equal(t, want, marks())
}

// TestUpgrade_NothingIsHalfDone: a context that cannot be upgraded is what it was.
func TestUpgrade_NothingIsHalfDone(t *testing.T) {
	t.Parallel()
	g := &versioned{}
	n := startNode(t, g.run, contexts.Options{})
	id := n.create(t, testApp)
	_, err := n.call(id, "set", "v9:x")
	require.NoError(t, err)
	before := n.storage.commits()
	require.ErrorContains(t, n.upgrade(id, nextApp, "migrate"), "Migration execution failed: this is no state of v1")
	require.ErrorContains(t, n.upgrade(id, nextApp, "nothing"), "Migration function did not return any data.")
	requireError(t, n.upgrade(id, domain.ApplicationID{1}, ""), errkind.NotFound,
		"application with id '"+domain.ApplicationID{1}.String()+"' not found")
	requireError(t, n.upgrade(domain.ContextID{1}, nextApp, ""), errkind.NotFound, "context '"+domain.ContextID{1}.String()+"' does not exist")
	n.storage.failWith(errkind.Internal.Errorf("the disk failed"))
	require.Error(t, n.upgrade(id, nextApp, ""))
	n.storage.failWith(nil)
	require.Equal(t, before, n.storage.commits())
	require.Equal(t, testApp, n.application(t, id))
	require.Equal(t, "v9:x", n.get(t, id))
	require.NoError(t, n.upgrade(id, testApp, ""), "no change")
	require.Equal(t, before, n.storage.commits())
	require.NoError(t, n.upgrade(id, nextApp, ""))
	require.Equal(t, nextApp, n.application(t, id))
	require.Equal(t, "v9:x", n.get(t, id))
}

// TestUpgrade_Signers: an application is followed by one of the same signer.
func TestUpgrade_Signers(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	ids := map[string]domain.ApplicationID{"": {0x20}, "did:key:a": {0x21}, "did:key:a (2)": {0x22}, "did:key:b": {0x23}}
	b := n.db.Batch()
	for name, id := range ids {
		signer, _, _ := strings.Cut(name, " ")
		store.Application.Put(b, id, wire.ApplicationRecord{Size: 1, SignerID: signer})
	}
	require.NoError(t, b.Commit(t.Context()))
	for _, c := range []struct{ from, to, wrong string }{
		{"", "did:key:a", ""}, {"did:key:a", "did:key:a (2)", ""},
		{"did:key:a", "did:key:b", "AppKey continuity violation: signerId mismatch. Cannot update from signerId 'did:key:a' to signerId " +
			"'did:key:b'. The same signing key must be used for application updates."},
		{"did:key:a", "", "Security downgrade rejected: Cannot update from signed application (signerId: 'did:key:a') to unsigned"},
	} {
		err := n.upgrade(n.create(t, ids[c.from]), ids[c.to], "")
		if c.wrong == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.wrong)
			require.Equal(t, errkind.Precondition, errkind.Of(err))
		}
	}
}

// TestUpgrade_OnAccess: with the policy LazyOnAccess the next call upgrades first; if that fails it runs in what there is.
func TestUpgrade_OnAccess(t *testing.T) {
	t.Parallel()
	g := &versioned{}
	n := startNode(t, g.run, contexts.Options{})
	group := n.found(t, wire.OpUpgradePolicySet{Policy: domain.DefaultUpgradePolicy()})
	created, err := n.Create(t.Context(), contexts.CreateRequest{Application: testApp, Group: &group})
	require.NoError(t, err)
	id := created.Context
	n.member[id] = created.Member
	method := "migrate"
	target := func(app domain.ApplicationID, migrate *string) {
		for _, body := range contexts.TargetOps(n.state(t, group).Migration, app, domain.BlobID{1}, migrate) {
			_, err := n.groups.Issue(t.Context(), group, nodeKey, body)
			require.NoError(t, err)
		}
		n.GroupsChanged()
	}
	target(domain.ApplicationID{0x77}, nil)
	require.Equal(t, "v1:first", n.get(t, id), "the application is not here")
	require.Equal(t, testApp, n.application(t, id))
	target(nextApp, &method)
	require.Equal(t, "v2:first", n.get(t, id))
	require.Equal(t, nextApp, n.application(t, id))
	require.Equal(t, "v2:first", n.get(t, id))
	require.EqualValues(t, 1, g.migrations.Load())

	// A context made from now on has nothing to migrate.
	created, err = n.Create(t.Context(), contexts.CreateRequest{Group: &group})
	require.NoError(t, err)
	require.NoError(t, n.upgrade(created.Context, nextApp, method))
	require.EqualValues(t, 1, g.migrations.Load())
}

// TestUpgrade_OnAccessFails: a migration that fails is not run at every call, but again when it may come out otherwise; the
// context says why it does not follow.
func TestUpgrade_OnAccessFails(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	g := &versioned{}
	n := startNode(t, g.run, contexts.Options{Now: func() time.Time { return time.Unix(0, now.Load()) }})
	group := n.found(t, wire.OpUpgradePolicySet{Policy: domain.DefaultUpgradePolicy()})
	created, err := n.Create(t.Context(), contexts.CreateRequest{Application: testApp, Group: &group})
	require.NoError(t, err)
	id, method := created.Context, "migrate"
	n.member[id] = created.Member
	set := func(value string) {
		t.Helper()
		_, err := n.call(id, "set", value)
		require.NoError(t, err)
	}
	says := func(want string) {
		t.Helper()
		info, err := n.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, info.UpgradeError)
	}
	set("v9:odd")
	says("")
	target := func(migrate string) {
		for _, body := range contexts.TargetOps(n.state(t, group).Migration, nextApp, domain.BlobID{1}, &migrate) {
			_, err := n.groups.Issue(t.Context(), group, nodeKey, body)
			require.NoError(t, err)
		}
		n.GroupsChanged()
	}
	target(method)
	for range 5 {
		require.Equal(t, "v9:odd", n.get(t, id))
	}
	require.EqualValues(t, 1, g.migrations.Load())
	says("Migration execution failed: this is no state of v1")
	now.Add(int64(time.Hour))
	require.Equal(t, "v9:odd", n.get(t, id))
	require.EqualValues(t, 1, g.migrations.Load(), "the same state gives the same")

	for i := range 5 {
		set("v9:" + strings.Repeat("x", i))
	}
	require.Equal(t, "v9:xxxx", n.get(t, id))
	require.EqualValues(t, 2, g.migrations.Load(), "states that follow each other closely cost one more")
	require.Equal(t, testApp, n.application(t, id))
	_, err = n.groups.Issue(t.Context(), group, nodeKey, wire.OpUpgradePolicySet{Policy: domain.UpgradePolicy{Mode: domain.UpgradeAutomatic}})
	require.NoError(t, err)
	n.GroupsChanged()
	set("v1:right")
	says("")
	_, err = n.groups.Issue(t.Context(), group, nodeKey, wire.OpUpgradePolicySet{Policy: domain.DefaultUpgradePolicy()})
	require.NoError(t, err)
	n.GroupsChanged()
	require.Equal(t, "v2:right", n.get(t, id))
	require.Equal(t, nextApp, n.application(t, id))
	says("")
}

// TestUpgrade_ReadersDoNotMigrate: peers would not take the delta, and have another state for ever.
func TestUpgrade_ReadersDoNotMigrate(t *testing.T) {
	t.Parallel()
	g, out := &versioned{}, &outbox{}
	n := startNode(t, g.run, contexts.Options{OnDelta: out.add})
	reader := domain.PrivateKey{0x43}
	group := n.found(t, wire.OpUpgradePolicySet{Policy: domain.DefaultUpgradePolicy()},
		wire.OpMemberAdded{Member: reader.Public(), Role: domain.RoleReadOnly})
	created, err := n.Create(t.Context(), contexts.CreateRequest{Group: &group})
	require.NoError(t, err)
	id, method := created.Context, "migrate"
	b := n.db.Batch()
	require.NoError(t, identity.NewNode(n.db, nodeKey).PutOwn(b, id, reader))
	require.NoError(t, b.Commit(t.Context()))
	for _, body := range contexts.TargetOps(nil, nextApp, domain.BlobID{1}, &method) {
		_, err := n.groups.Issue(t.Context(), group, nodeKey, body)
		require.NoError(t, err)
	}
	n.GroupsChanged()

	before := len(out.deltas(t))
	n.member[id] = reader.Public()
	require.Equal(t, "v1:first", n.get(t, id), "in the application that the context has")
	who := reader.Public()
	err = n.Upgrade(t.Context(), contexts.UpgradeRequest{Context: id, Application: nextApp, Migrate: &method, Member: &who})
	requireError(t, err, errkind.PermissionDenied, who.String()+" may only read context "+id.String()+", and so cannot migrate it")
	require.Equal(t, testApp, n.application(t, id))
	require.Zero(t, g.migrations.Load())
	require.Len(t, out.deltas(t), before)

	n.member[id] = created.Member
	require.Equal(t, "v2:first", n.get(t, id))
	require.Len(t, out.deltas(t), before+1)
	n.member[id] = reader.Public()
	require.Equal(t, "v2:first", n.get(t, id))
}

// TestSetApplication: a context with a group of its own tells it, as far as the member may; one of another group follows
// that.
func TestSetApplication(t *testing.T) {
	t.Parallel()
	g := &versioned{}
	n := startNode(t, g.run, contexts.Options{})
	id, method := n.create(t, testApp), "migrate"
	own := domain.GroupID(id)
	stranger := domain.PublicKey{1}
	require.ErrorContains(t, n.SetApplication(t.Context(), id, nextApp, stranger, nil), "requester lacks permission to set target application")
	require.NoError(t, n.SetApplication(t.Context(), id, nextApp, n.member[id], &method))
	require.Equal(t, "v2:first", n.get(t, id))
	state := n.state(t, own)
	require.Equal(t, nextApp, state.Target)
	require.Equal(t, method, string(state.Migration))

	group := n.found(t)
	created, err := n.Create(t.Context(), contexts.CreateRequest{Group: &group})
	require.NoError(t, err)
	require.ErrorContains(t, n.SetApplication(t.Context(), created.Context, nextApp, created.Member, nil), "upgrade the group")
	require.NoError(t, n.SetApplication(t.Context(), created.Context, testApp, created.Member, nil))
}
