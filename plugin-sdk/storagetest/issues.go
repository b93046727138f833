package storagetest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// issueChecks are mistakes that storage plugins, or what they are built on, have made.
var issueChecks = []check{
	{name: "a refused batch is not remembered", run: func(s *suite) {
		b := storage.Batch{ID: storage.NewBatchID()}
		b.Put("c", nil, nil)
		_, err := s.store.Apply(s.ctx, b)
		s.wantKind(err, errkind.Invalid)
		b.Ops = nil
		b.Put("c", []byte("k"), []byte("v"))
		replayed, err := s.store.Apply(s.ctx, b)
		require.NoError(s, err)
		require.False(s, replayed)
		s.wantValue("c", "k", "v")
	}},
	{name: "a range to the end stays in its column", run: func(s *suite) {
		s.apply(func(b *storage.Batch) {
			for _, c := range []string{"a", "b", "aa", "ab"} {
				b.Put(c, []byte("\xff\xff"), nil)
				b.Put(c, []byte("\x00"), nil)
			}
		})
		s.wantKeys("a", "\x00", "\xff\xff")
		s.apply(func(b *storage.Batch) { b.DeleteRange("aa", []byte("\x01"), nil) })
		s.wantKeys("aa", "\x00")
		for _, c := range []string{"a", "b", "ab"} {
			s.wantKeys(c, "\x00", "\xff\xff")
		}
	}},
	{name: "a delete range sees the puts before it in the batch only", run: func(s *suite) {
		for i := range 3 {
			s.apply(func(b *storage.Batch) {
				b.Put("c", []byte("1"), fmt.Append(nil, i))
				b.DeleteRange("c", []byte("0"), []byte("9"))
				b.Put("c", []byte("2"), fmt.Append(nil, i))
				b.DeleteRange("c", []byte("1"), []byte("2"))
				b.Put("c", []byte("3"), fmt.Append(nil, i))
			})
			require.Equal(s, []row{{"2", fmt.Sprint(i)}, {"3", fmt.Sprint(i)}}, s.scan(storage.Range{Column: "c"}))
		}
	}},
	{name: "deleting many ranges is not quadratic", run: func(s *suite) {
		s.apply(func(b *storage.Batch) {
			for i := range 20_000 {
				b.Put("c", key(i), nil)
				b.DeleteRange("c", key(i), append(key(i), 0))
			}
		})
		s.wantKeys("c")
	}},
	{name: "a reverse scan starts below its end", run: func(s *suite) {
		s.fill("c", 5)
		s.fill("d", 5)
		require.Equal(s, []string{string(key(1)), string(key(0))},
			keysOf(s.scan(storage.Range{Column: "c", End: key(2), Reverse: true})))
		require.Equal(s, []string{string(key(4))}, keysOf(s.scan(storage.Range{Column: "c", Reverse: true, Limit: 1})))
	}},
	{name: "a large answer does not hit a message limit", run: func(s *suite) {
		const n, size = 12, 1 << 20
		s.apply(func(b *storage.Batch) {
			for i := range n {
				b.Put("c", key(i), make([]byte, size))
			}
		})
		keys := make([]storage.Key, n)
		for i := range keys {
			keys[i] = storage.Key{Column: "c", Key: key(i)}
		}
		vs, err := s.store.Get(s.ctx, keys)
		require.NoError(s, err)
		for _, v := range vs {
			require.Len(s, v.Bytes, size)
		}
	}},
}
