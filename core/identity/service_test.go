package identity_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

var inContext = domain.ContextID(bytes.Repeat([]byte{0x33}, 32))

func newService(t *testing.T) (*identity.Service, *store.DB, storage.Store) {
	t.Helper()
	memory := storagetest.NewMemory()
	db := store.Open(memory, store.Options{})
	return identity.New(db), db, memory
}

func TestNewIdentityWaitsInThePool(t *testing.T) {
	t.Parallel()
	s, _, raw := newService(t)
	pk, err := s.NewIdentity(t.Context())
	require.NoError(t, err)
	key, err := s.Pooled(t.Context(), pk)
	require.NoError(t, err)
	require.Equal(t, pk, key.Public())

	// The row: under the zero context, the seed, no sender key.
	got, err := raw.Get(t.Context(), []storage.Key{{Column: "Identity", Key: append(make([]byte, 32), pk[:]...)}})
	require.NoError(t, err)
	require.Equal(t, append(append([]byte{1}, key[:]...), 0), got[0].Bytes)

	_, err = s.Pooled(t.Context(), domain.PublicKey{1})
	require.ErrorIs(t, err, errkind.NotFound)
	require.ErrorContains(t, err, "missing identity for public key: "+domain.PublicKey{1}.String())
}

func TestMembersOfAContext(t *testing.T) {
	t.Parallel()
	s, db, _ := newService(t)
	ctx := t.Context()
	pk, err := s.NewIdentity(ctx)
	require.NoError(t, err)
	key, err := s.Pooled(ctx, pk)
	require.NoError(t, err)
	other := domain.PublicKey{7}

	b := db.Batch()
	require.NoError(t, s.PutOwn(b, inContext, key))
	s.PutMember(b, inContext, other, nil)
	require.ErrorIs(t, s.PutOwn(b, domain.ContextID{}, key), errkind.Invalid)
	require.NoError(t, b.Commit(ctx))

	private, sender, ok, err := s.Own(ctx, inContext, pk)
	require.NoError(t, err)
	require.True(t, ok)
	require.True(t, private == key)
	require.False(t, sender.IsZero() || sender == key, "a sender key of its own")
	_, _, ok, err = s.Own(ctx, inContext, other)
	require.NoError(t, err)
	require.False(t, ok)
	_, err = s.Pooled(ctx, pk)
	require.ErrorIs(t, err, errkind.NotFound, "it left the pool")

	all, err := s.List(ctx, inContext, false)
	require.NoError(t, err)
	require.ElementsMatch(t, []domain.PublicKey{pk, other}, all)
	owned, err := s.List(ctx, inContext, true)
	require.NoError(t, err)
	require.Equal(t, []domain.PublicKey{pk}, owned)

	b = db.Batch()
	s.DeleteAll(b, inContext)
	require.NoError(t, b.Commit(ctx))
	all, err = s.List(ctx, inContext, false)
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestForeignPrivateKeyIsCorruption(t *testing.T) {
	t.Parallel()
	s, db, _ := newService(t)
	b := db.Batch()
	store.ContextIdentity.Put(b, store.IdentityKey{Context: inContext, Identity: domain.PublicKey{1}},
		wire.ContextIdentity{PrivateKey: &domain.PrivateKey{2}, SenderKey: &domain.PrivateKey{3}})
	require.NoError(t, b.Commit(t.Context()))
	_, _, _, err := s.Own(t.Context(), inContext, domain.PublicKey{1})
	require.ErrorIs(t, err, errkind.Corrupt)
}

func TestAliases(t *testing.T) {
	t.Parallel()
	s, _, _ := newService(t)
	ctx := t.Context()
	alice := identity.ContextAlias("alice", inContext)
	require.NoError(t, s.CreateAlias(ctx, alice))
	err := s.CreateAlias(ctx, identity.ContextAlias("alice", domain.ContextID{9}))
	require.ErrorIs(t, err, errkind.AlreadyExists)
	require.EqualError(t, err, "alias already exists")

	// The same name for other things, in other scopes.
	require.NoError(t, s.CreateAlias(ctx, identity.ApplicationAlias("alice", domain.ApplicationID{1})))
	for n := byte(1); n <= 2; n++ {
		require.NoError(t, s.CreateAlias(ctx, identity.IdentityAlias(domain.ContextID{n}, "alice", domain.PublicKey{n})))
	}
	target, found, err := s.LookupAlias(ctx, identity.ContextAlias("alice", domain.ContextID{}))
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, [32]byte(inContext), target)
	pk, err := s.LookupIdentityAlias(ctx, domain.ContextID{2}, "alice")
	require.NoError(t, err)
	require.Equal(t, domain.PublicKey{2}, pk)
	_, err = s.LookupIdentityAlias(ctx, domain.ContextID{3}, "alice")
	require.ErrorIs(t, err, errkind.NotFound)
	_, err = s.LookupIdentityAlias(ctx, domain.ContextID{3}, strings.Repeat("x", 51))
	require.ErrorIs(t, err, errkind.Invalid)
	_, err = s.LookupIdentityAlias(ctx, domain.ContextID{3}, "a\x00b")
	require.ErrorIs(t, err, errkind.Invalid)

	require.NoError(t, s.CreateAlias(ctx, identity.ContextAlias("a", inContext)))
	list, err := s.ListAliases(ctx, wire.AliasContext, &domain.ContextID{})
	require.NoError(t, err)
	require.Equal(t, []identity.Alias{identity.ContextAlias("a", inContext), alice}, list)
	list, err = s.ListAliases(ctx, wire.AliasPublicKey, &domain.ContextID{1})
	require.NoError(t, err)
	require.Len(t, list, 1)
	list, err = s.ListAliases(ctx, wire.AliasPublicKey, nil)
	require.NoError(t, err)
	require.Len(t, list, 2)

	require.NoError(t, s.DeleteAlias(ctx, alice))
	require.NoError(t, s.DeleteAlias(ctx, alice), "an absent one is fine")
	require.NoError(t, s.CreateAlias(ctx, alice), "and may be created again")
}

func TestBadAliasesAreRefused(t *testing.T) {
	t.Parallel()
	s, _, _ := newService(t)
	for text, alias := range map[string]identity.Alias{
		"exceeds maximum length of 50 characters": identity.ContextAlias(domain.Alias(strings.Repeat("é", 26)), inContext),
		"not valid UTF-8":                         identity.ContextAlias("\xff", inContext),
		"zero byte":                               identity.ContextAlias("a\x00", inContext),
		"alias requires scope to be present":      identity.IdentityAlias(domain.ContextID{}, "a", domain.PublicKey{1}),
		"unknown kind":                            {Kind: 9, Name: "a"},
		"have a scope":                            {Kind: wire.AliasContext, Scope: inContext, Name: "a"},
	} {
		err := s.CreateAlias(t.Context(), alias)
		require.ErrorIs(t, err, errkind.Invalid, text)
		require.ErrorContains(t, err, text)
	}
}

func TestOnlyOneOfManyCreatesAnAlias(t *testing.T) {
	t.Parallel()
	s, _, _ := newService(t)
	for round := range 20 {
		var won atomic.Int32
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				name := domain.Alias(fmt.Sprint("alias-", round))
				if s.CreateAlias(t.Context(), identity.ContextAlias(name, domain.ContextID{byte(n)})) == nil {
					won.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, won.Load())
	}
}
