package guestabi

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"time"

	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/crdt/collections"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// View gives the rows of the context as they were before the execution. Row may
// wait; value is not changed by anybody afterwards. It is asked at most once for
// each key of an execution. An error that is no fault ends the execution with it.
type View interface {
	Row(key runtime.Key) (value []byte, found bool, err error)
}

// Blobs is the part of [runtime.Host] that the blob functions use. An error of
// kind Internal or Unavailable, and the end of the execution, pass through;
// any other becomes the fault "blob operations not supported".
type Blobs interface {
	BlobRead(blob domain.BlobID, offset, length uint64) ([]byte, error)
	BlobAnnounce(blob domain.BlobID, to domain.ContextID) error
	BlobPart(part runtime.BlobPart) error
}

// Config is one execution's surroundings.
type Config struct {
	Context  domain.ContextID
	Executor domain.PublicKey
	Input    []byte
	// Limits: zero fields stand for the default.
	Limits runtime.Limits
	View   View
	// Private attaches the private store.
	Private bool
	// Blobs is nil where blobs are not supported.
	Blobs Blobs
	// TimeFloor is the least value of time_now, in ns since 1970.
	TimeFloor uint64
	// Clock returns ns since 1970; nil = the system's.
	Clock func() uint64
	// Random is the source of random_bytes; nil = the system's.
	Random io.Reader
	// Stopped tells whether the execution has to end, as a fault; nil = never.
	// Long host functions ask it again and again.
	Stopped func() error
}

const (
	// maxHostCalls keeps the count within its type.
	maxHostCalls = 1<<32 - 1
	// maxValue bounds what a guest hands over in one piece.
	maxValue = runtime.MaxSpills
	// maxHandlers bounds the handler names of all events together; the
	// reference does not bound them.
	maxHandlers = 1 << 20
)

// Execution is the host's side of one call. It is not for concurrent use.
type Execution struct {
	Config
	limits    runtime.Limits
	registers registers
	rows      rows
	blobs     blobs
	clock     *crdt.Clock

	starting  bool
	committed bool
	writer    *collections.Writer // of the guest's collections, and of the root entity

	result   runtime.Result
	returned bool
	isError  bool
	value    []byte
	handlers int
}

// New makes the host's side of a fresh call.
func New(cfg Config) *Execution {
	if cfg.Clock == nil {
		cfg.Clock = func() uint64 { return uint64(time.Now().UnixNano()) }
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	x := &Execution{Config: cfg, limits: cfg.Limits.WithDefaults()}
	x.rows.known = make(map[runtime.Key]*row, 64)
	return x
}

// Call runs a host function that Link returned. mem is the whole linear memory,
// args as the guest gave them, i32 zero-extended. An error ends the guest: a
// fault, or the host's own failure (see AsFault).
func (x *Execution) Call(f *Function, mem []byte, args []uint64) (uint64, error) {
	if x.result.Usage.HostCalls == maxHostCalls {
		return 0, errTooManyHostCalls
	}
	x.result.Usage.HostCalls++
	if x.starting {
		// The reference has no memory attached yet and panics in the import.
		return 0, TrapIndeterminate
	}
	return f.call(x, mem, args)
}

func (x *Execution) stopped() error {
	if x.Stopped == nil {
		return nil
	}
	return x.Stopped()
}

// Finish returns the outcome; fault overrides what the guest returned. Usage
// holds what this package counts. There are no writes when the deadline or the
// host ended the guest. The Execution must not be used afterwards.
func (x *Execution) Finish(fault *runtime.Fault, detail runtime.WriteDetail) *runtime.Result {
	r := &x.result
	switch {
	case fault != nil:
		r.Fault = fault
	case x.returned && x.isError:
		r.AppError = x.value
	case x.returned:
		r.Value = x.value
	}
	// The result of a guest that was stopped is due soon, and nobody wants its rows.
	if fault == nil || fault.Kind != runtime.FaultDeadline && fault.Kind != runtime.FaultCancelled {
		r.Writes = x.rows.writes(detail)
	}
	r.Read = x.rows.read
	return r
}

// Overlay returns every row written, whatever the detail of the result.
func (x *Execution) Overlay() []runtime.Row { return x.rows.writes(runtime.WritesFull) }

func (x *Execution) contextID(_ memory, a []uint64) (uint64, error) {
	return 0, x.setRegister(a[0], x.Context[:])
}

func (x *Execution) executorID(_ memory, a []uint64) (uint64, error) {
	return 0, x.setRegister(a[0], x.Executor[:])
}

func (x *Execution) input(_ memory, a []uint64) (uint64, error) {
	return 0, x.setRegister(a[0], x.Input)
}

func (x *Execution) valueReturn(m memory, a []uint64) (uint64, error) {
	d, err := m.at(a[0], valueReturnSize)
	if err != nil {
		return 0, err
	}
	tag := bufferOf(d).ptr
	s, err := m.slice(bufferOf(d[8:]))
	if err != nil {
		return 0, err
	}
	if tag > 1 {
		return 0, ErrInvalidMemoryAccess
	}
	if len(s) > maxValue {
		return 0, tooLarge("return value of %d bytes, the limit is %d", len(s), maxValue)
	}
	x.returned, x.isError, x.value = true, tag == 1, clone(s)
	return 0, nil
}

// clone never returns nil, which means "none" in results.
func clone(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

func (x *Execution) location(m memory, ptr uint64) (buffer, Location, error) {
	d, err := m.at(ptr, locationSize)
	if err != nil {
		return buffer{}, Location{}, err
	}
	position := bufferOf(d[8:]).len // u32 line, u32 column
	return bufferOf(d), Location{Line: uint32(position), Column: uint32(position >> 32)}, nil
}

func (x *Execution) guestPanic(m memory, a []uint64) (uint64, error) {
	file, at, err := x.location(m, a[0])
	if err != nil {
		return 0, err
	}
	if at.File, err = x.str(m, file); err != nil {
		return 0, err
	}
	return 0, GuestPanic("explicit panic", &at)
}

func (x *Execution) guestPanicUTF8(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	file, at, err := x.location(m, a[1])
	if err != nil {
		return 0, err
	}
	message, err := x.str(m, b)
	if err != nil {
		return 0, err
	}
	if at.File, err = x.str(m, file); err != nil {
		return 0, err
	}
	return 0, GuestPanic(message, &at)
}

func (x *Execution) log(m memory, a []uint64) (uint64, error) {
	b, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	s, err := m.slice(b)
	if err != nil {
		return 0, err
	}
	if err := x.checkUTF8(s); err != nil {
		return 0, err
	}
	if err := x.logRoom(len(s)); err != nil {
		return 0, err
	}
	x.result.Logs = append(x.result.Logs, string(s))
	return 0, nil
}

// logRoom refuses a log that is one too many or too long.
func (x *Execution) logRoom(size int) error {
	if uint64(len(x.result.Logs)) >= x.limits.MaxLogs {
		return ErrLogs
	}
	if uint64(size) > x.limits.MaxLogSize {
		return ErrLogLength
	}
	return nil
}

func (x *Execution) event(m memory, ptr uint64) (runtime.Event, error) {
	var e runtime.Event
	d, err := m.at(ptr, eventSize)
	if err != nil {
		return e, err
	}
	kind, data := bufferOf(d), bufferOf(d[bufferSize:])
	switch {
	case kind.len > x.limits.MaxEventKindSize:
		return e, ErrEventKindSize
	case data.len > x.limits.MaxEventDataSize:
		return e, ErrEventDataSize
	case uint64(len(x.result.Events)) >= x.limits.MaxEvents:
		return e, ErrEvents
	}
	if e.Kind, err = x.str(m, kind); err != nil {
		return e, err
	}
	s, err := m.slice(data)
	e.Data = clone(s)
	return e, err
}

func (x *Execution) emit(m memory, a []uint64) (uint64, error) {
	e, err := x.event(m, a[0])
	if err == nil {
		x.result.Events = append(x.result.Events, e)
	}
	return 0, err
}

func (x *Execution) emitWithHandler(m memory, a []uint64) (uint64, error) {
	e, err := x.event(m, a[0])
	if err != nil {
		return 0, err
	}
	if a[1] != 0 {
		b, err := m.buffer(a[1])
		if err != nil {
			return 0, err
		}
		if s, err := m.slice(b); err == nil {
			if len(s) > maxHandlers-x.handlers {
				return 0, tooLarge("event handler names are longer than %d bytes together", maxHandlers)
			}
			if x.checkUTF8(s) == nil {
				name := string(s)
				e.Handler = &name
				x.handlers += len(s)
			}
		}
	}
	x.result.Events = append(x.result.Events, e)
	return 0, nil
}

func (x *Execution) xcall(m memory, a []uint64) (uint64, error) {
	d, err := m.at(a[0], xcallSize)
	if err != nil {
		return 0, err
	}
	id, function, params := bufferOf(d), bufferOf(d[16:]), bufferOf(d[32:])
	switch {
	case function.len > x.limits.MaxXCallFunctionSize:
		return 0, ErrXCallFunctionSize
	case params.len > x.limits.MaxXCallParamsSize:
		return 0, ErrXCallParamsSize
	case uint64(len(x.result.XCalls)) >= x.limits.MaxXCalls:
		return 0, ErrXCalls
	}
	var c runtime.XCall
	target, err := m.sized(id, len(c.Context))
	if err != nil {
		return 0, err
	}
	c.Context = domain.ContextID(target)
	if c.Function, err = x.str(m, function); err != nil {
		return 0, err
	}
	s, err := m.slice(params)
	if err != nil {
		return 0, err
	}
	c.Params = clone(s)
	x.result.XCalls = append(x.result.XCalls, c)
	return 0, nil
}

func (x *Execution) commit(m memory, a []uint64) (uint64, error) {
	rootBuf, err := m.buffer(a[0])
	if err != nil {
		return 0, err
	}
	artifactBuf, err := m.buffer(a[1])
	if err != nil {
		return 0, err
	}
	root, err := m.sized(rootBuf, sha256.Size)
	if err != nil {
		return 0, err
	}
	artifact, err := m.slice(artifactBuf)
	if err != nil {
		return 0, err
	}
	if x.committed {
		return 0, ErrInvalidMemoryAccess
	}
	if len(artifact) > maxValue {
		return 0, tooLarge("artifact of %d bytes, the limit is %d", len(artifact), maxValue)
	}
	hash := domain.Hash(root)
	x.result.RootHash, x.result.Artifact, x.committed = &hash, bytes.Clone(artifact), true
	return 0, nil
}

// fatal tells whether an error of the host ends the execution with an error
// rather than as a fault of the guest's call.
func fatal(err error) bool {
	k := errkind.Of(err)
	return AsFault(err) != nil || k == errkind.Internal || k == errkind.Unavailable
}
