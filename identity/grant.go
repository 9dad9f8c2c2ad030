package identity

import (
	"context"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/behalf-dev/behalf/fault"
	"google.golang.org/grpc/codes"
)

// MaxChain is the hard cap on the depth of a delegation chain (SECURITY 9).
const MaxChain = 32

// Tier is the caller's declaration of what kind of work this is. It is
// recorded and visible to policy; it is never proof of anything.
type Tier string

// The tiers of DESIGN 5.
const (
	Interactive Tier = "interactive"
	Background  Tier = "background"
	API         Tier = "api"
	Subagent    Tier = "subagent"
)

// Grant is what a run acts with: a principal and how far it was narrowed on the
// way. It is a value; a child is a new one. Only Root, Child and Delegated make
// grants, so scopes never widen and the chain is always the server's.
type Grant struct {
	id        string
	principal Principal
	scopes    Scopes
	tier      Tier
	chain     []string
	handOffs  [][2]string // see HandOffs
	expires   time.Time
	// fresh is the credential that a refresh put in place, for this grant and all
	// that were made from it; empty: none yet.
	fresh    *atomic.Pointer[Principal]
	narrowed bool    // the caller asked for less than they have
	others   []Grant // who must be allowed too; see With
	speaker  *Grant  // in whose turn it is used; nil: its own person's. See LentTo
}

// Root makes the grant of a fresh call: the principal's scopes, narrowed by
// what the caller asked for (nil: not narrowed; empty: nothing).
func Root(id string, p Principal, narrow *Scopes, tier Tier) Grant {
	if tier == "" {
		tier = Interactive
	}
	return Grant{id: id, principal: p, scopes: p.Scopes().Narrow(narrow), tier: tier, expires: p.Expires(), narrowed: narrow != nil, fresh: &atomic.Pointer[Principal]{}}
}

// Child makes the grant under which agent acts: the chain grows by agent, the
// scopes shrink to its ceiling (nil: no ceiling of its own). Below the first
// agent the tier is subagent whatever was declared. A chain deeper than max is
// refused with DELEGATION_SCOPE.
func (g Grant) Child(agent string, ceiling *Scopes, maxDepth int) (Grant, error) {
	if len(g.chain) >= min(maxDepth, MaxChain) {
		return Grant{}, fault.New(codes.PermissionDenied, fault.DelegationScope, "the chain of agents is too deep; answer directly instead of delegating")
	}
	if len(g.chain) > 0 {
		g.tier = Subagent
	}
	g.chain = append(slices.Clone(g.chain), agent)
	g.scopes = g.scopes.Narrow(ceiling)
	return g, nil
}

// Under is the same grant below one more ceiling; nil is none.
func (g Grant) Under(ceiling *Scopes) Grant {
	g.scopes = g.scopes.Narrow(ceiling)
	return g
}

// Delegation is what is kept of a grant that was made for a sub-agent elsewhere.
type Delegation struct {
	ID      string
	Scopes  Scopes
	Chain   []string // not empty
	Expires time.Time
}

// Delegated makes the grant of a call under an earlier delegation. P is its person
// and workload, with the credential of this call, so what they lost since is lost
// to the sub-agent too. The tier is subagent whatever was declared.
func Delegated(d Delegation, p Principal, narrow *Scopes) Grant {
	g := Root(d.ID, p, narrow, Subagent)
	g.scopes, g.chain = g.scopes.Intersect(d.Scopes), slices.Clone(d.Chain)
	if d.Expires.Before(g.expires) {
		g.expires = d.Expires
	}
	return g
}

// With is the grant for what others must be allowed too: the scopes are what all
// have. Whoever enforces it asks for each of Others as well.
func (g Grant) With(others ...Grant) Grant {
	g.others = slices.Clone(others)
	for _, o := range others {
		g.scopes = g.scopes.Intersect(o.scopes)
	}
	g.expires = g.soonest()
	return g
}

// soonest is when the first of those ends in whose name the grant is. What has no
// end has ended.
func (g Grant) soonest() time.Time {
	end := g.expires
	for _, o := range g.others {
		if o.expires.Before(end) {
			end = o.expires
		}
	}
	return end
}

// LentTo is the grant as it is used in another's turn: it stays its person's, but
// what is theirs alone must not be done or told with it.
func (g Grant) LentTo(speaker Grant) Grant {
	g.speaker = &speaker
	return g
}

// Speaker is in whose turn a lent grant is used.
func (g Grant) Speaker() (Grant, bool) {
	if g.speaker == nil {
		return Grant{}, false
	}
	return *g.speaker, true
}

// Others are those who must be allowed what the grant is used for, each as if they
// alone had come this way: with its scopes, chain and tier.
func (g Grant) Others() []Grant {
	all := slices.Clone(g.others)
	for i := range all {
		all[i].scopes, all[i].chain, all[i].tier, all[i].others = g.scopes, g.chain, g.tier, nil
	}
	return all
}

// Narrowed reports whether the caller asked for less than they have.
func (g Grant) Narrowed() bool { return g.narrowed }

// Renamed is the same authority under another id.
func (g Grant) Renamed(id string) Grant {
	g.id = id
	return g
}

// Refresh replaces the credential by a fresh one of the same person. The
// scopes can only shrink: a token with more does not widen a running grant.
func (g Grant) Refresh(p Principal) (Grant, error) {
	if !g.principal.Same(p) {
		return Grant{}, fault.New(codes.PermissionDenied, fault.OwnerMismatch, "the new credential is of another person; present your own")
	}
	g.principal = p
	g.scopes = g.scopes.Intersect(p.Scopes())
	g.expires = p.Expires()
	g.expires = g.soonest()
	return g, nil
}

// Renew is Refresh for the grant and everything that was made from it, also what
// is bound to a context already.
func (g Grant) Renew(p Principal) (Grant, error) {
	fresh, err := g.Refresh(p)
	if err == nil && g.fresh != nil {
		g.fresh.Store(&p)
	}
	return fresh, err
}

// Current is the grant under the newest credential of its person.
func (g Grant) Current() Grant {
	if g.fresh == nil {
		return g
	}
	p := g.fresh.Load()
	if p == nil {
		return g
	}
	fresh, err := g.Refresh(*p)
	if err != nil {
		return g
	}
	return fresh
}

// ID is the opaque name of the grant's record (grt_…).
func (g Grant) ID() string { return g.id }

// Principal is who the grant acts for.
func (g Grant) Principal() Principal { return g.principal }

// Tenant is the principal's verified tenant.
func (g Grant) Tenant() string { return g.principal.Tenant() }

// Scopes are the effective scopes after all narrowing.
func (g Grant) Scopes() Scopes { return g.scopes }

// Tier is the recorded tier.
func (g Grant) Tier() Tier { return g.tier }

// Chain lists the agents from the outermost to the one that acts; empty for a
// direct call. The caller may keep and change the slice.
func (g Grant) Chain() []string { return slices.Clone(g.chain) }

// Agents ranges over the chain without a copy of it.
func (g Grant) Agents() iter.Seq[string] { return slices.Values(g.chain) }

// HandOffs are those by which the conversation came to who acts, from whom to whom.
// The chain alone does not tell: it names each agent once.
func (g Grant) HandOffs() iter.Seq[[2]string] { return slices.Values(g.handOffs) }

// Agent is the agent that acts, empty for a direct call.
func (g Grant) Agent() string {
	if len(g.chain) == 0 {
		return ""
	}
	return g.chain[len(g.chain)-1]
}

// Expires is when the authority ends.
func (g Grant) Expires() time.Time { return g.expires }

type grantKey struct{}

// WithGrant binds the grant to the context. This is the only place where
// identity travels inside the process.
func WithGrant(ctx context.Context, g Grant) context.Context {
	return context.WithValue(ctx, grantKey{}, g)
}

// FromContext gives the grant bound to ctx, as current as it is.
func FromContext(ctx context.Context) (Grant, bool) {
	g, ok := ctx.Value(grantKey{}).(Grant)
	return g.Current(), ok
}

// Child binds the child grant of ctx's grant for agent. See Grant.Child.
func Child(ctx context.Context, agent string, ceiling *Scopes, maxDepth int) (context.Context, error) {
	g, ok := FromContext(ctx)
	if !ok {
		return nil, fault.New(codes.Internal, fault.Internal, "no identity is bound to this call")
	}
	c, err := g.Child(agent, ceiling, maxDepth)
	if err != nil {
		return nil, err
	}
	return WithGrant(ctx, c), nil
}

// HandedOff binds the grant of ctx's agent, noting a hand-off on the way to it.
func HandedOff(ctx context.Context, from, to string) context.Context {
	g, ok := FromContext(ctx)
	if !ok {
		return ctx
	}
	g.handOffs = append(slices.Clone(g.handOffs), [2]string{from, to})
	return WithGrant(ctx, g)
}
