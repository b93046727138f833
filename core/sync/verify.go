package sync

import (
	"context"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// maxParents bounds the parents of one delta. A node that has more heads names some of them.
const maxParents = dag.DefaultParents

// checkDelta refuses a delta whose id does not belong to it, or which no honest node makes.
func checkDelta(id domain.Hash, parents []domain.Hash, actions []crdt.Action) error {
	switch {
	case len(parents) == 0:
		return errkind.Invalid.Errorf("delta %s has no parents; the first of a context has the zero hash", id)
	case len(parents) > maxParents:
		return errkind.TooLarge.Errorf("delta %s has %d parents, the limit is %d", id, len(parents), maxParents)
	case id.IsZero():
		return errkind.Invalid.Errorf("a delta has the zero hash as its id")
	}
	if own := crdt.DeltaID(parents, actions); own != id {
		return errkind.Invalid.Errorf("delta %s: its parents and actions have the id %s", id, own)
	}
	return nil
}

// errUnsigned is a delta without a signature where one is required.
var errUnsigned = errkind.Unauthenticated.Errorf("the delta is not signed by its author")

// fromRecord verifies a delta that a peer gave: form, id, signature. The author's rights are the caller's to check; its key
// is zero when the delta is unsigned.
func fromRecord(id domain.ContextID, r wire.DeltaRecord) (contexts.Delta, error) {
	var c crdt.CausalDelta
	if err := borsh.Unmarshal(r.Delta, &c); err != nil {
		return contexts.Delta{}, errkind.Invalid.Errorf("decode delta: %w", err)
	}
	if err := checkDelta(c.ID, c.Parents, c.Actions); err != nil {
		return contexts.Delta{}, err
	}
	d := contexts.Delta{ID: c.ID, Parents: c.Parents, Actions: c.Actions, HLC: c.HLC, ExpectedRoot: c.ExpectedRootHash}
	if r.Author.Signature == nil {
		return d, nil // what an unsigned record says of its author is hearsay
	}
	const fixed = 32 + 4 + 24 + 32 // all of a causal delta but its parents and actions
	raw := r.Delta[32+4+32*len(c.Parents):]
	actions := raw[:len(r.Delta)-fixed-32*len(c.Parents)]
	s := wire.ContextDagDelta{DeltaID: c.ID, HLC: c.HLC, ExpectedRootHash: c.ExpectedRootHash, Actions: actions}.Statement(id, r.Author)
	if !s.Verify(*r.Author.Signature) {
		return contexts.Delta{}, errkind.Unauthenticated.Errorf("delta %s: the signature is not %s's", c.ID, s.Author)
	}
	d.Author, d.Proof = s.Author, r.Author
	if r.Events != nil {
		if wire.EventsDigest(r.Events) != s.Events {
			return contexts.Delta{}, errkind.Unauthenticated.Errorf("delta %s: its events are not those that %s signed", c.ID, s.Author)
		}
		events, err := decodeEvents(r.Events)
		if err != nil {
			return contexts.Delta{}, err
		}
		d.Events = events
	}
	return d, nil
}

func decodeEvents(in []byte) ([]contexts.Event, error) {
	list, err := wire.DecodeEvents(in)
	if err != nil {
		return nil, err
	}
	events := make([]contexts.Event, len(list))
	for i, e := range list {
		events[i] = contexts.Event(e)
	}
	return events, nil
}

// openArtifact decodes and verifies the actions of a broadcast delta, given the plaintext of its artifact.
func openArtifact(s *wire.StateDelta, plain []byte) ([]crdt.Action, error) {
	delta, err := crdt.DecodeArtifact(plain)
	if err != nil {
		return nil, errkind.Invalid.Wrap(err)
	}
	if delta.Actions == nil {
		return nil, errkind.Invalid.Errorf("delta %s carries comparisons instead of actions", s.Delta)
	}
	return delta.Actions, checkDelta(s.Delta, s.Parents, delta.Actions)
}

// mayWrite tells whether an author's deltas count now.
func (m *Manager) mayWrite(ctx context.Context, id domain.ContextID, author domain.PublicKey) error {
	access, err := m.opts.Access(ctx, id, author)
	if err == nil && access != MayWrite {
		err = mayNotWrite(access, id, author)
	}
	return err
}

func mayNotWrite(access Access, id domain.ContextID, author domain.PublicKey) error {
	if access == MayRead {
		return errkind.PermissionDenied.Errorf("%s may only read context %s", author, id)
	}
	return errkind.PermissionDenied.Errorf("context %s is not for %s", id, author)
}

// hasProven tells whether a peer has proven to be somebody who is a member of a context now.
func (m *Manager) hasProven(ctx context.Context, id domain.ContextID, p PeerID) (bool, error) {
	for _, identity := range m.peers.provenBy(id, p) {
		err := m.isMember(ctx, id, identity)
		if err == nil || errkind.Of(err) != errkind.PermissionDenied {
			return err == nil, err
		}
	}
	return false, nil
}

func (m *Manager) isMember(ctx context.Context, id domain.ContextID, identity domain.PublicKey) error {
	access, err := m.opts.Access(ctx, id, identity)
	if err == nil && access < MayRead {
		err = errkind.PermissionDenied.Errorf("context %s is not for %s", id, identity)
	}
	return err
}
