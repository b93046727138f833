package store_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

// jitter makes the moments at which a storage reads and writes differ from those of its callers, and loses answers.
type jitter struct {
	storage.Store
	lose bool
}

func (j *jitter) pause() {
	if rand.IntN(3) == 0 {
		time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
	}
}

func (j *jitter) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	j.pause()
	values, err := j.Store.Get(ctx, keys)
	j.pause()
	return values, err
}

func (j *jitter) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	j.pause()
	replayed, err := j.Store.Apply(ctx, b)
	j.pause()
	if err == nil && j.lose && rand.IntN(10) == 0 {
		return false, errkind.Unavailable.Errorf("answer lost")
	}
	return replayed, err
}

func revision(meta wire.ContextConfig) uint64 { return meta.MembersRevision }

// Writers count a row up, each row by one writer at a time; a reader must never see less than what was acknowledged
// before it began.
func TestCacheNeverShowsLessThanWasAcknowledged(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 6000, -1} {
		db := store.Open(&jitter{Store: storagetest.NewMemory(), lose: true}, store.Options{CacheBytes: size})
		const rows, rounds = 8, 150
		var acknowledged [rows]atomic.Uint64
		id := func(n int) domain.ContextID { return domain.ContextID{byte(n)} }
		var writers, readers sync.WaitGroup
		done := make(chan struct{})
		for n := range rows {
			writers.Go(func() {
				for v := uint64(1); v <= rounds; v++ {
					b := db.Batch()
					if v%20 == 0 {
						store.ContextConfig.DeletePrefix(b, wire.ContextKey(id(n)))
					}
					store.ContextConfig.Put(b, id(n), wire.ContextConfig{MembersRevision: v})
					if err := b.Commit(context.Background()); err != nil {
						t.Error(err)
						return
					}
					acknowledged[n].Store(v)
				}
			})
		}
		for range 4 {
			readers.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					n := rand.IntN(rows)
					floor := acknowledged[n].Load()
					got, _, err := store.ContextConfig.Get(context.Background(), db, id(n))
					if err != nil || revision(got) < floor {
						t.Errorf("row %d: read %d after %d was acknowledged (%v)", n, revision(got), floor, err)
						return
					}
				}
			})
		}
		writers.Wait()
		close(done)
		readers.Wait()
	}
}

// Several writers of the same row: whatever order the storage chose, the cache agrees with it when all is quiet.
func TestCacheAgreesWithTheStorageAfterRaces(t *testing.T) {
	t.Parallel()
	memory := storagetest.NewMemory()
	db := store.Open(&jitter{Store: memory}, store.Options{})
	for round := range 100 {
		var wg sync.WaitGroup
		for w := range 6 {
			wg.Go(func() {
				id := domain.ContextID{byte(w % 2)}
				b := db.Batch()
				switch w {
				case 4:
					store.ContextConfig.Delete(b, id)
				case 5:
					store.ContextConfig.DeletePrefix(b, id[:1])
				default:
					store.ContextConfig.Put(b, id, wire.ContextConfig{MembersRevision: uint64(round*10 + w)})
				}
				if err := b.Commit(context.Background()); err != nil {
					t.Error(err)
				}
				if _, err := store.ContextConfig.Has(context.Background(), db, id); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for n := range 2 {
			id := domain.ContextID{byte(n)}
			got, found, err := store.ContextConfig.Get(t.Context(), db, id)
			require.NoError(t, err)
			raw, err := memory.Get(t.Context(), []storage.Key{{Column: "Config", Key: id[:]}})
			require.NoError(t, err)
			require.Equal(t, raw[0].Found, found)
			if found {
				require.Equal(t, binary.LittleEndian.Uint64(raw[0].Bytes[8:]), revision(got))
			}
		}
	}
}

// Any sequence of writes and reads gives what a map gives, whatever the size of the cache.
func TestCacheIsInvisible(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		db := store.Open(storagetest.NewMemory(), store.Options{
			CacheBytes: rapid.SampledFrom([]int{-1, 4000, 6000, 0}).Draw(rt, "cache"),
		})
		ctx := context.Background()
		model := map[store.IdentityKey]bool{}
		anyKey := rapid.Custom(func(t *rapid.T) store.IdentityKey {
			return store.IdentityKey{
				Context:  domain.ContextID{rapid.Byte().Draw(t, "context") % 3},
				Identity: domain.PublicKey{rapid.Byte().Draw(t, "identity") % 4},
			}
		})
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				b := db.Batch()
				for range rapid.IntRange(1, 5).Draw(rt, "writes") {
					key := anyKey.Draw(rt, "key")
					switch rapid.IntRange(0, 3).Draw(rt, "kind") {
					case 0:
						store.ContextIdentity.Delete(b, key)
						delete(model, key)
					case 1:
						store.ContextIdentity.DeletePrefix(b, wire.ContextKey(key.Context))
						for k := range model {
							if k.Context == key.Context {
								delete(model, k)
							}
						}
					default:
						own := rapid.Bool().Draw(rt, "own")
						row := wire.ContextIdentity{}
						if own {
							row.PrivateKey = &domain.PrivateKey{1}
						}
						store.ContextIdentity.Put(b, key, row)
						model[key] = own
					}
				}
				if err := b.Commit(ctx); err != nil {
					rt.Fatal(err)
				}
			},
			"read": func(rt *rapid.T) {
				key := anyKey.Draw(rt, "key")
				got, found, err := store.ContextIdentity.Get(ctx, db, key)
				own, want := model[key]
				if err != nil || found != want || found && (got.PrivateKey != nil) != own {
					rt.Fatalf("%v: got %v %v %v, want %v %v", key, got, found, err, own, want)
				}
			},
		})
	})
}
