package config

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Diagnostics are all complaints about the configuration, with the text they point into. They are not an error
// themselves: warnings alone must not fail. The zero value has none.
type Diagnostics struct {
	list  hcl.Diagnostics
	files map[string]*hcl.File
}

// HasErrors tells whether there is anything but warnings.
func (d Diagnostics) HasErrors() bool { return d.list.HasErrors() }

// Len is the number of errors and warnings.
func (d Diagnostics) Len() int { return len(d.list) }

// Warnings are the warnings alone.
func (d Diagnostics) Warnings() Diagnostics {
	return Diagnostics{list: slices.DeleteFunc(slices.Clone(d.list), func(x *hcl.Diagnostic) bool {
		return x.Severity == hcl.DiagError
	}), files: d.files}
}

// Err is nil unless there are errors; then it is one error of kind Invalid with the printed diagnostics.
func (d Diagnostics) Err() error {
	if !d.HasErrors() {
		return nil
	}
	return errkind.Invalid.Errorf("%s", strings.TrimRight(d.String(), "\n"))
}

// String prints the diagnostics without colour and without wrapping.
func (d Diagnostics) String() string {
	var b strings.Builder
	_ = d.Write(&b, 0, false) // a Builder never fails
	return b.String()
}

// Write prints each diagnostic with file, line, column and the lines of the source, errors first. width wraps the text,
// 0 does not.
func (d Diagnostics) Write(w io.Writer, width uint, color bool) error {
	list := slices.Clone(d.list)
	slices.SortStableFunc(list, func(a, b *hcl.Diagnostic) int {
		if a.Severity != b.Severity {
			return int(a.Severity) - int(b.Severity)
		}
		if a.Subject == nil || b.Subject == nil || a.Subject.Filename != b.Subject.Filename {
			return 0
		}
		return a.Subject.Start.Byte - b.Subject.Start.Byte
	})
	for _, x := range list {
		var buf bytes.Buffer
		if err := hcl.NewDiagnosticTextWriter(&buf, d.files, width, color).WriteDiagnostic(x); err != nil {
			return fmt.Errorf("print diagnostic: %w", err)
		}
		text := buf.String()
		if x.Subject != nil {
			line := fmt.Sprintf("on %s line %d", x.Subject.Filename, x.Subject.Start.Line)
			text = strings.Replace(text, line, fmt.Sprintf("%s, column %d", line, x.Subject.Start.Column), 1)
		}
		if _, err := io.WriteString(w, text); err != nil {
			return fmt.Errorf("print diagnostic: %w", err)
		}
	}
	return nil
}

// and joins the diagnostics of two sources.
func (d Diagnostics) and(o Diagnostics) Diagnostics {
	files := make(map[string]*hcl.File, len(d.files)+len(o.files))
	for name, f := range d.files {
		files[name] = f
	}
	for name, f := range o.files {
		files[name] = f
	}
	return Diagnostics{list: slices.Concat(d.list, o.list), files: files}
}

// failure is a diagnostic without a place in a file.
func failure(summary, format string, args ...any) Diagnostics {
	return Diagnostics{list: hcl.Diagnostics{{
		Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...),
	}}}
}
