// Package executor runs methods in the runtime plugin: a bounded number at a time, each on a lane of its own, with the
// steps that lead the plugin's row copy to the core's version, and once more when the plugin died under it
// (runtime-protocol.md). An execution has no effect until the caller commits its result.
package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Options bound the executions. Zero fields get the defaults of the runtime protocol.
type Options struct {
	// Lanes is the number of parallel executions; 0 = two per CPU. The plugin's own bound holds too.
	Lanes int
	// Fuel in instructions, Deadline for one execution, MemoryPages of 64 KiB, MaxModule in bytes.
	Fuel        uint64
	Deadline    time.Duration
	MemoryPages uint32
	MaxModule   uint64
	Limits      runtime.Limits
	// AllowUnmetered starts with a plugin that lacks fuel or deadline.
	AllowUnmetered bool
	// Kill ends a runtime process that gave no result in time (runtime.ErrSilent); may be nil.
	Kill func(reason string)
	// Registerer may be nil.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Lanes <= 0 {
		o.Lanes = 2 * goruntime.NumCPU()
	}
	if o.Fuel == 0 {
		o.Fuel = 100_000_000_000
	}
	if o.Deadline == 0 {
		o.Deadline = 30 * time.Second
	}
	if o.MemoryPages == 0 {
		o.MemoryPages = 4096
	}
	if o.MaxModule == 0 {
		o.MaxModule = 10 << 20
	}
	if o.Kill == nil {
		o.Kill = func(string) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Request is one execution.
type Request struct {
	Application domain.ApplicationID
	Module      domain.Hash
	// Wasm opens the bytes of Module, for a plugin that does not have it.
	Wasm func(ctx context.Context) (io.ReadCloser, error)

	Context    domain.ContextID
	Executor   domain.PublicKey
	Method     string
	Input      []byte
	Kind       runtime.CallKind
	TimeFloor  uint64
	HasPrivate bool
	Detail     runtime.WriteDetail
	Grants     []runtime.Grant

	// Copy is the context's, held under the context's lock until the result is committed or discarded.
	Copy *Copy
	// Host answers the running execution. It takes no lock and starts no execution.
	Host runtime.Host
	// Ahead returns the rows expected to be read (≤ runtime.MaxReadAhead); asked when the plugin cannot have them.
	Ahead func(ctx context.Context) ([]runtime.Row, error)
	// Restart is called before the execution runs again after the plugin died: what Host staged is void.
	Restart func()
}

// Result is the outcome with the id to accept.
type Result struct {
	*runtime.Result
	Exec uint64
}

// Executor runs executions. Its methods may be called concurrently.
type Executor struct {
	opts    Options
	rt      runtime.Runtime
	lanes   *lanes
	nextID  atomic.Uint64
	deaths  deaths
	again   sync.Mutex // executions that outlived a death run one at a time
	metrics *metrics
}

// New asks the plugin what it can do and makes an executor for it.
func New(ctx context.Context, rt runtime.Runtime, opts Options) (*Executor, error) {
	opts = opts.withDefaults()
	e, err := rt.Engine(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the runtime plugin for its engine: %w", err)
	}
	for _, c := range []string{runtime.CapFuel, runtime.CapDeadline} {
		if !slices.Contains(e.Capabilities, c) && !opts.AllowUnmetered {
			return nil, errkind.Precondition.Errorf("runtime engine %s %s lacks the capability %q: a guest could run for "+
				"ever; choose another runtime plugin or set execution.allow_unmetered = true", e.Name, e.Version, c)
		}
	}
	n := opts.Lanes
	if e.MaxLanes > 0 {
		n = min(n, e.MaxLanes)
	}
	x := &Executor{opts: opts, rt: rt, lanes: newLanes(rt, n), metrics: newMetrics(opts.Registerer)}
	x.deaths.now = time.Now
	return x, nil
}

// Close waits for the executions in flight and closes the lanes.
func (x *Executor) Close() { x.lanes.close() }

// Run runs one execution. What the guest does wrong is in the result; an error means that the node could not run it.
func (x *Executor) Run(ctx context.Context, req *Request) (*Result, error) {
	if f := x.deaths.refused(req.Application); f != nil {
		return &Result{Result: &runtime.Result{Fault: f}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, x.opts.Deadline)
	defer cancel()

	var effects atomic.Bool
	host := &watchedHost{host: req.Host, effects: &effects}
	start := time.Now()
	var begun time.Time
	res, err := x.attempt(ctx, req, host, &begun)
	if err != nil && died(err) {
		x.deaths.add(req.Application, req.Method, begun)
		req.Copy.Lost()
		x.opts.Logger.Warn("runtime plugin stopped during an execution", "application", req.Application, "context",
			req.Context, "method", req.Method, "err", err)
		if effects.Load() {
			return nil, errkind.Unavailable.Errorf("the runtime plugin stopped while running %q after the method had "+
				"effects outside the node; it is not run again: %w", req.Method, err)
		}
		res, err = x.runAgain(ctx, req, host)
	}
	x.metrics.observe(req.Kind, res, err, time.Since(start))
	return res, err
}

// runAgain repeats an execution on the plugin's next generation, alone, so that a second death names its cause.
func (x *Executor) runAgain(ctx context.Context, req *Request, host runtime.Host) (*Result, error) {
	x.again.Lock()
	defer x.again.Unlock()
	if req.Restart != nil {
		req.Restart()
	}
	var begun time.Time
	res, err := x.attempt(ctx, req, host, &begun)
	if err != nil && died(err) {
		req.Copy.Lost()
		if x.deaths.add(req.Application, req.Method, begun) {
			return &Result{Result: &runtime.Result{Fault: x.deaths.refused(req.Application)}}, nil
		}
	}
	return res, err
}

// died tells the plugin's death from what the core itself could not give the guest, such as rows of a storage that is
// down: that is no fault of the application.
func died(err error) bool {
	var own *hostError
	return errors.Is(err, errkind.Unavailable) && errkind.IsRetryable(err) && !errors.Is(err, errNoLane) &&
		!errors.Is(err, runtime.ErrNotStarted) && !errors.As(err, &own)
}

// hostError is an error of the core's own end.
type hostError struct{ error }

func (e *hostError) Unwrap() error { return e.error }

func ofHost(err error) error {
	if err == nil {
		return nil
	}
	return &hostError{err}
}

var errNoLane = errors.New("no lane")

// attempt runs req once and tells when it was handed to the plugin.
func (x *Executor) attempt(ctx context.Context, req *Request, host runtime.Host, begun *time.Time) (*Result, error) {
	s, err := x.lanes.acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLane, err)
	}
	defer x.lanes.release(s)

	res, err := x.execute(ctx, s, req, host, begun)
	if errors.Is(err, runtime.ErrNotStarted) { // the lane broke while it was idle
		res, err = x.execute(ctx, s, req, host, begun)
	}
	if err == nil && res.Fault != nil && res.Fault.Kind == runtime.FaultUnknownModule {
		if err := x.prepare(ctx, req); err != nil {
			var f *runtime.Fault
			if errors.As(err, &f) {
				return &Result{Result: &runtime.Result{Fault: f}}, nil
			}
			return nil, err
		}
		res, err = x.execute(ctx, s, req, host, begun)
	}
	return res, err
}

// execute runs req on the lane of s, opening one if needed.
func (x *Executor) execute(ctx context.Context, s *slot, req *Request, host runtime.Host, begun *time.Time) (*Result, error) {
	if err := x.lanes.open(ctx, s); err != nil {
		return nil, fmt.Errorf("open an execution lane: %w", err)
	}
	id := x.nextID.Add(1)
	state := req.Copy.State()
	if req.Copy.cold && req.Ahead != nil {
		ahead, err := req.Ahead(ctx)
		if err != nil {
			return nil, ofHost(err)
		}
		state.Ahead = ahead
	}
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	if left < time.Millisecond {
		return nil, errkind.Deadline.Errorf("no time left to run %q", req.Method)
	}
	e := &runtime.Execute{
		ID: id, Module: req.Module, Context: req.Context, Executor: req.Executor, Method: req.Method, Input: req.Input,
		Kind: req.Kind, State: state, Grants: req.Grants, TimeFloor: req.TimeFloor, HasPrivate: req.HasPrivate,
		Detail: req.Detail,
		Budget: runtime.Budget{Fuel: x.opts.Fuel, DeadlineMillis: uint32(left.Milliseconds()),
			MemoryPages: x.opts.MemoryPages, Limits: x.opts.Limits},
	}
	*begun = x.deaths.now()
	r, err := s.lane.Execute(ctx, e, host)
	if errors.Is(err, runtime.ErrSilent) {
		x.opts.Kill(fmt.Sprintf("no result of %q (application %s) in time", req.Method, req.Application))
	}
	if err != nil {
		s.drop()
		req.Copy.Lost()
		return nil, fmt.Errorf("run %q: %w", req.Method, err)
	}
	req.Copy.Told()
	return &Result{Result: r, Exec: id}, nil
}

// prepare hands the module's bytes to the plugin.
func (x *Executor) prepare(ctx context.Context, req *Request) error {
	r, err := req.Wasm(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if _, err := x.rt.Prepare(ctx, req.Module, x.opts.MaxModule, r); err != nil {
		return fmt.Errorf("prepare module %s: %w", req.Module, err)
	}
	return nil
}

// Inspect describes a module, of which wasm opens the bytes if the plugin does not have it.
func (x *Executor) Inspect(ctx context.Context, module domain.Hash, wasm func(context.Context) (io.ReadCloser, error)) (
	runtime.ModuleInfo, error) {
	info, err := x.rt.Inspect(ctx, module)
	if !errors.Is(err, errkind.NotFound) {
		return info, err
	}
	if err := x.prepare(ctx, &Request{Module: module, Wasm: wasm}); err != nil {
		return info, err
	}
	return x.rt.Inspect(ctx, module)
}

// Forget drops the plugin's copies of contexts that are gone; failure costs only memory.
func (x *Executor) Forget(ctx context.Context, contexts ...domain.ContextID) {
	if err := x.rt.Forget(ctx, nil, contexts); err != nil {
		x.opts.Logger.Debug("runtime plugin did not forget contexts", "err", err)
	}
}

// watchedHost notes calls with effects outside the node, and marks errors as the core's own.
type watchedHost struct {
	host    runtime.Host
	effects *atomic.Bool
}

func (h *watchedHost) Rows(ctx context.Context, keys []runtime.Key) ([]runtime.Row, error) {
	rows, err := h.host.Rows(ctx, keys)
	return rows, ofHost(err)
}

func (h *watchedHost) HostFn(ctx context.Context, ns, fn string, args []byte) ([]byte, error) {
	h.effects.Store(true)
	out, err := h.host.HostFn(ctx, ns, fn, args)
	return out, ofHost(err)
}

func (h *watchedHost) BlobSize(ctx context.Context, blob domain.BlobID) (uint64, error) {
	size, err := h.host.BlobSize(ctx, blob)
	return size, ofHost(err)
}

func (h *watchedHost) BlobRead(ctx context.Context, blob domain.BlobID, offset, length uint64) ([]byte, error) {
	b, err := h.host.BlobRead(ctx, blob, offset, length)
	return b, ofHost(err)
}

func (h *watchedHost) BlobAnnounce(ctx context.Context, blob domain.BlobID, to domain.ContextID) error {
	h.effects.Store(true)
	return ofHost(h.host.BlobAnnounce(ctx, blob, to))
}

func (h *watchedHost) BlobPart(ctx context.Context, p runtime.BlobPart) error {
	return ofHost(h.host.BlobPart(ctx, p))
}
