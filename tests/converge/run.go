package converge

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/calimero-go/core/tests/apps"
	"github.com/calimero-go/core/tests/histories"
)

// Options say which histories to run.
type Options struct {
	histories.Options
	// Steps bounds the events of a history beyond the first ten; 0 = 20.
	Steps int
	// Only runs the histories of one application; empty = the seed decides.
	Only string
	// Nodes is what the nodes are; empty = the seed decides.
	Nodes Nodes
	// Calm makes all histories conflict-free.
	Calm bool
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

// Report is what became of the histories.
type Report struct {
	Stats    Stats
	Failures []histories.Failure
}

// Run runs the histories of seeds From to From+Seeds-1. The error is that of the harness.
func (r *Rig) Run(ctx context.Context, o Options) (Report, error) {
	var out Report
	play := func(seed uint64) *history {
		h := r.history(ctx, o, seed)
		h.err = h.play()
		return h
	}
	out.Failures = histories.Run(ctx, o.Options, play, func(h *history) histories.Played {
		h.stats.Histories = 1
		out.Stats.add(h.stats)
		h.trace = slices.Insert(h.trace, 0, fmt.Sprintf("full nodes %t, calm %t", h.full, h.calm))
		return histories.Played{What: h.name, Trace: h.trace, Err: h.err}
	})
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
	histories.Print(out, r.Failures, o.command)
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
