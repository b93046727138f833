package histories_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/tests/histories"
)

func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	o := histories.Options{From: 5, Seeds: 20, Parallel: 3, Trace: &out}
	var seen uint64
	failures := histories.Run(t.Context(), o, func(seed uint64) uint64 { return seed }, func(seed uint64) histories.Played {
		seen += seed
		p := histories.Played{What: "kind", Trace: []string{"event"}}
		if seed%10 == 7 {
			p.Err = errors.New("no")
		}
		return p
	})
	require.EqualValues(t, 20*5+19*20/2, seen)
	require.Len(t, failures, 2)
	require.EqualValues(t, 7, failures[0].Seed)
	require.EqualValues(t, 17, failures[1].Seed)
	require.Contains(t, out.String(), "seed 24: kind\n  event\n")
	out.Reset()
	histories.Print(&out, failures[:1], func(uint64) string { return "make it" })
	require.Equal(t, "seed 7 (kind): no\n  again: make it\n", out.String())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	histories.Run(ctx, o, func(seed uint64) uint64 { return seed }, func(uint64) histories.Played {
		t.Error("a history ran")
		return histories.Played{}
	})
}

func TestParse(t *testing.T) {
	t.Parallel()
	parse := func(args ...string) (histories.Options, error) {
		flags := flag.NewFlagSet("x", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		var o histories.Options
		o.Flags(flags, 100)
		return o, o.Parse(flags, args, io.Discard)
	}
	for text, args := range map[string][]string{
		"-seeds 0: must be at least 1":        {"-seeds", "0"},
		"-seeds -3: must be at least 1":       {"-seeds=-3"},
		"-parallel 0: must be at least 1":     {"-parallel", "0"},
		`unknown argument "stray"; see -h`:    {"-seeds", "3", "stray"},
		"invalid value":                       {"-from", "-1"},
		"flag provided but not defined: -app": {"-app", "x"},
		"help requested":                      {"-h"},
	} {
		_, err := parse(args...)
		require.ErrorContains(t, err, text)
	}
	o, err := parse("-seeds", "1", "-from", "9")
	require.NoError(t, err)
	require.EqualValues(t, 9, o.From)
	require.NotNil(t, o.Trace, "one history prints its events")
	o, err = parse()
	require.NoError(t, err)
	require.Equal(t, 100, o.Seeds)
	require.Nil(t, o.Trace)
}
