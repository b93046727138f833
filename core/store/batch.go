package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// ErrOutcomeUnknown marks the error of a Commit whose writes may be there or not. Committing the same batch again is
// safe; without that, read again what it touched.
var ErrOutcomeUnknown = errors.New("whether the commit took place is unknown")

// attemptTime bounds one Apply, which the end of a caller's context does not interrupt.
const attemptTime = 15 * time.Second

// Batch collects writes that become visible and durable together. It is not safe for concurrent use. A batch that is
// not committed has no effect.
type Batch struct {
	db    *DB
	batch storage.Batch
	hot   []write
	err   error
	done  []func(error)
	ended bool
	// unknown: a commit failed with its outcome unknown; late is that one, if the storage did not answer.
	unknown bool
	late    *attempt
	rows    rowWrites
	size    int
}

// write is a write to a hot column.
type write struct {
	column wire.Column
	key    []byte
	value  storage.Value
	prefix bool // key is a prefix and all below it is removed
}

// Batch begins a batch.
func (db *DB) Batch() *Batch {
	return &Batch{db: db, batch: storage.Batch{ID: storage.NewBatchID()}}
}

// Len is the number of writes collected.
func (b *Batch) Len() int { return len(b.batch.Ops) }

// Size is the bytes of keys and values collected.
func (b *Batch) Size() int { return b.size }

// Err is the first write that could not be encoded, which Commit will fail with.
func (b *Batch) Err() error { return b.err }

// AfterCommit has fn called once: when Commit succeeded (nil) or failed without effect (its error), or at Abandon. Who
// gives such a function away must reach one of them.
func (b *Batch) AfterCommit(fn func(error)) { b.done = append(b.done, fn) }

// Fail makes Commit fail with err, unless it is nil or the batch failed before.
func (b *Batch) Fail(err error) { b.fail(err) }

// Commit applies the batch in exactly one storage batch; when it returns nil the writes are visible to all readers and
// as durable as the storage makes them. While the storage is unavailable it is repeated with the same id, until ctx or
// the DB's patience ends; a batch the storage works on is waited for even then. Errors: of a write that could not be
// encoded or a batch over the storage's bounds, without effect; others wrap ErrOutcomeUnknown, and Commit may be called
// again. After success it is an error to call it.
func (b *Batch) Commit(ctx context.Context) error {
	if b.ended {
		return errkind.Internal.Errorf("batch is committed already")
	}
	err := b.commit(ctx)
	if err == nil {
		b.ended = true
	}
	b.unknown = errors.Is(err, ErrOutcomeUnknown)
	if !b.unknown {
		b.finish(err)
	}
	return err
}

// Abandon gives up on a batch that is not committed: functions given to AfterCommit get an error, one that wraps
// ErrOutcomeUnknown if Commit failed so. After a successful commit it does nothing, so that it can be deferred.
func (b *Batch) Abandon() {
	if b.ended {
		return
	}
	b.ended = true
	if b.unknown {
		b.finish(errkind.Unavailable.Errorf("batch abandoned: %w", ErrOutcomeUnknown))
		return
	}
	b.finish(errkind.Canceled.Errorf("batch abandoned"))
}

func (b *Batch) finish(err error) {
	done := b.done
	b.done = nil
	for _, fn := range done {
		fn(err)
	}
}

func (b *Batch) commit(ctx context.Context) error {
	if b.err != nil {
		return b.err
	}
	if err := b.batch.Check(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := b.db.retry(ctx, func() (bool, error) { return true, b.db.settle(ctx) }); err != nil {
		if b.late != nil {
			err = errkind.Of(err).Errorf("%w: %w", err, ErrOutcomeUnknown)
		}
		return fmt.Errorf("commit: %w", err)
	}
	if b.late != nil { // it is decided now
		if b.db.unsettled.applied(b.late) {
			return nil
		}
		b.batch.ID = storage.NewBatchID() // the old one was used up
	}
	claim := b.db.cache.claim(b.hot)
	err := b.db.retry(ctx, func() (bool, error) {
		// An attempt that is cut off may still take place, and then nobody knows when: let it end.
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTime)
		defer cancel()
		_, err := b.db.storage.Apply(attempt, b.batch)
		if attempt.Err() != nil && err != nil {
			err = errkind.Unavailable.Errorf("no answer within %v: %w", attemptTime, err)
		}
		return true, err
	})
	if err != nil && unanswered(err) {
		b.late = b.db.unsettled.add(b.batch.ID)
	}
	claim.release(err == nil)
	if err != nil {
		return errkind.Of(err).Errorf("commit: %w: %w", err, ErrOutcomeUnknown)
	}
	return nil
}

func (b *Batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *Batch) put(column wire.Column, hot bool, key, value []byte) {
	b.size += len(key) + len(value)
	b.batch.Put(string(column), key, value)
	if hot {
		b.hot = append(b.hot, write{column: column, key: key, value: storage.Value{Bytes: value, Found: true}})
	}
}

func (b *Batch) delete(column wire.Column, hot bool, key []byte) {
	b.size += len(key)
	b.batch.Delete(string(column), key)
	if hot {
		b.hot = append(b.hot, write{column: column, key: key})
	}
}

func (b *Batch) deletePrefix(column wire.Column, hot bool, prefix []byte) {
	b.size += len(prefix)
	b.batch.DeletePrefix(string(column), prefix)
	if hot {
		b.hot = append(b.hot, write{column: column, key: prefix, prefix: true})
	}
}
