package wire

import (
	"encoding/json"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxBlobHeader is the largest BlobRequest and BlobResponse in bytes; the longest real one has 600.
const MaxBlobHeader = 4 << 10

// MaxBlobChunk is the most data a chunk of a blob has.
const MaxBlobChunk = 1 << 20

// BlobRequest is the first frame of [BlobProtocol] (sync-wire.md §7). Its form is JSON.
type BlobRequest struct {
	Blob    domain.BlobID    `json:"blob_id"`
	Context domain.ContextID `json:"context_id"`
	Auth    *BlobAuth        `json:"auth"` // nil: only what is public is asked for
}

// BlobAuth proves that a member asks.
type BlobAuth struct {
	PublicKey domain.PublicKey
	Signature domain.Signature // of BlobAuthMessage
	Timestamp uint64           // Unix seconds
}

type blobAuthJSON struct {
	PublicKey domain.PublicKey `json:"public_key"`
	Signature octets           `json:"signature"`
	Timestamp *uint64          `json:"timestamp"`
}

// MarshalJSON writes the signature as an array of numbers.
func (a BlobAuth) MarshalJSON() ([]byte, error) {
	return json.Marshal(blobAuthJSON{PublicKey: a.PublicKey, Signature: a.Signature[:], Timestamp: &a.Timestamp})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *BlobAuth) UnmarshalJSON(in []byte) error {
	var raw blobAuthJSON
	if err := json.Unmarshal(in, &raw); err != nil {
		return err
	}
	if raw.Timestamp == nil || len(raw.Signature) != len(a.Signature) {
		return fmt.Errorf("auth: expected public_key, a signature of %d bytes, timestamp", len(a.Signature))
	}
	*a = BlobAuth{PublicKey: raw.PublicKey, Signature: domain.Signature(raw.Signature), Timestamp: *raw.Timestamp}
	return nil
}

// BlobAuthMessage is what a BlobAuth signs.
func BlobAuthMessage(blob domain.BlobID, context domain.ContextID, timestamp uint64) []byte {
	e := borsh.NewEncoder(make([]byte, 0, 72))
	e.Raw(blob[:])
	e.Raw(context[:])
	e.U64(timestamp)
	out, _ := e.Finish() // cannot fail
	return out
}

// Verify reports whether the request is signed by the key it names. Whether that one is a member, and the time, are the
// caller's to check.
func (r BlobRequest) Verify() bool {
	return r.Auth != nil &&
		r.Auth.PublicKey.Verify(BlobAuthMessage(r.Blob, r.Context, r.Auth.Timestamp), r.Auth.Signature)
}

// BlobResponse is the second frame: whether chunks follow. A blob that may not be had looks like one that is not here.
type BlobResponse struct {
	Found bool    `json:"found"`
	Size  *uint64 `json:"size"` // as claimed
}

// EncodeBlobRequest returns the payload of the first frame.
func EncodeBlobRequest(r BlobRequest) ([]byte, error) { return encodeBlobHeader(r) }

// EncodeBlobResponse returns the payload of the second frame.
func EncodeBlobResponse(r BlobResponse) ([]byte, error) { return encodeBlobHeader(r) }

func encodeBlobHeader(v any) ([]byte, error) {
	out, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return out, nil
}

// DecodeBlobRequest reads the payload of the first frame; kind Invalid, or TooLarge over MaxBlobHeader.
func DecodeBlobRequest(in []byte) (r BlobRequest, err error) {
	var fields struct {
		Blob    *domain.BlobID    `json:"blob_id"`
		Context *domain.ContextID `json:"context_id"`
		Auth    *BlobAuth         `json:"auth"`
	}
	if err := decodeBlobHeader(in, "blob request", &fields); err != nil {
		return BlobRequest{}, err
	}
	if fields.Blob == nil || fields.Context == nil {
		return BlobRequest{}, errkind.Invalid.Errorf("decode blob request: blob_id and context_id are required")
	}
	return BlobRequest{Blob: *fields.Blob, Context: *fields.Context, Auth: fields.Auth}, nil
}

// DecodeBlobResponse reads the payload of the second frame; kind Invalid, or TooLarge over MaxBlobHeader.
func DecodeBlobResponse(in []byte) (r BlobResponse, err error) {
	var fields struct {
		Found *bool   `json:"found"`
		Size  *uint64 `json:"size"`
	}
	if err := decodeBlobHeader(in, "blob response", &fields); err != nil {
		return BlobResponse{}, err
	}
	if fields.Found == nil {
		return BlobResponse{}, errkind.Invalid.Errorf("decode blob response: found is required")
	}
	return BlobResponse{Found: *fields.Found, Size: fields.Size}, nil
}

func decodeBlobHeader(in []byte, what string, into any) error {
	if len(in) > MaxBlobHeader {
		return errkind.TooLarge.Errorf("%s: %d bytes, the limit is %d", what, len(in), MaxBlobHeader)
	}
	if err := json.Unmarshal(in, into); err != nil {
		return errkind.Invalid.Errorf("decode %s: %w", what, err)
	}
	return nil
}

// EncodeBlobChunk returns the payload of a frame with data; empty data is the end of the blob.
func EncodeBlobChunk(data []byte) ([]byte, error) {
	if len(data) > MaxBlobChunk {
		return nil, errkind.TooLarge.Errorf("blob chunk of %d bytes, the limit is %d", len(data), MaxBlobChunk)
	}
	e := borsh.NewEncoder(make([]byte, 0, 4+len(data)))
	e.Bytes(data)
	return e.Finish()
}

// DecodeBlobChunk reads the payload of a frame with data. The result shares the memory of in. Its errors are
// [borsh.ErrMalformed], or of kind TooLarge over MaxBlobChunk.
func DecodeBlobChunk(in []byte) ([]byte, error) {
	if len(in) > 4+MaxBlobChunk {
		return nil, errkind.TooLarge.Errorf("blob chunk of %d bytes, the limit is %d", len(in), 4+MaxBlobChunk)
	}
	d := borsh.NewDecoder(in)
	data := d.View("data")
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("decode blob chunk: %w", err)
	}
	return data, nil
}

// BlobRecordKey is the key under which the provider of a blob is found.
func BlobRecordKey(context domain.ContextID, blob domain.BlobID) []byte {
	return concat(context[:], blob[:])
}

// BlobRecord is the value there.
type BlobRecord struct {
	Peer []byte // the bytes of a peer id
	Size uint64
}

// EncodeBlobRecord returns the bytes of the record: the peer id, and the size as a little-endian u64.
func EncodeBlobRecord(r BlobRecord) []byte {
	e := borsh.NewEncoder(nil)
	e.Raw(r.Peer)
	e.U64(r.Size)
	out, _ := e.Finish() // cannot fail
	return out
}

// maxPeerID is the longest peer id that is taken; real ones have 34 to 38 bytes.
const maxPeerID = 128

// DecodeBlobRecord reads the record; kind Invalid. Whether Peer is a peer id is not looked at.
func DecodeBlobRecord(in []byte) (BlobRecord, error) {
	if len(in) <= 8 || len(in) > maxPeerID+8 {
		return BlobRecord{}, errkind.Invalid.Errorf("blob record of %d bytes, expected a peer id and 8 bytes", len(in))
	}
	at := len(in) - 8
	return BlobRecord{Peer: append([]byte(nil), in[:at]...), Size: borsh.NewDecoder(in[at:]).U64("size")}, nil
}
