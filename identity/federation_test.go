package identity_test

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

const partnerDomain = "partner.example"

// federation is a server that trusts the partner's domain by its endpoint.
type federation struct {
	*identity.Federation
	t        *testing.T
	clock    *identitytest.Clock
	source   *identitytest.Source
	partner  *identity.DevCA
	endpoint *identitytest.Endpoint
	peers    *identity.Peers
	log      bytes.Buffer
}

func (f *federation) domain() identity.FederatedDomain {
	return identity.FederatedDomain{TrustDomain: partnerDomain, URL: f.endpoint.URL, Profile: identity.ProfileWeb}
}

// newFederation serves the partner's bundle; change makes the domain another one.
func newFederation(t *testing.T, change func(*federation, *identity.FederatedDomain)) *federation {
	t.Helper()
	f := &federation{t: t, clock: identitytest.NewClock(), partner: identitytest.NewCAOf(t, partnerDomain)}
	f.source = identitytest.NewSource(t, identitytest.NewCA(t), "/server")
	f.endpoint = identitytest.NewEndpoint(t, identitytest.BundleDocument(t, 0, f.partner), nil)
	d := f.domain()
	if change != nil {
		change(f, &d)
	}
	roots := x509.NewCertPool()
	roots.AddCert(f.endpoint.Certificate())
	var err error
	f.Federation, err = identity.NewFederation(identity.FederationConfig{
		Source: f.source, Domains: []identity.FederatedDomain{d}, Roots: roots, Now: f.clock.Now, Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.peers = newPeers(t, identity.PeersConfig{
		Source: f, Audiences: []string{"behalf"}, Tenants: map[string]string{identitytest.TrustDomain: "acme", partnerDomain: "partner"},
		Grants: []identity.WorkloadGrant{{ID: "spiffe://partner.example/**"}, {ID: anyTestWorkload}}, Now: f.clock.Now,
	})
	return f
}

// wantTrust presents a certificate and a JWT-SVID of the authority.
func (f *federation) wantTrust(why string, ca *identity.DevCA, want bool) {
	f.t.Helper()
	w, err := f.peers.Workload(*identitytest.State(identitytest.Issue(f.t, ca, "/app")))
	if (err == nil) != want || want && w.Tenant != "partner" {
		f.t.Errorf("%s: got %+v, %v by a certificate, want trust: %v", why, w, err, want)
	}
	if _, err := f.peers.Bearer(identitytest.IssueJWT(f.t, ca, "/app", "behalf"), ""); (err == nil) != want {
		f.t.Errorf("%s: got %v by a JWT-SVID, want trust: %v", why, err, want)
	}
}

func TestAFederatedDomainIsTrustedByWhatItsEndpointServes(t *testing.T) {
	f := newFederation(t, nil)
	next := identitytest.NewCAOf(t, partnerDomain)

	f.wantTrust("before the first bundle", f.partner, false)
	f.Refresh(t.Context())
	f.wantTrust("with a bundle", f.partner, true)
	f.wantTrust("a stranger of the same name", next, false)
	old, err := f.peers.Workload(*identitytest.State(identitytest.Issue(t, f.partner, "/app")))
	if err != nil {
		t.Fatal(err)
	}

	f.endpoint.Publish(identitytest.BundleDocument(t, 0, f.partner, next))
	f.Refresh(t.Context())
	f.wantTrust("the next authority", next, true)
	if err := f.peers.Trusts(old); err != nil {
		t.Errorf("got %v while both authorities are there", err)
	}

	f.endpoint.Publish(identitytest.BundleDocument(t, 0, next))
	f.Refresh(t.Context())
	f.wantTrust("the authority that was removed", f.partner, false)
	if f.peers.Trusts(old) == nil {
		t.Error("what the removed authority vouched for is trusted")
	}
	if _, err := f.Bundle(identitytest.TrustDomain); err != nil {
		t.Errorf("our own domain: %v", err)
	}
}

func TestAFederatedDomainThatServesNoKeysIsNotTrustedAnyMore(t *testing.T) {
	f := newFederation(t, nil)
	f.Refresh(t.Context())

	f.endpoint.Publish([]byte(`{"keys":[]}`))
	f.Refresh(t.Context())

	f.wantTrust("withdrawn", f.partner, false)
	if !strings.Contains(f.log.String(), "withdrawn") {
		t.Errorf("got log %q, want an alarm", &f.log)
	}
	f.endpoint.Publish(identitytest.BundleDocument(t, 0, f.partner))
	f.Refresh(t.Context())
	f.wantTrust("published again", f.partner, true)
}

func TestAnEndpointThatFailsKeepsTheLastBundleUpToABound(t *testing.T) {
	f := newFederation(t, func(_ *federation, d *identity.FederatedDomain) { d.MaxStale = time.Minute })
	f.Refresh(t.Context())
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") }))
	t.Cleanup(elsewhere.Close)
	good := identitytest.BundleDocument(t, 0, f.partner)
	send := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, string(body)) }
	}
	for name, answer := range map[string]http.HandlerFunc{
		"away":                 func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", http.StatusServiceUnavailable) },
		"gone":                 func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"not JSON":             send([]byte("keys")),
		"half":                 send(good[:len(good)/2]),
		"no set of keys":       send([]byte(`{}`)),
		"keys twice":           send([]byte(`{"keys":[],"keys":[]}`)),
		"keys that say no use": send(f.partner.JWTKeys()), "keys of no known use": send([]byte(`{"keys":[{"kty":"EC","use":"sig"}]}`)),
		"a kid that is there twice": send(twice(t, f.partner)),
		"too long":                  send(append(good, bytes.Repeat([]byte(" "), 256<<10)...)),
		"of another type":           func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) },
		"redirected":                func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"hanging up":                func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		f.endpoint.Answer(answer)
		f.log.Reset()

		f.Refresh(t.Context())

		f.wantTrust(name, f.partner, true)
		if !strings.Contains(f.log.String(), "not refreshed") {
			t.Errorf("%s: got log %q, want why it was not refreshed", name, &f.log)
		}
	}

	f.clock.Advance(time.Minute + time.Second)
	f.wantTrust("beyond max_stale", f.partner, false)
	f.endpoint.Publish(good)
	f.Refresh(t.Context())
	f.wantTrust("when the endpoint is back", f.partner, true)
}

// twice has JWT keys only, all under one kid.
func twice(t *testing.T, ca *identity.DevCA) []byte {
	t.Helper()
	jwt := strings.ReplaceAll(strings.TrimSpace(string(ca.JWTKeys())), `"kid"`, `"use":"jwt-svid","kid"`)
	key := strings.TrimSuffix(strings.TrimPrefix(jwt, `{"keys":[`), `]}`)
	if strings.Count(key, `"kid"`) != 1 || strings.Count(key, `"use"`) != 1 {
		t.Fatalf("cannot double %s", jwt)
	}
	return []byte(`{"keys":[` + key + "," + key + `]}`)
}

func TestASPIFFEEndpointIsVerifiedByItsSVID(t *testing.T) {
	bootstrap := filepath.Join(t.TempDir(), "partner.pem")
	f := newFederation(t, func(f *federation, d *identity.FederatedDomain) {
		if err := os.WriteFile(bootstrap, f.partner.AuthorityPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		d.Profile, d.EndpointID, d.Bundle = identity.ProfileSPIFFE, "spiffe://partner.example/bundles", bootstrap
	})
	next, stranger := identitytest.NewCAOf(t, partnerDomain), identitytest.NewCAOf(t, partnerDomain)
	own := identitytest.NewCA(t)
	for name, svid := range map[string]*identity.SVID{
		"by the web's authorities": nil,
		"as another workload":      identitytest.Issue(t, f.partner, "/app"),
		"by a stranger":            identitytest.Issue(t, stranger, "/bundles"),
		"in our own domain":        identitytest.Issue(t, own, "/bundles"),
	} {
		f.endpoint.Show(svid)
		f.Refresh(t.Context())
		f.wantTrust("an endpoint that shows itself "+name, f.partner, false)
	}

	f.endpoint.Show(identitytest.Issue(t, f.partner, "/bundles"))
	f.endpoint.Publish(identitytest.BundleDocument(t, 0, next))
	f.Refresh(t.Context())
	f.wantTrust("what the endpoint serves", next, true)
	f.endpoint.Publish(identitytest.BundleDocument(t, 0, f.partner))
	f.Refresh(t.Context())
	f.wantTrust("by the first bundle, whose authority was removed", f.partner, false)
	f.endpoint.Show(identitytest.Issue(t, next, "/bundles"))
	f.Refresh(t.Context())
	f.wantTrust("by the last bundle", f.partner, true)
}

func TestAnEndpointOfAnotherDomainIsVerifiedByThatDomainsBundle(t *testing.T) {
	f := newFederation(t, func(_ *federation, d *identity.FederatedDomain) {
		d.Profile, d.EndpointID = identity.ProfileSPIFFE, "spiffe://relay.example/bundles"
	})
	relay := identitytest.NewCAOf(t, "relay.example")
	f.endpoint.Show(identitytest.Issue(t, relay, "/bundles"))

	f.Refresh(t.Context())
	f.wantTrust("an endpoint in a domain that is not known", f.partner, false)
	f.source.Trust(identitytest.BundleOf(t, relay))
	f.Refresh(t.Context())
	f.wantTrust("an endpoint in a domain that is", f.partner, true)
}

func TestABundleIsFetchedFromPublicAddressesOnly(t *testing.T) {
	f := newFederation(t, func(_ *federation, d *identity.FederatedDomain) { d.URL = "https://10.255.255.1/bundle" })

	f.Refresh(t.Context())

	if !strings.Contains(f.log.String(), "not public") {
		t.Errorf("got log %q, want the address refused", &f.log)
	}
}

func TestAFederationThatCannotBeIsRefused(t *testing.T) {
	source := identitytest.NewSource(t, identitytest.NewCA(t), "/server")
	good := identity.FederatedDomain{TrustDomain: partnerDomain, URL: "https://partner.example/bundle", Profile: identity.ProfileWeb}
	for name, change := range map[string]func(*identity.FederatedDomain){
		"our own domain":   func(d *identity.FederatedDomain) { d.TrustDomain = identitytest.TrustDomain },
		"not a domain":     func(d *identity.FederatedDomain) { d.TrustDomain = "spiffe://partner.example" },
		"no address":       func(d *identity.FederatedDomain) { d.URL = "" },
		"no profile":       func(d *identity.FederatedDomain) { d.Profile = "" },
		"no endpoint's ID": func(d *identity.FederatedDomain) { d.Profile = identity.ProfileSPIFFE },
		"a domain's ID": func(d *identity.FederatedDomain) {
			d.Profile, d.EndpointID = identity.ProfileSPIFFE, "spiffe://relay.example"
		},
		"no first bundle": func(d *identity.FederatedDomain) {
			d.Profile, d.EndpointID = identity.ProfileSPIFFE, "spiffe://partner.example/b"
		},
		"a first bundle not there": func(d *identity.FederatedDomain) {
			d.Profile, d.EndpointID, d.Bundle = identity.ProfileSPIFFE, "spiffe://partner.example/b", "/nowhere/bundle.pem"
		},
		"SPIFFE without TLS": func(d *identity.FederatedDomain) {
			d.Profile, d.EndpointID, d.URL = identity.ProfileSPIFFE, "spiffe://relay.example/b", "http://127.0.0.1:80/bundle"
		},
	} {
		d := good
		change(&d)
		if _, err := identity.NewFederation(identity.FederationConfig{Source: source, Domains: []identity.FederatedDomain{d}}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := good.Check(); err != nil {
		t.Errorf("got %v for a good one", err)
	}
}
