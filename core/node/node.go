// Package node wires the parts of the core into a node: plugins, store, actors, HTTP. This is the one place that knows
// them all; read New and Run from top to bottom.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/thejerf/suture/v4"

	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Options are what the configuration does not say.
type Options struct {
	Version string
	// Log takes the node's log.
	Log io.Writer
}

// Node is a node. Run runs it once.
type Node struct {
	cfg  *config.Config
	opts Options
	log  *slog.Logger
	reg  *prometheus.Registry

	host    *pluginhost.Host
	storage *pluginhost.Handle[storage.Plugin]
	runtime *pluginhost.Handle[runtime.Plugin]
	auth    *pluginhost.Handle[auth.Plugin] // nil without

	db       *store.DB
	blobs    *blobs.Store
	identity *identity.Service
	groups   *groups.Service
	apps     *apps.Service
	executor *executor.Executor
	contexts *contexts.Client
	network  *network.Client
	manager  *manager
}

// New makes a node of a configuration; nothing is started.
func New(cfg *config.Config, opts Options) (*Node, error) {
	log, err := newLogger(cfg.Log, opts.Log)
	if err != nil {
		return nil, err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Node{cfg: cfg, opts: opts, log: log, reg: reg}, nil
}

// stopTime bounds the orderly end of everything but the plugins, which have budgets of their own.
const stopTime = 20 * time.Second

// Run starts the node and serves until ctx ends; then it stops in good order: HTTP, NodeManager, network, actors,
// runtime, auth, storage.
func (n *Node) Run(ctx context.Context) (err error) {
	start := time.Now()
	if err := n.startPlugins(ctx); err != nil {
		return errors.Join(err, n.stopPlugins())
	}
	defer func() { err = errors.Join(err, n.stopPlugins()) }()
	if err := n.openData(ctx); err != nil {
		return err
	}
	defer n.executor.Close()
	swarm, err := n.newNetwork()
	if err != nil {
		return err
	}
	actors := n.newActors()
	if n.manager, err = n.newManager(); err != nil {
		return err
	}
	stopActors := n.startActors(actors)
	defer stopActors()
	stopNetwork, err := n.startNetwork(ctx, swarm)
	if err != nil {
		return err
	}
	defer stopNetwork()
	stopManager := n.manager.start()
	defer stopManager()
	return n.serve(ctx, func() {
		n.log.Info("Node started successfully", "node", n.cfg.Node.Name, "version", n.opts.Version,
			"took", time.Since(start).Round(time.Millisecond))
	})
}

// startPlugins starts all plugins at the same time.
func (n *Node) startPlugins(ctx context.Context) error {
	blocks, err := n.pluginBlocks()
	if err != nil {
		return err
	}
	opts := pluginhost.FromConfig(n.cfg)
	opts.Logger, opts.Registerer = n.log, n.reg
	if n.host, err = pluginhost.Open(ctx, opts); err != nil {
		return err
	}
	started := make(chan error, 3)
	launch := func(start func() error) { go func() { started <- start() }() }
	launch(func() (err error) {
		n.storage, err = pluginhost.Start(ctx, n.host, storage.Wire, pluginhost.SpecOf(n.cfg, blocks.storage))
		return err
	})
	launch(func() (err error) {
		n.runtime, err = pluginhost.Start(ctx, n.host, runtime.Wire, pluginhost.SpecOf(n.cfg, blocks.runtime))
		return err
	})
	launch(func() (err error) {
		if blocks.auth != nil {
			n.auth, err = pluginhost.Start(ctx, n.host, auth.Wire, pluginhost.SpecOf(n.cfg, blocks.auth))
		}
		return err
	})
	return errors.Join(<-started, <-started, <-started)
}

type blocks struct{ storage, runtime, auth *config.Plugin }

// pluginBlocks finds the plugins that a node needs.
func (n *Node) pluginBlocks() (blocks, error) {
	b := blocks{storage: n.cfg.Plugin(storage.Kind, ""), runtime: n.cfg.Plugin(runtime.Kind, "")}
	for kind, p := range map[string]*config.Plugin{storage.Kind: b.storage, runtime.Kind: b.runtime} {
		if p == nil {
			return b, errkind.Invalid.Errorf("%s has no plugin %q block: a node needs one", n.cfg.Path, kind)
		}
	}
	if n.cfg.Server.Auth != config.NoAuth {
		if b.auth = n.cfg.Plugin(auth.Kind, n.cfg.Server.Auth); b.auth == nil {
			return b, errkind.Invalid.Errorf("%s says server.auth = %q and has no plugin \"auth\" %q block", n.cfg.Path,
				n.cfg.Server.Auth, n.cfg.Server.Auth)
		}
	}
	return b, nil
}

// openData opens what lies over the storage and the runtime.
func (n *Node) openData(ctx context.Context) error {
	n.db = store.Open(store.MetricsWrap(pluginhost.Storage(n.storage), n.reg), store.Options{Registerer: n.reg, Logger: n.log,
		CacheBytes: int(n.cfg.Store.CacheBytes)})
	n.identity = identity.New(n.db)
	if key := n.groupKey(); key != nil {
		n.identity = identity.NewNode(n.db, *key)
	}
	n.groups = groups.New(groups.Options{
		DB: n.db, Logger: n.log,
		// Nothing is made or taken before the NodeManager is there.
		Publish: func(p groups.Published) { n.manager.groups.Published(p) },
		Changed: func(id domain.GroupID, c []governance.Change) {
			n.manager.groups.Changed(id, c)
			n.manager.sync.GroupsChanged()
			n.manager.upgrades.Changed(id)
		},
		Late: func(l groups.Late) { n.manager.groups.Late(l) },
	})
	var err error
	if n.blobs, err = blobs.Open(ctx, n.db, n.cfg.Node.Blobs, blobs.Options{Logger: n.log}); err != nil {
		return fmt.Errorf("open blobs: %w", err)
	}
	rt := pluginhost.Runtime(n.runtime)
	n.apps = apps.New(n.db, n.blobs, rt, apps.Options{MaxModule: n.cfg.Execution.MaxModule, Logger: n.log})
	x := n.cfg.Execution
	if n.executor, err = executor.New(ctx, rt, executor.Options{
		Lanes: x.Lanes, Fuel: x.Fuel, Deadline: x.Deadline, MemoryPages: x.MemoryPages, MaxModule: x.MaxModule,
		Limits: x.Limits, AllowUnmetered: x.AllowUnmetered, Kill: n.runtime.Kill, Registerer: n.reg, Logger: n.log,
	}); err != nil {
		return fmt.Errorf("open runtime: %w", err)
	}
	return nil
}

// newActors makes the ContextManager. What it commits goes to the NodeManager, which is there before it runs.
func (n *Node) newActors() *contexts.Actor {
	x := n.cfg.Execution
	a := contexts.New(contexts.Options{
		DB: n.db, Blobs: n.blobs, Identity: n.identity, Executor: n.executor, Groups: n.groups,
		Modules: modules{n.apps}, Arrive: n.apps.Arrive,
		XCall: contexts.XCallPolicy(x.XCall), XCallDepth: x.XCallDepth, XCallCalls: x.XCallCount,
		OnDelta:  func(p contexts.Published) { n.manager.sync.Publish(p) },
		Migrated: func(id domain.ContextID) { n.manager.upgrades.Migrated(id) },
		Announce: func(ctx context.Context, id domain.ContextID, blob domain.BlobID, size uint64) error {
			return n.network.Provide(ctx, network.BlobKey{Context: id, Blob: blob}, size)
		},
		// The SyncManager has asked, with regard to the delta's place in the history.
		Authorize:  func(context.Context, domain.ContextID, domain.PublicKey) error { return nil },
		Registerer: n.reg, Logger: n.log,
	})
	n.contexts = a.Client()
	return a
}

// startActors runs the actors under a supervisor; the function returned stops them and waits.
func (n *Node) startActors(manager *contexts.Actor) (stop func()) {
	tree := suture.New("node", suture.Spec{Timeout: stopTime, EventHook: func(e suture.Event) {
		n.log.Warn("supervisor", "event", e.String())
	}})
	tree.Add(manager)
	ctx, cancel := context.WithCancel(context.Background())
	done := tree.ServeBackground(ctx)
	return func() {
		n.contexts.CloseSubscriptions()
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			n.log.Warn("actors stopped", "err", err)
		}
	}
}

// stopPlugins closes the plugins: runtime, auth, storage.
func (n *Node) stopPlugins() error {
	if n.host == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var all []error
	if n.runtime != nil {
		all = append(all, n.runtime.Close(ctx))
	}
	if n.auth != nil {
		all = append(all, n.auth.Close(ctx))
	}
	if n.storage != nil {
		all = append(all, n.storage.Close(ctx))
	}
	return errors.Join(append(all, n.host.Close(ctx))...)
}

// ready says why the node cannot serve at the moment; nil if it can.
func (n *Node) ready() error {
	var all []error
	for _, s := range n.host.Status() {
		if s.Err != nil {
			all = append(all, fmt.Errorf("%s plugin %s: %w", s.Kind, s.Name, s.Err))
		}
	}
	return errors.Join(all...)
}

// modules lets contexts find the module of an application.
type modules struct{ apps *apps.Service }

func (m modules) Module(ctx context.Context, id domain.ApplicationID, app wire.ApplicationRecord) (contexts.Module, error) {
	mod, err := m.apps.Module(ctx, id, app)
	return contexts.Module{ID: mod.ID, Open: mod.Open}, err
}
