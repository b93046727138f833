package borsh

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// MaxDepth bounds nesting: the levels a value may [Decoder.Enter].
const MaxDepth = 32

// Decoder reads values from a byte slice. The first error stays: every later read returns zero values and touches
// nothing, so a type may read all its fields and look at the error once. It is not safe for concurrent use.
type Decoder struct {
	in    []byte
	off   int
	err   error
	depth int
	path  [MaxDepth]level
}

// level is one step of the path to the field being read.
type level struct {
	field string
	index int // of the item, or -1
}

// NewDecoder reads from in, which must not change meanwhile.
func NewDecoder(in []byte) *Decoder { return &Decoder{in: in} }

// Finish returns the first error; without one, bytes left over are an error.
func (d *Decoder) Finish() error {
	if d.err == nil && d.off != len(d.in) {
		d.Fail("", ErrTrailing)
	}
	return d.err
}

// Err returns the first error.
func (d *Decoder) Err() error { return d.err }

// Remaining returns the number of bytes not read yet.
func (d *Decoder) Remaining() int { return len(d.in) - d.off }

// Offset returns the number of bytes read.
func (d *Decoder) Offset() int { return d.off }

// Fail records err as the fault of field, unless an earlier error is recorded.
func (d *Decoder) Fail(field string, err error) { d.failAt(field, d.off, err) }

func (d *Decoder) failAt(field string, offset int, err error) {
	if d.err != nil {
		return
	}
	var path strings.Builder
	for _, at := range d.path[:d.depth] {
		if at.field != "" && path.Len() > 0 {
			path.WriteByte('.')
		}
		path.WriteString(at.field)
		if at.index >= 0 {
			fmt.Fprintf(&path, "[%d]", at.index)
		}
	}
	if field != "" && path.Len() > 0 {
		path.WriteByte('.')
	}
	path.WriteString(field)
	d.err = &Error{Field: path.String(), Offset: offset, Err: err}
}

// Enter begins a nested value, for error texts and the depth limit. Each Enter needs a [Decoder.Leave]. It reports
// false when the limit is reached or an error is recorded; the caller then returns without Leave.
func (d *Decoder) Enter(field string) bool {
	if d.err != nil {
		return false
	}
	if d.depth == MaxDepth {
		d.Fail(field, ErrTooDeep)
		return false
	}
	d.path[d.depth] = level{field: field, index: -1}
	d.depth++
	return true
}

// Leave ends what the last Enter began.
func (d *Decoder) Leave() { d.depth-- }

// take returns the next n bytes of the input, or nil and records the error.
func (d *Decoder) take(field string, n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.in)-d.off {
		d.Fail(field, ErrUnexpectedEnd)
		return nil
	}
	out := d.in[d.off : d.off+n : d.off+n]
	d.off += n
	return out
}

// U8 reads one byte.
func (d *Decoder) U8(field string) uint8 {
	if b := d.take(field, 1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads 2 bytes.
func (d *Decoder) U16(field string) uint16 {
	if b := d.take(field, 2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 reads 4 bytes.
func (d *Decoder) U32(field string) uint32 {
	if b := d.take(field, 4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 reads 8 bytes.
func (d *Decoder) U64(field string) uint64 {
	if b := d.take(field, 8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// U128 reads 16 bytes.
func (d *Decoder) U128(field string) U128 {
	if b := d.take(field, 16); b != nil {
		return U128FromBytes([16]byte(b))
	}
	return U128{}
}

// I8 reads one byte, two's complement.
func (d *Decoder) I8(field string) int8 { return int8(d.U8(field)) }

// I16 reads 2 bytes, two's complement.
func (d *Decoder) I16(field string) int16 { return int16(d.U16(field)) }

// I32 reads 4 bytes, two's complement.
func (d *Decoder) I32(field string) int32 { return int32(d.U32(field)) }

// I64 reads 8 bytes, two's complement.
func (d *Decoder) I64(field string) int64 { return int64(d.U64(field)) }

// F32 reads 4 bytes, IEEE 754; NaN is an error.
func (d *Decoder) F32(field string) float32 {
	start := d.off
	v := math.Float32frombits(d.U32(field))
	if v != v {
		d.failAt(field, start, ErrNaN)
		return 0
	}
	return v
}

// F64 reads 8 bytes, IEEE 754; NaN is an error.
func (d *Decoder) F64(field string) float64 {
	start := d.off
	v := math.Float64frombits(d.U64(field))
	if v != v {
		d.failAt(field, start, ErrNaN)
		return 0
	}
	return v
}

// Bool reads 0 or 1.
func (d *Decoder) Bool(field string) bool {
	start := d.off
	v := d.U8(field)
	if v > 1 {
		d.failAt(field, start, fmt.Errorf("Invalid bool representation: %d", v)) //nolint:staticcheck // reference text
	}
	return v == 1
}

// Some reads the tag of an option and reports whether a value follows.
func (d *Decoder) Some(field string) bool {
	start := d.off
	v := d.U8(field)
	if v > 1 {
		err := fmt.Errorf("Invalid Option representation: %d. The first byte must be 0 or 1", v) //nolint:staticcheck // reference text
		d.failAt(field, start, err)
	}
	return v == 1
}

// Tag reads the tag of an enum with the given number of variants. After an error it returns 0, like every read.
func (d *Decoder) Tag(field string, variants uint8) uint8 {
	start := d.off
	v := d.U8(field)
	if v >= variants {
		d.failAt(field, start, fmt.Errorf("Unexpected variant tag: %d", v)) //nolint:staticcheck // reference text
		return 0
	}
	return v
}

// Len reads the count of a vector whose items take at least minSize bytes each (at least 1) and refuses a count the
// rest of the input cannot hold.
func (d *Decoder) Len(field string, minSize int) int {
	start := d.off
	n := uint64(d.U32(field))
	if n*uint64(max(minSize, 1)) > uint64(d.Remaining()) {
		d.failAt(field, start, ErrUnexpectedEnd)
		return 0
	}
	return int(n)
}

// Raw reads len(dst) bytes into dst: a fixed array.
func (d *Decoder) Raw(field string, dst []byte) { copy(dst, d.take(field, len(dst))) }

// Array32 reads 32 bytes, the form of every identifier.
func (d *Decoder) Array32(field string) (out [32]byte) {
	copy(out[:], d.take(field, len(out)))
	return out
}

// View reads a byte string without copying: the result shares the input's memory and keeps it alive.
func (d *Decoder) View(field string) []byte { return d.take(field, d.Len(field, 1)) }

// Bytes reads a byte string into new memory. It is nil only after an error.
func (d *Decoder) Bytes(field string) []byte {
	view := d.View(field)
	if d.err != nil {
		return nil
	}
	return append(make([]byte, 0, len(view)), view...)
}

// OptBytes reads an optional byte string: nil is none, an empty slice is some.
func (d *Decoder) OptBytes(field string) []byte {
	if !d.Some(field) {
		return nil
	}
	return d.Bytes(field)
}

// String reads a text; bytes that are not UTF-8 are an error.
func (d *Decoder) String(field string) string {
	start := d.off
	view := d.View(field)
	if !utf8.Valid(view) {
		d.failAt(field, start, ErrNotUTF8)
		return ""
	}
	return string(view)
}

// Option reads an option; none is nil.
func Option[T any](d *Decoder, field string, read func(d *Decoder, field string) T) *T {
	if !d.Some(field) {
		return nil
	}
	v := read(d, field)
	return &v
}

// OptArray32 reads an optional identifier; none is nil.
func OptArray32[T ~[32]byte](d *Decoder, field string) *T {
	if !d.Some(field) {
		return nil
	}
	v := T(d.Array32(field))
	return &v
}

// Slice reads a vector whose items take at least minSize bytes each (at least 1). The result is nil only after an
// error. Memory is taken in step with the input, not with the claimed count.
func Slice[T any](d *Decoder, field string, minSize int, read func(*Decoder) T) []T {
	n := d.Len(field, minSize)
	if !d.Enter(field) {
		return nil
	}
	defer d.Leave()
	var item T
	out := make([]T, 0, min(n, d.Remaining()/max(int(unsafe.Sizeof(item)), 1)))
	at := &d.path[d.depth-1]
	for i := range n {
		at.index = i
		item = read(d)
		if d.err != nil {
			return nil
		}
		out = append(out, item)
	}
	return out
}

// Array32s reads a vector of identifiers. The result is nil only after an error.
func Array32s[T ~[32]byte](d *Decoder, field string) []T {
	n := d.Len(field, 32)
	raw := d.take(field, 32*n)
	if d.err != nil {
		return nil
	}
	out := make([]T, n)
	for i := range out {
		out[i] = T(raw[32*i:])
	}
	return out
}

// Map reads a map whose pairs take at least minSize bytes each (at least 1) and whose keys ascend strictly. The result
// is nil only after an error.
func Map[K cmp.Ordered, V any](
	d *Decoder, field string, minSize int, key func(*Decoder) K, value func(*Decoder) V,
) map[K]V {
	n := d.Len(field, minSize)
	if !d.Enter(field) {
		return nil
	}
	defer d.Leave()
	out := make(map[K]V)
	at := &d.path[d.depth-1]
	var last K
	for i := range n {
		at.index = i
		start := d.off
		k := key(d)
		if d.err == nil && i > 0 && k <= last {
			d.failAt("", start, ErrKeyOrder)
		}
		v := value(d)
		if d.err != nil {
			return nil
		}
		out[k], last = v, k
	}
	return out
}
