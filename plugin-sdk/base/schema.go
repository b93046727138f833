package base

import (
	"regexp"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	basev1 "github.com/calimero-go/core/plugin-sdk/proto/base/v1"
)

// Bounds of what a plugin says about itself.
const (
	// MaxSchemaDepth is how deep blocks nest, MaxSchemaItems how many attributes and blocks there are in all.
	MaxSchemaDepth = 8
	MaxSchemaItems = 1024
	// MaxConfigBytes bounds the JSON of a config block, of a default and of a type.
	MaxConfigBytes = 4 << 20
)

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,63}$`)

func schemaToProto(s Schema) (*basev1.Schema, error) {
	out := &basev1.Schema{}
	for _, a := range s.Attributes {
		if a.Type == cty.NilType {
			return nil, errkind.Internal.Errorf("encode schema: attribute %q has no type", a.Name)
		}
		t, err := ctyjson.MarshalType(a.Type)
		if err != nil {
			return nil, errkind.Internal.Errorf("encode schema: type of attribute %q: %w", a.Name, err)
		}
		p := &basev1.Attribute{Name: a.Name, Type: t, Required: a.Required, Doc: a.Doc, Sensitive: a.Sensitive}
		if a.Default != cty.NilVal {
			p.DefaultValue, err = ctyjson.Marshal(a.Default, a.Type)
			if err != nil {
				return nil, errkind.Internal.Errorf("encode schema: default of attribute %q: %w", a.Name, err)
			}
		}
		out.Attributes = append(out.Attributes, p)
	}
	for _, b := range s.Blocks {
		inner, err := schemaToProto(b.Schema)
		if err != nil {
			return nil, errkind.Internal.Errorf("block %q: %w", b.Name, err)
		}
		out.Blocks = append(out.Blocks, &basev1.Block{Name: b.Name, Schema: inner, Repeated: b.Repeated, Doc: b.Doc})
	}
	return out, nil
}

func schemaFromProto(p *basev1.Schema) (Schema, error) {
	items := 0
	return decodeSchema(p, 0, &items)
}

func decodeSchema(p *basev1.Schema, depth int, items *int) (Schema, error) {
	if depth > MaxSchemaDepth {
		return Schema{}, errkind.TooLarge.Errorf("decode schema: blocks nest deeper than %d", MaxSchemaDepth)
	}
	if *items += len(p.GetAttributes()) + len(p.GetBlocks()); *items > MaxSchemaItems {
		return Schema{}, errkind.TooLarge.Errorf("decode schema: more than %d attributes and blocks", MaxSchemaItems)
	}
	var out Schema
	seen := make(map[string]bool)
	name := func(n string) error {
		if !identifier.MatchString(n) {
			return errkind.Invalid.Errorf("decode schema: %q is not a name for an attribute or block", n)
		}
		if seen[n] {
			return errkind.Invalid.Errorf("decode schema: %q stands twice", n)
		}
		seen[n] = true
		return nil
	}
	for _, a := range p.GetAttributes() {
		if err := name(a.GetName()); err != nil {
			return Schema{}, err
		}
		if n := max(len(a.GetType()), len(a.GetDefaultValue())); n > MaxConfigBytes {
			return Schema{}, errkind.TooLarge.Errorf("decode schema: attribute %q takes %d bytes, the limit is %d",
				a.GetName(), n, MaxConfigBytes)
		}
		t, err := ctyjson.UnmarshalType(a.GetType())
		if err != nil {
			return Schema{}, errkind.Invalid.Errorf("decode schema: type of attribute %q: %w", a.GetName(), err)
		}
		x := Attribute{Name: a.GetName(), Type: t, Required: a.GetRequired(), Doc: a.GetDoc(), Sensitive: a.GetSensitive()}
		if len(a.GetDefaultValue()) > 0 {
			x.Default, err = ctyjson.Unmarshal(a.GetDefaultValue(), t)
			if err != nil {
				return Schema{}, errkind.Invalid.Errorf("decode schema: default of attribute %q: %w", a.GetName(), err)
			}
		}
		out.Attributes = append(out.Attributes, x)
	}
	for _, b := range p.GetBlocks() {
		if err := name(b.GetName()); err != nil {
			return Schema{}, err
		}
		inner, err := decodeSchema(b.GetSchema(), depth+1, items)
		if err != nil {
			return Schema{}, err
		}
		out.Blocks = append(out.Blocks, Block{Name: b.GetName(), Schema: inner, Repeated: b.GetRepeated(), Doc: b.GetDoc()})
	}
	return out, nil
}

func encodeValue(v cty.Value, t cty.Type) ([]byte, error) {
	if v == cty.NilVal {
		return nil, errkind.Invalid.Errorf("encode config: there is no value")
	}
	if !v.IsWhollyKnown() || v.ContainsMarked() {
		return nil, errkind.Invalid.Errorf("encode config: the value has unknown or marked parts")
	}
	if errs := v.Type().TestConformance(t); len(errs) > 0 {
		return nil, errkind.Invalid.Errorf("encode config: the value does not fit the plugin's schema: %w", errs[0])
	}
	data, err := ctyjson.Marshal(v, t)
	if err != nil {
		return nil, errkind.Invalid.Errorf("encode config: %w", err)
	}
	if len(data) > MaxConfigBytes {
		return nil, errkind.TooLarge.Errorf("encode config: %d bytes, the limit is %d", len(data), MaxConfigBytes)
	}
	return data, nil
}

func decodeValue(data []byte, t cty.Type) (cty.Value, error) {
	if len(data) > MaxConfigBytes {
		return cty.NilVal, errkind.TooLarge.Errorf("decode config: %d bytes, the limit is %d", len(data), MaxConfigBytes)
	}
	v, err := ctyjson.Unmarshal(data, t)
	if err != nil {
		return cty.NilVal, errkind.Invalid.Errorf("decode config: %w", err)
	}
	return v, nil
}
