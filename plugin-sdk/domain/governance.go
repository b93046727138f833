package domain

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MemberRole is what a member of a group may do. Its number is the stored and the wire form.
type MemberRole uint8

// Roles of a group member.
const (
	RoleAdmin MemberRole = iota
	RoleMember
	RoleReadOnly
)

var memberRoleNames = []string{"Admin", "Member", "ReadOnly"}

// ParseMemberRole reads "Admin", "Member" or "ReadOnly".
func ParseMemberRole(text string) (MemberRole, error) {
	i, err := parseVariant(text, memberRoleNames)
	return MemberRole(i), err
}

// Valid reports whether r is a known role.
func (r MemberRole) Valid() bool { return int(r) < len(memberRoleNames) }

// String returns the name of the role.
func (r MemberRole) String() string { return variantName(uint8(r), memberRoleNames, "MemberRole") }

// MarshalText returns the name; an unknown role is an error.
func (r MemberRole) MarshalText() ([]byte, error) {
	return marshalVariant(uint8(r), memberRoleNames, "member role")
}

// UnmarshalText reads what ParseMemberRole reads.
func (r *MemberRole) UnmarshalText(text []byte) (err error) {
	*r, err = ParseMemberRole(string(text))
	return err
}

// VisibilityMode says who may join a context of a group. Its number is the stored and the wire form.
type VisibilityMode uint8

// Visibility modes of a context.
const (
	VisibilityOpen VisibilityMode = iota
	VisibilityRestricted
)

var visibilityNames = []string{"Open", "Restricted"}

// ParseVisibilityMode reads "Open" or "Restricted".
func ParseVisibilityMode(text string) (VisibilityMode, error) {
	i, err := parseVariant(text, visibilityNames)
	return VisibilityMode(i), err
}

// Valid reports whether m is a known mode.
func (m VisibilityMode) Valid() bool { return int(m) < len(visibilityNames) }

// String returns the name of the mode.
func (m VisibilityMode) String() string {
	return variantName(uint8(m), visibilityNames, "VisibilityMode")
}

// MarshalText returns the name; an unknown mode is an error.
func (m VisibilityMode) MarshalText() ([]byte, error) {
	return marshalVariant(uint8(m), visibilityNames, "visibility mode")
}

// UnmarshalText reads what ParseVisibilityMode reads.
func (m *VisibilityMode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseVisibilityMode(string(text))
	return err
}

// BitNames lists the names of the bits that are set, from the lowest on; those without a name are one number at the end.
func BitNames(set uint32, names ...string) (on []string) {
	for i, name := range names {
		if set&(1<<i) != 0 {
			on, set = append(on, name), set&^(1<<i)
		}
	}
	if set != 0 {
		on = append(on, fmt.Sprintf("0x%x", set))
	}
	return on
}

// GroupCapabilities is the bit set a group member may be given. Unknown bits are kept as given.
type GroupCapabilities uint32

// Bits of GroupCapabilities (governance.md §5.1).
const (
	CanCreateContext GroupCapabilities = 1 << iota
	CanInviteMembers
	CanJoinOpenContexts
	CanManageMembers
	CanManageApplication
)

// Has reports whether every bit of want is set.
func (c GroupCapabilities) Has(want GroupCapabilities) bool { return c&want == want }

// ContextCapability is one capability of a member in a context; its value is its bit in the stored byte.
type ContextCapability uint8

// Bits of a context capability byte.
const (
	ContextManageApplication ContextCapability = 1 << iota
	ContextManageMembers
	ContextProxy
)

var contextCapabilityNames = []string{"ManageApplication", "ManageMembers", "Proxy"}

// ParseContextCapability reads "ManageApplication", "ManageMembers" or "Proxy".
func ParseContextCapability(text string) (ContextCapability, error) {
	i, err := parseVariant(text, contextCapabilityNames)
	if err != nil {
		return 0, err
	}
	return 1 << i, nil
}

// String returns the name of a single capability.
func (c ContextCapability) String() string {
	for i, name := range contextCapabilityNames {
		if c == 1<<i {
			return name
		}
	}
	return fmt.Sprintf("ContextCapability(%d)", uint8(c))
}

// MarshalText returns the name; a value that is not exactly one known capability is an error.
func (c ContextCapability) MarshalText() ([]byte, error) {
	name := c.String()
	if !slices.Contains(contextCapabilityNames, name) {
		return nil, fmt.Errorf("print context capability: unknown value %d", uint8(c))
	}
	return []byte(name), nil
}

// UnmarshalText reads what ParseContextCapability reads.
func (c *ContextCapability) UnmarshalText(text []byte) (err error) {
	*c, err = ParseContextCapability(string(text))
	return err
}

// UpgradeMode is the kind of an [UpgradePolicy]. Its number is the stored and the wire tag.
type UpgradeMode uint8

// Modes of an upgrade policy.
const (
	UpgradeAutomatic UpgradeMode = iota
	UpgradeLazyOnAccess
	UpgradeCoordinated
)

// UpgradePolicy says how the contexts of a group follow a new application version. Deadline belongs to
// UpgradeCoordinated alone and may be nil there.
type UpgradePolicy struct {
	Mode     UpgradeMode
	Deadline *Duration
}

// DefaultUpgradePolicy is what a group gets when nothing is said.
func DefaultUpgradePolicy() UpgradePolicy { return UpgradePolicy{Mode: UpgradeLazyOnAccess} }

// Duration is a time span as the reference stores it: it reaches further than time.Duration.
type Duration struct {
	Secs  uint64 `json:"secs"`
	Nanos uint32 `json:"nanos"` // below MaxNanos
}

// MaxNanos bounds the sub-second part of a Duration.
const MaxNanos = 1_000_000_000

// Faults of an upgrade policy, in the reference's words.
var (
	ErrUpgradePolicyTag   = errors.New("invalid UpgradePolicy tag")
	ErrUpgradePolicyNanos = errors.New("nanoseconds field exceeds 999_999_999")
)

// Validate reports a mode that does not exist, a deadline where none belongs, or too many nanoseconds.
func (p UpgradePolicy) Validate() error {
	switch {
	case p.Mode > UpgradeCoordinated:
		return ErrUpgradePolicyTag
	case p.Deadline != nil && p.Mode != UpgradeCoordinated:
		return errors.New("a deadline belongs to the Coordinated upgrade policy only")
	case p.Deadline != nil && p.Deadline.Nanos >= MaxNanos:
		return ErrUpgradePolicyNanos
	}
	return nil
}

type coordinatedJSON struct {
	Deadline *Duration `json:"deadline"`
}

// MarshalJSON writes "Automatic", "LazyOnAccess" or {"Coordinated":{"deadline":…}}.
func (p UpgradePolicy) MarshalJSON() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	switch p.Mode {
	case UpgradeAutomatic:
		return []byte(`"Automatic"`), nil
	case UpgradeLazyOnAccess:
		return []byte(`"LazyOnAccess"`), nil
	default:
		return json.Marshal(map[string]coordinatedJSON{"Coordinated": {p.Deadline}})
	}
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *UpgradePolicy) UnmarshalJSON(data []byte) error {
	var name string
	if json.Unmarshal(data, &name) == nil {
		i, err := parseVariant(name, []string{"Automatic", "LazyOnAccess"})
		if err != nil {
			return err
		}
		*p = UpgradePolicy{Mode: UpgradeMode(i)}
		return nil
	}
	var tagged map[string]coordinatedJSON
	if err := json.Unmarshal(data, &tagged); err != nil {
		return fmt.Errorf("read upgrade policy: %w", err)
	}
	body, ok := tagged["Coordinated"]
	if !ok || len(tagged) != 1 {
		return errors.New("read upgrade policy: expected Automatic, LazyOnAccess or Coordinated")
	}
	read := UpgradePolicy{Mode: UpgradeCoordinated, Deadline: body.Deadline}
	if err := read.Validate(); err != nil {
		return err
	}
	*p = read
	return nil
}

func parseVariant(text string, names []string) (uint8, error) {
	i := slices.Index(names, text)
	if i < 0 {
		quoted := make([]string, len(names))
		for j, name := range names {
			quoted[j] = "`" + name + "`"
		}
		return 0, fmt.Errorf("unknown variant `%s`, expected one of %s", text, strings.Join(quoted, ", "))
	}
	return uint8(i), nil
}

func variantName(value uint8, names []string, kind string) string {
	if int(value) < len(names) {
		return names[value]
	}
	return fmt.Sprintf("%s(%d)", kind, value)
}

func marshalVariant(value uint8, names []string, kind string) ([]byte, error) {
	if int(value) >= len(names) {
		return nil, fmt.Errorf("print %s: unknown value %d", kind, value)
	}
	return []byte(names[value]), nil
}
