package identity_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

func pemOf(t *testing.T, key any) identity.Secret {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return identity.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func clientKeys(t *testing.T) map[string]any {
	t.Helper()
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rs, err2 := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, err3 := ed25519.GenerateKey(rand.Reader)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]any{"ES256": ec, "RS256": rs, "EdDSA": ed}
}

func TestAClientAssertionVerifiesByThePublishedKey(t *testing.T) {
	for alg, key := range clientKeys(t) {
		t.Run(alg, func(t *testing.T) {
			now := time.Now()
			k, err := identity.NewClientKey(pemOf(t, key), "", func() time.Time { return now })
			if err != nil {
				t.Fatal(err)
			}
			jwks, err := k.JWKS()
			if err != nil || strings.Contains(string(jwks), `"d"`) {
				t.Fatalf("got %s, %v, want a public key", jwks, err)
			}
			s, err := identity.NewSigned(identity.SignedConfig{Issuer: "behalf", Types: []string{"JWT"}, Algorithms: []string{alg}, JWKS: jwks})
			if err != nil {
				t.Fatal(err)
			}

			one, err1 := k.Assertion("behalf", "https://sts.example")
			two, err2 := k.Assertion("behalf", "https://sts.example")
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			var c, d struct {
				Iss, Sub, Aud, JTI string
				Exp, Iat           int64
			}
			for token, into := range map[string]any{one.Reveal(): &c, two.Reveal(): &d} {
				claims, err := s.Verify(t.Context(), identity.NewSecret(token))
				if err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(claims, into); err != nil {
					t.Fatal(err)
				}
			}

			if c.Iss != "behalf" || c.Sub != "behalf" || c.Aud != "https://sts.example" || c.Iat != now.Unix() || c.Exp != now.Unix()+60 {
				t.Errorf("got %+v, want the client's, for this server and a minute", c)
			}
			if c.JTI == "" || c.JTI == d.JTI {
				t.Errorf("got the ids %q and %q, want one for each request", c.JTI, d.JTI)
			}
		})
	}
}

func TestAClientKeyThatIsNoneIsRefusedWithoutRepeatingIt(t *testing.T) {
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]identity.Secret{
		"no PEM": identity.NewSecret("hush"), "no key": identity.NewSecret("-----BEGIN PRIVATE KEY-----\naHVzaA==\n-----END PRIVATE KEY-----\n"),
		"another curve": pemOf(t, weak), "empty": {},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := identity.NewClientKey(key, "", nil)

			if err == nil || strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "aHVzaA") {
				t.Errorf("got %v, want a refusal that does not repeat it", err)
			}
		})
	}
}

func TestTheWorkloadAPIGivesOurJWTSVID(t *testing.T) {
	ca, api := identitytest.NewCA(t), identitytest.NewWorkloadAPI(t)
	api.Push(t, identitytest.Issue(t, ca, "/behalf"), identitytest.BundleOf(t, ca))
	src, err := identity.NewWorkloadAPI(t.Context(), identity.WorkloadAPIConfig{Socket: api.Socket})
	if err != nil {
		t.Fatal(err)
	}
	fed, err := identity.NewFederation(identity.FederationConfig{Source: src})
	if err != nil {
		t.Fatal(err)
	}

	if _, err := src.JWTSVID(t.Context(), "https://sts.example"); err == nil {
		t.Error("got a JWT-SVID before there is an entry")
	}
	api.Mint(func(audiences []string) identity.Secret { return identitytest.IssueJWT(t, ca, "/behalf", audiences...) })
	token, err := fed.JWTSVID(t.Context(), "https://sts.example")
	if err != nil {
		t.Fatal(err)
	}
	claims, _, err := identity.Unverified(token)

	if err != nil || !strings.Contains(string(claims), `"https://sts.example"`) || !strings.Contains(string(claims), `/behalf"`) {
		t.Errorf("got %s, %v, want ours for this server", claims, err)
	}
	other, err := identity.NewFederation(identity.FederationConfig{Source: identitytest.NewSource(t, ca, "/behalf")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.JWTSVID(t.Context(), "https://sts.example"); err == nil {
		t.Error("got a JWT-SVID of a source that gives none")
	}
}
