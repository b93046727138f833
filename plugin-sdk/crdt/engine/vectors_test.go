package engine_test

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

// testdata/convergence.json.gz: histories of the canonical join, made by its prototype and by reference nodes, whole.
// testdata/storage_scenarios.json.gz: runs of the reference's storage code, whole; TestScenarios says what is ours.

func readGzip(t testing.TB, file string, into any) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	in, err := gzip.NewReader(f)
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(in).Decode(into))
}

type hexRows map[string]*string

func (h hexRows) putTo(t testing.TB, rows engine.Rows) {
	t.Helper()
	for k, v := range h {
		key := stateKey(t, k)
		if v == nil {
			delete(rows, key)
			continue
		}
		raw, err := hex.DecodeString(*v)
		require.NoError(t, err)
		rows[key] = raw
	}
}

func stateKey(t testing.TB, text string) crdt.StateKey {
	t.Helper()
	raw, err := hex.DecodeString(text)
	require.NoError(t, err)
	require.Len(t, raw, 32)
	return crdt.StateKey(raw)
}

type convergence struct {
	ContextID golden.Hex32       `json:"context_id"`
	States    map[string]hexRows `json:"initial_states"`
	Groups    struct {
		History []golden.Case[historyIn, historyOut] `json:"history"`
		Authors []golden.Case[historyIn, historyOut] `json:"reference_authored"`
		Rule    []golden.Case[ruleIn, ruleOut]       `json:"rule"`
		Local   []golden.Case[localIn, localOut]     `json:"local"`
	} `json:"groups"`
}

type historyIn struct {
	ConflictFree bool   `json:"conflict_free"`
	Initial      string `json:"initial_state"`
	Deltas       []struct {
		Parents  []int
		Artifact golden.Hex
		MaxTime  golden.Uint `json:"max_time"`
	}
	Orders map[string][]int
}

type historyOut struct {
	Root      golden.Hex32 `json:"root_hash"`
	Changed   hexRows
	Reference struct {
		Nodes map[string]struct {
			Root golden.Hex32 `json:"root_hash"`
		}
		RootsEqual bool     `json:"roots_equal"`
		Equal      []string `json:"equal_to_ours"`
	}
}

type ruleIn struct {
	Initial  string `json:"initial_state"`
	Deltas   []golden.Hex
	AnyOrder bool `json:"any_order"`
}

type ruleOut struct {
	Outcomes [][]string   `json:"outcomes_in_given_order"`
	Root     golden.Hex32 `json:"root_hash"`
	Changed  hexRows
}

type localIn struct {
	Initial  string       `json:"initial_state"`
	Changes  hexRows      `json:"initial_changes"`
	Secret   golden.Hex32 `json:"executor_secret_key"`
	Artifact golden.Hex   `json:"guest_artifact"`
	After    hexRows      `json:"guest_state_after"`
}

type localOut struct {
	Published *golden.Hex
	Root      golden.Hex32 `json:"root_hash"`
	State     hexRows
	Changed   hexRows
}

func (c *convergence) initial(t testing.TB, name string) engine.Rows {
	t.Helper()
	rows := engine.Rows{}
	require.Contains(t, c.States, name)
	c.States[name].putTo(t, rows)
	return rows
}

func (c *convergence) options() engine.Options {
	return engine.Options{Context: domain.ContextID(c.ContextID)}
}

func loadConvergence(t testing.TB) *convergence {
	t.Helper()
	var c convergence
	readGzip(t, "testdata/convergence.json.gz", &c)
	require.Len(t, c.Groups.History, 77)
	require.Len(t, c.Groups.Authors, 57)
	require.Len(t, c.Groups.Rule, 50)
	require.Len(t, c.Groups.Local, 12)
	return &c
}

func actionsOf(t testing.TB, artifact []byte) []crdt.Action {
	t.Helper()
	delta, err := crdt.DecodeArtifact(artifact)
	require.NoError(t, err)
	return delta.Actions
}

// apply applies and checks what holds for every change.
func apply(t testing.TB, rows engine.Rows, actions []crdt.Action, opts engine.Options) engine.Change {
	t.Helper()
	change, err := engine.Apply(rows, actions, opts)
	require.NoError(t, err)
	requireSound(t, rows, change.Rows)
	rows.Put(change.Rows)
	return change
}

// requireSound: rows differ from the view's, are in order, and their edits lead to them.
func requireSound(t testing.TB, before engine.Rows, rows []engine.Row) {
	t.Helper()
	require.True(t, slices.IsSortedFunc(rows, func(a, b engine.Row) int { return slices.Compare(a.Key[:], b.Key[:]) }))
	for _, r := range rows {
		old, had := before[r.Key]
		require.Equal(t, r.Absent, r.Value == nil)
		if r.Absent {
			require.True(t, had, "removes a row that is not there")
			continue
		}
		require.False(t, had && slices.Equal(old, r.Value), "writes what is there")
		if len(r.Edits) > 0 {
			require.Equal(t, r.Value, engine.Edited(old, r.Edits))
		}
	}
}

func requireRows(t testing.TB, want, got engine.Rows, name string) {
	t.Helper()
	if diff := diffRows(want, got); diff != "" {
		require.Fail(t, "rows differ", "%s\n%s", name, diff)
	}
}

// diffRows tells the rows that differ, "" when none does.
func diffRows(want, got engine.Rows) string {
	var out strings.Builder
	for k, v := range want {
		if !slices.Equal(v, got[k]) {
			fmt.Fprintf(&out, "%s\nwant %x\ngot  %x\n", describe(k, v), v, got[k])
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			fmt.Fprintf(&out, "extra %s: %x\n", describe(k, v), v)
		}
	}
	return out.String()
}

// randomOrders returns shuffles of n deltas, the same on every run.
func randomOrders(n, count int) [][]int {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	out := make([][]int, count)
	for i := range out {
		out[i] = r.Perm(n)
	}
	return out
}

func TestHistories(t *testing.T) {
	t.Parallel()
	c := loadConvergence(t)
	for _, group := range [][]golden.Case[historyIn, historyOut]{c.Groups.History, c.Groups.Authors} {
		for _, h := range group {
			want := c.initial(t, h.In.Initial)
			h.Out.Changed.putTo(t, want)
			orders := randomOrders(len(h.In.Deltas), 3)
			for _, order := range h.In.Orders {
				orders = append(orders, order)
			}
			for _, order := range orders {
				rows := c.initial(t, h.In.Initial)
				var root domain.Hash
				for _, i := range order {
					change := apply(t, rows, actionsOf(t, h.In.Deltas[i].Artifact), c.options())
					root = change.Root
					require.Empty(t, change.Dropped(), h.Name)
				}
				requireRows(t, want, rows, h.Name)
				require.Equal(t, domain.Hash(h.Out.Root), root, h.Name)
			}
			for i, d := range h.In.Deltas {
				require.Equal(t, uint64(d.MaxTime), engine.LatestTime(actionsOf(t, d.Artifact)), "%s: %d", h.Name, i)
			}
			for name, node := range h.Out.Reference.Nodes {
				equal := slices.Contains(h.Out.Reference.Equal, name)
				require.Equal(t, equal, node.Root == h.Out.Root, h.Name)
				if h.In.ConflictFree && h.Out.Reference.RootsEqual {
					require.True(t, equal, h.Name)
				}
			}
		}
	}
}

// TestRules runs the rules in all orders. The exceptions are places where docs/design/state-engine.md corrects the rule.
func TestRules(t *testing.T) {
	t.Parallel()
	c := loadConvergence(t)
	for _, r := range c.Groups.Rule {
		if r.Name == "upsert_without_ancestors_known" {
			// Accepting it with the stored parent depends on the order. The SDK makes no such action.
			rows := c.initial(t, r.In.Initial)
			apply(t, rows, actionsOf(t, r.In.Deltas[0]), c.options())
			change := apply(t, rows, actionsOf(t, r.In.Deltas[1]), c.options())
			require.Equal(t, "refused: no parent", change.Verdicts[0].String())
			require.Empty(t, change.Rows)
			continue
		}
		want := c.initial(t, r.In.Initial)
		r.Out.Changed.putTo(t, want)
		require.True(t, r.In.AnyOrder || len(r.In.Deltas) == 1, r.Name)
		for _, order := range permutations(len(r.In.Deltas)) {
			rows := c.initial(t, r.In.Initial)
			var root domain.Hash
			var outcomes [][]string
			for _, i := range order {
				change := apply(t, rows, actionsOf(t, r.In.Deltas[i]), c.options())
				root = change.Root
				var names []string
				for _, v := range change.Verdicts {
					if v.Outcome != engine.Superseded {
						names = append(names, v.String())
					}
				}
				outcomes = append(outcomes, names)
			}
			requireRows(t, want, rows, r.Name)
			require.Equal(t, domain.Hash(r.Out.Root), root, r.Name)
			if slices.IsSorted(order) {
				require.Equal(t, r.Out.Outcomes, outcomes, r.Name)
			}
		}
	}
}

// permutations returns all orders of n, the given one first.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{{}}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for at := len(p); at >= 0; at-- {
			out = append(out, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	slices.SortFunc(out, slices.Compare[[]int])
	return out
}

func TestAuthors(t *testing.T) {
	t.Parallel()
	c := loadConvergence(t)
	for _, l := range c.Groups.Local {
		before := c.initial(t, l.In.Initial)
		l.In.Changes.putTo(t, before)
		want := c.initial(t, l.In.Initial)
		l.In.Changes.putTo(t, want)
		l.Out.State.putTo(t, want)
		l.Out.Changed.putTo(t, want)
		actions := actionsOf(t, l.In.Artifact)
		if l.Out.Published == nil { // a reference author's genesis
			change, err := engine.Genesis(before, actions, domain.Hash(l.Out.Root), c.options())
			require.NoError(t, err, l.Name)
			require.Equal(t, domain.Hash(l.Out.Root), change.Root, l.Name)
			before.Put(change.Rows)
			requireRows(t, want, before, l.Name)
			continue
		}
		key := domain.PrivateKey(l.In.Secret)
		call := engine.Call{Context: domain.ContextID(c.ContextID), Executor: key.Public(), Actions: actions}
		if l.In.After == nil { // the guest's own rows are not given: those that its actions imply
			change, err := engine.Apply(before, actions, engine.Options{Context: call.Context, Signer: &call.Executor})
			require.NoError(t, err, l.Name)
			call.Writes = change.Rows
		} else {
			after := engine.Rows{}
			l.In.After.putTo(t, after)
			for k, v := range after {
				call.Writes = append(call.Writes, engine.Row{Key: k, Value: v})
			}
		}
		out, err := engine.Author(before, call)
		require.NoError(t, err, l.Name)
		require.Equal(t, domain.Hash(l.Out.Root), out.Change.Root, l.Name)
		require.Empty(t, out.Raw, l.Name)
		crdt.SignUserActions(out.Actions, key.Signer())
		published, err := crdt.EncodeArtifact(unmarked(t, out, call.Executor))
		require.NoError(t, err, l.Name)
		require.Equal(t, []byte(*l.Out.Published), published, l.Name)

		receiver, guest := maps.Clone(before), maps.Clone(before)
		guest.Put(call.Writes)
		requireSoundEdits(t, before, out.Corrected)
		guest.Put(out.Corrected)
		before.Put(out.Rows())
		requireRows(t, want, before, l.Name)
		requireRows(t, want, guest, l.Name+": the guest's copy after corrections")
		apply(t, receiver, out.Actions, c.options())
		requireRows(t, want, receiver, l.Name+": receiver")
	}
}

// unmarked returns the actions of a delta without its mark, if it has one, which must be good.
func unmarked(t testing.TB, out engine.Authored, author domain.PublicKey) []crdt.Action {
	t.Helper()
	err := engine.VerifyMark(out.Actions, author)
	if errors.Is(err, engine.ErrUnmarked) {
		return out.Actions
	}
	require.NoError(t, err)
	last := len(out.Actions) - 1
	require.Len(t, out.Change.Verdicts, last+1)
	require.Equal(t, engine.Ignored, out.Change.Verdicts[last].Outcome)
	return out.Actions[:last]
}

func requireSoundEdits(t testing.TB, before engine.Rows, rows []engine.Row) {
	t.Helper()
	for _, r := range rows {
		if len(r.Edits) > 0 {
			require.Equal(t, r.Value, engine.Edited(before[r.Key], r.Edits))
		}
	}
}

func describe(k crdt.StateKey, v []byte) string {
	var id crdt.ID
	if len(v) >= 32 {
		copy(id[:], v)
		if crdt.IndexKey(id) == k {
			return "index " + id.String()
		}
		copy(id[:], v[len(v)-32:])
		if crdt.EntryKey(id) == k {
			return "entry " + id.String()
		}
	}
	return "row " + hex.EncodeToString(k[:])
}
