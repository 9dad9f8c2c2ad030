package server_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"golang.org/x/net/http2"
)

// tlsConfig is a client's that shows svid, or nothing when it is nil.
func (w *world) tlsConfig(svid *identity.SVID) *tls.Config {
	w.t.Helper()
	source := identitytest.NewSource(w.t, w.acme, "/nobody")
	source.Use(svid)
	cfg, err := identity.ClientTLS(identity.ClientConfig{Source: source, Servers: []string{"spiffe://" + acmeDomain + "/behalf"}})
	if err != nil {
		w.t.Fatal(err)
	}
	if svid == nil {
		cfg.GetClientCertificate = nil
	}
	cfg.NextProtos = []string{"h2"}
	return cfg
}

// handshake connects and reads: in TLS 1.3 the server's answer to the client's
// certificate comes with the first read.
func (w *world) handshake(cfg *tls.Config) error {
	w.t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", w.addr, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = http2.NewFramer(conn, conn).ReadFrame() // the server speaks first
	return err
}

func TestHandshakeAdmitsOnlyVerifiedWorkloadsOverTLS13(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	old := w.tlsConfig(w.workload(w.acme, "/app"))
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	impostor := identitytest.NewCAOf(t, acmeDomain) // the right name, another authority
	unmapped := identitytest.NewCAOf(t, "elsewhere.test")

	for _, c := range []struct {
		name string
		cfg  *tls.Config
		want string // in the alert; empty: admitted
	}{
		{"a granted workload", w.tlsConfig(w.workload(w.acme, "/app")), ""},
		{"TLS 1.2", old, "protocol version"},
		{"no certificate", w.tlsConfig(nil), "certificate required"},
		{"an authority that only has the trust domain's name", w.tlsConfig(w.workload(impostor, "/app")), "bad certificate"},
		{"a trust domain without a tenant", w.tlsConfig(w.workload(unmapped, "/app")), "bad certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := w.handshake(c.cfg)

			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an alert with %q", err, c.want)
			}
		})
	}
}

func TestAnOptionalCertificateIsVerifiedWhenPresented(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{optional: true})

	if err := w.handshake(w.tlsConfig(nil)); err != nil {
		t.Errorf("got %v without a certificate, want it admitted", err)
	}
	if err := w.handshake(w.tlsConfig(w.workload(identitytest.NewCAOf(t, acmeDomain), "/app"))); err == nil {
		t.Error("a forged certificate was admitted")
	}
}

func TestConnectionsAreNeverResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	cfg := w.tlsConfig(w.workload(w.acme, "/app"))
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)

	for range 2 {
		conn, err := tls.Dial("tcp", w.addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil { // tickets would have come by now
			t.Fatal(err)
		}
		if conn.ConnectionState().DidResume {
			t.Error("the session was resumed, so the peer was not verified")
		}
		conn.Close()
	}
}
