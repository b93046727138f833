// Command run plays random histories of the sample applications over several nodes and says which did not converge
// (package converge). Its last line is "n histories, m failed".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/calimero-go/core/tests/converge"
	"github.com/calimero-go/core/tests/histories"
)

func main() { histories.Main("converge", run) }

func run(ctx context.Context, args []string, out io.Writer) (failed int, err error) {
	flags := flag.NewFlagSet("converge", flag.ContinueOnError)
	o := converge.Options{}
	o.Flags(flags, 200)
	flags.IntVar(&o.Steps, "steps", 0, "at most so many events beyond ten; 0 = 20")
	flags.StringVar(&o.Only, "app", "", "one application instead of the one that the seed decides")
	nodes := flags.String("nodes", "", "light (the state engine and the guest) or full (whole contexts managers with stores); "+
		"the seed decides without it")
	flags.BoolVar(&o.Calm, "calm", false, "conflict-free histories only")
	if err := o.Parse(flags, args, out); err != nil {
		return 0, err
	}
	switch o.Nodes = converge.Nodes(*nodes); o.Nodes {
	case "", converge.Light, converge.Full:
	default:
		return 0, fmt.Errorf("-nodes %q: must be light or full", *nodes)
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
