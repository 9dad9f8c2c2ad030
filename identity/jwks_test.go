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

func TestKeysOfTheWrongSizeDoNotVerify(t *testing.T) {
	for name, row := range map[string]struct {
		jwk    string
		usable bool
	}{
		"RSA of 1026 bits":           {`{"kty":"RSA","kid":"k1","e":"AQAB","n":"` + strings.Repeat("_", 171) + `"}`, false},
		"RSA of 2052 bits":           {`{"kty":"RSA","kid":"k1","e":"AQAB","n":"` + strings.Repeat("_", 342) + `"}`, true},
		"RSA of 8196 bits":           {`{"kty":"RSA","kid":"k1","e":"AQAB","n":"` + strings.Repeat("_", 1366) + `"}`, false},
		"RSA with the exponent 1":    {`{"kty":"RSA","kid":"k1","e":"AQ","n":"` + strings.Repeat("_", 342) + `"}`, false},
		"RSA with an even exponent":  {`{"kty":"RSA","kid":"k1","e":"BA","n":"` + strings.Repeat("_", 342) + `"}`, false},
		"Ed25519 of 31 bytes":        {`{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"` + encoded(strings.Repeat("x", 31)) + `"}`, false},
		"Ed25519 of 32 bytes":        {`{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"` + encoded(strings.Repeat("x", 32)) + `"}`, true},
		"Ed25519 of 33 bytes":        {`{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"` + encoded(strings.Repeat("x", 33)) + `"}`, false},
		"X25519, which cannot sign":  {`{"kty":"OKP","crv":"X25519","kid":"k1","x":"` + encoded(strings.Repeat("x", 32)) + `"}`, false},
		"P-521, which is not listed": {`{"kty":"EC","crv":"P-521","kid":"k1","x":"AA","y":"AA"}`, false},
		"symmetric":                  {`{"kty":"oct","kid":"k1","k":"` + encoded("secret") + `"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServed(t)
			s.ServeKeys([]byte(`{"keys":[` + row.jwk + `]}`))

			if err := s.verifier.Warm(t.Context()); (err == nil) != row.usable {
				t.Errorf("got %v, want usable: %v", err, row.usable)
			}
		})
	}
}

func TestOnlyTheKeysThatAreRequiredAtStartAreWaitedFor(t *testing.T) {
	here, away := identitytest.NewIssuer(t), identitytest.NewIssuer(t)
	away.Leave()
	v := newVerifier(t, nil, here.Config("behalf", "acme"), away.Config("behalf", "lab"))

	if err := v.Warm(t.Context(), here.URL()); err != nil {
		t.Errorf("got %v, want the one that is required", err)
	}
	if v.Warm(t.Context(), away.URL()) == nil || v.Warm(t.Context()) == nil {
		t.Error("got none, want an error for the one that is away")
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
