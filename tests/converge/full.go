package converge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/tests/apps"
)

// full is a node's core: the contexts manager over a store in memory, with the runtime plugin linked in.
type full struct {
	setting

	dir     string
	storage *faulty
	db      *store.DB
	client  *contexts.Client
	metrics *prometheus.Registry
	stop    func() error

	mu  sync.Mutex
	out []contexts.Published
}

// faulty is a store that can leave commits without an answer, and do them when it has done the next one.
type faulty struct {
	storage.Plugin
	broken atomic.Bool

	mu   sync.Mutex
	late []storage.Batch
}

var errBroken = errkind.Unavailable.Errorf("the store is broken")

func (f *faulty) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken.Load() {
		f.late = append(f.late, b)
		return false, errBroken
	}
	replayed, err := f.Plugin.Apply(ctx, b)
	for _, b := range f.late {
		if _, err := f.Plugin.Apply(ctx, b); err != nil {
			return false, err
		}
	}
	f.late = nil
	return replayed, err
}

// application is the one of every history.
var application = domain.ApplicationID{0xa}

// open starts the manager over the store.
func (n *full) open(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.db, n.metrics = store.Open(n.storage, store.Options{Patience: time.Millisecond}), prometheus.NewRegistry()
	files, err := blobs.Open(ctx, n.db, n.dir, blobs.Options{})
	if err != nil {
		cancel()
		return err
	}
	x, err := executor.New(ctx, n.rig.runtimes[n.slot], executor.Options{Lanes: 1, Deadline: time.Minute})
	if err != nil {
		cancel()
		return err
	}
	actor := contexts.New(contexts.Options{
		DB: n.db, Blobs: files, Identity: identity.New(n.db), Executor: x, Modules: rigModules{n.rig, n.name},
		OnDelta: n.published, Registerer: n.metrics,
		Now: func() time.Time { return time.Unix(0, int64(n.wall())) },
		Authorize: func(_ context.Context, _ domain.ContextID, author domain.PublicKey) error {
			if n.members(author) {
				return nil
			}
			return errkind.PermissionDenied.Errorf("%s is no member", author)
		},
	})
	done := make(chan error, 1)
	go func() { done <- actor.Serve(ctx) }()
	n.client = actor.Client()
	n.stop = func() error {
		cancel()
		err := <-done
		x.Close()
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	return nil
}

// rigModules finds the one module.
type rigModules struct {
	rig  *Rig
	name string
}

func (m rigModules) Module(context.Context, domain.ApplicationID, wire.ApplicationRecord) (contexts.Module, error) {
	return contexts.Module{ID: m.rig.modules[m.name], Open: func(context.Context) (io.ReadCloser, error) {
		wasm, err := apps.Wasm(m.name)
		return io.NopCloser(bytes.NewReader(wasm)), err
	}}, nil
}

func (n *full) published(p contexts.Published) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.out = append(n.out, p)
}

// take returns what was published since the last time.
func (n *full) take() ([]*Delta, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*Delta
	for _, p := range n.out {
		actions, err := crdt.DecodeActions(p.Delta.Actions)
		if err != nil {
			return nil, err
		}
		d := &Delta{
			ID: p.Delta.DeltaID, Parents: p.Delta.Parents, Actions: actions, Root: p.Delta.ExpectedRootHash,
			Author: p.Proof.Author, hlc: p.Delta.HLC, proof: p.Proof,
		}
		events, err := wire.DecodeEvents(p.Events)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			d.events = append(d.events, contexts.Event(e))
		}
		out = append(out, d)
	}
	n.out = nil
	return out, nil
}

// newFull starts a node. Each knows the application; the context comes with its first call, or with prepare.
func newFull(ctx context.Context, s setting) (*full, error) {
	n := &full{setting: s, storage: &faulty{Plugin: storagetest.NewMemory()}}
	var err error
	if n.dir, err = os.MkdirTemp(n.rig.dir, "blobs"); err != nil {
		return nil, err
	}
	if err := n.open(ctx); err != nil {
		return nil, err
	}
	b := n.db.Batch()
	store.Application.Put(b, application, wire.ApplicationRecord{Size: 1, Source: "file:///app.wasm"})
	return n, b.Commit(ctx)
}

// expect makes the context known, with an identity of the node's own and without state.
func (n *full) expect(ctx context.Context) error {
	b := n.db.Batch()
	store.ContextMeta.Put(b, n.context, wire.ContextMeta{ApplicationID: application})
	store.ContextConfig.Put(b, n.context, wire.ContextConfig{})
	store.ContextIdentity.Put(b, store.IdentityKey{Context: n.context, Identity: n.key.Public()},
		wire.ContextIdentity{PrivateKey: &n.key, SenderKey: &n.key})
	return b.Commit(ctx)
}

func (n *full) close() error {
	return errors.Join(n.inspect(n.calm), n.stop(), n.storage.Close(context.Background()), os.RemoveAll(n.dir))
}

func (n *full) call(ctx context.Context, c Call) (*Answer, error) {
	n.rig.setSource(n.context, source{n.clock, n.random})
	out := &Answer{}
	n.storage.broken.Store(c.Crash)
	var err error
	if c.Kind == runtime.Init {
		seed, secret := n.seed, [32]byte(n.key)
		_, err = n.client.Create(ctx, contexts.CreateRequest{
			Application: application, Seed: &seed, IdentitySecret: &secret, InitParams: c.Args,
		})
	} else {
		var r *contexts.ExecuteResponse
		r, err = n.client.Execute(ctx, contexts.ExecuteRequest{
			Context: n.context, Method: c.Method, Args: c.Args, Executor: n.key.Public(),
		})
		if r != nil {
			out.Output = r.Output
		}
	}
	n.storage.broken.Store(false)
	var refused *contexts.CallError
	switch {
	case c.Crash && errors.Is(err, errBroken):
		out.Failure = err.Error()
	case errors.As(err, &refused) && refused.Type == contexts.FunctionCall:
		out.Failure = err.Error()
	case err != nil:
		return nil, err
	}
	if err := n.quiet(ctx); err != nil {
		return nil, err
	}
	deltas, err := n.take()
	if err != nil || len(deltas) == 0 {
		return out, err
	}
	out.Delta, out.More = deltas[0], deltas[1:]
	return out, nil
}

// quiet waits until the handlers of events have run.
func (n *full) quiet(ctx context.Context) error {
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		due, err := store.HandlersDue.List(ctx, n.db, nil)
		if err != nil {
			return err
		}
		if len(due) == 0 {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// The row goes with the last handler's commit; whoever gets the context's lock after it finds its delta published.
	_, err := n.client.Receive(ctx, n.context, nil)
	return err
}

func (n *full) receive(ctx context.Context, deltas []*Delta) error {
	in := make([]contexts.Delta, len(deltas))
	for i, d := range deltas {
		in[i] = contexts.Delta{
			ID: d.ID, Parents: d.Parents, Actions: d.Actions, HLC: d.hlc, ExpectedRoot: d.Root, Author: d.Author, Proof: d.proof,
			Events: d.events,
		}
	}
	receipts, err := n.client.Receive(ctx, n.context, in)
	if err != nil {
		return err
	}
	for i, r := range receipts {
		if r.Outcome == contexts.Refused {
			return fmt.Errorf("delta %d is refused: %w", deltas[i].number, r.Err)
		}
		waits := len(r.Missing) > 0
		if waits != (r.Outcome == contexts.Pending) {
			return fmt.Errorf("delta %d is %s and misses %v", deltas[i].number, r.Outcome, r.Missing)
		}
	}
	return nil
}

// join: the manager takes no snapshots.
func (n *full) join(context.Context, member) error { return errors.ErrUnsupported }

func (n *full) restart(ctx context.Context) error {
	if err := n.inspect(n.calm); err != nil {
		return err
	}
	if err := n.stop(); err != nil {
		return err
	}
	return n.open(ctx)
}

func (n *full) has(ctx context.Context, id domain.Hash) (bool, error) {
	return store.Delta.Has(ctx, n.db, store.DeltaKey{Context: n.context, Delta: id})
}

func (n *full) waiting(ctx context.Context) (int, error) {
	rows, err := store.PendingDelta.List(ctx, n.db, n.context[:])
	if err != nil {
		return 0, err
	}
	missing, err := n.client.Missing(ctx, n.context)
	if len(missing) > 0 {
		err = fmt.Errorf("%d deltas are missing", len(missing))
	}
	return len(rows), err
}

func (n *full) state(ctx context.Context) (engine.Rows, domain.Hash, error) {
	rows := engine.Rows{}
	err := store.ScanRows(ctx, n.db, n.context, runtime.ScopeState, [32]byte{}, 0, 0, func(page []runtime.Row) error {
		for _, r := range page {
			rows[r.K] = r.Value
		}
		return nil
	})
	if err != nil {
		return nil, domain.Hash{}, err
	}
	_, root, err := n.client.Heads(ctx, n.context)
	return rows, root, err
}

// inspect says what the manager counted and must not have.
func (n *full) inspect(calm bool) error {
	bad := []string{"calimero_contexts_refused_actions_total", "calimero_contexts_panics_total"}
	if calm {
		bad = append(bad, "calimero_contexts_root_differences_total")
	}
	families, err := n.metrics.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if slices.Contains(bad, f.GetName()) && m.GetCounter().GetValue() > 0 {
				return fmt.Errorf("%s: %s is %v", f.GetHelp(), f.GetName(), m.GetCounter().GetValue())
			}
		}
	}
	return nil
}
