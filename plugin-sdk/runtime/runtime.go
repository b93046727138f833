// Package runtime is the contract of runtime plugins: prepare WASM modules and run their methods over rows that the
// core owns. The protocol is runtime-protocol.md; guest-visible behaviour is guest-abi.md.
package runtime

import (
	"context"
	"io"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/crdt/engine"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of the contract (runtime-protocol.md §6).
const (
	// InlineData is the largest Data sent inside its frame; above it travels as spills.
	InlineData = 256 << 10
	// SpillPart is the largest spill, blob part or wasm chunk.
	SpillPart = 1 << 20
	// MaxSpills bounds all spills of one execution in one direction.
	MaxSpills = 64 << 20
	// MaxWrites is the most rows one execution may write.
	MaxWrites = 65536
	// MaxSteps and MaxStepBytes bound the steps of one Execute; above, the core resets the copy.
	MaxSteps     = 256
	MaxStepBytes = 1 << 20
	// MaxNeedKeys bounds one Need.
	MaxNeedKeys = 1024
	// MaxReadAhead bounds the rows a core adds to an answer or sends ahead, in bytes.
	MaxReadAhead = 256 << 10
	// MaxReadKeys bounds Result.Read.
	MaxReadKeys = 4096
	// InlineWrites is how many bytes of writes fit in the Result frame; above, they go before it.
	InlineWrites = 1 << 20
)

// Capabilities a runtime plugin may announce.
const (
	CapFuel        = "fuel"
	CapDeadline    = "deadline"
	CapMemoryLimit = "memory-limit"
	CapRowCopy     = "row-copy"
	CapJS          = "js"
	CapBlobs       = "blobs"
	CapHostFn      = "hostfn"
)

// Plugin is a runtime plugin. First-party plugins keep the implementation in an importable package beside their main
// (not under internal/), with a constructor New that returns this interface, so that tests and benchmarks can link it
// in process.
type Plugin interface {
	base.Plugin
	Runtime
}

// Runtime runs modules. Methods may be called concurrently.
type Runtime interface {
	// Engine tells the engine and its bounds.
	Engine(ctx context.Context) (Engine, error)
	// Inspect describes a prepared module, kind NotFound if the plugin does not have it.
	Inspect(ctx context.Context, module domain.Hash) (ModuleInfo, error)
	// Prepare validates and compiles wasm, which must hash to module (sha256) and have at most maxSize bytes. A module
	// that does not compile is a *Fault of kind FaultCompilation wrapped in an error of kind Invalid.
	Prepare(ctx context.Context, module domain.Hash, maxSize uint64, wasm io.Reader) (ModuleInfo, error)
	// Forget drops modules, compiled forms included, and copies of contexts. Unknown ones are ignored.
	Forget(ctx context.Context, modules []domain.Hash, contexts []domain.ContextID) error
	// OpenLane opens a lane; it lives until Close, until ctx ends, or until the plugin dies.
	OpenLane(ctx context.Context) (Lane, error)
}

// Lane runs executions one after the other; it is not for concurrent use.
type Lane interface {
	// Execute runs one method. Whatever the guest does is in the Result; an error means that the lane or the plugin
	// failed and that the execution had no effect but those of its host calls. The end of ctx stops the guest: the
	// Result then says FaultCancelled or FaultDeadline. host is called from one goroutine at a time, not after Execute
	// returned.
	Execute(ctx context.Context, e *Execute, host Host) (*Result, error)
	Close() error
}

// Host is what a running execution may ask of the core. An error of kind Internal or Unavailable ends the execution
// with an error; others are faults of the guest's call.
type Host interface {
	// Rows answers keys, with read-ahead if the core likes; a key asked for and not in the answer is absent.
	Rows(ctx context.Context, keys []Key) ([]Row, error)
	// HostFn calls a host-function plugin.
	HostFn(ctx context.Context, namespace, function string, args []byte) ([]byte, error)
	// BlobSize tells the size of a blob, kind NotFound if it is not here.
	BlobSize(ctx context.Context, blob domain.BlobID) (uint64, error)
	// BlobRead reads at most length bytes (≤ 10 MiB) from offset; fewer at the end, none if the blob is not here.
	BlobRead(ctx context.Context, blob domain.BlobID, offset, length uint64) ([]byte, error)
	// BlobAnnounce announces a blob to a context, kind NotFound if it is not here.
	BlobAnnounce(ctx context.Context, blob domain.BlobID, to domain.ContextID) error
	// BlobPart stages a part of a blob the guest writes. The parts of fd are in order; the last one names id and size.
	BlobPart(ctx context.Context, part BlobPart) error
}

// Engine describes the plugin's engine.
type Engine struct {
	Name, Version string
	// MaxLanes is how many lanes may run at once.
	MaxLanes     int
	Capabilities []string
}

// ModuleInfo is enough to refuse a module at install.
type ModuleInfo struct {
	ID      domain.Hash
	Imports []Import
	Exports []Export
	// MemoryMaxPages is 0 when the module declares none.
	MemoryMinPages, MemoryMaxPages uint32
	// RegistersMerge: the module exports __calimero_register_merge as () -> ().
	RegistersMerge bool
	PrepareMicros  uint64
	FromCache      bool
}

// Import and Export are as in the module; Kind is func, memory, table or global, types are i32, i64, f32, f64, v128,
// funcref, externref.
type Import struct {
	Module, Name, Kind string
	Params, Results    []string
}

// Export is one export of a module.
type Export struct {
	Name, Kind      string
	Params, Results []string
}

// CallKind says why a method runs.
type CallKind uint8

const (
	// Call is a client's call.
	Call CallKind = iota + 1
	// Init creates a context's state.
	Init
	// Handler is an event handler.
	Handler
	// XCallKind is a call from another context.
	XCallKind
	// SyncNext applies a delta in the guest.
	SyncNext
	// Migrate turns the state into a new application's.
	Migrate
)

// WriteDetail says what Result.Writes must hold.
type WriteDetail uint8

const (
	// WritesNone leaves writes to the state out.
	WritesNone WriteDetail = iota + 1
	// WritesHashes has a Digest in place of the values of index and entry rows; all other rows come in full.
	WritesHashes
	// WritesFull has every row written.
	WritesFull
)

// Scope is the store a row belongs to.
type Scope uint8

const (
	// ScopeState is the context's replicated state.
	ScopeState Scope = iota + 1
	// ScopePrivate is the node's private state of the context.
	ScopePrivate
)

// Key names a row. K is the guest's key after padding to 32 bytes (guest-abi.md §1.6).
type Key struct {
	Scope Scope
	K     [32]byte
}

// Row is a row or its absence (in writes: its removal). The holder may not change what it refers to.
type Row struct {
	Key
	Absent bool
	Value  []byte
	// Digest, in writes, stands for the value.
	Digest *engine.Digest
	// Edits, in the rows of a step, stand for the value: they lead from the one that the copy has before the step, without
	// the overlay; of several rows with one key, from that of the row before. A copy that does not have it forgets the row.
	Edits []engine.Edit
}

// Execute is one execution. The receiver may not change it and may not keep slices after Execute returned, except
// rows.
type Execute struct {
	// ID is unique among the executions of a core process and names the overlay later.
	ID       uint64
	Module   domain.Hash
	Context  domain.ContextID
	Executor domain.PublicKey
	Method   string
	Input    []byte
	Kind     CallKind
	State    State
	Budget   Budget
	Grants   []Grant
	// TimeFloor: time_now is max(clock, floor) and at least 4,000 ns more with each call (convergence.md §5), in ns since
	// 1970.
	TimeFloor uint64
	// HasPrivate attaches the private store.
	HasPrivate bool
	Detail     WriteDetail
}

// State leads the plugin's copy of the context's rows to Version (runtime-protocol.md §3). Epoch is never 0.
type State struct {
	Epoch, Version uint64
	Steps          []Step
	// Ahead are rows the core expects to be read.
	Ahead []Row
}

// Step leads from the version before it to To.
type Step struct {
	To uint64
	// AcceptExec adds the overlay of that execution to the copy; 0 = none. Then Rows, then Forget.
	AcceptExec uint64
	Rows       []Row
	Forget     []Key
	// Reset empties the copy first.
	Reset bool
}

// Budget bounds an execution. Fuel and DeadlineMillis may not be 0.
type Budget struct {
	// Fuel is in instructions.
	Fuel uint64
	// DeadlineMillis is what is left of the caller's time.
	DeadlineMillis uint32
	// MemoryPages caps the memory, in 64 KiB pages; 0 = 4,096.
	MemoryPages uint32
	Limits      Limits
}

// Grant allows host functions of a namespace.
type Grant struct {
	Namespace string
	Functions []string
	// Impure ones may be called in this run.
	Impure bool
}

// BlobPart is a piece (≤ SpillPart) of a blob being written.
type BlobPart struct {
	FD   uint32
	Data []byte
	Last bool
	// With Last:
	ID   domain.BlobID
	Size uint64
}

// Result is what an execution produced. Exactly one of Fault, AppError (non-nil), Value (non-nil) is set, or none: the
// guest returned nothing.
type Result struct {
	Value    []byte
	AppError []byte
	Fault    *Fault

	Logs   []string
	Events []Event
	XCalls []XCall
	// RootHash is nil when the guest did not commit.
	RootHash *domain.Hash
	Artifact []byte
	// Writes is the write-set in first-written order (sent also with a Fault: it may be ignored then).
	Writes []Row
	// Blobs are the blobs written and closed.
	Blobs []BlobRef
	// Read are the rows read from outside the overlay, first read first; empty for a run without misses.
	Read  []Key
	Usage Usage
}

// Event is an event in the order emitted; Handler is nil for none.
type Event struct {
	Kind    string
	Data    []byte
	Handler *string
}

// XCall is a call the core runs after the commit.
type XCall struct {
	Context  domain.ContextID
	Function string
	Params   []byte
}

// BlobRef is a blob written in a run.
type BlobRef struct {
	ID   domain.BlobID
	Size uint64
}

// Usage is what an execution used.
type Usage struct {
	Fuel        uint64
	WallMicros  uint64
	HostCalls   uint32
	Reads       uint32
	Misses      uint32
	RoundTrips  uint32
	PeakPages   uint32
	ClockRandom bool
	// Effects: an impure host function or a blob announce was answered; the execution may not be repeated.
	Effects bool
	// Time is the last value of time_now, in ns since 1970; 0 = it was not asked.
	Time uint64
}

// FaultKind classifies a failed execution; the numbers are part of the protocol.
type FaultKind uint8

const (
	// FaultCompilation to FaultHost are the reference's (guest-abi.md §4.4).
	FaultCompilation FaultKind = iota + 1
	FaultLink
	FaultMethod
	FaultTrap
	FaultHost
	FaultModuleSize
	// The rest are ours.
	FaultFuel
	FaultDeadline
	FaultMemory
	FaultCancelled
	FaultTooLarge
	FaultUnknownModule
	FaultRefused
)

// Fault is a failed execution; Text is what the caller sees.
type Fault struct {
	Kind FaultKind
	Text string
}

func (f *Fault) Error() string { return f.Text }

// AsError wraps the fault in an error of the kind nearest to it.
func (f *Fault) AsError() error {
	switch f.Kind {
	case FaultDeadline:
		return errkind.Deadline.Wrap(f)
	case FaultCancelled:
		return errkind.Canceled.Wrap(f)
	case FaultTooLarge, FaultModuleSize:
		return errkind.TooLarge.Wrap(f)
	case FaultFuel, FaultMemory:
		return errkind.Exhausted.Wrap(f)
	case FaultUnknownModule:
		return errkind.NotFound.Wrap(f)
	}
	return errkind.Invalid.Wrap(f)
}
