package pluginhost

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/handshake"
)

// What a plugin gets of the node's environment: where to find programs, the user, the language, and the Go runtime's
// own settings. Everything else stays out: secrets live in environments.
var passedEnv = []string{
	"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ",
	"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK",
}

// killTime bounds the wait for a killed process, which the kernel may hold in a disk operation.
const killTime = 10 * time.Second

// launcher starts the processes of one plugin.
type launcher struct {
	host    *Host
	block   *config.Plugin
	label   string
	kind    string
	dataDir string
	sets    func() map[int]goplugin.PluginSet // fresh for each launch
	staged  *staged
	metrics *pluginMetrics
	log     *slog.Logger
}

// generation is one process of a plugin, from its start to its end.
type generation struct {
	number uint64
	plugin base.Plugin
	info   base.Info
	since  time.Time
	pid    int

	client   *goplugin.Client
	conn     *grpc.ClientConn
	procMu   sync.Mutex // until the handshake is over: the end of a context may kill while go-plugin starts
	proc     *process
	out      *output
	strays   []*strayWriter
	inst     *instance
	lifeline *handshake.Lifeline

	retired atomic.Bool
	suspect atomic.Bool   // a call's error looks like the connection's
	gone    atomic.Bool   // the connection is broken
	broken  chan struct{} // gets a token when a call lost the connection

	condemned sync.Once
	sentence  string        // why the host killed it; set before killed is closed
	killed    chan struct{} // closed when the host has killed it
}

func newLauncher(h *Host, p *config.Plugin, sets func() map[int]goplugin.PluginSet, dataDir string) *launcher {
	return &launcher{
		host: h, block: p, label: base.Label(p.Kind, p.Name), kind: p.Kind, dataDir: dataDir, sets: sets,
		metrics: h.metrics.of(p.Kind, p.Name), log: h.opts.Logger.With("plugin", p.Kind+"/"+p.Name),
	}
}

// launch starts a process, asks it who it is, and configures it. An error names the plugin, the step, and the fix.
func (l *launcher) launch(ctx context.Context, number uint64) (*generation, error) {
	g, err := l.greet(ctx, number)
	if err != nil {
		return nil, err
	}
	if err := l.configure(ctx, g); err != nil {
		g.destroy()
		return nil, err
	}
	g.since = time.Now()
	return g, nil
}

// greet starts a process and asks it who it is.
func (l *launcher) greet(ctx context.Context, number uint64) (_ *generation, err error) {
	g := &generation{number: number, since: time.Now(), broken: make(chan struct{}, 1), killed: make(chan struct{})}
	defer func() {
		if err != nil {
			g.destroy()
		}
	}()
	if err := l.restage(); err != nil {
		return nil, l.failed("check", err)
	}
	if err := privateDir(l.dataDir); err != nil {
		return nil, l.failed("data folder", err)
	}
	if g.inst, err = l.host.run.newInstance(); err != nil {
		return nil, l.failed("socket", err)
	}
	if err := l.shakeHands(ctx, g); err != nil {
		return nil, l.failed("handshake", err)
	}
	if err := l.identify(ctx, g); err != nil {
		return nil, l.failed("info", err)
	}
	return g, nil
}

func (l *launcher) failed(step string, err error) error {
	return fmt.Errorf("start %s: %s: %w", l.label, step, err)
}

// restage finds the copies intact, or makes them again from files that still match plugins.lock.
func (l *launcher) restage() error {
	if l.staged != nil && l.staged.verify() == nil {
		return nil
	}
	lock, err := ReadLock(l.host.opts.LockPath)
	if err != nil {
		return err
	}
	s, err := stage(filepath.Join(l.host.run.path, copiesName), lock, l.block)
	if err != nil {
		return err
	}
	l.staged = s
	return nil
}

// shakeHands starts the process and connects to it.
func (l *launcher) shakeHands(ctx context.Context, g *generation) error {
	identity, err := handshake.NewIdentity()
	if err != nil {
		return err
	}
	tlsConfig := identity.HostTLS()
	g.out = &output{log: l.log.With("generation", g.number)}
	g.strays = []*strayWriter{{out: g.out, stream: "stdout"}, {out: g.out, stream: "stderr"}}
	g.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake.Config,
		VersionedPlugins: l.sets(),
		RunnerFunc: func(_ hclog.Logger, env *exec.Cmd, _ string) (runner.Runner, error) {
			return l.runner(g, env.Env, identity)
		},
		TLSConfig:        tlsConfig,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		StartTimeout:     l.block.StartTimeout,
		SkipHostEnv:      true,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: g.inst.dir},
		GRPCDialOptions: slices.Concat(handshake.DialOptions(),
			[]grpc.DialOption{grpc.WithStatsHandler(byteCounter{l.metrics})}, g.interceptors(), l.host.opts.DialOptions),
		Logger:     libraryLogger(l.log),
		SyncStdout: g.strays[0],
		SyncStderr: g.strays[1],
	})
	protocol, err := l.connect(ctx, g)
	if err != nil {
		return l.explain(ctx, g, err)
	}
	if tlsConfig.RootCAs.Equal(x509.NewCertPool()) {
		return errkind.Unsupported.Errorf("it offers no TLS certificate; the host speaks mutual TLS only: build the plugin with plugin-sdk/serve")
	}
	client, ok := protocol.(*goplugin.GRPCClient)
	if !ok {
		return errkind.Internal.Errorf("unexpected connection %T", protocol)
	}
	g.conn = client.Conn
	g.pid = g.proc.pidNow()
	if err := writePID(g.inst.life, g.pid); err != nil {
		return err
	}
	raw, err := protocol.Dispense(l.kind)
	if err != nil {
		return err
	}
	if g.plugin, ok = raw.(base.Plugin); !ok {
		return errkind.Internal.Errorf("unexpected client %T", raw)
	}
	return nil
}

// connect runs go-plugin's start, which knows no context; the end of ctx kills the process.
func (l *launcher) connect(ctx context.Context, g *generation) (goplugin.ClientProtocol, error) {
	ctx, cancel := context.WithTimeout(ctx, l.block.StartTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { g.kill() })
	defer stop()
	return g.client.Client()
}

// runner makes the process with the environment that go-plugin wants plus the plugin's own.
func (l *launcher) runner(g *generation, env []string, identity *handshake.Identity) (runner.Runner, error) {
	cmd := exec.Command(l.staged.binary, l.block.Args...)
	cmd.Dir = l.dataDir
	for _, name := range passedEnv {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	if l.kind == "runtime" {
		cmd.Env = append(cmd.Env, "MALLOC_ARENA_MAX=1") // glibc keeps an arena per thread otherwise
	}
	for _, name := range slices.Sorted(maps.Keys(l.block.Env)) {
		cmd.Env = append(cmd.Env, name+"="+l.block.Env[name])
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.Env = append(cmd.Env, handshake.EnvHostCert+"="+string(identity.PEM()),
		handshake.EnvLogLevel+"="+l.host.opts.LogLevel)
	cmd.SysProcAttr = attributes()
	cmd.ExtraFiles = append(cmd.ExtraFiles, g.inst.life)
	lifeline, err := handshake.NewLifeline(cmd)
	if err != nil {
		return nil, err
	}
	g.lifeline = lifeline
	p := newProcess(cmd, l.staged.sums[filepath.Base(l.block.Path)], g.out)
	g.setProcess(p)
	return p, nil
}

// identify asks who the plugin is.
func (l *launcher) identify(ctx context.Context, g *generation) error {
	ctx, cancel := context.WithTimeout(ctx, l.block.StartTimeout)
	defer cancel()
	info, err := g.plugin.Info(ctx)
	if err != nil {
		return l.step(g, err)
	}
	if info.Kind != l.kind {
		return errkind.Precondition.Errorf("it is a %s plugin (%s %s): name it in a block plugin %q, or correct the path",
			info.Kind, info.Name, info.Version, info.Kind)
	}
	if int(info.Protocol) != g.client.NegotiatedVersion() {
		return errkind.Unsupported.Errorf("it says it speaks version %d of the %s protocol, but agreed on %d",
			info.Protocol, l.kind, g.client.NegotiatedVersion())
	}
	g.info = info
	return nil
}

// schema asks which settings the plugin takes.
func (l *launcher) schema(ctx context.Context, g *generation) (base.Schema, error) {
	ctx, cancel := context.WithTimeout(ctx, l.block.StartTimeout)
	defer cancel()
	schema, err := g.plugin.Schema(ctx)
	if err != nil {
		return base.Schema{}, l.failed("schema", l.step(g, err))
	}
	return schema, nil
}

// configure decodes the config block by the plugin's schema and hands it over.
func (l *launcher) configure(ctx context.Context, g *generation) error {
	schema, err := l.schema(ctx, g)
	if err != nil {
		return err
	}
	value, diags, err := l.block.Decode(schema)
	if err == nil {
		err = diags.Err()
	}
	if err != nil {
		return l.failed("config", err)
	}
	set, cancel := context.WithTimeout(ctx, l.block.StartTimeout)
	defer cancel()
	complaints, err := g.plugin.Configure(set, base.Config{Value: value, DataDir: l.dataDir, Node: l.host.opts.Node})
	if err != nil {
		return l.failed("configure", l.step(g, err))
	}
	diags = l.block.Explain(schema, complaints)
	if err := diags.Err(); err != nil {
		return l.failed("configure", err)
	}
	if diags.Len() > 0 {
		l.log.Warn("plugin complains about its configuration", "text", strings.TrimSpace(diags.String()))
	}
	return nil
}

// step adds to the error of a start step how the process ended and what it printed, if it did, and what to do about a
// step without an answer.
func (l *launcher) step(g *generation, err error) error {
	if errkind.Of(err) == errkind.Deadline {
		return fmt.Errorf("no answer within start_timeout (%v): %w", l.block.StartTimeout, err)
	}
	if errkind.Of(err) != errkind.Unavailable {
		return err
	}
	g.waitEnd(time.Second)
	if g.proc.diedAlone() {
		return fmt.Errorf("the process ended (%s)%s: %w", g.proc.end(), l.printed(g), err)
	}
	return err
}

func (l *launcher) printed(g *generation) string {
	if last := g.out.last(); last != "" {
		return " and printed:\n" + last
	}
	return ""
}

var (
	missingLibrary = regexp.MustCompile(`(?:error while loading shared libraries: |Library not loaded: |Error loading shared library )([^\s:]+)`)
	otherVersion   = regexp.MustCompile(`incompatible API version with plugin. Plugin version: (\d+), Client versions: \[([\d ]*)\]`)
)

// explain says what a failed handshake means.
func (l *launcher) explain(ctx context.Context, g *generation, err error) error {
	p := g.process()
	if p == nil {
		return err
	}
	g.waitEnd(5 * time.Second)
	binary := l.block.Path
	first := p.firstLine()
	switch m := otherVersion.FindStringSubmatch(err.Error()); {
	case errors.Is(err, goplugin.ErrChecksumsDoNotMatch):
		return errkind.Precondition.Errorf("the copy of %s was altered just now: %w", binary, err)
	case errors.Is(err, syscall.ENOEXEC):
		return errkind.Precondition.Errorf("%s is not a program for %s/%s: %w", binary, goruntime.GOOS, goruntime.GOARCH, err)
	case errors.Is(err, syscall.ENOENT):
		return errkind.Precondition.Errorf("%s needs a dynamic loader that is not on this system; use a build for it: %w", binary, err)
	case errors.Is(err, os.ErrPermission):
		return errkind.Precondition.Errorf("%s may not be executed from %s; is its file system mounted noexec? %w", binary, l.staged.dir, err)
	case m != nil:
		return errkind.Unsupported.Errorf("%s speaks version %s of the %s protocol, this node speaks %s; use a plugin of the node's release",
			binary, m[1], l.kind, strings.ReplaceAll(m[2], " ", ", "))
	case ctx.Err() != nil:
		return errkind.Of(ctx.Err()).Errorf("given up: %w", context.Cause(ctx))
	case first != "" && strings.Count(first, "|") < 3:
		return errkind.Precondition.Errorf("%s is not a plugin of this node: it printed %q in place of the handshake; correct the path",
			binary, first)
	case p.diedAlone():
		return l.explainEnd(g, binary)
	case first == "":
		return errkind.Deadline.Errorf("no handshake within start_timeout (%v)%s; is %s a plugin?", l.block.StartTimeout, l.printed(g), binary)
	}
	return err
}

func (l *launcher) explainEnd(g *generation, binary string) error {
	if m := missingLibrary.FindStringSubmatch(g.out.last()); m != nil {
		return errkind.Precondition.Errorf("%s needs the shared library %s; name it in files = [\"…/%s\"] of the plugin block and run merod plugin pin",
			binary, m[1], filepath.Base(m[1]))
	}
	return errkind.Precondition.Errorf("%s ended before the handshake (%s)%s", binary, g.proc.end(), l.printed(g))
}

func (g *generation) process() *process {
	g.procMu.Lock()
	defer g.procMu.Unlock()
	return g.proc
}

func (g *generation) setProcess(p *process) {
	g.procMu.Lock()
	defer g.procMu.Unlock()
	g.proc = p
}

// over tells whether the generation serves no more.
func (g *generation) over() bool {
	if g.retired.Load() || g.gone.Load() {
		return true
	}
	select {
	case <-g.proc.exited:
		return true
	default:
		return false
	}
}

// lost tells whether a call with this outcome met the end of the process: its error is the connection's, or its answer
// came after the host gave the process up.
func (g *generation) lost(err error) bool {
	if g.retired.Load() {
		return true
	}
	if !errors.Is(err, errkind.Unavailable) || !errkind.IsRetryable(err) {
		return false
	}
	if !g.over() && !(g.suspect.Load() && g.breaks()) {
		return false // the plugin itself says so
	}
	g.gone.Store(true)
	select {
	case g.broken <- struct{}{}:
	default:
	}
	return true
}

// breaks waits a moment for the connection to be seen broken: calls learn of it first. If it is not, the plugin sent a
// bare status.
func (g *generation) breaks() bool {
	for range 100 {
		if g.over() || g.conn.GetState() != connectivity.Ready {
			return true
		}
		time.Sleep(2500 * time.Microsecond)
	}
	g.suspect.Store(false)
	return false
}

// notice looks at the raw error of a call: gRPC's own come without a kind.
func (g *generation) notice(err error) {
	if st, ok := status.FromError(err); ok && st.Code() == codes.Unavailable && len(st.Details()) == 0 {
		g.suspect.Store(true)
	}
}

// interceptors let g notice errors of its connection.
func (g *generation) interceptors() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
			invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			err := invoke(ctx, method, req, reply, cc, opts...)
			g.notice(err)
			return err
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			stream, err := open(ctx, desc, cc, method, opts...)
			g.notice(err)
			if err != nil {
				return nil, err
			}
			return &watchedStream{ClientStream: stream, g: g}, nil
		}),
	}
}

type watchedStream struct {
	grpc.ClientStream
	g *generation
}

func (w *watchedStream) RecvMsg(m any) error {
	err := w.ClientStream.RecvMsg(m)
	w.g.notice(err)
	return err
}

// condemn notes that the host kills the process; only the first reason counts.
func (g *generation) condemn(reason string) (first bool) {
	g.condemned.Do(func() {
		g.sentence = reason
		close(g.killed)
		first = true
	})
	return first
}

// reason is why the process ended.
func (g *generation) reason() string {
	select {
	case <-g.killed:
		return "the host killed it: " + g.sentence
	default:
		return "it ended"
	}
}

// waitEnd waits until the process has ended, not longer than most.
func (g *generation) waitEnd(most time.Duration) bool {
	p := g.process()
	if p == nil || p.ID() == "" {
		return true
	}
	select {
	case <-p.exited:
		return true
	case <-time.After(most):
		return false
	}
}

// kill ends the process at once.
func (g *generation) kill() {
	if p := g.process(); p != nil {
		_ = p.Kill(context.Background()) // it may be gone
	}
}

// close ends the process in good order: Close with the time of ctx, then the end of the server, then the kill.
func (g *generation) close(ctx context.Context) error {
	err := g.plugin.Close(ctx)
	if err == nil {
		late := time.AfterFunc(3*time.Second, g.kill)
		g.client.Kill()
		late.Stop()
	}
	g.destroy()
	return err
}

// destroy ends the process, if it runs, and frees what belongs to it.
func (g *generation) destroy() {
	g.kill()
	g.waitEnd(killTime)
	if g.client != nil {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			g.client.Kill() // closes the connection and waits for go-plugin's goroutines
		}()
		select {
		case <-ended:
		case <-time.After(killTime):
		}
	}
	if g.lifeline != nil {
		_ = g.lifeline.Close() // a pipe
	}
	for _, s := range g.strays {
		s.Close()
	}
	if g.inst != nil {
		g.inst.remove()
	}
}
