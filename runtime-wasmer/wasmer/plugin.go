// Package wasmer is the runtime plugin that runs WebAssembly on libwasmer. What
// a guest sees is package guestabi; this package prepares modules, keeps them
// compiled, bounds time, instructions, stack and memory, and keeps the copy of
// the core's rows.
package wasmer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/zclconf/go-cty/cty"
	"golang.org/x/sync/semaphore"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/rowcopy"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
)

// Version is the plugin's version; the build sets it.
var Version = "dev"

const mib = 1 << 20

// Plugin implements runtime.Plugin.
type Plugin struct {
	compile Compiler
	self    bool // compile in a child process of the running program
	sources Sources

	mu         sync.Mutex
	configured bool
	closed     bool
	lanes      int
	running    sync.WaitGroup
	stop       context.Context
	stopAll    context.CancelCauseFunc

	maxLanes    int
	memoryPages int64
	memory      *semaphore.Weighted
	modules     *modules
	rows        *rowcopy.Cache
}

var _ runtime.Plugin = (*Plugin)(nil)

// New makes a plugin that compiles in this process, for tests and benchmarks
// that link it in.
func New() runtime.Plugin { return newPlugin(Build, false) }

// Sources are what a guest sees and its input does not decide: the clock, in ns since 1970, and the source of its random
// bytes. One that is nil stands for the system's.
type Sources func(e *runtime.Execute) (clock func() uint64, random io.Reader)

// NewRepeatable is New with sources of the caller's, for tests that run the same execution twice.
func NewRepeatable(s Sources) runtime.Plugin {
	p := newPlugin(Build, false)
	p.sources = s
	return p
}

// NewIsolated makes the plugin of the shipped program: it compiles in a child
// process, which the program must answer with CompileMain.
func NewIsolated() runtime.Plugin { return newPlugin(nil, true) }

func newPlugin(c Compiler, self bool) *Plugin {
	p := &Plugin{compile: c, self: self}
	p.stop, p.stopAll = context.WithCancelCause(context.Background())
	return p
}

var capabilities = []string{runtime.CapFuel, runtime.CapDeadline, runtime.CapMemoryLimit, runtime.CapRowCopy, runtime.CapBlobs, runtime.CapJS}

// Info implements base.Plugin.
func (p *Plugin) Info(context.Context) (base.Info, error) {
	return base.Info{Kind: runtime.Kind, Name: "wasmer", Version: Version, Protocol: runtime.Protocol, Capabilities: capabilities}, nil
}

// Schema implements base.Plugin.
func (p *Plugin) Schema(context.Context) (base.Schema, error) {
	number := func(name string, value int64, doc string) base.Attribute {
		return base.Attribute{Name: name, Type: cty.Number, Default: cty.NumberIntVal(value), Doc: doc}
	}
	return base.Schema{Attributes: []base.Attribute{
		number("lanes", int64(2*goruntime.NumCPU()), "Executions that may run at the same time, 1 to 1024."),
		number("memory_budget", 2048, "Linear memory of all running instances together in MiB, at least 64; a call that does not fit waits."),
		number("row_cache", 64, "Rows of all contexts that are kept between calls, in MiB, 0 to 65536."),
		number("module_cache", 128, "Compiled code that is kept in memory, in MiB, 1 to 65536."),
	}}, nil
}

// Configure implements base.Plugin.
func (p *Plugin) Configure(_ context.Context, c base.Config) (diag.Diagnostics, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.configured {
		return nil, errkind.Precondition.Errorf("the runtime plugin is configured already")
	}
	var diags diag.Diagnostics
	get := func(name string, low, high int64) int64 {
		n, accuracy := c.Value.GetAttr(name).AsBigFloat().Int64()
		if accuracy != 0 || n < low || n > high {
			diags.Errorf([]diag.Step{name}, "Value out of range", "%s must be a whole number from %d to %d.", name, low, high)
		}
		return n
	}
	lanes, memory := get("lanes", 1, 1024), get("memory_budget", 64, 1<<20)
	rows, code := get("row_cache", 0, 65536), get("module_cache", 1, 65536)
	if len(diags) > 0 {
		return diags, nil
	}
	disk, err := openDisk(filepath.Join(c.DataDir, "modules"))
	if err != nil {
		return nil, err
	}
	if p.self {
		if p.compile, err = compilerFor(); err != nil {
			return nil, err
		}
	}
	p.maxLanes = int(lanes)
	p.memoryPages = memory * mib / pageSize
	p.memory = semaphore.NewWeighted(p.memoryPages)
	p.modules = newModules(disk, p.compile, int(code)*mib, goruntime.NumCPU())
	p.rows = rowcopy.New(int(rows) * mib)
	p.configured = true
	return nil, nil
}

// Health implements base.Plugin.
func (p *Plugin) Health(context.Context) error {
	_, err := p.enter()
	if err == nil {
		p.running.Done()
	}
	return err
}

// enter registers a call in flight; running.Done ends it.
func (p *Plugin) enter() (context.Context, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.configured {
		return nil, errkind.Precondition.Errorf("the runtime plugin is not configured")
	}
	if p.closed {
		return nil, errkind.Unavailable.Errorf("the runtime plugin is closed")
	}
	p.running.Add(1)
	return p.stop, nil
}

// Close implements base.Plugin: executions in flight may end until ctx does,
// then they are cancelled.
func (p *Plugin) Close(ctx context.Context) error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	configured := p.configured
	p.mu.Unlock()
	if !first || !configured {
		return nil
	}
	idle := make(chan struct{})
	go func() {
		p.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		p.stopAll(errkind.Unavailable.Errorf("the runtime plugin is closing"))
		<-idle
	}
	p.stopAll(nil)
	p.modules.close()
	return nil
}

// Engine implements runtime.Runtime.
func (p *Plugin) Engine(context.Context) (runtime.Engine, error) {
	if _, err := p.enter(); err != nil {
		return runtime.Engine{}, err
	}
	defer p.running.Done()
	return runtime.Engine{Name: "wasmer", Version: engine.LibraryVersion(), MaxLanes: p.maxLanes, Capabilities: capabilities}, nil
}

// Inspect implements runtime.Runtime.
func (p *Plugin) Inspect(ctx context.Context, id domain.Hash) (runtime.ModuleInfo, error) {
	if _, err := p.enter(); err != nil {
		return runtime.ModuleInfo{}, err
	}
	defer p.running.Done()
	m, cached, err := p.modules.get(ctx, moduleKey{id, DefaultPages}, nil)
	if err != nil {
		return runtime.ModuleInfo{}, moduleError(id, err)
	}
	if m == nil {
		return runtime.ModuleInfo{}, errkind.NotFound.Errorf("module %s is not prepared", id)
	}
	return m.info(cached), nil
}

func (m *module) info(cached bool) runtime.ModuleInfo {
	info := m.built.Info
	info.FromCache = cached
	return info
}

// moduleError wraps a fault of a module as the contract says.
func moduleError(id domain.Hash, err error) error {
	if f := guestabi.AsFault(err); f != nil {
		err = f.AsError()
	}
	return fmt.Errorf("prepare module %s: %w", id, err)
}

// Prepare implements runtime.Runtime.
func (p *Plugin) Prepare(ctx context.Context, id domain.Hash, maxSize uint64, wasm io.Reader) (runtime.ModuleInfo, error) {
	if _, err := p.enter(); err != nil {
		return runtime.ModuleInfo{}, err
	}
	defer p.running.Done()
	start := time.Now()
	code, err := io.ReadAll(io.LimitReader(wasm, int64(min(maxSize, 1<<40))+1))
	if err != nil {
		return runtime.ModuleInfo{}, fmt.Errorf("read module %s: %w", id, err)
	}
	if uint64(len(code)) > maxSize {
		return runtime.ModuleInfo{}, moduleError(id, guestabi.ModuleSizeFault(uint64(len(code)), maxSize))
	}
	if sum := sha256.Sum256(code); sum != id {
		return runtime.ModuleInfo{}, errkind.Invalid.Errorf("module announced as %s has the hash %s", id, domain.Hash(sum))
	}
	m, cached, err := p.modules.get(ctx, moduleKey{id, DefaultPages}, code)
	if err != nil {
		return runtime.ModuleInfo{}, moduleError(id, err)
	}
	info := m.info(cached)
	info.PrepareMicros = uint64(time.Since(start).Microseconds())
	return info, nil
}

// Forget implements runtime.Runtime.
func (p *Plugin) Forget(_ context.Context, modules []domain.Hash, contexts []domain.ContextID) error {
	if _, err := p.enter(); err != nil {
		return err
	}
	defer p.running.Done()
	p.rows.Forget(contexts...)
	for _, id := range modules {
		if err := p.modules.forget(id); err != nil {
			return err
		}
	}
	return nil
}

// OpenLane implements runtime.Runtime.
func (p *Plugin) OpenLane(ctx context.Context) (runtime.Lane, error) {
	if _, err := p.enter(); err != nil {
		return nil, err
	}
	defer p.running.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes >= p.maxLanes {
		return nil, errkind.Exhausted.Errorf("all %d execution lanes are open (lanes)", p.maxLanes)
	}
	p.lanes++
	l := &lane{p: p}
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.unhook = context.AfterFunc(l.ctx, l.free)
	return l, nil
}

// lane runs executions one at a time.
type lane struct {
	p      *Plugin
	ctx    context.Context
	cancel context.CancelFunc
	unhook func() bool
	once   sync.Once
	busy   sync.Mutex
}

func (l *lane) free() {
	l.once.Do(func() {
		l.p.mu.Lock()
		defer l.p.mu.Unlock()
		l.p.lanes--
	})
}

// Close implements runtime.Lane.
func (l *lane) Close() error {
	l.cancel()
	l.free()
	return nil
}

// Execute implements runtime.Lane.
func (l *lane) Execute(ctx context.Context, e *runtime.Execute, host runtime.Host) (*runtime.Result, error) {
	if !l.busy.TryLock() {
		return nil, errkind.Precondition.Errorf("the lane has a running execution")
	}
	defer l.busy.Unlock()
	if l.ctx.Err() != nil {
		return nil, errkind.Unavailable.Errorf("the lane is closed")
	}
	stop, err := l.p.enter()
	if err != nil {
		return nil, err
	}
	defer l.p.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, other := range []context.Context{stop, l.ctx} {
		defer context.AfterFunc(other, func() { cancel(context.Cause(other)) })()
	}
	return l.p.execute(ctx, e, host)
}
