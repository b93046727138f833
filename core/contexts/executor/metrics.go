package executor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/plugin-sdk/runtime"
)

type metrics struct {
	seconds *prometheus.HistogramVec
	misses  prometheus.Counter
	reads   prometheus.Counter
	trips   prometheus.Counter
}

var kinds = map[runtime.CallKind]string{
	runtime.Call: "call", runtime.Init: "init", runtime.Handler: "handler", runtime.XCallKind: "xcall",
	runtime.SyncNext: "sync_next", runtime.Migrate: "migrate",
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "calimero", Subsystem: "execution", Name: "seconds",
			Help:    "Time of one execution in the runtime plugin, by kind and outcome.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 18),
		}, []string{"kind", "outcome"}),
		misses: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "execution", Name: "row_misses_total",
			Help: "Rows a guest read that the runtime plugin did not have.",
		}),
		reads: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "execution", Name: "row_reads_total", Help: "Rows guests read.",
		}),
		trips: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "execution", Name: "round_trips_total",
			Help: "Round trips between core and runtime plugin.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.seconds, m.misses, m.reads, m.trips)
	}
	return m
}

func (m *metrics) observe(kind runtime.CallKind, r *Result, err error, d time.Duration) {
	outcome := "ok"
	switch {
	case err != nil:
		outcome = "error"
	case r.Fault != nil:
		outcome = "fault"
	case r.AppError != nil:
		outcome = "app_error"
	}
	m.seconds.WithLabelValues(kinds[kind], outcome).Observe(d.Seconds())
	if err == nil {
		m.misses.Add(float64(r.Usage.Misses))
		m.reads.Add(float64(r.Usage.Reads))
		m.trips.Add(float64(r.Usage.RoundTrips))
	}
}
