package edges_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// requests are the rows about what clients ask of a node, at its API.
var requests = []edge{
	{15, "the last admin is made a member, or a reader", "one text for both", func(_ *testing.T, r *rig) {
		for _, role := range []string{"Member", "ReadOnly"} {
			r.fails("PUT", r.path("/members/"+admin.Public().String()+"/role"), `{"role":"`+role+`"}`,
				"cannot demote the last admin of group '"+r.genesis.Group.Debug()+"'")
		}
		require.Equal(r.t, "Admin", r.role(r.genesis.Group, admin))
	}},
	{16, "a role is set that is there", "", func(t *testing.T, r *rig) {
		r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
		before := r.logged()
		r.ok("PUT", r.path("/members/"+member.Public().String()+"/role"), `{"role":"Member"}`, nil)
		require.Equal(t, before, r.logged(), "no operation")
		r.ok("PUT", r.path("/members/"+member.Public().String()+"/role"), `{"role":"ReadOnly"}`, nil)
		require.Equal(t, before+1, r.logged())
	}},
	{20, "an admin who is not on the list joins a restricted context", "", func(_ *testing.T, r *rig) {
		r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleAdmin})
		r.registered(r.genesis.Group, member, domain.VisibilityRestricted)
		r.fails("POST", r.path("/join-context"), `{"contextId":"`+room.String()+`"}`, "identity is not on the allowlist for restricted context '"+
			room.Debug()+"' (admins must be explicitly allowlisted too)")
		require.False(r.t, r.in(room))
	}},
	{21, "a new member joins an open context", "", func(_ *testing.T, r *rig) {
		group := r.grow(member, 1, nil)
		r.issueIn(group, member, wire.OpMemberAdded{Member: admin.Public(), Role: domain.RoleMember})
		r.registered(group, member, domain.VisibilityOpen)
		join := "/groups/" + group.String() + "/join-context"
		r.fails("POST", join, `{"contextId":"`+room.String()+`"}`, "identity lacks permission to join open context '"+
			room.Debug()+"' (not an admin and CAN_JOIN_OPEN_CONTEXTS is not set)")
		require.False(r.t, r.in(room))
		r.issueIn(group, member, wire.OpMemberCapabilitySet{Member: admin.Public(), Capabilities: domain.CanJoinOpenContexts})
		r.ok("POST", join, `{"contextId":"`+room.String()+`"}`, nil)
		require.True(r.t, r.in(room))
	}},
	{22, "a member by inheritance joins a context", "may, with the capability: its key is the node's, and needs no row of the group", func(t *testing.T, r *rig) {
		parent := r.grow(member, 1, nil)
		r.issueIn(parent, member, wire.OpMemberAdded{Member: admin.Public(), Role: domain.RoleMember})
		child := r.grow(member, 2, &parent)
		r.issueIn(parent, member, wire.OpSubgroupCreated{Child: child})
		r.registered(child, member, domain.VisibilityOpen)
		require.Equal(t, "Member", r.role(child, admin))
		join := "/groups/" + child.String() + "/join-context"
		r.fails("POST", join, `{"contextId":"`+room.String()+`"}`, "identity lacks permission to join open context '"+
			room.Debug()+"' (not an admin and CAN_JOIN_OPEN_CONTEXTS is not set)")
		r.issueIn(child, member, wire.OpMemberCapabilitySet{Member: admin.Public(), Capabilities: domain.CanJoinOpenContexts})
		r.ok("POST", join, `{"contextId":"`+room.String()+`"}`, nil)
		require.True(t, r.in(room))
	}},
	{23, "a fresh node joins a group", "does: the invitation has the genesis, and nobody needs to be reachable", func(t *testing.T, r *rig) {
		var made struct{ Invitation json.RawMessage }
		r.ok("POST", r.path("/invite"), `{"expirationTimestamp":3600}`, &made)
		r.lan.setCut(r.port, true)
		fresh := r.beside("fresh", &member)
		fresh.ok("POST", "/groups/join", `{"invitation":`+string(made.Invitation)+`}`, nil)
		require.Equal(t, "Member", fresh.role(r.genesis.Group, member))
		require.Equal(t, "none", r.role(r.genesis.Group, member))
		r.lan.setCut(r.port, false)
		r.eventually("the join arrives", func() bool { return r.role(r.genesis.Group, member) == "Member" })
	}},
	{29, "an unknown identity joins a context", "", func(_ *testing.T, r *rig) {
		c := r.create(true)
		fresh := r.beside("fresh", nil)
		fresh.fails("POST", "/contexts/join", r.invite(c, stranger.Public()), "missing identity for public key: "+stranger.Public().String())
	}},
	{30, "a context is joined twice", "", func(t *testing.T, r *rig) {
		c := r.create(true)
		fresh := r.beside("fresh", nil)
		who := fresh.newIdentity()
		for range 2 {
			fresh.ok("POST", "/contexts/join", r.invite(c, who), nil)
		}
		joined := created{c.ContextID, who}
		r.eventually("its state comes", func() bool {
			answer, err := fresh.call(c.ContextID, who, "get", "")
			return err == nil && string(answer.Output) == "initial"
		})
		fresh.ok("POST", "/contexts/join", r.invite(c, who), nil)
		require.Equal(t, "initial", fresh.get(joined))
		log, _, err := fresh.service.Log(t.Context(), r.genesis.Group, 0, 100)
		require.NoError(t, err)
		claims := 0
		for _, e := range log {
			if _, ok := e.Op.Body.(wire.OpMemberJoinedViaContextInvitation); ok {
				claims++
			}
		}
		require.Equal(t, 1, claims)
	}},
	{31, "two contexts of one seed", "", func(_ *testing.T, r *rig) {
		body := `{"applicationId":"` + app.String() + `","initializationParams":[],"contextSeed":"` + domain.Hash{7}.String() + `"}`
		r.ok("POST", "/contexts", body, nil)
		r.fails("POST", "/contexts", body, "seed resulted in an already existing context")
	}},
	{32, "a context of another application than its group's", "", func(t *testing.T, r *rig) {
		var c created
		r.ok("POST", "/contexts", `{"applicationId":"`+foreignApp.String()+`","initializationParams":[],"groupId":"`+r.genesis.Group.String()+`"}`, &c)
		require.Equal(t, app, r.runs(c.ContextID))
	}},
	{33, "a context of an unknown application", "nothing of it remains", func(t *testing.T, r *rig) {
		before := r.stored()
		r.fails("POST", "/contexts", `{"applicationId":"`+domain.ApplicationID{9}.String()+`","initializationParams":[]}`, "application not found")
		require.Equal(t, before, r.stored())
	}},
	{34, "init returns a value", "nothing of it remains", func(t *testing.T, r *rig) {
		before := r.stored()
		r.fails("POST", "/contexts", `{"applicationId":"`+talkingApp.String()+`","initializationParams":[]}`,
			"context initialization returned a value, but it should not: [34, 100, 111, 110, 101, 34]")
		require.Equal(t, before, r.stored())
	}},
	{35, "an unknown context is deleted", "", func(t *testing.T, r *rig) {
		var answer struct{ IsDeleted *bool }
		r.ok("DELETE", "/contexts/"+room.String(), "{}", &answer)
		require.NotNil(t, answer.IsDeleted)
		require.False(t, *answer.IsDeleted)
	}},
	{36, "a context of a group is deleted by nobody", "", func(t *testing.T, r *rig) {
		c := r.create(true)
		r.fails("DELETE", "/contexts/"+c.ContextID.String(), "{}", "requester required to delete a group context")
		require.Equal(t, "initial", r.get(c))
	}},
	{37, "a context with a group of its own is deleted", "goes as a whole, and its group with it: no key is asked for, as nobody hears of it",
		func(t *testing.T, r *rig) {
			c := r.create(false)
			group := domain.GroupID(c.ContextID)
			require.False(t, has(r, store.GroupSigningKey, store.GroupMemberKey{Group: group, Member: c.MemberPublicKey}))
			var answer struct{ IsDeleted bool }
			r.ok("DELETE", "/contexts/"+c.ContextID.String(), `{"requester":"`+c.MemberPublicKey.String()+`"}`, &answer)
			require.True(t, answer.IsDeleted)
			require.False(t, r.in(c.ContextID))
			_, err := r.service.State(t.Context(), group)
			require.ErrorIs(t, err, errkind.NotFound)
		}},
	{58, "aliases of 51 bytes, of 65 characters, and long ones in operations", "", func(t *testing.T, r *rig) {
		status, answer := r.ask("POST", "/alias/create/context", `{"alias":"`+strings.Repeat("a", 51)+`","contextId":"`+room.String()+`"}`)
		require.GreaterOrEqual(t, status, 400)
		require.Contains(t, answer, "exceeds maximum length of 50 characters")
		status, answer = r.ask("PUT", r.path("/members/"+admin.Public().String()+"/alias"), `{"alias":"`+strings.Repeat("a", 65)+`"}`)
		require.Equal(t, 400, status)
		require.Contains(t, answer, "Field 'alias' exceeds maximum length of 64 characters (got 65)")
		long := strings.Repeat("x", 60_000)
		r.issue(admin, wire.OpMemberAliasSet{Member: admin.Public(), Alias: long})
		alias, _, err := store.GroupMemberAlias.Get(t.Context(), r.db, store.GroupMemberKey{Group: r.genesis.Group, Member: admin.Public()})
		require.NoError(t, err)
		require.Equal(t, wire.Text(long), alias)
	}},
	{60, "a node without an identity lists groups", "", func(t *testing.T, r *rig) {
		nobody := r.beside("nobody", nil)
		require.NoError(t, nobody.service.Found(t.Context(), r.genesis))
		status, answer := nobody.ask("GET", "/groups", "")
		require.Equal(t, 200, status)
		require.JSONEq(t, `{"data":[]}`, answer)
		nobody.fails("GET", r.path(""), "", "node has no group identity configured")
	}},
}

// registered makes the room a context of a group, by a creator who is an admin there.
func (r *rig) registered(group domain.GroupID, creator domain.PrivateKey, mode domain.VisibilityMode) {
	r.t.Helper()
	r.issueIn(group, creator, wire.OpContextRegistered{Context: room})
	r.issueIn(group, creator, wire.OpContextVisibilitySet{Context: room, Mode: mode, Creator: creator.Public()})
}

// in tells whether a context is here.
func (r *rig) in(c domain.ContextID) bool { return has(r, store.ContextMeta, c) }

// stored is how many groups and contexts are here.
func (r *rig) stored() (n int) {
	count := func(domain.GroupID) error { n++; return nil }
	require.NoError(r.t, store.GroupMeta.ScanKeys(r.t.Context(), r.db, nil, count))
	require.NoError(r.t, store.ContextMeta.ScanKeys(r.t.Context(), r.db, nil, func(domain.ContextID) error { n++; return nil }))
	require.NoError(r.t, store.ContextIdentity.ScanKeys(r.t.Context(), r.db, nil, func(store.IdentityKey) error { n++; return nil }))
	return n
}
