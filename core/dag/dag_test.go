package dag_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// model is the graph as sets: everything is computed anew from what waits and what was applied.
type model struct {
	applied map[domain.Hash][]domain.Hash
	waiting map[domain.Hash][]domain.Hash
	order   []domain.Hash // of arrival, of what waits
}

func (m *model) ready() map[domain.Hash]bool {
	ready := map[domain.Hash]bool{}
	for changed := true; changed; {
		changed = false
		for id, parents := range m.waiting {
			if ready[id] {
				continue
			}
			ok := true
			for _, p := range parents {
				_, applied := m.applied[p]
				ok = ok && (applied || ready[p])
			}
			if ok {
				ready[id], changed = true, true
			}
		}
	}
	return ready
}

func (m *model) missing() []domain.Hash {
	set := map[domain.Hash]bool{}
	for _, parents := range m.waiting {
		for _, p := range parents {
			_, applied := m.applied[p]
			_, waits := m.waiting[p]
			if !applied && !waits {
				set[p] = true
			}
		}
	}
	return ascending(set)
}

func (m *model) heads() []domain.Hash {
	set := map[domain.Hash]bool{}
	for id := range m.applied {
		set[id] = true
	}
	for _, parents := range m.applied {
		for _, p := range parents {
			delete(set, p)
		}
	}
	return ascending(set)
}

// missingFor walks up from one pending entry.
func (m *model) missingFor(id domain.Hash) []domain.Hash {
	set, seen := map[domain.Hash]bool{}, map[domain.Hash]bool{}
	var walk func(domain.Hash)
	walk = func(id domain.Hash) {
		if _, applied := m.applied[id]; applied || seen[id] {
			return
		}
		seen[id] = true
		parents, waits := m.waiting[id]
		if !waits {
			set[id] = true
		}
		for _, p := range parents {
			walk(p)
		}
	}
	walk(id)
	return ascending(set)
}

func ascending(set map[domain.Hash]bool) []domain.Hash {
	return slices.SortedFunc(maps.Keys(set), func(a, b domain.Hash) int { return slices.Compare(a[:], b[:]) })
}

// TestModel compares every answer with the model's, through any sequence of calls. Ids are few, so that entries are
// added again, removed and restored while others name them; parents come before or after.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := dag.New[int](dag.Limits{})
		m := &model{applied: map[domain.Hash][]domain.Hash{}, waiting: map[domain.Hash][]domain.Hash{}}
		parentsOf := map[domain.Hash][]domain.Hash{}
		ids := rapid.SampledFrom([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
		pick := func(t *rapid.T) (domain.Hash, []domain.Hash) {
			b := ids.Draw(t, "id")
			id := domain.Hash{b}
			if parents, ok := parentsOf[id]; ok {
				return id, parents
			}
			var parents []domain.Hash
			if b > 1 {
				drawn := rapid.SliceOfN(rapid.ByteRange(0, b-1), 0, 3).Draw(t, "parents")
				for _, p := range drawn {
					parents = append(parents, domain.Hash{p})
				}
			}
			parentsOf[id] = parents
			return id, parents
		}
		clean := func(parents []domain.Hash) []domain.Hash {
			out := []domain.Hash{}
			for _, p := range parents {
				if p != (domain.Hash{}) && !slices.Contains(out, p) {
					out = append(out, p)
				}
			}
			return out
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id, parents := pick(t)
				_, applied := m.applied[id]
				_, waits := m.waiting[id]
				added, err := g.Add(dag.Entry[int]{ID: id, Parents: parents, Payload: int(id[0])}, "p", 10)
				require.NoError(t, err)
				require.Equal(t, applied || waits, added.Known)
				require.Empty(t, added.Evicted)
				if !added.Known {
					m.waiting[id] = clean(parents)
					m.order = append(m.order, id)
				}
			},
			"remove": func(t *rapid.T) {
				id := domain.Hash{ids.Draw(t, "id")}
				parents, waits := m.waiting[id]
				e, found := g.Remove(id)
				require.Equal(t, waits, found)
				if found {
					require.Equal(t, dag.Entry[int]{ID: id, Parents: parents, Payload: int(id[0])}, e)
				}
				delete(m.waiting, id)
				m.order = slices.DeleteFunc(m.order, func(h domain.Hash) bool { return h == id })
			},
			"restore": func(t *rapid.T) {
				id, parents := pick(t)
				_, applied := m.applied[id]
				require.Equal(t, !applied, g.Restore(id, parents))
				m.applied[id] = clean(parents)
				delete(m.waiting, id)
				m.order = slices.DeleteFunc(m.order, func(h domain.Hash) bool { return h == id })
			},
			"apply": func(t *rapid.T) {
				ready := g.Ready()
				for _, e := range ready[:rapid.IntRange(0, len(ready)).Draw(t, "n")] {
					require.NoError(t, g.Apply(e.ID))
					require.Error(t, g.Apply(e.ID), "twice")
					m.applied[e.ID] = m.waiting[e.ID]
					delete(m.waiting, e.ID)
					m.order = slices.DeleteFunc(m.order, func(h domain.Hash) bool { return h == e.ID })
				}
			},
			"": func(t *rapid.T) { compare(t, g, m) },
		})
	})
}

func compare(t *rapid.T, g *dag.DAG[int], m *model) {
	ready := m.ready()
	got := g.Ready()
	require.Len(t, got, len(ready))
	done := map[domain.Hash]bool{}
	for _, e := range got {
		require.True(t, ready[e.ID])
		for _, p := range e.Parents {
			_, applied := m.applied[p]
			require.True(t, applied || done[p], "%s before its parent %s", e.ID, p)
		}
		done[e.ID] = true
	}
	require.Equal(t, m.missing(), g.Missing())
	require.Equal(t, m.heads(), g.Heads())
	for b := byte(1); b <= 12; b++ {
		id, want := domain.Hash{b}, dag.Absent
		parents, applied := m.applied[id]
		waits, pending := m.waiting[id]
		switch {
		case applied:
			want = dag.Applied
		case ready[id]:
			want, parents = dag.Ready, waits
		case pending:
			want, parents = dag.Pending, waits
			require.Equal(t, m.missingFor(id), g.MissingFor(id))
		}
		require.Equal(t, want, g.Status(id))
		require.ElementsMatch(t, parents, g.Parents(id))
	}
	cost := 0
	for _, parents := range m.waiting {
		cost += 10 + 512*len(parents) + 256
	}
	require.Equal(t, dag.Counts{
		Applied: len(m.applied), Ready: len(ready), Pending: len(m.waiting) - len(ready), WaitingBytes: cost,
	}, g.Counts())
}

// TestAnyDelivery: every entry of a history is applied, after its parents, whatever the order and repetition.
func TestAnyDelivery(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "entries")
		history := make([]dag.Entry[int], n)
		for i := range history {
			history[i] = dag.Entry[int]{ID: domain.Hash{1, byte(i)}, Payload: i}
			if i == 0 {
				continue
			}
			for _, p := range rapid.SliceOfN(rapid.IntRange(max(0, i-6), i-1), 0, 4).Draw(t, "parents") {
				history[i].Parents = append(history[i].Parents, history[p].ID)
			}
		}
		delivery := rapid.Permutation(append(slices.Clone(history), history[:n/2]...)).Draw(t, "delivery")
		g := dag.New[int](dag.Limits{})
		var order []int
		for _, e := range delivery {
			_, err := g.Add(e, "p", 1)
			require.NoError(t, err)
			for _, e := range g.Ready() {
				require.NoError(t, g.Apply(e.ID))
				order = append(order, e.Payload)
			}
		}
		require.Len(t, order, n)
		for i, payload := range order {
			for _, p := range history[payload].Parents {
				require.Contains(t, order[:i], int(p[1]))
			}
		}
		require.Equal(t, dag.Counts{Applied: n}, g.Counts())
	})
}

// TestEviction: limits hold after every call, and a peer without measure loses its own entries only.
func TestEviction(t *testing.T) {
	t.Parallel()
	limits := dag.Limits{Entries: 20, Bytes: 20 * 1000, SourceEntries: 12, SourceBytes: 12 * 1000}
	rapid.Check(t, func(t *rapid.T) {
		g := dag.New[string](limits)
		next := uint16(0)
		orphan := func() dag.Entry[string] {
			next++
			return dag.Entry[string]{ID: domain.Hash{1, byte(next), byte(next >> 8)}, Parents: []domain.Hash{{2, byte(next), byte(next >> 8)}}}
		}
		honest := map[domain.Hash]bool{}
		for range 5 {
			e := orphan()
			honest[e.ID] = true
			_, err := g.Add(e, "honest", 100)
			require.NoError(t, err)
		}
		for range rapid.IntRange(1, 100).Draw(t, "flood") {
			e := orphan()
			added, err := g.Add(e, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "source"), rapid.IntRange(100, 4000).Draw(t, "size"))
			require.NoError(t, err)
			for _, id := range added.Evicted {
				require.False(t, honest[id], "an honest peer's entry was driven out")
				require.Equal(t, dag.Absent, g.Status(id))
			}
			require.Equal(t, g.Status(e.ID), added.Status)
			require.LessOrEqual(t, g.Counts().Pending, limits.Entries)
			require.LessOrEqual(t, g.Counts().WaitingBytes, limits.Bytes)
		}
		require.Len(t, g.Missing(), g.Counts().Pending)
		for id := range honest {
			require.Equal(t, dag.Pending, g.Status(id))
		}
	})
}

// TestBackwards: a history much longer than the limits, asked for from its end, arrives at last.
func TestBackwards(t *testing.T) {
	t.Parallel()
	const length = 1000
	g := dag.New[struct{}](dag.Limits{Entries: 100, SourceEntries: 50})
	id := func(i int) domain.Hash { return domain.Hash{1, byte(i), byte(i >> 8)} }
	fetch := func(i int) {
		e := dag.Entry[struct{}]{ID: id(i)}
		if i > 0 {
			e.Parents = []domain.Hash{id(i - 1)}
		}
		_, err := g.Add(e, "peer", 10)
		require.NoError(t, err)
	}
	requests := 0
	for g.Status(id(length-1)) != dag.Applied {
		fetch(length - 1) // the peer's head
		for missing := g.Missing(); len(missing) > 0; missing = g.Missing() {
			m := missing[0]
			requests++
			require.Less(t, requests, length*length)
			fetch(int(m[1]) | int(m[2])<<8)
			for _, e := range g.Ready() {
				require.NoError(t, g.Apply(e.ID))
			}
		}
	}
	require.Equal(t, dag.Counts{Applied: length}, g.Counts())
}

func TestRefused(t *testing.T) {
	t.Parallel()
	g := dag.New[struct{}](dag.Limits{Bytes: 4000, SourceBytes: 1000, Parents: 2})
	_, err := g.Add(dag.Entry[struct{}]{ID: domain.Hash{1}}, "p", 1001)
	require.ErrorIs(t, err, errkind.TooLarge)
	_, err = g.Add(dag.Entry[struct{}]{ID: domain.Hash{1}, Parents: []domain.Hash{{2}, {3}, {4}}}, "p", 1)
	require.ErrorIs(t, err, errkind.TooLarge)
	require.ErrorContains(t, err, "3 parents, limit 2")
	require.Equal(t, dag.Counts{}, g.Counts())
	require.ErrorIs(t, g.Apply(domain.Hash{9}), errkind.Precondition)
}

// FuzzCalls runs a program of calls; nothing may panic, and the graph must agree with the model.
func FuzzCalls(f *testing.F) {
	f.Add([]byte{0, 3, 2, 0, 2, 1, 0, 1, 0, 2, 0, 0})
	f.Add([]byte{3, 5, 4, 0, 6, 5, 2, 0, 0, 1, 6, 0})
	f.Fuzz(func(t *testing.T, program []byte) {
		g := dag.New[byte](dag.Limits{Entries: 6, SourceEntries: 4})
		for ; len(program) >= 3; program = program[3:] {
			id, parent := domain.Hash{program[1] % 16}, domain.Hash{program[2] % 16}
			switch program[0] % 4 {
			case 0:
				added, err := g.Add(dag.Entry[byte]{ID: id, Parents: []domain.Hash{parent}}, fmt.Sprint(program[2]%3), 1)
				if err == nil && g.Status(id) != added.Status {
					t.Fatal("status")
				}
			case 1:
				g.Remove(id)
			case 2:
				for _, e := range g.Ready() {
					if err := g.Apply(e.ID); err != nil {
						t.Fatal(err)
					}
				}
			case 3:
				g.Restore(id, []domain.Hash{parent})
			}
			c := g.Counts()
			if c.Ready+c.Pending > 6 || c.Ready < 0 || c.Pending < 0 || len(g.Ready()) != c.Ready {
				t.Fatalf("counts %+v", c)
			}
			for _, id := range g.Missing() {
				if g.Status(id) != dag.Absent {
					t.Fatal("missing but here")
				}
			}
		}
	})
}

func BenchmarkAddApply(b *testing.B) {
	g := dag.New[struct{}](dag.Limits{})
	var last domain.Hash
	for i := range b.N {
		id := domain.Hash{1, byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24)}
		if _, err := g.Add(dag.Entry[struct{}]{ID: id, Parents: []domain.Hash{last}}, "p", 1); err != nil {
			b.Fatal(err)
		}
		for _, e := range g.Ready() {
			if err := g.Apply(e.ID); err != nil {
				b.Fatal(err)
			}
		}
		last = id
	}
}
