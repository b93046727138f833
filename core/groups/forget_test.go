package groups_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// TestForget_HoldsTheGroup: between a removal and its commit nothing is added, which would be left of the group.
func TestForget_HoldsTheGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	group := r.genesis.Group
	first, raw := r.sign(admin, 1, wire.OpNoop{})
	require.Equal(t, groups.Taken, r.receive(raw)[0].Outcome)
	second, raw := r.sign(admin, 2, wire.OpNoop{}, first)
	b := r.db.Batch()
	require.NoError(t, r.service.Forget(t.Context(), b, group))
	ended := make(chan error, 1)
	go func() {
		_, err := r.service.Receive(t.Context(), group, "peer", [][]byte{raw})
		ended <- err
	}()
	require.Never(t, func() bool { return len(ended) > 0 }, 50*time.Millisecond, 5*time.Millisecond)
	require.NoError(t, b.Commit(t.Context()))
	require.ErrorIs(t, <-ended, errkind.NotFound)

	require.NoError(t, r.service.Found(t.Context(), r.genesis))
	r.restart()
	ops, err := r.service.Ops(t.Context(), group, []domain.Hash{first, second})
	require.NoError(t, err)
	require.Empty(t, ops, "nothing was left of it")

	b = r.db.Batch()
	require.NoError(t, r.service.Forget(t.Context(), b, group))
	b.Abandon()
	_, member, err := r.service.Role(t.Context(), group, admin.Public())
	require.NoError(t, err)
	require.True(t, member, "it stays when the batch is abandoned")
}

// TestForget_InUse: who asks for a group while it goes gets an answer, or hears that it is not here.
func TestForget_InUse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	parent := r.genesis.Group
	child, err := wire.GroupGenesis{Creator: admin.Public(), Parent: &parent}.Sign(admin, nil)
	require.NoError(t, err)
	r.issue(admin, wire.OpSubgroupCreated{Child: child.Group})
	stop := make(chan struct{})
	var asking sync.WaitGroup
	failed := make(chan error, 4)
	for _, id := range []domain.GroupID{parent, parent, child.Group, child.Group} {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := r.service.Role(t.Context(), id, admin.Public()); err != nil && !errors.Is(err, errkind.NotFound) {
					failed <- err
					return
				}
			}
		})
	}
	forget := func(id domain.GroupID) {
		b := r.db.Batch()
		defer b.Abandon()
		require.NoError(t, r.service.Forget(t.Context(), b, id))
		require.NoError(t, b.Commit(t.Context()))
	}
	for range 10 {
		require.NoError(t, r.service.Found(t.Context(), child))
		forget(parent)
		require.NoError(t, r.service.Found(t.Context(), r.genesis))
		r.issue(admin, wire.OpSubgroupCreated{Child: child.Group})
		forget(child.Group)
	}
	close(stop)
	asking.Wait()
	require.Empty(t, failed)
}

// TestOffer_LeavesOutTheRefused: peers are not offered what is refused for ever and nobody builds on, also by a node that
// has read it from its disk.
func TestOffer_LeavesOutTheRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	counts := r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
	refused, raw := r.sign(member, 1, wire.OpMemberAdded{Member: domain.PrivateKey{9}.Public(), Role: domain.RoleAdmin}, counts)
	receipt := r.receive(raw)[0]
	require.Equal(t, groups.Taken, receipt.Outcome)
	require.True(t, receipt.Verdict.Code.Refused())
	for range 2 {
		raws, more, err := r.service.Offering(r.genesis.Group).Next(t.Context(), nil, nil, 10)
		require.NoError(t, err)
		require.False(t, more)
		require.Len(t, raws, 1)
		require.Equal(t, counts, contentHash(t, raws[0]))
		raws, _, err = r.service.Offering(r.genesis.Group).Next(t.Context(), nil, []domain.Hash{refused}, 10)
		require.NoError(t, err)
		require.Len(t, raws, 2, "who asks for it gets it")
		r.restart()
	}
}

func contentHash(t *testing.T, raw []byte) domain.Hash {
	t.Helper()
	op, err := wire.DecodeSignedGroupOp(raw)
	require.NoError(t, err)
	id, err := op.ContentHash()
	require.NoError(t, err)
	return id
}
