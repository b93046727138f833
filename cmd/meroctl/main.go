// Command meroctl operates nodes over their HTTP API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

var version = "dev"

// cli is the command line. The node is --api, or --node (a name from `meroctl node list`, or a node in the home), or the
// one in use, or the one at the default port.
type cli struct {
	Home   string `help:"Folder of local nodes; default ~/.calimero." env:"CALIMERO_HOME" placeholder:"PATH"`
	API    string `name:"api" help:"URL of the node." placeholder:"URL" xor:"node"`
	Node   string `help:"Name of the node." xor:"node"`
	Output string `name:"output-format" help:"human or json." enum:"human,json" default:"human"`

	Login   loginCommand   `cmd:"" help:"Log in with a user name and a password; the first login from the node's machine creates the account."`
	App     appCommand     `cmd:"" help:"Install, list and remove applications."`
	Context contextCommand `cmd:"" help:"Create, list, use and delete contexts, and their identities."`
	Group   groupCommand   `cmd:"" help:"Create, join and govern groups, and upgrade the applications of their contexts."`
	Call    callCommand    `cmd:"" help:"Call a method of a context."`
	Blob    blobCommand    `cmd:"" help:"Store, fetch and delete blobs."`
	Peers   peersCommand   `cmd:"" help:"Count the connected peers."`
	Nodes   nodeCommand    `cmd:"" name:"node" help:"Name nodes and choose the one to use."`

	out, errs io.Writer
	in        io.Reader
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// Exit statuses, as the reference's.
const (
	statusError  = 1
	statusUsage  = 2
	statusClient = 101 // the node answered with an error
)

// run returns the exit status.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 1 && (args[0] == "--version" || args[0] == "-V") { // no flag: `app install` has one of this name
		fmt.Fprintln(out, "meroctl", version)
		return 0
	}
	c := cli{in: in, out: out, errs: errs}
	exit := -1
	parser, err := kong.New(&c, kong.Name("meroctl"), kong.Description("Operates Calimero nodes."),
		kong.Writers(out, errs), kong.UsageOnError(), kong.Exit(func(status int) { exit = status }))
	if err != nil {
		fmt.Fprintln(errs, "meroctl:", err)
		return statusError
	}
	k, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		fmt.Fprintln(errs, "meroctl:", err)
		return statusUsage
	}
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(&c); err != nil {
		fmt.Fprintln(errs, "meroctl:", plain(err.Error()))
		var answer *answerError
		if errors.As(err, &answer) {
			return statusClient
		}
		return statusError
	}
	return 0
}
