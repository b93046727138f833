package sdktest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/handshake"
)

const (
	envChild     = "CALIMERO_SDKTEST_CHILD"
	startTimeout = time.Minute
)

// Child makes the command of a plugin process, not started yet, with nothing in its environment but what it needs.
type Child func(tb testing.TB) *exec.Cmd

// Reexec runs the test binary again as the child called name; the package's TestMain must call Main.
func Reexec(name string) Child {
	return func(tb testing.TB) *exec.Cmd {
		tb.Helper()
		self, err := os.Executable()
		require.NoError(tb, err)
		cmd := exec.Command(self)
		cmd.Env = append(cmd.Env, envChild+"="+name)
		return cmd
	}
}

// Binary runs the program at path.
func Binary(path string) Child {
	return func(testing.TB) *exec.Cmd { return exec.Command(path) }
}

// Build compiles the main package pkg (an import path, or a path relative to the test's folder), once for all tests of
// this process and with the race detector if the test has it, and runs it.
func Build(pkg string) Child {
	return func(tb testing.TB) *exec.Cmd {
		tb.Helper()
		path, err := built.get(pkg)
		require.NoError(tb, err)
		return exec.Command(path)
	}
}

var built = &builds{paths: make(map[string]string)}

type builds struct {
	mu    sync.Mutex
	dir   string
	paths map[string]string
}

func (b *builds) get(pkg string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if path := b.paths[pkg]; path != "" {
		return path, nil
	}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "sdktest")
		if err != nil {
			return "", fmt.Errorf("make a folder for plugin binaries: %w", err)
		}
		b.dir = dir
	}
	path := filepath.Join(b.dir, fmt.Sprintf("plugin%d", len(b.paths)))
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, pkg)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	b.paths[pkg] = path
	return path, nil
}

func (b *builds) remove() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// Main is the whole TestMain of a package that uses Reexec or Build: it becomes one of the children (each a plugin's
// main, as func() { serve.Storage(mystore.New) }) or runs the tests, which fail if goroutines are left over but those
// that options ignore.
func Main(m *testing.M, children map[string]func(), options ...goleak.Option) {
	if name, ok := os.LookupEnv(envChild); ok {
		child := children[name]
		if child == nil {
			fmt.Fprintf(os.Stderr, "sdktest: this test binary has no child %q\n", name)
			os.Exit(1)
		}
		child()
		os.Exit(0)
	}
	code := m.Run()
	built.remove()
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintf(os.Stderr, "sdktest: goroutines are left over after the tests:\n%v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Process is a plugin in a child process. It is killed at the end of the test if it still lives; a plugin that is to
// flush its data must be closed before.
type Process[P base.Plugin] struct {
	Plugin P

	client   *goplugin.Client
	cmd      *exec.Cmd
	lifeline *handshake.Lifeline
}

// Start launches a child: lifeline, mutual TLS, own socket folder, own process group, an environment of its own. Its
// log and its stray prints go to tb.
func Start[P base.Plugin](tb testing.TB, wire base.Wire[P], child Child, opts ...Option) *Process[P] {
	tb.Helper()
	o := apply(opts)
	identity, err := handshake.NewIdentity()
	require.NoError(tb, err)
	logs := &testLog{tb: tb}
	tb.Cleanup(logs.stop)

	cmd := child(tb)
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "GORACE", "GOGC", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Env = append(cmd.Env, goplugin.EnvUnixSocketDir+"="+socketDir(tb),
		handshake.EnvHostCert+"="+string(identity.PEM()), handshake.EnvLogLevel+"=debug")
	if raceEnabled && os.Getenv("GORACE") == "" {
		cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0") // the default delays every end by a second
	}
	cmd.Env = append(cmd.Env, o.env...)
	ownGroup(cmd)
	lifeline, err := handshake.NewLifeline(cmd)
	require.NoError(tb, err)

	p := &Process[P]{cmd: cmd, lifeline: lifeline}
	p.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake.Config,
		VersionedPlugins: wire.HostPlugins(o.name),
		Cmd:              cmd,
		TLSConfig:        identity.HostTLS(),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		StartTimeout:     startTimeout,
		SkipHostEnv:      true,
		GRPCDialOptions:  append(handshake.DialOptions(), o.dial...),
		Logger:           hclog.New(&hclog.LoggerOptions{Name: o.name, Level: hclog.Debug, Output: logs}),
		SyncStdout:       logs,
		SyncStderr:       logs,
	})
	tb.Cleanup(func() {
		p.client.Kill()
		if err := lifeline.Close(); err != nil {
			tb.Errorf("close the lifeline: %v", err)
		}
	})
	conn, err := p.client.Client()
	require.NoError(tb, err, "start the plugin process")
	raw, err := conn.Dispense(wire.Kind)
	require.NoError(tb, err)
	p.Plugin = raw.(P)
	return p
}

// PID is the process id.
func (p *Process[P]) PID() int { return p.cmd.Process.Pid }

// Exited tells whether the process has ended and has been waited for.
func (p *Process[P]) Exited() bool { return p.client.Exited() }

// Kill ends the process with SIGKILL and returns when it is gone.
func (p *Process[P]) Kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended already
	p.client.Kill()
}

// Signal sends sig to the process.
func (p *Process[P]) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// CutLifeline does what the host's death does to the lifeline.
func (p *Process[P]) CutLifeline() error { return p.lifeline.CutHost() }

// testLog writes to a test's log as long as the test runs. A data race in the child fails the test.
type testLog struct {
	mu sync.Mutex
	tb testing.TB
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.tb == nil:
	case bytes.Contains(p, []byte("WARNING: DATA RACE")):
		l.tb.Errorf("%s", p)
	default:
		l.tb.Logf("%s", p)
	}
	return len(p), nil
}

func (l *testLog) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tb = nil
}
