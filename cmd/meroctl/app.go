package main

import (
	"context"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type appCommand struct {
	Install      appInstall  `cmd:"" help:"Install a WASM application from a file or a URL."`
	List         appList     `cmd:"" aliases:"ls" help:"List the applications."`
	Get          appGet      `cmd:"" help:"Show an application."`
	Uninstall    appRemove   `cmd:"" help:"Remove an application; contexts that use it cannot be called until it is installed again."`
	ListPackages appPackages `cmd:"" help:"List the packages."`
	ListVersions appVersions `cmd:"" help:"List the versions of a package."`

	GetLatestVersion appLatest `cmd:"" help:"Show the application with the highest version of a package."`
}

type appInstall struct {
	Path     string `short:"p" help:"File on the node's machine." xor:"from" required:""`
	URL      string `short:"u" name:"url" help:"Where the node fetches it." xor:"from" required:""`
	Metadata string `short:"m" help:"Any text; part of the application's id."`
	Hash     string `help:"Expected sha256, base58, with --url."`
	Package  string `help:"Package, with --path."`
	Version  string `aliases:"app-version" help:"Version, with --path."`
}

func (i *appInstall) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	path, body := "/admin-api/install-application", any(nil)
	if i.Path != "" {
		file, err := filepath.Abs(i.Path)
		if err != nil {
			return err
		}
		path = "/admin-api/install-dev-application"
		body = schema.InstallDevApplicationRequest{Path: file, Metadata: []byte(i.Metadata), Package: given(i.Package),
			Version: given(i.Version)}
	} else {
		req := schema.InstallApplicationRequest{URL: i.URL, Metadata: []byte(i.Metadata)}
		if i.Hash != "" {
			h, err := domain.ParseHash(i.Hash)
			if err != nil {
				return err
			}
			req.Hash = &h
		}
		body = req
	}
	answer, err := n.ask(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"APPLICATION"}, func(a schema.ApplicationRef) [][]string {
		return [][]string{{a.ApplicationID.String()}}
	})
}

// given is nil for an empty text.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

var appHead = []string{"APPLICATION", "BYTES", "SOURCE"}

func appRow(a schema.Application) []string {
	return []string{a.ID.String(), strconv.FormatUint(a.Size, 10), a.Source}
}

type appList struct{}

func (appList) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/applications")
	if err != nil {
		return err
	}
	return show(c, answer, appHead, func(l schema.Applications) (rows [][]string) {
		for _, a := range l.Apps {
			rows = append(rows, appRow(a))
		}
		return rows
	})
}

type appGet struct {
	ID string `arg:"" name:"app-id"`
}

func (g *appGet) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/applications/"+url.PathEscape(g.ID))
	if err != nil {
		return err
	}
	return show(c, answer, appHead, func(a schema.MaybeApplication) (rows [][]string) {
		if a.Application != nil {
			rows = append(rows, appRow(*a.Application))
		}
		return rows
	})
}

type appRemove struct {
	ID string `arg:"" name:"app-id"`
}

func (r *appRemove) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodDelete, "/admin-api/applications/"+url.PathEscape(r.ID), nil)
	if err != nil {
		return err
	}
	return show(c, answer, []string{"UNINSTALLED"}, func(a schema.ApplicationRef) [][]string {
		return [][]string{{a.ApplicationID.String()}}
	})
}

type appPackages struct{}

func (appPackages) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/packages")
	if err != nil {
		return err
	}
	return showBare(c, answer, []string{"PACKAGE"}, func(l schema.Packages) [][]string { return column(l.Packages) })
}

type appVersions struct {
	Package string `arg:""`
}

func (v *appVersions) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/packages/"+url.PathEscape(v.Package)+"/versions")
	if err != nil {
		return err
	}
	return showBare(c, answer, []string{"VERSION"}, func(l schema.Versions) [][]string { return column(l.Versions) })
}

type appLatest struct {
	Package string `arg:""`
}

func (l *appLatest) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/packages/"+url.PathEscape(l.Package)+"/latest")
	if err != nil {
		return err
	}
	return showBare(c, answer, []string{"APPLICATION", "VERSION"}, func(v schema.LatestVersion) (rows [][]string) {
		if v.ApplicationID != nil && v.Version != nil {
			rows = append(rows, []string{v.ApplicationID.String(), *v.Version})
		}
		return rows
	})
}
