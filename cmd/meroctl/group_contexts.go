package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type groupContexts struct {
	List      groupContextsList `cmd:"" aliases:"ls" help:"List the contexts."`
	Detach    groupDetach       `cmd:"" help:"Take a context out of the group."`
	Alias     groupContextAlias `cmd:"" name:"set-alias" help:"Name a context in its group."`
	SetVis    groupSetVis       `cmd:"" name:"set-visibility" aliases:"set-vis" help:"Say who may join a context."`
	GetVis    groupGetVis       `cmd:"" name:"get-visibility" aliases:"get-vis" help:"Show who may join a context."`
	Allowlist groupAllowlist    `cmd:"" help:"Who may join a restricted context."`
}

type groupContextsList struct {
	ofGroup
	paging
}

func (l *groupContextsList) Run(ctx context.Context, c *cli) error {
	answer, err := l.fetch(ctx, c, "/contexts"+l.query())
	if err != nil {
		return err
	}
	return show(c, answer, []string{"CONTEXT", "ALIAS"}, func(all []schema.GroupContext) (rows [][]string) {
		for _, x := range all {
			rows = append(rows, []string{domain.ContextID(x.ContextID).String(), text(x.Alias)})
		}
		return rows
	})
}

// ofContext names a context of a group.
type ofContext struct {
	ofGroup
	Context string `arg:"" help:"Context: id or alias."`
}

// govern sends a change of the context.
func (o ofContext) govern(ctx context.Context, c *cli, as asRequester, method, suffix string, body func(schema.Requester) any,
	format string, args ...any) error {
	_, id, err := c.inContext(ctx, o.Context)
	if err != nil {
		return err
	}
	return c.govern(ctx, o.ofGroup, as, method, "/contexts/"+id.String()+suffix, body, format, args...)
}

func (o ofContext) get(ctx context.Context, c *cli, suffix string) (json.RawMessage, error) {
	_, id, err := c.inContext(ctx, o.Context)
	if err != nil {
		return nil, err
	}
	return o.fetch(ctx, c, "/contexts/"+id.String()+suffix)
}

type groupDetach struct {
	ofContext
	asRequester
}

func (d *groupDetach) Run(ctx context.Context, c *cli) error {
	return d.govern(ctx, c, d.asRequester, http.MethodPost, "/remove", onlyRequester, "the context is not in the group any more")
}

type groupContextAlias struct {
	ofContext
	Name string `arg:"" help:"Name."`
	asRequester
}

func (a *groupContextAlias) Run(ctx context.Context, c *cli) error {
	return a.govern(ctx, c, a.asRequester, http.MethodPut, "/alias", func(who schema.Requester) any {
		return schema.SetAliasRequest{Alias: a.Name, Requester: who}
	}, "the context is named %s in the group", a.Name)
}

type groupSetVis struct {
	ofContext
	Mode string `required:"" enum:"open,restricted" help:"open or restricted."`
	asRequester
}

func (s *groupSetVis) Run(ctx context.Context, c *cli) error {
	return s.govern(ctx, c, s.asRequester, http.MethodPut, "/visibility", func(who schema.Requester) any {
		return schema.SetContextVisibilityRequest{Mode: schema.Visibility(s.Mode), Requester: who}
	}, "the context is %s", s.Mode)
}

type groupGetVis struct{ ofContext }

func (g *groupGetVis) Run(ctx context.Context, c *cli) error {
	answer, err := g.get(ctx, c, "/visibility")
	if err != nil {
		return err
	}
	return show(c, answer, []string{"VISIBILITY", "CREATOR"}, func(v schema.ContextVisibility) [][]string {
		return [][]string{{string(v.Mode), v.Creator.String()}}
	})
}

type groupAllowlist struct {
	List   allowlistList   `cmd:"" aliases:"ls" help:"List who is on it."`
	Add    allowlistAdd    `cmd:"" help:"Put members on it."`
	Remove allowlistRemove `cmd:"" help:"Take members off it."`
	Check  allowlistCheck  `cmd:"" help:"Tell whether a member is on it."`
}

type allowlistList struct{ ofContext }

func (l *allowlistList) Run(ctx context.Context, c *cli) error {
	answer, err := l.get(ctx, c, "/allowlist")
	if err != nil {
		return err
	}
	return show(c, answer, []string{"IDENTITY"}, func(list []domain.PublicKey) (rows [][]string) {
		for _, key := range list {
			rows = append(rows, []string{key.String()})
		}
		return rows
	})
}

type allowlistChange struct {
	ofContext
	Members []string `arg:"" help:"Public keys."`
	asRequester
}

func (a *allowlistChange) keys() ([]domain.PublicKey, error) {
	keys := make([]domain.PublicKey, len(a.Members))
	for i, m := range a.Members {
		var err error
		if keys[i], err = memberKey(m); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

type (
	allowlistAdd    struct{ allowlistChange }
	allowlistRemove struct{ allowlistChange }
)

func (a *allowlistAdd) Run(ctx context.Context, c *cli) error {
	keys, err := a.keys()
	if err != nil {
		return err
	}
	return a.govern(ctx, c, a.asRequester, http.MethodPost, "/allowlist", func(who schema.Requester) any {
		return schema.ManageAllowlistRequest{Add: keys, Remove: []domain.PublicKey{}, Requester: who}
	}, "added: %d", len(keys))
}

func (r *allowlistRemove) Run(ctx context.Context, c *cli) error {
	keys, err := r.keys()
	if err != nil {
		return err
	}
	return r.govern(ctx, c, r.asRequester, http.MethodPost, "/allowlist", func(who schema.Requester) any {
		return schema.ManageAllowlistRequest{Add: []domain.PublicKey{}, Remove: keys, Requester: who}
	}, "taken off: %d", len(keys))
}

type allowlistCheck struct {
	ofContext
	Member string `arg:"" help:"Public key."`
}

func (k *allowlistCheck) Run(ctx context.Context, c *cli) error {
	key, err := memberKey(k.Member)
	if err != nil {
		return err
	}
	answer, err := k.get(ctx, c, "/allowlist")
	if err != nil {
		return err
	}
	list, err := payloadOf[[]domain.PublicKey](answer)
	if err != nil {
		return err
	}
	on := slices.Contains(list, key)
	if c.Output == "json" {
		return c.json(map[string]bool{"allowed": on})
	}
	if on {
		return c.say("yes: %s is on the allowlist", key)
	}
	return c.say("no: %s is not on the allowlist", key)
}

type groupSettings struct {
	Get     settingsGet  `cmd:"" help:"Show the settings."`
	SetCaps settingsCaps `cmd:"" name:"set-default-capabilities" aliases:"set-default-caps" help:"Say what new members may do."`
	SetVis  settingsVis  `cmd:"" name:"set-default-visibility" aliases:"set-default-vis" help:"Say who may join new contexts."`
	SetTee  settingsTee  `cmd:"" name:"set-tee-admission-policy" help:"Say which attested nodes may be admitted."`
}

type settingsGet struct{ ofGroup }

func (g *settingsGet) Run(ctx context.Context, c *cli) error {
	answer, err := g.fetch(ctx, c, "")
	if err != nil {
		return err
	}
	info, err := payloadOf[schema.GroupInfo](answer)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.json(map[string]any{
			"upgradePolicy": info.UpgradePolicy, "defaultCapabilities": info.DefaultCapabilities, "defaultVisibility": info.DefaultVisibility,
		})
	}
	return c.table([]string{"SETTING", "VALUE"}, [][]string{
		{"upgrade policy", policyText(info.UpgradePolicy)}, {"new members may", capabilityText(info.DefaultCapabilities)},
		{"new contexts are", string(info.DefaultVisibility)},
	})
}

type settingsCaps struct {
	ofGroup
	capabilityFlags
	asRequester
}

func (s *settingsCaps) Run(ctx context.Context, c *cli) error {
	return c.govern(ctx, s.ofGroup, s.asRequester, http.MethodPut, "/settings/default-capabilities", func(who schema.Requester) any {
		return schema.SetDefaultCapabilitiesRequest{DefaultCapabilities: s.bits(), Requester: who}
	}, "new members may: %s", capabilityText(s.bits()))
}

type settingsVis struct {
	ofGroup
	Mode string `required:"" enum:"open,restricted" help:"open or restricted."`
	asRequester
}

func (s *settingsVis) Run(ctx context.Context, c *cli) error {
	return c.govern(ctx, s.ofGroup, s.asRequester, http.MethodPut, "/settings/default-visibility", func(who schema.Requester) any {
		return schema.SetDefaultVisibilityRequest{DefaultVisibility: schema.Visibility(s.Mode), Requester: who}
	}, "new contexts are %s", s.Mode)
}

type settingsTee struct {
	ofGroup
	MRTD        []string `name:"mrtd" help:"Allowed measurements; none = any."`
	RTMR0       []string `name:"rtmr0" help:"As --mrtd."`
	RTMR1       []string `name:"rtmr1" help:"As --mrtd."`
	RTMR2       []string `name:"rtmr2" help:"As --mrtd."`
	RTMR3       []string `name:"rtmr3" help:"As --mrtd."`
	TCBStatuses []string `name:"tcb-statuses" help:"Allowed states of the platform; none = any."`
	AcceptMock  bool     `help:"Take quotes of no hardware, for tests."`
	asRequester
}

func (s *settingsTee) Run(ctx context.Context, c *cli) error {
	list := func(values []string) []string { return append([]string{}, values...) }
	return c.govern(ctx, s.ofGroup, s.asRequester, http.MethodPut, "/settings/tee-admission-policy", func(who schema.Requester) any {
		return schema.SetTeePolicyRequest{
			AllowedMRTD: list(s.MRTD), AllowedRTMR0: list(s.RTMR0), AllowedRTMR1: list(s.RTMR1), AllowedRTMR2: list(s.RTMR2),
			AllowedRTMR3: list(s.RTMR3), AllowedTCBStatuses: list(s.TCBStatuses), AcceptMock: s.AcceptMock, Requester: who,
		}
	}, "the policy is set")
}

type groupUpgrade struct {
	Trigger upgradeTrigger `cmd:"" help:"Begin an upgrade."`
	Status  upgradeStatus  `cmd:"" help:"Show how far the upgrade is."`
	Retry   upgradeRetry   `cmd:"" help:"Try the contexts again that failed."`
}

type upgradeTrigger struct {
	ofGroup
	TargetApplicationID string `required:"" help:"Application to upgrade to."`
	MigrateMethod       string `help:"Method of the new application that migrates the state."`
	asRequester
}

func (u *upgradeTrigger) Run(ctx context.Context, c *cli) error {
	app, err := domain.ParseApplicationID(u.TargetApplicationID)
	if err != nil {
		return fmt.Errorf("application id %q: %w", u.TargetApplicationID, err)
	}
	return u.start(ctx, c, u.asRequester, "/upgrade", func(who schema.Requester) any {
		return schema.UpgradeGroupRequest{TargetApplicationID: app, Requester: who, MigrateMethod: given(u.MigrateMethod)}
	})
}

// start begins an upgrade, or takes it up again, and shows how far it is.
func (g ofGroup) start(ctx context.Context, c *cli, as asRequester, suffix string, body func(schema.Requester) any) error {
	answer, err := g.ask(ctx, c, as, http.MethodPost, suffix, body)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"GROUP", "UPGRADE"}, func(u schema.StartedUpgrade) [][]string {
		return [][]string{{u.GroupID.String(), upgradeText(u.Status, u.Total, u.Completed, u.Failed)}}
	})
}

func upgradeText(status string, total, completed, failed *uint32) string {
	if status != schema.UpgradeInProgress || total == nil || completed == nil || failed == nil {
		return status
	}
	return fmt.Sprintf("in progress: %d of %d contexts, %d failed", *completed, *total, *failed)
}

type upgradeStatus struct{ ofGroup }

func (u *upgradeStatus) Run(ctx context.Context, c *cli) error {
	answer, err := u.fetch(ctx, c, "/upgrade/status")
	if err != nil {
		return err
	}
	return show(c, answer, []string{"FROM", "TO", "BY", "UPGRADE"}, func(u *schema.GroupUpgrade) [][]string {
		if u == nil {
			return nil
		}
		return [][]string{{u.FromVersion, u.ToVersion, u.InitiatedBy.String(), upgradeText(u.Status, u.Total, u.Completed, u.Failed)}}
	})
}

type upgradeRetry struct {
	ofGroup
	asRequester
}

func (r *upgradeRetry) Run(ctx context.Context, c *cli) error {
	return r.start(ctx, c, r.asRequester, "/upgrade/retry", onlyRequester)
}
