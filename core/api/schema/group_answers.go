package schema

import (
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// GroupRef names a group.
type GroupRef struct {
	GroupID domain.GroupID `json:"groupId"`
}

// Hex32 are 32 bytes whose JSON is hex.
type Hex32 = domain.GroupID

// Group describes a group in a list.
type Group struct {
	GroupID             domain.GroupID       `json:"groupId"`
	AppKey              Hex32                `json:"appKey"`
	TargetApplicationID domain.ApplicationID `json:"targetApplicationId"`
	UpgradePolicy       domain.UpgradePolicy `json:"upgradePolicy"`
	CreatedAt           uint64               `json:"createdAt"` // Unix seconds
	Alias               *string              `json:"alias,omitempty"`
}

// GroupInfo describes a group. Parent and Subgroups are ours.
type GroupInfo struct {
	GroupID             domain.GroupID       `json:"groupId"`
	AppKey              Hex32                `json:"appKey"`
	TargetApplicationID domain.ApplicationID `json:"targetApplicationId"`
	UpgradePolicy       domain.UpgradePolicy `json:"upgradePolicy"`
	MemberCount         uint64               `json:"memberCount"`
	ContextCount        uint64               `json:"contextCount"`
	ActiveUpgrade       *GroupUpgrade        `json:"activeUpgrade,omitempty"`
	DefaultCapabilities uint32               `json:"defaultCapabilities"`
	DefaultVisibility   Visibility           `json:"defaultVisibility"`
	Alias               *string              `json:"alias,omitempty"`
	Parent              *domain.GroupID      `json:"parentGroupId,omitempty"`
	Subgroups           []domain.GroupID     `json:"subgroupIds,omitempty"`
}

// Statuses of an upgrade.
const (
	UpgradeInProgress = "in_progress"
	UpgradeCompleted  = "completed"
)

// GroupUpgrade is how far a group's contexts have come with another application.
type GroupUpgrade struct {
	FromVersion string           `json:"fromVersion"`
	ToVersion   string           `json:"toVersion"`
	InitiatedAt uint64           `json:"initiatedAt"`
	InitiatedBy domain.PublicKey `json:"initiatedBy"`
	Status      string           `json:"status"`
	Total       *uint32          `json:"total"`
	Completed   *uint32          `json:"completed"`
	Failed      *uint32          `json:"failed"`
	CompletedAt *uint64          `json:"completedAt"`
}

// StartedUpgrade is the answer of an upgrade and of its retry.
type StartedUpgrade struct {
	GroupID   domain.GroupID `json:"groupId"`
	Status    string         `json:"status"`
	Total     *uint32        `json:"total"`
	Completed *uint32        `json:"completed"`
	Failed    *uint32        `json:"failed"`
}

// GroupContext is a context of a group. Its id is in hex, unlike everywhere else.
type GroupContext struct {
	ContextID Hex32   `json:"contextId"`
	Alias     *string `json:"alias,omitempty"`
}

// GroupMember is a member of a group.
type GroupMember struct {
	Identity domain.PublicKey  `json:"identity"`
	Role     domain.MemberRole `json:"role"`
	Alias    *string           `json:"alias,omitempty"`
}

// GroupMembers is the answer of a list.
type GroupMembers struct {
	Data         []GroupMember     `json:"data"`
	SelfIdentity *domain.PublicKey `json:"selfIdentity,omitempty"`
}

// SigningKey is the answer of a registration.
type SigningKey struct {
	PublicKey domain.PublicKey `json:"publicKey"`
}

// SyncedGroup describes a group as it is on the node.
type SyncedGroup struct {
	GroupID             domain.GroupID       `json:"groupId"`
	AppKey              Hex32                `json:"appKey"`
	TargetApplicationID domain.ApplicationID `json:"targetApplicationId"`
	MemberCount         uint64               `json:"memberCount"`
	ContextCount        uint64               `json:"contextCount"`
}

// MadeInvitation is the answer of an invite.
type MadeInvitation struct {
	Invitation SignedGroupOpenInvitation `json:"invitation"`
	GroupAlias *string                   `json:"groupAlias,omitempty"`
}

// JoinedGroup is the answer of a join.
type JoinedGroup struct {
	GroupID        domain.GroupID   `json:"groupId"`
	MemberIdentity domain.PublicKey `json:"memberIdentity"`
}

// Capabilities of a member.
type Capabilities struct {
	Capabilities uint32 `json:"capabilities"`
}

// ContextVisibility says who may join a context.
type ContextVisibility struct {
	Mode    Visibility       `json:"mode"`
	Creator domain.PublicKey `json:"creator"`
}

// GroupLog is a page of the operations that the node has of a group, in the order it took them; ours.
type GroupLog struct {
	Total      uint64            `json:"total"`
	Operations []LoggedOperation `json:"operations"`
}

// GroupGeneses are the beginnings that the node has heard a group to have; ours. With two of which none is chosen nobody
// joins there.
type GroupGeneses struct {
	Chosen  bool           `json:"chosen"`
	Geneses []GroupGenesis `json:"geneses"`
}

// GroupGenesis is one of them, and what the node's operations of the group come to by it.
type GroupGenesis struct {
	ID          domain.Hash `json:"id"`
	Kept        bool        `json:"kept"` // the group goes by it
	Provisional bool        `json:"provisional,omitempty"`
	// Creator is the first admin.
	Creator             domain.PublicKey     `json:"creator"`
	CreatedAt           uint64               `json:"createdAt"` // Unix seconds
	TargetApplicationID domain.ApplicationID `json:"targetApplicationId"`
	Alias               *string              `json:"alias,omitempty"`
	Parent              *domain.GroupID      `json:"parentGroupId,omitempty"`
	MemberCount         int                  `json:"memberCount"`
	CountingOperations  int                  `json:"countingOperations"`
	Operations          int                  `json:"operations"`
}

// LoggedOperation is an operation with what became of it.
type LoggedOperation struct {
	// Sequence is its place in the log, from 1; 0 = it waits.
	Sequence  uint64           `json:"sequence"`
	ID        domain.Hash      `json:"id"`
	Parents   []domain.Hash    `json:"parents"`
	Author    domain.PublicKey `json:"author"`
	Nonce     uint64           `json:"nonce"`
	Operation string           `json:"operation"` // the variant's name
	What      string           `json:"what"`      // in words
	Verdict   string           `json:"verdict"`
	Reason    string           `json:"reason"`
	// By are the operations that caused the verdict, or that it waits for.
	By []domain.Hash `json:"by,omitempty"`
}
