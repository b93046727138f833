package membership_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// TestPlace: an open context is for all members, a restricted one for those on its list, admins too, and one of which
// nothing was said for admins.
func TestPlace(t *testing.T) {
	t.Parallel()
	a := newLAN().node(t, "a")
	group := a.group()
	member, reader, gone, stranger := domain.PrivateKey{0x91}, domain.PrivateKey{0x92}, domain.PrivateKey{0x93}, domain.PrivateKey{0x94}
	b := a.db.Batch()
	for _, c := range []domain.ContextID{open, restricted, unseen} {
		store.ContextGroup.Put(b, c, wire.ID32(group))
	}
	require.NoError(t, b.Commit(t.Context()))
	for key, role := range map[domain.PrivateKey]domain.MemberRole{
		member: domain.RoleMember, reader: domain.RoleReadOnly, gone: domain.RoleMember, listedFor: domain.RoleMember,
	} {
		a.issue(group, founder, wire.OpMemberAdded{Member: key.Public(), Role: role})
	}
	a.issue(group, founder, wire.OpMemberRemoved{Member: gone.Public()})
	is := func(role domain.MemberRole) groups.Place { return groups.Place{Role: role, Member: true, Known: true} }
	not := func(role domain.MemberRole) groups.Place { return groups.Place{Role: role, Known: true} }
	check := func(c domain.ContextID, want map[domain.PrivateKey]groups.Place) {
		t.Helper()
		for key, place := range want {
			got, err := a.manager().Place(t.Context(), c, key.Public())
			require.NoError(t, err)
			require.Equal(t, place, got, "%x", key[0])
		}
	}
	out := map[domain.PrivateKey]groups.Place{gone: {Known: true}, stranger: {}}
	for _, c := range []domain.ContextID{open, restricted, unseen} {
		check(c, out)
	}
	check(open, map[domain.PrivateKey]groups.Place{
		founder: is(domain.RoleAdmin), member: is(domain.RoleMember), reader: is(domain.RoleReadOnly), listedFor: is(domain.RoleMember),
	})
	check(restricted, map[domain.PrivateKey]groups.Place{
		founder: not(domain.RoleAdmin), member: not(domain.RoleMember), reader: not(domain.RoleReadOnly), listedFor: is(domain.RoleMember),
	})
	check(unseen, map[domain.PrivateKey]groups.Place{
		founder: is(domain.RoleAdmin), member: not(domain.RoleMember), reader: not(domain.RoleReadOnly),
	})
	a.issue(group, founder, wire.OpContextVisibilitySet{Context: open, Mode: domain.VisibilityRestricted, Creator: founder.Public()})
	a.issue(group, founder, wire.OpContextAllowlistReplaced{Context: open, Members: []domain.PublicKey{reader.Public(), gone.Public()}})
	check(open, map[domain.PrivateKey]groups.Place{
		founder: not(domain.RoleAdmin), member: not(domain.RoleMember), reader: is(domain.RoleReadOnly), gone: {Known: true},
	})
}

// TestPlace_Inherited: admins of a group above have the contexts of those below, by the same rules.
func TestPlace_Inherited(t *testing.T) {
	t.Parallel()
	a := newLAN().node(t, "a")
	group := a.group()
	above, boss := domain.PrivateKey{0x95}, domain.PrivateKey{0x96}
	genesis, err := wire.GroupGenesis{Creator: above.Public(), Target: domain.ApplicationID{0xaa}}.Sign(above, nil)
	require.NoError(t, err)
	b := a.db.Batch()
	require.NoError(t, a.service().Begin(t.Context(), b, genesis, above, wire.OpMemberAdded{Member: boss.Public(), Role: domain.RoleAdmin},
		wire.OpMemberAdded{Member: founder.Public(), Role: domain.RoleAdmin}))
	for _, c := range []domain.ContextID{open, restricted} {
		store.ContextGroup.Put(b, c, wire.ID32(group))
	}
	require.NoError(t, b.Commit(t.Context()))
	a.issue(genesis.Group, founder, wire.OpSubgroupCreated{Child: group})
	place := func(c domain.ContextID) groups.Place {
		p, err := a.manager().Place(t.Context(), c, boss.Public())
		require.NoError(t, err)
		return p
	}
	require.Equal(t, groups.Place{Role: domain.RoleAdmin, Member: true, Known: true}, place(open))
	require.Equal(t, groups.Place{Role: domain.RoleAdmin, Known: true}, place(restricted))
	a.issue(genesis.Group, above, wire.OpMemberRemoved{Member: boss.Public()})
	require.Equal(t, groups.Place{Known: true}, place(open))
}
