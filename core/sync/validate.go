package sync

import (
	"context"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Incoming is a gossip message of a context's topic that Validate has accepted.
type Incoming struct {
	source  PeerID
	context domain.ContextID
	message wire.Broadcast
	bytes   int
	asked   bool // its source has been asked for the sender key
}

// maxHeads bounds the heads in a heartbeat and in an answer of a peer.
const maxHeads = 4096

// Validate judges a gossip message of a context's topic before it is forwarded: form, topic, the author's membership,
// signature. The second result is for Handle; it is nil unless the verdict is Accept.
func (m *Manager) Validate(ctx context.Context, topic string, source PeerID, data []byte) (network.Verdict, *Incoming) {
	id, err := domain.ParseContextID(topic)
	if err != nil || m.follow(id) == nil {
		return m.ignore("topic")
	}
	if !m.gossipRate.allow(source) {
		return m.ignore("rate")
	}
	message, err := wire.DecodeBroadcast(data)
	if err != nil {
		if len(data) > 0 && data[0] >= wire.FirstExtensionTag {
			return m.ignore("unknown") // of a later version
		}
		return m.reject("malformed", source, err)
	}
	in := &Incoming{source: source, context: id, message: message, bytes: len(data)}
	switch b := message.(type) {
	case wire.HashHeartbeat:
		if b.Context != id || len(b.DagHeads) > maxHeads {
			return m.reject("heartbeat", source, nil)
		}
		if !m.mayHint(ctx, id, source) {
			return m.ignore("hearsay")
		}
	case wire.StateDelta:
		if b.Context != id || len(b.Parents) == 0 || len(b.Parents) > maxParents {
			return m.reject("delta", source, nil)
		}
		if err := m.mayWrite(ctx, id, b.Author); err != nil {
			return m.ignoreAuthor(source, err)
		}
		if !m.mayHint(ctx, id, source) {
			return m.ignore("hearsay")
		}
	case wire.SignedDelta:
		if b.Context != id || len(b.Parents) == 0 || len(b.Parents) > maxParents {
			return m.reject("delta", source, nil)
		}
		if m.isReplay(id, b.Delta, b.Author, source) {
			return m.ignore("seen")
		}
		if v := m.validateStatement(ctx, b.Statement(), b.Signature, source); v != network.Accept {
			return v, nil
		}
	case wire.DeltaAnnounce:
		if b.Context != id {
			return m.reject("delta", source, nil)
		}
		if m.isReplay(id, b.Delta, b.Author, source) {
			return m.ignore("seen")
		}
		if v := m.validateStatement(ctx, b.DeltaStatement, b.Signature, source); v != network.Accept {
			return v, nil
		}
	case wire.SpecializedNodeJoinConfirmation:
		// of nodes that admit special ones; for others to read
	default:
		return m.reject("wrong topic", source, nil)
	}
	return network.Accept, in
}

// mayHint tells whether a source may say what no member has signed. Who has proven to be a member may; of all others in a
// context as much is let through as nodes need that have not met yet, so that strangers, who cost nothing, cannot flood it.
func (m *Manager) mayHint(ctx context.Context, id domain.ContextID, source PeerID) bool {
	if proven, err := m.hasProven(ctx, id, source); err == nil && proven {
		return true
	}
	return m.hearsayRate.allow(PeerID(id[:]))
}

// isReplay tells whether a delta is here already and this is not its author's node, which publishes it again for those that
// lack it. Anybody can repeat a signed message under any number of names.
func (m *Manager) isReplay(id domain.ContextID, delta domain.Hash, author domain.PublicKey, source PeerID) bool {
	f := m.follow(id)
	return f != nil && f.saw(delta) && !m.peers.isBound(id, author, source)
}

// validateStatement: membership first, which is a look into a cache, then the signature.
func (m *Manager) validateStatement(ctx context.Context, s wire.DeltaStatement, sig domain.Signature, source PeerID) network.Verdict {
	if err := m.mayWrite(ctx, s.Context, s.Author); err != nil {
		v, _ := m.ignoreAuthor(source, err)
		return v
	}
	if !s.Verify(sig) {
		v, _ := m.reject("signature", source, nil)
		return v
	}
	m.peers.extends(source)
	m.peers.signs(s.Context, s.Author)
	return network.Accept
}

// ignoreAuthor drops a delta of somebody who may not write, as far as is known here: the membership may come later, so
// nobody is blamed.
func (m *Manager) ignoreAuthor(source PeerID, err error) (network.Verdict, *Incoming) {
	m.log.Debug("a delta is ignored", "source", source, "err", err)
	return m.ignore("author")
}

func (m *Manager) ignore(reason string) (network.Verdict, *Incoming) {
	m.metrics.dropped.WithLabelValues(reason).Inc()
	return network.Ignore, nil
}

func (m *Manager) reject(reason string, source PeerID, err error) (network.Verdict, *Incoming) {
	m.metrics.dropped.WithLabelValues(reason).Inc()
	m.log.Debug("a gossip message is rejected", "reason", reason, "source", source, "err", err)
	return network.Reject, nil
}

// Handle takes a message that Validate accepted. It does not wait: when more comes than is worked off, messages are
// dropped and fetched later.
func (m *Manager) Handle(in *Incoming) {
	if f := m.follow(in.context); f != nil && in.source != m.opts.Network.LocalPeerID() {
		f.enqueue(in)
	}
}
