package identitytest

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/behalf-dev/behalf/identity"
)

// Issuer is a development issuer behind an HTTP server on loopback.
type Issuer struct {
	*identity.DevIssuer

	server  *httptest.Server
	handler atomic.Pointer[http.Handler]
	fetches atomic.Int64
	away    atomic.Bool
}

// NewIssuer starts an issuer. Its configuration is found by discovery.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{}
	i.server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.server.Close)
	dev, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: i.server.URL})
	if err != nil {
		t.Fatalf("make an issuer: %v", err)
	}
	i.DevIssuer = dev
	i.Serve(dev.Handler())
	return i
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.fetches.Add(1)
	if i.away.Load() {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	(*i.handler.Load()).ServeHTTP(w, r)
}

// Serve replaces what the server answers.
func (i *Issuer) Serve(h http.Handler) { i.handler.Store(&h) }

// ServeKeys makes the server answer every path with a key set.
func (i *Issuer) ServeKeys(jwks []byte) {
	i.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(jwks)
	}))
}

// Leave makes every answer an error from now on.
func (i *Issuer) Leave() { i.away.Store(true) }

// Return ends Leave.
func (i *Issuer) Return() { i.away.Store(false) }

// Fetches counts the requests to the server.
func (i *Issuer) Fetches() int64 { return i.fetches.Load() }

// Config accepts the issuer's tokens for audience, found by discovery.
func (i *Issuer) Config(audience, tenant string) identity.Issuer {
	c := i.Issuer(audience, tenant)
	c.JWKS = nil
	return c
}

// Token mints a token; see identity.DevIssuer.Mint.
func (i *Issuer) Token(t testing.TB, claims map[string]any) identity.Secret {
	t.Helper()
	return Token(t, i.DevIssuer, claims)
}

// Token mints a token of a development issuer.
func Token(t testing.TB, d *identity.DevIssuer, claims map[string]any) identity.Secret {
	t.Helper()
	token, err := d.Mint(claims)
	if err != nil {
		t.Fatalf("mint: %v", err)
	}
	return token
}

// Metadata is what a client sends with the token.
func Metadata(token identity.Secret) map[string][]string {
	return map[string][]string{"authorization": {"Bearer " + token.Reveal()}}
}
