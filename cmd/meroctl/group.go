package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type groupCommand struct {
	Create  groupCreate  `cmd:"" help:"Create a group; the node's identity is its admin."`
	List    groupList    `cmd:"" aliases:"ls" help:"List the groups that the node is in."`
	Get     groupGet     `cmd:"" help:"Show a group."`
	Log     groupLog     `cmd:"" help:"Show the operations of a group: who made them, what became of them and why."`
	Genesis groupGenesis `cmd:"" help:"Beginnings that a group is said to have: where two contradict, one is to be chosen."`
	Update  groupUpdate  `cmd:"" help:"Set how contexts follow a new application."`
	Alias   groupAlias   `cmd:"" name:"set-alias" help:"Name a group."`
	Delete  groupDelete  `cmd:"" aliases:"del" help:"Delete a group that has no contexts, for all its members."`
	Sync    groupSync    `cmd:"" help:"Show what the node has of a group."`
	Invite  groupInvite  `cmd:"" help:"Make an invitation to a group; it is printed as JSON."`
	Close   groupClose   `cmd:"" name:"close-invitation" help:"End an invitation: who has not joined with it no longer can."`
	Join    groupJoin    `cmd:"" help:"Join a group with an invitation."`
	Enter   groupEnter   `cmd:"" name:"join-group-context" help:"Join a context of a group that the node is in."`
	Unlink  groupUnlink  `cmd:"" name:"remove-subgroup" help:"Make a subgroup independent of its parent."`
	Members groupMembers `cmd:"" help:"Members of a group."`

	Contexts   groupContexts   `cmd:"" help:"Contexts of a group."`
	Settings   groupSettings   `cmd:"" help:"What new members and new contexts get."`
	SigningKey groupSigningKey `cmd:"" name:"signing-key" help:"Keys of members that the node signs with."`
	Upgrade    groupUpgrade    `cmd:"" help:"Give the contexts of a group another application."`
}

// ofGroup names the group of a command.
type ofGroup struct {
	Group string `arg:"" name:"group" help:"Id of the group, hex."`
}

// path of a route below the group's.
func (g ofGroup) path(suffix string) (string, error) {
	id, err := domain.ParseGroupID(g.Group)
	if err != nil {
		return "", fmt.Errorf("group id %q: %w", g.Group, err)
	}
	return "/admin-api/groups/" + id.String() + suffix, nil
}

// asRequester names who makes a request.
type asRequester struct {
	Requester string `help:"Member who asks; default: the node's identity." placeholder:"KEY"`
}

func (r asRequester) requester() (schema.Requester, error) {
	if r.Requester == "" {
		return schema.Requester{}, nil
	}
	key, err := memberKey(r.Requester)
	return schema.Requester{Requester: &key}, err
}

// memberKey reads a public key in base58 or hex.
func memberKey(text string) (domain.PublicKey, error) {
	key, err := domain.ParsePublicKey(text)
	if err == nil {
		return key, nil
	}
	if raw, hexErr := domain.ParseHex32(text); hexErr == nil {
		return raw, nil
	}
	return key, fmt.Errorf("member %q: %w", text, err)
}

// change sends a request that answers nothing, and says what was done.
func (c *cli) change(ctx context.Context, n *client, method, path string, body any, format string, args ...any) error {
	answer, err := n.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	return c.changed(answer, format, args...)
}

// changed says what was done.
func (c *cli) changed(answer json.RawMessage, format string, args ...any) error {
	if c.Output == "json" {
		return c.json(answer)
	}
	return c.say(format, args...)
}

// govern is change on a group: below builds the body with who asks.
func (c *cli) govern(ctx context.Context, g ofGroup, as asRequester, method, suffix string, body func(schema.Requester) any,
	format string, args ...any) error {
	answer, err := g.ask(ctx, c, as, method, suffix, body)
	if err != nil {
		return err
	}
	return c.changed(answer, format, args...)
}

// ask sends a request below a group's route: body builds what it says with who asks.
func (g ofGroup) ask(ctx context.Context, c *cli, as asRequester, method, suffix string, body func(schema.Requester) any) (
	json.RawMessage, error) {
	path, err := g.path(suffix)
	if err != nil {
		return nil, err
	}
	who, err := as.requester()
	if err != nil {
		return nil, err
	}
	n, err := c.client()
	if err != nil {
		return nil, err
	}
	return n.ask(ctx, method, path, body(who))
}

// fetch asks a route below a group's.
func (g ofGroup) fetch(ctx context.Context, c *cli, suffix string) (json.RawMessage, error) {
	path, err := g.path(suffix)
	if err != nil {
		return nil, err
	}
	n, err := c.client()
	if err != nil {
		return nil, err
	}
	return n.get(ctx, path)
}

// policy of upgrades.
type policyFlags struct {
	DeadlineSecs *uint64 `help:"Seconds in which a coordinated upgrade should be done."`
}

func (p policyFlags) policy(name string) (policy domain.UpgradePolicy, err error) {
	switch name {
	case "automatic":
		policy.Mode = domain.UpgradeAutomatic
	case "lazy-on-access":
		policy.Mode = domain.UpgradeLazyOnAccess
	case "coordinated":
		policy.Mode = domain.UpgradeCoordinated
	}
	if p.DeadlineSecs == nil {
		return policy, nil
	}
	if policy.Mode != domain.UpgradeCoordinated {
		return policy, fmt.Errorf("--deadline-secs is for --upgrade-policy coordinated")
	}
	policy.Deadline = &domain.Duration{Secs: *p.DeadlineSecs}
	return policy, nil
}

type groupCreate struct {
	ApplicationID string `required:"" help:"Application of the group's contexts."`
	AppKey        string `help:"Key of the application, hex; default: random."`
	UpgradePolicy string `enum:"automatic,lazy-on-access,coordinated" default:"lazy-on-access" help:"automatic, lazy-on-access or coordinated."`
	policyFlags
	GroupID       string `help:"Id, hex; default: one that proves who created the group."`
	ParentGroupID string `help:"Group to make it a subgroup of, hex."`
	Alias         string `help:"Name of the group."`
}

func (g *groupCreate) Run(ctx context.Context, c *cli) error {
	app, err := domain.ParseApplicationID(g.ApplicationID)
	if err != nil {
		return fmt.Errorf("application id %q: %w", g.ApplicationID, err)
	}
	policy, err := g.policy(g.UpgradePolicy)
	if err != nil {
		return err
	}
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/groups", schema.CreateGroupRequest{
		GroupID: given(g.GroupID), AppKey: given(g.AppKey), ApplicationID: app, UpgradePolicy: policy, Alias: given(g.Alias),
		ParentGroupID: given(g.ParentGroupID),
	})
	if err != nil {
		return err
	}
	return show(c, answer, []string{"GROUP"}, func(r schema.GroupRef) [][]string { return [][]string{{r.GroupID.String()}} })
}

type paging struct {
	Offset uint64 `help:"How many to leave out." default:"0"`
	Limit  uint64 `help:"How many to show." default:"100"`
}

func (p paging) query() string { return fmt.Sprintf("?offset=%d&limit=%d", p.Offset, p.Limit) }

type groupList struct{ paging }

func (l *groupList) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/groups"+l.query())
	if err != nil {
		return err
	}
	return show(c, answer, []string{"GROUP", "ALIAS", "APPLICATION", "UPGRADE POLICY"}, func(all []schema.Group) (rows [][]string) {
		for _, g := range all {
			rows = append(rows, []string{g.GroupID.String(), text(g.Alias), g.TargetApplicationID.String(), policyText(g.UpgradePolicy)})
		}
		return rows
	})
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func policyText(p domain.UpgradePolicy) string {
	raw, err := p.MarshalJSON()
	if err != nil {
		return "?"
	}
	return strings.Trim(string(raw), `"`)
}

type groupGet struct{ ofGroup }

func (g *groupGet) Run(ctx context.Context, c *cli) error {
	answer, err := g.fetch(ctx, c, "")
	if err != nil {
		return err
	}
	return show(c, answer, []string{"PROPERTY", "VALUE"}, func(g schema.GroupInfo) [][]string {
		rows := [][]string{
			{"group", g.GroupID.String()}, {"alias", text(g.Alias)}, {"application", g.TargetApplicationID.String()},
			{"app key", g.AppKey.String()}, {"upgrade policy", policyText(g.UpgradePolicy)},
			{"members", strconv.FormatUint(g.MemberCount, 10)}, {"contexts", strconv.FormatUint(g.ContextCount, 10)},
			{"new members may", capabilityText(g.DefaultCapabilities)}, {"new contexts are", string(g.DefaultVisibility)},
		}
		if g.Parent != nil {
			rows = append(rows, []string{"parent", g.Parent.String()})
		}
		for _, child := range g.Subgroups {
			rows = append(rows, []string{"subgroup", child.String()})
		}
		if u := g.ActiveUpgrade; u != nil {
			rows = append(rows, []string{"upgrade", upgradeText(u.Status, u.Total, u.Completed, u.Failed)})
		}
		return rows
	})
}

type groupLog struct {
	ofGroup
	paging
}

func (l *groupLog) Run(ctx context.Context, c *cli) error {
	answer, err := l.fetch(ctx, c, "/log"+l.query())
	if err != nil {
		return err
	}
	return show(c, answer, []string{"OPERATION", "AUTHOR", "WHAT", "PARENTS", "VERDICT", "REASON"}, func(log schema.GroupLog) (rows [][]string) {
		for _, o := range log.Operations {
			reason := o.Reason
			if len(o.By) > 0 {
				reason += ": " + short8(o.By)
			}
			rows = append(rows, []string{o.ID.String(), o.Author.String(), o.What, short8(o.Parents), o.Verdict, reason})
		}
		return rows
	})
}

type groupGenesis struct {
	Get    genesisGet    `cmd:"" help:"Show who is said to have created a group, and what its operations come to by each."`
	Choose genesisChoose `cmd:"" help:"Choose by which genesis the group goes on this node. Others do not hear of it."`
}

type genesisGet struct{ ofGroup }

func (g *genesisGet) Run(ctx context.Context, c *cli) error {
	answer, err := g.fetch(ctx, c, "/genesis")
	if err != nil {
		return err
	}
	head := []string{"GENESIS", "IS", "CREATOR", "CREATED", "ALIAS", "APPLICATION", "MEMBERS", "COUNTING"}
	return show(c, answer, head, func(all schema.GroupGeneses) (rows [][]string) {
		for _, g := range all.Geneses {
			rows = append(rows, []string{
				g.ID.String(), standing(g, all.Chosen), g.Creator.String(), time.Unix(int64(g.CreatedAt), 0).UTC().Format(time.RFC3339), //nolint:gosec // shown
				text(g.Alias), g.TargetApplicationID.String(), strconv.Itoa(g.MemberCount), fmt.Sprintf("%d of %d", g.CountingOperations, g.Operations),
			})
		}
		return rows
	})
}

// standing says what a genesis is to its group.
func standing(g schema.GroupGenesis, chosen bool) string {
	switch {
	case g.Provisional:
		return "provisional"
	case g.Kept && chosen:
		return "kept"
	case g.Kept:
		return "kept, in doubt"
	case chosen:
		return "not chosen"
	}
	return "contradicts"
}

type genesisChoose struct {
	ofGroup
	Genesis string `arg:"" help:"Id of the genesis, as genesis get shows it."`
}

func (g *genesisChoose) Run(ctx context.Context, c *cli) error {
	genesis, err := domain.ParseHash(g.Genesis)
	if err != nil {
		return fmt.Errorf("genesis %q: %w", g.Genesis, err)
	}
	return c.govern(ctx, g.ofGroup, asRequester{}, http.MethodPost, "/genesis", func(schema.Requester) any {
		return schema.ChooseGenesisRequest{Genesis: genesis}
	}, "the group goes by genesis %s", genesis)
}

// short8 prints the beginnings of ids, enough to find them in the first column.
func short8(ids []domain.Hash) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()[:8]
	}
	return strings.Join(texts, " ")
}

type groupUpdate struct {
	ofGroup
	UpgradePolicy string `required:"" enum:"automatic,lazy-on-access,coordinated" help:"automatic, lazy-on-access or coordinated."`
	policyFlags
	asRequester
}

func (u *groupUpdate) Run(ctx context.Context, c *cli) error {
	policy, err := u.policy(u.UpgradePolicy)
	if err != nil {
		return err
	}
	return c.govern(ctx, u.ofGroup, u.asRequester, http.MethodPatch, "", func(who schema.Requester) any {
		return schema.UpdateGroupSettingsRequest{Requester: who, UpgradePolicy: policy}
	}, "the upgrade policy is %s", policyText(policy))
}

type groupAlias struct {
	ofGroup
	Name string `arg:"" help:"Name."`
	asRequester
}

func (a *groupAlias) Run(ctx context.Context, c *cli) error {
	return c.govern(ctx, a.ofGroup, a.asRequester, http.MethodPut, "/alias", func(who schema.Requester) any {
		return schema.SetAliasRequest{Alias: a.Name, Requester: who}
	}, "the group is named %s", a.Name)
}

type groupDelete struct {
	ofGroup
	asRequester
}

func (d *groupDelete) Run(ctx context.Context, c *cli) error {
	return c.govern(ctx, d.ofGroup, d.asRequester, http.MethodDelete, "", onlyRequester, "the group is deleted")
}

func onlyRequester(who schema.Requester) any { return schema.GroupRequest{Requester: who} }

type groupSync struct {
	ofGroup
	asRequester
}

func (s *groupSync) Run(ctx context.Context, c *cli) error {
	path, err := s.path("/sync")
	if err != nil {
		return err
	}
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.post(ctx, path)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"GROUP", "APPLICATION", "MEMBERS", "CONTEXTS"}, func(g schema.SyncedGroup) [][]string {
		return [][]string{{g.GroupID.String(), g.TargetApplicationID.String(), strconv.FormatUint(g.MemberCount, 10),
			strconv.FormatUint(g.ContextCount, 10)}}
	})
}

type groupInvite struct {
	ofGroup
	ExpirationTimestamp *uint64 `help:"Seconds for which the invitation is valid; default: a year." placeholder:"SECS"`
	OneUse              bool    `help:"For one identity only."`
	asRequester
}

func (i *groupInvite) Run(ctx context.Context, c *cli) error {
	path, err := i.path("/invite")
	if err != nil {
		return err
	}
	who, err := i.requester()
	if err != nil {
		return err
	}
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodPost, path,
		schema.InviteToGroupRequest{Requester: who, ExpirationTimestamp: i.ExpirationTimestamp, OneUse: i.OneUse})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.json(answer)
	}
	made, err := payloadOf[struct{ Invitation json.RawMessage }](answer)
	if err != nil {
		return err
	}
	return c.say("%s", made.Invitation)
}

// groupInvitation is what group invite printed, in either format.
func groupInvitation(printed string) (json.RawMessage, error) {
	invitation := json.RawMessage(printed)
	var wrapped struct {
		Data struct{ Invitation json.RawMessage }
	}
	if err := json.Unmarshal(invitation, &wrapped); err != nil {
		return nil, fmt.Errorf("the invitation is no JSON: %w", err)
	}
	if wrapped.Data.Invitation != nil {
		return wrapped.Data.Invitation, nil
	}
	return invitation, nil
}

type groupClose struct {
	Invitation string `arg:"" help:"What group invite printed."`
	asRequester
}

func (cl *groupClose) Run(ctx context.Context, c *cli) error {
	raw, err := groupInvitation(cl.Invitation)
	if err != nil {
		return err
	}
	var invitation schema.SignedGroupOpenInvitation
	if err := json.Unmarshal(raw, &invitation); err != nil {
		return fmt.Errorf("read the invitation: %w", err)
	}
	group := ofGroup{domain.GroupID(invitation.Invitation.GroupID).String()}
	return c.govern(ctx, group, cl.asRequester, http.MethodPost, "/invite/close", func(who schema.Requester) any {
		return schema.CloseInvitationRequest{Invitation: invitation, Requester: who}
	}, "the invitation is closed")
}

type groupJoin struct {
	Invitation string `arg:"" help:"What group invite printed."`
	Alias      string `help:"Name of the group, until it tells its own."`
}

func (j *groupJoin) Run(ctx context.Context, c *cli) error {
	invitation, err := groupInvitation(j.Invitation)
	if err != nil {
		return err
	}
	n, err := c.client()
	if err != nil {
		return err
	}
	body := map[string]any{"invitation": invitation}
	if j.Alias != "" {
		body["groupAlias"] = j.Alias
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/groups/join", body)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"GROUP", "IDENTITY"}, func(r schema.JoinedGroup) [][]string {
		return [][]string{{r.GroupID.String(), r.MemberIdentity.String()}}
	})
}

type groupEnter struct {
	ofGroup
	ContextID string `required:"" help:"Context: id or alias."`
}

func (e *groupEnter) Run(ctx context.Context, c *cli) error {
	path, err := e.path("/join-context")
	if err != nil {
		return err
	}
	n, id, err := c.inContext(ctx, e.ContextID)
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodPost, path, schema.JoinGroupContextRequest{ContextID: id})
	if err != nil {
		return err
	}
	return show(c, answer, []string{"CONTEXT", "IDENTITY"}, func(r schema.JoinedContext) [][]string {
		return [][]string{{r.ContextID.String(), r.MemberPublicKey.String()}}
	})
}

type groupUnlink struct {
	ofGroup
	Child string `arg:"" help:"Id of the subgroup, hex."`
	asRequester
}

func (u *groupUnlink) Run(ctx context.Context, c *cli) error {
	child, err := domain.ParseGroupID(u.Child)
	if err != nil {
		return fmt.Errorf("group id %q: %w", u.Child, err)
	}
	return c.govern(ctx, u.ofGroup, u.asRequester, http.MethodPost, "/subgroups/"+child.String()+"/remove", onlyRequester,
		"%s is no subgroup any more", child)
}

type groupSigningKey struct {
	Register signingKeyRegister `cmd:"" help:"Keep a member's private key, so that the node may sign in its name."`
}

type signingKeyRegister struct {
	ofGroup
	Key string `arg:"" help:"Private key, hex."`
}

func (r *signingKeyRegister) Run(ctx context.Context, c *cli) error {
	path, err := r.path("/signing-key")
	if err != nil {
		return err
	}
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodPost, path, schema.RegisterSigningKeyRequest{SigningKey: r.Key})
	if err != nil {
		return err
	}
	return show(c, answer, []string{"IDENTITY"}, func(k schema.SigningKey) [][]string { return [][]string{{k.PublicKey.String()}} })
}
