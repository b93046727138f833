package membership_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/membership"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// TestCatchUp: who comes after hundreds of operations, or was away for as many, has all of them, also from peers that
// speak the reference's protocol alone.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string]bool{"extension": false, "reference": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLAN()
			a, b, c := l.node(t, "a"), l.node(t, "b"), l.node(t, "c")
			a.plain, b.plain, c.plain = plain, plain, plain
			group := a.group()
			inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder})
			_, err := b.manager().JoinGroup(t.Context(), inv, listedFor)
			require.NoError(t, err)
			a.sees(group, listedFor.Public(), true)
			l.setDeaf(b, true)
			for i := range 300 {
				a.issue(group, founder, wire.OpMemberAdded{Member: domain.PublicKey{byte(i), byte(i >> 8), 1}, Role: domain.RoleMember})
			}
			_, err = c.manager().JoinGroup(t.Context(), inv, domain.PrivateKey{0x44})
			require.NoError(t, err)
			l.setDeaf(b, false)
			for _, n := range []*node{a, b, c} {
				n.sees(group, domain.PrivateKey{0x44}.Public(), true)
				n.sees(group, domain.PublicKey{299 & 0xff, 299 >> 8, 1}, true)
			}
		})
	}
}

// TestGenesis_Comes: a group that was begun with an invitation of the reference gets its genesis from peers, by the stream or
// the topic, if something speaks for it.
func TestGenesis_Comes(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	second, joiner := domain.PrivateKey{0x50}, domain.PrivateKey{0x51}
	a.issue(group, founder, wire.OpMemberAdded{Member: second.Public(), Role: domain.RoleAdmin})
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: second})
	inv.Genesis = nil
	l.setDeaf(b, true)
	_, err := b.manager().JoinGroup(t.Context(), inv, joiner)
	require.NoError(t, err)
	origin, err := b.service().Origin(t.Context(), group)
	require.NoError(t, err)
	require.True(t, origin.Provisional)
	require.Equal(t, second.Public(), origin.Genesis.Creator)
	l.setDeaf(b, false)
	require.Eventually(t, func() bool {
		origin, err := b.service().Origin(t.Context(), group)
		return err == nil && !origin.Provisional && origin.Genesis.Creator == founder.Public()
	}, long, 2*time.Millisecond)
	a.sees(group, joiner.Public(), true)
	b.sees(group, joiner.Public(), true)
	b.sees(group, founder.Public(), true)
}

// TestGenesis_MadeUp: where the id of a group proves nothing, a peer can make up a genesis, and operations by which the inviter is
// an admin; but not what the inviter has done.
func TestGenesis_MadeUp(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	id, second, liar := domain.GroupID{0x77}, domain.PrivateKey{0x50}, domain.PrivateKey{0x52}
	vouched := func(creator domain.PrivateKey) wire.GroupGenesis {
		g, err := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: id, Creator: creator.Public(), Target: domain.ApplicationID{0xaa}}.Sign(creator, nil)
		require.NoError(t, err)
		return g
	}
	batch := a.db.Batch()
	require.NoError(t, a.service().Begin(t.Context(), batch, vouched(founder), founder,
		wire.OpMemberAdded{Member: second.Public(), Role: domain.RoleAdmin}))
	require.NoError(t, batch.Commit(t.Context()))
	a.issue(id, second, wire.OpNoop{})
	inv := a.inviteTo(membership.GroupInvite{Group: id, Inviter: second})
	inv.Genesis = nil
	l.setDeaf(b, true)
	_, err := b.manager().JoinGroup(t.Context(), inv, domain.PrivateKey{0x51})
	require.NoError(t, err)

	raws, err := a.service().After(t.Context(), id, nil, 100)
	require.NoError(t, err)
	forged := op(t, liar, id, wire.OpMemberAdded{Member: second.Public(), Role: domain.RoleAdmin})
	_, err = b.service().Receive(t.Context(), id, "peer", append(raws, forged))
	require.NoError(t, err)
	require.ErrorContains(t, b.manager().Learn(t.Context(), second.Public(), vouched(liar)), "nothing speaks for a genesis by")
	require.NoError(t, b.manager().Learn(t.Context(), second.Public(), vouched(founder)))
	origin, err := b.service().Origin(t.Context(), id)
	require.NoError(t, err)
	require.False(t, origin.Provisional)
	require.Equal(t, founder.Public(), origin.Genesis.Creator)
}

// TestServeGroup: a group is shown to members and to who is invited, and to nobody else.
func TestServeGroup(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	stranger := domain.PrivateKey{0x99}
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder, Valid: time.Hour})
	signature, err := inv.Invitation.Sign(founder)
	require.NoError(t, err)
	require.Equal(t, inv.InviterSignature, signature)
	sign := func(i wire.GroupInvitation, key domain.PrivateKey) *wire.GroupPass {
		i.Inviter = key.Public()
		hash := i.Hash()
		return &wire.GroupPass{Invitation: i, Signature: key.Sign(hash[:])}
	}
	closed := inv.Invitation
	closed.Salt[0]++
	a.issue(group, founder, wire.OpMemberCapabilitySet{Member: domain.PublicKey(closed.Hash()), Capabilities: 0x80000000})
	expired := inv.Invitation
	expired.Expiration = 1
	elsewhere := inv.Invitation
	elsewhere.Target = domain.GroupID{3, 3}
	toContext := inv.Invitation
	toContext.Target = domain.GroupID(open)
	forged := sign(inv.Invitation, founder)
	forged.Invitation.Salt[5]++
	for name, test := range map[string]struct {
		key     domain.PrivateKey
		pass    *wire.GroupPass
		opening string
		want    errkind.Kind // 0: shown
	}{
		"a member":                {key: founder},
		"a stranger":              {key: stranger, want: errkind.PermissionDenied},
		"somebody invited":        {key: stranger, pass: sign(inv.Invitation, founder)},
		"invited to a context":    {key: stranger, pass: sign(toContext, founder)},
		"by a stranger":           {key: stranger, pass: sign(inv.Invitation, stranger), want: errkind.PermissionDenied},
		"too late":                {key: stranger, pass: sign(expired, founder), want: errkind.PermissionDenied},
		"closed":                  {key: stranger, pass: sign(closed, founder), want: errkind.PermissionDenied},
		"to another group":        {key: stranger, pass: sign(elsewhere, founder), want: errkind.PermissionDenied},
		"forged":                  {key: stranger, pass: forged, want: errkind.PermissionDenied},
		"a proof of another peer": {key: founder, opening: "c", want: errkind.Unauthenticated},
	} {
		opening := "b"
		if test.opening != "" {
			opening = test.opening
		}
		proof := wire.GroupProof{Group: group, Opening: opening, Accepter: "a"}
		hello := wire.GroupHello{Group: group, Identity: test.key.Public(), Proof: test.key.Sign(proof.Message()), Invitation: test.pass}
		stream := b.extension(t.Context(), a)
		answer := func(m wire.ExtensionMessage) wire.ExtensionMessage {
			out, err := wire.EncodeExtension(m)
			require.NoError(t, err, name)
			require.NoError(t, stream.WriteFrame(t.Context(), out), name)
			in, err := stream.ReadFrame(t.Context(), wire.MaxFrame)
			require.NoError(t, err, name)
			got, err := wire.DecodeExtension(in)
			require.NoError(t, err, name)
			return got
		}
		out, err := wire.EncodeExtension(hello)
		require.NoError(t, err)
		require.NoError(t, stream.WriteFrame(t.Context(), out))
		if test.want != 0 {
			if test.want == errkind.Unauthenticated {
				in, err := stream.ReadFrame(t.Context(), wire.MaxFrame)
				require.NoError(t, err, name)
				got, err := wire.DecodeExtension(in)
				require.NoError(t, err, name)
				require.Equal(t, wire.Refusal{Kind: test.want, Text: "no"}, got, name)
			} else {
				require.Equal(t, wire.Refusal{Kind: test.want, Text: "no"}, answer(wire.GenesisRequest{}), name)
			}
			require.NoError(t, stream.Close())
			continue
		}
		genesis, ok := answer(wire.GenesisRequest{}).(wire.Genesis)
		require.True(t, ok, name)
		require.Equal(t, group, genesis.Genesis.Group, name)
		ops, ok := answer(wire.GroupOpsRequest{Limit: 2}).(wire.GroupOps)
		require.True(t, ok, name)
		require.Len(t, ops.Ops, 2, name)
		require.True(t, ops.More, name)
		require.IsType(t, wire.Refusal{}, answer(wire.Hello{}), name)
		require.NoError(t, stream.Close())
	}
}

// TestStrangers: what strangers sign, and nobody builds on, is neither kept nor passed on, however it comes.
func TestStrangers(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b, evil := l.node(t, "a"), l.node(t, "b"), l.node(t, "evil")
	evil.plain = true
	group := a.group()
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder})
	_, err := b.manager().JoinGroup(t.Context(), inv, listedFor)
	require.NoError(t, err)
	a.sees(group, listedFor.Public(), true)
	_, err = evil.manager().JoinGroup(t.Context(), inv, domain.PrivateKey{0x66})
	require.NoError(t, err)
	a.sees(group, domain.PrivateKey{0x66}.Public(), true)

	// The hostile node keeps anything, and offers it in its heartbeats.
	heads, err := evil.service().Heads(t.Context(), group)
	require.NoError(t, err)
	var raws [][]byte
	for i := range 200 {
		raws = append(raws, op(t, domain.PrivateKey{0xee, byte(i)}, group, wire.OpNoop{}, heads...))
	}
	_, err = evil.service().Receive(t.Context(), group, "", raws)
	require.NoError(t, err)
	tips, err := evil.service().Tips(t.Context(), group)
	require.NoError(t, err)
	require.Greater(t, len(tips), 199)
	beat, err := wire.EncodeBroadcast(wire.GroupStateHeartbeat{Group: group, DagHeads: tips})
	require.NoError(t, err)
	require.NoError(t, evil.Publish(t.Context(), wire.GroupTopic(group), beat))
	a.issue(group, founder, wire.OpGroupAliasSet{Alias: "after"})
	for _, n := range []*node{a, b} {
		require.Eventually(t, func() bool {
			state, err := n.service().State(t.Context(), group)
			return err == nil && state.Alias != nil && *state.Alias == "after"
		}, long, 2*time.Millisecond)
		_, total, err := n.service().Log(t.Context(), group, 0, 0)
		require.NoError(t, err)
		require.Less(t, total, 30)
	}
	for _, raw := range raws[:3] {
		data, err := wire.EncodeBroadcast(wire.SignedGroupOpV1{Payload: raw})
		require.NoError(t, err)
		verdict, _ := a.manager().Validate(t.Context(), wire.GroupTopic(group), "x", data)
		require.Equal(t, network.Ignore, verdict)
	}
}

// TestMember_Removed: who was removed is served nothing from then on, whichever node is asked.
func TestMember_Removed(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	admin := a.create(7)
	joined, err := b.join(a.invite(ctxID, admin, time.Hour))
	require.NoError(t, err)
	a.knows(ctxID, joined)
	key, found, err := a.identity.Get(t.Context(), ctxID, admin)
	require.NoError(t, err)
	require.True(t, found)
	a.issue(domain.GroupID(ctxID), *key.PrivateKey, wire.OpMemberRoleSet{Member: joined, Role: domain.RoleReadOnly})
	require.Eventually(t, func() bool {
		role, found := b.role(ctxID, joined)
		return found && role == domain.RoleReadOnly
	}, long, 2*time.Millisecond)
	a.issue(domain.GroupID(ctxID), *key.PrivateKey, wire.OpMemberRemoved{Member: joined})
	for _, n := range []*node{a, b} {
		require.Eventually(t, func() bool { _, found := n.role(ctxID, joined); return !found }, long, 2*time.Millisecond)
		n.restart()
		_, found := n.role(ctxID, joined)
		require.False(t, found)
	}
	// The invitation is as good as before; the claim from before is not.
	raws, err := a.service().After(t.Context(), domain.GroupID(ctxID), nil, 100)
	require.NoError(t, err)
	receipts, err := a.service().Receive(t.Context(), domain.GroupID(ctxID), "b", raws)
	require.NoError(t, err)
	require.NotEmpty(t, receipts)
	_, found = a.role(ctxID, joined)
	require.False(t, found)
}

// TestServe_GroupWithoutGenesis: a group that cannot be read, here rows without a genesis, does not keep the others from
// being followed.
func TestServe_GroupWithoutGenesis(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	group := a.group()
	batch := a.db.Batch()
	store.GroupMeta.Put(batch, domain.GroupID{}, wire.GroupMeta{}) // the first that is found
	require.NoError(t, batch.Commit(t.Context()))
	a.restart()
	joiner := domain.PrivateKey{0x90}
	_, err := b.manager().JoinGroup(t.Context(), a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder}), joiner)
	require.NoError(t, err)
	a.sees(group, joiner.Public(), true)
}

// TestServe_UsedInvitation: an invitation for one use shows the log to nobody once somebody has used it.
func TestServe_UsedInvitation(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b, c := l.node(t, "a"), l.node(t, "b"), l.node(t, "c")
	group := a.group()
	inv := a.inviteTo(membership.GroupInvite{Group: group, Inviter: founder, OneUse: true})
	second := domain.PrivateKey{0x62}
	ask := func() wire.ExtensionMessage {
		s, err := c.OpenStream(t.Context(), a.id, wire.ExtensionProtocol)
		require.NoError(t, err)
		defer s.Reset()
		signature, err := hex.DecodeString(inv.InviterSignature)
		require.NoError(t, err)
		proof := wire.GroupProof{Group: group, Opening: string(c.id), Accepter: string(a.id)}
		for _, m := range []wire.ExtensionMessage{
			wire.GroupHello{
				Group: group, Identity: second.Public(), Proof: second.Sign(proof.Message()),
				Invitation: &wire.GroupPass{Invitation: inv.Invitation, Signature: domain.Signature(signature)},
			},
			wire.GroupOpsRequest{Limit: 10},
		} {
			raw, err := wire.EncodeExtension(m)
			require.NoError(t, err)
			require.NoError(t, s.WriteFrame(t.Context(), raw))
		}
		raw, err := s.ReadFrame(t.Context(), wire.MaxFrame)
		require.NoError(t, err)
		answer, err := wire.DecodeExtension(raw)
		require.NoError(t, err)
		return answer
	}
	require.IsType(t, wire.GroupOps{}, ask(), "as long as nobody has used it")
	one := domain.PrivateKey{0x61}
	_, err := b.manager().JoinGroup(t.Context(), inv, one)
	require.NoError(t, err)
	a.sees(group, one.Public(), true)
	refusal, ok := ask().(wire.Refusal)
	require.True(t, ok)
	require.Equal(t, errkind.PermissionDenied, refusal.Kind)
}

// TestBusyGroup: a group that is slow to take what comes does not hold up another.
func TestBusyGroup(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	busy := a.group()
	admin := a.create(7)
	_, err := b.join(a.invite(ctxID, admin, time.Hour))
	require.NoError(t, err)
	inv := a.inviteTo(membership.GroupInvite{Group: busy, Inviter: founder})
	l.setDeaf(b, true)
	_, err = b.manager().JoinGroup(t.Context(), inv, domain.PrivateKey{0x63})
	require.NoError(t, err)
	held, calls := make(chan struct{}), make(chan struct{}, 64)
	b.mu.Lock()
	b.entering = func() {
		calls <- struct{}{}
		<-held
	}
	b.mu.Unlock()
	defer close(held)
	l.setDeaf(b, false)
	select {
	case <-calls:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is slow")
	}
	// It is held by what was heard, and nothing else is heard of the group then; or by what was fetched, and is held once more
	// by what is heard next.
	for second, tries := false, 0; !second && tries < 50; tries++ {
		a.issue(busy, founder, wire.OpNoop{})
		select {
		case <-calls:
			second = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	row, _, err := a.identity.Get(t.Context(), ctxID, admin)
	require.NoError(t, err)
	added := domain.PrivateKey{0x64}
	a.issue(domain.GroupID(ctxID), *row.PrivateKey, wire.OpMemberAdded{Member: added.Public()})
	b.knows(ctxID, added.Public())
}

// TestPublished_AfterUnfollow: what is said about a group that was left is not kept for ever.
func TestPublished_AfterUnfollow(t *testing.T) {
	t.Parallel()
	a := newLAN().node(t, "a")
	group := a.group()
	require.NoError(t, a.manager().Unfollow(t.Context(), group))
	a.issue(group, founder, wire.OpNoop{})
	now := time.Now()
	require.Equal(t, 1, a.manager().Sweep(now))
	require.Zero(t, a.manager().Sweep(now.Add(time.Hour)))
	require.NoError(t, a.manager().Follow(t.Context(), group))
	require.Equal(t, 1, a.manager().Sweep(now.Add(2*time.Hour)), "one that is followed stays")
}
