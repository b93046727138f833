package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// GetRows reads state rows of a context: one row per key, in order, absent ones marked. It takes one round trip, and one
// more for each row that has patches. Of rows that are written meanwhile, each is as it was at some moment; a Snapshot
// shows all at the same.
func GetRows(ctx context.Context, r Reader, id domain.ContextID, keys []runtime.Key) ([]runtime.Row, error) {
	raw := make([]storage.Key, len(keys))
	for i, k := range keys {
		column, err := rowColumn(k.Scope)
		if err != nil {
			return nil, err
		}
		raw[i] = storage.Key{Column: string(column), Key: wire.StateKey(id, k.K)}
	}
	if db, live := r.(*DB); live {
		if err := db.patches.load(ctx, r, id); err != nil {
			return nil, fmt.Errorf("read patches of context %s: %w", id, err)
		}
	}
	values, err := r.get(ctx, false, raw)
	if err != nil {
		return nil, fmt.Errorf("read state of context %s: %w", id, err)
	}
	rows := make([]runtime.Row, len(keys))
	for i, v := range values {
		rows[i] = runtime.Row{Key: keys[i], Absent: !v.Found, Value: v.Bytes}
	}
	return rows, complete(ctx, r, id, rows, func(key runtime.Key) ([]byte, error) { return readStored(ctx, r, id, key) })
}

// ScanRows calls page with the state rows of a context in key order, from the first key ≥ from on, at most limit rows
// (0 = all), in pages of about pageBytes (0 = storage.DefaultPageBytes). The next page is read while page works on
// one.
// It stops at the first error of page, which it returns, or at Stop.
func ScanRows(ctx context.Context, r Reader, id domain.ContextID, scope runtime.Scope, from [32]byte, limit uint64,
	pageBytes int, page func([]runtime.Row) error) error {
	column, err := rowColumn(scope)
	if err != nil {
		return err
	}
	if db, live := r.(*DB); live {
		if err := db.patches.load(ctx, r, id); err != nil {
			return fmt.Errorf("read patches of context %s: %w", id, err)
		}
	}
	span := storage.Prefix(string(column), id[:])
	span.Start = wire.StateKey(id, from)
	span.Limit, span.PageBytes = limit, pageBytes
	return readAhead(ctx, r, span, func(items []storage.Item) error {
		rows := make([]runtime.Row, len(items))
		for i, item := range items {
			_, key, err := wire.ParseStateKey(item.Key)
			if err != nil {
				return errkind.Corrupt.Errorf("read key %x of column %s: %w", item.Key, column, err)
			}
			rows[i] = runtime.Row{Key: runtime.Key{Scope: scope, K: key}, Value: item.Value}
		}
		err := complete(ctx, r, id, rows, func(key runtime.Key) ([]byte, error) { return readStored(ctx, r, id, key) })
		if err != nil {
			return err
		}
		return page(rows)
	})
}

// readAhead hands over the pages of a scan while the next one is read.
func readAhead(ctx context.Context, r Reader, span storage.Range, page func([]storage.Item) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := make(chan []storage.Item, 1)
	var scanned error // to be read once pages is closed
	go func() {
		defer close(pages)
		scanned = r.scan(ctx, span, func(items []storage.Item) error {
			select {
			case pages <- items:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for items := range pages {
		err := page(items)
		if err == nil {
			continue
		}
		cancel()
		for range pages { // page's error counts
		}
		if errors.Is(err, Stop) {
			return nil
		}
		return err
	}
	if scanned != nil {
		return errkind.Of(scanned).Errorf("scan column %s: %w", span.Column, scanned)
	}
	return nil
}

// PutRow adds a write of a state row.
func (b *Batch) PutRow(id domain.ContextID, key runtime.Key, value []byte) {
	b.row(id, runtime.Row{Key: key, Value: value})
}

// DeleteRow adds the removal of a state row; an absent one is fine.
func (b *Batch) DeleteRow(id domain.ContextID, key runtime.Key) {
	b.row(id, runtime.Row{Key: key, Absent: true})
}

// Rows adds a write-set in order: absent rows are removed. The edits of a state row, if there are any, lead from what is
// stored to its value; a large row that was read since the node's start is then stored as a patch. The batch keeps the
// values.
func (b *Batch) Rows(id domain.ContextID, rows []runtime.Row) {
	for _, row := range rows {
		b.row(id, row)
	}
}

// DeleteAllRows adds the removal of all rows of a context in a scope.
func (b *Batch) DeleteAllRows(id domain.ContextID, scope runtime.Scope) {
	column, err := rowColumn(scope)
	if err != nil {
		b.fail(err)
		return
	}
	b.deletePrefix(column, false, wire.ContextKey(id))
	if scope == runtime.ScopeState {
		b.deletePrefix(wire.ColumnStatePatch, false, wire.ContextKey(id))
		b.large()[id] = nil
	}
}

func (b *Batch) row(id domain.ContextID, row runtime.Row) {
	column, err := rowColumn(row.Scope)
	if err != nil {
		b.fail(err)
		return
	}
	if row.Scope == runtime.ScopeState {
		b.state(id, row)
		return
	}
	if row.Absent {
		b.delete(column, false, wire.StateKey(id, row.K))
	} else {
		b.put(column, false, wire.StateKey(id, row.K), row.Value)
	}
}

func rowColumn(scope runtime.Scope) (wire.Column, error) {
	switch scope {
	case runtime.ScopeState:
		return wire.ColumnState, nil
	case runtime.ScopePrivate:
		return wire.ColumnPrivateState, nil
	}
	return "", errkind.Invalid.Errorf("unknown scope %d of a state row", scope)
}
