package base

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	basev1 "github.com/calimero-go/core/plugin-sdk/proto/base/v1"
)

// Link is a connection to one process of a plugin. The clients of all kinds are made from it.
type Link struct {
	Conn grpc.ClientConnInterface
	// Gone ends when the process has ended; nil means that it outlives the client.
	Gone context.Context
	// Name is how errors call the plugin, as in `storage plugin "leveldb"`.
	Name string
}

// Join returns a context that ends with ctx, with the plugin's process, or with cancel, which must be called.
func (l Link) Join(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if l.Gone == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(l.Gone, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Err turns what a gRPC call returned into the error for the caller, whose own context is ctx: the plugin's error with
// text and kind; Deadline or Canceled when ctx ended; Unavailable, retryable, naming the plugin, when its process or
// the connection is gone. Nil stays nil.
func (l Link) Err(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if ok && hasKind(s) {
		return errkind.FromStatus(err)
	}
	switch {
	case ctx.Err() != nil && (s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded || !ok):
		return errkind.Of(ctx.Err()).Wrap(fmt.Errorf("call %s: %w", l.Name, ctxErr(ctx)))
	case l.Gone != nil && l.Gone.Err() != nil:
		return errkind.Retryable(errkind.Unavailable.Errorf("%s stopped: %s", l.Name, s.Message()))
	case s.Code() == codes.Unavailable, s.Code() == codes.Canceled:
		// Canceled although the caller did not cancel: the host closed the connection.
		return errkind.Retryable(errkind.Unavailable.Errorf("%s does not answer: %s", l.Name, s.Message()))
	}
	return fmt.Errorf("call %s: %w", l.Name, errkind.FromStatus(err))
}

func hasKind(s *status.Status) bool {
	for _, d := range s.Details() {
		if _, ok := d.(*basev1.ErrorDetail); ok {
			return true
		}
	}
	return false
}

// ctxErr is the error of an ended context with its cause.
func ctxErr(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
