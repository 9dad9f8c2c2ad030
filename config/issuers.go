package config

import (
	"slices"
	"strings"
)

func (c *checker) issuers() {
	list := c.Identity.JWT.Issuers
	for n, i := range list {
		p := place("identity.jwt.issuers").item(n)
		c.issuer(p, i)
		for m, other := range list[:n] {
			c.confusable(p, i, place("identity.jwt.issuers").item(m), other)
		}
	}
}

func (c *checker) issuer(p place, i Issuer) {
	if i.Issuer == "" {
		c.missing(p.key("issuer"), "write the value that `iss` has, exactly")
	}
	if len(i.Audiences) == 0 {
		c.missing(p.key("audiences"), "say which `aud` is meant for this server")
	}
	if len(i.Algorithms) == 0 {
		c.missing(p.key("algorithms"), "say which algorithms the issuer signs with, for example [RS256]")
	}
	for n, t := range i.TokenTypes {
		if slices.Contains(foreignTypes(), strings.TrimPrefix(strings.ToLower(t), "application/")) {
			c.bad(p.key("token_types").item(n), c.show(p.key("token_types").item(n))+" is never an access token", "say at+jwt, or JWT for issuers that cannot do better")
		}
	}
	for key, values := range map[string][]string{"audiences": i.Audiences, "algorithms": i.Algorithms, "token_types": i.TokenTypes, "client_ids": i.ClientIDs, "tenants": i.Tenants} {
		c.unique(p.key(key), values)
	}
	c.issuerTenant(p, i)
	c.issuerKeys(p, i)
}

// foreignTypes are classes of tokens that must never pass for access tokens.
func foreignTypes() []string {
	return []string{"agent-call+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt", "id_token", "jose"}
}

func (c *checker) issuerTenant(p place, i Issuer) {
	switch c.exactlyOne(p, "tenant", "tenant_claim") {
	case "tenant_claim":
		if len(i.Tenants) == 0 {
			c.missing(p.key("tenants"), "list the tenants that the claim may name")
		}
	case "tenant":
		if len(i.Tenants) > 0 {
			c.bad(p.key("tenants"), "belongs to tenant_claim", "remove it: the tenant is fixed")
		}
	}
	if strings.ContainsFunc(i.SubjectPrefix, func(r rune) bool { return r <= ' ' || r > '~' }) {
		c.bad(p.key("subject_prefix"), "has characters that are not printable", "use letters, digits and : / - _")
	}
}

func (c *checker) issuerKeys(p place, i Issuer) {
	url, file := c.said(p.key("jwks_url")), c.said(p.key("jwks_file"))
	switch {
	case url && file:
		c.bad(p, "has jwks_url and jwks_file together", "say at most one of them")
	case !url && !file && i.Issuer != "":
		if message, _ := wrongURL(i.Issuer); message != "" {
			c.bad(p.key("issuer"), "its keys cannot be discovered: "+c.show(p.key("issuer"))+" "+message, "say jwks_url or jwks_file")
		}
	}
}

// confusable reports two issuers that could name the same person: the same
// issuer twice, or one tenant without prefixes that tell their subjects apart.
func (c *checker) confusable(p place, i Issuer, other place, o Issuer) {
	if i.Issuer == o.Issuer && i.Issuer != "" {
		c.bad(p.key("issuer"), "is the issuer of "+string(other)+" too", "keep one of them")
		return
	}
	if tenant := sharedTenant(i, o); tenant != "" && overlap(i.SubjectPrefix, o.SubjectPrefix) {
		c.bad(p, "can assert a tenant that "+string(other)+" can assert too", "give each of them, but for one, its own subject_prefix, of which none begins another")
	}
}

func (i Issuer) asserts() []string {
	if i.Tenant != "" {
		return []string{i.Tenant}
	}
	return i.Tenants
}

func sharedTenant(a, b Issuer) string {
	for _, t := range a.asserts() {
		if slices.Contains(b.asserts(), t) {
			return t
		}
	}
	return ""
}

// overlap reports whether prefixes leave subjects confusable. One issuer without
// a prefix is allowed.
func overlap(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}
