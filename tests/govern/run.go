package govern

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Options say which histories to run.
type Options struct {
	// From is the first seed, Seeds how many.
	From  uint64
	Seeds int
	// Parallel is how many run at a time; 0 = 2.
	Parallel int
	// Trace receives the events of every history.
	Trace io.Writer
}

// Stats counts what happened.
type Stats struct {
	Histories, Issued, Refused, Forged, Void, Delivered, Repeated, Lost, Waited, Partitions, Restarts, Failures int
}

func (s *Stats) add(o Stats) {
	s.Histories += o.Histories
	s.Issued += o.Issued
	s.Refused += o.Refused
	s.Forged += o.Forged
	s.Void += o.Void
	s.Delivered += o.Delivered
	s.Repeated += o.Repeated
	s.Lost += o.Lost
	s.Waited += o.Waited
	s.Partitions += o.Partitions
	s.Restarts += o.Restarts
	s.Failures += o.Failures
}

// Failure is a history that did not end as it must.
type Failure struct {
	Seed uint64
	Err  error
}

// Report is what became of the histories.
type Report struct {
	Stats    Stats
	Failures []Failure
}

// Run runs the histories of seeds From to From+Seeds-1, or as many as ctx allows.
func Run(ctx context.Context, o Options) Report {
	if o.Parallel == 0 {
		o.Parallel = 2
	}
	var mu sync.Mutex
	var out Report
	seeds := make(chan uint64)
	var workers sync.WaitGroup
	for range o.Parallel {
		workers.Go(func() {
			for seed := range seeds {
				h := newHistory(ctx, seed)
				err := h.play()
				mu.Lock()
				h.stats.Histories = 1
				out.Stats.add(h.stats)
				if err != nil {
					out.Failures = append(out.Failures, Failure{Seed: seed, Err: err})
				}
				if o.Trace != nil {
					fmt.Fprintf(o.Trace, "seed %d\n", seed)
					for _, line := range h.trace {
						fmt.Fprintf(o.Trace, "  %s\n", line)
					}
				}
				mu.Unlock()
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
	slices.SortFunc(out.Failures, func(a, b Failure) int { return int(int64(a.Seed - b.Seed)) })
	return out
}

// Print writes what happened, one command for each failure that plays it again, and the result in the last line.
func (r *Report) Print(out io.Writer, took time.Duration) {
	for _, f := range r.Failures {
		fmt.Fprintf(out, "seed %d: %v\n  again: make govern SEEDS=1 FROM=%d\n", f.Seed, f.Err, f.Seed)
	}
	s := r.Stats
	fmt.Fprintf(out, "%d operations issued, %d refused to their authors, %d forged, %d void in the end; %d deliveries, %d repeated, "+
		"%d lost, %d waited; %d partitions, %d restarts, %d failed commits; %s\n", s.Issued, s.Refused, s.Forged, s.Void,
		s.Delivered, s.Repeated, s.Lost, s.Waited, s.Partitions, s.Restarts, s.Failures, took.Round(time.Millisecond))
	fmt.Fprintf(out, "%d histories, %d failed\n", s.Histories, len(r.Failures))
}
