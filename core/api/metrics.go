package api

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer, open *streams) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "http", Name: "requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "calimero", Subsystem: "http", Name: "request_seconds", Help: "Time of requests, streams included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"route"}),
	}
	if reg == nil {
		return m, nil
	}
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "calimero", Subsystem: "http", Name: "streams", Help: "Open WebSockets and SSE streams.",
	}, func() float64 { return float64(open.count()) })
	for _, c := range []prometheus.Collector{m.requests, m.seconds, gauge} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the API: %w", err)
		}
	}
	return m, nil
}

// showMetrics serves the gatherer's metrics, as OpenMetrics when the client asks for it.
func (s *Server) showMetrics(w http.ResponseWriter, r *http.Request) {
	promhttp.HandlerFor(s.deps.Gatherer, promhttp.HandlerOpts{
		EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError,
	}).ServeHTTP(w, r)
}
