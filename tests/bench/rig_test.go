package bench_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"google.golang.org/grpc"

	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
	"github.com/calimero-go/core/tests/harness"
)

// core is what lies between HTTP and the plugins, over any storage and runtime.
type core struct {
	dir      string
	apps     *apps.Service
	contexts *contexts.Client
}

// modules lets contexts find modules, as in a node.
type modules struct{ apps *apps.Service }

func (m modules) Module(ctx context.Context, id domain.ApplicationID, app wire.ApplicationRecord) (contexts.Module, error) {
	mod, err := m.apps.Module(ctx, id, app)
	return contexts.Module{ID: mod.ID, Open: mod.Open}, err
}

func newCore(tb testing.TB, dir string, st storage.Store, rt runtime.Runtime) *core {
	tb.Helper()
	return newCoreWith(tb, dir, st, rt, contexts.Options{})
}

func newCoreWith(tb testing.TB, dir string, st storage.Store, rt runtime.Runtime, opts contexts.Options) *core {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	db := store.Open(st, store.Options{})
	ids := identity.New(db)
	blobStore, err := blobs.Open(ctx, db, filepath.Join(dir, "blobs"), blobs.Options{})
	require.NoError(tb, err)
	service := apps.New(db, blobStore, rt, apps.Options{})
	x, err := executor.New(ctx, rt, executor.Options{Limits: runtime.DefaultLimits()})
	require.NoError(tb, err)
	opts.DB, opts.Blobs, opts.Identity, opts.Executor, opts.Modules = db, blobStore, ids, x, modules{service}
	manager := contexts.New(opts)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- manager.Serve(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			tb.Errorf("the actor ended with %v", err)
		}
		x.Close()
	})
	return &core{dir: dir, apps: service, contexts: manager.Client()}
}

// context creates a context of a sample app.
func (c *core) context(tb testing.TB, app string) *coreContext {
	tb.Helper()
	path := filepath.Join(c.dir, app+".wasm")
	require.NoError(tb, os.WriteFile(path, wasm(tb, app), 0o600))
	id, err := c.apps.InstallPath(tb.Context(), path, nil, "", "")
	require.NoError(tb, err)
	x, err := c.contexts.Create(tb.Context(), contexts.CreateRequest{Application: id})
	require.NoError(tb, err)
	return &coreContext{c.contexts, x.Context, x.Member}
}

type coreContext struct {
	client *contexts.Client
	id     domain.ContextID
	member domain.PublicKey
}

func (x *coreContext) call(ctx context.Context, method string, args []byte) error {
	_, err := x.client.Execute(ctx, contexts.ExecuteRequest{Context: x.id, Method: method, Args: args, Executor: x.member})
	return err
}

// tempDir is a folder with a short path.
func tempDir(tb testing.TB) string {
	tb.Helper()
	dir, err := harness.TempDir()
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, os.RemoveAll(dir)) })
	return dir
}

// newLinked links the plugins into this process.
func newLinked(tb testing.TB) *core {
	tb.Helper()
	dir := tempDir(tb)
	st, rt := leveldb.New(), wasmer.New()
	configure(tb, st, filepath.Join(dir, "storage"))
	configure(tb, rt, filepath.Join(dir, "runtime"))
	return newCore(tb, dir, st, rt)
}

// configure gives a plugin its defaults and closes it at the end.
func configure(tb testing.TB, p base.Plugin, dir string) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	schema, err := p.Schema(ctx)
	require.NoError(tb, err)
	require.NoError(tb, os.MkdirAll(dir, 0o700))
	diags, err := p.Configure(ctx, base.Config{Value: defaults(schema), DataDir: dir, Node: "bench"})
	require.NoError(tb, err)
	require.False(tb, diags.HasErrors(), "%v", diags)
	tb.Cleanup(func() { require.NoError(tb, p.Close(ctx)) })
}

func defaults(s base.Schema) cty.Value {
	values := map[string]cty.Value{}
	for _, a := range s.Attributes {
		values[a.Name] = a.Default
		if a.Default == cty.NilVal {
			values[a.Name] = cty.NullVal(a.Type)
		}
	}
	for _, b := range s.Blocks {
		values[b.Name] = cty.NullVal(b.Schema.ObjectType())
	}
	return cty.ObjectVal(values)
}

// newHosted runs the plugins as processes, under the core's plugin host.
func newHosted(tb testing.TB, options ...grpc.DialOption) *core {
	tb.Helper()
	home, st, rt := newPlugins(tb, options...)
	return newCore(tb, home, st, rt)
}

// newPlugins starts the plugins as processes, with a folder beside theirs.
func newPlugins(tb testing.TB, options ...grpc.DialOption) (string, storage.Store, runtime.Runtime) {
	tb.Helper()
	n := harness.Make(tb, harness.Options{}) // its folder, configuration and pins; it is not started
	cfg, diags := config.Load(n.Config, config.WithHome(n.Home), config.WithNode(filepath.Base(n.Dir)))
	require.False(tb, diags.HasErrors(), "%v", diags.Err())
	ctx := context.WithoutCancel(tb.Context())
	o := pluginhost.FromConfig(cfg)
	o.DialOptions = options
	host, err := pluginhost.Open(ctx, o)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, host.Close(ctx)) })
	st, err := pluginhost.Start(ctx, host, storage.Wire, pluginhost.SpecOf(cfg, cfg.Plugin(storage.Kind, "")))
	require.NoError(tb, err)
	rt, err := pluginhost.Start(ctx, host, runtime.Wire, pluginhost.SpecOf(cfg, cfg.Plugin(runtime.Kind, "")))
	require.NoError(tb, err)
	return n.Home, pluginhost.Storage(st), pluginhost.Runtime(rt)
}

// bare runs a module's methods on the engine with the guest's interface, and nothing else: its rows stay in the
// runtime's memory, nothing is hashed, signed or stored.
type bare struct {
	context domain.ContextID
	lane    runtime.Lane
	module  domain.Hash
	exec    uint64
	accept  uint64
	version uint64
}

func newBare(tb testing.TB, app string) *bare {
	tb.Helper()
	r := newBareAt(tb, app, domain.ContextID{1})
	_, err := r.run(context.WithoutCancel(tb.Context()), "init", []byte("{}"), runtime.Init)
	require.NoError(tb, err)
	return r
}

// newBareAt is one without any state.
func newBareAt(tb testing.TB, app string, id domain.ContextID) *bare {
	tb.Helper()
	rt := wasmer.New()
	configure(tb, rt, filepath.Join(tempDir(tb), "runtime"))
	code := wasm(tb, app)
	r := &bare{context: id, module: sha256sum(code)}
	_, err := rt.Prepare(tb.Context(), r.module, uint64(len(code)), reader(code))
	require.NoError(tb, err)
	ctx := context.WithoutCancel(tb.Context())
	r.lane, err = rt.OpenLane(ctx)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, r.lane.Close()) })
	return r
}

func (r *bare) call(ctx context.Context, method string, args []byte) error {
	_, err := r.run(ctx, method, args, runtime.Call)
	return err
}

func (r *bare) run(ctx context.Context, method string, args []byte, kind runtime.CallKind) (*runtime.Result, error) {
	r.exec++
	state := runtime.State{Epoch: 1, Version: r.version}
	if r.accept != 0 {
		r.version++
		state.Version = r.version
		state.Steps = []runtime.Step{{To: r.version, AcceptExec: r.accept}}
		r.accept = 0
	}
	res, err := r.lane.Execute(ctx, &runtime.Execute{
		ID: r.exec, Module: r.module, Context: r.context, Executor: domain.PublicKey{2}, Method: method, Input: args,
		Kind: kind, State: state, HasPrivate: true, Detail: runtime.WritesNone, TimeFloor: 1,
		Budget: runtime.Budget{Fuel: 1e11, DeadlineMillis: 30_000, Limits: runtime.DefaultLimits()},
	}, noRows{})
	if err != nil {
		return nil, err
	}
	if res.Fault != nil {
		return nil, res.Fault
	}
	if res.RootHash != nil {
		r.accept = r.exec
	}
	return res, nil
}

// noRows is a host without anything: what the guest has not written is absent.
type noRows struct{}

var errNothing = errors.New("there is nothing here")

func (noRows) Rows(context.Context, []runtime.Key) ([]runtime.Row, error) { return nil, nil }
func (noRows) HostFn(context.Context, string, string, []byte) ([]byte, error) {
	return nil, errNothing
}
func (noRows) BlobSize(context.Context, domain.BlobID) (uint64, error) { return 0, errNothing }
func (noRows) BlobRead(context.Context, domain.BlobID, uint64, uint64) ([]byte, error) {
	return nil, errNothing
}
func (noRows) BlobAnnounce(context.Context, domain.BlobID, domain.ContextID) error {
	return errNothing
}
func (noRows) BlobPart(context.Context, runtime.BlobPart) error { return errNothing }

var _ runtime.Host = noRows{}
