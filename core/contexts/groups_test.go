package contexts_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// TestCreate_BeginsTheGroup: the group of a new context has a genesis that its id vouches for, and a log that says what
// its rows say, so that another node can have it.
func TestCreate_BeginsTheGroup(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	alias := "main"
	created, err := n.Create(t.Context(), contexts.CreateRequest{Application: testApp, Alias: &alias})
	require.NoError(t, err)
	id := domain.GroupID(created.Context)

	stored := groups.New(groups.Options{DB: n.db})
	genesis, err := stored.Genesis(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, wire.GenesisCertified, genesis.Kind)
	require.NoError(t, genesis.Verify())
	log, _, err := stored.Log(t.Context(), id, 0, 10)
	require.NoError(t, err)
	require.Len(t, log, 3)
	for _, e := range log {
		require.Equal(t, governance.Applied, e.Verdict.Code)
		require.Equal(t, created.Member, e.Op.Author)
	}
	state, err := stored.State(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, map[domain.PublicKey]domain.MemberRole{created.Member: domain.RoleAdmin}, state.Members)
	require.Equal(t, map[domain.ContextID]bool{created.Context: true}, state.Contexts)
	require.Equal(t, map[domain.ContextID]string{created.Context: alias}, state.ContextAlias)
	require.Equal(t, testApp, state.Target)

	gone, err := n.Delete(t.Context(), created.Context, &created.Member)
	require.NoError(t, err)
	require.True(t, gone)
	_, err = groups.New(groups.Options{DB: n.db}).State(t.Context(), id)
	require.ErrorIs(t, err, errkind.NotFound)
}

// found begins a group whose admin is the node.
func (n *node) found(t *testing.T, ops ...wire.GroupOp) domain.GroupID {
	t.Helper()
	genesis, err := wire.GroupGenesis{Creator: nodeKey.Public(), Target: testApp}.Sign(nodeKey, nil)
	require.NoError(t, err)
	b := n.db.Batch()
	require.NoError(t, n.groups.Begin(t.Context(), b, genesis, nodeKey, ops...))
	require.NoError(t, b.Commit(t.Context()))
	return genesis.Group
}

func (n *node) state(t *testing.T, id domain.GroupID) *governance.State {
	t.Helper()
	state, err := n.groups.State(t.Context(), id)
	require.NoError(t, err)
	return state
}

func requireError(t *testing.T, err error, kind errkind.Kind, text string) {
	t.Helper()
	require.EqualError(t, err, text)
	require.Equal(t, kind, errkind.Of(err))
}

// TestGroup_CreateAndDelete: a context is created and registered, or deleted and detached, by one commit.
func TestGroup_CreateAndDelete(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	group := n.found(t, wire.OpDefaultVisibilitySet{Mode: domain.VisibilityRestricted})
	before, alias := n.storage.commits(), "room"
	created, err := n.Create(t.Context(), contexts.CreateRequest{Application: domain.ApplicationID{0xbb}, Group: &group, Alias: &alias})
	require.NoError(t, err)
	require.Equal(t, before+1, n.storage.commits())
	require.Equal(t, nodeKey.Public(), created.Member)
	info, err := n.Get(t.Context(), created.Context)
	require.NoError(t, err)
	require.Equal(t, testApp, info.Application, "the group's")
	state := n.state(t, group)
	require.Equal(t, map[domain.ContextID]bool{created.Context: true}, state.Contexts)
	require.Equal(t, map[domain.ContextID]string{created.Context: alias}, state.ContextAlias)
	require.Equal(t, wire.GroupContextVisibility{Mode: domain.VisibilityRestricted, Creator: created.Member}, state.Visibility[created.Context])
	owner, err := n.Group(t.Context(), created.Context)
	require.NoError(t, err)
	require.Equal(t, &group, owner)
	n.member[created.Context] = created.Member
	_, err = n.call(created.Context, "set", "x")
	require.NoError(t, err)

	_, err = n.Delete(t.Context(), created.Context, nil)
	requireError(t, err, errkind.Invalid, "requester required to delete a group context")
	stranger := domain.PublicKey{1}
	_, err = n.Delete(t.Context(), created.Context, &stranger)
	requireError(t, err, errkind.PermissionDenied, stranger.String()+" is not an admin of group '"+group.Debug()+"'")
	n.storage.failWith(errkind.Internal.Errorf("the disk failed"))
	_, err = n.Delete(t.Context(), created.Context, &created.Member)
	require.Error(t, err)
	n.storage.failWith(nil)
	require.True(t, n.state(t, group).Contexts[created.Context], "nothing of it happened")
	before = n.storage.commits()
	gone, err := n.Delete(t.Context(), created.Context, &created.Member)
	require.NoError(t, err)
	require.True(t, gone)
	require.Equal(t, before+1, n.storage.commits())
	require.Empty(t, n.state(t, group).Contexts)
	_, err = n.Get(t.Context(), created.Context)
	requireRefused(t, err, contexts.ContextNotFound)
}

// TestGroup_NothingIsHalfThere: a context that cannot be made leaves nothing in its group, a group that refuses it leaves
// no context.
func TestGroup_NothingIsHalfThere(t *testing.T) {
	t.Parallel()
	faulty := false
	n := startNode(t, func(ctx context.Context, e *runtime.Execute, h runtime.Host) (*runtime.Result, error) {
		if faulty {
			return &runtime.Result{Fault: &runtime.Fault{Kind: runtime.FaultTrap, Text: "unreachable"}}, nil
		}
		return register(ctx, e, h)
	}, contexts.Options{})
	member, secret := domain.PrivateKey{0x43}, [32]byte{0x43}
	group := n.found(t, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
	create := func(secret *[32]byte, group domain.GroupID) error {
		_, err := n.Create(t.Context(), contexts.CreateRequest{Application: testApp, Group: &group, IdentitySecret: secret})
		return err
	}
	requireError(t, create(nil, domain.GroupID{1}), errkind.NotFound, "group not found")
	requireError(t, create(&[32]byte{9}, group), errkind.PermissionDenied, "identity is not a member of group '"+group.Debug()+"'")
	requireError(t, create(&secret, group), errkind.PermissionDenied, "identity lacks permission to create a context in group '"+
		group.Debug()+"' (not an admin and CAN_CREATE_CONTEXT is not set)")
	faulty = true
	requireRefused(t, create(nil, group), contexts.FunctionCall)
	faulty = false
	n.storage.failWith(errkind.Internal.Errorf("the disk failed"))
	require.Error(t, create(nil, group))
	n.storage.failWith(nil)
	require.Empty(t, n.state(t, group).Contexts)
	all, err := n.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
	log, _, err := groups.New(groups.Options{DB: n.db}).Log(t.Context(), group, 0, 100)
	require.NoError(t, err)
	require.Len(t, log, 1)

	_, err = n.groups.Issue(t.Context(), group, nodeKey, wire.OpMemberCapabilitySet{Member: member.Public(), Capabilities: domain.CanCreateContext})
	require.NoError(t, err)
	require.NoError(t, create(&secret, group))
	require.NoError(t, create(nil, group))
	require.Len(t, n.state(t, group).Contexts, 2)
}

// TestGroup_ADetachedContextIsOnesOwn: nobody needs rights in a group that a context is no longer in.
func TestGroup_ADetachedContextIsOnesOwn(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	group := n.found(t)
	created, err := n.Create(t.Context(), contexts.CreateRequest{Application: testApp, Group: &group})
	require.NoError(t, err)
	_, err = n.groups.Issue(t.Context(), group, nodeKey, wire.OpContextDetached{Context: created.Context})
	require.NoError(t, err)
	gone, err := n.Delete(t.Context(), created.Context, nil)
	require.NoError(t, err)
	require.True(t, gone)
	found, err := store.ContextGroup.Has(t.Context(), n.db, created.Context)
	require.NoError(t, err)
	require.False(t, found)
}

// TestGroup_ReadOnly: the call of a member who may only read is answered and changes nothing (governance.md §9.4).
func TestGroup_ReadOnly(t *testing.T) {
	t.Parallel()
	n := startNode(t, register, contexts.Options{})
	group := n.found(t)
	created, err := n.Create(t.Context(), contexts.CreateRequest{Application: testApp, Group: &group})
	require.NoError(t, err)
	n.member[created.Context] = created.Member
	before, err := n.call(created.Context, "set", "x")
	require.NoError(t, err)
	other := domain.PrivateKey{0x43}
	for _, body := range []wire.GroupOp{
		wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin},
		wire.OpMemberRoleSet{Member: nodeKey.Public(), Role: domain.RoleReadOnly},
	} {
		_, err = n.groups.Issue(t.Context(), group, nodeKey, body)
		require.NoError(t, err)
	}
	n.GroupsChanged()
	after, err := n.call(created.Context, "set", "y")
	require.NoError(t, err)
	require.Equal(t, before.RootHash, after.RootHash)
	require.Equal(t, "x", n.get(t, created.Context))
}
