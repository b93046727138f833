package api_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/admin"
	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/api/authroutes"
	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/identity"
	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

var (
	nodeKey = domain.PrivateKey{0x42}
	annKey  = domain.PrivateKey{0x43}
)

// alone is a network without anybody.
type alone struct{ joined []membership.GroupInvitation }

func (a *alone) InviteToGroup(_ context.Context, r membership.GroupInvite) (*membership.GroupInvitation, error) {
	i := wire.GroupInvitation{Inviter: r.Inviter.Public(), Target: r.Group, Expiration: uint64(r.Valid.Seconds())}
	if r.OneUse {
		copy(i.Salt[:], wire.OneUseSalt)
	}
	signature, err := i.Sign(r.Inviter)
	if err != nil {
		return nil, err
	}
	made, err := wire.GroupGenesis{Creator: r.Inviter.Public()}.Sign(r.Inviter, nil)
	if err != nil {
		return nil, err
	}
	genesis, err := wire.VouchFor(made, i.Hash(), r.Inviter)
	alias := "team"
	return &membership.GroupInvitation{
		SignedGroupInvitation: wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}, Alias: &alias, Genesis: &genesis,
	}, err
}

func (a *alone) JoinGroup(_ context.Context, inv membership.GroupInvitation, joiner domain.PrivateKey) (membership.JoinedGroup, error) {
	a.joined = append(a.joined, inv)
	return membership.JoinedGroup{Group: inv.Invitation.Target, Member: joiner.Public()}, nil
}

func (a *alone) JoinGroupContext(_ context.Context, _ domain.GroupID, c domain.ContextID, _ domain.PrivateKey) error {
	if c == ctxB {
		return errkind.PermissionDenied.Errorf("identity is not on the allowlist for restricted context '%s' (admins must be explicitly "+
			"allowlisted too)", c.Debug())
	}
	return nil
}

func (a *alone) Follow(context.Context, domain.GroupID) error { return nil }

// governed is a server over real groups of one node.
type governed struct {
	*world
	t      *testing.T
	groups *groups.Service
	flows  struct{ *admin.Service }
	alone  *alone
	group  string // path of a group
	id     domain.GroupID
}

func newGoverned(t *testing.T, change func(*api.Deps)) *governed {
	g := &governed{t: t, alone: &alone{}}
	g.world = newWorld(t, allOn(), func(d *api.Deps) {
		d.Groups = &g.flows
		if change != nil {
			change(d)
		}
	})
	g.groups = groups.New(groups.Options{DB: g.db})
	g.flows.Service = admin.New(admin.Options{
		DB: g.db, Groups: g.groups, Peers: g.alone, Identity: identity.NewNode(g.db, nodeKey),
	})
	b := g.db.Batch()
	store.Application.Put(b, appA, wire.ApplicationRecord{})
	require.NoError(t, b.Commit(t.Context()))
	var made struct{ Data schema.GroupRef }
	a := g.post(t, "/admin-api/groups", `{"applicationId":"`+appA.String()+`","upgradePolicy":"Automatic","alias":"team"}`)
	require.Equal(t, 200, a.status, a.body)
	require.NoError(t, json.Unmarshal([]byte(a.body), &made))
	g.id = made.Data.GroupID
	g.group = "/admin-api/groups/" + g.id.String()
	return g
}

func (g *governed) issue(body wire.GroupOp) {
	_, err := g.groups.Issue(g.t.Context(), g.id, nodeKey, body)
	require.NoError(g.t, err)
}

// ask sends a JSON body to a path below the group.
func (g *governed) ask(method, path, body string) answer {
	return g.do(g.t, method, g.group+path, jsonType, body)
}

// null requires a request to be answered null.
func (g *governed) null(method, path, body string) {
	g.t.Helper()
	requireAnswer(g.t, g.ask(method, path, body), 200, "null")
}

func (g *governed) fails(method, path, body string, status int, text string) {
	g.t.Helper()
	requireAnswer(g.t, g.ask(method, path, body), status, `{"error":`+encoded(g.t, text)+`}`)
}

func encoded(t testing.TB, text string) string {
	t.Helper()
	raw, err := schema.Encode(text)
	require.NoError(t, err)
	return string(raw)
}

func TestGroups(t *testing.T) {
	t.Parallel()
	g := newGoverned(t, nil)
	node, appKey := nodeKey.Public(), ""
	{
		genesis, err := g.groups.Genesis(t.Context(), g.id)
		require.NoError(t, err)
		appKey = hex.EncodeToString(genesis.AppKey[:])
	}
	requireAnswer(t, g.ask("GET", "", ""), 200, `{"data":{"groupId":"`+g.id.String()+`","appKey":"`+appKey+`","targetApplicationId":"`+
		appA.String()+`","upgradePolicy":"Automatic","memberCount":1,"contextCount":0,"defaultCapabilities":0,"defaultVisibility":"open","alias":"team"}}`)
	list := g.get(t, "/admin-api/groups")
	require.Contains(t, list.body, `{"data":[{"groupId":"`+g.id.String()+`","appKey":"`+appKey+`"`)
	require.Contains(t, list.body, `"createdAt":1`)
	requireAnswer(t, g.get(t, "/admin-api/groups?offset=1&limit=5"), 200, `{"data":[]}`)
	require.Equal(t, 400, g.get(t, "/admin-api/groups?offset=-1").status)
	requireAnswer(t, g.ask("POST", "/sync", "{}"), 200, `{"data":{"groupId":"`+g.id.String()+`","appKey":"`+appKey+`","targetApplicationId":"`+
		appA.String()+`","memberCount":1,"contextCount":0}}`)

	g.null("PATCH", "", `{"upgradePolicy":{"Coordinated":{"deadline":{"secs":60,"nanos":0}}}}`)
	g.null("PUT", "/alias", `{"alias":"crew"}`)
	g.null("PUT", "/settings/default-capabilities", `{"defaultCapabilities":4}`)
	g.null("PUT", "/settings/default-visibility", `{"defaultVisibility":"restricted"}`)
	g.null("PUT", "/settings/tee-admission-policy", `{"allowedMrtd":["ab"],"acceptMock":true}`)
	info := g.ask("GET", "", "").body
	require.Contains(t, info, `"upgradePolicy":{"Coordinated":{"deadline":{"secs":60,"nanos":0}}}`)
	require.Contains(t, info, `"defaultCapabilities":4,"defaultVisibility":"restricted","alias":"crew"`)
	state, err := g.groups.State(t.Context(), g.id)
	require.NoError(t, err)
	require.Equal(t, []string{"ab"}, state.TeePolicies[0].MRTD)

	g.fails("PUT", "/alias", `{"alias":"crew","requester":"`+annKey.Public().String()+`"}`, 500,
		"node does not hold a signing key for requester in group '"+g.id.Debug()+"'; register one via POST "+g.group+"/signing-key")
	g.fails("PUT", "/alias", `{"alias":""}`, 400, "Field 'alias' is required but was empty")
	g.fails("DELETE", "", "", 400, "JSON syntax error: Failed to parse the request body as JSON: EOF while parsing a value at line 1 column 0")
	for path, text := range map[string]string{
		"/admin-api/groups/xyz":  "Invalid group id format: expected hex-encoded 32 bytes",
		"/admin-api/groups/abcd": "Invalid group id: must be exactly 32 bytes",
	} {
		requireAnswer(t, g.get(t, path), 400, `{"error":"`+text+`"}`)
	}
	for body, text := range map[string]string{
		`"appKey":"zz"`:       "Invalid app_key: expected hex-encoded 32 bytes",
		`"groupId":"ab"`:      "Invalid group_id: must be exactly 32 bytes",
		`"parentGroupId":"z"`: "Invalid parent_group_id: expected hex-encoded 32 bytes",
	} {
		a := g.post(t, "/admin-api/groups", `{"applicationId":"`+appA.String()+`","upgradePolicy":"Automatic",`+body+`}`)
		requireAnswer(t, a, 400, `{"error":"`+text+`"}`)
	}
	given := strings.Repeat("aa", 32)
	a := g.post(t, "/admin-api/groups", `{"applicationId":"`+appA.String()+`","upgradePolicy":"LazyOnAccess","groupId":"`+given+`","parentGroupId":"`+g.id.String()+`"}`)
	requireAnswer(t, a, 200, `{"data":{"groupId":"`+given+`"}}`)
	require.Contains(t, g.ask("GET", "", "").body, `"subgroupIds":["`+given+`"]`)
	g.null("POST", "/subgroups/"+given+"/remove", "{}")
	g.fails("POST", "/subgroups/"+given+"/remove", "{}", 500, "the child group is not a subgroup of this group")

	log := g.get(t, g.group+"/log?limit=2")
	require.Equal(t, 200, log.status, log.body)
	var page struct{ Data schema.GroupLog }
	require.NoError(t, json.Unmarshal([]byte(log.body), &page))
	require.EqualValues(t, 7, page.Data.Total)
	require.Len(t, page.Data.Operations, 2)
	first := page.Data.Operations[0]
	require.Equal(t, schema.LoggedOperation{
		Sequence: 1, ID: first.ID, Parents: []domain.Hash{}, Author: node, Nonce: 1, Operation: "UpgradePolicySet",
		What: "set the upgrade policy to Coordinated within 60 s", Verdict: "APPLIED", Reason: "counts",
	}, first)
	require.Equal(t, []domain.Hash{first.ID}, page.Data.Operations[1].Parents)

	requireAnswer(t, g.ask("DELETE", "", "{}"), 200, `{"data":{"isDeleted":true}}`)
	g.fails("GET", "", "", 500, "group '"+g.id.Debug()+"' not found")
	require.Equal(t, 200, g.get(t, g.group+"/log").status)
}

// TestGroups_Geneses: of two geneses that contradict each other one is chosen.
func TestGroups_Geneses(t *testing.T) {
	t.Parallel()
	g := newGoverned(t, nil)
	given := domain.GroupID{0xaa}
	alias, otherApp, parent := "other", domain.ApplicationID{9}, g.id
	var ids []string
	for i, genesis := range []wire.GroupGenesis{{CreatedAt: 5, Target: appA}, {CreatedAt: 6, Target: otherApp, Alias: &alias, Parent: &parent}} {
		genesis.Kind, genesis.Group = wire.GenesisVouched, given
		key := domain.PrivateKey{byte(i + 1)}
		genesis.Creator = key.Public()
		genesis, err := genesis.Sign(key, nil)
		require.NoError(t, err)
		hash, err := genesis.Hash()
		require.NoError(t, err)
		ids = append(ids, hash.String())
		require.Equal(t, i == 1, g.groups.Found(t.Context(), genesis) != nil)
	}
	g.id, g.group = given, "/admin-api/groups/"+given.String()
	first := `{"id":"` + ids[0] + `","kept":%t,"creator":"` + domain.PrivateKey{1}.Public().String() + `","createdAt":5,"targetApplicationId":"` +
		appA.String() + `","memberCount":1,"countingOperations":0,"operations":0}`
	second := `{"id":"` + ids[1] + `","kept":%t,"creator":"` + domain.PrivateKey{2}.Public().String() + `","createdAt":6,"targetApplicationId":"` +
		otherApp.String() + `","alias":"other","parentGroupId":"` + parent.String() + `","memberCount":1,"countingOperations":0,"operations":0}`
	requireAnswer(t, g.ask("GET", "/genesis", ""), 200, fmt.Sprintf(`{"data":{"chosen":false,"geneses":[`+first+`,`+second+`]}}`, true, false))
	g.fails("POST", "/genesis", `{"genesis":"`+domain.Hash{9}.String()+`"}`, 500, "group '"+given.Debug()+"' has no genesis "+domain.Hash{9}.String())
	require.Equal(t, 400, g.ask("POST", "/genesis", `{"genesis":"x"}`).status)
	require.Equal(t, 400, g.ask("POST", "/genesis", `{}`).status)
	g.null("POST", "/genesis", `{"genesis":"`+ids[1]+`"}`)
	requireAnswer(t, g.ask("GET", "/genesis", ""), 200, fmt.Sprintf(`{"data":{"chosen":true,"geneses":[`+second+`,`+first+`]}}`, true, false))
}

func TestGroups_Members(t *testing.T) {
	t.Parallel()
	g := newGoverned(t, nil)
	ann, node := annKey.Public(), nodeKey.Public()
	g.null("POST", "/members", `{"members":[{"identity":"`+ann.String()+`","role":"ReadOnly"}]}`)
	members := []string{`{"identity":"` + node.String() + `","role":"Admin"}`, `{"identity":"` + ann.String() + `","role":"ReadOnly"}`}
	if ann.Compare(node) < 0 {
		members[0], members[1] = members[1], members[0]
	}
	requireAnswer(t, g.ask("GET", "/members", ""), 200, `{"data":[`+strings.Join(members, ",")+`],"selfIdentity":"`+node.String()+`"}`)
	requireAnswer(t, g.ask("GET", "/members?offset=1&limit=1", ""), 200, `{"data":[`+members[1]+`],"selfIdentity":"`+node.String()+`"}`)

	inHex := hex.EncodeToString(ann[:])
	g.null("PUT", "/members/"+inHex+"/role", `{"role":"Member"}`)
	g.null("PUT", "/members/"+ann.String()+"/alias", `{"alias":"ann"}`)
	requireAnswer(t, g.ask("GET", "/members/"+inHex+"/capabilities", ""), 200, `{"data":{"capabilities":0}}`)
	g.null("PUT", "/members/"+inHex+"/capabilities", `{"capabilities":9}`)
	requireAnswer(t, g.ask("GET", "/members/"+ann.String()+"/capabilities", ""), 200, `{"data":{"capabilities":9}}`)
	require.Contains(t, g.ask("GET", "/members", "").body, `"role":"Member","alias":"ann"`)
	for _, path := range []string{"role", "alias", "capabilities"} {
		g.fails("PUT", "/members/xyz/"+path, "{}", 400, "Invalid identity format: expected public key or hex-encoded 32 bytes")
	}
	g.fails("PUT", "/members/"+node.String()+"/role", `{"role":"Member"}`, 500, "cannot demote the last admin of group '"+g.id.Debug()+"'")

	key := `{"signingKey":"` + hex.EncodeToString(annKey[:]) + `"}`
	requireAnswer(t, g.ask("POST", "/signing-key", key), 200, `{"data":{"publicKey":"`+ann.String()+`"}}`)
	g.fails("POST", "/signing-key", `{"signingKey":"zz"}`, 400, "Invalid signing_key: expected hex-encoded 32 bytes")
	g.null("POST", "/members/remove", `{"members":["`+ann.String()+`"]}`)
	g.fails("POST", "/signing-key", key, 403, "Identity derived from signing key is not a member of this group")
	g.fails("POST", "/members/remove", `{"members":[]}`, 400, "Field 'members' is required but was empty")
	g.fails("POST", "/members/remove", `{"members":["`+node.String()+`"]}`, 500,
		"cannot remove all admins from group '"+g.id.Debug()+"': at least one admin must remain")
}

// TestGroups_Requester: a caller whose token is for a key acts as that key, whatever the body says.
func TestGroups_Requester(t *testing.T) {
	t.Parallel()
	ann := annKey.Public()
	var caller *domain.PublicKey
	g := newGoverned(t, func(d *api.Deps) {
		d.Guard = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r.WithContext(authroutes.With(r.Context(), &authroutes.Identity{PublicKey: caller})))
			})
		}
	})
	g.null("POST", "/members", `{"members":[{"identity":"`+ann.String()+`","role":"Member"}]}`)
	require.Equal(t, 200, g.ask("POST", "/signing-key", `{"signingKey":"`+hex.EncodeToString(annKey[:])+`"}`).status)
	caller = &ann
	denied := "requester is not an admin of group '" + g.id.Debug() + "'"
	g.fails("PUT", "/settings/default-capabilities", `{"defaultCapabilities":1,"requester":"`+nodeKey.Public().String()+`"}`, 500, denied)
	g.null("PUT", "/alias", `{"alias":"x","requester":"`+nodeKey.Public().String()+`"}`)
}

func TestGroups_Contexts(t *testing.T) {
	t.Parallel()
	g := newGoverned(t, nil)
	node, ann := nodeKey.Public(), annKey.Public()
	g.issue(wire.OpContextRegistered{Context: ctxA})
	g.issue(wire.OpContextVisibilitySet{Context: ctxA, Creator: node})
	inHex := hex.EncodeToString(ctxA[:])
	g.null("PUT", "/contexts/"+ctxA.String()+"/alias", `{"alias":"room"}`)
	requireAnswer(t, g.ask("GET", "/contexts", ""), 200, `{"data":[{"contextId":"`+inHex+`","alias":"room"}]}`)
	requireAnswer(t, g.ask("GET", "/contexts/"+inHex+"/visibility", ""), 200, `{"data":{"mode":"open","creator":"`+node.String()+`"}}`)
	g.null("PUT", "/contexts/"+inHex+"/visibility", `{"mode":"restricted"}`)
	requireAnswer(t, g.ask("GET", "/contexts/"+ctxA.String()+"/visibility", ""), 200, `{"data":{"mode":"restricted","creator":"`+node.String()+`"}}`)
	g.null("POST", "/contexts/"+inHex+"/allowlist", `{"add":["`+ann.String()+`"],"remove":["`+node.String()+`"]}`)
	requireAnswer(t, g.ask("GET", "/contexts/"+inHex+"/allowlist", ""), 200, `{"data":["`+ann.String()+`"]}`)
	g.fails("POST", "/contexts/"+inHex+"/allowlist", `{}`, 400, "Field 'add/remove' is required but was empty")
	g.fails("GET", "/contexts/xyz/allowlist", "", 400, "Invalid context id format: expected base58 or hex-encoded 32 bytes")
	g.fails("GET", "/contexts/abcd/visibility", "", 400, "Invalid context id: must be exactly 32 bytes")
	g.fails("POST", "/contexts/xyz/remove", "{}", 400, "Invalid context_id format")

	requireAnswer(t, g.ask("POST", "/join-context", `{"contextId":"`+ctxA.String()+`"}`), 200,
		`{"data":{"contextId":"`+ctxA.String()+`","memberPublicKey":"`+node.String()+`"}}`)
	g.fails("POST", "/join-context", `{"contextId":"`+ctxB.String()+`"}`, 500, "identity is not on the allowlist for restricted context '"+
		ctxB.Debug()+"' (admins must be explicitly allowlisted too)")

	grant := `{"capabilities":[["` + ann.String() + `","ManageMembers"]],"signer_id":"` + node.String() + `"}`
	path := "/admin-api/contexts/" + ctxA.String() + "/capabilities/"
	requireAnswer(t, g.post(t, path+"grant", grant), 500, `{"error":"context '`+ctxA.String()+`' is not registered in any group"}`)
	b := g.db.Batch()
	store.ContextGroup.Put(b, ctxA, wire.ID32(g.id))
	require.NoError(t, b.Commit(t.Context()))
	requireAnswer(t, g.post(t, path+"grant", grant), 200, "null")
	requireAnswer(t, g.post(t, path+"revoke", grant), 200, "null")
	log := g.get(t, g.group+"/log").body
	require.Contains(t, log, "grant "+ann.String()+" ManageMembers in context "+ctxA.String())
	require.Contains(t, log, "revoke ManageMembers of "+ann.String()+" in context "+ctxA.String())

	g.fails("DELETE", "", "{}", 500, "cannot delete group '"+g.id.Debug()+"': still has 1 associated context(s)")
	g.null("POST", "/contexts/"+ctxA.String()+"/remove", "{}")
	g.fails("POST", "/contexts/"+ctxA.String()+"/remove", "{}", 500,
		"context '"+ctxA.String()+"' does not belong to group '"+g.id.Debug()+"'")
}

// TestGroups_Invitations: what one node's answer says, another's request means.
func TestGroups_Invitations(t *testing.T) {
	t.Parallel()
	g := newGoverned(t, nil)
	a := g.ask("POST", "/invite", `{"expirationTimestamp":60,"oneUse":true}`)
	require.Equal(t, 200, a.status, a.body)
	var made struct {
		Data struct {
			Invitation json.RawMessage
			GroupAlias string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(a.body), &made))
	require.Equal(t, "team", made.Data.GroupAlias)
	var signed schema.SignedGroupOpenInvitation
	require.NoError(t, json.Unmarshal(made.Data.Invitation, &signed))
	require.EqualValues(t, 60, signed.Invitation.ExpirationTimestamp)
	require.Equal(t, []byte(wire.OneUseSalt), signed.Invitation.SecretSalt[:8])

	requireAnswer(t, g.post(t, "/admin-api/groups/join", `{"invitation":`+string(made.Data.Invitation)+`}`), 200,
		fmt.Sprintf(`{"data":{"groupId":"%s","memberIdentity":"%s"}}`, g.id, nodeKey.Public()))
	joined := g.alone.joined[0]
	require.NoError(t, joined.Verify())
	require.NoError(t, joined.Genesis.Verify(joined.Genesis.Genesis.Group, joined.Invitation.Hash(), nodeKey.Public()))
	require.Equal(t, g.id, joined.Invitation.Target)
	requireAnswer(t, g.post(t, "/admin-api/groups/join", `{"invitation":{"invitation":{},"inviter_signature":""}}`), 400,
		"{\"error\":\"Invalid JSON data: Failed to deserialize the JSON body into the target type: invitation.invitation: missing field `inviter_identity` at line 1 column 30\"}")

	g.null("POST", "/invite/close", `{"invitation":`+string(made.Data.Invitation)+`}`)
	state, err := g.groups.State(t.Context(), g.id)
	require.NoError(t, err)
	require.True(t, state.Closed[joined.Invitation.Hash()])
	a = g.do(t, "POST", "/admin-api/groups/"+strings.Repeat("ab", 32)+"/invite/close", jsonType, `{"invitation":`+string(made.Data.Invitation)+`}`)
	requireAnswer(t, a, 400, `{"error":"the invitation is to another group"}`)
}

// fakeUpgrades answers what it is told.
type fakeUpgrades struct {
	upgrade wire.GroupUpgrade
	migrate *string
}

func (f *fakeUpgrades) Upgrade(_ context.Context, _ domain.GroupID, _ domain.ApplicationID, migrate *string, _ *domain.PublicKey) (wire.GroupUpgradeStatus, error) {
	f.migrate = migrate
	return f.upgrade.Status, nil
}

func (f *fakeUpgrades) Status(context.Context, domain.GroupID) (*wire.GroupUpgrade, error) {
	return &f.upgrade, nil
}

func (f *fakeUpgrades) Retry(context.Context, domain.GroupID, *domain.PublicKey) (wire.GroupUpgradeStatus, error) {
	return f.upgrade.Status, errkind.Precondition.Errorf("upgrade is already completed")
}

func TestGroups_Upgrades(t *testing.T) {
	t.Parallel()
	f := &fakeUpgrades{upgrade: wire.GroupUpgrade{
		FromVersion: "1", ToVersion: "2", InitiatedAt: 5, InitiatedBy: keyA, Status: wire.GroupUpgradeStatus{Total: 3, Finished: 1},
	}}
	g := newGoverned(t, func(d *api.Deps) { d.Upgrades = f })
	requireAnswer(t, g.ask("POST", "/upgrade", `{"targetApplicationId":"`+appA.String()+`","migrateMethod":"m"}`), 200,
		`{"data":{"groupId":"`+g.id.String()+`","status":"in_progress","total":3,"completed":1,"failed":0}}`)
	require.Equal(t, "m", *f.migrate)
	requireAnswer(t, g.ask("GET", "/upgrade/status", ""), 200, `{"data":{"fromVersion":"1","toVersion":"2","initiatedAt":5,"initiatedBy":"`+
		keyA.String()+`","status":"in_progress","total":3,"completed":1,"failed":0,"completedAt":null}}`)
	at := uint64(9)
	f.upgrade.Status = wire.GroupUpgradeStatus{Completed: true, CompletedAt: &at}
	requireAnswer(t, g.ask("GET", "/upgrade/status", ""), 200, `{"data":{"fromVersion":"1","toVersion":"2","initiatedAt":5,"initiatedBy":"`+
		keyA.String()+`","status":"completed","total":null,"completed":null,"failed":null,"completedAt":9}}`)
	g.fails("POST", "/upgrade/retry", "{}", 500, "upgrade is already completed")
}

// TestGroups_Without: a server without groups says so, on every route.
func TestGroups_Without(t *testing.T) {
	t.Parallel()
	w := newWorld(t, allOn(), nil)
	id := strings.Repeat("ab", 32)
	for _, r := range api.Routes() {
		if !strings.Contains(r.Pattern, "/groups") {
			continue
		}
		path := strings.NewReplacer("{group_id}", id, "{child_id}", id, "{context_id}", id, "{identity}", id).Replace(r.Pattern)
		a := w.do(t, r.Method, path, jsonType, "{}")
		require.Equal(t, 500, a.status, "%s %s: %s", r.Method, r.Pattern, a.body)
		require.Contains(t, a.body, "is not available in this version", "%s %s", r.Method, r.Pattern)
	}
}
