package storage

import (
	"errors"
	"io"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
)

// maxApplyStreams bounds the open Apply streams of one plugin. It exceeds what one host opens, because a batch that the
// host gave up may still be at work here.
const maxApplyStreams = 4 * maxApplies

// Apply commits the batches of one stream until the host ends it or one of them fails.
func (s *server) Apply(stream storagev1.StorageService_ApplyServer) error {
	ctx := stream.Context()
	select {
	case s.applies <- struct{}{}:
		defer func() { <-s.applies }()
	case <-ctx.Done():
		return errkind.ToStatus(ctx.Err())
	}
	for {
		b, err := receiveBatch(stream)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = b.Check()
		}
		if err != nil {
			return errkind.ToStatus(err)
		}
		replayed, err := s.store.Apply(ctx, b)
		if err != nil {
			return errkind.ToStatus(err)
		}
		if err := stream.Send(&storagev1.ApplyResponse{Replayed: replayed}); err != nil {
			return err
		}
	}
}

// receiveBatch puts a batch together; io.EOF means that the stream ended before it.
func receiveBatch(stream storagev1.StorageService_ApplyServer) (b Batch, err error) {
	size := 0
	for first := true; ; first = false {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) && !first {
			return b, errkind.Invalid.Errorf("the stream ended within batch %x", b.ID)
		}
		if err != nil {
			return b, err
		}
		if len(r.GetBatchId()) != len(b.ID) {
			return b, errkind.Invalid.Errorf("batch id has %d bytes, it must have %d", len(r.GetBatchId()), len(b.ID))
		}
		id := BatchID(r.GetBatchId())
		if !first && id != b.ID {
			return b, errkind.Invalid.Errorf("batch id changed from %x to %x within a batch", b.ID, id)
		}
		b.ID = id
		if n := len(b.Ops) + len(r.GetOps()); n > MaxBatchOps {
			return b, errkind.TooLarge.Errorf("batch of at least %d operations, limit MaxBatchOps = %d", n, MaxBatchOps)
		}
		if first {
			b.Ops = make([]Op, 0, len(r.GetOps()))
		}
		for _, p := range r.GetOps() {
			op, err := opFromProto(p)
			if err != nil {
				return b, err
			}
			size += len(op.Key) + len(op.Value) + len(op.End)
			b.Ops = append(b.Ops, op)
		}
		if size > MaxBatchBytes {
			return b, errkind.TooLarge.Errorf("batch of at least %d bytes, limit MaxBatchBytes = %d", size, MaxBatchBytes)
		}
		if !r.GetMore() {
			return b, nil
		}
	}
}
