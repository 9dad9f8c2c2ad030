package behalf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"github.com/behalf-dev/behalf/calltoken"
	"github.com/behalf-dev/behalf/config"
	"github.com/behalf-dev/behalf/identity"
	"github.com/behalf-dev/behalf/tools"
	"github.com/behalf-dev/behalf/tools/exchange"
)

// exchanges are those of the sources that run, whose tokens somebody else issues.
type exchanges struct {
	mu sync.Mutex
	of map[*exchange.Exchange]bool
}

// any reports whether persons' tokens are exchanged, and so are held for as long as
// what they allow.
func (e *exchanges) any() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.of) > 0
}

// purge drops all that was issued: somebody or something was locked.
func (e *exchanges) purge() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for x := range e.of {
		x.Purge()
	}
}

// exchanging is a source whose tokens are exchanged for as long as it runs: also one
// that a reload has replaced, until its last calls have ended.
type exchanging struct {
	source
	x   *exchange.Exchange
	all *exchanges
}

// Run implements source.
func (e *exchanging) Run(ctx context.Context) error {
	e.all.mu.Lock()
	if e.all.of == nil {
		e.all.of = map[*exchange.Exchange]bool{}
	}
	e.all.of[e.x] = true
	e.all.mu.Unlock()
	defer func() {
		e.all.mu.Lock()
		delete(e.all.of, e.x)
		e.all.mu.Unlock()
	}()
	return e.source.Run(ctx)
}

// Awaited are those of the source.
func (e *exchanging) Awaited() []string {
	if names, ok := e.source.(interface{ Awaited() []string }); ok {
		return names.Awaited()
	}
	return nil
}

// follow is the source itself where nothing is exchanged.
func (e *exchanges) follow(src source, tokens tools.Issuing) source {
	if x, ok := tokens.(*exchange.Exchange); ok {
		return &exchanging{src, x, e}
	}
	return src
}

// issuing is what the calls of a toolset carry and for whom: our own token as its
// section says, or one that is exchanged.
func (s *Server) issuing(name string, t config.Toolset, own tools.Backend) (tools.Issuing, tools.Backend, error) {
	switch {
	case s.tokens == nil: // a check, which calls nobody
		return &tools.Tokens{}, forWhom(t, own), nil
	case t.Exchange == nil:
		return s.tokens, own, nil
	}
	c, err := s.exchange(name, t.Exchange)
	if err != nil {
		return nil, own, fmt.Errorf("exchange: %w", err)
	}
	x, err := exchange.New(c)
	if err != nil {
		return nil, own, fmt.Errorf("exchange: %w", err)
	}
	return x, forWhom(t, own), nil
}

// forWhom is the backend as whoever issues its tokens knows it.
func forWhom(t config.Toolset, own tools.Backend) tools.Backend {
	if t.Exchange == nil {
		return own
	}
	return tools.Backend{Audience: t.Exchange.For(), Type: calltoken.TypeAccess}
}

func (s *Server) exchange(name string, c *config.Exchange) (exchange.Config, error) {
	out := exchange.Config{
		Toolset: name, TokenURL: c.TokenURL, Audience: c.Audience, Resource: c.Resource, Scope: c.Scope, Name: s.ownID,
		Issuer: c.Issuer, Act: c.Act, Bound: c.Bound, Opaque: c.Opaque, Cap: c.Cap, Timeout: c.Timeout, Logger: s.opt.log, Now: s.opt.now,
	}
	if c.Person != nil {
		out.Claim, out.Is = c.Person.Claim, c.Person.Is
	}
	if c.Actor == "jwt_svid" {
		actor, ok := s.svids.(identity.Actor)
		if !ok {
			return out, errors.New("actor: identity.workload.source gives no JWT-SVIDs; only workload_api and dev do")
		}
		out.Actor = actor
	}
	var err error
	if out.TLS, err = s.exchangeTLS(c); err != nil {
		return out, err
	}
	switch p := c.Client; {
	case p.MTLS != nil:
		out.Client = exchange.Client{ID: p.MTLS.ClientID}
	case p.PrivateKeyJWT != nil:
		k := p.PrivateKeyJWT
		out.Client = exchange.Client{ID: k.ClientID, Audience: k.Audience}
		out.Client.Key, err = identity.NewClientKey(identity.NewSecret(k.Key.Reveal()), k.KeyID, s.opt.now)
	}
	return out, err
}

// exchangeTLS shows our SVID where it is the proof, or where the server has one too.
func (s *Server) exchangeTLS(c *config.Exchange) (*tls.Config, error) {
	if c.ServerID == "" && c.Client.MTLS != nil {
		return identity.WebTLS(s.svids, s.opt.now), nil
	}
	return s.backendTLS(c.ServerID)
}
