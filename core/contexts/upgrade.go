package contexts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// A migration turns the state of one application into that of another. It is a delta like any other, made by whoever runs
// it first: so equal deltas still make equal states. The delta says that it migrates, by an event, and who has it does not
// migrate again.

// Migrated is the kind of the event of a delta that migrates the state. Its data is a JSON object: application, method.
const Migrated = "calimero.Migrated"

// migration names what Migrated is about.
type migration struct {
	Application domain.ApplicationID `json:"application"`
	Method      string               `json:"method"`
}

// mark is how the row of a context's last migration names it.
func (g migration) mark() wire.Text { return wire.Text(g.Method + "@" + g.Application.String()) }

func (g migration) event() (runtime.Event, error) {
	data, err := json.Marshal(g)
	return runtime.Event{Kind: Migrated, Data: data}, err
}

// UpgradeRequest gives a context another application.
type UpgradeRequest struct {
	Context     domain.ContextID
	Application domain.ApplicationID
	// Migrate is the method of the new application that makes its state of the old one's; nil = the state stays. A
	// migration that the state has behind it is not run again.
	Migrate *string
	// Member runs the migration; nil = the first identity of this node that may write.
	Member *domain.PublicKey
	// Also adds to the batch, last; nil adds nothing. It is called under the context's lock.
	Also func(ctx context.Context, b *store.Batch) error
}

// MarkOf is how a context's last migration, a row of its group, names a migration.
func MarkOf(app domain.ApplicationID, method string) wire.Text {
	return migration{Application: app, Method: method}.mark()
}

// Upgrade gives a context another application on this node, migrated state and new application as one batch. Peers get
// the state as a delta; what they run they learn from their group. The application it has, without a migration, is no
// change. Kinds: NotFound for an unknown context or application, Precondition for one of another signer.
func (c *Client) Upgrade(ctx context.Context, req UpgradeRequest) error {
	_, err := ask(ctx, c, func(ctx context.Context, m *manager) (struct{}, error) {
		e := m.entry(req.Context)
		if err := e.acquire(ctx); err != nil {
			return struct{}{}, err
		}
		defer e.release()
		return struct{}{}, m.upgrade(ctx, e, req)
	})
	return err
}

// goal is what the group of a context wants it to run.
type goal struct {
	policy  domain.UpgradeMode
	app     domain.ApplicationID
	migrate *string
}

// goalOf is kept in e until groups change. Without a group nothing is wanted.
func (m *manager) goalOf(ctx context.Context, e *entry) (*goal, error) {
	generation := m.groups.Load()
	if e.goal != nil && e.goalsOf == generation {
		return e.goal, nil
	}
	group, err := m.groupOf(ctx, e.id)
	if err != nil {
		return nil, err
	}
	g := &goal{policy: domain.UpgradeAutomatic}
	if group != nil {
		row, found, err := store.GroupMeta.Get(ctx, m.opts.DB, *group)
		if err != nil {
			return nil, err
		}
		if found {
			g.policy, g.app = row.UpgradePolicy.Mode, row.TargetApplicationID
		}
		if row.Migration != nil {
			method := string(row.Migration)
			g.migrate = &method
		}
	}
	e.goal, e.goalsOf = g, generation
	return g, nil
}

// upgradeOnAccess follows a group whose contexts are upgraded by the next call. If that cannot be, the call runs in the
// application that the context has. The caller holds the context's lock and has refreshed e.
func (m *manager) upgradeOnAccess(ctx context.Context, e *entry, c *call) error {
	if c.kind == runtime.SyncNext {
		return nil
	}
	g, err := m.goalOf(ctx, e)
	if err != nil {
		return err
	}
	if g.policy != domain.UpgradeLazyOnAccess || g.app == e.meta.ApplicationID {
		e.stuck.Store(nil) // whatever failed is not wanted any more
		return nil
	}
	var mark wire.Text
	if g.migrate != nil {
		mark = MarkOf(g.app, *g.migrate)
	}
	was := e.stuck.Load()
	if was.remains(mark, e.meta.RootHash, m.opts.Now()) {
		return nil
	}
	state := e.meta.RootHash
	err = m.upgrade(ctx, e, UpgradeRequest{Context: e.id, Application: g.app, Migrate: g.migrate, Member: &c.executor})
	if err != nil {
		m.metrics.upgrades.WithLabelValues("failed").Inc()
		if ctx.Err() != nil {
			return err
		}
		if g.migrate != nil {
			e.stuck.Store(was.failedWith(err, mark, state, m.opts.Now()))
		}
		m.opts.Logger.Warn("a context is not upgraded, and goes on with the application it has; it is tried again when its state is another. "+
			"Upgrade the group to an application, or with a method, that takes this state; POST /admin-api/contexts/ID/application tries at once",
			"context", e.id, "application", g.app, "err", err)
		return m.refresh(ctx, e)
	}
	m.metrics.upgrades.WithLabelValues("ok").Inc()
	return nil
}

// stageMarks notes the migrations that received deltas say they are, as far as their authors signed that. A writer may lie:
// so only what writes the state entry counts, which is no more than he may do to the state anyway; and the migration that the
// group wants, once it is noted, is not forgotten for another.
func (m *manager) stageMarks(ctx context.Context, b *store.Batch, e *entry, apply []*arrival) (marked bool, err error) {
	var marks []wire.Text
	for _, a := range apply {
		if a.eventsSigned() && slices.ContainsFunc(a.delta.Actions, writesState) {
			marks = append(marks, marksOf(a.delta.Events)...)
		}
	}
	if len(marks) == 0 {
		return false, nil
	}
	group, err := m.groupOf(ctx, e.id)
	if err != nil || group == nil {
		return false, err
	}
	wanted, err := m.goalOf(ctx, e)
	if err != nil {
		return false, err
	}
	at, mark := store.GroupContextKey{Group: *group, Context: e.id}, marks[len(marks)-1]
	if wanted.migrate != nil {
		want := MarkOf(wanted.app, *wanted.migrate)
		last, _, err := store.GroupContextLastMigration.Get(ctx, m.opts.DB, at)
		if err != nil || last == want {
			return err == nil && slices.Contains(marks, want), err
		}
		if slices.Contains(marks, want) {
			mark = want
		}
	}
	store.GroupContextLastMigration.Put(b, at, mark)
	return true, b.Err()
}

func writesState(a crdt.Action) bool {
	return a.ID == crdt.StateEntryID && (a.Kind == crdt.Add || a.Kind == crdt.Update)
}

// marksOf are the migrations that events speak of.
func marksOf(events []Event) (marks []wire.Text) {
	for _, event := range events {
		if event.Kind != Migrated {
			continue
		}
		var done migration
		if json.Unmarshal(event.Data, &done) != nil || done.Method == "" || len(done.Method) > maxMethod {
			continue // an event of the application's own that looks like it
		}
		marks = append(marks, done.mark())
	}
	return marks
}

// maxMethod bounds the name of a method that others say they migrated with, in bytes.
const maxMethod = 256

// SetApplication is Upgrade for a context with a group of its own, in the name of a member who may change the group's
// application: the group tells peers. A context of another group follows that.
func (c *Client) SetApplication(ctx context.Context, id domain.ContextID, app domain.ApplicationID, member domain.PublicKey,
	migrate *string) error {
	_, err := ask(ctx, c, func(ctx context.Context, m *manager) (struct{}, error) {
		return struct{}{}, m.setApplication(ctx, UpgradeRequest{Context: id, Application: app, Migrate: migrate, Member: &member})
	})
	return err
}

func (m *manager) setApplication(ctx context.Context, req UpgradeRequest) error {
	e := m.entry(req.Context)
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.release()
	if _, err := m.load(ctx, req.Context); err != nil {
		return err
	}
	group, err := m.groupOf(ctx, req.Context)
	if err != nil || group == nil {
		return errors.Join(err, m.upgrade(ctx, e, req))
	}
	state, err := m.group(ctx, *group)
	if err != nil {
		return err
	}
	role, member, err := m.opts.Groups.Role(ctx, *group, *req.Member)
	if err != nil {
		return err
	}
	if !member || role != domain.RoleAdmin && !state.Capabilities[*req.Member].Has(domain.CanManageApplication) {
		return errkind.PermissionDenied.Errorf("requester lacks permission to set target application in group '%s' (not an admin and "+
			"capability bit 0x%x is not set)", group.Debug(), uint32(domain.CanManageApplication))
	}
	if *group != domain.GroupID(req.Context) {
		if state.Target != req.Application {
			return errkind.Precondition.Errorf("context %s runs the application of group '%s': upgrade the group", req.Context, group.Debug())
		}
		return m.upgrade(ctx, e, req)
	}
	app, found, err := store.Application.Get(ctx, m.opts.DB, req.Application)
	if err != nil {
		return err
	}
	if !found {
		return errkind.NotFound.Errorf("application with id '%s' not found", req.Application)
	}
	key, err := m.opts.Identity.GroupKey(ctx, *group, *req.Member)
	if err != nil {
		return err
	}
	req.Also = func(ctx context.Context, b *store.Batch) error {
		_, err := m.opts.Groups.Stage(ctx, b, *group, key, TargetOps(state.Migration, req.Application, app.Bytecode, req.Migrate)...)
		return err
	}
	return m.upgrade(ctx, e, req)
}

// TargetOps are the operations that give a group's contexts another application: the migration, unless it stays, goes
// first, so that nobody migrates with the one before. The group's application key is the module's id.
func TargetOps(was []byte, app domain.ApplicationID, bytecode domain.BlobID, migrate *string) []wire.GroupOp {
	var ops []wire.GroupOp
	var method []byte
	if migrate != nil {
		method = []byte(*migrate)
	}
	if (method == nil) != (was == nil) || !bytes.Equal(method, was) {
		ops = append(ops, wire.OpGroupMigrationSet{Migration: method})
	}
	return append(ops, wire.OpTargetApplicationSet{AppKey: domain.Hash(bytecode), Target: app})
}

// upgrade gives a context another application. The caller holds the context's lock.
func (m *manager) upgrade(ctx context.Context, e *entry, req UpgradeRequest) error {
	if err := m.refresh(ctx, e); errors.Is(err, errkind.NotFound) {
		return errkind.NotFound.Errorf("context '%s' does not exist", req.Context)
	} else if err != nil {
		return err
	}
	app, err := m.successor(ctx, e.meta.ApplicationID, req.Application)
	if err != nil {
		return err
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	st := staged{meta: e.meta, local: e.local}
	if req.Migrate != nil {
		if err := m.stageMigration(ctx, b, e, req, app, &st); err != nil {
			return err
		}
	}
	if st.delta == nil && b.Len() == 0 && req.Application == e.meta.ApplicationID && req.Also == nil {
		return nil
	}
	st.meta.ApplicationID = req.Application
	st.put(b, e.id)
	if req.Also != nil {
		if err := req.Also(ctx, b); err != nil {
			return err
		}
	}
	if err := b.Commit(context.WithoutCancel(ctx)); err != nil {
		e.forget()
		return err
	}
	e.meta, e.local, e.known = st.meta, st.local, true
	e.read, e.goal = nil, nil
	e.stuck.Store(nil)
	e.copy.Change(st.rows)
	e.hot.put(e.generation, st.rows)
	m.published(&st)
	m.metrics.commits.Inc()
	m.hub.publish(StateMutation{Context: e.id, NewRoot: e.meta.RootHash, Events: st.events})
	m.opts.Logger.Info("a context runs another application", "context", e.id, "application", req.Application)
	return nil
}

// successor is the record of an application that may follow another: of the same signer, and here.
func (m *manager) successor(ctx context.Context, old, next domain.ApplicationID) (wire.ApplicationRecord, error) {
	app, found, err := store.Application.Get(ctx, m.opts.DB, next)
	if err != nil {
		return app, err
	}
	if !found {
		return app, errkind.NotFound.Errorf("application with id '%s' not found", next)
	}
	if _, err := m.opts.Modules.Module(ctx, next, app); err != nil {
		return app, err
	}
	was, found, err := store.Application.Get(ctx, m.opts.DB, old)
	if err != nil || !found || was.SignerID == "" || was.SignerID == app.SignerID {
		return app, err
	}
	if app.SignerID == "" {
		return app, errkind.Precondition.Errorf("Security downgrade rejected: Cannot update from signed application (signerId: '%s') to "+
			"unsigned (legacy) application. Signed-to-unsigned downgrades are disallowed to prevent security vulnerabilities. If you need "+
			"to use a legacy unsigned application, you must create a new context.", was.SignerID)
	}
	return app, errkind.Precondition.Errorf("AppKey continuity violation: signerId mismatch. Cannot update from signerId '%s' to signerId "+
		"'%s'. The same signing key must be used for application updates.", was.SignerID, app.SignerID)
}

// stageMigration runs a migration and adds the state that it makes, as a delta, to b and st; nothing if the state has it
// behind it.
func (m *manager) stageMigration(ctx context.Context, b *store.Batch, e *entry, req UpgradeRequest, app wire.ApplicationRecord,
	st *staged) error {
	done := migration{Application: req.Application, Method: *req.Migrate}
	group, err := m.groupOf(ctx, e.id)
	if err != nil {
		return err
	}
	if group != nil {
		last, _, err := store.GroupContextLastMigration.Get(ctx, m.opts.DB, store.GroupContextKey{Group: *group, Context: e.id})
		if err != nil || last == done.mark() {
			return err
		}
	}
	switch {
	case e.meta.RootHash.IsZero():
		return &CallError{Type: Uninitialized}
	case e.local.GuestMerge:
		return errkind.Unsupported.Errorf("context %s is merged by its application, which has to migrate its state itself", e.id)
	}
	member, err := m.migrator(ctx, e, req.Member)
	if err != nil {
		return err
	}
	state, res, err := m.migrate(ctx, e, req, app, member)
	if err != nil {
		return err
	}
	key, _, found, err := m.opts.Identity.Own(ctx, e.id, member)
	if err != nil {
		return err
	}
	if !found {
		return &CallError{Type: Unauthorized, Context: e.id, PublicKey: member}
	}
	event, err := done.event()
	if err != nil {
		return err
	}
	res.Events, st.events = []runtime.Event{event}, []Event{event}
	if err := m.stageState(ctx, b, e, member, &key, state, res, st); err != nil {
		return err
	}
	if group != nil {
		store.GroupContextLastMigration.Put(b, store.GroupContextKey{Group: *group, Context: e.id}, done.mark())
	}
	return b.Err()
}

// migrator is who runs a migration: its delta must be one that peers take.
func (m *manager) migrator(ctx context.Context, e *entry, given *domain.PublicKey) (domain.PublicKey, error) {
	if given == nil {
		return m.writerOf(ctx, e.id)
	}
	readOnly, err := m.readOnly(ctx, e, *given)
	if err == nil && readOnly {
		err = errkind.PermissionDenied.Errorf("%s may only read context %s, and so cannot migrate it", given, e.id)
	}
	return *given, err
}

// migrate runs a migration method: what it returns is the new state; what it writes is lost, as in the reference.
func (m *manager) migrate(ctx context.Context, e *entry, req UpgradeRequest, app wire.ApplicationRecord, member domain.PublicKey) (
	state []byte, res *runtime.Result, err error) {
	h := newHost(m, e)
	defer h.discard()
	c := &call{context: e.id, method: *req.Migrate, executor: member, kind: runtime.Migrate}
	done, err := m.run(ctx, e, h, c, req.Application, app)
	if err != nil {
		return nil, nil, err
	}
	if err := guestError(done.Result); err != nil {
		return nil, nil, errkind.Precondition.Errorf("Migration execution failed: %w", err)
	}
	if done.Value == nil {
		return nil, nil, errkind.Precondition.Errorf("Migration function did not return any data. Ensure the migration function returns " +
			"the new state.")
	}
	return append(slices.Clip(done.Value), crdt.StateEntryID[:]...), done.Result, nil
}

// stageState adds a write of the state entry, by a member, to b and st.
func (m *manager) stageState(ctx context.Context, b *store.Batch, e *entry, member domain.PublicKey, key *domain.PrivateKey,
	state []byte, res *runtime.Result, st *staged) error {
	v := m.view(ctx, e)
	write, err := stateWrite(v, e.id, state, max(res.Usage.Time, uint64(m.opts.Now().UnixNano())))
	if err != nil {
		return err
	}
	v.knowShadows([]crdt.Action{write})
	authored, err := engine.Author(v, engine.Call{Context: e.id, Executor: member, Actions: []crdt.Action{write}})
	if err != nil {
		return err
	}
	if len(authored.Refused) > 0 {
		return errkind.Precondition.Errorf("the migrated state is refused: %s", authored.Refused[0].Reason)
	}
	st.rows = stateRows(authored.Rows())
	st.meta.RootHash = authored.Change.Root
	st.local.Seen = max(st.local.Seen, engine.LatestTime(authored.Actions))
	st.local.Shadows = st.local.Shadows || v.hasShadow(authored.Change.Rows)
	if len(authored.Actions) > 0 {
		c := &call{context: e.id, executor: member, kind: runtime.Migrate}
		if err := m.stageDelta(b, e, c, &executor.Result{Result: res}, authored.Actions, key, st); err != nil {
			return err
		}
	}
	b.Rows(e.id, st.rows)
	return b.Err()
}

// stateWrite is the update of the state entry: at the place where it is, later than it.
func stateWrite(v engine.View, id domain.ContextID, state []byte, now uint64) (crdt.Action, error) {
	root := crdt.TreeRoot(id)
	keys := []crdt.StateKey{crdt.IndexKey(crdt.StateEntryID), crdt.IndexKey(root)}
	rows, err := v.Get(keys)
	if err != nil {
		return crdt.Action{}, err
	}
	for _, row := range rows {
		if row == nil {
			return crdt.Action{}, errkind.Precondition.Errorf("context %s has no state entry to migrate", id)
		}
	}
	var index, parent crdt.EntityIndex
	if err := borsh.Unmarshal(rows[0], &index); err != nil {
		return crdt.Action{}, errkind.Corrupt.Errorf("state entry of context %s: %w", id, err)
	}
	if err := borsh.Unmarshal(rows[1], &parent); err != nil {
		return crdt.Action{}, errkind.Corrupt.Errorf("tree root of context %s: %w", id, err)
	}
	write := crdt.Action{
		Kind: crdt.Update, ID: crdt.StateEntryID, Data: state, Metadata: index.Metadata,
		Ancestors: []crdt.ChildInfo{{ID: root, MerkleHash: parent.FullHash, Metadata: parent.Metadata}},
	}
	write.Metadata.UpdatedAt = max(now, index.Metadata.UpdatedAt+1)
	return write, nil
}
