package identity

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// WorkloadGrants are all grants of workloads at one time. They do not change.
type WorkloadGrants struct{ rules []grantRule }

type grantRule struct {
	pattern pattern
	scopes  Scopes
	issuers []string
}

// Grants checks grants for these peers and reports all problems at once. They hold
// when Replace is called with them.
func (p *Peers) Grants(list []WorkloadGrant) (*WorkloadGrants, error) {
	all := &WorkloadGrants{}
	var problems []error
	for _, g := range list {
		rule, err := p.rule(g)
		if err != nil {
			problems = append(problems, fmt.Errorf("workload grant: %w", err))
		}
		all.rules = append(all.rules, rule)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return all, nil
}

func (p *Peers) rule(g WorkloadGrant) (grantRule, error) {
	pat, err := parsePattern(g.ID)
	if err != nil {
		return grantRule{}, err
	}
	if _, ok := p.tenants[pat.trustDomain]; !ok {
		return grantRule{}, fmt.Errorf("%q is of a trust domain without a tenant", g.ID)
	}
	return grantRule{pat, NewScopes(g.Scopes...), slices.Clone(g.Issuers)}, nil
}

// Replace makes these grants hold from now on, and no others. What is open for
// workloads that have less by them is the caller's to end: see Trusts and Presents.
func (p *Peers) Replace(next *WorkloadGrants) { p.grants.Store(next) }

// find gives the first grant for a workload; nil: it may not call.
func (g *WorkloadGrants) find(id spiffeid.ID) *grantRule {
	for i := range g.rules {
		if g.rules[i].pattern.matches(id) {
			return &g.rules[i]
		}
	}
	return nil
}

// grant completes a peer that was verified.
func (p *Peers) grant(got *peer, id spiffeid.ID) {
	got.grants = p.grants.Load()
	got.workload.proof.grants = got.grants
	if g := got.grants.find(id); g != nil {
		got.granted, got.workload.Scopes, got.workload.Issuers = true, g.scopes, g.issuers
	}
}

// heldAgainst reports whether the workload was verified under these very grants.
func (pr *proof) heldAgainst(now *WorkloadGrants) bool { return pr != nil && pr.grants == now }

// since is what a workload has now that was verified under other grants, nil for
// nothing; same if it was verified under these very ones.
func (p *Peers) since(w Workload) (g *grantRule, same bool) {
	now := p.grants.Load()
	if w.proof.heldAgainst(now) {
		return nil, true
	}
	id, err := spiffeid.FromString(w.ID)
	if err != nil {
		return nil, false
	}
	return now.find(id), false
}

// granted reports why a workload that was verified once is not granted any more what
// it came with.
func (p *Peers) granted(w Workload) error {
	g, same := p.since(w)
	switch {
	case same:
		return nil
	case g == nil:
		return errors.New("no grant names the workload any more")
	}
	for _, s := range w.Scopes.Names() {
		if !g.scopes.Has(s) {
			return errors.New("the workload is granted less than it came with")
		}
	}
	return nil
}

// Presents reports why a workload that was verified once and brought a person of an
// issuer may not do so any more.
func (p *Peers) Presents(w Workload, issuer string) error {
	if g, same := p.since(w); !same && (g == nil || !slices.Contains(g.issuers, issuer)) {
		return errors.New("the workload may not present persons of this issuer any more")
	}
	return nil
}
