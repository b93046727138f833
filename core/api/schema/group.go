package schema

import (
	"encoding/json"
	"fmt"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Requester names who makes a request about a group; nil = the node's group identity.
type Requester struct {
	Requester *domain.PublicKey `json:"requester,omitempty"`
}

func (r *Requester) read(o *jsonvalue.Object) {
	r.Requester = jsonvalue.OptionalInto[domain.PublicKey](o, "requester")
}

// GroupRequest is a request about a group that says nothing but who makes it: delete, sync, detach, retry.
type GroupRequest struct{ Requester }

// Read implements Request.
func (r *GroupRequest) Read(o *jsonvalue.Object) { r.read(o) }

// Validate implements Request.
func (r *GroupRequest) Validate() []string { return nil }

// CreateGroupRequest creates a group.
type CreateGroupRequest struct {
	GroupID       *string              `json:"groupId,omitempty"` // hex
	AppKey        *string              `json:"appKey,omitempty"`  // hex
	ApplicationID domain.ApplicationID `json:"applicationId"`
	UpgradePolicy domain.UpgradePolicy `json:"upgradePolicy"`
	Alias         *string              `json:"alias,omitempty"`
	ParentGroupID *string              `json:"parentGroupId,omitempty"` // hex
}

// Read implements Request.
func (r *CreateGroupRequest) Read(o *jsonvalue.Object) {
	r.GroupID = o.OptionalText("groupId")
	r.AppKey = o.OptionalText("appKey")
	o.Into("applicationId", &r.ApplicationID)
	readPolicy(o, &r.UpgradePolicy)
	r.Alias = o.OptionalText("alias")
	r.ParentGroupID = o.OptionalText("parentGroupId")
}

// Validate implements Request.
func (r *CreateGroupRequest) Validate() []string {
	var f faults
	if r.AppKey != nil && *r.AppKey == "" {
		f.empty("app_key")
	}
	if r.Alias != nil {
		f.groupAlias(*r.Alias)
	}
	return f
}

func (f *faults) groupAlias(alias string) {
	if alias == "" {
		f.empty("alias")
		return
	}
	f.text("alias", alias, MaxGroupAlias)
}

func readPolicy(o *jsonvalue.Object, to *domain.UpgradePolicy) {
	v, ok := o.Required("upgradePolicy")
	if !ok {
		return
	}
	if v.Raw()[0] == '"' {
		v.Parse(func(text string) error {
			switch text {
			case "Automatic":
				to.Mode = domain.UpgradeAutomatic
			case "LazyOnAccess":
				to.Mode = domain.UpgradeLazyOnAccess
			case "Coordinated":
				return fmt.Errorf("invalid type: unit variant, expected struct variant")
			default:
				return fmt.Errorf("unknown variant `%s`, expected one of `Automatic`, `LazyOnAccess`, `Coordinated`", text)
			}
			return nil
		})
		return
	}
	if err := json.Unmarshal(v.Raw(), to); err != nil {
		v.Fail(err.Error())
	}
}

// UpdateGroupSettingsRequest changes a group's upgrade policy.
type UpdateGroupSettingsRequest struct {
	Requester
	UpgradePolicy domain.UpgradePolicy `json:"upgradePolicy"`
}

// Read implements Request.
func (r *UpdateGroupSettingsRequest) Read(o *jsonvalue.Object) {
	r.read(o)
	readPolicy(o, &r.UpgradePolicy)
}

// Validate implements Request.
func (r *UpdateGroupSettingsRequest) Validate() []string { return nil }

// GroupMemberInput is a member to add.
type GroupMemberInput struct {
	Identity domain.PublicKey  `json:"identity"`
	Role     domain.MemberRole `json:"role"`
}

// AddGroupMembersRequest adds members.
type AddGroupMembersRequest struct {
	Members []GroupMemberInput `json:"members"`
	Requester
}

// Read implements Request.
func (r *AddGroupMembersRequest) Read(o *jsonvalue.Object) {
	r.Members = []GroupMemberInput{}
	if v, ok := o.Required("members"); ok {
		v.Each(func(item jsonvalue.Value) {
			var m GroupMemberInput
			item.Object("struct GroupMemberApiInput", func(o *jsonvalue.Object) {
				o.Into("identity", &m.Identity)
				readRole(o, &m.Role)
			})
			r.Members = append(r.Members, m)
		})
	}
	r.read(o)
}

func readRole(o *jsonvalue.Object, to *domain.MemberRole) {
	if v, ok := o.Required("role"); ok {
		v.Parse(func(text string) (err error) {
			*to, err = domain.ParseMemberRole(text)
			return err
		})
	}
}

// Validate implements Request.
func (r *AddGroupMembersRequest) Validate() []string { return validMembers(len(r.Members)) }

func validMembers(n int) []string {
	var f faults
	if n == 0 {
		f.empty("members")
	}
	f.items("members", n, MaxMembers)
	return f
}

// RemoveGroupMembersRequest removes members.
type RemoveGroupMembersRequest struct {
	Members []domain.PublicKey `json:"members"`
	Requester
}

// Read implements Request.
func (r *RemoveGroupMembersRequest) Read(o *jsonvalue.Object) {
	r.Members = []domain.PublicKey{}
	if v, ok := o.Required("members"); ok {
		r.Members = readKeys(v)
	}
	r.read(o)
}

func readKeys(v jsonvalue.Value) []domain.PublicKey {
	keys := []domain.PublicKey{}
	v.Each(func(item jsonvalue.Value) {
		var key domain.PublicKey
		item.Into(&key)
		keys = append(keys, key)
	})
	return keys
}

// Validate implements Request.
func (r *RemoveGroupMembersRequest) Validate() []string { return validMembers(len(r.Members)) }

// UpdateMemberRoleRequest sets a member's role.
type UpdateMemberRoleRequest struct {
	Role domain.MemberRole `json:"role"`
	Requester
}

// Read implements Request.
func (r *UpdateMemberRoleRequest) Read(o *jsonvalue.Object) {
	readRole(o, &r.Role)
	r.read(o)
}

// Validate implements Request.
func (r *UpdateMemberRoleRequest) Validate() []string { return nil }

// SetAliasRequest names a group, a member or, which is ours, a context in its group.
type SetAliasRequest struct {
	Alias string `json:"alias"`
	Requester
}

// Read implements Request.
func (r *SetAliasRequest) Read(o *jsonvalue.Object) {
	r.Alias = o.Text("alias")
	r.read(o)
}

// Validate implements Request.
func (r *SetAliasRequest) Validate() []string {
	var f faults
	f.groupAlias(r.Alias)
	return f
}

// UpgradeGroupRequest gives a group's contexts another application.
type UpgradeGroupRequest struct {
	TargetApplicationID domain.ApplicationID `json:"targetApplicationId"`
	Requester
	MigrateMethod *string `json:"migrateMethod,omitempty"`
}

// Read implements Request.
func (r *UpgradeGroupRequest) Read(o *jsonvalue.Object) {
	o.Into("targetApplicationId", &r.TargetApplicationID)
	r.read(o)
	r.MigrateMethod = o.OptionalText("migrateMethod")
}

// Validate implements Request.
func (r *UpgradeGroupRequest) Validate() []string {
	var f faults
	if r.MigrateMethod != nil {
		f.method("migrate_method", *r.MigrateMethod)
	}
	return f
}

// RegisterSigningKeyRequest gives the node a member's private key, in hex.
type RegisterSigningKeyRequest struct {
	SigningKey string `json:"signingKey"`
}

// Read implements Request.
func (r *RegisterSigningKeyRequest) Read(o *jsonvalue.Object) { r.SigningKey = o.Text("signingKey") }

// Validate implements Request.
func (r *RegisterSigningKeyRequest) Validate() []string {
	var f faults
	if r.SigningKey == "" {
		f.empty("signing_key")
	}
	return f
}

// InviteToGroupRequest makes an invitation. ExpirationTimestamp is the seconds of its validity. OneUse is ours: one
// identity may join with it.
type InviteToGroupRequest struct {
	Requester
	ExpirationTimestamp *uint64 `json:"expirationTimestamp,omitempty"`
	OneUse              bool    `json:"oneUse,omitempty"`
}

// Read implements Request.
func (r *InviteToGroupRequest) Read(o *jsonvalue.Object) {
	r.read(o)
	if v, ok := o.Optional("expirationTimestamp"); ok {
		seconds := v.Unsigned(64)
		r.ExpirationTimestamp = &seconds
	}
	if v, ok := o.Optional("oneUse"); ok {
		r.OneUse = v.Bool()
	}
}

// Validate implements Request.
func (r *InviteToGroupRequest) Validate() []string { return nil }

// SignedGroupOpenInvitation lets its holder join a group. It is in snake case. What stands beside the two signed parts is
// ours: a help for a node that never saw the group.
type SignedGroupOpenInvitation struct {
	Invitation       GroupOpenInvitation  `json:"invitation"`
	InviterSignature string               `json:"inviter_signature"` // hex
	Alias            *string              `json:"group_alias,omitempty"`
	Genesis          *wire.InvitedGenesis `json:"genesis,omitempty"`
	ApplicationID    *IntBytes32          `json:"application_id,omitempty"`
	BlobID           *IntBytes32          `json:"blob_id,omitempty"`
	Source           *string              `json:"source,omitempty"`
}

// GroupOpenInvitation is what is signed.
type GroupOpenInvitation struct {
	InviterIdentity     IntBytes32 `json:"inviter_identity"`
	GroupID             IntBytes32 `json:"group_id"`
	ExpirationTimestamp uint64     `json:"expiration_timestamp"` // Unix seconds
	SecretSalt          IntBytes32 `json:"secret_salt"`
}

func (i *SignedGroupOpenInvitation) read(o *jsonvalue.Object) {
	if v, ok := o.Required("invitation"); ok {
		v.Object("struct GroupInvitationFromAdmin", i.Invitation.read)
	}
	i.InviterSignature = o.Text("inviter_signature")
	i.Alias = o.OptionalText("group_alias")
	if v, ok := o.Optional("genesis"); ok {
		v.Parse(func(text string) error {
			i.Genesis = new(wire.InvitedGenesis)
			return i.Genesis.UnmarshalText([]byte(text))
		})
	}
	i.ApplicationID = optionalArray(o, "application_id")
	i.BlobID = optionalArray(o, "blob_id")
	i.Source = o.OptionalText("source")
}

func (i *GroupOpenInvitation) read(o *jsonvalue.Object) {
	i.InviterIdentity = requiredArray(o, "inviter_identity")
	i.GroupID = requiredArray(o, "group_id")
	if v, ok := o.Required("expiration_timestamp"); ok {
		i.ExpirationTimestamp = v.Unsigned(64)
	}
	i.SecretSalt = requiredArray(o, "secret_salt")
}

// JoinGroupRequest joins a group with an invitation.
type JoinGroupRequest struct {
	Invitation SignedGroupOpenInvitation `json:"invitation"`
	GroupAlias *string                   `json:"groupAlias,omitempty"`
}

// Read implements Request.
func (r *JoinGroupRequest) Read(o *jsonvalue.Object) {
	readInvitation(o, &r.Invitation)
	r.GroupAlias = o.OptionalText("groupAlias")
}

func readInvitation(o *jsonvalue.Object, to *SignedGroupOpenInvitation) {
	if v, ok := o.Required("invitation"); ok {
		v.Object("struct SignedGroupOpenInvitation", to.read)
	}
}

// Validate implements Request.
func (r *JoinGroupRequest) Validate() []string { return nil }

// CloseInvitationRequest ends an invitation; ours.
type CloseInvitationRequest struct {
	Invitation SignedGroupOpenInvitation `json:"invitation"`
	Requester
}

// Read implements Request.
func (r *CloseInvitationRequest) Read(o *jsonvalue.Object) {
	readInvitation(o, &r.Invitation)
	r.read(o)
}

// Validate implements Request.
func (r *CloseInvitationRequest) Validate() []string { return nil }

// ChooseGenesisRequest has a group on this node go by one of its geneses; ours.
type ChooseGenesisRequest struct {
	Genesis domain.Hash `json:"genesis"`
}

// Read implements Request.
func (r *ChooseGenesisRequest) Read(o *jsonvalue.Object) { o.Into("genesis", &r.Genesis) }

// Validate implements Request.
func (r *ChooseGenesisRequest) Validate() []string { return nil }

// JoinGroupContextRequest joins a context of a group that the node is in.
type JoinGroupContextRequest struct {
	ContextID domain.ContextID `json:"contextId"`
}

// Read implements Request.
func (r *JoinGroupContextRequest) Read(o *jsonvalue.Object) { o.Into("contextId", &r.ContextID) }

// Validate implements Request.
func (r *JoinGroupContextRequest) Validate() []string { return nil }
