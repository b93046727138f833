package wire

import (
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// ExtensionProtocol is the stream protocol of the extension, one ExtensionMessage per frame (docs/design/sync.md). Its
// end is its version.
const ExtensionProtocol = "/calimero-go/extension/1"

// ExtensionMessage is what a frame of [ExtensionProtocol] carries: [Hello], [HelloReply], [HelloProof], [HeadsRequest],
// [Heads], [HistoryRequest], [History], [DeltasRequest], [Deltas], [ShareKey], [Refusal], [BlobOpen], [BlobChunks],
// [ChunksRequest], [Chunk], [GroupHello], [GenesisRequest], [Genesis], [GroupOpsRequest] or [GroupOps].
type ExtensionMessage interface {
	borsh.Marshaler
	extensionTag() uint8
}

// Tags of ExtensionMessage.
const (
	tagHello uint8 = iota
	tagHelloReply
	tagHelloProof
	tagHeadsRequest
	tagHeads
	tagHistoryRequest
	tagHistory
	tagDeltasRequest
	tagDeltas
	tagShareKey
	tagRefusal
	tagBlobOpen
	tagBlobChunks
	tagChunksRequest
	tagChunk
	tagGroupHello
	tagGenesisRequest
	tagGenesis
	tagGroupOpsRequest
	tagGroupOps

	extensionMessages
)

// Limits of the extension's messages.
const (
	MaxHistory     = 16 << 10 // entries of a History
	MaxHistoryFrom = 4 << 10  // deltas named in a HistoryRequest
	MaxDeltas      = 1 << 10  // deltas named in a DeltasRequest
	MaxRefusal     = 1 << 10  // bytes of a Refusal's text
)

// Hello begins a session about one context: who asks, who shall answer, and a challenge.
type Hello struct {
	Context  domain.ContextID
	Identity domain.PublicKey
	Want     domain.PublicKey // zero: any member
	Nonce    [32]byte
}

func (Hello) extensionTag() uint8 { return tagHello }

// EncodeBorsh writes the message.
func (h Hello) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(h.Context[:])
	e.Raw(h.Identity[:])
	e.Raw(h.Want[:])
	e.Raw(h.Nonce[:])
}

// DecodeBorsh reads the message.
func (h *Hello) DecodeBorsh(d *borsh.Decoder) {
	h.Context = d.Array32("context_id")
	h.Identity = d.Array32("identity")
	h.Want = d.Array32("want")
	h.Nonce = d.Array32("nonce")
}

// HelloReply answers a Hello: who answers, the proof of it, and a challenge.
type HelloReply struct {
	Identity domain.PublicKey
	Nonce    [32]byte
	Proof    domain.Signature // of SessionProof by the acceptor
}

func (HelloReply) extensionTag() uint8 { return tagHelloReply }

// EncodeBorsh writes the message.
func (h HelloReply) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(h.Identity[:])
	e.Raw(h.Nonce[:])
	e.Raw(h.Proof[:])
}

// DecodeBorsh reads the message.
func (h *HelloReply) DecodeBorsh(d *borsh.Decoder) {
	h.Identity = d.Array32("identity")
	h.Nonce = d.Array32("nonce")
	h.Proof = readSignature(d, "proof")
}

// HelloProof is the opener's proof; with it the session is open.
type HelloProof struct{ Proof domain.Signature }

func (HelloProof) extensionTag() uint8 { return tagHelloProof }

// EncodeBorsh writes the message.
func (h HelloProof) EncodeBorsh(e *borsh.Encoder) { e.Raw(h.Proof[:]) }

// DecodeBorsh reads the message.
func (h *HelloProof) DecodeBorsh(d *borsh.Decoder) { h.Proof = readSignature(d, "proof") }

// SessionProof is what a side of a session signs with its identity. The peer ids are those the transport has proven, so
// that a proof cannot be passed on by somebody in between.
type SessionProof struct {
	Opener   bool // whose proof it is
	Hello    Hello
	Reply    HelloReply // its proof does not count
	Opening  string     // bytes of the opener's peer id
	Accepter string     // bytes of the acceptor's peer id
}

// Message is what is signed.
func (p SessionProof) Message() []byte {
	e := borsh.NewEncoder(nil)
	e.Raw([]byte("calimero-go/session/1"))
	e.Bool(p.Opener)
	p.Hello.EncodeBorsh(e)
	e.Raw(p.Reply.Identity[:])
	e.Raw(p.Reply.Nonce[:])
	e.Bytes([]byte(p.Opening))
	e.Bytes([]byte(p.Accepter))
	out, _ := e.Finish() // cannot fail: peer ids are short
	return out
}

// HeadsRequest asks where the other's copy of the context is: Heads.
type HeadsRequest struct{}

func (HeadsRequest) extensionTag() uint8 { return tagHeadsRequest }

// EncodeBorsh writes nothing.
func (HeadsRequest) EncodeBorsh(*borsh.Encoder) {}

// Heads says where a copy of the context is.
type Heads struct {
	DagHeads []domain.Hash
	RootHash domain.Hash
}

func (Heads) extensionTag() uint8 { return tagHeads }

// EncodeBorsh writes the message.
func (h Heads) EncodeBorsh(e *borsh.Encoder) {
	putHashes(e, h.DagHeads)
	e.Raw(h.RootHash[:])
}

// DecodeBorsh reads the message.
func (h *Heads) DecodeBorsh(d *borsh.Decoder) {
	h.DagHeads = readHashes(d, "dag_heads")
	h.RootHash = d.Array32("root_hash")
}

// HistoryRequest asks for the parents of deltas, of these parents, and so on: History. From are where to begin, Limit is
// how many entries are wanted.
type HistoryRequest struct {
	From  []domain.Hash
	Limit uint32
}

func (HistoryRequest) extensionTag() uint8 { return tagHistoryRequest }

// EncodeBorsh writes the message.
func (r HistoryRequest) EncodeBorsh(e *borsh.Encoder) {
	putHashes(e, r.From)
	e.U32(r.Limit)
}

// DecodeBorsh reads the message.
func (r *HistoryRequest) DecodeBorsh(d *borsh.Decoder) {
	r.From = boundedHashes(d, "from", MaxHistoryFrom)
	r.Limit = d.U32("limit")
}

// HistoryEntry is a delta's place in the history, as claimed by who sends it.
type HistoryEntry struct {
	Delta   domain.Hash
	Parents []domain.Hash
}

const minHistoryEntry = 32 + 4

// EncodeBorsh writes the entry.
func (h HistoryEntry) EncodeBorsh(e *borsh.Encoder) {
	e.Raw(h.Delta[:])
	putHashes(e, h.Parents)
}

// DecodeBorsh reads the entry.
func (h *HistoryEntry) DecodeBorsh(d *borsh.Decoder) {
	h.Delta = d.Array32("delta_id")
	h.Parents = readHashes(d, "parents")
}

// History answers a HistoryRequest with what is here of it, children before their parents.
type History struct{ Entries []HistoryEntry }

func (History) extensionTag() uint8 { return tagHistory }

// EncodeBorsh writes the message.
func (h History) EncodeBorsh(e *borsh.Encoder) { borsh.PutSlice(e, h.Entries, put[HistoryEntry]) }

// DecodeBorsh reads the message.
func (h *History) DecodeBorsh(d *borsh.Decoder) {
	h.Entries = borsh.Slice(d, "entries", minHistoryEntry, decoded[HistoryEntry])
	atMost(d, "entries", len(h.Entries), MaxHistory)
}

// DeltasRequest asks for deltas: one or more Deltas.
type DeltasRequest struct{ Deltas []domain.Hash }

func (DeltasRequest) extensionTag() uint8 { return tagDeltasRequest }

// EncodeBorsh writes the message.
func (r DeltasRequest) EncodeBorsh(e *borsh.Encoder) { putHashes(e, r.Deltas) }

// DecodeBorsh reads the message.
func (r *DeltasRequest) DecodeBorsh(d *borsh.Decoder) {
	r.Deltas = boundedHashes(d, "deltas", MaxDeltas)
}

// Deltas has deltas in the order they were asked for; those that are not here are left out.
type Deltas struct {
	Records []DeltaRecord
	More    bool // another message follows
}

func (Deltas) extensionTag() uint8 { return tagDeltas }

// EncodeBorsh writes the message.
func (m Deltas) EncodeBorsh(e *borsh.Encoder) {
	borsh.PutSlice(e, m.Records, put[DeltaRecord])
	e.Bool(m.More)
}

// DecodeBorsh reads the message.
func (m *Deltas) DecodeBorsh(d *borsh.Decoder) {
	m.Records = borsh.Slice(d, "records", minDeltaRecord, decoded[DeltaRecord])
	atMost(d, "records", len(m.Records), MaxDeltas)
	m.More = d.Bool("more")
}

// ShareKey is the sender's sender key. The opener sends its own, the acceptor answers with its own.
type ShareKey struct{ SenderKey domain.PrivateKey }

func (ShareKey) extensionTag() uint8 { return tagShareKey }

// EncodeBorsh writes the message.
func (k ShareKey) EncodeBorsh(e *borsh.Encoder) { e.Raw(k.SenderKey[:]) }

// DecodeBorsh reads the message.
func (k *ShareKey) DecodeBorsh(d *borsh.Decoder) { k.SenderKey = d.Array32("sender_key") }

// Refusal says why a request is not answered. After it the stream ends.
type Refusal struct {
	Kind errkind.Kind
	Text string
}

func (Refusal) extensionTag() uint8 { return tagRefusal }

// EncodeBorsh writes the message.
func (r Refusal) EncodeBorsh(e *borsh.Encoder) {
	e.U8(uint8(r.Kind))
	e.String(r.Text)
}

// DecodeBorsh reads the message.
func (r *Refusal) DecodeBorsh(d *borsh.Decoder) {
	r.Kind = errkind.Kind(d.U8("kind"))
	r.Text = d.String("text")
	atMost(d, "text", len(r.Text), MaxRefusal)
}

// EncodeExtension returns the payload of a frame; kind TooLarge when it exceeds MaxFrame.
func EncodeExtension(m ExtensionMessage) ([]byte, error) {
	e := borsh.NewEncoder(nil)
	e.U8(m.extensionTag())
	m.EncodeBorsh(e)
	out, err := e.Finish()
	if err != nil {
		return nil, fmt.Errorf("encode extension message %T: %w", m, err)
	}
	if len(out) > MaxFrame {
		return nil, errkind.TooLarge.Errorf("encode extension message %T: %d bytes, the limit is %d", m, len(out), MaxFrame)
	}
	return out, nil
}

// DecodeExtension reads the payload of a frame. Its errors are [borsh.ErrMalformed], or of kind TooLarge when in exceeds
// MaxFrame. The result is a value, not a pointer, and shares no memory with in.
func DecodeExtension(in []byte) (ExtensionMessage, error) {
	if len(in) > MaxFrame {
		return nil, errkind.TooLarge.Errorf("extension message: %d bytes, the limit is %d", len(in), MaxFrame)
	}
	d := borsh.NewDecoder(in)
	m := readExtension(d)
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("decode extension message: %w", err)
	}
	return m, nil
}

func readExtension(d *borsh.Decoder) ExtensionMessage {
	switch d.Tag("message", extensionMessages) {
	case tagHello:
		return decoded[Hello](d)
	case tagHelloReply:
		return decoded[HelloReply](d)
	case tagHelloProof:
		return decoded[HelloProof](d)
	case tagHeadsRequest:
		return HeadsRequest{}
	case tagHeads:
		return decoded[Heads](d)
	case tagHistoryRequest:
		return decoded[HistoryRequest](d)
	case tagHistory:
		return decoded[History](d)
	case tagDeltasRequest:
		return decoded[DeltasRequest](d)
	case tagDeltas:
		return decoded[Deltas](d)
	case tagShareKey:
		return decoded[ShareKey](d)
	case tagBlobOpen:
		return decoded[BlobOpen](d)
	case tagBlobChunks:
		return decoded[BlobChunks](d)
	case tagChunksRequest:
		return decoded[ChunksRequest](d)
	case tagChunk:
		return decoded[Chunk](d)
	case tagGroupHello:
		return decoded[GroupHello](d)
	case tagGenesisRequest:
		return GenesisRequest{}
	case tagGenesis:
		return decoded[Genesis](d)
	case tagGroupOpsRequest:
		return decoded[GroupOpsRequest](d)
	case tagGroupOps:
		return decoded[GroupOps](d)
	default:
		return decoded[Refusal](d)
	}
}

func boundedHashes(d *borsh.Decoder, field string, limit int) []domain.Hash {
	hashes := readHashes(d, field)
	atMost(d, field, len(hashes), limit)
	return hashes
}

func atMost(d *borsh.Decoder, field string, n, limit int) {
	if n > limit {
		d.Fail(field, fmt.Errorf("%d, the limit is %d", n, limit))
	}
}
