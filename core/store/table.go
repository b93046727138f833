package store

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// Stop ends a Scan early without an error.
const Stop = stop("stop scanning")

type stop string

func (s stop) Error() string { return string(s) }

// Table is a column, or one kind of row of a shared column, with keys and values of Go types. Prefixes of scans are those
// of package wire (wire.ContextKey for the rows of a context, wire.RowGroupMember.Prefix(group), …).
type Table[K, V any] struct {
	column wire.Column
	base   []byte // what all keys of the table begin with
	hot    bool
	key    func(K) ([]byte, error)
	parse  func([]byte) (K, error)
	encode func(V) ([]byte, error)
	decode func([]byte) (V, error)
}

// Entry is a row.
type Entry[K, V any] struct {
	Key   K
	Value V
}

// Get reads one row; false when it is absent. A value that does not decode is an error of kind Corrupt.
func (t *Table[K, V]) Get(ctx context.Context, r Reader, key K) (value V, found bool, err error) {
	keys, values, err := t.read(ctx, r, key)
	if err != nil || !values[0].Found {
		return value, false, err
	}
	value, err = t.value(keys[0].Key, values[0].Bytes)
	return value, err == nil, err
}

// GetMany reads rows in one round trip; result i belongs to key i and is nil when the row is absent.
func (t *Table[K, V]) GetMany(ctx context.Context, r Reader, keys []K) ([]*V, error) {
	raw, values, err := t.read(ctx, r, keys...)
	if err != nil {
		return nil, err
	}
	out := make([]*V, len(keys))
	for i, v := range values {
		if !v.Found {
			continue
		}
		value, err := t.value(raw[i].Key, v.Bytes)
		if err != nil {
			return nil, err
		}
		out[i] = &value
	}
	return out, nil
}

// HasMany tells which rows exist, in one round trip.
func (t *Table[K, V]) HasMany(ctx context.Context, r Reader, keys []K) ([]bool, error) {
	_, values, err := t.read(ctx, r, keys...)
	if err != nil {
		return nil, err
	}
	out := make([]bool, len(keys))
	for i := range values {
		out[i] = values[i].Found
	}
	return out, nil
}

// Has tells whether a row exists.
func (t *Table[K, V]) Has(ctx context.Context, r Reader, key K) (bool, error) {
	_, values, err := t.read(ctx, r, key)
	return err == nil && values[0].Found, err
}

// read reads what is stored under keys.
func (t *Table[K, V]) read(ctx context.Context, r Reader, keys ...K) ([]storage.Key, []storage.Value, error) {
	raw := make([]storage.Key, len(keys))
	for i, key := range keys {
		k, err := t.key(key)
		if err != nil {
			return nil, nil, t.badKey(err)
		}
		raw[i] = storage.Key{Column: string(t.column), Key: k}
	}
	values, err := r.get(ctx, t.hot, raw)
	if err != nil {
		return nil, nil, t.failed("read", err)
	}
	return raw, values, nil
}

// Scan calls each for the rows whose keys begin with prefix (nil = all of the table) in key order, until it returns an
// error, which Scan returns, or Stop. It never uses the cache. Outside a snapshot, writes made meanwhile may be seen.
func (t *Table[K, V]) Scan(ctx context.Context, r Reader, prefix []byte, each func(K, V) error) error {
	return t.scan(ctx, r, t.span(prefix), func(key K, item storage.Item) error {
		value, err := t.value(item.Key, item.Value)
		if err != nil {
			return err
		}
		return each(key, value)
	})
}

// ScanKeys is Scan without the values.
func (t *Table[K, V]) ScanKeys(ctx context.Context, r Reader, prefix []byte, each func(K) error) error {
	span := t.span(prefix)
	span.KeysOnly = true
	return t.scan(ctx, r, span, func(key K, _ storage.Item) error { return each(key) })
}

// List collects what Scan finds.
func (t *Table[K, V]) List(ctx context.Context, r Reader, prefix []byte) ([]Entry[K, V], error) {
	var all []Entry[K, V]
	err := t.Scan(ctx, r, prefix, func(key K, value V) error {
		all = append(all, Entry[K, V]{key, value})
		return nil
	})
	return all, err
}

// Last is the row with the greatest key that begins with prefix; false when there is none.
func (t *Table[K, V]) Last(ctx context.Context, r Reader, prefix []byte) (last Entry[K, V], found bool, err error) {
	span := t.span(prefix)
	span.Reverse, span.Limit = true, 1
	err = t.scan(ctx, r, span, func(key K, item storage.Item) error {
		value, err := t.value(item.Key, item.Value)
		last, found = Entry[K, V]{key, value}, err == nil
		return err
	})
	return last, found, err
}

// Put adds a write of a row to b. What cannot be encoded fails b's Commit.
func (t *Table[K, V]) Put(b *Batch, key K, value V) {
	k, err := t.key(key)
	if err != nil {
		b.fail(t.badKey(err))
		return
	}
	v, err := t.encode(value)
	if err != nil {
		b.fail(errkind.Invalid.Errorf("encode %s row: %w", t.column, err))
		return
	}
	b.put(t.column, t.hot, k, v)
}

// Delete adds the removal of a row to b; an absent one is fine.
func (t *Table[K, V]) Delete(b *Batch, key K) {
	k, err := t.key(key)
	if err != nil {
		b.fail(t.badKey(err))
		return
	}
	b.delete(t.column, t.hot, k)
}

// DeletePrefix adds the removal of all rows whose keys begin with prefix, which may not be empty.
func (t *Table[K, V]) DeletePrefix(b *Batch, prefix []byte) {
	if len(prefix) == 0 {
		b.fail(errkind.Invalid.Errorf("delete rows of %s: empty prefix", t.column))
		return
	}
	b.deletePrefix(t.column, t.hot, prefix)
}

func (t *Table[K, V]) span(prefix []byte) storage.Range {
	if len(prefix) == 0 {
		prefix = t.base
	}
	return storage.Prefix(string(t.column), prefix)
}

func (t *Table[K, V]) scan(ctx context.Context, r Reader, span storage.Range, each func(K, storage.Item) error) error {
	var own error // what each returned, told apart from what the storage did
	err := r.scan(ctx, span, func(items []storage.Item) error {
		for _, item := range items {
			key, err := t.parse(item.Key)
			if err != nil {
				own = errkind.Corrupt.Errorf("read key %x of column %s: %w", item.Key, t.column, err)
				return own
			}
			if own = each(key, item); own != nil {
				return own
			}
		}
		return nil
	})
	switch {
	case errors.Is(own, Stop):
		return nil
	case own != nil:
		return own
	case err != nil:
		return t.failed("scan", err)
	}
	return nil
}

func (t *Table[K, V]) value(key, raw []byte) (V, error) {
	value, err := t.decode(raw)
	if err != nil {
		return value, errkind.Corrupt.Errorf("read row %x of column %s: %w", key, t.column, err)
	}
	return value, nil
}

func (t *Table[K, V]) failed(what string, err error) error {
	return errkind.Of(err).Errorf("%s column %s: %w", what, t.column, err)
}

func (t *Table[K, V]) badKey(err error) error {
	return errkind.Invalid.Errorf("make key for column %s: %w", t.column, err)
}

// decodable is *V for a V that is read from Borsh.
type decodable[V any] interface {
	*V
	borsh.Unmarshaler
}

func newTable[K any, V borsh.Marshaler, P decodable[V]](column wire.Column, base []byte, key func(K) ([]byte, error),
	parse func([]byte) (K, error)) *Table[K, V] {
	return &Table[K, V]{
		column: column, base: base, key: key, parse: parse,
		encode: func(value V) ([]byte, error) { return borsh.Marshal(value) },
		decode: func(raw []byte) (value V, err error) {
			err = borsh.Unmarshal(raw, P(&value))
			return value, err
		},
	}
}

func (t *Table[K, V]) cached() *Table[K, V] {
	t.hot = true
	return t
}
