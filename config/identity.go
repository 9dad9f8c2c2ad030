package config

import (
	"slices"
	"strings"
	"time"
)

// Identity is who callers may be.
type Identity struct {
	Workload Workload `yaml:"workload"`
	JWT      JWT      `yaml:"jwt"`
}

// Workload is where our own SVID comes from and which workloads may call.
type Workload struct {
	Source  string            `yaml:"source" enum:"workload_api|files|dev"`
	Socket  string            `yaml:"socket"`                          // of workload_api; absent: SPIFFE_ENDPOINT_SOCKET
	Cert    string            `yaml:"cert" is:"file"`                  // of files
	Key     string            `yaml:"key" is:"keyfile"`                // of files
	Bundles map[string]string `yaml:"bundles" keys:"domain" is:"file"` // of files: trust domain -> PEM file
	// JWTBundles are of files: the JWK set of each trust domain's JWT-SVIDs.
	JWTBundles map[string]string `yaml:"jwt_bundles" keys:"domain" is:"file"`
	Dir        string            `yaml:"dir" is:"path"` // of dev
	// Federation are foreign trust domains whose bundles are fetched.
	Federation map[string]Federation `yaml:"federation" keys:"domain"`
	Audiences  []string              `yaml:"audiences"`                            // our names in JWT-SVIDs; absent: those are refused
	Tenants    map[string]string     `yaml:"tenants" keys:"domain" is:"anytenant"` // trust domain -> tenant or "*"
	Grants     []WorkloadGrant       `yaml:"grants"`
}

// Federation is where the bundle of a foreign trust domain is fetched.
type Federation struct {
	URL                   string        `yaml:"url" is:"https"`
	Profile               string        `yaml:"profile" enum:"https_web|https_spiffe"`
	EndpointID            string        `yaml:"endpoint_id" is:"spiffe"` // of https_spiffe
	Bundle                string        `yaml:"bundle" is:"file"`        // of https_spiffe: PEM
	AllowPrivateAddresses bool          `yaml:"allow_private_addresses"`
	MaxStale              time.Duration `yaml:"max_stale" range:"10m..720h"`
}

// WorkloadGrant is what the workloads of a pattern may do. The first that
// matches holds.
type WorkloadGrant struct {
	ID                  string   `yaml:"id" is:"spiffe"`
	Scopes              []string `yaml:"scopes" is:"scope"` // alone; absent: nothing
	MayPresentUsersFrom []string `yaml:"may_present_users_from"`
}

// JWT is whose tokens are accepted for persons.
type JWT struct {
	Issuers []Issuer `yaml:"issuers"`
}

// Issuer is one issuer of tokens.
type Issuer struct {
	Issuer                string        `yaml:"issuer"`
	Audiences             []string      `yaml:"audiences"`
	Algorithms            []string      `yaml:"algorithms" enum:"RS256|PS256|ES256|ES384|EdDSA"`
	TokenTypes            []string      `yaml:"token_types" is:"any"`
	ClientIDs             []string      `yaml:"client_ids"`
	Tenant                string        `yaml:"tenant" is:"tenant"`
	TenantClaim           string        `yaml:"tenant_claim"`
	Tenants               []string      `yaml:"tenants" is:"tenant"`
	SubjectPrefix         string        `yaml:"subject_prefix"`
	RolesClaim            string        `yaml:"roles_claim"`
	ScopesClaim           string        `yaml:"scopes_claim"`
	JWKSURL               string        `yaml:"jwks_url" is:"https"`
	JWKSFile              string        `yaml:"jwks_file" is:"file"`
	SingleAudience        bool          `yaml:"single_audience"`
	RequireBound          bool          `yaml:"require_bound"`
	RequireAtStart        bool          `yaml:"require_at_start"`
	AllowPrivateAddresses bool          `yaml:"allow_private_addresses"`
	Skew                  time.Duration `yaml:"skew" range:"1s..60s"`
	MaxLifetime           time.Duration `yaml:"max_lifetime" range:"1m..720h"`
	MaxStale              time.Duration `yaml:"max_stale" range:"1m..720h"`
}

func (c *checker) workload() {
	p, w := place("identity.workload"), c.Identity.Workload
	if w.Source == "" && c.said("identity.workload") {
		c.missing(p.key("source"), "say workload_api, files or dev")
	}
	c.sourceKeys(p, w)
	if w.Source == "files" {
		c.require(p, map[string]string{"cert": w.Cert, "key": w.Key}, "the source files needs cert, key and bundles")
		if len(w.Bundles) == 0 {
			c.missing(p.key("bundles"), "name a PEM file for each trust domain")
		}
		for _, domain := range names(w.Tenants) {
			if !c.anySaid(domain, p.key("bundles"), p.key("jwt_bundles"), p.key("federation")) {
				c.bad(p.key("tenants").key(domain), "has no bundle, so its workloads cannot be verified", "add the trust domain to identity.workload.bundles")
			}
		}
	}
	for _, domain := range names(w.Federation) {
		c.federation(domain, w.Federation[domain])
	}
	c.unique(p.key("audiences"), w.Audiences)
	if len(w.JWTBundles) > 0 && len(w.Audiences) == 0 {
		c.missing(p.key("audiences"), "say which audience JWT-SVIDs must be for; without one they are refused")
	}
	for i, g := range w.Grants {
		c.grant(p.key("grants").item(i), g)
		if slices.ContainsFunc(w.Grants[:i], func(b WorkloadGrant) bool { return b.ID == g.ID && g.ID != "" }) {
			c.bad(p.key("grants").item(i).key("id"), "is in the list twice; the first one holds", "keep one of them")
		}
	}
}

// federation holds one federated trust domain against its profile and the rest of
// the section.
func (c *checker) federation(domain string, f Federation) {
	w := place("identity.workload")
	p := w.key("federation").key(domain)
	c.require(p, map[string]string{"url": f.URL, "profile": f.Profile}, "say where the bundle is and how its server is verified: https_web or https_spiffe")
	if !c.said(w.key("tenants").key(domain)) {
		c.bad(p, "has no tenant, so its workloads are refused", "add the trust domain to identity.workload.tenants")
	}
	if c.anySaid(domain, w.key("bundles"), w.key("jwt_bundles")) {
		c.bad(p, "has a bundle in a file too", "keep one of them; a first bundle for https_spiffe is the key bundle here")
	}
	switch f.Profile {
	case "https_web":
		for _, key := range []string{"endpoint_id", "bundle"} {
			if c.said(p.key(key)) {
				c.bad(p.key(key), "belongs to the profile https_spiffe", "remove it or change the profile")
			}
		}
	case "https_spiffe":
		c.spiffeEndpoint(p, domain, f)
	}
}

func (c *checker) spiffeEndpoint(p place, domain string, f Federation) {
	host, _, _ := strings.Cut(strings.TrimPrefix(f.EndpointID, "spiffe://"), "/")
	switch {
	case f.EndpointID == "":
		c.missing(p.key("endpoint_id"), "say which SPIFFE ID the endpoint's server has")
	case strings.Contains(f.EndpointID, "*"):
		c.bad(p.key("endpoint_id"), "is a pattern", "write the one SPIFFE ID of the endpoint's server")
	case host == domain && f.Bundle == "":
		c.missing(p.key("bundle"), "name a PEM file of the domain's authorities, by which the first answer is verified")
	}
	if strings.HasPrefix(f.URL, "http://") {
		c.bad(p.key("url"), "is not https, so nobody would be verified", "use https")
	}
}

// anySaid reports whether the file names the domain in one of the mappings.
func (c *checker) anySaid(domain string, in ...place) bool {
	return slices.ContainsFunc(in, func(p place) bool { return c.said(p.key(domain)) })
}

// sourceKeys reports keys of another source: they would have no effect.
func (c *checker) sourceKeys(p place, w Workload) {
	owner := map[string]string{"socket": "workload_api", "cert": "files", "key": "files", "bundles": "files", "jwt_bundles": "files", "dir": "dev"}
	for _, key := range names(owner) {
		if w.Source != "" && w.Source != owner[key] && c.said(p.key(key)) {
			c.bad(p.key(key), "belongs to the source "+owner[key], "remove it or change identity.workload.source")
		}
	}
	if w.Socket != "" && !strings.HasPrefix(w.Socket, "unix:///") && !strings.HasPrefix(w.Socket, "tcp://127.0.0.1:") {
		c.bad(p.key("socket"), c.show(p.key("socket"))+" is not a socket on this machine", "write unix:///run/spire/agent.sock")
	}
}

func (c *checker) grant(p place, g WorkloadGrant) {
	if g.ID == "" {
		c.missing(p.key("id"), "say whose grant it is")
	}
	c.unique(p.key("scopes"), g.Scopes)
	c.unique(p.key("may_present_users_from"), g.MayPresentUsersFrom)
	if c.Identity.Workload.Source == "dev" {
		return // the program adds its own trust domain and issuer
	}
	if domain, _, ok := strings.Cut(strings.TrimPrefix(g.ID, "spiffe://"), "/"); ok {
		tenants := c.Identity.Workload.Tenants
		if _, mapped := tenants[domain]; !mapped && !c.said(place("identity.workload.tenants").key(domain)) {
			c.bad(p.key("id"), "its trust domain is not in identity.workload.tenants, so its workloads are refused", c.suggest(domain, namesOf(tenants)))
		}
	}
	for i, issuer := range g.MayPresentUsersFrom {
		if !c.hasIssuer(issuer) {
			c.bad(p.key("may_present_users_from").item(i), "there is no issuer "+c.show(p.key("may_present_users_from").item(i))+" in identity.jwt.issuers", "write it exactly as there")
		}
	}
}

func (c *checker) hasIssuer(name string) bool {
	return c.spoilt["identity.jwt"] || c.spoilt["identity.jwt.issuers"] ||
		slices.ContainsFunc(c.Identity.JWT.Issuers, func(i Issuer) bool { return i.Issuer == name })
}
