package contexts

import (
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Published is a delta that this node has just committed.
type Published struct {
	Context domain.ContextID
	// Delta has the root hash after it as ExpectedRootHash.
	Delta wire.ContextDagDelta
	// Proof is signed by the author, an identity of this node.
	Proof wire.DeltaAuthor
	// Events of the call (wire.EncodeEvents), nil for none. Handlers are cleared: they run here, and once is enough.
	Events []byte
}

// Artifact is the delta's actions in the form in which the reference broadcasts them, a borsh StorageDelta.
func (p *Published) Artifact() []byte {
	const actions = 0 // the tag
	return append([]byte{actions}, p.Delta.Actions...)
}

// published hands a committed delta over. The caller holds the context's lock, so that they come in order.
func (m *manager) published(st *staged) {
	if st.delta != nil && m.opts.OnDelta != nil {
		m.opts.OnDelta(*st.delta)
	}
}

// withoutHandlers encodes the events that go out with a delta.
func withoutHandlers(events []Event) ([]byte, error) {
	out := make([]Event, len(events))
	for i, e := range events {
		out[i] = Event{Kind: e.Kind, Data: e.Data}
	}
	return encodeEvents(out)
}

// proofOf signs a delta.
func proofOf(id domain.ContextID, author domain.PublicKey, key *domain.Signer, d *wire.ContextDagDelta,
	events []byte) wire.DeltaAuthor {
	proof := wire.DeltaAuthor{Author: author, Events: wire.EventsDigest(events)}
	if key == nil {
		return proof
	}
	signature := key.Sign(d.Statement(id, proof).Message())
	proof.Signature = &signature
	return proof
}
