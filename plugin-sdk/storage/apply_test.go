package storage_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

const patience = 20 * time.Second

// gated holds back each Apply that writes to the column "gate" until the gate is opened or its context ends.
type gated struct {
	storage.Plugin
	open        chan struct{}
	here, ended atomic.Int64 // held back now; given up by their context so far
}

func newGated() *gated { return &gated{Plugin: storagetest.NewMemory(), open: make(chan struct{})} }

func (g *gated) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	if len(b.Ops) > 0 && b.Ops[0].Column == "gate" {
		g.here.Add(1)
		defer g.here.Add(-1)
		select {
		case <-g.open:
		case <-ctx.Done():
			g.ended.Add(1)
			return false, ctx.Err()
		}
	}
	return g.Plugin.Apply(ctx, b)
}

func (g *gated) holds(t *testing.T, n int64) {
	t.Helper()
	require.Eventually(t, func() bool { return g.here.Load() == n }, patience, time.Millisecond,
		"held back: %d, not %d", g.here.Load(), n)
}

func batch(column string, n int) storage.Batch {
	b := storage.Batch{ID: storage.NewBatchID()}
	b.Put(column, key(n), key(n))
	return b
}

// start applies n batches at once, each with its own context, and returns where their errors come.
func start(ctx context.Context, s storage.Store, column string, n int) <-chan error {
	errs := make(chan error, n)
	for i := range n {
		go func() {
			_, err := s.Apply(ctx, batch(column, i))
			errs <- err
		}()
	}
	return errs
}

func wait(t *testing.T, errs <-chan error) error {
	t.Helper()
	select {
	case err := <-errs:
		return err
	case <-time.After(patience):
		t.Fatal("no answer")
		return nil
	}
}

// streams counts the Apply streams that the plugin's end has open.
type streams struct{ open, most atomic.Int64 }

func (c *streams) option() sdktest.Option {
	return sdktest.WithServerOptions(grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo,
		handle grpc.StreamHandler) error {
		n := c.open.Add(1)
		defer c.open.Add(-1)
		for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
		}
		return handle(srv, s)
	}))
}

func (c *streams) are(t *testing.T, n int64) {
	t.Helper()
	require.Eventually(t, func() bool { return c.open.Load() == n }, patience, time.Millisecond,
		"streams open: %d, not %d", c.open.Load(), n)
}

func TestApply_ManyInFlight(t *testing.T) {
	t.Parallel()
	var c streams
	g := newGated()
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, g, c.option())
	const n = 64
	errs := start(t.Context(), s, "gate", n)
	g.holds(t, n)
	for i := range 10 {
		_, err := s.Apply(t.Context(), batch("other", i))
		require.NoError(t, err, "one that is not held back passes all that are")
	}
	c.are(t, n+1)
	close(g.open)
	for range n {
		require.NoError(t, wait(t, errs))
	}
	c.are(t, storage.MaxIdle)
	require.NoError(t, s.Close(t.Context()))
	c.are(t, 0)
	_, err := s.Apply(t.Context(), batch("other", 0))
	require.ErrorIs(t, err, errkind.Unavailable, "the plugin is closed")
	c.are(t, 0)
}

func TestApply_TooManyInFlightWait(t *testing.T) {
	t.Parallel()
	var c streams
	g := newGated()
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, g, c.option())
	errs := start(t.Context(), s, "gate", storage.MaxApplies)
	g.holds(t, storage.MaxApplies)
	soon, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := s.Apply(soon, batch("other", 0))
	require.ErrorIs(t, err, errkind.Deadline)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	more := start(t.Context(), s, "gate", 10)
	close(g.open)
	for range storage.MaxApplies {
		require.NoError(t, wait(t, errs))
	}
	for range 10 {
		require.NoError(t, wait(t, more))
	}
	require.LessOrEqual(t, c.most.Load(), int64(storage.MaxApplies))
}

func TestApply_OneGivenUpEndsNoOther(t *testing.T) {
	t.Parallel()
	var c streams
	g := newGated()
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, g, c.option())
	const n = 8
	errs := start(t.Context(), s, "gate", n)
	ctx, cancel := context.WithCancelCause(t.Context())
	canceled := start(ctx, s, "gate", 1)
	late, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	overdue := start(late, s, "gate", 1)

	err := wait(t, overdue)
	require.ErrorIs(t, err, errkind.Deadline)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	g.holds(t, n+1)
	reason := errors.New("the user left")
	cancel(reason)
	err = wait(t, canceled)
	require.ErrorIs(t, err, errkind.Canceled)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, reason)
	_, err = s.Apply(ctx, batch("other", 0))
	require.ErrorIs(t, err, errkind.Canceled)
	require.ErrorIs(t, err, reason)

	g.holds(t, n)
	require.EqualValues(t, 2, g.ended.Load(), "the plugin's contexts end with the caller's")
	c.are(t, n)
	close(g.open)
	for range n {
		require.NoError(t, wait(t, errs))
	}
}

func TestApply_ErrorsKeepTheirKindAndHarmNoOther(t *testing.T) {
	t.Parallel()
	for _, kind := range []errkind.Kind{errkind.Exhausted, errkind.Corrupt, errkind.TooLarge, errkind.Internal} {
		s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire,
			failing{storagetest.NewMemory(), errkind.Retryable(kind.Errorf("the disk says no"))})
		errs := start(t.Context(), s, "fine", 8)
		for range 3 {
			_, err := s.Apply(t.Context(), batch("fails", 0))
			require.ErrorIs(t, err, kind)
			require.True(t, errkind.IsRetryable(err))
			require.EqualError(t, err, "the disk says no")
			_, err = s.Apply(t.Context(), batch("fine", 0))
			require.NoError(t, err)
		}
		for range 8 {
			require.NoError(t, wait(t, errs))
		}
	}
}

// failing fails batches that write to the column "fails".
type failing struct {
	storage.Plugin
	err error
}

func (f failing) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	if b.Ops[0].Column == "fails" {
		return false, f.err
	}
	return f.Plugin.Apply(ctx, b)
}

func TestApply_DeathInTheMiddle(t *testing.T) {
	t.Parallel()
	p := sdktest.Start(t, storage.Wire, sdktest.Reexec("gated"), sdktest.WithName("mortal"))
	_, err := p.Plugin.Apply(t.Context(), batch("other", 0))
	require.NoError(t, err)
	const n = 8
	errs := start(t.Context(), p.Plugin, "gate", n)
	require.Eventually(t, func() bool {
		stats, err := p.Plugin.Stats(t.Context())
		return err == nil && stats.DiskBytes == n
	}, patience, time.Millisecond, "they do not arrive")
	_, err = p.Plugin.Apply(t.Context(), batch("other", 1))
	require.NoError(t, err)
	p.Kill()
	check := func(err error) {
		require.ErrorIs(t, err, errkind.Unavailable)
		require.True(t, errkind.IsRetryable(err))
		require.ErrorContains(t, err, `storage plugin "mortal"`)
	}
	for range n {
		check(wait(t, errs))
	}
	for range 3 { // on the stream that was idle, and on a new one
		_, err := p.Plugin.Apply(t.Context(), batch("other", 2))
		check(err)
	}
}

// Stats tells how many are held back.
func (g *gated) Stats(context.Context) (storage.Stats, error) {
	return storage.Stats{DiskBytes: uint64(g.here.Load())}, nil
}

// fakeConn is a connection whose streams answer every batch until they are cut.
type fakeConn struct {
	grpc.ClientConnInterface
	opened []*fakeStream
	dead   bool // new streams are cut
}

func (c *fakeConn) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	s := &fakeStream{ctx: ctx, cut: c.dead}
	c.opened = append(c.opened, s)
	return s, nil
}

type fakeStream struct {
	grpc.ClientStream
	ctx  context.Context
	cut  bool
	sent int
}

func (s *fakeStream) SendMsg(any) error {
	if s.cut {
		return io.EOF
	}
	s.sent++
	return nil
}

func (s *fakeStream) RecvMsg(any) error {
	if s.cut {
		return status.Error(codes.Unavailable, "connection lost")
	}
	return nil
}

// TestApply_IdleStreamsMayEnd: as a single call would, a batch finds the connection that was made anew meanwhile.
func TestApply_IdleStreamsMayEnd(t *testing.T) {
	t.Parallel()
	conn := &fakeConn{}
	s := storage.NewClient(base.Link{Conn: conn, Name: "p"})
	_, err := s.Apply(t.Context(), batch("c", 0))
	require.NoError(t, err)
	conn.opened[0].cut = true
	_, err = s.Apply(t.Context(), batch("c", 1))
	require.NoError(t, err)
	require.Len(t, conn.opened, 2)
	require.Equal(t, 1, conn.opened[1].sent)
	require.Error(t, conn.opened[0].ctx.Err(), "the old stream is given up")
	require.NoError(t, conn.opened[1].ctx.Err())

	conn.opened[1].cut, conn.dead = true, true
	_, err = s.Apply(t.Context(), batch("c", 2))
	require.ErrorIs(t, err, errkind.Unavailable)
	require.True(t, errkind.IsRetryable(err))
	require.ErrorContains(t, err, "p does not answer: connection lost")
	require.Len(t, conn.opened, 3)
	require.Error(t, conn.opened[2].ctx.Err())
}

// early ends Apply streams without an answer.
type early struct {
	storagev1.UnimplementedStorageServiceServer
}

func (early) Apply(stream storagev1.StorageService_ApplyServer) error {
	_, err := stream.Recv()
	return err
}

func TestApply_PluginThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := sdktest.OverGRPC[storage.Plugin](t, base.Wire[storage.Plugin]{Kind: storage.Kind,
		Versions: map[int]base.Version[storage.Plugin]{1: {Client: storage.NewClient,
			Register: func(s grpc.ServiceRegistrar, p storage.Plugin) *base.Server {
				storagev1.RegisterStorageServiceServer(s, early{})
				return base.Register(s, p)
			}}}}, storagetest.NewMemory(), sdktest.WithName("mute"))
	for range 2 {
		_, err := s.Apply(t.Context(), batch("c", 0))
		require.ErrorIs(t, err, errkind.Internal)
		require.EqualError(t, err, `storage plugin "mute" ended a stream without an answer to a batch`)
	}
}

func TestApply_StreamsOfAPluginAreBounded(t *testing.T) {
	t.Parallel()
	raw := rawStorage(t)
	apply := func(ctx context.Context) error {
		stream, err := raw.Apply(ctx)
		require.NoError(t, err)
		require.NoError(t, stream.Send(rawBatch(batch("c", 0))))
		_, err = stream.Recv()
		return errkind.FromStatus(err)
	}
	one, end := context.WithCancel(t.Context())
	defer end()
	require.NoError(t, apply(one))
	for range storage.MaxApplyStreams - 1 {
		require.NoError(t, apply(t.Context()))
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, apply(soon), errkind.Deadline, "one stream more is not served")
	end()
	require.NoError(t, apply(t.Context()))
}

// noise is a codec that sends bytes as they are.
type noise struct{}

func (noise) Name() string                  { return "proto" }
func (noise) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (noise) Unmarshal([]byte, any) error   { return nil }

var _ encoding.Codec = noise{}

func TestApply_Garbage(t *testing.T) {
	t.Parallel()
	var link base.Link
	s := sdktest.OverGRPC[storage.Plugin](t, base.Wire[storage.Plugin]{Kind: storage.Kind,
		Versions: map[int]base.Version[storage.Plugin]{1: {Register: storage.Register,
			Client: func(l base.Link) storage.Plugin {
				link = l
				return storage.NewClient(l)
			}}}}, storagetest.NewMemory())
	tests := map[string]struct {
		sent []byte
		kind errkind.Kind
		text string
	}{
		"nothing":       {[]byte{}, errkind.Invalid, "batch id has 0 bytes, it must have 16"},
		"no message":    {[]byte{0xff, 0xff, 0xff}, errkind.Internal, "unmarshal"},
		"other message": {[]byte("\x0a\x05\x0a\x03abc"), errkind.Invalid, "batch id has 5 bytes, it must have 16"},
		"cut message":   {[]byte("\x0a\x10abc"), errkind.Internal, "unmarshal"},
		"no operation":  {[]byte("\x0a\x10aaaaaaaaaaaaaaaa\x12\x00"), errkind.Unsupported, "an operation that storage protocol 1 does not know"},
		"zero id":       {append([]byte("\x0a\x10"), make([]byte, 16)...), errkind.Invalid, "all zero"},
	}
	for name, test := range tests {
		stream, err := link.Conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			storagev1.StorageService_Apply_FullMethodName, grpc.ForceCodec(noise{}))
		require.NoError(t, err, name)
		require.NoError(t, stream.SendMsg(&test.sent), name)
		err = errkind.FromStatus(stream.RecvMsg(&[]byte{}))
		require.ErrorIs(t, err, test.kind, name)
		require.ErrorContains(t, err, test.text, name)
		_, err = s.Apply(t.Context(), batch("c", 0))
		require.NoError(t, err, name)
	}
}
