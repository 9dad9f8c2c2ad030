package behalf

import (
	"github.com/behalf-dev/behalf/store"
	"github.com/prometheus/client_golang/prometheus"
)

// meters count what only this package sees of the others' work. Their labels are
// from closed lists: no tenant, no person, no tool.
type meters struct {
	taken *prometheus.CounterVec
	held  prometheus.Histogram
}

func newMeters() *meters {
	return &meters{
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "behalf_redacted_bytes_total",
			Help: "Bytes that policies took out of arguments, results and what models say, by place and by class of data (path: by a JSONPath; whole: all of a result).",
		}, []string{"place", "class"}),
		held: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "behalf_stream_held_seconds",
			Help:    "How long a piece of what a model says was held back until it was known that nothing has to be taken out of it.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
}

func (m *meters) redacted(place, class string, bytes int) {
	m.taken.WithLabelValues(place, class).Add(float64(bytes))
}

// register makes them visible under /metrics, and what waits in the journal.
func (m *meters) register(r *prometheus.Registry, journal func() store.JournalStats) error {
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "behalf_audit_journal_rows",
		Help: "Rows that wait in the journal because the audit log cannot be written.",
	}, func() float64 { return float64(journal().Rows()) })
	kept := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "behalf_audit_journaled_total",
		Help: "Rows that went to the journal since the start, because the audit log could not be written.",
	}, func() float64 { return float64(journal().Kept) })
	for _, c := range []prometheus.Collector{m.taken, m.held, waiting, kept} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
