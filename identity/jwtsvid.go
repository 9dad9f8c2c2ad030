package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxSVIDLife is how far in the future a JWT-SVID may end: it is a bearer token
// that nobody can take back.
const maxSVIDLife = 24 * time.Hour

// svidAlgorithms are those of the JWT-SVID specification, section 2.1.
func svidAlgorithms() []jose.SignatureAlgorithm {
	return append(rsaAlgorithms(), jose.ES256, jose.ES384, jose.ES512)
}

// WithJWTKeys is the bundle together with the keys that sign the domain's
// JWT-SVIDs, as a JWK set or a SPIFFE bundle document. There may be none: then no
// JWT-SVID of the domain verifies.
func (b *Bundle) WithJWTKeys(document []byte) (*Bundle, error) {
	ks, err := readKeys(document, accepted{"jwt-svid", svidAlgorithms()})
	if err != nil {
		return nil, fmt.Errorf("JWT bundle of %s: %w", b.trustDomain, err)
	}
	with := *b
	with.jwt = ks
	return &with, nil
}

// jwtOnly is the bundle of a domain of which only JWT keys are known. It verifies
// no certificate.
func jwtOnly(trustDomain string, document []byte) (*Bundle, error) {
	b, err := bundleOf(trustDomain, nil)
	if err != nil {
		return nil, err
	}
	return b.WithJWTKeys(document)
}

// errWorkload says that a token is no person's: its subject is a SPIFFE ID.
var errWorkload = errors.New("the token is a workload's")

// workload reports whether the token says that it is of a workload. It is not
// verified yet: this may choose who verifies it, and nothing else.
func (t *token) workload() bool {
	sub, _ := t.claims["sub"].(string)
	return isWorkload(sub)
}

// isWorkload is true for what anybody could take for a SPIFFE ID: a workload's
// name is never a person's (SECURITY 3.8).
func isWorkload(sub string) bool {
	return len(sub) >= 9 && strings.EqualFold(sub[:9], "spiffe://")
}

// Bearer verifies a JWT-SVID and gives its workload, which has the tenant and the
// grants that it would have with a certificate. leaf is the x5t#S256 thumbprint of
// the connection's client certificate, empty without one.
func (p *Peers) Bearer(credential Secret, leaf string) (Workload, error) {
	raw := credential.Reveal()
	now := p.now()
	key := cacheKey{sha256.Sum256([]byte(raw)), leaf}
	got, ok := p.bearers.get(key, now)
	if !ok || !p.current(got) {
		var err error
		if got, err = p.bearer(raw, leaf, now); err != nil {
			return Workload{}, publicFault(err)
		}
		got.workload.TokenThumbprint = base64.RawURLEncoding.EncodeToString(key.sum[:])
		p.bearers.put(key, got, earlier(got.workload.NotAfter, now.Add(seenFor)), now)
	}
	return got.answer()
}

func (p *Peers) bearer(raw, leaf string, now time.Time) (*peer, error) {
	t, err := parseToken(raw)
	if err != nil {
		return nil, err
	}
	id, bundle, k, err := p.svidKey(t)
	if err != nil {
		p.decoy.verify()
		return nil, err
	}
	if err := checkSignature(t, k); err != nil {
		return nil, err
	}
	w := Workload{ID: id.String(), TrustDomain: id.TrustDomain().Name(), Tenant: ownTenant(p.tenants[id.TrustDomain().Name()])}
	if err := p.svidClaims(t.claims, leaf, now, &w); err != nil {
		return nil, err
	}
	w.proof = &proof{bundle: bundle, kid: t.kid, key: k}
	got := &peer{bundle: bundle, workload: w}
	p.grant(got, id)
	return got, nil
}

// svidKey chooses the bundle by the trust domain of `sub`, and the key from that
// bundle only.
func (p *Peers) svidKey(t *token) (spiffeid.ID, *Bundle, publicKey, error) {
	bad := func(text string) (spiffeid.ID, *Bundle, publicKey, error) {
		return spiffeid.ID{}, nil, publicKey{}, errors.New(text)
	}
	if len(p.audiences) == 0 {
		return bad("JWT-SVIDs are not accepted: identity.workload.audiences is not set")
	}
	sub, _ := t.claims["sub"].(string)
	id, err := spiffeid.FromString(sub)
	if err != nil || id.Path() == "" || len(sub) > maxSPIFFEID {
		return bad("sub is not the SPIFFE ID of a workload")
	}
	td := id.TrustDomain().Name()
	if _, ok := p.tenants[td]; !ok {
		return bad("the trust domain has no tenant")
	}
	alg := jose.SignatureAlgorithm(t.alg)
	if !slices.Contains(svidAlgorithms(), alg) {
		return bad("the algorithm is not one of JWT-SVIDs")
	}
	if t.typ != "" && t.typ != "JWT" && t.typ != "JOSE" {
		return bad("the token's type is not a JWT-SVID's")
	}
	b, err := p.source.Bundle(td)
	if err != nil {
		return spiffeid.ID{}, nil, publicKey{}, err
	}
	k, ok := b.jwtKey(t.kid)
	if !ok || !k.suits(alg) {
		return bad("the trust domain has no such key for the algorithm")
	}
	return id, b, k, nil
}

func (b *Bundle) jwtKey(kid string) (publicKey, bool) {
	if b.jwt == nil {
		return publicKey{}, false
	}
	k, ok := b.jwt.byID[kid]
	return k, ok
}

func (p *Peers) svidClaims(c claims, leaf string, now time.Time, w *Workload) error {
	auds, ok := list(c["aud"])
	if !ok || !slices.ContainsFunc(auds, func(a string) bool { return slices.Contains(p.audiences, a) }) {
		return errors.New("the token is for another audience")
	}
	if cnf, ok := c["cnf"]; ok {
		if err := confirmed(cnf, leaf); err != nil {
			return err
		}
	}
	jti, err := c.text("jti")
	if err != nil || checkName(jti) != nil {
		return errors.New("jti is malformed")
	}
	w.TokenID = jti
	w.NotAfter, err = svidEnd(c, now)
	return err
}

// svidEnd judges the dates. Only `exp` is required of a JWT-SVID.
func svidEnd(c claims, now time.Time) (time.Time, error) {
	exp, hasExp, err1 := c.seconds("exp")
	iat, _, err2 := c.seconds("iat")
	nbf, _, err3 := c.seconds("nbf")
	if err := errors.Join(err1, err2, err3); err != nil {
		return time.Time{}, err
	}
	end := time.Unix(int64(exp), 0)
	switch latest := now.Add(defaultSkew); {
	case !hasExp || exp <= iat:
		return time.Time{}, errors.New("exp is required, and after iat")
	case end.After(latest.Add(maxSVIDLife)):
		return time.Time{}, errors.New("the token's lifetime is not accepted")
	case time.Unix(int64(math.Ceil(iat)), 0).After(latest), time.Unix(int64(math.Ceil(nbf)), 0).After(latest):
		return time.Time{}, errors.New("the token is not valid yet")
	case !now.Before(end):
		return time.Time{}, errExpired
	}
	return end, nil
}

// both is the workload of a connection that also presents a JWT-SVID: the same one,
// for as long as both of its credentials last. Two workloads are refused: which of
// them calls would be anybody's guess.
func both(cert, bearer Workload) (Workload, error) {
	if cert.ID != bearer.ID {
		return Workload{}, invalid(errors.New("the certificate and the JWT-SVID are of two workloads"))
	}
	cert.TokenID, cert.TokenThumbprint = bearer.TokenID, bearer.TokenThumbprint
	cert.NotAfter = earlier(cert.NotAfter, bearer.NotAfter)
	cert.proof = &proof{bundle: bearer.proof.bundle, grants: bearer.proof.grants, certs: cert.proof.certs, kid: bearer.proof.kid, key: bearer.proof.key}
	return cert, nil
}

// ungranted is the answer to a workload that was verified and that no grant names.
func ungranted() error {
	return denied(fault.PolicyDenied, "this workload may not call; ask the operator for a grant")
}
