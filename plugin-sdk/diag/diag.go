// Package diag carries complaints about configuration: a title, what to do, and a path into the config block. The
// plugin reports the path; the host, which owns the text, turns it into file, line and column.
package diag

import (
	"fmt"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Severity tells whether a diagnostic stops the start.
type Severity uint8

const (
	// Error stops the start.
	Error Severity = 1
	// Warning is printed and logged.
	Warning Severity = 2
)

// Step is one step of a path: an attribute or block name (string), an element of a list (int64), or a key of a map
// (Key).
type Step any

// Key is a step into a map.
type Key string

// Diagnostic is one complaint.
type Diagnostic struct {
	Severity Severity
	// Summary is a short title, Detail says what is wrong and how to fix it.
	Summary, Detail string
	// Path leads to the part complained about; empty = the whole block.
	Path []Step
}

// Diagnostics are all complaints about one thing. They are not an error themselves: warnings alone must not fail.
type Diagnostics []Diagnostic

// Errorf appends an error about path.
func (d *Diagnostics) Errorf(path []Step, summary, format string, args ...any) {
	*d = append(*d, Diagnostic{Severity: Error, Summary: summary, Detail: fmt.Sprintf(format, args...), Path: path})
}

// Warnf appends a warning about path.
func (d *Diagnostics) Warnf(path []Step, summary, format string, args ...any) {
	*d = append(*d, Diagnostic{Severity: Warning, Summary: summary, Detail: fmt.Sprintf(format, args...), Path: path})
}

// HasErrors tells whether there is anything but warnings.
func (d Diagnostics) HasErrors() bool {
	for _, x := range d {
		if x.Severity != Warning {
			return true
		}
	}
	return false
}

// Err is nil unless there are errors; then it is one error of kind Invalid with all of them.
func (d Diagnostics) Err() error {
	if !d.HasErrors() {
		return nil
	}
	var lines []string
	for _, x := range d {
		if x.Severity != Warning {
			lines = append(lines, x.String())
		}
	}
	return errkind.Invalid.Errorf("%s", strings.Join(lines, "\n"))
}

// String is "path: summary: detail" on one line.
func (d Diagnostic) String() string {
	s := d.Summary
	if d.Detail != "" {
		s += ": " + d.Detail
	}
	if len(d.Path) > 0 {
		s = PathString(d.Path) + ": " + s
	}
	return s
}

// PathString prints a path as in `listen[0].port` or `labels["a"]`.
func PathString(path []Step) string {
	var b strings.Builder
	for _, s := range path {
		switch s := s.(type) {
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s)
		case Key:
			fmt.Fprintf(&b, "[%q]", string(s))
		default:
			fmt.Fprintf(&b, "[%v]", s)
		}
	}
	return b.String()
}
