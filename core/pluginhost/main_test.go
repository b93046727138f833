package pluginhost_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/handshake"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/plugins/auth-local/local"
)

// envChild makes the test binary a plugin, or a host that is killed.
const envChild = "PLUGINHOST_TEST_CHILD"

var children = map[string]func(){
	"storage": func() { serve.Storage(newTestStore) },
	"runtime": func() { serve.Serve(runtime.Wire, newTestRuntime) },
	"auth":    func() { serve.Serve(auth.Wire, local.New) },
	"library": func() {
		fmt.Fprintln(os.Stderr, "plugin: error while loading shared libraries: libwasmer.so: cannot open shared object file")
		os.Exit(127)
	},
	"hello": func() { fmt.Println("hello, world") },
	"mute":  func() { time.Sleep(time.Hour) },
	"panic": func() { panic("no luck at start") },
	"old-version": func() {
		sets := storage.Wire.ServerPlugins(newTestStore(), func(*base.Server) {})
		goplugin.Serve(&goplugin.ServeConfig{HandshakeConfig: handshake.Config,
			VersionedPlugins: map[int]goplugin.PluginSet{7: sets[1]}, GRPCServer: goplugin.DefaultGRPCServer})
	},
	"no-tls": func() {
		_ = os.Unsetenv(handshake.EnvHostCert)
		goplugin.Serve(&goplugin.ServeConfig{HandshakeConfig: handshake.Config,
			VersionedPlugins: storage.Wire.ServerPlugins(newTestStore(), func(*base.Server) {}), GRPCServer: goplugin.DefaultGRPCServer})
	},
	"host": runHost,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(envChild); name != "" {
		children[name]()
		os.Exit(0)
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// testStore is the memory store with a config block and a column "ctl" whose keys are commands.
type testStore struct {
	storage.Plugin
	dir        string
	closeDelay time.Duration
}

func newTestStore() storage.Plugin { return &testStore{Plugin: storagetest.NewMemory()} }

func (s *testStore) Schema(context.Context) (base.Schema, error) {
	return base.Schema{Attributes: []base.Attribute{
		{Name: "level", Type: cty.Number, Default: cty.NumberIntVal(5)},
		{Name: "close_delay", Type: cty.String, Default: cty.StringVal("0s")},
		{Name: "configure", Type: cty.String, Default: cty.StringVal("")},
	}}, nil
}

func (s *testStore) Configure(ctx context.Context, c base.Config) (ds diag.Diagnostics, err error) {
	s.dir = c.DataDir
	if s.closeDelay, err = time.ParseDuration(c.Value.GetAttr("close_delay").AsString()); err != nil {
		ds.Errorf([]diag.Step{"close_delay"}, "Bad delay", "%v", err)
	}
	if n, _ := c.Value.GetAttr("level").AsBigFloat().Int64(); n > 9 {
		ds.Errorf([]diag.Step{"level"}, "Level too high", "use at most 9, not %d", n)
	} else if n > 7 {
		ds.Warnf([]diag.Step{"level"}, "Level is high", "%d is a lot", n)
	}
	switch c.Value.GetAttr("configure").AsString() {
	case "fail":
		return nil, errkind.Corrupt.Errorf("the data is damaged; run repair")
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case "crash":
		panic("no luck in configure")
	case "once": // crashes at every start but the first
		if err := os.Mkdir(filepath.Join(s.dir, "started"), 0o700); err != nil {
			panic("started before")
		}
	}
	return ds, nil
}

func (s *testStore) Health(ctx context.Context) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "health"))
	if err != nil {
		return nil
	}
	if string(text) == "hang" {
		<-ctx.Done()
		return ctx.Err()
	}
	return errkind.Exhausted.Errorf("disk is %s", text)
}

func (s *testStore) Close(ctx context.Context) error {
	select {
	case <-time.After(s.closeDelay):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := os.WriteFile(filepath.Join(s.dir, "closed"), nil, 0o600); err != nil {
		return err
	}
	return s.Plugin.Close(ctx)
}

func (s *testStore) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	if keys[0].Column != "ctl" {
		return s.Plugin.Get(ctx, keys)
	}
	command, arg, _ := strings.Cut(string(keys[0].Key), " ")
	var answer any
	switch command {
	case "exit":
		os.Exit(3)
	case "exit-once": // each process but the first, which leaves a mark, answers
		if os.Mkdir(filepath.Join(s.dir, "exited"), 0o700) == nil {
			os.Exit(3)
		}
	case "panic":
		go panic("out of luck") // in a goroutine of its own: gRPC handlers are not recovered either
		select {}
	case "print":
		fmt.Println("stray stdout", arg)
		fmt.Fprintln(os.Stderr, "stray stderr", arg)
		_, _ = syscall.Write(1, []byte("raw stdout "+arg+"\n"+strings.Repeat("x", 200<<10)+"\n"))
		_, _ = syscall.Write(2, []byte("raw stderr "+arg+"\n"))
		hclog.Default().Named("part").Warn("a warning", "answer", 42)
	case "env":
		answer = os.Environ()
	case "busy":
		return nil, errkind.Retryable(errkind.Unavailable.Errorf("too busy"))
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case "spawn":
		child := exec.Command("sleep", "1000")
		if err := child.Start(); err != nil {
			return nil, err
		}
		answer = child.Process.Pid
	case "fds":
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return nil, err
		}
		names := []string{}
		for _, e := range list {
			to, err := os.Readlink("/proc/self/fd/" + e.Name())
			if err == nil {
				names = append(names, to)
			}
		}
		answer = names
	case "dir":
		answer = []string{s.dir, os.Args[0], strings.Join(os.Args[1:], " ")}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return []storage.Value{{Found: true, Bytes: text}}, nil
}

// testRuntime runs methods that are commands.
type testRuntime struct {
	base.Plugin
}

func newTestRuntime() runtime.Plugin { return &testRuntime{} }

func (testRuntime) Info(context.Context) (base.Info, error) {
	return base.Info{Kind: runtime.Kind, Name: "test", Version: "1", Protocol: runtime.Protocol}, nil
}
func (testRuntime) Schema(context.Context) (base.Schema, error) { return base.Schema{}, nil }
func (testRuntime) Configure(context.Context, base.Config) (diag.Diagnostics, error) {
	return nil, nil
}
func (testRuntime) Health(context.Context) error { return nil }
func (testRuntime) Close(context.Context) error  { return nil }
func (testRuntime) Engine(context.Context) (runtime.Engine, error) {
	return runtime.Engine{Name: "test", Version: os.Getenv("MALLOC_ARENA_MAX"), MaxLanes: 4}, nil
}
func (testRuntime) Inspect(context.Context, domain.Hash) (runtime.ModuleInfo, error) {
	return runtime.ModuleInfo{}, errkind.NotFound.Errorf("no such module")
}
func (testRuntime) Prepare(context.Context, domain.Hash, uint64, io.Reader) (runtime.ModuleInfo, error) {
	return runtime.ModuleInfo{}, errkind.Unsupported.Errorf("no modules here")
}
func (testRuntime) Forget(context.Context, []domain.Hash, []domain.ContextID) error { return nil }
func (testRuntime) OpenLane(context.Context) (runtime.Lane, error)                  { return testLane{}, nil }

type testLane struct{}

func (testLane) Close() error { return nil }
func (testLane) Execute(_ context.Context, e *runtime.Execute, _ runtime.Host) (*runtime.Result, error) {
	switch e.Method {
	case "exit":
		os.Exit(4)
	case "hang":
		time.Sleep(time.Hour) // deaf to its context
	}
	return &runtime.Result{Value: []byte(fmt.Sprint(os.Getpid()))}, nil
}

// logs collects the host's log.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) has(text string) bool { return strings.Contains(l.String(), text) }

// node is a configuration with a host.
type node struct {
	t    testing.TB
	dir  string
	cfg  *config.Config
	host *pluginhost.Host
	logs *logs
}

// shortDir is a folder whose path leaves room for sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "n")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

type change struct {
	kind, child, block, conf string
	opts                     func(*pluginhost.Options)
	files                    []string
	unpinned                 bool
	binary                   string
}

// newNode writes config.hcl and plugins.lock for a plugin that is this test binary, and opens a host.
func newNode(t testing.TB, c change) *node {
	t.Helper()
	n := &node{t: t, dir: shortDir(t), logs: &logs{}}
	n.configure(c)
	n.open(c.opts)
	return n
}

func (n *node) configure(c change) {
	n.t.Helper()
	if c.kind == "" {
		c.kind = "storage"
	}
	if c.child == "" {
		c.child = c.kind
	}
	if c.binary == "" {
		c.binary = self(n.t)
	}
	files := ""
	if len(c.files) > 0 {
		files = fmt.Sprintf("  files = [%q]\n", strings.Join(c.files, `", "`))
	}
	block := func(kind string) string {
		if kind != c.kind {
			return fmt.Sprintf("plugin %q \"test\" {\n  path = %q\n}\n", kind, c.binary)
		}
		return fmt.Sprintf("plugin %q \"test\" {\n  path = %q\n%s  env  = { %s = %q, EXTRA = \"yes\" }\n%s\n  config {\n%s\n  }\n}\n",
			kind, c.binary, files, envChild, c.child, c.block, c.conf)
	}
	src := "version = 1\nnode {\n  home = \"home\"\n}\n" + block("storage") + block("runtime")
	if c.kind == "auth" {
		src += block("auth")
	}
	require.NoError(n.t, os.WriteFile(filepath.Join(n.dir, "config.hcl"), []byte(src), 0o600))
	cfg, diags := config.Load(filepath.Join(n.dir, "config.hcl"))
	require.NoError(n.t, diags.Err())
	n.cfg = cfg
	if !c.unpinned {
		_, err := pluginhost.Pin(cfg)
		require.NoError(n.t, err)
	}
}

func (n *node) open(change func(*pluginhost.Options)) {
	n.t.Helper()
	o := pluginhost.FromConfig(n.cfg)
	o.Logger = slog.New(slog.NewTextHandler(n.logs, &slog.HandlerOptions{Level: pluginhost.LevelTrace}))
	o.LogLevel = "debug"
	o.BackoffMin = 10 * time.Millisecond
	if change != nil {
		change(&o)
	}
	host, err := pluginhost.Open(n.t.Context(), o)
	require.NoError(n.t, err)
	n.host = host
	n.t.Cleanup(func() {
		require.NoError(n.t, host.Close(context.Background()))
		if n.t.Failed() {
			n.t.Log(n.logs.String())
		}
	})
}

func (n *node) spec() pluginhost.Spec {
	return pluginhost.SpecOf(n.cfg, n.cfg.Plugin("storage", ""))
}

func (n *node) tryStorage() (*pluginhost.Handle[storage.Plugin], error) {
	return pluginhost.Start(n.t.Context(), n.host, storage.Wire, n.spec())
}

func (n *node) storage() *pluginhost.Handle[storage.Plugin] {
	n.t.Helper()
	h, err := n.tryStorage()
	require.NoError(n.t, err)
	return h
}

func (n *node) runtime() *pluginhost.Handle[runtime.Plugin] {
	n.t.Helper()
	h, err := pluginhost.Start(n.t.Context(), n.host, runtime.Wire, pluginhost.SpecOf(n.cfg, n.cfg.Plugin("runtime", "")))
	require.NoError(n.t, err)
	return h
}

// self is this test binary under a short name of its own.
func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

// command sends a command to a test store.
func command(ctx context.Context, h *pluginhost.Handle[storage.Plugin], text string, answer any) error {
	values, err := pluginhost.Storage(h).Get(ctx, []storage.Key{{Column: "ctl", Key: []byte(text)}})
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(values[0].Bytes, answer)
}

const patience = 30 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 5*time.Millisecond, what)
}

// gone tells whether a process has ended, or only waits to be reaped.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) != nil
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// runHost is a node that starts both plugins of the config in its working folder, prints what it started, and waits to
// be killed.
func runHost() {
	cfg, diags := config.Load("config.hcl")
	must(diags.Err())
	host, err := pluginhost.Open(context.Background(), pluginhost.FromConfig(cfg))
	must(err)
	s, err := pluginhost.Start(context.Background(), host, storage.Wire, pluginhost.SpecOf(cfg, cfg.Plugin("storage", "")))
	must(err)
	r, err := pluginhost.Start(context.Background(), host, runtime.Wire, pluginhost.SpecOf(cfg, cfg.Plugin("runtime", "")))
	must(err)
	fmt.Println(s.Status().PID, r.Status().PID)
	select {}
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// sockets lists what is left in the folder of sockets.
func sockets(t *testing.T, run string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(run, "s"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && path != filepath.Join(run, "s") {
			found = append(found, path)
		}
		return nil
	})
	require.NoError(t, err)
	slices.Sort(found)
	return found
}
