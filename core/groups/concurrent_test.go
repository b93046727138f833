package groups_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

// TestConcurrentCalls: calls on groups above and below each other, on new ones and on made-up ids, do not get in each
// other's way, and in the end everything is as when it is read anew.
func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	disk := storagetest.NewMemory()
	db := store.Open(disk, store.Options{})
	service := groups.New(groups.Options{DB: db})
	genesis := func(creator domain.PrivateKey, salt byte, parent *domain.GroupID) wire.GroupGenesis {
		g, err := wire.GroupGenesis{Creator: creator.Public(), Salt: [32]byte{salt}, Parent: parent}.Sign(creator, nil)
		require.NoError(t, err)
		return g
	}
	top := genesis(admin, 1, nil)
	child := genesis(member, 2, &top.Group)
	deep := genesis(member, 3, &child.Group)
	all := []wire.GroupGenesis{deep, child, top}
	for _, g := range all[2:] {
		require.NoError(t, service.Found(ctx, g))
	}
	issue := func(group domain.GroupID, key domain.PrivateKey, body wire.GroupOp) error {
		_, err := service.Issue(ctx, group, key, body)
		return err
	}
	require.NoError(t, issue(top.Group, admin, wire.OpSubgroupCreated{Child: child.Group}))
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			for k := range 25 {
				for _, g := range all {
					if err := service.Found(ctx, g); err != nil {
						t.Errorf("found: %v", err)
					}
				}
				_ = issue(child.Group, member, wire.OpSubgroupCreated{Child: deep.Group})
				if k%2 == i%2 {
					_ = issue(top.Group, admin, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleAdmin})
				} else {
					_, _ = service.RemoveMember(ctx, top.Group, admin, other.Public())
				}
				_ = issue(deep.Group, other, wire.OpGroupAliasSet{Alias: "x"}) // as long as he may
				if _, _, err := service.Role(ctx, deep.Group, other.Public()); err != nil {
					t.Errorf("role: %v", err)
				}
				if _, err := service.State(ctx, domain.GroupID{byte(k), 0xff}); err == nil {
					t.Error("a group that nobody founded")
				}
			}
		})
	}
	work.Wait()
	again := groups.New(groups.Options{DB: store.Open(disk, store.Options{})})
	for _, g := range all {
		was, err := service.State(ctx, g.Group)
		require.NoError(t, err)
		now, err := again.State(ctx, g.Group)
		require.NoError(t, err)
		require.Equal(t, was, now)
		log, total, err := service.Log(ctx, g.Group, 0, groups.MaxLog)
		require.NoError(t, err)
		read, count, err := again.Log(ctx, g.Group, 0, groups.MaxLog)
		require.NoError(t, err)
		require.Equal(t, total, count)
		for i := range log {
			require.Equal(t, log[i].Verdict, read[i].Verdict)
		}
	}
	parent, found, err := service.Parent(ctx, deep.Group)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, child.Group, parent)
}
