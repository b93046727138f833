package contexts

import (
	"fmt"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// newDelta makes the delta of a call: its actions, signed in place where they belong to the executor, with heads as
// parents (crdt-storage.md §5.4).
func newDelta(actions []crdt.Action, heads []domain.Hash, key *domain.Signer, root domain.Hash, hlc crdt.Timestamp,
	limit int) (d wire.ContextDagDelta, err error) {
	if key != nil {
		crdt.SignUserActions(actions, key)
	}
	encoded, err := crdt.EncodeActions(actions)
	if err != nil {
		return d, err
	}
	if len(heads) == 0 {
		heads = []domain.Hash{{}}
	}
	d = wire.ContextDagDelta{
		DeltaID: crdt.DeltaID(heads, actions), Parents: heads, Actions: encoded, HLC: hlc, Applied: true,
		ExpectedRootHash: root,
	}
	row, err := borsh.Marshal(d)
	if err != nil {
		return d, fmt.Errorf("encode delta: %w", err)
	}
	if len(row) > limit {
		return d, errkind.TooLarge.Errorf("the call changes too much at once: its delta takes %d "+
			"bytes, the limit is %d; split the change over several calls", len(row), limit)
	}
	return d, nil
}

// actionsOf decodes an artifact that a node's own guest made. The reference replaces one it cannot decode by an empty
// list and so loses the change for all peers; here it is an error.
func actionsOf(artifact []byte) ([]crdt.Action, error) {
	if len(artifact) == 0 {
		return nil, nil
	}
	delta, err := crdt.DecodeArtifact(artifact)
	if err != nil {
		return nil, errkind.Invalid.Errorf("the application committed an artifact that is no storage delta: %w", err)
	}
	if delta.Actions == nil && len(delta.Comparisons) > 0 {
		return nil, errkind.Invalid.Errorf("the application committed comparisons instead of actions")
	}
	return delta.Actions, nil
}
