package store_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ctxA = domain.ContextID(bytes.Repeat([]byte{0x33}, 32))
	ctxB = domain.ContextID(bytes.Repeat([]byte{0x34}, 32))
	grp  = domain.GroupID(bytes.Repeat([]byte{0xaa}, 32))
	app  = domain.ApplicationID(bytes.Repeat([]byte{0xcc}, 32))
)

func pk(b byte) domain.PublicKey { return domain.PublicKey(bytes.Repeat([]byte{b}, 32)) }

// recorder counts and may disturb the calls to a storage.
type recorder struct {
	storage.Store
	mu      sync.Mutex
	gets    int
	applied []storage.BatchID
	before  func(op string) error
	after   func(op string) error
}

func (r *recorder) hook(fn func(string) error, op string) error {
	if fn == nil {
		return nil
	}
	return fn(op)
}

func (r *recorder) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	r.mu.Lock()
	r.gets++
	r.mu.Unlock()
	if err := r.hook(r.before, "get"); err != nil {
		return nil, err
	}
	values, err := r.Store.Get(ctx, keys)
	if err != nil {
		return nil, err
	}
	return values, r.hook(r.after, "get")
}

func (r *recorder) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	r.mu.Lock()
	r.applied = append(r.applied, b.ID)
	r.mu.Unlock()
	if err := r.hook(r.before, "apply"); err != nil {
		return false, err
	}
	replayed, err := r.Store.Apply(ctx, b)
	if err != nil {
		return false, err
	}
	return replayed, r.hook(r.after, "apply")
}

func (r *recorder) counts() (gets, applies int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gets, len(r.applied)
}

func open(t *testing.T) (*store.DB, *recorder) {
	t.Helper()
	r := &recorder{Store: storagetest.NewMemory()}
	return store.Open(r, store.Options{}), r
}

func commit(t *testing.T, db *store.DB, fill func(*store.Batch)) {
	t.Helper()
	b := db.Batch()
	fill(b)
	require.NoError(t, b.Commit(t.Context()))
}

func TestTablesUseTheReferencesLayout(t *testing.T) {
	t.Parallel()
	db, r := open(t)
	seed := wire.ID32(bytes.Repeat([]byte{0x42}, 32))
	commit(t, db, func(b *store.Batch) {
		store.ContextMeta.Put(b, ctxA, wire.ContextMeta{ApplicationID: app})
		store.Alias.Put(b, store.AliasKey{Kind: wire.AliasContext, Name: "alice"}, wire.ID32(ctxA))
		store.Alias.Put(b, store.AliasKey{Kind: wire.AliasPublicKey, Scope: ctxA, Name: "bob"}, wire.ID32(pk(1)))
		store.GroupSigningKey.Put(b, store.GroupMemberKey{Group: grp, Member: pk(2)}, seed)
		store.GroupContext.Put(b, store.GroupContextKey{Group: grp, Context: ctxA}, store.Unit{})
		store.Generic.Put(b, store.GenericKey{Scope: [16]byte{'s'}, Fragment: [32]byte{'f'}}, []byte("any"))
		b.PutRow(ctxA, runtime.Key{Scope: runtime.ScopeState, K: [32]byte{1}}, nil)
		b.PutRow(ctxA, runtime.Key{Scope: runtime.ScopePrivate, K: [32]byte{2}}, []byte("secret"))
	})
	concat := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	pad := func(s string, n int) []byte { return append([]byte(s), make([]byte, n-len(s))...) }
	member := pk(2)
	one := pk(1)
	for _, want := range []struct {
		column     string
		key, value []byte
	}{
		{"Meta", ctxA[:], concat(app[:], make([]byte, 32), []byte{0, 0, 0, 0})},
		{"Alias", concat([]byte{1}, make([]byte, 32), pad("alice", 50)), ctxA[:]},
		{"Alias", concat([]byte{2}, ctxA[:], pad("bob", 50)), one[:]},
		{"Group", concat([]byte{0x25}, grp[:], member[:]), seed[:]},
		{"Group", concat([]byte{0x22}, grp[:], ctxA[:]), []byte{}},
		{"Generic", concat(pad("s", 16), pad("f", 32)), []byte("any")},
		{"State", concat(ctxA[:], pad("\x01", 32)), []byte{}},
		{"PrivateState", concat(ctxA[:], pad("\x02", 32)), []byte("secret")},
	} {
		got, err := r.Store.Get(t.Context(), []storage.Key{{Column: want.column, Key: want.key}})
		require.NoError(t, err)
		require.True(t, got[0].Found, "%s %x", want.column, want.key)
		require.True(t, bytes.Equal(want.value, got[0].Bytes), "%s %x: %x", want.column, want.key, got[0].Bytes)
	}
	_, applies := r.counts()
	require.Equal(t, 1, applies, "one batch")
}

func TestReadScanDelete(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	roles := map[byte]domain.MemberRole{1: domain.RoleAdmin, 2: domain.RoleMember, 3: domain.RoleReadOnly}
	other := domain.GroupID(bytes.Repeat([]byte{0xab}, 32))
	commit(t, db, func(b *store.Batch) {
		for n, role := range roles {
			store.GroupMember.Put(b, store.GroupMemberKey{Group: grp, Member: pk(n)}, wire.GroupMember{Role: role})
		}
		store.GroupMember.Put(b, store.GroupMemberKey{Group: other, Member: pk(1)}, wire.GroupMember{})
		store.GroupContext.Put(b, store.GroupContextKey{Group: grp, Context: ctxA}, store.Unit{})
		for seq := range uint64(300) {
			store.GroupOpLog.Put(b, store.GroupOpKey{Group: grp, Sequence: seq}, wire.Bytes{byte(seq)})
		}
	})
	_, found, err := store.GroupMember.Get(ctx, db, store.GroupMemberKey{Group: grp, Member: pk(9)})
	require.NoError(t, err)
	require.False(t, found)

	members, err := store.GroupMember.List(ctx, db, wire.RowGroupMember.Prefix(grp))
	require.NoError(t, err)
	require.Len(t, members, 3)
	require.Equal(t, domain.RoleReadOnly, members[2].Value.Role)

	all := 0
	require.NoError(t, store.GroupMember.ScanKeys(ctx, db, nil, func(store.GroupMemberKey) error { all++; return nil }))
	require.Equal(t, 4, all, "the table without its neighbours in the column")

	last, found, err := store.GroupOpLog.Last(ctx, db, wire.GroupOpLogPrefix(grp))
	require.NoError(t, err)
	require.True(t, found)
	require.EqualValues(t, 299, last.Key.Sequence)
	_, found, err = store.GroupOpLog.Last(ctx, db, wire.GroupOpLogPrefix(other))
	require.NoError(t, err)
	require.False(t, found)

	seen := 0
	require.NoError(t, store.GroupOpLog.Scan(ctx, db, nil, func(store.GroupOpKey, wire.Bytes) error {
		if seen++; seen == 10 {
			return store.Stop
		}
		return nil
	}))
	require.Equal(t, 10, seen)
	mine := errors.New("mine")
	require.ErrorIs(t, store.GroupOpLog.Scan(ctx, db, nil, func(store.GroupOpKey, wire.Bytes) error { return mine }), mine)

	many, err := store.GroupMember.GetMany(ctx, db, []store.GroupMemberKey{{Group: grp, Member: pk(9)}, {Group: grp, Member: pk(1)}})
	require.NoError(t, err)
	require.Nil(t, many[0])
	require.Equal(t, domain.RoleAdmin, many[1].Role)

	snap, err := db.Snapshot(ctx)
	require.NoError(t, err)
	commit(t, db, func(b *store.Batch) {
		store.GroupMember.DeletePrefix(b, wire.RowGroupMember.Prefix(grp))
		store.GroupContext.Delete(b, store.GroupContextKey{Group: grp, Context: ctxA})
	})
	members, err = store.GroupMember.List(ctx, db, wire.RowGroupMember.Prefix(grp))
	require.NoError(t, err)
	require.Empty(t, members)
	has, err := store.GroupContext.Has(ctx, db, store.GroupContextKey{Group: grp, Context: ctxA})
	require.NoError(t, err)
	require.False(t, has)
	members, err = store.GroupMember.List(ctx, snap, wire.RowGroupMember.Prefix(grp))
	require.NoError(t, err)
	require.Len(t, members, 3, "the snapshot stays")
	require.NoError(t, snap.Close())
}

func TestRows(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	key := func(n int) runtime.Key {
		return runtime.Key{Scope: runtime.ScopeState, K: [32]byte{byte(n >> 8), byte(n)}}
	}
	const n = 5000 // more than one Get may ask for
	var rows []runtime.Row
	var keys []runtime.Key
	for i := range n {
		rows = append(rows, runtime.Row{Key: key(i), Value: []byte{byte(i)}, Absent: i%10 == 0})
		keys = append(keys, key(i))
	}
	commit(t, db, func(b *store.Batch) {
		b.Rows(ctxA, rows)
		b.PutRow(ctxB, key(1), []byte("other"))
		b.PutRow(ctxA, runtime.Key{Scope: runtime.ScopePrivate, K: key(0).K}, []byte("private"))
	})
	got, err := store.GetRows(ctx, db, ctxA, append(keys, runtime.Key{Scope: runtime.ScopePrivate, K: key(0).K}))
	require.NoError(t, err)
	require.Len(t, got, n+1)
	for i := range n {
		require.Equal(t, key(i), got[i].Key)
		require.Equal(t, i%10 == 0, got[i].Absent)
		if i%10 != 0 {
			require.Equal(t, []byte{byte(i)}, got[i].Value)
		}
	}
	require.Equal(t, "private", string(got[n].Value))

	var scanned []runtime.Row
	pages := 0
	require.NoError(t, store.ScanRows(ctx, db, ctxA, runtime.ScopeState, key(4001).K, 0, 1<<10, func(page []runtime.Row) error {
		pages++
		scanned = append(scanned, page...)
		return nil
	}))
	require.Len(t, scanned, 900-1+1)
	require.Equal(t, key(4001), scanned[0].Key)
	require.Greater(t, pages, 5)
	require.NoError(t, store.ScanRows(ctx, db, ctxA, runtime.ScopeState, [32]byte{}, 7, 0, func(page []runtime.Row) error {
		require.Len(t, page, 7)
		return nil
	}))
	calls := 0
	require.NoError(t, store.ScanRows(ctx, db, ctxA, runtime.ScopeState, [32]byte{}, 0, 1<<10, func([]runtime.Row) error {
		calls++
		return store.Stop
	}))
	require.Equal(t, 1, calls)

	commit(t, db, func(b *store.Batch) { b.DeleteAllRows(ctxA, runtime.ScopeState); b.DeleteRow(ctxB, key(1)) })
	require.NoError(t, store.ScanRows(ctx, db, ctxA, runtime.ScopeState, [32]byte{}, 0, 0, func([]runtime.Row) error {
		return errors.New("a row is left")
	}))
	got, err = store.GetRows(ctx, db, ctxB, []runtime.Key{key(1)})
	require.NoError(t, err)
	require.True(t, got[0].Absent)
	_, err = store.GetRows(ctx, db, ctxA, []runtime.Key{{Scope: 9}})
	require.ErrorIs(t, err, errkind.Invalid)
}

func TestHotRowsAreReadOnce(t *testing.T) {
	t.Parallel()
	db, r := open(t)
	ctx := t.Context()
	for range 3 {
		_, found, err := store.ContextMeta.Get(ctx, db, ctxA)
		require.NoError(t, err)
		require.False(t, found)
	}
	gets, _ := r.counts()
	require.Equal(t, 1, gets, "absence is cached")
	commit(t, db, func(b *store.Batch) {
		store.ContextMeta.Put(b, ctxA, wire.ContextMeta{ApplicationID: app, DagHeads: []domain.Hash{{1}}})
	})
	meta, found, err := store.ContextMeta.Get(ctx, db, ctxA)
	require.NoError(t, err)
	require.True(t, found)
	meta.DagHeads[0] = domain.Hash{9}
	meta, _, err = store.ContextMeta.Get(ctx, db, ctxA)
	require.NoError(t, err)
	require.Equal(t, domain.Hash{1}, meta.DagHeads[0], "values belong to the reader")
	gets, _ = r.counts()
	require.Equal(t, 1, gets, "the commit filled the cache")

	commit(t, db, func(b *store.Batch) { store.ContextMeta.DeletePrefix(b, ctxA[:]) })
	has, err := store.ContextMeta.Has(ctx, db, ctxA)
	require.NoError(t, err)
	require.False(t, has)
}

func TestCommitRetriesWithTheSameID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, r := open(t)
		fails := 0
		r.after = func(op string) error { // applied, but the answer is lost
			if op == "apply" && fails < 3 {
				fails++
				return errkind.Unavailable.Errorf("plugin restarts")
			}
			return nil
		}
		commit(t, db, func(b *store.Batch) { store.ContextMeta.Put(b, ctxA, wire.ContextMeta{ApplicationID: app}) })
		require.Len(t, r.applied, 4)
		require.Len(t, slices.Compact(slices.Clone(r.applied)), 1, "one id")
	})
}

func TestCommitThatFailsLeavesNothingStaleInTheCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, r := open(t)
		b := db.Batch()
		store.ContextMeta.Put(b, ctxA, wire.ContextMeta{ApplicationID: app})
		var outcomes []error
		b.AfterCommit(func(err error) { outcomes = append(outcomes, err) })
		r.after = func(op string) error {
			if op == "apply" {
				return errkind.Unavailable.Errorf("gone")
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.Commit(ctx)
		require.ErrorIs(t, err, store.ErrOutcomeUnknown)
		require.ErrorIs(t, err, errkind.Unavailable)
		require.Empty(t, outcomes, "it may still succeed")
		r.after = nil
		for range 2 {
			has, err := store.ContextMeta.Has(t.Context(), db, ctxA)
			require.NoError(t, err)
			require.True(t, has)
		}
		gets, _ := r.counts()
		require.Equal(t, 2, gets, "not cached while the outcome is unknown")
		time.Sleep(time.Minute)
		for range 2 {
			_, err := store.ContextMeta.Has(t.Context(), db, ctxA)
			require.NoError(t, err)
		}
		gets, _ = r.counts()
		require.Equal(t, 3, gets, "cached again")

		require.NoError(t, b.Commit(t.Context()))
		require.Equal(t, []error{nil}, outcomes)
		require.ErrorIs(t, b.Commit(t.Context()), errkind.Internal)
	})
}

func TestCommitIsNotCutOffInTheMiddle(t *testing.T) {
	t.Parallel()
	db, r := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.before = func(op string) error {
		if op == "apply" {
			cancel()
		}
		return nil
	}
	b := db.Batch()
	store.ContextMeta.Put(b, ctxA, wire.ContextMeta{})
	require.NoError(t, b.Commit(ctx))
	late := db.Batch()
	store.ContextMeta.Put(late, ctxB, wire.ContextMeta{})
	err := late.Commit(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, store.ErrOutcomeUnknown)
}

func TestReadsWaitForTheStorage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db, r := open(t)
		began := time.Now()
		r.before = func(string) error {
			if time.Since(began) < 10*time.Second {
				return errkind.Unavailable.Errorf("plugin restarts")
			}
			return nil
		}
		_, err := store.ContextMeta.Has(t.Context(), db, ctxA)
		require.NoError(t, err)
		began = time.Now().Add(time.Hour)
		_, err = store.ContextMeta.Has(t.Context(), db, ctxB)
		require.ErrorIs(t, err, errkind.Unavailable, "patience ends")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = store.ContextMeta.Has(ctx, db, ctxB)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestWhatCannotBeEncodedFailsTheCommit(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(*store.Batch){
		"alias with zero": func(b *store.Batch) {
			store.Alias.Put(b, store.AliasKey{Kind: wire.AliasContext, Name: "a\x00b"}, wire.ID32{})
		},
		"text not UTF-8": func(b *store.Batch) { store.GroupAlias.Put(b, grp, wire.Text("\xff")) },
		"empty prefix":   func(b *store.Batch) { store.Delta.DeletePrefix(b, nil) },
		"scope":          func(b *store.Batch) { b.PutRow(ctxA, runtime.Key{}, nil) },
		"value too large": func(b *store.Batch) {
			b.PutRow(ctxA, runtime.Key{Scope: runtime.ScopeState}, make([]byte, storage.MaxValue+1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, r := open(t)
			b := db.Batch()
			store.ContextMeta.Put(b, ctxA, wire.ContextMeta{})
			fill(b)
			var outcome error
			b.AfterCommit(func(err error) { outcome = err })
			err := b.Commit(t.Context())
			require.Error(t, err)
			require.NotEqual(t, errkind.Unknown, errkind.Of(err))
			require.NotErrorIs(t, err, store.ErrOutcomeUnknown)
			require.Equal(t, err, outcome)
			_, applies := r.counts()
			require.Zero(t, applies)
			has, err := store.ContextMeta.Has(t.Context(), db, ctxA)
			require.NoError(t, err)
			require.False(t, has)
		})
	}
}

func TestAbandon(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	var outcomes []error
	b := db.Batch()
	b.AfterCommit(func(err error) { outcomes = append(outcomes, err) })
	b.Abandon()
	b.Abandon()
	require.Len(t, outcomes, 1)
	require.ErrorIs(t, outcomes[0], errkind.Canceled)
	require.Error(t, b.Commit(t.Context()))
}

func TestDamagedRowsAreNamed(t *testing.T) {
	t.Parallel()
	db, r := open(t)
	batch := storage.Batch{ID: storage.NewBatchID()}
	batch.Put("Meta", ctxA[:], []byte("short"))
	batch.Put("Delta", []byte("bad key"), nil)
	_, err := r.Store.Apply(t.Context(), batch)
	require.NoError(t, err)
	_, _, err = store.ContextMeta.Get(t.Context(), db, ctxA)
	require.ErrorIs(t, err, errkind.Corrupt)
	require.ErrorContains(t, err, "column Meta")
	err = store.Delta.ScanKeys(t.Context(), db, nil, func(store.DeltaKey) error { return nil })
	require.ErrorIs(t, err, errkind.Corrupt)
}

func TestMetricsWrap(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	db := store.Open(store.MetricsWrap(storagetest.NewMemory(), reg), store.Options{Registerer: reg})
	commit(t, db, func(b *store.Batch) { store.ContextMeta.Put(b, ctxA, wire.ContextMeta{}) })
	_, err := store.BlobMeta.List(t.Context(), db, nil)
	require.NoError(t, err)
	_, err = store.BlobMeta.Has(t.Context(), db, domain.BlobID{})
	require.NoError(t, err)
	_, err = store.ContextMeta.Has(t.Context(), db, ctxA)
	require.NoError(t, err)
	n, err := testutil.GatherAndCount(reg, "calimero_storage_operation_seconds")
	require.NoError(t, err)
	require.Equal(t, 3, n, "apply, scan, get")
	n, err = testutil.GatherAndCount(reg, "calimero_store_cache_reads_total")
	require.NoError(t, err)
	require.Positive(t, n)
}
