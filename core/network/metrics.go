package network

import (
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/core/actor"
)

type metrics struct {
	depth    prometheus.Gauge
	overload prometheus.Counter
	panics   prometheus.Counter
	refused  prometheus.Counter

	peers   prometheus.Gauge
	topics  prometheus.Gauge
	dials   *prometheus.CounterVec
	streams *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	ping    prometheus.Histogram

	published *prometheus.CounterVec
	messages  *prometheus.CounterVec

	events      *prometheus.CounterVec
	eventsDepth prometheus.Gauge
	eventsWait  prometheus.Histogram

	found       *prometheus.CounterVec
	rendezvous  *prometheus.CounterVec
	dht         *prometheus.CounterVec
	reservation prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "calimero", Subsystem: "network", Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "calimero", Subsystem: "network", Name: name,
			Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "calimero", Subsystem: "network", Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "calimero", Subsystem: "network", Name: name,
			Help: help, Buckets: buckets})
	}
	m := &metrics{
		depth:    gauge("mailbox_depth", "Messages waiting in the network manager's mailbox."),
		overload: counter("overload_total", "Messages refused because the mailbox was full."),
		panics:   counter("panics_total", "Messages whose handling panicked."),
		refused:  counter("refused_total", "Requests refused because too many were at work."),
		peers:    gauge("peers", "Connected peers."),
		topics:   gauge("topics", "Topics this node is subscribed to."),
		dials:    vec("dials_total", "Dials by outcome: ok or failed.", "outcome"),
		streams: vec("streams_total", "Streams by protocol, direction (in, out) and outcome: ok, failed, refused or displaced.",
			"protocol", "direction", "outcome"),
		bytes:     vec("stream_bytes_total", "Bytes of frames by protocol and direction.", "protocol", "direction"),
		ping:      histogram("ping_seconds", "Round trips to peers.", prometheus.ExponentialBuckets(100e-6, 2.5, 14)),
		published: vec("published_total", "Gossip messages published by outcome: ok or failed.", "outcome"),
		messages: vec("messages_total",
			"Gossip messages of others by verdict: accepted, ignored, rejected, or the router's reason to drop.", "verdict"),
		events: vec("events_total", "Events for the node by what became of them: received, processed or dropped.",
			"outcome"),
		eventsDepth: gauge("events_depth", "Events waiting for the node."),
		eventsWait:  histogram("events_wait_seconds", "How long events waited.", prometheus.ExponentialBuckets(0.0001, 2, 18)),
		found:       vec("peers_found_total", "Addresses of peers found by way: mdns, local, rendezvous.", "way"),
		rendezvous: vec("rendezvous_total", "Requests to rendezvous points by kind and outcome: ok or failed.", "kind",
			"outcome"),
		dht:         vec("dht_total", "Operations on the DHT by kind (provide, find) and outcome: ok or failed.", "kind", "outcome"),
		reservation: gauge("relay_reservations", "Reservations at relays."),
	}
	if reg != nil {
		reg.MustRegister(m.depth, m.overload, m.panics, m.refused, m.peers, m.topics, m.dials, m.streams, m.bytes, m.ping,
			m.published, m.messages, m.events, m.eventsDepth, m.eventsWait, m.found, m.rendezvous, m.dht, m.reservation)
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

func (m *metrics) streamBytes(direction string, p protocol.ID, n int) {
	m.bytes.WithLabelValues(string(p), direction).Add(float64(n))
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}
