package governance

import (
	"math"
	"reflect"
	"slices"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// CloseInvitation is the value of a MemberCapabilitySet that closes the invitation named in place of a member. For the
// reference it is a capability row without effect.
const CloseInvitation domain.GroupCapabilities = 0x80000000

// judgement is what an operation is at its causal position.
type judgement struct {
	refused Code // empty: not refused
	uses    []clause
	writes  []write
	takes   takes
	rank    rank
	admin   bool // its author was an admin, directly or by inheritance
	row     bool // its author had a row
	lost    bool // it rests on inherited authority that is gone
	idle    bool // it neither takes anything nor writes what was not so
}

// judge gives the causal verdict of an operation on the state of its past.
func (v view) judge(i int) judgement {
	op := v.e.ops[i]
	j := judging{view: v, op: op, place: since{v.e.depth[i], op.ID}, index: i}
	author := v.member(op.Author)
	inherited := v.inherits(op.Author, author)
	j.out = judgement{row: author.present, admin: author.admin() || inherited, rank: rank{class: 2, id: op.ID}}
	switch {
	case author.admin():
		j.out.rank.class = 0
	case inherited:
		j.out.rank.class = 1
	}
	if author.present {
		j.out.rank.since = author.since
	}
	j.out.refused = j.verdict()
	if j.out.refused != "" {
		return judgement{refused: j.out.refused}
	}
	j.out.lost = v.e.lost(j.out.uses)
	j.out.idle = !j.out.takes.any() && !slices.ContainsFunc(j.out.writes, j.changes)
	return j.out
}

// changes reports whether a write is not what is there already.
func (v view) changes(w write) bool {
	switch {
	case w.key.kind == keyMember:
		m := v.member(w.key.who)
		return m.present == w.member.removed || m.present && (m.role != w.member.role || m.joined && !w.member.weak)
	case w.key.kind >= keyPolicy:
		return !reflect.DeepEqual(v.register(w.key), w.register)
	}
	on, written := v.bit(w.key)
	return on != w.bit || !written
}

// judging is one operation being judged.
type judging struct {
	view
	op    *Op
	place since
	index int
	out   judgement
}

func (j *judging) verdict() Code {
	if j.op.Fault != "" {
		return j.op.Fault
	}
	if j.deleted() {
		return RefusedGroupDeleted
	}
	if j.op.Nonce <= j.nonceBefore(j.index) {
		return RefusedNonceStale
	}
	switch body := j.op.Body.(type) {
	case wire.OpNoop:
		return j.need(RefusedNotAMember, j.self(), j.inherited())
	case wire.OpMemberAdded:
		return j.memberAdded(body.Member, body.Role)
	case wire.OpMemberRemoved:
		return j.memberRemoved(body.Member)
	case wire.OpMemberRoleSet:
		return j.memberRoleSet(body.Member, body.Role)
	case wire.OpMemberCapabilitySet:
		return j.memberCapabilitySet(body)
	case wire.OpDefaultCapabilitiesSet:
		return j.defaultCapabilitiesSet(uint32(body.Capabilities))
	case wire.OpContextRegistered:
		return j.contextRegistered(domain.Hash(body.Context))
	case wire.OpContextDetached:
		return j.contextDetached(domain.Hash(body.Context))
	case wire.OpContextVisibilitySet:
		return j.visibilitySet(body)
	case wire.OpContextAllowlistReplaced:
		return j.allowlistReplaced(body)
	case wire.OpJoinWithInvitationClaim:
		return j.claim()
	case wire.OpMemberJoinedViaContextInvitation:
		return j.contextClaim(domain.Hash(body.Context))
	case wire.OpMemberJoinedViaTeeAttestation:
		return j.attested(body)
	}
	return j.setting()
}

// setting judges the operations that set one thing.
func (j *judging) setting() Code {
	switch body := j.op.Body.(type) {
	case wire.OpUpgradePolicySet:
		return j.set(j.needAdmin(), key{kind: keyPolicy}, body.Policy)
	case wire.OpTargetApplicationSet:
		code := j.needCap(domain.CanManageApplication)
		t := j.target()
		t.appKey, t.application = body.AppKey, body.Target
		return j.set(code, key{kind: keyTarget}, t)
	case wire.OpGroupMigrationSet:
		code := j.needCap(domain.CanManageApplication)
		t := j.target()
		t.migration, t.migrates = string(body.Migration), body.Migration != nil
		return j.set(code, key{kind: keyTarget}, t)
	case wire.OpDefaultVisibilitySet:
		if code := j.needAdmin(); code != "" {
			return code
		}
		return j.mode(key{kind: keyDefaultMode}, body.Mode)
	case wire.OpContextAliasSet:
		id := domain.Hash(body.Context)
		code := j.need(RefusedNotAdminOrCreator, j.admin(), j.inherited(), j.tok(tokenCreator, id))
		return j.set(j.unseen(code, id), key{kind: keyContextAlias, id: id}, body.Alias)
	case wire.OpMemberAliasSet:
		alternatives := []token{j.admin(), j.inherited()}
		if body.Member == j.op.Author {
			alternatives = append(alternatives, j.self())
		}
		return j.set(j.need(RefusedNotAdminOrSelf, alternatives...), key{kind: keyMemberAlias, who: body.Member}, body.Alias)
	case wire.OpGroupAliasSet:
		return j.set(j.needAdmin(), key{kind: keyGroupAlias}, body.Alias)
	case wire.OpGroupDelete:
		code := j.needAdmin()
		if code == "" && j.anyContext() {
			return RefusedDeleteWithContexts
		}
		j.write(key{kind: keyDeleted}, true)
		return code
	case wire.OpContextCapabilityGranted:
		return j.contextCapability(body, true)
	case wire.OpContextCapabilityRevoked:
		return j.contextCapability(wire.OpContextCapabilityGranted(body), false)
	case wire.OpSubgroupCreated:
		j.write(key{kind: keyChild, id: domain.Hash(body.Child)}, true)
		return j.needAdmin()
	case wire.OpSubgroupRemoved:
		code, child := j.needAdmin(), key{kind: keyChild, id: domain.Hash(body.Child)}
		if code == "" && !j.on(child) {
			return RefusedNotASubgroup
		}
		j.write(child, false)
		return code
	case wire.OpTeeAdmissionPolicySet:
		return j.set(j.needAdmin(), key{kind: keyTee}, teePolicies{&body})
	}
	return RefusedNotAMember // no other operation can be decoded
}

func (j *judging) tok(kind tokenKind, id domain.Hash) token {
	return token{kind: kind, who: j.op.Author, id: id}
}

func (j *judging) admin() token     { return j.tok(tokenAdmin, domain.Hash{}) }
func (j *judging) inherited() token { return j.tok(tokenInherited, domain.Hash{}) }
func (j *judging) self() token      { return j.tok(tokenSelf, domain.Hash{}) }

// need adds the clause of those alternatives that are held; with none of them, the code is the verdict.
func (j *judging) need(code Code, alternatives ...token) Code {
	held := j.held(alternatives...)
	if len(held) == 0 {
		return code
	}
	j.out.uses = append(j.out.uses, held)
	return ""
}

func (j *judging) needAdmin() Code { return j.need(RefusedNotAdmin, j.admin(), j.inherited()) }

// adminOnly replaces what is used by being an admin.
func (j *judging) adminOnly(code Code) Code {
	j.out.uses = nil
	return j.need(code, j.admin(), j.inherited())
}

func (j *judging) needCap(bit domain.GroupCapabilities) Code {
	return j.need(RefusedNoCapability, j.admin(), j.inherited(), token{kind: tokenCap, who: j.op.Author, bit: bit})
}

func (j *judging) write(k key, on bool) {
	j.out.writes = append(j.out.writes, write{k, value{bit: on}})
}

func (j *judging) set(code Code, k key, register any) Code {
	j.out.writes = append(j.out.writes, write{k, value{register: register}})
	return code
}

func (j *judging) target() target {
	t, _ := j.register(key{kind: keyTarget}).(target)
	return t
}

func (j *judging) mode(k key, mode domain.VisibilityMode) Code {
	if !mode.Valid() {
		return RefusedBadMode
	}
	j.write(k, mode == domain.VisibilityRestricted)
	return ""
}

// setMember writes a role. The role of who starts now unless it is the one it has.
func (j *judging) setMember(who domain.PublicKey, role domain.MemberRole, weak bool) {
	now := j.member(who)
	w := memberWrite{weak: weak, role: role, since: j.place}
	if now.present && now.role == role {
		w.since = now.since
	}
	if !weak && role != domain.RoleAdmin && (now.admin() || j.wasAdminBefore(j.index, who)) {
		w.demotes = true
		j.out.takes.tokens = append(j.out.takes.tokens, token{kind: tokenAdmin, who: who})
	}
	j.out.writes = append(j.out.writes, write{key{kind: keyMember, who: who}, value{member: w}})
	if now.present && !j.alike(now) || role == domain.RoleAdmin {
		return
	}
	defaults := j.defaults()
	if defaults == 0 {
		return
	}
	bits := defaults | j.capabilities(who)
	if j.op.parentless() {
		bits = math.MaxUint32 // what it writes must not hang on others like it, which see what it writes
	}
	for bit := range eachBit(bits) {
		j.write(key{kind: keyCap, who: who, bit: bit}, defaults&bit != 0)
	}
}

// alike reports whether the operation is a join without parents by somebody who is a member by others. They are concurrent:
// if each saw that its author is a member already, none would make him one.
func (j *judging) alike(m memberState) bool { return m.joined && j.op.parentless() }

func (j *judging) memberAdded(who domain.PublicKey, role domain.MemberRole) Code {
	if code := j.needCap(domain.CanManageMembers); code != "" {
		return code
	}
	code := Code("")
	switch {
	case role == domain.RoleAdmin:
		code = j.adminOnly(RefusedOnlyAdminAddsAdmin)
	case j.member(who).admin():
		code = j.adminOnly(RefusedAdminTarget)
		if code == "" && j.soleAdmin(who) {
			code = RefusedLastAdmin
		}
	case who == j.op.Author && j.member(who).role != role:
		code = j.adminOnly(RefusedSelfEscalation)
	}
	j.setMember(who, role, false)
	return code
}

func (j *judging) memberRemoved(who domain.PublicKey) Code {
	if code := j.needCap(domain.CanManageMembers); code != "" {
		return code
	}
	m := j.member(who)
	if m.admin() || j.inherits(who, m) {
		if code := j.adminOnly(RefusedAdminTarget); code != "" {
			return code
		}
	}
	if j.soleAdmin(who) {
		return RefusedLastAdmin
	}
	j.out.takes = takes{everything: true, who: who}
	j.out.writes = append(j.out.writes, write{key{kind: keyMember, who: who}, value{member: memberWrite{removed: true}}})
	return ""
}

func (j *judging) memberRoleSet(who domain.PublicKey, role domain.MemberRole) Code {
	code := j.needAdmin()
	if code == "" && role != domain.RoleAdmin && j.soleAdmin(who) {
		return RefusedLastAdmin
	}
	j.setMember(who, role, false)
	return code
}

func (j *judging) memberCapabilitySet(body wire.OpMemberCapabilitySet) Code {
	if code := j.needAdmin(); code != "" {
		return code
	}
	if body.Capabilities == CloseInvitation {
		invitation := domain.Hash(body.Member)
		j.write(key{kind: keyClosed, id: invitation}, true)
		j.out.takes.tokens = []token{{kind: tokenOpen, id: invitation}}
		return ""
	}
	given, had := uint32(body.Capabilities), j.capabilities(body.Member)
	for bit := range eachBit(given | had) {
		j.write(key{kind: keyCap, who: body.Member, bit: bit}, given&bit != 0)
	}
	for bit := range eachBit(had &^ given) {
		lost := token{kind: tokenCap, who: body.Member, bit: domain.GroupCapabilities(bit)}
		j.out.takes.tokens = append(j.out.takes.tokens, lost)
	}
	return ""
}

func (j *judging) defaultCapabilitiesSet(given uint32) Code {
	for bit := range eachBit(given | j.defaults()) {
		j.write(key{kind: keyDefault, bit: bit}, given&bit != 0)
	}
	return j.needAdmin()
}

func (j *judging) contextRegistered(id domain.Hash) Code {
	j.write(key{kind: keyContext, id: id}, true)
	return j.set(j.needCap(domain.CanCreateContext), key{kind: keyRegistrar, id: id}, j.op.Author)
}

func (j *judging) contextDetached(id domain.Hash) Code {
	code := j.needAdmin()
	if code == "" && !j.on(key{kind: keyContext, id: id}) {
		return RefusedContextNotInGroup
	}
	j.write(key{kind: keyContext, id: id}, false)
	return code
}

func (j *judging) visibilitySet(body wire.OpContextVisibilitySet) Code {
	id := domain.Hash(body.Context)
	alternatives := []token{j.admin()}
	if body.Creator == j.op.Author {
		alternatives = append(alternatives, j.tok(tokenCreator, id), j.tok(tokenRegistrar, id))
	}
	if code := j.need(RefusedCreatorClaim, alternatives...); code != "" {
		return code
	}
	if code := j.mode(key{kind: keyMode, id: id}, body.Mode); code != "" {
		return code
	}
	if old, known := j.creator(id); known && old != body.Creator {
		j.out.takes.tokens = []token{{kind: tokenCreator, who: old, id: id}}
	}
	listed := key{kind: keyAllow, id: id, who: body.Creator}
	if body.Mode == domain.VisibilityRestricted && !j.on(listed) {
		j.write(listed, true)
	}
	return j.set("", key{kind: keyCreator, id: id}, body.Creator)
}

func (j *judging) allowlistReplaced(body wire.OpContextAllowlistReplaced) Code {
	id := domain.Hash(body.Context)
	code := j.unseen(j.need(RefusedNotDirectOrCreator, j.admin(), j.tok(tokenCreator, id)), id)
	if code != "" {
		return code
	}
	listed := map[domain.PublicKey]bool{}
	for _, who := range body.Members {
		listed[who] = true
	}
	for _, k := range j.keysOf(keyAllow) {
		if k.id == id && !listed[k.who] && j.on(k) {
			j.write(k, false)
		}
	}
	for _, who := range body.Members {
		k := key{kind: keyAllow, id: id, who: who}
		if listed[who] && !j.on(k) {
			j.write(k, true)
		}
		listed[who] = false // once
	}
	return ""
}

// unseen is the verdict on one who is no admin where the context has no creator yet.
func (j *judging) unseen(code Code, context domain.Hash) Code {
	if _, known := j.creator(context); code != "" && !known {
		return RefusedNoVisibility
	}
	return code
}

func (j *judging) contextCapability(body wire.OpContextCapabilityGranted, on bool) Code {
	k := key{kind: keyContextCap, id: domain.Hash(body.Context), who: body.Member}
	for bit := range eachBit(uint32(body.Capability)) {
		k.bit = bit
		j.write(k, on)
	}
	return j.needCap(domain.CanManageMembers)
}

// claim judges a join by an invitation to the group.
func (j *judging) claim() Code {
	if code := j.invited(); code != "" {
		return code
	}
	if m := j.member(j.op.Author); m.present && !j.alike(m) || j.inherits(j.op.Author, m) {
		return RefusedAlreadyMember
	}
	j.join()
	return ""
}

// contextClaim judges a join by an invitation to a context.
func (j *judging) contextClaim(context domain.Hash) Code {
	if code := j.invited(); code != "" {
		return code
	}
	if !j.on(key{kind: keyContext, id: context}) {
		return RefusedContextNotInGroup
	}
	// What follows a join without parents rests on it, also when somebody adds the member in another way.
	m := j.member(j.op.Author)
	if j.op.parentless() && j.inherits(j.op.Author, m) {
		return "" // a row of his own would end his authority from above, on which joins may rest that are judged with this one
	}
	if !m.present || j.op.parentless() {
		j.join()
	}
	return ""
}

func (j *judging) invited() Code {
	c := j.op.Claim
	switch {
	case c.Fault != "":
		return c.Fault
	case j.on(key{kind: keyClosed, id: c.Invitation}):
		return RefusedInvitationClosed
	case c.OneUse && j.claimedBefore(j.index, c.Invitation):
		return RefusedInvitationUsed
	}
	if code := j.need("", token{kind: tokenOpen, id: c.Invitation}); code != "" {
		return code
	}
	return j.need(RefusedInviterLacks, token{kind: tokenAdmin, who: c.Inviter}, token{kind: tokenInherited, who: c.Inviter},
		token{kind: tokenCap, who: c.Inviter, bit: domain.CanInviteMembers})
}

func (j *judging) join() {
	j.setMember(j.op.Author, domain.RoleMember, true)
	if j.op.Claim.OneUse {
		j.write(key{kind: keyUsed, id: j.op.Claim.Invitation}, true)
	}
}

// attested judges the admission of an attested node.
func (j *judging) attested(body wire.OpMemberJoinedViaTeeAttestation) Code {
	if code := j.need(RefusedNotAMember, j.self(), j.inherited()); code != "" {
		return code
	}
	policies := j.tee()
	if len(policies) == 0 {
		return RefusedTeeNoPolicy
	}
	for _, p := range policies {
		if !passes(p, body) {
			return RefusedTeePolicy
		}
	}
	if body.Role == domain.RoleAdmin {
		if code := j.adminOnly(RefusedOnlyAdminAddsAdmin); code != "" {
			return code
		}
	}
	// An admin admitted by an admin is as one added: who relies on it must not lose it to a lesser word said beside it.
	if m := j.member(body.Member); !m.present {
		j.setMember(body.Member, body.Role, body.Role != domain.RoleAdmin)
	}
	return ""
}

// passes reports whether an attestation fits a policy; an empty list allows any value.
func passes(p *wire.OpTeeAdmissionPolicySet, a wire.OpMemberJoinedViaTeeAttestation) bool {
	for _, c := range []struct {
		allowed []string
		value   string
	}{
		{p.MRTD, a.MRTD}, {p.TCBStatuses, a.TCBStatus}, {p.RTMR0, a.RTMR0}, {p.RTMR1, a.RTMR1}, {p.RTMR2, a.RTMR2},
		{p.RTMR3, a.RTMR3},
	} {
		if len(c.allowed) > 0 && !slices.Contains(c.allowed, c.value) {
			return false
		}
	}
	return true
}
