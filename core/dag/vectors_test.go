package dag_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/dag"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type vector struct {
	Name string
	In   struct {
		FailingIDs []string `json:"failing_ids"`
		Ops        []struct {
			Op, ID  string
			Parents []string
		}
	}
	Out struct {
		Ops []struct {
			Result        json.RawMessage
			AppliedOrder  []string `json:"applied_order"`
			HeadsSorted   []string `json:"heads_sorted"`
			PendingSorted []string `json:"pending_sorted"`
		}
	}
}

// TestVectors runs the reference's histories. Where it loses an entry or keeps zero as a head, the difference is named.
func TestVectors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/dag.json")
	require.NoError(t, err)
	var file struct {
		Groups struct {
			DagStore []vector `json:"dag_store"`
		}
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	ours := map[string]string{
		"zero_id":                  "an entry cannot have the id of the beginning",
		"self_parent":              "refused, it could never be applied",
		"apply_error_sticks":       "what failed stays ready and is tried again",
		"cascade_error":            "what failed stays ready and is tried again",
		"restore_does_not_cascade": "restoring an entry makes those ready that waited for it",
		"checkpoint":               "as above",
	}
	ran := 0
	for _, v := range file.Groups.DagStore {
		if ours[v.Name] != "" {
			continue // TestDeviations
		}
		ran++
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			replay(t, v)
		})
	}
	require.Equal(t, 17, ran+len(ours), "vectors run or named")
}

func replay(t *testing.T, v vector) {
	g := dag.New[struct{}](dag.Limits{})
	for i, op := range v.In.Ops {
		want := v.Out.Ops[i]
		applied := []domain.Hash{}
		switch op.Op {
		case "add":
			added, err := g.Add(dag.Entry[struct{}]{ID: hash(t, op.ID), Parents: hashes(t, op.Parents)}, "peer", 0)
			require.NoError(t, err)
			for _, e := range g.Ready() {
				require.NoError(t, g.Apply(e.ID))
				applied = append(applied, e.ID)
			}
			var result struct{ Applied bool }
			require.NoError(t, json.Unmarshal(want.Result, &result))
			require.Equal(t, result.Applied, !added.Known && g.Status(hash(t, op.ID)) == dag.Applied, "step %d", i)
		case "restore_applied":
			require.JSONEq(t, string(want.Result), `{"restored":`+jsonBool(g.Restore(hash(t, op.ID), hashes(t, op.Parents)))+`}`)
		case "cleanup_stale":
			for _, e := range pending(t, v, g) {
				_, found := g.Remove(e)
				require.True(t, found)
			}
		case "missing_parents":
			var result struct{ Missing []string }
			require.NoError(t, json.Unmarshal(want.Result, &result))
			require.Equal(t, hashes(t, result.Missing), some(g.Missing()), "step %d", i)
		case "deltas_since":
			continue // a query of the reference's own
		default:
			t.Fatalf("step %d: unknown op %s", i, op.Op)
		}
		require.Equal(t, hashes(t, want.AppliedOrder), applied, "step %d", i)
		// The reference counts zero as a head until an entry names it.
		heads := slices.DeleteFunc(hashes(t, want.HeadsSorted), func(h domain.Hash) bool { return h == domain.Hash{} })
		require.Equal(t, heads, some(g.Heads()), "step %d", i)
		require.Equal(t, hashes(t, want.PendingSorted), some(pending(t, v, g)), "step %d", i)
	}
}

func pending(t *testing.T, v vector, g *dag.DAG[struct{}]) []domain.Hash {
	var out []domain.Hash
	for _, op := range v.In.Ops {
		if op.ID == "" {
			continue
		}
		if id := hash(t, op.ID); g.Status(id) == dag.Pending && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b domain.Hash) int { return slices.Compare(a[:], b[:]) })
	return out
}

// TestDeviations holds what is better here than in the vectors of the same names.
func TestDeviations(t *testing.T) {
	t.Parallel()
	entry := func(b byte, parents ...byte) dag.Entry[string] {
		e := dag.Entry[string]{ID: domain.Hash{b}, Payload: string([]byte{b})}
		for _, p := range parents {
			e.Parents = append(e.Parents, domain.Hash{p})
		}
		return e
	}
	add := func(t *testing.T, g *dag.DAG[string], e dag.Entry[string]) dag.Added {
		added, err := g.Add(e, "peer", 1)
		require.NoError(t, err)
		return added
	}
	t.Run("zero_id", func(t *testing.T) {
		t.Parallel()
		g := dag.New[string](dag.Limits{})
		_, err := g.Add(entry(0), "peer", 1)
		require.ErrorContains(t, err, "id zero")
		require.False(t, g.Restore(domain.Hash{}, nil))
	})
	t.Run("self_parent", func(t *testing.T) {
		t.Parallel()
		g := dag.New[string](dag.Limits{})
		_, err := g.Add(entry(1, 1), "peer", 1)
		require.ErrorContains(t, err, "names itself")
		require.Equal(t, dag.Absent, g.Status(domain.Hash{1}))
	})
	t.Run("apply_error_sticks", func(t *testing.T) {
		t.Parallel()
		g := dag.New[string](dag.Limits{})
		add(t, g, entry(2, 1))
		add(t, g, entry(3, 2))
		add(t, g, entry(1))
		require.NoError(t, g.Apply(domain.Hash{1}))
		// Applying 2 fails: nothing is told to the graph.
		require.ErrorContains(t, g.Apply(domain.Hash{3}), "before its parent")
		require.Equal(t, []dag.Entry[string]{entry(2, 1), entry(3, 2)}, g.Ready())
		// Or it is thrown away, comes again, and its child was kept.
		gone, found := g.Remove(domain.Hash{2})
		require.True(t, found)
		require.Equal(t, entry(2, 1), gone)
		require.Equal(t, dag.Pending, g.Status(domain.Hash{3}))
		require.Equal(t, []domain.Hash{{2}}, g.Missing())
		require.Equal(t, dag.Added{Status: dag.Ready}, add(t, g, entry(2, 1)))
		require.Equal(t, dag.Ready, g.Status(domain.Hash{3}))
	})
	t.Run("restore cascades", func(t *testing.T) {
		t.Parallel()
		g := dag.New[string](dag.Limits{})
		add(t, g, entry(6, 5))
		require.True(t, g.Restore(domain.Hash{5}, []domain.Hash{{4}}))
		require.Equal(t, []dag.Entry[string]{entry(6, 5)}, g.Ready())
		require.Equal(t, dag.Added{Status: dag.Applied, Known: true}, add(t, g, entry(5, 4)))
		require.Empty(t, g.Missing(), "parents of what was applied are no business of the graph")
		require.Equal(t, []domain.Hash{{5}}, g.Heads())
	})
	t.Run("restore a waiting entry", func(t *testing.T) {
		t.Parallel()
		g := dag.New[string](dag.Limits{})
		add(t, g, entry(6, 5))
		add(t, g, entry(7, 6))
		require.True(t, g.Restore(domain.Hash{6}, []domain.Hash{{5}}))
		require.Empty(t, g.Missing())
		require.Equal(t, []dag.Entry[string]{entry(7, 6)}, g.Ready())
		require.Equal(t, dag.Counts{Applied: 1, Ready: 1, WaitingBytes: 256 + 512 + 1}, g.Counts())
	})
}

func jsonBool(b bool) string {
	raw, _ := json.Marshal(b)
	return string(raw)
}

func some(h []domain.Hash) []domain.Hash {
	if h == nil {
		return []domain.Hash{}
	}
	return h
}

func hash(t *testing.T, text string) domain.Hash {
	raw, err := hex.DecodeString(text)
	require.NoError(t, err)
	require.Len(t, raw, 32)
	return domain.Hash(raw)
}

func hashes(t *testing.T, texts []string) []domain.Hash {
	out := make([]domain.Hash, len(texts))
	for i, text := range texts {
		out[i] = hash(t, text)
	}
	return out
}
