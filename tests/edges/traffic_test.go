package edges_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// traffic are the rows about gossip and streams.
var traffic = []edge{
	{45, "an operation while nobody is there", "all of it comes later: who lacks heads asks for what they build on too", func(t *testing.T, r *rig) {
		peer := r.beside("peer", nil)
		require.NoError(t, peer.service.Found(t.Context(), r.genesis))
		require.NoError(t, peer.members.Follow(t.Context(), r.genesis.Group))
		r.lan.setCut(r.port, true)
		for _, alias := range []string{"a", "b", "c"} {
			r.ok("PUT", r.path("/alias"), `{"alias":"`+alias+`"}`, nil)
		}
		r.issue(admin, wire.OpMemberAdded{Member: member.Public(), Role: domain.RoleMember})
		require.Zero(t, peer.loggedIn(r.genesis.Group))
		r.lan.setCut(r.port, false)
		r.eventually("all operations arrive", func() bool { return peer.loggedIn(r.genesis.Group) == 4 })
		require.Equal(t, "Member", peer.role(r.genesis.Group, member))
	}},
	{46, "an envelope that names another group than its operation", "", func(t *testing.T, r *rig) {
		group := r.grow(admin, 1, nil)
		id, raw := r.signIn(group, admin, 1, wire.OpNoop{})
		r.drops(wire.GroupTopic(r.genesis.Group), wire.GroupGovernanceDelta{Group: r.genesis.Group, Delta: id, Payload: raw})
		_, raw = r.sign(admin, 1, wire.OpNoop{})
		verdict, in := r.hears(wire.GroupTopic(r.genesis.Group), wire.GroupGovernanceDelta{Group: r.genesis.Group, Payload: raw})
		require.Equal(t, network.Accept, verdict, "the id in the envelope counts for nothing")
		require.NotNil(t, in)
	}},
	{47, "an operation on the topic of another group", "also with an envelope of its own group: the topic is whom it is for", func(t *testing.T, r *rig) {
		group := r.grow(admin, 1, nil)
		require.NoError(t, r.members.Follow(t.Context(), group))
		id, raw := r.sign(admin, 1, wire.OpNoop{})
		for _, m := range []wire.Broadcast{
			wire.SignedGroupOpV1{Payload: raw}, wire.GroupGovernanceDelta{Group: r.genesis.Group, Delta: id, Payload: raw},
		} {
			r.drops(wire.GroupTopic(group), m)
			verdict, _ := r.hears(wire.GroupTopic(r.genesis.Group), m)
			require.Equal(t, network.Accept, verdict, "on its own it is taken")
		}
	}},
	{59, "an unknown operation, or one of an unknown group, is asked for", "", func(t *testing.T, r *rig) {
		r.issue(admin, wire.OpNoop{})
		known := r.made()[0]
		peer := r.beside("peer", nil)
		for _, c := range []struct {
			ask   wire.GroupDeltaRequest
			found bool
		}{
			{wire.GroupDeltaRequest{Group: r.genesis.Group, Delta: known.ID}, true},
			{wire.GroupDeltaRequest{Group: r.genesis.Group, Delta: domain.Hash{1}}, false},
			{wire.GroupDeltaRequest{Group: domain.GroupID{1}, Delta: known.ID}, false},
		} {
			s, err := peer.port.open(r.port.id, wire.SyncProtocol)
			require.NoError(t, err)
			out, err := wire.EncodeStream(wire.Init{Payload: c.ask})
			require.NoError(t, err)
			require.NoError(t, s.WriteFrame(t.Context(), out))
			in, err := s.ReadFrame(t.Context(), wire.MaxFrame)
			require.NoError(t, err)
			s.end()
			answer, err := wire.DecodeStream(in)
			require.NoError(t, err)
			require.IsType(t, wire.Message{}, answer)
			payload := answer.(wire.Message).Payload //nolint:forcetypeassert // required above
			if c.found {
				require.Equal(t, wire.GroupDeltaResponse{Delta: known.ID, Parents: []domain.Hash{}, Payload: known.Raw}, payload)
			} else {
				require.Equal(t, wire.GroupDeltaNotFound{}, payload)
			}
		}
	}},
}

// hears judges a message of a peer.
func (r *rig) hears(topic string, m wire.Broadcast) (network.Verdict, any) {
	raw, err := wire.EncodeBroadcast(m)
	require.NoError(r.t, err)
	verdict, in := r.members.Validate(r.t.Context(), topic, "peer", raw)
	if in == nil {
		return verdict, nil
	}
	return verdict, in
}

func (r *rig) drops(topic string, m wire.Broadcast) {
	r.t.Helper()
	verdict, in := r.hears(topic, m)
	require.Equal(r.t, network.Reject, verdict)
	require.Nil(r.t, in)
}
