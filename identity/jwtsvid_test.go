package identity_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc/codes"
)

// mint makes JWT-SVIDs of test.behalf, good ones and bad ones.
type mint struct {
	*identitytest.Signer
	clock *identitytest.Clock
	peers *identity.Peers
	src   *identitytest.Source
	ca    *identity.DevCA
}

const svidID = "spiffe://test.behalf/job"

// bundle is the ca's with the signers' keys.
func bundle(t *testing.T, ca *identity.DevCA, signers ...*identitytest.Signer) *identity.Bundle {
	t.Helper()
	var keys []any
	for _, s := range signers {
		jwk := s.JWK()
		jwk["use"] = "jwt-svid"
		keys = append(keys, jwk)
	}
	document, err := json.Marshal(map[string]any{"keys": keys, "spiffe_sequence": 7, "spiffe_refresh_hint": 60})
	if err != nil {
		t.Fatal(err)
	}
	b, err := identitytest.BundleOf(t, ca).WithJWTKeys(document)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newMint(t *testing.T, more ...*identitytest.Signer) *mint {
	t.Helper()
	m := &mint{Signer: identitytest.NewSigner(t, "ES256", "k1"), clock: identitytest.NewClock(), ca: identitytest.NewCA(t)}
	m.src = identitytest.NewSource(t, m.ca, "/server")
	m.src.Trust(bundle(t, m.ca, append(more, m.Signer)...))
	m.peers = newPeers(t, identity.PeersConfig{
		Source: m.src, Audiences: []string{"behalf", "behalf.example"}, Now: m.clock.Now,
		Tenants: map[string]string{identitytest.TrustDomain: "acme", "edge.example": identity.AnyTenant},
	})
	return m
}

func (m *mint) claims() map[string]any {
	now := m.clock.Now().Unix()
	return map[string]any{"sub": svidID, "aud": []string{"behalf"}, "iat": now, "exp": now + 300, "jti": "one"}
}

func (m *mint) token(s *identitytest.Signer, header, claims map[string]any) identity.Secret {
	h := map[string]any{"alg": s.Alg, "kid": s.Kid, "typ": "JWT"}
	maps.Copy(h, header)
	c := m.claims()
	maps.Copy(c, claims)
	for _, set := range []map[string]any{h, c} {
		maps.DeleteFunc(set, func(_ string, v any) bool { return v == nil })
	}
	return identity.NewSecret(s.Sign(s.JSON(h), s.JSON(c)))
}

func (m *mint) with(claims map[string]any) identity.Secret { return m.token(m.Signer, nil, claims) }

func (m *mint) in(d time.Duration) int64 { return m.clock.Now().Add(d).Unix() }

func TestAJWTSVIDIsTheWorkloadThatACertificateWouldBe(t *testing.T) {
	m := newMint(t)
	svid := identitytest.Issue(t, m.ca, "/job")
	cert, err := m.peers.Workload(*identitytest.State(svid))
	if err != nil {
		t.Fatal(err)
	}

	got, err := m.peers.Bearer(m.with(nil), "")

	if err != nil || got.ID != cert.ID || got.Tenant != cert.Tenant || got.TrustDomain != cert.TrustDomain ||
		!slices.Equal(got.Scopes.Names(), cert.Scopes.Names()) || !slices.Equal(got.Issuers, cert.Issuers) {
		t.Errorf("got %+v, %v, want the tenant and the grant of %+v", got, err, cert)
	}
	if got.Thumbprint != "" || got.TokenID != "one" || got.TokenThumbprint == "" || !got.NotAfter.Equal(time.Unix(m.in(300*time.Second), 0)) {
		t.Errorf("got %+v, want the token's end and names, and no certificate", got)
	}
}

func TestJWTSVIDsAreAcceptedInEveryFormOfTheSpecification(t *testing.T) {
	var signers []*identitytest.Signer
	for _, alg := range []string{"RS256", "PS256", "ES384"} {
		signers = append(signers, identitytest.NewSigner(t, alg, alg))
	}
	m := newMint(t, signers...)
	rows := map[string]identity.Secret{
		"typ JOSE":              m.token(m.Signer, map[string]any{"typ": "JOSE"}, nil),
		"without typ":           m.token(m.Signer, map[string]any{"typ": nil}, nil),
		"one audience":          m.with(map[string]any{"aud": "behalf"}),
		"ours among audiences":  m.with(map[string]any{"aud": []string{"x", "behalf.example"}}),
		"without iat and jti":   m.with(map[string]any{"iat": nil, "jti": nil}),
		"with an issuer":        m.with(map[string]any{"iss": "https://spire.example"}),
		"with the issuer of us": m.with(map[string]any{"iss": issuerName}),
	}
	for _, s := range signers {
		rows[s.Alg] = m.token(s, nil, nil)
	}
	for name, token := range rows {
		t.Run(name, func(t *testing.T) {
			if got, err := m.peers.Bearer(token, ""); err != nil || got.ID != svidID {
				t.Errorf("got %v, %v, want the workload", got.ID, err)
			}
		})
	}
}

func (m *mint) bad(t *testing.T) map[string]identity.Secret {
	other, ed := identitytest.NewSigner(t, "ES256", "k1"), identitytest.NewSigner(t, "EdDSA", "ed")
	edge := identitytest.NewSigner(t, "ES256", "edge")
	m.src.Trust(bundle(t, m.ca, m.Signer, ed))
	m.src.Trust(bundle(t, identitytest.NewCAOf(t, "edge.example"), edge))
	m.src.Trust(bundle(t, identitytest.NewCAOf(t, "unmapped.example"), other))
	header := func(name string, v any) identity.Secret { return m.token(m.Signer, map[string]any{name: v}, nil) }
	claim := func(name string, v any) identity.Secret { return m.with(map[string]any{name: v}) }
	return map[string]identity.Secret{
		"aud missing":                      claim("aud", nil),
		"aud of another":                   claim("aud", []string{"other"}),
		"aud a prefix of ours":             claim("aud", []string{"behal"}),
		"aud in another case":              claim("aud", "Behalf"),
		"aud with a number":                claim("aud", []any{"behalf", 1}),
		"aud empty":                        claim("aud", []string{}),
		"sub a trust domain":               claim("sub", "spiffe://test.behalf"),
		"sub with a trailing slash":        claim("sub", "spiffe://test.behalf/job/"),
		"sub in upper case":                claim("sub", "SPIFFE://test.behalf/job"),
		"sub of an upper-case domain":      claim("sub", "spiffe://TEST.behalf/job"),
		"sub with dots":                    claim("sub", "spiffe://test.behalf/a/../job"),
		"sub over-long":                    claim("sub", "spiffe://test.behalf/"+strings.Repeat("a", 2048)),
		"sub of a domain without a tenant": m.token(other, nil, map[string]any{"sub": "spiffe://unmapped.example/job"}),
		"sub of another domain's":          claim("sub", "spiffe://edge.example/job"),
		"another domain's key for ours":    m.token(edge, nil, nil),
		"another key of the same kid":      m.token(other, nil, nil),
		"exp missing":                      claim("exp", nil),
		"exp a string":                     claim("exp", "9999999999"),
		"exp before iat":                   claim("exp", m.in(-time.Second)),
		"exp too far":                      claim("exp", m.in(25*time.Hour)),
		"iat in the future":                claim("iat", m.in(31*time.Second)),
		"nbf in the future":                claim("nbf", m.in(31*time.Second)),
		"typ of an access token":           header("typ", "at+jwt"),
		"typ in lower case":                header("typ", "jwt"),
		"EdDSA":                            m.token(ed, nil, nil),
		"alg none":                         header("alg", "none"),
		"alg HS256":                        header("alg", "HS256"),
		"alg of another family":            header("alg", "RS256"),
		"kid missing":                      header("kid", nil),
		"kid unknown":                      header("kid", "k9"),
		"embedded key":                     header("jwk", other.JWK()),
		"jku":                              header("jku", "https://evil.example"),
		"crit":                             header("crit", []string{"exp"}),
		"bound to a certificate":           claim("cnf", map[string]any{"x5t#S256": "abc"}),
		"bound by DPoP":                    claim("cnf", map[string]any{"jkt": "abc"}),
		"jti a number":                     claim("jti", 1),
		"not a token":                      identity.NewSecret("x.y.z"),
	}
}

func TestBadJWTSVIDsAreRefusedWithOneText(t *testing.T) {
	m := newMint(t)
	texts := map[string]bool{}
	for name, token := range m.bad(t) {
		t.Run(name, func(t *testing.T) {
			_, err := m.peers.Bearer(token, "")

			f := fault.From(err)
			if f.Code != codes.Unauthenticated || f.Reason != fault.CredentialInvalid {
				t.Fatalf("got %v, want CREDENTIAL_INVALID", err)
			}
			texts[f.Message] = true
		})
	}
	if _, err := m.peers.Bearer(m.with(nil), ""); len(texts) != 1 || err != nil {
		t.Errorf("got %d texts and %v for the good one, want one and none", len(texts), err)
	}
}

func TestAKeyVerifiesJWTSVIDsOnlyOfTheAlgorithmThatItIsFor(t *testing.T) {
	s := identitytest.NewSigner(t, "RS256", "rsa")
	other := *s
	other.Alg = "PS256"
	m := newMint(t, s)

	_, right := m.peers.Bearer(m.token(s, nil, nil), "")
	_, wrong := m.peers.Bearer(m.token(&other, nil, nil), "")

	if right != nil || !errors.Is(wrong, fault.CredentialInvalid) {
		t.Errorf("got %v, and %v for the same key under another algorithm", right, wrong)
	}
}

func TestAJWTSVIDEndsWhenItSays(t *testing.T) {
	m := newMint(t)
	token := m.with(nil)
	if _, err := m.peers.Bearer(token, ""); err != nil {
		t.Fatal(err)
	}
	m.clock.Advance(5 * time.Minute)

	_, err := m.peers.Bearer(token, "")

	if !errors.Is(err, fault.CredentialExpired) {
		t.Errorf("got %v, want CREDENTIAL_EXPIRED", err)
	}
}

func TestJWTSVIDsAreRefusedWithoutAudiencesOfOurs(t *testing.T) {
	ca := identitytest.NewCA(t)
	peers := newPeers(t, identity.PeersConfig{Source: ca})

	_, err := peers.Bearer(identitytest.IssueJWT(t, ca, "/job", "behalf"), "")

	if !errors.Is(err, fault.CredentialInvalid) {
		t.Errorf("got %v, want CREDENTIAL_INVALID", err)
	}
	if _, err := identity.NewPeers(identity.PeersConfig{Source: ca, Audiences: []string{""}}); err == nil {
		t.Error("an audience without a name was accepted")
	}
}

func TestAKeyThatLeavesTheBundleVerifiesNothing(t *testing.T) {
	m := newMint(t)
	token := m.with(nil)
	w, err := m.peers.Bearer(token, "")
	if err != nil || m.peers.Trusts(w) != nil {
		t.Fatal(err)
	}
	m.src.Trust(bundle(t, m.ca, identitytest.NewSigner(t, "ES256", "k2")))

	_, err = m.peers.Bearer(token, "")

	if !errors.Is(err, fault.CredentialInvalid) || m.peers.Trusts(w) == nil {
		t.Errorf("got %v and trust, want neither", err)
	}
	m.src.Trust(bundle(t, m.ca, identitytest.NewSigner(t, "ES256", m.Kid)))
	if m.peers.Trusts(w) == nil {
		t.Error("a workload is trusted whose token's key was replaced by another of its name")
	}
	m.src.Trust(bundle(t, m.ca, m.Signer, identitytest.NewSigner(t, "ES256", "k2")))
	if err := m.peers.Trusts(w); err != nil {
		t.Errorf("got %v for a key that is there beside a new one", err)
	}
}

// TestWhoCallsWithAJWTSVID is every way to bring one: alone, beside a certificate,
// and where a person's token belongs.
func TestWhoCallsWithAJWTSVID(t *testing.T) {
	m := newMint(t)
	idp := devIssuer(t, issuerName)
	edge := identitytest.NewCAOf(t, "edge.example")
	m.src.Trust(identitytest.BundleOf(t, edge))
	m.src.Trust(identitytest.BundleOf(t, m.ca))
	job := identitytest.IssueJWT(t, m.ca, "/job", "behalf")
	own, other := identitytest.State(identitytest.Issue(t, m.ca, "/job")), identitytest.State(identitytest.Issue(t, m.ca, "/web"))
	person := identitytest.Token(t, idp, ann())
	none := identitytest.State(nil)
	required, optional := identity.CertificateRequired, identity.CertificateOptional

	for name, row := range map[string]struct {
		mode   identity.ClientCertificate
		state  *tls.ConnectionState
		token  identity.Secret
		reason fault.Reason
	}{
		"alone":                              {optional, none, job, ""},
		"alone where a certificate is due":   {required, none, job, fault.CredentialRequired},
		"with its own certificate":           {required, own, job, ""},
		"with another's certificate":         {required, other, job, fault.CredentialInvalid},
		"of a carrier, without a person":     {optional, none, identitytest.IssueJWT(t, edge, "/job", "behalf"), fault.PolicyDenied},
		"without TLS":                        {optional, nil, job, fault.CredentialRequired},
		"a person":                           {optional, none, person, ""},
		"a person's issuer about a workload": {optional, none, identitytest.Token(t, idp, map[string]any{"sub": svidID, "aud": "behalf"}), fault.CredentialInvalid},
	} {
		for _, verifier := range []*identity.Verifier{newVerifier(t, nil, idp.Issuer("behalf", "acme")), nil} {
			if verifier == nil && name == "a person" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				who, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: m.peers, Verifier: verifier, ClientCertificate: row.mode})
				if err != nil {
					t.Fatal(err)
				}

				p, err := who.Identify(t.Context(), row.state, identitytest.Metadata(row.token))

				if row.reason != "" {
					if !errors.Is(err, row.reason) {
						t.Errorf("got %v, want %s", err, row.reason)
					}
					return
				}
				if err != nil || (p.User == nil) == (name == "a person") || (p.Workload == nil) != (name == "a person") {
					t.Errorf("got %+v, %v, want a workload, or the person, and never both", p, err)
				}
			})
		}
	}
}

func TestBothCredentialsOfAWorkloadBoundIt(t *testing.T) {
	m := newMint(t)
	svid := identitytest.Issue(t, m.ca, "/job")
	who, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: m.peers})
	if err != nil {
		t.Fatal(err)
	}

	p, err := who.Identify(t.Context(), identitytest.State(svid), identitytest.Metadata(m.with(nil)))

	if err != nil || p.Workload.Thumbprint != svid.Thumbprint || p.Workload.TokenID != "one" || !p.Expires().Equal(time.Unix(m.in(300*time.Second), 0)) {
		t.Fatalf("got %+v, %v, want the certificate's leaf and the token's end", p.Workload, err)
	}
	if _, err := who.Identify(t.Context(), identitytest.State(svid), identitytest.Metadata(m.with(map[string]any{"cnf": map[string]any{"x5t#S256": svid.Thumbprint}}))); err != nil {
		t.Errorf("got %v for a token bound to this certificate", err)
	}
	m.clock.Advance(time.Hour)
	longer := m.with(map[string]any{"exp": svid.NotAfter.Add(time.Minute).Unix()})
	if p, err := who.Identify(t.Context(), identitytest.State(svid), identitytest.Metadata(longer)); err != nil || !p.Expires().Equal(svid.NotAfter) {
		t.Errorf("got %v, %v with a token that lasts longer, want the certificate's end, %v", p.Expires(), err, svid.NotAfter)
	}
	m.src.Trust(bundle(t, m.ca, identitytest.NewSigner(t, "ES256", "k2")))
	if m.peers.Trusts(*p.Workload) == nil {
		t.Error("a workload is trusted whose token's key is gone")
	}
	imposter := identitytest.NewCA(t)
	m.src.Trust(bundle(t, imposter, m.Signer))
	if m.peers.Trusts(*p.Workload) == nil {
		t.Error("a workload is trusted whose authority is gone")
	}
}

func TestRefusedJWTSVIDsAreCountedByTrustDomain(t *testing.T) {
	m := newMint(t)
	who, err := identity.NewIdentifier(identity.IdentifierConfig{Peers: m.peers, ClientCertificate: identity.CertificateOptional})
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{svidID, "spiffe://invented.example/x", "spiffe://"} {
		_, _ = who.Identify(t.Context(), identitytest.State(nil), identitytest.Metadata(m.with(map[string]any{"sub": sub, "aud": "wrong"})))
	}

	if got := who.Refused(); got["spiffe://test.behalf"] != 1 || got["unknown"] != 2 {
		t.Errorf("got %v, want one of the domain and two unknown", got)
	}
}
