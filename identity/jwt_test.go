package identity_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func scopesEqual(a, b identity.Scopes) bool { return slices.Equal(a.Names(), b.Names()) }

func newVerifier(t testing.TB, now func() time.Time, issuers ...identity.Issuer) *identity.Verifier {
	t.Helper()
	v, err := identity.NewVerifier(identity.VerifierConfig{Issuers: issuers, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerifierReadsAPersonFromAToken(t *testing.T) {
	clock := identitytest.NewClock()
	signer := identitytest.NewSigner(t, "ES256", "k1")
	v := newVerifier(t, clock.Now, identity.Issuer{
		Issuer: issuerName, Audiences: []string{"behalf"}, Algorithms: []string{"ES256"}, SubjectPrefix: "idp|",
		TenantClaim: "https://claims/tenant.id", Tenants: []string{"acme", "lab"}, RolesClaim: "realm_access.roles",
		JWKS: identitytest.KeySet(signer),
	})
	raw := signer.Token(map[string]any{
		"iss": issuerName, "sub": "ann", "aud": []string{"behalf"}, "iat": clock.Now().Unix(), "exp": clock.Now().Unix() + 60,
		"https://claims/tenant.id": "lab", "realm_access": map[string]any{"roles": []string{"b", "a", "b"}},
		"scp": []string{"crm.write", "crm.read crm.read", "bad\"name"}, "email": "ann@example.org", "email_verified": true,
		"name": "Ann", "jti": "j1", "acr": "gold", "amr": []string{"pwd", "otp"}, "auth_time": clock.Now().Unix() - 5,
	})

	got, err := v.Verify(t.Context(), identity.NewSecret(raw), "")
	if err != nil {
		t.Fatal(err)
	}
	want := identity.User{
		Issuer: issuerName, Subject: "idp|ann", Tenant: "lab", Email: "ann@example.org", Name: "Ann", Roles: []string{"a", "b"},
		Scopes: identity.NewScopes("crm.read", "crm.write"), AuthTime: clock.Now().Add(-5 * time.Second), ACR: "gold", AMR: []string{"pwd", "otp"},
		Expires: clock.Now().Add(time.Minute), TokenID: "j1", Thumbprint: got.Thumbprint,
	}
	if diff := cmp.Diff(got, want, cmp.Comparer(scopesEqual), cmpopts.IgnoreUnexported(identity.User{})); diff != "" {
		t.Errorf("got, want: %s", diff)
	}
	if len(got.Thumbprint) != 43 {
		t.Errorf("got thumbprint %q, want 43 characters", got.Thumbprint)
	}
}

func TestVerifierReadsAsManyMethodsAsThereMayBe(t *testing.T) {
	f := newForge(t)
	for _, want := range [][]string{{}, slices.Repeat([]string{strings.Repeat("a", 64)}, 16)} {
		got, err := f.verifier.Verify(t.Context(), identity.NewSecret(f.Claim("amr", want)), "")
		if err != nil || !slices.Equal(got.AMR, want) {
			t.Errorf("got %q, %v, want %q", got.AMR, err, want)
		}
	}
}

func TestVerifierHidesAnEmailThatIsNotVerified(t *testing.T) {
	f := newForge(t)
	c := f.Claims()
	c["email"], c["email_verified"] = "ann@example.org", "true"

	got, err := f.verifier.Verify(t.Context(), identity.NewSecret(f.Signer.Token(c)), "")

	if err != nil || got.Email != "" {
		t.Errorf("got %q, %v, want no e-mail", got.Email, err)
	}
}

func TestVerifierKnowsThatGroupOverageIsNotTheAbsenceOfGroups(t *testing.T) {
	f := newForge(t)
	for name, row := range map[string]struct {
		claim string
		value any
		want  bool
	}{
		"hasgroups":            {"hasgroups", true, true},
		"hasgroups false":      {"hasgroups", false, false},
		"claim names":          {"_claim_names", map[string]any{"realm_access": "src1"}, true},
		"claim names of other": {"_claim_names", map[string]any{"photos": "src1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := f.Claims()
			delete(c, "realm_access")
			c[row.claim] = row.value

			got, err := f.verifier.Verify(t.Context(), identity.NewSecret(f.Signer.Token(c)), "")

			if err != nil || got.RolesUnknown != row.want {
				t.Errorf("got %v, %v, want %v", got.RolesUnknown, err, row.want)
			}
		})
	}
}

func TestVerifierHoldsATokenToItsCertificate(t *testing.T) {
	f := newForge(t)
	one, two := strings.Repeat("1", 42)+"A", strings.Repeat("2", 42)+"A" // as thumbprints are spelled
	token := identity.NewSecret(f.Claim("cnf", map[string]any{"x5t#S256": one}))

	_, right := f.verifier.Verify(t.Context(), token, one)
	_, wrong := f.verifier.Verify(t.Context(), token, two)
	_, none := f.verifier.Verify(t.Context(), token, "")
	both := identity.NewSecret(f.Claim("cnf", map[string]any{"x5t#S256": one, "jkt": "abc"}))
	_, more := f.verifier.Verify(t.Context(), both, one)

	if right != nil {
		t.Errorf("its own certificate: %v", right)
	}
	if !errors.Is(wrong, fault.CredentialInvalid) || !errors.Is(none, fault.CredentialInvalid) {
		t.Errorf("got %v and %v, want CREDENTIAL_INVALID", wrong, none)
	}
	if !errors.Is(more, fault.CredentialInvalid) {
		t.Errorf("got %v for a token that also confirms what cannot be checked, want CREDENTIAL_INVALID", more)
	}
}

func TestIssuerCanAskForBoundTokensAndForOneAudience(t *testing.T) {
	dev, err := identity.NewDevIssuer(identity.DevIssuerConfig{URL: issuerName})
	if err != nil {
		t.Fatal(err)
	}
	bound, single := dev.Issuer("behalf", "acme"), dev.Issuer("behalf", "acme")
	bound.RequireBound, single.SingleAudience = true, true
	token := identitytest.Token(t, dev, map[string]any{"sub": "ann", "aud": []string{"behalf", "x"}})

	_, unbound := newVerifier(t, nil, bound).Verify(t.Context(), token, "leaf")
	_, several := newVerifier(t, nil, single).Verify(t.Context(), token, "leaf")

	if !errors.Is(unbound, fault.CredentialInvalid) || !errors.Is(several, fault.CredentialInvalid) {
		t.Errorf("got %v and %v, want CREDENTIAL_INVALID", unbound, several)
	}
}

// The issuer has the key, the key suits the algorithm, and it is still not one that
// the issuer is configured with.
func TestOnlyTheIssuersOwnAlgorithmsVerify(t *testing.T) {
	s := identitytest.NewSigner(t, "ES384", "k1")
	issuer := identity.Issuer{Issuer: issuerName, Audiences: []string{"behalf"}, Algorithms: []string{"ES256"}, Tenant: "acme", JWKS: identitytest.KeySet(s)}
	now := time.Now().Unix()
	token := identity.NewSecret(s.Token(map[string]any{"iss": issuerName, "sub": "ann", "aud": "behalf", "iat": now, "exp": now + 600}))

	_, other := newVerifier(t, nil, issuer).Verify(t.Context(), token, "")
	issuer.Algorithms = append(issuer.Algorithms, "ES384")
	_, own := newVerifier(t, nil, issuer).Verify(t.Context(), token, "")

	if !errors.Is(other, fault.CredentialInvalid) || own != nil {
		t.Errorf("got %v, and with the algorithm configured %v", other, own)
	}
}

func TestAKeyVerifiesOnlyTheAlgorithmThatItIsFor(t *testing.T) {
	s := identitytest.NewSigner(t, "RS256", "k1")
	other := *s
	other.Alg = "PS256"
	v := newVerifier(t, nil, identity.Issuer{Issuer: issuerName, Audiences: []string{"behalf"}, Algorithms: []string{"RS256", "PS256"}, Tenant: "acme", JWKS: identitytest.KeySet(s)})
	now := time.Now().Unix()
	claims := map[string]any{"iss": issuerName, "sub": "ann", "aud": "behalf", "iat": now, "exp": now + 600}

	_, right := v.Verify(t.Context(), identity.NewSecret(s.Token(claims)), "")
	_, wrong := v.Verify(t.Context(), identity.NewSecret(other.Token(claims)), "")

	if right != nil || !errors.Is(wrong, fault.CredentialInvalid) {
		t.Errorf("got %v, and %v for the same key under another algorithm", right, wrong)
	}
}

func TestEveryAlgorithmVerifies(t *testing.T) {
	for _, alg := range []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			s := identitytest.NewSigner(t, alg, "k1")
			v := newVerifier(t, nil, identity.Issuer{
				Issuer: issuerName, Audiences: []string{"behalf"}, Algorithms: []string{alg}, Tenant: "acme", JWKS: identitytest.KeySet(s),
			})
			now := time.Now().Unix()
			raw := s.Token(map[string]any{"iss": issuerName, "sub": "ann", "aud": "behalf", "iat": now, "exp": now + 60})

			if _, err := v.Verify(t.Context(), identity.NewSecret(raw), ""); err != nil {
				t.Errorf("got %v, want none", err)
			}
		})
	}
}

func TestSeenTokenIsNotSharedByReference(t *testing.T) {
	f := newForge(t)
	c := f.Claims()
	c["realm_access"], c["amr"] = map[string]any{"roles": []string{"agent"}}, []string{"pwd"}
	token := identity.NewSecret(f.Signer.Token(c))

	first, err := f.verifier.Verify(t.Context(), token, "")
	if err != nil {
		t.Fatal(err)
	}
	first.Roles[0], first.AMR[0] = "admin", "mfa"
	second, err := f.verifier.Verify(t.Context(), token, "")

	if err != nil || second.Roles[0] != "agent" || second.AMR[0] != "pwd" {
		t.Errorf("got %v, %v, %v, want role and method unchanged", second.Roles, second.AMR, err)
	}
}

func TestSeenTokenExpires(t *testing.T) {
	f := newForge(t)
	token := identity.NewSecret(f.Claim("exp", f.In(20*time.Second)))
	if _, err := f.verifier.Verify(t.Context(), token, ""); err != nil {
		t.Fatal(err)
	}

	f.clock.Advance(51 * time.Second)
	_, err := f.verifier.Verify(t.Context(), token, "")

	if !errors.Is(err, fault.CredentialExpired) {
		t.Errorf("got %v, want CREDENTIAL_EXPIRED", err)
	}
}

func TestSeenTokenIsTheTokenAsAWhole(t *testing.T) {
	f := newForge(t)
	good := f.Good()
	if _, err := f.verifier.Verify(t.Context(), identity.NewSecret(good), ""); err != nil {
		t.Fatal(err)
	}
	last := "A"
	if good[len(good)-1] == 'A' {
		last = "Q"
	}

	_, err := f.verifier.Verify(t.Context(), identity.NewSecret(good[:len(good)-1]+last), "")

	if !errors.Is(err, fault.CredentialInvalid) {
		t.Errorf("got %v, want CREDENTIAL_INVALID", err)
	}
}
