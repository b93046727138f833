package converge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/calimero-go/core/core/contexts/executor"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// light is a node without a core: rows in a map, the guest in the runtime plugin, the state engine between them. It does
// with them what convergence.md asks of a node and nothing else.
type light struct {
	setting
	lane runtime.Lane

	rows    engine.Rows
	private map[runtime.Key][]byte
	blobs   map[domain.BlobID][]byte
	staged  map[uint32][]byte
	copied  *executor.Copy
	seen    uint64 // the latest time in the state
	heads   []domain.Hash
	root    domain.Hash
	applied map[domain.Hash]bool
	pending map[domain.Hash]*Delta
}

func newLight(ctx context.Context, s setting) (*light, error) {
	lane, err := s.rig.runtimes[s.slot].OpenLane(ctx)
	return &light{
		setting: s, lane: lane,
		rows: engine.Rows{}, private: map[runtime.Key][]byte{}, blobs: map[domain.BlobID][]byte{},
		copied: executor.NewCopy(), applied: map[domain.Hash]bool{}, pending: map[domain.Hash]*Delta{},
	}, err
}

func (n *light) expect(context.Context) error { return nil }
func (n *light) close() error                 { return n.lane.Close() }

// Between executions lies more than a tick of the guest's clock; nodes behind the same time do not use the same one
// (convergence.md §5).
const (
	betweenRuns = 15_260
	jitterBytes = 2
)

func (n *light) floor() uint64 {
	executor := n.key.Public()
	hash := sha256.Sum256(executor[:])
	return n.seen + betweenRuns + uint64(binary.LittleEndian.Uint16(hash[:jitterBytes]))
}

func (n *light) call(ctx context.Context, c Call) (*Answer, error) {
	n.rig.setSource(n.context, source{n.clock, n.random})
	n.staged = map[uint32][]byte{}
	exec := n.rig.exec.Add(1)
	res, err := n.lane.Execute(ctx, &runtime.Execute{
		ID: exec, Module: n.rig.modules[n.name], Context: n.context, Executor: n.key.Public(), Method: c.Method, Input: c.Args,
		Kind: c.Kind, State: n.copied.State(), HasPrivate: true, Detail: runtime.WritesFull, TimeFloor: n.floor(),
		Budget: runtime.Budget{Fuel: 1e11, DeadlineMillis: 60_000, Limits: runtime.DefaultLimits()},
	}, (*lightHost)(n))
	if err != nil {
		return nil, err
	}
	n.copied.Told()
	out := &Answer{Output: res.Value, Events: res.Events, XCalls: res.XCalls}
	switch {
	case res.Fault != nil:
		out.Failure = res.Fault.Text
		return out, nil
	case res.AppError != nil:
		out.Failure = "error " + string(res.AppError)
		return out, nil
	case res.RootHash == nil || c.Crash:
		return out, nil
	}
	return out, n.commit(exec, res, out)
}

// commit makes the delta of a call.
func (n *light) commit(exec uint64, res *runtime.Result, out *Answer) error {
	artifact, err := crdt.DecodeArtifact(res.Artifact)
	if err != nil {
		return fmt.Errorf("artifact: %w", err)
	}
	call := engine.Call{Context: n.context, Executor: n.key.Public(), Actions: artifact.Actions}
	for _, w := range res.Writes {
		if w.Scope == runtime.ScopeState {
			call.Writes = append(call.Writes, engine.Row{Key: w.K, Absent: w.Absent, Value: w.Value})
			continue
		}
		if w.Absent {
			delete(n.private, w.Key)
		} else {
			n.private[w.Key] = w.Value
		}
	}
	authored, err := engine.Author(n.rows, call)
	if err != nil {
		return err
	}
	n.rows.Put(authored.Rows())
	n.copied.Accept(exec, stateRows(authored.Corrected))
	crdt.SignUserActions(authored.Actions, n.key.Signer())
	parents := slices.SortedFunc(slices.Values(n.heads), domain.Hash.Compare)
	if len(parents) == 0 {
		parents = []domain.Hash{{}}
	}
	d := &Delta{
		ID: crdt.DeltaID(parents, authored.Actions), Parents: parents, Actions: authored.Actions, Root: authored.Change.Root,
		Author: n.key.Public(),
	}
	out.Delta, out.GuestRoot, out.Refused = d, res.RootHash, authored.Refused
	n.root, n.heads = d.Root, []domain.Hash{d.ID}
	n.applied[d.ID] = true
	n.seen = max(n.seen, engine.LatestTime(d.Actions))
	return nil
}

func stateRows(rows []engine.Row) []runtime.Row {
	out := make([]runtime.Row, len(rows))
	for i, r := range rows {
		out[i] = runtime.Row{Key: runtime.Key{Scope: runtime.ScopeState, K: r.Key}, Absent: r.Absent, Value: r.Value}
	}
	return out
}

// receive keeps deltas and applies those whose time has come, each after its parents.
func (n *light) receive(_ context.Context, deltas []*Delta) error {
	for _, d := range deltas {
		if !n.applied[d.ID] {
			n.pending[d.ID] = d
		}
	}
	for again := true; again; {
		again = false
		for _, id := range slices.SortedFunc(maps.Keys(n.pending), domain.Hash.Compare) {
			d := n.pending[id]
			if !n.ready(d) {
				continue
			}
			if err := n.apply(d); err != nil {
				return err
			}
			delete(n.pending, id)
			again = true
		}
	}
	return nil
}

func (n *light) ready(d *Delta) bool {
	for _, p := range d.Parents {
		if !p.IsZero() && !n.applied[p] {
			return false
		}
	}
	return engine.LatestTime(d.Actions) <= n.wall()+uint64(crdt.MaxClockDrift)
}

func (n *light) apply(d *Delta) error {
	if crdt.DeltaID(d.Parents, d.Actions) != d.ID {
		return fmt.Errorf("delta %s has another id", d.ID)
	}
	opts := engine.Options{Context: n.context}
	var change engine.Change
	var err error
	if d.Parents[0].IsZero() {
		change, err = engine.Genesis(n.rows, d.Actions, d.Root, opts)
	} else {
		change, err = engine.Apply(n.rows, d.Actions, opts)
	}
	if err != nil {
		return err
	}
	n.rows.Put(change.Rows)
	n.copied.Change(stateRows(change.Rows))
	n.root = change.Root
	n.applied[d.ID] = true
	n.heads = append(slices.DeleteFunc(n.heads, func(h domain.Hash) bool { return slices.Contains(d.Parents, h) }), d.ID)
	n.seen = max(n.seen, engine.LatestTime(d.Actions))
	return nil
}

// restart forgets what is not stored.
func (n *light) restart(context.Context) error {
	n.copied = executor.NewCopy()
	n.seen = 0
	n.seen = latest(n.rows)
	return nil
}

// join takes over another node's state.
func (n *light) join(_ context.Context, from member) error {
	other := from.(*light)
	n.rows, n.root, n.heads = maps.Clone(other.rows), other.root, slices.Clone(other.heads)
	n.applied = maps.Clone(other.applied)
	maps.DeleteFunc(n.pending, func(id domain.Hash, _ *Delta) bool { return n.applied[id] })
	n.copied = executor.NewCopy()
	n.seen = latest(n.rows)
	return nil
}

// latest is the clock of a state known from its rows.
func latest(rows engine.Rows) uint64 {
	var t uint64
	for key, value := range rows {
		if at, ok := engine.RowTime(key, value); ok {
			t = max(t, at)
		}
	}
	return t
}

func (n *light) has(_ context.Context, id domain.Hash) (bool, error) { return n.applied[id], nil }
func (n *light) waiting(context.Context) (int, error)                { return len(n.pending), nil }

func (n *light) state(context.Context) (engine.Rows, domain.Hash, error) { return n.rows, n.root, nil }

// lightHost answers what a running guest asks.
type lightHost light

var errNothing = errkind.NotFound.Errorf("there is no such thing here")

func (h *lightHost) Rows(_ context.Context, keys []runtime.Key) ([]runtime.Row, error) {
	var out []runtime.Row
	for _, k := range keys {
		var value []byte
		var ok bool
		if k.Scope == runtime.ScopeState {
			value, ok = h.rows[k.K]
		} else {
			value, ok = h.private[k]
		}
		if ok {
			out = append(out, runtime.Row{Key: k, Value: value})
		}
	}
	return out, nil
}

func (h *lightHost) HostFn(context.Context, string, string, []byte) ([]byte, error) {
	return nil, errNothing
}

func (h *lightHost) BlobSize(_ context.Context, id domain.BlobID) (uint64, error) {
	if b, ok := h.blobs[id]; ok {
		return uint64(len(b)), nil
	}
	return 0, errNothing
}

func (h *lightHost) BlobRead(_ context.Context, id domain.BlobID, offset, length uint64) ([]byte, error) {
	b := h.blobs[id]
	b = b[min(offset, uint64(len(b))):]
	return bytes.Clone(b[:min(length, uint64(len(b)))]), nil
}

func (h *lightHost) BlobAnnounce(_ context.Context, id domain.BlobID, _ domain.ContextID) error {
	if _, ok := h.blobs[id]; ok {
		return nil
	}
	return errNothing
}

func (h *lightHost) BlobPart(_ context.Context, part runtime.BlobPart) error {
	h.staged[part.FD] = append(h.staged[part.FD], part.Data...)
	if part.Last {
		h.blobs[part.ID] = h.staged[part.FD] // a call that fails leaves it behind; nothing asks for it then
	}
	return nil
}
