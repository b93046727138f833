package store_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

// stalled is a storage that does not answer while it is told to, and does later what it was asked for.
type stalled struct {
	storage.Store
	mu      sync.Mutex
	stalls  bool
	waiting []storage.Batch
}

func (s *stalled) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	s.mu.Lock()
	stalls := s.stalls
	if stalls {
		s.waiting = append(s.waiting, b)
	}
	s.mu.Unlock()
	if stalls {
		<-ctx.Done()
		return false, ctx.Err()
	}
	return s.Store.Apply(ctx, b)
}

func (s *stalled) stall(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalls = on
}

// land does what was asked for meanwhile, from a first to a last request.
func (s *stalled) land(t *testing.T, first, last int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.waiting[first:last] {
		_, err := s.Store.Apply(t.Context(), b)
		require.NoError(t, err)
	}
}

func openStalled(t *testing.T) (*store.DB, *stalled) {
	t.Helper()
	s := &stalled{Store: storagetest.NewMemory()}
	return store.Open(s, store.Options{Patience: time.Second}), s
}

func target(t *testing.T, db *store.DB) byte {
	t.Helper()
	meta, _, err := store.ContextMeta.Get(t.Context(), db, ctxA)
	require.NoError(t, err)
	return meta.ApplicationID[0]
}

func setTarget(t *testing.T, db *store.DB, to byte) *store.Batch {
	t.Helper()
	b := db.Batch()
	store.ContextMeta.Put(b, ctxA, wire.ContextMeta{ApplicationID: [32]byte{to}})
	return b
}

// TestCommitThatTakesPlaceLate: what was read after a commit that the storage did not answer stays true, whether the
// commit took place before the read or would do so after it.
func TestCommitThatTakesPlaceLate(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"before the next read": true, "after the next read": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				db, s := openStalled(t)
				require.NoError(t, setTarget(t, db, 1).Commit(t.Context()))
				s.stall(true)
				late := setTarget(t, db, 2)
				require.ErrorIs(t, late.Commit(t.Context()), store.ErrOutcomeUnknown)
				attempts := len(s.waiting)
				require.Positive(t, attempts)

				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, _, err := store.ContextMeta.Get(ctx, db, ctxA)
				require.ErrorIs(t, err, context.DeadlineExceeded, "nothing is read before the commit is decided")
				_, err = db.Snapshot(ctx)
				require.Error(t, err)
				next := setTarget(t, db, 3)
				err = next.Commit(t.Context())
				require.ErrorIs(t, err, errkind.Unavailable)
				require.NotErrorIs(t, err, store.ErrOutcomeUnknown, "it was not tried")

				s.stall(false)
				want := byte(1)
				if early {
					s.land(t, 0, attempts)
					want = 2
				}
				require.Equal(t, want, target(t, db))
				s.land(t, 0, len(s.waiting))
				require.Equal(t, want, target(t, db))
				time.Sleep(time.Hour) // the rows are cached again
				require.Equal(t, want, target(t, db))

				require.NoError(t, late.Commit(t.Context()))
				require.EqualValues(t, 2, target(t, db), "a commit that is repeated takes place")
				s.land(t, 0, len(s.waiting))
				require.NoError(t, setTarget(t, db, 4).Commit(t.Context()))
				s.land(t, 0, len(s.waiting))
				require.EqualValues(t, 4, target(t, db))
			})
		})
	}
}

// TestStallWithinThePatience: a storage that answers late is waited for.
func TestStallWithinThePatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stalled{Store: storagetest.NewMemory(), stalls: true}
		db := store.Open(s, store.Options{})
		time.AfterFunc(20*time.Second, func() { s.stall(false) })
		require.NoError(t, setTarget(t, db, 1).Commit(t.Context()))
		require.EqualValues(t, 1, target(t, db))
	})
}
