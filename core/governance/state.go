package governance

import (
	"slices"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// State is a group as its operations make it. It is the caller's own.
type State struct {
	// Deleted: the group is gone and its id is never used again; nothing else is set.
	Deleted bool

	Members      map[domain.PublicKey]domain.MemberRole
	Capabilities map[domain.PublicKey]domain.GroupCapabilities // without zero ones; also of identities that are no members
	Defaults     domain.GroupCapabilities
	// DefaultVisibility of new contexts; nil when never set.
	DefaultVisibility *domain.VisibilityMode
	Policy            domain.UpgradePolicy
	AppKey            domain.Hash
	Target            domain.ApplicationID
	Migration         []byte // nil is none

	Contexts     map[domain.ContextID]bool
	Visibility   map[domain.ContextID]wire.GroupContextVisibility
	Allowlists   map[ContextMember]bool
	ContextCaps  map[ContextMember]domain.ContextCapability // without zero ones
	ContextAlias map[domain.ContextID]string
	MemberAlias  map[domain.PublicKey]string
	Alias        *string
	Subgroups    map[domain.GroupID]bool
	TeePolicies  []wire.OpTeeAdmissionPolicySet
	// Closed are the invitations that were closed, Used those for one use that somebody used.
	Closed, Used map[domain.Hash]bool

	// EverAdmins are, and were at some time, admins by their own row.
	EverAdmins map[domain.PublicKey]bool
	// Joined are the members whom no admin added: by invitation or attestation alone.
	Joined map[domain.PublicKey]bool
	// Links are the operations that list each of the Subgroups, the first of each author, in the order of their ids.
	Links map[domain.GroupID][]Link
}

// Link is an operation that lists a subgroup.
type Link struct {
	Op     domain.Hash
	Author domain.PublicKey
}

// ContextMember names an identity in a context.
type ContextMember struct {
	Context domain.ContextID
	Member  domain.PublicKey
}

// Admits reports whether a context is for a member with this role: an open one is for all, a restricted one for those on its
// list, admins too, and one of which nobody has said what it is for admins. One that is not in the group, as long as
// operations are missing, is for all.
func (s *State) Admits(c domain.ContextID, member domain.PublicKey, role domain.MemberRole) bool {
	v, said := s.Visibility[c]
	switch {
	case said && v.Mode == domain.VisibilityRestricted:
		return s.Allowlists[ContextMember{c, member}]
	case !said && s.Contexts[c]:
		return role == domain.RoleAdmin
	}
	return true
}

// merged makes the snapshot of a view: what later operations see that have all of it in their past.
func (v view) merged() *snapshot {
	s := v.e.base.clone()
	for k := range v.written() {
		switch {
		case k.kind == keyMember:
			s.members[k.who] = v.member(k.who)
		case k.kind == keyTee:
			s.regs[k] = v.tee()
		case k.kind >= keyPolicy:
			s.regs[k] = v.register(k)
		default:
			on, _ := v.bit(k)
			s.setBit(k, on)
		}
	}
	for who := range v.e.removals {
		for _, k := range s.byMember[who] {
			on, _ := v.bit(k)
			s.bits[k] = on
		}
	}
	seen := newBitset(len(v.e.ops))
	unlisted := map[domain.GroupID]bool{}
	for i := range v.applied.all {
		seen.union(v.e.past[i])
		seen.add(i)
		for _, w := range v.judged(i).writes {
			if w.grants() {
				s.ever[w.key.who] = true
			}
			if w.unlisted() {
				unlisted[domain.GroupID(w.key.id)] = true
			}
		}
	}
	v.relink(s, unlisted)
	for i := range seen.all {
		op, j := v.e.ops[i], v.judged(i)
		if j.refused != "" {
			continue
		}
		s.nonces[op.Author] = max(s.nonces[op.Author], op.Nonce)
		if op.Claim != nil && op.Claim.OneUse && len(j.writes) > 0 {
			s.claimed[op.Claim.Invitation] = true
		}
		for _, w := range j.writes {
			if w.key.kind == keyMember && !w.member.weak && !w.member.removed && w.member.role == domain.RoleAdmin {
				s.wasAdmin[w.key.who] = true
			}
		}
	}
	return s
}

// relink finds the operations that list subgroups: those that have all that took the subgroup off the list in their past.
func (v view) relink(s *snapshot, unlisted map[domain.GroupID]bool) {
	for child := range unlisted {
		delete(s.links, child)
	}
	for i := range v.applied.all {
		for _, w := range v.judged(i).writes {
			child := domain.GroupID(w.key.id)
			if w.key.kind == keyChild && w.bit && (!unlisted[child] || v.seesUnlisted(i, child)) {
				s.link(child, Link{Op: v.e.ops[i].ID, Author: v.e.ops[i].Author})
			}
		}
	}
}

// seesUnlisted reports whether an operation has all that took a subgroup off the list in its past.
func (v view) seesUnlisted(op int, child domain.GroupID) bool {
	for _, w := range v.e.writers[key{kind: keyChild, id: domain.Hash(child)}] {
		if !w.bit && v.applied.has(w.op) && !v.e.past[op].has(w.op) {
			return false
		}
	}
	return true
}

// written are the keys that applied operations wrote.
func (v view) written() map[key]bool {
	keys := map[key]bool{}
	for i := range v.applied.all {
		for _, w := range v.judged(i).writes {
			keys[w.key] = true
		}
	}
	return keys
}

// state renders a snapshot.
func (s *snapshot) state() *State {
	if s.bits[key{kind: keyDeleted}] {
		return &State{Deleted: true}
	}
	out := &State{
		Members: map[domain.PublicKey]domain.MemberRole{}, Capabilities: map[domain.PublicKey]domain.GroupCapabilities{},
		Contexts: map[domain.ContextID]bool{}, Visibility: map[domain.ContextID]wire.GroupContextVisibility{},
		Allowlists: map[ContextMember]bool{}, ContextCaps: map[ContextMember]domain.ContextCapability{},
		ContextAlias: map[domain.ContextID]string{}, MemberAlias: map[domain.PublicKey]string{},
		Subgroups: map[domain.GroupID]bool{}, Closed: map[domain.Hash]bool{}, EverAdmins: cloneMap(s.ever),
		Joined: map[domain.PublicKey]bool{}, Links: map[domain.GroupID][]Link{}, Used: cloneMap(s.claimed),
	}
	for who, m := range s.members {
		if m.present {
			out.Members[who] = m.role
		}
		if m.present && m.joined {
			out.Joined[who] = true
		}
	}
	for child, list := range s.links {
		out.Links[child] = slices.Clone(list)
	}
	for k, on := range s.bits {
		out.bit(k, on)
	}
	for k, v := range s.regs {
		out.register(k, v)
	}
	for k, v := range s.regs {
		if who, ok := v.(domain.PublicKey); ok && k.kind == keyCreator {
			vis := wire.GroupContextVisibility{Creator: who}
			if s.bits[key{kind: keyMode, id: k.id}] {
				vis.Mode = domain.VisibilityRestricted
			}
			out.Visibility[domain.ContextID(k.id)] = vis
		}
	}
	return out
}

func (out *State) bit(k key, on bool) {
	if k.kind == keyDefaultMode {
		mode := domain.VisibilityOpen
		if on {
			mode = domain.VisibilityRestricted
		}
		out.DefaultVisibility = &mode
	}
	if !on {
		return
	}
	in := ContextMember{domain.ContextID(k.id), k.who}
	switch k.kind {
	case keyCap:
		out.Capabilities[k.who] |= domain.GroupCapabilities(k.bit)
	case keyDefault:
		out.Defaults |= domain.GroupCapabilities(k.bit)
	case keyContextCap:
		out.ContextCaps[in] |= domain.ContextCapability(k.bit)
	case keyAllow:
		out.Allowlists[in] = true
	case keyContext:
		out.Contexts[in.Context] = true
	case keyChild:
		out.Subgroups[domain.GroupID(k.id)] = true
	case keyClosed:
		out.Closed[k.id] = true
	}
}

func (out *State) register(k key, v any) {
	switch v := v.(type) {
	case domain.UpgradePolicy:
		out.Policy = v
	case target:
		out.AppKey, out.Target = v.appKey, v.application
		if v.migrates {
			out.Migration = []byte(v.migration)
		}
	case teePolicies:
		for _, p := range v {
			out.TeePolicies = append(out.TeePolicies, *p)
		}
	case string:
		switch k.kind {
		case keyContextAlias:
			out.ContextAlias[domain.ContextID(k.id)] = v
		case keyMemberAlias:
			out.MemberAlias[k.who] = v
		case keyGroupAlias:
			out.Alias = &v
		}
	}
}
