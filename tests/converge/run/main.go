// Command run plays random histories of the sample applications over several nodes and says which did not converge
// (package converge). Its last line is "n histories, m failed".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/calimero-go/core/tests/converge"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	failed, err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "converge:", err)
	}
	if failed > 0 || err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (failed int, err error) {
	flags := flag.NewFlagSet("converge", flag.ContinueOnError)
	o := converge.Options{}
	flags.IntVar(&o.Seeds, "seeds", 200, "how many histories")
	flags.Uint64Var(&o.From, "from", 1, "seed of the first")
	flags.IntVar(&o.Steps, "steps", 0, "at most so many events beyond ten; 0 = 20")
	flags.StringVar(&o.Only, "app", "", "one application instead of the one that the seed decides")
	nodes := flags.String("nodes", "", "light (the state engine and the guest) or full (whole contexts managers with stores); "+
		"the seed decides without it")
	flags.BoolVar(&o.Calm, "calm", false, "conflict-free histories only")
	flags.IntVar(&o.Parallel, "parallel", runtime.NumCPU(), "histories at a time")
	trace := flags.Bool("trace", false, "print every event; the default for one history")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			err = nil
		}
		return 0, err
	}
	switch o.Nodes = converge.Nodes(*nodes); o.Nodes {
	case "", converge.Light, converge.Full:
	default:
		return 0, fmt.Errorf("-nodes %q: must be light or full", *nodes)
	}
	if flags.NArg() > 0 {
		return 0, fmt.Errorf("unknown argument %q; see -h", flags.Arg(0))
	}
	if o.Seeds < 1 {
		return 0, fmt.Errorf("-seeds %d: must be at least 1", o.Seeds)
	}
	if *trace || o.Seeds == 1 {
		o.Trace = out
	}
	var names []string
	if o.Only != "" {
		names = []string{o.Only}
	}
	rig, err := converge.NewRig(ctx, names...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rig.Close(context.WithoutCancel(ctx))) }()
	begin := time.Now()
	report, err := rig.Run(ctx, o)
	report.Print(out, o, time.Since(begin))
	return len(report.Failures), err
}
