package diag

import (
	"unicode/utf8"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	basev1 "github.com/calimero-go/core/plugin-sdk/proto/base/v1"
)

// Bounds of diagnostics received from another process.
const (
	MaxDiagnostics = 1000
	MaxText        = 16 << 10
	MaxPath        = 64
)

// ToProto makes the wire form. Text over MaxText is cut, diagnostics over MaxDiagnostics and path steps over MaxPath
// are left out.
func ToProto(ds Diagnostics) []*basev1.Diagnostic {
	if len(ds) > MaxDiagnostics {
		ds = ds[:MaxDiagnostics]
	}
	out := make([]*basev1.Diagnostic, 0, len(ds))
	for _, d := range ds {
		p := &basev1.Diagnostic{Severity: basev1.Diagnostic_SEVERITY_ERROR, Summary: cut(d.Summary), Detail: cut(d.Detail)}
		if d.Severity == Warning {
			p.Severity = basev1.Diagnostic_SEVERITY_WARNING
		}
		for _, s := range d.Path[:min(len(d.Path), MaxPath)] {
			p.Path = append(p.Path, stepToProto(s))
		}
		out = append(out, p)
	}
	return out
}

func stepToProto(s Step) *basev1.Step {
	switch s := s.(type) {
	case string:
		return &basev1.Step{Step: &basev1.Step_Name{Name: cut(s)}}
	case Key:
		return &basev1.Step{Step: &basev1.Step_Key{Key: cut(string(s))}}
	case int:
		return &basev1.Step{Step: &basev1.Step_Index{Index: int64(s)}}
	case int64:
		return &basev1.Step{Step: &basev1.Step_Index{Index: s}}
	}
	return &basev1.Step{} // an unknown step ends the path on the other side
}

func cut(s string) string {
	if len(s) <= MaxText {
		return s
	}
	s = s[:MaxText]
	for len(s) > 0 && !utf8.ValidString(s[len(s)-min(len(s), utf8.UTFMax):]) {
		r, size := utf8.DecodeLastRuneInString(s)
		if r != utf8.RuneError || size != 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s
}

// FromProto reads the wire form. A severity it does not know is an error's, a step it does not know ends the path. More
// or longer than the bounds is an error of kind TooLarge.
func FromProto(ps []*basev1.Diagnostic) (Diagnostics, error) {
	if len(ps) > MaxDiagnostics {
		return nil, errkind.TooLarge.Errorf("read diagnostics: %d of them, the limit is %d", len(ps), MaxDiagnostics)
	}
	var out Diagnostics
	for _, p := range ps {
		if n := max(len(p.GetSummary()), len(p.GetDetail())); n > MaxText {
			return nil, errkind.TooLarge.Errorf("read diagnostics: a text of %d bytes, the limit is %d", n, MaxText)
		}
		if n := len(p.GetPath()); n > MaxPath {
			return nil, errkind.TooLarge.Errorf("read diagnostics: a path of %d steps, the limit is %d", n, MaxPath)
		}
		d := Diagnostic{Severity: Error, Summary: p.GetSummary(), Detail: p.GetDetail()}
		if p.GetSeverity() == basev1.Diagnostic_SEVERITY_WARNING {
			d.Severity = Warning
		}
		for _, s := range p.GetPath() {
			step := stepFromProto(s)
			if step == nil {
				break
			}
			d.Path = append(d.Path, step)
		}
		out = append(out, d)
	}
	return out, nil
}

func stepFromProto(s *basev1.Step) Step {
	switch s := s.GetStep().(type) {
	case *basev1.Step_Name:
		return s.Name
	case *basev1.Step_Index:
		return s.Index
	case *basev1.Step_Key:
		return Key(s.Key)
	}
	return nil
}
