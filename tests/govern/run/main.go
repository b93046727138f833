// Command run plays random histories of groups over several nodes and says which did not converge (package govern). Its
// last line is "n histories, m failed".
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

	"github.com/calimero-go/core/tests/govern"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	failed, err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "govern:", err)
	}
	if failed > 0 || err != nil {
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (failed int, err error) {
	flags := flag.NewFlagSet("govern", flag.ContinueOnError)
	o := govern.Options{}
	flags.IntVar(&o.Seeds, "seeds", 2000, "how many histories")
	flags.Uint64Var(&o.From, "from", 1, "seed of the first")
	flags.IntVar(&o.Parallel, "parallel", runtime.NumCPU(), "histories at a time")
	trace := flags.Bool("trace", false, "print every event; the default for one history")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			err = nil
		}
		return 0, err
	}
	if *trace || o.Seeds == 1 {
		o.Trace = out
	}
	begin := time.Now()
	report := govern.Run(ctx, o)
	report.Print(out, time.Since(begin))
	return len(report.Failures), ctx.Err()
}
