package storage

import (
	"context"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/handshake"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
)

const (
	// getStep is how many values are read ahead of knowing whether they fit the answer.
	getStep = 256
	// maxSnapshots bounds the open snapshots of one plugin.
	maxSnapshots = 256
)

// server is the plugin's end.
type server struct {
	storagev1.UnimplementedStorageServiceServer
	store Store
	lease time.Duration
	// applies has a place for each open Apply stream.
	applies chan struct{}

	mu        sync.Mutex
	nextID    uint64
	snapshots map[uint64]*lease
}

// Register adds the services of a storage plugin to s.
func Register(s grpc.ServiceRegistrar, p Plugin) *base.Server {
	storagev1.RegisterStorageServiceServer(s, newServer(p, SnapshotLease))
	return base.Register(s, p)
}

func newServer(store Store, leaseTime time.Duration) *server {
	return &server{store: store, lease: leaseTime, applies: make(chan struct{}, maxApplyStreams),
		snapshots: make(map[uint64]*lease)}
}

// read runs f on the current state (id 0) or on a snapshot, whose lease it renews.
func (s *server) read(ctx context.Context, id uint64, f func(context.Context, Reader) error) error {
	if id == 0 {
		return f(ctx, s.store)
	}
	s.mu.Lock()
	l := s.snapshots[id]
	s.mu.Unlock()
	if l == nil {
		return errSnapshotEnded
	}
	return l.use(ctx, f)
}

func (s *server) Get(ctx context.Context, r *storagev1.GetRequest) (*storagev1.GetResponse, error) {
	keys := keysFromProto(r.GetKeys())
	if err := CheckKeys(keys); err != nil {
		return nil, errkind.ToStatus(err)
	}
	resp := &storagev1.GetResponse{}
	err := s.read(ctx, r.GetSnapshot(), func(ctx context.Context, rd Reader) error {
		size := 0
		for len(keys) > 0 {
			step := keys[:min(len(keys), getStep)]
			values, err := rd.Get(ctx, step)
			if err != nil {
				return err
			}
			if len(values) != len(step) {
				return errkind.Internal.Errorf("get: the plugin answered %d values for %d keys", len(values), len(step))
			}
			for _, v := range values {
				size += len(v.Bytes) + 8
				if len(resp.Values) > 0 && size > handshake.SoftMessage {
					return nil
				}
				resp.Values = append(resp.Values, &storagev1.Value{Found: v.Found, Value: v.Bytes})
			}
			keys = keys[len(step):]
		}
		return nil
	})
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return resp, nil
}

func (s *server) Scan(r *storagev1.ScanRequest, stream storagev1.StorageService_ScanServer) error {
	if r.GetPageBytes() > math.MaxInt32 {
		return errkind.ToStatus(errkind.TooLarge.Errorf("page of %d bytes, the limit is %d", r.GetPageBytes(), MaxPageBytes))
	}
	rng := rangeFromProto(r)
	if err := rng.Check(); err != nil {
		return errkind.ToStatus(err)
	}
	return errkind.ToStatus(s.read(stream.Context(), r.GetSnapshot(), func(ctx context.Context, rd Reader) error {
		return rd.Scan(ctx, rng, func(items []Item) error {
			for len(items) > 0 {
				var page *storagev1.ScanPage
				page, items = pageOf(items)
				if err := stream.Send(page); err != nil {
					return err
				}
			}
			return nil
		})
	}))
}

// pageOf makes one message of items, at most MaxPageBytes unless the first alone is larger: plugins keep their pages
// small, but a page must fit the message limit whatever they do.
func pageOf(items []Item) (*storagev1.ScanPage, []Item) {
	size, n := 0, 0
	for n < len(items) {
		size += len(items[n].Key) + len(items[n].Value)
		if n > 0 && size > MaxPageBytes {
			break
		}
		n++
	}
	block := make([]storagev1.Item, n)
	page := &storagev1.ScanPage{Items: make([]*storagev1.Item, n)}
	for i, it := range items[:n] {
		block[i].Key, block[i].Value = it.Key, it.Value
		page.Items[i] = &block[i]
	}
	return page, items[n:]
}

func (s *server) Stats(ctx context.Context, _ *storagev1.StatsRequest) (*storagev1.StatsResponse, error) {
	st, err := s.store.Stats(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	resp := &storagev1.StatsResponse{DiskBytes: st.DiskBytes, Engine: st.Engine}
	for name, size := range st.Columns {
		resp.Columns = append(resp.Columns, &storagev1.ColumnStats{Column: name, ApproximateBytes: size})
	}
	return resp, nil
}

func (s *server) Compact(ctx context.Context, _ *storagev1.CompactRequest) (*storagev1.CompactResponse, error) {
	before, after, err := s.store.Compact(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &storagev1.CompactResponse{BytesBefore: before, BytesAfter: after}, nil
}
