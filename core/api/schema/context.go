package schema

import (
	"encoding/json"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// CreateContextRequest creates a context. InitializationParams are the JSON that init gets.
type CreateContextRequest struct {
	ApplicationID        domain.ApplicationID `json:"applicationId"`
	ContextSeed          *domain.Hash         `json:"contextSeed"`
	InitializationParams IntBytes             `json:"initializationParams"`
	GroupID              *string              `json:"groupId"`
	IdentitySecret       *string              `json:"identitySecret"`
	Alias                *string              `json:"alias,omitempty"`
}

// Read implements Request.
func (r *CreateContextRequest) Read(o *jsonvalue.Object) {
	o.Into("applicationId", &r.ApplicationID)
	r.ContextSeed = jsonvalue.OptionalInto[domain.Hash](o, "contextSeed")
	r.InitializationParams = o.Bytes("initializationParams")
	r.GroupID = o.OptionalText("groupId")
	r.IdentitySecret = o.OptionalText("identitySecret")
	r.Alias = o.OptionalText("alias")
}

// Validate implements Request.
func (r *CreateContextRequest) Validate() []string {
	var f faults
	f.bytes("initialization_params", len(r.InitializationParams), MaxInitParams)
	return f
}

// DeleteContextRequest deletes a context.
type DeleteContextRequest struct {
	Requester *domain.PublicKey `json:"requester"`
}

// Read implements Request.
func (r *DeleteContextRequest) Read(o *jsonvalue.Object) {
	r.Requester = jsonvalue.OptionalInto[domain.PublicKey](o, "requester")
}

// Validate implements Request.
func (r *DeleteContextRequest) Validate() []string { return nil }

// UpdateContextApplicationRequest changes a context's application.
type UpdateContextApplicationRequest struct {
	ApplicationID     domain.ApplicationID `json:"applicationId"`
	ExecutorPublicKey domain.PublicKey     `json:"executorPublicKey"`
	MigrateMethod     *string              `json:"migrateMethod,omitempty"`
}

// Read implements Request.
func (r *UpdateContextApplicationRequest) Read(o *jsonvalue.Object) {
	o.Into("applicationId", &r.ApplicationID)
	o.Into("executorPublicKey", &r.ExecutorPublicKey)
	r.MigrateMethod = o.OptionalText("migrateMethod")
}

// Validate implements Request.
func (r *UpdateContextApplicationRequest) Validate() []string {
	var f faults
	if r.MigrateMethod != nil {
		f.method("migrate_method", *r.MigrateMethod)
	}
	return f
}

// InviteToContextRequest makes an invitation.
type InviteToContextRequest struct {
	ContextID       domain.ContextID `json:"contextId"`
	InviterID       domain.PublicKey `json:"inviterId"`
	ValidForSeconds uint64           `json:"validForSeconds"`
}

// Read implements Request.
func (r *InviteToContextRequest) Read(o *jsonvalue.Object) {
	o.Into("contextId", &r.ContextID)
	o.Into("inviterId", &r.InviterID)
	if v, ok := o.Required("validForSeconds"); ok {
		r.ValidForSeconds = v.Unsigned(64)
	}
}

// Validate implements Request.
func (r *InviteToContextRequest) Validate() []string {
	var f faults
	if r.ValidForSeconds > MaxValidFor {
		f.add("Field 'valid_for_seconds' value %d exceeds maximum of %d", r.ValidForSeconds, MaxValidFor)
	}
	return f
}

// InviteSpecializedNodeRequest asks a specialised node to join.
type InviteSpecializedNodeRequest struct {
	ContextID domain.ContextID  `json:"contextId"`
	InviterID *domain.PublicKey `json:"inviterId"`
}

// Read implements Request.
func (r *InviteSpecializedNodeRequest) Read(o *jsonvalue.Object) {
	o.Into("contextId", &r.ContextID)
	r.InviterID = jsonvalue.OptionalInto[domain.PublicKey](o, "inviterId")
}

// Validate implements Request.
func (r *InviteSpecializedNodeRequest) Validate() []string { return nil }

// SignedOpenInvitation lets its holder join a context. Unlike the rest of the API it is in snake case.
type SignedOpenInvitation struct {
	Invitation       OpenInvitation `json:"invitation"`
	InviterSignature string         `json:"inviter_signature"` // hex
	ApplicationID    *IntBytes32    `json:"application_id,omitempty"`
	BlobID           *IntBytes32    `json:"blob_id,omitempty"`
	Source           *string        `json:"source,omitempty"`
	GroupID          *IntBytes32    `json:"group_id,omitempty"`
	// Genesis of the group, an extension.
	Genesis *wire.InvitedGenesis `json:"genesis,omitempty"`
}

// OpenInvitation is what is signed.
type OpenInvitation struct {
	InviterIdentity     IntBytes32 `json:"inviter_identity"`
	ContextID           IntBytes32 `json:"context_id"`
	ExpirationTimestamp uint64     `json:"expiration_timestamp"` // Unix seconds
	SecretSalt          IntBytes32 `json:"secret_salt"`
}

func (i *SignedOpenInvitation) read(o *jsonvalue.Object) {
	if v, ok := o.Required("invitation"); ok {
		v.Object("struct InvitationFromMember", i.Invitation.read)
	}
	i.InviterSignature = o.Text("inviter_signature")
	i.ApplicationID = optionalArray(o, "application_id")
	i.BlobID = optionalArray(o, "blob_id")
	i.Source = o.OptionalText("source")
	i.GroupID = optionalArray(o, "group_id")
	if v, ok := o.Optional("genesis"); ok {
		i.Genesis = &wire.InvitedGenesis{}
		v.Parse(func(text string) error { return i.Genesis.UnmarshalText([]byte(text)) })
	}
}

func (i *OpenInvitation) read(o *jsonvalue.Object) {
	i.InviterIdentity = requiredArray(o, "inviter_identity")
	i.ContextID = requiredArray(o, "context_id")
	if v, ok := o.Required("expiration_timestamp"); ok {
		i.ExpirationTimestamp = v.Unsigned(64)
	}
	i.SecretSalt = requiredArray(o, "secret_salt")
}

func requiredArray(o *jsonvalue.Object, name string) IntBytes32 {
	if v, ok := o.Required(name); ok {
		return v.Array32()
	}
	return IntBytes32{}
}

func optionalArray(o *jsonvalue.Object, name string) *IntBytes32 {
	v, ok := o.Optional(name)
	if !ok {
		return nil
	}
	a := IntBytes32(v.Array32())
	return &a
}

// JoinContextRequest joins a context with an invitation.
type JoinContextRequest struct {
	Invitation         SignedOpenInvitation `json:"invitation"`
	NewMemberPublicKey domain.PublicKey     `json:"newMemberPublicKey"`
}

// Read implements Request.
func (r *JoinContextRequest) Read(o *jsonvalue.Object) {
	if v, ok := o.Required("invitation"); ok {
		v.Object("struct SignedOpenInvitation", r.Invitation.read)
	}
	o.Into("newMemberPublicKey", &r.NewMemberPublicKey)
}

// Validate implements Request.
func (r *JoinContextRequest) Validate() []string { return nil }

// CapabilitiesRequest grants or revokes capabilities of members of a context.
type CapabilitiesRequest struct {
	Capabilities []MemberCapability `json:"capabilities"`
	SignerID     domain.PublicKey   `json:"signer_id"`
}

// MemberCapability is printed as a pair.
type MemberCapability struct {
	Member     domain.PublicKey
	Capability string
}

// Read implements Request.
func (r *CapabilitiesRequest) Read(o *jsonvalue.Object) {
	if v, ok := o.Required("capabilities"); ok {
		v.Each(func(pair jsonvalue.Value) {
			var c MemberCapability
			i := 0
			pair.Each(func(part jsonvalue.Value) {
				switch i {
				case 0:
					part.Into(&c.Member)
				case 1:
					part.Parse(c.parse)
				}
				i++
			})
			if i != 2 {
				pair.Fail("invalid length, expected a tuple of size 2")
			}
			r.Capabilities = append(r.Capabilities, c)
		})
	}
	o.Into("signer_id", &r.SignerID)
}

// MarshalJSON writes a pair.
func (c MemberCapability) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{c.Member, c.Capability})
}

func (c *MemberCapability) parse(text string) error {
	c.Capability = text
	return oneOf(text, "ManageApplication", "ManageMembers", "Proxy")
}

// Validate implements Request.
func (r *CapabilitiesRequest) Validate() []string {
	var f faults
	f.items("capabilities", len(r.Capabilities), MaxCapabilities)
	return f
}

// CreatedContext is the answer of a create.
type CreatedContext struct {
	ContextID       domain.ContextID `json:"contextId"`
	MemberPublicKey domain.PublicKey `json:"memberPublicKey"`
}

// JoinedContext is the answer of a join.
type JoinedContext struct {
	ContextID       domain.ContextID `json:"contextId"`
	MemberPublicKey domain.PublicKey `json:"memberPublicKey"`
}

// Context describes a context.
type Context struct {
	ID            domain.ContextID     `json:"id"`
	ApplicationID domain.ApplicationID `json:"applicationId"`
	RootHash      domain.Hash          `json:"rootHash"`
	DagHeads      []IntBytes32         `json:"dagHeads,omitempty"`
	// GuestMerge is ours: the application merges its state itself. Absent when the node does.
	GuestMerge bool `json:"guestMerge,omitempty"`
	// UpgradeError is ours: why the context does not run the application of its group, as of the last call. Absent when nothing
	// is known to keep it from that.
	UpgradeError string `json:"upgradeError,omitempty"`
	// SyncError is ours: what keeps the context from being as its peers'. Absent when nothing does, and in lists.
	SyncError string `json:"syncError,omitempty"`
}

// Contexts is the answer of a list.
type Contexts struct {
	Contexts []Context `json:"contexts"`
}

// Deleted is the answer of a delete.
type Deleted struct {
	IsDeleted bool `json:"isDeleted"`
}

// ContextStorage is how much a context stores.
type ContextStorage struct {
	SizeInBytes uint64 `json:"sizeInBytes"`
}

// Identities is the answer of a list.
type Identities struct {
	Identities []domain.PublicKey `json:"identities"`
}

// ContextsWithExecutors is the answer of a list, without Data and in snake case.
type ContextsWithExecutors struct {
	Contexts []ContextWithExecutors `json:"contexts"`
}

// ContextWithExecutors is a context with its members.
type ContextWithExecutors struct {
	ID            domain.ContextID     `json:"id"`
	ApplicationID domain.ApplicationID `json:"application_id"`
	RootHash      domain.Hash          `json:"root_hash"`
	Executors     []domain.PublicKey   `json:"executors"`
}

// NewIdentity is the answer of a generate.
type NewIdentity struct {
	PublicKey domain.PublicKey `json:"publicKey"`
}
