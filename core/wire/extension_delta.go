package wire

import (
	"crypto/sha256"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// The extension's messages about deltas (docs/design/authorship.md). The reference reads none of them.

// DeltaStatement is what the author of a delta says and signs: all of the delta. Its id alone leaves out times,
// ancestors, the clock and the events.
type DeltaStatement struct {
	Context  domain.ContextID
	Author   domain.PublicKey
	Delta    domain.Hash
	HLC      crdt.Timestamp
	RootHash domain.Hash // the author's, after the delta
	Actions  domain.Hash // sha256 of crdt.EncodeActions
	Events   domain.Hash // EventsDigest
}

// deltaStatementDomain keeps signatures of statements apart from all others a member makes.
const deltaStatementDomain = "calimero-go/delta/1"

// Message is what the author signs.
func (s DeltaStatement) Message() []byte {
	e := borsh.NewEncoder(make([]byte, 0, len(deltaStatementDomain)+6*32+24))
	e.Raw([]byte(deltaStatementDomain))
	s.EncodeBorsh(e)
	out, _ := e.Finish() // cannot fail
	return out
}

// Statement is what the author of a delta signs, given who that is and the digest of the events.
func (c ContextDagDelta) Statement(context domain.ContextID, by DeltaAuthor) DeltaStatement {
	return DeltaStatement{
		Context: context, Author: by.Author, Delta: c.DeltaID, HLC: c.HLC, RootHash: c.ExpectedRootHash,
		Actions: sha256.Sum256(c.Actions), Events: by.Events,
	}
}

// Verify reports whether the author signed the statement.
func (s DeltaStatement) Verify(sig domain.Signature) bool { return s.Author.Verify(s.Message(), sig) }

// EventsDigest is the sha256 of the encoded events; zero for none.
func EventsDigest(events []byte) domain.Hash {
	if len(events) == 0 {
		return domain.Hash{}
	}
	return sha256.Sum256(events)
}

// EncodeBorsh writes the statement.
func (s DeltaStatement) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(s.Context[:])
	e.Raw(s.Author[:])
	e.Raw(s.Delta[:])
	s.HLC.EncodeBorsh(e)
	e.Raw(s.RootHash[:])
	e.Raw(s.Actions[:])
	e.Raw(s.Events[:])
}

// DecodeBorsh reads the statement.
func (s *DeltaStatement) DecodeBorsh(d *borsh.Decoder) {
	s.Context = d.Array32("context_id")
	s.Author = d.Array32("author_id")
	s.Delta = d.Array32("delta_id")
	s.HLC.DecodeBorsh(d)
	s.RootHash = d.Array32("root_hash")
	s.Actions = d.Array32("actions")
	s.Events = d.Array32("events")
}

// SignedDelta is a StateDelta with its author's signature, on the context's topic.
type SignedDelta struct {
	StateDelta
	// Actions is that of the statement, so that who cannot open the artifact can verify the signature too.
	Actions   domain.Hash
	Signature domain.Signature
}

// Statement is what the signature is of.
func (s *SignedDelta) Statement() DeltaStatement {
	return DeltaStatement{
		Context: s.Context, Author: s.Author, Delta: s.Delta, HLC: s.HLC, RootHash: s.RootHash, Actions: s.Actions,
		Events: EventsDigest(s.Events),
	}
}

func (SignedDelta) broadcastTag() uint8 { return tagSignedDelta }

// EncodeBorsh writes the message.
func (s SignedDelta) EncodeBorsh(e *borsh.Encoder) {
	s.StateDelta.EncodeBorsh(e)
	e.Raw(s.Actions[:])
	e.Raw(s.Signature[:])
}

// DecodeBorsh reads the message.
func (s *SignedDelta) DecodeBorsh(d *borsh.Decoder) {
	s.StateDelta.DecodeBorsh(d)
	s.Actions = d.Array32("actions")
	s.Signature = readSignature(d, "signature")
}

// DeltaAnnounce tells of a delta too large for gossip, on the context's topic. It is fetched on a stream.
type DeltaAnnounce struct {
	DeltaStatement
	Size      uint32 // of its DeltaRecord in bytes, as claimed
	Signature domain.Signature
}

func (DeltaAnnounce) broadcastTag() uint8 { return tagDeltaAnnounce }

// EncodeBorsh writes the message.
func (a DeltaAnnounce) EncodeBorsh(e *borsh.Encoder) {
	a.DeltaStatement.EncodeBorsh(e)
	e.U32(a.Size)
	e.Raw(a.Signature[:])
}

// DecodeBorsh reads the message.
func (a *DeltaAnnounce) DecodeBorsh(d *borsh.Decoder) {
	a.DeltaStatement.DecodeBorsh(d)
	a.Size = d.U32("size")
	a.Signature = readSignature(d, "signature")
}

// DeltaAuthor is who made a delta and how that is known; it is stored and sent beside the delta.
type DeltaAuthor struct {
	Author    domain.PublicKey  // zero: not known
	Events    domain.Hash       // EventsDigest
	Signature *domain.Signature // of the DeltaStatement; nil: the author did not sign
}

// EncodeBorsh writes the value.
func (a DeltaAuthor) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(a.Author[:])
	e.Raw(a.Events[:])
	borsh.PutOption(e, a.Signature, func(e *borsh.Encoder, s domain.Signature) { e.Raw(s[:]) })
}

// DecodeBorsh reads the value.
func (a *DeltaAuthor) DecodeBorsh(d *borsh.Decoder) {
	a.Author = d.Array32("author_id")
	a.Events = d.Array32("events")
	a.Signature = borsh.Option(d, "signature", readSignature)
}

// DeltaRecord is a delta as nodes with the extension give it to each other.
type DeltaRecord struct {
	Delta  []byte // the borsh form of a crdt.CausalDelta
	Author DeltaAuthor
	Events []byte // EncodeEvents; nil: none, or not kept
}

// Causal returns the borsh form of the row's crdt.CausalDelta.
func (c ContextDagDelta) Causal() ([]byte, error) {
	e := borsh.NewEncoder(make([]byte, 0, 32+4+32*len(c.Parents)+len(c.Actions)+24+32))
	e.Raw(c.DeltaID[:])
	putHashes(e, c.Parents)
	e.Raw(c.Actions)
	c.HLC.EncodeBorsh(e)
	e.Raw(c.ExpectedRootHash[:])
	return e.Finish()
}

const minDeltaRecord = 4 + 32 + 32 + 1 + 1

// EncodeBorsh writes the record.
func (r DeltaRecord) EncodeBorsh(e *borsh.Encoder) {
	e.Bytes(r.Delta)
	r.Author.EncodeBorsh(e)
	e.OptBytes(r.Events)
}

// DecodeBorsh reads the record. The delta stays encoded.
func (r *DeltaRecord) DecodeBorsh(d *borsh.Decoder) {
	r.Delta = d.Bytes("delta")
	r.Author.DecodeBorsh(d)
	r.Events = d.OptBytes("events")
}
