// Package storage is the contract of storage plugins: ordered byte keys in named columns, atomic batches.
package storage

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/calimero-go/core/plugin-sdk/base"
)

// Bounds of the contract. A plugin accepts everything up to them and refuses what is above with kind TooLarge.
const (
	// MaxKey is the longest key in bytes; keys may not be empty.
	MaxKey = 1 << 10
	// MaxValue is the longest value in bytes.
	MaxValue = 12 << 20
	// MaxColumn is the longest column name; names are letters, digits, '-' and '_'.
	MaxColumn = 64
	// MaxBatchOps and MaxBatchBytes (keys and values added up) bound one batch.
	MaxBatchOps   = 1 << 18
	MaxBatchBytes = 128 << 20
	// MaxGetKeys bounds one Get.
	MaxGetKeys = 4096
	// DefaultPageBytes and MaxPageBytes bound a page of a scan.
	DefaultPageBytes = 256 << 10
	MaxPageBytes     = 1 << 20
	// RememberedBatches is how many of the latest batch ids a plugin remembers, also over restarts.
	RememberedBatches = 4096
	// SnapshotLease is how long a snapshot lives without being used.
	SnapshotLease = 60 * time.Second
)

// Capabilities a storage plugin may announce.
const (
	CapSnapshot = "snapshot"
	CapStats    = "stats"
	CapCompact  = "compact"
)

// Plugin is a storage plugin. First-party plugins keep the implementation in an importable package beside their main,
// with a constructor New that returns this interface, so that tests and benchmarks can link it in process.
type Plugin interface {
	base.Plugin
	Store
}

// Reader reads. Returned slices belong to the caller. Columns need not be created; an unknown one is empty.
type Reader interface {
	// Get returns one value per key, in order.
	Get(ctx context.Context, keys []Key) ([]Value, error)
	// Scan calls page for each page of r in order and stops at the first error, which it returns. A page is never
	// empty and belongs to the callee of page. Without a snapshot, pages may see writes made during the scan; each
	// item is from some committed batch, and keys that do not change are seen exactly once.
	Scan(ctx context.Context, r Range, page func([]Item) error) error
}

// Store is what a storage plugin does. Methods may be called concurrently.
type Store interface {
	Reader
	// Apply commits a batch: all of it or nothing, visible to readers at once, and, with the plugin's default
	// configuration, on disk when Apply returns. Operations apply in order. A batch whose ID is among the last
	// RememberedBatches is not applied again: replayed is true. After an error the batch may or may not have been
	// applied; applying it again with the same ID is safe. One with an ID that is on its way waits for its end. A batch
	// without operations takes its ID too: that is how a host learns what became of a batch that was not answered, and
	// keeps it from being applied later.
	Apply(ctx context.Context, b Batch) (replayed bool, err error)
	// Snapshot opens a consistent view (CapSnapshot). It ends with Close, with ctx, or when unused for SnapshotLease;
	// then its methods fail with kind NotFound.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Stats tells sizes (CapStats).
	Stats(ctx context.Context) (Stats, error)
	// Compact reclaims space (CapCompact).
	Compact(ctx context.Context) (before, after uint64, err error)
}

// Snapshot is a consistent view of all columns.
type Snapshot interface {
	Reader
	// Close ends the view; more than once is fine.
	Close() error
}

// Key names a value.
type Key struct {
	Column string
	Key    []byte
}

// Value is a value or its absence: Bytes may be empty and Found.
type Value struct {
	Bytes []byte
	Found bool
}

// Item is a key (without its column) with its value.
type Item struct {
	Key, Value []byte
}

// Range selects keys of one column in byte order: Start ≤ key < End; a nil or empty End means to the end.
type Range struct {
	Column     string
	Start, End []byte
	// Reverse walks from the end.
	Reverse bool
	// Limit is the most items; 0 = all.
	Limit uint64
	// PageBytes is the soft size of a page; 0 = DefaultPageBytes.
	PageBytes int
	// KeysOnly leaves values nil.
	KeysOnly bool
}

// Prefix is the range of all keys of column that start with prefix.
func Prefix(column string, prefix []byte) Range {
	return Range{Column: column, Start: prefix, End: prefixEnd(prefix)}
}

func prefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}

// BatchID identifies a batch for ever; all zero is refused.
type BatchID [16]byte

// NewBatchID draws a random id.
func NewBatchID() BatchID {
	var id BatchID
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// Batch is an atomic set of writes.
type Batch struct {
	ID  BatchID
	Ops []Op
}

// OpKind says what an Op does.
type OpKind uint8

const (
	// OpPut sets Key to Value.
	OpPut OpKind = iota + 1
	// OpDelete removes Key; an absent one is fine.
	OpDelete
	// OpDeleteRange removes Key ≤ k < End; an empty End means to the end of the column.
	OpDeleteRange
)

// Op is one write.
type Op struct {
	Kind   OpKind
	Column string
	Key    []byte
	Value  []byte
	End    []byte
}

// Put appends a write of key; b keeps the slices.
func (b *Batch) Put(column string, key, value []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpPut, Column: column, Key: key, Value: value})
}

// Delete appends the removal of key.
func (b *Batch) Delete(column string, key []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpDelete, Column: column, Key: key})
}

// DeleteRange appends the removal of all keys in [start, end).
func (b *Batch) DeleteRange(column string, start, end []byte) {
	b.Ops = append(b.Ops, Op{Kind: OpDeleteRange, Column: column, Key: start, End: end})
}

// DeletePrefix appends the removal of all keys that start with prefix, which may not be empty.
func (b *Batch) DeletePrefix(column string, prefix []byte) {
	b.DeleteRange(column, prefix, prefixEnd(prefix))
}

// Stats are the sizes of a store.
type Stats struct {
	// DiskBytes is what all files take.
	DiskBytes uint64
	// Columns maps a column to its approximate size in bytes.
	Columns map[string]uint64
	// Engine has free-form facts for the operator.
	Engine map[string]string
}
