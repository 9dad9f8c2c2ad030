package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
)

func TestPeersDescribeAWorkload(t *testing.T) {
	ca := identitytest.NewCA(t)
	svid := identitytest.Issue(t, ca, "/ns/a/sa/b")
	peers := newPeers(t, identity.PeersConfig{Source: ca, Grants: []identity.WorkloadGrant{
		{ID: "spiffe://test.behalf/ns/a", Scopes: []string{"wrong"}},
		{ID: "spiffe://test.behalf/ns/*/sa/*", Scopes: []string{"crm.read"}, Issuers: []string{issuerName}},
		{ID: anyTestWorkload, Scopes: []string{"later"}},
	}})

	got, err := peers.Workload(*identitytest.State(svid))
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Workload{
		ID: "spiffe://test.behalf/ns/a/sa/b", TrustDomain: "test.behalf", Tenant: "acme", Thumbprint: svid.Thumbprint,
		NotAfter: svid.NotAfter, Scopes: identity.NewScopes("crm.read"), Issuers: []string{issuerName},
	}
	if diff := cmp.Diff(got, want, cmp.Comparer(scopesEqual), cmpopts.IgnoreUnexported(identity.Workload{})); diff != "" {
		t.Errorf("got, want: %s", diff)
	}
}

func TestWorkloadWithoutAGrantIsRefused(t *testing.T) {
	ca := identitytest.NewCA(t)
	peers := newPeers(t, identity.PeersConfig{Source: ca, Grants: []identity.WorkloadGrant{{ID: "spiffe://test.behalf/a"}}})

	_, err := peers.Workload(*identitytest.State(identitytest.Issue(t, ca, "/b")))

	if f := fault.From(err); f.Code != codes.PermissionDenied || f.Reason != fault.PolicyDenied {
		t.Errorf("got %v, want POLICY_DENIED", err)
	}
}

func TestGrantWithoutScopesMeansNothing(t *testing.T) {
	ca := identitytest.NewCA(t)
	peers := newPeers(t, identity.PeersConfig{Source: ca, Grants: []identity.WorkloadGrant{{ID: anyTestWorkload}}})

	got, err := peers.Workload(*identitytest.State(identitytest.Issue(t, ca, "/b")))

	if err != nil || got.Scopes.Len() != 0 || len(got.Issuers) != 0 {
		t.Errorf("got %+v, %v, want no scopes and no issuers", got, err)
	}
}

func TestPeersTrustNoStateOfAnotherListener(t *testing.T) {
	ca, imposter := identitytest.NewCA(t), identitytest.NewCA(t)
	peers := newPeers(t, identity.PeersConfig{Source: ca})

	_, err := peers.Workload(*identitytest.State(identitytest.Issue(t, imposter, "/b")))
	_, none := peers.Workload(tls.ConnectionState{})

	if !errors.Is(err, fault.CredentialInvalid) || !errors.Is(none, fault.CredentialRequired) {
		t.Errorf("got %v and %v, want CREDENTIAL_INVALID and CREDENTIAL_REQUIRED", err, none)
	}
}

func TestRemovedAuthorityEndsOpenConnectionsAtTheNextCall(t *testing.T) {
	ca := identitytest.NewCA(t)
	src := identitytest.NewSource(t, ca, "/server")
	peers := newPeers(t, identity.PeersConfig{Source: src})
	state := identitytest.State(identitytest.Issue(t, ca, "/client"))
	if _, err := peers.Workload(*state); err != nil {
		t.Fatal(err)
	}

	src.Trust(identitytest.BundleOf(t, identitytest.NewCA(t)))
	_, replaced := peers.Workload(*state)
	src.Trust(identitytest.BundleOf(t, ca))
	_, restored := peers.Workload(*state)
	src.Distrust(identitytest.TrustDomain)
	_, removed := peers.Workload(*state)

	if !errors.Is(replaced, fault.CredentialInvalid) || restored != nil || !errors.Is(removed, fault.CredentialInvalid) {
		t.Errorf("got %v, %v, %v, want refused, accepted, refused", replaced, restored, removed)
	}
}

func TestConnectionMayOutliveItsLeafByTheGraceOnly(t *testing.T) {
	ca := identitytest.NewCA(t)
	clock := identitytest.NewClock()
	peers := newPeers(t, identity.PeersConfig{Source: ca, Now: clock.Now})
	svid := identitytest.Issue(t, ca, "/client")
	state := identitytest.State(svid)
	clock.Advance(svid.NotAfter.Sub(clock.Now()) + 59*time.Second)

	_, within := peers.Workload(*state)
	handshake := peers.ServerTLS(identity.CertificateRequired).VerifyConnection(*state)
	clock.Advance(2 * time.Second)
	_, beyond := peers.Workload(*state)

	if within != nil {
		t.Errorf("within the grace: %v", within)
	}
	if handshake == nil {
		t.Error("a new connection within the grace was accepted")
	}
	if !errors.Is(beyond, fault.CredentialExpired) {
		t.Errorf("beyond the grace: got %v, want CREDENTIAL_EXPIRED", beyond)
	}
}

func TestStrayCertificateBesideTheLeafChangesNothing(t *testing.T) {
	ca := identitytest.NewCA(t)
	peers := newPeers(t, identity.PeersConfig{Source: ca})
	leaf := identitytest.Issue(t, ca, "/client").Certificate.Leaf
	stray := identitytest.Issue(t, identitytest.NewCA(t), "/x").Certificate.Leaf

	_, err := peers.Workload(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, stray}})
	if err != nil {
		t.Errorf("got %v, want none", err)
	}
}

// authority makes a CA certificate that parent signs, or itself without one.
func authority(t *testing.T, until time.Time, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: rand.Text()}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	return certify(t, c, parent, key.Public(), parentKey), key
}

func certify(t *testing.T, c, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPeersVerifyThroughAnIntermediateUntilItExpires(t *testing.T) {
	clock := identitytest.NewClock()
	root, rootKey := authority(t, clock.Now().Add(time.Hour), nil, nil)
	middle, middleKey := authority(t, clock.Now().Add(time.Minute), root, rootKey)
	template := template()
	template.SerialNumber = big.NewInt(1)
	leaf := certify(t, template, middle, middleKey.Public(), middleKey) // any key will do
	bundle, err := identity.NewBundle(identitytest.TrustDomain, []*x509.Certificate{root})
	if err != nil {
		t.Fatal(err)
	}
	src := identitytest.NewSource(t, identitytest.NewCA(t), "/server")
	src.Trust(bundle)
	peers := newPeers(t, identity.PeersConfig{Source: src, Now: clock.Now})
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf, middle}}

	_, without := peers.Workload(tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}})
	_, with := peers.Workload(state)
	clock.Advance(2 * time.Minute)
	_, late := peers.Workload(state)

	if !errors.Is(without, fault.CredentialInvalid) || with != nil || !errors.Is(late, fault.CredentialInvalid) {
		t.Errorf("got %v, %v, %v, want refused, accepted, refused", without, with, late)
	}
}

func TestPeersConfigurationIsChecked(t *testing.T) {
	ca := identitytest.NewCA(t)
	for name, cfg := range map[string]identity.PeersConfig{
		"no source":               {},
		"wildcard trust domain":   {Source: ca, Tenants: map[string]string{"*": "acme"}},
		"upper-case trust domain": {Source: ca, Tenants: map[string]string{"Corp.example": "acme"}},
		"an ID as trust domain":   {Source: ca, Tenants: map[string]string{"spiffe://corp.example": "acme"}},
		"bad tenant":              {Source: ca, Tenants: map[string]string{"corp.example": "ACME"}},
		"grant of no tenant":      {Source: ca, Grants: []identity.WorkloadGrant{{ID: "spiffe://corp.example/a"}}},
		"bare trust domain": {
			Source: ca, Tenants: map[string]string{"corp.example": "acme"}, Grants: []identity.WorkloadGrant{{ID: "spiffe://corp.example"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := identity.NewPeers(cfg); err == nil {
				t.Error("got none, want an error")
			}
		})
	}
}
