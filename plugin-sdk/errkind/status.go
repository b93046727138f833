package errkind

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	basev1 "github.com/calimero-go/core/plugin-sdk/proto/base/v1"
)

var toCode = map[Kind]codes.Code{
	Unknown: codes.Unknown, Invalid: codes.InvalidArgument, NotFound: codes.NotFound,
	AlreadyExists: codes.AlreadyExists, Precondition: codes.FailedPrecondition,
	Unauthenticated: codes.Unauthenticated, PermissionDenied: codes.PermissionDenied, TooLarge: codes.OutOfRange,
	Exhausted: codes.ResourceExhausted, Unavailable: codes.Unavailable, Deadline: codes.DeadlineExceeded,
	Canceled: codes.Canceled, Corrupt: codes.DataLoss, Unsupported: codes.Unimplemented, Internal: codes.Internal,
}

var fromCode = func() map[codes.Code]Kind {
	m := make(map[codes.Code]Kind, len(toCode))
	for k, c := range toCode {
		m[c] = k
	}
	m[codes.Aborted] = Precondition
	return m
}()

// ToStatus makes the gRPC status a server returns for err: code, text and a detail with the exact kind. An error that
// is a status already is passed on.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok && Of(err) == Unknown {
		return err
	}
	k := Of(err)
	s := status.New(toCode[k], err.Error())
	d, derr := s.WithDetails(&basev1.ErrorDetail{Kind: uint32(k), Retryable: IsRetryable(err)})
	if derr != nil {
		return s.Err()
	}
	return d.Err()
}

// FromStatus re-creates the error a server gave to ToStatus: same text, same kind. A status made by gRPC itself gets
// the kind nearest to its code.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range s.Details() {
		if e, ok := d.(*basev1.ErrorDetail); ok && e.GetKind() < uint32(kinds) {
			return &kindError{kind: Kind(e.GetKind()), retryable: e.GetRetryable(), err: errors.New(s.Message())}
		}
	}
	k := fromCode[s.Code()]
	return &kindError{kind: k, retryable: k == Unavailable, err: fmt.Errorf("plugin connection: %s", s.Message())}
}
