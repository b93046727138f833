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

var (
	founder           = domain.PrivateKey{0x42}
	open, restricted  = domain.ContextID{1}, domain.ContextID{2}
	unseen, listedFor = domain.ContextID{3}, domain.PrivateKey{0x43}
)

// group makes a group with three contexts: open, one with a list, one whose visibility nobody has said.
func (n *node) group() domain.GroupID {
	n.t.Helper()
	alias := "team"
	genesis, err := wire.GroupGenesis{Creator: founder.Public(), Target: domain.ApplicationID{0xaa}, AutoJoin: true, Alias: &alias}.Sign(founder, nil)
	require.NoError(n.t, err)
	b := n.db.Batch()
	require.NoError(n.t, n.service().Begin(n.t.Context(), b, genesis, founder,
		wire.OpContextRegistered{Context: open}, wire.OpContextVisibilitySet{Context: open, Creator: founder.Public()},
		wire.OpContextRegistered{Context: restricted},
		wire.OpContextVisibilitySet{Context: restricted, Mode: domain.VisibilityRestricted, Creator: founder.Public()},
		wire.OpContextAllowlistReplaced{Context: restricted, Members: []domain.PublicKey{listedFor.Public()}},
		wire.OpContextRegistered{Context: unseen},
	))
	store.Application.Put(b, genesis.Target, wire.ApplicationRecord{Bytecode: domain.BlobID{0xbb}, Size: 3, Source: "file:///app.wasm"})
	store.GroupSigningKey.Put(b, store.GroupMemberKey{Group: genesis.Group, Member: founder.Public()}, wire.ID32(founder))
	require.NoError(n.t, b.Commit(n.t.Context()))
	require.NoError(n.t, n.manager().Follow(n.t.Context(), genesis.Group))
	return genesis.Group
}

func (n *node) inviteTo(r membership.GroupInvite) membership.GroupInvitation {
	n.t.Helper()
	inv, err := n.manager().InviteToGroup(n.t.Context(), r)
	require.NoError(n.t, err)
	return *inv
}

func (n *node) issue(group domain.GroupID, key domain.PrivateKey, body wire.GroupOp) {
	n.t.Helper()
	_, err := n.service().Issue(n.t.Context(), group, key, body)
	require.NoError(n.t, err)
}

// in tells whether a node has an identity with a key in a context.
func (n *node) in(c domain.ContextID, who domain.PublicKey) bool {
	row, found, err := n.identity.Get(n.t.Context(), c, who)
	require.NoError(n.t, err)
	return found && row.PrivateKey != nil
}

// sees waits until a node counts somebody as a member of a group, or no member.
func (n *node) sees(group domain.GroupID, who domain.PublicKey, member bool) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		_, found, err := n.service().Role(n.t.Context(), group, who)
		return err == nil && found == member
	}, long, 2*time.Millisecond)
}

// TestJoinGroup: a fresh node becomes a member by the invitation alone, enters the contexts that it may, and all of that
// survives; with the inviter away it comes later.
func TestJoinGroup(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b, c := l.node(t, "a"), l.node(t, "b"), l.node(t, "c")
	group := a.group()
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder, Valid: time.Hour})
	require.Equal(t, "team", *inv.Alias)

	joined, err := b.manager().JoinGroup(t.Context(), inv, listedFor)
	require.NoError(t, err)
	require.Equal(t, group, joined.Group)
	a.sees(group, listedFor.Public(), true)
	for _, id := range []domain.ContextID{open, restricted} {
		require.Eventually(t, func() bool { return b.in(id, listedFor.Public()) }, long, time.Millisecond)
	}
	require.False(t, b.in(unseen, listedFor.Public()))
	app, found, err := store.Application.Get(t.Context(), b.db, domain.ApplicationID{0xaa})
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, domain.BlobID{0xbb}, app.Bytecode)
	_, err = b.manager().JoinGroup(t.Context(), inv, listedFor)
	require.ErrorContains(t, err, "identity is already a member of this group")

	l.setDeaf(c, true)
	alone := domain.PrivateKey{0x44}
	joined, err = c.manager().JoinGroup(t.Context(), inv, alone)
	require.NoError(t, err)
	require.Empty(t, joined.Contexts)
	c.restart()
	_, err = c.manager().JoinGroup(t.Context(), inv, alone)
	if err != nil { // where the founder's own word is enough, it is a member at once
		require.ErrorContains(t, err, "already a member")
	}
	l.setDeaf(c, false)
	a.sees(group, alone.Public(), true)
	require.Eventually(t, func() bool { return c.in(open, alone.Public()) }, long, time.Millisecond)
	require.False(t, c.in(restricted, alone.Public()))
	for _, n := range []*node{a, b, c} {
		n.restart()
		n.sees(group, alone.Public(), true)
		n.sees(group, listedFor.Public(), true)
	}
}

// TestJoinGroup_ByAnotherAdmin: what the inviter may is not in the genesis, so the join counts when the operations come.
func TestJoinGroup_ByAnotherAdmin(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	second, joiner := domain.PrivateKey{0x50}, domain.PrivateKey{0x51}
	a.issue(group, founder, wire.OpMemberAdded{Member: second.Public(), Role: domain.RoleAdmin})
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: second})
	l.setDeaf(b, true)
	_, err := b.manager().JoinGroup(t.Context(), inv, joiner)
	require.NoError(t, err)
	_, found, err := b.service().Role(t.Context(), group, joiner.Public())
	require.NoError(t, err)
	require.False(t, found, "as far as is known there")
	l.setDeaf(b, false)
	a.sees(group, joiner.Public(), true)
	b.sees(group, joiner.Public(), true)
}

// TestJoinGroup_WithoutGenesis: an invitation of the reference has none; the inviter counts as the founder until a genesis
// comes.
func TestJoinGroup_WithoutGenesis(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder})
	inv.Genesis, inv.Application, inv.Blob, inv.Source = nil, nil, nil, nil
	_, err := b.manager().JoinGroup(t.Context(), inv, listedFor)
	require.NoError(t, err)
	a.sees(group, listedFor.Public(), true)
	b.sees(group, listedFor.Public(), true)
	require.Eventually(t, func() bool { return b.in(restricted, listedFor.Public()) }, long, time.Millisecond)
}

// TestJoinGroup_OneUse: of two who use an invitation for one, one is a member, the same one everywhere.
func TestJoinGroup_OneUse(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b, c := l.node(t, "a"), l.node(t, "b"), l.node(t, "c")
	group := a.group()
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder, OneUse: true})
	one, other := domain.PrivateKey{0x60}, domain.PrivateKey{0x61}
	l.setDeaf(b, true)
	l.setDeaf(c, true)
	_, err := b.manager().JoinGroup(t.Context(), inv, one)
	require.NoError(t, err)
	_, err = c.manager().JoinGroup(t.Context(), inv, other)
	require.NoError(t, err)
	l.setDeaf(b, false)
	l.setDeaf(c, false)
	members := func(n *node) int {
		state, err := n.service().State(t.Context(), group)
		require.NoError(t, err)
		return len(state.Members)
	}
	heads := func(n *node) []domain.Hash {
		frontier, _, err := n.service().Frontier(t.Context(), group)
		require.NoError(t, err)
		return frontier
	}
	require.Eventually(t, func() bool {
		return members(a) == 2 && members(b) == 2 && members(c) == 2 && len(heads(a)) > 0 &&
			equal(heads(a), heads(b)) && equal(heads(a), heads(c))
	}, long, 5*time.Millisecond)
	state, err := a.service().State(t.Context(), group)
	require.NoError(t, err)
	for _, n := range []*node{b, c} {
		theirs, err := n.service().State(t.Context(), group)
		require.NoError(t, err)
		require.Equal(t, state.Members, theirs.Members)
	}
}

func equal(a, b []domain.Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestJoinGroup_Refusals: what the joining node itself does not believe leaves nothing behind.
func TestJoinGroup_Refusals(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder, Valid: time.Hour})
	joiner := domain.PrivateKey{0x70}
	forged := inv
	forged.Invitation.Expiration++
	_, err := b.manager().JoinGroup(t.Context(), forged, joiner)
	require.ErrorContains(t, err, "inviter signature verification failed")
	swapped := inv
	other, err := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: group, Creator: joiner.Public()}.Sign(joiner, nil)
	require.NoError(t, err)
	vouched, err := wire.VouchFor(other, inv.Invitation.Hash(), joiner)
	require.NoError(t, err)
	swapped.Genesis = &vouched
	_, err = b.manager().JoinGroup(t.Context(), swapped, joiner)
	require.ErrorContains(t, err, "does not vouch for it", "who passes an invitation on cannot change the genesis")
	b.clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
	_, err = b.manager().JoinGroup(t.Context(), inv, joiner)
	require.ErrorContains(t, err, "has expired")
	_, err = b.service().State(t.Context(), group)
	require.ErrorIs(t, err, errkind.NotFound)
	require.Empty(t, b.subscribed())

	_, err = a.manager().InviteToGroup(t.Context(), membership.GroupInvite{Group: group, Inviter: joiner})
	require.ErrorContains(t, err, "inviter lacks permission")
	_, err = a.manager().InviteToGroup(t.Context(), membership.GroupInvite{Group: domain.GroupID{9}, Inviter: founder})
	require.ErrorContains(t, err, "group not found")
	_, err = a.manager().InviteToGroup(t.Context(), membership.GroupInvite{Group: group, Inviter: founder, Valid: 366 * 24 * time.Hour})
	require.ErrorIs(t, err, errkind.Invalid)

	// A second genesis of the same group: the first stays, and joins stop.
	c := l.node(t, "c")
	l.setDeaf(c, true)
	real, err := c.manager().JoinGroup(t.Context(), inv, domain.PrivateKey{0x71})
	require.NoError(t, err)
	require.Equal(t, group, real.Group)
	second, err := wire.VouchFor(other, inv.Invitation.Hash(), founder)
	require.NoError(t, err)
	swapped.Genesis = &second
	_, err = c.manager().JoinGroup(t.Context(), swapped, joiner)
	require.ErrorContains(t, err, "GENESIS_CONFLICT")
	_, err = c.manager().JoinGroup(t.Context(), inv, joiner)
	require.ErrorContains(t, err, "GENESIS_CONFLICT")
}

// TestJoinGroupContext: who is a member enters what the rules of the group allow; who is removed is out everywhere.
func TestJoinGroupContext(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	member := domain.PrivateKey{0x80}
	_, err := b.manager().JoinGroup(t.Context(), a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder}), member)
	require.NoError(t, err)
	a.sees(group, member.Public(), true)
	b.sees(group, member.Public(), true)
	later := domain.ContextID{9}
	a.issue(group, founder, wire.OpContextRegistered{Context: later})
	a.issue(group, founder, wire.OpContextVisibilitySet{Context: later, Creator: founder.Public()})
	registered := func(n *node, c domain.ContextID) bool {
		state, err := n.service().State(t.Context(), group)
		require.NoError(t, err)
		_, known := state.Visibility[c]
		return state.Contexts[c] && known
	}
	require.Eventually(t, func() bool { return registered(b, later) }, long, time.Millisecond)

	join := func(c domain.ContextID, key domain.PrivateKey) error {
		return b.manager().JoinGroupContext(t.Context(), group, c, key)
	}
	require.ErrorContains(t, join(restricted, member), "is not on the allowlist for restricted context 'ContextId(Hash(")
	require.ErrorContains(t, join(unseen, member), "only admins may join")
	require.ErrorContains(t, join(domain.ContextID{7}, member), "does not belong to group")
	require.ErrorContains(t, join(later, domain.PrivateKey{0x81}), "identity is not a member of the group")
	require.ErrorContains(t, b.manager().JoinGroupContext(t.Context(), domain.GroupID{8}, later, member), "group not found")
	a.issue(group, founder, wire.OpMemberCapabilitySet{Member: member.Public(), Capabilities: domain.CanJoinOpenContexts})
	require.Eventually(t, func() bool { return join(later, member) == nil }, long, 5*time.Millisecond)
	require.True(t, b.in(later, member.Public()))
	require.NoError(t, join(later, member), "again")

	_, found := a.role(later, member.Public())
	require.False(t, found, "the context is not here: nobody is served in it")
	a.issue(group, founder, wire.OpMemberRemoved{Member: member.Public()})
	b.sees(group, member.Public(), false)
	require.Eventually(t, func() bool { return !b.in(later, member.Public()) }, long, time.Millisecond)
	require.ErrorContains(t, join(later, member), "identity is not a member of the group")
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.left[later]
	}, long, time.Millisecond)
}
