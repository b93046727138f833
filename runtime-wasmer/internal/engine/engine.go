// Package engine runs WebAssembly on the libwasmer that the module
// github.com/wasmerio/wasmer-go bundles. It is a small binding of its own:
// every object is deleted at a known point, host calls go through one exported
// function with an integer handle, and running guests can be stopped.
//
// Compile and Load may be used concurrently. A Runner serves one call at a
// time; only Stop may be called from another goroutine.
package engine

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// CallsPerRunner is how many calls a Runner should serve before it is closed
// and loaded again, which takes milliseconds: the library keeps memory for each
// instance, and there are as many Runners as lanes.
const CallsPerRunner = 150

// ValType is a WebAssembly value type as the C API numbers it.
type ValType uint8

// The value types host functions may use.
const (
	I32 ValType = C.WASM_I32
	I64 ValType = C.WASM_I64
)

// Import is the type of a host function: at most 8 parameters, at most one result.
type Import struct {
	Params  []ValType
	Results []ValType
}

// Host receives the calls of the guest. index is the position in the imports
// given to Load, args are zero-extended, mem is the whole linear memory: valid
// until HostCall returns, nil while the start function runs before Attach. An
// error stops the guest and is returned from Call as is. HostCall runs on the
// guest's goroutine.
type Host interface {
	HostCall(index int, args []uint64, mem []byte) (uint64, error)
}

// HostPanic is the error of a HostCall that panicked.
type HostPanic struct{ Value string }

func (p *HostPanic) Error() string { return "host function panicked: " + p.Value }

// TrapError is a trap of the guest. Exhausted tells that the metering points
// ran out, StackOverflow that the stack guard ended it. A guest that Stop ended
// has the trap of an `unreachable`.
type TrapError struct {
	Message       string
	Exhausted     bool
	StackOverflow bool
}

func (t *TrapError) Error() string { return t.Message }

// ErrClosed is returned for a call on a closed Runner.
var ErrClosed = errors.New("runner is closed")

// Version names the library and everything a compiled module depends on: two
// processes with an equal Version may exchange compiled modules.
func Version() string {
	return fmt.Sprintf("wasmer %s binding 1 %s/%s %v %v", C.GoString(C.wasmer_version()), runtime.GOOS, runtime.GOARCH, cpu.X86, cpu.ARM64)
}

// LibraryVersion is the version libwasmer tells about itself.
func LibraryVersion() string { return C.GoString(C.wasmer_version()) }

// TextToBinary translates a module in text form.
func TextToBinary(text []byte) ([]byte, error) {
	var n C.size_t
	var cerr *C.char
	p := C.shim_text_to_binary(ptr(text), C.size_t(len(text)), &n, &cerr)
	return takeBytes(p, n, cerr)
}

// Validate checks a binary module by the WebAssembly rules.
func Validate(wasm []byte) error {
	var cerr *C.char
	if C.shim_validate(ptr(wasm), C.size_t(len(wasm)), &cerr) != C.SHIM_OK {
		return takeError(cerr)
	}
	return nil
}

// Compile compiles a valid module with metering and returns its serialised
// form. It cannot be interrupted.
func Compile(wasm []byte) ([]byte, error) {
	var n C.size_t
	var cerr *C.char
	p := C.shim_compile(ptr(wasm), C.size_t(len(wasm)), &n, &cerr)
	return takeBytes(p, n, cerr)
}

// Runner is a compiled module with its host functions, ready to be
// instantiated again and again.
type Runner struct {
	c      *C.runner
	handle uint64
	memory C.long
	stack  C.long
	stop   C.long
	calls  int

	host    Host
	hostErr error

	// mu keeps Stop away from an instance that is being deleted.
	mu      sync.Mutex
	running bool
	closed  bool
}

// Guards name the exports by which the host and the guest's guards talk: the
// linear memory, the i32 global that counts native stack down, the i32 global
// that the guest only reads and that is not 0 when it has to end. One that the
// module does not have is not used.
type Guards struct{ Memory, Stack, Stop string }

// Load makes a Runner from a serialised module; imports in the order of the
// module's import section.
// The artifact is machine code and must come from Compile of an equal Version.
func Load(artifact []byte, imports []Import, g Guards) (*Runner, error) {
	sigs := make([]C.shim_sig, len(imports)+1)
	for i, imp := range imports {
		s, err := signature(imp)
		if err != nil {
			return nil, fmt.Errorf("import %d: %w", i, err)
		}
		sigs[i] = s
	}
	handle := nextHandle.Add(1)
	var cerr *C.char
	c := C.shim_load(ptr(artifact), C.size_t(len(artifact)), &sigs[0], C.size_t(len(imports)), C.uint64_t(handle), &cerr)
	if c == nil {
		return nil, fmt.Errorf("load compiled module: %w", takeError(cerr))
	}
	r := &Runner{c: c, handle: handle}
	r.memory, r.stack, r.stop = r.export(g.Memory), r.export(g.Stack), r.export(g.Stop)
	runners.Store(handle, r)
	return r, nil
}

func signature(imp Import) (C.shim_sig, error) {
	var s C.shim_sig
	if len(imp.Params) > len(s.params) || len(imp.Results) > 1 {
		return s, fmt.Errorf("a host function takes at most %d parameters and gives one result", len(s.params))
	}
	for _, t := range append(imp.Params[:len(imp.Params):len(imp.Params)], imp.Results...) {
		if t != I32 && t != I64 {
			return s, errors.New("a host function uses only i32 and i64")
		}
	}
	s.nparams, s.nresults = C.uint8_t(len(imp.Params)), C.uint8_t(len(imp.Results))
	for i, t := range imp.Params {
		s.params[i] = C.uint8_t(t)
	}
	if len(imp.Results) == 1 {
		s.result = C.uint8_t(imp.Results[0])
	}
	return s, nil
}

// Worn tells that the Runner has served CallsPerRunner instances.
func (r *Runner) Worn() bool { return r.calls >= CallsPerRunner }

// Start makes a fresh instance with the given instruction budget. Finish must
// be called before the next Start.
func (r *Runner) Start(host Host, fuel uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	if r.running {
		return errors.New("runner is busy")
	}
	r.calls++
	var cerr *C.char
	switch C.shim_instantiate(r.c, r.memory, r.stack, r.stop, &cerr) {
	case C.SHIM_OK:
	case C.SHIM_TRAP:
		return &TrapError{Message: takeError(cerr).Error()}
	default:
		return takeError(cerr)
	}
	r.host, r.hostErr, r.running = host, nil, true
	C.shim_set_points(r.c, C.uint64_t(fuel))
	return nil
}

// Finish deletes the instance.
func (r *Runner) Finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		C.shim_drop(r.c)
		r.running, r.host = false, nil
	}
}

// Close frees the Runner; it waits for nothing, so no call may be running.
func (r *Runner) Close() {
	r.Finish()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		runners.Delete(r.handle)
		C.shim_unload(r.c)
		r.c = nil
	}
}

// Stop tells the guest of the running instance to end; it does so at its next
// function call or loop iteration. (Taking its instruction points would not do:
// the guest's own accounting overwrites them.) It does nothing between calls.
func (r *Runner) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running {
		C.shim_stop(r.c)
	}
}

// Fuel returns the instruction points that are left; only between calls.
func (r *Runner) Fuel() uint64 { return uint64(C.shim_points(r.c)) }

// MemoryBytes returns the size of the linear memory; only between calls.
func (r *Runner) MemoryBytes() int {
	var data *C.uint8_t
	var n C.size_t
	C.shim_memory(r.c, &data, &n)
	return int(n)
}

// Call runs an export of type () -> (). stack is the budget of the stack guard
// in its own bytes, cut to what the thread has. The error is a *TrapError, the
// error of a host function as it was returned, or another one for misuse.
func (r *Runner) Call(export string, stack uint32) error {
	index := r.export(export)
	if index < 0 {
		return fmt.Errorf("module has no export %q", export)
	}
	r.hostErr = nil
	var cerr *C.char
	rc := C.shim_call(r.c, index, C.uint32_t(stack), &cerr)
	if rc == C.SHIM_OK {
		return nil
	}
	message := takeError(cerr).Error()
	if r.hostErr != nil {
		return r.hostErr
	}
	if rc != C.SHIM_TRAP {
		return errors.New(message)
	}
	return &TrapError{
		Message:       strings.TrimPrefix(message, "RuntimeError: "),
		Exhausted:     C.shim_exhausted(r.c) != 0,
		StackOverflow: C.shim_stack_left(r.c) < 0,
	}
}

func (r *Runner) export(name string) C.long {
	b := []byte(name)
	return C.shim_export(r.c, (*C.char)(unsafe.Pointer(unsafe.SliceData(b))), C.size_t(len(b)))
}

func ptr(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(b))) }

func takeBytes(p unsafe.Pointer, n C.size_t, cerr *C.char) ([]byte, error) {
	if p == nil {
		return nil, takeError(cerr)
	}
	defer C.free(p)
	out := make([]byte, int(n))
	copy(out, unsafe.Slice((*byte)(p), int(n)))
	return out, nil
}

func takeError(cerr *C.char) error {
	if cerr == nil {
		return errors.New("the engine gave no reason")
	}
	defer C.free(unsafe.Pointer(cerr))
	return errors.New(C.GoString(cerr))
}
