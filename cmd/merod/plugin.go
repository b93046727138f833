package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/calimero-go/core/core/node"
	"github.com/calimero-go/core/core/pluginhost"
)

type pluginCommand struct {
	List listCommand `cmd:"" help:"List the configured plugins with what they say of themselves and their settings."`
	Pin  pinCommand  `cmd:"" help:"Write plugins.lock: path and sha256 of each plugin's files."`
}

type listCommand struct{}

func (listCommand) Run(ctx context.Context, c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	described, err := node.DescribePlugins(ctx, cfg)
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tNAME\tVERSION\tPROTOCOL\tCAPABILITIES\tPATH")
	for _, d := range described {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%v\t%s\n", d.Info.Kind, d.Info.Name, d.Info.Version, d.Info.Protocol,
			d.Info.Capabilities, d.Plugin.Path)
	}
	err = errors.Join(err, w.Flush())
	for _, d := range described {
		if len(d.Schema.Attributes) == 0 {
			continue
		}
		fmt.Printf("\nconfig of %s:\n", d.Plugin.Title())
		for _, a := range d.Schema.Attributes {
			fmt.Printf("  %s (%s): %s\n", a.Name, a.Type.FriendlyName(), a.Doc)
		}
	}
	return err
}

type pinCommand struct{}

func (pinCommand) Run(c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	lines, err := pluginhost.Pin(cfg)
	if err != nil {
		return err
	}
	for _, l := range lines {
		fmt.Println(l)
	}
	fmt.Printf("wrote %s\n", cfg.LockPath())
	return nil
}

type storageCommand struct {
	Repair repairCommand `cmd:"" help:"Heal a damaged storage; says what was kept and what was lost. The node must not run."`
}

type repairCommand struct{}

func (repairCommand) Run(ctx context.Context, c *cli) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	p := cfg.Plugin("storage", "")
	if p == nil {
		return fmt.Errorf("%s has no plugin \"storage\" block", cfg.Path)
	}
	return node.RepairStorage(ctx, cfg, p, os.Stdout, os.Stderr)
}
