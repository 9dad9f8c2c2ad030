package tools

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
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
}

// How much of the chain a backend learns. The audit log has all of it, and txn
// joins them.
const (
	ChainFull      = "full"
	ChainOutermost = "outermost" // who calls, not through whom
	ChainHashed    = "hashed"    // names that mean nothing to others and stay the same
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

var errNoFacts = errors.New("a call token is for a call that the gate allowed")

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
	c := f.claims(client, b.Chain)
	c.Issuer, c.Audience, c.Arguments = t.Issuer, b.Audience, s.Digest
	c.Confirmation.Thumbprint = s.Thumbprint
	until := f.Grant.Expires()
	if !s.Ends.IsZero() && s.Ends.Before(until) {
		until = s.Ends
	}
	return t.Keys.Mint(c, b.Type, until)
}

func (f Facts) claims(client, chain string) calltoken.Claims {
	p := f.Grant.Principal()
	c := calltoken.Claims{
		Subject: p.Subject(), ClientID: client, Tenant: f.Grant.Tenant(), Scope: strings.Join(f.Scopes, " "),
		Transaction: f.Trace, Tool: f.Tool, ToolVersion: f.Version, Decision: calltoken.Decision{ID: f.CallID, Revision: f.Revision},
		Actor: f.actor(client, chain),
	}
	if c.Transaction == "" {
		c.Transaction = audit.CallRun(f.CallID)
	}
	if u := p.User; u != nil {
		c.Subject, c.SubjectIssuer, c.ACR = u.Subject, u.Issuer, u.ACR
		if !u.AuthTime.IsZero() {
			c.AuthTime = u.AuthTime.Unix()
		}
	}
	if f.ApprovalID != "" {
		c.Approval = &calltoken.Approval{ID: f.ApprovalID, Approver: f.Approver}
	}
	return c
}

// actor is the chain as a backend may know it.
func (f Facts) actor(client, chain string) *calltoken.Actor {
	names := f.Grant.Chain()
	switch chain {
	case ChainOutermost:
		names = names[max(len(names)-1, 0):]
	case ChainHashed:
		for i, n := range names {
			sum := sha256.Sum256([]byte(f.Grant.Tenant() + "\x00" + n))
			names[i] = base64.RawURLEncoding.EncodeToString(sum[:12])
		}
	}
	actors := make([]calltoken.Actor, 0, len(names))
	for n := range slices.Values(names) {
		actors = append(actors, calltoken.Actor{Subject: n, Profile: "agent"})
	}
	if len(actors) > 0 {
		actors[len(actors)-1].Grant = f.Grant.ID()
	}
	return calltoken.Chain(client, actors)
}
