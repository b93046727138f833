package config

import (
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Sync says how contexts are kept equal with those of peers.
type Sync struct {
	// Timeout ends an attempt that brings nothing; a third of it is how long one answer may take.
	Timeout time.Duration
	// Frequency is how often a context is compared with some peer's, Interval the rest that it has after any attempt.
	Frequency, Interval time.Duration
	// AcceptUnsigned takes deltas that nobody has signed and no peer has proven to be its own (docs/design/authorship.md).
	// Nil: while a peer that cannot sign is connected in the context.
	AcceptUnsigned *bool
}

// unsignedAuto is the value of sync.accept_unsigned that leaves it to who is connected.
const unsignedAuto = "auto"

// Bounds, the same in both files.
const (
	minSyncTimeout, maxSyncTimeout = time.Second, 5 * time.Minute
	minSyncPeriod, maxSyncPeriod   = 100 * time.Millisecond, time.Hour
)

func defaultSync() Sync {
	return Sync{Timeout: 30 * time.Second, Interval: 5 * time.Second, Frequency: 10 * time.Second}
}

func (c *Config) decodeSync(d *decoder, b *hcl.Block) {
	s := &c.Sync
	d.body("sync", b.Body, []field{
		duration("timeout", &s.Timeout, minSyncTimeout, maxSyncTimeout),
		duration("interval", &s.Interval, minSyncPeriod, maxSyncPeriod),
		duration("frequency", &s.Frequency, minSyncPeriod, maxSyncPeriod),
		{name: "accept_unsigned", read: func(v cty.Value) error {
			switch {
			case v.Type() == cty.Bool:
				yes := v.True()
				s.AcceptUnsigned = &yes
			case v.Type() == cty.String && v.AsString() == unsignedAuto:
				s.AcceptUnsigned = nil
			default:
				return fmt.Errorf("true, false or %q is needed", unsignedAuto)
			}
			return nil
		}},
	}, nil)
}

// syncKeys is [sync] of config.toml.
type syncKeys struct {
	TimeoutMS   *int64 `toml:"timeout_ms"`
	IntervalMS  *int64 `toml:"interval_ms"`
	FrequencyMS *int64 `toml:"frequency_ms"`
}

func (k *syncKeys) validate(bad func(key, format string, args ...any)) {
	for _, t := range []struct {
		key       string
		value     *int64
		low, high time.Duration
	}{
		{"timeout_ms", k.TimeoutMS, minSyncTimeout, maxSyncTimeout},
		{"interval_ms", k.IntervalMS, minSyncPeriod, maxSyncPeriod},
		{"frequency_ms", k.FrequencyMS, minSyncPeriod, maxSyncPeriod},
	} {
		if t.value != nil && (*t.value < t.low.Milliseconds() || *t.value > t.high.Milliseconds()) {
			bad("sync."+t.key, "It must be from %d to %d milliseconds.", t.low.Milliseconds(), t.high.Milliseconds())
		}
	}
}

// overlay puts the values of config.toml in place of those of config.hcl.
func (s *Sync) overlay(k *syncKeys) {
	for _, t := range []struct {
		to   *time.Duration
		from *int64
	}{{&s.Timeout, k.TimeoutMS}, {&s.Interval, k.IntervalMS}, {&s.Frequency, k.FrequencyMS}} {
		if t.from != nil {
			*t.to = time.Duration(*t.from) * time.Millisecond // validated before
		}
	}
}
