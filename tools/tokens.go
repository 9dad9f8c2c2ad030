package tools

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/behalf-dev/behalf/audit"
	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/identity"
)

// Issuing gives what a call to a backend carries: our own call token ([Tokens]) or one
// that somebody else issues for this person and this backend. Ctx is of the call.
type Issuing interface {
	For(ctx context.Context, b Backend, s Sent) (identity.Secret, error)
}

// Tokens mint what each call to a backend carries.
type Tokens struct {
	Keys   *calltoken.Keys
	Issuer string // our URL, where the keys are found
	Client func() string
	// Names is the key of a tenant for what [ChainHashed] tells of it; nil: a backend
	// that is to be told no more than that gets no token.
	Names func(tenant string) []byte
}

// How much of the chain a backend learns. The audit log has all of it, and txn
// joins them.
const (
	ChainFull      = "full"
	ChainOutermost = "outermost" // who calls, not through whom
	ChainHashed    = "hashed"    // a keyed hash: names that nobody else can guess, and that stay the same
)

// Backend is whom a token is for.
type Backend struct {
	Audience string
	Type     string // calltoken.TypeCall or TypeAccess
	Chain    string // one of the above; empty: full
}

// Sent is what leaves for a backend: the digest of its bytes, and the client
// certificate of the very connection that it goes by.
type Sent struct {
	Digest     string    // calltoken.Digest of the bytes
	Thumbprint string    // empty: no client certificate
	Ends       time.Time // when the certificate does; zero: never
}

var (
	errNoFacts = errors.New("a call token is for a call that the gate allowed")
	errNoNames = errors.New("there is no key to hash the names of agents with")
)

// For mints the token of the call that ctx is of.
func (t *Tokens) For(ctx context.Context, b Backend, s Sent) (identity.Secret, error) {
	f, ok := FactsFrom(ctx)
	if !ok {
		return identity.Secret{}, errNoFacts
	}
	if err := f.Still(); err != nil {
		return identity.Secret{}, err
	}
	return t.mint(f, t.Client(), b, s)
}

// mint makes the token of a call that client makes.
func (t *Tokens) mint(f Facts, client string, b Backend, s Sent) (identity.Secret, error) {
	c := f.claims()
	c.ClientID = client
	names, err := t.names(f.Grant, b.Chain)
	if err != nil {
		return identity.Secret{}, err
	}
	c.Actor = chainOf(f.Grant, client, names)
	c.Issuer, c.Audience, c.Arguments = t.Issuer, b.Audience, s.Digest
	c.Confirmation.Thumbprint = s.Thumbprint
	return t.Keys.Mint(c, b.Type, first(f.Grant.Expires(), s.Ends, f.Agreed))
}

func (f Facts) claims() calltoken.Claims {
	p := f.Grant.Principal()
	c := calltoken.Claims{
		Subject: p.Subject(), Tenant: f.Grant.Tenant(), Scope: strings.Join(f.Scopes, " "),
		Transaction: f.Trace, Tool: f.Tool, ToolVersion: f.Version, Decision: calltoken.Decision{ID: f.CallID, Revision: f.Revision},
	}
	if c.Transaction == "" {
		c.Transaction = audit.CallRun(f.CallID)
	}
	if u := p.User; u != nil {
		c.Subject, c.SubjectIssuer, c.ACR, c.AMR = u.Subject, u.Issuer, u.ACR, u.AMR
		if !u.AuthTime.IsZero() {
			c.AuthTime = u.AuthTime.Unix()
		}
	}
	if f.ApprovalID != "" {
		c.Approval = &calltoken.Approval{ID: f.ApprovalID, Approver: f.Approver}
	}
	return c
}

// first is the earliest of some ends, of which zero is none.
func first(ends ...time.Time) (at time.Time) {
	for _, t := range ends {
		if at.IsZero() || !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	return at
}

// names are the chain as a backend may know it.
func (t *Tokens) names(g identity.Grant, chain string) ([]string, error) {
	names := g.Chain()
	switch chain {
	case ChainOutermost:
		return names[max(len(names)-1, 0):], nil
	case ChainHashed:
		return t.hashed(g.Tenant(), names)
	}
	return names, nil
}

// hashed has a keyed hash in the place of each name: those of agents are words, and
// without a key somebody would guess them.
func (t *Tokens) hashed(tenant string, names []string) ([]string, error) {
	var key []byte
	if t.Names != nil {
		key = t.Names(tenant)
	}
	if len(key) == 0 {
		return nil, errNoNames
	}
	out := make([]string, 0, len(names))
	for _, n := range names {
		m := hmac.New(sha256.New, key)
		m.Write([]byte("chain\x00" + n)) // the key has other uses
		out = append(out, base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:12]))
	}
	return out, nil
}

// chainOf is the actors of a call, of which client is the service.
func chainOf(g identity.Grant, client string, names []string) *calltoken.Actor {
	actors := make([]calltoken.Actor, 0, len(names))
	for _, n := range names {
		actors = append(actors, calltoken.Actor{Subject: n, Profile: "agent"})
	}
	if len(actors) > 0 {
		actors[len(actors)-1].Grant = g.ID()
	}
	return calltoken.Chain(client, actors)
}
