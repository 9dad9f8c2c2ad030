package server_test

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// leafUntil is a certificate of acme's app.
func (w *world) leafUntil(begin, end time.Time) *identity.SVID {
	w.t.Helper()
	leaf, err := w.acme.Sign(&x509.Certificate{
		NotBefore: begin, NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, URIs: []*url.URL{{Scheme: "spiffe", Host: acmeDomain, Path: "/app"}},
	})
	succeed(w.t, err)
	return leaf
}

// TestAConnectionEndsSoonAfterItsCertificate, by whatever came over it, and no other
// connection does (SECURITY 3.7).
func TestAConnectionEndsSoonAfterItsCertificate(t *testing.T) {
	t.Parallel()
	const grace = time.Second
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Limits.ConnectionsPerPeer, c.Server.Limits.ConnectionGrace = 2, grace }})
	end := time.Now().Add(3 * time.Second).Truncate(time.Second)
	short, long := w.leafUntil(end.Add(-time.Hour), end), w.workload(w.acme, "/app")
	k, call := w.wire(t, short), right(callTool, nil)
	kept := w.wire(t, long)

	got := k.outcome(1)

	if ended := time.Now(); !strings.HasPrefix(got, "closed") || ended.Before(end.Add(grace)) || ended.After(end.Add(grace+soon)) {
		t.Errorf("got %q at %v, want it closed at %v", got, ended, end.Add(grace))
	}
	kept.request(call, peekCall())
	if got := kept.outcome(1); got != "NOT_FOUND TOOL_UNKNOWN" {
		t.Errorf("the other connection: got %q, want it open", got)
	}
	// Its place is another one's.
	again := w.wire(t, long)
	again.request(call, peekCall())
	if got := again.outcome(1); got != "NOT_FOUND TOOL_UNKNOWN" {
		t.Errorf("a new connection: got %q, want it let in", got)
	}
}

// TestAConnectionIsNoOlderThanOurCertificateCanBe starts with a connection_age that
// is longer than the life of the server's own certificate.
func TestAConnectionIsNoOlderThanOurCertificateCanBe(t *testing.T) {
	t.Parallel()
	const note = "connection_age is longer"
	w := newWorld(t, setup{
		edit: func(c *config.Config) { c.Server.Limits.ConnectionAge = time.Hour },
		wrap: func(w *world) identity.Source {
			now := time.Now()
			own, err := w.acme.Sign(&x509.Certificate{
				NotBefore: now.Add(-time.Second), NotAfter: now.Add(10 * time.Second), KeyUsage: x509.KeyUsageDigitalSignature,
				ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, URIs: []*url.URL{{Scheme: "spiffe", Host: acmeDomain, Path: "/behalf"}},
			})
			succeed(w.t, err)
			w.source.Use(own)
			return w.source
		},
	})

	if got := w.wire(t, w.workload(w.acme, "/app")).outcome(1); got != "closed NO_ERROR" {
		t.Errorf("got %q, want the connection closed while the certificate lasts", got)
	}
	if !strings.Contains(w.log.String(), note) {
		t.Error("nothing was said of it at the start")
	}
	if plain := newWorld(t, setup{}); strings.Contains(plain.log.String(), note) {
		t.Error("it is said of the default, too")
	}
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Limits.ConnectionIdle = time.Second }})

	if got := w.wire(t, w.workload(w.acme, "/app")).outcome(1); got != "closed NO_ERROR" {
		t.Errorf("got %q, want it told to go and closed", got)
	}
}

// TestAnOldConnectionIsClosedAfterItsGrace has a stream open, which is what the
// grace is for.
func TestAnOldConnectionIsClosedAfterItsGrace(t *testing.T) {
	t.Parallel()
	const age, grace = 2 * time.Second, time.Second
	w := newWorld(t, setup{edit: func(c *config.Config) { c.Server.Limits.ConnectionAge, c.Server.Limits.ConnectionGrace = age, grace }})
	k, begun := w.wire(t, w.workload(w.acme, "/app")), time.Now()
	b, err := proto.Marshal(&healthpb.HealthCheckRequest{})
	succeed(t, err)
	k.request(right(healthpb.Health_Watch_FullMethodName, bearer(w.token(w.idp, alice, nil))), framed(0, len(b), b))

	got := k.outcome(1)

	if took := time.Since(begun); !strings.HasPrefix(got, "closed") || took < age*9/10+grace {
		t.Errorf("got %q after %v, want it open for its age and its grace, and then closed", got, took)
	}
}
