package borsh

import (
	"errors"
	"fmt"
)

// ErrMalformed is what every decoding error is (errors.Is).
var ErrMalformed = errors.New("malformed borsh")

// Causes of a decoding error. The texts are the reference's where it has one.
var (
	ErrUnexpectedEnd = errors.New("Unexpected length of input") //nolint:staticcheck // the reference's exact text
	ErrTrailing      = errors.New("Not all bytes read")         //nolint:staticcheck // the reference's exact text
	ErrNotUTF8       = errors.New("invalid utf-8 sequence")
	ErrNaN           = errors.New("NaN has no borsh form")
	ErrKeyOrder      = errors.New("keys not in strictly ascending order")
	ErrTooDeep       = errors.New("nested too deeply")
)

// ErrTooLong is an encoding error: a length does not fit the u32 that holds it.
var ErrTooLong = errors.New("length exceeds 4294967295")

// Error says where decoding failed. It is an [ErrMalformed] and wraps its cause.
type Error struct {
	Field  string // path of the field, dots between levels, [i] for items; empty at the top level
	Offset int    // byte of the input at which the field begins
	Err    error
}

// Error names the field, the offset and the cause.
func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("decode at byte %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("decode %s at byte %d: %v", e.Field, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes every Error an ErrMalformed.
func (e *Error) Is(target error) bool { return target == ErrMalformed }
