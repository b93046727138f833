// Command merod is the node.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/timerslack"
)

var version = "dev"

// cli is the command line. --home and --node stand before the command, as in the reference.
type cli struct {
	Home   string `help:"Folder of all nodes." env:"CALIMERO_HOME" placeholder:"PATH"`
	Node   string `short:"n" help:"Name of the node; its folder is HOME/NODE."`
	Config string `help:"Configuration file instead of HOME/NODE/config.hcl." placeholder:"FILE"`

	Init    initCommand    `cmd:"" help:"Make a node's folder; an initialised one is left as it is."`
	Run     runCommand     `cmd:"" aliases:"up" help:"Run the node until a signal ends it."`
	Cfg     configCommand  `cmd:"" name:"config" help:"Check the configuration, or set values of config.toml."`
	Plugin  pluginCommand  `cmd:"" help:"List or pin the configured plugins."`
	Storage storageCommand `cmd:"" help:"Repair the storage."`
	Debug   debugCommand   `cmd:"" help:"Look at the state of a context. The node must not run, unless all states are files."`

	Version kong.VersionFlag `help:"Print the version."`
}

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit status: 0, 1 for an error, 2 for a wrong command line.
func run(args []string) int {
	var c cli
	parser, err := kong.New(&c, kong.Name("merod"), kong.Description("A node for Calimero applications."),
		kong.Vars{"version": "merod " + version, "state_help": stateHelp}, kong.UsageOnError())
	if err != nil {
		fmt.Fprintln(os.Stderr, "merod:", err)
		return 1
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "merod:", err)
		return 2
	}
	if k.Command() == "run" {
		// Before signals are caught: one that comes meanwhile ends the program.
		if err := timerslack.Adopt(); err != nil {
			fmt.Fprintln(os.Stderr, "merod: cannot have coarser timers, the node takes more CPU time than it has to:", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := c.place(!strings.HasPrefix(k.Command(), "debug ")); err != nil {
		fmt.Fprintln(os.Stderr, "merod:", err)
		return 2
	}
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(&c); err != nil {
		if !errors.Is(err, errDiffers) { // the output says it
			printError(err)
		}
		return 1
	}
	return 0
}

// printError prints diagnostics as they are, with their snippets, and other errors on one line.
func printError(err error) {
	var d *diagnosticsError
	if errors.As(err, &d) {
		if werr := d.list.Write(os.Stderr, 100, false); werr == nil {
			return
		}
	}
	fmt.Fprintln(os.Stderr, "merod:", err)
}

type diagnosticsError struct{ list config.Diagnostics }

func (e *diagnosticsError) Error() string { return e.list.String() }

var errNoNode = errors.New("--node NAME is required (or --config FILE)")

// place fills in the home and says what is missing. A command that may do without a node finds out by itself.
func (c *cli) place(needsNode bool) error {
	if c.Home == "" && c.Config == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("find a home for the node: %w; give --home", err)
		}
		c.Home = filepath.Join(home, ".calimero")
	}
	if c.Home != "" {
		abs, err := filepath.Abs(c.Home)
		if err != nil {
			return err
		}
		c.Home = abs
	}
	if needsNode && c.Node == "" && c.Config == "" {
		return errNoNode
	}
	return nil
}

// configPath is the configuration file the command works on.
func (c *cli) configPath() string {
	if c.Config != "" {
		return c.Config
	}
	return filepath.Join(c.Home, c.Node, config.FileName)
}

// load reads the configuration; its warnings go to stderr.
func (c *cli) load() (*config.Config, error) {
	if c.Node == "" && c.Config == "" {
		return nil, errNoNode
	}
	path := c.configPath()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && c.Config == "" {
		return nil, fmt.Errorf("Node is not initialized in %q; run: merod --home %s --node %s init", //nolint:staticcheck // the reference's text
			filepath.Join(c.Home, c.Node), c.Home, c.Node)
	}
	cfg, diags := config.Load(path, config.WithHome(c.Home), config.WithNode(c.Node))
	if diags.HasErrors() {
		return nil, &diagnosticsError{list: diags}
	}
	if w := diags.Warnings(); w.Len() > 0 {
		if err := w.Write(os.Stderr, 100, false); err != nil {
			return nil, err
		}
	}
	return cfg, nil
}
