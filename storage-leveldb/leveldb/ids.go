package leveldb

import (
	"context"
	"encoding/binary"
	"sync"

	ldb "github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// slots is the size of the ring of remembered batch ids. It exceeds what the contract asks for by the number of
// commits that may be on their way, rounded up, because those finish out of order.
const slots = 2 * storage.RememberedBatches

// maxInFlight bounds the commits on their way.
const maxInFlight = 1024

// batchIDs knows which batches were applied. On disk it is a ring: each batch writes its id into the slot of its number
// as part of itself, so that an id is remembered exactly when its batch is there, and old ids need no pruning.
type batchIDs struct {
	mu   sync.Mutex
	next uint64
	// ring mirrors the slots; applied has the same ids.
	ring    [slots]storage.BatchID
	applied map[storage.BatchID]struct{}
	// running has a channel per batch on its way, closed when it is decided.
	running map[storage.BatchID]chan struct{}
}

// load replaces the content by what the database remembers. No batch may be on its way.
func (b *batchIDs) load(db *ldb.DB) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = 0
	b.ring = [slots]storage.BatchID{}
	b.applied = make(map[storage.BatchID]struct{})
	b.running = make(map[storage.BatchID]chan struct{})
	it := db.NewIterator(util.BytesPrefix(batchPrefix), nil)
	defer it.Release()
	for it.Next() {
		v := it.Value()
		if len(v) != slotBytes {
			return errkind.Corrupt.Errorf("remembered batch in slot %x has %d bytes, not %d", it.Key(), len(v), slotBytes)
		}
		seq := binary.BigEndian.Uint64(v[16:])
		id := storage.BatchID(v[:16])
		b.ring[seq%slots] = id
		b.applied[id] = struct{}{}
		b.next = max(b.next, seq+1)
	}
	return it.Error()
}

// begin claims a batch: the caller commits it and calls finish, unless it was applied already. A batch that is on its
// way is waited for.
func (b *batchIDs) begin(ctx context.Context, id storage.BatchID) (applied bool, err error) {
	for {
		b.mu.Lock()
		if _, ok := b.applied[id]; ok {
			b.mu.Unlock()
			return true, nil
		}
		wait, ok := b.running[id]
		if !ok {
			b.running[id] = make(chan struct{})
			b.mu.Unlock()
			return false, nil
		}
		b.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// number gives a batch its place in the ring. It is called right before the write, so that batches refused earlier do
// not use up places.
func (b *batchIDs) number() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.next - 1
}

// finish ends what begin began; seq counts only when the batch was applied.
func (b *batchIDs) finish(id storage.BatchID, seq uint64, applied bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if applied {
		slot := &b.ring[seq%slots]
		delete(b.applied, *slot)
		*slot = id
		b.applied[id] = struct{}{}
	}
	close(b.running[id])
	delete(b.running, id)
}

const slotBytes = 16 + 8

func slotValue(id storage.BatchID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(nil), id[:]...), seq)
}
