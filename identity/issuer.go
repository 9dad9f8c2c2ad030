package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Defaults and bounds of SECURITY 1 and 2.
const (
	defaultSkew        = 30 * time.Second
	maxSkew            = time.Minute
	defaultMaxLifetime = 24 * time.Hour
	defaultMaxStale    = 24 * time.Hour
)

// Issuer says whose tokens are accepted and what they may say. Issuer,
// Audiences, Algorithms and one of Tenant or TenantClaim are required.
type Issuer struct {
	Issuer     string   // exact `iss`
	Audiences  []string // our names; a token must be for one of them
	Algorithms []string // of RS256, PS256, ES256, ES384, EdDSA
	TokenTypes []string // accepted `typ`; absent: at+jwt. "JWT" or "" (no typ) for issuers that cannot do better
	ClientIDs  []string // accepted `client_id`/`azp`; absent: any

	Tenant        string   // fixed, or
	TenantClaim   string   // the claim that names it, and
	Tenants       []string // the values that claim may have
	SubjectPrefix string   // put in front of `sub`

	RolesClaim  string // a name, or a path with dots; absent: no roles
	ScopesClaim string // likewise; absent: `scope`, else `scp`

	// Where the keys are: one of these. None means Discovery.
	JWKSURL   string
	JWKSFile  string
	JWKS      []byte
	Discovery bool // OpenID or RFC 8414 metadata below Issuer

	SingleAudience        bool // refuse tokens that are also for others
	RequireBound          bool // refuse tokens without `cnf`
	AllowPrivateAddresses bool // permit keys from private address ranges

	Skew        time.Duration // absent: 30 s; at most 60 s
	MaxLifetime time.Duration // of a token; absent: 24 h
	MaxStale    time.Duration // how long old keys serve while the issuer is away; absent: 24 h
}

func (i Issuer) withDefaults() Issuer {
	if len(i.TokenTypes) == 0 {
		i.TokenTypes = []string{"at+jwt"}
	}
	i.Skew = orDuration(i.Skew, defaultSkew)
	i.MaxLifetime = orDuration(i.MaxLifetime, defaultMaxLifetime)
	i.MaxStale = orDuration(i.MaxStale, defaultMaxStale)
	i.Discovery = i.Discovery || (i.JWKSURL == "" && i.JWKSFile == "" && i.JWKS == nil)
	return i
}

func orDuration(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// algorithms that exist here. There is none that takes a shared secret.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384, jose.EdDSA}
}

// foreignTypes are classes of tokens that must never pass for access tokens,
// our own call tokens first.
func foreignTypes() []string {
	return []string{"agent-call+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt", "id_token", "jose"}
}

// Validate reports what is wrong with the issuer alone; see ValidateTenants
// for issuers together.
func (i Issuer) Validate() []error {
	i = i.withDefaults()
	var problems []error
	bad := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("issuer %q: "+format, append([]any{i.Issuer}, args...)...))
	}
	if i.Issuer == "" {
		bad("it has no name")
	}
	if len(i.Audiences) == 0 || slices.Contains(i.Audiences, "") {
		bad("audiences must name us")
	}
	if len(i.Algorithms) == 0 {
		bad("algorithms are required")
	}
	for _, a := range i.Algorithms {
		if !slices.Contains(algorithms(), jose.SignatureAlgorithm(a)) {
			bad("algorithm %q is not one of %v", a, algorithms())
		}
	}
	for _, t := range i.TokenTypes {
		if slices.Contains(foreignTypes(), normalType(t)) {
			bad("token type %q is never an access token", t)
		}
	}
	if i.Skew < 0 || i.Skew > maxSkew || i.MaxLifetime < 0 || i.MaxStale < 0 {
		bad("skew is at most %s, and no duration is negative", maxSkew)
	}
	for _, err := range append(i.tenantProblems(), i.keyProblems()...) {
		bad("%w", err)
	}
	return problems
}

func (i Issuer) tenantProblems() []error {
	var problems []error
	if (i.Tenant == "") == (i.TenantClaim == "") {
		problems = append(problems, errors.New("either tenant or tenant_claim is required"))
	}
	if (i.TenantClaim == "") != (len(i.Tenants) == 0) {
		problems = append(problems, errors.New("tenant_claim and tenants belong together"))
	}
	for _, t := range i.asserts() {
		if !ValidTenant(t) {
			problems = append(problems, fmt.Errorf("%q is not a tenant", t))
		}
	}
	if i.SubjectPrefix != "" && checkName(i.SubjectPrefix) != nil {
		problems = append(problems, errors.New("subject_prefix has characters that are not printable"))
	}
	return problems
}

func (i Issuer) keyProblems() []error {
	sources := 0
	for _, set := range []bool{i.JWKSURL != "", i.JWKSFile != "", i.JWKS != nil, i.Discovery} {
		if set {
			sources++
		}
	}
	if sources > 1 {
		return []error{errors.New("its keys are in more than one place")}
	}
	switch {
	case i.JWKSURL != "":
		return oneProblem(checkKeyURL(i.JWKSURL))
	case i.Discovery:
		return oneProblem(checkKeyURL(i.Issuer))
	}
	return nil
}

func oneProblem(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// checkKeyURL permits https, and http to this machine only.
func checkKeyURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return errors.New("the keys' address is not a URL")
	}
	if u.Scheme == "https" || (u.Scheme == "http" && isLoopback(u)) {
		return nil
	}
	return errors.New("the keys' address must be https")
}

func isLoopback(u *url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.Unmap().IsLoopback()
}

// asserts lists the tenants that the issuer can name.
func (i Issuer) asserts() []string {
	if i.Tenant != "" {
		return append([]string{i.Tenant}, i.Tenants...)
	}
	return i.Tenants
}

// ValidateTenants reports issuers that could be confused: named twice, or able
// to assert one tenant although more than one of them has no subject_prefix, or
// with prefixes of which one begins the other.
func ValidateTenants(issuers []Issuer) []error {
	var problems []error
	for n, a := range issuers {
		for _, b := range issuers[:n] {
			if a.Issuer == b.Issuer {
				problems = append(problems, fmt.Errorf("issuer %q is configured twice", a.Issuer))
			}
			if t, ok := sharedTenant(a, b); ok && confusable(a, b) {
				problems = append(problems, fmt.Errorf("issuers %q and %q can both assert the tenant %q; give one of them its own subject_prefix", b.Issuer, a.Issuer, t))
			}
		}
	}
	return problems
}

func sharedTenant(a, b Issuer) (string, bool) {
	for _, t := range a.asserts() {
		if slices.Contains(b.asserts(), t) {
			return t, true
		}
	}
	return "", false
}

func confusable(a, b Issuer) bool {
	if a.SubjectPrefix == "" || b.SubjectPrefix == "" {
		return a.SubjectPrefix == b.SubjectPrefix
	}
	return strings.HasPrefix(a.SubjectPrefix, b.SubjectPrefix) || strings.HasPrefix(b.SubjectPrefix, a.SubjectPrefix)
}

// ValidTenant reports whether name is `^[a-z0-9][a-z0-9-]{0,62}$`.
func ValidTenant(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// normalType folds `typ` as RFC 7515 4.1.9 says: the prefix application/ may be
// left out, and media types ignore case.
func normalType(typ string) string {
	return strings.TrimPrefix(strings.ToLower(typ), "application/")
}
