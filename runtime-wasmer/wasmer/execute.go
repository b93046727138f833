package wasmer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/rowcopy"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
	"github.com/calimero-go/core/runtime-wasmer/internal/rewrite"
)

const (
	pageSize = rewrite.PageSize
	// stackScale turns bytes of the reference's stack into what the stack guard
	// counts: upper bounds, several times what a frame takes.
	stackScale = 256
)

// run is one execution in progress.
type run struct {
	p     *Plugin
	ctx   context.Context
	e     *runtime.Execute
	host  runtime.Host
	rows  *rowcopy.Run
	x     *guestabi.Execution
	pages uint32 // cap of this instance

	m      *module
	runner *engine.Runner

	misses, trips uint32
}

// execute runs e to its Result; the error is the plugin's or the host's own.
func (p *Plugin) execute(ctx context.Context, e *runtime.Execute, host runtime.Host) (*runtime.Result, error) {
	start := time.Now()
	if e.Budget.Fuel == 0 || e.Budget.DeadlineMillis == 0 {
		return nil, errkind.Invalid.Errorf("execution %d has no instruction budget or no deadline", e.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(e.Budget.DeadlineMillis)*time.Millisecond)
	defer cancel()
	r := &run{p: p, ctx: ctx, e: e, host: host, trips: 1}
	rows, err := p.rows.Begin(ctx, e.Context, e.State)
	if errors.Is(err, rowcopy.ErrBusy) {
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultRefused,
			Text: fmt.Sprintf("context %s has a running execution", e.Context)}}, nil
	}
	if err != nil {
		if f := r.stopped(); f != nil {
			return &runtime.Result{Fault: f}, nil
		}
		return nil, err
	}
	r.rows = rows
	var overlay []runtime.Row
	defer func() { rows.End(e.ID, overlay) }()

	result, err := r.run()
	if err != nil {
		if f := r.stopped(); f != nil && result == nil {
			return &runtime.Result{Fault: f}, nil
		}
		return nil, err
	}
	if result.Fault == nil && r.x != nil {
		overlay = r.x.Overlay()
	}
	result.Usage.WallMicros = uint64(time.Since(start).Microseconds())
	return result, nil
}

func (r *run) stopped() *runtime.Fault { return stopFault(r.ctx, r.e.Budget.DeadlineMillis) }

// run finds the module, takes memory and calls the method.
func (r *run) run() (*runtime.Result, error) {
	pages := r.e.Budget.MemoryPages
	if pages == 0 {
		pages = DefaultPages
	}
	m, _, err := r.p.modules.get(r.ctx, moduleKey{r.e.Module, pages}, nil)
	if f := guestabi.AsFault(err); f != nil {
		return &runtime.Result{Fault: f}, nil
	}
	if err != nil {
		return nil, err
	}
	if m == nil {
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultUnknownModule,
			Text: fmt.Sprintf("module %s is not prepared", r.e.Module)}}, nil
	}
	r.m, r.pages = m, pages
	if declared := m.built.Info.MemoryMaxPages; declared != 0 {
		r.pages = min(pages, declared)
	}
	if int64(r.pages) > r.p.memoryPages {
		return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultMemory,
			Text: fmt.Sprintf("an instance may take %d memory pages, all running ones together %d (memory_budget)", r.pages, r.p.memoryPages)}}, nil
	}
	if err := r.p.memory.Acquire(r.ctx, int64(r.pages)); err != nil {
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	defer r.p.memory.Release(int64(r.pages))
	return r.call()
}

// call drives guestabi over an instance.
func (r *run) call() (*runtime.Result, error) {
	var clock func() uint64
	var random io.Reader
	if r.p.sources != nil {
		clock, random = r.p.sources(r.e)
	}
	r.x = guestabi.New(guestabi.Config{
		Clock: clock, Random: random,
		Context: r.e.Context, Executor: r.e.Executor, Input: r.e.Input, Limits: r.e.Budget.Limits, View: r,
		Private: r.e.HasPrivate, Blobs: r, TimeFloor: r.e.TimeFloor,
		Stopped: func() error {
			if f := r.stopped(); f != nil {
				return f
			}
			return nil
		},
	})
	var stop func()
	var usage runtime.Usage
	fault, err := r.x.Run(r.e.Method, r.m.built.Info.Exports, r.m.built.HasStart, func() (guestabi.Instance, error) {
		if r.m.linkFault != nil {
			return nil, r.m.linkFault
		}
		var err error
		if r.runner, err = r.p.modules.acquire(r.m); err != nil {
			return nil, err
		}
		if err := r.runner.Start(r, r.e.Budget.Fuel); err != nil {
			var trap *engine.TrapError
			if errors.As(err, &trap) {
				return nil, trapOf(trap.Message)
			}
			return nil, guestabi.LinkFault(err.Error())
		}
		stop = r.watch()
		return r, nil
	})
	if stop != nil {
		stop()
		usage.Fuel = r.e.Budget.Fuel - min(r.runner.Fuel(), r.e.Budget.Fuel)
		usage.PeakPages = uint32(r.runner.MemoryBytes() / pageSize)
	}
	if r.runner != nil {
		r.p.modules.release(r.m, r.runner, err != nil)
	}
	if err != nil {
		return nil, err
	}
	// A stop can also show as a fault of a host function the guest was in.
	result := r.x.Finish(fault, r.e.Detail)
	result.Usage.Fuel, result.Usage.PeakPages = usage.Fuel, usage.PeakPages
	result.Usage.Misses, result.Usage.RoundTrips = r.misses, r.trips
	if r.misses == 0 {
		result.Read = nil
	}
	return result, nil
}

// watch stops the guest when the execution's time is over; the function it
// returns ends the watch and waits for that.
func (r *run) watch() (end func()) {
	gone := make(chan struct{})
	cancel := context.AfterFunc(r.ctx, func() {
		defer close(gone)
		r.runner.Stop()
	})
	return func() {
		if !cancel() {
			<-gone
		}
	}
}

// Start and Invoke make run a guestabi.Instance.
func (r *run) Start() error { return r.invoke(rewrite.StartExport) }

// Invoke runs an export.
func (r *run) Invoke(export string) error { return r.invoke(export) }

func (r *run) invoke(export string) error {
	if f := r.stopped(); f != nil {
		return f
	}
	limits := r.e.Budget.Limits.WithDefaults()
	stack := uint32(min(limits.MaxStackSize, math.MaxInt32/stackScale) * stackScale)
	if err := r.runner.Call(export, stack); err != nil {
		return r.callError(err)
	}
	return nil
}

// HostCall makes run an engine.Host.
func (r *run) HostCall(index int, args []uint64, mem []byte) (uint64, error) {
	return r.x.Call(r.m.functions[index], mem, args)
}

// hostError is what an error of the core means for the guest's call. The core
// may notice the end of the execution before this process does.
func (r *run) hostError(err error) error {
	if f := r.stopped(); f != nil {
		return f
	}
	switch errkind.Of(err) {
	case errkind.Deadline:
		return deadlineFault(r.e.Budget.DeadlineMillis)
	case errkind.Canceled:
		return cancelFault(err)
	}
	return err
}

// Row makes run a guestabi.View.
func (r *run) Row(key runtime.Key) ([]byte, bool, error) {
	if value, found, known := r.rows.Row(key); known {
		return value, found, nil
	}
	r.misses++
	r.trips++
	asked := []runtime.Key{key}
	rows, err := r.host.Rows(r.ctx, asked)
	if err != nil {
		err = r.hostError(err)
		if k := errkind.Of(err); guestabi.AsFault(err) != nil || k == errkind.Internal || k == errkind.Unavailable {
			return nil, false, err
		}
		return nil, false, guestabi.HostPanic("read a row: "+err.Error(), nil)
	}
	r.rows.Learn(rows, asked)
	for _, row := range rows {
		if row.Key == key {
			return row.Value, !row.Absent, nil
		}
	}
	return nil, false, nil
}

// BlobRead, BlobAnnounce and BlobPart make run a guestabi.Blobs.
func (r *run) BlobRead(blob domain.BlobID, offset, length uint64) ([]byte, error) {
	r.trips++
	b, err := r.host.BlobRead(r.ctx, blob, offset, length)
	if err != nil {
		return nil, r.hostError(err)
	}
	return b, nil
}

// BlobAnnounce announces a blob.
func (r *run) BlobAnnounce(blob domain.BlobID, to domain.ContextID) error {
	r.trips++
	if err := r.host.BlobAnnounce(r.ctx, blob, to); err != nil {
		return r.hostError(err)
	}
	return nil
}

// BlobPart stages a part; it needs no answer.
func (r *run) BlobPart(part runtime.BlobPart) error {
	if err := r.host.BlobPart(r.ctx, part); err != nil {
		return r.hostError(err)
	}
	return nil
}
