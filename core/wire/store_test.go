package wire_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/blobid"
	"github.com/calimero-go/core/plugin-sdk/borsh"
	"github.com/calimero-go/core/plugin-sdk/crdt"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/sdktest/golden"
)

const (
	store      = "testdata/store.json"
	primitives = "testdata/primitives.json"
)

type hex32 = golden.Hex32

// rowIn has the fields of all rows; each group uses its own.
type rowIn struct {
	ContextID       hex32         `json:"context_id"`
	GroupID         hex32         `json:"group_id"`
	ChildGroupID    hex32         `json:"child_group_id"`
	ParentGroupID   hex32         `json:"parent_group_id"`
	PublicKey       hex32         `json:"public_key"`
	Identity        hex32         `json:"identity"`
	Member          hex32         `json:"member"`
	Signer          hex32         `json:"signer"`
	Creator         hex32         `json:"creator"`
	ContextIdentity hex32         `json:"context_identity"`
	PrivateKey      *hex32        `json:"private_key"`
	SenderKey       *hex32        `json:"sender_key"`
	ApplicationID   hex32         `json:"application_id"`
	RootHash        hex32         `json:"root_hash"`
	DagHeads        []domainHash  `json:"dag_heads"`
	AppRevision     golden.Uint   `json:"application_revision"`
	MembersRevision golden.Uint   `json:"members_revision"`
	DeltaID         hex32         `json:"delta_id"`
	Parents         []domainHash  `json:"parents"`
	Actions         golden.Hex    `json:"actions_borsh"`
	HLC             hlc           `json:"hlc"`
	Applied         bool          `json:"applied"`
	ExpectedRoot    hex32         `json:"expected_root_hash"`
	Events          golden.Hex    `json:"events"`
	StateKey        hex32         `json:"state_key"`
	Value           golden.Hex    `json:"value"`
	BlobID          hex32         `json:"blob_id"`
	Size            golden.Uint   `json:"size"`
	Hash            hex32         `json:"hash"`
	Links           []domainHash  `json:"links"`
	Bytecode        hex32         `json:"bytecode"`
	Source          string        `json:"source"`
	Metadata        golden.Hex    `json:"metadata"`
	Compiled        hex32         `json:"compiled"`
	Package         string        `json:"package"`
	Version         string        `json:"version"`
	SignerID        string        `json:"signer_id"`
	Kind            string        `json:"kind"`
	Scope           golden.Hex    `json:"scope"`
	Fragment        hex32         `json:"fragment"`
	Alias           string        `json:"alias"`
	Target          hex32         `json:"target"`
	AppKey          hex32         `json:"app_key"`
	TargetAppID     hex32         `json:"target_application_id"`
	UpgradePolicy   upgradePolicy `json:"upgrade_policy"`
	CreatedAt       golden.Uint   `json:"created_at"`
	AdminIdentity   hex32         `json:"admin_identity"`
	Migration       golden.Hex    `json:"migration"`
	AutoJoin        bool          `json:"auto_join"`
	Role            memberRole    `json:"role"`
	Capabilities    uint32        `json:"capabilities"`
	Capability      uint8         `json:"capability"`
	Mode            uint8         `json:"mode"`
	Method          string        `json:"method"`
	Nonce           golden.Uint   `json:"nonce"`
	Sequence        golden.Uint   `json:"sequence"`
	OpBytes         golden.Hex    `json:"op_bytes"`
	FromVersion     string        `json:"from_version"`
	ToVersion       string        `json:"to_version"`
	InitiatedAt     golden.Uint   `json:"initiated_at"`
	InitiatedBy     hex32         `json:"initiated_by"`
	Status          statusJSON    `json:"status"`
}

type (
	upgradePolicy = domain.UpgradePolicy
	memberRole    = domain.MemberRole
)

type statusJSON struct {
	Type        string
	Total       uint32
	Completed   uint32
	Failed      uint32
	CompletedAt *golden.Uint `json:"completed_at"`
}

type rowOut struct {
	Column string
	Key    golden.Hex
	Value  golden.Hex
}

// domainHash reads a hash in hex.
type domainHash domain.Hash

func (h *domainHash) UnmarshalText(text []byte) error { return (*hex32)(h).UnmarshalText(text) }

func list[T ~[32]byte](in []domainHash) []T {
	out := make([]T, len(in))
	for i, h := range in {
		out[i] = T(h)
	}
	return out
}

type hlc struct {
	Time golden.Uint
	ID   golden.Big
}

func (h hlc) value() crdt.Timestamp {
	var raw [16]byte
	h.ID.FillBytes(raw[:])
	for i, j := 0, 15; i < j; i, j = i+1, j-1 {
		raw[i], raw[j] = raw[j], raw[i]
	}
	return crdt.Timestamp{Time: uint64(h.Time), ID: borsh.U128FromBytes(raw)}
}

func secret(in *hex32) *domain.PrivateKey { return (*domain.PrivateKey)(in) }

// row is what the package makes of a vector's input. A nil value means raw bytes.
type row struct {
	column wire.Column
	key    []byte
	value  borsh.Marshaler
	raw    []byte
	check  func(t *testing.T, key, value []byte) // reads key and value back
}

// valued builds a row with a value that is read back from its bytes.
func valued[T borsh.Marshaler, P interface {
	*T
	borsh.Unmarshaler
}](column wire.Column, key []byte, value T, parse func(t *testing.T, key []byte)) row {
	return row{column: column, key: key, value: value, check: func(t *testing.T, key, bytes []byte) {
		t.Helper()
		back, err := wire.Decode[T, P](bytes)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(value, back))
		if parse != nil {
			parse(t, key)
		}
		_, err = wire.Decode[T, P](append(bytes, 0))
		require.ErrorIs(t, err, borsh.ErrMalformed)
	}}
}

func raw(column wire.Column, key, value []byte) row { return row{column: column, key: key, raw: value} }

var rows = map[string]func(in rowIn) row{
	"context_meta": func(in rowIn) row {
		return valued(wire.ColumnMeta, wire.ContextKey(domain.ContextID(in.ContextID)), wire.ContextMeta{
			ApplicationID: domain.ApplicationID(in.ApplicationID), RootHash: domain.Hash(in.RootHash),
			DagHeads: list[domain.Hash](in.DagHeads),
		}, func(t *testing.T, key []byte) {
			id, err := wire.ParseContextKey(key)
			require.NoError(t, err)
			require.Equal(t, domain.ContextID(in.ContextID), id)
		})
	},
	"context_config": func(in rowIn) row {
		return valued(wire.ColumnConfig, wire.ContextKey(domain.ContextID(in.ContextID)), wire.ContextConfig{
			ApplicationRevision: uint64(in.AppRevision), MembersRevision: uint64(in.MembersRevision),
		}, nil)
	},
	"context_identity": func(in rowIn) row {
		key := wire.IdentityKey(domain.ContextID(in.ContextID), domain.PublicKey(in.PublicKey))
		return valued(wire.ColumnIdentity, key, wire.ContextIdentity{
			PrivateKey: secret(in.PrivateKey), SenderKey: secret(in.SenderKey),
		}, func(t *testing.T, key []byte) {
			context, identity, err := wire.ParseIdentityKey(key)
			require.NoError(t, err)
			require.Equal(t, domain.ContextID(in.ContextID), context)
			require.Equal(t, domain.PublicKey(in.PublicKey), identity)
		})
	},
	"context_state": func(in rowIn) row {
		return raw(wire.ColumnState, wire.StateKey(domain.ContextID(in.ContextID), crdt.StateKey(in.StateKey)), in.Value)
	},
	"context_private_state": func(in rowIn) row {
		return raw(wire.ColumnPrivateState,
			wire.StateKey(domain.ContextID(in.ContextID), crdt.StateKey(in.StateKey)), in.Value)
	},
	"context_dag_delta": func(in rowIn) row {
		key := wire.DeltaKey(domain.ContextID(in.ContextID), domain.Hash(in.DeltaID))
		return valued(wire.ColumnDelta, key, wire.ContextDagDelta{
			DeltaID: domain.Hash(in.DeltaID), Parents: list[domain.Hash](in.Parents), Actions: in.Actions,
			HLC: in.HLC.value(), Applied: in.Applied, ExpectedRootHash: domain.Hash(in.ExpectedRoot), Events: in.Events,
		}, func(t *testing.T, key []byte) {
			context, delta, err := wire.ParseDeltaKey(key)
			require.NoError(t, err)
			require.Equal(t, domain.ContextID(in.ContextID), context)
			require.Equal(t, domain.Hash(in.DeltaID), delta)
		})
	},
	"blob_meta": func(in rowIn) row {
		return valued(wire.ColumnBlobs, wire.BlobKey(domain.BlobID(in.BlobID)), wire.BlobMeta{
			Size: uint64(in.Size), Hash: domain.Hash(in.Hash), Links: list[domain.BlobID](in.Links),
		}, func(t *testing.T, key []byte) {
			id, err := wire.ParseBlobKey(key)
			require.NoError(t, err)
			require.Equal(t, domain.BlobID(in.BlobID), id)
		})
	},
	"application_meta": func(in rowIn) row {
		key := wire.ApplicationKey(domain.ApplicationID(in.ApplicationID))
		return valued(wire.ColumnApplication, key, wire.ApplicationRecord{
			Bytecode: domain.BlobID(in.Bytecode), Size: uint64(in.Size), Source: in.Source, Metadata: in.Metadata,
			Compiled: domain.BlobID(in.Compiled), Package: in.Package, Version: in.Version, SignerID: in.SignerID,
		}, func(t *testing.T, key []byte) {
			id, err := wire.ParseApplicationKey(key)
			require.NoError(t, err)
			require.Equal(t, domain.ApplicationID(in.ApplicationID), id)
		})
	},
	"generic": func(in rowIn) row {
		return raw(wire.ColumnGeneric, wire.GenericKey([16]byte(in.Scope), in.Fragment), in.Value)
	},
	"group_meta": func(in rowIn) row {
		return groupRow(wire.RowGroupMeta, in, wire.GroupMeta{
			AppKey: in.AppKey, TargetApplicationID: domain.ApplicationID(in.TargetAppID), UpgradePolicy: in.UpgradePolicy,
			CreatedAt: uint64(in.CreatedAt), AdminIdentity: domain.PublicKey(in.AdminIdentity), Migration: in.Migration,
			AutoJoin: in.AutoJoin,
		})
	},
	"group_upgrade": func(in rowIn) row {
		return groupRow(wire.RowGroupUpgrade, in, wire.GroupUpgrade{
			FromVersion: in.FromVersion, ToVersion: in.ToVersion, Migration: in.Migration,
			InitiatedAt: uint64(in.InitiatedAt), InitiatedBy: domain.PublicKey(in.InitiatedBy),
			Status: wire.GroupUpgradeStatus{
				Completed: in.Status.Type == "Completed", Total: in.Status.Total, Finished: in.Status.Completed,
				Failed: in.Status.Failed, CompletedAt: (*uint64)(in.Status.CompletedAt),
			},
		})
	},
	"group_default_caps":       func(in rowIn) row { return groupRow(wire.RowGroupDefaultCaps, in, wire.U32(in.Capabilities)) },
	"group_default_visibility": func(in rowIn) row { return groupRow(wire.RowGroupDefaultVis, in, wire.U8(in.Mode)) },
	"group_alias":              func(in rowIn) row { return groupRow(wire.RowGroupAlias, in, wire.Text(in.Alias)) },
	"group_op_head": func(in rowIn) row {
		return groupRow(wire.RowGroupOpHead, in, wire.GroupOpHead{
			Sequence: uint64(in.Sequence), DagHeads: list[domain.Hash](in.DagHeads),
		})
	},
	"group_parent_ref": func(in rowIn) row {
		in.GroupID = in.ChildGroupID
		return groupRow(wire.RowGroupParent, in, wire.ID32(in.ParentGroupID))
	},
	"group_member": func(in rowIn) row {
		return memberRow(wire.RowGroupMember, in, in.Identity, wire.GroupMember{
			Role: in.Role, PrivateKey: secret(in.PrivateKey), SenderKey: secret(in.SenderKey),
		})
	},
	"group_signing_key": func(in rowIn) row {
		return memberRow(wire.RowGroupSigningKey, in, in.PublicKey, wire.ID32(*in.PrivateKey))
	},
	"group_member_capability": func(in rowIn) row {
		return memberRow(wire.RowGroupMemberCapability, in, in.Identity, wire.U32(in.Capabilities))
	},
	"group_local_gov_nonce": func(in rowIn) row {
		return memberRow(wire.RowGroupLocalNonce, in, in.Signer, wire.U64(in.Nonce))
	},
	"group_member_alias": func(in rowIn) row {
		return memberRow(wire.RowGroupMemberAlias, in, in.Member, wire.Text(in.Alias))
	},
	"group_context_index": func(in rowIn) row {
		return raw(wire.ColumnGroup,
			wire.RowGroupContext.Key(domain.GroupID(in.GroupID), domain.ContextID(in.ContextID)), []byte{})
	},
	"group_context_visibility": func(in rowIn) row {
		return contextRow(wire.RowGroupContextVisibility, in, wire.GroupContextVisibility{
			Mode: domain.VisibilityMode(in.Mode), Creator: domain.PublicKey(in.Creator),
		})
	},
	"group_context_last_migration": func(in rowIn) row {
		return contextRow(wire.RowGroupContextLastMigration, in, wire.Text(in.Method))
	},
	"group_context_alias": func(in rowIn) row {
		return contextRow(wire.RowGroupContextAlias, in, wire.Text(in.Alias))
	},
	"group_context_allowlist": func(in rowIn) row {
		return raw(wire.ColumnGroup, wire.RowGroupContextAllowlist.Key(
			domain.GroupID(in.GroupID), domain.ContextID(in.ContextID), domain.PublicKey(in.Member)), []byte{})
	},
	"group_context_member_cap": func(in rowIn) row {
		key := wire.RowGroupContextMemberCaps.Key(
			domain.GroupID(in.GroupID), domain.ContextID(in.ContextID), domain.PublicKey(in.Member))
		return valued(wire.ColumnGroup, key, wire.U8(in.Capability), func(t *testing.T, key []byte) {
			group, context, member, err := wire.RowGroupContextMemberCaps.Parse(key)
			require.NoError(t, err)
			require.Equal(t, domain.GroupID(in.GroupID), group)
			require.Equal(t, domain.ContextID(in.ContextID), context)
			require.Equal(t, domain.PublicKey(in.Member), member)
			require.Equal(t, wire.RowGroupContextMemberCaps.Prefix(group, context), key[:65])
		})
	},
	"context_group_ref": func(in rowIn) row {
		return valued(wire.ColumnGroup, wire.ContextGroupKey(domain.ContextID(in.ContextID)), wire.ID32(in.GroupID),
			func(t *testing.T, key []byte) {
				context, err := wire.ParseContextGroupKey(key)
				require.NoError(t, err)
				require.Equal(t, domain.ContextID(in.ContextID), context)
			})
	},
	"group_op_log": func(in rowIn) row {
		return valued(wire.ColumnGroup, wire.GroupOpLogKey(domain.GroupID(in.GroupID), uint64(in.Sequence)),
			wire.Bytes(in.OpBytes), func(t *testing.T, key []byte) {
				group, sequence, err := wire.ParseGroupOpLogKey(key)
				require.NoError(t, err)
				require.Equal(t, domain.GroupID(in.GroupID), group)
				require.Equal(t, uint64(in.Sequence), sequence)
				require.Equal(t, wire.GroupOpLogPrefix(group), key[:33])
			})
	},
	"group_member_context": func(in rowIn) row {
		key := wire.GroupMemberContextKey(
			domain.GroupID(in.GroupID), domain.PublicKey(in.Member), domain.ContextID(in.ContextID))
		return valued(wire.ColumnGroup, key, wire.ID32(in.ContextIdentity), func(t *testing.T, key []byte) {
			require.Equal(t, wire.GroupMemberContextPrefix(domain.GroupID(in.GroupID), domain.PublicKey(in.Member)), key[:65])
		})
	},
	"group_child_index": func(in rowIn) row {
		return raw(wire.ColumnGroup,
			wire.GroupChildKey(domain.GroupID(in.ParentGroupID), domain.GroupID(in.ChildGroupID)), []byte{})
	},
}

func groupRow[T borsh.Marshaler, P interface {
	*T
	borsh.Unmarshaler
}](r wire.GroupRow, in rowIn, value T) row {
	return valued[T, P](wire.ColumnGroup, r.Key(domain.GroupID(in.GroupID)), value, func(t *testing.T, key []byte) {
		group, err := r.Parse(key)
		require.NoError(t, err)
		require.Equal(t, domain.GroupID(in.GroupID), group)
		require.Equal(t, r.Prefix(), key[:1])
	})
}

func memberRow[T borsh.Marshaler, P interface {
	*T
	borsh.Unmarshaler
}](r wire.GroupMemberRow, in rowIn, member hex32, value T) row {
	key := r.Key(domain.GroupID(in.GroupID), domain.PublicKey(member))
	return valued[T, P](wire.ColumnGroup, key, value, func(t *testing.T, key []byte) {
		group, got, err := r.Parse(key)
		require.NoError(t, err)
		require.Equal(t, domain.GroupID(in.GroupID), group)
		require.Equal(t, domain.PublicKey(member), got)
		require.Equal(t, r.Prefix(group), key[:33])
	})
}

func contextRow[T borsh.Marshaler, P interface {
	*T
	borsh.Unmarshaler
}](r wire.GroupContextRow, in rowIn, value T) row {
	key := r.Key(domain.GroupID(in.GroupID), domain.ContextID(in.ContextID))
	return valued[T, P](wire.ColumnGroup, key, value, func(t *testing.T, key []byte) {
		group, context, err := r.Parse(key)
		require.NoError(t, err)
		require.Equal(t, domain.GroupID(in.GroupID), group)
		require.Equal(t, domain.ContextID(in.ContextID), context)
		require.Equal(t, r.Prefix(group), key[:33])
	})
}

// wideValues are rows whose vectors print each byte of the value as a 32-bit number. The reference's row types and the
// rows its own governance code writes are bytes, and so are ours.
var wideValues = map[string]bool{"group_context_member_cap": true, "group_member_context": true}

func narrow(t *testing.T, wide []byte) []byte {
	t.Helper()
	require.Zero(t, len(wide)%4)
	out := make([]byte, 0, len(wide)/4)
	for i := 0; i < len(wide); i += 4 {
		require.Equal(t, []byte{0, 0, 0}, wide[i+1:i+4])
		out = append(out, wide[i])
	}
	return out
}

func TestRows(t *testing.T) {
	t.Parallel()
	for group, build := range rows {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			for _, c := range golden.Group[rowIn, rowOut](t, store, group) {
				want := []byte(c.Out.Value)
				if wideValues[group] {
					want = narrow(t, want)
				}
				r := build(c.In)
				require.Equal(t, wire.Column(c.Out.Column), r.column, c.Name)
				require.Equal(t, []byte(c.Out.Key), r.key, c.Name)
				if r.value == nil {
					require.Equal(t, want, r.raw, c.Name)
					continue
				}
				value, err := wire.Encode(r.value)
				require.NoError(t, err, c.Name)
				require.Equal(t, want, value, c.Name)
				r.check(t, r.key, value)
			}
		})
	}
}

// Every group of the vectors has a test: in the table or in a function of its own.
func TestAllGroupsAreTested(t *testing.T) {
	t.Parallel()
	own := map[string]bool{"alias": true, "columns": true, "encrypted_value": true}
	file, err := os.ReadFile(store)
	require.NoError(t, err)
	var all struct{ Groups map[string]json.RawMessage }
	require.NoError(t, json.Unmarshal(file, &all))
	for group := range all.Groups {
		require.True(t, own[group] || rows[group] != nil, group)
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	type out struct{ Names []wire.Column }
	for _, c := range golden.Group[struct{}, out](t, store, "columns") {
		require.Equal(t, c.Out.Names, wire.Columns())
	}
}

func TestAliasKeys(t *testing.T) {
	t.Parallel()
	for _, c := range golden.Group[rowIn, rowOut](t, store, "alias") {
		if c.Out.Key == nil {
			continue // an identity's alias without a context: the key's function has no way to ask for it
		}
		var key []byte
		var err error
		var scope domain.ContextID
		alias := domain.Alias(c.In.Alias)
		switch c.In.Kind {
		case "context":
			key, err = wire.ContextAliasKey(alias)
		case "public_key":
			scope = domain.ContextID(c.In.Scope)
			key, err = wire.PublicKeyAliasKey(scope, alias)
		case "application":
			key, err = wire.ApplicationAliasKey(alias)
		}
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Key), key, c.Name)
		kind, gotScope, gotAlias, err := wire.ParseAliasKey(key)
		require.NoError(t, err, c.Name)
		require.Equal(t, byte(kind), key[0], c.Name)
		require.Equal(t, scope, gotScope, c.Name)
		require.Equal(t, alias, gotAlias, c.Name)
		require.Equal(t, wire.AliasPrefix(kind, scope), key[:33], c.Name)
		value, err := wire.Encode(wire.ID32(c.In.Target))
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Value), value, c.Name)
	}
	for bad, want := range map[domain.Alias]error{
		"a\x00": wire.ErrAliasZeroByte, domain.Alias(make([]byte, 51)): domain.ErrAliasTooLong, "\xff": domain.ErrAliasNotUTF8,
	} {
		_, err := wire.ContextAliasKey(bad)
		require.ErrorIs(t, err, want)
	}
}

func TestKeyRefusals(t *testing.T) {
	t.Parallel()
	for name, parse := range map[string]func([]byte) error{
		"context":     func(key []byte) error { _, err := wire.ParseContextKey(key); return err },
		"identity":    func(key []byte) error { _, _, err := wire.ParseIdentityKey(key); return err },
		"state":       func(key []byte) error { _, _, err := wire.ParseStateKey(key); return err },
		"delta":       func(key []byte) error { _, _, err := wire.ParseDeltaKey(key); return err },
		"blob":        func(key []byte) error { _, err := wire.ParseBlobKey(key); return err },
		"application": func(key []byte) error { _, err := wire.ParseApplicationKey(key); return err },
		"alias":       func(key []byte) error { _, _, _, err := wire.ParseAliasKey(key); return err },
		"group":       func(key []byte) error { _, err := wire.RowGroupMeta.Parse(key); return err },
		"member":      func(key []byte) error { _, _, err := wire.RowGroupMember.Parse(key); return err },
		"op log":      func(key []byte) error { _, _, err := wire.ParseGroupOpLogKey(key); return err },
		"child":       func(key []byte) error { _, _, err := wire.ParseGroupChildKey(key); return err },
	} {
		for _, length := range []int{0, 1, 31, 33, 40, 41, 63, 65, 83, 97, 100} {
			key := make([]byte, length) // no row begins with zero, and no key of these lengths has no first byte
			require.ErrorIs(t, parse(key), wire.ErrKey, "%s of %d bytes", name, length)
		}
	}
}

func TestPrimitives(t *testing.T) {
	t.Parallel()
	type jsonIn struct {
		JSON  string
		Borsh golden.Hex
	}
	type borshOut struct {
		Borsh golden.Hex
		Error string
	}
	for _, c := range golden.Group[jsonIn, borshOut](t, primitives, "upgrade_policy") {
		var policy domain.UpgradePolicy
		require.NoError(t, json.Unmarshal([]byte(c.In.JSON), &policy))
		e := borsh.NewEncoder(nil)
		wire.PutUpgradePolicy(e, policy)
		out, err := e.Finish()
		require.NoError(t, err, c.Name)
		require.Equal(t, []byte(c.Out.Borsh), out, c.Name)
		d := borsh.NewDecoder(out)
		require.Equal(t, policy, wire.ReadUpgradePolicy(d, "policy"), c.Name)
		require.NoError(t, d.Finish(), c.Name)
	}
	for _, c := range golden.Group[jsonIn, borshOut](t, primitives, "upgrade_policy_decode") {
		d := borsh.NewDecoder(c.In.Borsh)
		wire.ReadUpgradePolicy(d, "policy")
		require.ErrorContains(t, d.Finish(), c.Out.Error, c.Name)
	}
	for _, c := range golden.Group[jsonIn, borshOut](t, primitives, "group_member_role") {
		var role domain.MemberRole
		require.NoError(t, json.Unmarshal([]byte(c.In.JSON), &role))
		e := borsh.NewEncoder(nil)
		wire.PutMemberRole(e, role)
		out, err := e.Finish()
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Borsh), out, c.Name)
		require.Equal(t, role, wire.ReadMemberRole(borsh.NewDecoder(out), "role"), c.Name)
	}
}

// The row of a blob is what the hasher says about its content.
func TestBlobRows(t *testing.T) {
	t.Parallel()
	type out struct {
		Row    golden.Hex `json:"row_borsh"`
		Chunks []struct {
			BlobID hex32       `json:"blob_id"`
			Size   golden.Uint `json:"size"`
			Row    golden.Hex  `json:"row_borsh"`
		}
	}
	for _, c := range golden.Group[struct {
		Data   golden.Hex
		Length int
	}, out](t, primitives, "blob_id") {
		data := []byte(c.In.Data)
		for i := range c.In.Length {
			data = append(data, byte(i%251))
		}
		h := blobid.New()
		_, err := h.Write(data)
		require.NoError(t, err)
		info := h.Sum()
		row, err := wire.Encode(wire.BlobMeta{Size: info.Size, Hash: info.Hash, Links: info.Chunks})
		require.NoError(t, err)
		require.Equal(t, []byte(c.Out.Row), row, c.Name)
		require.Len(t, info.Chunks, len(c.Out.Chunks), c.Name)
		for i, chunk := range c.Out.Chunks {
			row, err := wire.Encode(wire.BlobMeta{Size: uint64(chunk.Size), Hash: domain.Hash(info.Chunks[i])})
			require.NoError(t, err)
			require.Equal(t, []byte(chunk.Row), row, c.Name)
		}
	}
}

func TestValueCipher(t *testing.T) {
	t.Parallel()
	type in struct {
		Master golden.Hex `json:"master_key"`
		Stored golden.Hex
	}
	type out struct {
		Plaintext golden.Hex
		Error     string
	}
	for _, c := range golden.Group[in, out](t, store, "encrypted_value") {
		key, err := wire.NewValueCipher(c.In.Master)
		require.NoError(t, err)
		plain, err := key.Open(c.In.Stored)
		if c.Out.Error != "" {
			require.ErrorIs(t, err, wire.ErrSealedValue, c.Name)
			continue
		}
		require.NoError(t, err, c.Name)
		require.Equal(t, string(c.Out.Plaintext), string(plain), c.Name)
		sealed, err := key.Seal(plain)
		require.NoError(t, err)
		again, err := key.Open(sealed)
		require.NoError(t, err)
		require.Equal(t, string(plain), string(again), c.Name)
	}
	_, err := wire.NewValueCipher(nil)
	require.Error(t, err)
}
