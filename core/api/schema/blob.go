package schema

import "github.com/calimero-go/core/plugin-sdk/domain"

// Blob names a blob; in snake case, as all of blobs.
type Blob struct {
	BlobID domain.BlobID `json:"blob_id"`
	Size   uint64        `json:"size"`
}

// Blobs is the answer of a list.
type Blobs struct {
	Blobs []Blob `json:"blobs"`
}

// BlobDeleted is the answer of a delete, without Data.
type BlobDeleted struct {
	BlobID  domain.BlobID `json:"blob_id"`
	Deleted bool          `json:"deleted"`
}

// BlobInfo is what a client makes of the headers of a HEAD.
type BlobInfo struct {
	BlobID   domain.BlobID `json:"blob_id"`
	Size     uint64        `json:"size"`
	Hash     IntBytes32    `json:"hash"`
	MIMEType string        `json:"mime_type"`
}

// PeersCount is the answer of peers, without Data.
type PeersCount struct {
	Count uint64 `json:"count"`
}

// Status is the answer of the health routes.
type Status struct {
	Status string `json:"status"`
}

// Fault is the body of most errors.
type Fault struct {
	Error string `json:"error"`
}
