package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/harness"
)

// Every group call writes so many keys, to see a partial commit.
const groupSize = 3

// write is one of the concurrent calls: a single key, or a group of keys.
type write struct {
	key   string
	group bool
}

// writers are concurrent callers over several contexts.
type writers struct {
	contexts []*harness.Context
	acked    []map[write]bool // by context; true = acknowledged, false = outcome unknown
	mu       []sync.Mutex
	done     atomic.Int64
	failed   atomic.Int64
	firstErr atomic.Pointer[error]
}

const callersPerContext = 2

// run makes total calls and returns when all have an answer. At the point given, once so many were acknowledged, it
// calls strike.
func (w *writers) run(t *testing.T, total int, round string, at int64, strike func()) {
	t.Helper()
	var struck sync.Once
	var all sync.WaitGroup
	callers := len(w.contexts) * callersPerContext
	for i := range callers {
		x := i % len(w.contexts)
		all.Go(func() {
			for j := range total / callers {
				wr := write{key: fmt.Sprintf("%s-%d-%d", round, i, j), group: j%2 == 1}
				err := w.write(t.Context(), x, wr)
				if err == nil && w.done.Add(1) >= at {
					struck.Do(strike)
				}
			}
		})
	}
	all.Wait()
	struck.Do(func() {
		t.Fatalf("only %d of %d calls were acknowledged before the strike: %v", w.done.Load(), total, w.first())
	})
}

func (w *writers) first() error {
	if e := w.firstErr.Load(); e != nil {
		return *e
	}
	return nil
}

func (w *writers) write(ctx context.Context, x int, wr write) error {
	method, args := "set", obj{"key": wr.key, "value": wr.key}
	if wr.group {
		method, args = "write_n", obj{"prefix": wr.key + "/", "n": groupSize, "size": 20}
	}
	w.note(x, wr, false)
	_, err := w.contexts[x].Call(ctx, method, args)
	if err != nil {
		w.failed.Add(1)
		w.firstErr.CompareAndSwap(nil, &err)
		return err
	}
	w.note(x, wr, true)
	return nil
}

func (w *writers) note(x int, wr write, acked bool) {
	w.mu[x].Lock()
	defer w.mu[x].Unlock()
	w.acked[x][wr] = acked
}

func newWriters(t *testing.T, n *harness.Node, c *harness.Client) *writers {
	t.Helper()
	first := newContext(t, n, c, "rogue", "")
	w := &writers{contexts: []*harness.Context{first}}
	for range 3 {
		x, err := c.CreateContext(t.Context(), first.Application, nil)
		require.NoError(t, err)
		w.contexts = append(w.contexts, x)
	}
	w.mu = make([]sync.Mutex, len(w.contexts))
	for range w.contexts {
		w.acked = append(w.acked, map[write]bool{})
	}
	return w
}

// verify reads everything back: acknowledged writes are there, groups are whole or absent, and the map's length, which
// is another row, agrees.
func (w *writers) verify(t *testing.T, c *harness.Client) {
	t.Helper()
	var all sync.WaitGroup
	for i, x := range w.contexts {
		all.Go(func() { w.verifyContext(t, x.With(c), w.acked[i]) })
	}
	all.Wait()
}

func (w *writers) verifyContext(t *testing.T, x *harness.Context, writes map[write]bool) {
	count := 0
	for wr, acked := range writes {
		keys := []string{wr.key}
		if wr.group {
			keys = nil
			for i := range groupSize {
				keys = append(keys, fmt.Sprintf("%s/%d", wr.key, i))
			}
		}
		there := 0
		for _, k := range keys {
			out, err := x.Call(t.Context(), "get", obj{"key": k})
			if err != nil {
				t.Errorf("get %s: %v", k, err)
				return
			}
			if string(out) != "null" {
				there++
			}
		}
		count += there
		switch {
		case acked && there != len(keys):
			t.Errorf("context %s: acknowledged write %s is lost: %d of %d keys are there", x.ID, wr.key, there, len(keys))
		case there != 0 && there != len(keys):
			t.Errorf("context %s: write %s is partly visible: %d of %d keys", x.ID, wr.key, there, len(keys))
		}
	}
	out, err := x.Call(t.Context(), "len", nil)
	if err != nil || string(out) != fmt.Sprint(count) {
		t.Errorf("context %s: len is %s (%v), %d keys can be read", x.ID, out, err, count)
	}
}

func crashWrites() int { return harness.Scale(200, 1000) }

// TestKillPlugin: kill -9 of a plugin in the middle of concurrent writes loses nothing, shows nothing partial, and the
// node serves again by itself.
func TestKillPlugin(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"runtime", "storage"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			n := harness.Start(t, harness.Options{})
			c := n.Client()
			w := newWriters(t, n, c)
			var killed []int
			strike := func() {
				pid, err := n.KillPlugin(kind)
				if err != nil {
					t.Errorf("kill the plugin: %v", err)
				}
				killed = append(killed, pid)
			}
			// An application whose method runs at two deaths of the runtime within a minute is refused for a while: one.
			rounds := 1
			if kind == "storage" {
				rounds = 2
			}
			for round := range rounds {
				total := crashWrites()
				w.run(t, total, fmt.Sprint(round), w.done.Load()+int64(total/3), strike)
			}
			t.Logf("%d calls acknowledged, %d failed, the first: %v", w.done.Load(), w.failed.Load(), w.first())
			until(t, "the node serves", func(ctx context.Context) error {
				_, err := w.contexts[0].Call(ctx, "set", obj{"key": "after", "value": "v"})
				return err
			})
			w.note(0, write{key: "after"}, true)
			w.verify(t, c)
			now, err := n.Plugin(kind)
			require.NoError(t, err)
			require.NotContains(t, killed, now)
			m, err := c.Metrics(t.Context())
			require.NoError(t, err)
			restarts, err := m.Sum("calimero_plugin_restarts_total", "kind", kind)
			require.NoError(t, err)
			require.EqualValues(t, len(killed), restarts)
			require.Zero(t, w.failed.Load(), "calls in flight are run again, not failed")

			// What was acknowledged is on disk, not in a process.
			_, err = n.Stop(t.Context())
			require.NoError(t, err)
			require.NoError(t, n.Start(t.Context()))
			w.verify(t, n.Client())
		})
	}
}

// TestKillNode: kill -9 of the core in the middle of concurrent writes leaves no process and no socket; the next start
// serves what was acknowledged.
func TestKillNode(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	w := newWriters(t, n, n.Client())
	for round := range harness.Scale(2, 3) {
		total := crashWrites()
		w.run(t, total, fmt.Sprint(round), w.done.Load()+int64(total/3), func() {
			if err := n.Kill(); err != nil {
				t.Errorf("kill the node: %v", err)
			}
		})
		t.Logf("round %d: %d calls acknowledged so far, %d failed", round, w.done.Load(), w.failed.Load())
		until(t, "nothing is left over", func(context.Context) error { return harness.LeftOver(n.Home) })
		require.NoError(t, n.Start(t.Context()))
		c := n.Client()
		w.verify(t, c)
		for i := range w.contexts {
			w.contexts[i] = w.contexts[i].With(c)
		}
	}
	requireAlive(t, w.contexts[0])
}

// TestKillNodeAndStartAtOnce: a start that follows a kill -9 closely waits for the old plugins instead of failing on
// their locks.
func TestKillNodeAndStartAtOnce(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	x := newContext(t, n, n.Client(), "kv", "")
	for i := range harness.Scale(3, 20) {
		call[any](t, x, "set", obj{"key": fmt.Sprint(i), "value": "v"})
		require.NoError(t, n.Kill())
		require.NoError(t, n.Start(t.Context()))
		x = x.With(n.Client())
		require.Equal(t, i+1, call[int](t, x, "len", nil))
	}
}

// TestRuntimeDiesTwice: no guest is known to kill its plugin; what is shown is that a plugin killed twice while one method
// runs ends in an error for that method, which is refused for a while, and not for others.
func TestRuntimeDiesTwice(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c := n.Client()
	x := newContext(t, n, c, "rogue", "")
	other := newContext(t, n, c, "kv", "")
	done := make(chan error, 1)
	go func() {
		_, err := x.Call(t.Context(), "loop_forever", nil)
		done <- err
	}()
	// A loop shows by the processor time it takes.
	killed := 0
	for range 2 {
		until(t, "the guest runs in a plugin of its own", func(context.Context) error {
			p, err := n.PluginProcess("runtime")
			switch {
			case err != nil:
				return err
			case p.PID == killed || p.CPU < 300*time.Millisecond:
				return fmt.Errorf("process %d has used %v", p.PID, p.CPU)
			}
			return nil
		})
		var err error
		killed, err = n.KillPlugin("runtime")
		require.NoError(t, err)
	}
	select {
	case err := <-done:
		require.ErrorContains(t, err, "loop_forever")
	case <-time.After(harness.Patience):
		t.Fatal("the call got no answer")
	}
	call[any](t, other, "set", obj{"key": "k", "value": "v"})
	_, err := x.Call(t.Context(), "loop_forever", nil)
	require.ErrorContains(t, err, "loop_forever", "the method is refused for a while")
}

// TestKillAuth: without its auth plugin a node lets nobody in; when the plugin is back, tokens work again.
func TestKillAuth(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Auth: true, Plugins: map[string]string{"auth": `  call_wait = "0s"`}})
	c, err := n.Client().LoggedIn(t.Context(), "root", password)
	require.NoError(t, err)
	x := newContext(t, n, c, "kv", "")
	call[any](t, x, "set", obj{"key": "k", "value": "v"})
	for range 2 {
		_, err = n.KillPlugin("auth")
		require.NoError(t, err)
		refused := false
		until(t, "tokens work again", func(ctx context.Context) error {
			stranger := x.With(n.Client())
			if out, err := stranger.Call(ctx, "get", obj{"key": "k"}); err == nil {
				t.Fatalf("a call without a token got %s", out)
			}
			forged := x.With(c.With(harness.Tokens{Access: c.Access + "x"}))
			if out, err := forged.Call(ctx, "get", obj{"key": "k"}); err == nil {
				t.Fatalf("a call with a forged token got %s", out)
			}
			out, err := x.Call(ctx, "get", obj{"key": "k"})
			if err != nil {
				refused = true
				var status *harness.StatusError
				if !errors.As(err, &status) {
					t.Fatalf("a refusal is an HTTP answer, not %v", err)
				}
				return err
			}
			if !refused {
				return errors.New("the plugin's death was not noticed yet")
			}
			var v string
			if err := json.Unmarshal(out, &v); err != nil || v != "v" {
				t.Fatalf("get gave %s", out)
			}
			return nil
		})
	}
}
