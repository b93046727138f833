// Package storagetest is the conformance kit of storage plugins: the contract of package storage as tests. A plugin's
// author runs it against the implementation in process, over gRPC, and in a child process:
//
//	for _, h := range sdktest.Heights(storage.Wire, mystore.New, sdktest.Reexec("mystore")) {
//		t.Run(h.Name, func(t *testing.T) { storagetest.Run(t, storagetest.Persistent(h.New)) })
//	}
//
// SCALE=full in the environment adds what takes minutes.
package storagetest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Factory makes the stores of the tests.
type Factory struct {
	// New makes an empty, configured store. The kit closes it.
	New func(tb testing.TB) storage.Plugin
	// Reopen closes p in good order and opens its data anew; nil when nothing outlives the plugin.
	Reopen func(tb testing.TB, p storage.Plugin) storage.Plugin
	// Crash ends p without warning, as kill -9 does, and opens its data anew; nil when that cannot be done.
	Crash func(tb testing.TB, p storage.Plugin) storage.Plugin
	// Leased is New for a store whose unused snapshots live as long as lease; nil when it is always
	// storage.SnapshotLease. Then their end is tested only with SCALE=full.
	Leased func(tb testing.TB, lease time.Duration) storage.Plugin
}

// Persistent is the Factory for plugins that keep their data in their data folder and need no configuration but the
// defaults of their schema. open makes an unconfigured plugin.
func Persistent(open func(tb testing.TB) storage.Plugin) Factory {
	return PersistentWith(open, nil)
}

// PersistentWith is Persistent with attributes of the config block that differ from their defaults.
func PersistentWith(open func(tb testing.TB) storage.Plugin, attributes map[string]cty.Value) Factory {
	var dirs sync.Map
	start := func(tb testing.TB, dir string) storage.Plugin {
		tb.Helper()
		p := open(tb)
		dirs.Store(p, dir)
		Configure(tb, p, dir, attributes)
		return p
	}
	return Factory{
		New: func(tb testing.TB) storage.Plugin { return start(tb, tb.TempDir()) },
		Reopen: func(tb testing.TB, p storage.Plugin) storage.Plugin {
			tb.Helper()
			dir, ok := dirs.Load(p)
			require.True(tb, ok, "the plugin is not of this factory")
			require.NoError(tb, p.Close(context.Background()))
			return start(tb, dir.(string))
		},
	}
}

// Configure configures p with the defaults of its schema, changed by attributes, and requires that nothing is wrong.
func Configure(tb testing.TB, p storage.Plugin, dataDir string, attributes map[string]cty.Value) {
	tb.Helper()
	ctx := context.Background()
	schema, err := p.Schema(ctx)
	require.NoError(tb, err)
	d, err := p.Configure(ctx, base.Config{Value: Value(schema, attributes), DataDir: dataDir, Node: "storagetest"})
	require.NoError(tb, err)
	require.False(tb, d.HasErrors(), "%v", d)
}

// Value is the config block with the defaults of s, changed by attributes.
func Value(s base.Schema, attributes map[string]cty.Value) cty.Value {
	m := make(map[string]cty.Value)
	for _, a := range s.Attributes {
		switch v, ok := attributes[a.Name]; {
		case ok:
			m[a.Name] = v
		case a.Default != cty.NilVal:
			m[a.Name] = a.Default
		default:
			m[a.Name] = cty.NullVal(a.Type)
		}
	}
	for _, b := range s.Blocks {
		t := b.Schema.ObjectType()
		switch v, ok := attributes[b.Name]; {
		case ok:
			m[b.Name] = v
		case b.Repeated:
			m[b.Name] = cty.ListValEmpty(t)
		default:
			m[b.Name] = cty.NullVal(t)
		}
	}
	return cty.ObjectVal(m)
}

// full tells whether the tests that take minutes run.
func full() bool { return os.Getenv("SCALE") == "full" }

// Run runs all tests; each behaviour is a subtest with a store of its own.
func Run(t *testing.T, f Factory) {
	for _, group := range []struct {
		name  string
		tests []check
	}{
		{"info", infoChecks},
		{"get", getChecks},
		{"apply", applyChecks},
		{"idempotence", idempotenceChecks},
		{"scan", scanChecks},
		{"snapshot", snapshotChecks},
		{"bounds", boundChecks},
		{"concurrency", concurrencyChecks},
		{"model", modelChecks},
		{"issues", issueChecks},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.tests {
				t.Run(c.name, func(t *testing.T) {
					if !c.alone {
						t.Parallel()
					}
					if c.needs != nil {
						if why := c.needs(f); why != "" {
							t.Skip(why)
						}
					}
					s := &suite{TB: t, t: t, ctx: context.Background(), f: f}
					s.use(f.New(t))
					// Deferred: what a Reopen started is stopped by the cleanups of the test.
					defer func() {
						if err := s.store.Close(context.Background()); err != nil {
							t.Errorf("close the store: %v", err)
						}
					}()
					c.run(s)
				})
			}
		})
	}
}

// check is one tested behaviour.
type check struct {
	name string
	run  func(s *suite)
	// alone: it needs much memory, so nothing runs beside it.
	alone bool
	// needs tells why the check does not apply; "" = it does.
	needs func(f Factory) string
}

func needsReopen(f Factory) string {
	if f.Reopen == nil {
		return "nothing outlives the plugin"
	}
	return ""
}

func needsCrash(f Factory) string {
	if f.Crash == nil {
		return "the factory cannot crash the plugin"
	}
	return ""
}

func needsShortLease(f Factory) string {
	if f.Leased == nil && !full() {
		return "the lease is long; run with SCALE=full"
	}
	return ""
}

// suite is one running check.
type suite struct {
	testing.TB
	t     *testing.T
	ctx   context.Context
	f     Factory
	store storage.Plugin
	info  base.Info
}

func (s *suite) use(p storage.Plugin) {
	s.store = p
	var err error
	s.info, err = p.Info(s.ctx)
	require.NoError(s, err)
}

// needs skips the rest unless the plugin announced the capability.
func (s *suite) needs(capability string) {
	if !s.info.Has(capability) {
		s.Skipf("the plugin does not announce %q", capability)
	}
}
