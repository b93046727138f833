package membership_test

import (
	"fmt"
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

var ctxID = contextOf(7)

// TestJoin_TellsTheGroup: who joins is a member everywhere, whether others were there when it happened or came later,
// and after restarts.
func TestJoin_TellsTheGroup(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b, c := l.node(t, "a"), l.node(t, "b"), l.node(t, "c")
	admin := a.create(7)
	inv := a.invite(ctxID, admin, time.Hour)
	joined, err := b.join(inv)
	require.NoError(t, err)
	a.knows(ctxID, joined)
	require.Eventually(t, func() bool { return b.acknowledged() == 1 }, long, time.Millisecond)
	role, _ := b.role(ctxID, admin)
	require.Equal(t, domain.RoleAdmin, role)

	l.setDeaf(b, true)
	late, err := c.join(inv)
	require.NoError(t, err)
	a.knows(ctxID, late)
	c.knows(ctxID, joined, admin)
	_, found := b.role(ctxID, late)
	require.False(t, found)
	l.setDeaf(b, false)
	b.knows(ctxID, late)

	for _, n := range []*node{a, b, c} {
		n.restart()
		n.knows(ctxID, admin, joined, late)
	}
	row, found, err := store.Application.Get(t.Context(), b.db, *inv.Application)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, wire.ApplicationRecord{
		Bytecode: *inv.Blob, Source: "file:///app.wasm", Metadata: []byte{}, Package: "unknown", Version: "0.0.0",
	}, row)
}

// TestJoin_AgainChangesNothing: nor does an identity of another context count.
func TestJoin_AgainChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	inv := a.invite(ctxID, a.create(7), time.Hour)
	member, err := b.join(inv)
	require.NoError(t, err)
	require.NoError(t, b.manager().JoinContext(t.Context(), *inv, member))
	row, found, err := store.GroupOpHead.Get(t.Context(), b.db, domain.GroupID(ctxID))
	require.NoError(t, err)
	require.True(t, found)
	require.LessOrEqual(t, row.Sequence, uint64(4)) // two of the context, the claim, and the admin's answer to it

	stranger, err := domain.NewPrivateKey()
	require.NoError(t, err)
	require.ErrorContains(t, b.manager().JoinContext(t.Context(), *inv, stranger.Public()), "missing identity for public key: ")
}

// TestJoin_Refusals: what the joining node itself does not believe.
func TestJoin_Refusals(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	inv := a.invite(ctxID, a.create(7), time.Hour)
	other := domain.ApplicationID{1}
	for name, test := range map[string]struct {
		change func(i *membership.Invitation)
		kind   errkind.Kind
		text   string
	}{
		"another time":    {func(i *membership.Invitation) { i.Expiration++ }, errkind.Invalid, "inviter signature verification failed"},
		"another context": {func(i *membership.Invitation) { i.Target = domain.ContextID{8} }, errkind.Invalid, "inviter signature"},
		"no hex":          {func(i *membership.Invitation) { i.Signature = "zz" }, errkind.Invalid, "inviter signature hex"},
		"no group":        {func(i *membership.Invitation) { i.Group = nil }, errkind.Invalid, "does not name the group"},
		"no application":  {func(i *membership.Invitation) { i.Application = nil }, errkind.Invalid, "does not name the application"},
		"a long source": {func(i *membership.Invitation) { s := string(make([]byte, 1<<20)); i.Source = &s }, errkind.TooLarge,
			"the source of the application"},
	} {
		changed := *inv
		test.change(&changed)
		_, err := b.join(&changed)
		require.ErrorContains(t, err, test.text, name)
		require.Equal(t, test.kind, errkind.Of(err), name)
	}
	b.clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
	_, err := b.join(inv)
	require.ErrorContains(t, err, "has expired")
	found, err := store.GroupMeta.Has(t.Context(), b.db, domain.GroupID(ctxID))
	require.NoError(t, err)
	require.False(t, found, "a refused join leaves nothing")

	// An invitation to a context of a group that is here must come from somebody who may invite there.
	c := l.node(t, "c")
	theirs := contextOf(9)
	foreign := c.invite(theirs, c.create(9), time.Hour)
	group := domain.GroupID(ctxID)
	foreign.Group = &group
	_, err = a.join(foreign)
	require.ErrorContains(t, err, "has the genesis of group")
	vouched := foreign.Genesis
	foreign.Genesis = nil
	_, err = a.join(foreign)
	require.ErrorContains(t, err, "inviter lacks permission")
	foreign.Application, foreign.Genesis = &other, vouched
	owner := domain.GroupID(theirs)
	foreign.Group = &owner
	_, err = a.join(foreign)
	require.NoError(t, err)
}

// TestInvite_Refusals: unknown contexts give nothing, others an error.
func TestInvite_Refusals(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	admin := a.create(7)
	inv, err := a.manager().InviteToContext(t.Context(), domain.ContextID{9}, admin, time.Hour)
	require.NoError(t, err)
	require.Nil(t, inv)
	_, err = a.manager().InviteToContext(t.Context(), ctxID, domain.PublicKey{1}, time.Hour)
	require.ErrorContains(t, err, "Inviter identity "+domain.PublicKey{1}.String()+" not found for context "+ctxID.String())
	_, err = a.manager().InviteToContext(t.Context(), ctxID, admin, 366*24*time.Hour)
	require.Equal(t, errkind.Invalid, errkind.Of(err))
	member, err := b.join(a.invite(ctxID, admin, time.Hour))
	require.NoError(t, err)
	_, err = b.manager().InviteToContext(t.Context(), ctxID, member, time.Hour)
	require.ErrorContains(t, err, "inviter lacks permission (not admin and missing CAN_INVITE_MEMBERS)")
	_, err = b.manager().InviteToContext(t.Context(), ctxID, admin, time.Hour)
	require.ErrorContains(t, err, "is not managed by this node")
}

// TestClaims_Late: who joins long after others still gets to know them, by the admin's word; a claim that nobody heard of
// in its time does not count until an admin takes it.
func TestClaims_Late(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b, c, d := l.node(t, "a"), l.node(t, "b"), l.node(t, "c"), l.node(t, "d")
	admin := a.create(7)
	inv := a.invite(ctxID, admin, time.Minute)
	early, err := b.join(inv)
	require.NoError(t, err)
	a.knows(ctxID, early)

	l.setDeaf(d, true)
	hidden, err := d.join(inv)
	require.NoError(t, err)

	year := func() time.Time { return time.Now().Add(300 * 24 * time.Hour) }
	for _, n := range []*node{a, b, c, d} {
		n.stop()
		n.clock = year
		n.start()
	}
	late, err := c.join(a.invite(ctxID, admin, time.Hour))
	require.NoError(t, err)
	c.knows(ctxID, early, admin)
	b.knows(ctxID, late)

	l.setDeaf(d, false)
	d.knows(ctxID, early, late)
	_, found := a.role(ctxID, hidden)
	require.False(t, found, "a claim after its time counts")
	_, found = c.role(ctxID, hidden)
	require.False(t, found)
}

// op signs an operation as any peer could.
func op(t *testing.T, key domain.PrivateKey, group domain.GroupID, body wire.GroupOp, parents ...domain.Hash) []byte {
	t.Helper()
	_, raw, err := wire.SignableGroupOp{
		Version: wire.GroupOpVersion, Group: group, Parents: parents, Signer: key.Public(), Nonce: 1, Op: body,
	}.SignRaw(key)
	require.NoError(t, err)
	return raw
}

// TestValidate: what a peer may not say on a group's topic.
func TestValidate(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a := l.node(t, "a")
	admin := a.create(7)
	group, topic := domain.GroupID(ctxID), wire.GroupTopic(domain.GroupID(ctxID))
	inv := a.invite(ctxID, admin, time.Hour)
	payload, err := wire.Encode(inv.ContextInvitation)
	require.NoError(t, err)
	key, err := domain.NewPrivateKey()
	require.NoError(t, err)
	claim := wire.OpMemberJoinedViaContextInvitation{Context: ctxID, Inviter: admin, Payload: payload, InviterSignature: inv.Signature}
	good := op(t, key, group, claim)
	forged := claim
	forged.InviterSignature = key.Sign([]byte("anything")).String()
	self := claim
	own := inv.ContextInvitation
	own.Inviter = key.Public()
	self.Inviter = key.Public()
	self.Payload, err = wire.Encode(own)
	require.NoError(t, err)
	self.InviterSignature, err = own.Sign(key)
	require.NoError(t, err)
	elsewhere := claim
	elsewhere.Context = domain.ContextID{1}
	altered := append([]byte(nil), good...)
	altered[len(altered)-1] ^= 1
	envelope := func(g domain.GroupID, raw []byte) wire.Broadcast {
		return wire.GroupGovernanceDelta{Group: g, Payload: raw}
	}
	for name, test := range map[string]struct {
		message wire.Broadcast
		want    network.Verdict
	}{
		"a claim":                      {envelope(group, good), network.Accept},
		"alone":                        {wire.SignedGroupOpV1{Payload: good}, network.Accept},
		"hints":                        {wire.GroupMutation{Group: group, Kind: wire.MembersAdded}, network.Accept},
		"a heartbeat":                  {wire.GroupStateHeartbeat{Group: group, DagHeads: []domain.Hash{{1}}}, network.Accept},
		"altered":                      {envelope(group, altered), network.Reject},
		"garbage":                      {envelope(group, []byte("garbage")), network.Reject},
		"another group's envelope":     {envelope(domain.GroupID{1}, good), network.Reject},
		"another group's operation":    {envelope(group, op(t, key, domain.GroupID{1}, claim)), network.Reject},
		"a forged invitation":          {envelope(group, op(t, key, group, forged)), network.Reject},
		"an invitation to elsewhere":   {envelope(group, op(t, key, group, elsewhere)), network.Reject},
		"an invitation by a stranger":  {envelope(group, op(t, key, group, self)), network.Ignore},
		"a stranger's other operation": {envelope(group, op(t, key, group, wire.OpNoop{})), network.Ignore},
		"a stranger makes itself admin": {envelope(group, op(t, key, group,
			wire.OpMemberAdded{Member: key.Public(), Role: domain.RoleAdmin})), network.Ignore},
		"another group's heartbeat": {wire.GroupStateHeartbeat{Group: domain.GroupID{1}}, network.Reject},
		"too many heads":            {wire.GroupStateHeartbeat{Group: group, DagHeads: make([]domain.Hash, 1901)}, network.Reject},
		"too many parents": {envelope(group, op(t, key, group, claim, make([]domain.Hash, wire.MaxGroupOpParents+1)...)),
			network.Reject},
		"a context's message": {wire.HashHeartbeat{Context: ctxID}, network.Reject},
	} {
		data, err := wire.EncodeBroadcast(test.message)
		require.NoError(t, err, name)
		verdict, _ := a.manager().Validate(t.Context(), topic, membership.PeerID(name), data)
		require.Equal(t, test.want, verdict, name)
	}
	verdict, _ := a.manager().Validate(t.Context(), wire.GroupTopic(domain.GroupID{1}), "x", good)
	require.Equal(t, network.Ignore, verdict, "a group that is not here")
	verdict, _ = a.manager().Validate(t.Context(), topic, "x", []byte{wire.FirstExtensionTag + 40})
	require.Equal(t, network.Ignore, verdict, "a later version's message")
	beat, err := wire.EncodeBroadcast(wire.GroupStateHeartbeat{Group: group})
	require.NoError(t, err)
	ignored := 0
	for range 1000 {
		if v, _ := a.manager().Validate(t.Context(), topic, "flood", beat); v == network.Ignore {
			ignored++
		}
	}
	require.Greater(t, ignored, 500, "a flood is not worked off")
	ignored = 0
	for i := range 1000 {
		if v, _ := a.manager().Validate(t.Context(), topic, membership.PeerID(fmt.Sprint("name ", i)), beat); v == network.Ignore {
			ignored++
		}
	}
	require.Greater(t, ignored, 400, "nor one under many names")
	signed, err := wire.EncodeBroadcast(envelope(group, good))
	require.NoError(t, err)
	verdict, _ = a.manager().Validate(t.Context(), topic, "another", signed)
	require.Equal(t, network.Accept, verdict, "what is signed comes through")
	_, found := a.role(ctxID, key.Public())
	require.False(t, found, "judging alone changes nothing")
}

// TestPending_Bounded: operations that build on what nobody has are kept in bounded number and do no harm.
func TestPending_Bounded(t *testing.T) {
	t.Parallel()
	l := newLAN()
	a, b := l.node(t, "a"), l.node(t, "b")
	admin := a.create(7)
	inv := a.invite(ctxID, admin, time.Hour)
	payload, err := wire.Encode(inv.ContextInvitation)
	require.NoError(t, err)
	topic := wire.GroupTopic(domain.GroupID(ctxID))
	for i := range 1200 {
		key, err := domain.NewPrivateKey()
		require.NoError(t, err)
		raw := op(t, key, domain.GroupID(ctxID), wire.OpMemberJoinedViaContextInvitation{
			Context: ctxID, Inviter: admin, Payload: payload, InviterSignature: inv.Signature,
		}, domain.Hash{1, byte(i), byte(i >> 8)})
		data, err := wire.EncodeBroadcast(wire.SignedGroupOpV1{Payload: raw})
		require.NoError(t, err)
		verdict, in := a.manager().Validate(t.Context(), topic, membership.PeerID(key.Public().String()), data)
		require.Equal(t, network.Accept, verdict)
		a.manager().Handle(in)
	}
	joined, err := b.join(inv)
	require.NoError(t, err)
	a.knows(ctxID, joined)
	row, _, err := store.GroupOpHead.Get(t.Context(), a.db, domain.GroupID(ctxID))
	require.NoError(t, err)
	require.LessOrEqual(t, row.Sequence, uint64(4))
}

// FuzzValidate: no message stops a node.
func FuzzValidate(f *testing.F) {
	for _, m := range []wire.Broadcast{
		wire.GroupStateHeartbeat{Group: domain.GroupID(ctxID), DagHeads: []domain.Hash{{1}}},
		wire.GroupGovernanceDelta{Group: domain.GroupID(ctxID), Payload: []byte{3}},
		wire.GroupMutation{Group: domain.GroupID(ctxID)},
	} {
		data, err := wire.EncodeBroadcast(m)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := newLAN().node(t, "a")
		a.create(7)
		if v, in := a.manager().Validate(t.Context(), wire.GroupTopic(domain.GroupID(ctxID)), "x", data); v == network.Accept && in != nil {
			a.manager().Handle(in)
		}
	})
}
