package governance_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// linear is the reference as its specification describes it, with our differences (governance-join.md §7, marked D): one
// operation after the other, on rows.
type linear struct {
	governance.State
	registrar map[domain.ContextID]domain.PublicKey
	nonces    map[domain.PublicKey]uint64
}

func newLinear(g governance.Genesis) *linear {
	return &linear{
		State: governance.State{
			Members:      map[domain.PublicKey]domain.MemberRole{g.Founder: domain.RoleAdmin},
			Capabilities: map[domain.PublicKey]domain.GroupCapabilities{}, Policy: g.Policy, AppKey: g.AppKey, Target: g.Target,
			Contexts: map[domain.ContextID]bool{}, Visibility: map[domain.ContextID]wire.GroupContextVisibility{},
			Allowlists: map[governance.ContextMember]bool{}, ContextCaps: map[governance.ContextMember]domain.ContextCapability{},
			ContextAlias: map[domain.ContextID]string{}, MemberAlias: map[domain.PublicKey]string{},
			Subgroups: map[domain.GroupID]bool{}, Closed: map[domain.Hash]bool{}, Used: map[domain.Hash]bool{},
			EverAdmins: map[domain.PublicKey]bool{g.Founder: true}, Joined: map[domain.PublicKey]bool{},
		},
		registrar: map[domain.ContextID]domain.PublicKey{}, nonces: map[domain.PublicKey]uint64{},
	}
}

func (l *linear) admin(who domain.PublicKey) bool {
	role, member := l.Members[who]
	return member && role == domain.RoleAdmin
}

func (l *linear) member(who domain.PublicKey) bool { _, member := l.Members[who]; return member }

func (l *linear) may(who domain.PublicKey, bit domain.GroupCapabilities) bool {
	return l.admin(who) || l.member(who) && l.Capabilities[who].Has(bit)
}

func (l *linear) last(who domain.PublicKey) bool {
	admins := 0
	for _, role := range l.Members {
		if role == domain.RoleAdmin {
			admins++
		}
	}
	return l.admin(who) && admins == 1
}

// creator reports whether somebody is the stored creator of a context.
func (l *linear) creator(who domain.PublicKey, c domain.ContextID) bool {
	vis, known := l.Visibility[c]
	return l.member(who) && known && vis.Creator == who
}

func (l *linear) setCaps(who domain.PublicKey, caps domain.GroupCapabilities) {
	if l.Capabilities[who] = caps; caps == 0 {
		delete(l.Capabilities, who)
	}
}

func (l *linear) put(who domain.PublicKey, role domain.MemberRole, joined bool) {
	if !l.member(who) && role != domain.RoleAdmin && l.Defaults != 0 {
		l.setCaps(who, l.Defaults)
	}
	l.Members[who] = role
	delete(l.Joined, who)
	if joined {
		l.Joined[who] = true
	}
	if role == domain.RoleAdmin {
		l.EverAdmins[who] = true
	}
}

// apply reports whether an operation counts.
func (l *linear) apply(op governance.Op) bool {
	if l.Deleted || op.Nonce <= l.nonces[op.Author] || !l.members(op) {
		return false
	}
	l.nonces[op.Author] = op.Nonce
	if l.Deleted {
		l.State = governance.State{Deleted: true}
	}
	return true
}

// members applies what is about members, and passes on the rest.
func (l *linear) members(op governance.Op) bool {
	who := op.Author
	switch body := op.Body.(type) {
	case wire.OpNoop:
		return l.member(who)
	case wire.OpMemberAdded:
		lowers := l.admin(body.Member) && body.Role != domain.RoleAdmin
		role, known := l.Members[body.Member]
		own := body.Member == who && (!known || role != body.Role)
		if !l.may(who, domain.CanManageMembers) || lowers && l.last(body.Member) ||
			(body.Role == domain.RoleAdmin || lowers || own) && !l.admin(who) {
			return false
		}
		l.put(body.Member, body.Role, false)
	case wire.OpMemberRemoved:
		if !l.may(who, domain.CanManageMembers) || l.admin(body.Member) && !l.admin(who) || l.last(body.Member) {
			return false
		}
		l.remove(body.Member)
	case wire.OpMemberRoleSet:
		if !l.admin(who) || body.Role != domain.RoleAdmin && l.last(body.Member) {
			return false
		}
		l.put(body.Member, body.Role, false)
	case wire.OpMemberCapabilitySet:
		if !l.admin(who) {
			return false
		}
		if body.Capabilities == governance.CloseInvitation {
			l.Closed[domain.Hash(body.Member)] = true
		} else {
			l.setCaps(body.Member, body.Capabilities)
		}
	case wire.OpJoinWithInvitationClaim:
		if !l.invited(op) || l.member(who) {
			return false
		}
		l.join(op)
	case wire.OpMemberJoinedViaContextInvitation:
		if !l.invited(op) || !l.Contexts[body.Context] {
			return false
		}
		if !l.member(who) {
			l.join(op)
		}
	case wire.OpMemberJoinedViaTeeAttestation:
		passes := len(l.TeePolicies) > 0 && slices.Contains(l.TeePolicies[0].MRTD, body.MRTD)
		if !l.member(who) || !passes || body.Role == domain.RoleAdmin && !l.admin(who) {
			return false
		}
		if !l.member(body.Member) {
			l.put(body.Member, body.Role, body.Role != domain.RoleAdmin)
		}
	default:
		return l.contexts(op)
	}
	return true
}

func (l *linear) remove(who domain.PublicKey) {
	delete(l.Members, who)
	delete(l.Joined, who)
	delete(l.Capabilities, who)
	for in := range l.Allowlists {
		if in.Member == who {
			delete(l.Allowlists, in)
		}
	}
	for in := range l.ContextCaps {
		if in.Member == who {
			delete(l.ContextCaps, in)
		}
	}
}

func (l *linear) invited(op governance.Op) bool {
	c := op.Claim
	return !l.Closed[c.Invitation] && !(c.OneUse && l.Used[c.Invitation]) && l.may(c.Inviter, domain.CanInviteMembers)
}

func (l *linear) join(op governance.Op) {
	l.put(op.Author, domain.RoleMember, true)
	if op.Claim.OneUse {
		l.Used[op.Claim.Invitation] = true
	}
}

// contexts applies what is about contexts, and passes on the rest.
func (l *linear) contexts(op governance.Op) bool {
	who := op.Author
	switch body := op.Body.(type) {
	case wire.OpContextRegistered:
		if !l.may(who, domain.CanCreateContext) {
			return false
		}
		l.Contexts[body.Context] = true
		l.registrar[body.Context] = who
	case wire.OpContextDetached:
		if !l.admin(who) || !l.Contexts[body.Context] {
			return false
		}
		delete(l.Contexts, body.Context)
	case wire.OpContextVisibilitySet:
		_, known := l.Visibility[body.Context]
		registered := l.registrar[body.Context] == who && l.member(who) && !known
		if !l.admin(who) && (body.Creator != who || !l.creator(who, body.Context) && !registered) || body.Mode > 1 {
			return false
		}
		l.Visibility[body.Context] = wire.GroupContextVisibility{Mode: body.Mode, Creator: body.Creator}
		if body.Mode == domain.VisibilityRestricted {
			l.Allowlists[governance.ContextMember{Context: body.Context, Member: body.Creator}] = true
		}
	case wire.OpContextAllowlistReplaced:
		if !l.admin(who) && !l.creator(who, body.Context) {
			return false
		}
		for in := range l.Allowlists {
			if in.Context == body.Context {
				delete(l.Allowlists, in)
			}
		}
		for _, m := range body.Members {
			l.Allowlists[governance.ContextMember{Context: body.Context, Member: m}] = true
		}
	case wire.OpContextAliasSet:
		if !l.admin(who) && !l.creator(who, body.Context) {
			return false
		}
		l.ContextAlias[body.Context] = body.Alias
	case wire.OpContextCapabilityGranted:
		return l.capability(who, body.Context, body.Member, func(c domain.ContextCapability) domain.ContextCapability { return c | body.Capability })
	case wire.OpContextCapabilityRevoked:
		return l.capability(who, body.Context, body.Member, func(c domain.ContextCapability) domain.ContextCapability { return c &^ body.Capability })
	default:
		return l.settings(op)
	}
	return true
}

func (l *linear) capability(who domain.PublicKey, c domain.ContextID, m domain.PublicKey,
	change func(domain.ContextCapability) domain.ContextCapability) bool {
	in := governance.ContextMember{Context: c, Member: m}
	if !l.may(who, domain.CanManageMembers) {
		return false
	}
	if l.ContextCaps[in] = change(l.ContextCaps[in]); l.ContextCaps[in] == 0 {
		delete(l.ContextCaps, in)
	}
	return true
}

func (l *linear) settings(op governance.Op) bool {
	who := op.Author
	switch body := op.Body.(type) {
	case wire.OpTargetApplicationSet:
		if !l.may(who, domain.CanManageApplication) {
			return false
		}
		l.AppKey, l.Target = body.AppKey, body.Target
		return true
	case wire.OpGroupMigrationSet:
		if !l.may(who, domain.CanManageApplication) {
			return false
		}
		l.Migration = body.Migration
		return true
	case wire.OpMemberAliasSet:
		if !l.admin(who) && (body.Member != who || !l.member(who)) {
			return false
		}
		l.MemberAlias[body.Member] = body.Alias
		return true
	}
	if !l.admin(who) {
		return false
	}
	switch body := op.Body.(type) {
	case wire.OpDefaultCapabilitiesSet:
		l.Defaults = body.Capabilities
	case wire.OpUpgradePolicySet:
		l.Policy = body.Policy
	case wire.OpDefaultVisibilitySet:
		if body.Mode > 1 {
			return false
		}
		l.DefaultVisibility = &body.Mode
	case wire.OpGroupAliasSet:
		l.Alias = &body.Alias
	case wire.OpGroupDelete:
		l.Deleted = len(l.Contexts) == 0
		return l.Deleted
	case wire.OpSubgroupCreated:
		l.Subgroups[body.Child] = true
	case wire.OpSubgroupRemoved:
		if !l.Subgroups[body.Child] {
			return false
		}
		delete(l.Subgroups, body.Child)
	case wire.OpTeeAdmissionPolicySet:
		l.TeePolicies = []wire.OpTeeAdmissionPolicySet{body}
	}
	return true
}

// TestLinear: where everybody saw everything, the group is the reference's, but for the differences that are meant.
func TestLinear(t *testing.T) {
	t.Parallel()
	applied, kinds := 0, map[wire.GroupOpKind]int{}
	for seed := range uint64(cases(300, 3000)) {
		w := newWorld(t, seed)
		w.inherited = nil
		n := w.newPeer()
		n.engine = governance.NewEngine(w.genesis, nil)
		model := newLinear(w.genesis)
		var before []domain.Hash
		for range 40 {
			op := w.write(n)
			if op.Parents = before; before == nil && op.Claim != nil {
				continue // judged as if it were beside all that follows
			}
			before = []domain.Hash{op.ID}
			w.ops = append(w.ops, op)
			n.take(t, false, op)
			counts := model.apply(op)
			require.Equal(t, counts, n.said[op.ID].Code == governance.Applied, "seed %d: %T %+v by %x is %s", seed, op.Body, op.Body,
				op.Author[:1], n.said[op.ID].Code)
			if counts {
				applied++
				kinds[op.Body.Kind()]++
			}
		}
		got := n.engine.State()
		if got.Links = nil; !got.Deleted {
			require.Equal(t, &model.State, got, "seed %d", seed)
		}
		require.Equal(t, model.Deleted, got.Deleted)
	}
	require.Greater(t, applied, cases(300, 3000)*10)
	require.Len(t, kinds, 26, "every variant counts somewhere: "+strconv.Itoa(len(kinds)))
}
