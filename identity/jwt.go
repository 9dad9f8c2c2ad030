package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/go-jose/go-jose/v4"
)

// seenFor is how long a verified token is believed without looking again. Locks
// are checked at every call and do not wait for it.
const seenFor = time.Minute

// VerifierConfig is whose tokens are accepted.
type VerifierConfig struct {
	Issuers []Issuer
	Roots   *x509.CertPool   // for issuers' https; absent: the system's
	Logger  *slog.Logger     // absent: silent
	Now     func() time.Time // absent: time.Now
	// Holds reports whether a person shall have their token with them, for whoever
	// exchanges it ([User.Token]). Absent: nobody has.
	Holds func() bool
}

// Verifier turns access tokens into persons. Many goroutines may use it; Run is for
// one, and so is Replace.
type Verifier struct {
	trusted  atomic.Pointer[Issuers]
	replaced chan struct{} // has Run look at once
	roots    *x509.CertPool
	log      *slog.Logger
	now      func() time.Time
	holds    func() bool
	seen     cache[*verified]
	decoy    decoy
}

// issuer is a configured issuer with its keys.
type issuer struct {
	Issuer
	keys    *keySet
	foreign []string // prefixes of other issuers of the same tenants
}

// verified is a token that passed, good as long as the issuer's keys are still
// this version of them.
type verified struct {
	user   User
	issuer *issuer
	keys   *keys
}

// NewVerifier checks the issuers and reports all problems at once. It fetches
// nothing: Run does, or Warm, or the first token.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	d, err := newDecoy()
	if err != nil {
		return nil, err
	}
	v := &Verifier{replaced: make(chan struct{}, 1), roots: cfg.Roots, log: orDiscard(cfg.Logger), now: orNow(cfg.Now), holds: cfg.Holds, decoy: d}
	first, err := v.issuers(cfg.Issuers)
	if err != nil {
		return nil, err
	}
	v.trusted.Store(first)
	return v, nil
}

// Verify turns a token into a person. leaf is the x5t#S256 thumbprint of the
// connection's client certificate, empty without one.
func (v *Verifier) Verify(ctx context.Context, credential Secret, leaf string) (User, error) {
	raw := credential.Reveal()
	if len(raw) > maxToken {
		return User{}, invalid(errors.New("the token is longer than 8 KiB"))
	}
	now := v.now()
	var buf [2 << 10]byte // most tokens fit, and then hashing allocates nothing
	key := cacheKey{sha256.Sum256(append(buf[:0], raw...)), leaf}
	if got, ok := v.seen.get(key, now); ok && got.keys == got.issuer.keys.current(now) && v.trusted.Load().of[got.issuer.Issuer.Issuer] == got.issuer {
		return v.person(got, credential), nil
	}
	got, err := v.verify(ctx, raw, leaf, now)
	if err != nil {
		return User{}, publicFault(err)
	}
	got.user.Thumbprint = base64.RawURLEncoding.EncodeToString(key.sum[:])
	v.seen.put(key, got, earlier(got.user.Expires, now.Add(seenFor)), now)
	return v.person(got, credential), nil
}

// person is who a token is of, for the caller to keep. What is remembered has no
// token.
func (v *Verifier) person(got *verified, credential Secret) User {
	if v.holds == nil || !v.holds() {
		return got.user.clone()
	}
	return got.user.clone().bearing(credential)
}

func (u User) clone() User {
	u.Roles, u.AMR = slices.Clone(u.Roles), slices.Clone(u.AMR)
	return u
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// publicFault hides which check failed. Faults, cancellations and deadlines
// have a meaning of their own.
func publicFault(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if errors.Is(err, errExpired) {
		return expired(err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return invalid(err)
}

func (v *Verifier) verify(ctx context.Context, raw, leaf string, now time.Time) (*verified, error) {
	t, err := parseToken(raw)
	if err != nil {
		return nil, err
	}
	if t.workload() {
		return nil, errWorkload
	}
	i, k, ks, err := v.key(ctx, t)
	if err != nil {
		v.decoy.verify()
		return nil, err
	}
	if err := checkSignature(t, k); err != nil {
		return nil, err
	}
	u, err := i.user(t.claims, leaf, now)
	if err != nil {
		return nil, err
	}
	return &verified{user: u, issuer: i, keys: ks}, nil
}

// key chooses the issuer by the exact `iss`, and the key from that issuer's set
// only. `iss` is not verified yet; it may choose, and nothing else.
func (v *Verifier) key(ctx context.Context, t *token) (*issuer, publicKey, *keys, error) {
	iss, _ := t.claims["iss"].(string)
	i, ok := v.trusted.Load().of[iss]
	if !ok || iss == "" {
		return nil, publicKey{}, nil, errors.New("the issuer is not configured")
	}
	if !slices.Contains(i.Algorithms, t.alg) {
		return nil, publicKey{}, nil, errors.New("the algorithm is not accepted from this issuer")
	}
	if !slices.Contains(i.TokenTypes, normalType(t.typ)) {
		return nil, publicKey{}, nil, errors.New("the token's type is not accepted from this issuer")
	}
	k, ks, err := i.keys.find(ctx, t.kid)
	if err != nil {
		return nil, publicKey{}, nil, err
	}
	if !k.suits(jose.SignatureAlgorithm(t.alg)) {
		return nil, publicKey{}, nil, errors.New("the key is not of the token's algorithm")
	}
	return i, k, ks, nil
}

func checkSignature(t *token, k publicKey) error {
	jws, err := jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.alg)})
	if err != nil {
		return errors.New("the token is not a JWS")
	}
	if _, err := jws.Verify(k.key); err != nil {
		return errors.New("the signature is not the key's")
	}
	return nil
}

// equalKeys compares two public keys.
func equalKeys(a, b any) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// decoy makes a token of an unknown issuer or key cost what a bad signature
// costs, so that time does not tell which issuers are configured.
type decoy struct {
	key       *ecdsa.PrivateKey
	digest    [32]byte
	signature []byte
}

func newDecoy() (decoy, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return decoy{}, fmt.Errorf("make a decoy key: %w", err)
	}
	d := decoy{key: key, digest: sha256.Sum256([]byte("decoy"))}
	if d.signature, err = ecdsa.SignASN1(rand.Reader, key, d.digest[:]); err != nil {
		return decoy{}, fmt.Errorf("make a decoy signature: %w", err)
	}
	return d, nil
}

func (d decoy) verify() { _ = ecdsa.VerifyASN1(&d.key.PublicKey, d.digest[:], d.signature) }
