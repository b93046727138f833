package jsonvalue

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Error is what is wrong with a document.
type Error struct {
	// Text is the fault without its place.
	Text string
	// Path names the field at fault, as in "metadata[3]"; empty for the document as a whole and for faults of syntax.
	Path string
	// Line and Column count from 1; Line 0 is no place. Column is in bytes.
	Line, Column int
	// Syntax says that the text is no JSON, otherwise it is not what was expected.
	Syntax bool
}

// Error is the text with its place: "missing field `id` at line 1 column 20".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Text
	}
	return fmt.Sprintf("%s at line %d column %d", e.Text, e.Line, e.Column)
}

// WithPath is Error with the path of the field in front.
func (e *Error) WithPath() string {
	if e.Path == "" {
		return e.Error()
	}
	return e.Path + ": " + e.Error()
}

// place fills in line and column of the byte before offset.
func (e *Error) place(src []byte, offset int) *Error {
	before := src[:min(offset, len(src))]
	e.Line = 1 + bytes.Count(before, []byte{'\n'})
	e.Column = len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	return e
}

// maxQuoted bounds what an error text repeats of the document, in bytes.
const maxQuoted = 200

// quote prints text as the reference's error texts do.
func quote(text string) string {
	cut := len(text) > maxQuoted
	if cut {
		text = strings.ToValidUTF8(text[:maxQuoted], "")
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == 0:
			b.WriteString(`\0`)
		case !unicode.IsPrint(r):
			b.WriteString(`\u{` + strconv.FormatInt(int64(r), 16) + `}`)
		default:
			b.WriteRune(r)
		}
	}
	if cut {
		b.WriteString("…")
	}
	b.WriteByte('"')
	return b.String()
}
