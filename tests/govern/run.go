package govern

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/calimero-go/core/tests/histories"
)

// Stats counts what happened.
type Stats struct {
	Histories, Issued, Refused, Forged, Void, Delivered, Repeated, Lost, Waited, Partitions, Restarts, Failures int

	// Groups, those that have a parent in the end, removals from groups below, operations void because inherited authority
	// was lost, and groups that began from an invitation alone.
	Groups, Linked, Cuts, InheritedLost, Provisional int
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
	s.Groups += o.Groups
	s.Linked += o.Linked
	s.Cuts += o.Cuts
	s.InheritedLost += o.InheritedLost
	s.Provisional += o.Provisional
}

// Report is what became of the histories.
type Report struct {
	Stats    Stats
	Failures []histories.Failure
}

// Run runs the histories of seeds From to From+Seeds-1, or as many as ctx allows.
func Run(ctx context.Context, o histories.Options) (out Report) {
	play := func(seed uint64) *history {
		h := newHistory(ctx, seed)
		h.err = h.play()
		return h
	}
	out.Failures = histories.Run(ctx, o, play, func(h *history) histories.Played {
		h.stats.Histories = 1
		out.Stats.add(h.stats)
		return histories.Played{Trace: h.trace, Err: h.err}
	})
	return out
}

// Print writes what happened, one command for each failure that plays it again, and the result in the last line.
func (r *Report) Print(out io.Writer, took time.Duration) {
	histories.Print(out, r.Failures, func(seed uint64) string { return fmt.Sprintf("make govern SEEDS=1 FROM=%d", seed) })
	s := r.Stats
	fmt.Fprintf(out, "%d operations issued, %d refused to their authors, %d forged, %d void in the end; %d deliveries, %d repeated, "+
		"%d lost, %d waited; %d partitions, %d restarts, %d failed commits; %s\n", s.Issued, s.Refused, s.Forged, s.Void,
		s.Delivered, s.Repeated, s.Lost, s.Waited, s.Partitions, s.Restarts, s.Failures, took.Round(time.Millisecond))
	fmt.Fprintf(out, "%d groups, %d below another in the end, %d begun from an invitation; %d cuts, %d operations void with lost "+
		"authority from above\n", s.Groups, s.Linked, s.Provisional, s.Cuts, s.InheritedLost)
	fmt.Fprintf(out, "%d histories, %d failed\n", s.Histories, len(r.Failures))
}
