package edges_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// operations are the rows about what operations mean.
var operations = []edge{
	{1, "256 and 257 parents", "", func(t *testing.T, r *rig) {
		first, raw := r.sign(admin, 1, wire.OpNoop{})
		r.receive(raw)
		parents := make([]domain.Hash, 257)
		for i := range parents {
			parents[i] = first
		}
		_, raw = r.sign(admin, 2, wire.OpNoop{}, parents[:256]...)
		require.Equal(t, governance.Applied, r.code(raw))
		_, raw = r.sign(admin, 3, wire.OpNoop{}, parents...)
		require.Equal(t, governance.RefusedTooManyParents, r.code(raw))
	}},
	{2, "version 2", "", func(t *testing.T, r *rig) {
		_, raw := r.sign(admin, 1, wire.OpNoop{})
		raw[0] = 2
		require.Equal(t, governance.RefusedVersion, r.code(raw))
	}},
	{3, "a field changed after signing", "", func(t *testing.T, r *rig) {
		_, raw := r.sign(admin, 1, wire.OpNoop{})
		for i := range raw {
			bad := append([]byte(nil), raw...)
			bad[i] ^= 1
			require.Equal(t, groups.Rejected, r.receive(bad).Outcome, "byte %d", i)
		}
	}},
	{4, "the same operation twice", "", func(t *testing.T, r *rig) {
		_, raw := r.sign(admin, 1, wire.OpNoop{})
		require.Equal(t, groups.Taken, r.receive(raw).Outcome)
		require.Equal(t, groups.Duplicate, r.receive(raw).Outcome)
		require.Equal(t, 1, r.logged())
	}},
	{5, "a nonce that was used", "refused and in the log, not a silent success: it can be explained", func(t *testing.T, r *rig) {
		first, raw := r.sign(admin, 5, wire.OpNoop{})
		r.receive(raw)
		for _, nonce := range []uint64{5, 4} {
			_, raw = r.sign(admin, nonce, wire.OpGroupAliasSet{Alias: "x"}, first)
			require.Equal(t, governance.RefusedNonceStale, r.code(raw))
		}
		_, raw = r.sign(admin, 5, wire.OpGroupAliasSet{Alias: "x"})
		require.Equal(t, governance.Applied, r.code(raw), "two devices, beside each other")
	}},
	{6, "nonces 1, 10, 2", "", func(t *testing.T, r *rig) {
		first, raw1 := r.sign(admin, 1, wire.OpNoop{})
		tenth, raw10 := r.sign(admin, 10, wire.OpNoop{}, first)
		_, raw2 := r.sign(admin, 2, wire.OpNoop{}, tenth)
		require.Equal(t, governance.Applied, r.code(raw1))
		require.Equal(t, governance.Applied, r.code(raw10))
		require.Equal(t, governance.RefusedNonceStale, r.code(raw2))
	}},
	{7, "a state hash that does not fit", "it has no weight: two honest admins would refuse each other for ever", func(t *testing.T, r *rig) {
		_, raw, err := wire.SignableGroupOp{
			Version: wire.GroupOpVersion, Group: r.genesis.Group, Signer: admin.Public(), Nonce: 1, StateHash: domain.Hash{1}, Op: wire.OpNoop{},
		}.SignRaw(admin)
		require.NoError(t, err)
		require.Equal(t, governance.Applied, r.code(raw))
	}},
	{8, "an operation of a group that is not here", "", unknownGroup},
	{9, "a Noop of a group that is not here", "nothing of it is kept: anybody could make rows", unknownGroup},
	{10, "an unknown parent", "named, and kept over a restart: others can be asked for it", func(t *testing.T, r *rig) {
		_, raw := r.sign(admin, 1, wire.OpNoop{}, domain.Hash{7})
		got := r.receive(raw)
		require.Equal(t, groups.Waiting, got.Outcome)
		require.Equal(t, []domain.Hash{{7}}, got.Missing)
		r.restart()
		missing, err := r.service.Missing(t.Context(), r.genesis.Group)
		require.NoError(t, err)
		require.Equal(t, []domain.Hash{{7}}, missing)
	}},
	{11, "70 concurrent operations", "all are heads: who forgets some never merges them; the next one names 64", func(t *testing.T, r *rig) {
		for i := range 70 {
			_, raw := r.sign(admin, uint64(i+1), wire.OpMemberAliasSet{Member: domain.PublicKey{byte(i)}, Alias: "x"})
			r.receive(raw)
		}
		heads, err := r.service.Heads(t.Context(), r.genesis.Group)
		require.NoError(t, err)
		require.Len(t, heads, 70)
		r.issue(admin, wire.OpNoop{})
		require.Len(t, r.made()[0].Parents, 64)
		head, _, err := store.GroupOpHead.Get(t.Context(), r.db, r.genesis.Group)
		require.NoError(t, err)
		require.EqualValues(t, 71, head.Sequence)
		require.Len(t, head.DagHeads, 7)
	}},
	{12, "who manages members adds an admin", "", func(t *testing.T, r *rig) {
		r.manager()
		r.refuses(r.genesis.Group, member, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin},
			governance.RefusedOnlyAdminAddsAdmin, "only admins can add new admins")
	}},
	{13, "who manages members removes an admin", "", func(t *testing.T, r *rig) {
		r.manager()
		r.refuses(r.genesis.Group, member, wire.OpMemberRemoved{Member: admin.Public()}, governance.RefusedAdminTarget,
			"only admins can remove other admins")
	}},
	{14, "the last admin is removed, or lowered", "also by MemberAdded, which the reference forgets", func(t *testing.T, r *rig) {
		for _, body := range []wire.GroupOp{
			wire.OpMemberRemoved{Member: admin.Public()}, wire.OpMemberRoleSet{Member: admin.Public(), Role: domain.RoleMember},
			wire.OpMemberAdded{Member: admin.Public(), Role: domain.RoleReadOnly},
		} {
			r.refuses(r.genesis.Group, admin, body, governance.RefusedLastAdmin, "last admin of the group")
		}
		r.fails("POST", r.path("/members/remove"), `{"members":["`+admin.Public().String()+`"]}`,
			"cannot remove all admins from group '"+r.genesis.Group.Debug()+"': at least one admin must remain")
	}},
	{17, "ReadOnly in the group, Admin above", "", func(t *testing.T, r *rig) {
		child := r.below(other)
		r.issueIn(child, member, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleReadOnly})
		require.Equal(t, "ReadOnly", r.role(child, other))
		r.refuses(child, other, wire.OpGroupAliasSet{}, governance.RefusedNotAdmin, "requester is not an admin")
	}},
	{18, "member of a group 17 levels up", "", func(t *testing.T, r *rig) {
		last := r.genesis.Group
		r.issue(admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleMember})
		for i := range 16 {
			next := r.grow(admin, byte(i), &last)
			r.issueIn(last, admin, wire.OpSubgroupCreated{Child: next})
			require.Equal(t, map[bool]string{true: "Member", false: "none"}[i < 15], r.role(next, other))
			last = next
		}
	}},
	{19, "an admin from above sets a context's visibility", "", func(t *testing.T, r *rig) {
		child := r.below(other)
		r.issueIn(child, other, wire.OpContextRegistered{Context: room})
		r.refuses(child, other, wire.OpContextVisibilitySet{Context: room, Creator: member.Public()}, governance.RefusedCreatorClaim,
			"only a direct group admin or context creator can set context visibility")
		r.issueIn(child, member, wire.OpContextVisibilitySet{Context: room, Creator: member.Public()})
		r.fails("PUT", "/groups/"+child.String()+"/contexts/"+room.String()+"/visibility", `{"mode":"restricted"}`, "only a direct group admin or "+
			"context creator can set context visibility (inherited parent admin authority does not apply)")
	}},
	{24, "a join of a member", "", func(t *testing.T, r *rig) {
		r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
		r.refuses(r.genesis.Group, member, r.claim(admin, r.genesis.Group, member), governance.RefusedAlreadyMember,
			"identity is already a member of this group")
		child := r.below(other)
		r.refuses(child, other, r.claim(member, child, other), governance.RefusedAlreadyMember, "already a member")
	}},
	{25, "an invitation that has expired", "who joins refuses; who is late is not served, and an admin's node ends it (TestLate)",
		func(t *testing.T, r *rig) {
			r.issue(admin, wire.OpNoop{})
			r.now.Store(ends + 1)
			_, err := r.service.Issue(t.Context(), r.genesis.Group, other, r.claim(admin, r.genesis.Group, other))
			require.ErrorContains(t, err, "expired")
		}},
	{26, "an invitation used by a third party", "unless it is for one use", func(t *testing.T, r *rig) {
		for _, oneUse := range []bool{false, true} {
			i := wire.GroupInvitation{Inviter: admin.Public(), Target: r.genesis.Group, Expiration: ends}
			joiners := []domain.PrivateKey{{1}, {2}}
			if oneUse {
				copy(i.Salt[:], wire.OneUseSalt)
				joiners = []domain.PrivateKey{{3}, {4}}
			}
			signature, err := i.Sign(admin)
			require.NoError(t, err)
			for n, joiner := range joiners {
				claim, err := wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}.Claim(joiner)
				require.NoError(t, err)
				if oneUse && n == 1 {
					r.refuses(r.genesis.Group, joiner, claim, governance.RefusedInvitationUsed, "for one use")
				} else {
					r.issue(joiner, claim)
				}
			}
		}
	}},
	{27, "the inviter lost the permission before the claim", "", func(t *testing.T, r *rig) {
		r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
		r.issue(admin, wire.OpMemberCapabilitySet{Member: member.Public(), Capabilities: domain.CanInviteMembers})
		r.issue(admin, wire.OpMemberCapabilitySet{Member: member.Public()})
		r.refuses(r.genesis.Group, other, r.claim(member, r.genesis.Group, other), governance.RefusedInviterLacks, "CAN_INVITE_MEMBERS")
	}},
	{28, "a context invitation with a bad signature", "the joining node refuses too, and does not believe it is a member",
		func(t *testing.T, r *rig) {
			r.issue(admin, wire.OpContextRegistered{Context: room})
			i := wire.ContextInvitation{Inviter: admin.Public(), Target: room, Expiration: ends}
			payload, err := wire.Encode(i)
			require.NoError(t, err)
			r.refuses(r.genesis.Group, other, wire.OpMemberJoinedViaContextInvitation{
				Context: room, Inviter: admin.Public(), Payload: payload, InviterSignature: strings.Repeat("00", 64),
			}, governance.RefusedInvitationSignature, "signature")
			c := r.create(true)
			fresh := r.beside("fresh", nil)
			who := fresh.newIdentity()
			body := r.invite(c, who)
			const field = `"inviter_signature":"`
			at := strings.Index(body, field) + len(field)
			status, answer := fresh.ask("POST", "/contexts/join", body[:at]+strings.Repeat("0", 128)+body[at+128:])
			require.Equal(t, 500, status)
			require.Contains(t, answer, "inviter signature verification failed")
			require.False(t, fresh.in(c.ContextID))
			fresh.ok("POST", "/contexts/join", body, nil)
		}},
	{38, "a group with contexts is deleted", "", func(t *testing.T, r *rig) {
		r.issue(admin, wire.OpContextRegistered{Context: room})
		r.refuses(r.genesis.Group, admin, wire.OpGroupDelete{}, governance.RefusedDeleteWithContexts,
			"cannot delete group: one or more contexts are still registered")
		r.issue(admin, wire.OpContextRegistered{Context: domain.ContextID{1}})
		r.fails("DELETE", r.path(""), "{}", "cannot delete group '"+r.genesis.Group.Debug()+"': still has 2 associated context(s)")
	}},
	{39, "a context of another group is detached", "", func(t *testing.T, r *rig) {
		r.issueIn(r.grow(admin, 1, nil), admin, wire.OpContextRegistered{Context: room})
		r.refuses(r.genesis.Group, admin, wire.OpContextDetached{Context: room}, governance.RefusedContextNotInGroup, "not registered")
		r.fails("POST", r.path("/contexts/"+room.String()+"/remove"), "{}", "context '"+room.String()+"' does not belong to group '"+
			r.genesis.Group.Debug()+"'")
	}},
	{40, "visibility mode 2", "", func(t *testing.T, r *rig) {
		r.refuses(r.genesis.Group, admin, wire.OpDefaultVisibilitySet{Mode: 2}, governance.RefusedBadMode,
			"visibility mode must be 0 (Open) or 1 (Restricted)")
		r.refuses(r.genesis.Group, admin, wire.OpContextVisibilitySet{Context: room, Mode: 2}, governance.RefusedBadMode, "visibility mode")
	}},
	{41, "a stranger names itself the creator of a context", "refused: any key could take a context over", func(t *testing.T, r *rig) {
		r.issue(admin, wire.OpContextRegistered{Context: room})
		r.refuses(r.genesis.Group, stranger, wire.OpContextVisibilitySet{Context: room, Creator: stranger.Public()},
			governance.RefusedCreatorClaim, "only a direct group admin or context creator can set context visibility")
	}},
	{42, "a removed member uses a capability that it had", "capabilities die with the member", func(t *testing.T, r *rig) {
		r.manager()
		r.issue(admin, wire.OpMemberRemoved{Member: member.Public()})
		r.refuses(r.genesis.Group, member, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleMember},
			governance.RefusedNoCapability, "requester lacks permission to add member in group")
	}},
	{43, "the role of this node's own identity is set", "its keys stay", func(t *testing.T, r *rig) {
		key := store.GroupMemberKey{Group: r.genesis.Group, Member: admin.Public()}
		b := r.db.Batch()
		store.GroupMember.Put(b, key, wire.GroupMember{Role: domain.RoleAdmin, PrivateKey: &admin, SenderKey: &member})
		require.NoError(t, b.Commit(t.Context()))
		r.issue(admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin})
		r.issue(other, wire.OpMemberRoleSet{Member: admin.Public(), Role: domain.RoleReadOnly})
		row, _, err := store.GroupMember.Get(t.Context(), r.db, key)
		require.NoError(t, err)
		require.Equal(t, wire.GroupMember{Role: domain.RoleReadOnly, PrivateKey: &admin, SenderKey: &member}, row)
	}},
	{44, "an operation over the limit is made here", "nothing happens: the reference applies it and fails afterwards",
		func(t *testing.T, r *rig) {
			_, err := r.service.Issue(t.Context(), r.genesis.Group, admin, wire.OpGroupAliasSet{Alias: strings.Repeat("x", wire.MaxGroupOpBytes)})
			require.ErrorIs(t, err, errkind.TooLarge)
			require.ErrorContains(t, err, "signed group op payload exceeds max")
			require.Zero(t, r.logged())
		}},
	{57, "a member with a row of its own below is removed", "", func(t *testing.T, r *rig) {
		child := r.below(other)
		r.issueIn(child, member, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleMember})
		_, err := r.service.RemoveMember(t.Context(), r.genesis.Group, admin, other.Public())
		require.NoError(t, err)
		require.Equal(t, "Member", r.role(child, other))
		require.Equal(t, "none", r.role(r.genesis.Group, other))
	}},
}

func unknownGroup(t *testing.T, r *rig) {
	group := domain.GroupID{9}
	_, raw := r.signIn(group, admin, 1, wire.OpNoop{})
	_, err := r.service.Receive(t.Context(), group, "peer", [][]byte{raw})
	require.ErrorIs(t, err, errkind.NotFound)
	require.False(t, has(r, store.GroupOpHead, group))
}
