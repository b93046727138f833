package wasmer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/guestabi"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/runtime-wasmer/internal/engine"
)

// trapTexts maps the engine's texts to the reference's traps (guest-abi.md §4.3);
// the first that is contained counts.
var trapTexts = []struct {
	text string
	trap guestabi.Trap
}{
	{"call stack exhausted", guestabi.TrapStackOverflow},
	{"misaligned", guestabi.TrapHeapMisaligned},
	{"unaligned atomic", guestabi.TrapUnalignedAtomic},
	{"uninitialized element", guestabi.TrapIndirectCallToNull},
	{"indirect call type mismatch", guestabi.TrapBadSignature},
	{"undefined element", guestabi.TrapMemoryOutOfBounds},
	{"out of bounds", guestabi.TrapMemoryOutOfBounds},
	{"integer divide by zero", guestabi.TrapIllegalArithmetic},
	{"integer overflow", guestabi.TrapIllegalArithmetic},
	{"invalid conversion to integer", guestabi.TrapIllegalArithmetic},
	{"unreachable", guestabi.TrapUnreachable},
}

func trapOf(message string) guestabi.Trap {
	for _, t := range trapTexts {
		if strings.Contains(message, t.text) {
			return t.trap
		}
	}
	return guestabi.TrapIndeterminate
}

// stopFault says why an execution was stopped; nil while it may go on.
func stopFault(ctx context.Context, millis uint32) *runtime.Fault {
	switch {
	case ctx.Err() == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return deadlineFault(millis)
	}
	return cancelFault(context.Cause(ctx))
}

func deadlineFault(millis uint32) *runtime.Fault {
	return &runtime.Fault{Kind: runtime.FaultDeadline, Text: fmt.Sprintf("deadline exceeded: the call did not end within %d ms", millis)}
}

func cancelFault(cause error) *runtime.Fault {
	text := "cancelled"
	if cause != nil && !errors.Is(cause, context.Canceled) {
		text += ": " + cause.Error()
	}
	return &runtime.Fault{Kind: runtime.FaultCancelled, Text: text}
}

// callError turns what a call of the engine ended with into what guestabi expects.
func (r *run) callError(err error) error {
	var trap *engine.TrapError
	var bug *engine.HostPanic
	switch {
	case errors.As(err, &bug):
		return guestabi.HostPanic(bug.Value, nil)
	case !errors.As(err, &trap):
		return err
	case trap.StackOverflow:
		return guestabi.TrapStackOverflow
	case trap.Exhausted:
		return &runtime.Fault{Kind: runtime.FaultFuel, Text: fmt.Sprintf("instruction budget exhausted: the call used all of its %d instructions", r.e.Budget.Fuel)}
	}
	t := trapOf(trap.Message)
	if f := r.stopped(); f != nil && t == guestabi.TrapUnreachable {
		return f
	}
	// An allocator that gets no more memory ends the guest with unreachable.
	if used := r.runner.MemoryBytes() / pageSize; t == guestabi.TrapUnreachable && used > int(r.pages)/2 {
		return &runtime.Fault{Kind: runtime.FaultMemory, Text: fmt.Sprintf("%v, with %d of at most %d memory pages in use", t, used, r.pages)}
	}
	return t
}
