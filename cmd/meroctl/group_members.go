package main

import (
	"cmp"
	"context"
	"net/http"
	"strings"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type groupMembers struct {
	List    membersList     `cmd:"" aliases:"ls" help:"List the members."`
	Add     membersAdd      `cmd:"" help:"Add a member, or set its role."`
	Remove  membersRemove   `cmd:"" help:"Remove members; they leave the group's contexts too."`
	SetRole membersSetRole  `cmd:"" help:"Set the role of a member."`
	Alias   membersSetAlias `cmd:"" name:"set-alias" help:"Name a member."`
	SetCaps membersSetCaps  `cmd:"" name:"set-capabilities" aliases:"set-caps" help:"Say what a member may do; what is not named is taken away."`
	GetCaps membersGetCaps  `cmd:"" name:"get-capabilities" aliases:"get-caps" help:"Show what a member may do."`
	Check   membersCheck    `cmd:"" name:"check-access" help:"Tell whether a member may join a context."`
}

// ofMember names a member.
type ofMember struct {
	ofGroup
	Member string `arg:"" help:"Public key of the member."`
}

// route below the member's.
func (m ofMember) route(suffix string) (string, domain.PublicKey, error) {
	key, err := memberKey(m.Member)
	return "/members/" + key.String() + suffix, key, err
}

var roleNames = map[string]domain.MemberRole{"admin": domain.RoleAdmin, "member": domain.RoleMember, "read-only": domain.RoleReadOnly}

type membersList struct {
	ofGroup
	paging
}

func (l *membersList) Run(ctx context.Context, c *cli) error {
	answer, err := l.fetch(ctx, c, "/members"+l.query())
	if err != nil {
		return err
	}
	return showBare(c, answer, []string{"IDENTITY", "ROLE", "ALIAS", "SELF"}, func(m schema.GroupMembers) (rows [][]string) {
		for _, x := range m.Data {
			self := m.SelfIdentity != nil && *m.SelfIdentity == x.Identity
			rows = append(rows, []string{x.Identity.String(), x.Role.String(), text(x.Alias), yes(self)})
		}
		return rows
	})
}

type membersAdd struct {
	ofMember
	Role string `arg:"" optional:"" enum:"admin,member,read-only" default:"member" help:"admin, member or read-only."`
	asRequester
}

func (a *membersAdd) Run(ctx context.Context, c *cli) error {
	key, err := memberKey(a.Member)
	if err != nil {
		return err
	}
	role := roleNames[a.Role]
	return c.govern(ctx, a.ofGroup, a.asRequester, http.MethodPost, "/members", func(who schema.Requester) any {
		return schema.AddGroupMembersRequest{Members: []schema.GroupMemberInput{{Identity: key, Role: role}}, Requester: who}
	}, "%s is %s", key, role)
}

type membersRemove struct {
	ofGroup
	Members []string `arg:"" help:"Public keys."`
	asRequester
}

func (r *membersRemove) Run(ctx context.Context, c *cli) error {
	keys := make([]domain.PublicKey, len(r.Members))
	for i, m := range r.Members {
		var err error
		if keys[i], err = memberKey(m); err != nil {
			return err
		}
	}
	return c.govern(ctx, r.ofGroup, r.asRequester, http.MethodPost, "/members/remove", func(who schema.Requester) any {
		return schema.RemoveGroupMembersRequest{Members: keys, Requester: who}
	}, "removed: %d", len(keys))
}

type membersSetRole struct {
	ofMember
	Role string `arg:"" enum:"admin,member,read-only" help:"admin, member or read-only."`
	asRequester
}

func (s *membersSetRole) Run(ctx context.Context, c *cli) error {
	path, key, err := s.route("/role")
	if err != nil {
		return err
	}
	role := roleNames[s.Role]
	return c.govern(ctx, s.ofGroup, s.asRequester, http.MethodPut, path, func(who schema.Requester) any {
		return schema.UpdateMemberRoleRequest{Role: role, Requester: who}
	}, "%s is %s", key, role)
}

type membersSetAlias struct {
	ofMember
	Name string `arg:"" help:"Name."`
	asRequester
}

func (s *membersSetAlias) Run(ctx context.Context, c *cli) error {
	path, key, err := s.route("/alias")
	if err != nil {
		return err
	}
	return c.govern(ctx, s.ofGroup, s.asRequester, http.MethodPut, path, func(who schema.Requester) any {
		return schema.SetAliasRequest{Alias: s.Name, Requester: who}
	}, "%s is named %s", key, s.Name)
}

// capabilityFlags are what a member may do without being an admin.
type capabilityFlags struct {
	CanCreateContext    bool `help:"Create contexts."`
	CanInviteMembers    bool `help:"Make invitations."`
	CanJoinOpenContexts bool `help:"Join open contexts."`
	ManageMembers       bool `help:"Add and remove members that are no admins."`
	ManageApplication   bool `help:"Upgrade the application."`
}

func (f capabilityFlags) bits() (set uint32) {
	for bit, on := range map[domain.GroupCapabilities]bool{
		domain.CanCreateContext: f.CanCreateContext, domain.CanInviteMembers: f.CanInviteMembers,
		domain.CanJoinOpenContexts: f.CanJoinOpenContexts, domain.CanManageMembers: f.ManageMembers,
		domain.CanManageApplication: f.ManageApplication,
	} {
		if on {
			set |= uint32(bit)
		}
	}
	return set
}

// capabilityText names bits as the flags do.
func capabilityText(set uint32) string {
	names := domain.BitNames(set, "create-context", "invite-members", "join-open-contexts", "manage-members", "manage-application")
	return cmp.Or(strings.Join(names, ", "), "nothing")
}

type membersSetCaps struct {
	ofMember
	capabilityFlags
	asRequester
}

func (s *membersSetCaps) Run(ctx context.Context, c *cli) error {
	path, key, err := s.route("/capabilities")
	if err != nil {
		return err
	}
	return c.govern(ctx, s.ofGroup, s.asRequester, http.MethodPut, path, func(who schema.Requester) any {
		return schema.SetMemberCapabilitiesRequest{Capabilities: s.bits(), Requester: who}
	}, "%s may: %s", key, capabilityText(s.bits()))
}

type membersGetCaps struct{ ofMember }

func (g *membersGetCaps) Run(ctx context.Context, c *cli) error {
	path, key, err := g.route("/capabilities")
	if err != nil {
		return err
	}
	answer, err := g.fetch(ctx, c, path)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"IDENTITY", "MAY"}, func(caps schema.Capabilities) [][]string {
		return [][]string{{key.String(), capabilityText(caps.Capabilities)}}
	})
}

type membersCheck struct {
	ofGroup
	Context string `arg:"" help:"Context: id or alias."`
	Member  string `arg:"" help:"Public key of the member."`
}

// access is the answer of check-access.
type access struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
}

func (k *membersCheck) Run(ctx context.Context, c *cli) error {
	key, err := memberKey(k.Member)
	if err != nil {
		return err
	}
	n, id, err := c.inContext(ctx, k.Context)
	if err != nil {
		return err
	}
	path, err := k.path("")
	if err != nil {
		return err
	}
	found, err := n.mayJoin(ctx, path, id, key)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.json(found)
	}
	answer := "no"
	if found.Allowed {
		answer = "yes"
	}
	return c.say("%s: %s", answer, found.Reason)
}

// mayJoin applies the rule of who may join a context (governance.md §5.4) to what the node says of it.
func (n *client) mayJoin(ctx context.Context, group string, id domain.ContextID, who domain.PublicKey) (access, error) {
	answer, err := n.get(ctx, group+"/contexts/"+id.String()+"/visibility")
	if err != nil {
		return access{}, err
	}
	visibility, err := payloadOf[schema.ContextVisibility](answer)
	if err != nil {
		return access{}, err
	}
	if visibility.Mode == "restricted" {
		if answer, err = n.get(ctx, group+"/contexts/"+id.String()+"/allowlist"); err != nil {
			return access{}, err
		}
		list, err := payloadOf[[]domain.PublicKey](answer)
		if err != nil {
			return access{}, err
		}
		for _, allowed := range list {
			if allowed == who {
				return access{true, "the context is restricted, and the member is on its allowlist"}, nil
			}
		}
		return access{false, "the context is restricted, and the member is not on its allowlist"}, nil
	}
	role, err := n.roleOf(ctx, group, who)
	if err != nil {
		return access{}, err
	}
	if role == nil {
		return access{false, "it is no member of this group itself; an admin of a parent group may join"}, nil
	}
	if *role == domain.RoleAdmin {
		return access{true, "the context is open, and the member is an admin"}, nil
	}
	if answer, err = n.get(ctx, group+"/members/"+who.String()+"/capabilities"); err != nil {
		return access{}, err
	}
	caps, err := payloadOf[schema.Capabilities](answer)
	if err != nil {
		return access{}, err
	}
	if domain.GroupCapabilities(caps.Capabilities).Has(domain.CanJoinOpenContexts) {
		return access{true, "the context is open, and the member may join such"}, nil
	}
	return access{false, "the context is open, and the member may not join open contexts"}, nil
}

// roleOf looks a member up; nil for none.
func (n *client) roleOf(ctx context.Context, group string, who domain.PublicKey) (*domain.MemberRole, error) {
	const size = 1000
	for offset := uint64(0); ; offset += size {
		answer, err := n.get(ctx, group+"/members"+paging{Offset: offset, Limit: size}.query())
		if err != nil {
			return nil, err
		}
		members, err := payloadOf[[]schema.GroupMember](answer)
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			if m.Identity == who {
				return &m.Role, nil
			}
		}
		if len(members) < size {
			return nil, nil
		}
	}
}
