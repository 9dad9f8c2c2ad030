package identity_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/identity/identitytest"
	"google.golang.org/grpc/codes"
)

const issuerName = "https://idp.example"

// forge makes good tokens and lets rows make them bad.
type forge struct {
	signer, other, foreign *identitytest.Signer
	clock                  *identitytest.Clock
	verifier               *identity.Verifier
}

// newForge makes a forge. An RSA key takes long to find: rows that need one pass it.
func newForge(t *testing.T, rsa ...*identitytest.Signer) *forge {
	t.Helper()
	f := &forge{
		signer: identitytest.NewSigner(t, "ES256", "k1"), other: identitytest.NewSigner(t, "ES256", "k1"),
		foreign: identitytest.NewSigner(t, "ES256", "f1"), clock: identitytest.NewClock(),
	}
	v, err := identity.NewVerifier(identity.VerifierConfig{Now: f.clock.Now, Issuers: []identity.Issuer{
		{
			Issuer: issuerName, Audiences: []string{"behalf"}, Algorithms: []string{"ES256", "RS256"}, ClientIDs: []string{"web"},
			TenantClaim: "org.id", Tenants: []string{"acme"}, RolesClaim: "realm_access.roles", JWKS: identitytest.KeySet(append(rsa, f.signer)...),
		},
		{
			Issuer: "https://other.example", Audiences: []string{"behalf"}, Algorithms: []string{"ES256"},
			Tenant: "acme", SubjectPrefix: "other|", JWKS: identitytest.KeySet(f.foreign),
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.verifier = v
	return f
}

func (f *forge) claims() map[string]any {
	now := f.clock.Now().Unix()
	return map[string]any{
		"iss": issuerName, "sub": "ann", "aud": "behalf", "iat": now, "exp": now + 600, "client_id": "web",
		"org": map[string]any{"id": "acme"}, "scope": "crm.read crm.write",
	}
}

func (f *forge) header() map[string]any {
	return map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
}

// claim signs good claims with one of them changed; nil removes it.
func (f *forge) claim(name string, v any) string {
	c := f.claims()
	if c[name] = v; v == nil {
		delete(c, name)
	}
	return f.signer.Token(c)
}

// head signs good claims under a header with one member changed.
func (f *forge) head(name string, v any) string {
	h := f.header()
	if h[name] = v; v == nil {
		delete(h, name)
	}
	return f.signer.Sign(f.signer.JSON(h), f.signer.JSON(f.claims()))
}

// payload signs claims text under a good header.
func (f *forge) payload(edit func(string) string) string {
	return f.signer.Sign(f.signer.JSON(f.header()), edit(f.signer.JSON(f.claims())))
}

func (f *forge) good() string { return f.signer.Token(f.claims()) }

func (f *forge) in(d time.Duration) int64 { return f.clock.Now().Add(d).Unix() }

func part(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func addMember(member string) func(string) string {
	return func(s string) string { return "{" + member + "," + s[1:] }
}

func deep(levels int) any {
	var v any = "x"
	for range levels {
		v = map[string]any{"a": v}
	}
	return v
}

func (f *forge) badForms() map[string]string {
	good := f.good()
	parts := strings.Split(good, ".")
	flat, _ := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	return map[string]string{
		"empty":                         "",
		"two parts":                     parts[0] + "." + parts[1],
		"four parts":                    good + ".x",
		"five parts like a JWE":         good + ".x.x",
		"JSON serialisation":            string(flat),
		"empty signature":               parts[0] + "." + parts[1] + ".",
		"signature of zeros":            parts[0] + "." + parts[1] + "." + part(strings.Repeat("\x00", 64)),
		"padding":                       good + "==",
		"standard base64":               strings.Replace(good, parts[1], parts[1][:3]+"+/", 1),
		"trailing bits":                 parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-1] + "_",
		"line break in a part":          parts[0] + "\n." + parts[1] + "." + parts[2],
		"leading space":                 " " + good,
		"longer than 8 KiB":             f.claim("pad", strings.Repeat("x", 8<<10)),
		"payload changed":               parts[0] + "." + part(f.signer.JSON(f.claims())+" ") + "." + parts[2],
		"header not an object":          f.signer.Sign(`["ES256"]`, f.signer.JSON(f.claims())),
		"header with duplicate alg":     f.signer.Sign(`{"alg":"ES256","alg":"ES256","kid":"k1","typ":"at+jwt"}`, f.signer.JSON(f.claims())),
		"header with trailing bytes":    f.signer.Sign(f.signer.JSON(f.header())+"{}", f.signer.JSON(f.claims())),
		"claims not an object":          f.payload(func(string) string { return `"x"` }),
		"claims null":                   f.payload(func(string) string { return "null" }),
		"claims with duplicate sub":     f.payload(addMember(`"sub":"root"`)),
		"duplicate deep inside":         f.payload(addMember(`"x":[{"a":1,"a":2}]`)),
		"duplicate by escape":           f.payload(addMember(`"s\u0075b":"root"`)),
		"claims with trailing bytes":    f.payload(func(s string) string { return s + "x" }),
		"claims with a trailing comma":  f.payload(func(s string) string { return s[:len(s)-1] + ",}" }),
		"claims in invalid UTF-8":       f.payload(addMember("\"x\":\"\xff\"")),
		"lone surrogate":                f.payload(addMember(`"x":"\ud800"`)),
		"too deep":                      f.claim("x", deep(17)),
		"names in the wrong case":       f.payload(func(s string) string { return strings.Replace(s, `"sub"`, `"Sub"`, 1) }),
		"byte order mark before claims": f.payload(func(s string) string { return "\ufeff" + s }),
	}
}

func (f *forge) badHeaders() map[string]string {
	c := f.signer.JSON(f.claims())
	hs := part(`{"alg":"HS256","kid":"k1","typ":"at+jwt"}`) + "." + part(c)
	mac := hmac.New(sha256.New, identitytest.KeySet(f.signer))
	mac.Write([]byte(hs))
	return map[string]string{
		"alg none":                      part(`{"alg":"none","kid":"k1","typ":"at+jwt"}`) + "." + part(c) + ".",
		"alg None signed":               f.head("alg", "None"),
		"alg nOnE":                      f.head("alg", "nOnE"),
		"HS256 with the public key":     hs + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"alg of another family":         f.head("alg", "RS256"),
		"alg that is not allowed":       f.head("alg", "ES384"),
		"alg in lower case":             f.head("alg", "es256"),
		"alg missing":                   f.head("alg", nil),
		"alg not a string":              f.head("alg", 1),
		"RSA key asked to do ES256":     f.head("kid", "r1"),
		"kid missing":                   f.head("kid", nil),
		"kid empty":                     f.head("kid", ""),
		"kid not a string":              f.head("kid", 7),
		"kid unknown":                   f.head("kid", "k9"),
		"kid a path":                    f.head("kid", "../../dev/null"),
		"kid with a line break":         f.head("kid", "k1\n"),
		"kid not ASCII":                 f.head("kid", "ké"),
		"kid too long":                  f.head("kid", strings.Repeat("k", 257)),
		"kid of another issuer":         f.head("kid", "f1"),
		"jku":                           f.head("jku", "https://evil.example/jwks"),
		"x5u":                           f.head("x5u", "https://evil.example/x"),
		"embedded jwk":                  f.head("jwk", f.other.JWK()),
		"x5c":                           f.head("x5c", []string{"MIIB"}),
		"crit":                          f.head("crit", []string{"exp"}),
		"empty crit":                    f.head("crit", []string{}),
		"b64 false":                     f.head("b64", false),
		"zip":                           f.head("zip", "DEF"),
		"enc":                           f.head("enc", "A128GCM"),
		"typ missing":                   f.head("typ", nil),
		"typ of an ID token":            f.head("typ", "JWT"),
		"typ of our own call token":     f.head("typ", "agent-call+jwt"),
		"typ of a logout token":         f.head("typ", "logout+jwt"),
		"typ not a string":              f.head("typ", []string{"at+jwt"}),
		"same kid, another key":         f.other.Token(f.claims()),
		"another issuer's key and kid":  f.foreign.Token(f.claims()),
		"our issuer's key, foreign iss": f.claim("iss", "https://other.example"),
	}
}

func (f *forge) badClaims() map[string]string {
	return map[string]string{
		"iss missing":                     f.claim("iss", nil),
		"iss unknown":                     f.claim("iss", "https://evil.example"),
		"iss with a slash":                f.claim("iss", issuerName+"/"),
		"iss in upper case":               f.claim("iss", strings.ToUpper(issuerName)),
		"iss an array":                    f.claim("iss", []string{issuerName}),
		"iss empty":                       f.claim("iss", ""),
		"sub missing":                     f.claim("sub", nil),
		"sub empty":                       f.claim("sub", ""),
		"sub a number":                    f.claim("sub", 7),
		"sub too long":                    f.claim("sub", strings.Repeat("a", 256)),
		"sub with a line break":           f.claim("sub", "ann\nbob"),
		"sub with NUL":                    f.claim("sub", "ann\x00"),
		"sub with a bidi control":         f.claim("sub", "ann\u202e"),
		"sub with DEL":                    f.claim("sub", "ann\x7f"),
		"sub a workload":                  f.claim("sub", "SPIFFE://corp.example/x"),
		"sub with another's prefix":       f.claim("sub", "other|ann"),
		"aud missing":                     f.claim("aud", nil),
		"aud of another":                  f.claim("aud", "billing"),
		"aud a prefix of ours":            f.claim("aud", "behal"),
		"aud in another case":             f.claim("aud", "Behalf"),
		"aud an empty array":              f.claim("aud", []string{}),
		"aud an array of others":          f.claim("aud", []any{"a", "b"}),
		"aud an array with a number":      f.claim("aud", []any{"behalf", 1}),
		"aud an object":                   f.claim("aud", map[string]any{"behalf": true}),
		"exp missing":                     f.claim("exp", nil),
		"exp a string":                    f.claim("exp", "9999999999"),
		"exp 1e300":                       f.claim("exp", json.Number("1e300")),
		"exp beyond any number":           f.claim("exp", json.Number("1e999")),
		"exp overflowing int64":           f.claim("exp", json.Number("18446744073709551616")),
		"exp negative":                    f.claim("exp", -1),
		"exp null":                        f.payload(func(s string) string { return strings.Replace(s, `"exp":`, `"exp":null,"z":`, 1) }),
		"iat missing":                     f.claim("iat", nil),
		"iat in the future":               f.claim("iat", f.in(31*time.Second)),
		"iat after exp":                   f.claim("exp", f.in(-time.Second)),
		"living longer than a day":        f.claim("exp", f.in(24*time.Hour+time.Second)),
		"nbf in the future":               f.claim("nbf", f.in(31*time.Second)),
		"nbf a string":                    f.claim("nbf", "0"),
		"client of another":               f.claim("client_id", "evil"),
		"azp of another":                  f.claim("azp", "evil"),
		"client missing":                  f.claim("client_id", nil),
		"client not a string":             f.claim("client_id", []string{"web"}),
		"tenant missing":                  f.claim("org", nil),
		"tenant of another":               f.claim("org", map[string]any{"id": "evil"}),
		"tenant an array":                 f.claim("org", map[string]any{"id": []string{"acme"}}),
		"tenant in upper case":            f.claim("org", map[string]any{"id": "ACME"}),
		"scope a number":                  f.claim("scope", 1),
		"scope of 257 names":              f.claim("scope", strings.Repeat("a ", 256)+"b"),
		"roles a number":                  f.claim("realm_access", map[string]any{"roles": 1}),
		"role with a line break":          f.claim("realm_access", map[string]any{"roles": []string{"a\nb"}}),
		"cnf without a certificate":       f.claim("cnf", map[string]any{"x5t#S256": "abc"}),
		"cnf for DPoP":                    f.claim("cnf", map[string]any{"jkt": "abc"}),
		"cnf with a member too many":      f.claim("cnf", map[string]any{"x5t#S256": "", "jkt": "x"}),
		"cnf empty":                       f.claim("cnf", map[string]any{}),
		"cnf a string":                    f.claim("cnf", "x"),
		"cnf with an empty thumbprint":    f.claim("cnf", map[string]any{"x5t#S256": ""}),
		"ID token by its hash":            f.claim("at_hash", "x"),
		"security event":                  f.claim("events", map[string]any{}),
		"ID token by Keycloak's typ":      f.claim("typ", "ID"),
		"refresh token by Keycloak's typ": f.claim("typ", "Refresh"),
		"jti a number":                    f.claim("jti", 1),
		"acr an object":                   f.claim("acr", map[string]any{}),
		"auth_time a string":              f.claim("auth_time", "now"),
	}
}

func TestVerifierRefusesTheAttackCorpusWithOneText(t *testing.T) {
	f := newForge(t, identitytest.NewSigner(t, "RS256", "r1"))
	rows := f.badForms()
	maps.Copy(rows, f.badHeaders())
	maps.Copy(rows, f.badClaims())
	texts := map[string]bool{}
	for name, raw := range rows {
		t.Run(name, func(t *testing.T) {
			_, err := f.verifier.Verify(t.Context(), identity.NewSecret(raw), "")

			got, ok := errors.AsType[*fault.Error](err)
			if !ok || got.Reason != fault.CredentialInvalid || got.Code != codes.Unauthenticated {
				t.Fatalf("got %v, want CREDENTIAL_INVALID", err)
			}
			texts[got.Message] = true
			if raw != "" && strings.Contains(got.Error(), raw) {
				t.Error("the error contains the token")
			}
		})
	}
	if len(texts) != 1 {
		t.Errorf("got %d public texts, want 1", len(texts))
	}
	if _, err := f.verifier.Verify(t.Context(), identity.NewSecret(f.good()), ""); err != nil {
		t.Errorf("the good token beside the bad ones: %v", err)
	}
}

func TestVerifierToleratesWhatIsHarmless(t *testing.T) {
	rsa := identitytest.NewSigner(t, "RS256", "r1")
	f := newForge(t, rsa)
	for name, raw := range map[string]string{
		"typ application/at+jwt": f.head("typ", "application/AT+JWT"),
		"unknown header members": f.head("x5t", "abc"),
		"aud an array with ours": f.claim("aud", []string{"x", "behalf"}),
		"fractional dates":       f.claim("iat", float64(f.in(0))-0.5),
		"iat within the skew":    f.claim("iat", f.in(29*time.Second)),
		"nbf within the skew":    f.claim("nbf", f.in(29*time.Second)),
		"client by azp":          f.payload(func(s string) string { return strings.Replace(s, "client_id", "azp", 1) }),
		"Keycloak's Bearer":      f.claim("typ", "Bearer"),
		"RS256 with its own key": rsa.Token(f.claims()),
		"claims 16 deep":         f.claim("x", deep(15)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := f.verifier.Verify(t.Context(), identity.NewSecret(raw), ""); err != nil {
				t.Errorf("got %v, want none", err)
			}
		})
	}
}

func TestVerifierTellsExpiryOnlyForTokensThatAreGoodOtherwise(t *testing.T) {
	f := newForge(t)
	good, foreign := f.good(), f.claim("aud", "billing")
	f.clock.Advance(10*time.Minute + 29*time.Second)
	if _, err := f.verifier.Verify(t.Context(), identity.NewSecret(good), ""); err != nil {
		t.Fatalf("within the skew: %v", err)
	}
	f.clock.Advance(time.Second)

	_, err := f.verifier.Verify(t.Context(), identity.NewSecret(good), "")
	_, foreignErr := f.verifier.Verify(t.Context(), identity.NewSecret(foreign), "")

	if !errors.Is(err, fault.CredentialExpired) {
		t.Errorf("got %v, want CREDENTIAL_EXPIRED", err)
	}
	if !errors.Is(foreignErr, fault.CredentialInvalid) {
		t.Errorf("got %v, want CREDENTIAL_INVALID", foreignErr)
	}
}
