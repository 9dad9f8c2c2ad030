package identitytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// Authority signs certificates as they are asked for, also those that no SPIFFE
// authority would sign.
type Authority struct {
	Cert *x509.Certificate

	tb  testing.TB
	key *ecdsa.PrivateKey
}

// NewAuthority makes a root.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	return makeAuthority(t, nil)
}

// Below makes an authority that a signs.
func (a *Authority) Below() *Authority {
	a.tb.Helper()
	return makeAuthority(a.tb, a)
}

func makeAuthority(t testing.TB, parent *Authority) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	a := &Authority{tb: t, key: key}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent = &Authority{Cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Cert, &key.PublicKey, parent.key)
	if err != nil {
		t.Fatalf("sign an authority: %v", err)
	}
	if a.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatalf("parse an authority: %v", err)
	}
	return a
}

// Leaf signs a client's certificate for a SPIFFE ID, as good as change leaves it.
// The chain that the client shows has the further authorities too.
func (a *Authority) Leaf(id string, change func(*x509.Certificate), chain ...*Authority) *tls.Certificate {
	a.tb.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		URIs: []*url.URL{URI(a.tb, id)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatalf("make a key: %v", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, &key.PublicKey, a.key)
	if err != nil {
		a.tb.Fatalf("sign a leaf: %v", err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Cert.Raw)
	}
	return cert
}

// As is an authority that was made of a leaf which may not sign.
func (a *Authority) As(leaf *tls.Certificate) *Authority {
	a.tb.Helper()
	cert, err := x509.ParseCertificate(leaf.Certificate[0])
	key, ok := leaf.PrivateKey.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		a.tb.Fatalf("not one of our leaves: %v", err)
	}
	return &Authority{Cert: cert, tb: a.tb, key: key}
}

// URI parses a URI.
func URI(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // never fails, see crypto/rand
	return n
}
