package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// TestInvitedGenesis: it counts with the invitation and the inviter it was made for, and as it was.
func TestInvitedGenesis(t *testing.T) {
	t.Parallel()
	creator, inviter := domain.PrivateKey{1}, domain.PrivateKey{2}
	genesis, err := wire.GroupGenesis{Kind: wire.GenesisVouched, Group: domain.GroupID{7}, Creator: creator.Public()}.Sign(creator, nil)
	require.NoError(t, err)
	invitation := domain.Hash{9}
	made, err := wire.VouchFor(genesis, invitation, inviter)
	require.NoError(t, err)

	text, err := json.Marshal(made)
	require.NoError(t, err)
	var back wire.InvitedGenesis
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, made, back)
	require.NoError(t, back.Verify(genesis.Group, invitation, inviter.Public()))

	require.ErrorContains(t, back.Verify(domain.GroupID{8}, invitation, inviter.Public()), "has the genesis of group")
	require.ErrorContains(t, back.Verify(genesis.Group, domain.Hash{8}, inviter.Public()), "does not vouch")
	require.ErrorContains(t, back.Verify(genesis.Group, invitation, creator.Public()), "does not vouch")
	other := back
	other.Genesis.CreatedAt++
	require.ErrorIs(t, other.Verify(genesis.Group, invitation, inviter.Public()), errkind.Invalid)
	other = back
	other.Genesis, err = wire.GroupGenesis{Kind: wire.GenesisVouched, Group: genesis.Group, Creator: inviter.Public()}.Sign(inviter, nil)
	require.NoError(t, err)
	require.ErrorContains(t, other.Verify(genesis.Group, invitation, inviter.Public()), "does not vouch")

	require.ErrorIs(t, back.UnmarshalText([]byte("zz")), errkind.Invalid)
	require.ErrorIs(t, back.UnmarshalText([]byte("00")), errkind.Invalid)
	require.ErrorIs(t, back.UnmarshalText([]byte(strings.Repeat("00", 5<<10))), errkind.TooLarge)
}

func FuzzInvitedGenesis(f *testing.F) {
	genesis, err := wire.GroupGenesis{Creator: domain.PrivateKey{1}.Public()}.Sign(domain.PrivateKey{1}, nil)
	require.NoError(f, err)
	made, err := wire.VouchFor(genesis, domain.Hash{9}, domain.PrivateKey{2})
	require.NoError(f, err)
	raw, err := wire.Encode(made)
	require.NoError(f, err)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, in []byte) { canonical[wire.InvitedGenesis](t, in) })
}
