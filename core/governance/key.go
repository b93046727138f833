package governance

import (
	"slices"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// keyKind is a kind of fact about a group.
type keyKind uint8

const (
	keyMember      keyKind = iota // role of an identity
	keyCap                        // bit of an identity's capabilities
	keyDefault                    // bit of the default capabilities
	keyContextCap                 // bit of an identity's capabilities in a context
	keyAllow                      // identity on a context's allowlist
	keyContext                    // context registered
	keyChild                      // subgroup listed
	keyMode                       // context restricted
	keyDefaultMode                // new contexts restricted
	keyClosed                     // invitation closed
	keyUsed                       // invitation used
	keyDeleted                    // group deleted
	keyPolicy                     // registers from here on
	keyTarget
	keyCreator
	keyRegistrar
	keyContextAlias
	keyMemberAlias
	keyGroupAlias
	keyTee
)

// key names a fact. id is a context, group or invitation.
type key struct {
	kind keyKind
	who  domain.PublicKey
	id   domain.Hash
	bit  uint32
}

// ofMember reports whether the removal of who clears the key.
func (k key) ofMember() bool {
	return k.kind == keyCap || k.kind == keyContextCap || k.kind == keyAllow
}

// oneWins tells how concurrent writes of a bit merge: the restrictive one wins.
func (k key) oneWins() bool {
	switch k.kind {
	case keyMode, keyDefaultMode, keyClosed, keyUsed, keyDeleted:
		return true
	}
	return false
}

// value is what an operation writes to a key.
type value struct {
	bit      bool
	member   memberWrite
	register any
}

type write struct {
	key key
	value
}

// memberWrite is a write of a membership.
type memberWrite struct {
	removed bool
	weak    bool // by a join: counts only where nobody with authority wrote
	demotes bool // takes Admin away
	role    domain.MemberRole
	since   since
}

// memberState is what is known of an identity.
type memberState struct {
	present bool
	role    domain.MemberRole
	since   since
	written bool // by an operation with authority
	removed bool // and the last word was a removal
	joined  bool // present by invitation or attestation alone
}

func (m memberState) admin() bool { return m.present && m.role == domain.RoleAdmin }

// target is the register of what the contexts of a group run.
type target struct {
	appKey      domain.Hash
	application domain.ApplicationID
	migration   string
	migrates    bool // false: no migration
}

// teePolicies must all pass.
type teePolicies []*wire.OpTeeAdmissionPolicySet

// narrower returns the role that may do less.
func narrower(a, b domain.MemberRole) domain.MemberRole { return max(a, b) }

// snapshot is the merged state of a closed set of operations, the ground for those that have all of it in their past.
type snapshot struct {
	members  map[domain.PublicKey]memberState
	bits     map[key]bool // present: written
	regs     map[key]any
	byMember map[domain.PublicKey][]key // the bits that a removal clears
	nonces   map[domain.PublicKey]uint64
	wasAdmin map[domain.PublicKey]bool // was given Admin, by the genesis or an operation with authority
	claimed  map[domain.Hash]bool      // one-use invitations with a claim that was not refused
	ever     map[domain.PublicKey]bool // was admin by operations that count
	links    map[domain.GroupID][]Link // of listed subgroups, by id
}

func (s *snapshot) clone() *snapshot {
	c := &snapshot{
		members: cloneMap(s.members), bits: cloneMap(s.bits), regs: cloneMap(s.regs), nonces: cloneMap(s.nonces),
		wasAdmin: cloneMap(s.wasAdmin), claimed: cloneMap(s.claimed), ever: cloneMap(s.ever), links: cloneMap(s.links),
		byMember: make(map[domain.PublicKey][]key, len(s.byMember)),
	}
	for who, keys := range s.byMember {
		c.byMember[who] = append([]key(nil), keys...)
	}
	return c
}

func cloneMap[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// setBit writes a bit, with everything written before in the write's past.
func (s *snapshot) setBit(k key, on bool) {
	if _, known := s.bits[k]; !known && k.ofMember() {
		s.byMember[k.who] = append(s.byMember[k.who], k)
	}
	s.bits[k] = on
}

// bit is the value of a bit and whether anything wrote it.
func (s *snapshot) bit(k key) (on, written bool) {
	on, written = s.bits[k]
	if !written && k.ofMember() && s.members[k.who].removed {
		return false, true
	}
	return on, written
}

// Genesis is the state of a group before its first operation.
type Genesis struct {
	Founder domain.PublicKey
	AppKey  domain.Hash
	Target  domain.ApplicationID
	Policy  domain.UpgradePolicy
	Alias   *string
}

func (g Genesis) snapshot() *snapshot {
	s := &snapshot{
		members:  map[domain.PublicKey]memberState{g.Founder: {present: true, role: domain.RoleAdmin}},
		bits:     map[key]bool{},
		byMember: map[domain.PublicKey][]key{},
		regs: map[key]any{
			{kind: keyPolicy}: g.Policy,
			{kind: keyTarget}: target{appKey: g.AppKey, application: g.Target},
		},
		nonces:   map[domain.PublicKey]uint64{},
		wasAdmin: map[domain.PublicKey]bool{g.Founder: true},
		claimed:  map[domain.Hash]bool{},
		ever:     map[domain.PublicKey]bool{g.Founder: true},
		links:    map[domain.GroupID][]Link{},
	}
	if g.Alias != nil {
		s.regs[key{kind: keyGroupAlias}] = *g.Alias
	}
	return s
}

// grants reports whether a write makes somebody an admin.
func (w *write) grants() bool {
	return w.key.kind == keyMember && !w.member.removed && w.member.role == domain.RoleAdmin
}

// unlisted reports whether a write takes a subgroup off the list.
func (w *write) unlisted() bool { return w.key.kind == keyChild && !w.bit }

// link adds an operation that lists a subgroup to those that do, one for each author. Lists are shared between snapshots,
// so they are made anew.
func (s *snapshot) link(child domain.GroupID, by Link) { s.links[child] = addLink(s.links[child], by) }

func addLink(list []Link, by Link) []Link {
	list = slices.Clone(list)
	at := slices.IndexFunc(list, func(l Link) bool { return l.Author == by.Author })
	switch {
	case at < 0:
		list = append(list, by)
	case by.Op.Compare(list[at].Op) < 0:
		list[at] = by
	}
	slices.SortFunc(list, func(a, b Link) int { return a.Op.Compare(b.Op) })
	return list
}

// Inherited is what ancestor groups say of identities: whether they ever were admin of the nearest ancestor that has a
// row for them, and whether they are now.
type Inherited map[domain.PublicKey]InheritedAdmin

// InheritedAdmin is the standing of one identity. Ever is true when Now is.
type InheritedAdmin struct{ Ever, Now bool }
