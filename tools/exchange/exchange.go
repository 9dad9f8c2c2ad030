package exchange

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc/codes"
)

// What is done about a token that does not name us as who acts.
const (
	Refuse = "refuse"
	Warn   = "warn"
)

// Facts of a person that a claim can be compared with.
const (
	BySubject = "subject" // `sub` of their own token
	ByEmail   = "email"   // their verified address
)

// Config is one authorization server for one toolset.
type Config struct {
	Toolset  string // names it in the log
	TokenURL string // https, or http to this machine

	// For whom the token is; one or both. Both are sent, and `aud` must be one of them.
	Audience string
	Resource string
	// Scope is asked for beside what the tool needs, as far as the grant has it: for
	// servers that add some whether they are asked or not.
	Scope []string

	Client Client
	// TLS is how the server is reached; required for a client without a key, whose
	// certificate it shows. Nil: by the system's roots.
	TLS *tls.Config
	// Actor gives our JWT-SVID for the server. Nil: no actor_token is sent.
	Actor identity.Actor
	// Name is our SPIFFE ID, as `act` should have it beside the client's id. Required.
	Name func() string

	Issuer string // exact `iss` of what comes back; empty: the person's own issuer
	Claim  string // that names the person; empty: sub
	Is     string // BySubject (empty) or ByEmail
	Act    string // Refuse (empty) or Warn
	Bound  bool   // refuse what is not bound to our certificate
	Opaque bool   // take what is no JWT, of which hardly anything can be checked

	Cap     time.Duration // the longest life of what comes back; default 15 min
	Timeout time.Duration // of one exchange; default 10 s

	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
}

// Client is who we are at the server. There is no way with a shared secret.
type Client struct {
	ID       string
	Key      *identity.ClientKey // private_key_jwt; nil: the certificate of the connection (RFC 8705)
	Audience string              // of the assertions; empty: TokenURL
}

// Exchange has tokens issued. It implements tools.Issuing.
type Exchange struct {
	c       Config
	client  *client
	cache   cache
	flights singleflight.Group
}

var _ tools.Issuing = (*Exchange)(nil)

// New checks the config. It reaches nobody.
func New(c Config) (*Exchange, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	return &Exchange{c: c, client: newClient(&c)}, nil
}

func (c *Config) complete() error {
	if c.Cap <= 0 {
		c.Cap = 15 * time.Minute
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Claim == "" {
		c.Claim = "sub"
	}
	switch {
	case !usable(c.TokenURL):
		return errors.New("the token URL must be https, or http to this machine")
	case c.Audience == "" && c.Resource == "":
		return errors.New("an audience or a resource must be said")
	case c.Client.ID == "" || c.Name == nil:
		return errors.New("the client's id and our name must be said")
	case c.Client.Key == nil && (c.TLS == nil || !strings.HasPrefix(c.TokenURL, "https:")):
		return errors.New("a client without a key needs TLS with our certificate")
	case !slices.Contains([]string{"", Refuse, Warn}, c.Act) || !slices.Contains([]string{"", BySubject, ByEmail}, c.Is):
		return errors.New("act or is has no such value")
	}
	return nil
}

// What a call that gets no token fails with. Nothing was done in any of them.
var (
	errPerson = fault.New(codes.Unauthenticated, fault.CredentialRequired,
		"the tool is called with a token that is issued for the person's own, and that is not here: it is never stored. Let the person come back to this run with a valid token (WatchRun, SendInput, Converse) or begin anew")
	errAway    = fault.New(codes.Unavailable, fault.ToolUnavailable, "the authorization server of the tool does not answer; nothing was done")
	errDenied  = fault.New(codes.PermissionDenied, fault.ToolUnavailable, "the authorization server of the tool issues no token for this person and this call; nothing was done")
	errAnswer  = fault.New(codes.Unavailable, fault.ToolUnavailable, "the authorization server of the tool issued a token that must not be used; nothing was done, and an operator must look")
	errOneself = fault.New(codes.Unavailable, fault.ToolUnavailable, "the tool's authorization server cannot be told who asks; nothing was done, and an operator must look")
)

// For implements tools.Issuing: a token for the person in whose name the call that ctx
// is of is made.
func (x *Exchange) For(ctx context.Context, _ tools.Backend, s tools.Sent) (identity.Secret, error) {
	f, ok := tools.FactsFrom(ctx)
	if !ok {
		return identity.Secret{}, errors.New("a token is issued for a call that the gate allowed")
	}
	q, err := x.question(f, s)
	if err != nil {
		return identity.Secret{}, err
	}
	token, ok := x.cache.get(q.key, x.c.Now())
	if !ok {
		if token, err = x.shared(ctx, q); err != nil {
			return identity.Secret{}, err
		}
	}
	if err := f.Still(); err != nil {
		return identity.Secret{}, err
	}
	return token, nil
}

// Purge drops every token that is kept. A lock is rare and may be of a person, an
// agent, a tenant or all: asking once more costs less than finding out whose it is, and
// cannot be wrong.
func (x *Exchange) Purge() { x.cache.purge() }

// question is all that the answer depends on.
type question struct {
	user   *identity.User
	scopes []string
	sent   tools.Sent
	key    [sha256.Size]byte
	round  uint64 // how often the cache was purged before
}

// question takes the person from the grant as it is now: a conversation may have
// refreshed it while somebody approved the call.
func (x *Exchange) question(f tools.Facts, s tools.Sent) (*question, error) {
	g := f.Grant.Current()
	u := g.Principal().User
	if u == nil || u.Token().Reveal() == "" || !x.c.Now().Before(u.Expires) {
		return nil, errPerson
	}
	q := &question{user: u, scopes: slices.Clone(f.Scopes), sent: s, round: x.cache.rounds()}
	for _, extra := range x.c.Scope {
		if g.Scopes().Has(extra) {
			q.scopes = append(q.scopes, extra)
		}
	}
	slices.Sort(q.scopes)
	q.scopes = slices.Compact(q.scopes)
	text, err := json.Marshal([]any{
		u.Issuer, u.Subject, u.Thumbprint, g.Tenant(), x.c.Name(), g.Chain(), x.c.Audience, x.c.Resource, q.scopes, s.Thumbprint,
	})
	if err != nil {
		return nil, errOneself.Because(err)
	}
	q.key = sha256.Sum256(text)
	return q, nil
}

// shared asks once for all who ask the same at the same time. Who gives up does not
// take the answer from the others; the timeout ends it for all.
func (x *Exchange) shared(ctx context.Context, q *question) (identity.Secret, error) {
	back := x.flights.DoChan(strconv.FormatUint(q.round, 10)+string(q.key[:]), func() (any, error) {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.c.Timeout)
		defer cancel()
		return x.ask(own, q)
	})
	select {
	case r := <-back:
		token, _ := r.Val.(identity.Secret)
		return token, r.Err
	case <-ctx.Done():
		return identity.Secret{}, errAway.Because(context.Cause(ctx))
	}
}

// ask makes one exchange, and keeps the token if it is good.
func (x *Exchange) ask(ctx context.Context, q *question) (identity.Secret, error) {
	conf, err := x.request(ctx, q)
	if err != nil {
		return identity.Secret{}, errOneself.Because(err)
	}
	got, err := conf.Token(x.client.in(ctx))
	if err != nil {
		return identity.Secret{}, x.failed(ctx, err)
	}
	token, until, err := x.accept(ctx, q, got)
	if err != nil {
		return identity.Secret{}, errAnswer.Because(err)
	}
	now := x.c.Now()
	x.cache.put(q.key, q.round, token, earliest(until.Add(-margin), q.user.Expires, now.Add(longest)), now)
	return token, nil
}

func earliest(first time.Time, more ...time.Time) time.Time {
	for _, t := range more {
		if t.Before(first) {
			first = t
		}
	}
	return first
}

// request is RFC 8693 2.1 as the library takes it: a client's own request whose grant
// is another one. Its TokenSource is not used twice, so nothing is refreshed.
func (x *Exchange) request(ctx context.Context, q *question) (*clientcredentials.Config, error) {
	params, err := x.proof()
	if err != nil {
		return nil, err
	}
	params.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
	params.Set("requested_token_type", typeAccess)
	params.Set("subject_token", q.user.Token().Reveal())
	params.Set("subject_token_type", typeAccess)
	if x.c.Audience != "" {
		params.Set("audience", x.c.Audience)
	}
	if x.c.Resource != "" {
		params.Set("resource", x.c.Resource)
	}
	if x.c.Actor != nil {
		actor, err := x.c.Actor.JWTSVID(ctx, x.assertedTo())
		if err != nil {
			return nil, err
		}
		params.Set("actor_token", actor.Reveal())
		params.Set("actor_token_type", typeJWT)
	}
	return x.client.config(&x.c, q.scopes, params), nil
}
