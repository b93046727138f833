package converge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
	"github.com/calimero-go/core/tests/apps"
)

// maxNodes is how many nodes a history may have.
const maxNodes = 5

// Rig is what histories share: a runtime plugin for each node, linked into this process, and every sample application,
// compiled once. Histories may run on it in parallel.
type Rig struct {
	dir string
	// runtimes is one for each node of a history: the plugin's copy of a context's rows is one node's.
	runtimes [maxNodes]runtime.Plugin
	modules  map[string]domain.Hash
	exec     atomic.Uint64

	mu      sync.Mutex
	sources map[domain.ContextID]source
}

// source gives an execution its clock and its random bytes.
type source struct {
	clock  func() uint64
	random io.Reader
}

// NewRig compiles the named sample applications, all of them when there are no names, in a folder of its own.
func NewRig(ctx context.Context, names ...string) (*Rig, error) {
	if len(names) == 0 {
		names = apps.Names()
	}
	dir, err := os.MkdirTemp("", "converge")
	if err != nil {
		return nil, err
	}
	r := &Rig{dir: dir, modules: map[string]domain.Hash{}, sources: map[domain.ContextID]source{}}
	for i := range r.runtimes {
		r.runtimes[i] = wasmer.NewRepeatable(r.sourceOf)
		if err := r.prepare(ctx, r.runtimes[i], names); err != nil {
			return nil, errors.Join(err, r.Close(ctx))
		}
	}
	return r, nil
}

// prepare configures a plugin. All share the folder, in which the first finds nothing compiled.
func (r *Rig) prepare(ctx context.Context, p runtime.Plugin, names []string) error {
	settings := map[string]int64{"lanes": 256, "memory_budget": 4096, "row_cache": 64, "module_cache": 64}
	values := map[string]cty.Value{}
	for name, v := range settings {
		values[name] = cty.NumberIntVal(v)
	}
	diags, err := p.Configure(ctx, base.Config{Value: cty.ObjectVal(values), DataDir: r.dir, Node: "converge"})
	if err != nil {
		return err
	}
	if diags.HasErrors() {
		return diags.Err()
	}
	for _, name := range names {
		wasm, err := apps.Wasm(name)
		if err != nil {
			return err
		}
		id := domain.Hash(sha256.Sum256(wasm))
		if _, err := p.Prepare(ctx, id, uint64(len(wasm)), bytes.NewReader(wasm)); err != nil {
			return fmt.Errorf("application %s: %w", name, err)
		}
		r.modules[name] = id
	}
	return nil
}

// Close ends the runtimes and removes their folder.
func (r *Rig) Close(ctx context.Context) error {
	var errs []error
	for _, p := range r.runtimes {
		if p != nil {
			errs = append(errs, p.Close(ctx))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// sourceOf gives an execution what its context was given last.
func (r *Rig) sourceOf(e *runtime.Execute) (func() uint64, io.Reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sources[e.Context]
	return s.clock, s.random
}

func (r *Rig) setSource(id domain.ContextID, s source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources[id] = s
}

func (r *Rig) dropSource(id domain.ContextID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sources, id)
}
