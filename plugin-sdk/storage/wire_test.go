package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/handshake"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) {
	sdktest.Main(m, map[string]func(){
		"memory": func() { serve.Storage(storagetest.NewMemory) },
		"gated":  func() { serve.Storage(func() storage.Plugin { return newGated() }) },
		"stuck":  func() { serve.Storage(func() storage.Plugin { return stuck{storagetest.NewMemory()} }) },
	})
}

// stuck never answers a Get.
type stuck struct{ storage.Plugin }

func (stuck) Get(context.Context, []storage.Key) ([]storage.Value, error) { select {} }

const (
	kib = 1 << 10
	mib = 1 << 20
)

func fill(n int) []byte { return bytes.Repeat([]byte{0x5a}, n) }

func key(n int) []byte { return fmt.Appendf(nil, "%08d", n) }

func putAll(t testing.TB, s storage.Store, n, size int) {
	t.Helper()
	b := storage.Batch{ID: storage.NewBatchID()}
	for i := range n {
		b.Put("c", key(i), fill(size))
	}
	_, err := s.Apply(context.Background(), b)
	require.NoError(t, err)
}

// calls counts the host's calls by method, and the messages it sends on Apply streams as "Apply message".
type calls struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *calls) add(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[method[len("/calimero.storage.v1.StorageService/"):]]++
}

func (c *calls) options() sdktest.Option {
	return sdktest.WithDialOptions(
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
			invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			c.add(method)
			return invoke(ctx, method, req, reply, cc, opts...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			c.add(method)
			s, err := stream(ctx, d, cc, method, opts...)
			return countedStream{s, c, method}, err
		}))
}

type countedStream struct {
	grpc.ClientStream
	c      *calls
	method string
}

func (s countedStream) SendMsg(m any) error {
	if _, ok := m.(*storagev1.ApplyRequest); ok {
		s.c.add(s.method + " message")
	}
	return s.ClientStream.SendMsg(m)
}

func (c *calls) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = nil
	return n
}

func TestGet_AsksAgainForWhatDidNotFit(t *testing.T) {
	t.Parallel()
	tests := []struct{ n, size, calls int }{
		{1, 0, 1},
		{storage.MaxGetKeys, 16, 1},
		{1000, 4 * kib, 4},
		{3, mib, 3},
		{2, storage.MaxValue, 2},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%d of %d bytes", test.n, test.size), func(t *testing.T) {
			t.Parallel()
			var c calls
			s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, storagetest.NewMemory(), c.options())
			putAll(t, s, test.n, test.size)
			c.take()
			keys := make([]storage.Key, test.n)
			for i := range keys {
				keys[i] = storage.Key{Column: "c", Key: key(i)}
			}
			keys[test.n/2].Column = "other"
			got, err := s.Get(t.Context(), keys)
			require.NoError(t, err)
			require.Len(t, got, test.n)
			for i, v := range got {
				if i == test.n/2 {
					require.Equal(t, storage.Value{}, v)
					continue
				}
				require.True(t, v.Found)
				require.Len(t, v.Bytes, test.size)
				require.NotNil(t, v.Bytes)
			}
			require.LessOrEqual(t, c.take()["Get"], test.calls)
		})
	}
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, storagetest.NewMemory())
	got, err := s.Get(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = s.Get(t.Context(), make([]storage.Key, storage.MaxGetKeys+1))
	require.ErrorIs(t, err, errkind.TooLarge)
	require.ErrorContains(t, err, "4096")
}

func TestApply_SmallInOneMessageLargeInParts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ n, size, least, most int }{
		"empty":         {0, 0, 1, 1},
		"small":         {10, 100, 1, 1},
		"just below":    {15, 64 * kib, 1, 1},
		"just above":    {17, 64 * kib, 2, 2},
		"one large op":  {1, storage.MaxValue, 1, 1},
		"two large ops": {2, storage.MaxValue, 2, 2},
		"most ops":      {storage.MaxBatchOps, 1, 10, 20},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c calls
			s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, storagetest.NewMemory(), c.options())
			b := storage.Batch{ID: storage.NewBatchID()}
			for i := range test.n {
				b.Put("c", key(i), fill(test.size))
			}
			replayed, err := s.Apply(t.Context(), b)
			require.NoError(t, err)
			require.False(t, replayed)
			sent := c.take()
			require.Equal(t, 1, sent["Apply"])
			require.GreaterOrEqual(t, sent["Apply message"], test.least)
			require.LessOrEqual(t, sent["Apply message"], test.most)
			replayed, err = s.Apply(t.Context(), b)
			require.NoError(t, err)
			require.True(t, replayed)
			require.Zero(t, c.take()["Apply"], "the stream is used again")
			n := 0
			require.NoError(t, s.Scan(t.Context(), storage.Range{Column: "c", KeysOnly: true}, func(items []storage.Item) error {
				n += len(items)
				return nil
			}))
			require.Equal(t, test.n, n)
		})
	}
}

func TestApply_AllKindsOfOps(t *testing.T) {
	t.Parallel()
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, storagetest.NewMemory())
	putAll(t, s, 10, 3)
	b := storage.Batch{ID: storage.NewBatchID()}
	b.Delete("c", key(0))
	b.DeleteRange("c", key(2), key(5))
	b.DeleteRange("c", key(8), nil)
	b.Put("c", key(9), nil)
	_, err := s.Apply(t.Context(), b)
	require.NoError(t, err)
	var got []string
	require.NoError(t, s.Scan(t.Context(), storage.Range{Column: "c"}, func(items []storage.Item) error {
		for _, it := range items {
			got = append(got, fmt.Sprintf("%s=%d", it.Key, len(it.Value)))
		}
		return nil
	}))
	require.Equal(t, []string{"00000001=3", "00000005=3", "00000006=3", "00000007=3", "00000009=0"}, got)
}

// rawStorage is the raw connection to a memory plugin.
func rawStorage(t *testing.T, opts ...sdktest.Option) storagev1.StorageServiceClient {
	t.Helper()
	return rawConn(t, storagetest.NewMemory(), opts...)
}

func rawConn(t *testing.T, p storage.Plugin, opts ...sdktest.Option) storagev1.StorageServiceClient {
	t.Helper()
	var link base.Link
	sdktest.OverGRPC[storage.Plugin](t, base.Wire[storage.Plugin]{Kind: storage.Kind,
		Versions: map[int]base.Version[storage.Plugin]{1: {Register: storage.Register,
			Client: func(l base.Link) storage.Plugin {
				link = l
				return storage.NewClient(l)
			}}}}, p, opts...)
	return storagev1.NewStorageServiceClient(link.Conn)
}

// rawApply sends messages on a stream of their own and returns the error with which the plugin ends it, nil if it
// answers.
func rawApply(t *testing.T, raw storagev1.StorageServiceClient, parts ...*storagev1.ApplyRequest) error {
	t.Helper()
	stream, err := raw.Apply(t.Context())
	require.NoError(t, err)
	for _, p := range parts {
		if err := stream.Send(p); err != nil {
			require.ErrorIs(t, err, io.EOF)
			break // the plugin has answered
		}
	}
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	return errkind.FromStatus(err)
}

// TestBounds_OnBothSides sends what is at a bound and above it through the client and past it.
func TestBounds_OnBothSides(t *testing.T) {
	t.Parallel()
	raw := rawStorage(t)
	client := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, storagetest.NewMemory())
	put := func(column string, k, v []byte) storage.Batch {
		b := storage.Batch{ID: storage.NewBatchID()}
		b.Put(column, k, v)
		return b
	}
	name := func(n int) string { return string(bytes.Repeat([]byte("c"), n)) }
	tests := map[string]struct {
		batch storage.Batch
		kind  errkind.Kind // Unknown = fine
	}{
		"longest key":       {batch: put("c", fill(storage.MaxKey), nil)},
		"key too long":      {batch: put("c", fill(storage.MaxKey+1), nil), kind: errkind.TooLarge},
		"empty key":         {batch: put("c", nil, nil), kind: errkind.Invalid},
		"largest value":     {batch: put("c", key(1), fill(storage.MaxValue))},
		"value too large":   {batch: put("c", key(1), fill(storage.MaxValue+1)), kind: errkind.TooLarge},
		"longest column":    {batch: put(name(storage.MaxColumn), key(1), nil)},
		"column too long":   {batch: put(name(storage.MaxColumn+1), key(1), nil), kind: errkind.TooLarge},
		"bad column":        {batch: put("a b", key(1), nil), kind: errkind.Invalid},
		"no column":         {batch: put("", key(1), nil), kind: errkind.Invalid},
		"no id":             {batch: storage.Batch{}, kind: errkind.Invalid},
		"longest bound":     {batch: storage.Batch{ID: storage.NewBatchID(), Ops: []storage.Op{{Kind: storage.OpDeleteRange, Column: "x", Key: fill(storage.MaxKey + 1)}}}},
		"bound too long":    {batch: storage.Batch{ID: storage.NewBatchID(), Ops: []storage.Op{{Kind: storage.OpDeleteRange, Column: "x", Key: fill(storage.MaxKey + 2)}}}, kind: errkind.TooLarge},
		"unknown operation": {batch: storage.Batch{ID: storage.NewBatchID(), Ops: []storage.Op{{Column: "x", Key: key(1)}}}, kind: errkind.Invalid},
	}
	for what, test := range tests {
		_, err := client.Apply(t.Context(), test.batch)
		if test.kind == errkind.Unknown {
			require.NoError(t, err, what)
		} else {
			require.ErrorIs(t, err, test.kind, what)
		}
		err = rawApply(t, raw, rawBatch(test.batch))
		switch {
		case test.kind == errkind.Unknown:
			require.NoError(t, err, what)
		case what == "unknown operation":
			require.ErrorIs(t, err, errkind.Unsupported)
			require.ErrorContains(t, err, "storage protocol 1")
		default:
			require.ErrorIs(t, err, test.kind, what)
		}
	}
	for n, kind := range map[int]errkind.Kind{storage.MaxPageBytes: errkind.Unknown, storage.MaxPageBytes + 1: errkind.TooLarge} {
		err := client.Scan(t.Context(), storage.Range{Column: "c", PageBytes: n}, func([]storage.Item) error { return nil })
		stream, rawErr := raw.Scan(t.Context(), &storagev1.ScanRequest{Column: "c", PageBytes: uint32(n)})
		require.NoError(t, rawErr)
		_, rawErr = stream.Recv()
		if kind == errkind.Unknown {
			require.NoError(t, err)
			require.NoError(t, rawErr)
			continue
		}
		require.ErrorIs(t, err, kind)
		require.ErrorIs(t, errkind.FromStatus(rawErr), kind)
	}
	require.ErrorIs(t, client.Scan(t.Context(), storage.Range{Column: "c", PageBytes: -1}, nil), errkind.Invalid)
	_, err := raw.Get(t.Context(), &storagev1.GetRequest{Keys: make([]*storagev1.Key, storage.MaxGetKeys+1)})
	require.ErrorIs(t, errkind.FromStatus(err), errkind.TooLarge)
	err = rawApply(t, raw, &storagev1.ApplyRequest{BatchId: []byte("short")})
	require.ErrorIs(t, err, errkind.Invalid)
	require.ErrorContains(t, err, "5 bytes, it must have 16")
}

func rawBatch(b storage.Batch) *storagev1.ApplyRequest {
	r := &storagev1.ApplyRequest{BatchId: b.ID[:]}
	for _, op := range b.Ops {
		p := &storagev1.Op{Column: op.Column}
		switch op.Kind {
		case storage.OpPut:
			p.Op = &storagev1.Op_Put{Put: &storagev1.Put{Key: op.Key, Value: op.Value}}
		case storage.OpDelete:
			p.Op = &storagev1.Op_Delete{Delete: &storagev1.Delete{Key: op.Key}}
		case storage.OpDeleteRange:
			p.Op = &storagev1.Op_DeleteRange{DeleteRange: &storagev1.DeleteRange{Start: op.Key, End: op.End}}
		}
		r.Ops = append(r.Ops, p)
	}
	return r
}

func TestBounds_OfABatchInParts(t *testing.T) {
	t.Parallel()
	raw := rawStorage(t)
	id := storage.NewBatchID()
	send := func(parts int, part func(n int) *storagev1.ApplyRequest) error {
		all := make([]*storagev1.ApplyRequest, parts)
		for n := range all {
			all[n] = part(n)
			all[n].More = n < parts-1
		}
		return rawApply(t, raw, all...)
	}
	big := storage.Batch{ID: id}
	big.Put("c", key(1), fill(8*mib-8))
	require.NoError(t, send(16, func(int) *storagev1.ApplyRequest { return rawBatch(big) }), "exactly 128 MiB")
	other := storage.Batch{ID: storage.NewBatchID()}
	other.Put("c", key(1), fill(8*mib-8))
	err := send(17, func(n int) *storagev1.ApplyRequest {
		if n == 16 {
			last := storage.Batch{ID: other.ID}
			last.Delete("c", []byte("k"))
			return rawBatch(last)
		}
		return rawBatch(other)
	})
	require.ErrorIs(t, err, errkind.TooLarge, "one byte more")
	require.ErrorContains(t, err, "134217728")

	ops := make([]*storagev1.Op, storage.MaxBatchOps/2+1)
	for i := range ops {
		ops[i] = &storagev1.Op{Column: "c", Op: &storagev1.Op_Delete{Delete: &storagev1.Delete{Key: []byte("k")}}}
	}
	err = send(2, func(int) *storagev1.ApplyRequest { return &storagev1.ApplyRequest{BatchId: other.ID[:], Ops: ops} })
	require.ErrorIs(t, err, errkind.TooLarge)
	require.ErrorContains(t, err, "262144")

	err = send(2, func(n int) *storagev1.ApplyRequest {
		b := storage.Batch{ID: storage.NewBatchID()}
		b.Put("new", key(n), nil)
		return rawBatch(b)
	})
	require.ErrorIs(t, err, errkind.Invalid)
	require.ErrorContains(t, err, "id changed")
	half := storage.Batch{ID: storage.NewBatchID()}
	half.Put("new", key(0), nil)
	begun := rawBatch(half)
	begun.More = true
	err = rawApply(t, raw, begun)
	require.ErrorIs(t, err, errkind.Invalid)
	require.ErrorContains(t, err, "ended within batch")

	r, err := raw.Get(t.Context(), &storagev1.GetRequest{Keys: []*storagev1.Key{{Column: "new", Key: key(0)}}})
	require.NoError(t, err)
	require.False(t, r.GetValues()[0].GetFound(), "nothing of a refused batch is applied")
}

func TestMessages_AtTheHardLimit(t *testing.T) {
	t.Parallel()
	raw := rawStorage(t, sdktest.WithDialOptions(grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64*mib))))
	for _, size := range []int{handshake.MaxMessage - 1, handshake.MaxMessage, handshake.MaxMessage + 1} {
		b := storage.Batch{ID: storage.NewBatchID()}
		b.Put("c", key(1), nil)
		r := rawBatch(b)
		value := r.Ops[0].GetPut()
		value.Value = make([]byte, size-100)
		value.Value = make([]byte, size-100+size-proto.Size(r))
		require.Equal(t, size, proto.Size(r))
		err := rawApply(t, raw, r)
		if size > handshake.MaxMessage {
			require.ErrorIs(t, err, errkind.Exhausted, "the plugin's end refuses the message")
			require.ErrorContains(t, err, "larger than max")
		} else {
			require.ErrorIs(t, err, errkind.TooLarge, "the message arrives, its value is too large")
		}
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, storagetest.NewMemory())
	putAll(t, s, 1000, 4*kib)
	stop := errors.New("enough")
	pages := 0
	err := s.Scan(t.Context(), storage.Range{Column: "c"}, func(items []storage.Item) error {
		require.NotEmpty(t, items)
		if pages++; pages == 2 {
			return stop
		}
		return nil
	})
	require.Equal(t, stop, err)
	var first []string
	require.NoError(t, s.Scan(t.Context(), storage.Range{Column: "c", Start: key(5), End: key(900), Reverse: true, Limit: 3,
		KeysOnly: true}, func(items []storage.Item) error {
		for _, it := range items {
			require.Nil(t, it.Value)
			first = append(first, string(it.Key))
		}
		return nil
	}))
	require.Equal(t, []string{"00000899", "00000898", "00000897"}, first)

	ctx, cancel := context.WithCancel(t.Context())
	err = s.Scan(ctx, storage.Range{Column: "c", PageBytes: 1}, func([]storage.Item) error {
		cancel()
		return nil
	})
	require.ErrorIs(t, err, errkind.Canceled)
	require.ErrorIs(t, err, context.Canceled)
}

// sloppy answers a scan with one page of everything.
type sloppy struct{ storage.Plugin }

func (sloppy) Scan(_ context.Context, _ storage.Range, page func([]storage.Item) error) error {
	items := make([]storage.Item, 40)
	for i := range items {
		items[i] = storage.Item{Key: key(i), Value: fill(mib)}
	}
	return page(items)
}

func TestScan_SplitsPagesThatFitNoMessage(t *testing.T) {
	t.Parallel()
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, sloppy{storagetest.NewMemory()})
	n := 0
	require.NoError(t, s.Scan(t.Context(), storage.Range{Column: "c"}, func(items []storage.Item) error {
		n += len(items)
		return nil
	}))
	require.Equal(t, 40, n)
	err := s.Scan(t.Context(), storage.Range{Column: "c", Limit: 39}, func([]storage.Item) error { return nil })
	require.ErrorIs(t, err, errkind.Internal)
	require.ErrorContains(t, err, "more than the 39 items")
}

// watched counts the open snapshots of a plugin.
type watched struct {
	storage.Plugin
	open atomic.Int64
}

func (w *watched) Snapshot(ctx context.Context) (storage.Snapshot, error) {
	s, err := w.Plugin.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	w.open.Add(1)
	return &watchedSnapshot{Snapshot: s, w: w}, nil
}

type watchedSnapshot struct {
	storage.Snapshot
	w    *watched
	once sync.Once
}

func (s *watchedSnapshot) Close() error {
	s.once.Do(func() { s.w.open.Add(-1) })
	return s.Snapshot.Close()
}

func (w *watched) none(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return w.open.Load() == 0 }, 20*time.Second, time.Millisecond,
		"a snapshot is left open")
}

func get(s storage.Reader) (storage.Value, error) {
	v, err := s.Get(context.Background(), []storage.Key{{Column: "c", Key: key(0)}})
	if err != nil {
		return storage.Value{}, err
	}
	return v[0], nil
}

func TestSnapshot_ShowsOneStateUntilItEnds(t *testing.T) {
	t.Parallel()
	ends := map[string]func(s storage.Snapshot, cancel func()){
		"with Close": func(s storage.Snapshot, _ func()) {
			require.NoError(t, s.Close())
			require.NoError(t, s.Close())
		},
		"with its context": func(_ storage.Snapshot, cancel func()) { cancel() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &watched{Plugin: storagetest.NewMemory()}
			s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, w)
			putAll(t, s, 1, 3)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			snap, err := s.Snapshot(ctx)
			require.NoError(t, err)
			putAll(t, s, 1, 9)
			v, err := get(snap)
			require.NoError(t, err)
			require.Len(t, v.Bytes, 3)
			end(snap, cancel)
			w.none(t)
			require.Eventually(t, func() bool {
				_, err := get(snap)
				return errors.Is(err, errkind.NotFound)
			}, 10*time.Second, time.Millisecond)
			require.NoError(t, snap.Close())
		})
	}
}

func TestSnapshot_LeaseEndsUnlessUsed(t *testing.T) {
	t.Parallel()
	const lease = time.Second
	w := &watched{Plugin: storagetest.NewMemory()}
	s := sdktest.OverGRPC[storage.Plugin](t, storage.WireWithLease(lease), w)
	putAll(t, s, 2, 3)
	used, err := s.Snapshot(context.Background())
	require.NoError(t, err)
	abandoned, err := s.Snapshot(context.Background())
	require.NoError(t, err)
	scanned, err := s.Snapshot(context.Background())
	require.NoError(t, err)

	for end := time.Now().Add(2 * lease); time.Now().Before(end); {
		_, err := get(used)
		require.NoError(t, err, "used within its lease")
	}
	_, err = get(abandoned)
	require.ErrorIs(t, err, errkind.NotFound)
	require.Equal(t, int64(1), w.open.Load(), "only the used one is open")
	_, err = get(scanned)
	require.ErrorIs(t, err, errkind.NotFound)
	w.none(t)
	_, err = get(used)
	require.ErrorIs(t, err, errkind.NotFound)
}

func TestSnapshot_ALongScanRenewsTheLease(t *testing.T) {
	t.Parallel()
	const lease = 500 * time.Millisecond
	w := &watched{Plugin: storagetest.NewMemory()}
	s := sdktest.OverGRPC[storage.Plugin](t, storage.WireWithLease(lease), w)
	putAll(t, s, 100, 100*kib)
	snap, err := s.Snapshot(context.Background())
	require.NoError(t, err)
	start, n := time.Now(), 0
	require.NoError(t, snap.Scan(context.Background(), storage.Range{Column: "c", PageBytes: 1}, func(items []storage.Item) error {
		if n += len(items); n == 1 {
			<-time.After(2 * lease) // the consumer is slow, the scan is not over
		}
		return nil
	}))
	require.Equal(t, 100, n)
	require.GreaterOrEqual(t, time.Since(start), 2*lease)
	require.NoError(t, snap.Close())
	w.none(t)
}

func TestSnapshot_ManyAreRefused(t *testing.T) {
	t.Parallel()
	w := &watched{Plugin: storagetest.NewMemory()}
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, w)
	var open []storage.Snapshot
	for range 256 {
		snap, err := s.Snapshot(context.Background())
		require.NoError(t, err)
		open = append(open, snap)
	}
	_, err := s.Snapshot(context.Background())
	require.ErrorIs(t, err, errkind.Exhausted)
	for _, snap := range open {
		require.NoError(t, snap.Close())
	}
	w.none(t)
	snap, err := s.Snapshot(context.Background())
	require.NoError(t, err)
	require.NoError(t, snap.Close())
}

func TestDeathInTheMiddleOfACall(t *testing.T) {
	t.Parallel()
	p := sdktest.Start(t, storage.Wire, sdktest.Reexec("stuck"), sdktest.WithName("mortal"))
	snap, err := p.Plugin.Snapshot(context.Background())
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := get(p.Plugin)
		done <- err
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = p.Plugin.Get(ctx, []storage.Key{{Column: "c", Key: key(0)}})
	require.ErrorIs(t, err, errkind.Deadline)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	p.Kill()
	for _, err := range []error{<-done, func() error { _, err := get(p.Plugin); return err }()} {
		require.ErrorIs(t, err, errkind.Unavailable)
		require.True(t, errkind.IsRetryable(err))
		require.ErrorContains(t, err, `storage plugin "mortal"`)
	}
	require.Eventually(t, func() bool {
		_, err := get(snap)
		return errors.Is(err, errkind.Unavailable)
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, snap.Close())
}

func TestStatsAndCompact(t *testing.T) {
	t.Parallel()
	local := storagetest.NewMemory()
	s := sdktest.OverGRPC[storage.Plugin](t, storage.Wire, local)
	putAll(t, s, 10, 100)
	want, err := local.Stats(t.Context())
	require.NoError(t, err)
	got, err := s.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, want.DiskBytes, got.DiskBytes)
	require.Equal(t, want.Columns, got.Columns)
	_, _, err = s.Compact(t.Context())
	require.NoError(t, err)
}

func BenchmarkGet(b *testing.B) {
	for name, s := range map[string]storage.Plugin{
		"over grpc":     sdktest.OverGRPC[storage.Plugin](b, storage.Wire, storagetest.NewMemory()),
		"child process": sdktest.Start(b, storage.Wire, sdktest.Reexec("memory")).Plugin,
	} {
		putAll(b, s, 10, 100)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := get(s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
