package identity_test

import (
	"crypto/x509"
	"net/url"
	"testing"

	"github.com/behalf-dev/behalf/identity/identitytest"
)

func TestLeafRules(t *testing.T) {
	ca := identitytest.NewCA(t)
	uri := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for name, change := range map[string]func(*x509.Certificate){
		"no URI":                      func(c *x509.Certificate) { c.URIs = nil },
		"only a DNS name":             func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"client.test.behalf"} },
		"two URIs":                    func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("spiffe://test.behalf/b")) },
		"another scheme":              func(c *x509.Certificate) { c.URIs[0] = uri("https://test.behalf/a") },
		"root path":                   func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://test.behalf") },
		"slash only":                  func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://test.behalf/") },
		"trailing slash":              func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://test.behalf/a/") },
		"dot segment":                 func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://test.behalf/a/../b") },
		"empty segment":               func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://test.behalf/a//b") },
		"percent encoding":            func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://test.behalf/%61") },
		"upper-case trust domain":     func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://TEST.behalf/a") },
		"port":                        func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://test.behalf:1/a") },
		"user":                        func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://u@test.behalf/a") },
		"query":                       func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://test.behalf/a?x=y") },
		"too long":                    func(c *x509.Certificate) { c.URIs[0].Path = "/" + string(make2049()) },
		"a CA":                        func(c *x509.Certificate) { c.IsCA = true },
		"signs certificates":          func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign },
		"signs CRLs":                  func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign },
		"without a digital signature": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement },
		"without any usage":           func(c *x509.Certificate) { c.KeyUsage = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ca.Sign(edit(change)); err == nil {
				t.Error("got none, want an error")
			}
		})
	}
}

func make2049() []byte {
	b := make([]byte, 2049)
	for i := range b {
		b[i] = 'a'
	}
	return b
}
