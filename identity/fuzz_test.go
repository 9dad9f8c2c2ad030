package identity_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc/codes"
)

// signed is what a signature covers of a token.
func signed(token string) string {
	return token[:max(strings.LastIndexByte(token, '.'), 0)]
}

// wantKind fails for an error that is none of those a credential can have.
func wantKind(t *testing.T, err error) {
	t.Helper()
	switch f := fault.From(err); f.Reason {
	case fault.CredentialInvalid, fault.CredentialExpired, fault.KeysetUnavailable:
	default:
		t.Errorf("got %v, want a refused credential", err)
	}
}

// FuzzVerifierAcceptsOnlyWhatWasSigned begins with the attack corpus. Nobody can
// make a token of which more than the signature differs from a good one.
func FuzzVerifierAcceptsOnlyWhatWasSigned(f *testing.F) {
	clock := identitytest.NewClock()
	forge := identitytest.NewForge(f, "acme", clock.Now)
	v := newVerifier(f, clock.Now, forge.Issuers()...)
	good := map[string]bool{}
	for _, row := range forge.Twins() {
		good[signed(row.Token)] = true
		f.Add(row.Token)
	}
	for _, row := range forge.Bad() {
		f.Add(row.Token)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := v.Verify(t.Context(), identity.NewSecret(raw), "")
		if err != nil {
			wantKind(t, err)
			return
		}
		if !good[signed(raw)] || u.Tenant != "acme" || u.Subject == "" {
			t.Errorf("got %+v of a token that nobody signed", u)
		}
	})
}

// FuzzJWTSVIDsAreAcceptedOnlyAsSigned is the same of workloads.
func FuzzJWTSVIDsAreAcceptedOnlyAsSigned(f *testing.F) {
	clock, ca := identitytest.NewClock(), identitytest.NewCA(f)
	peers := newPeers(f, identity.PeersConfig{Source: ca, Audiences: []string{"behalf"}, Now: clock.Now})
	token := identitytest.IssueJWT(f, ca, "/job", "behalf").Reveal()
	parts := strings.Split(token, ".")
	for _, seed := range []string{token, "", "..", parts[0] + ".." + parts[2], signed(token) + ".", identitytest.IssueJWT(f, ca, "/job", "other").Reveal(), "." + token} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		w, err := peers.Bearer(identity.NewSecret(raw), "")
		if err != nil {
			wantKind(t, err)
			return
		}
		if signed(raw) != signed(token) || w.ID != "spiffe://test.behalf/job" {
			t.Errorf("got %+v of a token that nobody signed", w)
		}
	})
}

// FuzzIdentifyNeverBelievesMetadata sends any one entry beside a good token and
// alone: it is refused, or changes nothing.
func FuzzIdentifyNeverBelievesMetadata(f *testing.F) {
	ca, idp := identitytest.NewCA(f), devIssuer(f, issuerName)
	peers := newPeers(f, identity.PeersConfig{Source: ca, Audiences: []string{"behalf"}})
	who, err := identity.NewIdentifier(identity.IdentifierConfig{
		Peers: peers, Verifier: newVerifier(f, nil, idp.Issuer("behalf", "acme")), ClientCertificate: identity.CertificateOptional,
	})
	if err != nil {
		f.Fatal(err)
	}
	token := identitytest.Token(f, idp, ann()).Reveal()
	svid := identitytest.IssueJWT(f, ca, "/job", "behalf").Reveal()
	for _, seed := range [][2]string{
		{"authorization", "Bearer " + svid},
		{"Authorization", "Bearer " + token},
		{"x-user-id", "root"},
		{"x-forwarded-client-cert", "URI=spiffe://test.behalf/job"},
		{"authorization-bin", token},
		{"x-access-token", svid},
		{"traceparent", "00-1-1-01"},
		{"x-behalf-tenant", "globex"},
		{"", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		check := func(state *tls.ConnectionState, md map[string][]string, ok func(identity.Principal) bool) {
			p, err := who.Identify(t.Context(), state, md)
			if err == nil && !ok(p) {
				t.Errorf("%q made %+v", key, p)
			}
			if code := fault.From(err).Code; err != nil && code != codes.Unauthenticated && code != codes.InvalidArgument && code != codes.Unavailable && code != codes.PermissionDenied {
				t.Errorf("got %v", err)
			}
		}
		isAnn := func(p identity.Principal) bool { return p.User != nil && p.User.Subject == "ann" && p.Workload == nil }
		if key != "authorization" {
			check(identitytest.State(nil), map[string][]string{"authorization": {"Bearer " + token}, key: {value}}, isAnn)
		}
		check(identitytest.State(nil), map[string][]string{key: {value}}, func(p identity.Principal) bool {
			_, presented, found := strings.Cut(value, " ")
			return key == "authorization" && found && (isAnn(p) && signed(presented) == signed(token) ||
				p.User == nil && p.Workload.ID == "spiffe://test.behalf/job" && signed(presented) == signed(svid))
		})
	})
}
