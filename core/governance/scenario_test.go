package governance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

// texts are the reference's refusals, by what begins them, and our verdicts.
var texts = map[string]governance.Code{
	"requester is not an admin":                                    governance.RefusedNotAdmin,
	"requester lacks permission":                                   governance.RefusedNoCapability,
	"only group admin or members with CAN_CREATE":                  governance.RefusedNoCapability,
	"context is not registered":                                    governance.RefusedContextNotInGroup,
	"only a direct group admin or context creator can set context": governance.RefusedCreatorClaim,
	"context visibility not found":                                 governance.RefusedNoVisibility,
	"child group is not a subgroup":                                governance.RefusedNotASubgroup,
	"MemberJoinedViaTeeAttestation rejected: no":                   governance.RefusedTeeNoPolicy,
}

// TestScenarios runs operations that the reference was given, one after the other, on a group with an admin and a member.
// Where we differ on purpose, the difference is listed with its reason.
func TestScenarios(t *testing.T) {
	t.Parallel()
	type in struct{ Steps []golden.Hex }
	type out struct {
		Steps []struct {
			OK    bool
			Error string
		}
	}
	differ := map[string]governance.Code{}
	for _, c := range golden.Group[in, out](t, "testdata/scenarios.json.gz", "scenario") {
		founder, other := domain.PrivateKey{}, domain.PrivateKey{}
		for i := range founder {
			founder[i], other[i] = 0x42, 0x43
		}
		group := domain.GroupID{}
		for i := range group {
			group[i] = 0xaa
		}
		e := governance.NewEngine(governance.Genesis{Founder: founder.Public()}, nil)
		e.Assume(other.Public(), domain.RoleMember)
		for i, raw := range c.In.Steps {
			want, got := c.Out.Steps[i], governance.Code("error")
			signed, err := wire.DecodeSignedGroupOp(raw)
			require.NoError(t, err)
			if op, err := governance.NewOp(group, signed); err == nil {
				op.Parents = e.Heads() // the reference looks at no parents
				changes, err := e.Add(op)
				require.NoError(t, err)
				got = "known"
				if len(changes) > 0 {
					got = changes[0].New.Code
				}
			}
			name := fmt.Sprintf("%s %d", c.Name, i)
			if want.OK == (got == governance.Applied || got == "known") {
				for prefix, code := range texts {
					if strings.HasPrefix(want.Error, prefix) && code != got {
						differ[name] = got
					}
				}
				continue
			}
			differ[name] = got
		}
	}
	require.Equal(t, map[string]governance.Code{
		// The context that the invitation names is none of the group's.
		"admin_member_joined_via_context_invitation 0": governance.RefusedContextNotInGroup,
		// A stranger names itself.
		"aliases 2": governance.RefusedNotAdminOrSelf,
		// A removed member uses a capability that stayed.
		"capability_manage_members 9": governance.RefusedNoCapability,
		// Somebody claims to be a context's creator; the real one goes on.
		"context_lifecycle 7": governance.RefusedCreatorClaim,
		"context_lifecycle 8": governance.Applied,
		"context_lifecycle 9": governance.RefusedNotAdminOrCreator,
		// Strangers merge heads.
		"fork_and_merge_heads 1": governance.RefusedNotAMember,
		"fork_and_merge_heads 2": governance.RefusedNotAMember,
		// The reference swallows a nonce that was used, and calls it a success.
		"nonces 3": governance.RefusedNonceStale,
		"nonces 5": governance.RefusedNonceStale,
		// The state hash has no weight.
		"stale_state_hash 1": governance.Applied,
		// A member admits an admin.
		"tee 8": governance.RefusedOnlyAdminAddsAdmin,
	}, differ)
}
