// Package store is the node's database: typed columns over a storage plugin, in the reference's layout (governance.md §4,
// package wire), and batches that are one commit each. Rows that every call needs are kept in a bounded cache.
//
// Reads are methods of the tables ([ContextMeta], [Delta], …), which take a [Reader]: the [DB] or a [Snapshot]. Writes
// are collected in a [Batch].
package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Defaults of Options.
const (
	DefaultCacheBytes = 16 << 20
	DefaultPatience   = 30 * time.Second
)

// Options of a DB. The zero value is right.
type Options struct {
	// CacheBytes bounds the cache of hot rows; 0 = DefaultCacheBytes, negative = no cache.
	CacheBytes int
	// Patience is how long a read or commit is repeated while the storage is unavailable, if its context does not end
	// before; 0 = DefaultPatience.
	Patience time.Duration
	// Registerer takes the cache's metrics; nil = none.
	Registerer prometheus.Registerer
	// Logger; nil = none.
	Logger *slog.Logger
}

// DB is the database. All methods are safe for concurrent use.
type DB struct {
	storage   storage.Store
	cache     *cache
	patches   *patches
	unsettled *unsettled
	patience  time.Duration
	log       *slog.Logger
}

// Open makes a DB over a storage, which stays the caller's to close.
func Open(s storage.Store, opts Options) *DB {
	if opts.CacheBytes == 0 {
		opts.CacheBytes = DefaultCacheBytes
	}
	if opts.Patience <= 0 {
		opts.Patience = DefaultPatience
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &DB{
		storage: s, cache: newCache(opts.CacheBytes, opts.Registerer), patches: newPatches(opts.Registerer), unsettled: newUnsettled(),
		patience: opts.Patience, log: opts.Logger,
	}
}

// Storage is the storage underneath, for what has no table (sizes, compaction). Writing through it goes past the cache.
func (db *DB) Storage() storage.Store { return db.storage }

// Reader is what tables read from: a DB or a Snapshot.
type Reader interface {
	get(ctx context.Context, hot bool, keys []storage.Key) ([]storage.Value, error)
	scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error
}

func (db *DB) get(ctx context.Context, hot bool, keys []storage.Key) ([]storage.Value, error) {
	if !hot {
		return db.fetch(ctx, keys)
	}
	return db.cache.read(keys, func(missing []storage.Key) ([]storage.Value, error) { return db.fetch(ctx, missing) })
}

// fetch reads any number of keys.
func (db *DB) fetch(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	return inParts(keys, func(part []storage.Key) (got []storage.Value, err error) {
		err = db.retry(ctx, func() (again bool, err error) {
			if err := db.settle(ctx); err != nil {
				return true, err
			}
			got, err = db.storage.Get(ctx, part)
			return true, err
		})
		return got, err
	})
}

// inParts reads any number of keys with a get that takes [storage.MaxGetKeys].
func inParts(keys []storage.Key, get func([]storage.Key) ([]storage.Value, error)) ([]storage.Value, error) {
	values := make([]storage.Value, 0, len(keys))
	for part := range slices.Chunk(keys, storage.MaxGetKeys) {
		got, err := get(part)
		if err != nil {
			return nil, err
		}
		if len(got) != len(part) {
			return nil, errkind.Internal.Errorf("storage answered %d values for %d keys", len(got), len(part))
		}
		values = append(values, got...)
	}
	return values, nil
}

func (db *DB) scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	return db.retry(ctx, func() (again bool, err error) {
		if err := db.settle(ctx); err != nil {
			return true, err
		}
		again = true
		err = db.storage.Scan(ctx, r, func(items []storage.Item) error {
			again = false // what was delivered cannot be taken back
			return page(items)
		})
		return again, err
	})
}

// retry repeats fn while the storage is unavailable and fn allows it.
func (db *DB) retry(ctx context.Context, fn func() (again bool, err error)) error {
	var over <-chan time.Time
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		again, err := fn()
		if err == nil || !again || !worthRepeating(err) {
			return err
		}
		if over == nil {
			timer := time.NewTimer(db.patience)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-over:
			return err
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func worthRepeating(err error) bool {
	return errors.Is(err, errkind.Unavailable) || errkind.IsRetryable(err)
}

// Snapshot opens a consistent view of everything, without cache. It must be closed; it also ends with ctx, or when it is
// not used for storage.SnapshotLease.
func (db *DB) Snapshot(ctx context.Context) (*Snapshot, error) {
	if err := db.settle(ctx); err != nil {
		return nil, err
	}
	s, err := db.storage.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &Snapshot{s}, nil
}

// Snapshot is a Reader of one moment.
type Snapshot struct{ s storage.Snapshot }

// Close ends the snapshot; more than once is fine.
func (s *Snapshot) Close() error { return s.s.Close() }

func (s *Snapshot) get(ctx context.Context, _ bool, keys []storage.Key) ([]storage.Value, error) {
	return inParts(keys, func(part []storage.Key) ([]storage.Value, error) { return s.s.Get(ctx, part) })
}

func (s *Snapshot) scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	return s.s.Scan(ctx, r, page)
}
