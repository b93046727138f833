package base

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// Err turns what a gRPC call returned into the error for the caller, whose own context is ctx: Deadline or Canceled,
// wrapping the error of package context, when ctx ended or its deadline has passed; the plugin's error with text and
// kind; Unavailable, retryable, naming the plugin, when its process or the connection is gone. Nil stays nil.
func (l Link) Err(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	kind, ended := endOf(ctx)
	switch {
	case ok && hasKind(s):
		err = errkind.FromStatus(err)
		if kind == errkind.Deadline && errkind.Of(err) == kind {
			return kind.Errorf("call %s: %w: %w", l.Name, ended, err)
		}
		return err
	case ended != nil && (s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded || !ok):
		return kind.Errorf("call %s: %w", l.Name, ended)
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

// endOf tells whether ctx is over: Deadline or Canceled and the error with its cause, nil while it is not. The plugin has
// a timer of the same deadline, which may fire, and end the call, before ctx's own: so the clock counts as well.
func endOf(ctx context.Context) (errkind.Kind, error) {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil {
		if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
			return errkind.Deadline, context.DeadlineExceeded
		}
		return errkind.Unknown, nil
	}
	if !errors.Is(cause, err) {
		cause = fmt.Errorf("%w: %w", err, cause)
	}
	return errkind.Of(err), cause
}
