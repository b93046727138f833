package wasmer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/runtime-wasmer/wasmer"
)

const maxModule = 10 << 20

// configured returns a plugin whose settings are the schema's defaults, but for set.
func configured(t testing.TB, p runtime.Plugin, dir string, set map[string]int64) runtime.Plugin {
	t.Helper()
	schema, err := p.Schema(context.Background())
	require.NoError(t, err)
	values := map[string]cty.Value{}
	for _, a := range schema.Attributes {
		values[a.Name] = a.Default
		if v, ok := set[a.Name]; ok {
			values[a.Name] = cty.NumberIntVal(v)
		}
	}
	diags, err := p.Configure(context.Background(), base.Config{Value: cty.ObjectVal(values), DataDir: dir, Node: "test"})
	require.NoError(t, err)
	require.Empty(t, diags)
	t.Cleanup(func() { require.NoError(t, p.Close(context.Background())) })
	return p
}

func newPlugin(t testing.TB) runtime.Plugin { return configured(t, wasmer.New(), t.TempDir(), nil) }

func prepare(t testing.TB, p runtime.Runtime, wasm []byte) runtime.ModuleInfo {
	t.Helper()
	info, err := p.Prepare(context.Background(), sha256.Sum256(wasm), maxModule, bytes.NewReader(wasm))
	require.NoError(t, err)
	return info
}

func openLane(t testing.TB, p runtime.Runtime) runtime.Lane {
	t.Helper()
	l, err := p.OpenLane(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// core answers from rows in memory. It has no blobs.
type core struct {
	mu    sync.Mutex
	rows  map[runtime.Key][]byte
	asked atomic.Int64
	block chan struct{} // Rows waits for it or the end of the call
}

func (c *core) Rows(ctx context.Context, keys []runtime.Key) ([]runtime.Row, error) {
	c.asked.Add(1)
	if c.block != nil {
		select {
		case <-c.block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []runtime.Row
	for _, k := range keys {
		if v, ok := c.rows[k]; ok {
			out = append(out, runtime.Row{Key: k, Value: v})
		}
	}
	return out, nil
}

func (c *core) apply(rows []runtime.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil {
		c.rows = make(map[runtime.Key][]byte)
	}
	for _, r := range rows {
		if r.Absent {
			delete(c.rows, r.Key)
		} else {
			c.rows[r.Key] = r.Value
		}
	}
}

var errNoBlobs = errkind.NotFound.Errorf("no blobs here")

func (c *core) HostFn(context.Context, string, string, []byte) ([]byte, error) {
	return nil, errkind.Unsupported.Errorf("no host functions here")
}
func (c *core) BlobSize(context.Context, domain.BlobID) (uint64, error) { return 0, errNoBlobs }
func (c *core) BlobRead(context.Context, domain.BlobID, uint64, uint64) ([]byte, error) {
	return nil, nil
}
func (c *core) BlobAnnounce(context.Context, domain.BlobID, domain.ContextID) error {
	return errNoBlobs
}
func (c *core) BlobPart(context.Context, runtime.BlobPart) error { return nil }

var nextExec atomic.Uint64

// execution is a request with generous budgets.
func execution(module domain.Hash, method string, input []byte) *runtime.Execute {
	return &runtime.Execute{ID: nextExec.Add(1), Module: module, Context: domain.ContextID{1}, Executor: domain.PublicKey{2},
		Method: method, Input: input, Kind: runtime.Call, State: runtime.State{Epoch: 1, Version: 1},
		Budget: runtime.Budget{Fuel: 1e11, DeadlineMillis: 30_000}, HasPrivate: true, Detail: runtime.WritesFull}
}

func execute(t testing.TB, l runtime.Lane, e *runtime.Execute, host runtime.Host) *runtime.Result {
	t.Helper()
	r, err := l.Execute(context.Background(), e, host)
	require.NoError(t, err)
	return r
}
