// Package inspect makes the state of a context readable: the tree of its entities with decoded values ([State.Tree]), a
// check of every hash ([State.Verify]), the differences between two states ([Compare]), and a file format for states
// ([State.Export]). It changes nothing.
//
// Rows come from peers and guests, so nothing in them is believed: what cannot be read is shown as bytes or reported.
package inspect

import (
	"bytes"
	"context"
	"slices"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// MaxBytes bounds the rows of one state in memory.
const MaxBytes = 2 << 30

// rowCost is what a row takes besides its value.
const rowCost = 128

// State is the shared state of a context at one moment. Private rows are not part of it.
type State struct {
	Context     domain.ContextID
	Application domain.ApplicationID
	// Root is the root hash that the context claims.
	Root  domain.Hash
	Heads []domain.Hash
	// Rows by key.
	Rows map[crdt.StateKey][]byte
	// Schema describes the application's types; nil when it is not known.
	Schema *Schema

	bytes int
}

// Load reads the state of a context; kind NotFound when the context is not here.
func Load(ctx context.Context, r store.Reader, id domain.ContextID) (*State, error) {
	meta, found, err := store.ContextMeta.Get(ctx, r, id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errkind.NotFound.Errorf("context %s is not on this node", id)
	}
	s := &State{
		Context: id, Application: meta.ApplicationID, Root: meta.RootHash, Heads: meta.DagHeads,
		Rows: map[crdt.StateKey][]byte{},
	}
	err = store.ScanRows(ctx, r, id, runtime.ScopeState, [32]byte{}, 0, 0, func(rows []runtime.Row) error {
		for _, row := range rows {
			if err := s.add(row.K, row.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errkind.Of(err).Errorf("load state of context %s: %w", id, err)
	}
	return s, nil
}

func (s *State) add(key crdt.StateKey, value []byte) error {
	if s.bytes += len(value) + rowCost; s.bytes > MaxBytes {
		return errkind.TooLarge.Errorf("the state has more than %d bytes", MaxBytes)
	}
	s.Rows[key] = value
	return nil
}

// keys returns the keys of all rows, in order.
func (s *State) keys() []crdt.StateKey {
	keys := make([]crdt.StateKey, 0, len(s.Rows))
	for key := range s.Rows {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b crdt.StateKey) int { return bytes.Compare(a[:], b[:]) })
	return keys
}
