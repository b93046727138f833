package errkind_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

func kinds() []errkind.Kind {
	var all []errkind.Kind
	for k := errkind.Unknown; k <= errkind.Internal; k++ {
		all = append(all, k)
	}
	return all
}

func TestKinds_SurviveTheWire(t *testing.T) {
	t.Parallel()
	for _, k := range kinds() {
		for _, retryable := range []bool{false, true} {
			sent := fmt.Errorf("open column %q: %w", "state", k.Errorf("no such thing"))
			if retryable {
				sent = errkind.Retryable(sent)
			}
			s := errkind.ToStatus(sent)
			_, ok := status.FromError(s)
			require.True(t, ok)
			got := errkind.FromStatus(s)
			require.ErrorIs(t, got, k)
			require.Equal(t, k, errkind.Of(got))
			require.EqualError(t, got, `open column "state": no such thing`)
			require.Equal(t, retryable, errkind.IsRetryable(got))
			for _, other := range kinds() {
				require.Equal(t, other == k, errors.Is(got, other), "%v is %v", k, other)
			}
		}
	}
}

func TestKinds_TwiceOverTheWire(t *testing.T) {
	t.Parallel()
	once := errkind.FromStatus(errkind.ToStatus(errkind.Corrupt.Errorf("torn")))
	twice := errkind.FromStatus(errkind.ToStatus(fmt.Errorf("read: %w", once)))
	require.ErrorIs(t, twice, errkind.Corrupt)
	require.EqualError(t, twice, "read: torn")
}

func TestToStatus_GivesTheNearestCode(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]codes.Code{
		errkind.NotFound.Errorf("x"):                           codes.NotFound,
		errkind.TooLarge.Errorf("x"):                           codes.OutOfRange,
		errors.New("x"):                                        codes.Unknown,
		context.Canceled:                                       codes.Canceled,
		fmt.Errorf("wait: %w", context.DeadlineExceeded):       codes.DeadlineExceeded,
		status.Error(codes.Aborted, "made elsewhere"):          codes.Aborted,
		errkind.Internal.Wrap(status.Error(codes.Aborted, "")): codes.Internal,
	} {
		require.Equal(t, want, status.Code(errkind.ToStatus(err)), "%v", err)
	}
	require.NoError(t, errkind.ToStatus(nil))
	require.NoError(t, errkind.FromStatus(nil))
}

func TestFromStatus_OfStatusesMadeByGRPC(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]errkind.Kind{
		codes.Unavailable: errkind.Unavailable, codes.Unimplemented: errkind.Unsupported,
		codes.ResourceExhausted: errkind.Exhausted, codes.DeadlineExceeded: errkind.Deadline,
		codes.Canceled: errkind.Canceled, codes.Internal: errkind.Internal, codes.Aborted: errkind.Precondition,
		codes.Code(99): errkind.Unknown,
	} {
		err := errkind.FromStatus(status.Error(code, "text"))
		require.Equal(t, want, errkind.Of(err), "%v", code)
		require.Equal(t, want == errkind.Unavailable, errkind.IsRetryable(err))
		require.ErrorContains(t, err, "text")
	}
	plain := errors.New("no status")
	require.Equal(t, plain, errkind.FromStatus(plain))
}

func TestOf_TheOutermostKindCounts(t *testing.T) {
	t.Parallel()
	inner := errkind.NotFound.Errorf("inner")
	outer := errkind.Internal.Errorf("outer: %w", inner)
	require.Equal(t, errkind.Internal, errkind.Of(outer))
	require.ErrorIs(t, outer, errkind.Internal)
	require.ErrorIs(t, outer, errkind.NotFound, "errors.Is looks at every layer")
	require.Equal(t, errkind.Deadline, errkind.Of(fmt.Errorf("x: %w", context.DeadlineExceeded)))
	require.Equal(t, errkind.Exhausted, errkind.Of(fmt.Errorf("x: %w", errkind.Exhausted)))
	require.Equal(t, errkind.Unknown, errkind.Of(nil))
	require.Equal(t, errkind.Unknown, errkind.Of(errors.New("x")))
	require.NoError(t, errkind.Internal.Wrap(nil))
	require.NoError(t, errkind.Retryable(nil))
}

func TestRetryable_ThroughLayers(t *testing.T) {
	t.Parallel()
	err := errkind.Retryable(errkind.Unavailable.Errorf("busy"))
	require.True(t, errkind.IsRetryable(err))
	require.True(t, errkind.IsRetryable(fmt.Errorf("call: %w", err)))
	require.True(t, errkind.IsRetryable(errkind.Exhausted.Wrap(err)))
	require.False(t, errkind.IsRetryable(errkind.Unavailable.Errorf("busy")))
	require.False(t, errkind.IsRetryable(nil))
}

func TestKind_Text(t *testing.T) {
	t.Parallel()
	require.EqualError(t, errkind.TooLarge, "too large")
	require.EqualError(t, errkind.Kind(200), "unknown error kind 200")
}
