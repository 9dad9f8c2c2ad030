package identity

import (
	"slices"
	"time"
)

// Principal is who stands behind a call: a person, a workload, or a workload
// that carries a person. At least one of the two is set. Both were verified by
// this process; nothing in it was taken from a request.
//
// A Principal is immutable and may be shared by goroutines.
type Principal struct {
	User     *User
	Workload *Workload
}

// User is a person, as one access token described them.
type User struct {
	Issuer  string   // exact `iss`
	Subject string   // `sub`, with the issuer's subject_prefix in front where it has one
	Tenant  string   // verified fact, see DESIGN 5
	Email   string   // display only, empty unless `email_verified`
	Name    string   // display only
	Roles   []string // sorted, from the issuer's roles_claim
	// RolesUnknown says that the issuer left the roles out because they are too
	// many (group overage). Roles is empty then, and that means nothing: a rule
	// that forbids by role must treat such a person as having the role.
	RolesUnknown bool
	Scopes       Scopes    // never absent: a token without a scope claim has the empty set
	AuthTime     time.Time // when the person last proved themselves; zero when the token does not say
	ACR          string    // authentication context class (OIDC core 2)
	AMR          []string  // authentication methods, as the token lists them (RFC 8176)
	Expires      time.Time // the token's `exp`
	TokenID      string    // `jti`, empty when the token has none
	// Thumbprint is the base64url SHA-256 of the raw token: the name of a
	// credential in locks, caches and stores. The token itself is never stored.
	Thumbprint string

	token Secret // see Token
}

// Workload is a peer process, as its X.509-SVID on this connection or its JWT-SVID
// described it.
type Workload struct {
	ID          string    // spiffe://trust-domain/path
	TrustDomain string    // lower case
	Tenant      string    // the trust domain's tenant; empty when the domain carries users of any tenant ("*")
	Thumbprint  string    // base64url SHA-256 of the leaf's DER (RFC 8705 x5t#S256); empty without a certificate
	NotAfter    time.Time // the end of the leaf, of the JWT-SVID, or of the first of them to end
	Scopes      Scopes    // what it may do when it calls alone
	// Issuers are those whose users it may present (`may_present_users_from`).
	Issuers []string
	// TokenID is the `jti` of its JWT-SVID, and TokenThumbprint that token's name in
	// locks and caches, like User.Thumbprint; empty without such a token.
	TokenID         string
	TokenThumbprint string

	proof *proof
}

// Tenant is the tenant that the call acts in: the person's, or for a workload
// that calls alone its trust domain's.
func (p Principal) Tenant() string {
	if p.User != nil {
		return p.User.Tenant
	}
	if p.Workload != nil {
		return p.Workload.Tenant
	}
	return ""
}

// Subject names the principal inside its tenant: the person's subject, or the
// workload's SPIFFE ID.
func (p Principal) Subject() string {
	if p.User != nil {
		return p.User.Subject
	}
	if p.Workload != nil {
		return p.Workload.ID
	}
	return ""
}

// Scopes are what the principal may do at most.
func (p Principal) Scopes() Scopes {
	if p.User != nil {
		return p.User.Scopes
	}
	if p.Workload != nil {
		return p.Workload.Scopes
	}
	return Scopes{}
}

// Expires is the end of the credential that the principal acts with. The
// SVID's end bounds workload-only principals, not a person's (DESIGN 5).
func (p Principal) Expires() time.Time {
	if p.User != nil {
		return p.User.Expires
	}
	if p.Workload != nil {
		return p.Workload.NotAfter
	}
	return time.Time{}
}

// Same reports whether two principals are the same person (issuer, subject and
// tenant), or without persons the same workload.
func (p Principal) Same(o Principal) bool {
	if (p.User == nil) != (o.User == nil) {
		return false
	}
	if p.User != nil {
		return p.User.Issuer == o.User.Issuer && p.User.Subject == o.User.Subject && p.User.Tenant == o.User.Tenant
	}
	return p.Workload != nil && o.Workload != nil && p.Workload.ID == o.Workload.ID
}

// Scopes is a set of scope names. The zero value is the empty set, which means
// nothing is allowed; there is no value that means everything.
type Scopes struct{ names []string } // sorted, unique, never changed

// NewScopes makes the set of the given names.
func NewScopes(names ...string) Scopes {
	s := slices.Clone(names)
	slices.Sort(s)
	return Scopes{slices.Compact(s)}
}

// Names lists the set in order. The caller may keep and change the slice.
func (s Scopes) Names() []string { return slices.Clone(s.names) }

// Len is the number of names.
func (s Scopes) Len() int { return len(s.names) }

// Has reports whether name is in the set.
func (s Scopes) Has(name string) bool {
	_, ok := slices.BinarySearch(s.names, name)
	return ok
}

// Missing gives the first of need that is not in the set, and whether there is one.
func (s Scopes) Missing(need []string) (string, bool) {
	for _, n := range need {
		if !s.Has(n) {
			return n, true
		}
	}
	return "", false
}

// Intersect keeps what is in both.
func (s Scopes) Intersect(o Scopes) Scopes {
	var both []string
	for _, n := range s.names {
		if o.Has(n) {
			both = append(both, n)
		}
	}
	return Scopes{both}
}

// Narrow intersects with ceiling, where nil means that there is no ceiling. An
// empty ceiling leaves nothing.
func (s Scopes) Narrow(ceiling *Scopes) Scopes {
	if ceiling == nil {
		return s
	}
	return s.Intersect(*ceiling)
}
