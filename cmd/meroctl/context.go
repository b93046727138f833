package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type contextCommand struct {
	Create   contextCreate   `cmd:"" help:"Create a context of an application."`
	List     contextList     `cmd:"" aliases:"ls" help:"List the contexts."`
	Get      contextGet      `cmd:"" help:"Show a context."`
	Delete   contextDelete   `cmd:"" aliases:"del" help:"Delete a context and its state from this node."`
	Use      contextUse      `cmd:"" help:"Use a context when no other is named (the alias default)."`
	Sync     contextSync     `cmd:"" help:"Ask for a context's news at once."`
	Invite   contextInvite   `cmd:"" help:"Make an invitation to a context; it is printed as JSON."`
	Join     contextJoin     `cmd:"" help:"Join a context with an invitation."`
	Identity identityCommand `cmd:"" help:"Identities of a context."`

	Alias contextAliasCommand `cmd:"" help:"Names of contexts on this node."`
}

// defaultAlias names the context, and the identity, that are used when none is named.
const defaultAlias = "default"

type contextCreate struct {
	ApplicationID  string `short:"a" required:"" help:"Application."`
	Params         string `short:"p" help:"Arguments of init, as JSON."`
	Seed           string `short:"s" help:"Seed of the context's id, base58."`
	IdentitySecret string `help:"Private key of the creator, hex."`
	GroupID        string `help:"Group to create the context in, hex; default: one of its own."`
	Alias          string `help:"Name of the context in its group."`
	Name           string `help:"Alias of the context on this node."`
	As             string `help:"Alias of the creator's identity in the context."`
}

func (cc *contextCreate) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	app, err := domain.ParseApplicationID(cc.ApplicationID)
	if err != nil {
		return fmt.Errorf("application id %q: %w", cc.ApplicationID, err)
	}
	if cc.Params != "" && !json.Valid([]byte(cc.Params)) {
		return fmt.Errorf("--params is no JSON: %s", cc.Params)
	}
	req := schema.CreateContextRequest{ApplicationID: app, InitializationParams: []byte(cc.Params),
		IdentitySecret: given(cc.IdentitySecret), GroupID: given(cc.GroupID), Alias: given(cc.Alias)}
	if cc.Seed != "" {
		seed, err := domain.ParseHash(cc.Seed)
		if err != nil {
			return fmt.Errorf("seed %q: %w", cc.Seed, err)
		}
		req.ContextSeed = &seed
	}
	if cc.Name != "" { // before there is a context
		old, err := n.contextAliases().lookup(ctx, cc.Name)
		if err != nil {
			return err
		}
		if old != nil {
			return fmt.Errorf("the alias %q names context %s; choose another --name", cc.Name, *old)
		}
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/contexts", req)
	if err != nil {
		return err
	}
	created, err := payloadOf[schema.CreatedContext](answer)
	if err != nil {
		return err
	}
	if err := show(c, answer, []string{"CONTEXT", "IDENTITY"}, func(r schema.CreatedContext) [][]string {
		return [][]string{{r.ContextID.String(), r.MemberPublicKey.String()}}
	}); err != nil {
		return err
	}
	if cc.Name != "" {
		if err := n.contextAliases().create(ctx, cc.Name, created.ContextID.String(), false); err != nil {
			return fmt.Errorf("the context was created, but not named: %w", err)
		}
	}
	if cc.As != "" {
		err := n.identityAliases(created.ContextID).create(ctx, cc.As, created.MemberPublicKey.String(), false)
		if err != nil {
			return fmt.Errorf("the context was created, but its identity not named: %w", err)
		}
	}
	return nil
}

// inContext is the node's client with the context that name stands for.
func (c *cli) inContext(ctx context.Context, name string) (*client, domain.ContextID, error) {
	n, err := c.client()
	if err != nil {
		return nil, domain.ContextID{}, err
	}
	id, err := n.context(ctx, name)
	return n, id, err
}

// context resolves an id or alias. With neither, the alias default, or the only context there is.
func (n *client) context(ctx context.Context, name string) (domain.ContextID, error) {
	if id, err := domain.ParseContextID(name); err == nil {
		return id, nil
	}
	wanted := name
	if name == "" {
		wanted = defaultAlias
	}
	found, err := n.contextAliases().lookup(ctx, wanted)
	if err != nil {
		return domain.ContextID{}, err
	}
	if found != nil {
		return domain.ParseContextID(*found)
	}
	if name != "" {
		return domain.ContextID{}, fmt.Errorf("%q is neither a context id nor an alias of a context", name)
	}
	answer, err := n.get(ctx, "/admin-api/contexts")
	if err != nil {
		return domain.ContextID{}, err
	}
	all, err := payloadOf[schema.Contexts](answer)
	if err != nil {
		return domain.ContextID{}, err
	}
	if len(all.Contexts) != 1 {
		return domain.ContextID{}, fmt.Errorf("the node has %d contexts: name one with --context, or choose one with meroctl "+
			"context use", len(all.Contexts))
	}
	return all.Contexts[0].ID, nil
}

// identity resolves a key or alias in a context. With neither, the alias default, or the first identity that is the
// node's own.
func (n *client) identity(ctx context.Context, id domain.ContextID, name string) (domain.PublicKey, error) {
	if pk, err := domain.ParsePublicKey(name); err == nil {
		return pk, nil
	}
	wanted := name
	if name == "" {
		wanted = defaultAlias
	}
	found, err := n.identityAliases(id).lookup(ctx, wanted)
	if err != nil {
		return domain.PublicKey{}, err
	}
	if found != nil {
		return domain.ParsePublicKey(*found)
	}
	if name != "" {
		return domain.PublicKey{}, fmt.Errorf("%q is neither a public key nor an alias of an identity", name)
	}
	answer, err := n.get(ctx, "/admin-api/contexts/"+id.String()+"/identities-owned")
	if err != nil {
		return domain.PublicKey{}, err
	}
	own, err := payloadOf[schema.Identities](answer)
	if err != nil {
		return domain.PublicKey{}, err
	}
	if len(own.Identities) == 0 {
		return domain.PublicKey{}, fmt.Errorf("the node has no identity in context %s", id)
	}
	return own.Identities[0], nil
}

var contextHead = []string{"CONTEXT", "APPLICATION", "ROOT HASH"}

func contextRow(x schema.Context) []string {
	return []string{x.ID.String(), x.ApplicationID.String(), x.RootHash.String()}
}

type contextList struct{}

func (contextList) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/contexts")
	if err != nil {
		return err
	}
	return show(c, answer, contextHead, func(l schema.Contexts) (rows [][]string) {
		for _, x := range l.Contexts {
			rows = append(rows, contextRow(x))
		}
		return rows
	})
}

// contextGet takes what to show before the context, as the reference does, or the context alone.
type contextGet struct {
	What    string `arg:"" optional:"" help:"info (default), storage or client-keys; or the context."`
	Context string `arg:"" optional:"" help:"Id or alias."`
}

func (g *contextGet) Run(ctx context.Context, c *cli) error {
	what, name := g.What, g.Context
	switch what {
	case "info", "storage":
	case "client-keys":
		return errors.New("nodes have no route for the client keys of a context")
	default:
		if name != "" {
			return fmt.Errorf("%q is not info, storage or client-keys", what)
		}
		what, name = "info", what
	}
	n, id, err := c.inContext(ctx, name)
	if err != nil {
		return err
	}
	path := "/admin-api/contexts/" + id.String()
	if what == "storage" {
		answer, err := n.get(ctx, path+"/storage")
		if err != nil {
			return err
		}
		return show(c, answer, []string{"BYTES"}, func(s schema.ContextStorage) [][]string {
			return [][]string{{strconv.FormatUint(s.SizeInBytes, 10)}}
		})
	}
	answer, err := n.get(ctx, path)
	if err != nil {
		return err
	}
	return show(c, answer, contextHead, func(x schema.Context) [][]string { return [][]string{contextRow(x)} })
}

type contextSync struct {
	Context string `short:"c" help:"Id or alias; default: the one in use, or the only one."`
	All     bool   `short:"a" help:"All contexts."`
}

func (s *contextSync) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	path := "/admin-api/contexts/sync"
	if !s.All {
		id, err := n.context(ctx, s.Context)
		if err != nil {
			return err
		}
		path += "/" + id.String()
	}
	answer, err := n.post(ctx, path)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.json(answer)
	}
	return c.say("sync was asked for")
}

type contextInvite struct {
	Context  string `short:"c" help:"Id or alias; default: the one in use, or the only one."`
	As       string `help:"Identity that invites: key or alias; default: the one in use, or the node's own."`
	ValidFor uint64 `default:"3600" help:"Seconds for which the invitation is valid."`
}

func (i *contextInvite) Run(ctx context.Context, c *cli) error {
	n, id, err := c.inContext(ctx, i.Context)
	if err != nil {
		return err
	}
	inviter, err := n.identity(ctx, id, i.As)
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/contexts/invite",
		schema.InviteToContextRequest{ContextID: id, InviterID: inviter, ValidForSeconds: i.ValidFor})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.json(answer)
	}
	invitation, err := payloadOf[*json.RawMessage](answer)
	if err != nil {
		return err
	}
	if invitation == nil {
		return fmt.Errorf("the node does not have context %s", id)
	}
	return c.say("%s", *invitation)
}

type contextJoin struct {
	Invitation string `arg:"" help:"What context invite printed."`
	Identity   string `help:"Identity to join as, of identity generate; default: a new one."`
	Name       string `help:"Alias of the context on this node."`
	As         string `help:"Alias of the identity in the context."`
}

func (j *contextJoin) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	invitation := json.RawMessage(j.Invitation)
	var wrapped struct{ Data json.RawMessage }
	if err := json.Unmarshal(invitation, &wrapped); err != nil {
		return fmt.Errorf("the invitation is no JSON: %w", err)
	}
	if wrapped.Data != nil { // of --output-format json
		invitation = wrapped.Data
	}
	member, err := j.member(ctx, n)
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodPost, "/admin-api/contexts/join",
		map[string]any{"invitation": invitation, "newMemberPublicKey": member})
	if err != nil {
		return err
	}
	joined, err := payloadOf[schema.JoinedContext](answer)
	if err != nil {
		return err
	}
	if err := show(c, answer, []string{"CONTEXT", "IDENTITY"}, func(r schema.JoinedContext) [][]string {
		return [][]string{{r.ContextID.String(), r.MemberPublicKey.String()}}
	}); err != nil {
		return err
	}
	if j.Name != "" {
		if err := n.contextAliases().create(ctx, j.Name, joined.ContextID.String(), false); err != nil {
			return fmt.Errorf("the context was joined, but not named: %w", err)
		}
	}
	if j.As != "" {
		err := n.identityAliases(joined.ContextID).create(ctx, j.As, joined.MemberPublicKey.String(), false)
		if err != nil {
			return fmt.Errorf("the context was joined, but its identity not named: %w", err)
		}
	}
	return nil
}

// member is the identity to join as.
func (j *contextJoin) member(ctx context.Context, n *client) (domain.PublicKey, error) {
	if j.Identity != "" {
		key, err := domain.ParsePublicKey(j.Identity)
		if err != nil {
			return key, fmt.Errorf("identity %q: %w", j.Identity, err)
		}
		return key, nil
	}
	answer, err := n.post(ctx, "/admin-api/identity/context")
	if err != nil {
		return domain.PublicKey{}, err
	}
	made, err := payloadOf[schema.NewIdentity](answer)
	return made.PublicKey, err
}

type contextDelete struct {
	Context   string `arg:"" help:"Id or alias."`
	Requester string `help:"Admin of the context's group; default: the node's own identity in the context."`
}

func (d *contextDelete) Run(ctx context.Context, c *cli) error {
	n, id, err := c.inContext(ctx, d.Context)
	if err != nil {
		return err
	}
	requester, err := n.identity(ctx, id, d.Requester)
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodDelete, "/admin-api/contexts/"+id.String(),
		schema.DeleteContextRequest{Requester: &requester})
	if err != nil {
		return err
	}
	return show(c, answer, []string{"CONTEXT", "DELETED"}, func(r schema.Deleted) [][]string {
		return [][]string{{id.String(), yes(r.IsDeleted)}}
	})
}

type contextUse struct {
	Context string `arg:"" help:"Id or alias."`
	Force   bool   `short:"f" help:"Kept for scripts: the one in use is always replaced." hidden:""`
}

func (u *contextUse) Run(ctx context.Context, c *cli) error {
	n, id, err := c.inContext(ctx, u.Context)
	if err != nil {
		return err
	}
	if err := n.contextAliases().create(ctx, defaultAlias, id.String(), true); err != nil {
		return err
	}
	return c.say("using context %s", id)
}

type identityCommand struct {
	List     identityList     `cmd:"" aliases:"ls" help:"List the identities of a context."`
	Generate identityGenerate `cmd:"" aliases:"new" help:"Draw a new identity of the node."`
	Use      identityUse      `cmd:"" help:"Use an identity when no other is named (the alias default)."`
	Grant    identityGrant    `cmd:"" help:"Give a member a capability in a context."`
	Revoke   identityRevoke   `cmd:"" help:"Take a capability in a context from a member."`

	Alias identityAliasCommand `cmd:"" help:"Names of identities in a context, on this node."`
}

type identityList struct {
	inContext
	Owned bool `help:"Only the node's own."`
}

func (l *identityList) Run(ctx context.Context, c *cli) error {
	n, id, err := c.inContext(ctx, l.Context)
	if err != nil {
		return err
	}
	path := "/admin-api/contexts/" + id.String() + "/identities"
	if l.Owned {
		path += "-owned"
	}
	answer, err := n.get(ctx, path)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"IDENTITY"}, func(i schema.Identities) (rows [][]string) {
		for _, pk := range i.Identities {
			rows = append(rows, []string{pk.String()})
		}
		return rows
	})
}

type identityGenerate struct{}

func (identityGenerate) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.post(ctx, "/admin-api/identity/context")
	if err != nil {
		return err
	}
	return show(c, answer, []string{"IDENTITY"}, func(i schema.NewIdentity) [][]string {
		return [][]string{{i.PublicKey.String()}}
	})
}

// contextCapability is what a member may do in a context.
type contextCapability struct {
	inContext
	Member     string `arg:"" help:"Member: key or alias."`
	Capability string `arg:"" help:"ManageApplication, ManageMembers or Proxy."`
	As         string `help:"Identity whose right it is: key or alias; default: the one in use, or the node's own."`
}

type (
	identityGrant  struct{ contextCapability }
	identityRevoke struct{ contextCapability }
)

func (g *identityGrant) Run(ctx context.Context, c *cli) error { return g.change(ctx, c, "grant") }

func (r *identityRevoke) Run(ctx context.Context, c *cli) error { return r.change(ctx, c, "revoke") }

func (i *contextCapability) change(ctx context.Context, c *cli, verb string) error {
	name, err := capabilityName(i.Capability)
	if err != nil {
		return err
	}
	n, id, err := c.inContext(ctx, i.Context)
	if err != nil {
		return err
	}
	member, err := n.identity(ctx, id, i.Member)
	if err != nil {
		return err
	}
	signer, err := n.identity(ctx, id, i.As)
	if err != nil {
		return err
	}
	return c.change(ctx, n, http.MethodPost, "/admin-api/contexts/"+id.String()+"/capabilities/"+verb, schema.CapabilitiesRequest{
		Capabilities: []schema.MemberCapability{{Member: member, Capability: name}}, SignerID: signer,
	}, "%s: %s %s", member, verb, name)
}

// capabilityName takes kebab-case too.
func capabilityName(text string) (string, error) {
	for _, name := range []string{"ManageApplication", "ManageMembers", "Proxy"} {
		if strings.EqualFold(strings.ReplaceAll(text, "-", ""), name) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%q is not ManageApplication, ManageMembers or Proxy", text)
}
