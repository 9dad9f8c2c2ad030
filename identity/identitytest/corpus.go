package identitytest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/fault"
)

// Forged is a token of the corpus.
type Forged struct {
	Line   string // of SECURITY, for example 1.8
	Name   string
	Token  string
	Reason fault.Reason // why it is refused; empty: it is good
}

// Bad is the attack corpus: tokens that must be refused, each for its line.
func (f *Forge) Bad() []Forged {
	return slices.Concat(f.badForms(), f.badHeaders(), f.badKeys(), f.badClaims())
}

func (f *Forge) badForms() []Forged {
	good := f.Good()
	parts := strings.Split(good, ".")
	flat := f.Signer.JSON(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	return []Forged{
		{"1.1", "empty", "", fault.CredentialInvalid},
		{"1.1", "two parts", parts[0] + "." + parts[1], fault.CredentialInvalid},
		{"1.1", "four parts", good + ".x", fault.CredentialInvalid},
		{"1.1", "five parts like a JWE", good + ".x.x", fault.CredentialInvalid},
		{"1.1", "JSON serialisation", flat, fault.CredentialInvalid},
		{"1.1", "empty signature", parts[0] + "." + parts[1] + ".", fault.CredentialInvalid},
		{"1.1", "signature of zeros", parts[0] + "." + parts[1] + "." + part(strings.Repeat("\x00", 64)), fault.CredentialInvalid},
		{"1.1", "padding", good + "==", fault.CredentialInvalid},
		{"1.1", "standard base64", strings.Replace(good, parts[1], parts[1][:3]+"+/", 1), fault.CredentialInvalid},
		{"1.1", "trailing bits", parts[0] + "." + parts[1] + "." + odd(parts[2]), fault.CredentialInvalid},
		{"1.1", "line break in a part", parts[0] + "\n." + parts[1] + "." + parts[2], fault.CredentialInvalid},
		{"1.1", "leading space", " " + good, fault.CredentialInvalid},
		{"1.1", "longer than 8 KiB", f.Claim("pad", strings.Repeat("x", 8<<10)), fault.CredentialInvalid},
		{"1.1", "signature in DER", der(f), fault.CredentialInvalid},
		{"1.1", "signature cut short", good[:len(good)-4], fault.CredentialInvalid},
		{"1.1", "payload changed", parts[0] + "." + part(f.Signer.JSON(f.Claims())+" ") + "." + parts[2], fault.CredentialInvalid},
		{"1.10", "header not an object", f.Signer.Sign(`["ES256"]`, f.Signer.JSON(f.Claims())), fault.CredentialInvalid},
		{"1.10", "header with duplicate alg", f.Signer.Sign(`{"alg":"ES256","alg":"ES256","kid":"k1","typ":"at+jwt"}`, f.Signer.JSON(f.Claims())), fault.CredentialInvalid},
		{"1.10", "header with trailing bytes", f.Signer.Sign(f.Signer.JSON(f.Header())+"{}", f.Signer.JSON(f.Claims())), fault.CredentialInvalid},
		{"1.10", "claims not an object", f.Payload(func(string) string { return `"x"` }), fault.CredentialInvalid},
		{"1.10", "claims null", f.Payload(func(string) string { return "null" }), fault.CredentialInvalid},
		{"1.10", "claims with duplicate sub", f.Payload(addMember(`"sub":"root"`)), fault.CredentialInvalid},
		{"1.10", "duplicate deep inside", f.Payload(addMember(`"x":[{"a":1,"a":2}]`)), fault.CredentialInvalid},
		{"1.10", "duplicate by escape", f.Payload(addMember(`"s\u0075b":"root"`)), fault.CredentialInvalid},
		{"1.10", "claims with trailing bytes", f.Payload(func(s string) string { return s + "x" }), fault.CredentialInvalid},
		{"1.10", "claims with a trailing comma", f.Payload(func(s string) string { return s[:len(s)-1] + ",}" }), fault.CredentialInvalid},
		{"1.10", "claims in invalid UTF-8", f.Payload(addMember("\"x\":\"\xff\"")), fault.CredentialInvalid},
		{"1.10", "lone surrogate", f.Payload(addMember(`"x":"\ud800"`)), fault.CredentialInvalid},
		{"1.10", "too deep", f.Claim("x", deep(17)), fault.CredentialInvalid},
		{"1.10", "names in the wrong case", f.Payload(func(s string) string { return strings.Replace(s, `"sub"`, `"Sub"`, 1) }), fault.CredentialInvalid},
		{"1.10", "byte order mark before claims", f.Payload(func(s string) string { return "\ufeff" + s }), fault.CredentialInvalid},
	}
}

func (f *Forge) badHeaders() []Forged {
	c := f.Signer.JSON(f.Claims())
	hs := part(`{"alg":"HS256","kid":"k1","typ":"at+jwt"}`) + "." + part(c)
	mac := hmac.New(sha256.New, KeySet(f.Signer))
	mac.Write([]byte(hs))
	return []Forged{
		{"1.2", "alg none", part(`{"alg":"none","kid":"k1","typ":"at+jwt"}`) + "." + part(c) + ".", fault.CredentialInvalid},
		{"1.2", "alg None signed", f.Head("alg", "None"), fault.CredentialInvalid},
		{"1.2", "alg nOnE", f.Head("alg", "nOnE"), fault.CredentialInvalid},
		{"1.2", "HS256 with the public key", hs + "." + encode(mac.Sum(nil)), fault.CredentialInvalid},
		{"1.2", "alg of another family", f.Head("alg", "RS256"), fault.CredentialInvalid},
		{"1.2", "alg that is not allowed", f.Head("alg", "ES384"), fault.CredentialInvalid},
		{"1.2", "alg in lower case", f.Head("alg", "es256"), fault.CredentialInvalid},
		{"1.2", "alg missing", f.Head("alg", nil), fault.CredentialInvalid},
		{"1.2", "alg not a string", f.Head("alg", 1), fault.CredentialInvalid},
		{"1.3", "RSA key asked to do ES256", f.Head("kid", "r1"), fault.CredentialInvalid},
		{"1.5", "kid missing", f.Head("kid", nil), fault.CredentialInvalid},
		{"1.5", "kid empty", f.Head("kid", ""), fault.CredentialInvalid},
		{"1.5", "kid not a string", f.Head("kid", 7), fault.CredentialInvalid},
		{"1.5", "kid unknown", f.Head("kid", "k9"), fault.CredentialInvalid},
		{"1.5", "kid a path", f.Head("kid", "../../dev/null"), fault.CredentialInvalid},
		{"1.5", "kid with a line break", f.Head("kid", "k1\n"), fault.CredentialInvalid},
		{"1.5", "kid not ASCII", f.Head("kid", "ké"), fault.CredentialInvalid},
		{"1.5", "kid too long", f.Head("kid", strings.Repeat("k", 257)), fault.CredentialInvalid},
		{"1.4", "kid of another issuer", f.Head("kid", "f1"), fault.CredentialInvalid},
		{"1.6", "jku", f.Head("jku", "https://evil.example/jwks"), fault.CredentialInvalid},
		{"1.6", "x5u", f.Head("x5u", "https://evil.example/x"), fault.CredentialInvalid},
		{"1.6", "embedded jwk", f.Head("jwk", f.Other.JWK()), fault.CredentialInvalid},
		{"1.6", "x5c", f.Head("x5c", []string{"MIIB"}), fault.CredentialInvalid},
		{"1.6", "crit", f.Head("crit", []string{"exp"}), fault.CredentialInvalid},
		{"1.6", "empty crit", f.Head("crit", []string{}), fault.CredentialInvalid},
		{"1.6", "b64 false", f.Head("b64", false), fault.CredentialInvalid},
		{"1.6", "zip", f.Head("zip", "DEF"), fault.CredentialInvalid},
		{"1.6", "enc", f.Head("enc", "A128GCM"), fault.CredentialInvalid},
		{"1.7", "typ missing", f.Head("typ", nil), fault.CredentialInvalid},
		{"1.7", "typ of an ID token", f.Head("typ", "JWT"), fault.CredentialInvalid},
		{"1.7", "typ of our own call token", f.Head("typ", "agent-call+jwt"), fault.CredentialInvalid},
		{"1.7", "typ of a logout token", f.Head("typ", "logout+jwt"), fault.CredentialInvalid},
		{"1.7", "typ not a string", f.Head("typ", []string{"at+jwt"}), fault.CredentialInvalid},
		{"1.4", "same kid, another key", f.Other.Token(f.Claims()), fault.CredentialInvalid},
		{"1.4", "another issuer's key and kid", f.Foreign.Token(f.Claims()), fault.CredentialInvalid},
		{"1.4", "our issuer's key, foreign iss", f.Claim("iss", "https://other.example"), fault.CredentialInvalid},
	}
}

func (f *Forge) badClaims() []Forged {
	return []Forged{
		{"1.4", "iss missing", f.Claim("iss", nil), fault.CredentialInvalid},
		{"1.4", "iss unknown", f.Claim("iss", "https://evil.example"), fault.CredentialInvalid},
		{"1.4", "iss with a slash", f.Claim("iss", f.Issuer+"/"), fault.CredentialInvalid},
		{"1.4", "iss in upper case", f.Claim("iss", strings.ToUpper(f.Issuer)), fault.CredentialInvalid},
		{"1.4", "iss an array", f.Claim("iss", []string{f.Issuer}), fault.CredentialInvalid},
		{"1.4", "iss empty", f.Claim("iss", ""), fault.CredentialInvalid},
		{"1.8", "sub missing", f.Claim("sub", nil), fault.CredentialInvalid},
		{"1.8", "sub empty", f.Claim("sub", ""), fault.CredentialInvalid},
		{"1.8", "sub a number", f.Claim("sub", 7), fault.CredentialInvalid},
		{"1.8", "sub too long", f.Claim("sub", strings.Repeat("a", 256)), fault.CredentialInvalid},
		{"1.8", "sub with a line break", f.Claim("sub", "ann\nbob"), fault.CredentialInvalid},
		{"1.8", "sub with NUL", f.Claim("sub", "ann\x00"), fault.CredentialInvalid},
		{"1.8", "sub with a bidi control", f.Claim("sub", "ann\u202e"), fault.CredentialInvalid},
		{"1.8", "sub with DEL", f.Claim("sub", "ann\x7f"), fault.CredentialInvalid},
		{"3.8", "sub a workload", f.Claim("sub", "SPIFFE://corp.example/x"), fault.CredentialInvalid},
		{"1.11", "sub with another's prefix", f.Claim("sub", "other|ann"), fault.CredentialInvalid},
		{"1.9", "aud missing", f.Claim("aud", nil), fault.CredentialInvalid},
		{"1.9", "aud of another", f.Claim("aud", "billing"), fault.CredentialInvalid},
		{"1.9", "aud a prefix of ours", f.Claim("aud", "behal"), fault.CredentialInvalid},
		{"1.9", "aud in another case", f.Claim("aud", "Behalf"), fault.CredentialInvalid},
		{"1.9", "aud an empty array", f.Claim("aud", []string{}), fault.CredentialInvalid},
		{"1.9", "aud an array of others", f.Claim("aud", []any{"a", "b"}), fault.CredentialInvalid},
		{"1.9", "aud an array with a number", f.Claim("aud", []any{"behalf", 1}), fault.CredentialInvalid},
		{"1.9", "aud an object", f.Claim("aud", map[string]any{"behalf": true}), fault.CredentialInvalid},
		{"1.8", "exp missing", f.Claim("exp", nil), fault.CredentialInvalid},
		{"1.8", "exp a string", f.Claim("exp", "9999999999"), fault.CredentialInvalid},
		{"1.8", "exp 1e300", f.Claim("exp", json.Number("1e300")), fault.CredentialInvalid},
		{"1.8", "exp beyond any number", f.Claim("exp", json.Number("1e999")), fault.CredentialInvalid},
		{"1.8", "exp overflowing int64", f.Claim("exp", json.Number("18446744073709551616")), fault.CredentialInvalid},
		{"1.8", "exp negative", f.Claim("exp", -1), fault.CredentialInvalid},
		{"1.8", "exp null", f.Payload(func(s string) string { return strings.Replace(s, `"exp":`, `"exp":null,"z":`, 1) }), fault.CredentialInvalid},
		{"1.8", "iat missing", f.Claim("iat", nil), fault.CredentialInvalid},
		{"1.8", "iat in the future", f.Claim("iat", f.In(5*time.Minute)), fault.CredentialInvalid},
		{"1.8", "iat after exp", f.Claim("exp", f.In(-time.Second)), fault.CredentialInvalid},
		{"1.8", "living longer than a day", f.Claim("exp", f.In(24*time.Hour+time.Second)), fault.CredentialInvalid},
		{"1.8", "nbf in the future", f.Claim("nbf", f.In(5*time.Minute)), fault.CredentialInvalid},
		{"1.8", "nbf a string", f.Claim("nbf", "0"), fault.CredentialInvalid},
		{"1.9", "client of another", f.Claim("client_id", "evil"), fault.CredentialInvalid},
		{"1.9", "azp of another", f.Claim("azp", "evil"), fault.CredentialInvalid},
		{"1.9", "client missing", f.Claim("client_id", nil), fault.CredentialInvalid},
		{"1.9", "client not a string", f.Claim("client_id", []string{"web"}), fault.CredentialInvalid},
		{"1.11", "tenant missing", f.Claim("org", nil), fault.CredentialInvalid},
		{"1.11", "tenant of another", f.Claim("org", map[string]any{"id": "evil"}), fault.CredentialInvalid},
		{"1.11", "tenant an array", f.Claim("org", map[string]any{"id": []string{"acme"}}), fault.CredentialInvalid},
		{"1.11", "tenant in upper case", f.Claim("org", map[string]any{"id": "ACME"}), fault.CredentialInvalid},
		{"1.12", "scope a number", f.Claim("scope", 1), fault.CredentialInvalid},
		{"1.12", "scope of 257 names", f.Claim("scope", strings.Repeat("a ", 256)+"b"), fault.CredentialInvalid},
		{"1.12", "roles a number", f.Claim("realm_access", map[string]any{"roles": 1}), fault.CredentialInvalid},
		{"1.12", "role with a line break", f.Claim("realm_access", map[string]any{"roles": []string{"a\nb"}}), fault.CredentialInvalid},
		{"1.14", "cnf without a certificate", f.Claim("cnf", map[string]any{"x5t#S256": "abc"}), fault.CredentialInvalid},
		{"1.14", "cnf for DPoP", f.Claim("cnf", map[string]any{"jkt": "abc"}), fault.CredentialInvalid},
		{"1.14", "cnf with a member too many", f.Claim("cnf", map[string]any{"x5t#S256": "", "jkt": "x"}), fault.CredentialInvalid},
		{"1.14", "cnf empty", f.Claim("cnf", map[string]any{}), fault.CredentialInvalid},
		{"1.14", "cnf a string", f.Claim("cnf", "x"), fault.CredentialInvalid},
		{"1.14", "cnf with an empty thumbprint", f.Claim("cnf", map[string]any{"x5t#S256": ""}), fault.CredentialInvalid},
		{"1.7", "ID token by its hash", f.Claim("at_hash", "x"), fault.CredentialInvalid},
		{"1.7", "security event", f.Claim("events", map[string]any{}), fault.CredentialInvalid},
		{"1.7", "ID token by Keycloak's typ", f.Claim("typ", "ID"), fault.CredentialInvalid},
		{"1.7", "refresh token by Keycloak's typ", f.Claim("typ", "Refresh"), fault.CredentialInvalid},
		{"1.10", "jti a number", f.Claim("jti", 1), fault.CredentialInvalid},
		{"1.10", "acr an object", f.Claim("acr", map[string]any{}), fault.CredentialInvalid},
		{"1.10", "amr a string", f.Claim("amr", "pwd"), fault.CredentialInvalid},
		{"1.10", "amr null", f.Payload(addMember(`"amr":null`)), fault.CredentialInvalid},
		{"1.10", "amr with a number", f.Claim("amr", []any{"pwd", 1}), fault.CredentialInvalid},
		{"1.10", "amr of 17 methods", f.Claim("amr", strings.Split(strings.Repeat("a ", 16)+"b", " ")), fault.CredentialInvalid},
		{"1.10", "amr with a method of 65 bytes", f.Claim("amr", []string{strings.Repeat("a", 65)}), fault.CredentialInvalid},
		{"1.10", "amr with a line break", f.Claim("amr", []string{"p\nwd"}), fault.CredentialInvalid},
		{"1.10", "auth_time a string", f.Claim("auth_time", "now"), fault.CredentialInvalid},
	}
}

// der is a good token whose signature is encoded as in certificates.
func der(f *Forge) string {
	input := part(f.Signer.JSON(f.Header())) + "." + part(f.Signer.JSON(f.Claims()))
	sum := sha256.Sum256([]byte(input))
	sig, err := f.Signer.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		f.Signer.tb.Fatalf("sign: %v", err)
	}
	return input + "." + encode(sig)
}

func part(s string) string { return encode([]byte(s)) }

func addMember(member string) func(string) string {
	return func(s string) string { return "{" + member + "," + s[1:] }
}

// odd says the same bytes with trailing bits that are not zero.
func odd(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + alphabet[last+1:last+2]
}

func deep(levels int) any {
	var v any = "x"
	for range levels {
		v = map[string]any{"a": v}
	}
	return v
}

func (f *Forge) badKeys() []Forged {
	old := f.Claims()
	old["iat"], old["exp"] = f.In(-time.Hour), f.In(-time.Minute)
	away := f.Claims()
	away["iss"] = "https://away.example"
	rsaAsPSS := f.Header()
	rsaAsPSS["alg"], rsaAsPSS["kid"] = "PS256", "r1"
	return []Forged{
		{"1.3", "ES256 by an RSA key", f.RSA.Sign(f.RSA.JSON(map[string]any{"alg": "ES256", "kid": "r1", "typ": "at+jwt"}), f.RSA.JSON(f.Claims())), fault.CredentialInvalid},
		{"1.3", "RS256 by an EC key", f.Head("alg", "RS256"), fault.CredentialInvalid},
		{"1.3", "another alg than the key's own", f.RSA.Sign(f.RSA.JSON(rsaAsPSS), f.RSA.JSON(f.Claims())), fault.CredentialInvalid},
		{"1.5", "first of two keys of one kid", f.Doubled[0].Token(f.Claims()), fault.CredentialInvalid},
		{"1.5", "second of two keys of one kid", f.Doubled[1].Token(f.Claims()), fault.CredentialInvalid},
		{"1.8", "expired", f.Signer.Token(old), fault.CredentialExpired},
		{"2.3", "keys that cannot be had", f.away.Token(away), fault.KeysetUnavailable},
	}
}

// Twins are good tokens, at least one for each line that the bad ones are for: a
// verifier that refuses everything refuses them too.
func (f *Forge) Twins() []Forged {
	foreign := f.Claims()
	foreign["iss"] = "https://other.example"
	return []Forged{
		{Line: "1.1", Name: "compact JWS", Token: f.Good()},
		{Line: "1.2", Name: "RS256 where it is allowed", Token: f.RSA.Token(f.Claims())},
		{Line: "1.3", Name: "ES256 by an EC key", Token: f.Good()},
		{Line: "1.4", Name: "another issuer by its own key", Token: f.Foreign.Token(foreign)},
		{Line: "1.5", Name: "kid that is there once", Token: f.Head("kid", "k1")},
		{Line: "1.6", Name: "unknown header members", Token: f.Head("x5t", "abc")},
		{Line: "1.7", Name: "typ application/at+jwt", Token: f.Head("typ", "application/AT+JWT")},
		{Line: "1.7", Name: "Keycloak's Bearer", Token: f.Claim("typ", "Bearer")},
		{Line: "1.8", Name: "iat within the skew", Token: f.Claim("iat", f.In(29*time.Second))},
		{Line: "1.8", Name: "nbf within the skew", Token: f.Claim("nbf", f.In(29*time.Second))},
		{Line: "1.8", Name: "fractional dates", Token: f.Claim("iat", float64(f.In(0))-0.5)},
		{Line: "1.9", Name: "aud an array with ours", Token: f.Claim("aud", []string{"x", "behalf"})},
		{Line: "1.9", Name: "client by azp", Token: f.Payload(func(s string) string { return strings.Replace(s, "client_id", "azp", 1) })},
		{Line: "1.10", Name: "claims 16 deep", Token: f.Claim("x", deep(15))},
		{Line: "1.10", Name: "unknown claims", Token: f.Claim("anything", []any{1, "x", nil, map[string]any{}})},
		{Line: "1.11", Name: "e-mail that is not verified", Token: f.Claim("email", "ann@example.test")},
		{Line: "1.12", Name: "scp instead of scope", Token: f.Payload(func(s string) string { return strings.Replace(s, `"scope":`, `"scp":`, 1) })},
		{Line: "1.12", Name: "256 scopes", Token: f.Claim("scope", strings.Repeat("a ", 255)+"b")},
		{Line: "1.12", Name: "no scopes", Token: f.Claim("scope", nil)},
		{Line: "1.13", Name: "group overage", Token: f.Claim("hasgroups", true)},
		{Line: "1.14", Name: "no cnf", Token: f.Claim("cnf", nil)},
		{Line: "2.3", Name: "keys that are there", Token: f.Good()},
		{Line: "3.8", Name: "sub that is like no workload", Token: f.Claim("sub", "spiffe:ann")},
	}
}
