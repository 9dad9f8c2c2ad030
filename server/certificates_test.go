package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	behalfv1 "github.com/behalf-dev/behalf/gen/behalf/v1"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc/codes"
)

const app = "spiffe://" + acmeDomain + "/app"

// badCertificates are the corpus, by the line of SECURITY that each is for. All of
// them are signed by an authority of acme, but where the name says otherwise.
func badCertificates(t *testing.T, acme, globex, stranger *identitytest.Authority) map[string]*tls.Certificate {
	uri := func(id string) *tls.Certificate {
		return acme.Leaf(app, func(c *x509.Certificate) { c.URIs[0] = identitytest.URI(t, id) })
	}
	with := func(change func(*x509.Certificate)) *tls.Certificate { return acme.Leaf(app, change) }
	middle := acme.Below()
	plain := acme.Leaf(app, nil)
	return map[string]*tls.Certificate{
		"3.1 signed by another trust domain's authority":     globex.Leaf(app, nil),
		"3.1 of another trust domain, by ours":               acme.Leaf("spiffe://"+globexDomain+"/app", nil),
		"3.1 signed by a stranger":                           stranger.Leaf(app, nil),
		"3.1 signed by a stranger, with our authority below": stranger.Leaf(app, nil, acme),
		"3.1 signed by a leaf":                               acme.As(plain).Leaf(app, nil, acme.As(plain)),
		"3.1 without the authority in the middle":            middle.Leaf(app, nil),
		"3.1 expired":                                with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }),
		"3.1 not yet valid":                          with(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }),
		"3.1 for servers only":                       with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
		"3.1 with an unknown critical extension":     with(critical),
		"3.2 two URIs":                               with(func(c *x509.Certificate) { c.URIs = append(c.URIs, identitytest.URI(t, app+"2")) }),
		"3.2 the same URI twice":                     with(func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }),
		"3.2 a second URI of another kind":           with(func(c *x509.Certificate) { c.URIs = append(c.URIs, identitytest.URI(t, "https://acme.test/app")) }),
		"3.2 no name at all":                         with(func(c *x509.Certificate) { c.URIs = nil }),
		"3.2 a DNS name only":                        with(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"app.acme.test"} }),
		"3.2 the ID as a DNS name and a common name": with(nameOnly),
		"3.2 a CA":                                   with(func(c *x509.Certificate) { c.IsCA = true }),
		"3.2 may sign certificates":                  with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign; c.IsCA = true }),
		"3.2 may sign certificates, not a CA":        with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }),
		"3.2 may sign CRLs":                          with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }),
		"3.2 without digitalSignature":               with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }),
		"3.2 without any usage":                      with(func(c *x509.Certificate) { c.KeyUsage = 0 }),
		"3.2 root path":                              uri("spiffe://" + acmeDomain),
		"3.2 slash only":                             uri("spiffe://" + acmeDomain + "/"),
		"3.2 trailing slash":                         uri(app + "/"),
		"3.2 empty segment":                          uri("spiffe://" + acmeDomain + "//app"),
		"3.2 dot segment":                            uri("spiffe://" + acmeDomain + "/x/../app"),
		"3.2 percent encoding":                       uri("spiffe://" + acmeDomain + "/%61pp"),
		"3.2 query":                                  uri(app + "?x=y"),
		"3.2 fragment":                               uri(app + "#x"),
		"3.2 user":                                   uri("spiffe://root@" + acmeDomain + "/app"),
		"3.2 port":                                   uri("spiffe://" + acmeDomain + ":8443/app"),
		"3.2 another scheme":                         uri("https://" + acmeDomain + "/app"),
		"3.2 upper-case trust domain":                uri("spiffe://ACME.test/app"),
		"3.2 upper-case scheme and domain":           with(func(c *x509.Certificate) { c.URIs[0].Scheme, c.URIs[0].Host = "SPIFFE", "ACME.TEST" }),
		"3.2 an ID of more than 2048 bytes":          uri(app + strings.Repeat("a", 2048)),
		"3.4 of a trust domain without a tenant":     stranger.Leaf("spiffe://elsewhere.test/app", nil),
	}
}

func critical(c *x509.Certificate) {
	c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
}

func nameOnly(c *x509.Certificate) {
	c.URIs, c.DNSNames, c.Subject.CommonName = nil, []string{"acme.test"}, app
}

// TestNoBadCertificateIsAdmitted shows the corpus to a server that requires
// certificates and to one that takes them as they come: what is presented is
// verified the same way.
func TestNoBadCertificateIsAdmitted(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]setup{"required": {}, "optional": {optional: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, set)
			acme, globex, stranger := identitytest.NewAuthority(t), identitytest.NewAuthority(t), identitytest.NewAuthority(t)
			for td, a := range map[string]*identitytest.Authority{acmeDomain: acme, globexDomain: globex, "elsewhere.test": stranger} {
				b, err := identity.NewBundle(td, []*x509.Certificate{a.Cert})
				succeed(t, err)
				w.source.Trust(b)
			}
			// The server's own SVID is of the authority that nobody trusts any more, but
			// this client does.
			show := func(cert *tls.Certificate) error {
				cfg := w.tlsConfig(w.workload(w.acme, "/app"))
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
				return w.handshake(cfg)
			}
			corpus := badCertificates(t, acme, globex, stranger)
			if len(corpus) < 30 {
				t.Errorf("got %d bad certificates", len(corpus))
			}
			for name, cert := range corpus {
				t.Run(name, func(t *testing.T) {
					if err := show(cert); err == nil || !strings.Contains(err.Error(), "certificate") {
						t.Errorf("got %v, want an alert about the certificate", err)
					}
				})
			}
			middle := acme.Below()
			for name, cert := range map[string]*tls.Certificate{
				"plain":                    acme.Leaf(app, nil),
				"of the other domain":      globex.Leaf("spiffe://"+globexDomain+"/app", nil),
				"with a DNS name":          acme.Leaf(app, func(c *x509.Certificate) { c.DNSNames = []string{"app.acme.test"} }),
				"by an authority between":  middle.Leaf(app, nil, middle),
				"an ID of some length":     acme.Leaf(app+strings.Repeat("/a", 900), nil),
				"without an extended use":  acme.Leaf(app, func(c *x509.Certificate) { c.ExtKeyUsage = nil }),
				"with a use more than due": acme.Leaf(app, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement }),
			} {
				t.Run("good: "+name, func(t *testing.T) {
					if err := show(cert); err != nil {
						t.Errorf("got %v, want it admitted", err)
					}
				})
			}
		})
	}
}

// TestNobodyComesBackOnATicket denies a workload and lets it try with what its
// first connection left it (SECURITY 3.5): the next handshake, and the next call
// on the connection that is open.
func TestNobodyComesBackOnATicket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	cfg := w.tlsConfig(w.workload(w.globex, "/app"))
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	e := w.as(erin)
	if err := w.handshake(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := e.admin().WhoAmI(e.ctx(t), &behalfv1.WhoAmIRequest{}); err != nil {
		t.Fatal(err)
	}

	w.source.Trust(identitytest.BundleOf(t, identitytest.NewCAOf(t, globexDomain)))

	if err := w.handshake(cfg); err == nil {
		t.Error("a workload whose authority is gone came back")
	}
	_, err := e.admin().WhoAmI(e.ctx(t), &behalfv1.WhoAmIRequest{})
	wantError(t, err, codes.Unauthenticated, "CREDENTIAL_INVALID")
}
