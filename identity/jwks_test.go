package identity_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
)

func TestKeysThatMustNotVerifyDoNot(t *testing.T) {
	good := identitytest.NewSigner(t, "ES256", "good")
	for name, edit := range map[string]func(jwk map[string]any){
		"for encryption":        func(k map[string]any) { k["use"] = "enc" },
		"use not a string":      func(k map[string]any) { k["use"] = 1 },
		"ops without verify":    func(k map[string]any) { k["key_ops"] = []string{"encrypt"} },
		"another algorithm":     func(k map[string]any) { k["alg"] = "ES384" },
		"symmetric algorithm":   func(k map[string]any) { k["alg"] = "HS256" },
		"private key published": func(k map[string]any) { k["d"] = k["x"] },
		"point off the curve":   func(k map[string]any) { k["y"] = k["x"] },
		"curve of another size": func(k map[string]any) { k["crv"] = "P-384" },
		"no kid":                func(k map[string]any) { delete(k, "kid") },
		"kid with a line break": func(k map[string]any) { k["kid"] = "k1\n" },
		"no type":               func(k map[string]any) { delete(k, "kty") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			jwk := s.signer.JWK()
			edit(jwk)
			s.ServeKeys([]byte(good.JSON(map[string]any{"keys": []any{jwk, good.JWK()}})))

			if err := s.verify(t, s.signer); !errors.Is(err, fault.CredentialInvalid) {
				t.Errorf("got %v, want CREDENTIAL_INVALID", err)
			}
		})
	}
}

func TestWeakRSAKeysDoNotVerify(t *testing.T) {
	s := newServed(t)
	n := strings.Repeat("_", 171) // 1026 bits
	s.ServeKeys([]byte(`{"keys":[{"kty":"RSA","kid":"k1","e":"AQAB","n":"` + n + `"}]}`))

	if err := s.verifier.Warm(t.Context()); err == nil {
		t.Error("got none, want a set without a usable key")
	}
}

func TestKeysThatShareAKidAreBothDroppedWithAnAlarm(t *testing.T) {
	first, second := identitytest.NewSigner(t, "ES256", "k1"), identitytest.NewSigner(t, "ES256", "k1")
	good := identitytest.NewSigner(t, "ES256", "good")
	var log strings.Builder
	v, err := identity.NewVerifier(identity.VerifierConfig{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Issuers: []identity.Issuer{{
			Issuer: issuerName, Audiences: []string{"behalf"}, Algorithms: []string{"ES256"}, Tenant: "acme",
			JWKS: identitytest.KeySet(first, second, good),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	claims := map[string]any{"iss": issuerName, "sub": "ann", "aud": "behalf", "iat": now, "exp": now + 60}

	for name, row := range map[string]struct {
		by   *identitytest.Signer
		want bool
	}{"first": {first, false}, "second": {second, false}, "another": {good, true}} {
		if _, err := v.Verify(t.Context(), identity.NewSecret(row.by.Token(claims)), ""); (err == nil) != row.want {
			t.Errorf("%s: got %v, want accepted: %v", name, err, row.want)
		}
	}
	if !strings.Contains(log.String(), "several keys under one kid") || v.Status()[0].Doubled != 1 {
		t.Errorf("got log %q, want an alarm", log.String())
	}
}
