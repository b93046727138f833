package guestabi

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/collections"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// The root entity and the artifact of guests that leave their encoding to the
// host (guest-abi.md §1.5).

func stateKey(k crdt.StateKey) runtime.Key {
	return runtime.Key{Scope: runtime.ScopeState, K: k}
}

// timestamp reads the host's logical clock, whose id is random for each execution.
func (x *Execution) timestamp() (crdt.Timestamp, error) {
	if x.clock == nil {
		var id [16]byte
		if _, err := x.Random.Read(id[:]); err != nil {
			return crdt.Timestamp{}, errkind.Internal.Errorf("read random bytes: %w", err)
		}
		x.clock = crdt.NewClock(id)
	}
	return x.clock.Now(x.now()), nil
}

// panicked makes a fault of what a function here tells its guest, and passes other errors on.
func (x *Execution) panicked(doing string, err error) error {
	var told collections.Error
	if AsFault(err) == nil && errors.As(err, &told) {
		return HostPanic(doing+": "+err.Error(), nil)
	}
	_, err = x.answer(0, 0, err)
	return err
}

func (x *Execution) persistRootState(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	doc, err := m.slice(b)
	if err != nil {
		return 0, err
	}
	if uint64(len(doc)) > x.limits.MaxStorageValueSize {
		return 0, ErrValueLength
	}
	t, err := x.timestamp()
	if err != nil {
		return 0, err
	}
	now, created := t.Nanos(), a[1]
	if created == 0 { // the document's first time: one of its own for each write would be remembered each
		if created, err = x.collections().RootCreated(); err != nil {
			return 0, x.panicked("persist_root_state failed", err)
		}
	}
	if created == 0 {
		created = now
	}
	previous := max(a[2], created)
	if previous != math.MaxUint64 {
		previous++
	}
	meta := crdt.Metadata{CreatedAt: created, UpdatedAt: max(now, previous)}
	if err := x.collections().SaveRoot(bytes.Clone(doc), meta); err != nil {
		return 0, x.panicked("persist_root_state failed", err)
	}
	return 0, nil
}

func (x *Execution) readRootState(_ memory, a []uint64) (uint64, error) {
	e, err := x.get(stateKey(crdt.EntryKey(crdt.TreeRoot(x.Context))))
	if err != nil || !e.found {
		return 0, err
	}
	return 1, x.setRegister(a[0], e.value)
}

func (x *Execution) flushDelta(memory, []uint64) (uint64, error) {
	w := x.collections()
	hash, err := w.RootHash()
	if err != nil {
		return 0, x.panicked("failed to fetch root hash", err)
	}
	if err := w.Flush(); err != nil {
		return 0, x.panicked("commit_causal_delta failed", err)
	}
	actions := w.Take()
	x.result.RootHash = &hash
	if len(actions) == 0 {
		return 0, nil
	}
	artifact, err := crdt.EncodeArtifact(actions)
	if err != nil {
		return 0, HostPanic("failed to serialize causal delta: "+err.Error(), nil)
	}
	x.result.Artifact = artifact
	return 1, nil
}

// applyStorageDelta joins the actions of a delta into the rows, by the node's own rule. The node applies the deltas of
// peers without the guest; this is for guests that do it themselves.
func (x *Execution) applyStorageDelta(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	payload, err := m.slice(b)
	if err != nil {
		return 0, err
	}
	if len(payload) > maxValue {
		return 0, tooLarge("delta of %d bytes, the limit is %d", len(payload), maxValue)
	}
	const doing = "apply_storage_delta failed"
	delta, err := crdt.DecodeArtifact(bytes.Clone(payload))
	if errors.Is(err, crdt.ErrDeltaTag) {
		err = crdt.ErrDeltaTag // the reference's text
	}
	if err != nil {
		return 0, HostPanic(doing+": Deserialization error: "+err.Error(), nil)
	}
	if len(delta.Comparisons) > 0 {
		return 0, HostPanic(doing+": comparisons are not supported: they belong to an older protocol", nil)
	}
	if t, now := engine.LatestTime(delta.Actions), x.now(); t > now && t-now > uint64(crdt.MaxClockDrift) {
		return 0, HostPanic(doing+fmt.Sprintf(": Invalid timestamp %d for an action, too far in the future (local time: %d).", t, now), nil)
	}
	if err := x.settle(); err != nil {
		return 0, err
	}
	change, err := engine.Apply(rowView{x}, delta.Actions, engine.Options{Context: x.Context})
	if err != nil {
		if errkind.Of(err) == errkind.Corrupt && AsFault(err) == nil {
			err = HostPanic(doing+": "+err.Error(), nil)
		}
		return 0, err
	}
	for _, r := range change.Rows {
		k := stateKey(r.Key)
		if err := x.put(k, x.written(k), r.Value, !r.Absent); err != nil {
			return 0, err
		}
	}
	x.result.RootHash = &change.Root
	return 0, nil
}

// rowView is this execution's state for the engine.
type rowView struct{ x *Execution }

func (v rowView) Get(keys []crdt.StateKey) ([][]byte, error) {
	out := make([][]byte, len(keys))
	for i, key := range keys {
		e, err := v.x.get(stateKey(key))
		if err != nil {
			return nil, err
		}
		if out[i] = e.value; e.found && out[i] == nil {
			out[i] = []byte{}
		}
	}
	return out, nil
}
