package contexts

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/actor"
)

type metrics struct {
	depth    prometheus.Gauge
	overload prometheus.Counter
	panics   prometheus.Counter
	refused  prometheus.Counter
	commits  prometheus.Counter
	bytes    prometheus.Counter
	roots    prometheus.Counter
	deltas   prometheus.Counter
	engine   *prometheus.HistogramVec
	received *prometheus.CounterVec
	actions  *prometheus.CounterVec
	xcalls   *prometheus.CounterVec
	handlers *prometheus.CounterVec
	upgrades *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "calimero", Subsystem: "contexts", Name: name, Help: help}
	}
	m := &metrics{
		depth: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "calimero", Subsystem: "contexts",
			Name: "mailbox_depth", Help: "Messages waiting in the context manager's mailbox."}),
		overload: prometheus.NewCounter(opts("overload_total", "Messages refused because the mailbox was full.")),
		panics:   prometheus.NewCounter(opts("panics_total", "Messages whose handling panicked.")),
		refused:  prometheus.NewCounter(opts("refused_total", "Requests refused because too many were at work.")),
		commits:  prometheus.NewCounter(opts("commits_total", "Calls whose changes were committed.")),
		bytes:    prometheus.NewCounter(opts("committed_bytes_total", "Bytes of rows and deltas committed.")),
		engine: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "calimero", Subsystem: "contexts", Name: "engine_seconds",
			Help:    "Time of the state engine: author, for a call, or apply, for a batch of received deltas.",
			Buckets: prometheus.ExponentialBuckets(20e-6, 2.5, 14),
		}, []string{"operation"}),
		deltas: prometheus.NewCounter(opts("applied_deltas_total", "Received deltas that were applied.")),
		received: prometheus.NewCounterVec(opts("received_deltas_total",
			"Deltas received, by what became of them at once: applied, duplicate, pending, held, refused."), []string{"outcome"}),
		roots: prometheus.NewCounter(opts("root_differences_total",
			"Calls after which the application's own root hash differed from the one the node committed.")),
		actions: prometheus.NewCounterVec(opts("refused_actions_total", "Actions of deltas that were refused, by reason."),
			[]string{"reason"}),
		xcalls: prometheus.NewCounterVec(opts("xcalls_total", "Cross-context calls by outcome: ok or failed."),
			[]string{"outcome"}),
		handlers: prometheus.NewCounterVec(opts("handlers_total", "Event handlers by outcome: ok or failed."),
			[]string{"outcome"}),
	}
	m.upgrades = prometheus.NewCounterVec(opts("upgrades_on_access_total",
		"Contexts that a call found behind their group's application, by outcome: ok or failed."), []string{"outcome"})
	if reg != nil {
		reg.MustRegister(m.upgrades, m.depth, m.overload, m.panics, m.refused, m.commits, m.bytes, m.deltas, m.engine, m.received, m.roots, m.actions, m.xcalls, m.handlers)
	}
	return m
}

func (m *metrics) hooks() actor.Hooks {
	return actor.Hooks{
		Depth:    func(n int) { m.depth.Set(float64(n)) },
		Overload: m.overload.Inc,
		Handled: func(_ time.Duration, panicked bool) {
			if panicked {
				m.panics.Inc()
			}
		},
	}
}
