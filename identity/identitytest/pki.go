package identitytest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

// TrustDomain is that of NewCA.
const TrustDomain = "test.behalf"

// NewCA makes an authority in memory for TrustDomain.
func NewCA(t testing.TB) *identity.DevCA {
	t.Helper()
	return NewCAOf(t, TrustDomain)
}

// NewCAOf makes an authority in memory for another trust domain.
func NewCAOf(t testing.TB, trustDomain string) *identity.DevCA {
	t.Helper()
	ca, err := identity.NewDevCA(identity.DevCAConfig{TrustDomain: trustDomain})
	if err != nil {
		t.Fatalf("make a CA: %v", err)
	}
	return ca
}

// Issue makes an SVID of ca for path.
func Issue(t testing.TB, ca *identity.DevCA, path string) *identity.SVID {
	t.Helper()
	svid, err := ca.Issue(path)
	if err != nil {
		t.Fatalf("issue %s: %v", path, err)
	}
	return svid
}

// IssueJWT makes a JWT-SVID of ca for path and the audiences.
func IssueJWT(t testing.TB, ca *identity.DevCA, path string, audiences ...string) identity.Secret {
	t.Helper()
	token, err := ca.IssueJWT(path, audiences...)
	if err != nil {
		t.Fatalf("issue a JWT-SVID for %s: %v", path, err)
	}
	return token
}

// BundleOf gives the authorities of ca, and the keys of its JWT-SVIDs.
func BundleOf(t testing.TB, ca *identity.DevCA) *identity.Bundle {
	t.Helper()
	b, err := ca.Bundle(ca.TrustDomain())
	if err != nil {
		t.Fatalf("bundle: %v", err)
	}
	return b
}

// State is the state of a connection on which svid was presented, for tests
// that do without a socket. Without an SVID no certificate was presented.
func State(svid *identity.SVID) *tls.ConnectionState {
	state := &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}
	if svid != nil {
		state.PeerCertificates = []*x509.Certificate{svid.Certificate.Leaf}
	}
	return state
}

// Source is an identity.Source whose content the test sets.
type Source struct {
	mu      sync.Mutex
	svid    *identity.SVID
	bundles map[string]*identity.Bundle
}

// NewSource is a source with an SVID of ca for path, that trusts ca.
func NewSource(t testing.TB, ca *identity.DevCA, path string) *Source {
	t.Helper()
	s := &Source{bundles: map[string]*identity.Bundle{}}
	s.Use(Issue(t, ca, path))
	s.Trust(BundleOf(t, ca))
	return s
}

// Use makes svid our own from now on.
func (s *Source) Use(svid *identity.SVID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.svid = svid
}

// Trust adds or replaces the bundle of a trust domain.
func (s *Source) Trust(b *identity.Bundle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bundles[b.TrustDomain()] = b
}

// Distrust removes the bundle of a trust domain.
func (s *Source) Distrust(trustDomain string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bundles, trustDomain)
}

// SVID gives what Use set.
func (s *Source) SVID() (*identity.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.svid == nil {
		return nil, errors.New("the test source has no SVID")
	}
	return s.svid, nil
}

// Bundle gives what Trust set.
func (s *Source) Bundle(trustDomain string) (*identity.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.bundles[trustDomain]
	if !ok {
		return nil, errors.New("the test source has no bundle of " + trustDomain)
	}
	return b, nil
}

// Run waits for ctx; the test does the rest.
func (s *Source) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Clock is a clock that moves when the test says so.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock starts at the present, cut to seconds.
func NewClock() *Clock { return &Clock{now: time.Now().Truncate(time.Second)} }

// Now is the time; give it where a config asks for one.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
