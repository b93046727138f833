package edges_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/network"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// executions are the rows about calls, and the deltas that they make.
var executions = []edge{
	{48, "a reader calls a method that writes", "", func(t *testing.T, r *rig) {
		c := r.create(true)
		reader := r.joined(c)
		r.issue(admin, wire.OpMemberRoleSet{Member: reader, Role: domain.RoleReadOnly})
		before, err := r.contexts.Get(t.Context(), c.ContextID)
		require.NoError(t, err)
		published := len(r.port.published(wire.ContextTopic(c.ContextID)))
		answer, err := r.call(c.ContextID, reader, "set", "mine")
		require.NoError(t, err)
		require.Equal(t, `"done"`, string(answer.Output))
		require.Equal(t, before.RootHash, answer.RootHash)
		after, err := r.contexts.Get(t.Context(), c.ContextID)
		require.NoError(t, err)
		require.Equal(t, before, after)
		for _, raw := range r.port.published(wire.ContextTopic(c.ContextID))[published:] {
			message, err := wire.DecodeBroadcast(raw)
			require.NoError(t, err)
			require.IsType(t, wire.HashHeartbeat{}, message, "no delta")
		}
	}},
	{49, "a reader's delta arrives", "", func(t *testing.T, r *rig) {
		c := r.create(true)
		fresh := r.beside("fresh", nil)
		who := fresh.newIdentity()
		fresh.ok("POST", "/contexts/join", r.invite(c, who), nil)
		r.eventually("both have the state", func() bool {
			_, err := fresh.call(c.ContextID, who, "get", "")
			return err == nil
		})
		topic := wire.ContextTopic(c.ContextID)
		require.NoError(t, r.beside("bystander", nil).port.Subscribe(t.Context(), topic)) // nothing is published for nobody
		r.lan.setCut(r.port, true)
		r.issue(admin, wire.OpMemberRoleSet{Member: who, Role: domain.RoleReadOnly})
		_, err := fresh.call(c.ContextID, who, "set", "a reader's")
		require.NoError(t, err, "it does not know yet")
		var signed wire.SignedDelta
		r.eventually("its delta is published", func() bool {
			for _, raw := range fresh.port.published(topic) {
				message, err := wire.DecodeBroadcast(raw)
				require.NoError(t, err)
				if d, ok := message.(wire.SignedDelta); ok && d.Author == who {
					signed = d
					return true
				}
			}
			return false
		})
		for _, m := range []wire.Broadcast{signed, signed.StateDelta} {
			raw, err := wire.EncodeBroadcast(m)
			require.NoError(t, err)
			verdict, in := r.deltas.Validate(t.Context(), topic, fresh.port.id, raw)
			require.Equal(t, network.Ignore, verdict)
			require.Nil(t, in)
		}
		require.Equal(t, "initial", r.get(c))
	}},
	{50, "a call in a context without state", "", func(t *testing.T, r *rig) {
		c := r.create(true)
		fresh := r.beside("fresh", nil)
		who := fresh.newIdentity()
		body := r.invite(c, who)
		r.lan.setCut(r.port, true)
		fresh.ok("POST", "/contexts/join", body, nil)
		_, err := fresh.call(c.ContextID, who, "get", "")
		requireCall(t, err, contexts.Uninitialized, "context state not initialized, awaiting state sync")
	}},
	{51, "a call as an identity without a sender key", "", func(t *testing.T, r *rig) {
		c := r.create(true)
		b := r.db.Batch()
		store.ContextIdentity.Put(b, store.IdentityKey{Context: c.ContextID, Identity: member.Public()}, wire.ContextIdentity{PrivateKey: &member})
		require.NoError(t, b.Commit(t.Context()))
		for _, who := range []domain.PublicKey{member.Public(), stranger.Public()} {
			_, err := r.call(c.ContextID, who, "get", "")
			requireCall(t, err, contexts.Unauthorized, "cannot execute request as '"+who.String()+"' on context '"+c.ContextID.String()+"'")
		}
	}},
}

func requireCall(t *testing.T, err error, kind contexts.CallErrorType, text string) {
	t.Helper()
	var call *contexts.CallError
	require.ErrorAs(t, err, &call)
	require.Equal(t, kind, call.Type)
	require.EqualError(t, call, text)
}

// joined makes another identity of the node a member of a context and its group.
func (r *rig) joined(c created) domain.PublicKey {
	r.t.Helper()
	who := r.newIdentity()
	r.ok("POST", "/contexts/join", r.invite(c, who), nil)
	require.Equal(r.t, "initial", r.get(created{c.ContextID, who}))
	return who
}
