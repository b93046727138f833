package pluginhost

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Bounds of what a plugin writes into the node's log.
const (
	maxLine       = 16 << 10 // bytes; longer lines are cut
	maxTail       = 16 << 10 // bytes of unstructured stderr kept for a report
	maxAttributes = 64       // of one log line
	maxStrayRate  = 200      // unstructured lines per second
)

// LevelTrace is below slog's debug.
const LevelTrace = slog.Level(-8)

// output takes what one process writes: hclog's JSON lines become log records, anything else a warning. The last
// unstructured lines of stderr are kept: a panic's stack is among them.
type output struct {
	log *slog.Logger

	mu      sync.Mutex
	tail    []byte
	second  time.Time
	strays  int
	dropped int
}

// readLines calls line for each line of r, without its end and cut at most bytes, until r ends.
func readLines(r io.Reader, most int, line func(line []byte, cut bool)) {
	b := bufio.NewReaderSize(r, most)
	for {
		text, err := b.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if len(text) > 0 {
			line(bytes.TrimRight(text, "\r\n"), cut)
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = b.ReadSlice('\n')
		}
		if err != nil {
			return
		}
	}
}

func (o *output) readStderr(r io.Reader) {
	readLines(r, maxLine, func(line []byte, cut bool) {
		if !cut && o.record(line) {
			return
		}
		o.keep(line)
		o.stray("stderr", line)
	})
}

// record logs a line of hclog's JSON form.
func (o *output) record(line []byte) bool {
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return false
	}
	level, ok1 := fields["@level"].(string)
	message, ok2 := fields["@message"].(string)
	if !ok1 || !ok2 {
		return false
	}
	attrs := make([]slog.Attr, 0, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if len(attrs) == maxAttributes {
			break
		}
		switch {
		case name == "@module":
			attrs = append(attrs, slog.Any("module", fields[name]))
		case !strings.HasPrefix(name, "@"):
			attrs = append(attrs, slog.Any(name, fields[name]))
		}
	}
	o.log.LogAttrs(context.Background(), slogLevel(hclog.LevelFromString(level)), message, attrs...)
	return true
}

// stray logs a line nobody should have printed, as a warning; a flood is counted, not logged.
func (o *output) stray(stream string, line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	o.mu.Lock()
	now := time.Now()
	dropped := 0
	if now.Sub(o.second) >= time.Second {
		o.second, o.strays = now, 0
		dropped, o.dropped = o.dropped, 0
	}
	o.strays++
	over := o.strays > maxStrayRate
	if over {
		o.dropped++
	}
	o.mu.Unlock()
	if dropped > 0 {
		o.log.Warn("plugin prints too much; lines were dropped", "lines", dropped)
	}
	if !over {
		o.log.Warn("plugin printed", "stream", stream, "text", strings.ToValidUTF8(string(line), "\uFFFD"))
	}
}

func (o *output) keep(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(append(o.tail, line...), '\n')
	if n := len(o.tail); n > 2*maxTail {
		o.tail = slices.Delete(o.tail, 0, n-maxTail)
	}
}

// last is the end of the unstructured stderr, from the start of a panic if there is one.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := strings.ToValidUTF8(string(o.tail), "\uFFFD")
	for _, start := range []string{"panic: ", "fatal error: ", "SIGSEGV: ", "SIGABRT: "} {
		if i := strings.LastIndex("\n"+text, "\n"+start); i >= 0 {
			text = text[i:]
			return strings.TrimSpace(text[:min(len(text), maxTail)])
		}
	}
	return strings.TrimSpace(text[max(0, len(text)-maxTail):])
}

// strayWriter takes what a plugin prints after the handshake, which travels over gRPC in pieces.
type strayWriter struct {
	out    *output
	stream string

	mu   sync.Mutex
	line []byte
}

func (w *strayWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for rest := p; len(rest) > 0; {
		text, after, whole := bytes.Cut(rest, []byte{'\n'})
		w.line = append(w.line, text[:min(len(text), maxLine-len(w.line))]...)
		if !whole {
			break
		}
		w.flush()
		rest = after
	}
	return len(p), nil
}

// flush logs the line so far; the caller holds mu.
func (w *strayWriter) flush() {
	if w.stream != "stderr" || !w.out.record(w.line) {
		w.out.stray(w.stream, w.line)
	}
	w.line = w.line[:0]
}

// Close logs a last line without end.
func (w *strayWriter) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return LevelTrace
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// libraryLogger passes what go-plugin itself logs on, at debug: the host says in its own words what matters.
func libraryLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	l.RegisterSink(sink{log})
	return l
}

type sink struct{ log *slog.Logger }

// Accept gets every record of the logger.
func (s sink) Accept(_ string, level hclog.Level, message string, args ...any) {
	if level < hclog.Debug {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	s.log.Debug("go-plugin: "+message, args...)
}
