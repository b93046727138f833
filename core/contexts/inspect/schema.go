package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// Schema is an application's ABI or state schema in the format wasm-abi/1 (network-apps.md §5): the types of its state.
// It writes narrow integers as 32-bit ones, so that values which contain them cannot be decoded with it.
type Schema struct {
	raw   json.RawMessage
	types map[string]*typ
	root  *typ
}

// MaxSchema bounds a schema in bytes.
const MaxSchema = 4 << 20

const schemaVersion = "wasm-abi/1"

// ParseSchema reads an ABI or state schema.
func ParseSchema(in []byte) (*Schema, error) {
	var s Schema
	if err := s.UnmarshalJSON(in); err != nil {
		return nil, errkind.Invalid.Errorf("read schema: %w", err)
	}
	return &s, nil
}

// MarshalJSON returns the schema as it was read.
func (s Schema) MarshalJSON() ([]byte, error) { return s.raw, nil }

// UnmarshalJSON reads a schema.
func (s *Schema) UnmarshalJSON(in []byte) error {
	if len(in) > MaxSchema {
		return errkind.TooLarge.Errorf("it has %d bytes, limit %d", len(in), MaxSchema)
	}
	var file struct {
		Version   string                `json:"schema_version"`
		Types     map[string]schemaType `json:"types"`
		StateRoot string                `json:"state_root"`
	}
	if err := json.Unmarshal(in, &file); err != nil {
		return err
	}
	if file.Version != schemaVersion {
		return fmt.Errorf("schema_version is %q, this program reads %q", file.Version, schemaVersion)
	}
	*s = Schema{raw: bytes.Clone(in), types: make(map[string]*typ, len(file.Types))}
	for name := range file.Types {
		s.types[name] = &typ{name: name}
	}
	for name, t := range file.Types {
		made := s.build(&t, 0)
		made.name = name
		*s.types[name] = *made // in place, since others refer to it
	}
	if file.StateRoot != "" {
		if s.root = s.types[file.StateRoot]; s.root == nil {
			return fmt.Errorf("state_root %q is not among its types", file.StateRoot)
		}
	}
	return nil
}

// field returns the type of a field of the state.
func (s *Schema) field(name string) *typ {
	if s == nil || s.root == nil {
		return nil
	}
	for _, f := range s.root.resolve().fields {
		if f.name == name {
			return f.typ
		}
	}
	return nil
}

// schemaType is a definition or a use of a type; which members count depends on the kind.
type schemaType struct {
	Ref      string          `json:"$ref"`
	Kind     string          `json:"kind"`
	Size     int             `json:"size"`
	Items    *schemaType     `json:"items"`
	Key      json.RawMessage `json:"key"` // an object, or "string"
	Value    *schemaType     `json:"value"`
	Fields   []schemaField   `json:"fields"`
	Variants []schemaVariant `json:"variants"`
	Target   *schemaType     `json:"target"`
	Crdt     string          `json:"crdt_type"`
	Inner    *schemaType     `json:"inner_type"`
}

type schemaField struct {
	Name     string      `json:"name"`
	Type     *schemaType `json:"type"`
	Nullable bool        `json:"nullable"`
}

type schemaVariant struct {
	Name    string      `json:"name"`
	Payload *schemaType `json:"payload"`
}

var scalars = map[string]typ{
	"bool": {kind: boolKind}, "i32": {kind: intKind, size: 4}, "i64": {kind: intKind, size: 8},
	"u32": {kind: uintKind, size: 4}, "u64": {kind: uintKind, size: 8}, "f32": {kind: floatKind, size: 4},
	"f64": {kind: floatKind, size: 8}, "string": {kind: stringKind}, "unit": {kind: unitKind},
}

func (s *Schema) build(t *schemaType, depth int) *typ {
	switch {
	case t == nil || depth == maxTypeDepth:
		return &typ{name: "unknown"}
	case t.Ref != "":
		if known := s.types[t.Ref]; known != nil {
			return known
		}
		return &typ{name: t.Ref}
	}
	if c := s.buildCrdt(t, depth); c != nil {
		return c
	}
	if scalar, ok := scalars[t.Kind]; ok {
		scalar.name = t.Kind
		return &scalar
	}
	switch t.Kind {
	case "bytes":
		if t.Size > 0 && t.Size <= 1<<20 {
			return &typ{kind: fixedKind, size: t.Size, name: fmt.Sprintf("bytes[%d]", t.Size)}
		}
		return &typ{kind: bytesKind, name: "bytes"}
	case "list":
		return container(listKind, "list", s.build(t.Items, depth+1))
	case "map":
		return container(dictKind, "map", s.buildKey(t.Key, depth+1), s.build(t.Value, depth+1))
	case "alias": // not the target itself, which may not be built yet
		target := s.build(t.Target, depth+1)
		return &typ{kind: boxKind, of: []*typ{target}, name: target.name}
	case "record":
		out := &typ{kind: recordKind, name: "record"}
		for i := range t.Fields {
			f := s.build(t.Fields[i].Type, depth+1)
			if t.Fields[i].Nullable {
				f = container(optionKind, "option", f)
			}
			out.fields = append(out.fields, field{t.Fields[i].Name, f})
		}
		return out
	case "variant":
		out := &typ{kind: variantKind, name: "variant"}
		for _, v := range t.Variants {
			f := field{name: v.Name}
			if v.Payload != nil {
				f.typ = s.build(v.Payload, depth+1)
			}
			out.fields = append(out.fields, f)
		}
		return out
	}
	return &typ{name: t.Kind}
}

// buildCrdt returns the type of a collection or register, nil for others.
func (s *Schema) buildCrdt(t *schemaType, depth int) *typ {
	switch t.Crdt {
	case "lww_register":
		return container(registerKind, "LwwRegister", s.build(t.Inner, depth+1))
	case "counter":
		return &typ{kind: counterKind, name: "Counter"}
	case "replicated_growable_array":
		return &typ{kind: textKind, name: "ReplicatedGrowableArray"}
	case "vector":
		return container(vectorKind, "Vector", s.build(t.Items, depth+1))
	case "unordered_set":
		return container(setKind, "UnorderedSet", s.build(t.Items, depth+1))
	case "unordered_map":
		return container(mapKind, "UnorderedMap", s.buildKey(t.Key, depth+1), s.build(t.Value, depth+1))
	}
	return nil
}

func (s *Schema) buildKey(raw json.RawMessage, depth int) *typ {
	if len(raw) == 0 || raw[0] == '"' { // the short form of a string key
		return &typ{kind: stringKind, name: "string"}
	}
	var t schemaType
	if err := json.Unmarshal(raw, &t); err != nil {
		return &typ{name: "unknown"}
	}
	return s.build(&t, depth)
}

func container(k kind, name string, of ...*typ) *typ {
	return &typ{kind: k, of: of, name: name + "<" + names(of) + ">"}
}
