package pluginhost_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

func TestStart_ServesStorage(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{block: `  args = ["-a", "b"]`})
	var states []pluginhost.State
	spec := n.spec()
	spec.OnState = func(s pluginhost.Status) { states = append(states, s.State) }
	h, err := pluginhost.Start(t.Context(), n.host, storage.Wire, spec)
	require.NoError(t, err)
	require.NoError(t, h.Health(t.Context()))
	require.Equal(t, "memory", h.Info().Name)

	s := pluginhost.Storage(h)
	batch := storage.Batch{ID: storage.NewBatchID()}
	batch.Put("c", []byte("k"), []byte("v"))
	replayed, err := s.Apply(t.Context(), batch)
	require.NoError(t, err)
	require.False(t, replayed)
	values, err := s.Get(t.Context(), []storage.Key{{Column: "c", Key: []byte("k")}})
	require.NoError(t, err)
	require.Equal(t, []storage.Value{{Found: true, Bytes: []byte("v")}}, values)
	items := 0
	require.NoError(t, s.Scan(t.Context(), storage.Range{Column: "c"}, func(page []storage.Item) error {
		items += len(page)
		// A callback may make calls of its own.
		_, err := s.Get(t.Context(), []storage.Key{{Column: "c", Key: page[0].Key}})
		return err
	}))
	require.Equal(t, 1, items)
	snap, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	require.NoError(t, snap.Close())
	_, err = s.Stats(t.Context())
	require.NoError(t, err)
	_, _, err = s.Compact(t.Context())
	require.NoError(t, err)

	var where []string
	require.NoError(t, command(t.Context(), h, "dir", &where))
	require.Equal(t, filepath.Join(n.cfg.NodeDir(), "data"), where[0])
	require.Equal(t, filepath.Join(n.cfg.NodeDir(), "run", "plugins"), filepath.Dir(filepath.Dir(where[1])))
	require.Equal(t, "-a b", where[2])

	st := h.Status()
	require.Equal(t, pluginhost.Ready, st.State)
	require.Equal(t, uint64(1), st.Generation)
	require.Equal(t, []pluginhost.Status{st}, n.host.Status())
	require.NoError(t, h.Close(t.Context()))
	require.FileExists(t, filepath.Join(where[0], "closed"))
	require.True(t, gone(st.PID))
	require.Empty(t, sockets(t, filepath.Join(n.cfg.NodeDir(), "run")))
	require.Equal(t, []pluginhost.State{pluginhost.Starting, pluginhost.Ready, pluginhost.Stopped}, states)
	require.Empty(t, n.host.Status())

	_, err = s.Get(t.Context(), []storage.Key{{Column: "c", Key: []byte("k")}})
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, `storage plugin "test" is closed`)
	require.NoError(t, h.Close(t.Context()))
}

func TestStart_EnvironmentIsNotInherited(t *testing.T) {
	t.Setenv("SECRET_TOKEN", "hunter2")
	n := newNode(t, change{})
	h := n.storage()
	var env []string
	require.NoError(t, command(t.Context(), h, "env", &env))
	require.NotContains(t, strings.Join(env, "\n"), "hunter2")
	require.Contains(t, env, "EXTRA=yes")
	allowed := regexp.MustCompile(`^(PATH|HOME|LANG|LC_ALL|TMPDIR|TZ|GO\w+|PLUGINHOST_TEST_CHILD|EXTRA|PLUGIN_\w+|CALIMERO_PLUGIN\w*|PWD)=`)
	for _, e := range env {
		require.Regexp(t, allowed, e)
	}
	var files []string
	require.NoError(t, command(t.Context(), h, "fds", &files))
	for _, f := range files {
		require.NotContains(t, f, "host.lock")
	}
}

func TestStart_Failures(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change change
		kind   errkind.Kind
		want   []string
	}{
		"wrong kind":      {change{child: "runtime"}, errkind.Precondition, []string{"info", "it is a runtime plugin (test 1)", `plugin "runtime"`}},
		"wrong version":   {change{child: "old-version"}, errkind.Unsupported, []string{"handshake", "speaks version 7 of the storage protocol, this node speaks 1"}},
		"no TLS":          {change{child: "no-tls"}, errkind.Unsupported, []string{"no TLS certificate"}},
		"not a plugin":    {change{child: "hello"}, errkind.Precondition, []string{`printed "hello, world" in place of the handshake`}},
		"missing library": {change{child: "library"}, errkind.Precondition, []string{"needs the shared library libwasmer.so", "files ="}},
		"panic":           {change{child: "panic"}, errkind.Precondition, []string{"ended before the handshake (exit status 2)", "panic: no luck at start", "goroutine 1"}},
		"mute":            {change{child: "mute", block: `  start_timeout = "300ms"`}, errkind.Deadline, []string{"no handshake within start_timeout (300ms)"}},
		"unknown key":     {change{conf: "    leve = 3"}, errkind.Invalid, []string{"config", `Did you mean "level"?`, "config.hcl line 10, column 5"}},
		"diagnostics":     {change{conf: "    level = 30"}, errkind.Invalid, []string{"configure", "Level too high", "use at most 9, not 30", "config.hcl line 10, column 13"}},
		"configure fails": {change{conf: `    configure = "fail"`}, errkind.Corrupt, []string{"configure", "the data is damaged; run repair"}},
		"configure hangs": {change{conf: `    configure = "hang"`, block: `  start_timeout = "2s"`}, errkind.Deadline, []string{"configure", "no answer within start_timeout (2s)"}},
		"configure dies":  {change{conf: `    configure = "crash"`}, errkind.Unavailable, []string{"configure", "the process ended (exit status 2)", "panic: no luck in configure"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, test.change)
			_, err := n.tryStorage()
			require.Error(t, err)
			t.Log(err)
			require.Equal(t, test.kind, errkind.Of(err), "%v", err)
			require.ErrorContains(t, err, `start storage plugin "test": `)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			require.Empty(t, n.host.Status())
			require.Empty(t, sockets(t, filepath.Join(n.cfg.NodeDir(), "run")))
		})
	}
}

func TestStart_GivenUpByTheCaller(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{child: "mute"})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := pluginhost.Start(ctx, n.host, storage.Wire, n.spec())
	require.ErrorIs(t, err, errkind.Deadline)
	require.ErrorContains(t, err, "given up")
}

// program writes an executable file.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
	return path
}

func TestStart_BadBinaries(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(self(t), link))
	tests := map[string]struct {
		change change
		want   string
	}{
		"missing":           {change{binary: "/nonexistent/plugin", unpinned: true}, "does not exist; build it (make build)"},
		"symbolic link":     {change{binary: link, unpinned: true}, "is a symbolic link"},
		"folder":            {change{binary: t.TempDir(), unpinned: true}, "is not a regular file"},
		"not a program":     {change{binary: program(t, "\x00\x01\x02")}, "is not a program for"},
		"no dynamic loader": {change{binary: program(t, "#!/nonexistent/interpreter\n")}, "needs a dynamic loader"},
		"a shell script":    {change{binary: program(t, "#!/bin/sh\necho oops\n")}, `printed "oops" in place of the handshake`},
		"silent":            {change{binary: program(t, "#!/bin/sh\nexit 5\n")}, "ended before the handshake (exit status 5)"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, test.change)
			_, err := n.tryStorage()
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, test.change.binary)
		})
	}
}

func TestDescribe_BesideARunningNode(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	n.storage()
	info, schema, err := pluginhost.Describe(t.Context(), n.cfg, n.cfg.Plugin("storage", ""), nil)
	require.NoError(t, err)
	require.Equal(t, "memory", info.Name)
	require.Equal(t, "level", schema.Attributes[0].Name)

	bad := newNode(t, change{child: "hello"})
	_, _, err = pluginhost.Describe(t.Context(), bad.cfg, bad.cfg.Plugin("storage", ""), nil)
	require.ErrorContains(t, err, "in place of the handshake")
	require.NoDirExists(t, bad.cfg.Node.Data)
}

func TestHost_OnePerRunFolder(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	_, err := pluginhost.Open(t.Context(), pluginhost.FromConfig(n.cfg))
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, fmt.Sprintf("another node (process %d)", os.Getpid()))
	_, err = pluginhost.Open(t.Context(), pluginhost.Options{RunDir: "relative", LockPath: "/x"})
	require.ErrorIs(t, err, errkind.Invalid)
}

func TestHost_DeepHomesGetAShortSocketFolder(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{opts: func(o *pluginhost.Options) {
		o.RunDir = filepath.Join(filepath.Dir(o.RunDir), strings.Repeat("deep/", 30), "run")
	}})
	h := n.storage()
	require.NoError(t, h.Health(t.Context()))
}

func TestHost_DeepHomeAndDeepTMPDIR(t *testing.T) {
	deep := filepath.Join(shortDir(t), strings.Repeat("d/", 60))
	require.NoError(t, os.MkdirAll(deep, 0o700))
	t.Setenv("TMPDIR", deep)
	host, err := pluginhost.Open(t.Context(), pluginhost.Options{RunDir: filepath.Join(deep, "run"), LockPath: filepath.Join(deep, "lock")})
	require.NoError(t, err)
	require.NoError(t, host.Close(t.Context()))

	_, err = pluginhost.FirstShort([]string{deep, "/b/" + deep}, 58)
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, "a socket's may have 107 bytes")
	require.ErrorContains(t, err, deep+", /b/")
}

func TestRestart_AfterTheProcessIsKilled(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	first := h.Status().PID
	require.NoError(t, syscall.Kill(first, syscall.SIGKILL))
	// Nobody sees an error: idempotent calls are repeated on the next generation.
	for range 20 {
		require.NoError(t, command(t.Context(), h, "dir", nil))
	}
	eventually(t, "generation 2", func() bool { return h.Status().Generation == 2 && h.Status().State == pluginhost.Ready })
	st := h.Status()
	require.NotEqual(t, first, st.PID)
	require.Equal(t, 1, st.Restarts)
	require.Contains(t, st.LastEnd, "signal: killed")
	require.True(t, gone(first))
}

func TestRestart_RepeatsIdempotentCalls(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	require.NoError(t, command(t.Context(), h, "exit-once", nil))
	require.Equal(t, uint64(2), h.Status().Generation)
}

func TestRestart_ACallThatKillsTwiceFails(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	err := command(t.Context(), h, "exit", nil)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.True(t, errkind.IsRetryable(err))
	require.ErrorContains(t, err, `storage plugin "test" stopped during Get (generation 2)`)
	require.NoError(t, command(t.Context(), h, "dir", nil))
}

func TestRestart_KeepsThePanic(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	require.Error(t, command(t.Context(), h, "panic", nil))
	require.NoError(t, command(t.Context(), h, "dir", nil))
	end := h.Status().LastEnd
	require.Contains(t, end, "exit status 2")
	require.Contains(t, end, "panic: out of luck")
	require.Contains(t, end, "goroutine ")
	require.True(t, n.logs.has("panic: out of luck"))
}

func TestRestart_ABusyPluginIsNotADeadOne(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	err := command(t.Context(), h, "busy", nil)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, "too busy")
	require.Equal(t, uint64(1), h.Status().Generation)
}

func TestRestart_HungProcessIsKilledAfterHealthChecks(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{opts: func(o *pluginhost.Options) {
		o.HealthEvery, o.HealthTimeout, o.HealthMisses = 20*time.Millisecond, 100*time.Millisecond, 3
	}})
	h := n.storage()
	pid := h.Status().PID
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	eventually(t, "the next generation", func() bool { return h.Status().Generation >= 2 })
	require.Contains(t, h.Status().LastEnd, "health checks without an answer")
	require.True(t, gone(pid))
}

func TestHealth_DegradedAndBack(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{opts: func(o *pluginhost.Options) { o.HealthEvery = 20 * time.Millisecond }})
	h := n.storage()
	file := filepath.Join(n.cfg.Node.Data, "health")
	require.NoError(t, os.WriteFile(file, []byte("full"), 0o600))
	eventually(t, "degraded", func() bool { return h.Status().State == pluginhost.Degraded })
	require.ErrorContains(t, h.Status().Err, "disk is full")
	require.NoError(t, command(t.Context(), h, "dir", nil), "a degraded plugin serves")
	require.NoError(t, os.Remove(file))
	eventually(t, "ready", func() bool { return h.Status().State == pluginhost.Ready })
	require.NoError(t, h.Status().Err)
	require.Equal(t, uint64(1), h.Status().Generation)
}

func TestKill_StartsTheNextGeneration(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	done := make(chan error, 1)
	go func() {
		_, err := pluginhost.Call(t.Context(), h, "Hang", pluginhost.Once, func(ctx context.Context, p storage.Plugin) ([]storage.Value, error) {
			return p.Get(ctx, []storage.Key{{Column: "ctl", Key: []byte("hang")}})
		})
		done <- err
	}()
	eventually(t, "the call", func() bool { return n.host.InFlight() == 1 })
	h.Kill("it did not answer")
	err := <-done
	require.ErrorIs(t, err, errkind.Unavailable)
	require.True(t, errkind.IsRetryable(err))
	require.NoError(t, command(t.Context(), h, "dir", nil))
	require.Contains(t, h.Status().LastEnd, "the host killed it: it did not answer (signal: killed by the host)")
}

func TestRestart_DropsLateAnswers(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	tries := 0
	answer, err := pluginhost.Call(t.Context(), h, "Late", pluginhost.Repeatable, func(ctx context.Context, p storage.Plugin) (uint64, error) {
		tries++
		generation := h.Status().Generation
		if tries == 1 {
			h.Kill("given up") // what f returns is an answer of a process that is not served by any more
		}
		return generation, nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, tries)
	require.Equal(t, uint64(2), answer)

	_, err = pluginhost.Call(t.Context(), h, "Late", pluginhost.Once, func(context.Context, storage.Plugin) (int, error) {
		h.Kill("given up")
		return 1, nil
	})
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, "its answer came after it was given up")
}

func TestRestart_ScanIsRepeatedOnlyBeforeItsFirstPage(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	s := pluginhost.Storage(h)
	batch := storage.Batch{ID: storage.NewBatchID()}
	batch.Put("c", []byte("k"), []byte("v"))
	_, err := s.Apply(t.Context(), batch)
	require.NoError(t, err)
	err = s.Scan(t.Context(), storage.Range{Column: "c"}, func([]storage.Item) error {
		h.Kill("in the middle")
		return nil
	})
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, "stopped during Scan")
}

func TestRestart_GivesUpAfterTooMany(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{conf: `    configure = "once"`, block: "  max_restarts = 3"})
	h := n.storage()
	require.NoError(t, syscall.Kill(h.Status().PID, syscall.SIGKILL))
	select {
	case <-h.Done():
	case <-time.After(patience):
		t.Fatal("the plugin is not given up")
	}
	st := h.Status()
	require.Equal(t, pluginhost.Stopped, st.State)
	require.Equal(t, 3, st.Restarts)
	require.ErrorContains(t, st.Err, "is stopped after 3 restarts in a row (max_restarts)")
	require.ErrorContains(t, st.Err, "panic: started before")
	err := command(t.Context(), h, "dir", nil)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, "max_restarts")
}

func TestRestart_CallersWaitNoLongerThanAllowed(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{block: `  call_wait = "50ms"`, opts: func(o *pluginhost.Options) { o.BackoffMin = time.Hour; o.BackoffMax = time.Hour }})
	h := n.storage()
	h.Kill("for the test")
	err := command(t.Context(), h, "dir", nil)
	require.ErrorIs(t, err, errkind.Unavailable)
	require.True(t, errkind.IsRetryable(err))
	require.ErrorContains(t, err, "waited 50ms (call_wait)")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, command(ctx, h, "dir", nil), context.Canceled)
}

func TestCall_LimitsCallsInFlight(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{block: "  max_in_flight = 2"})
	h := n.storage()
	release := make(chan struct{})
	var running sync.WaitGroup
	var entered atomic.Int32
	for range 2 {
		running.Go(func() {
			_, err := pluginhost.Call(t.Context(), h, "Hold", pluginhost.Once, func(context.Context, storage.Plugin) (int, error) {
				entered.Add(1)
				<-release
				return 0, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "both calls", func() bool { return entered.Load() == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := command(ctx, h, "dir", nil)
	require.ErrorIs(t, err, errkind.Exhausted)
	require.True(t, errkind.IsRetryable(err))
	require.ErrorContains(t, err, "2 calls in flight (max_in_flight)")
	close(release)
	running.Wait()
	require.NoError(t, command(t.Context(), h, "dir", nil))
}

func TestClose_SlowPluginGetsItsBudget(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{conf: `    close_delay = "2500ms"`}) // more than go-plugin's two seconds
	h := n.storage()
	require.NoError(t, h.Close(t.Context()))
	require.FileExists(t, filepath.Join(n.cfg.Node.Data, "closed"))
}

func TestClose_TooSlowPluginIsKilled(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{conf: `    close_delay = "1h"`, block: `  close_timeout = "100ms"`})
	h := n.storage()
	pid := h.Status().PID
	err := h.Close(t.Context())
	require.ErrorIs(t, err, errkind.Deadline)
	require.ErrorContains(t, err, "its process was killed")
	require.True(t, gone(pid))
	require.NoFileExists(t, filepath.Join(n.cfg.Node.Data, "closed"))
}

func TestClose_DuringARestart(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{opts: func(o *pluginhost.Options) { o.BackoffMin = time.Hour; o.BackoffMax = time.Hour }})
	h := n.storage()
	h.Kill("for the test")
	require.NoError(t, h.Close(t.Context()))
	require.Equal(t, pluginhost.Stopped, h.Status().State)
}

func TestClose_KillsWhatThePluginStarted(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{})
	h := n.storage()
	var pid int
	require.NoError(t, command(t.Context(), h, "spawn", &pid))
	require.False(t, gone(pid))
	require.NoError(t, h.Close(t.Context()))
	eventually(t, "the grandchild is gone", func() bool { return gone(pid) })
}

func TestOutput_NothingIsLost(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{conf: "    level = 8"})
	h := n.storage()
	require.True(t, n.logs.has("Level is high"), "warnings of Configure are logged")
	require.NoError(t, command(t.Context(), h, "print here", nil))
	for _, want := range []string{
		`level=WARN msg="plugin printed" plugin=storage/test generation=1 stream=stdout text="stray stdout here"`,
		`level=WARN msg="plugin printed" plugin=storage/test generation=1 stream=stderr text="stray stderr here"`,
		`stream=stdout text="raw stdout here"`,
		`stream=stderr text="raw stderr here"`,
		`level=WARN msg="a warning" plugin=storage/test generation=1 module=storage.part answer=42`,
	} {
		eventually(t, want, func() bool { return n.logs.has(want) })
	}
	require.NoError(t, command(t.Context(), h, "print again", nil), "a long line did no harm")
	eventually(t, "the second print", func() bool { return n.logs.has("raw stdout again") })
}

func TestMetrics_PerPlugin(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	n := newNode(t, change{opts: func(o *pluginhost.Options) { o.Registerer = registry }})
	h := n.storage()
	require.NoError(t, command(t.Context(), h, "dir", nil))
	require.Error(t, command(t.Context(), h, "busy", nil))
	h.Kill("for the test")
	require.NoError(t, command(t.Context(), h, "dir", nil))
	want := `
# HELP calimero_plugin_calls_total Calls to a plugin, by method and by the kind of their error (ok for none).
# TYPE calimero_plugin_calls_total counter
calimero_plugin_calls_total{kind="storage",method="Get",plugin="test",result="ok"} 2
calimero_plugin_calls_total{kind="storage",method="Get",plugin="test",result="unavailable"} 1
# HELP calimero_plugin_generation Number of the plugin's running process since the start of the node.
# TYPE calimero_plugin_generation gauge
calimero_plugin_generation{kind="storage",plugin="test"} 2
# HELP calimero_plugin_in_flight Calls to a plugin that have not returned.
# TYPE calimero_plugin_in_flight gauge
calimero_plugin_in_flight{kind="storage",plugin="test"} 0
# HELP calimero_plugin_restarts_total Starts of a plugin's process after the first.
# TYPE calimero_plugin_restarts_total counter
calimero_plugin_restarts_total{kind="storage",plugin="test"} 1
# HELP calimero_plugin_up 1 while the plugin's process serves.
# TYPE calimero_plugin_up gauge
calimero_plugin_up{kind="storage",plugin="test"} 1
`
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(want), "calimero_plugin_calls_total",
		"calimero_plugin_generation", "calimero_plugin_in_flight", "calimero_plugin_restarts_total", "calimero_plugin_up"))
	bytes, err := testutil.GatherAndCount(registry, "calimero_plugin_bytes_total")
	require.NoError(t, err)
	require.Equal(t, 2, bytes)
}

func TestRuntime_Lanes(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{kind: "runtime"})
	h := n.runtime()
	r := pluginhost.Runtime(h)
	engine, err := r.Engine(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1", engine.Version, "MALLOC_ARENA_MAX of a runtime plugin")

	lane, err := r.OpenLane(t.Context())
	require.NoError(t, err)
	run := func(method string) (string, error) {
		res, err := lane.Execute(t.Context(), execute(method), nil)
		if err != nil {
			return "", err
		}
		return string(res.Value), nil
	}
	pid, err := run("pid")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(h.Status().PID), pid)

	// The process dies during an execution: the caller decides whether to run it again.
	_, err = run("exit")
	require.ErrorIs(t, err, errkind.Unavailable)
	require.True(t, errkind.IsRetryable(err))
	require.Contains(t, err.Error(), "Execute")

	// The lane moves to the next process, also when the process dies while the lane is idle.
	second, err := run("pid")
	require.NoError(t, err)
	require.NotEqual(t, pid, second)
	h.Kill("for the test")
	third, err := run("pid")
	require.NoError(t, err)
	require.NotEqual(t, second, third)

	// A method that does not end.
	hung := make(chan error, 1)
	go func() {
		_, err := run("hang")
		hung <- err
	}()
	eventually(t, "the execution", func() bool { return n.host.InFlight() == 1 })
	h.Kill("no answer")
	require.ErrorIs(t, <-hung, errkind.Unavailable)
	_, err = run("pid")
	require.NoError(t, err)
	require.NoError(t, lane.Close())
	require.NoError(t, lane.Close())
}

func execute(method string) *runtime.Execute {
	return &runtime.Execute{
		ID: 1, Method: method, Kind: runtime.Call, Detail: runtime.WritesFull, State: runtime.State{Epoch: 1},
		Budget: runtime.Budget{Fuel: 1, DeadlineMillis: 60_000},
	}
}

func TestAuth_WatchEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	n := newNode(t, change{kind: "auth"})
	h, err := pluginhost.Start(t.Context(), n.host, auth.Wire, pluginhost.SpecOf(n.cfg, n.cfg.Plugin("auth", "")))
	require.NoError(t, err)
	a := pluginhost.Auth(h)
	providers, err := a.Providers(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, providers)
	_, err = a.Verify(t.Context(), "nonsense", "")
	require.ErrorIs(t, err, auth.KindInvalidToken)

	for generation := range uint64(2) {
		started := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- a.Watch(t.Context(), func(e auth.Event) error {
				if e.Kind == auth.EventStarted {
					close(started)
				}
				return nil
			})
		}()
		<-started
		require.Equal(t, generation+1, h.Status().Generation)
		h.Kill("for the test")
		require.ErrorIs(t, <-ended, errkind.Unavailable)
	}
}

func BenchmarkCall(b *testing.B) {
	n := newNode(b, change{})
	h := n.storage()
	b.Run("host alone", func(b *testing.B) {
		for b.Loop() {
			_, err := pluginhost.Call(b.Context(), h, "Nothing", pluginhost.Once, func(context.Context, storage.Plugin) (int, error) { return 0, nil })
			require.NoError(b, err)
		}
	})
	b.Run("Get", func(b *testing.B) {
		s := pluginhost.Storage(h)
		for b.Loop() {
			_, err := s.Get(b.Context(), []storage.Key{{Column: "c", Key: []byte("k")}})
			require.NoError(b, err)
		}
	})
}

func TestHost_KillMinusNineLeavesNothing(t *testing.T) {
	t.Parallel()
	n := &node{t: t, dir: shortDir(t), logs: &logs{}}
	n.configureBoth()
	cmd := exec.Command(self(t))
	cmd.Dir = n.dir
	cmd.Env = append(os.Environ(), envChild+"=host")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var store, engine int
	_, err = fmt.Sscan(line, &store, &engine)
	require.NoError(t, err, line)
	require.NotEmpty(t, sockets(t, filepath.Join(n.cfg.NodeDir(), "run")))

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	// The next host waits for the old plugins, clears their sockets, and serves.
	n.open(nil)
	require.True(t, gone(store), "the storage plugin outlives its host")
	require.True(t, gone(engine), "the runtime plugin outlives its host")
	require.Empty(t, sockets(t, filepath.Join(n.cfg.NodeDir(), "run")))
	require.FileExists(t, filepath.Join(n.cfg.Node.Data, "closed"), "the storage plugin was not closed")
	require.NoError(t, n.storage().Health(t.Context()))
}

// configureBoth makes both plugins test plugins.
func (n *node) configureBoth() {
	n.t.Helper()
	n.configure(change{})
	path := filepath.Join(n.dir, "config.hcl")
	src, err := os.ReadFile(path)
	require.NoError(n.t, err)
	text := strings.Replace(string(src), "plugin \"runtime\" \"test\" {\n",
		fmt.Sprintf("plugin \"runtime\" \"test\" {\n  env = { %s = \"runtime\" }\n", envChild), 1)
	require.NoError(n.t, os.WriteFile(path, []byte(text), 0o600))
}

func TestHost_WaitsForAPluginThatStillCloses(t *testing.T) {
	t.Parallel()
	n := &node{t: t, dir: shortDir(t), logs: &logs{}}
	n.configure(change{})
	// A process holds the life file of an earlier host's plugin.
	stale := filepath.Join(n.cfg.NodeDir(), "run", "s", "1")
	require.NoError(t, os.MkdirAll(stale, 0o700))
	life, err := os.Create(filepath.Join(stale, "life"))
	require.NoError(t, err)
	defer life.Close()
	_, err = life.WriteString("4711")
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(life.Fd()), syscall.LOCK_EX))

	o := pluginhost.FromConfig(n.cfg)
	o.StaleWait = 50 * time.Millisecond
	_, err = pluginhost.Open(t.Context(), o)
	require.ErrorIs(t, err, errkind.Precondition)
	require.ErrorContains(t, err, "a plugin of an earlier run (process 4711) still runs")

	opened := make(chan error, 1)
	o.StaleWait = patience
	var host *pluginhost.Host
	go func() {
		var err error
		host, err = pluginhost.Open(context.Background(), o)
		opened <- err
	}()
	require.NoError(t, life.Close())
	require.NoError(t, <-opened)
	require.NoDirExists(t, stale)
	require.NoError(t, host.Close(t.Context()))
}
