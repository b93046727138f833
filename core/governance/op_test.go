package governance_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

var (
	group  = domain.GroupID{0xaa}
	admin  = domain.PrivateKey{0x42}
	joiner = domain.PrivateKey{0x43}
)

func signed(t testing.TB, key domain.PrivateKey, nonce uint64, body wire.GroupOp, parents ...domain.Hash) governance.Op {
	op, err := governance.NewOp(group, sign(t, key, nonce, body, parents...))
	require.NoError(t, err)
	return op
}

func sign(t testing.TB, key domain.PrivateKey, nonce uint64, body wire.GroupOp, parents ...domain.Hash) wire.SignedGroupOp {
	s, err := wire.SignableGroupOp{
		Version: wire.GroupOpVersion, Group: group, Signer: key.Public(), Nonce: nonce, Op: body, Parents: parents,
	}.Sign(key)
	require.NoError(t, err)
	return s
}

// TestInvitations follows real invitations, with their signatures, from the bytes to the verdict.
func TestInvitations(t *testing.T) {
	t.Parallel()
	invite := func(group domain.GroupID) wire.SignedGroupInvitation {
		i := wire.GroupInvitation{Inviter: admin.Public(), Target: group, Expiration: 5}
		signature, err := i.Sign(admin)
		require.NoError(t, err)
		return wire.SignedGroupInvitation{Invitation: i, InviterSignature: signature}
	}
	claim := func(i wire.SignedGroupInvitation) wire.OpJoinWithInvitationClaim {
		c, err := i.Claim(joiner)
		require.NoError(t, err)
		return c
	}
	context := wire.ContextInvitation{Inviter: admin.Public(), Target: domain.ContextID{0x33}, Expiration: 5}
	payload, err := wire.Encode(context)
	require.NoError(t, err)
	signature, err := context.Sign(admin)
	require.NoError(t, err)
	joins := wire.OpMemberJoinedViaContextInvitation{
		Context: context.Target, Inviter: context.Inviter, Payload: payload, InviterSignature: signature,
	}
	forged := invite(group)
	forged.InviterSignature = signature
	stolen := claim(invite(group))
	stolen.InviteeSignature = forged.InviterSignature
	elsewhere, unsigned := joins, joins
	elsewhere.Context[0]++
	unsigned.InviterSignature = ""

	register := signed(t, admin, 1, wire.OpContextRegistered{Context: context.Target})
	for name, c := range map[string]struct {
		body wire.GroupOp
		want governance.Code
	}{
		"group":                {claim(invite(group)), governance.Applied},
		"other group":          {claim(invite(domain.GroupID{1})), governance.RefusedInvitationGroup},
		"forged":               {claim(forged), governance.RefusedInvitationSignature},
		"signature of another": {stolen, governance.RefusedInvitationSignature},
		"context":              {joins, governance.Applied},
		"other context":        {elsewhere, governance.RefusedInvitationPayload},
		"context, unsigned":    {unsigned, governance.RefusedInvitationSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := governance.NewEngine(governance.Genesis{Founder: admin.Public()}, nil)
			_, err := e.Add(register)
			require.NoError(t, err)
			op := signed(t, joiner, 1, c.body, register.ID)
			require.Equal(t, c.want, e.Try(op))
			changes, err := e.Add(op)
			require.NoError(t, err)
			require.Equal(t, []governance.Change{{ID: op.ID, New: governance.Verdict{Code: c.want}}}, changes)
			require.NotEmpty(t, c.want.Reason())
			_, member := e.State().Members[joiner.Public()]
			require.Equal(t, c.want == governance.Applied, member)
		})
	}
}

func TestNewOpRefuses(t *testing.T) {
	t.Parallel()
	s := sign(t, admin, 1, wire.OpNoop{})
	_, err := governance.NewOp(domain.GroupID{1}, s)
	require.ErrorIs(t, err, errkind.Invalid)
	s.Nonce++
	_, err = governance.NewOp(group, s)
	require.ErrorIs(t, err, wire.ErrGroupOpSignature)
	parents := make([]domain.Hash, 257)
	for i := range parents {
		parents[i] = domain.Hash{1}
	}
	op := signed(t, admin, 1, wire.OpNoop{}, parents...)
	require.Equal(t, governance.RefusedTooManyParents, op.Fault)
	require.Equal(t, []domain.Hash{{1}}, op.Parents)
	op = signed(t, admin, 1, wire.OpNoop{}, domain.Hash{}, domain.Hash{2}, domain.Hash{1}, domain.Hash{2})
	require.Equal(t, []domain.Hash{{1}, {2}}, op.Parents)
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	e := governance.NewEngine(governance.Genesis{Founder: admin.Public()}, nil)
	_, err := e.Add(signed(t, admin, 1, wire.OpNoop{}, domain.Hash{7}))
	require.ErrorIs(t, err, errkind.Precondition)
	require.Zero(t, e.Len())
	op := signed(t, admin, 1, wire.OpNoop{})
	_, err = e.Add(op)
	require.NoError(t, err)
	changes, err := e.Add(op)
	require.NoError(t, err)
	require.Empty(t, changes, "a duplicate")
	_, known := e.Verdict(domain.Hash{7})
	require.False(t, known)
}

// FuzzOp feeds operations of any bytes to a group: nothing may panic, and a second group must agree.
func FuzzOp(f *testing.F) {
	for _, body := range []wire.GroupOp{wire.OpNoop{}, wire.OpMemberRemoved{Member: admin.Public()}, wire.OpJoinWithInvitationClaim{}} {
		raw, err := wire.Encode(sign(f, admin, 1, body))
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := wire.DecodeSignedGroupOp(raw)
		if err != nil {
			return
		}
		// Signed anew, or no input would ever get past the signature.
		s.SignableGroupOp.Signer, s.SignableGroupOp.Version, s.Parents = admin.Public(), wire.GroupOpVersion, nil
		again, err := s.SignableGroupOp.Sign(admin)
		if err != nil {
			return
		}
		op, err := governance.NewOp(s.Group, again)
		require.NoError(t, err)
		e := governance.NewEngine(governance.Genesis{Founder: admin.Public()}, nil)
		changes, err := e.Add(op)
		require.NoError(t, err)
		want := governance.Evaluate(governance.Genesis{Founder: admin.Public()}, nil, []governance.Op{op})
		require.Equal(t, want.Verdicts[op.ID], changes[0].New)
		require.Equal(t, want.State, e.State())
	})
}

// FuzzHistory is TestConvergence on histories that nobody ran yet.
func FuzzHistory(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		w := newWorld(t, seed)
		w.run(10 + w.rng.IntN(30))
		w.check(seed)
	})
}

// BenchmarkAdd is one operation in a linear history, signatures not counted.
func BenchmarkAdd(b *testing.B) {
	e := governance.NewEngine(governance.Genesis{Founder: admin.Public()}, nil)
	b.ReportAllocs()
	for i := range b.N {
		op := governance.Op{
			ID: domain.Hash{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24), 1}, Parents: e.Heads(), Author: admin.Public(),
			Nonce: uint64(i) + 1, Body: wire.OpMemberAdded{Member: domain.PublicKey{byte(i), byte(i >> 8)}, Role: domain.RoleMember},
		}
		if _, err := e.Add(op); err != nil {
			b.Fatal(err)
		}
	}
}
