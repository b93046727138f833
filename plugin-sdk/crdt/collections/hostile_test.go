package collections_test

import (
	"bytes"
	"errors"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/collections"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// filled makes a state with one of everything and returns the objects' ids.
func filled(t testing.TB, rows collections.Rows, now *uint64) map[string]crdt.ID {
	t.Helper()
	w := newWriter(domain.ContextID{9}, domain.PublicKey{1}, rows, now, rand.New(rand.NewSource(1))) //nolint:gosec // ids of a test
	m, err := w.NewMap()
	require.NoError(t, err)
	_, err = m.Insert([]byte("k"), []byte("v"))
	require.NoError(t, err)
	v, err := w.NewVector()
	require.NoError(t, err)
	require.NoError(t, v.Push([]byte("v")))
	s, err := w.NewSet()
	require.NoError(t, err)
	_, err = s.Insert([]byte("v"))
	require.NoError(t, err)
	r, err := w.NewRegister()
	require.NoError(t, err)
	_, err = r.Set([]byte("v"))
	require.NoError(t, err)
	c, err := w.NewCounter()
	require.NoError(t, err)
	require.NoError(t, c.Increment())
	u, err := w.NewUserStorage()
	require.NoError(t, err)
	_, err = u.Insert([]byte("v"))
	require.NoError(t, err)
	f, err := w.NewFrozenStorage()
	require.NoError(t, err)
	_, err = f.Add([]byte("v"))
	require.NoError(t, err)
	require.NoError(t, w.SaveRoot([]byte("doc"), crdt.Metadata{CreatedAt: *now, UpdatedAt: *now + 1}))
	require.NoError(t, w.Flush())
	return map[string]crdt.ID{
		"map": m.ID(), "vector": v.ID(), "set": s.ID(), "register": r.ID(), "counter": c.ID(), "user": u.ID(), "frozen": f.ID(),
	}
}

// useAll calls everything with an id and returns all errors.
func useAll(w *collections.Writer, id crdt.ID) (all []error) {
	add := func(errs ...error) { all = append(all, errs...) }
	value := []byte("v")
	if m, err := w.Map(id); err == nil {
		_, e1 := m.Get([]byte("k"))
		_, e2 := m.Insert([]byte("k"), value)
		_, e3 := m.Contains([]byte("k"))
		e4 := m.Each(func(_, _ []byte) error { return nil })
		_, e5 := m.Remove([]byte("k"))
		add(e1, e2, e3, e4, e5)
	} else {
		add(err)
	}
	if v, err := w.Vector(id); err == nil {
		_, e1 := v.Get(0)
		_, e2 := v.Len()
		_, e3 := v.Pop()
		add(e1, e2, e3, v.Push(value))
	} else {
		add(err)
	}
	if s, err := w.Set(id); err == nil {
		_, e1 := s.Insert(value)
		_, e2 := s.Contains(value)
		e3 := s.Each(func([]byte) error { return nil })
		_, e4 := s.Remove(value)
		_, e5 := s.Clear()
		add(e1, e2, e3, e4, e5)
	} else {
		add(err)
	}
	if r, err := w.Register(id); err == nil {
		_, e1 := r.Set(value)
		add(e1)
	} else {
		add(err)
	}
	if c, err := w.Counter(id); err == nil {
		_, e1 := c.Value()
		_, e2 := c.Of(w.Executor)
		add(e1, e2, c.Increment())
	} else {
		add(err)
	}
	if u, err := w.UserStorage(id); err == nil {
		_, e1 := u.Get(w.Executor)
		_, e2 := u.Insert(value)
		_, e3 := u.Remove()
		add(e1, e2, e3)
	} else {
		add(err)
	}
	if f, err := w.FrozenStorage(id); err == nil {
		_, e1 := f.Add(value)
		_, e2 := f.Get(domain.Hash{})
		add(e1, e2)
	} else {
		add(err)
	}
	_, e1 := w.RootHash()
	add(e1, w.SaveRoot(value, crdt.Metadata{UpdatedAt: w.Now()}), w.Flush())
	return all
}

func requireAnswers(t testing.TB, errs []error) {
	t.Helper()
	for _, err := range errs {
		var answer collections.Error
		require.True(t, err == nil || errors.As(err, &answer), "%v", err)
	}
}

// FuzzHostileRows changes one row of a state and uses every object through every kind: rows come from guests and peers,
// so whatever they say, the answer is a value or an Error.
func FuzzHostileRows(f *testing.F) {
	f.Add(uint8(0), uint16(0), []byte{0})
	f.Add(uint8(3), uint16(33), []byte{1, 2, 3, 4})
	f.Add(uint8(7), uint16(64), bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, row uint8, at uint16, put []byte) {
		now := uint64(1_700_000_000_000_000_000)
		rows := memory{}
		ids := filled(t, rows, &now)
		keys := make([]crdt.StateKey, 0, len(rows))
		for key := range rows {
			keys = append(keys, key)
		}
		slices.SortFunc(keys, func(a, b crdt.StateKey) int { return bytes.Compare(a[:], b[:]) })
		key := keys[int(row)%len(keys)]
		value := append([]byte{}, rows[key]...)
		from := min(int(at), len(value))
		rows[key] = append(value[:from:from], append(put, value[min(from+len(put), len(value)):]...)...)
		for _, id := range ids {
			w := newWriter(domain.ContextID{9}, domain.PublicKey{1}, rows, &now, rand.New(rand.NewSource(int64(at)))) //nolint:gosec // ids
			requireAnswers(t, useAll(w, id))
		}
	})
}

func TestHostileRows(t *testing.T) {
	t.Parallel()
	now := uint64(1_700_000_000_000_000_000)
	fresh := func(rows memory) *collections.Writer {
		return newWriter(domain.ContextID{9}, domain.PublicKey{1}, rows, &now, rand.New(rand.NewSource(int64(now)))) //nolint:gosec // ids
	}
	put := func(rows memory, x crdt.EntityIndex) {
		enc, err := borsh.Marshal(x)
		require.NoError(t, err)
		rows[crdt.IndexKey(x.ID)] = enc
	}
	a, b := crdt.ID{0xa}, crdt.ID{0xb}

	t.Run("parents in a circle", func(t *testing.T) {
		rows := memory{}
		put(rows, crdt.EntityIndex{ID: a, ParentID: &b})
		put(rows, crdt.EntityIndex{ID: b, ParentID: &a})
		rows[crdt.EntryKey(a)] = append(append([]byte{}, a[:]...), a[:]...) // a map whose entries hang under itself
		m, err := fresh(rows).Map(a)
		require.NoError(t, err)
		_, err = m.Insert([]byte("k"), []byte("v"))
		require.ErrorContains(t, err, "more than 32 entities lie above each other")
		requireAnswers(t, []error{err})
	})
	t.Run("a row of another entity", func(t *testing.T) {
		rows := memory{}
		put(rows, crdt.EntityIndex{ID: b})
		rows[crdt.IndexKey(a)] = rows[crdt.IndexKey(b)]
		_, err := fresh(rows).Map(a)
		require.EqualError(t, err, "Unexpected ID: "+b.String())
	})
	t.Run("times ahead of the clock", func(t *testing.T) {
		rows := memory{}
		ids := filled(t, rows, &now)
		w := fresh(rows)
		r, err := w.Register(ids["register"])
		require.NoError(t, err)
		old := now
		now = 1
		_, err = r.Set([]byte("late"))
		now = old
		require.ErrorContains(t, err, "ahead of the clock")
		require.Empty(t, w.Take())
	})
	t.Run("the tree root is no object", func(t *testing.T) {
		rows := memory{}
		filled(t, rows, &now)
		errs := useAll(fresh(rows), crdt.TreeRoot(domain.ContextID{9}))
		requireAnswers(t, errs)
		require.EqualError(t, errs[0], "Unexpected ID: "+crdt.TreeRoot(domain.ContextID{9}).String())
	})
	t.Run("an object of another size", func(t *testing.T) {
		rows := memory{}
		ids := filled(t, rows, &now)
		_, err := fresh(rows).Map(ids["user"])
		require.EqualError(t, err, "Deserialization error: Not all bytes read")
		_, err = fresh(rows).UserStorage(ids["map"])
		require.EqualError(t, err, "Deserialization error: Unexpected length of input")
	})
}

// TestActionsAreBounded: a guest may change one entity for ever.
func TestActionsAreBounded(t *testing.T) {
	t.Parallel()
	now := uint64(1_700_000_000_000_000_000)
	w := newWriter(domain.ContextID{9}, domain.PublicKey{1}, memory{}, &now, rand.New(rand.NewSource(1))) //nolint:gosec // ids
	r, err := w.NewRegister()
	require.NoError(t, err)
	value := make([]byte, 100_000)
	n := 0
	for ; err == nil; n++ {
		require.Less(t, n, 11)
		_, err = r.Set(value)
	}
	require.ErrorIs(t, err, errkind.TooLarge)
	require.Len(t, w.Take(), n)
	_, err = r.Set(value)
	require.NoError(t, err, "what was taken does not count")
}

// BenchmarkInsert inserts into a map of some size.
func BenchmarkInsert(b *testing.B) {
	for name, size := range map[string]int{"10": 10, "1000": 1000, "10000": 10000} {
		b.Run(name, func(b *testing.B) {
			now := uint64(1_700_000_000_000_000_000)
			rows := memory{}
			random := rand.New(rand.NewSource(1)) //nolint:gosec // ids
			w := newWriter(domain.ContextID{9}, domain.PublicKey{1}, rows, &now, random)
			w.MaxActions = 1 << 30
			m, err := w.NewMap()
			require.NoError(b, err)
			key := make([]byte, 8)
			for range size {
				random.Read(key)
				_, err := m.Insert(key, key)
				require.NoError(b, err)
			}
			require.NoError(b, w.Flush())
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				w := newWriter(domain.ContextID{9}, domain.PublicKey{1}, &overlay{engine.Rows(rows), map[crdt.StateKey][]byte{}}, &now, random)
				random.Read(key)
				b.StartTimer()
				m, err := w.Map(m.ID())
				require.NoError(b, err)
				_, err = m.Insert(key, key)
				require.NoError(b, err)
				require.NoError(b, w.Flush())
			}
		})
	}
}
