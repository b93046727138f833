package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Rows of the Group column. Keys of different rows share the column and differ in their first byte and their length; the
// type of a row says what its key is made of.
type (
	// GroupRow has the key prefix ‖ group.
	GroupRow byte
	// GroupMemberRow has the key prefix ‖ group ‖ public key.
	GroupMemberRow byte
	// GroupContextRow has the key prefix ‖ group ‖ context.
	GroupContextRow byte
	// GroupContextMemberRow has the key prefix ‖ group ‖ context ‖ public key.
	GroupContextMemberRow byte
)

// Rows by group.
const (
	RowGroupMeta        GroupRow = 0x20 // GroupMeta
	RowGroupUpgrade     GroupRow = 0x24 // GroupUpgrade
	RowGroupDefaultCaps GroupRow = 0x29 // U32
	RowGroupDefaultVis  GroupRow = 0x2a // U8
	RowGroupAlias       GroupRow = 0x2e // Text
	RowGroupOpHead      GroupRow = 0x31 // GroupOpHead
	RowGroupParent      GroupRow = 0x34 // ID32, the parent group; the key has the child
)

// Rows by group and public key.
const (
	RowGroupMember           GroupMemberRow = 0x21 // GroupMember
	RowGroupSigningKey       GroupMemberRow = 0x25 // ID32, the seed
	RowGroupMemberCapability GroupMemberRow = 0x26 // U32
	RowGroupLocalNonce       GroupMemberRow = 0x2c // U64
	RowGroupMemberAlias      GroupMemberRow = 0x2d // Text
)

// Rows by group and context.
const (
	RowGroupContext              GroupContextRow = 0x22 // empty
	RowGroupContextVisibility    GroupContextRow = 0x27 // GroupContextVisibility
	RowGroupContextLastMigration GroupContextRow = 0x2b // Text, the method
	RowGroupContextAlias         GroupContextRow = 0x2f // Text
)

// Rows by group, context and public key.
const (
	RowGroupContextAllowlist  GroupContextMemberRow = 0x28 // empty
	RowGroupContextMemberCaps GroupContextMemberRow = 0x33 // U8
)

// Prefixes of the rows whose keys have a shape of their own.
const (
	prefixContextGroup       = 0x23
	prefixGroupOpLog         = 0x30
	prefixGroupMemberContext = 0x32
	prefixGroupChild         = 0x35
)

// Key is the key of the row.
func (r GroupRow) Key(group domain.GroupID) []byte { return groupKey(byte(r), group[:]) }

// Prefix is what the keys of this row begin with, for all groups.
func (r GroupRow) Prefix() []byte { return []byte{byte(r)} }

// Parse reads the row's key.
func (r GroupRow) Parse(key []byte) (domain.GroupID, error) {
	ids, err := splitGroup(byte(r), key, 1)
	if err != nil {
		return domain.GroupID{}, err
	}
	return ids[0], nil
}

// Key is the key of the row.
func (r GroupMemberRow) Key(group domain.GroupID, member domain.PublicKey) []byte {
	return groupKey(byte(r), group[:], member[:])
}

// Prefix is what the keys of this row begin with, for one group.
func (r GroupMemberRow) Prefix(group domain.GroupID) []byte { return groupKey(byte(r), group[:]) }

// Parse reads the row's key.
func (r GroupMemberRow) Parse(key []byte) (domain.GroupID, domain.PublicKey, error) {
	ids, err := splitGroup(byte(r), key, 2)
	if err != nil {
		return domain.GroupID{}, domain.PublicKey{}, err
	}
	return ids[0], ids[1], nil
}

// Key is the key of the row.
func (r GroupContextRow) Key(group domain.GroupID, context domain.ContextID) []byte {
	return groupKey(byte(r), group[:], context[:])
}

// Prefix is what the keys of this row begin with, for one group.
func (r GroupContextRow) Prefix(group domain.GroupID) []byte { return groupKey(byte(r), group[:]) }

// Parse reads the row's key.
func (r GroupContextRow) Parse(key []byte) (domain.GroupID, domain.ContextID, error) {
	ids, err := splitGroup(byte(r), key, 2)
	if err != nil {
		return domain.GroupID{}, domain.ContextID{}, err
	}
	return ids[0], ids[1], nil
}

// Key is the key of the row.
func (r GroupContextMemberRow) Key(group domain.GroupID, context domain.ContextID, member domain.PublicKey) []byte {
	return groupKey(byte(r), group[:], context[:], member[:])
}

// Prefix is what the keys of this row begin with, for one context of a group.
func (r GroupContextMemberRow) Prefix(group domain.GroupID, context domain.ContextID) []byte {
	return groupKey(byte(r), group[:], context[:])
}

// Parse reads the row's key.
func (r GroupContextMemberRow) Parse(key []byte) (domain.GroupID, domain.ContextID, domain.PublicKey, error) {
	ids, err := splitGroup(byte(r), key, 3)
	if err != nil {
		return domain.GroupID{}, domain.ContextID{}, domain.PublicKey{}, err
	}
	return ids[0], ids[1], ids[2], nil
}

// ContextGroupKey is the key of the group that owns a context; the value is an ID32.
func ContextGroupKey(context domain.ContextID) []byte {
	return groupKey(prefixContextGroup, context[:])
}

// ParseContextGroupKey reads a ContextGroupKey.
func ParseContextGroupKey(key []byte) (domain.ContextID, error) {
	ids, err := splitGroup(prefixContextGroup, key, 1)
	if err != nil {
		return domain.ContextID{}, err
	}
	return ids[0], nil
}

// GroupMemberContextKey is the key of a member's identity in a context; the value is an ID32. The reference reads the
// row and never writes it.
func GroupMemberContextKey(group domain.GroupID, member domain.PublicKey, context domain.ContextID) []byte {
	return groupKey(prefixGroupMemberContext, group[:], member[:], context[:])
}

// GroupMemberContextPrefix is what the keys of a member's identities begin with.
func GroupMemberContextPrefix(group domain.GroupID, member domain.PublicKey) []byte {
	return groupKey(prefixGroupMemberContext, group[:], member[:])
}

// GroupChildKey is the key of a subgroup; the value is empty.
func GroupChildKey(parent, child domain.GroupID) []byte {
	return groupKey(prefixGroupChild, parent[:], child[:])
}

// GroupChildPrefix is what the keys of a group's subgroups begin with.
func GroupChildPrefix(parent domain.GroupID) []byte { return groupKey(prefixGroupChild, parent[:]) }

// ParseGroupChildKey reads a GroupChildKey.
func ParseGroupChildKey(key []byte) (parent, child domain.GroupID, err error) {
	ids, err := splitGroup(prefixGroupChild, key, 2)
	if err != nil {
		return domain.GroupID{}, domain.GroupID{}, err
	}
	return ids[0], ids[1], nil
}

// GroupOpLogKey is the key of a logged op; the value is Bytes, an encoded signed op. Keys order by sequence.
func GroupOpLogKey(group domain.GroupID, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(groupKey(prefixGroupOpLog, group[:]), sequence)
}

// GroupOpLogPrefix is what the keys of a group's log begin with.
func GroupOpLogPrefix(group domain.GroupID) []byte { return groupKey(prefixGroupOpLog, group[:]) }

// ParseGroupOpLogKey reads a GroupOpLogKey.
func ParseGroupOpLogKey(key []byte) (domain.GroupID, uint64, error) {
	const length = 1 + 32 + 8
	if len(key) != length || key[0] != prefixGroupOpLog {
		return domain.GroupID{}, 0, fmt.Errorf("%w of group op log: %x", ErrKey, key[:min(len(key), length)])
	}
	return domain.GroupID(key[1:33]), binary.BigEndian.Uint64(key[33:]), nil
}

func groupKey(prefix byte, parts ...[]byte) []byte {
	out := make([]byte, 1, 1+32*len(parts)+8)
	out[0] = prefix
	for _, part := range parts {
		out = append(out, part...)
	}
	return out
}

func splitGroup(prefix byte, key []byte, parts int) ([][32]byte, error) {
	if len(key) > 0 && key[0] != prefix {
		return nil, fmt.Errorf("%w of group row 0x%02x: it begins with 0x%02x", ErrKey, prefix, key[0])
	}
	return split(fmt.Sprintf("group row 0x%02x", prefix), key, 1, parts)
}
