package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

func TestGroupGenesis(t *testing.T) {
	t.Parallel()
	creator, id := domain.PrivateKey{1}, domain.PrivateKey{2}
	alias, parent := "team", domain.GroupID{7}
	plain := wire.GroupGenesis{
		Creator: creator.Public(), AppKey: domain.Hash{3}, Target: domain.ApplicationID{4}, CreatedAt: 1700000000, AutoJoin: true,
		Parent: &parent, Alias: &alias, Salt: [32]byte{9},
	}
	for kind, secret := range map[wire.GenesisKind]*domain.PrivateKey{
		wire.GenesisDerived: nil, wire.GenesisCertified: &id, wire.GenesisVouched: nil,
	} {
		g := plain
		g.Kind, g.Group = kind, domain.GroupID(id.Public())
		g, err := g.Sign(creator, secret)
		require.NoError(t, err)
		raw, err := wire.Encode(g)
		require.NoError(t, err)
		back, err := wire.Decode[wire.GroupGenesis](raw)
		require.NoError(t, err)
		require.Equal(t, g, back)
		require.NoError(t, back.Verify())
		for i := range raw {
			bad := append([]byte(nil), raw...)
			bad[i] ^= 1
			if altered, err := wire.Decode[wire.GroupGenesis](bad); err == nil {
				require.Error(t, altered.Verify(), "byte %d of kind %d", i, kind)
			}
		}
		if kind == wire.GenesisDerived {
			// The signatures are over bytes that anybody may sign; the id is what cannot be taken.
			stolen := back
			stolen.Creator = id.Public()
			stolen, err = stolen.Sign(id, nil)
			require.NoError(t, err)
			require.NotEqual(t, back.Group, stolen.Group)
		}
	}
	certified := plain
	certified.Kind = wire.GenesisCertified
	_, err := certified.Sign(creator, nil)
	require.ErrorContains(t, err, "not signed by the group's id")
}

func FuzzGroupGenesis(f *testing.F) {
	g, err := wire.GroupGenesis{Creator: domain.PrivateKey{1}.Public()}.Sign(domain.PrivateKey{1}, nil)
	require.NoError(f, err)
	raw, err := wire.Encode(g)
	require.NoError(f, err)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, in []byte) {
		canonical[wire.GroupGenesis](t, in)
		if g, err := wire.Decode[wire.GroupGenesis](in); err == nil {
			_ = g.Verify()
		}
	})
}
