package behalf

import (
	"time"

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

// registerTrust shows how long what we verify others and show ourselves by is good
// for. The worst of the issuers counts: their names could be those of tenants, and
// the log has them.
func (s *Server) registerTrust() error {
	for name, one := range map[string]struct {
		help  string
		value func() float64
	}{
		"behalf_svid_expires_seconds":    {"Seconds until the server's own certificate ends; 0 without one, negative once it has ended.", s.svidLeft},
		"behalf_issuer_keys_age_seconds": {"Seconds since the keys of an issuer were last confirmed, of the one for which that is longest.", s.keysAge},
		"behalf_issuer_keys_failing":     {"Issuers whose keys could not be fetched the last time.", s.keysFailing},
	} {
		if err := s.opt.metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: one.help}, one.value)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) svidLeft() float64 {
	svid, err := s.peers.Own()
	if err != nil {
		return 0
	}
	return svid.NotAfter.Sub(s.opt.now()).Seconds()
}

func (s *Server) keysAge() float64 {
	var oldest time.Duration
	for _, st := range s.verifier.Status() {
		since := st.Fetched
		if since.IsZero() {
			since = s.started
		}
		oldest = max(oldest, s.opt.now().Sub(since))
	}
	return oldest.Seconds()
}

func (s *Server) keysFailing() (n float64) {
	for _, st := range s.verifier.Status() {
		if st.Err != nil {
			n++
		}
	}
	return n
}
