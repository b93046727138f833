package store

import (
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Keys made of several parts.
type (
	// IdentityKey names an identity of a context; the zero context is the pool of those not assigned to any.
	IdentityKey struct {
		Context  domain.ContextID
		Identity domain.PublicKey
	}
	// DeltaKey names a delta.
	DeltaKey struct {
		Context domain.ContextID
		Delta   domain.Hash
	}
	// AliasKey names an alias. Scope is the context for wire.AliasPublicKey, else zero.
	AliasKey struct {
		Kind  wire.AliasKind
		Scope domain.ContextID
		Name  domain.Alias
	}
	// GenericKey names a row of the column for everything else.
	GenericKey struct {
		Scope    [16]byte
		Fragment [32]byte
	}
	// GroupMemberKey names a row about a member of a group.
	GroupMemberKey struct {
		Group  domain.GroupID
		Member domain.PublicKey
	}
	// GroupContextKey names a row about a context of a group.
	GroupContextKey struct {
		Group   domain.GroupID
		Context domain.ContextID
	}
	// GroupContextMemberKey names a row about a member in a context of a group.
	GroupContextMemberKey struct {
		Group   domain.GroupID
		Context domain.ContextID
		Member  domain.PublicKey
	}
	// GroupChildKey names a subgroup.
	GroupChildKey struct{ Parent, Child domain.GroupID }
	// GroupOpKey names an entry of a group's log.
	GroupOpKey struct {
		Group    domain.GroupID
		Sequence uint64
	}
)

// Unit is the value of rows whose presence is all they say.
type Unit struct{}

// EncodeBorsh writes nothing.
func (Unit) EncodeBorsh(*borsh.Encoder) {}

// DecodeBorsh reads nothing.
func (*Unit) DecodeBorsh(*borsh.Decoder) {}

// Tables by column. Meta, Config, Identity, ContextLocal, Blobs and Application are cached.
var (
	ContextMeta = newTable[domain.ContextID, wire.ContextMeta](wire.ColumnMeta, nil,
		sure(wire.ContextKey), wire.ParseContextKey).cached()
	ContextConfig = newTable[domain.ContextID, wire.ContextConfig](wire.ColumnConfig, nil,
		sure(wire.ContextKey), wire.ParseContextKey).cached()
	ContextIdentity = newTable[IdentityKey, wire.ContextIdentity](wire.ColumnIdentity, nil,
		sure(func(k IdentityKey) []byte { return wire.IdentityKey(k.Context, k.Identity) }),
		func(raw []byte) (k IdentityKey, err error) {
			k.Context, k.Identity, err = wire.ParseIdentityKey(raw)
			return k, err
		}).cached()
	ContextLocal = newTable[domain.ContextID, wire.ContextLocal](wire.ColumnContextLocal, nil,
		sure(wire.ContextKey), wire.ParseContextKey).cached()
	Delta = newTable[DeltaKey, wire.ContextDagDelta](wire.ColumnDelta, nil,
		sure(func(k DeltaKey) []byte { return wire.DeltaKey(k.Context, k.Delta) }),
		func(raw []byte) (k DeltaKey, err error) {
			k.Context, k.Delta, err = wire.ParseDeltaKey(raw)
			return k, err
		})
	PendingDelta = deltaTable[wire.PendingDelta](wire.ColumnPendingDelta)
	HandlersDue  = deltaTable[wire.HandlersDue](wire.ColumnHandlersDue)
	// DeltaAuthor says who made a delta.
	DeltaAuthor = newTable[DeltaKey, wire.DeltaAuthor](wire.ColumnGeneric, wire.DeltaAuthorKey(domain.ContextID{}, domain.Hash{})[:16],
		sure(func(k DeltaKey) []byte { return wire.DeltaAuthorKey(k.Context, k.Delta) }),
		func(raw []byte) (k DeltaKey, err error) {
			k.Context, k.Delta, err = wire.ParseDeltaAuthorKey(raw)
			return k, err
		})
	BlobMeta    = newTable[domain.BlobID, wire.BlobMeta](wire.ColumnBlobs, nil, sure(wire.BlobKey), wire.ParseBlobKey).cached()
	Application = newTable[domain.ApplicationID, wire.ApplicationRecord](wire.ColumnApplication, nil,
		sure(wire.ApplicationKey), wire.ParseApplicationKey).cached()
	Alias = newTable[AliasKey, wire.ID32](wire.ColumnAlias, nil, aliasKey,
		func(raw []byte) (k AliasKey, err error) {
			k.Kind, k.Scope, k.Name, err = wire.ParseAliasKey(raw)
			return k, err
		})
	Generic = &Table[GenericKey, []byte]{
		column: wire.ColumnGeneric, key: sure(func(k GenericKey) []byte { return wire.GenericKey(k.Scope, k.Fragment) }),
		parse: parseGenericKey, encode: asIs, decode: asIs,
	}
)

// Tables of the Group column, keyed by group.
var (
	GroupMeta        = groupTable[wire.GroupMeta](wire.RowGroupMeta)
	GroupUpgrade     = groupTable[wire.GroupUpgrade](wire.RowGroupUpgrade)
	GroupDefaultCaps = groupTable[wire.U32](wire.RowGroupDefaultCaps)
	GroupDefaultVis  = groupTable[wire.U8](wire.RowGroupDefaultVis)
	GroupAlias       = groupTable[wire.Text](wire.RowGroupAlias)
	GroupOpHead      = groupTable[wire.GroupOpHead](wire.RowGroupOpHead)
	GroupParent      = groupTable[wire.ID32](wire.RowGroupParent)
)

// Tables of the Group column, keyed by group and member.
var (
	GroupMember           = memberTable[wire.GroupMember](wire.RowGroupMember)
	GroupSigningKey       = memberTable[wire.ID32](wire.RowGroupSigningKey)
	GroupMemberCapability = memberTable[wire.U32](wire.RowGroupMemberCapability)
	GroupLocalNonce       = memberTable[wire.U64](wire.RowGroupLocalNonce)
	GroupMemberAlias      = memberTable[wire.Text](wire.RowGroupMemberAlias)
)

// Tables of the Group column, keyed by group and context.
var (
	GroupContext              = contextTable[Unit](wire.RowGroupContext)
	GroupContextVisibility    = contextTable[wire.GroupContextVisibility](wire.RowGroupContextVisibility)
	GroupContextLastMigration = contextTable[wire.Text](wire.RowGroupContextLastMigration)
	GroupContextAlias         = contextTable[wire.Text](wire.RowGroupContextAlias)
)

// Tables of the Group column with keys of other shapes.
var (
	GroupContextAllowlist  = contextMemberTable[Unit](wire.RowGroupContextAllowlist)
	GroupContextMemberCaps = contextMemberTable[wire.U8](wire.RowGroupContextMemberCaps)
	// ContextGroup is the group that owns a context.
	ContextGroup = newTable[domain.ContextID, wire.ID32](wire.ColumnGroup, wire.ContextGroupKey(domain.ContextID{})[:1],
		sure(wire.ContextGroupKey), wire.ParseContextGroupKey)
	GroupChild = newTable[GroupChildKey, Unit](wire.ColumnGroup, wire.GroupChildPrefix(domain.GroupID{})[:1],
		sure(func(k GroupChildKey) []byte { return wire.GroupChildKey(k.Parent, k.Child) }),
		func(raw []byte) (k GroupChildKey, err error) {
			k.Parent, k.Child, err = wire.ParseGroupChildKey(raw)
			return k, err
		})
	GroupOpLog = newTable[GroupOpKey, wire.Bytes](wire.ColumnGroup, wire.GroupOpLogPrefix(domain.GroupID{})[:1],
		sure(func(k GroupOpKey) []byte { return wire.GroupOpLogKey(k.Group, k.Sequence) }),
		func(raw []byte) (k GroupOpKey, err error) {
			k.Group, k.Sequence, err = wire.ParseGroupOpLogKey(raw)
			return k, err
		})
)

// deltaTable is a table of the node's own, keyed by delta.
func deltaTable[V borsh.Marshaler, P decodable[V]](column wire.Column) *Table[DeltaKey, V] {
	return newTable[DeltaKey, V, P](column, nil,
		sure(func(k DeltaKey) []byte { return wire.DeltaKey(k.Context, k.Delta) }),
		func(raw []byte) (k DeltaKey, err error) {
			k.Context, k.Delta, err = wire.ParseDeltaKey(raw)
			return k, err
		})
}

func groupTable[V borsh.Marshaler, P decodable[V]](row wire.GroupRow) *Table[domain.GroupID, V] {
	return newTable[domain.GroupID, V, P](wire.ColumnGroup, row.Prefix(), sure(row.Key), row.Parse)
}

func memberTable[V borsh.Marshaler, P decodable[V]](row wire.GroupMemberRow) *Table[GroupMemberKey, V] {
	return newTable[GroupMemberKey, V, P](wire.ColumnGroup, []byte{byte(row)},
		sure(func(k GroupMemberKey) []byte { return row.Key(k.Group, k.Member) }),
		func(raw []byte) (k GroupMemberKey, err error) {
			k.Group, k.Member, err = row.Parse(raw)
			return k, err
		})
}

func contextTable[V borsh.Marshaler, P decodable[V]](row wire.GroupContextRow) *Table[GroupContextKey, V] {
	return newTable[GroupContextKey, V, P](wire.ColumnGroup, []byte{byte(row)},
		sure(func(k GroupContextKey) []byte { return row.Key(k.Group, k.Context) }),
		func(raw []byte) (k GroupContextKey, err error) {
			k.Group, k.Context, err = row.Parse(raw)
			return k, err
		})
}

func contextMemberTable[V borsh.Marshaler, P decodable[V]](row wire.GroupContextMemberRow) *Table[GroupContextMemberKey, V] {
	return newTable[GroupContextMemberKey, V, P](wire.ColumnGroup, []byte{byte(row)},
		sure(func(k GroupContextMemberKey) []byte { return row.Key(k.Group, k.Context, k.Member) }),
		func(raw []byte) (k GroupContextMemberKey, err error) {
			k.Group, k.Context, k.Member, err = row.Parse(raw)
			return k, err
		})
}

func aliasKey(k AliasKey) ([]byte, error) {
	switch k.Kind {
	case wire.AliasContext:
		return wire.ContextAliasKey(k.Name)
	case wire.AliasApplication:
		return wire.ApplicationAliasKey(k.Name)
	default:
		return wire.PublicKeyAliasKey(k.Scope, k.Name)
	}
}

func parseGenericKey(raw []byte) (k GenericKey, err error) {
	if len(raw) != len(k.Scope)+len(k.Fragment) {
		return k, wire.ErrKey
	}
	copy(k.Scope[:], raw)
	copy(k.Fragment[:], raw[len(k.Scope):])
	return k, nil
}

func asIs(raw []byte) ([]byte, error) { return raw, nil }

// sure is a key function that cannot fail.
func sure[K any](key func(K) []byte) func(K) ([]byte, error) {
	return func(k K) ([]byte, error) { return key(k), nil }
}
