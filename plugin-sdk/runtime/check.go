package runtime

import (
	"strings"
	"unicode/utf8"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// maxGrantBytes bounds the names in the grants of one Execute, maxMethodBytes the method's: the runtime refuses
	// names far below it, with the texts callers know.
	maxGrantBytes  = 1 << 20
	maxMethodBytes = 64 << 10
	// maxResultBytes bounds logs, events, xcalls and blobs of one Result together, so that it fits a message.
	maxResultBytes = 12 << 20
)

// MaxWriteBytes bounds the rows one execution writes, keys and values added up.
const MaxWriteBytes = 128 << 20

// Size is what a row counts in the bounds of steps, writes and read-ahead.
func (r *Row) Size() int {
	switch {
	case r.Digest != nil:
		return len(r.K) + len(r.Digest.Entity) + len(r.Digest.Sum)
	case len(r.Edits) == 0:
		return len(r.K) + len(r.Value)
	}
	size := len(r.K)
	for i := range r.Edits {
		size += len(r.Edits[i].Ins) + editSize
	}
	return size
}

// editSize is about what an edit takes besides its bytes.
const editSize = 16

// Size is what a step counts in MaxStepBytes.
func (s *Step) Size() int {
	size := len(s.Forget) * len(Key{}.K)
	for i := range s.Rows {
		size += s.Rows[i].Size()
	}
	return size
}

// Check refuses an execution that no plugin takes: kind Invalid for what is wrong, TooLarge for what is over a bound.
func (e *Execute) Check() error {
	switch {
	case e.ID == 0:
		return errkind.Invalid.Errorf("execution has id 0")
	case e.State.Epoch == 0:
		return errkind.Invalid.Errorf("execution %d has epoch 0", e.ID)
	case e.Budget.Fuel == 0:
		return errkind.Invalid.Errorf("execution %d has no fuel", e.ID)
	case e.Budget.DeadlineMillis == 0:
		return errkind.Invalid.Errorf("execution %d has no deadline", e.ID)
	case e.Kind < Call || e.Kind > Migrate:
		return errkind.Invalid.Errorf("execution %d has unknown kind %d", e.ID, e.Kind)
	case e.Detail < WritesNone || e.Detail > WritesFull:
		return errkind.Invalid.Errorf("execution %d has unknown write detail %d", e.ID, e.Detail)
	case len(e.Method) > maxMethodBytes:
		return errkind.TooLarge.Errorf("method name of %d bytes, the limit is %d", len(e.Method), maxMethodBytes)
	case !utf8.ValidString(e.Method):
		return errkind.Invalid.Errorf("method name is not UTF-8")
	case len(e.State.Steps) > MaxSteps:
		return errkind.TooLarge.Errorf("%d steps lead to the state, the limit is %d: reset the copy instead",
			len(e.State.Steps), MaxSteps)
	}
	size := 0
	for i := range e.State.Steps {
		size += e.State.Steps[i].Size()
	}
	if size > MaxStepBytes {
		return errkind.TooLarge.Errorf("steps of %d bytes lead to the state, the limit is %d: reset the copy instead", size,
			MaxStepBytes)
	}
	size = 0
	for _, g := range e.Grants {
		size += len(g.Namespace) + 16
		for _, f := range g.Functions {
			size += len(f) + 8
		}
	}
	if size > maxGrantBytes {
		return errkind.TooLarge.Errorf("grants of %d bytes, the limit is %d", size, maxGrantBytes)
	}
	return nil
}

// fitting are the rows ahead that fit MaxReadAhead: they are a guess, and leaving some out costs only time.
func fitting(ahead []Row) []Row {
	size := 0
	for i := range ahead {
		if size += ahead[i].Size(); size > MaxReadAhead {
			return ahead[:i]
		}
	}
	return ahead
}

func checkAhead(ahead []Row) error {
	if n := len(fitting(ahead)); n < len(ahead) {
		return errkind.TooLarge.Errorf("rows ahead take more than %d bytes", MaxReadAhead)
	}
	return nil
}

// Check refuses a result over the bounds of the protocol or of the limits the execution ran under.
func (r *Result) Check(l Limits) error {
	if len(r.Writes) > MaxWrites {
		return errkind.TooLarge.Errorf("the execution wrote %d rows, the limit is %d", len(r.Writes), MaxWrites)
	}
	l = l.WithDefaults()
	written := 0
	for i := range r.Writes {
		if n := uint64(len(r.Writes[i].Value)); n > l.MaxStorageValueSize {
			return over("value written", n, l.MaxStorageValueSize)
		}
		written += r.Writes[i].Size()
	}
	if written > MaxWriteBytes {
		return over("rows written, in bytes", uint64(written), MaxWriteBytes)
	}
	if n := uint64(len(r.Logs)); n > l.MaxLogs {
		return over("number of logs", n, l.MaxLogs)
	}
	if n := uint64(len(r.Events)); n > l.MaxEvents {
		return over("number of events", n, l.MaxEvents)
	}
	if n := uint64(len(r.XCalls)); n > l.MaxXCalls {
		return over("number of xcalls", n, l.MaxXCalls)
	}
	size := len(r.Blobs) * 64
	for _, s := range r.Logs {
		if n := uint64(len(s)); n > l.MaxLogSize {
			return over("log", n, l.MaxLogSize)
		}
		if !utf8.ValidString(s) {
			return notText("log")
		}
		size += len(s)
	}
	for i := range r.Events {
		ev := &r.Events[i]
		if n := uint64(len(ev.Kind)); n > l.MaxEventKindSize {
			return over("kind of an event", n, l.MaxEventKindSize)
		}
		if n := uint64(len(ev.Data)); n > l.MaxEventDataSize {
			return over("data of an event", n, l.MaxEventDataSize)
		}
		if !utf8.ValidString(ev.Kind) || ev.Handler != nil && !utf8.ValidString(*ev.Handler) {
			return notText("kind or handler of an event")
		}
		size += len(ev.Kind) + len(ev.Data)
		if ev.Handler != nil {
			size += len(*ev.Handler)
		}
	}
	for i := range r.XCalls {
		x := &r.XCalls[i]
		if n := uint64(len(x.Function)); n > l.MaxXCallFunctionSize {
			return over("function of an xcall", n, l.MaxXCallFunctionSize)
		}
		if n := uint64(len(x.Params)); n > l.MaxXCallParamsSize {
			return over("params of an xcall", n, l.MaxXCallParamsSize)
		}
		if !utf8.ValidString(x.Function) {
			return notText("function of an xcall")
		}
		size += len(x.Function) + len(x.Params)
	}
	if size > maxResultBytes {
		return over("logs, events, xcalls and blobs together", uint64(size), maxResultBytes)
	}
	return nil
}

func over(what string, n, limit uint64) error {
	return errkind.TooLarge.Errorf("result over a limit: %s: %d, the limit is %d", what, n, limit)
}

func notText(what string) error {
	return errkind.Invalid.Errorf("result has a %s that is not UTF-8", what)
}

// validUTF8 makes text fit a protobuf string; guests may put any bytes into a panic message.
func validUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
