package identitytest

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Endpoint is a bundle endpoint on loopback.
type Endpoint struct {
	*httptest.Server // Certificate and URL are what clients need

	answer atomic.Pointer[http.HandlerFunc]
	svid   atomic.Pointer[identity.SVID] // shown instead of the server's own certificate
}

// NewEndpoint starts an endpoint that serves the document. With an SVID it shows
// that one.
func NewEndpoint(t testing.TB, document []byte, svid *identity.SVID) *Endpoint {
	t.Helper()
	e := &Endpoint{}
	e.Publish(document)
	e.Show(svid)
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*e.answer.Load())(w, r) }))
	e.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: e.config}
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

func (e *Endpoint) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	svid := e.svid.Load()
	if svid == nil {
		return nil, nil // the server's own
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{svid.Certificate}}, nil
}

// Publish serves another document from now on.
func (e *Endpoint) Publish(document []byte) {
	e.Answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(document)
	})
}

// Answer replaces what the server does, on connections of which none stays open.
func (e *Endpoint) Answer(h http.HandlerFunc) {
	closing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		h(w, r)
	})
	e.answer.Store(&closing)
}

// Show makes the server show another SVID, nil for its own certificate.
func (e *Endpoint) Show(svid *identity.SVID) { e.svid.Store(svid) }

// BundleDocument is the SPIFFE bundle of the authorities, which are of one trust
// domain, with a refresh hint if that is not 0.
func BundleDocument(t testing.TB, hint time.Duration, authorities ...*identity.DevCA) []byte {
	t.Helper()
	out := spiffebundle.New(spiffeid.RequireTrustDomainFromString(authorities[0].TrustDomain()))
	for _, ca := range authorities {
		keys, err := jwtbundle.Parse(out.TrustDomain(), ca.JWTKeys())
		if err != nil {
			t.Fatalf("keys of %s: %v", ca.TrustDomain(), err)
		}
		for kid, key := range keys.JWTAuthorities() {
			if err := out.AddJWTAuthority(kid, key); err != nil {
				t.Fatalf("add a key: %v", err)
			}
		}
		for _, cert := range BundleOf(t, ca).Authorities() {
			out.AddX509Authority(cert)
		}
	}
	if hint != 0 {
		out.SetRefreshHint(hint)
	}
	document, err := out.Marshal()
	if err != nil {
		t.Fatalf("marshal a bundle: %v", err)
	}
	return document
}
