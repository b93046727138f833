package pluginhost

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/stats"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// hostMetrics are shared by all plugins of a host.
type hostMetrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	bytes    *prometheus.CounterVec
	restarts *prometheus.CounterVec
	gen      *prometheus.GaugeVec
	up       *prometheus.GaugeVec
}

func newHostMetrics(r prometheus.Registerer) (*hostMetrics, error) {
	name := func(n string) string { return prometheus.BuildFQName("calimero", "plugin", n) }
	labels := func(more ...string) []string { return append([]string{"kind", "plugin"}, more...) }
	m := &hostMetrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("calls_total"),
			Help: "Calls to a plugin, by method and by the kind of their error (ok for none)."}, labels("method", "result")),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name("call_seconds"),
			Help: "Duration of calls to a plugin, waiting for a restart included.", Buckets: prometheus.ExponentialBuckets(50e-6, 2.5, 14)},
			labels("method")),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("in_flight"),
			Help: "Calls to a plugin that have not returned."}, labels()),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("bytes_total"),
			Help: "Bytes on the wire to a plugin, by direction (sent, received)."}, labels("direction")),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: name("restarts_total"),
			Help: "Starts of a plugin's process after the first."}, labels()),
		gen: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("generation"),
			Help: "Number of the plugin's running process since the start of the node."}, labels()),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name("up"),
			Help: "1 while the plugin's process serves."}, labels()),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.calls, m.seconds, m.inFlight, m.bytes, m.restarts, m.gen, m.up} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// pluginMetrics are those of one plugin.
type pluginMetrics struct {
	host           *hostMetrics
	kind, name     string
	inFlight       prometheus.Gauge
	restarts       prometheus.Counter
	gen, up        prometheus.Gauge
	sent, received prometheus.Counter
	methods        sync.Map // of *methodMetrics, by name
}

type methodMetrics struct {
	seconds prometheus.Observer
	ok      prometheus.Counter
}

func (m *hostMetrics) of(kind, name string) *pluginMetrics {
	return &pluginMetrics{
		host: m, kind: kind, name: name,
		inFlight: m.inFlight.WithLabelValues(kind, name), restarts: m.restarts.WithLabelValues(kind, name),
		gen: m.gen.WithLabelValues(kind, name), up: m.up.WithLabelValues(kind, name),
		sent: m.bytes.WithLabelValues(kind, name, "sent"), received: m.bytes.WithLabelValues(kind, name, "received"),
	}
}

func (m *pluginMetrics) observe(method string, start time.Time, err error) {
	found, ok := m.methods.Load(method)
	if !ok {
		found, _ = m.methods.LoadOrStore(method, &methodMetrics{
			seconds: m.host.seconds.WithLabelValues(m.kind, m.name, method),
			ok:      m.host.calls.WithLabelValues(m.kind, m.name, method, "ok"),
		})
	}
	mm := found.(*methodMetrics)
	mm.seconds.Observe(time.Since(start).Seconds())
	if err == nil {
		mm.ok.Inc()
		return
	}
	m.host.calls.WithLabelValues(m.kind, m.name, method, errkind.Of(err).Error()).Inc()
}

// byteCounter counts what goes over a connection.
type byteCounter struct{ m *pluginMetrics }

func (byteCounter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (byteCounter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (byteCounter) HandleConn(context.Context, stats.ConnStats)                       {}

func (b byteCounter) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.OutPayload:
		b.m.sent.Add(float64(s.WireLength))
	case *stats.InPayload:
		b.m.received.Add(float64(s.WireLength))
	}
}
