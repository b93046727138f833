package runtimetest

import (
	"context"
	"io"
	"time"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Guest is an application written in Go, and a runtime that has it for every module, for tests of what uses a runtime.
type Guest func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error)

// Engine implements [runtime.Runtime].
func (Guest) Engine(context.Context) (runtime.Engine, error) {
	return runtime.Engine{Name: "go", Capabilities: []string{runtime.CapFuel, runtime.CapDeadline}}, nil
}

// Inspect implements [runtime.Runtime].
func (Guest) Inspect(_ context.Context, module domain.Hash) (runtime.ModuleInfo, error) {
	return runtime.ModuleInfo{ID: module}, nil
}

// Prepare implements [runtime.Runtime]. There is no need of it.
func (Guest) Prepare(context.Context, domain.Hash, uint64, io.Reader) (runtime.ModuleInfo, error) {
	return runtime.ModuleInfo{}, errkind.Unsupported.Errorf("a guest written in Go is prepared")
}

// Forget implements [runtime.Runtime].
func (Guest) Forget(context.Context, []domain.Hash, []domain.ContextID) error { return nil }

// OpenLane implements [runtime.Runtime].
func (g Guest) OpenLane(context.Context) (runtime.Lane, error) { return g, nil }

// Execute implements [runtime.Lane].
func (g Guest) Execute(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
	return g(ctx, e, h)
}

// Close implements [runtime.Lane].
func (Guest) Close() error { return nil }

// StateKey is the key of a row of the replicated state.
func StateKey(k crdt.StateKey) runtime.Key { return runtime.Key{Scope: runtime.ScopeState, K: k} }

// Wrote is the result of a guest that wrote the bytes of its tree root, as the SDK writes them.
func Wrote(e *runtime.Execute, value []byte) *runtime.Result {
	id, now, own := crdt.TreeRoot(e.Context), max(e.TimeFloor, uint64(time.Now().UnixNano())), crdt.OwnHash(value)
	index := crdt.EntityIndex{
		ID: id, OwnHash: own, FullHash: crdt.FullHash(own, nil), Metadata: crdt.Metadata{CreatedAt: 1, UpdatedAt: now},
	}
	row, err := borsh.Marshal(index)
	if err != nil {
		panic(err)
	}
	artifact, err := crdt.EncodeArtifact([]crdt.Action{{Kind: crdt.Update, ID: id, Data: value, Metadata: index.Metadata}})
	if err != nil {
		panic(err)
	}
	return &runtime.Result{
		RootHash: &index.FullHash, Artifact: artifact, Usage: runtime.Usage{Time: now}, Writes: []runtime.Row{
			{Key: StateKey(crdt.IndexKey(id)), Value: row}, {Key: StateKey(crdt.EntryKey(id)), Value: value},
		},
	}
}

// Read is what a guest that uses [Wrote] reads: the bytes of its tree root.
func Read(ctx context.Context, e *runtime.Execute, h runtime.Host) ([]byte, error) {
	rows, err := h.Rows(ctx, []runtime.Key{StateKey(crdt.EntryKey(crdt.TreeRoot(e.Context)))})
	if err != nil {
		return nil, err
	}
	return rows[0].Value, nil
}
