package harness

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics is one reading of /metrics.
type Metrics map[string]*dto.MetricFamily

// Metrics reads /metrics.
func (c *Client) Metrics(ctx context.Context) (Metrics, error) {
	b, err := c.Raw(ctx, http.MethodGet, "/metrics", "", nil)
	if err != nil {
		return nil, err
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	m, err := p.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read /metrics: %w", err)
	}
	return m, nil
}

// Sum adds the values of a family's series that have all the labels, given as name and value in turn; a histogram counts
// with its number of observations. An unknown family is an error that lists the known ones.
func (m Metrics) Sum(family string, labels ...string) (float64, error) {
	f, ok := m[family]
	if !ok {
		return 0, fmt.Errorf("no metric %s, have %s", family, strings.Join(slices.Sorted(maps.Keys(m)), " "))
	}
	sum := 0.0
	for _, s := range f.Metric {
		if hasLabels(s, labels) {
			sum += s.GetCounter().GetValue() + s.GetGauge().GetValue() + s.GetUntyped().GetValue() +
				float64(s.GetHistogram().GetSampleCount())
		}
	}
	return sum, nil
}

func hasLabels(s *dto.Metric, labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		if !slices.ContainsFunc(s.Label, func(l *dto.LabelPair) bool {
			return l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}) {
			return false
		}
	}
	return true
}
