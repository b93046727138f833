package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// aliases are those of one kind: of contexts, or of the identities of a context.
type aliases struct {
	n *client
	// scope is the part of the routes behind the verb; field is the target's in a request.
	scope, field string
}

func (n *client) contextAliases() aliases { return aliases{n, "context", "contextId"} }

func (n *client) identityAliases(id domain.ContextID) aliases {
	return aliases{n, "identity/" + id.String(), "identity"}
}

func (a aliases) path(verb, name string) (string, error) {
	if _, err := domain.ParseAlias(name); err != nil || name == "" {
		return "", fmt.Errorf("alias %q: wants 1 to %d bytes of text", name, domain.MaxAliasBytes)
	}
	return "/admin-api/alias/" + verb + "/" + a.scope + "/" + url.PathEscape(name), nil
}

// lookup is nil for no such alias.
func (a aliases) lookup(ctx context.Context, name string) (*string, error) {
	path, err := a.path("lookup", name)
	if err != nil {
		return nil, err
	}
	answer, err := a.n.post(ctx, path)
	if err != nil {
		return nil, err
	}
	found, err := payloadOf[schema.AliasTarget](answer)
	return found.Value, err
}

func (a aliases) remove(ctx context.Context, name string) error {
	path, err := a.path("delete", name)
	if err == nil {
		_, err = a.n.post(ctx, path)
	}
	return err
}

// create names target; a name that is taken is an error, unless force takes it from what it named.
func (a aliases) create(ctx context.Context, name, target string, force bool) error {
	old, err := a.lookup(ctx, name)
	switch {
	case err != nil:
		return err
	case old != nil && *old == target:
		return nil
	case old != nil && !force:
		return fmt.Errorf("the alias %q names %s; add --force to take it", name, *old)
	case old != nil:
		if err := a.remove(ctx, name); err != nil {
			return err
		}
	}
	_, err = a.n.ask(ctx, "POST", "/admin-api/alias/create/"+a.scope, map[string]string{"alias": name, a.field: target})
	return err
}

func (a aliases) list(ctx context.Context, c *cli, head string) error {
	answer, err := a.n.get(ctx, "/admin-api/alias/list/"+a.scope)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"ALIAS", head}, func(all map[string]string) (rows [][]string) {
		for name, target := range all {
			rows = append(rows, []string{name, target})
		}
		slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
		return rows
	})
}

func (a aliases) get(ctx context.Context, c *cli, name string) error {
	target, err := a.lookup(ctx, name)
	if err != nil {
		return err
	}
	if target == nil {
		return fmt.Errorf("there is no alias %q", name)
	}
	if c.Output == "json" {
		return c.json(schema.Of(schema.AliasTarget{Value: target}))
	}
	return c.say("%s", *target)
}

type contextAliasCommand struct {
	Add    contextAliasAdd    `cmd:"" aliases:"new,create" help:"Name a context."`
	Remove contextAliasRemove `cmd:"" aliases:"rm,del,delete" help:"Forget a name."`
	Get    contextAliasGet    `cmd:"" help:"Show what a name stands for."`
	List   contextAliasList   `cmd:"" aliases:"ls" help:"List the names."`
}

type contextAliasAdd struct {
	Alias   string `arg:""`
	Context string `arg:"" help:"Id or alias."`
	Force   bool   `short:"f" help:"Take the name from another context."`
}

func (a *contextAliasAdd) Run(ctx context.Context, c *cli) error {
	n, id, err := c.inContext(ctx, a.Context)
	if err != nil {
		return err
	}
	if err := n.contextAliases().create(ctx, a.Alias, id.String(), a.Force); err != nil {
		return err
	}
	return c.say("%s names context %s", a.Alias, id)
}

type contextAliasRemove struct {
	Alias string `arg:""`
}

func (a *contextAliasRemove) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	if err := n.contextAliases().remove(ctx, a.Alias); err != nil {
		return err
	}
	return c.say("removed alias %s", a.Alias)
}

type contextAliasGet struct {
	Alias string `arg:""`
}

func (a *contextAliasGet) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	return n.contextAliases().get(ctx, c, a.Alias)
}

type contextAliasList struct{}

func (contextAliasList) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	return n.contextAliases().list(ctx, c, "CONTEXT")
}

type identityAliasCommand struct {
	Add    identityAliasAdd    `cmd:"" aliases:"new,create" help:"Name an identity of a context."`
	Remove identityAliasRemove `cmd:"" aliases:"rm,del,delete" help:"Forget a name."`
	Get    identityAliasGet    `cmd:"" help:"Show what a name stands for."`
	List   identityAliasList   `cmd:"" aliases:"ls" help:"List the names."`
}

// inContext is the flag that all commands about identities have.
type inContext struct {
	Context string `short:"c" help:"Id or alias; default: the one in use, or the only one."`
}

// aliases are those of the identities in the context named.
func (i *inContext) aliases(ctx context.Context, c *cli) (aliases, error) {
	n, id, err := c.inContext(ctx, i.Context)
	if err != nil {
		return aliases{}, err
	}
	return n.identityAliases(id), nil
}

type identityAliasAdd struct {
	inContext
	Alias    string `arg:""`
	Identity string `arg:"" help:"Public key."`
	Force    bool   `short:"f" help:"Take the name from another identity."`
}

func (a *identityAliasAdd) Run(ctx context.Context, c *cli) error {
	if _, err := domain.ParsePublicKey(a.Identity); err != nil {
		return fmt.Errorf("identity %q: %w", a.Identity, err)
	}
	all, err := a.aliases(ctx, c)
	if err != nil {
		return err
	}
	if err := all.create(ctx, a.Alias, a.Identity, a.Force); err != nil {
		return err
	}
	return c.say("%s names identity %s", a.Alias, a.Identity)
}

type identityAliasRemove struct {
	inContext
	Alias string `arg:""`
}

func (a *identityAliasRemove) Run(ctx context.Context, c *cli) error {
	all, err := a.aliases(ctx, c)
	if err != nil {
		return err
	}
	if err := all.remove(ctx, a.Alias); err != nil {
		return err
	}
	return c.say("removed alias %s", a.Alias)
}

type identityAliasGet struct {
	inContext
	Alias string `arg:""`
}

func (a *identityAliasGet) Run(ctx context.Context, c *cli) error {
	all, err := a.aliases(ctx, c)
	if err != nil {
		return err
	}
	return all.get(ctx, c, a.Alias)
}

type identityAliasList struct{ inContext }

func (a *identityAliasList) Run(ctx context.Context, c *cli) error {
	all, err := a.aliases(ctx, c)
	if err != nil {
		return err
	}
	return all.list(ctx, c, "IDENTITY")
}

type identityUse struct {
	inContext
	Identity string `arg:"" help:"Public key or alias."`
	Force    bool   `short:"f" help:"Kept for scripts: the one in use is always replaced." hidden:""`
}

func (u *identityUse) Run(ctx context.Context, c *cli) error {
	n, id, err := c.inContext(ctx, u.Context)
	if err != nil {
		return err
	}
	if u.Identity == "" {
		return errors.New("name an identity: its public key, or an alias")
	}
	pk, err := n.identity(ctx, id, u.Identity)
	if err != nil {
		return err
	}
	if err := n.identityAliases(id).create(ctx, defaultAlias, pk.String(), true); err != nil {
		return err
	}
	return c.say("using identity %s", pk)
}
