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

var (
	other    = domain.PrivateKey{0x44}
	stranger = domain.PrivateKey{0x45}
)

// grow adds a group by a creator, with the parent that its genesis names, or none.
func (r *rig) grow(creator domain.PrivateKey, salt byte, parent *domain.GroupID) domain.GroupID {
	genesis, err := wire.GroupGenesis{
		Creator: creator.Public(), CreatedAt: 1700000000, Salt: [32]byte{salt}, Parent: parent,
	}.Sign(creator, nil)
	require.NoError(r.t, err)
	require.NoError(r.t, r.service.Found(r.t.Context(), genesis))
	return genesis.Group
}

func (r *rig) issueIn(group domain.GroupID, key domain.PrivateKey, body wire.GroupOp) domain.Hash {
	id, err := r.service.Issue(r.t.Context(), group, key, body)
	require.NoError(r.t, err)
	return id
}

func (r *rig) parent(group domain.GroupID) *domain.GroupID {
	parent, found, err := r.service.Parent(r.t.Context(), group)
	require.NoError(r.t, err)
	row, stored, err := store.GroupParent.Get(r.t.Context(), r.db, group)
	require.NoError(r.t, err)
	require.Equal(r.t, found, stored, "the row follows")
	if !found {
		return nil
	}
	require.Equal(r.t, parent, domain.GroupID(row))
	return &parent
}

func (r *rig) verdict(group domain.GroupID, op domain.Hash) governance.Code {
	log, _, err := r.service.Log(r.t.Context(), group, 0, groups.MaxLog)
	require.NoError(r.t, err)
	for _, e := range log {
		if e.Op.ID == op {
			return e.Verdict.Code
		}
	}
	return ""
}

func (r *rig) role(group domain.GroupID, who domain.PrivateKey) string {
	role, found, err := r.service.Role(r.t.Context(), group, who.Public())
	require.NoError(r.t, err)
	if !found {
		return "none"
	}
	return role.String()
}

// TestInherited: admins of a group are admins below, until they are removed; what they did stands if somebody built on
// it. All of it over restarts.
func TestInherited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	top := r.genesis.Group
	child := r.grow(member, 1, nil)
	_, err := r.service.Issue(t.Context(), child, other, wire.OpGroupAliasSet{Alias: "x"})
	require.ErrorIs(t, err, errkind.PermissionDenied)
	r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleAdmin})
	r.issue(admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin})
	r.issue(member, wire.OpSubgroupCreated{Child: child}) // the child's creator agrees
	require.Equal(t, &top, r.parent(child))
	for _, key := range []domain.PrivateKey{admin, member, other} {
		require.Equal(t, "Admin", r.role(child, key))
	}
	require.Equal(t, "none", r.role(child, stranger))
	kept := r.issueIn(child, other, wire.OpMemberAdded{Member: stranger.Public(), Role: domain.RoleMember})
	r.issueIn(child, member, wire.OpNoop{}) // who has a row builds on it
	lost := r.issueIn(child, other, wire.OpGroupAliasSet{Alias: "lost"})
	r.restart()
	require.Equal(t, governance.Applied, r.verdict(child, lost))

	r.issue(member, wire.OpMemberRemoved{Member: other.Public()})
	for range 2 {
		require.Equal(t, "none", r.role(child, other))
		require.Equal(t, governance.Applied, r.verdict(child, kept))
		require.Equal(t, governance.VoidInheritedLost, r.verdict(child, lost))
		state, err := r.service.State(t.Context(), child)
		require.NoError(t, err)
		require.Nil(t, state.Alias)
		require.False(t, has(t, r, store.GroupAlias, child), "rows follow")
		_, err = r.service.Issue(t.Context(), child, other, wire.OpNoop{})
		require.ErrorIs(t, err, errkind.PermissionDenied)
		r.restart()
	}
	// He comes back, and so does what he did.
	r.issue(admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin})
	require.Equal(t, governance.Applied, r.verdict(child, lost))
	require.True(t, has(t, r, store.GroupAlias, child))
	r.issue(admin, wire.OpSubgroupRemoved{Child: child})
	require.Nil(t, r.parent(child))
	require.Equal(t, governance.RefusedNotAdmin, r.verdict(child, lost))
}

// TestRemoveMember: who is removed from a group is cut off from those below, and what it does there meanwhile is void for
// good.
func TestRemoveMember(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	child := r.grow(member, 1, &r.genesis.Group)
	deep := r.grow(member, 2, &child)
	apart := r.grow(stranger, 3, &r.genesis.Group)
	r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleAdmin})
	r.issue(admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin})
	r.issue(admin, wire.OpSubgroupCreated{Child: child})
	r.issue(admin, wire.OpSubgroupCreated{Child: apart})
	r.issueIn(child, admin, wire.OpSubgroupCreated{Child: deep})
	r.issueIn(apart, admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleMember})
	lost := r.issueIn(deep, other, wire.OpGroupAliasSet{Alias: "lost"})
	_, err := r.service.RemoveMember(t.Context(), r.genesis.Group, stranger, other.Public())
	require.ErrorIs(t, err, errkind.PermissionDenied)
	removal, err := r.service.RemoveMember(t.Context(), r.genesis.Group, admin, other.Public())
	require.NoError(t, err)
	require.Equal(t, governance.Applied, r.verdict(r.genesis.Group, removal.Op))
	var cuts []domain.GroupID
	for _, cut := range removal.Cuts {
		require.NoError(t, cut.Err)
		require.Equal(t, governance.Applied, r.verdict(cut.Group, cut.Op))
		cuts = append(cuts, cut.Group)
	}
	require.ElementsMatch(t, []domain.GroupID{child, deep}, cuts)
	require.Equal(t, governance.VoidAuthorityRevoked, r.verdict(deep, lost))
	r.issue(admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin})
	require.Equal(t, governance.VoidAuthorityRevoked, r.verdict(deep, lost))
	require.Equal(t, "Member", r.role(apart, other))
}

// TestAncestorComesLate: what an admin of a parent did below is refused until the parent is here, and counts then.
func TestAncestorComesLate(t *testing.T) {
	t.Parallel()
	first, second := newRig(t), newRig(t)
	top, err := wire.GroupGenesis{Creator: admin.Public(), Salt: [32]byte{9}}.Sign(admin, nil)
	require.NoError(t, err)
	require.NoError(t, first.service.Found(t.Context(), top))
	child, err := wire.GroupGenesis{Creator: member.Public(), Parent: &top.Group}.Sign(member, nil)
	require.NoError(t, err)
	require.NoError(t, first.service.Found(t.Context(), child))
	require.Nil(t, first.parent(child.Group), "nobody listed it")
	first.issueIn(top.Group, admin, wire.OpSubgroupCreated{Child: child.Group})
	made := first.issueIn(child.Group, admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleMember})

	require.NoError(t, second.service.Found(t.Context(), child))
	send := func(group domain.GroupID) {
		raws, err := first.service.After(t.Context(), group, nil, 100)
		require.NoError(t, err)
		_, err = second.service.Receive(t.Context(), group, "peer", raws)
		require.NoError(t, err)
	}
	send(child.Group)
	require.Equal(t, governance.RefusedNoCapability, second.verdict(child.Group, made))
	require.NoError(t, second.service.Found(t.Context(), top))
	require.Equal(t, governance.RefusedNoCapability, second.verdict(child.Group, made), "the link is pending")
	second.changes = nil
	send(top.Group)
	require.Equal(t, governance.Applied, second.verdict(child.Group, made))
	require.Contains(t, second.changes, governance.Change{
		ID: made, Old: governance.Verdict{Code: governance.RefusedNoCapability}, New: governance.Verdict{Code: governance.Applied},
	})
	require.True(t, has(t, second, store.GroupMember, store.GroupMemberKey{Group: child.Group, Member: other.Public()}))
}

// TestLinks: who may make a group the parent of another, and which of several counts.
func TestLinks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	child := r.grow(member, 1, nil)
	r.issue(admin, wire.OpSubgroupCreated{Child: child})
	require.Nil(t, r.parent(child), "nobody of the child agrees: no foreign group is adopted")
	r.issueIn(child, member, wire.OpMemberAdded{Member: admin.Public(), Role: domain.RoleAdmin})
	require.Equal(t, &r.genesis.Group, r.parent(child), "an admin of the child made it")
	r.restart()
	r.issueIn(child, member, wire.OpMemberRemoved{Member: admin.Public()})
	require.Nil(t, r.parent(child))

	// Only what the group itself says makes an admin who may agree: not one whom an inherited admin added.
	foreign := r.grow(other, 2, nil)
	r.issueIn(foreign, other, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleAdmin})
	r.issueIn(foreign, member, wire.OpSubgroupCreated{Child: child}) // by the creator
	require.Equal(t, &foreign, r.parent(child))
	r.issueIn(child, other, wire.OpMemberAdded{Member: admin.Public(), Role: domain.RoleAdmin})
	require.Equal(t, &foreign, r.parent(child), "the first by id would count, if it were agreed to")
	require.Equal(t, "Admin", r.role(child, admin))

	// A cycle is not closed; the one named by the genesis goes first.
	named := r.grow(admin, 3, &r.genesis.Group)
	r.issueIn(named, admin, wire.OpSubgroupCreated{Child: r.genesis.Group})
	require.Equal(t, &named, r.parent(r.genesis.Group))
	r.issue(admin, wire.OpSubgroupCreated{Child: named})
	require.Nil(t, r.parent(r.genesis.Group))
	require.Equal(t, &r.genesis.Group, r.parent(named))
	r.issueIn(named, admin, wire.OpSubgroupCreated{Child: named})
	require.Equal(t, &r.genesis.Group, r.parent(named), "nor is a group its own parent")
}

// TestLineage: of a chain of groups, sixteen are looked at.
func TestLineage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	chain := []domain.GroupID{r.genesis.Group}
	r.issue(admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin})
	for i := range 16 {
		last := chain[len(chain)-1]
		next := r.grow(member, byte(10+i), &last)
		r.issueIn(last, []domain.PrivateKey{admin, member}[min(i, 1)], wire.OpSubgroupCreated{Child: next})
		chain = append(chain, next)
	}
	require.Equal(t, "Admin", r.role(chain[15], other))
	require.Equal(t, "none", r.role(chain[16], other))
	_, err := r.service.Issue(t.Context(), chain[16], other, wire.OpNoop{})
	require.ErrorIs(t, err, errkind.PermissionDenied)
	r.issueIn(chain[15], other, wire.OpNoop{})
	// A row hides what is above it.
	r.issueIn(chain[8], member, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleReadOnly})
	require.Equal(t, "ReadOnly", r.role(chain[15], other))
	cuts, err := r.service.Cuts(t.Context(), chain[0], other.Public())
	require.NoError(t, err)
	require.Len(t, cuts, 7, "what is below a row is not cut off")
}

// TestCascade: with a member go the identities in the contexts of the group and of those below, this node's keys too; not
// where a row of its own keeps it, and not in contexts that belong to others.
func TestCascade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	child, apart := r.grow(admin, 1, &r.genesis.Group), r.grow(admin, 2, &r.genesis.Group)
	for i, group := range []domain.GroupID{r.genesis.Group, child, apart} {
		if i > 0 {
			r.issue(admin, wire.OpSubgroupCreated{Child: group})
		}
		r.issueIn(group, admin, wire.OpContextRegistered{Context: domain.ContextID{byte(i)}})
	}
	r.issueIn(child, admin, wire.OpContextRegistered{Context: domain.ContextID{9}}) // of nobody here
	r.issueIn(child, admin, wire.OpContextRegistered{Context: domain.ContextID{2}}) // of another
	r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
	r.issue(admin, wire.OpMemberAliasSet{Member: member.Public(), Alias: "m"})
	r.issueIn(apart, admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
	b := r.db.Batch()
	for i, group := range []domain.GroupID{r.genesis.Group, child, apart} {
		store.ContextGroup.Put(b, domain.ContextID{byte(i)}, wire.ID32(group))
	}
	for _, c := range []byte{0, 1, 2, 9} {
		for _, key := range []domain.PrivateKey{admin, member} {
			store.ContextIdentity.Put(b, store.IdentityKey{Context: domain.ContextID{c}, Identity: key.Public()},
				wire.ContextIdentity{PrivateKey: &key})
		}
	}
	require.NoError(t, b.Commit(t.Context()))
	alias := store.GroupMemberKey{Group: r.genesis.Group, Member: member.Public()}
	require.True(t, has(t, r, store.GroupMemberAlias, alias))
	r.issue(admin, wire.OpMemberRemoved{Member: member.Public()})
	require.False(t, has(t, r, store.GroupMemberAlias, alias))
	for c, stays := range map[byte]bool{0: false, 1: false, 2: true, 9: true} {
		in := domain.ContextID{c}
		require.Equal(t, stays, has(t, r, store.ContextIdentity, store.IdentityKey{Context: in, Identity: member.Public()}), "%d", c)
		require.True(t, has(t, r, store.ContextIdentity, store.IdentityKey{Context: in, Identity: admin.Public()}), "%d", c)
	}
}

// TestSettleFails: when what comes down cannot be stored, the operation above stands, and the next call makes it good.
func TestSettleFails(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		r := newRig(t)
		child := r.grow(admin, 1, &r.genesis.Group)
		r.issue(admin, wire.OpSubgroupCreated{Child: child})
		r.issue(admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin})
		made := r.issueIn(child, other, wire.OpGroupAliasSet{Alias: "x"})
		r.disk.after = 2 // the commit after the next
		r.issue(admin, wire.OpMemberRemoved{Member: other.Public()})
		require.True(t, has(t, r, store.GroupAlias, child), "not yet")
		if restart {
			r.restart()
		}
		require.Equal(t, governance.VoidInheritedLost, r.verdict(child, made))
		require.False(t, has(t, r, store.GroupAlias, child))
	}
}
