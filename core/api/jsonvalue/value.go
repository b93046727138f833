package jsonvalue

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Decode checks src and has decode read it as an object; what names the expected thing in errors ("struct Request").
// The error, an *Error, is the first in the order of the document, whatever order decode reads in.
func Decode(src []byte, what string, decode func(*Object)) error {
	return decodeDocument(src, what, true, decode)
}

// DecodeValue is Decode with errors that name no place, as for a part of a document that was read before.
func DecodeValue(src []byte, what string, decode func(*Object)) error {
	return decodeDocument(src, what, false, decode)
}

func decodeDocument(src []byte, what string, places bool, decode func(*Object)) error {
	s := scanner{src: src}
	if err := s.document(); err != nil {
		return err
	}
	r := &reading{src: src, places: places}
	s = scanner{src: src}
	s.space()
	if o, ok := r.object(s.i, "", what); ok {
		decode(o)
	}
	if r.err == nil {
		return nil
	}
	return r.err
}

// reading is a document that was found to be JSON.
type reading struct {
	src    []byte
	places bool
	err    *Error
	at     int
}

// fail keeps the error of the place at offset if it is the first.
func (r *reading) fail(offset int, path, text string) {
	if r.err != nil && r.at <= offset {
		return
	}
	e := &Error{Text: text, Path: path}
	if r.places {
		e = e.place(r.src, offset)
	}
	r.at, r.err = offset, e
}

// Object is an object being read. Its methods read fields by their names; the first error is kept, and what they return
// for a field at fault is a zero value.
type Object struct {
	r      *reading
	path   string
	end    int
	fields map[string]Value
}

// object reads the value at offset as an object.
func (r *reading) object(offset int, path, what string) (*Object, bool) {
	v := r.value(offset, path)
	if r.src[offset] != '{' {
		v.unexpected(what)
		return nil, false
	}
	o := &Object{r: r, path: path, end: v.end, fields: map[string]Value{}}
	s := scanner{src: r.src, i: offset + 1}
	for first := true; ; first = false {
		end, err := s.key(first)
		if err != nil || end {
			return o, err == nil
		}
		text, err := s.string()
		if err != nil {
			return nil, false
		}
		name := string(text)
		keyEnd := s.i
		if err := s.colon(); err != nil {
			return nil, false
		}
		s.space()
		child := r.value(s.i, join(path, name))
		if old, twice := o.fields[name]; twice {
			child.twice = keyEnd
			if old.twice > 0 {
				child.twice = old.twice
			}
		}
		o.fields[name] = child
		s.i = child.end
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// value finds the end of the value at offset.
func (r *reading) value(offset int, path string) Value {
	s := scanner{src: r.src, i: offset}
	if err := s.value(); err != nil { // the document was checked
		r.fail(offset, path, err.Text)
	}
	return Value{r: r, path: path, start: offset, end: s.i}
}

// Value is a part of a document.
type Value struct {
	r          *reading
	path       string
	start, end int
	// twice is where a key that came before ends, 0 for none.
	twice int
}

// Raw is the value's text.
func (v Value) Raw() []byte { return v.r.src[v.start:v.end] }

func (v Value) isNull() bool { return v.r.src[v.start] == 'n' }

// fail reports the value as wrong.
func (v Value) fail(text string) { v.r.fail(v.end, v.path, text) }

// unexpected reports a value of the wrong type.
func (v Value) unexpected(want string) {
	at := v.end
	if c := v.r.src[v.start]; c == '{' || c == '[' {
		at = v.start // its content is not read
	}
	v.r.fail(at, v.path, "invalid type: "+v.kind()+", expected "+want)
}

// kind names the value as errors do.
func (v Value) kind() string {
	switch c := v.r.src[v.start]; c {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean `" + string(v.Raw()) + "`"
	case '[':
		return "sequence"
	case '{':
		return "map"
	case '"':
		text, _ := v.text()
		return "string " + quote(text)
	}
	n := v.number()
	if n.kind == float {
		out := strconv.AppendFloat(nil, math.Float64frombits(n.bits), 'f', -1, 64)
		text := string(out)
		if f := math.Float64frombits(n.bits); f == math.Trunc(f) {
			text += ".0"
		}
		return "floating point `" + text + "`"
	}
	return "integer `" + string(n.append(nil)) + "`"
}

func (v Value) text() (string, bool) {
	if v.r.src[v.start] != '"' {
		return "", false
	}
	s := scanner{src: v.r.src, i: v.start}
	text, err := s.string()
	return string(text), err == nil
}

// number is for a value that is one.
func (v Value) number() number {
	s := scanner{src: v.r.src, i: v.start}
	n, err := s.number()
	if err != nil {
		v.fail(err.Text)
	}
	return n
}

func (v Value) isNumber() bool {
	c := v.r.src[v.start]
	return c == '-' || c >= '0' && c <= '9'
}

// Text reads a string.
func (v Value) Text() string {
	text, ok := v.text()
	if !ok {
		v.unexpected("a string")
	}
	return text
}

// Parse reads a string with parse, whose error is reported as it is.
func (v Value) Parse(parse func(string) error) {
	text, ok := v.text()
	if !ok {
		v.unexpected("a string")
		return
	}
	if err := parse(text); err != nil {
		v.fail(err.Error())
	}
}

// Into reads a value that knows its JSON form, whose error is reported as it is.
func (v Value) Into(to json.Unmarshaler) {
	if c := v.r.src[v.start]; c == '{' || c == '[' {
		if err := to.UnmarshalJSON([]byte{c}); err != nil {
			v.r.fail(v.start, v.path, err.Error())
			return
		}
	}
	if err := to.UnmarshalJSON(v.Raw()); err != nil {
		v.fail(err.Error())
	}
}

// Unsigned reads an integer of the given bits, at most 64.
func (v Value) Unsigned(bits int) uint64 {
	want := "u" + strconv.Itoa(bits)
	if !v.isNumber() {
		v.unexpected(want)
		return 0
	}
	n := v.number()
	switch {
	case n.kind == float:
		v.unexpected(want)
	case n.kind == negative || bits < 64 && n.bits>>bits != 0:
		v.fail("invalid value: " + v.kind() + ", expected " + want)
	default:
		return n.bits
	}
	return 0
}

// Bool reads true or false.
func (v Value) Bool() bool {
	switch v.r.src[v.start] {
	case 't':
		return true
	case 'f':
		return false
	}
	v.unexpected("a boolean")
	return false
}

// Each calls f for the items of an array.
func (v Value) Each(f func(Value)) {
	if v.r.src[v.start] != '[' {
		v.unexpected("a sequence")
		return
	}
	s := scanner{src: v.r.src, i: v.start + 1}
	for i := 0; ; i++ {
		c, _ := s.space()
		if c == ']' {
			return
		}
		if c == ',' {
			s.i++
			s.space()
		}
		item := v.r.value(s.i, fmt.Sprintf("%s[%d]", v.path, i))
		f(item)
		s.i = item.end
	}
}

// Bytes reads an array of numbers below 256.
func (v Value) Bytes() []byte {
	src := v.r.src
	if src[v.start] != '[' {
		v.unexpected("a sequence")
		return nil
	}
	out := []byte{}
	s := scanner{src: src, i: v.start + 1}
	for {
		c, _ := s.space()
		if c == ']' {
			return out
		}
		if c == ',' {
			s.i++
			s.space()
		}
		n, width := 0, 0
		for ; s.i+width < len(src) && width < 4; width++ {
			c := src[s.i+width]
			if c < '0' || c > '9' {
				break
			}
			n = n*10 + int(c-'0')
		}
		if next := src[s.i+width]; width == 0 || n > 0xff || next != ',' && next != ']' && next > ' ' {
			item := v.r.value(s.i, fmt.Sprintf("%s[%d]", v.path, len(out)))
			item.Unsigned(8)
			return nil
		}
		s.i += width
		out = append(out, byte(n))
	}
}

// Array32 reads an array of 32 numbers below 256.
func (v Value) Array32() (out [32]byte) {
	if v.r.src[v.start] != '[' {
		v.unexpected("an array of length 32")
		return out
	}
	b := v.Bytes()
	if b != nil && len(b) != len(out) {
		v.fail(fmt.Sprintf("invalid length %d, expected an array of length 32", len(b)))
		return out
	}
	copy(out[:], b)
	return out
}

// Object reads an object.
func (v Value) Object(what string, decode func(*Object)) {
	if o, ok := v.r.object(v.start, v.path, what); ok {
		decode(o)
	}
}

// Has tells whether the field is there, null or not.
func (o *Object) Has(name string) bool {
	_, ok := o.fields[name]
	return ok
}

// Required is a field that must be there; false when it is not, and that is reported.
func (o *Object) Required(name string) (Value, bool) {
	v, ok := o.field(name)
	if !ok {
		o.r.fail(o.end, o.path, "missing field `"+name+"`")
	}
	return v, ok
}

// Optional is a field that may be missing or null; false when it is.
func (o *Object) Optional(name string) (Value, bool) {
	v, ok := o.field(name)
	return v, ok && !v.isNull()
}

// Default is a field that may be missing, but not null.
func (o *Object) Default(name string) (Value, bool) { return o.field(name) }

func (o *Object) field(name string) (Value, bool) {
	v, ok := o.fields[name]
	if ok && v.twice > 0 && o.r.places {
		o.r.fail(v.twice, o.path, "duplicate field `"+name+"`")
	}
	return v, ok
}

// Text reads a required string.
func (o *Object) Text(name string) string {
	if v, ok := o.Required(name); ok {
		return v.Text()
	}
	return ""
}

// OptionalText reads a string that may be missing or null.
func (o *Object) OptionalText(name string) *string {
	v, ok := o.Optional(name)
	if !ok {
		return nil
	}
	text := v.Text()
	return &text
}

// Into reads a required value that knows its JSON form.
func (o *Object) Into(name string, to json.Unmarshaler) {
	if v, ok := o.Required(name); ok {
		v.Into(to)
	}
}

// Bytes reads a required array of numbers below 256.
func (o *Object) Bytes(name string) []byte {
	if v, ok := o.Required(name); ok {
		return v.Bytes()
	}
	return nil
}

// OptionalInto reads a value that knows its JSON form and may be missing or null, which gives nil.
func OptionalInto[T any, P interface {
	*T
	json.Unmarshaler
}](o *Object, name string) *T {
	v, ok := o.Optional(name)
	if !ok {
		return nil
	}
	to := new(T)
	v.Into(P(to))
	return to
}

// Fail reports the value as wrong.
func (v Value) Fail(text string) { v.fail(text) }
