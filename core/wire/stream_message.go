package wire

import (
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// MessagePayload is what a [Message] carries (sync-wire.md §2.4). The types are [BlobShare], [KeyShare], [DeltaResponse],
// [DeltaNotFound], [DagHeadsResponse], [Challenge], [ChallengeResponse], [SnapshotBoundaryResponse], [SnapshotPage],
// [SnapshotError], [TreeNodeResponse], [LevelWiseResponse], [EntityPushAck], [GroupDeltaResponse] and
// [GroupDeltaNotFound].
type MessagePayload interface {
	borsh.Marshaler
	messageTag() uint8
}

// Tags of MessagePayload.
const (
	tagBlobShare uint8 = iota
	tagKeyShare
	tagDeltaResponse
	tagDeltaNotFound
	tagDagHeadsResponse
	tagChallenge
	tagChallengeResponse
	tagSnapshotBoundaryResponse
	tagSnapshotPage
	tagSnapshotError
	tagTreeNodeResponse
	tagLevelWiseResponse
	tagEntityPushAck
	tagGroupDeltaResponse
	tagGroupDeltaNotFound

	messagePayloads
)

func readMessagePayload(d *borsh.Decoder) MessagePayload {
	switch d.Tag("payload", messagePayloads) {
	case tagBlobShare:
		return decoded[BlobShare](d)
	case tagKeyShare:
		return decoded[KeyShare](d)
	case tagDeltaResponse:
		return decoded[DeltaResponse](d)
	case tagDeltaNotFound:
		return DeltaNotFound{}
	case tagDagHeadsResponse:
		return decoded[DagHeadsResponse](d)
	case tagChallenge:
		return decoded[Challenge](d)
	case tagChallengeResponse:
		return decoded[ChallengeResponse](d)
	case tagSnapshotBoundaryResponse:
		return decoded[SnapshotBoundaryResponse](d)
	case tagSnapshotPage:
		return decoded[SnapshotPage](d)
	case tagSnapshotError:
		return decoded[SnapshotError](d)
	case tagTreeNodeResponse:
		return decoded[TreeNodeResponse](d)
	case tagLevelWiseResponse:
		return decoded[LevelWiseResponse](d)
	case tagEntityPushAck:
		return decoded[EntityPushAck](d)
	case tagGroupDeltaResponse:
		return decoded[GroupDeltaResponse](d)
	default:
		return GroupDeltaNotFound{}
	}
}

// BlobShare is a chunk of a blob; the empty one is the end.
type BlobShare struct{ Chunk []byte }

func (BlobShare) messageTag() uint8 { return tagBlobShare }

// EncodeBorsh writes the payload.
func (b BlobShare) EncodeBorsh(e *borsh.Encoder) { e.Bytes(b.Chunk) }

// DecodeBorsh reads the payload.
func (b *BlobShare) DecodeBorsh(d *borsh.Decoder) { b.Chunk = d.Bytes("chunk") }

// KeyShare is the sender's sender key, in clear within the transport.
type KeyShare struct{ SenderKey domain.PrivateKey }

func (KeyShare) messageTag() uint8 { return tagKeyShare }

// EncodeBorsh writes the payload.
func (k KeyShare) EncodeBorsh(e *borsh.Encoder) { e.Raw(k.SenderKey[:]) }

// DecodeBorsh reads the payload.
func (k *KeyShare) DecodeBorsh(d *borsh.Decoder) { k.SenderKey = d.Array32("sender_key") }

// DeltaResponse is a delta: the borsh form of a crdt.CausalDelta.
type DeltaResponse struct{ Delta []byte }

func (DeltaResponse) messageTag() uint8 { return tagDeltaResponse }

// EncodeBorsh writes the payload.
func (r DeltaResponse) EncodeBorsh(e *borsh.Encoder) { e.Bytes(r.Delta) }

// DecodeBorsh reads the payload.
func (r *DeltaResponse) DecodeBorsh(d *borsh.Decoder) { r.Delta = d.Bytes("delta") }

// DeltaNotFound says that the delta asked for is not here.
type DeltaNotFound struct{}

func (DeltaNotFound) messageTag() uint8 { return tagDeltaNotFound }

// EncodeBorsh writes nothing.
func (DeltaNotFound) EncodeBorsh(*borsh.Encoder) {}

// DagHeadsResponse says where a copy of a context is.
type DagHeadsResponse struct {
	DagHeads []domain.Hash
	RootHash domain.Hash
}

func (DagHeadsResponse) messageTag() uint8 { return tagDagHeadsResponse }

// EncodeBorsh writes the payload.
func (r DagHeadsResponse) EncodeBorsh(e *borsh.Encoder) {
	putHashes(e, r.DagHeads)
	e.Raw(r.RootHash[:])
}

// DecodeBorsh reads the payload.
func (r *DagHeadsResponse) DecodeBorsh(d *borsh.Decoder) {
	r.DagHeads = readHashes(d, "dag_heads")
	r.RootHash = d.Array32("root_hash")
}

// Challenge asks for a proof of identity (sync-wire.md §3.3).
type Challenge struct{ Challenge [32]byte }

func (Challenge) messageTag() uint8 { return tagChallenge }

// EncodeBorsh writes the payload.
func (c Challenge) EncodeBorsh(e *borsh.Encoder) { e.Raw(c.Challenge[:]) }

// DecodeBorsh reads the payload.
func (c *Challenge) DecodeBorsh(d *borsh.Decoder) { c.Challenge = d.Array32("challenge") }

// ChallengeResponse is a proof of identity.
type ChallengeResponse struct{ Signature domain.Signature }

func (ChallengeResponse) messageTag() uint8 { return tagChallengeResponse }

// EncodeBorsh writes the payload.
func (c ChallengeResponse) EncodeBorsh(e *borsh.Encoder) { e.Raw(c.Signature[:]) }

// DecodeBorsh reads the payload.
func (c *ChallengeResponse) DecodeBorsh(d *borsh.Decoder) {
	c.Signature = readSignature(d, "signature")
}

// ChallengeMessage is what the answer to a challenge signs.
func ChallengeMessage(challenge [32]byte) []byte {
	return append([]byte("CALIMERO_KEY_SHARE_CHALLENGE_HANDSHAKE"), challenge[:]...)
}

// EntityPushAck says how many leaves were taken.
type EntityPushAck struct{ Applied uint32 }

func (EntityPushAck) messageTag() uint8 { return tagEntityPushAck }

// EncodeBorsh writes the payload.
func (a EntityPushAck) EncodeBorsh(e *borsh.Encoder) { e.U32(a.Applied) }

// DecodeBorsh reads the payload.
func (a *EntityPushAck) DecodeBorsh(d *borsh.Decoder) { a.Applied = d.U32("applied_count") }

// GroupDeltaResponse is a governance op. Only what the payload says is signed.
type GroupDeltaResponse struct {
	Delta   domain.Hash
	Parents []domain.Hash
	Payload []byte // the encoded op
}

func (GroupDeltaResponse) messageTag() uint8 { return tagGroupDeltaResponse }

// EncodeBorsh writes the payload.
func (r GroupDeltaResponse) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(r.Delta[:])
	putHashes(e, r.Parents)
	e.Bytes(r.Payload)
}

// DecodeBorsh reads the payload.
func (r *GroupDeltaResponse) DecodeBorsh(d *borsh.Decoder) {
	r.Delta = d.Array32("delta_id")
	r.Parents = readHashes(d, "parent_ids")
	r.Payload = d.Bytes("payload")
}

// GroupDeltaNotFound says that the op asked for is not here.
type GroupDeltaNotFound struct{}

func (GroupDeltaNotFound) messageTag() uint8 { return tagGroupDeltaNotFound }

// EncodeBorsh writes nothing.
func (GroupDeltaNotFound) EncodeBorsh(*borsh.Encoder) {}
