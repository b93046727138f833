package storage

import (
	"context"
	"sync"
	"time"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
)

// lease is an open snapshot of the plugin. It ends with the stream that opened it, or when nobody used it for the
// lease time; whoever is reading then is stopped before the plugin's snapshot is closed.
type lease struct {
	snap Snapshot
	life context.Context // ends with the lease

	using sync.RWMutex // held for reading by users, for writing by the end

	mu   sync.Mutex
	last time.Time
	busy int
}

// Snapshot opens a snapshot and keeps it as long as the stream and the lease last.
func (s *server) Snapshot(_ *storagev1.SnapshotRequest, stream storagev1.StorageService_SnapshotServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	l := &lease{life: ctx, last: time.Now()}
	id, err := s.reserve()
	if err != nil {
		return errkind.ToStatus(err)
	}
	defer s.release(id)
	if l.snap, err = s.store.Snapshot(ctx); err != nil {
		return errkind.ToStatus(err)
	}
	defer l.end(cancel)
	s.publish(id, l)
	if err := stream.Send(&storagev1.SnapshotLease{Snapshot: id, LeaseMs: uint32(s.lease.Milliseconds())}); err != nil {
		return err
	}
	timer := time.NewTimer(s.lease)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		left := l.left(s.lease)
		if left <= 0 {
			return errkind.ToStatus(errkind.NotFound.Errorf("snapshot was not used for %v", s.lease))
		}
		timer.Reset(left)
	}
}

// reserve takes a place for a snapshot; publish makes it usable.
func (s *server) reserve() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.snapshots) >= maxSnapshots {
		return 0, errkind.Exhausted.Errorf("open snapshot: %d are open, the limit", maxSnapshots)
	}
	s.nextID++
	s.snapshots[s.nextID] = nil
	return s.nextID, nil
}

func (s *server) publish(id uint64, l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots[id] = l
}

func (s *server) release(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.snapshots, id)
}

// use reads from the snapshot with a context that ends with the lease.
func (l *lease) use(ctx context.Context, f func(context.Context, Reader) error) error {
	l.using.RLock()
	defer l.using.RUnlock()
	if l.life.Err() != nil {
		return errSnapshotEnded
	}
	l.count(1)
	defer l.count(-1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(l.life, cancel)
	defer stop()
	err := f(ctx, l.snap)
	if err != nil && l.life.Err() != nil {
		return errSnapshotEnded
	}
	return err
}

func (l *lease) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy += n
	l.last = time.Now()
}

// left is how long the lease still lasts if nobody uses it.
func (l *lease) left(whole time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy > 0 {
		return whole
	}
	return whole - time.Since(l.last)
}

// end stops the users and closes the plugin's snapshot.
func (l *lease) end(cancel context.CancelFunc) {
	cancel()
	l.using.Lock()
	defer l.using.Unlock()
	_ = l.snap.Close() // the view is gone either way
}
