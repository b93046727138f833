// Package errkind has the kinds of error that cross process boundaries. A kind is itself an error, so that
// errors.Is(err, errkind.NotFound) holds for an error made here, wrapped by callers, and also after it travelled
// over gRPC (ToStatus and FromStatus).
package errkind

import (
	"context"
	"errors"
	"fmt"
)

// Kind classifies an error by what the caller can do about it. The numbers are part of the plugin protocol.
type Kind uint32

const (
	// Unknown is an error nobody classified.
	Unknown Kind = iota
	// Invalid: the request is wrong in itself; repeating it is useless.
	Invalid
	// NotFound: the thing named does not exist.
	NotFound
	// AlreadyExists: the thing to create exists.
	AlreadyExists
	// Precondition: the request is right but the state of the system refuses it.
	Precondition
	// Unauthenticated: the caller has not proven who it is.
	Unauthenticated
	// PermissionDenied: the caller is known and may not do this.
	PermissionDenied
	// TooLarge: a size, count or depth is over its limit; the text names the limit.
	TooLarge
	// Exhausted: a budget (memory, disk, mailbox) is used up at the moment.
	Exhausted
	// Unavailable: a process or peer is not there at the moment.
	Unavailable
	// Deadline: the caller's time is over.
	Deadline
	// Canceled: the caller gave up.
	Canceled
	// Corrupt: stored or received bytes are damaged.
	Corrupt
	// Unsupported: this build, plugin or protocol version does not do it.
	Unsupported
	// Internal: a bug.
	Internal

	kinds
)

var names = [kinds]string{
	"unknown error", "invalid argument", "not found", "already exists", "failed precondition", "unauthenticated",
	"permission denied", "too large", "exhausted", "unavailable", "deadline exceeded", "canceled", "corrupt",
	"unsupported", "internal error",
}

// Error makes a Kind usable as the target of errors.Is.
func (k Kind) Error() string {
	if k < kinds {
		return names[k]
	}
	return fmt.Sprintf("unknown error kind %d", uint32(k))
}

// Errorf makes an error of this kind; %w works as in fmt.Errorf.
func (k Kind) Errorf(format string, args ...any) error {
	return &kindError{kind: k, err: fmt.Errorf(format, args...)}
}

// Wrap gives err this kind and keeps its text; nil stays nil.
func (k Kind) Wrap(err error) error {
	if err == nil {
		return nil
	}
	return &kindError{kind: k, err: err}
}

type kindError struct {
	kind      Kind
	retryable bool
	err       error
}

func (e *kindError) Error() string { return e.err.Error() }
func (e *kindError) Unwrap() error { return e.err }

func (e *kindError) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.kind
}

// Of tells the kind of err: the outermost one given, Deadline and Canceled for the errors of package context, else
// Unknown.
func Of(err error) Kind {
	var k Kind
	var e *kindError
	switch {
	case err == nil:
		return Unknown
	case errors.As(err, &e):
		return e.kind
	case errors.As(err, &k):
		return k
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Unknown
}

// Retryable marks err as worth repeating unchanged; nil stays nil.
func Retryable(err error) error {
	if err == nil {
		return nil
	}
	return &kindError{kind: Of(err), retryable: true, err: err}
}

// IsRetryable tells whether err, or an error it wraps, was marked with Retryable.
func IsRetryable(err error) bool {
	for err != nil {
		var e *kindError
		if !errors.As(err, &e) {
			return false
		}
		if e.retryable {
			return true
		}
		err = e.err
	}
	return false
}
