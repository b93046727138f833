package leveldb

import (
	"cmp"
	"context"
	"errors"

	ldb "github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Get implements storage.Reader. All values of one call are from the same moment.
func (p *Plugin) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	if err := storage.CheckKeys(keys); err != nil {
		return nil, err
	}
	db, release, err := p.use(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if len(keys) < 2 {
		return p.get(ctx, db, keys)
	}
	snap, err := db.GetSnapshot()
	if err != nil {
		return nil, classify(p.settings.dir, err)
	}
	defer snap.Release()
	return p.get(ctx, snap, keys)
}

func (p *Plugin) get(ctx context.Context, r ldb.Reader, keys []storage.Key) ([]storage.Value, error) {
	values := make([]storage.Value, len(keys))
	var key []byte
	for i, k := range keys {
		if i%64 == 63 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		key = appendKey(key[:0], k.Column, k.Key)
		v, err := r.Get(key, nil)
		switch {
		case err == nil:
			values[i] = storage.Value{Bytes: v, Found: true}
		case !errors.Is(err, ldb.ErrNotFound):
			return nil, classify(p.settings.dir, err)
		}
	}
	return values, nil
}

// Scan implements storage.Reader. Each page is from one moment.
func (p *Plugin) Scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	return p.scan(r, page, func() (ldb.Reader, func(), error) {
		db, release, err := p.use(ctx)
		return db, release, err
	})
}

// scan takes the reader anew for each page, so that a slow receiver holds nothing.
func (p *Plugin) scan(r storage.Range, page func([]storage.Item) error, use func() (ldb.Reader, func(), error)) error {
	if err := r.Check(); err != nil {
		return err
	}
	bounds, empty := columnRange(r.Column, r.Start, r.End)
	limit := cmp.Or(r.Limit, ^uint64(0))
	for {
		reader, release, err := use()
		if err != nil {
			return err
		}
		if empty {
			release()
			return nil
		}
		items, more, err := readPage(reader, &bounds, r, limit)
		release()
		if err != nil {
			return classify(p.settings.dir, err)
		}
		if len(items) == 0 {
			return nil
		}
		limit -= uint64(len(items))
		last := appendKey(nil, r.Column, items[len(items)-1].Key)
		if r.Reverse {
			bounds.Limit = last
		} else {
			bounds.Start = append(last, 0)
		}
		if err := page(items); err != nil {
			return err
		}
		if !more || limit == 0 {
			return nil
		}
	}
}

// readPage reads one page; more tells whether it ended for its size.
func readPage(reader ldb.Reader, bounds *util.Range, r storage.Range, limit uint64) (items []storage.Item, more bool, err error) {
	budget := cmp.Or(r.PageBytes, storage.DefaultPageBytes)
	prefix := 1 + len(r.Column)
	it := reader.NewIterator(bounds, nil)
	defer it.Release()
	step := it.Next
	if r.Reverse {
		step = it.Prev
	}
	ok := false
	if r.Reverse {
		ok = it.Last()
	} else {
		ok = it.First()
	}
	// One buffer for the page; it may move while it grows, so the items are cut out of it at the end.
	var buf []byte
	type span struct{ key, value int }
	var spans []span
	for ; ok; ok = step() {
		key := it.Key()[prefix:]
		size := len(key)
		if !r.KeysOnly {
			size += len(it.Value())
		}
		if len(spans) > 0 && len(buf)+size > budget {
			more = true
			break
		}
		buf = append(buf, key...)
		if !r.KeysOnly {
			buf = append(buf, it.Value()...)
		}
		spans = append(spans, span{len(key), size - len(key)})
		if uint64(len(spans)) == limit {
			break
		}
	}
	if err := it.Error(); err != nil {
		return nil, false, err
	}
	items = make([]storage.Item, len(spans))
	for i, s := range spans {
		items[i].Key, buf = buf[:s.key:s.key], buf[s.key:]
		if !r.KeysOnly {
			items[i].Value, buf = buf[:s.value:s.value], buf[s.value:]
		}
	}
	return items, more, nil
}
