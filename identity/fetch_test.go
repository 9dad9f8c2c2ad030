package identity_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

func sendJSON(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write([]byte(body))
}

func TestKeysAreNotFetchedFromWhereTheyMustNotBe(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("the other host was asked")
		sendJSON(w, "{}")
	}))
	t.Cleanup(elsewhere.Close)
	for name, row := range map[string]http.HandlerFunc{
		"redirect to another host": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"not JSON":                 func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"too long":                 func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, strings.Repeat(" ", 256<<10)+"{}") },
		"too many keys":            func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, manyKeys(t)) },
		"duplicate member":         func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, `{"keys":[],"keys":[]}`) },
		"redirect loop":            func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			s.Serve(row)

			if err := s.verifier.Warm(t.Context()); err == nil {
				t.Error("got none, want an error")
			}
		})
	}
}

func manyKeys(t *testing.T) string {
	s := identitytest.NewSigner(t, "ES256", "k1")
	var keys []any
	for n := range 101 {
		k := s.JWK()
		k["kid"] = fmt.Sprint(n)
		keys = append(keys, k)
	}
	return s.JSON(map[string]any{"keys": keys})
}

func TestMetadataOfAnotherIssuerIsRefused(t *testing.T) {
	for name, row := range map[string]func(url string) map[string]string{
		"another issuer": func(url string) map[string]string {
			return map[string]string{"issuer": "https://evil.example", "jwks_uri": url + "/k"}
		},
		"with a slash": func(url string) map[string]string {
			return map[string]string{"issuer": url + "/", "jwks_uri": url + "/k"}
		},
		"no issuer": func(url string) map[string]string { return map[string]string{"jwks_uri": url + "/k"} },
		"no keys":   func(url string) map[string]string { return map[string]string{"issuer": url} },
		"keys by plain http": func(url string) map[string]string {
			return map[string]string{"issuer": url, "jwks_uri": "http://192.0.2.1/k"}
		},
		"keys in a file": func(url string) map[string]string {
			return map[string]string{"issuer": url, "jwks_uri": "file:///etc/passwd"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := identitytest.NewIssuer(t)
			keys := string(i.Issuer("behalf", "acme").JWKS) // what they lead to is in order
			i.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/k" {
					sendJSON(w, keys)
					return
				}
				body, _ := json.Marshal(row(i.URL()))
				sendJSON(w, string(body))
			}))
			v := newVerifier(t, nil, i.Config("behalf", "acme"))

			if err := v.Warm(t.Context()); err == nil {
				t.Error("got none, want an error")
			}
		})
	}
}

func TestAuthorizationServerMetadataIsTriedSecond(t *testing.T) {
	i := identitytest.NewIssuer(t)
	dev := i.Handler()
	i.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			http.NotFound(w, r)
			return
		case "/.well-known/oauth-authorization-server":
			r.URL.Path = "/.well-known/openid-configuration"
		}
		dev.ServeHTTP(w, r)
	}))

	if err := newVerifier(t, nil, i.Config("behalf", "acme")).Warm(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestIssuerWithAPrivateAuthorityNeedsItsRoot(t *testing.T) {
	dev := devIssuer(t, issuerName)
	server := httptest.NewTLSServer(dev.Handler())
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	i := goodIssuer()
	i.JWKSURL = server.URL + "/jwks.json"
	for name, row := range map[string]struct {
		roots *x509.CertPool
		want  bool
	}{"with it": {roots, true}, "without it": {x509.NewCertPool(), false}} {
		v, err := identity.NewVerifier(identity.VerifierConfig{Issuers: []identity.Issuer{i}, Roots: row.roots})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Warm(t.Context()); (err == nil) != row.want {
			t.Errorf("%s: got %v, want fetched: %v", name, err, row.want)
		}
	}
}
