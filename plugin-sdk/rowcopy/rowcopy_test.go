package rowcopy_test

import (
	"context"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/rowcopy"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

func key(b byte) runtime.Key { return runtime.Key{Scope: runtime.ScopeState, K: [32]byte{b}} }

func row(b byte, v string) runtime.Row { return runtime.Row{Key: key(b), Value: []byte(v)} }

func begin(t testing.TB, c *rowcopy.Cache, id byte, s runtime.State) *rowcopy.Run {
	t.Helper()
	r, err := c.Begin(context.Background(), domain.ContextID{id}, s)
	require.NoError(t, err)
	return r
}

// TestCopyNeverContradictsTheCore plays a core with commits, corrections,
// discards, foreign changes, lost steps and dropped copies: a row the copy says
// it knows is the core's.
func TestCopyNeverContradictsTheCore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := rowcopy.New(rapid.SampledFrom([]int{1 << 20, 2000}).Draw(t, "bytes"))
		truth := map[runtime.Key]string{}
		epoch, version, exec := uint64(1), uint64(1), uint64(0)
		var steps []runtime.Step
		keyOf := rapid.Map(rapid.ByteRange(0, 5), key)
		change := func() (rows []runtime.Row) {
			for range rapid.IntRange(0, 3).Draw(t, "rows") {
				k := keyOf.Draw(t, "key")
				if rapid.Bool().Draw(t, "absent") {
					delete(truth, k)
					rows = append(rows, runtime.Row{Key: k, Absent: true})
				} else {
					v := rapid.StringN(0, 3, -1).Draw(t, "value")
					truth[k] = v
					rows = append(rows, runtime.Row{Key: k, Value: []byte(v)})
				}
			}
			return rows
		}
		// edit is a change in the form of edits, of the rows that have a value and keep one; the others come whole.
		edit := func(before map[runtime.Key]string, rows []runtime.Row) []runtime.Row {
			now := maps.Clone(before)
			for i := range rows {
				r := &rows[i]
				was, had := now[r.Key]
				delete(now, r.Key)
				if r.Absent {
					continue
				}
				now[r.Key] = string(r.Value)
				if had && rapid.Bool().Draw(t, "as edits") {
					r.Edits = []engine.Edit{{Del: len(was), Ins: r.Value}}
					r.Value = nil
				}
			}
			return rows
		}
		push := func(s runtime.Step) {
			version++
			s.To = version
			steps = append(steps, s)
		}
		for range rapid.IntRange(1, 25).Draw(t, "executions") {
			run, err := c.Begin(context.Background(), domain.ContextID{7}, runtime.State{Epoch: epoch, Version: version, Steps: steps})
			if err != nil {
				t.Fatal(err)
			}
			steps = nil
			for range rapid.IntRange(0, 6).Draw(t, "reads") {
				k := keyOf.Draw(t, "read")
				value, found, known := run.Row(k)
				want, exists := truth[k]
				if known && (found != exists || string(value) != want) {
					t.Fatalf("copy has %q %v, core has %q %v", value, found, want, exists)
				}
				if !known {
					var rows []runtime.Row
					if exists {
						rows = append(rows, runtime.Row{Key: k, Value: []byte(want)})
					}
					run.Learn(rows, []runtime.Key{k})
				}
				if rapid.IntRange(0, 9).Draw(t, "drop") == 0 {
					c.Forget(domain.ContextID{7})
				}
			}
			exec++
			before := map[runtime.Key]string{}
			for k, v := range truth {
				before[k] = v
			}
			overlay := change()
			run.End(exec, overlay)
			switch rapid.IntRange(0, 6).Draw(t, "fate") {
			case 0: // discarded
				truth = before
			case 1: // discarded, and something else happened
				truth = maps.Clone(before)
				push(runtime.Step{Rows: edit(before, change())})
			case 2: // accepted, corrected, too large to send
				rows := change()
				s := runtime.Step{AcceptExec: exec}
				for _, r := range rows {
					s.Forget = append(s.Forget, r.Key)
				}
				push(s)
			case 3: // a later step names an overlay that another generation had
				push(runtime.Step{AcceptExec: exec})
				change()
				push(runtime.Step{AcceptExec: exec + 1000})
			case 4:
				push(runtime.Step{AcceptExec: exec, Rows: edit(before, change())})
				if rapid.Bool().Draw(t, "reset") {
					steps = []runtime.Step{{To: version, Reset: true}}
				}
			case 5: // state replaced
				epoch++
				truth, steps = map[runtime.Key]string{}, nil
			default:
				push(runtime.Step{AcceptExec: exec})
				if rapid.IntRange(0, 4).Draw(t, "lost") == 0 {
					steps = nil // another plugin generation was told
				}
			}
		}
		if c.Bytes() < 0 {
			t.Fatalf("%d bytes", c.Bytes())
		}
		c.Forget(domain.ContextID{7})
		if c.Bytes() != 0 {
			t.Fatalf("%d bytes after everything was forgotten", c.Bytes())
		}
	})
}

func TestAheadAndSteps(t *testing.T) {
	t.Parallel()
	c := rowcopy.New(1 << 20)
	r := begin(t, c, 1, runtime.State{Epoch: 9, Version: 5, Ahead: []runtime.Row{row(1, "a")}})
	v, found, known := r.Row(key(1))
	require.True(t, found && known)
	require.Equal(t, "a", string(v))
	r.End(3, []runtime.Row{row(1, "b"), {Key: key(2), Absent: true}})

	r = begin(t, c, 1, runtime.State{Epoch: 9, Version: 6, Steps: []runtime.Step{{To: 6, AcceptExec: 3, Rows: []runtime.Row{row(3, "c")}}}})
	v, _, _ = r.Row(key(1))
	require.Equal(t, "b", string(v))
	_, found, known = r.Row(key(2))
	require.True(t, known && !found)
	v, _, _ = r.Row(key(3))
	require.Equal(t, "c", string(v))
	r.End(4, nil)

	r = begin(t, c, 1, runtime.State{Epoch: 9, Version: 8, Steps: []runtime.Step{{To: 8, Rows: []runtime.Row{row(3, "d")}}}})
	_, _, known = r.Row(key(1))
	require.False(t, known, "the copy was older than the first step")
	v, _, _ = r.Row(key(3))
	require.Equal(t, "d", string(v))
	r.End(5, nil)
}

func TestBusyAndWaiting(t *testing.T) {
	t.Parallel()
	c := rowcopy.New(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	first, err := c.Begin(ctx, domain.ContextID{1}, runtime.State{Epoch: 1, Version: 1})
	require.NoError(t, err)
	_, err = c.Begin(context.Background(), domain.ContextID{1}, runtime.State{Epoch: 1, Version: 1})
	require.ErrorIs(t, err, rowcopy.ErrBusy)
	begin(t, c, 2, runtime.State{Epoch: 1, Version: 1}).End(1, nil)
	cancel()
	got := make(chan error)
	go func() {
		r, err := c.Begin(context.Background(), domain.ContextID{1}, runtime.State{Epoch: 1, Version: 1})
		if err == nil {
			r.End(3, nil)
		}
		got <- err
	}()
	first.End(2, nil)
	require.NoError(t, <-got, "an execution that was told to stop is waited for")
}

func TestEviction(t *testing.T) {
	t.Parallel()
	c := rowcopy.New(10_000)
	for i := range byte(100) {
		r := begin(t, c, i, runtime.State{Epoch: 1, Version: 1})
		r.Learn([]runtime.Row{row(i, string(make([]byte, 1000)))}, nil)
		r.End(1, nil)
		require.LessOrEqual(t, c.Bytes(), 10_000)
	}
	r := begin(t, c, 99, runtime.State{Epoch: 1, Version: 1})
	_, _, known := r.Row(key(99))
	require.True(t, known, "the last context is still there")
	r.Learn([]runtime.Row{row(1, string(make([]byte, 20_000)))}, nil)
	require.LessOrEqual(t, c.Bytes(), 10_000)
	r.End(2, nil)
}

func TestBadStates(t *testing.T) {
	t.Parallel()
	c := rowcopy.New(1000)
	for _, s := range []runtime.State{{}, {Epoch: 1, Version: 3, Steps: []runtime.Step{{To: 3}, {To: 2}}}, {Epoch: 1, Version: 3, Steps: []runtime.Step{{To: 4}}}} {
		_, err := c.Begin(context.Background(), domain.ContextID{}, s)
		require.ErrorIs(t, err, errkind.Invalid)
	}
	_, err := c.Begin(context.Background(), domain.ContextID{}, runtime.State{Epoch: 1, Version: 1000, Steps: make([]runtime.Step, runtime.MaxSteps+1)})
	require.ErrorIs(t, err, errkind.TooLarge)
}
