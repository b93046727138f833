package groups_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/groups"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const ends = 1_800_000_000 // of invitations, in Unix seconds

// claim is a join of a group by an invitation.
func (r *rig) claim(inviter domain.PrivateKey, group domain.GroupID, joiner domain.PrivateKey) wire.GroupOp {
	i := wire.GroupInvitation{Inviter: inviter.Public(), Target: group, Expiration: ends}
	signature, err := i.Sign(inviter)
	require.NoError(r.t, err)
	claim, err := wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}.Claim(joiner)
	require.NoError(r.t, err)
	return claim
}

func (r *rig) quarantined(who domain.PrivateKey) bool {
	q, err := r.service.Quarantined(r.t.Context(), r.genesis.Group, who.Public())
	require.NoError(r.t, err)
	return q
}

func (r *rig) at(seconds int64) { r.now = time.Unix(seconds, 0) }

// TestLate: a claim that comes late counts, but who joined by it is served only when an admin has built on it.
func TestLate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	group := r.genesis.Group
	r.issue(admin, wire.OpMemberAdded{Member: stranger.Public(), Role: domain.RoleMember})
	first := r.sent[0].ID

	r.at(ends + 600)
	_, inTime := r.sign(member, 1, r.claim(admin, group, member), first)
	r.receive(inTime)
	require.False(t, r.quarantined(member), "ten minutes are granted")
	require.Empty(t, r.tooLate)

	r.at(ends + 601)
	_, err := r.service.Issue(t.Context(), group, other, r.claim(admin, group, other))
	require.ErrorContains(t, err, "expired", "who joins looks at the clock")
	require.ErrorIs(t, err, errkind.Precondition)
	id, late := r.sign(other, 1, r.claim(admin, group, other), first)
	r.receive(late)
	require.Equal(t, "Member", r.role(group, other), "the group does not look at the clock")
	require.Len(t, r.tooLate, 1)
	require.Equal(t, groups.Late{
		Group: group, Claim: id, Joiner: other.Public(), Invitation: r.tooLate[0].Invitation,
	}, r.tooLate[0])
	r.issue(other, wire.OpMemberAliasSet{Member: other.Public(), Alias: "o"})
	r.issue(stranger, wire.OpNoop{}) // no admin
	for range 2 {
		require.True(t, r.quarantined(other))
		require.False(t, r.quarantined(member))
		claims, err := r.service.LateClaims(t.Context(), group)
		require.NoError(t, err)
		require.Equal(t, r.tooLate, claims)
		r.restart()
	}
	r.issue(admin, wire.OpNoop{})
	for range 2 {
		require.False(t, r.quarantined(other), "an admin built on it")
		r.restart()
	}
}

// TestLateWithVoucher: a claim that comes together with an admin's operation on it is not late.
func TestLateWithVoucher(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(ends + 100_000)
	id, late := r.sign(other, 1, r.claim(admin, r.genesis.Group, other))
	_, noop := r.sign(admin, 1, wire.OpNoop{}, id)
	r.receive(noop, late)
	require.False(t, r.quarantined(other))
	require.Empty(t, r.tooLate)
}

// TestAddedByAnAdmin: who was added in another way is no matter of the claim.
func TestAddedByAnAdmin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.at(ends + 100_000)
	_, late := r.sign(other, 1, r.claim(admin, r.genesis.Group, other))
	r.receive(late)
	require.True(t, r.quarantined(other))
	_, added := r.sign(admin, 1, wire.OpMemberAdded{Member: other.Public(), Role: domain.RoleMember})
	r.receive(added)
	require.False(t, r.quarantined(other))
}

// TestExpel: an admin's node ends it for everybody, and the invitation with it.
func TestExpel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	group := r.genesis.Group
	r.at(ends + 100_000)
	_, late := r.sign(other, 1, r.claim(admin, group, other))
	_, late2 := r.sign(member, 1, r.claim(admin, group, member))
	r.receive(late, late2)
	require.Len(t, r.tooLate, 2)
	require.ErrorIs(t, r.service.Expel(t.Context(), r.tooLate[0], other), errkind.PermissionDenied)
	require.True(t, r.quarantined(other))
	for _, l := range r.tooLate {
		require.NoError(t, r.service.Expel(t.Context(), l, admin))
		require.NoError(t, r.service.Expel(t.Context(), l, admin), "again")
	}
	require.Len(t, r.sent, 3, "two removals, one closing")
	require.False(t, r.quarantined(other))
	require.Equal(t, "none", r.role(group, other))
	state, err := r.service.State(t.Context(), group)
	require.NoError(t, err)
	require.True(t, state.Closed[r.tooLate[0].Invitation])
	r.at(ends - 1)
	_, err = r.service.Issue(t.Context(), group, stranger, r.claim(admin, group, stranger))
	require.ErrorContains(t, err, governance.RefusedInvitationClosed.Reason())
}
