package converge

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/calimero-go/core/tests/apps"
)

// Options say which histories to run.
type Options struct {
	// From is the first seed, Seeds how many.
	From  uint64
	Seeds int
	// Steps bounds the events of a history beyond the first ten; 0 = 20.
	Steps int
	// Only runs the histories of one application; empty = the seed decides.
	Only string
	// Nodes is what the nodes are; empty = the seed decides.
	Nodes Nodes
	// Calm makes all histories conflict-free.
	Calm bool
	// Parallel is how many run at a time; 0 = 2.
	Parallel int
	// Trace receives the events of every history.
	Trace io.Writer
}

func (o Options) steps() int {
	if o.Steps == 0 {
		return 20
	}
	return o.Steps
}

// Nodes is a kind of node.
type Nodes string

const (
	// Light nodes are the state engine over rows in a map, and the guest.
	Light Nodes = "light"
	// Full nodes are the contexts manager over a store, and the guest.
	Full Nodes = "full"
)

// Failure is a history that did not end as it must.
type Failure struct {
	Seed uint64
	App  string
	Err  error
}

// Report is what became of the histories.
type Report struct {
	Stats    Stats
	Failures []Failure
}

// Run runs the histories of seeds From to From+Seeds-1. The error is that of the harness.
func (r *Rig) Run(ctx context.Context, o Options) (Report, error) {
	if o.Parallel == 0 {
		o.Parallel = 2
	}
	var mu sync.Mutex
	var out Report
	seeds := make(chan uint64)
	var workers sync.WaitGroup
	for range o.Parallel {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for seed := range seeds {
				h := r.history(ctx, o, seed)
				err := h.play()
				mu.Lock()
				h.stats.Histories = 1
				out.Stats.add(h.stats)
				if err != nil {
					out.Failures = append(out.Failures, Failure{Seed: seed, App: h.name, Err: err})
				}
				if o.Trace != nil {
					fmt.Fprintf(o.Trace, "seed %d: %s, full nodes %t, calm %t\n", seed, h.name, h.full, h.calm)
					for _, line := range h.trace {
						fmt.Fprintf(o.Trace, "  %s\n", line)
					}
				}
				mu.Unlock()
			}
		}()
	}
	for i := range o.Seeds {
		if ctx.Err() != nil {
			break
		}
		seeds <- o.From + uint64(i)
	}
	close(seeds)
	workers.Wait()
	slices.SortFunc(out.Failures, func(a, b Failure) int { return int(int64(a.Seed - b.Seed)) })
	return out, ctx.Err()
}

// history makes the history of a seed.
func (r *Rig) history(ctx context.Context, o Options, seed uint64) *history {
	h := &history{ctx: ctx, rig: r, opts: o, rng: rand.New(rand.NewPCG(seed, 0x6361_6c69_6d65_726f))}
	names := apps.Names()
	h.name = names[h.rng.IntN(len(names))]
	if o.Only != "" {
		h.name = o.Only
	}
	h.calm = h.chance(25) || o.Calm
	h.full = h.chance(50)
	if o.Nodes != "" {
		h.full = o.Nodes == Full
	}
	h.app = newApp(h.name)
	h.full = h.full || mergesItself(h.app)
	return h
}

// Print writes what happened, one command for each failure that plays it again, and the result in the last line.
func (r *Report) Print(out io.Writer, o Options, took time.Duration) {
	for _, f := range r.Failures {
		fmt.Fprintf(out, "seed %d (%s): %v\n  again: %s\n", f.Seed, f.App, f.Err, o.command(f.Seed))
	}
	s := r.Stats
	fmt.Fprintf(out, "%d calls, %d commits, %d failed on purpose, %d queries; %d actions, %d forks; %d deliveries, %d of them "+
		"repeated; %d partitions, %d restarts, %d crashes, %d snapshots; %s\n", s.Calls, s.Commits, s.Failures, s.Queries,
		s.Actions, s.Forks, s.Deliveries, s.Duplicates, s.Partitions, s.Restarts, s.Crashes, s.Joins, took.Round(time.Millisecond))
	fmt.Fprintf(out, "%d roots of guests compared with the engine's, %d differ\n", s.Roots, s.RootsDiffer)
	fmt.Fprintf(out, "%d histories, %d failed\n", s.Histories, len(r.Failures))
}

// command plays one history again.
func (o Options) command(seed uint64) string {
	out := fmt.Sprintf("make converge SEEDS=1 FROM=%d", seed)
	var flags []string
	if o.Steps != 0 {
		flags = append(flags, fmt.Sprintf("-steps=%d", o.Steps))
	}
	if o.Only != "" {
		flags = append(flags, "-app="+o.Only)
	}
	if o.Calm {
		flags = append(flags, "-calm")
	}
	if o.Nodes != "" {
		flags = append(flags, "-nodes="+string(o.Nodes))
	}
	if len(flags) > 0 {
		out += fmt.Sprintf(" ARGS='%s'", strings.Join(flags, " "))
	}
	return out
}
