package identitytest

import (
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

// Forge makes good tokens and, of each part of them, bad ones. Issuers is the
// configuration that accepts the good ones.
type Forge struct {
	Issuer string // of Signer's tokens
	Tenant string
	Signer *Signer
	RSA    *Signer // another key of the issuer
	Other  *Signer // nobody's, under the name of Signer's
	// Foreign is another issuer's, of the same tenant with a prefix.
	Foreign *Signer
	// Doubled are two keys of the issuer under one name.
	Doubled [2]*Signer

	away *Signer // of an issuer whose keys cannot be had
	now  func() time.Time
}

// NewForge makes the keys. The persons of its tokens belong to the tenant.
func NewForge(t testing.TB, tenant string, now func() time.Time) *Forge {
	t.Helper()
	return &Forge{
		Issuer: "https://forged.example", Tenant: tenant, Signer: NewSigner(t, "ES256", "k1"), RSA: NewSigner(t, "RS256", "r1"), Other: NewSigner(t, "ES256", "k1"),
		Foreign: NewSigner(t, "ES256", "f1"), Doubled: [2]*Signer{NewSigner(t, "ES256", "d1"), NewSigner(t, "ES256", "d1")},
		away: NewSigner(t, "ES256", "a1"), now: now,
	}
}

// Issuers accepts the good tokens for the audience behalf.
func (f *Forge) Issuers() []identity.Issuer {
	return []identity.Issuer{
		{
			Issuer: f.Issuer, Audiences: []string{"behalf"}, Algorithms: []string{"ES256", "RS256"}, ClientIDs: []string{"web"},
			TenantClaim: "org.id", Tenants: []string{f.Tenant}, RolesClaim: "realm_access.roles",
			JWKS: KeySet(f.Signer, f.RSA, f.Doubled[0], f.Doubled[1]),
		},
		{
			Issuer: "https://other.example", Audiences: []string{"behalf"}, Algorithms: []string{"ES256"},
			Tenant: f.Tenant, SubjectPrefix: "other|", JWKS: KeySet(f.Foreign),
		},
		{
			Issuer: "https://away.example", Audiences: []string{"behalf"}, Algorithms: []string{"ES256"},
			Tenant: f.Tenant, SubjectPrefix: "away|", JWKSFile: "/nowhere/keys.json",
		},
	}
}

// Claims are good ones, of ann.
func (f *Forge) Claims() map[string]any {
	now := f.now().Unix()
	return map[string]any{
		"iss": f.Issuer, "sub": "ann", "aud": "behalf", "iat": now, "exp": now + 600, "client_id": "web",
		"org": map[string]any{"id": f.Tenant}, "scope": "crm.read crm.write", "realm_access": map[string]any{"roles": []string{"support"}},
	}
}

// Header is a good one.
func (f *Forge) Header() map[string]any {
	return map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
}

// Claim signs good claims with one of them changed; nil removes it.
func (f *Forge) Claim(name string, v any) string {
	c := f.Claims()
	if c[name] = v; v == nil {
		delete(c, name)
	}
	return f.Signer.Token(c)
}

// Head signs good claims under a header with one member changed; nil removes it.
func (f *Forge) Head(name string, v any) string {
	h := f.Header()
	if h[name] = v; v == nil {
		delete(h, name)
	}
	return f.Signer.Sign(f.Signer.JSON(h), f.Signer.JSON(f.Claims()))
}

// Payload signs claims as text under a good header.
func (f *Forge) Payload(edit func(string) string) string {
	return f.Signer.Sign(f.Signer.JSON(f.Header()), edit(f.Signer.JSON(f.Claims())))
}

// Good is a token without a fault.
func (f *Forge) Good() string { return f.Signer.Token(f.Claims()) }

// In is a date of a token.
func (f *Forge) In(d time.Duration) int64 { return f.now().Add(d).Unix() }
