package edges_test

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// groupUpgrades are the rows about upgrades of groups.
var groupUpgrades = []edge{
	{52, "an upgrade to the application that is there", "", func(_ *testing.T, r *rig) {
		r.create(true)
		r.fails("POST", r.path("/upgrade"), upgradeTo(app, ""), "group is already targeting this application and no migration was requested")
	}},
	{53, "an upgrade while another one goes on", "", func(t *testing.T, r *rig) {
		r.hold = make(chan struct{})
		a, b := r.create(true), r.create(true)
		r.ok("POST", r.path("/upgrade"), upgradeTo(nextApp, ""), nil)
		r.fails("POST", r.path("/upgrade"), upgradeTo(app, ""), "an upgrade is already in progress for this group")
		close(r.hold)
		r.eventually("it ends", func() bool {
			row, err := r.upgrades.Status(t.Context(), r.genesis.Group)
			require.NoError(t, err)
			return row.Status.Completed
		})
		require.Equal(t, nextApp, r.runs(a.ContextID))
		require.Equal(t, nextApp, r.runs(b.ContextID))
	}},
	{54, "nobody here may migrate the first context", "leaves nothing: what goes on for ever cannot be ended by anybody", func(t *testing.T, r *rig) {
		r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleAdmin})
		var c created
		r.ok("POST", "/contexts", `{"applicationId":"`+app.String()+`","initializationParams":[],"groupId":"`+r.genesis.Group.String()+
			`","identitySecret":"`+hex.EncodeToString(member[:])+`"}`, &c)
		r.issue(admin, wire.OpMemberRemoved{Member: member.Public()})
		before := r.logged()
		for range 2 {
			r.fails("POST", r.path("/upgrade"), upgradeTo(nextApp, "migrate"), "canary upgrade failed on context "+c.ContextID.String()+
				": this node has no identity in context "+c.ContextID.String())
		}
		require.Equal(t, before, r.logged())
		require.False(t, has(r, store.GroupUpgrade, r.genesis.Group))
		r.ok("POST", r.path("/upgrade"), upgradeTo(nextApp, ""), nil)
		require.Equal(t, nextApp, r.runs(c.ContextID))
	}},
	{55, "an upgrade to an application of another signer", "the group is not told", func(t *testing.T, r *rig) {
		c := r.create(true)
		before := r.logged()
		r.fails("POST", r.path("/upgrade"), upgradeTo(foreignApp, ""), "canary upgrade failed on context "+c.ContextID.String()+": AppKey continuity "+
			"violation: signerId mismatch. Cannot update from signerId 'did:key:a' to signerId 'did:key:b'. The same signing key must be used for application updates.")
		require.Equal(t, before, r.logged())
		require.Equal(t, app, r.runs(c.ContextID))
	}},
	{56, "an upgrade on access fails", "the context says why, and does not run the migration at every call", func(t *testing.T, r *rig) {
		c := r.create(true)
		r.ok("PATCH", r.path(""), `{"upgradePolicy":"LazyOnAccess"}`, nil)
		r.ok("POST", r.path("/upgrade"), upgradeTo(nextApp, "no_such_method"), nil)
		require.Equal(t, "initial", r.get(c))
		_, err := r.call(c.ContextID, c.MemberPublicKey, "set", "goes on")
		require.NoError(t, err)
		require.Equal(t, "goes on", r.get(c))
		require.Equal(t, app, r.runs(c.ContextID))
		var info struct{ UpgradeError string }
		r.ok("GET", "/contexts/"+c.ContextID.String(), "", &info)
		require.Contains(t, info.UpgradeError, "no_such_method")
	}},
}

func upgradeTo(target domain.ApplicationID, method string) string {
	if method == "" {
		return `{"targetApplicationId":"` + target.String() + `"}`
	}
	return `{"targetApplicationId":"` + target.String() + `","migrateMethod":"` + method + `"}`
}
