// Command run plays random histories of groups over several nodes and says which did not converge (package govern). Its
// last line is "n histories, m failed".
package main

import (
	"context"
	"flag"
	"io"
	"time"

	"github.com/calimero-go/core/tests/govern"
	"github.com/calimero-go/core/tests/histories"
)

func main() { histories.Main("govern", run) }

func run(ctx context.Context, args []string, out io.Writer) (failed int, err error) {
	flags := flag.NewFlagSet("govern", flag.ContinueOnError)
	o := histories.Options{}
	o.Flags(flags, 2000)
	if err := o.Parse(flags, args, out); err != nil {
		return 0, err
	}
	begin := time.Now()
	report := govern.Run(ctx, o)
	report.Print(out, time.Since(begin))
	return len(report.Failures), ctx.Err()
}
