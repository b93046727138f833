package admin

import (
	"context"
	"slices"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// SetTeePolicy sets which attested nodes may be admitted.
func (s *Service) SetTeePolicy(ctx context.Context, id domain.GroupID, policy wire.OpTeeAdmissionPolicySet, requester *domain.PublicKey) error {
	a, err := s.act(ctx, id, requester)
	if err != nil {
		return err
	}
	return a.issue(ctx, policy)
}

// Attestation is what a quote that was verified says.
type Attestation struct {
	Member                                      domain.PublicKey
	Quote                                       domain.Hash // of the quote
	MRTD, RTMR0, RTMR1, RTMR2, RTMR3, TCBStatus string
	// Mock: the quote is of no hardware.
	Mock bool
}

// AdmitTee adds an attested node as a member, on the node's word that it verified the quote. A member is no error.
func (s *Service) AdmitTee(ctx context.Context, id domain.GroupID, t Attestation) error {
	if s.opts.Identity.Node() == nil {
		return errkind.Precondition.Errorf("node has no configured group identity for TEE admission")
	}
	a, err := s.act(ctx, id, nil)
	if err != nil {
		return err
	}
	if len(a.state.TeePolicies) == 0 {
		return errkind.Precondition.Errorf("no TeeAdmissionPolicy set for group")
	}
	for _, p := range a.state.TeePolicies {
		if err := fits(p, t); err != nil {
			return err
		}
	}
	if _, member, err := s.opts.Groups.Role(ctx, id, t.Member); err != nil || member {
		return err
	}
	if used, err := s.quoteUsed(ctx, id, t.Quote); err != nil {
		return err
	} else if used {
		return errkind.Precondition.Errorf("TEE attestation quote already used")
	}
	return a.issue(ctx, wire.OpMemberJoinedViaTeeAttestation{
		Member: t.Member, QuoteHash: t.Quote, MRTD: t.MRTD, RTMR0: t.RTMR0, RTMR1: t.RTMR1, RTMR2: t.RTMR2, RTMR3: t.RTMR3,
		TCBStatus: t.TCBStatus, Role: domain.RoleMember,
	})
}

// fits compares a quote with a policy, in the reference's order; an empty list takes anything.
func fits(p wire.OpTeeAdmissionPolicySet, t Attestation) error {
	if t.Mock && !p.AcceptMock {
		return errkind.PermissionDenied.Errorf("mock attestation rejected by group policy")
	}
	for _, x := range []struct {
		name    string
		allowed []string
		value   string
	}{
		{"MRTD", p.MRTD, t.MRTD}, {"TCB status", p.TCBStatuses, t.TCBStatus}, {"RTMR0", p.RTMR0, t.RTMR0},
		{"RTMR1", p.RTMR1, t.RTMR1}, {"RTMR2", p.RTMR2, t.RTMR2}, {"RTMR3", p.RTMR3, t.RTMR3},
	} {
		if len(x.allowed) > 0 && !slices.Contains(x.allowed, x.value) {
			return errkind.PermissionDenied.Errorf("%s not in policy allowlist", x.name)
		}
	}
	return nil
}

// quoteUsed looks for an earlier admission by the same quote.
func (s *Service) quoteUsed(ctx context.Context, id domain.GroupID, quote domain.Hash) (bool, error) {
	for from := 0; ; from += MaxLog {
		entries, total, err := s.opts.Groups.Log(ctx, id, from, MaxLog)
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			if join, ok := e.Op.Body.(wire.OpMemberJoinedViaTeeAttestation); ok && join.QuoteHash == quote {
				return true, nil
			}
		}
		if from+len(entries) >= total {
			return false, nil
		}
	}
}
