package sync

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	deltas      *prometheus.CounterVec // of others, by way and outcome
	dropped     *prometheus.CounterVec // messages that never became a delta, by reason
	published   *prometheus.CounterVec // own messages, by kind
	syncs       *prometheus.CounterVec // by outcome
	served      *prometheus.CounterVec // requests of peers, by kind
	refused     *prometheus.CounterVec // streams of peers that were ended for a fault, requests that failed; by kind
	unsupported *prometheus.CounterVec
	diverged    prometheus.Counter
	renewed     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "sync", Name: name, Help: help,
		}, labels)
		if reg != nil {
			reg.MustRegister(v)
		}
		return v
	}
	m := &metrics{
		deltas:      vec("deltas_total", "Deltas of other nodes, by the way they came and their outcome.", "way", "outcome"),
		dropped:     vec("dropped_total", "Gossip messages that were dropped.", "reason"),
		published:   vec("published_total", "Messages published.", "kind"),
		syncs:       vec("runs_total", "Synchronisations with a peer.", "outcome"),
		served:      vec("served_total", "Requests of peers answered.", "request"),
		refused:     vec("refused_total", "Sessions and requests of peers that were refused, by protocol and kind of error.", "protocol", "kind"),
		unsupported: vec("unsupported_total", "What would have needed a protocol that this version does not have.", "what"),
		diverged: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "sync", Name: "diverged_total",
			Help: "Heartbeats of peers with the same deltas and another root hash.",
		}),
		renewed: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "sync", Name: "sender_keys_renewed_total",
			Help: "Sender keys made anew since somebody had them for whom the context is no more.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.diverged, m.renewed)
	}
	return m
}
