package groups_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// TestProvisional: a group that was begun from an invitation alone is computed anew when its genesis comes.
func TestProvisional(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	alias := "team"
	real, err := wire.GroupGenesis{
		Kind: wire.GenesisVouched, Group: domain.GroupID{8}, Creator: admin.Public(), Target: domain.ApplicationID{7}, AutoJoin: true,
		CreatedAt: 1700000000, Alias: &alias,
	}.Sign(admin, nil)
	require.NoError(t, err)
	provisional := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: real.Group, Creator: member.Public(), Target: domain.ApplicationID{6}}
	begin := func(genesis wire.GroupGenesis) error {
		b := r.db.Batch()
		defer b.Abandon()
		if err := r.service.FoundProvisional(ctx, b, genesis, other, r.claim(member, real.Group, other)); err != nil {
			return err
		}
		return b.Commit(ctx)
	}
	require.ErrorIs(t, begin(real), errkind.Invalid, "a signed one")
	require.NoError(t, begin(provisional))
	require.Len(t, r.sent, 1)
	origin, err := r.service.Origin(ctx, real.Group)
	require.NoError(t, err)
	require.True(t, origin.Provisional)
	require.Equal(t, provisional, origin.Genesis)
	require.Equal(t, "Admin", r.role(real.Group, member))
	require.Equal(t, governance.Applied, r.verdict(real.Group, r.sent[0].ID))
	require.NoError(t, begin(provisional), "it is here")
	require.Len(t, r.sent, 1, "and nothing is made")
	stands := r.issueIn(real.Group, member, wire.OpGroupAliasSet{Alias: "mine"})
	r.restart()

	require.NoError(t, r.service.Found(ctx, real))
	for range 2 {
		origin, err = r.service.Origin(ctx, real.Group)
		require.NoError(t, err)
		require.False(t, origin.Provisional)
		require.Equal(t, real, origin.Genesis)
		require.Equal(t, governance.RefusedInviterLacks, r.verdict(real.Group, r.sent[0].ID), "the inviter was no admin after all")
		require.Equal(t, governance.RefusedNotAdmin, r.verdict(real.Group, stands))
		require.Equal(t, "Admin", r.role(real.Group, admin))
		require.Equal(t, "none", r.role(real.Group, member))
		require.False(t, has(t, r, store.GroupMember, store.GroupMemberKey{Group: real.Group, Member: other.Public()}))
		meta, _, err := store.GroupMeta.Get(ctx, r.db, real.Group)
		require.NoError(t, err)
		require.Equal(t, wire.GroupMeta{
			TargetApplicationID: domain.ApplicationID{7}, CreatedAt: 1700000000, AdminIdentity: admin.Public(), AutoJoin: true,
		}, meta)
		name, _, err := store.GroupAlias.Get(ctx, r.db, real.Group)
		require.NoError(t, err)
		require.Equal(t, wire.Text("team"), name)
		r.restart()
	}
	// The admin takes him in, by an operation that has none of that as a parent: all of it counts.
	_, raw := r.signIn(real.Group, admin, 1, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleAdmin})
	_, err = r.service.Receive(ctx, real.Group, "peer", [][]byte{raw})
	require.NoError(t, err)
	require.Equal(t, governance.Applied, r.verdict(real.Group, r.sent[0].ID))
}

// TestConflict: with two geneses of one group the first stays, and nobody joins until the user has chosen.
func TestConflict(t *testing.T) {
	t.Parallel()
	for _, takeOther := range []bool{false, true} {
		r := newRig(t)
		ctx := t.Context()
		id := domain.GroupID{8}
		genesis := func(creator domain.PrivateKey) wire.GroupGenesis {
			g, err := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: id, Creator: creator.Public()}.Sign(creator, nil)
			require.NoError(t, err)
			return g
		}
		first, second, third := genesis(admin), genesis(member), genesis(other)
		require.NoError(t, r.service.Found(ctx, first))
		require.NoError(t, r.service.Found(ctx, first))
		name := func(g wire.GroupGenesis) domain.Hash {
			hash, err := g.Hash()
			require.NoError(t, err)
			return hash
		}
		require.ErrorIs(t, r.service.Choose(ctx, id, name(first)), errkind.Precondition)
		for _, g := range []wire.GroupGenesis{second, second, third} {
			err := r.service.Found(ctx, g)
			require.ErrorIs(t, err, errkind.AlreadyExists)
			require.ErrorContains(t, err, "GENESIS_CONFLICT")
			r.restart()
		}
		origin, err := r.service.Origin(ctx, id)
		require.NoError(t, err)
		require.Equal(t, first, origin.Genesis)
		require.Equal(t, &second, origin.Conflict)
		_, err = r.service.Issue(ctx, id, stranger, r.claim(admin, id, stranger))
		require.ErrorContains(t, err, "GENESIS_CONFLICT")
		r.issueIn(id, admin, wire.OpNoop{})
		r.issueIn(id, admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleMember})
		candidates, chosen, err := r.service.Candidates(ctx, id)
		require.NoError(t, err)
		require.False(t, chosen)
		require.Equal(t, []groups.Candidate{
			{ID: name(first), Genesis: first, Kept: true, Members: 2, Counting: 2, Operations: 2},
			{ID: name(second), Genesis: second, Members: 1, Operations: 2},
		}, candidates)
		require.ErrorIs(t, r.service.Choose(ctx, id, name(third)), errkind.NotFound)
		kept, left := first, second
		inviter := admin
		if takeOther {
			kept, left = left, kept
			inviter = member
		}
		require.NoError(t, r.service.Choose(ctx, id, name(left)))
		require.NoError(t, r.service.Choose(ctx, id, name(kept)), "who chose wrongly chooses again")
		require.NoError(t, r.service.Choose(ctx, id, name(kept)))
		for range 2 {
			candidates, chosen, err := r.service.Candidates(ctx, id)
			require.NoError(t, err)
			require.True(t, chosen)
			require.Equal(t, []domain.Hash{name(kept), name(left)}, []domain.Hash{candidates[0].ID, candidates[1].ID})
			origin, err = r.service.Origin(ctx, id)
			require.NoError(t, err)
			require.Equal(t, kept, origin.Genesis)
			require.Nil(t, origin.Conflict)
			require.NoError(t, r.service.Found(ctx, kept))
			require.NoError(t, r.service.Found(ctx, left), "it was settled")
			require.True(t, has(t, r, store.GroupMember, store.GroupMemberKey{Group: id, Member: kept.Creator}))
			require.False(t, has(t, r, store.GroupMember, store.GroupMemberKey{Group: id, Member: left.Creator}))
			r.restart()
		}
		r.issueIn(id, stranger, r.claim(inviter, id, stranger))
	}
}
