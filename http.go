package behalf

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/behalf-dev/behalf/store"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveHTTP serves what machines ask without gRPC: health and metrics. It shows
// nothing of any person, tenant or run.
func (s *Server) serveHTTP(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	if s.mayPublish() {
		mux.HandleFunc("GET /.well-known/jwks.json", s.jwks)
		mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.discovery)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opt.metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	s.mcp(mux)
	h := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = h.Shutdown(grace)
	})
	err := s.serveOn(h)
	if stop() {
		return err
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// serveOn serves with TLS where the config has files for it.
func (s *Server) serveOn(h *http.Server) error {
	l := s.grpc.Web(s.http)
	if t := s.cfg.Server.HTTPTLS; t != nil {
		return h.ServeTLS(l, t.Cert, t.Key)
	}
	return h.Serve(l)
}

// healthz is 200 while the server can identify and record, 503 otherwise.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	if err := s.peers.Ready(); err != nil {
		http.Error(w, "not ready: the server's own certificate is not usable", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	err := s.store.Ready(ctx)
	rows := s.journaled().Rows()
	switch {
	case err != nil && rows > 0:
		http.Error(w, fmt.Sprintf("not ready: the audit log cannot be written; %d rows of reads are in the journal, writes are refused", rows), http.StatusServiceUnavailable)
	case err != nil:
		http.Error(w, "not ready: the audit log cannot be written", http.StatusServiceUnavailable)
	default:
		_, _ = w.Write([]byte("ok\n"))
	}
}

// journaled is what the journal of reads has; nothing without one.
func (s *Server) journaled() store.JournalStats {
	if s.journal == nil {
		return store.JournalStats{}
	}
	return s.journal.Stats()
}
