package membership_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

var below, listed = domain.ContextID{5}, domain.ContextID{6}

// subgroup makes a group below another, with an open context and one that has a list. The genesis is changed by change.
func (n *node) subgroup(parent domain.GroupID, salt byte, change func(*wire.GroupGenesis), contexts ...domain.ContextID) domain.GroupID {
	n.t.Helper()
	g := wire.GroupGenesis{
		Creator: founder.Public(), Target: domain.ApplicationID{0xaa}, AutoJoin: true, Parent: &parent, Salt: [32]byte{salt},
	}
	if change != nil {
		change(&g)
	}
	genesis, err := g.Sign(founder, nil)
	require.NoError(n.t, err)
	var ops []wire.GroupOp
	for i, c := range contexts {
		ops = append(ops, wire.OpContextRegistered{Context: c},
			wire.OpContextVisibilitySet{Context: c, Mode: domain.VisibilityMode(i), Creator: founder.Public()}) //nolint:gosec // 0 and 1
	}
	b := n.db.Batch()
	require.NoError(n.t, n.service().Begin(n.t.Context(), b, genesis, founder, ops...))
	_, err = n.service().Stage(n.t.Context(), b, parent, founder, wire.OpSubgroupCreated{Child: genesis.Group})
	require.NoError(n.t, err)
	require.NoError(n.t, b.Commit(n.t.Context()))
	require.NoError(n.t, n.manager().Follow(n.t.Context(), genesis.Group))
	return genesis.Group
}

// knowsOf waits until a group is here.
func (n *node) knowsOf(group domain.GroupID) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		_, err := n.service().Genesis(n.t.Context(), group)
		return err == nil
	}, long, 2*time.Millisecond)
}

// signs gives a node the key of a member.
func (n *node) signs(group domain.GroupID, key domain.PrivateKey) {
	n.t.Helper()
	b := n.db.Batch()
	store.GroupSigningKey.Put(b, store.GroupMemberKey{Group: group, Member: key.Public()}, wire.ID32(key))
	require.NoError(n.t, b.Commit(n.t.Context()))
}

func (n *node) length(group domain.GroupID) int {
	_, total, err := n.service().Log(n.t.Context(), group, 0, 0)
	require.NoError(n.t, err)
	return total
}

// TestSubgroups: who joins a group is in those below it, and in those below these: their geneses come, what they are comes,
// and he enters what is open. Later ones come too, over restarts, and are not entered by themselves.
func TestSubgroups(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	child := a.subgroup(group, 1, nil, below, listed)
	vouched := a.subgroup(group, 2, func(g *wire.GroupGenesis) { g.Kind, g.Group, g.Parent = wire.GenesisVouched, domain.GroupID{0xdd}, nil })
	deep := a.subgroup(child, 3, nil)
	joiner := domain.PrivateKey{0x51}
	_, err := b.manager().JoinGroup(t.Context(), a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder, Valid: time.Hour}), joiner)
	require.NoError(t, err)
	for _, id := range []domain.GroupID{child, vouched, deep} {
		b.knowsOf(id)
		b.sees(id, joiner.Public(), true)
		parent, found, err := b.service().Parent(t.Context(), id)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, map[bool]domain.GroupID{true: child, false: group}[id == deep], parent)
	}
	require.Eventually(t, func() bool { return b.in(below, joiner.Public()) }, long, 2*time.Millisecond)
	require.False(t, b.in(listed, joiner.Public()))

	b.restart()
	later := domain.ContextID{7}
	another := a.subgroup(group, 4, nil, later)
	b.knowsOf(another)
	require.Eventually(t, func() bool {
		state, err := b.service().State(t.Context(), another)
		return err == nil && state.Contexts[later] && len(state.Visibility) == 1
	}, long, 2*time.Millisecond)
	a.issue(another, founder, wire.OpMemberAdded{Member: joiner.Public(), Role: domain.RoleMember})
	a.issue(another, founder, wire.OpMemberCapabilitySet{Member: joiner.Public(), Capabilities: domain.CanJoinOpenContexts})
	require.Eventually(t, func() bool { return b.manager().JoinGroupContext(t.Context(), another, later, joiner) == nil }, long, 2*time.Millisecond)
}

// TestSubgroups_NobodySpeaksFor: a genesis that its id does not prove counts when its creator listed the group, and one that
// nobody below agreed to not at all.
func TestSubgroups_NobodySpeaksFor(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b, evil := l.node(t, "a"), l.node(t, "b"), l.node(t, "evil")
	group := a.group()
	given := a.subgroup(group, 1, func(g *wire.GroupGenesis) { g.Kind, g.Group = wire.GenesisVouched, domain.GroupID{0xdd} })
	liar, joiner := domain.PrivateKey{0x60}, domain.PrivateKey{0x51}
	forged, err := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: given, Creator: liar.Public(), Parent: &group}.Sign(liar, nil)
	require.NoError(t, err)
	foreign, err := wire.GroupGenesis{Creator: liar.Public()}.Sign(liar, nil)
	require.NoError(t, err)
	a.issue(group, founder, wire.OpSubgroupCreated{Child: foreign.Group})
	a.issue(group, founder, wire.OpMemberAdded{Member: liar.Public(), Role: domain.RoleMember})
	a.issue(group, founder, wire.OpMemberAdded{Member: joiner.Public(), Role: domain.RoleMember})
	for _, genesis := range []wire.GroupGenesis{forged, foreign} {
		require.NoError(t, evil.service().Found(t.Context(), genesis))
		// Whoever asks is served.
		_, err := evil.service().Issue(t.Context(), genesis.Group, liar, wire.OpMemberAdded{Member: joiner.Public(), Role: domain.RoleMember})
		require.NoError(t, err)
		require.NoError(t, evil.manager().Follow(t.Context(), genesis.Group))
	}
	genesis, err := a.service().Genesis(t.Context(), group)
	require.NoError(t, err)
	for _, n := range []*node{b, evil} {
		require.NoError(t, n.service().Found(t.Context(), genesis))
	}
	b.signs(group, joiner)
	evil.signs(group, liar)
	require.NoError(t, evil.manager().Follow(t.Context(), group))
	require.Eventually(t, func() bool { return evil.length(group) == a.length(group) }, long, 2*time.Millisecond)
	l.setDeaf(a, true)
	require.NoError(t, b.manager().Follow(t.Context(), group))
	for _, id := range []domain.GroupID{given, foreign.Group} {
		require.Eventually(t, func() bool { return evil.wasAsked(id) > 1 }, long, 2*time.Millisecond, "and again, as that was no help")
		_, err := b.service().Genesis(t.Context(), id)
		require.ErrorIs(t, err, errkind.NotFound)
	}
	l.setDeaf(a, false)
	b.knowsOf(given)
	kept, err := b.service().Genesis(t.Context(), given)
	require.NoError(t, err)
	require.Equal(t, founder.Public(), kept.Creator)
}
