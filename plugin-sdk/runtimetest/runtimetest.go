// Package runtimetest is the conformance kit of runtime plugins
// (runtime-protocol.md §9). A plugin author runs it at every height:
//
//	for _, h := range sdktest.Heights(runtime.Wire, myruntime.New, sdktest.Reexec("myruntime")) {
//		t.Run(h.Name, func(t *testing.T) { runtimetest.Run(t, h.New) })
//	}
package runtimetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

//go:embed testdata/kit.wasm
var kit []byte

// MaxModule is the module size limit the kit uses.
const MaxModule = 10 << 20

// Kit returns the kit's own module and its id; testdata/kit.wat says what it does.
func Kit() (wasm []byte, id domain.Hash) { return bytes.Clone(kit), sha256.Sum256(kit) }

// Configure configures p with the defaults of its schema, changed by attributes,
// and requires that nothing is wrong.
func Configure(tb testing.TB, p base.Plugin, dataDir string, attributes map[string]cty.Value) {
	tb.Helper()
	schema, err := p.Schema(context.Background())
	require.NoError(tb, err)
	values := make(map[string]cty.Value, len(schema.Attributes))
	for name, typ := range schema.ObjectType().AttributeTypes() {
		values[name] = cty.NullVal(typ)
	}
	for _, a := range schema.Attributes {
		if a.Default != cty.NilVal {
			values[a.Name] = a.Default
		}
		if v, ok := attributes[a.Name]; ok {
			values[a.Name] = v
		}
	}
	d, err := p.Configure(context.Background(), base.Config{Value: cty.ObjectVal(values), DataDir: dataDir, Node: "runtimetest"})
	require.NoError(tb, err)
	require.False(tb, d.HasErrors(), "%v", d)
}

// suite is one case: a plugin shared by all, a core of its own.
type suite struct {
	*testing.T
	p    runtime.Plugin
	core *Core
	kit  domain.Hash
}

type testCase struct {
	name  string
	needs []string // capabilities
	run   func(s *suite)
}

// Run runs the kit on the plugin that start makes; it is configured with its defaults.
func Run(t *testing.T, start func(testing.TB) runtime.Plugin) {
	t.Helper()
	p := start(t)
	Configure(t, p, t.TempDir(), nil)
	t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
	engine, err := p.Engine(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, engine.Name)
	require.GreaterOrEqual(t, engine.MaxLanes, 1)
	has := make(map[string]bool)
	for _, c := range engine.Capabilities {
		has[c] = true
	}
	_, id := Kit()
	for _, list := range [][]testCase{moduleCases, callCases, rowCases, stopCases, boundCases, loadCases, collectionCases} {
		for _, c := range list {
			t.Run(c.name, func(t *testing.T) {
				for _, n := range c.needs {
					if !has[n] {
						t.Skipf("the plugin does not announce %s", n)
					}
				}
				s := &suite{T: t, p: p, kit: id}
				Prepare(t, p, kit)
				s.core = NewCore(t, p)
				c.run(s)
			})
		}
	}
}

// Prepare hands a module to a runtime and requires that it is accepted.
func Prepare(tb testing.TB, p runtime.Runtime, wasm []byte) runtime.ModuleInfo {
	tb.Helper()
	info, err := p.Prepare(context.Background(), sha256.Sum256(wasm), MaxModule, bytes.NewReader(wasm))
	require.NoError(tb, err)
	return info
}

var lastContext, lastExec atomic.Uint64
