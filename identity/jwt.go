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

// Verifier turns access tokens into persons.
type Verifier struct {
	issuers map[string]*issuer
	order   []*issuer
	now     func() time.Time
	holds   func() bool
	seen    cache[*verified]
	decoy   decoy
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
	problems := ValidateTenants(cfg.Issuers)
	for _, i := range cfg.Issuers {
		problems = append(problems, i.Validate()...)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	d, err := newDecoy()
	if err != nil {
		return nil, err
	}
	v := &Verifier{issuers: map[string]*issuer{}, now: orNow(cfg.Now), holds: cfg.Holds, decoy: d}
	for _, i := range cfg.Issuers {
		v.add(i, cfg)
	}
	return v, nil
}

func (v *Verifier) add(config Issuer, cfg VerifierConfig) {
	config = config.withDefaults()
	config.TokenTypes = slices.Clone(config.TokenTypes)
	for n, t := range config.TokenTypes {
		config.TokenTypes[n] = normalType(t)
	}
	i := &issuer{Issuer: config, keys: &keySet{
		issuer: config.Issuer, load: loader(config, cfg.Roots), maxStale: config.MaxStale,
		now: v.now, log: orDiscard(cfg.Logger),
	}}
	for _, other := range cfg.Issuers {
		if _, shared := sharedTenant(config, other); shared && other.Issuer != config.Issuer && other.SubjectPrefix != "" {
			i.foreign = append(i.foreign, other.SubjectPrefix)
		}
	}
	v.issuers[config.Issuer] = i
	v.order = append(v.order, i)
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
	if got, ok := v.seen.get(key, now); ok && got.keys == got.issuer.keys.current(now) {
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
	u.Roles = slices.Clone(u.Roles)
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
	i, ok := v.issuers[iss]
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

// Run keeps the issuers' keys fresh. An issuer that is away delays the others
// by the fetch timeout at most.
func (v *Verifier) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(v.refreshDue(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// refreshDue fetches what is due and gives the time until the next.
func (v *Verifier) refreshDue(ctx context.Context) time.Duration {
	next := v.now().Add(defaultTTL)
	for _, i := range v.order {
		if !v.now().Before(i.keys.due()) {
			i.keys.refresh(ctx)
		}
		next = earlier(next, i.keys.due())
	}
	return max(next.Sub(v.now()), retryFirst)
}

// Warm fetches the keys of the named issuers once, without names of all, and fails
// if one cannot be had (`require_at_start`).
func (v *Verifier) Warm(ctx context.Context, names ...string) error {
	var problems []error
	for _, i := range v.order {
		if len(names) > 0 && !slices.Contains(names, i.Issuer.Issuer) {
			continue
		}
		i.keys.refresh(ctx)
		if st := i.keys.status(); st.Fetched.IsZero() {
			problems = append(problems, fmt.Errorf("keys of %q: %w", i.Issuer.Issuer, errors.Join(st.Err)))
		}
	}
	return errors.Join(problems...)
}

// Status tells the state of each issuer's keys, in the order of configuration.
func (v *Verifier) Status() []KeySetStatus {
	var out []KeySetStatus
	for _, i := range v.order {
		out = append(out, i.keys.status())
	}
	return out
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
