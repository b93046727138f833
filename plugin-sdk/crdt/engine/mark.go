package engine

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// A delta's id covers neither the times in it nor its author. So two members who remove the same key on top of the same
// delta make deltas of one id and different content, of which a node keeps the one that comes first; and whoever passes
// a delta on may change its times. Either way states differ for ever.
//
// Therefore the last action of a delta made here is its mark: an update without effect, whose data is the hash of author
// and content. The id covers the mark, the mark covers the rest. It claims the time 0 for an entity of which a later
// write with the same time of creation is part of the delta or of an ancestor; so it is ignored here and by a reference
// peer.

// ErrUnmarked is a delta without a mark, as reference nodes make them.
var ErrUnmarked = errkind.NotFound.Errorf("the delta has no mark")

// VerifyMark reports whether the mark of a delta is that of its author and content: nil, [ErrUnmarked], or an error of
// kind Invalid.
func VerifyMark(actions []crdt.Action, author domain.PublicKey) error {
	last := len(actions) - 1
	if last < 0 || !isMark(&actions[last]) {
		return ErrUnmarked
	}
	content := slices.Clone(actions)
	content[last].Data = nil
	mark, err := markOf(content, author)
	if err != nil {
		return err
	}
	if !bytes.Equal(mark, actions[last].Data) {
		return errkind.Invalid.Errorf("the delta was changed on its way: its mark does not fit author and content")
	}
	return nil
}

// isMark: no write of an application claims the time 0.
func isMark(a *crdt.Action) bool {
	m := &a.Metadata
	return a.Kind == crdt.Update && m.UpdatedAt == 0 && len(a.Data) == sha256.Size && m.Storage.Kind == crdt.Public
}

// markOf hashes a delta whose last action is a mark without data. Signatures are made later and do not count.
func markOf(actions []crdt.Action, author domain.PublicKey) ([]byte, error) {
	actions = slices.Clone(actions)
	for i := range actions {
		if s := &actions[i].Metadata.Storage; s.Signature != nil {
			s.Signature = &crdt.SignatureData{Nonce: s.Signature.Nonce}
		}
	}
	content, err := crdt.EncodeActions(actions)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	h.Write(author[:])
	h.Write(content)
	return h.Sum(nil), nil
}

// mark adds its mark to a delta. The first delta of a context has none: its tree root is unique. Nor has one that writes
// no public entity, in a context without a state entry (of a JavaScript application).
func (a *Authored) mark(before View, call *Call) error {
	if len(a.Actions) == 0 {
		return nil
	}
	m, err := a.anchor(before, call.Context)
	if err != nil || m == nil {
		return err
	}
	content := append(a.Actions, *m)
	if content[len(a.Actions)].Data, err = markOf(content, call.Executor); err != nil {
		return err
	}
	a.Actions = content
	a.Change.Verdicts = append(a.Change.Verdicts, Verdict{ID: m.ID, Kind: m.Kind, Outcome: Ignored})
	return nil
}

// anchor returns an update, yet without data, that is older than one that stands: of the state entry, or else of the
// last public entity that the delta writes; nil without any.
func (a *Authored) anchor(before View, context domain.ContextID) (*crdt.Action, error) {
	ids := [...]crdt.ID{crdt.TreeRoot(context), crdt.StateEntryID}
	keys := []crdt.StateKey{crdt.IndexKey(ids[0]), crdt.IndexKey(ids[1])}
	raw, err := get(before, keys)
	if err != nil {
		return nil, err
	}
	var rows [len(ids)]*row
	for i, id := range ids {
		if raw[i] == nil {
			continue
		}
		if rows[i], err = parseRow(id, raw[i], &idSet[struct{}]{}); err != nil {
			return nil, err
		}
	}
	top, state := rows[0], rows[1]
	if top == nil {
		return nil, nil
	}
	if state != nil && state.deleted == nil && !state.own.IsZero() && state.meta.Storage.Kind == crdt.Public &&
		state.meta.UpdatedAt > 0 {
		return &crdt.Action{
			Kind: crdt.Update, ID: crdt.StateEntryID, Metadata: crdt.Metadata{CreatedAt: state.meta.CreatedAt},
			Ancestors: []crdt.ChildInfo{{ID: ids[0], MerkleHash: top.full, Metadata: top.meta}},
		}, nil
	}
	for i := len(a.Actions) - 1; i >= 0; i-- {
		w, outcome := &a.Actions[i], a.Change.Verdicts[i].Outcome
		if isUpsert(w) && w.ID != ids[0] && w.Metadata.Storage.Kind == crdt.Public && w.Metadata.UpdatedAt > 0 &&
			outcome != Refused && outcome != Superseded {
			return &crdt.Action{
				Kind: crdt.Update, ID: w.ID, Ancestors: w.Ancestors, Metadata: crdt.Metadata{CreatedAt: w.Metadata.CreatedAt},
			}, nil
		}
	}
	return nil, nil
}
