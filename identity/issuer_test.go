package identity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/behalf-dev/behalf/identity"
)

func goodIssuer() identity.Issuer {
	return identity.Issuer{Issuer: issuerName, Audiences: []string{"behalf"}, Algorithms: []string{"ES256"}, Tenant: "acme"}
}

func TestIssuerValidation(t *testing.T) {
	for name, row := range map[string]struct {
		edit func(*identity.Issuer)
		want int
	}{
		"good":                      {func(*identity.Issuer) {}, 0},
		"no name":                   {func(i *identity.Issuer) { i.Issuer, i.JWKS = "", []byte("{}") }, 1},
		"http":                      {func(i *identity.Issuer) { i.Issuer = "http://idp.example" }, 1},
		"http to this machine":      {func(i *identity.Issuer) { i.Issuer = "http://127.0.0.1:1" }, 0},
		"keys by http":              {func(i *identity.Issuer) { i.JWKSURL = "http://idp.example/keys" }, 1},
		"password in the URL":       {func(i *identity.Issuer) { i.JWKSURL = "https://a:b@idp.example/keys" }, 1},
		"two places of keys":        {func(i *identity.Issuer) { i.JWKSURL, i.JWKSFile = "https://x.example/k", "f" }, 1},
		"a name that is not a URL":  {func(i *identity.Issuer) { i.Issuer, i.JWKSFile = "kubernetes/serviceaccount", "f" }, 0},
		"no audience":               {func(i *identity.Issuer) { i.Audiences = nil }, 1},
		"empty audience":            {func(i *identity.Issuer) { i.Audiences = []string{""} }, 1},
		"no algorithm":              {func(i *identity.Issuer) { i.Algorithms = nil }, 1},
		"alg none":                  {func(i *identity.Issuer) { i.Algorithms = []string{"none"} }, 1},
		"shared secrets":            {func(i *identity.Issuer) { i.Algorithms = []string{"HS256"} }, 1},
		"our own call tokens":       {func(i *identity.Issuer) { i.TokenTypes = []string{"application/agent-call+jwt"} }, 1},
		"no tenant":                 {func(i *identity.Issuer) { i.Tenant = "" }, 1},
		"tenant and claim":          {func(i *identity.Issuer) { i.TenantClaim, i.Tenants = "t", []string{"b"} }, 1},
		"claim without values":      {func(i *identity.Issuer) { i.Tenant, i.TenantClaim = "", "t" }, 1},
		"values without a claim":    {func(i *identity.Issuer) { i.Tenants = []string{"b"} }, 1},
		"tenant not well formed":    {func(i *identity.Issuer) { i.Tenant = "Acme" }, 1},
		"too much skew":             {func(i *identity.Issuer) { i.Skew = 61 * time.Second }, 1},
		"negative lifetime":         {func(i *identity.Issuer) { i.MaxLifetime = -1 }, 1},
		"prefix with a line break":  {func(i *identity.Issuer) { i.SubjectPrefix = "a\n" }, 1},
		"all problems are reported": {func(i *identity.Issuer) { *i = identity.Issuer{} }, 5},
	} {
		t.Run(name, func(t *testing.T) {
			i := goodIssuer()
			row.edit(&i)

			if got := i.Validate(); len(got) != row.want {
				t.Errorf("got %v, want %d problems", got, row.want)
			}
		})
	}
}

func TestTwoIssuersOfOneTenantNeedPrefixes(t *testing.T) {
	in := func(name, prefix string, tenants ...string) identity.Issuer {
		return identity.Issuer{Issuer: name, SubjectPrefix: prefix, TenantClaim: "t", Tenants: tenants}
	}
	for name, row := range map[string]struct {
		issuers []identity.Issuer
		want    int
	}{
		"different tenants":         {[]identity.Issuer{in("a", "", "x"), in("b", "", "y")}, 0},
		"shared without prefixes":   {[]identity.Issuer{in("a", "", "x", "y"), in("b", "", "y")}, 1},
		"all but one have a prefix": {[]identity.Issuer{in("a", "", "x"), in("b", "b|", "x"), in("c", "c|", "x")}, 0},
		"two of three have none":    {[]identity.Issuer{in("a", "", "x"), in("b", "b|", "x"), in("c", "", "x")}, 1},
		"same prefix":               {[]identity.Issuer{in("a", "p", "x"), in("b", "p", "x")}, 1},
		"prefix begins the other":   {[]identity.Issuer{in("a", "p", "x"), in("b", "pq", "x")}, 1},
		"fixed against claimed":     {[]identity.Issuer{{Issuer: "a", Tenant: "x"}, in("b", "", "x")}, 1},
		"named twice":               {[]identity.Issuer{in("a", "", "x"), in("a", "", "y")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := identity.ValidateTenants(row.issuers); len(got) != row.want {
				t.Errorf("got %v, want %d problems", got, row.want)
			}
		})
	}
}

func TestNewVerifierRefusesConfusableIssuers(t *testing.T) {
	a, b := goodIssuer(), goodIssuer()
	b.Issuer = "https://second.example"

	_, err := identity.NewVerifier(identity.VerifierConfig{Issuers: []identity.Issuer{a, b}})

	if err == nil {
		t.Error("got none, want an error")
	}
}

func TestValidTenant(t *testing.T) {
	for name, want := range map[string]bool{
		"acme": true, "a": true, "0-a": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "Acme": false, "a_b": false, "a.b": false, "*": false, "ä": false, strings.Repeat("a", 64): false,
	} {
		if got := identity.ValidTenant(name); got != want {
			t.Errorf("ValidTenant(%q): got %v, want %v", name, got, want)
		}
	}
}
