package store

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// MetricsWrap measures a storage: duration by operation and result, bytes read and written. A nil registerer gives s
// itself back.
func MetricsWrap(s storage.Store, reg prometheus.Registerer) storage.Store {
	if reg == nil {
		return s
	}
	m := &measured{
		Store: s,
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "calimero", Subsystem: "storage", Name: "operation_seconds",
			Help:    "Time of storage operations by result (ok or the kind of error).",
			Buckets: prometheus.ExponentialBuckets(20e-6, 2.5, 14),
		}, []string{"operation", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "storage", Name: "bytes_total",
			Help: "Bytes of keys and values read and written.",
		}, []string{"direction"}),
		replayed: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "calimero", Subsystem: "storage", Name: "replayed_batches_total",
			Help: "Batches that were repeated and had been applied before.",
		}),
	}
	reg.MustRegister(m.seconds, m.bytes, m.replayed)
	return m
}

type measured struct {
	storage.Store
	seconds  *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	replayed prometheus.Counter
}

func (m *measured) observe(operation string, began time.Time, err error) {
	result := "ok"
	if err != nil {
		result = errkind.Of(err).Error()
	}
	m.seconds.WithLabelValues(operation, result).Observe(time.Since(began).Seconds())
}

func (m *measured) read(n int) { m.bytes.WithLabelValues("read").Add(float64(n)) }

func (m *measured) Get(ctx context.Context, keys []storage.Key) ([]storage.Value, error) {
	began := time.Now()
	values, err := m.Store.Get(ctx, keys)
	m.observe("get", began, err)
	n := 0
	for _, v := range values {
		n += len(v.Bytes)
	}
	m.read(n)
	return values, err
}

// Scan is measured with the time its caller takes for the pages.
func (m *measured) Scan(ctx context.Context, r storage.Range, page func([]storage.Item) error) error {
	began := time.Now()
	err := m.Store.Scan(ctx, r, func(items []storage.Item) error {
		n := 0
		for _, item := range items {
			n += len(item.Key) + len(item.Value)
		}
		m.read(n)
		return page(items)
	})
	m.observe("scan", began, err)
	return err
}

func (m *measured) Apply(ctx context.Context, b storage.Batch) (bool, error) {
	began := time.Now()
	replayed, err := m.Store.Apply(ctx, b)
	m.observe("apply", began, err)
	if err != nil {
		return replayed, err
	}
	if replayed {
		m.replayed.Inc()
	}
	n := 0
	for i := range b.Ops {
		n += len(b.Ops[i].Key) + len(b.Ops[i].Value)
	}
	m.bytes.WithLabelValues("written").Add(float64(n))
	return replayed, err
}

func (m *measured) Snapshot(ctx context.Context) (storage.Snapshot, error) {
	began := time.Now()
	s, err := m.Store.Snapshot(ctx)
	m.observe("snapshot", began, err)
	return s, err
}

func (m *measured) Compact(ctx context.Context) (before, after uint64, err error) {
	began := time.Now()
	before, after, err = m.Store.Compact(ctx)
	m.observe("compact", began, err)
	return before, after, err
}
