package storagetest

import (
	"bytes"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

var boundChecks = []check{
	{name: "key", run: func(s *suite) {
		k := bytes.Repeat([]byte("k"), storage.MaxKey)
		s.apply(func(b *storage.Batch) { b.Put("c", k, []byte("v")) })
		s.wantValue("c", string(k), "v")
		after := append(bytes.Clone(k), 0)
		require.Len(s, s.scan(storage.Range{Column: "c", Start: k, End: after}), 1)
		require.Empty(s, s.scan(storage.Range{Column: "c", Start: after}))
		s.apply(func(b *storage.Batch) { b.DeleteRange("c", k, after) })
		s.wantAbsent("c", string(k))

		s.refuse(errkind.TooLarge, func(b *storage.Batch) { b.Put("c", after, nil) })
		s.refuse(errkind.TooLarge, func(b *storage.Batch) { b.Delete("c", after) })
		s.refuse(errkind.TooLarge, func(b *storage.Batch) { b.DeleteRange("c", append(after, 0), nil) })
		s.refuse(errkind.TooLarge, func(b *storage.Batch) { b.DeleteRange("c", nil, append(after, 0)) })
		_, err := s.store.Get(s.ctx, []storage.Key{{Column: "c", Key: after}})
		s.wantKind(err, errkind.TooLarge)
		s.refuseScan(errkind.TooLarge, storage.Range{Column: "c", Start: append(after, 0)})
		s.refuseScan(errkind.TooLarge, storage.Range{Column: "c", End: append(after, 0)})
	}},
	{name: "empty key", run: func(s *suite) {
		s.refuse(errkind.Invalid, func(b *storage.Batch) { b.Put("c", nil, nil) })
		s.refuse(errkind.Invalid, func(b *storage.Batch) { b.Delete("c", []byte{}) })
		_, err := s.store.Get(s.ctx, []storage.Key{{Column: "c"}})
		s.wantKind(err, errkind.Invalid)
	}},
	{name: "empty prefix", run: func(s *suite) {
		s.put("c", "k", "v")
		s.refuse(errkind.Invalid, func(b *storage.Batch) { b.DeletePrefix("c", nil) })
		s.wantValue("c", "k", "v")
	}},
	{name: "column", run: func(s *suite) {
		name := strings.Repeat("c", storage.MaxColumn)
		s.put(name, "k", "v")
		s.wantValue(name, "k", "v")
		for bad, kind := range map[string]errkind.Kind{
			name + "c": errkind.TooLarge, "": errkind.Invalid, "a b": errkind.Invalid, "a/b": errkind.Invalid,
			"a\x00": errkind.Invalid, "ä": errkind.Invalid,
		} {
			s.refuse(kind, func(b *storage.Batch) { b.Put(bad, []byte("k"), nil) })
			s.refuse(kind, func(b *storage.Batch) { b.Delete(bad, []byte("k")) })
			s.refuse(kind, func(b *storage.Batch) { b.DeleteRange(bad, []byte("k"), nil) })
			s.refuseScan(kind, storage.Range{Column: bad})
			_, err := s.store.Get(s.ctx, []storage.Key{{Column: bad, Key: []byte("k")}})
			s.wantKind(err, kind)
		}
	}},
	{name: "batch id", run: func(s *suite) {
		_, err := s.store.Apply(s.ctx, storage.Batch{})
		s.wantKind(err, errkind.Invalid)
	}},
	{name: "get", run: func(s *suite) {
		keys := make([]storage.Key, storage.MaxGetKeys+1)
		for i := range keys {
			keys[i] = storage.Key{Column: "c", Key: key(i)}
		}
		s.fill("c", storage.MaxGetKeys)
		vs, err := s.store.Get(s.ctx, keys[:storage.MaxGetKeys])
		require.NoError(s, err)
		require.Len(s, vs, storage.MaxGetKeys)
		for i, v := range vs {
			require.Equal(s, string(value(i)), string(v.Bytes))
		}
		_, err = s.store.Get(s.ctx, keys)
		s.wantKind(err, errkind.TooLarge)
	}},
	{name: "page", run: func(s *suite) {
		s.refuseScan(errkind.TooLarge, storage.Range{Column: "c", PageBytes: storage.MaxPageBytes + 1})
		s.refuseScan(errkind.Invalid, storage.Range{Column: "c", PageBytes: -1})
	}},
	{name: "value", alone: true, run: func(s *suite) {
		v := bytes.Repeat([]byte("0123456789abcdef"), storage.MaxValue/16)
		s.apply(func(b *storage.Batch) { b.Put("c", []byte("k"), v) })
		vs, err := s.store.Get(s.ctx, []storage.Key{{Column: "c", Key: []byte("k")}})
		require.NoError(s, err)
		require.True(s, bytes.Equal(v, vs[0].Bytes))
		s.refuse(errkind.TooLarge, func(b *storage.Batch) { b.Put("c", []byte("k"), append(v, 0)) })
	}},
	{name: "operations of a batch", alone: true, run: func(s *suite) {
		b := storage.Batch{ID: storage.NewBatchID()}
		for i := range storage.MaxBatchOps {
			b.Put("c", []byte{byte(i >> 16), byte(i >> 8), byte(i)}, nil)
		}
		_, err := s.store.Apply(s.ctx, b)
		require.NoError(s, err)
		n := 0
		require.NoError(s, s.store.Scan(s.ctx, storage.Range{Column: "c", KeysOnly: true}, func(items []storage.Item) error {
			n += len(items)
			return nil
		}))
		require.Equal(s, storage.MaxBatchOps, n)
		b.ID = storage.NewBatchID()
		b.Put("c", []byte("one more"), nil)
		_, err = s.store.Apply(s.ctx, b)
		s.wantKind(err, errkind.TooLarge)
		s.wantAbsent("c", "one more")
	}},
	{name: "bytes of a batch", alone: true, run: func(s *suite) {
		v := make([]byte, storage.MaxValue)
		b := storage.Batch{ID: storage.NewBatchID()}
		left := storage.MaxBatchBytes
		for i := 0; left > 0; i++ {
			n := min(left-len(key(i)), len(v))
			b.Put("c", key(i), v[:n])
			left -= len(key(i)) + n
		}
		_, err := s.store.Apply(s.ctx, b)
		require.NoError(s, err)
		require.Len(s, s.scan(storage.Range{Column: "c", KeysOnly: true}), len(b.Ops))
		b.ID = storage.NewBatchID()
		b.Ops[len(b.Ops)-1].Key = append(b.Ops[len(b.Ops)-1].Key, 'x')
		_, err = s.store.Apply(s.ctx, b)
		s.wantKind(err, errkind.TooLarge)
	}},
}

func (s *suite) refuse(kind errkind.Kind, build func(b *storage.Batch)) {
	s.Helper()
	b := storage.Batch{ID: storage.NewBatchID()}
	build(&b)
	_, err := s.store.Apply(s.ctx, b)
	s.wantKind(err, kind)
}

func (s *suite) refuseScan(kind errkind.Kind, r storage.Range) {
	s.Helper()
	s.wantKind(s.store.Scan(s.ctx, r, func([]storage.Item) error { return nil }), kind)
}
