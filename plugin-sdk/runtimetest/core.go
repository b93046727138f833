package runtimetest

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Core plays the core's part for one context: it owns the rows, leads the
// plugin's copy and answers. Execute is for one goroutine.
type Core struct {
	TB      testing.TB
	Context domain.ContextID
	// Lane is opened by the first Execute.
	Lane  runtime.Lane
	State runtime.State

	rt   runtime.Runtime
	mu   sync.Mutex
	rows map[runtime.Key][]byte
	// OnRows, when set, is called before keys are answered.
	OnRows func(ctx context.Context, keys []runtime.Key) error
	// ReadAhead, when set, names rows to send besides those asked for.
	ReadAhead func(keys []runtime.Key) []runtime.Key
	// OnBlobRead is called before a blob is read.
	OnBlobRead func(ctx context.Context) error

	// Needs counts the Rows calls answered, Calls those of blobs.
	Needs, Calls atomic.Int64

	staged map[uint32][]byte
	blobs  map[domain.BlobID][]byte
}

// NewCore makes a core with a context of its own.
func NewCore(tb testing.TB, rt runtime.Runtime) *Core {
	c := &Core{TB: tb, rt: rt, rows: make(map[runtime.Key][]byte), staged: make(map[uint32][]byte),
		blobs: make(map[domain.BlobID][]byte), State: runtime.State{Epoch: 1, Version: 1}}
	binary.LittleEndian.PutUint64(c.Context[:], lastContext.Add(1))
	c.Context[31] = 0xc7
	return c
}

// Request is an execution with the default budgets and the steps due.
func (c *Core) Request(module domain.Hash, method string, input []byte) *runtime.Execute {
	return &runtime.Execute{
		ID: lastExec.Add(1), Module: module, Context: c.Context, Executor: domain.PublicKey{7}, Method: method,
		Input: input, Kind: runtime.Call, State: c.State, HasPrivate: true, Detail: runtime.WritesFull,
		Budget: runtime.Budget{Fuel: 100_000_000_000, DeadlineMillis: 30_000},
	}
}

// Execute runs e; the plugin has been told the steps then.
func (c *Core) Execute(ctx context.Context, e *runtime.Execute) (*runtime.Result, error) {
	if c.Lane == nil {
		lane, err := c.rt.OpenLane(context.Background())
		require.NoError(c.TB, err)
		c.Lane = lane
		c.TB.Cleanup(func() { _ = lane.Close() }) // it may have been broken on purpose
	}
	r, err := c.Lane.Execute(ctx, e, c)
	if err == nil {
		c.State.Steps = nil
	}
	return r, err
}

// Call runs a method and requires that the plugin answers.
func (c *Core) Call(module domain.Hash, method string, input []byte) (*runtime.Execute, *runtime.Result) {
	c.TB.Helper()
	e := c.Request(module, method, input)
	r, err := c.Execute(context.Background(), e)
	require.NoError(c.TB, err)
	require.NotNil(c.TB, r)
	return e, r
}

// Accept commits the overlay of an execution; corrected rows replace what the
// guest wrote.
func (c *Core) Accept(e *runtime.Execute, r *runtime.Result, corrected ...runtime.Row) {
	c.put(r.Writes)
	c.put(corrected)
	c.step(runtime.Step{AcceptExec: e.ID, Rows: corrected})
}

// Change commits rows that no execution wrote.
func (c *Core) Change(rows ...runtime.Row) {
	c.put(rows)
	c.step(runtime.Step{Rows: rows})
}

func (c *Core) step(s runtime.Step) {
	c.State.Version++
	s.To = c.State.Version
	c.State.Steps = append(c.State.Steps, s)
}

func (c *Core) put(rows []runtime.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rows {
		if r.Absent {
			delete(c.rows, r.Key)
		} else {
			c.rows[r.Key] = r.Value
		}
	}
}

// Rows implements runtime.Host.
func (c *Core) Rows(ctx context.Context, keys []runtime.Key) ([]runtime.Row, error) {
	if c.OnRows != nil {
		if err := c.OnRows(ctx, keys); err != nil {
			return nil, err
		}
	}
	c.Needs.Add(1)
	if c.ReadAhead != nil {
		keys = append(keys[:len(keys):len(keys)], c.ReadAhead(keys)...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []runtime.Row
	for _, k := range keys {
		v, ok := c.rows[k]
		out = append(out, runtime.Row{Key: k, Absent: !ok, Value: v})
	}
	return out, nil
}

// HostFn implements runtime.Host.
func (c *Core) HostFn(context.Context, string, string, []byte) ([]byte, error) {
	return nil, errkind.Unsupported.Errorf("the kit has no host functions")
}

// BlobSize implements runtime.Host.
func (c *Core) BlobSize(_ context.Context, id domain.BlobID) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.blobs[id]
	if !ok {
		return 0, errkind.NotFound.Errorf("blob %s is not here", id)
	}
	return uint64(len(b)), nil
}

// BlobRead implements runtime.Host.
func (c *Core) BlobRead(ctx context.Context, id domain.BlobID, offset, length uint64) ([]byte, error) {
	if c.OnBlobRead != nil {
		if err := c.OnBlobRead(ctx); err != nil {
			return nil, err
		}
	}
	c.Calls.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.blobs[id]
	offset = min(offset, uint64(len(b)))
	return b[offset:min(offset+length, uint64(len(b)))], nil
}

// BlobAnnounce implements runtime.Host.
func (c *Core) BlobAnnounce(ctx context.Context, id domain.BlobID, _ domain.ContextID) error {
	_, err := c.BlobSize(ctx, id)
	return err
}

// BlobPart implements runtime.Host.
func (c *Core) BlobPart(_ context.Context, part runtime.BlobPart) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.staged[part.FD] = append(c.staged[part.FD], part.Data...)
	if part.Last {
		c.blobs[part.ID] = c.staged[part.FD]
		delete(c.staged, part.FD)
	}
	return nil
}
