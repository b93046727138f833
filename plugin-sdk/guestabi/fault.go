package guestabi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// Faults of host functions (guest-abi.md §4.4). The texts are the reference's.
var (
	ErrInvalidMemoryAccess = hostFault("invalid memory access")
	ErrBadUTF8             = hostFault("invalid UTF-8 string")
	ErrKeyLength           = hostFault("key length overflow")
	ErrValueLength         = hostFault("value length overflow")
	ErrLogLength           = hostFault("log size overflow")
	ErrLogs                = hostFault("logs overflow")
	ErrEvents              = hostFault("events overflow")
	ErrEventKindSize       = hostFault("event kind size overflow")
	ErrEventDataSize       = hostFault("event data size overflow")
	ErrXCalls              = hostFault("xcalls overflow")
	ErrXCallFunctionSize   = hostFault("xcall function size overflow")
	ErrXCallParamsSize     = hostFault("xcall params size overflow")
	ErrBlobsNotSupported   = hostFault("blob operations not supported (NodeClient not available)")
	ErrInvalidBlobHandle   = hostFault("invalid blob handle")
	ErrEd25519PublicKey    = hostFault("incorrect ed25519 public key")
	errExportKind          = hostFault("guest panicked: internal error: entered unreachable code")
	errEmptyMethodName     = methodFault("method name is empty")
	errTooManyHostCalls    = tooLarge("more than %d host calls", uint64(maxHostCalls))
)

func hostFault(text string) *runtime.Fault {
	return &runtime.Fault{Kind: runtime.FaultHost, Text: text}
}

func methodFault(text string) *runtime.Fault {
	return &runtime.Fault{Kind: runtime.FaultMethod, Text: text}
}

func tooLarge(format string, args ...any) *runtime.Fault {
	return &runtime.Fault{Kind: runtime.FaultTooLarge, Text: fmt.Sprintf(format, args...)}
}

// CompilationFault is a module that the engine refuses.
func CompilationFault(engineText string) *runtime.Fault {
	return &runtime.Fault{Kind: runtime.FaultCompilation, Text: "compilation error: " + engineText}
}

// LinkFault is an import that cannot be given.
func LinkFault(engineText string) *runtime.Fault {
	return &runtime.Fault{Kind: runtime.FaultLink, Text: "link error: " + engineText}
}

// ModuleSizeFault is a module of size bytes where at most limit are accepted.
func ModuleSizeFault(size, limit uint64) *runtime.Fault {
	return &runtime.Fault{Kind: runtime.FaultModuleSize,
		Text: fmt.Sprintf("module size limit (max_module_size) exceeded: %d bytes > %d bytes limit", size, limit)}
}

// MethodNotFound is a missing export.
func MethodNotFound(name string) *runtime.Fault {
	return methodFault("method " + quote(name) + " not found")
}

// InvalidSignature is an exported function that takes or gives something.
func InvalidSignature(name string) *runtime.Fault {
	return methodFault("method " + quote(name) + " has invalid signature: expected no arguments and no return value")
}

// InvalidRegister is a read of a register that was never set.
func InvalidRegister(id uint64) *runtime.Fault {
	return hostFault("invalid register id: " + strconv.FormatUint(id, 10))
}

// TooManyBlobHandles is one handle over limit.
func TooManyBlobHandles(limit uint64) *runtime.Fault {
	return hostFault(fmt.Sprintf("too many blob handles (max: %d)", limit))
}

// BlobBufferTooLarge is a blob_read of size bytes.
func BlobBufferTooLarge(size, limit uint64) *runtime.Fault {
	return hostFault(fmt.Sprintf("blob buffer too large (size: %d, max: %d)", size, limit))
}

// BlobWriteTooLarge is a blob_write of size bytes.
func BlobWriteTooLarge(size, limit uint64) *runtime.Fault {
	return hostFault(fmt.Sprintf("blob write too large (size: %d, max: %d)", size, limit))
}

// Location is where a guest says it panicked.
type Location struct {
	File         string
	Line, Column uint32
}

// GuestPanic is a panic the guest reported; at may be nil for an unknown place.
func GuestPanic(message string, at *Location) *runtime.Fault { return panicFault("guest", message, at) }

// HostPanic is a failure inside a host function.
func HostPanic(message string, at *Location) *runtime.Fault { return panicFault("host", message, at) }

// maxPanicText bounds a panic's text so that the result fits its frame.
const maxPanicText = 1 << 20

func panicFault(who, message string, at *Location) *runtime.Fault {
	text := who + " panicked: " + message
	if at != nil {
		text += fmt.Sprintf(" at %s:%d:%d", at.File, at.Line, at.Column)
	}
	if len(text) > maxPanicText {
		text = strings.ToValidUTF8(text[:maxPanicText], "") + " (cut)"
	}
	return hostFault(text)
}

// ExecutionErrorText is the text of an app error as callers see it.
func ExecutionErrorText(b []byte) string {
	out := make([]byte, 0, 40+5*len(b))
	out = append(out, "the method call returned an error: ["...)
	for i, c := range b {
		if i > 0 {
			out = append(out, ", "...)
		}
		out = strconv.AppendUint(out, uint64(c), 10)
	}
	return string(append(out, ']'))
}

// Trap is why an engine stopped a guest (guest-abi.md §4.3).
type Trap uint8

// The traps the reference tells apart.
const (
	TrapIndeterminate Trap = iota
	TrapStackOverflow
	TrapMemoryOutOfBounds
	TrapHeapMisaligned
	TrapTableOutOfBounds
	TrapIndirectCallToNull
	TrapBadSignature
	TrapIllegalArithmetic
	TrapUnreachable
	TrapUnalignedAtomic
)

var trapTexts = [...]string{
	TrapIndeterminate:      "indeterminate trap",
	TrapStackOverflow:      "stack overflow",
	TrapMemoryOutOfBounds:  "memory out of bounds",
	TrapHeapMisaligned:     "heap misaligned",
	TrapTableOutOfBounds:   "table access out of bounds",
	TrapIndirectCallToNull: "indirect call to null",
	TrapBadSignature:       "bad signature",
	TrapIllegalArithmetic:  "illegal arithmetic operation",
	TrapUnreachable:        "unreachable code reached",
	TrapUnalignedAtomic:    "unaligned atomic operation",
}

// Fault returns the fault with the reference's text.
func (t Trap) Fault() *runtime.Fault {
	if int(t) >= len(trapTexts) {
		t = TrapIndeterminate
	}
	return &runtime.Fault{Kind: runtime.FaultTrap, Text: trapTexts[t]}
}

func (t Trap) Error() string { return t.Fault().Text }

// AsFault returns the fault err stands for: a Fault or Trap in its chain. Any
// other error is the host's own failure, not the guest's, and gives nil.
func AsFault(err error) *runtime.Fault {
	var f *runtime.Fault
	if errors.As(err, &f) {
		return f
	}
	var t Trap
	if errors.As(err, &t) {
		return t.Fault()
	}
	return nil
}

// CheckMethod applies the rules for method names: not empty, at most limit
// bytes, ASCII letters, digits and underscores.
func CheckMethod(name string, limit uint64) *runtime.Fault {
	if name == "" {
		return errEmptyMethodName
	}
	if uint64(len(name)) > limit {
		return methodFault(fmt.Sprintf("method name too long: %d bytes (max: %d)", len(name), limit))
	}
	position := 0
	for _, c := range name {
		if c > unicode.MaxASCII || c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return methodFault(fmt.Sprintf("method name contains invalid character at position %d: '%s'", position, escape(c, '\'')))
		}
		position++
	}
	return nil
}

// quote writes a string the way Rust's debug format does.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		b.WriteString(escape(c, '"'))
	}
	b.WriteByte('"')
	return b.String()
}

func escape(c, delimiter rune) string {
	switch c {
	case 0:
		return `\0`
	case '\t':
		return `\t`
	case '\r':
		return `\r`
	case '\n':
		return `\n`
	case '\\', delimiter:
		return `\` + string(c)
	}
	if c == utf8.RuneError || unicode.IsPrint(c) && !unicode.In(c, unicode.Mn, unicode.Me) {
		return string(c)
	}
	return fmt.Sprintf(`\u{%x}`, c)
}
