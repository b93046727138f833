package membership_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// TestJoinGroup_Killed: a node that is killed in any commit of a join, whether the commit is done or not, with the others there
// or beyond a partition, has a join that is whole or none, and can join again.
func TestJoinGroup_Killed(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{false, true} {
		for _, done := range []bool{false, true} {
			for commits, killed := 0, true; killed; commits++ {
				require.Less(t, commits, 30, "a join has an end")
				t.Run(fmt.Sprintf("alone %v, done %v, after %d", alone, done, commits), func(t *testing.T) {
					killed = joinKilled(t, alone, done, commits)
				})
				if t.Failed() {
					return
				}
			}
		}
	}
}

func joinKilled(t *testing.T, alone, done bool, commits int) (killed bool) {
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder, Valid: time.Hour})
	joiner := listedFor
	l.setDeaf(b, alone)
	b.disk.kill(commits, done)
	_, err := b.manager().JoinGroup(t.Context(), inv, joiner)

	b.stop()
	killed = b.disk.revive()
	if err != nil {
		require.True(t, killed, "%v", err)
	}
	b.open()
	b.start()
	claimed := b.whole(group, joiner)
	if err == nil {
		require.True(t, claimed, "what was acknowledged is there")
	}
	_, err = b.manager().JoinGroup(t.Context(), inv, joiner)
	if claimed && err != nil {
		require.ErrorIs(t, err, errkind.AlreadyExists)
	} else {
		require.NoError(t, err)
	}
	l.setDeaf(b, false)
	a.sees(group, joiner.Public(), true)
	b.sees(group, joiner.Public(), true)
	for _, c := range []domain.ContextID{open, restricted} {
		require.Eventually(t, func() bool { return b.in(c, joiner.Public()) }, long, time.Millisecond)
	}
	b.restart()
	b.sees(group, joiner.Public(), true)
	return killed
}

// whole checks that a join is whole or absent, and tells which.
func (n *node) whole(group domain.GroupID, joiner domain.PrivateKey) bool {
	n.t.Helper()
	_, key, err := store.GroupSigningKey.Get(n.t.Context(), n.db, store.GroupMemberKey{Group: group, Member: joiner.Public()})
	require.NoError(n.t, err)
	log, _, err := n.service().Log(n.t.Context(), group, 0, 100)
	if errors.Is(err, errkind.NotFound) {
		err = nil
	}
	require.NoError(n.t, err)
	claims := 0
	for _, e := range log {
		if _, is := e.Op.Body.(wire.OpJoinWithInvitationClaim); is && e.Op.Author == joiner.Public() {
			claims++
		}
	}
	require.LessOrEqual(n.t, claims, 1)
	require.Equal(n.t, claims == 1, key, "the claim without its key, or the key without its claim")
	require.True(n.t, claims == 1 || !n.in(open, joiner.Public()), "in a context without a claim")
	return claims == 1
}
