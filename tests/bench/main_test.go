// Package bench_test measures a node as its users see it, and where the time of a call goes: the bare guest, the core
// with its plugins linked in, the core with its plugins as processes, the whole node over HTTP. All are measured in turn
// within one run, so that a ratio holds when the machine's speed drifts. `make bench` prints the table.
package bench_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/calimero-go/core/core/timerslack"
)

func TestMain(m *testing.M) {
	// As the node has it, also where its parts run in this process.
	if err := timerslack.Adopt(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	report.print()
	os.Exit(code)
}

// report collects what the benchmarks found, for the table at the end.
var report table

type table struct {
	mu   sync.Mutex
	rows [][]string
}

func (t *table) add(cells ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, cells)
}

func (t *table) print() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return
	}
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, r := range t.rows {
		if _, err := fmt.Fprintln(w, strings.Join(r, "\t")); err != nil {
			panic(err) // standard output is gone
		}
	}
	if err := w.Flush(); err != nil {
		panic(err)
	}
}

// title starts a part of the table.
func title(cells ...string) { report.add(); report.add(cells...) }

// ratio reports a measured ratio beside its target.
func ratio(b *testing.B, name string, got float64, least bool, target float64) {
	b.Helper()
	sign, met := "≤", got <= target
	if least {
		sign, met = "≥", got >= target
	}
	verdict := "met"
	if !met {
		verdict = "MISSED"
	}
	report.add(name, fmt.Sprintf("%.2f", got), fmt.Sprintf("%s %.2f", sign, target), verdict)
	b.ReportMetric(got, strings.ReplaceAll(name, " ", "_"))
}

// samples are durations of one thing.
type samples []time.Duration

// at is a quantile; the samples are sorted by it.
func (s samples) at(q float64) time.Duration {
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func micros(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/1e3) }

// once runs a benchmark that measures a fixed amount of work, whatever the time asked for: the first round takes longer
// than the default time, after which the framework asks for no other.
func once(b *testing.B, run func()) {
	b.Helper()
	if b.N > 1 {
		b.Skip("measures a fixed amount of work: run it with -benchtime 1s or 1x")
	}
	b.ResetTimer()
	run()
}
