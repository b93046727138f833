package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// InviteProtocol is the protocol of requests by nodes of a special kind: one request, one answer (sync-wire.md §9).
const InviteProtocol = "/calimero/specialized-node-invite/1.0.0"

// MaxInvite is the largest request and answer of InviteProtocol in bytes.
const MaxInvite = 1 << 20

// SpecializedNodeType is a special kind of node. Its number is the wire tag.
type SpecializedNodeType uint8

// ReadOnlyNode follows contexts and writes nothing; it proves what it runs by an attestation.
const ReadOnlyNode SpecializedNodeType = 0

const specializedNodeTypes = 1

func putNodeType(e *borsh.Encoder, t SpecializedNodeType) {
	if t >= specializedNodeTypes {
		e.Fail(fmt.Errorf("encode node type: unknown type %d", t))
		return
	}
	e.U8(uint8(t))
}

func readNodeType(d *borsh.Decoder) SpecializedNodeType {
	return SpecializedNodeType(d.Tag("node_type", specializedNodeTypes))
}

// SpecializedNodeDiscovery looks for nodes of a special kind, on the invite topic.
type SpecializedNodeDiscovery struct {
	Nonce    [32]byte
	NodeType SpecializedNodeType
}

func (SpecializedNodeDiscovery) broadcastTag() uint8 { return tagSpecializedNodeDiscovery }

// EncodeBorsh writes the message.
func (s SpecializedNodeDiscovery) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(s.Nonce[:])
	putNodeType(e, s.NodeType)
}

// DecodeBorsh reads the message.
func (s *SpecializedNodeDiscovery) DecodeBorsh(d *borsh.Decoder) {
	s.Nonce = d.Array32("nonce")
	s.NodeType = readNodeType(d)
}

// SpecializedNodeJoinConfirmation ends an invitation, on the context's topic.
type SpecializedNodeJoinConfirmation struct{ Nonce [32]byte }

func (SpecializedNodeJoinConfirmation) broadcastTag() uint8 {
	return tagSpecializedNodeJoinConfirmation
}

// EncodeBorsh writes the message.
func (s SpecializedNodeJoinConfirmation) EncodeBorsh(e *borsh.Encoder) { e.Raw(s.Nonce[:]) }

// DecodeBorsh reads the message.
func (s *SpecializedNodeJoinConfirmation) DecodeBorsh(d *borsh.Decoder) { s.Nonce = d.Array32("nonce") }

// TeeAttestationAnnounce asks for admission to a group by an attestation, on the group's topic.
type TeeAttestationAnnounce struct {
	Quote     []byte
	PublicKey domain.PublicKey
	Nonce     [32]byte
	NodeType  SpecializedNodeType
}

func (TeeAttestationAnnounce) broadcastTag() uint8 { return tagTeeAttestationAnnounce }

// EncodeBorsh writes the message.
func (t TeeAttestationAnnounce) EncodeBorsh(e *borsh.Encoder) {
	e.Bytes(t.Quote)
	e.Raw(t.PublicKey[:])
	e.Raw(t.Nonce[:])
	putNodeType(e, t.NodeType)
}

// DecodeBorsh reads the message.
func (t *TeeAttestationAnnounce) DecodeBorsh(d *borsh.Decoder) {
	t.Quote = d.Bytes("quote_bytes")
	t.PublicKey = d.Array32("public_key")
	t.Nonce = d.Array32("nonce")
	t.NodeType = readNodeType(d)
}

// VerificationRequest proves what a node runs, in answer to a discovery.
type VerificationRequest struct {
	Nonce     [32]byte
	Quote     []byte
	PublicKey domain.PublicKey
}

const verificationRequests = 1

// EncodeBorsh writes the request.
func (v VerificationRequest) EncodeBorsh(e *borsh.Encoder) {
	e.U8(0)
	e.Raw(v.Nonce[:])
	e.Bytes(v.Quote)
	e.Raw(v.PublicKey[:])
}

// DecodeBorsh reads the request.
func (v *VerificationRequest) DecodeBorsh(d *borsh.Decoder) {
	d.Tag("request", verificationRequests)
	v.Nonce = d.Array32("nonce")
	v.Quote = d.Bytes("quote_bytes")
	v.PublicKey = d.Array32("public_key")
}

// SpecializedNodeInvitation answers a VerificationRequest: with an invitation, or an error.
type SpecializedNodeInvitation struct {
	Nonce      [32]byte
	Invitation []byte // JSON of an open invitation; nil is none
	Error      *string
}

// EncodeBorsh writes the answer.
func (s SpecializedNodeInvitation) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(s.Nonce[:])
	e.OptBytes(s.Invitation)
	borsh.PutOption(e, s.Error, (*borsh.Encoder).String)
}

// DecodeBorsh reads the answer.
func (s *SpecializedNodeInvitation) DecodeBorsh(d *borsh.Decoder) {
	s.Nonce = d.Array32("nonce")
	s.Invitation = d.OptBytes("invitation_bytes")
	s.Error = borsh.Option(d, "error", (*borsh.Decoder).String)
}

// DecodeVerificationRequest reads a request; kind TooLarge over MaxInvite.
func DecodeVerificationRequest(in []byte) (VerificationRequest, error) {
	return decodeUpTo[VerificationRequest](in, MaxInvite)
}

// DecodeSpecializedNodeInvitation reads an answer; kind TooLarge over MaxInvite.
func DecodeSpecializedNodeInvitation(in []byte) (SpecializedNodeInvitation, error) {
	return decodeUpTo[SpecializedNodeInvitation](in, MaxInvite)
}

func decodeUpTo[T any, P interface {
	*T
	borsh.Unmarshaler
}](in []byte, limit int) (T, error) {
	if len(in) > limit {
		var zero T
		return zero, errkind.TooLarge.Errorf("decode %T: %d bytes, the limit is %d", zero, len(in), limit)
	}
	return Decode[T, P](in)
}
