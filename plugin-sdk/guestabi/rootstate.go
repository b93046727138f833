package guestabi

import (
	"bytes"
	"math"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// The root entity of guests that leave its encoding to the host
// (guest-abi.md §1.5: persist_root_state, read_root_state, flush_delta).

// storageError has the text of the reference's storage layer.
type storageError string

func (e storageError) Error() string { return string(e) }

const noRootMerge = storageError("Merge failed: No merge function registered for root entity. " +
	"Use #[app::state] macro or call register_crdt_merge::<YourState>().")

func stateKey(k crdt.StateKey) runtime.Key {
	return runtime.Key{Scope: runtime.ScopeState, K: k}
}

func (x *Execution) root() crdt.ID { return crdt.TreeRoot(x.Context) }

// rootIndex returns the root's index row; found is false when there is none.
func (x *Execution) rootIndex() (index crdt.EntityIndex, e *row, err error) {
	if e, err = x.get(stateKey(crdt.IndexKey(x.root()))); err != nil || !e.found {
		return index, e, err
	}
	if err := borsh.Unmarshal(e.value, &index); err != nil {
		return index, e, storageError("Deserialization error: " + err.Error())
	}
	return index, e, nil
}

// hostNow is the host's logical clock, whose id is random for each execution.
func (x *Execution) hostNow() (uint64, error) {
	if x.clock == nil {
		var id [16]byte
		if _, err := x.Random.Read(id[:]); err != nil {
			return 0, errkind.Internal.Errorf("read random bytes: %w", err)
		}
		x.clock = crdt.NewClock(id)
	}
	return x.clock.Now(x.now()).Nanos(), nil
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
	now, err := x.hostNow()
	if err != nil {
		return 0, err
	}
	created := a[1]
	if created == 0 {
		created = now
	}
	previous := max(a[2], created)
	if previous != math.MaxUint64 {
		previous++
	}
	meta := crdt.Metadata{CreatedAt: created, UpdatedAt: max(now, previous)}
	if err := x.saveRoot(bytes.Clone(doc), meta); err != nil {
		if fatal(err) {
			return 0, err
		}
		return 0, HostPanic("persist_root_state failed: "+err.Error(), nil)
	}
	return 0, nil
}

func (x *Execution) saveRoot(doc []byte, meta crdt.Metadata) error {
	index, indexRow, err := x.rootIndex()
	if err != nil {
		return err
	}
	entryKey := stateKey(crdt.EntryKey(x.root()))
	entry, err := x.get(entryKey)
	if err != nil {
		return err
	}
	switch {
	case !indexRow.found:
		index = crdt.EntityIndex{ID: x.root(), Metadata: meta}
	case index.Metadata.UpdatedAt > meta.UpdatedAt:
		return nil // stale, silently ignored
	case entry.found:
		return noRootMerge
	}
	index.OwnHash = crdt.OwnHash(doc)
	index.FullHash = crdt.FullHash(index.OwnHash, index.Children)
	index.Metadata.UpdatedAt = meta.UpdatedAt
	encoded, err := borsh.Marshal(index)
	if err != nil {
		return storageError("Serialization error: " + err.Error())
	}
	if err := x.put(stateKey(crdt.IndexKey(x.root())), indexRow, encoded, true); err != nil {
		return err
	}
	if err := x.put(entryKey, entry, doc, true); err != nil {
		return err
	}
	x.actions = append(x.actions, crdt.Action{Kind: crdt.Update, ID: x.root(), Data: doc, Metadata: meta})
	return nil
}

func (x *Execution) readRootState(_ memory, a []uint64) (uint64, error) {
	e, err := x.get(stateKey(crdt.EntryKey(x.root())))
	if err != nil || !e.found {
		return 0, err
	}
	return 1, x.setRegister(a[0], e.value)
}

func (x *Execution) flushDelta(memory, []uint64) (uint64, error) {
	index, _, err := x.rootIndex()
	if err != nil {
		if fatal(err) {
			return 0, err
		}
		return 0, HostPanic("failed to fetch root hash: "+err.Error(), nil)
	}
	hash := index.FullHash
	if len(x.actions) == 0 {
		x.result.RootHash = &hash
		return 0, nil
	}
	artifact, err := crdt.EncodeArtifact(x.actions)
	if err != nil {
		return 0, HostPanic("failed to serialize causal delta: "+err.Error(), nil)
	}
	x.actions, x.result.RootHash, x.result.Artifact = nil, &hash, artifact
	return 1, nil
}

func (x *Execution) noStateEngine(memory, []uint64) (uint64, error) { return 0, errStateEngineMissing }

func (x *Execution) unsupported(memory, []uint64) (uint64, error) {
	return 0, errUnsupportedHostCalled
}
