package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxGossip is the largest gossip message in bytes, the envelope of the transport included.
const MaxGossip = 64 << 10

// NonceLen is the size in bytes of a nonce.
const NonceLen = 12

// Nonce is a nonce of AES-256-GCM.
type Nonce [NonceLen]byte

// ContextTopic is the gossip topic of a context.
func ContextTopic(id domain.ContextID) string { return id.String() }

// GroupTopic is the gossip topic of a group.
func GroupTopic(id domain.GroupID) string { return "group/" + id.String() }

// InviteTopic is the gossip topic on which nodes of a special kind are looked for, unless the configuration names another.
const InviteTopic = "mero_specialized_node_invites"

// Broadcast is what a gossip message carries (sync-wire.md §1.2). The types are [StateDelta], [HashHeartbeat],
// [SpecializedNodeDiscovery], [SpecializedNodeJoinConfirmation], [GroupMutation], [SignedGroupOpV1],
// [GroupGovernanceDelta], [GroupStateHeartbeat], [TeeAttestationAnnounce], and of the extension [SignedDelta] and
// [DeltaAnnounce].
type Broadcast interface {
	borsh.Marshaler
	broadcastTag() uint8
}

// Tags of Broadcast.
const (
	tagStateDelta uint8 = iota
	tagHashHeartbeat
	tagSpecializedNodeDiscovery
	tagSpecializedNodeJoinConfirmation
	tagGroupMutation
	tagSignedGroupOpV1
	tagGroupGovernanceDelta
	tagGroupStateHeartbeat
	tagTeeAttestationAnnounce
)

// FirstExtensionTag is the first byte, and the least, of the extension's messages: nodes that do not know one ignore it.
const FirstExtensionTag uint8 = 0xc0

const (
	tagSignedDelta = FirstExtensionTag + iota
	tagDeltaAnnounce
)

// EncodeBroadcast returns the bytes of a gossip message; kind TooLarge when they exceed MaxGossip.
func EncodeBroadcast(m Broadcast) ([]byte, error) {
	e := borsh.NewEncoder(nil)
	e.U8(m.broadcastTag())
	m.EncodeBorsh(e)
	out, err := e.Finish()
	if err != nil {
		return nil, fmt.Errorf("encode gossip message %T: %w", m, err)
	}
	if len(out) > MaxGossip {
		return nil, errkind.TooLarge.Errorf("encode gossip message %T: %d bytes, the limit is %d", m, len(out), MaxGossip)
	}
	return out, nil
}

// DecodeBroadcast reads a gossip message from all of in. Its errors are [borsh.ErrMalformed], or of kind TooLarge when in
// exceeds MaxGossip. The result is a value, not a pointer, and shares no memory with in.
func DecodeBroadcast(in []byte) (Broadcast, error) {
	if len(in) > MaxGossip {
		return nil, errkind.TooLarge.Errorf("gossip message: %d bytes, the limit is %d", len(in), MaxGossip)
	}
	d := borsh.NewDecoder(in)
	m := readBroadcast(d)
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("decode gossip message: %w", err)
	}
	return m, nil
}

func readBroadcast(d *borsh.Decoder) Broadcast {
	switch tag := d.U8("message"); tag {
	case tagStateDelta:
		return decoded[StateDelta](d)
	case tagHashHeartbeat:
		return decoded[HashHeartbeat](d)
	case tagSpecializedNodeDiscovery:
		return decoded[SpecializedNodeDiscovery](d)
	case tagSpecializedNodeJoinConfirmation:
		return decoded[SpecializedNodeJoinConfirmation](d)
	case tagGroupMutation:
		return decoded[GroupMutation](d)
	case tagSignedGroupOpV1:
		return decoded[SignedGroupOpV1](d)
	case tagGroupGovernanceDelta:
		return decoded[GroupGovernanceDelta](d)
	case tagGroupStateHeartbeat:
		return decoded[GroupStateHeartbeat](d)
	case tagTeeAttestationAnnounce:
		return decoded[TeeAttestationAnnounce](d)
	case tagSignedDelta:
		return decoded[SignedDelta](d)
	case tagDeltaAnnounce:
		return decoded[DeltaAnnounce](d)
	default:
		d.Fail("message", unexpectedTag(tag))
		return nil
	}
}

// decoded reads a value of a type that one of many tags stands for.
func decoded[T any, P interface {
	*T
	borsh.Unmarshaler
}](d *borsh.Decoder) (v T) {
	P(&v).DecodeBorsh(d)
	return v
}

// unexpectedTag has the text of borsh.Decoder.Tag, for enums whose tags have gaps.
func unexpectedTag(tag uint8) error {
	return fmt.Errorf("Unexpected variant tag: %d", tag) //nolint:staticcheck // the reference's exact text
}

// put and read are the item functions of vectors and options of messages.

func put[T borsh.Marshaler](e *borsh.Encoder, v T) { v.EncodeBorsh(e) }

func readNonce(d *borsh.Decoder, field string) (n Nonce) {
	d.Raw(field, n[:])
	return n
}

func readSignature(d *borsh.Decoder, field string) (s domain.Signature) {
	d.Raw(field, s[:])
	return s
}

func putHashes(e *borsh.Encoder, hashes []domain.Hash) {
	borsh.PutSlice(e, hashes, borsh.PutArray32[domain.Hash])
}

func readHashes(d *borsh.Decoder, field string) []domain.Hash {
	return borsh.Array32s[domain.Hash](d, field)
}
