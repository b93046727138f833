package membership

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	ops     *prometheus.CounterVec
	dropped *prometheus.CounterVec
	served  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "calimero", Subsystem: "membership", Name: name, Help: help},
			[]string{label})
	}
	m := &metrics{
		ops:     vec("operations_total", "Operations of groups taken, by outcome.", "outcome"),
		served:  vec("served_total", "Answers to peers about groups, by what they asked for.", "request"),
		dropped: vec("dropped_total", "Messages of group topics not taken, by reason.", "reason"),
	}
	if reg != nil {
		reg.MustRegister(m.ops, m.dropped, m.served)
	}
	return m
}
