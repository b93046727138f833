// Package histories runs random histories, each of which is its seed and nothing else, several at a time, and is the
// command that does.
package histories

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
)

// Options say which histories to run.
type Options struct {
	// From is the first seed, Seeds how many.
	From  uint64
	Seeds int
	// Parallel is how many run at a time; 0 = 2.
	Parallel int
	// Trace receives the events of every history; nil = none.
	Trace io.Writer
}

// Failure is a history that did not end as it must.
type Failure struct {
	Seed uint64
	What string // of what kind the history is; empty where there is one kind
	Err  error
}

// Played is a history that is over.
type Played struct {
	What  string
	Trace []string
	Err   error
}

// Run plays the histories of seeds From to From+Seeds-1, or as many as ctx allows, and returns those that failed, by seed.
// ended is called for each, one after the other.
func Run[H any](ctx context.Context, o Options, play func(seed uint64) H, ended func(H) Played) []Failure {
	if o.Parallel == 0 {
		o.Parallel = 2
	}
	var mu sync.Mutex
	var failures []Failure
	end := func(seed uint64, h H) {
		mu.Lock()
		defer mu.Unlock()
		p := ended(h)
		if p.Err != nil {
			failures = append(failures, Failure{Seed: seed, What: p.What, Err: p.Err})
		}
		if o.Trace == nil {
			return
		}
		fmt.Fprintf(o.Trace, "seed %d: %s\n", seed, p.What)
		for _, line := range p.Trace {
			fmt.Fprintf(o.Trace, "  %s\n", line)
		}
	}
	seeds := make(chan uint64)
	var workers sync.WaitGroup
	for range o.Parallel {
		workers.Go(func() {
			for seed := range seeds {
				end(seed, play(seed))
			}
		})
	}
	for i := range o.Seeds {
		if ctx.Err() != nil {
			break
		}
		seeds <- o.From + uint64(i)
	}
	close(seeds)
	workers.Wait()
	slices.SortFunc(failures, func(a, b Failure) int { return int(int64(a.Seed - b.Seed)) })
	return failures
}

// Print writes the failures, with the command that plays each again.
func Print(out io.Writer, failures []Failure, again func(seed uint64) string) {
	for _, f := range failures {
		what := ""
		if f.What != "" {
			what = " (" + f.What + ")"
		}
		fmt.Fprintf(out, "seed %d%s: %v\n  again: %s\n", f.Seed, what, f.Err, again(f.Seed))
	}
}

// Flags are the command's flags for Options, without Trace.
func (o *Options) Flags(flags *flag.FlagSet, seeds int) {
	flags.IntVar(&o.Seeds, "seeds", seeds, "how many histories")
	flags.Uint64Var(&o.From, "from", 1, "seed of the first")
	flags.IntVar(&o.Parallel, "parallel", runtime.NumCPU(), "histories at a time")
}

// Parse reads the command's arguments into the flags, of which those of Options are some. One history prints its events.
func (o *Options) Parse(flags *flag.FlagSet, args []string, out io.Writer) error {
	trace := flags.Bool("trace", false, "print every event; the default for one history")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; see -h", flags.Arg(0))
	}
	if o.Seeds < 1 {
		return fmt.Errorf("-seeds %d: must be at least 1", o.Seeds)
	}
	if o.Parallel < 1 {
		return fmt.Errorf("-parallel %d: must be at least 1", o.Parallel)
	}
	if *trace || o.Seeds == 1 {
		o.Trace = out
	}
	return nil
}

// Main is the command: it runs until run returns or a signal comes, and exits with 1 when a history failed.
func Main(name string, run func(ctx context.Context, args []string, out io.Writer) (failed int, err error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	failed, err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	if failed > 0 || err != nil {
		os.Exit(1)
	}
}
