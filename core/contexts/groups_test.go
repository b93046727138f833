package contexts_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
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
