package identity_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

const anyTestWorkload = "spiffe://test.behalf/**"

func newPeers(t testing.TB, cfg identity.PeersConfig) *identity.Peers {
	t.Helper()
	if cfg.Tenants == nil {
		cfg.Tenants = map[string]string{identitytest.TrustDomain: "acme"}
	}
	if cfg.Grants == nil {
		cfg.Grants = []identity.WorkloadGrant{{ID: anyTestWorkload, Scopes: []string{"crm.read"}, Issuers: []string{issuerName}}}
	}
	p, err := identity.NewPeers(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func clientTLS(t testing.TB, src identity.Source) *tls.Config {
	t.Helper()
	cfg, err := identity.ClientTLS(identity.ClientConfig{Source: src, Servers: []string{anyTestWorkload}})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// echo serves lines over TLS on loopback until the test ends.
func echo(t testing.TB, cfg *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// open connects and waits for an echo: in TLS 1.3 a client learns only then
// that the server refused its certificate.
func open(t testing.TB, address string, cfg *tls.Config) (*tls.Conn, error) {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: cfg}
	c, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = c.Close() })
	conn, _ := c.(*tls.Conn)
	return conn, ping(conn)
}

func ping(c *tls.Conn) error {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("hello\n")); err != nil {
		return err
	}
	_, err := bufio.NewReader(c).ReadString('\n')
	return err
}

func TestServerAcceptsOnlyLeavesOfItsTrustDomains(t *testing.T) {
	ca, foreign := identitytest.NewCA(t), identitytest.NewCAOf(t, "foreign.example")
	imposter := identitytest.NewCA(t) // the same trust domain, other keys
	federated := identitytest.NewCAOf(t, "federated.example")
	src := identitytest.NewSource(t, ca, "/server")
	src.Trust(identitytest.BundleOf(t, foreign)) // trusted, but of no tenant
	src.Trust(identitytest.BundleOf(t, federated))
	peers := newPeers(t, identity.PeersConfig{
		Source: src, Tenants: map[string]string{identitytest.TrustDomain: "acme", "federated.example": "partner"},
	})
	address := echo(t, peers.ServerTLS(identity.CertificateRequired))
	for name, row := range map[string]struct {
		svid *identity.SVID
		want bool
	}{
		"its own domain":                     {identitytest.Issue(t, ca, "/client"), true},
		"a federated domain":                 {identitytest.Issue(t, federated, "/client"), true},
		"a domain without a tenant":          {identitytest.Issue(t, foreign, "/client"), false},
		"its own domain by another CA":       {identitytest.Issue(t, imposter, "/client"), false},
		"its own domain by a federated CA":   {sign(t, federated, edit(func(c *x509.Certificate) { c.URIs[0].Host = identitytest.TrustDomain })), false},
		"expired":                            {sign(t, ca, edit(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })), false},
		"not valid yet":                      {sign(t, ca, edit(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })), false},
		"for servers only":                   {sign(t, ca, edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), false},
		"for code signing":                   {sign(t, ca, edit(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })), false},
		"without any extended usage at all ": {sign(t, ca, edit(func(c *x509.Certificate) { c.ExtKeyUsage = nil })), true},
	} {
		t.Run(name, func(t *testing.T) {
			client := clientTLS(t, identitytest.NewSource(t, ca, "/client"))
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &row.svid.Certificate, nil }

			_, err := open(t, address, client)

			if (err == nil) != row.want {
				t.Errorf("got %v, want accepted: %v", err, row.want)
			}
		})
	}
}

func template() *x509.Certificate {
	return &x509.Certificate{
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs:     []*url.URL{{Scheme: "spiffe", Host: identitytest.TrustDomain, Path: "/client"}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func edit(change func(*x509.Certificate)) *x509.Certificate {
	c := template()
	change(c)
	return c
}

func sign(t *testing.T, ca *identity.DevCA, c *x509.Certificate) *identity.SVID {
	t.Helper()
	s, err := ca.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServerSpeaksTLS13Only(t *testing.T) {
	ca := identitytest.NewCA(t)
	address := echo(t, newPeers(t, identity.PeersConfig{Source: identitytest.NewSource(t, ca, "/server")}).ServerTLS(identity.CertificateRequired))
	client := clientTLS(t, identitytest.NewSource(t, ca, "/client"))
	client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	if _, err := open(t, address, client); err == nil {
		t.Error("got a connection by TLS 1.2, want none")
	}
}

func TestClientCertificateModes(t *testing.T) {
	ca := identitytest.NewCA(t)
	peers := newPeers(t, identity.PeersConfig{Source: identitytest.NewSource(t, ca, "/server")})
	bad := identitytest.NewSource(t, identitytest.NewCA(t), "/client")
	bad.Trust(identitytest.BundleOf(t, ca))
	for name, row := range map[string]struct {
		mode   identity.ClientCertificate
		source *identitytest.Source // nil: no certificate
		want   bool
	}{
		"required and absent":    {identity.CertificateRequired, nil, false},
		"optional and absent":    {identity.CertificateOptional, nil, true},
		"optional and not valid": {identity.CertificateOptional, bad, false},
		"optional and valid":     {identity.CertificateOptional, identitytest.NewSource(t, ca, "/client"), true},
	} {
		t.Run(name, func(t *testing.T) {
			address := echo(t, peers.ServerTLS(row.mode))
			client := clientTLS(t, identitytest.NewSource(t, ca, "/client"))
			if row.source == nil {
				client.GetClientCertificate = nil
			} else {
				client = clientTLS(t, row.source)
			}

			_, err := open(t, address, client)

			if (err == nil) != row.want {
				t.Errorf("got %v, want accepted: %v", err, row.want)
			}
		})
	}
}

func TestServerDoesNotServeWithAnExpiredSVID(t *testing.T) {
	ca := identitytest.NewCA(t)
	clock := identitytest.NewClock()
	src := identitytest.NewSource(t, ca, "/server")
	peers := newPeers(t, identity.PeersConfig{Source: src, Now: clock.Now})
	own, err := peers.Own()
	if err != nil || peers.Ready() != nil || own.DueForRenewal(clock.Now()) {
		t.Fatalf("got %v and %v before the expiry", err, peers.Ready())
	}
	get := peers.ServerTLS(identity.CertificateRequired).GetCertificate

	clock.Advance(17 * time.Hour)
	due := own.DueForRenewal(clock.Now())
	clock.Advance(7 * time.Hour)
	_, getErr := get(nil)

	if !due {
		t.Error("got no alarm with less than a third of the life left")
	}
	if getErr == nil || peers.Ready() == nil {
		t.Errorf("got %v and %v, want both to fail", getErr, peers.Ready())
	}
}

func TestServerWithoutAnSVIDIsNotReady(t *testing.T) {
	src := identitytest.NewSource(t, identitytest.NewCA(t), "/server")
	src.Use(nil)

	if newPeers(t, identity.PeersConfig{Source: src}).Ready() == nil {
		t.Error("got ready, want an error")
	}
}

func TestRotationKeepsOpenConnectionsAndServesTheNewLeaf(t *testing.T) {
	ca := identitytest.NewCA(t)
	src := identitytest.NewSource(t, ca, "/server")
	address := echo(t, newPeers(t, identity.PeersConfig{Source: src}).ServerTLS(identity.CertificateRequired))
	client := clientTLS(t, identitytest.NewSource(t, ca, "/client"))
	old, err := open(t, address, client)
	if err != nil {
		t.Fatal(err)
	}

	next := identitytest.Issue(t, ca, "/server")
	src.Use(next)
	fresh, err := open(t, address, client)
	if err != nil {
		t.Fatal(err)
	}

	if err := ping(old); err != nil {
		t.Errorf("the open connection: %v", err)
	}
	if got := identity.Thumbprint(fresh.ConnectionState().PeerCertificates[0]); got != next.Thumbprint {
		t.Errorf("got leaf %s, want %s", got, next.Thumbprint)
	}
}

func TestClientAcceptsOnlyTheServersItExpects(t *testing.T) {
	ca := identitytest.NewCA(t)
	address := echo(t, newPeers(t, identity.PeersConfig{Source: identitytest.NewSource(t, ca, "/server")}).ServerTLS(identity.CertificateRequired))
	for name, row := range map[string]struct {
		source identity.Source
		server string
		want   bool
	}{
		"the right one":         {identitytest.NewSource(t, ca, "/client"), "spiffe://test.behalf/server", true},
		"another path":          {identitytest.NewSource(t, ca, "/client"), "spiffe://test.behalf/other", false},
		"another trust domain":  {identitytest.NewSource(t, ca, "/client"), "spiffe://other.behalf/**", false},
		"an authority it lacks": {identitytest.NewSource(t, identitytest.NewCA(t), "/client"), "spiffe://test.behalf/server", false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := identity.ClientTLS(identity.ClientConfig{Source: row.source, Servers: []string{row.server}})
			if err != nil {
				t.Fatal(err)
			}

			_, err = open(t, address, cfg)

			if (err == nil) != row.want {
				t.Errorf("got %v, want accepted: %v", err, row.want)
			}
		})
	}
}

func TestClientTLSNeedsASourceAndServers(t *testing.T) {
	src := identitytest.NewSource(t, identitytest.NewCA(t), "/client")
	for _, cfg := range []identity.ClientConfig{{}, {Source: src}, {Source: src, Servers: []string{"spiffe://x"}}, {Servers: []string{anyTestWorkload}}} {
		if _, err := identity.ClientTLS(cfg); err == nil {
			t.Errorf("%+v: got none, want an error", cfg)
		}
	}
}

func TestDevSVIDSatisfiesClientsThatKnowNoSPIFFE(t *testing.T) {
	ca := identitytest.NewCA(t)
	address := echo(t, newPeers(t, identity.PeersConfig{Source: ca}).ServerTLS(identity.CertificateOptional))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.AuthorityPEM())
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if _, err := open(t, address, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
