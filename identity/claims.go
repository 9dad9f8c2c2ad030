package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	maxName   = 255
	maxScopes = 256
	maxRoles  = 256
	maxAMR    = 16
	maxMethod = 64 // bytes of one of them
)

// errExpired is the only refusal that a caller may tell from the others.
var errExpired = errors.New("the token has expired")

// user reads a person from the claims of a token whose signature was verified.
// Expiry is judged last, so that a caller learns of it only for a token that is
// good in everything else.
func (i *issuer) user(c claims, leaf string, now time.Time) (User, error) {
	u := User{Issuer: i.Issuer.Issuer}
	checks := []func() error{
		func() error { return i.class(c) },
		func() error { return i.audience(c) },
		func() error { return i.client(c) },
		func() error { return i.bound(c, leaf) },
		func() error { return i.subject(c, &u) },
		func() error { return i.tenant(c, &u) },
		func() error { return i.rights(c, &u) },
		func() error { return i.details(c, &u) },
		func() error { return methods(c, &u) },
		func() error { return i.times(c, &u, now) },
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return User{}, err
		}
	}
	return u, nil
}

// class refuses tokens of other kinds that an issuer signs with the same key.
// Only ID tokens have these hashes; Keycloak marks its kinds in a claim.
func (i *issuer) class(c claims) error {
	for _, name := range []string{"at_hash", "c_hash", "s_hash", "events"} {
		if _, ok := c[name]; ok {
			return errors.New("the token is not an access token")
		}
	}
	if typ, ok := c["typ"]; ok {
		if s, _ := typ.(string); !strings.EqualFold(s, "Bearer") && !slices.Contains(i.TokenTypes, normalType(s)) {
			return errors.New("the token is not an access token by its typ claim")
		}
	}
	return nil
}

func (i *issuer) audience(c claims) error {
	auds, ok := list(c["aud"])
	if !ok || len(auds) == 0 {
		return errors.New("aud is missing or malformed")
	}
	if i.SingleAudience && len(auds) > 1 {
		return errors.New("the token has several audiences")
	}
	for _, a := range auds {
		if slices.Contains(i.Audiences, a) {
			return nil
		}
	}
	return errors.New("the token is for another audience")
}

func (i *issuer) client(c claims) error {
	if len(i.ClientIDs) == 0 {
		return nil
	}
	named := false
	for _, name := range []string{"client_id", "azp"} {
		id, err := c.text(name)
		if err != nil {
			return err
		}
		if _, ok := c[name]; ok && !slices.Contains(i.ClientIDs, id) {
			return errors.New("the token was issued to another client")
		}
		named = named || id != ""
	}
	if !named {
		return errors.New("the token names no client")
	}
	return nil
}

// bound checks `cnf`. What it confirms must hold, and what we cannot check is
// refused.
func (i *issuer) bound(c claims, leaf string) error {
	v, ok := c["cnf"]
	if !ok {
		if i.RequireBound {
			return errors.New("the token is not bound to a certificate")
		}
		return nil
	}
	return confirmed(v, leaf)
}

func confirmed(v any, leaf string) error {
	cnf, ok := v.(map[string]any)
	if !ok || len(cnf) != 1 {
		return errors.New("cnf is malformed or has unknown members")
	}
	want, ok := cnf["x5t#S256"].(string)
	if !ok {
		return errors.New("cnf has unknown members")
	}
	wanted, is := thumb(want), thumb(leaf)
	if wanted == nil || is == nil || subtle.ConstantTimeCompare(wanted[:], is[:]) != 1 {
		return errors.New("the token is bound to another certificate")
	}
	return nil
}

// thumb is the SHA-256 that a thumbprint spells, nil if it spells none: what is
// compared has one length, so that the time tells nothing (SECURITY 8).
func thumb(text string) *[sha256.Size]byte {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(sum) != sha256.Size || len(text) != base64.RawURLEncoding.EncodedLen(sha256.Size) { // the decoder skips line feeds
		return nil
	}
	return (*[sha256.Size]byte)(sum)
}

func (i *issuer) subject(c claims, u *User) error {
	sub, err := c.text("sub")
	if err != nil {
		return err
	}
	if sub == "" || checkName(sub) != nil {
		return errors.New("sub is missing or malformed")
	}
	if isWorkload(sub) {
		return errWorkload
	}
	u.Subject = i.SubjectPrefix + sub
	return i.names(u.Subject)
}

// names reports why a subject cannot be one of the issuer's.
func (i *issuer) names(subject string) error {
	if !strings.HasPrefix(subject, i.SubjectPrefix) {
		return errors.New("the subject lacks the issuer's prefix")
	}
	for _, p := range i.foreign {
		if strings.HasPrefix(subject, p) {
			return errors.New("sub begins with another issuer's prefix")
		}
	}
	return nil
}

// checkName refuses what would break a log line or a terminal.
func checkName(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("longer than %d bytes", maxName)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return errors.New("has characters that are not printable")
		}
	}
	return nil
}

func (i *issuer) tenant(c claims, u *User) error {
	if i.Tenant != "" {
		u.Tenant = i.Tenant
		return nil
	}
	v, _ := c.at(i.TenantClaim)
	name, ok := v.(string)
	if !ok || !slices.Contains(i.Tenants, name) {
		return errors.New("the token names no tenant of this issuer")
	}
	u.Tenant = name
	return nil
}

func (i *issuer) rights(c claims, u *User) error {
	scopes, err := i.scopes(c)
	if err != nil {
		return err
	}
	u.Scopes = NewScopes(scopes...)
	if i.RolesClaim == "" {
		return nil
	}
	v, ok := c.at(i.RolesClaim)
	if !ok {
		u.RolesUnknown = overage(c, i.RolesClaim)
		return nil
	}
	roles, ok := list(v)
	if !ok || len(roles) > maxRoles || slices.ContainsFunc(roles, func(r string) bool { return checkName(r) != nil }) {
		return errors.New("the roles are malformed or too many")
	}
	slices.Sort(roles)
	u.Roles = slices.Compact(roles)
	return nil
}

// overage reports that the issuer left the claim out because it is too long,
// which is not the same as having no roles.
func overage(c claims, path string) bool {
	for _, name := range []string{"hasgroups", "_claim_names"} {
		v, ok := c[name]
		if !ok {
			continue
		}
		names, isObject := v.(map[string]any)
		if !isObject {
			return v != false
		}
		first, _, _ := strings.Cut(path, ".")
		if _, ok := names[path]; ok {
			return true
		}
		if _, ok := names[first]; ok {
			return true
		}
	}
	return false
}

func (i *issuer) scopes(c claims) ([]string, error) {
	v, ok := i.scopesClaim(c)
	if !ok {
		return nil, nil
	}
	values, ok := list(v)
	if !ok {
		return nil, errors.New("the scopes are malformed")
	}
	var names []string
	for _, s := range values {
		names = append(names, strings.Split(s, " ")...)
	}
	if len(names) > maxScopes {
		return nil, errors.New("there are too many scopes")
	}
	return slices.DeleteFunc(names, func(s string) bool { return !validScope(s) }), nil
}

func (i *issuer) scopesClaim(c claims) (any, bool) {
	if i.ScopesClaim != "" {
		return c.at(i.ScopesClaim)
	}
	if v, ok := c["scope"]; ok {
		return v, true
	}
	v, ok := c["scp"]
	return v, ok
}

// validScope is the scope-token of RFC 6749 3.3.
func validScope(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return true
}

func (i *issuer) details(c claims, u *User) error {
	for name, into := range map[string]*string{"jti": &u.TokenID, "acr": &u.ACR} {
		s, err := c.text(name)
		if err != nil {
			return err
		}
		if checkName(s) != nil {
			return fmt.Errorf("%s is malformed", name)
		}
		*into = s
	}
	u.Name = display(c, "name")
	if c["email_verified"] == true {
		u.Email = display(c, "email")
	}
	at, ok, err := c.seconds("auth_time")
	if ok {
		u.AuthTime = time.Unix(int64(at), 0)
	}
	return err
}

// methods reads amr, by which a backend may judge: a token that says it wrongly is
// refused, as with acr. Only an array of strings is one (RFC 8176).
func methods(c claims, u *User) error {
	v, ok := c["amr"]
	if !ok {
		return nil
	}
	if _, array := v.([]any); !array {
		return errors.New("amr is not an array")
	}
	amr, ok := list(v)
	if !ok || len(amr) > maxAMR || slices.ContainsFunc(amr, func(m string) bool { return len(m) > maxMethod || checkName(m) != nil }) {
		return errors.New("amr is malformed or too long")
	}
	u.AMR = amr
	return nil
}

// display reads a claim that is only ever shown; a bad one is as good as none.
func display(c claims, name string) string {
	s, _ := c[name].(string)
	if checkName(s) != nil {
		return ""
	}
	return s
}

// times judges the dates. Fractions are rounded against the token.
func (i *issuer) times(c claims, u *User, now time.Time) error {
	exp, hasExp, err1 := c.seconds("exp")
	iat, hasIat, err2 := c.seconds("iat")
	nbf, _, err3 := c.seconds("nbf")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	if !hasExp || !hasIat {
		return errors.New("exp and iat are required")
	}
	if exp <= iat || exp-iat > i.MaxLifetime.Seconds() {
		return errors.New("the token's lifetime is not accepted")
	}
	latest := now.Add(i.Skew)
	if time.Unix(int64(math.Ceil(iat)), 0).After(latest) || time.Unix(int64(math.Ceil(nbf)), 0).After(latest) {
		return errors.New("the token is not valid yet")
	}
	u.Expires = time.Unix(int64(exp), 0)
	if !now.Before(u.Expires.Add(i.Skew)) {
		return errExpired
	}
	return nil
}
