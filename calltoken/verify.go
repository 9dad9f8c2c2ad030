package calltoken

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/identity"
	jsonv2 "github.com/go-json-experiment/json"
)

// VerifierConfig is what a backend accepts.
type VerifierConfig struct {
	Issuer   string // of behalf, exactly
	Audience string // this backend, as behalf's config calls it

	// JWKSURL is where the keys are; absent: Issuer + "/.well-known/jwks.json".
	JWKSURL string
	// JWKS are the keys themselves, or JWKSFile a file with them, instead.
	JWKS     []byte
	JWKSFile string
	Roots    *x509.CertPool // for JWKSURL; absent: the system's
	// AllowPrivateAddresses of JWKSURL. An address on loopback it may name itself.
	AllowPrivateAddresses bool

	Clients     []string // required: the SPIFFE IDs that may call, or AnyClient
	Type        string   // absent: TypeCall
	Unbound     bool     // accept tokens without cnf: for plain HTTP in tests only
	Obligations []string // those that this backend fulfils, e.g. "redact:card"; any other refuses
	AllowQuery  bool     // over HTTP: the URL may have a query, which no token covers and no handler reads
	// MaxSeen tokens are remembered until they end, 90 s at most, and of one person a
	// tenth of them; default 100,000. What is beyond is refused: with the default, more
	// than 111 calls a second of one person, or 1,111 of all.
	MaxSeen int
	Logger  *slog.Logger     // why a call was refused; absent: silent
	Now     func() time.Time // absent: time.Now
}

// AnyClient, alone in Clients, lets every workload call that has a token for its own
// certificate. With behalf's CheckToolCall everybody who may call it can have one: such
// a backend answers to programs of the people themselves.
const AnyClient = "*"

// Verifier is a backend's side.
type Verifier struct {
	c      VerifierConfig
	signed *identity.Signed
	seen   *seen
}

// NewVerifier checks the config. It fetches nothing: Run does, or the first call.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	if c.Issuer == "" || c.Audience == "" {
		return nil, errors.New("issuer and audience must be said")
	}
	if len(c.Clients) == 0 || slices.Contains(c.Clients, "") || slices.Contains(c.Clients, AnyClient) && len(c.Clients) > 1 {
		return nil, errors.New("say in Clients which workloads may call, or AnyClient alone")
	}
	if c.JWKS == nil && c.JWKSFile == "" && c.JWKSURL == "" {
		c.JWKSURL = strings.TrimSuffix(c.Issuer, "/") + "/.well-known/jwks.json"
	}
	if c.Type == "" {
		c.Type = TypeCall
	}
	if c.MaxSeen <= 0 {
		c.MaxSeen = 100_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	signed, err := identity.NewSigned(identity.SignedConfig{
		Issuer: c.Issuer, Types: []string{c.Type}, Algorithms: []string{"ES256"}, JWKS: c.JWKS, JWKSFile: c.JWKSFile, JWKSURL: c.JWKSURL,
		AllowPrivateAddresses: c.AllowPrivateAddresses, Roots: c.Roots, MaxStale: CacheFor * 3, Logger: c.Logger, Now: c.Now,
	})
	if err != nil {
		return nil, err
	}
	return &Verifier{c: c, signed: signed, seen: newSeen(c.MaxSeen)}, nil
}

// Run keeps the keys fresh until ctx ends.
func (v *Verifier) Run(ctx context.Context) error { return v.signed.Run(ctx) }

// Received is a call as it came in.
type Received struct {
	Tool      string // what is called, by behalf's name for it; empty: the backend does not know and does not ask
	Arguments []byte // exactly as received
	Leaf      []byte // the client certificate of the connection, in DER; nil without one
	Client    string // its SPIFFE ID; empty without one

	digest *[sha256.Size]byte // of Arguments, where they are gone already
}

func (r Received) digested() string {
	if r.digest != nil {
		return base64.RawURLEncoding.EncodeToString(r.digest[:])
	}
	return Digest(r.Arguments)
}

// Verify gives the claims of a token if it is for exactly this call, and was not
// used before. A token that verified is used. The error says what came and what is
// expected: it is for the log of the backend and never for the caller.
func (v *Verifier) Verify(ctx context.Context, token string, r Received) (*Claims, error) {
	c, err := v.verify(ctx, token, r)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// verify gives the claims of a token of behalf's also if it is not accepted.
func (v *Verifier) verify(ctx context.Context, token string, r Received) (*Claims, error) {
	c, err := v.Read(ctx, token)
	if err != nil {
		return c, err
	}
	if err := v.fits(c, r); err != nil {
		return c, err
	}
	// Only a token that is good uses up its place.
	return c, v.seen.first(c, v.c.Now)
}

// refused logs a call: who is connected, and of a token of behalf's what its audit log
// can be searched for.
func (v *Verifier) refused(ctx context.Context, r Received, c *Claims, err error) {
	var about []slog.Attr
	if r.Tool != "" {
		about = append(about, slog.String("tool", r.Tool))
	}
	about = append(about, slog.Any("why", err))
	if r.Client != "" {
		about = append(about, slog.String("client", r.Client))
	}
	if c != nil {
		about = append(about, slog.String("sub", c.Subject), slog.String("decision", c.Decision.ID))
	}
	v.c.Logger.LogAttrs(ctx, slog.LevelWarn, "a call was refused", about...)
}

// Read gives the claims of a token that is from behalf, for this backend, and in
// time. It does not say that the token belongs to a call: Verify does.
func (v *Verifier) Read(ctx context.Context, token string) (*Claims, error) {
	raw, err := v.signed.Verify(ctx, identity.NewSecret(token))
	if err != nil {
		return nil, v.unknown(token, err)
	}
	var c Claims
	if err := jsonv2.Unmarshal(raw, &c); err != nil { // by exact names
		return nil, errors.New("the claims are not those of a call token")
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	if c.Audience != v.c.Audience {
		return nil, fmt.Errorf("the token is for another audience: %s, and %s is this backend", shown(c.Audience), shown(v.c.Audience))
	}
	return &c, v.inTime(&c)
}

// unknown is why a token is not from behalf. Most often its issuer is written in another
// way here: with another host, or with a slash at its end.
func (v *Verifier) unknown(token string, err error) error {
	raw, jwt, unreadable := identity.Unverified(identity.NewSecret(token))
	var c struct {
		Issuer string `json:"iss"`
	}
	if !jwt || unreadable != nil || json.Unmarshal(raw, &c) != nil || c.Issuer == v.c.Issuer {
		return err
	}
	return fmt.Errorf("the token is from another issuer: it says %s, and %s is expected here", shown(c.Issuer), shown(v.c.Issuer))
}

// shown is a text for a log, which may be anybody's.
func shown(text string) string {
	const most = 128
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strconv.QuoteToASCII(text)
}

func (v *Verifier) inTime(c *Claims) error {
	now := v.c.Now()
	from, until := time.Unix(max(c.IssuedAt, c.NotBefore), 0), time.Unix(c.Expires, 0)
	switch {
	case c.IssuedAt <= 0 || c.Expires <= c.IssuedAt || until.Sub(time.Unix(c.IssuedAt, 0)) > Life:
		return errors.New("the token's lifetime is not accepted")
	case now.Add(skew).Before(from):
		return fmt.Errorf("the token is not valid yet, for %s by the clock here", from.Sub(now).Round(time.Second))
	case !now.Before(until.Add(skew)):
		return fmt.Errorf("%w, %s ago by the clock here", errEnded, now.Sub(until).Round(time.Second))
	}
	return nil
}

// fits compares a token with the call that it came with.
func (v *Verifier) fits(c *Claims, r Received) error {
	if v.c.Clients[0] != AnyClient && !slices.Contains(v.c.Clients, c.ClientID) {
		return fmt.Errorf("the workload may not call here: %s", shown(c.ClientID))
	}
	if err := v.bound(c, r); err != nil {
		return err
	}
	if r.Tool != "" && r.Tool != c.Tool {
		return fmt.Errorf("the token is for another tool: %s, and %s is called", shown(c.Tool), shown(r.Tool))
	}
	if !equal(c.Arguments, r.digested()) {
		return errors.New("the token is for other arguments")
	}
	for _, o := range c.Decision.Effects {
		if !slices.Contains(v.c.Obligations, o) {
			return fmt.Errorf("the obligation %q is not one that is fulfilled here", o)
		}
	}
	return nil
}

// bound holds a token to the connection that it came by.
func (v *Verifier) bound(c *Claims, r Received) error {
	bound := c.Confirmation.Thumbprint
	switch {
	case bound == "" && !v.c.Unbound:
		return errors.New("the token is bound to no certificate: behalf shows one only where its config has server_id")
	case bound != "" && (r.Leaf == nil || !equal(bound, Thumbprint(r.Leaf))):
		return errors.New("the token is bound to another certificate")
	case r.Client != "" && r.Client != c.ClientID:
		return fmt.Errorf("the token is of another workload than the connection: %s, and %s is connected", shown(c.ClientID), shown(r.Client))
	}
	return nil
}

// equal compares two digests.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
