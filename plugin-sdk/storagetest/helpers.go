package storagetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// row is an item as strings, for readable differences.
type row struct{ Key, Value string }

func (s *suite) apply(build func(b *storage.Batch)) storage.BatchID {
	s.Helper()
	b := storage.Batch{ID: storage.NewBatchID()}
	build(&b)
	replayed, err := s.store.Apply(s.ctx, b)
	require.NoError(s, err)
	require.False(s, replayed, "a new batch was taken for a replayed one")
	return b.ID
}

func (s *suite) put(column, key, value string) {
	s.Helper()
	s.apply(func(b *storage.Batch) { b.Put(column, []byte(key), []byte(value)) })
}

// fill puts n keys k00000… with values v….
func (s *suite) fill(column string, n int) {
	s.Helper()
	s.apply(func(b *storage.Batch) {
		for i := range n {
			b.Put(column, key(i), value(i))
		}
	})
}

func key(i int) []byte   { return fmt.Appendf(nil, "k%05d", i) }
func value(i int) []byte { return fmt.Appendf(nil, "v%d", i) }

// get returns the value and whether it is there.
func get(s *suite, r storage.Reader, column, key string) (string, bool) {
	s.Helper()
	vs, err := r.Get(s.ctx, []storage.Key{{Column: column, Key: []byte(key)}})
	require.NoError(s, err)
	require.Len(s, vs, 1)
	return string(vs[0].Bytes), vs[0].Found
}

func (s *suite) wantValue(column, key, want string) {
	s.Helper()
	v, ok := get(s, s.store, column, key)
	require.True(s, ok, "%s/%q is absent", column, key)
	require.Equal(s, want, v, "%s/%q", column, key)
}

func (s *suite) wantAbsent(column, key string) {
	s.Helper()
	_, ok := get(s, s.store, column, key)
	require.False(s, ok, "%s/%q is there", column, key)
}

// collect scans r and checks what holds for every scan: order, no empty page, page size.
func collect(ctx context.Context, rd storage.Reader, r storage.Range) ([]row, error) {
	budget := r.PageBytes
	if budget == 0 {
		budget = storage.DefaultPageBytes
	}
	var rows []row
	var faults []error
	err := rd.Scan(ctx, r, func(items []storage.Item) error {
		size := 0
		for _, it := range items {
			k := string(it.Key)
			if n := len(rows); n > 0 && (k <= rows[n-1].Key) != r.Reverse || n > 0 && k == rows[n-1].Key {
				faults = append(faults, fmt.Errorf("key %q after %q", k, rows[n-1].Key))
			}
			if r.KeysOnly && it.Value != nil {
				faults = append(faults, fmt.Errorf("key %q has a value in a scan for keys", k))
			}
			size += len(it.Key) + len(it.Value)
			rows = append(rows, row{k, string(it.Value)})
		}
		if len(items) == 0 {
			faults = append(faults, errors.New("empty page"))
		}
		if size > budget && len(items) > 1 {
			faults = append(faults, fmt.Errorf("page of %d bytes in %d items, asked for %d", size, len(items), budget))
		}
		return nil
	})
	return rows, errors.Join(append(faults, err)...)
}

func (s *suite) scan(r storage.Range) []row {
	s.Helper()
	rows, err := collect(s.ctx, s.store, r)
	require.NoError(s, err)
	return rows
}

func keysOf(rows []row) []string {
	ks := make([]string, len(rows))
	for i, r := range rows {
		ks[i] = r.Key
	}
	return ks
}

func (s *suite) wantKind(err error, kind errkind.Kind) {
	s.Helper()
	require.Error(s, err)
	require.Equal(s, kind, errkind.Of(err), "%v", err)
}

// wantKeys scans a whole column.
func (s *suite) wantKeys(column string, want ...string) {
	s.Helper()
	got := keysOf(s.scan(storage.Range{Column: column}))
	if len(want) == 0 {
		require.Empty(s, got)
		return
	}
	require.Equal(s, want, got)
}
