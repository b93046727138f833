package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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

// The world is also the network of its node, without anybody in it, and its upgrades.

func (w *world) InviteToGroup(_ context.Context, r membership.GroupInvite) (*membership.GroupInvitation, error) {
	i := wire.GroupInvitation{Inviter: r.Inviter.Public(), Target: r.Group, Expiration: uint64(r.Valid.Seconds())}
	if r.OneUse {
		copy(i.Salt[:], wire.OneUseSalt)
	}
	signature, err := i.Sign(r.Inviter)
	return &membership.GroupInvitation{SignedGroupInvitation: wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}}, err
}

func (w *world) JoinGroup(_ context.Context, inv membership.GroupInvitation, joiner domain.PrivateKey) (membership.JoinedGroup, error) {
	return membership.JoinedGroup{Group: inv.Invitation.Target, Member: joiner.Public()}, inv.Verify()
}

func (w *world) JoinGroupContext(context.Context, domain.GroupID, domain.ContextID, domain.PrivateKey) error {
	return nil
}

func (w *world) Follow(context.Context, domain.GroupID) error   { return nil }
func (w *world) Unfollow(context.Context, domain.GroupID) error { return nil }

func (w *world) Upgrade(_ context.Context, _ domain.GroupID, target domain.ApplicationID, migrate *string, _ *domain.PublicKey) (wire.GroupUpgradeStatus, error) {
	if target != appID || migrate == nil {
		return wire.GroupUpgradeStatus{}, errkind.NotFound.Errorf("target application not found")
	}
	return wire.GroupUpgradeStatus{Total: 3, Finished: 1}, nil
}

func (w *world) Status(_ context.Context, id domain.GroupID) (*wire.GroupUpgrade, error) {
	if id == (domain.GroupID{}) {
		return nil, nil
	}
	return &wire.GroupUpgrade{FromVersion: "1", ToVersion: "2", Status: wire.GroupUpgradeStatus{Completed: true}}, nil
}

func (w *world) Retry(context.Context, domain.GroupID, *domain.PublicKey) (wire.GroupUpgradeStatus, error) {
	return wire.GroupUpgradeStatus{}, errkind.Precondition.Errorf("upgrade is already completed")
}

// newGroup creates a group with meroctl.
func (w *world) newGroup(args ...string) domain.GroupID {
	w.t.Helper()
	b := w.db.Batch()
	store.Application.Put(b, appID, wire.ApplicationRecord{})
	require.NoError(w.t, b.Commit(w.t.Context()))
	var made struct {
		Data struct{ GroupID domain.GroupID }
	}
	answer := w.json(append([]string{"group", "create", "--application-id", appID.String()}, args...)...)
	require.NoError(w.t, json.Unmarshal([]byte(answer), &made))
	return made.Data.GroupID
}

func (w *world) failed(status int, text string, args ...string) {
	w.t.Helper()
	r := w.run(args...)
	require.Equal(w.t, status, r.status, r.errs)
	require.Contains(w.t, r.errs, text)
}

func TestGroups(t *testing.T) {
	w := newWorld(t, false)
	id := w.newGroup("--alias", "team", "--upgrade-policy", "coordinated", "--deadline-secs", "60").String()
	require.Equal(t, []string{"GROUP", "ALIAS", "APPLICATION", "UPGRADE", "POLICY", id, "team", appID.String(),
		`{"Coordinated":{"deadline":{"secs":60,"nanos":0}}}`}, strings.Fields(w.ok("group", "ls")))
	require.Equal(t, `{"data":[]}`, w.json("group", "list", "--offset", "1"))
	require.Contains(t, w.ok("group", "get", id), "new contexts are  open")
	require.Contains(t, w.ok("group", "update", id, "--upgrade-policy", "automatic"), "the upgrade policy is Automatic")
	require.Equal(t, "null", w.json("group", "set-alias", id, "crew"))
	require.Contains(t, w.ok("group", "sync", id), id)
	w.failed(1, "--deadline-secs is for", "group", "update", id, "--upgrade-policy", "automatic", "--deadline-secs", "1")
	w.failed(2, "must be one of", "group", "update", id, "--upgrade-policy", "x")
	w.failed(1, `group id "xyz"`, "group", "get", "xyz")
	w.failed(101, "does not hold a signing key", "group", "set-alias", id, "x", "--requester", annKey.Public().String())

	child := w.newGroup("--parent-group-id", id, "--group-id", strings.Repeat("ab", 32)).String()
	require.Equal(t, strings.Repeat("ab", 32), child)
	require.Contains(t, w.ok("group", "get", id), "subgroup          "+child)
	require.Contains(t, w.ok("group", "remove-subgroup", id, child), "no subgroup any more")

	require.Contains(t, w.ok("group", "settings", "set-default-caps", id, "--can-join-open-contexts", "--manage-members"),
		"new members may: join-open-contexts, manage-members")
	require.Contains(t, w.ok("group", "settings", "set-default-vis", id, "--mode", "restricted"), "restricted")
	require.Equal(t, `{"defaultCapabilities":12,"defaultVisibility":"restricted","upgradePolicy":"Automatic"}`, w.json("group", "settings", "get", id))
	require.Contains(t, w.ok("group", "settings", "get", id), "new contexts are  restricted")
	require.Contains(t, w.ok("group", "settings", "set-tee-admission-policy", id, "--mrtd", "ab,cd", "--accept-mock"), "the policy is set")

	log := strings.Split(strings.TrimSpace(w.ok("group", "log", id)), "\n")
	require.Len(t, log, 8)
	require.Contains(t, log[0], "VERDICT")
	require.Contains(t, log[1], "set the upgrade policy to Automatic")
	require.Contains(t, log[7], "set the policy for attested nodes")
	require.Contains(t, log[7], "APPLIED  counts")
	require.Contains(t, w.json("group", "log", id, "--limit", "1"), `"total":7,"operations":[{`)

	require.Contains(t, w.ok("group", "delete", id), "the group is deleted")
	w.failed(101, "not found", "group", "get", id)
	require.Contains(t, w.ok("group", "log", id), "delete the group")
}

func TestGroups_Members(t *testing.T) {
	w := newWorld(t, false)
	id, ann := w.newGroup().String(), annKey.Public()
	annHex := hex.EncodeToString(ann[:])
	require.Contains(t, w.ok("group", "members", "add", id, annHex, "read-only"), ann.String()+" is ReadOnly")
	require.Contains(t, w.ok("group", "members", "set-role", id, ann.String(), "member"), "is Member")
	require.Contains(t, w.ok("group", "members", "set-alias", id, ann.String(), "ann"), "is named ann")
	require.Contains(t, w.ok("group", "members", "ls", id), ann.String()+"  Member  ann")
	require.Contains(t, w.ok("group", "members", "get-caps", id, ann.String()), "nothing")
	require.Contains(t, w.ok("group", "members", "set-caps", id, ann.String(), "--can-create-context", "--can-invite-members"),
		"may: create-context, invite-members")
	require.Equal(t, `{"data":{"capabilities":3}}`, w.json("group", "members", "get-capabilities", id, ann.String()))
	require.Contains(t, w.ok("group", "signing-key", "register", id, hex.EncodeToString(annKey[:])), ann.String())
	w.failed(101, "requester is not an admin", "group", "set-alias", id, "x", "--requester", ann.String())
	w.failed(1, `member "x"`, "group", "members", "add", id, "x")
	w.failed(2, "must be one of", "group", "members", "add", id, ann.String(), "owner")
	require.Contains(t, w.ok("group", "members", "remove", id, ann.String()), "removed: 1")
	require.NotContains(t, w.ok("group", "members", "list", id), ann.String())
}

func TestGroups_Contexts(t *testing.T) {
	w := newWorld(t, false)
	group := w.newGroup()
	id, ann, node := group.String(), annKey.Public(), nodeKey.Public()
	for _, body := range []wire.GroupOp{
		wire.OpContextRegistered{Context: ctxID}, wire.OpContextVisibilitySet{Context: ctxID, Creator: node},
		wire.OpMemberAdded{Member: ann, Role: domain.RoleMember},
	} {
		_, err := w.groups.Issue(t.Context(), group, nodeKey, body)
		require.NoError(t, err)
	}
	c := ctxID.String()
	require.Contains(t, w.ok("group", "contexts", "set-alias", id, c, "room"), "is named room")
	require.Contains(t, w.ok("group", "contexts", "ls", id), c+"  room")
	require.Contains(t, w.ok("group", "contexts", "get-vis", id, c), "open        "+node.String())

	check := func(key domain.PublicKey) string {
		return w.ok("group", "members", "check-access", id, c, key.String())
	}
	require.Equal(t, "yes: the context is open, and the member is an admin\n", check(node))
	require.Equal(t, "no: the context is open, and the member may not join open contexts\n", check(ann))
	require.Contains(t, check(domain.PublicKey{1}), "no: it is no member of this group")
	w.ok("group", "members", "set-caps", id, ann.String(), "--can-join-open-contexts")
	require.Equal(t, "yes: the context is open, and the member may join such\n", check(ann))
	require.Contains(t, w.ok("group", "contexts", "set-vis", id, c, "--mode", "restricted"), "the context is restricted")
	require.Contains(t, check(ann), "not on its allowlist")
	require.Equal(t, `{"allowed":false}`, w.json("group", "contexts", "allowlist", "check", id, c, ann.String()))
	require.Contains(t, w.ok("group", "contexts", "allowlist", "add", id, c, ann.String()), "added: 1")
	require.Contains(t, check(ann), "yes: the context is restricted")
	require.Contains(t, w.ok("group", "contexts", "allowlist", "check", id, c, ann.String()), "yes")
	require.Contains(t, w.ok("group", "contexts", "allowlist", "ls", id, c), ann.String())
	require.Contains(t, w.ok("group", "contexts", "allowlist", "remove", id, c, node.String(), ann.String()), "taken off: 2")
	require.Equal(t, `{"data":[]}`, w.json("group", "contexts", "allowlist", "list", id, c))

	w.failed(101, "is not registered in any group", "context", "identity", "grant", ann.String(), "manage-members", "-c", c, "--as", node.String())
	b := w.db.Batch()
	store.ContextGroup.Put(b, ctxID, wire.ID32(group))
	require.NoError(t, b.Commit(t.Context()))
	require.Contains(t, w.ok("context", "identity", "grant", ann.String(), "manage-members", "-c", c, "--as", node.String()), "grant ManageMembers")
	require.Contains(t, w.ok("context", "identity", "revoke", ann.String(), "ManageMembers", "-c", c, "--as", node.String()), "revoke ManageMembers")
	w.failed(1, "is not ManageApplication", "context", "identity", "grant", ann.String(), "x", "-c", c)

	require.Contains(t, w.ok("group", "join-group-context", id, "--context-id", c), c+"  "+node.String())
	w.failed(101, "still has 1 associated context(s)", "group", "delete", id)
	require.Contains(t, w.ok("group", "contexts", "detach", id, c), "not in the group any more")
	w.ok("group", "delete", id)
}

// TestGroups_Geneses: of two geneses that contradict each other one is chosen.
func TestGroups_Geneses(t *testing.T) {
	w := newWorld(t, false)
	group := w.newGroup("--group-id", strings.Repeat("ab", 32))
	id := group.String()
	w.failed(101, "has one genesis only", "group", "genesis", "choose", id, domain.Hash{1}.String())
	other, err := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: group, Creator: annKey.Public()}.Sign(annKey, nil)
	require.NoError(t, err)
	require.ErrorContains(t, w.groups.Found(t.Context(), other), "GENESIS_CONFLICT")
	name, err := other.Hash()
	require.NoError(t, err)
	shown := w.ok("group", "genesis", "get", id)
	require.Regexp(t, `kept, in doubt +`+nodeKey.Public().String(), shown)
	require.Regexp(t, name.String()+` +contradicts +`+annKey.Public().String()+` +1970-01-01T00:00:00Z`, shown)
	w.failed(1, `genesis "x"`, "group", "genesis", "choose", id, "x")
	require.Contains(t, w.ok("group", "genesis", "choose", id, name.String()), "the group goes by genesis "+name.String())
	shown = w.ok("group", "genesis", "get", id)
	require.Regexp(t, name.String()+` +kept +`+annKey.Public().String(), shown)
	require.Regexp(t, `not chosen +`+nodeKey.Public().String(), shown)
	require.Contains(t, w.json("group", "genesis", "get", id), `"chosen":true,"geneses":[{"id":"`+name.String()+`","kept":true`)
}

// TestGroups_Invitations: what invite prints, join and close-invitation take, in either format.
func TestGroups_Invitations(t *testing.T) {
	w := newWorld(t, false)
	id := w.newGroup().String()
	for _, printed := range []string{
		w.ok("group", "invite", id, "--expiration-timestamp", "60", "--one-use"), w.json("group", "invite", id),
	} {
		require.Contains(t, w.ok("group", "join", printed, "--alias", "x"), id+"  "+nodeKey.Public().String())
		require.Contains(t, w.ok("group", "close-invitation", printed), "the invitation is closed")
	}
	w.failed(1, "the invitation is no JSON", "group", "join", "x")
	log := w.ok("group", "log", id)
	require.Equal(t, 2, strings.Count(log, "close the invitation"))
}

func TestGroups_Upgrade(t *testing.T) {
	w := newWorld(t, false)
	id := w.newGroup().String()
	require.Contains(t, w.ok("group", "upgrade", "trigger", id, "--target-application-id", appID.String(), "--migrate-method", "m"),
		id+"  in progress: 1 of 3 contexts, 0 failed")
	require.Contains(t, w.ok("group", "upgrade", "status", id), "completed")
	require.Equal(t, `{"data":null}`, w.json("group", "upgrade", "status", strings.Repeat("00", 32)))
	w.failed(101, "upgrade is already completed", "group", "upgrade", "retry", id)
	w.failed(101, "target application not found", "group", "upgrade", "trigger", id, "--target-application-id", ctxID.String())
}
