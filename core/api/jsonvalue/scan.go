package jsonvalue

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may be nested.
const MaxDepth = 127

// Normalise checks src and prints it as the reference does: no white space, no needless escapes, the keys of an object
// in their order, of equal keys the last value in the first one's place, integers that fit 64 bits as they are, other
// numbers as the shortest text of their float64. It is idempotent. The error is an *Error.
func Normalise(src []byte) ([]byte, error) {
	s := scanner{src: src, write: true, out: make([]byte, 0, len(src))}
	if err := s.document(); err != nil {
		return nil, err
	}
	return s.out, nil
}

// scanner checks a document and, with write, prints it to out.
type scanner struct {
	src   []byte
	i     int
	depth int

	write   bool
	out     []byte
	members []member // of the objects being printed, a stack
	scratch []byte   // of string
}

// member is where a member of an object is in out. A later one of the same key takes its value's place.
type member struct {
	key, value, end int
	// later is the value that counts, from value to end in out; 0 = its own.
	laterValue, laterEnd int
	dropped              bool
}

// fail makes the error of what was read up to i.
func (s *scanner) fail(text string) *Error {
	return (&Error{Text: text, Syntax: true}).place(s.src, s.i)
}

// failNext makes the error of the byte at i.
func (s *scanner) failNext(text string) *Error {
	return (&Error{Text: text, Syntax: true}).place(s.src, min(s.i+1, len(s.src)))
}

// document is a value and nothing else.
func (s *scanner) document() error {
	if err := s.value(); err != nil {
		return err
	}
	if _, more := s.space(); more {
		return s.failNext("trailing characters")
	}
	return nil
}

// space skips white space and tells the next byte; false at the end.
func (s *scanner) space() (byte, bool) {
	for ; s.i < len(s.src); s.i++ {
		switch s.src[s.i] {
		case ' ', '\t', '\n', '\r':
		default:
			return s.src[s.i], true
		}
	}
	return 0, false
}

func (s *scanner) put(b ...byte) {
	if s.write {
		s.out = append(s.out, b...)
	}
}

func (s *scanner) value() *Error {
	c, ok := s.space()
	switch {
	case !ok:
		return s.failNext("EOF while parsing a value")
	case c == '{':
		return s.nested(s.object)
	case c == '[':
		return s.nested(s.array)
	case c == '"':
		text, err := s.string()
		if err == nil && s.write {
			s.out = AppendString(s.out, text)
		}
		return err
	case c == '-' || c >= '0' && c <= '9':
		n, err := s.number()
		if err == nil && s.write {
			s.out = n.append(s.out)
		}
		return err
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.failNext("expected value")
}

func (s *scanner) nested(f func() *Error) *Error {
	if s.depth == MaxDepth {
		return s.failNext("recursion limit exceeded")
	}
	s.depth++
	s.i++
	err := f()
	s.depth--
	return err
}

func (s *scanner) literal(word string) *Error {
	for k := range len(word) {
		if s.i == len(s.src) {
			return s.fail("EOF while parsing a value")
		}
		s.i++
		if s.src[s.i-1] != word[k] {
			return s.fail("expected ident")
		}
	}
	s.put([]byte(word)...)
	return nil
}

func (s *scanner) array() *Error {
	s.put('[')
	for first := true; ; first = false {
		c, ok := s.space()
		switch {
		case !ok:
			return s.failNext("EOF while parsing a list")
		case c == ']':
			s.i++
			s.put(']')
			return nil
		case first:
		case c != ',':
			return s.failNext("expected `,` or `]`")
		default:
			s.i++
			s.put(',')
			if c, ok = s.space(); !ok {
				return s.failNext("EOF while parsing a value")
			}
			if c == ']' {
				return s.failNext("trailing comma")
			}
		}
		if err := s.value(); err != nil {
			return err
		}
	}
}

func (s *scanner) object() *Error {
	start, base := len(s.out), len(s.members)
	var seen keys
	s.put('{')
	for first := true; ; first = false {
		end, err := s.key(first)
		if err != nil {
			return err
		}
		if end {
			break
		}
		if !first {
			s.put(',')
		}
		text, err := s.string()
		if err != nil {
			return err
		}
		var m member
		if s.write {
			m.key = len(s.out)
			s.out = append(AppendString(s.out, text), ':')
			m.value = len(s.out)
		}
		if err := s.colon(); err != nil {
			return err
		}
		if err := s.value(); err != nil {
			return err
		}
		if s.write {
			m.end = len(s.out)
			s.add(m, base, &seen)
		}
	}
	s.put('}')
	if seen.twice {
		s.collapse(start, base)
	}
	s.members = s.members[:base]
	return nil
}

// key moves to the next member's key, or behind the object's end.
func (s *scanner) key(first bool) (end bool, err *Error) {
	c, ok := s.space()
	switch {
	case !ok:
		return false, s.failNext("EOF while parsing an object")
	case c == '}':
		s.i++
		return true, nil
	case first:
	case c != ',':
		return false, s.failNext("expected `,` or `}`")
	default:
		s.i++
		if c, ok = s.space(); !ok {
			return false, s.failNext("EOF while parsing a value")
		}
		if c == '}' {
			return false, s.failNext("trailing comma")
		}
	}
	if c != '"' {
		return false, s.failNext("key must be a string")
	}
	return false, nil
}

func (s *scanner) colon() *Error {
	c, ok := s.space()
	if !ok {
		return s.failNext("EOF while parsing an object")
	}
	if c != ':' {
		return s.failNext("expected `:`")
	}
	s.i++
	return nil
}

// keys finds members of equal keys. Few are compared one by one, more go into a map.
type keys struct {
	index map[string]int
	twice bool
}

const fewKeys = 16

// add notes a printed member and, if its key was there before, that its value takes the earlier one's place.
func (s *scanner) add(m member, base int, seen *keys) {
	name := func(m member) []byte { return s.out[m.key:m.value] }
	all := s.members[base:]
	at := -1
	if seen.index == nil && len(all) == fewKeys {
		seen.index = make(map[string]int, 4*fewKeys)
		for i, other := range all {
			if !other.dropped {
				seen.index[string(name(other))] = i
			}
		}
	}
	if seen.index != nil {
		if i, ok := seen.index[string(name(m))]; ok {
			at = i
		} else {
			seen.index[string(name(m))] = len(all)
		}
	} else {
		for i, other := range all {
			if !other.dropped && bytes.Equal(name(other), name(m)) {
				at = i
				break
			}
		}
	}
	if at >= 0 {
		all[at].laterValue, all[at].laterEnd = m.value, m.end
		m.dropped, seen.twice = true, true
	}
	s.members = append(s.members, m)
}

// collapse prints an object again, without the members that were dropped.
func (s *scanner) collapse(start, base int) {
	again := make([]byte, 0, len(s.out)-start)
	again = append(again, '{')
	for _, m := range s.members[base:] {
		if m.dropped {
			continue
		}
		if len(again) > 1 {
			again = append(again, ',')
		}
		again = append(again, s.out[m.key:m.value]...)
		if m.laterEnd > 0 {
			again = append(again, s.out[m.laterValue:m.laterEnd]...)
		} else {
			again = append(again, s.out[m.value:m.end]...)
		}
	}
	s.out = append(append(s.out[:start], again...), '}')
}

// string reads a string and returns its content, which is valid until the next one is read.
func (s *scanner) string() ([]byte, *Error) {
	s.i++
	s.scratch = s.scratch[:0]
	start := s.i
	for {
		if s.i == len(s.src) {
			return nil, s.fail("EOF while parsing a string")
		}
		c := s.src[s.i]
		switch {
		case c == '"':
			text := s.src[start:s.i]
			if len(s.scratch) > 0 {
				s.scratch = append(s.scratch, text...)
				text = s.scratch
			}
			s.i++
			if !utf8.Valid(text) {
				return nil, s.fail("invalid unicode code point")
			}
			return text, nil
		case c == '\\':
			s.scratch = append(s.scratch, s.src[start:s.i]...)
			s.i++
			if err := s.escape(); err != nil {
				return nil, err
			}
			start = s.i
		case c < ' ':
			s.i++
			return nil, s.fail("control character (\\u0000-\\u001F) found while parsing a string")
		default:
			s.i++
		}
	}
}

func (s *scanner) escape() *Error {
	if s.i == len(s.src) {
		return s.fail("EOF while parsing a string")
	}
	c := s.src[s.i]
	s.i++
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return s.escapedRune()
	default:
		return s.fail("invalid escape")
	}
	s.scratch = append(s.scratch, c)
	return nil
}

func (s *scanner) escapedRune() *Error {
	r, err := s.hex()
	switch {
	case err != nil:
		return err
	case r >= 0xdc00 && r <= 0xdfff:
		return s.fail("lone leading surrogate in hex escape")
	case r >= 0xd800 && r <= 0xdbff:
		for _, want := range []byte{'\\', 'u'} {
			if s.i == len(s.src) {
				return s.fail("EOF while parsing a string")
			}
			s.i++
			if s.src[s.i-1] != want {
				return s.fail("unexpected end of hex escape")
			}
		}
		low, err := s.hex()
		if err != nil {
			return err
		}
		if low < 0xdc00 || low > 0xdfff {
			return s.fail("lone leading surrogate in hex escape")
		}
		r = (r-0xd800)<<10 + (low - 0xdc00) + 0x10000
	}
	s.scratch = utf8.AppendRune(s.scratch, r)
	return nil
}

func (s *scanner) hex() (rune, *Error) {
	if len(s.src)-s.i < 4 {
		s.i = len(s.src)
		return 0, s.fail("EOF while parsing a string")
	}
	digits := s.src[s.i : s.i+4]
	s.i += 4
	var r rune
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 + rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 + rune(c|0x20-'a'+10)
		default:
			return 0, s.fail("invalid escape")
		}
	}
	return r, nil
}

// number is a u64, a negative i64 in two's complement, or a float.
type number struct {
	kind numberKind
	bits uint64
}

type numberKind uint8

const (
	unsigned numberKind = iota
	negative
	float
)

func (n number) append(out []byte) []byte {
	switch n.kind {
	case unsigned:
		return strconv.AppendUint(out, n.bits, 10)
	case negative:
		return strconv.AppendInt(out, int64(n.bits), 10)
	}
	return appendFloat(out, math.Float64frombits(n.bits))
}

// number reads what the grammar of JSON calls a number.
func (s *scanner) number() (number, *Error) {
	start := s.i
	digits := func() {
		for s.i < len(s.src) && s.src[s.i] >= '0' && s.src[s.i] <= '9' {
			s.i++
		}
	}
	next := func() byte {
		if s.i < len(s.src) {
			return s.src[s.i]
		}
		return 0
	}
	isDigit := func(c byte) bool { return c >= '0' && c <= '9' }
	minus := s.src[s.i] == '-'
	if minus {
		s.i++
	}
	switch c := next(); {
	case s.i == len(s.src):
		return number{}, s.fail("EOF while parsing a value")
	case c == '0':
		if s.i++; isDigit(next()) {
			return number{}, s.failNext("invalid number")
		}
	case isDigit(c):
		digits()
	default:
		s.i++
		return number{}, s.fail("invalid number")
	}
	integer := true
	if next() == '.' {
		integer = false
		s.i++
		if s.i == len(s.src) {
			return number{}, s.failNext("EOF while parsing a value")
		}
		if !isDigit(next()) {
			return number{}, s.failNext("invalid number")
		}
		digits()
	}
	if next()|0x20 == 'e' {
		integer = false
		s.i++
		if c := next(); c == '+' || c == '-' {
			s.i++
		}
		if s.i == len(s.src) {
			return number{}, s.fail("EOF while parsing a value")
		}
		if !isDigit(next()) {
			s.i++
			return number{}, s.fail("invalid number")
		}
		digits()
	}
	text := string(s.src[start:s.i])
	if integer {
		if n, ok := parseInteger(text, minus); ok {
			return n, nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return number{}, s.fail("number out of range")
	}
	return number{float, math.Float64bits(f)}, nil
}

// parseInteger is false for what only a float can hold, -0 among it.
func parseInteger(text string, minus bool) (number, bool) {
	if !minus {
		u, err := strconv.ParseUint(text, 10, 64)
		return number{unsigned, u}, err == nil
	}
	i, err := strconv.ParseInt(text, 10, 64)
	return number{negative, uint64(i)}, err == nil && i != 0
}

// appendFloat prints the shortest text that reads as f again: with a point from 1e-5 up to 1e16, else with an exponent
// and its sign.
func appendFloat(out []byte, f float64) []byte {
	if a := math.Abs(f); f == 0 || a >= 1e-5 && a < 1e16 {
		start := len(out)
		out = strconv.AppendFloat(out, f, 'f', -1, 64)
		if !bytes.ContainsRune(out[start:], '.') {
			out = append(out, ".0"...)
		}
		return out
	}
	out = strconv.AppendFloat(out, f, 'e', -1, 64)
	if n := len(out); out[n-2] == '0' && (out[n-3] == '+' || out[n-3] == '-') { // Go pads the exponent to two digits
		out = append(out[:n-2], out[n-1])
	}
	return out
}

// AppendString appends text as a JSON string with no more escapes than JSON needs. text must be valid UTF-8.
func AppendString[T ~string | ~[]byte](out []byte, text T) []byte {
	const digits = "0123456789abcdef"
	out = append(out, '"')
	start := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		out = append(out, text[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, `\b`...)
		case '\f':
			out = append(out, `\f`...)
		case '\n':
			out = append(out, `\n`...)
		case '\r':
			out = append(out, `\r`...)
		case '\t':
			out = append(out, `\t`...)
		default:
			out = append(out, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(out, text[start:]...), '"')
}

// AppendInts appends data as an array of numbers, the form bytes have in this API.
func AppendInts(out, data []byte) []byte {
	out = append(out, '[')
	for i, b := range data {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendUint(out, uint64(b), 10)
	}
	return append(out, ']')
}
