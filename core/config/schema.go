package config

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Bounds of a schema, which comes from another process.
const (
	maxSchemaDepth = 8
	maxSchemaItems = 1024
)

var itemForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// Decode decodes the plugin's config block with the schema the plugin gave: the value has the type s.ObjectType() and
// holds the defaults. The error is about the schema; complaints about the text are diagnostics.
func (p *Plugin) Decode(s base.Schema) (cty.Value, Diagnostics, error) {
	items := 0
	spec, err := objectSpec(s, 1, &items)
	if err != nil {
		return cty.NilVal, Diagnostics{}, errkind.Invalid.Errorf("%s has a config schema this build cannot use: %w", p.Title(), err)
	}
	body := p.body
	if body == nil {
		body = hcl.EmptyBody()
	}
	v, diags := hcldec.Decode(body, spec, nil)
	for _, d := range diags {
		if d.Subject == nil || d.Subject.Filename == "" {
			r := p.Range
			d.Subject = &r
		}
	}
	return v, Diagnostics{list: diags, files: p.masked(s)}, nil
}

func objectSpec(s base.Schema, depth int, items *int) (hcldec.ObjectSpec, error) {
	if depth > maxSchemaDepth {
		return nil, fmt.Errorf("its blocks are nested more than %d deep", maxSchemaDepth)
	}
	if *items += len(s.Attributes) + len(s.Blocks); *items > maxSchemaItems {
		return nil, fmt.Errorf("it has more than %d attributes and blocks", maxSchemaItems)
	}
	spec := hcldec.ObjectSpec{}
	for _, a := range s.Attributes {
		if err := checkItem(spec, a.Name); err != nil {
			return nil, err
		}
		one, err := attributeSpec(a)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", a.Name, err)
		}
		spec[a.Name] = one
	}
	for _, b := range s.Blocks {
		if err := checkItem(spec, b.Name); err != nil {
			return nil, err
		}
		nested, err := objectSpec(b.Schema, depth+1, items)
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", b.Name, err)
		}
		if b.Repeated {
			spec[b.Name] = &hcldec.BlockListSpec{TypeName: b.Name, Nested: nested}
		} else {
			spec[b.Name] = &hcldec.BlockSpec{TypeName: b.Name, Nested: nested}
		}
	}
	return spec, nil
}

func checkItem(spec hcldec.ObjectSpec, name string) error {
	if !itemForm.MatchString(name) {
		return fmt.Errorf("the name %q is not lower-case letters, digits and '_'", name)
	}
	if _, ok := spec[name]; ok {
		return fmt.Errorf("the name %q stands twice", name)
	}
	return nil
}

func attributeSpec(a base.Attribute) (hcldec.Spec, error) {
	if a.Type == cty.NilType || a.Type.HasDynamicTypes() || !plain(a.Type, 1) {
		return nil, fmt.Errorf("its type must be made of string, number, bool, list, set, map, tuple and object")
	}
	one := &hcldec.AttrSpec{Name: a.Name, Type: a.Type, Required: a.Required}
	if a.Required || a.Default == cty.NilVal || a.Default.IsNull() {
		return one, nil
	}
	value, err := convert.Convert(a.Default, a.Type)
	if err != nil || !value.IsWhollyKnown() {
		return nil, fmt.Errorf("its default is not of its type %s", a.Type.FriendlyName())
	}
	return &hcldec.DefaultSpec{Primary: one, Default: &hcldec.LiteralSpec{Value: value}}, nil
}

// plain tells whether t is free of capsules and not too deep.
func plain(t cty.Type, depth int) bool {
	switch {
	case depth > maxSchemaDepth || t.IsCapsuleType():
		return false
	case t.IsCollectionType():
		return plain(t.ElementType(), depth+1)
	case t.IsTupleType():
		return !slices.ContainsFunc(t.TupleElementTypes(), func(e cty.Type) bool { return !plain(e, depth+1) })
	case t.IsObjectType():
		for _, e := range t.AttributeTypes() {
			if !plain(e, depth+1) {
				return false
			}
		}
	}
	return true
}

// Explain gives the plugin's own complaints about its config block their place in the file.
func (p *Plugin) Explain(s base.Schema, list diag.Diagnostics) Diagnostics {
	var out hcl.Diagnostics
	for _, x := range list {
		severity := hcl.DiagError
		if x.Severity == diag.Warning {
			severity = hcl.DiagWarning
		}
		r, known := p.locate(x.Path)
		detail := x.Detail
		if !known && len(x.Path) > 0 { // a default, which stands nowhere
			detail = fmt.Sprintf("%s: %s", diag.PathString(x.Path), detail)
		}
		out = append(out, &hcl.Diagnostic{
			Severity: severity, Subject: &r, Summary: fmt.Sprintf("%s: %s", p.Title(), x.Summary), Detail: detail,
		})
	}
	return Diagnostics{list: out, files: p.masked(s)}
}

// locate follows a path into the block as far as it leads; known tells whether its first step stands in the file.
func (p *Plugin) locate(steps []diag.Step) (r hcl.Range, known bool) {
	body, _ := p.body.(*hclsyntax.Body)
	r = p.Range
	if body == nil {
		return r, false
	}
	r = body.MissingItemRange()
	for len(steps) > 0 && body != nil {
		name, ok := steps[0].(string)
		if !ok {
			return r, known
		}
		steps = steps[1:]
		if a := body.Attributes[name]; a != nil {
			return locateValue(a.Expr, steps), true
		}
		var blocks []*hclsyntax.Block
		for _, b := range body.Blocks {
			if b.Type == name {
				blocks = append(blocks, b)
			}
		}
		if len(blocks) == 0 {
			return r, known
		}
		block := blocks[0]
		if len(steps) > 0 {
			if i, ok := steps[0].(int64); ok {
				if i < 0 || i >= int64(len(blocks)) {
					return block.DefRange(), true
				}
				block, steps = blocks[i], steps[1:]
			}
		}
		r, known, body = block.DefRange(), true, block.Body
	}
	return r, known
}

func locateValue(e hclsyntax.Expression, steps []diag.Step) hcl.Range {
	for len(steps) > 0 {
		var next hclsyntax.Expression
		switch x := e.(type) {
		case *hclsyntax.TupleConsExpr:
			if i, ok := steps[0].(int64); ok && i >= 0 && i < int64(len(x.Exprs)) {
				next = x.Exprs[i]
			}
		case *hclsyntax.ObjectConsExpr:
			for _, item := range x.Items {
				k, diags := item.KeyExpr.Value(nil)
				if !diags.HasErrors() && k.Type() == cty.String && !k.IsNull() && k.AsString() == stepKey(steps[0]) {
					next = item.ValueExpr
				}
			}
		}
		if next == nil {
			return e.Range()
		}
		e, steps = next, steps[1:]
	}
	return e.Range()
}

func stepKey(s diag.Step) string {
	switch s := s.(type) {
	case string:
		return s
	case diag.Key:
		return string(s)
	}
	return ""
}

// masked are the sources with the values of sensitive attributes blotted out, so that no message shows them.
func (p *Plugin) masked(s base.Schema) map[string]*hcl.File {
	body, _ := p.body.(*hclsyntax.Body)
	if body == nil {
		return p.files
	}
	var secret []hcl.Range
	sensitiveRanges(body, s, &secret)
	if len(secret) == 0 {
		return p.files
	}
	files := maps.Clone(p.files)
	for _, r := range secret {
		f := files[r.Filename]
		if f == nil || r.End.Byte > len(f.Bytes) {
			continue
		}
		src := bytes.Clone(f.Bytes)
		for i := r.Start.Byte; i < r.End.Byte; i++ {
			if src[i] != '\n' {
				src[i] = '*'
			}
		}
		files[r.Filename] = &hcl.File{Bytes: src, Nav: f.Nav}
	}
	return files
}

func sensitiveRanges(body *hclsyntax.Body, s base.Schema, to *[]hcl.Range) {
	for _, a := range s.Attributes {
		if x := body.Attributes[a.Name]; x != nil && a.Sensitive {
			*to = append(*to, x.Expr.Range())
		}
	}
	for _, b := range s.Blocks {
		for _, x := range body.Blocks {
			if x.Type == b.Name {
				sensitiveRanges(x.Body, b.Schema, to)
			}
		}
	}
}
