package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/calimero-go/core/tests/apps"
)

// Node is a node in a folder of its own; its process may be started and ended several times. Its methods are for one
// goroutine at a time, except URL, Client, Log, PID and Plugin.
type Node struct {
	// Home is the node's home, Dir its folder Home/node, Config its config.hcl.
	Home, Dir, Config string
	// Merod is the program, Env its environment.
	Merod string
	Env   []string
	wrap  []string
	temp  bool

	mu    sync.Mutex
	run   *process
	log   logBuffer
	url   string
	swarm Swarm
}

// Swarm is where a node is in the peer-to-peer network.
type Swarm struct {
	PeerID string
	// Addresses are multiaddrs to dial, ending in the peer id.
	Addresses []string
}

// process is one run of merod.
type process struct {
	cmd    *exec.Cmd
	ready  chan struct{} // closed when the started line was read
	exited chan struct{} // closed when the process has ended and its output was read
	err    error         // valid after exited
}

// startedLine is what merod prints when it serves.
const startedLine = "Node started successfully"

// New makes the folder and the configuration of a node and pins its plugins; it does not start it.
func New(ctx context.Context, o Options) (n *Node, err error) {
	if o.Bin == "" {
		if o.Bin, err = BinDir(); err != nil {
			return nil, err
		}
		if o.Bin == "" {
			return nil, errors.New("CALIMERO_BIN is not set: run make build and set it to the folder bin")
		}
	}
	n = &Node{Home: o.Home, Merod: filepath.Join(o.Bin, "merod"), wrap: o.Wrap, Config: o.Config}
	if n.Home == "" {
		n.temp = true
		if n.Home, err = TempDir(); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, os.RemoveAll(n.Home))
			}
		}()
	}
	n.Dir = filepath.Join(n.Home, nodeName)
	// Everything the node makes stays below its home, so that what is left over can be found.
	tmp := filepath.Join(n.Home, "t")
	for _, d := range []string{n.Dir, tmp} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	n.Env = append(append(cleanEnv(), "TMPDIR="+tmp), o.Env...)
	if n.Config != "" {
		return n, nil
	}
	n.Config = filepath.Join(n.Dir, "config.hcl")
	if o.Identity {
		if err := o.nodeFile(n.Dir); err != nil {
			return nil, err
		}
	}
	if err := n.WriteConfig(ctx, o); err != nil {
		return nil, err
	}
	return n, nil
}

// cleanEnv is the environment without what would reach into a node's home.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "CALIMERO_HOME=") || strings.HasPrefix(kv, "TMPDIR=")
	})
}

// WriteConfig writes config.hcl anew and pins the plugins.
func (n *Node) WriteConfig(ctx context.Context, o Options) error {
	if o.Bin == "" {
		o.Bin = filepath.Dir(n.Merod)
	}
	if err := os.WriteFile(n.Config, []byte(o.ConfigText(n.Home)), 0o600); err != nil {
		return err
	}
	if out, err := n.Command(ctx, "plugin", "pin"); err != nil {
		return fmt.Errorf("pin the plugins: %w\n%s", err, out)
	}
	return nil
}

// Launch makes a node and starts it.
func Launch(ctx context.Context, o Options) (*Node, error) {
	n, err := New(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := n.Start(ctx); err != nil {
		return nil, errors.Join(err, n.Remove())
	}
	return n, nil
}

// Command runs merod with the node's configuration and returns what it printed.
func (n *Node) Command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.Merod, n.args(args...)...)
	cmd.Env = n.Env
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (n *Node) args(args ...string) []string {
	return append([]string{"--home", n.Home, "--node", nodeName, "--config", n.Config}, args...)
}

// Start starts the process and returns when it serves. When it ends before, the error has its output.
func (n *Node) Start(ctx context.Context) error {
	if p := n.current(); p != nil {
		select {
		case <-p.exited:
		default:
			return errors.New("the node runs already")
		}
	}
	args := append(slices.Clone(n.wrap), n.Merod)
	args = append(args, n.args("run")...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = n.Env
	cmd.SysProcAttr = dieWithParent()
	p := &process{cmd: cmd, ready: make(chan struct{}), exited: make(chan struct{})}
	watch := &lineWatch{to: &n.log, line: startedLine, seen: p.ready}
	cmd.Stdout, cmd.Stderr = watch, watch
	// A plugin that outlives the node and holds the pipe must not hang the test.
	cmd.WaitDelay = 5 * time.Second
	from := n.log.len()
	if err := os.Remove(n.addressFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	n.mu.Lock()
	n.run = p
	n.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	select {
	case <-p.ready:
	case <-p.exited:
		return &StartError{Output: n.log.from(from), Err: p.err}
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("wait for the node's start: %w\n%s", ctx.Err(), n.log.from(from)), n.Kill())
	}
	if err := n.readAddress(); err != nil {
		return errors.Join(err, n.Kill())
	}
	return Until(ctx, "the node is healthy", func(ctx context.Context) error { return n.Client().Health(ctx) })
}

// StartError is a start that ended before the node served.
type StartError struct {
	Output string
	Err    error
}

func (e *StartError) Error() string {
	return fmt.Sprintf("the node ended before it served (%v):\n%s", e.Err, e.Output)
}

func (e *StartError) Unwrap() error { return e.Err }

func (n *Node) addressFile() string { return filepath.Join(n.Dir, "run", "addresses.json") }

func (n *Node) readAddress() error {
	b, err := os.ReadFile(n.addressFile())
	if err != nil {
		return fmt.Errorf("read the node's addresses: %w", err)
	}
	var a struct {
		Server []string `json:"server"`
		Swarm  []string `json:"swarm"`
		PeerID string   `json:"peer_id"`
	}
	if err := json.Unmarshal(b, &a); err != nil || len(a.Server) == 0 {
		return errors.Join(fmt.Errorf("%s names no server address: %s", n.addressFile(), b), err)
	}
	for i, s := range a.Swarm {
		a.Swarm[i] = s + "/p2p/" + a.PeerID
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.url = strings.TrimSuffix(a.Server[0], "/")
	n.swarm = Swarm{PeerID: a.PeerID, Addresses: a.Swarm}
	return nil
}

// Swarm is where the node of the last Start is in the network.
func (n *Node) Swarm() Swarm {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.swarm
}

// URL is where the node serves, without a slash at the end.
func (n *Node) URL() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.url
}

// Client makes a client without a token.
func (n *Node) Client() *Client { return NewClient(n.URL()) }

func (n *Node) current() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.run
}

// PID is that of the core's process.
func (n *Node) PID() int { return n.current().cmd.Process.Pid }

// Exited is closed when the process of the last Start has ended.
func (n *Node) Exited() <-chan struct{} { return n.current().exited }

// Stop asks the process to end (SIGTERM) and returns how long it took; an error when it ended with a bad status, or did
// not end and was killed.
func (n *Node) Stop(ctx context.Context) (time.Duration, error) {
	p := n.current()
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	select {
	case <-p.exited:
		return time.Since(begin), p.err
	case <-ctx.Done():
		return time.Since(begin), errors.Join(fmt.Errorf("the node did not end after SIGTERM: %w", ctx.Err()), n.Kill())
	}
}

// Kill ends the core's process with SIGKILL and waits until it is gone; its plugins get nothing.
func (n *Node) Kill() error {
	p := n.current()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(Patience):
		return fmt.Errorf("process %d is there after SIGKILL", p.cmd.Process.Pid)
	}
}

// Running tells whether the process runs.
func (n *Node) Running() bool {
	p := n.current()
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Plugin is the process id of a plugin of the running node.
func (n *Node) Plugin(kind string) (int, error) {
	p, err := n.PluginProcess(kind)
	return p.PID, err
}

// PluginProcess is the process of a plugin of the running node.
func (n *Node) PluginProcess(kind string) (Process, error) {
	all, err := Processes()
	if err != nil {
		return Process{}, err
	}
	for _, p := range all {
		if p.Parent == n.PID() && strings.HasPrefix(filepath.Base(p.Program), "merod-plugin-"+kind+"-") {
			return p, nil
		}
	}
	return Process{}, fmt.Errorf("the node (process %d) has no %s plugin", n.PID(), kind)
}

// KillPlugin ends the process of a plugin with SIGKILL and returns its id.
func (n *Node) KillPlugin(kind string) (int, error) {
	pid, err := n.Plugin(kind)
	if err != nil {
		return 0, err
	}
	return pid, syscall.Kill(pid, syscall.SIGKILL)
}

// Log is everything the node's processes have printed.
func (n *Node) Log() string { return n.log.from(0) }

// Remove deletes the node's home if it is a temporary one.
func (n *Node) Remove() error {
	if !n.temp {
		return nil
	}
	return os.RemoveAll(n.Home)
}

// logLimit bounds what is kept of the output of a node that runs for long.
const logLimit = 8 << 20

// logBuffer keeps the end of the output.
type logBuffer struct {
	mu      sync.Mutex
	b       []byte
	dropped int
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if len(l.b) > 2*logLimit {
		drop := len(l.b) - logLimit
		l.b, l.dropped = slices.Clone(l.b[drop:]), l.dropped+drop
	}
	return len(p), nil
}

// len counts everything written; from returns what was written after the first n bytes, as far as it is kept.
func (l *logBuffer) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped + len(l.b)
}

func (l *logBuffer) from(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b[max(0, n-l.dropped):])
}

// lineWatch passes output on and closes seen when a line contains a text. It is written to by one goroutine.
type lineWatch struct {
	to   io.Writer
	line string
	seen chan struct{}

	rest []byte
	done bool
}

func (w *lineWatch) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if w.done {
		return n, err
	}
	w.rest = append(w.rest, p...)
	if bytes.Contains(w.rest, []byte(w.line)) {
		w.done, w.rest = true, nil
		close(w.seen)
		return n, err
	}
	if i := bytes.LastIndexByte(w.rest, '\n'); i >= 0 {
		w.rest = w.rest[i+1:]
	}
	return n, err
}

// AppFile writes a sample app's module below the node's home and returns its path.
func (n *Node) AppFile(name string) (string, error) {
	wasm, err := apps.Wasm(name)
	if err != nil {
		return "", err
	}
	return n.WriteFile(name+".wasm", wasm)
}

// WriteFile writes a file below the node's home and returns its path. The file is whole whenever it is there, so that
// several may write and read the same one.
func (n *Node) WriteFile(name string, content []byte) (string, error) {
	dir := filepath.Join(n.Home, "files")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "."+name)
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	path := filepath.Join(dir, name)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	return path, err
}

// Install installs a sample app.
func (n *Node) Install(ctx context.Context, c *Client, name string) (application string, err error) {
	path, err := n.AppFile(name)
	if err != nil {
		return "", err
	}
	return c.InstallPath(ctx, path)
}

// Init runs merod init for the node's folder and returns what it printed.
func (n *Node) Init(ctx context.Context, flags ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.Merod, append([]string{"--home", n.Home, "--node", nodeName, "init"}, flags...)...)
	cmd.Env = n.Env
	out, err := cmd.CombinedOutput()
	return string(out), err
}
