package config

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// evalContext has what expressions may name.
var evalContext = &hcl.EvalContext{Variables: map[string]cty.Value{"lib_ext": cty.StringVal(LibraryExtension())}}

// LibraryExtension is how the names of shared libraries end on this system, with the dot.
func LibraryExtension() string {
	if runtime.GOOS == "darwin" {
		return ".dylib"
	}
	return ".so"
}

// decoder reads blocks against a list of fields and collects every complaint.
type decoder struct {
	diags  hcl.Diagnostics
	ranges map[string]hcl.Range // by dotted path, for complaints after decoding
}

// field is one attribute; read takes its value, which is known and not null, and says what is wrong with it.
type field struct {
	name     string
	required bool
	read     func(v cty.Value) error
}

// child is one kind of nested block.
type child struct {
	name   string
	labels []string
	// many: any number of them; otherwise at most one.
	many bool
	read func(b *hcl.Block)
}

// body reads the attributes and blocks of one block; what stands for it in paths ("" at the top).
func (d *decoder) body(path string, b hcl.Body, fields []field, children []child) {
	schema := &hcl.BodySchema{}
	for _, f := range fields {
		schema.Attributes = append(schema.Attributes, hcl.AttributeSchema{Name: f.name, Required: f.required})
	}
	for _, c := range children {
		schema.Blocks = append(schema.Blocks, hcl.BlockHeaderSchema{Type: c.name, LabelNames: c.labels})
	}
	content, diags := b.Content(schema)
	d.diags = append(d.diags, diags...)
	for _, f := range fields {
		if a := content.Attributes[f.name]; a != nil {
			d.attribute(path, a, f)
		}
	}
	for _, c := range children {
		d.children(path, content.Blocks, c)
	}
}

func (d *decoder) attribute(path string, a *hcl.Attribute, f field) {
	d.ranges[join(path, f.name)] = a.Expr.Range()
	v, diags := a.Expr.Value(evalContext)
	d.diags = append(d.diags, diags...)
	if diags.HasErrors() {
		return
	}
	if v.IsNull() || !v.IsWhollyKnown() {
		if f.required {
			d.errorf(a.Expr.Range(), "Missing value", "%s must have a value; null is none.", join(path, f.name))
		}
		return
	}
	if err := f.read(v); err != nil {
		d.errorf(a.Expr.Range(), "Invalid value for "+join(path, f.name), "%s.", sentence(err))
	}
}

func (d *decoder) children(path string, blocks hcl.Blocks, c child) {
	var first *hcl.Block
	for _, b := range blocks {
		if b.Type != c.name {
			continue
		}
		if first != nil && !c.many {
			d.errorf(b.DefRange, "Duplicate "+join(path, c.name)+" block",
				"The block stands once; the first one is on line %d. Remove one of them.", first.DefRange.Start.Line)
			continue
		}
		first = b
		d.ranges[join(path, c.name)] = b.DefRange
		c.read(b)
	}
}

func (d *decoder) errorf(r hcl.Range, summary, format string, args ...any) {
	d.diags = append(d.diags, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &r,
	})
}

// warnf says that a value has no effect, or not the one that is meant.
func (d *decoder) warnf(r hcl.Range, summary, format string, args ...any) {
	d.diags = append(d.diags, &hcl.Diagnostic{
		Severity: hcl.DiagWarning, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: &r,
	})
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// sentence starts an error's text with a capital letter, as hcl's own diagnostics do.
func sentence(err error) string {
	s := err.Error()
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		s = string(s[0]-'a'+'A') + s[1:]
	}
	return strings.TrimSuffix(s, ".")
}

// didYouMean suggests the nearest of the known names, or lists them.
func didYouMean(given string, known []string) string {
	best, distance := "", 4
	for _, k := range known {
		if n := levenshtein.Distance(given, k, nil); n < distance {
			best, distance = k, n
		}
	}
	list := slices.Clone(known)
	for i, k := range list {
		list[i] = fmt.Sprintf("%q", k)
	}
	s := "use one of " + strings.Join(list, ", ")
	if best != "" {
		return fmt.Sprintf("did you mean %q? Otherwise %s", best, s)
	}
	return s
}
