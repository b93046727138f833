package collections_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/collections"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// overlay is what one call sees and writes.
type overlay struct {
	below engine.Rows
	rows  map[crdt.StateKey][]byte // nil: removed
}

func (o *overlay) Get(key crdt.StateKey) ([]byte, bool, error) {
	if v, ok := o.rows[key]; ok {
		return v, v != nil, nil
	}
	v, ok := o.below[key]
	return v, ok, nil
}

func (o *overlay) Put(key crdt.StateKey, value []byte) error {
	o.rows[key] = append([]byte{}, value...)
	return nil
}

func (o *overlay) Remove(key crdt.StateKey) error {
	o.rows[key] = nil
	return nil
}

func (o *overlay) writes() []engine.Row {
	var out []engine.Row
	for key, v := range o.rows {
		out = append(out, engine.Row{Key: key, Absent: v == nil, Value: v})
	}
	return out
}

// model is what the collections must show.
type model struct {
	maps    map[crdt.ID]map[string]string
	vectors map[crdt.ID][]string
	sets    map[crdt.ID]map[string]bool
	regs    map[crdt.ID]*string
	counts  map[crdt.ID]map[domain.PublicKey]uint64
	users   map[crdt.ID]map[domain.PublicKey]string
	frozen  map[crdt.ID]map[domain.Hash]string
}

// TestCallsAgainstModelAndEngine makes calls of random changes. Within a call and after it the collections show what a
// model of plain Go values shows, and the engine, which computes the state from the call's actions alone, ends with the
// root hash that the Writer had.
func TestCallsAgainstModelAndEngine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ctx := domain.ContextID{9}
		state := engine.Rows{}
		m := model{
			map[crdt.ID]map[string]string{}, map[crdt.ID][]string{}, map[crdt.ID]map[string]bool{}, map[crdt.ID]*string{},
			map[crdt.ID]map[domain.PublicKey]uint64{}, map[crdt.ID]map[domain.PublicKey]string{}, map[crdt.ID]map[domain.Hash]string{},
		}
		now := uint64(1_700_000_000_000_000_000)
		random := rand.New(rand.NewSource(1)) //nolint:gosec // ids of a test
		for range rapid.IntRange(1, 6).Draw(t, "calls") {
			executor := domain.PublicKey{byte(rapid.IntRange(1, 2).Draw(t, "executor"))}
			over := &overlay{state, map[crdt.StateKey][]byte{}}
			w := newWriter(ctx, executor, over, &now, random)
			for range rapid.IntRange(1, 12).Draw(t, "changes") {
				change(t, w, &m)
				if rapid.IntRange(0, 9).Draw(t, "flush") == 0 {
					require.NoError(t, w.Flush())
					w.Forget()
				}
			}
			actions := w.Take()
			check(t, w, &m)
			root, err := w.RootHash()
			require.NoError(t, err)
			require.NoError(t, w.Flush())
			authored, err := engine.Author(state, engine.Call{Context: ctx, Executor: executor, Actions: actions, Writes: over.writes()})
			require.NoError(t, err)
			require.Empty(t, authored.Refused)
			require.Empty(t, authored.Raw)
			if len(actions) > 0 {
				require.Equal(t, root, authored.Change.Root)
			}
			state.Put(authored.Rows())
			check(t, newWriter(ctx, executor, &overlay{state, map[crdt.StateKey][]byte{}}, &now, random), &m)
		}
	})
}

func newWriter(ctx domain.ContextID, executor domain.PublicKey, rows collections.Rows, now *uint64, random io.Reader) *collections.Writer {
	clock := crdt.NewExecutorClock(executor)
	tick := func() uint64 { *now += 20_000; return *now }
	return collections.New(collections.Config{
		Context: ctx, Executor: executor, Rows: rows, Now: tick, Random: random, MaxActions: 1 << 20,
		Timestamp: func() (crdt.Timestamp, error) { return clock.Now(tick()), nil },
	})
}

func pick[V any](t *rapid.T, from map[crdt.ID]V) (crdt.ID, bool) {
	if len(from) == 0 || len(from) < 2 && rapid.Bool().Draw(t, "new") {
		return crdt.ID{}, false
	}
	ids := slices.SortedFunc(maps.Keys(from), crdt.ID.Compare)
	return rapid.SampledFrom(ids).Draw(t, "id"), true
}

func optional(found bool, v string) []byte {
	if !found {
		return nil
	}
	return []byte(v)
}

func change(t *rapid.T, w *collections.Writer, m *model) {
	word := rapid.SampledFrom([]string{"", "a", "b", "c"})
	key, value := word.Draw(t, "key"), word.Draw(t, "value")
	switch op := rapid.SampledFrom([]string{
		"map", "insert", "insert", "remove", "vector", "push", "push", "pop", "set", "add", "add", "drop", "clear", "register", "write",
		"erase", "counter", "up", "up", "users", "user", "user", "leave", "storage", "freeze",
	}).Draw(t, "op"); op {
	case "map", "insert", "remove":
		id, ok := pick(t, m.maps)
		if !ok || op == "map" {
			c, err := w.NewMap()
			require.NoError(t, err)
			id, m.maps[c.ID()] = c.ID(), map[string]string{}
		}
		c, err := w.Map(id)
		require.NoError(t, err)
		old, had := m.maps[id][key]
		if op == "remove" {
			got, err := c.Remove([]byte(key))
			require.NoError(t, err)
			require.Equal(t, optional(had, old), got)
			delete(m.maps[id], key)
			return
		}
		got, err := c.Insert([]byte(key), []byte(value))
		require.NoError(t, err)
		require.Equal(t, optional(had, old), got)
		m.maps[id][key] = value
	case "vector", "push", "pop":
		id, ok := pick(t, m.vectors)
		if !ok || op == "vector" {
			c, err := w.NewVector()
			require.NoError(t, err)
			id, m.vectors[c.ID()] = c.ID(), nil
		}
		c, err := w.Vector(id)
		require.NoError(t, err)
		if op == "pop" {
			got, err := c.Pop()
			require.NoError(t, err)
			list := m.vectors[id]
			if len(list) == 0 {
				require.Nil(t, got)
				return
			}
			require.Equal(t, []byte(list[len(list)-1]), got)
			m.vectors[id] = list[:len(list)-1]
			return
		}
		require.NoError(t, c.Push([]byte(value)))
		m.vectors[id] = append(m.vectors[id], value)
	case "set", "add", "drop", "clear":
		id, ok := pick(t, m.sets)
		if !ok || op == "set" {
			c, err := w.NewSet()
			require.NoError(t, err)
			id, m.sets[c.ID()] = c.ID(), map[string]bool{}
		}
		changeSet(t, w, m, op, id, value)
	case "register", "write", "erase":
		id, ok := pick(t, m.regs)
		if !ok || op == "register" {
			c, err := w.NewRegister()
			require.NoError(t, err)
			id, m.regs[c.ID()] = c.ID(), nil
		}
		c, err := w.Register(id)
		require.NoError(t, err)
		next := &value
		if op == "erase" {
			next = nil
		}
		var bytes []byte
		if next != nil {
			bytes = []byte(value)
		}
		changed, err := c.Set(bytes)
		require.NoError(t, err)
		old := m.regs[id]
		require.Equal(t, (old == nil) != (next == nil) || old != nil && *old != *next, changed)
		m.regs[id] = next
	case "counter", "up":
		id, ok := pick(t, m.counts)
		if !ok || op == "counter" {
			c, err := w.NewCounter()
			require.NoError(t, err)
			id, m.counts[c.ID()] = c.ID(), map[domain.PublicKey]uint64{}
		}
		c, err := w.Counter(id)
		require.NoError(t, err)
		require.NoError(t, c.Increment())
		m.counts[id][w.Executor]++
	case "users", "user", "leave":
		id, ok := pick(t, m.users)
		if !ok || op == "users" {
			c, err := w.NewUserStorage()
			require.NoError(t, err)
			id, m.users[c.ID()] = c.ID(), map[domain.PublicKey]string{}
		}
		c, err := w.UserStorage(id)
		require.NoError(t, err)
		old, had := m.users[id][w.Executor]
		if op == "leave" {
			got, err := c.Remove()
			require.NoError(t, err)
			require.Equal(t, optional(had, old), got)
			delete(m.users[id], w.Executor)
			return
		}
		got, err := c.Insert([]byte(value))
		require.NoError(t, err)
		require.Equal(t, optional(had, old), got)
		m.users[id][w.Executor] = value
	case "storage", "freeze":
		id, ok := pick(t, m.frozen)
		if !ok || op == "storage" {
			c, err := w.NewFrozenStorage()
			require.NoError(t, err)
			id, m.frozen[c.ID()] = c.ID(), map[domain.Hash]string{}
		}
		c, err := w.FrozenStorage(id)
		require.NoError(t, err)
		hash, err := c.Add([]byte(value))
		require.NoError(t, err)
		require.Equal(t, domain.Hash(crdt.FrozenKey(append(binary.LittleEndian.AppendUint32(nil, uint32(len(value))), value...))), hash)
		m.frozen[id][hash] = value
	}
}

func changeSet(t *rapid.T, w *collections.Writer, m *model, op string, id crdt.ID, value string) {
	c, err := w.Set(id)
	require.NoError(t, err)
	had := m.sets[id][value]
	switch op {
	case "drop":
		got, err := c.Remove([]byte(value))
		require.NoError(t, err)
		require.Equal(t, had, got)
		delete(m.sets[id], value)
	case "clear":
		got, err := c.Clear()
		require.NoError(t, err)
		require.Equal(t, len(m.sets[id]) > 0, got)
		clear(m.sets[id])
	default:
		got, err := c.Insert([]byte(value))
		require.NoError(t, err)
		require.Equal(t, !had, got)
		m.sets[id][value] = true
	}
}

// check reads everything, and requires that reading recorded nothing.
func check(t *rapid.T, w *collections.Writer, m *model) {
	for id, want := range m.maps {
		c, err := w.Map(id)
		require.NoError(t, err)
		got := map[string]string{}
		require.NoError(t, c.Each(func(k, v []byte) error { got[string(k)] = string(v); return nil }))
		require.Equal(t, want, got)
		for _, k := range []string{"", "a", "b", "c"} {
			v, err := c.Get([]byte(k))
			require.NoError(t, err)
			require.Equal(t, optional(has(want, k), want[k]), v)
			contains, err := c.Contains([]byte(k))
			require.NoError(t, err)
			require.Equal(t, has(want, k), contains)
		}
	}
	for id, want := range m.vectors {
		c, err := w.Vector(id)
		require.NoError(t, err)
		n, err := c.Len()
		require.NoError(t, err)
		require.Equal(t, len(want), n)
		for i, v := range want {
			got, err := c.Get(uint64(i))
			require.NoError(t, err)
			require.Equal(t, []byte(v), got)
		}
		got, err := c.Get(uint64(len(want)))
		require.NoError(t, err)
		require.Nil(t, got)
	}
	for id, want := range m.sets {
		c, err := w.Set(id)
		require.NoError(t, err)
		got := map[string]bool{}
		require.NoError(t, c.Each(func(v []byte) error { got[string(v)] = true; return nil }))
		require.Equal(t, want, got)
		n, err := c.Len()
		require.NoError(t, err)
		require.Equal(t, len(want), n)
	}
	for id, want := range m.regs {
		c, err := w.Register(id)
		require.NoError(t, err)
		require.Equal(t, want == nil, c.Value == nil)
		require.True(t, want == nil || bytes.Equal([]byte(*want), c.Value))
	}
	for id, want := range m.counts {
		c, err := w.Counter(id)
		require.NoError(t, err)
		total := uint64(0)
		for executor, n := range want {
			total += n
			got, err := c.Of(executor)
			require.NoError(t, err)
			require.Equal(t, n, got)
		}
		got, err := c.Value()
		require.NoError(t, err)
		require.Equal(t, total, got)
	}
	for id, want := range m.users {
		c, err := w.UserStorage(id)
		require.NoError(t, err)
		for user := range map[domain.PublicKey]bool{{1}: true, {2}: true} {
			got, err := c.Get(user)
			require.NoError(t, err)
			require.Equal(t, optional(has(want, user), want[user]), got)
			contains, err := c.Contains(user)
			require.NoError(t, err)
			require.Equal(t, has(want, user), contains)
		}
	}
	for id, want := range m.frozen {
		c, err := w.FrozenStorage(id)
		require.NoError(t, err)
		for hash, v := range want {
			got, err := c.Get(hash)
			require.NoError(t, err)
			require.Equal(t, []byte(v), got)
		}
		contains, err := c.Contains(domain.Hash{})
		require.NoError(t, err)
		require.False(t, contains)
	}
	require.Empty(t, w.Take(), "reading records nothing")
}

func has[K comparable, V any](m map[K]V, k K) bool {
	_, ok := m[k]
	return ok
}

// TestNodesConverge lets three nodes change the same collections at the same time and gives each the others' deltas in an
// order of its own, some twice: all have the same rows in the end, and can read and write what they have.
func TestNodesConverge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ctx := domain.ContextID{9}
		random := rand.New(rand.NewSource(2)) //nolint:gosec // ids of a test
		now := uint64(1_700_000_000_000_000_000)
		type delta struct {
			from    int
			actions []crdt.Action
		}
		var deltas []delta
		keys := make([]domain.PrivateKey, 3)
		states := make([]engine.Rows, len(keys))
		for i := range keys {
			keys[i] = domain.PrivateKey(bytes.Repeat([]byte{byte(i + 1)}, 32))
			states[i] = engine.Rows{}
		}
		apply := func(i int, actions []crdt.Action) {
			c, err := engine.Apply(states[i], actions, engine.Options{Context: ctx})
			require.NoError(t, err)
			require.Empty(t, c.Dropped())
			states[i].Put(c.Rows)
		}
		author := func(i int, call func(w *collections.Writer)) {
			over := &overlay{states[i], map[crdt.StateKey][]byte{}}
			w := newWriter(ctx, keys[i].Public(), over, &now, random)
			call(w)
			require.NoError(t, w.Flush())
			a, err := engine.Author(states[i], engine.Call{
				Context: ctx, Executor: keys[i].Public(), Actions: w.Take(), Writes: over.writes(),
			})
			require.NoError(t, err)
			states[i].Put(a.Rows())
			crdt.SignUserActions(a.Actions, keys[i].Signer())
			deltas = append(deltas, delta{i, a.Actions})
		}
		var ids [6]crdt.ID
		author(0, func(w *collections.Writer) { ids = newObjects(t, w) })
		for i := range states[1:] {
			apply(i+1, deltas[0].actions)
		}
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			author(rapid.IntRange(0, len(keys)-1).Draw(t, "node"), func(w *collections.Writer) {
				for range rapid.IntRange(1, 3).Draw(t, "changes") {
					changeShared(t, w, ids)
				}
			})
		}
		for i := range states {
			order := rapid.Permutation(deltas).Draw(t, "order")
			for _, d := range append(order, order[0]) {
				if d.from != i {
					apply(i, d.actions)
				}
			}
			require.Equal(t, states[0], states[i])
		}
		for i := range states { // everything can be read and written on
			author(i, func(w *collections.Writer) { changeShared(t, w, ids) })
		}
	})
}

func newObjects(t *rapid.T, w *collections.Writer) (ids [6]crdt.ID) {
	m, err := w.NewMap()
	require.NoError(t, err)
	v, err := w.NewVector()
	require.NoError(t, err)
	s, err := w.NewSet()
	require.NoError(t, err)
	r, err := w.NewRegister()
	require.NoError(t, err)
	c, err := w.NewCounter()
	require.NoError(t, err)
	u, err := w.NewUserStorage()
	require.NoError(t, err)
	return [6]crdt.ID{m.ID(), v.ID(), s.ID(), r.ID(), c.ID(), u.ID()}
}

// changeShared makes a random change of one of the objects.
func changeShared(t *rapid.T, w *collections.Writer, ids [6]crdt.ID) {
	word := rapid.SampledFrom([]string{"a", "b", "c"})
	key, value, less := []byte(word.Draw(t, "key")), []byte(word.Draw(t, "value")), rapid.Bool().Draw(t, "less")
	var errs [2]error
	switch rapid.IntRange(0, 5).Draw(t, "object") {
	case 0:
		m, err := w.Map(ids[0])
		if errs[0] = err; less {
			_, errs[1] = m.Remove(key)
		} else {
			_, errs[1] = m.Insert(key, value)
		}
	case 1:
		v, err := w.Vector(ids[1])
		if errs[0] = err; less {
			_, errs[1] = v.Pop()
		} else {
			errs[1] = v.Push(value)
		}
	case 2:
		s, err := w.Set(ids[2])
		if errs[0] = err; less {
			_, errs[1] = s.Clear()
		} else {
			_, errs[1] = s.Insert(value)
		}
	case 3:
		r, err := w.Register(ids[3])
		errs[0] = err
		_, errs[1] = r.Set(value)
	case 4:
		c, err := w.Counter(ids[4])
		errs[0], errs[1] = err, c.Increment()
	case 5:
		u, err := w.UserStorage(ids[5])
		if errs[0] = err; less {
			_, errs[1] = u.Remove()
		} else {
			_, errs[1] = u.Insert(value)
		}
	}
	require.Equal(t, [2]error{}, errs)
}
