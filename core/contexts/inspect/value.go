package inspect

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Values of the state are nil, bool, string, integers, float64, [Bytes], [Ref], [Register], [Record], []any and
// [Pairs]; all have a JSON form.

// Bytes is a value that is not known to be text; in JSON it is 0x and hex digits.
type Bytes []byte

// MarshalText returns 0x and hex digits; it never fails.
func (b Bytes) MarshalText() ([]byte, error) { return []byte("0x" + hex.EncodeToString(b)), nil }

// Ref is a value that is a collection: the id of its entity.
type Ref struct {
	Kind string    `json:"kind"`
	ID   crdt.ID   `json:"id"`
	More []crdt.ID `json:"more,omitempty"` // of a counter that goes down too: the other half
	typ  *typ
}

// Register is a value with the time of its write and its writer.
type Register struct {
	Value  any              `json:"value"`
	Time   string           `json:"time"`
	Writer domain.PublicKey `json:"writer"`
}

// Record is a value with named parts, in order. A variant has one part, or none and only a name.
type Record []Named

// Named is a part of a record.
type Named struct {
	Name  string
	Value any
}

// MarshalJSON writes an object whose members are in order.
func (r Record) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, f := range r {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := marshal(f.Name)
		if err != nil {
			return nil, err
		}
		value, err := marshal(f.Value)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, name...), ':'), value...)
	}
	return append(out, '}'), nil
}

// Pairs are the keys and values of a map that is one value.
type Pairs [][2]any

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// text is a value on one line.
func text(v any) string {
	if r, ok := v.(Register); ok {
		return text(r.Value)
	}
	if r, ok := v.(Ref); ok {
		return "→ " + r.Kind + " " + short(r.ID)
	}
	out, err := marshal(v)
	if err != nil {
		return fmt.Sprintf("%v (%v)", v, err)
	}
	return string(out)
}

func short(id crdt.ID) string { return id.String()[:8] }

// printable makes text of bytes that are text.
func printable(b []byte) any {
	if utf8.Valid(b) && !strings.ContainsFunc(string(b), func(r rune) bool {
		return !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\r'
	}) {
		return string(b)
	}
	return Bytes(b)
}

var errType = errors.New("type is not known")

// values decodes values. Depth and counts are bounded by the decoder, and the number of parts by the length of the
// input, since a type may be made to take no bytes.
type values struct {
	*borsh.Decoder
	parts int // that may follow
}

func decoder(in []byte) *values {
	return &values{Decoder: borsh.NewDecoder(in), parts: 4096 + 4*len(in)}
}

// read decodes a value that is the whole of in.
func (t *typ) read(in []byte) (any, error) {
	d := decoder(in)
	v := t.decode(d)
	return v, d.Finish()
}

// decode reads a value.
func (t *typ) decode(d *values) any {
	if d.parts--; d.parts < 0 {
		d.Fail(t.name, errors.New("more parts than its bytes can hold"))
	}
	if d.Err() != nil || !d.Enter(t.name) {
		return nil
	}
	defer d.Leave()
	switch t.kind {
	case unitKind:
		return nil
	case boolKind:
		return d.Bool(t.name)
	case uintKind, intKind:
		return t.integer(d)
	case floatKind:
		return t.float(d)
	case charKind:
		c := d.U32(t.name)
		if c > unicode.MaxRune {
			d.Fail(t.name, fmt.Errorf("character %d", c))
		}
		return string(rune(c))
	case stringKind:
		return d.String(t.name)
	case bytesKind:
		return printable(d.Bytes(t.name))
	case keyKind:
		return domain.Hash(d.Array32(t.name)).String()
	case fixedKind:
		if t.size > d.Remaining() {
			d.Fail(t.name, fmt.Errorf("%d bytes of %d", d.Remaining(), t.size))
			return nil
		}
		out := make([]byte, t.size)
		d.Raw(t.name, out)
		return Bytes(out)
	case arrayKind, tupleKind, listKind, dictKind:
		return t.several(d)
	case optionKind:
		if d.Some(t.name) {
			return t.of[0].decode(d)
		}
		return nil
	case recordKind:
		return t.record(d)
	case variantKind:
		return t.variant(d)
	case registerKind:
		return t.register(d)
	case boxKind:
		return t.of[0].decode(d)
	case mapKind, setKind, vectorKind, counterKind, textKind:
		return Ref{Kind: t.name, ID: d.Array32(t.name), typ: t}
	case upDownKind, userKind, frozenKind:
		r := Ref{Kind: t.name, ID: d.Array32(t.name), typ: t}
		if second := d.Array32(t.name); t.kind == upDownKind {
			r.More = []crdt.ID{second}
		}
		return r
	}
	d.Fail(t.name, errType)
	return nil
}

func (t *typ) integer(d *values) any {
	switch t.kind == intKind {
	case true:
		switch t.size {
		case 1:
			return int64(d.I8(t.name))
		case 2:
			return int64(d.I16(t.name))
		case 4:
			return int64(d.I32(t.name))
		case 8:
			return d.I64(t.name)
		}
	default:
		switch t.size {
		case 1:
			return uint64(d.U8(t.name))
		case 2:
			return uint64(d.U16(t.name))
		case 4:
			return uint64(d.U32(t.name))
		case 8:
			return d.U64(t.name)
		}
	}
	n := d.U128(t.name).Big()
	if t.kind == intKind && n.Bit(127) == 1 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	return json.Number(n.String())
}

func (t *typ) float(d *values) any {
	f := 0.0
	if t.size == 4 {
		f = float64(d.F32(t.name))
	} else {
		f = d.F64(t.name)
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return fmt.Sprint(f)
	}
	return f
}

// several reads arrays, tuples, lists and maps.
func (t *typ) several(d *values) any {
	n := len(t.of)
	switch t.kind {
	case arrayKind:
		n = t.size
	case listKind, dictKind:
		n = d.Len(t.name, 1)
	}
	if t.kind == dictKind {
		out := Pairs{}
		for range n {
			key := t.of[0].decode(d)
			if out = append(out, [2]any{key, t.of[1].decode(d)}); d.Err() != nil {
				return nil
			}
		}
		return out
	}
	out := []any{}
	for i := range n {
		e := t.of[0]
		if t.kind == tupleKind {
			e = t.of[i]
		}
		if out = append(out, e.decode(d)); d.Err() != nil {
			return nil
		}
	}
	return out
}

func (t *typ) record(d *values) any {
	out := Record{}
	for _, f := range t.fields {
		if d.Err() != nil {
			return nil
		}
		out = append(out, Named{f.name, f.typ.decode(d)})
	}
	return out
}

func (t *typ) variant(d *values) any {
	tag := int(d.U8(t.name))
	if d.Err() != nil {
		return nil
	}
	if tag >= len(t.fields) {
		d.Fail(t.name, fmt.Errorf("variant %d of %d", tag, len(t.fields)))
		return nil
	}
	f := t.fields[tag]
	if f.typ == nil {
		return f.name
	}
	return Record{{f.name, f.typ.decode(d)}}
}

func (t *typ) register(d *values) any {
	r := Register{Value: t.of[0].decode(d)}
	var ts crdt.Timestamp
	ts.DecodeBorsh(d.Decoder)
	r.Time, r.Writer = moment(ts.Nanos()), d.Array32("writer")
	return r
}

// moment shows a time in ns since 1970.
func moment(ns uint64) string {
	if ns > math.MaxInt64 {
		return fmt.Sprint(ns)
	}
	return time.Unix(0, int64(ns)).UTC().Format("2006-01-02T15:04:05.000000000Z")
}

// stateOf decodes the state value with a schema. The schema does not say whether a counter goes down too; the ids of
// its halves do.
func (s *Schema) stateOf(in []byte) (any, *typ, error) {
	if s == nil || s.root == nil {
		return nil, nil, errType
	}
	root := *s.root.resolve()
	root.fields = slices.Clone(root.fields)
	for i, f := range root.fields {
		if f.typ.resolve().kind != counterKind {
			continue
		}
		up, down := crdt.CollectionID(crdt.CounterPositiveName(f.name)), crdt.CollectionID(crdt.CounterNegativeName(f.name))
		if bytes.Contains(in, slices.Concat(up[:], down[:])) {
			root.fields[i].typ = &typ{kind: upDownKind, name: "PNCounter"}
		}
	}
	v, err := root.read(in)
	return v, &root, err
}
