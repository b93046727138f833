// Package schema has the JSON of the node's HTTP API (http-api.md §0, §2–§4): requests with their checks, and answers.
// The server reads requests with package jsonvalue, whose errors are the reference's; the client writes them with
// encoding/json.
package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/calimero-go/core/core/api/jsonvalue"
)

// Request is a request's body.
type Request interface {
	// Read fills in the fields.
	Read(*jsonvalue.Object)
	// Validate tells what is wrong with the values, one text for each fault.
	Validate() []string
}

// Decode reads a request and does not validate it. The error is a *jsonvalue.Error.
func Decode(src []byte, to Request) error {
	return jsonvalue.Decode(src, structName(to), to.Read)
}

func structName(r Request) string {
	name := fmt.Sprintf("%T", r)
	return "struct " + name[strings.LastIndexByte(name, '.')+1:]
}

// Invalid joins what Validate found into one text; "" for nothing.
func Invalid(faults []string) string {
	if len(faults) > 1 {
		return "Validation errors: " + strings.Join(faults, "; ")
	}
	return strings.Join(faults, "")
}

// IntBytes are bytes whose JSON is an array of numbers; nil is [].
type IntBytes []byte

// MarshalJSON never fails.
func (b IntBytes) MarshalJSON() ([]byte, error) {
	return jsonvalue.AppendInts(make([]byte, 0, 2+4*len(b)), b), nil
}

// UnmarshalJSON reads an array of numbers below 256.
func (b *IntBytes) UnmarshalJSON(data []byte) error {
	err := jsonvalue.Decode(append(append([]byte(`{"":`), data...), '}'), "", func(o *jsonvalue.Object) {
		*b = o.Bytes("")
	})
	var e *jsonvalue.Error
	if errors.As(err, &e) {
		return errors.New(e.Text)
	}
	return err
}

// IntBytes32 are 32 bytes whose JSON is an array of numbers.
type IntBytes32 [32]byte

// MarshalJSON never fails.
func (b IntBytes32) MarshalJSON() ([]byte, error) { return IntBytes(b[:]).MarshalJSON() }

// UnmarshalJSON reads an array of 32 numbers below 256.
func (b *IntBytes32) UnmarshalJSON(data []byte) error {
	var all IntBytes
	if err := all.UnmarshalJSON(data); err != nil {
		return err
	}
	if len(all) != len(b) {
		return fmt.Errorf("invalid length %d, expected an array of length %d", len(all), len(b))
	}
	copy(b[:], all)
	return nil
}

// Encode writes v without the escapes that encoding/json adds for HTML.
func Encode(v any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// Bounds of requests, in bytes unless said otherwise (http-api.md §0).
const (
	MaxMetadata     = 64 << 10
	MaxInitParams   = 1 << 20
	MaxPackage      = 128
	MaxVersion      = 64
	MaxURL          = 2048
	MaxPath         = 4096
	MaxMethod       = 256
	MaxArgs         = 10 << 20
	MaxSubstitute   = 100 // items
	MaxCapabilities = 100 // items
	MaxValidFor     = 31_536_000
	MaxGroupAlias   = 64
	MaxMembers      = 1000 // items; ours
	MaxTeeValues    = 256  // items, each of MaxTeeValue bytes; ours
	MaxTeeValue     = 256
)

// faults collects what is wrong.
type faults []string

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

func (f *faults) text(field, value string, limit int) {
	if len(value) > limit {
		f.add("Field '%s' exceeds maximum length of %d characters (got %d)", field, limit, len(value))
	}
}

func (f *faults) optional(field string, value *string, limit int) {
	if value != nil {
		f.text(field, *value, limit)
	}
}

func (f *faults) bytes(field string, n, limit int) {
	if n > limit {
		f.add("Field '%s' exceeds maximum size of %d bytes (got %d)", field, limit, n)
	}
}

func (f *faults) items(field string, n, limit int) {
	if n > limit {
		f.add("Field '%s' contains too many items: %d (max %d)", field, n, limit)
	}
}

func (f *faults) empty(field string) { f.add("Field '%s' is required but was empty", field) }

func (f *faults) method(field, value string) {
	if value == "" {
		f.empty(field)
		return
	}
	if len(value) > MaxMethod {
		f.text(field, value, MaxMethod)
		return
	}
	for _, r := range value {
		if r < ' ' || r == 0x7f {
			f.add("Field '%s' has invalid format: contains control character '%s' which is not allowed", field, escapeDefault(r))
			return
		}
	}
}

// escapeDefault prints a control character as the reference's texts do.
func escapeDefault(r rune) string {
	switch r {
	case '\t':
		return `\t`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	}
	if r < utf8.RuneSelf && r >= ' ' && r != 0x7f {
		return string(r)
	}
	return fmt.Sprintf(`\u{%x}`, r)
}
