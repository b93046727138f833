package borsh

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"unicode/utf8"
)

// Encoder appends values to a buffer. The first value without a borsh form (NaN, text that is not UTF-8, a length over
// u32) is kept as its error; what is written afterwards is dropped. It is not safe for concurrent use.
type Encoder struct {
	buf []byte
	err error
}

// NewEncoder returns an encoder that appends to buf, which it owns from then on. Pass a slice with spare capacity to
// avoid growth.
func NewEncoder(buf []byte) *Encoder { return &Encoder{buf: buf} }

// Finish returns everything written, or the first error.
func (e *Encoder) Finish() ([]byte, error) {
	if e.err != nil {
		return nil, e.err
	}
	return e.buf, nil
}

// Fail records err unless an earlier error is recorded.
func (e *Encoder) Fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// Err returns the first error.
func (e *Encoder) Err() error { return e.err }

// U8 writes one byte; it also writes enum tags.
func (e *Encoder) U8(v uint8) { e.buf = append(e.buf, v) }

// U16 writes 2 bytes.
func (e *Encoder) U16(v uint16) { e.buf = binary.LittleEndian.AppendUint16(e.buf, v) }

// U32 writes 4 bytes.
func (e *Encoder) U32(v uint32) { e.buf = binary.LittleEndian.AppendUint32(e.buf, v) }

// U64 writes 8 bytes.
func (e *Encoder) U64(v uint64) { e.buf = binary.LittleEndian.AppendUint64(e.buf, v) }

// U128 writes 16 bytes.
func (e *Encoder) U128(v U128) {
	e.U64(v.Lo)
	e.U64(v.Hi)
}

// I8 writes one byte, two's complement.
func (e *Encoder) I8(v int8) { e.U8(uint8(v)) }

// I16 writes 2 bytes, two's complement.
func (e *Encoder) I16(v int16) { e.U16(uint16(v)) }

// I32 writes 4 bytes, two's complement.
func (e *Encoder) I32(v int32) { e.U32(uint32(v)) }

// I64 writes 8 bytes, two's complement.
func (e *Encoder) I64(v int64) { e.U64(uint64(v)) }

// F32 writes 4 bytes, IEEE 754; NaN is an error.
func (e *Encoder) F32(v float32) {
	if v != v {
		e.Fail(ErrNaN)
	}
	e.U32(math.Float32bits(v))
}

// F64 writes 8 bytes, IEEE 754; NaN is an error.
func (e *Encoder) F64(v float64) {
	if v != v {
		e.Fail(ErrNaN)
	}
	e.U64(math.Float64bits(v))
}

// Bool writes 0 or 1.
func (e *Encoder) Bool(v bool) {
	if v {
		e.U8(1)
	} else {
		e.U8(0)
	}
}

// Len writes the count of a vector, map or byte string.
func (e *Encoder) Len(n int) {
	if uint64(n) > math.MaxUint32 {
		e.Fail(ErrTooLong)
		return
	}
	e.U32(uint32(n))
}

// Raw writes b without a length: a fixed array.
func (e *Encoder) Raw(b []byte) { e.buf = append(e.buf, b...) }

// Bytes writes a byte string with its length.
func (e *Encoder) Bytes(b []byte) {
	e.Len(len(b))
	e.Raw(b)
}

// String writes a text with its length; text that is not UTF-8 is an error.
func (e *Encoder) String(s string) {
	if !utf8.ValidString(s) {
		e.Fail(ErrNotUTF8)
		return
	}
	e.Len(len(s))
	e.buf = append(e.buf, s...)
}

// OptBytes writes an optional byte string; nil is none, an empty slice is some.
func (e *Encoder) OptBytes(b []byte) {
	e.Bool(b != nil)
	if b != nil {
		e.Bytes(b)
	}
}

// PutOption writes an option; nil is none.
func PutOption[T any](e *Encoder, v *T, put func(*Encoder, T)) {
	e.Bool(v != nil)
	if v != nil {
		put(e, *v)
	}
}

// PutSlice writes a vector.
func PutSlice[T any](e *Encoder, items []T, put func(*Encoder, T)) {
	e.Len(len(items))
	for _, item := range items {
		put(e, item)
	}
}

// PutArray32 writes a 32-byte identifier; it serves as the put of PutOption and PutSlice.
func PutArray32[T ~[32]byte](e *Encoder, v T) {
	raw := [32]byte(v)
	e.Raw(raw[:])
}

// PutMap writes a map in ascending key order.
func PutMap[K cmp.Ordered, V any](e *Encoder, m map[K]V, key func(*Encoder, K), value func(*Encoder, V)) {
	e.Len(len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		key(e, k)
		value(e, m[k])
	}
}
