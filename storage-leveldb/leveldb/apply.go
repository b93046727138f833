package leveldb

import (
	"context"
	"fmt"

	ldb "github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/comparer"
	"github.com/syndtr/goleveldb/leveldb/memdb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// A range is deleted key by key, in the same journal record as the rest of its batch. These bound what the ranges of
// one batch may expand to; above, Apply fails with kind TooLarge and nothing is applied.
const (
	// MaxRangeDeletes is the most keys.
	MaxRangeDeletes = 1 << 20
	// MaxRangeDeleteBytes is the most bytes of keys.
	MaxRangeDeleteBytes = 256 << 20
)

// Apply implements storage.Store. After an error of kind Exhausted nothing is lost and reads go on; see the package
// comment.
func (p *Plugin) Apply(ctx context.Context, b storage.Batch) (replayed bool, err error) {
	if err := b.Check(); err != nil {
		return false, err
	}
	select {
	case p.inFlight <- struct{}{}:
		defer func() { <-p.inFlight }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	size := 0
	for i := range b.Ops {
		size += len(b.Ops[i].Column) + len(b.Ops[i].Key) + len(b.Ops[i].Value) + 16
	}
	if err := p.heal(size); err != nil {
		return false, err
	}
	db, release, err := p.use(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	replayed, err = p.ids.begin(ctx, b.ID)
	if replayed || err != nil {
		return replayed, err
	}
	seq, err := p.commit(db, b, size)
	p.ids.finish(b.ID, seq, err == nil)
	return false, err
}

func (p *Plugin) commit(db *ldb.DB, b storage.Batch, size int) (seq uint64, err error) {
	hasRange := false
	for i := range b.Ops {
		hasRange = hasRange || b.Ops[i].Kind == storage.OpDeleteRange
	}
	// No key may appear in a range between its expansion and the commit.
	if hasRange {
		p.ranges.Lock()
		defer p.ranges.Unlock()
	} else {
		p.ranges.RLock()
		defer p.ranges.RUnlock()
	}
	out := ldb.MakeBatchWithConfig(&ldb.BatchConfig{InitialCapacity: size + 64})
	if hasRange {
		err = expand(db, b.Ops, out)
	} else {
		simple(b.Ops, out)
	}
	if err != nil {
		return 0, classify(p.settings.dir, err)
	}
	// An earlier commit may have failed since heal.
	if err := p.brokenBy(); err != nil {
		return 0, err
	}
	seq = p.ids.number()
	out.Put(slotKey(seq), slotValue(b.ID, seq))
	if err := db.Write(out, &opt.WriteOptions{Sync: p.settings.sync == syncAlways}); err != nil {
		return seq, p.breakDown(fmt.Errorf("commit: %w", err))
	}
	p.batches.Add(1)
	return seq, nil
}

func simple(ops []storage.Op, out *ldb.Batch) {
	var key []byte
	for i := range ops {
		key = appendKey(key[:0], ops[i].Column, ops[i].Key)
		if ops[i].Kind == storage.OpPut {
			out.Put(key, ops[i].Value)
		} else {
			out.Delete(key)
		}
	}
}

// expand is simple for batches that delete ranges: of the rows in the database and of those put earlier in the batch.
func expand(db *ldb.DB, ops []storage.Op, out *ldb.Batch) error {
	own := memdb.New(comparer.DefaultComparer, 4<<10)
	e := &expansion{out: out}
	for i := range ops {
		op := &ops[i]
		key := appendKey(nil, op.Column, op.Key)
		switch op.Kind {
		case storage.OpPut:
			out.Put(key, op.Value)
			if err := own.Put(key, nil); err != nil {
				return err
			}
		case storage.OpDelete:
			out.Delete(key)
		case storage.OpDeleteRange:
			r, empty := columnRange(op.Column, op.Key, op.End)
			if empty {
				continue
			}
			if err := e.deleteAll(db.NewIterator(&r, &opt.ReadOptions{DontFillCache: true})); err != nil {
				return err
			}
			first := len(e.keys)
			e.keep = true
			if err := e.deleteAll(own.NewIterator(&r)); err != nil {
				return err
			}
			e.keep = false
			for _, k := range e.keys[first:] {
				if err := own.Delete(k); err != nil {
					return err
				}
			}
			e.keys = e.keys[:first]
		}
	}
	return nil
}

type expansion struct {
	out         *ldb.Batch
	keys        [][]byte
	keep        bool
	count, size int
}

type keyIterator interface {
	util.Releaser
	Next() bool
	Key() []byte
	Error() error
}

func (e *expansion) deleteAll(it keyIterator) error {
	defer it.Release()
	for it.Next() {
		k := it.Key()
		e.count++
		e.size += len(k)
		if e.count > MaxRangeDeletes || e.size > MaxRangeDeleteBytes {
			return errkind.TooLarge.Errorf("the ranges of one batch delete more than MaxRangeDeletes = %d keys or "+
				"MaxRangeDeleteBytes = %d bytes of keys; delete in smaller ranges", MaxRangeDeletes, MaxRangeDeleteBytes)
		}
		e.out.Delete(k)
		if e.keep {
			e.keys = append(e.keys, append([]byte(nil), k...))
		}
	}
	return it.Error()
}
