package leveldb

import (
	"context"
	"sync"
	"time"

	ldb "github.com/syndtr/goleveldb/leveldb"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// MaxSnapshots is how many snapshots may be open; each keeps old rows and files alive.
const MaxSnapshots = 256

// snapshots are the open ones.
type snapshots struct {
	mu   sync.Mutex
	open map[*snapshot]struct{}
}

func (s *snapshots) add(n *snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= MaxSnapshots {
		return errkind.Exhausted.Errorf("%d snapshots are open, limit MaxSnapshots = %d; close some", len(s.open), MaxSnapshots)
	}
	if s.open == nil {
		s.open = make(map[*snapshot]struct{})
	}
	s.open[n] = struct{}{}
	return nil
}

func (s *snapshots) remove(n *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, n)
}

func (s *snapshots) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// endAll ends all; the database is about to close.
func (s *snapshots) endAll() {
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for n := range open {
		n.end("the database was closed")
	}
}

// snapshot is a lease on a view of the database.
type snapshot struct {
	p *Plugin

	mu    sync.Mutex
	view  *ldb.Snapshot
	users int
	// ended is why the view is gone.
	ended string
	lease *time.Timer
	stop  func() bool
}

// Snapshot implements storage.Store. A snapshot also ends when the database is reopened after a full disk.
func (p *Plugin) Snapshot(ctx context.Context) (storage.Snapshot, error) {
	db, release, err := p.use(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	s := &snapshot{p: p}
	if err := p.snapshots.add(s); err != nil {
		return nil, err
	}
	view, err := db.GetSnapshot()
	if err != nil {
		p.snapshots.remove(s)
		return nil, classify(p.settings.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view = view
	s.lease = time.AfterFunc(p.lease, s.expire)
	s.stop = context.AfterFunc(ctx, func() { s.end("its context ended") })
	return s, nil
}

func (s *snapshot) expire() {
	s.mu.Lock()
	used := s.users > 0
	s.mu.Unlock()
	if !used { // otherwise the user starts the lease anew
		s.end("it was not used for " + s.p.lease.String())
	}
}

// end releases the view. Users in the middle of a page finish it: iterators outlive the snapshot they came from.
func (s *snapshot) end(why string) {
	s.p.snapshots.remove(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != "" {
		return
	}
	s.ended = why
	if s.view == nil {
		return
	}
	s.lease.Stop()
	s.stop()
	s.view.Release()
}

// use returns the view; release starts the lease anew.
func (s *snapshot) use(ctx context.Context) (ldb.Reader, func(), error) {
	_, release, err := s.p.use(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != "" {
		release()
		return nil, nil, s.gone()
	}
	s.users++
	return s.view, func() {
		release()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.users--
		if s.ended == "" {
			s.lease.Reset(s.p.lease)
		}
	}, nil
}

func (s *snapshot) gone() error { return errkind.NotFound.Errorf("snapshot has ended: %s", s.ended) }

// Get implements storage.Reader.
func (s *snapshot) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	if err := storage.CheckKeys(keys); err != nil {
		return nil, err
	}
	view, release, err := s.use(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	values, err := s.p.get(ctx, view, keys)
	return values, s.explain(err)
}

// Scan implements storage.Reader.
func (s *snapshot) Scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	return s.p.scan(r, page, func() (ldb.Reader, func(), error) { return s.use(ctx) })
}

// explain replaces the error of a view that was released while it was read.
func (s *snapshot) explain(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != "" {
		return s.gone()
	}
	return err
}

// Close implements storage.Snapshot.
func (s *snapshot) Close() error {
	s.end("it was closed")
	return nil
}
