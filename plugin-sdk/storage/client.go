package storage

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
)

var (
	_ Plugin   = (*client)(nil)
	_ Snapshot = (*snapshotClient)(nil)
)

// client is the host's end of a storage plugin.
type client struct {
	base.Plugin
	reader
	applier *applier
}

// NewClient makes the host's end of a storage plugin.
func NewClient(l base.Link) Plugin {
	rpc := storagev1.NewStorageServiceClient(l.Conn)
	return &client{Plugin: base.NewClient(l), reader: reader{link: l, rpc: rpc}, applier: newApplier(l, rpc)}
}

// reader reads the current state or a snapshot.
type reader struct {
	link     base.Link
	rpc      storagev1.StorageServiceClient
	snapshot uint64
}

func (r *reader) Get(ctx context.Context, keys []Key) ([]Value, error) {
	if err := CheckKeys(keys); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, nil
	}
	call, cancel := r.link.Join(ctx)
	defer cancel()
	out := make([]Value, 0, len(keys))
	ask := keysToProto(keys)
	for len(out) < len(keys) {
		resp, err := r.rpc.Get(call, &storagev1.GetRequest{Keys: ask[len(out):], Snapshot: r.snapshot})
		if err != nil {
			return nil, r.link.Err(ctx, err)
		}
		got := resp.GetValues()
		if len(got) == 0 || len(got) > len(keys)-len(out) {
			return nil, errkind.Internal.Errorf("%s answered %d values for %d keys", r.link.Name, len(got), len(keys)-len(out))
		}
		for _, v := range got {
			value := Value{Found: v.GetFound()}
			if value.Found {
				value.Bytes = filled(v.GetValue())
			}
			out = append(out, value)
		}
	}
	return out, nil
}

func (r *reader) Scan(ctx context.Context, rng Range, page func([]Item) error) error {
	if err := rng.Check(); err != nil {
		return err
	}
	call, cancel := r.link.Join(ctx)
	defer cancel()
	stream, err := r.rpc.Scan(call, rangeToProto(rng, r.snapshot))
	if err != nil {
		return r.link.Err(ctx, err)
	}
	left := rng.Limit
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return r.link.Err(ctx, err)
		}
		items := make([]Item, len(p.GetItems()))
		for i, x := range p.GetItems() {
			items[i].Key = x.GetKey()
			if !rng.KeysOnly {
				items[i].Value = filled(x.GetValue())
			}
		}
		if rng.Limit > 0 {
			if uint64(len(items)) > left {
				return errkind.Internal.Errorf("%s answered more than the %d items asked for", r.link.Name, rng.Limit)
			}
			left -= uint64(len(items))
		}
		if len(items) == 0 {
			continue
		}
		if err := page(items); err != nil {
			return err
		}
	}
}

func (c *client) Apply(ctx context.Context, b Batch) (bool, error) {
	if err := b.Check(); err != nil {
		return false, err
	}
	return c.applier.apply(ctx, b)
}

// Close closes the plugin.
func (c *client) Close(ctx context.Context) error {
	c.applier.close()
	return c.Plugin.Close(ctx)
}

func (c *client) Snapshot(ctx context.Context) (Snapshot, error) {
	// The stream is the snapshot's life, so its context outlives this call and ends with the caller's.
	call, cancel := c.link.Join(ctx)
	stream, err := c.rpc.Snapshot(call, &storagev1.SnapshotRequest{})
	if err == nil {
		var lease *storagev1.SnapshotLease
		lease, err = stream.Recv()
		if err == nil {
			s := &snapshotClient{reader: c.reader, cancel: cancel, ended: make(chan struct{})}
			s.snapshot = lease.GetSnapshot()
			if s.snapshot == 0 {
				cancel()
				return nil, errkind.Internal.Errorf("%s opened a snapshot without a number", c.link.Name)
			}
			go s.watch(ctx, stream)
			return s, nil
		}
	}
	cancel()
	if errors.Is(err, io.EOF) {
		return nil, errkind.Internal.Errorf("%s ended a snapshot before it began", c.link.Name)
	}
	return nil, c.link.Err(ctx, err)
}

func (c *client) Stats(ctx context.Context) (Stats, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Stats(call, &storagev1.StatsRequest{})
	if err != nil {
		return Stats{}, c.link.Err(ctx, err)
	}
	s := Stats{DiskBytes: r.GetDiskBytes(), Columns: make(map[string]uint64, len(r.GetColumns())), Engine: r.GetEngine()}
	for _, col := range r.GetColumns() {
		s.Columns[col.GetColumn()] = col.GetApproximateBytes()
	}
	return s, nil
}

func (c *client) Compact(ctx context.Context) (before, after uint64, err error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Compact(call, &storagev1.CompactRequest{})
	if err != nil {
		return 0, 0, c.link.Err(ctx, err)
	}
	return r.GetBytesBefore(), r.GetBytesAfter(), nil
}

// snapshotClient is the host's end of a snapshot.
type snapshotClient struct {
	reader
	cancel context.CancelFunc
	ended  chan struct{} // closed when the stream is gone
	why    error         // set before
}

// watch waits for the end of the stream, which frees it.
func (s *snapshotClient) watch(ctx context.Context, stream storagev1.StorageService_SnapshotClient) {
	defer close(s.ended)
	defer s.cancel()
	for {
		_, err := stream.Recv()
		if err == nil {
			continue
		}
		s.why = errSnapshotEnded
		if gone := s.link.Gone; gone != nil && gone.Err() != nil || status.Code(err) == codes.Unavailable {
			s.why = s.link.Err(ctx, err)
		}
		return
	}
}

func (s *snapshotClient) Get(ctx context.Context, keys []Key) ([]Value, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	return s.reader.Get(ctx, keys)
}

func (s *snapshotClient) Scan(ctx context.Context, r Range, page func([]Item) error) error {
	if err := s.open(); err != nil {
		return err
	}
	return s.reader.Scan(ctx, r, page)
}

func (s *snapshotClient) open() error {
	select {
	case <-s.ended:
		return s.why
	default:
		return nil
	}
}

var errSnapshotEnded = errkind.NotFound.Wrap(fmt.Errorf("read snapshot: it was closed, or unused for %v", SnapshotLease))

// Close ends the snapshot and waits until its stream is gone.
func (s *snapshotClient) Close() error {
	s.cancel()
	<-s.ended
	return nil
}
