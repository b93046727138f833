package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// unsettled are commits that the storage has not answered, so that they may still take place: what was read before that
// would not be what is there. So nothing is read or committed until each of them is decided (docs/design/commit.md).
type unsettled struct {
	count atomic.Int32
	// turn is held by who decides them.
	turn chan struct{}

	mu    sync.Mutex
	first []*attempt // in the order in which they failed
}

// attempt is a commit without an answer; applied is what became of it, once it is decided.
type attempt struct {
	id      storage.BatchID
	applied bool
}

func newUnsettled() *unsettled { return &unsettled{turn: make(chan struct{}, 1)} }

// unanswered reports whether an error of Apply leaves open whether the batch takes place later. Any other is the storage's
// answer, after which it does nothing more with it.
func unanswered(err error) bool {
	return errors.Is(err, errkind.Unavailable) || errors.Is(err, errkind.Deadline) || errors.Is(err, errkind.Canceled)
}

func (u *unsettled) add(id storage.BatchID) *attempt {
	a := &attempt{id: id}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.first = append(u.first, a)
	u.count.Add(1)
	return a
}

func (u *unsettled) next() *attempt {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.first) == 0 {
		return nil
	}
	return u.first[0]
}

func (u *unsettled) decide(a *attempt, applied bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a.applied = applied
	u.first = u.first[1:]
	u.count.Add(-1)
}

func (u *unsettled) applied(a *attempt) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return a.applied
}

// settle decides commits without an answer. An empty batch with the id of one is waited for behind it, and then repeats it
// without effect, or comes first and takes its id: then it takes place never.
func (db *DB) settle(ctx context.Context) error {
	if db.unsettled.count.Load() == 0 {
		return nil
	}
	select {
	case db.unsettled.turn <- struct{}{}:
		defer func() { <-db.unsettled.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for a := db.unsettled.next(); a != nil; a = db.unsettled.next() {
		attempt, cancel := context.WithTimeout(ctx, attemptTime)
		replayed, err := db.storage.Apply(attempt, storage.Batch{ID: a.id})
		cancel()
		if err != nil {
			return errkind.Unavailable.Errorf("learn whether an earlier commit took place, before anything is read: %w", err)
		}
		db.log.Info("it is known now what became of a commit that the storage did not answer", "took_place", replayed)
		db.unsettled.decide(a, replayed)
	}
	return nil
}
