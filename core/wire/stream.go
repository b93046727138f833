package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Protocols of streams.
const (
	// SyncProtocol carries one StreamMessage per frame.
	SyncProtocol = "/calimero/stream/0.0.2"
	// BlobProtocol carries one blob: BlobRequest, BlobResponse, chunks.
	BlobProtocol = "/calimero/blob/0.0.2"
)

// MaxFrame is the largest payload of a frame of SyncProtocol, BlobProtocol and ExtensionProtocol in bytes. Before each
// payload stands its length as a big-endian u32.
const MaxFrame = 8 << 20

// StreamMessage is what a frame of [SyncProtocol] carries (sync-wire.md §2.2): [Init], [Message] or [OpaqueError].
type StreamMessage interface {
	borsh.Marshaler
	streamTag() uint8
}

// Tags of StreamMessage.
const (
	tagInit uint8 = iota
	tagMessage
	tagOpaqueError

	streamMessages
)

// Init opens a sub-protocol on a stream, or asks one question.
type Init struct {
	Context domain.ContextID
	// Party is the identity the sender claims.
	Party   domain.PublicKey
	Payload InitPayload
	// NextNonce is the nonce of the first sealed answer of a BlobShare, else random and without meaning.
	NextNonce Nonce
}

func (Init) streamTag() uint8 { return tagInit }

// EncodeBorsh writes the message without its tag.
func (i Init) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(i.Context[:])
	e.Raw(i.Party[:])
	e.U8(i.Payload.initTag())
	i.Payload.EncodeBorsh(e)
	e.Raw(i.NextNonce[:])
}

// DecodeBorsh reads the message after its tag.
func (i *Init) DecodeBorsh(d *borsh.Decoder) {
	i.Context = d.Array32("context_id")
	i.Party = d.Array32("party_id")
	i.Payload = readInitPayload(d)
	i.NextNonce = readNonce(d, "next_nonce")
}

// Message answers an Init, or goes on with the sub-protocol it opened.
type Message struct {
	// Sequence counts the Messages of one side of one run of a sub-protocol, from 0.
	Sequence  uint64
	Payload   MessagePayload
	NextNonce Nonce // as in Init
}

func (Message) streamTag() uint8 { return tagMessage }

// EncodeBorsh writes the message without its tag.
func (m Message) EncodeBorsh(e *borsh.Encoder) {
	e.U64(m.Sequence)
	e.U8(m.Payload.messageTag())
	m.Payload.EncodeBorsh(e)
	e.Raw(m.NextNonce[:])
}

// DecodeBorsh reads the message after its tag.
func (m *Message) DecodeBorsh(d *borsh.Decoder) {
	m.Sequence = d.U64("sequence_id")
	m.Payload = readMessagePayload(d)
	m.NextNonce = readNonce(d, "next_nonce")
}

// OpaqueError says that the other side failed and not why.
type OpaqueError struct{}

func (OpaqueError) streamTag() uint8 { return tagOpaqueError }

// EncodeBorsh writes nothing: the tag is all.
func (OpaqueError) EncodeBorsh(*borsh.Encoder) {}

// DecodeBorsh reads nothing.
func (*OpaqueError) DecodeBorsh(*borsh.Decoder) {}

// EncodeStream returns the payload of a frame; kind TooLarge when it exceeds MaxFrame.
func EncodeStream(m StreamMessage) ([]byte, error) {
	e := borsh.NewEncoder(nil)
	e.U8(m.streamTag())
	m.EncodeBorsh(e)
	out, err := e.Finish()
	if err != nil {
		return nil, fmt.Errorf("encode stream message: %w", err)
	}
	if len(out) > MaxFrame {
		return nil, errkind.TooLarge.Errorf("encode stream message: %d bytes, the limit is %d", len(out), MaxFrame)
	}
	return out, nil
}

// DecodeStream reads the payload of a frame. Its errors are [borsh.ErrMalformed], or of kind TooLarge when in exceeds
// MaxFrame. The result, and the payload in it, is a value, not a pointer, and shares no memory with in.
func DecodeStream(in []byte) (StreamMessage, error) {
	if len(in) > MaxFrame {
		return nil, errkind.TooLarge.Errorf("stream message: %d bytes, the limit is %d", len(in), MaxFrame)
	}
	d := borsh.NewDecoder(in)
	m := readStreamMessage(d)
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("decode stream message: %w", err)
	}
	return m, nil
}

func readStreamMessage(d *borsh.Decoder) StreamMessage {
	switch d.Tag("message", streamMessages) {
	case tagInit:
		return decoded[Init](d)
	case tagMessage:
		return decoded[Message](d)
	default:
		return OpaqueError{}
	}
}
