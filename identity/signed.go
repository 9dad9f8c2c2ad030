package identity

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// SignedConfig is whose tokens a Signed accepts. Of JWKS, JWKSFile and JWKSURL one
// is required.
type SignedConfig struct {
	Issuer     string   // exact `iss`
	Types      []string // of `typ`
	Algorithms []string // of those that exist here

	JWKS     []byte
	JWKSFile string
	JWKSURL  string

	AllowPrivateAddresses bool             // of JWKSURL, beside one on loopback that it names
	Roots                 *x509.CertPool   // for JWKSURL; absent: the system's
	MaxStale              time.Duration    // keys outlive an outage so long; default 24 h
	Logger                *slog.Logger     // absent: silent
	Now                   func() time.Time // absent: time.Now
}

// Signed verifies the form, type, issuer and signature of tokens that are nobody's
// credential here, by the rules and key sets of access tokens (SECURITY 1 and 2).
// What their claims mean is for its user to say.
type Signed struct {
	issuer *issuer
}

// NewSigned checks the config. It fetches nothing: Run does, or the first token.
func NewSigned(c SignedConfig) (*Signed, error) {
	i := Issuer{
		Issuer: c.Issuer, Algorithms: c.Algorithms, TokenTypes: slices.Clone(c.Types), JWKS: c.JWKS, JWKSFile: c.JWKSFile, JWKSURL: c.JWKSURL,
		AllowPrivateAddresses: c.AllowPrivateAddresses, MaxStale: c.MaxStale,
	}
	if c.Issuer == "" || len(c.Types) == 0 || len(c.Algorithms) == 0 || c.JWKS == nil && c.JWKSFile == "" && c.JWKSURL == "" {
		return nil, errors.New("issuer, types, algorithms and where the keys are must be said")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms(), jose.SignatureAlgorithm(a)) {
			return nil, fmt.Errorf("algorithm %q is not one of %v", a, algorithms())
		}
	}
	if err := errors.Join(i.keyProblems()...); err != nil {
		return nil, err
	}
	i = i.withDefaults()
	for n, t := range i.TokenTypes {
		i.TokenTypes[n] = normalType(t)
	}
	return &Signed{&issuer{Issuer: i, keys: &keySet{
		issuer: i.Issuer, load: loader(i, c.Roots), maxStale: i.MaxStale, now: orNow(c.Now), log: orDiscard(c.Logger),
	}}}, nil
}

// Verify gives the claims of a token that is the issuer's: one JSON object with
// exact names, none of them twice. The error never contains the token.
func (s *Signed) Verify(ctx context.Context, credential Secret) (json.RawMessage, error) {
	t, err := parseToken(credential.Reveal())
	if err != nil {
		return nil, err
	}
	_, k, _, err := s.verifier().key(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := checkSignature(t, k); err != nil {
		return nil, err
	}
	return t.body, nil
}

// Run keeps the keys fresh until ctx ends.
func (s *Signed) Run(ctx context.Context) error {
	return s.verifier().Run(ctx)
}

// verifier trusts the one issuer.
func (s *Signed) verifier() *Verifier {
	v := &Verifier{now: s.issuer.keys.now}
	v.trusted.Store(&Issuers{of: map[string]*issuer{s.issuer.Issuer.Issuer: s.issuer}, order: []*issuer{s.issuer}})
	return v
}

// Unverified gives the claims of a JWT whose signature nobody here can check or need
// check: it came from who issued it, over a connection that was verified. Its form is
// held to the same rules as a credential's. False: it is no JWT but opaque.
//
// Never ask it about what somebody else brings.
func Unverified(token Secret) (claims json.RawMessage, jwt bool, err error) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return nil, false, nil
	}
	if len(token.Reveal()) > maxToken {
		return nil, true, errors.New("the token is longer than 8 KiB")
	}
	if header, err := decodeObject(parts[0]); err != nil || header["alg"] == nil {
		return nil, true, errors.New("the token's header cannot be read")
	}
	object, err := decodeObject(parts[1])
	if err != nil {
		return nil, true, errors.New("the token's claims cannot be read")
	}
	claims, err = json.Marshal(object)
	return claims, true, err
}
